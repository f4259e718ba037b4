//! Frames for tests: any TCP, UDP, ICMP or SCTP packet over IPv4 or IPv6, whole or wrong in one chosen way. Everything has
//! a default, those of an ordinary packet from a client's router to the director. Not for the data path: it allocates,
//! and panics when asked for what does not exist.

use super::checksum::{self, Sum};
use super::tcp::TcpFlags;
use super::{ethernet, icmpv4, icmpv6, ipv4, ipv6, protocol, sctp, tcp, udp};
use crate::addr::MacAddr;
use std::net::{IpAddr, SocketAddr};

/// The router that the clients of [`Sample`] are behind, unless told otherwise.
pub const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
/// The port of the director that samples are sent to, unless told otherwise.
pub const DIRECTOR: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// A packet to be built; made by [`tcp()`], [`udp()`], [`icmp()`], [`sctp()`], [`ip()`].
///
/// ```
/// use pollvs::wire::sample;
/// let syn = sample::tcp(sample::at("203.0.113.5:1000"), sample::at("192.0.2.10:80")).seq(7).frame();
/// let reply = sample::tcp(sample::at("[2001:db8::11]:80"), sample::at("[2001:db8::5]:1000")).letters("SA").frame();
/// assert_eq!((syn.len(), reply.len()), (54, 74));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    src_mac: MacAddr,
    dst_mac: MacAddr,
    vlan: Option<u16>,
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    ttl: u8,
    tos: u8,
    flow_label: u32,
    ident: u32,
    dont_fragment: bool,
    fragment: Option<(u16, bool)>,
    ip_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    src_port: u16,
    dst_port: u16,
    flags: TcpFlags,
    seq: u32,
    ack: u32,
    window: u16,
    options: Vec<u8>,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    tag: u32,
    data: Vec<u8>,
    checksum: Checksum,
    bad_header: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksum {
    Right,
    Wrong,
    Absent,
}

/// Returns the address and port that are written as `192.0.2.10:80` or `[2001:db8::10]:80`.
///
/// # Panics
/// When the text is neither.
pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and port as in 192.0.2.10:80 or [2001:db8::10]:80")
}

/// Returns a SYN.
pub fn tcp(src: impl Into<SocketAddr>, dst: impl Into<SocketAddr>) -> Sample {
    Sample::new(protocol::TCP, src.into(), dst.into())
}

/// Returns a datagram without data.
pub fn udp(src: impl Into<SocketAddr>, dst: impl Into<SocketAddr>) -> Sample {
    Sample::new(protocol::UDP, src.into(), dst.into())
}

/// Returns a packet without chunks.
pub fn sctp(src: impl Into<SocketAddr>, dst: impl Into<SocketAddr>) -> Sample {
    Sample::new(protocol::SCTP, src.into(), dst.into())
}

/// Returns a message without data, ICMPv4 or ICMPv6 by its addresses.
pub fn icmp(src: impl Into<IpAddr>, dst: impl Into<IpAddr>, kind: u8, code: u8) -> Sample {
    let src = src.into();
    let protocol = if src.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    Sample { kind, code, ..ip(src, dst, protocol) }
}

/// Returns a packet of any protocol; what follows the IP header is its data.
pub fn ip(src: impl Into<IpAddr>, dst: impl Into<IpAddr>, protocol: u8) -> Sample {
    Sample::new(protocol, (src.into(), 0).into(), (dst.into(), 0).into())
}

/// What to put where, each for the packets that have it.
impl Sample {
    fn new(protocol: u8, src: SocketAddr, dst: SocketAddr) -> Self {
        assert_eq!(src.is_ipv4(), dst.is_ipv4(), "a packet has two addresses of one family");
        Self {
            src_mac: ROUTER,
            dst_mac: DIRECTOR,
            vlan: None,
            src: src.ip(),
            dst: dst.ip(),
            protocol,
            ttl: 64,
            tos: 0,
            flow_label: 0,
            ident: 1,
            dont_fragment: true,
            fragment: None,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            src_port: src.port(),
            dst_port: dst.port(),
            flags: TcpFlags::SYN,
            seq: 1000,
            ack: 0,
            window: 65535,
            options: Vec::new(),
            kind: 0,
            code: 0,
            rest: [0; 4],
            tag: 1,
            data: Vec::new(),
            checksum: Checksum::Right,
            bad_header: false,
        }
    }

    /// Ethernet source and destination.
    pub fn macs(self, src: MacAddr, dst: MacAddr) -> Self {
        Self { src_mac: src, dst_mac: dst, ..self }
    }

