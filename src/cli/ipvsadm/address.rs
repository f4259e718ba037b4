//! Addresses as ipvsadm takes and shows them: `192.0.2.10:80`, `192.0.2.10`, `[2001:db8::1]:80`, a bare IPv6 address, a port by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cli::ipvsadm::names::Names;
use crate::service::{Protocol, ServiceKey};

/// An address and the port, if one was typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    /// The address.
    pub(crate) address: IpAddr,
    /// The port.
    pub(crate) port: Option<u16>,
}

/// Reads `host[:port]`. An address in brackets must carry a port.
pub(crate) fn parse(text: &str, protocol: Protocol, names: &Names) -> Option<Endpoint> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once("]:")?;
        let address = IpAddr::V6(address.parse().ok()?);
        return Some(Endpoint { address, port: Some(port_of(port, protocol, names)?) });
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(Endpoint { address: IpAddr::V6(address), port: None });
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let address = inet_aton(name).map(IpAddr::V4).or_else(|| names.host(name))?;
    let port = match port {
        Some(port) => Some(port_of(port, protocol, names)?),
        None => None,
    };
    Some(Endpoint { address, port })
}

fn port_of(text: &str, protocol: Protocol, names: &Names) -> Option<u16> {
    text.parse().ok().or_else(|| names.port(protocol, text))
}

/// Writes `address:port`, the port by name unless `numeric`.
pub(crate) fn show(address: SocketAddr, protocol: Protocol, names: Option<&Names>) -> String {
    let port =
        names.and_then(|n| n.name(protocol, address.port())).map_or_else(|| address.port().to_string(), str::to_owned);
    match address.ip() {
        IpAddr::V4(a) => format!("{a}:{port}"),
        IpAddr::V6(a) => format!("[{a}]:{port}"),
    }
}

/// The protocol by which ports of a service's listing are named; those of a mark are not.
pub(crate) fn protocol_of(key: &ServiceKey) -> Protocol {
    match key {
        ServiceKey::Address { protocol, .. } => *protocol,
        ServiceKey::Mark { .. } => Protocol::Other(0),
    }
}

/// An IPv4 address in any of the forms of inet_aton(3): one to four numbers, the last of which fills the rest, each decimal, octal with
/// a leading 0, or hexadecimal with 0x.
pub(crate) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = text.split('.').map(aton_number).collect::<Option<_>>()?;
    let (last, bytes) = numbers.split_last().filter(|(_, bytes)| bytes.len() < 4)?;
    let room = u32::MAX.checked_shr(8 * u32::try_from(bytes.len()).ok()?)?;
    if *last > room || bytes.iter().any(|byte| *byte > 255) {
        return None;
    }
    let high = bytes.iter().zip([24, 16, 8]).map(|(byte, shift)| byte << shift);
    Some(Ipv4Addr::from_bits(high.fold(*last, |all, byte| all | byte)))
}

fn aton_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
    u32::from_str_radix(digits, radix).ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_ipvsadm_reads_them() {
        let names = Names::default();
        let read = |text| parse(text, Protocol::Tcp, &names).map(|e| (e.address.to_string(), e.port));
        for (text, address, port) in [
            ("192.0.2.10:80", "192.0.2.10", Some(80)),
            ("192.0.2.10", "192.0.2.10", None),
            ("192.0.2.10:http", "192.0.2.10", Some(80)),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("2001:db8::1", "2001:db8::1", None),
        ] {
            assert_eq!(read(text), Some((address.to_owned(), port)), "{text}");
        }
        for text in
            ["", "300.1.1.1:80", "192.0.2.10:99999", "192.0.2.10:1x", "[2001:db8::7]", "nonsense..name:80", ":80"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_mask_may_be_written_as_inet_aton_takes_it() {
        for (text, mask) in [
            ("255.255.255.0", Some([255, 255, 255, 0])),
            ("64", Some([0, 0, 0, 64])),
            ("4294967040", Some([255, 255, 255, 0])),
            ("0xffff0000", Some([255, 255, 0, 0])),
            ("255.0xff00", Some([255, 0, 255, 0])),
            ("255.010.256", Some([255, 8, 1, 0])),
            ("255.255.65536", None),
            ("256.0.0.0", None),
            ("1.2.3.4.5", None),
            ("1..2", None),
            ("+1", None),
            ("", None),
            ("08", None),
        ] {
            assert_eq!(inet_aton(text), mask.map(Ipv4Addr::from), "{text}");
        }
    }
}
