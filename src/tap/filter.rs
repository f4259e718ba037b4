//! Which packets are meant, in a few words (`docs/troubleshooting.md`): `host 203.0.113.5 and tcp port 80`. All of it must fit; an address
//! or a port fits if it is one of a packet's two ends. A packet in an IPIP tunnel may fit by the packet inside.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::wire::{ethernet, ipv4, ipv6, protocol};

/// Words that name one protocol or several.
const PROTOCOLS: [(&str, &[u8]); 6] = [
    ("tcp", &[protocol::TCP]),
    ("udp", &[protocol::UDP]),
    ("sctp", &[protocol::SCTP]),
    ("icmp", &[protocol::ICMP, protocol::ICMPV6]),
    ("esp", &[protocol::ESP]),
    ("ah", &[protocol::AH]),
];
/// IP in IP (RFC 2003, RFC 2473).
const TUNNELS: [u8; 2] = [4, 41];

/// A filter; the empty one takes everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    protocols: Option<&'static [u8]>,
    networks: Vec<(IpAddr, u8)>,
    ports: Vec<u16>,
}

/// Words that are no filter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0}; a filter is made of: host ADDRESS, net ADDRESS/BITS, port NUMBER, service tcp:192.0.2.10:80, tcp, udp, sctp, icmp, esp, ah"
)]
pub struct BadFilter(String);

/// The ends of a packet.
struct Ends {
    protocol: u8,
    addresses: [IpAddr; 2],
    ports: Option<[u16; 2]>,
}

impl Filter {
    /// Does it take this Ethernet frame?
    pub fn takes(&self, frame: &[u8]) -> bool {
        if *self == Self::default() {
            return true;
        }
        let Some(packet) = frame.get(ethernet::HEADER_LEN..) else { return false };
        let Some((ends, inner)) = look(packet) else { return false };
        self.fits(&ends) || inner.and_then(look).is_some_and(|(ends, _)| self.fits(&ends))
    }

    fn fits(&self, ends: &Ends) -> bool {
        self.protocols.is_none_or(|wanted| wanted.contains(&ends.protocol))
            && self.networks.iter().all(|network| ends.addresses.iter().any(|address| is_in(*address, *network)))
            && self.ports.iter().all(|port| ends.ports.is_some_and(|ports| ports.contains(port)))
    }

    fn word(&mut self, word: &str, next: &mut dyn FnMut() -> Option<String>) -> Result<(), String> {
        let mut value = || next().ok_or_else(|| format!("behind {word:?} something is missing"));
        match word {
            "and" => {}
            "host" => self.networks.push(host(&value()?)?),
            "net" => self.networks.push(network(&value()?)?),
            "port" => self.ports.push(port(&value()?)?),
            "service" => self.service(&value()?)?,
            _ => self.protocol(word)?,
        }
        Ok(())
    }

    fn protocol(&mut self, word: &str) -> Result<(), String> {
        let (_, numbers) = PROTOCOLS.iter().find(|(name, _)| *name == word).ok_or(format!("{word:?} is not known"))?;
        match self.protocols.replace(numbers) {
            Some(before) if before != *numbers => Err("a packet is of one protocol".to_owned()),
            _ => Ok(()),
        }
    }

    fn service(&mut self, word: &str) -> Result<(), String> {
        let wrong = || format!("{word:?} is no service by an address");
        let (protocol, end) = word.split_once(':').ok_or_else(wrong)?;
        let end: SocketAddr = end.parse().map_err(|_| wrong())?;
        self.protocol(protocol)?;
        self.networks.push((end.ip(), whole(end.ip())));
        if end.port() != 0 {
            self.ports.push(end.port());
        }
        Ok(())
    }
}

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        let (mut filter, mut words) = (Self::default(), text.split_whitespace().map(str::to_owned));
        while let Some(word) = words.next() {
            filter.word(&word, &mut || words.next()).map_err(BadFilter)?;
        }
        Ok(filter)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol =
            PROTOCOLS.iter().find(|(_, numbers)| Some(*numbers) == self.protocols).map(|(name, _)| (*name).to_owned());
        let networks = self.networks.iter().map(|(address, bits)| format!("net {address}/{bits}"));
        let ports = self.ports.iter().map(|port| format!("port {port}"));
        f.write_str(&protocol.into_iter().chain(networks).chain(ports).collect::<Vec<_>>().join(" and "))
    }
}