    /// A VLAN tag.
    pub fn vlan(self, vlan: u16) -> Self {
        Self { vlan: Some(vlan), ..self }
    }

    /// Time to live or hop limit.
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// Type of service or traffic class.
    pub fn tos(self, tos: u8) -> Self {
        Self { tos, ..self }
    }

    /// IPv6 flow label.
    pub fn flow_label(self, flow_label: u32) -> Self {
        Self { flow_label, ..self }
    }

    /// Identification; 16 bits of it in IPv4.
    pub fn ident(self, ident: u32) -> Self {
        Self { ident, ..self }
    }

    /// Whether an IPv4 packet must not be fragmented.
    pub fn dont_fragment(self, dont_fragment: bool) -> Self {
        Self { dont_fragment, ..self }
    }

    /// IPv4 options, padded to a multiple of 4 bytes.
    pub fn ip_options(self, options: &[u8]) -> Self {
        Self { ip_options: padded(options), ..self }
    }

    /// An IPv6 extension header before the payload, after those that are there: its protocol number and what follows
    /// its next header and length fields, padded.
    pub fn extension(mut self, protocol: u8, value: &[u8]) -> Self {
        let mut header = vec![0, 0];
        header.extend(value);
        header.resize(header.len().next_multiple_of(8), 0);
        header[1] = u8::try_from(header.len() / 8 - 1).expect("an extension header is at most 2048 bytes long");
        self.extensions.push((protocol, header));
        self
    }

    /// TCP flags.
    pub fn flags(self, flags: TcpFlags) -> Self {
        Self { flags, ..self }
    }

    /// TCP flags by their letters, as in `SA`.
    ///
    /// # Panics
    /// When a letter is no flag's.
    pub fn letters(self, letters: &str) -> Self {
        self.flags(TcpFlags::from_letters(letters).expect("letters of FSRPAUEC"))
    }

    /// TCP sequence number.
    pub fn seq(self, seq: u32) -> Self {
        Self { seq, ..self }
    }

    /// TCP acknowledgement number.
    pub fn ack(self, ack: u32) -> Self {
        Self { ack, ..self }
    }

    /// TCP window.
    pub fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    /// TCP options, padded to a multiple of 4 bytes.
    pub fn options(self, options: &[u8]) -> Self {
        Self { options: padded(options), ..self }
    }

    /// The second word of an ICMP header.
    pub fn rest(self, rest: [u8; 4]) -> Self {
        Self { rest, ..self }
    }

    /// SCTP verification tag.
    pub fn tag(self, tag: u32) -> Self {
        Self { tag, ..self }
    }

    /// An SCTP chunk after those that are there.
    pub fn chunk(mut self, kind: u8, flags: u8, value: &[u8]) -> Self {
        let start = self.data.len();
        self.data.resize(start + 4 + value.len().next_multiple_of(4), 0);
        sctp::emit_chunk(&mut self.data[start..], &sctp::Chunk { kind, flags, value })
            .expect("a chunk is at most 65535 bytes long");
        self
    }

    /// What follows the headers; of an ICMP error, the packet that it quotes.
    pub fn data(self, data: impl Into<Vec<u8>>) -> Self {
        Self { data: data.into(), ..self }
    }

    /// A wrong checksum in the transport header.
    pub fn bad_checksum(self) -> Self {
        Self { checksum: Checksum::Wrong, ..self }
    }

    /// A checksum field of zero, which in UDP means that there is none.
    pub fn no_checksum(self) -> Self {
        Self { checksum: Checksum::Absent, ..self }
    }

    /// A wrong checksum in the IPv4 header.
    pub fn bad_header_checksum(self) -> Self {
        Self { bad_header: true, ..self }
    }
}

