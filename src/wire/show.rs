//! One line of text for a frame, with every checksum verified: the notation of the recordings of Linux IPVS that the
//! director is compared with. For tests, replay and people; it allocates.

use super::checksum::{self, Sum};
use super::ethernet::{self, ethertype};
use super::{icmpv4, icmpv6, ipv4, ipv6, protocol, sctp, tcp, udp};
use sha1::{Digest, Sha1};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// How the IPv4 identification is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ident {
    /// As it is.
    Shown,
    /// As `*`, for packets whose identification is random. The packet inside a tunnel keeps its own.
    Masked,
}

/// Returns the line for an Ethernet frame. A frame too short for what it says it is becomes `short frame` and its bytes.
///
/// ```
/// use pollvs::wire::{sample, show};
/// let frame = sample::udp(sample::at("203.0.113.5:5353"), sample::at("192.0.2.11:53")).data(b"hi").frame();
/// assert_eq!(
///     show::frame(&frame, show::Ident::Shown),
///     "02:00:00:00:00:fe>02:00:00:00:00:01 IP 203.0.113.5 > 192.0.2.11 ttl=64 tos=0x00 id=1 len=30 DF | \
///      UDP 5353 > 53 len=10 data[2]=6869"
/// );
/// ```
pub fn frame(bytes: &[u8], ident: Ident) -> String {
    ethernet_line(bytes, ident).unwrap_or_else(|| format!("short frame {}", hex(bytes)))
}

/// Returns the line for an IP packet without a link-layer header.
pub fn packet(bytes: &[u8], ident: Ident) -> String {
    ip_line(bytes, Place::outermost(ident)).unwrap_or_else(|| format!("short packet {}", hex(bytes)))
}

/// How many packets inside one another are taken apart; the one below them is shown as data.
const MAX_DEPTH: u8 = 16;

/// Where a packet is.
#[derive(Clone, Copy)]
struct Place {
    /// How many packets it is inside of.
    depth: u8,
    /// An ICMP error quotes it; an error in it is not taken apart again.
    quoted: bool,
    ident: Ident,
}

impl Place {
    const fn outermost(ident: Ident) -> Self {
        Self { depth: 0, quoted: false, ident }
    }

    const fn in_quote(self) -> Self {
        Self { depth: self.depth + 1, quoted: true, ident: self.ident }
    }

    const fn in_tunnel(self) -> Self {
        Self { depth: self.depth + 1, quoted: false, ident: Ident::Shown }
    }
}

/// The payload of an IP packet, with what is needed to judge it.
struct Segment<'a> {
    protocol: u8,
    bytes: &'a [u8],
    src: IpAddr,
    dst: IpAddr,
    /// Where in the unfragmented payload it begins, in bytes.
    offset: u16,
    /// It is not there as a whole, so that its checksum says nothing.
    partial: bool,
    place: Place,
}

fn ethernet_line(bytes: &[u8], ident: Ident) -> Option<String> {
    let (header, payload) = bytes.split_at_checked(ethernet::HEADER_LEN)?;
    let [.., high, low] = *header else { return None };
    let frame = ethernet::Packet::new_unchecked(bytes);
    let text = match u16::from_be_bytes([high, low]) {
        ethertype::ARP => arp_line(payload)?,
        ethertype::IPV4 | ethertype::IPV6 => ip_line(payload, Place::outermost(ident))?,
        other => format!("ethertype {other:04x} {}", hex(payload)),
    };
    Some(format!("{}>{} {text}", frame.src(), frame.dst()))
}

fn arp_line(bytes: &[u8]) -> Option<String> {
    let message = super::arp::Packet::new_unchecked(bytes.get(..super::arp::LEN)?);
    let operation = match message.operation() {
        super::arp::operation::REQUEST => "who-has".to_owned(),
        super::arp::operation::REPLY => "reply".to_owned(),
        other => other.to_string(),
    };
    Some(format!("ARP {operation} {} tell {}", message.target_ip(), message.sender_ip()))
}

fn ip_line(bytes: &[u8], place: Place) -> Option<String> {
    if bytes.first()? >> 4 == 6 { ipv6_line(bytes, place) } else { ipv4_line(bytes, place) }
}

fn ipv6_line(bytes: &[u8], place: Place) -> Option<String> {
    bytes.get(..ipv6::HEADER_LEN)?;
    let packet = ipv6::Packet::new_unchecked(bytes);
    let (src, dst) = (packet.src(), packet.dst());
    let upper = Segment {
        protocol: packet.next_header(),
        bytes: packet.payload(),
        src: src.into(),
        dst: dst.into(),
        offset: 0,
        partial: packet.total_len() > bytes.len(),
        place,
    };
    let (hops, class, length) = (packet.hop_limit(), packet.traffic_class(), packet.payload_len());
    Some(format!("IP6 {src} > {dst} hlim={hops} tc=0x{class:02x} plen={length} | {}", segment_line(&upper)?))
}