fn whole(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn host(text: &str) -> Result<(IpAddr, u8), String> {
    let address: IpAddr = text.parse().map_err(|_| format!("{text:?} is no address"))?;
    Ok((address, whole(address)))
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("{text:?} is no network, such as 203.0.113.0/24");
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let (address, bits) = (address.parse::<IpAddr>().map_err(|_| wrong())?, bits.parse().map_err(|_| wrong())?);
    if bits <= whole(address) { Ok((address, bits)) } else { Err(wrong()) }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is no port"))
}

fn is_in(address: IpAddr, (network, bits): (IpAddr, u8)) -> bool {
    let masked = |all: u128, width: u8| all.checked_shr((width - bits.min(width)).into()).unwrap_or(0);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => masked(a.to_bits().into(), 32) == masked(n.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => masked(a.to_bits(), 128) == masked(n.to_bits(), 128),
        _ => false,
    }
}

/// The ends of an IP packet, and the packet inside, if it is a tunnel's.
fn look(packet: &[u8]) -> Option<(Ends, Option<&[u8]>)> {
    match packet.first()? >> 4 {
        4 => {
            let ip = ipv4::Packet::new_quoted(packet).ok()?;
            let payload = packet.get(ip.header_len()..).filter(|_| ip.fragment_offset() == 0);
            let addresses = [ip.src().into(), ip.dst().into()];
            Some(ends(ip.protocol(), addresses, payload))
        }
        6 => {
            let ip = ipv6::Packet::new_quoted(packet).ok()?;
            let upper = ip.upper().ok()?;
            let payload = packet.get(upper.offset..).filter(|_| !upper.is_later_fragment());
            let addresses = [ip.src().into(), ip.dst().into()];
            Some(ends(upper.protocol, addresses, payload))
        }
        _ => None,
    }
}

fn ends(protocol: u8, addresses: [IpAddr; 2], payload: Option<&[u8]>) -> (Ends, Option<&[u8]>) {
    let has_ports = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let first = payload.and_then(|payload| payload.first_chunk()).filter(|_| has_ports);
    let ports = first.map(|&[a, b, c, d]| [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
    (Ends { protocol, addresses, ports }, payload.filter(|_| TUNNELS.contains(&protocol)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sample::{at, icmp, tcp, udp};
    use proptest::prelude::*;

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    #[test]
    fn every_word_must_fit_one_end() {
        let frame = tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).frame();
        for fits in [
            "",
            "tcp",
            "host 203.0.113.5",
            "host 192.0.2.10 and host 203.0.113.5",
            "net 203.0.113.0/24 port 80",
            "net 0.0.0.0/0",
            "port 1000 port 80",
            "service tcp:192.0.2.10:80",
            "service tcp:192.0.2.10:0 and tcp",
        ] {
            assert!(filter(fits).takes(&frame), "{fits}");
            assert!(filter(&filter(fits).to_string()).takes(&frame), "{fits}, as it is shown");
        }
        for fits_not in [
            "udp",
            "icmp",
            "host 203.0.113.6",
            "net 203.0.114.0/24",
            "net ::/0",
            "port 81",
            "port 80 and port 81",
            "service udp:192.0.2.10:80",
            "service tcp:192.0.2.10:81",
        ] {
            assert!(!filter(fits_not).takes(&frame), "{fits_not}");
        }
    }

    #[test]
    fn both_families_and_protocols_without_ports_are_known() {
        let six = udp(at("[2001:db8:9::5]:1000"), at("[2001:db8:1::10]:53")).frame();
        assert!(filter("udp and net 2001:db8:9::/48 and port 53").takes(&six));
        assert!(!filter("host 203.0.113.5").takes(&six));
        let echo = icmp([203, 0, 113, 5], [192, 0, 2, 10], 8, 0).frame();
        assert!(filter("icmp host 192.0.2.10").takes(&echo) && !filter("port 0").takes(&echo));
    }

    #[test]
    fn what_is_no_filter_is_refused_by_its_word() {
        for (text, says) in [
            ("hots 1.2.3.4", "\"hots\" is not known"),
            ("host", "behind \"host\" something is missing"),
            ("host x", "\"x\" is no address"),
            ("net 1.2.3.4", "\"1.2.3.4\" is no network"),
            ("net 1.2.3.4/33", "is no network"),
            ("port 65536", "\"65536\" is no port"),
            ("tcp udp", "a packet is of one protocol"),
            ("service mark:7", "is no service by an address"),
            ("service http:1.2.3.4:80", "\"http\" is not known"),
        ] {
            let said = text.parse::<Filter>().unwrap_err().to_string();
            assert!(said.contains(says) && said.contains("a filter is made of"), "{text}: {said}");
        }
    }

    proptest! {
        #[test]
        fn no_words_and_no_frames_are_too_odd(text in "((host|net|port|service|tcp|and) ?[0-9a-f.:/]{0,12} ?){0,4}", frame: Vec<u8>, short in 0_usize..80) {
            let parsed = text.parse::<Filter>();
            let whole = tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).frame();
            let filter = parsed.unwrap_or_else(|_| filter("port 80"));
            let _ = (filter.takes(&frame), filter.takes(whole.get(..short).unwrap_or(&whole)));
            let shown: Filter = filter.to_string().parse().unwrap();
            prop_assert_eq!(shown.takes(&whole), filter.takes(&whole));
        }
    }
}