/// The results.
impl Sample {
    /// Returns the Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        self.framed(&self.packet())
    }

    /// Returns the IP packet.
    pub fn packet(&self) -> Vec<u8> {
        self.ip_packet(&self.transport())
    }

    /// Returns what follows the IP header and its extensions.
    pub fn transport(&self) -> Vec<u8> {
        match self.protocol {
            protocol::TCP => self.tcp_bytes(),
            protocol::UDP => self.udp_bytes(),
            protocol::ICMP => self.icmpv4_bytes(),
            protocol::ICMPV6 => self.icmpv6_bytes(),
            protocol::SCTP => self.sctp_bytes(),
            _ => self.data.clone(),
        }
    }

    /// Returns the frames of the packet in fragments that each carry `size` bytes, a multiple of 8, of what follows the
    /// IP header; the last carries what is left.
    ///
    /// # Panics
    /// When the size is no multiple of 8.
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        assert!(size > 0 && size.is_multiple_of(8), "fragments begin at multiples of 8 bytes");
        let whole = self.transport();
        let parts = whole.chunks(size).enumerate();
        parts.map(|(index, part)| self.fragment(index * size, (index + 1) * size < whole.len(), part)).collect()
    }

    /// Returns the frame of a fragment that begins at `offset` bytes and carries `part`.
    fn fragment(&self, offset: usize, more: bool, part: &[u8]) -> Vec<u8> {
        let offset = u16::try_from(offset).expect("a packet is at most 65535 bytes long");
        let fragment = Self { fragment: Some((offset, more)), dont_fragment: false, ..self.clone() };
        self.framed(&fragment.ip_packet(part))
    }

    fn framed(&self, packet: &[u8]) -> Vec<u8> {
        let ethertype = if self.src.is_ipv4() { ethernet::ethertype::IPV4 } else { ethernet::ethertype::IPV6 };
        let repr = ethernet::Repr { dst: self.dst_mac, src: self.src_mac, vlan: self.vlan, ethertype };
        let mut frame = vec![0; repr.header_len()];
        repr.emit(&mut ethernet::Packet::new_unchecked(&mut frame));
        frame.extend(packet);
        frame
    }

    fn ip_packet(&self, payload: &[u8]) -> Vec<u8> {
        if self.src.is_ipv4() { self.ipv4_packet(payload) } else { self.ipv6_packet(payload) }
    }

    fn ipv4_packet(&self, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (self.src, self.dst) else { unreachable!("both are IPv4") };
        let (fragment_offset, more_fragments) = self.fragment.unwrap_or_default();
        let repr = ipv4::Repr {
            src,
            dst,
            protocol: self.protocol,
            payload_len: length(payload),
            ttl: self.ttl,
            tos: self.tos,
            ident: self.ident as u16,
            dont_fragment: self.dont_fragment,
            more_fragments,
            fragment_offset,
        };
        let mut bytes = vec![0; ipv4::HEADER_LEN];
        bytes.extend(&self.ip_options);
        let mut packet = ipv4::Packet::new_unchecked(&mut bytes);
        repr.emit_with_options(&mut packet, self.ip_options.len());
        if self.bad_header {
            packet.set_checksum(packet.checksum() ^ 0x5555);
        }
        bytes.extend(payload);
        bytes
    }

    fn ipv6_packet(&self, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (self.src, self.dst) else { unreachable!("both are IPv6") };
        let (next_header, extensions) = self.chain();
        let repr = ipv6::Repr {
            src,
            dst,
            next_header,
            payload_len: length(&extensions) + length(payload),
            hop_limit: self.ttl,
            traffic_class: self.tos,
            flow_label: self.flow_label,
        };
        let mut bytes = vec![0; ipv6::HEADER_LEN];
        repr.emit(&mut ipv6::Packet::new_unchecked(&mut bytes));
        bytes.extend(extensions);
        bytes.extend(payload);
        bytes
    }

    /// Returns the extension headers, the fragment header last, and what the first is.
    fn chain(&self) -> (u8, Vec<u8>) {
        let (mut next, mut bytes) = (self.protocol, Vec::new());
        if let Some((offset, more)) = self.fragment {
            bytes.extend(ipv6::Fragment { offset, more, ident: self.ident }.to_bytes(next));
            next = protocol::FRAGMENT;
        }
        for (kind, header) in self.extensions.iter().rev() {
            let mut header = header.clone();
            header[0] = next;
            bytes.splice(0..0, header);
            next = *kind;
        }
        (next, bytes)
    }

    fn tcp_bytes(&self) -> Vec<u8> {
        let repr = tcp::Repr {
            src_port: self.src_port,
            dst_port: self.dst_port,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            options_len: self.options.len(),
        };
        let mut bytes = [&[0; tcp::HEADER_LEN][..], &self.options, &self.data].concat();
        let pseudo = self.pseudo_header(bytes.len());
        let mut segment = tcp::Packet::new_unchecked(&mut bytes);
        repr.emit(&mut segment);
        segment.fill_checksum(pseudo);
        segment.set_checksum(self.spoilt(segment.checksum()));
        bytes
    }

    fn udp_bytes(&self) -> Vec<u8> {
        let mut bytes = [&[0; udp::HEADER_LEN][..], &self.data].concat();
        let pseudo = self.pseudo_header(bytes.len());
        let repr = udp::Repr { src_port: self.src_port, dst_port: self.dst_port, length: length(&bytes) };
        let mut datagram = udp::Packet::new_unchecked(&mut bytes);
        repr.emit(&mut datagram);
        datagram.fill_checksum(pseudo);
        datagram.set_checksum(self.spoilt(datagram.checksum()));
        bytes
    }

    fn icmpv4_bytes(&self) -> Vec<u8> {
        let mut bytes = [&[0; icmpv4::HEADER_LEN][..], &self.data].concat();
        let mut message = icmpv4::Packet::new_unchecked(&mut bytes);
        icmpv4::Repr { kind: self.kind, code: self.code, rest: self.rest }.emit(&mut message);
        message.set_checksum(self.spoilt(message.checksum()));
        bytes
    }

    fn icmpv6_bytes(&self) -> Vec<u8> {
        let mut bytes = [&[0; icmpv6::HEADER_LEN][..], &self.data].concat();
        let pseudo = self.pseudo_header(bytes.len());
        let mut message = icmpv6::Packet::new_unchecked(&mut bytes);
        icmpv6::Repr { kind: self.kind, code: self.code, rest: self.rest }.emit(&mut message, pseudo);
        message.set_checksum(self.spoilt(message.checksum()));
        bytes
    }

    fn sctp_bytes(&self) -> Vec<u8> {
        let mut bytes = [&[0; sctp::HEADER_LEN][..], &self.data].concat();
        let repr = sctp::Repr { src_port: self.src_port, dst_port: self.dst_port, tag: self.tag };
        repr.emit(&mut sctp::Packet::new_unchecked(&mut bytes));
        match self.checksum {
            Checksum::Right => {}
            Checksum::Wrong => bytes[8] ^= 0x55,
            Checksum::Absent => bytes[8..12].fill(0),
        }
        bytes
    }

    fn spoilt(&self, checksum: u16) -> u16 {
        match self.checksum {
            Checksum::Right => checksum,
            Checksum::Wrong => checksum ^ 0x5555,
            Checksum::Absent => 0,
        }
    }

    fn pseudo_header(&self, length: usize) -> Sum {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => checksum::pseudo_ipv4(src, dst, self.protocol, length as u16),
            (IpAddr::V6(src), IpAddr::V6(dst)) => checksum::pseudo_ipv6(src, dst, self.protocol, length as u32),
            _ => unreachable!("both addresses are of one family"),
        }
    }
}