fn ipv4_line(bytes: &[u8], place: Place) -> Option<String> {
    bytes.get(..ipv4::HEADER_LEN)?;
    let packet = ipv4::Packet::new_unchecked(bytes);
    let upper = Segment {
        protocol: packet.protocol(),
        bytes: packet.payload(),
        src: packet.src().into(),
        dst: packet.dst().into(),
        offset: packet.fragment_offset(),
        partial: usize::from(packet.total_len()) > bytes.len() || packet.is_fragment(),
        place,
    };
    Some(format!("{} | {}", ipv4_header(&packet, bytes, place.ident), segment_line(&upper)?))
}

fn ipv4_header(packet: &ipv4::Packet<&[u8]>, bytes: &[u8], ident: Ident) -> String {
    let shown = if ident == Ident::Masked { "*".to_owned() } else { packet.ident().to_string() };
    let mut text = format!(
        "IP {} > {} ttl={} tos=0x{:02x} id={shown} len={}",
        packet.src(),
        packet.dst(),
        packet.ttl(),
        packet.tos(),
        packet.total_len()
    );
    text += match (packet.dont_fragment(), packet.more_fragments()) {
        (false, false) => "",
        (true, false) => " DF",
        (false, true) => " MF",
        (true, true) => " DF+MF",
    };
    if packet.fragment_offset() > 0 {
        text += &format!(" frag@{}", packet.fragment_offset());
    }
    let header = clip(bytes, 0, packet.header_len());
    if !Sum::new().bytes(header).is_intact() {
        text += " BAD-IP-CSUM";
    }
    if packet.header_len() > ipv4::HEADER_LEN {
        text += &format!(" opts={}", hex(clip(bytes, ipv4::HEADER_LEN, packet.header_len())));
    }
    text
}

fn segment_line(segment: &Segment<'_>) -> Option<String> {
    if segment.offset > 0 {
        return Some(format!("proto {} fragment{}", segment.protocol, data(segment.bytes)));
    }
    match segment.protocol {
        other if segment.place.depth > MAX_DEPTH => Some(format!("proto {other}{}", data(segment.bytes))),
        protocol::TCP => tcp_line(segment),
        protocol::UDP => udp_line(segment),
        protocol::ICMP | protocol::ICMPV6 => icmp_line(segment),
        protocol::IPIP | protocol::IPV6 => {
            Some(format!("IPIP {{ {} }}", ip_line(segment.bytes, segment.place.in_tunnel())?))
        }
        protocol::GRE => gre_line(segment),
        protocol::SCTP => sctp_line(segment),
        other => Some(format!("proto {other}{}", data(segment.bytes))),
    }
}

fn tcp_line(segment: &Segment<'_>) -> Option<String> {
    segment.bytes.get(..8)?;
    let view = tcp::Packet::new_unchecked(segment.bytes);
    let start = format!("TCP {} > {}", view.src_port(), view.dst_port());
    if view.check_header().is_err() {
        return Some(format!("{start} seq={} (truncated)", view.seq()));
    }
    let mut text = format!("{start} {} seq={} ack={} win={}", view.flags(), view.seq(), view.ack(), view.window());
    if view.header_len() > tcp::HEADER_LEN {
        text += &format!(" opts={}", hex(view.options()));
    }
    Some(text + &data(view.payload()) + verdict(segment))
}

fn udp_line(segment: &Segment<'_>) -> Option<String> {
    let view = udp::Packet::new_checked(segment.bytes).ok()?;
    let none = if view.has_checksum() { "" } else { " csum=0" };
    let verdict = if view.has_checksum() { verdict(segment) } else { "" };
    let start = format!("UDP {} > {} len={}{none}", view.src_port(), view.dst_port(), view.length());
    Some(start + &data(view.payload()) + verdict)
}

fn icmp_line(segment: &Segment<'_>) -> Option<String> {
    let bytes = segment.bytes;
    let (kind, code) = (bytes.first()?, bytes.get(1)?);
    let is_v6 = segment.protocol == protocol::ICMPV6;
    let (name, header, verdict) = (if is_v6 { "ICMP6" } else { "ICMP" }, hex(clip(bytes, 4, 8)), verdict(segment));
    let text = format!("{name} type={kind} code={code} rest={header}{verdict}");
    let (v4, v6) = (icmpv4::Packet::new_unchecked(bytes), icmpv6::Packet::new_unchecked(bytes));
    let quoted = if is_v6 { v6.quoted() } else { v4.quoted() };
    match quoted {
        Some(quoted) if !segment.place.quoted && bytes.len() >= icmpv4::HEADER_LEN + ipv4::HEADER_LEN => {
            Some(format!("{text} {{{}}}", ip_line(quoted, segment.place.in_quote())?))
        }
        _ => Some(text + &data(v4.payload())),
    }
}