fn padded(options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    assert!(options.len() <= 40, "a header has room for 40 bytes of options");
    options
}

fn length(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).expect("a packet is at most 65535 bytes long")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::show::{Ident, packet};

    fn shown(sample: &Sample) -> String {
        packet(&sample.packet(), Ident::Shown)
    }

    #[test]
    fn every_kind_of_packet_is_what_it_says() {
        let (src, dst) = (at("203.0.113.5:1000"), at("192.0.2.10:80"));
        let (src6, dst6) = (at("[2001:db8:3::5]:1000"), at("[2001:db8:1::10]:80"));
        let v4 = "IP 203.0.113.5 > 192.0.2.10 ttl=64 tos=0x00 id=1";
        let v6 = "IP6 2001:db8:3::5 > 2001:db8:1::10 hlim=64 tc=0x00";
        let quote = tcp(dst, src).packet();
        let table = [
            (tcp(src, dst), format!("{v4} len=40 DF | TCP 1000 > 80 S seq=1000 ack=0 win=65535")),
            (
                tcp(src6, dst6).letters("SA").seq(1).ack(2).window(3).options(&[2, 4, 5, 0xb4]).data(*b"x"),
                format!("{v6} plen=25 | TCP 1000 > 80 SA seq=1 ack=2 win=3 opts=020405b4 data[1]=78"),
            ),
            (
                tcp(src, dst).bad_checksum(),
                format!("{v4} len=40 DF | TCP 1000 > 80 S seq=1000 ack=0 win=65535 BAD-CSUM"),
            ),
            (udp(src, dst).data(*b"a"), format!("{v4} len=29 DF | UDP 1000 > 80 len=9 data[1]=61")),
            (udp(src6, dst6).bad_checksum(), format!("{v6} plen=8 | UDP 1000 > 80 len=8 BAD-CSUM")),
            (udp(src, dst).no_checksum(), format!("{v4} len=28 DF | UDP 1000 > 80 len=8 csum=0")),
            (icmp(src.ip(), dst.ip(), 8, 0).rest([1; 4]), format!("{v4} len=28 DF | ICMP type=8 code=0 rest=01010101")),
            (
                icmp(src6.ip(), dst6.ip(), 128, 0).data(*b"a"),
                format!("{v6} plen=9 | ICMP6 type=128 code=0 rest=00000000 data[1]=61"),
            ),
            (
                icmp(src.ip(), dst.ip(), 3, 4).data(quote),
                format!(
                    "{v4} len=68 DF | ICMP type=3 code=4 rest=00000000 {{IP 192.0.2.10 > 203.0.113.5 ttl=64 tos=0x00 \
                     id=1 len=40 DF | TCP 80 > 1000 S seq=1000 ack=0 win=65535}}"
                ),
            ),
            (
                sctp(src, dst).tag(9).chunk(1, 0, b"abcde").chunk(3, 0, b""),
                format!("{v4} len=48 DF | SCTP 1000 > 80 vtag=9 chunks=1,3"),
            ),
            (sctp(src, dst).bad_checksum(), format!("{v4} len=32 DF | SCTP 1000 > 80 vtag=1 chunks= BAD-CRC")),
            (ip(src.ip(), dst.ip(), 50).data(*b"a"), format!("{v4} len=21 DF | proto 50 data[1]=61")),
        ];
        for (sample, expected) in table {
            assert_eq!(shown(&sample), expected);
        }
    }

    #[test]
    fn the_ip_header_is_as_asked_for() {
        let sample = udp(at("203.0.113.5:1000"), at("192.0.2.10:80")).ttl(1).tos(0x10).ident(7).dont_fragment(false);
        assert_eq!(
            shown(&sample.ip_options(&[0x94, 4, 0]).bad_header_checksum()),
            "IP 203.0.113.5 > 192.0.2.10 ttl=1 tos=0x10 id=7 len=32 BAD-IP-CSUM opts=94040000 | UDP 1000 > 80 len=8"
        );
    }

    #[test]
    fn extensions_come_before_the_fragment_header() {
        let sample = udp(at("[2001:db8:3::5]:1000"), at("[2001:db8:1::10]:80"))
            .extension(protocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
            .extension(protocol::DESTINATION_OPTIONS, &[1, 12])
            .flow_label(5)
            .ident(99)
            .data(vec![7; 20]);
        let whole = sample.packet();
        let upper = ipv6::Packet::new_checked(&whole).unwrap().upper().unwrap();
        assert_eq!((upper.protocol, upper.offset, upper.fragment), (protocol::UDP, 56, None));
        let frames = sample.fragments(16);
        assert_eq!(frames.len(), 2);
        let packet = ipv6::Packet::new_checked(&frames[1][14..]).unwrap();
        let upper = packet.upper().unwrap();
        let fragment = ipv6::Fragment { offset: 16, more: false, ident: 99 };
        assert_eq!((upper.protocol, upper.offset, upper.fragment), (protocol::UDP, 64, Some(fragment)));
        assert_eq!((packet.flow_label(), packet.payload().len()), (5, 24 + 12));
    }

    #[test]
    fn fragments_together_are_the_packet() {
        let sample = udp(at("203.0.113.5:1000"), at("192.0.2.10:80")).data((0..100).collect::<Vec<u8>>());
        let frames = sample.fragments(48);
        let packets: Vec<_> = frames.iter().map(|frame| ipv4::Packet::new_checked(&frame[14..]).unwrap()).collect();
        let payload: Vec<u8> = packets.iter().flat_map(|packet| packet.payload().to_vec()).collect();
        assert_eq!(payload, sample.transport());
        let places: Vec<_> = packets.iter().map(|packet| (packet.fragment_offset(), packet.more_fragments())).collect();
        assert_eq!(places, [(0, true), (48, true), (96, false)]);
        assert!(packets.iter().all(|packet| packet.is_intact() && !packet.dont_fragment()));
    }

    #[test]
    fn a_tag_and_addresses_are_in_the_frame() {
        let (a, b) = (MacAddr([2, 0, 0, 0, 1, 1]), MacAddr([2, 0, 0, 0, 1, 2]));
        let bytes = tcp(at("[2001:db8:3::5]:1000"), at("[2001:db8:1::10]:80")).macs(a, b).vlan(7).frame();
        let frame = ethernet::Packet::new_checked(&bytes).unwrap();
        assert_eq!((frame.src(), frame.dst(), frame.vlan(), frame.ethertype()), (a, b, Some(7), 0x86dd));
        assert_eq!(frame.payload()[0] >> 4, 6);
    }
}