fn gre_line(segment: &Segment<'_>) -> Option<String> {
    let bytes = segment.bytes;
    let has_checksum = bytes.first()? & 0x80 != 0;
    let inner = clip(bytes, if has_checksum { 8 } else { 4 }, bytes.len());
    Some(format!("GRE {} {{ {} }}", hex(clip(bytes, 0, 4)), ip_line(inner, segment.place.in_tunnel())?))
}

fn sctp_line(segment: &Segment<'_>) -> Option<String> {
    segment.bytes.get(..8)?;
    let view = sctp::Packet::new_unchecked(segment.bytes);
    let chunks: Vec<String> = view.chunks().map(|chunk| chunk.kind.to_string()).collect();
    let is_good = segment.partial || (view.check_len().is_ok() && view.is_intact());
    let verdict = if is_good { "" } else { " BAD-CRC" };
    let (src, dst, tag) = (view.src_port(), view.dst_port(), view.tag());
    Some(format!("SCTP {src} > {dst} vtag={tag} chunks={}{verdict}", chunks.join(",")))
}

/// Returns what is to be said about the Internet checksum of a whole segment.
fn verdict(segment: &Segment<'_>) -> &'static str {
    let pseudo = if segment.protocol == protocol::ICMP { Sum::new() } else { pseudo_header(segment) };
    if segment.partial || pseudo.bytes(segment.bytes).is_intact() { "" } else { " BAD-CSUM" }
}

fn pseudo_header(segment: &Segment<'_>) -> Sum {
    let length = segment.bytes.len();
    match (segment.src, segment.dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => checksum::pseudo_ipv6(src, dst, segment.protocol, length as u32),
        (src, dst) => checksum::pseudo_ipv4(ipv4_of(src), ipv4_of(dst), segment.protocol, length as u16),
    }
}

fn ipv4_of(addr: IpAddr) -> Ipv4Addr {
    if let IpAddr::V4(addr) = addr { addr } else { Ipv4Addr::UNSPECIFIED }
}

/// Returns payload as text: short ones in full, long ones by their SHA-1.
fn data(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => String::new(),
        length @ ..=24 => format!(" data[{length}]={}", hex(bytes)),
        length => format!(" data[{length}]=sha1:{}", hex(clip(&Sha1::digest(bytes), 0, 6))),
    }
}

/// Returns the part of `start..end` that there is.
fn clip(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end.min(bytes.len())).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Frames of the recordings and the lines that these have for them, one of each shape, and some that they lack: text,
    /// then bytes.
    const RECORDED: &str = include_str!("../../tests/wire/recorded.txt");

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn recorded_frames_have_the_lines_of_the_recordings() {
        let lines: Vec<&str> = RECORDED.lines().collect();
        assert!(lines.len() > 40);
        for pair in lines.chunks(2) {
            assert_eq!(frame(&unhex(pair[1]), Ident::Shown), pair[0]);
        }
    }

    #[test]
    fn a_masked_identification_is_masked_outside_and_in_quotes_but_not_in_tunnels() {
        let lines: Vec<&str> = RECORDED.lines().collect();
        let masked = |with: &str| {
            let pair = lines.chunks(2).find(|pair| pair[0].contains(with)).unwrap();
            frame(&unhex(pair[1]), Ident::Masked).matches("id=*").count()
        };
        assert_eq!((masked("| TCP"), masked("| ICMP type=3"), masked("| IPIP"), masked("| GRE")), (1, 2, 1, 1));
    }

    #[test]
    fn a_frame_cut_in_its_headers_is_shown_as_bytes() {
        assert_eq!(frame(&[0xab, 0xcd], Ident::Shown), "short frame abcd");
        assert_eq!(packet(&[0x45, 0x00], Ident::Shown), "short packet 4500");
        assert_eq!(packet(&[], Ident::Shown), "short packet ");
    }

    /// A header length of zero makes an IPIP packet its own payload.
    #[test]
    fn a_packet_that_is_its_own_payload_is_shown_to_a_limit() {
        let mut bytes = crate::wire::sample::ip([192, 0, 2, 1], [192, 0, 2, 2], protocol::IPIP).packet();
        bytes[0] = 0x40;
        assert_eq!(packet(&bytes, Ident::Shown).matches("IPIP").count(), usize::from(MAX_DEPTH) + 1);
    }

    proptest! {
        #[test]
        fn nothing_panics(start in 0usize..60, bytes in proptest::collection::vec(any::<u8>(), 0..120), at in 0usize..300) {
            let recorded: Vec<&str> = RECORDED.lines().skip(1).step_by(2).collect();
            let mut damaged = unhex(recorded[start % recorded.len()]);
            let at = at % damaged.len();
            damaged.truncate(at);
            damaged.extend(bytes);
            prop_assert!(!frame(&damaged, Ident::Shown).is_empty());
        }
    }
}
