//! Encapsulation: IP in IP (RFC 2003, RFC 2473), GRE (RFC 2784) and GUE (draft-ietf-intarea-gue), with the outer header as the kernel makes it (semantics of `ip_vs_xmit.c`): type of
//! service, TTL and DF are the inner packet's, and a congestion mark becomes ECT(0). IPv6 has no DF and gives none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::destination::Tunnel;
use crate::forward::{ETHERNET, Offsets};
use crate::frame::Frame;
use crate::snapshot::Path;
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, gre, gue, ipv4, ipv6, protocol, udp};

/// Congestion experienced (RFC 3168).
const CE: u8 = 3;
/// ECN-capable transport, codepoint 0.
const ECT0: u8 = 2;

/// What of the inner header goes into the outer one.
#[derive(Clone, Copy, Debug)]
struct Inner {
    v6: bool,
    tos: u8,
    ttl: u8,
    length: usize,
}

impl Inner {
    fn read(bytes: &[u8], at: &Offsets) -> Self {
        let header = bytes.get(at.l3..).unwrap_or_default();
        let length = at.end.saturating_sub(at.l3);
        if header.first().is_some_and(|b| b >> 4 == 6) {
            let ip = ipv6::Packet::new_unchecked(header);
            return Self { v6: true, tos: ip.traffic_class(), ttl: ip.hop_limit(), length };
        }
        let ip = ipv4::Packet::new_unchecked(header);
        Self { v6: false, tos: ip.tos(), ttl: ip.ttl(), length }
    }

    /// The outer type of service.
    fn outer_tos(self) -> u8 {
        if self.tos & 3 == CE { self.tos & !3 | ECT0 } else { self.tos }
    }

    fn protocol(self) -> u8 {
        if self.v6 { protocol::IPV6 } else { protocol::IPIP }
    }
}

/// What stands between the outer IP header and the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shim {
    None,
    Gre { checksum: bool },
    Gue { port: u16, checksum: bool },
}

impl Shim {
    fn of(tunnel: Tunnel) -> Self {
        match tunnel {
            Tunnel::Ipip => Self::None,
            Tunnel::Gre { checksum } => Self::Gre { checksum },
            Tunnel::Gue { port, checksum, remote_checksum } => {
                Self::Gue { port, checksum: checksum || remote_checksum }
            }
        }
    }

    fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Gre { checksum } => gre::HEADER_LEN + if checksum { 4 } else { 0 },
            Self::Gue { .. } => udp::HEADER_LEN + gue::HEADER_LEN,
        }
    }

    /// The protocol that the outer header names.
    fn protocol(self, inner: Inner) -> u8 {
        match self {
            Self::None => inner.protocol(),
            Self::Gre { .. } => protocol::GRE,
            Self::Gue { .. } => protocol::UDP,
        }
    }

    /// Writes the shim at the start of `payload`, the outer packet's; `pseudo` is the outer pseudo header's sum.
    fn write(self, payload: &mut [u8], inner: Inner, source_port: u16, pseudo: Sum) {
        match self {
            Self::None => {}
            Self::Gre { checksum } => {
                let ethertype = if inner.v6 { ethernet::ethertype::IPV6 } else { ethernet::ethertype::IPV4 };
                gre::Repr { protocol: ethertype, checksum }.emit(&mut gre::Packet::new_unchecked(payload));
            }
            Self::Gue { port, checksum } => {
                let Some(length) = u16::try_from(payload.len()).ok() else { return };
                let [s0, s1] = source_port.to_be_bytes();
                let [d0, d1] = port.to_be_bytes();
                let [l0, l1] = length.to_be_bytes();
                // UDP with no checksum yet, then GUE version 0 with no flags and no options.
                let header = [s0, s1, d0, d1, l0, l1, 0, 0, 0, inner.protocol(), 0, 0];
                if let Some(field) = payload.first_chunk_mut() {
                    *field = header;
                }
                if checksum {
                    udp::Packet::new_unchecked(payload).fill_checksum(pseudo);
                }
            }
        }
    }
}

/// What the director chooses for an outer header.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// The director's address towards the real server.
    pub from: IpAddr,
    /// The real server.
    pub to: IpAddr,
    /// The encapsulation.
    pub tunnel: Tunnel,
    /// Identification.
    pub ident: u16,
    /// DF, where there is one.
    pub dont_fragment: bool,
    /// Source port of GUE: the same for all packets of a connection.
    pub source_port: u16,
}

/// Bytes that the outer headers add towards `address`.
#[inline]
pub fn overhead(address: IpAddr, tunnel: Tunnel) -> usize {
    let header = if address.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    header + Shim::of(tunnel).len()
}

/// Does a tunnel over IPv6, whose way takes so much, leave less than IPv6 must have? The kernel then drops, without a word, whatever
/// should go through it.
#[inline]
pub fn is_too_narrow(path: &Path, mtu: u16) -> bool {
    let too_little = |to: IpAddr| usize::from(mtu) < usize::from(ipv6::LEAST_MTU) + overhead(to, path.tunnel);
    path.address.is_some_and(|to| to.is_ipv6() && too_little(to))
}

/// Puts the outer headers in front of the packet, whose TTL has been decremented. False when the buffer has no room or the two
/// addresses are not of one family; nothing is changed then.
#[inline]
pub fn encapsulate<F: Frame>(frame: &mut F, at: &Offsets, outer: &Outer) -> bool {
    let inner = Inner::read(frame.bytes(), at);
    match (outer.from, outer.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => in_ipv4(frame, at, inner, outer, from, to),
        (IpAddr::V6(from), IpAddr::V6(to)) => in_ipv6(frame, at, inner, outer, from, to),
        _ => false,
    }
}

fn in_ipv4<F: Frame>(frame: &mut F, at: &Offsets, inner: Inner, outer: &Outer, from: Ipv4Addr, to: Ipv4Addr) -> bool {
    let shim = Shim::of(outer.tunnel);
    let length = inner.length + shim.len();
    let Ok(total_len) = u16::try_from(length + ipv4::HEADER_LEN) else { return false };
    if !open(frame, at, ipv4::HEADER_LEN + shim.len(), ethernet::ethertype::IPV4) {
        return false;
    }
    let (ident, ends) = ((outer.ident, outer.dont_fragment), [from.to_bits(), to.to_bits()]);
    let header = ipv4_header(inner, shim.protocol(inner), total_len, ident, ends);
    let header = ipv4::Packet::new_unchecked(header);
    let pseudo = header.pseudo_header(total_len - 20);
    put(frame, &header.into_inner(), length, |payload| shim.write(payload, inner, outer.source_port, pseudo));
    true
}

/// The outer header of IPv4 around `inner`, between these addresses.
#[inline]
fn ipv4_header(
    inner: Inner,
    protocol: u8,
    total_len: u16,
    (ident, dont_fragment): (u16, bool),
    ends: [u32; 2],
) -> [u8; ipv4::HEADER_LEN] {
    let fixed = if dont_fragment { 0x4000_u16 } else { 0 };
    let mut header = [0; ipv4::HEADER_LEN];
    header[0] = 0x45;
    header[1] = inner.outer_tos();
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[4..6].copy_from_slice(&ident.to_be_bytes());
    header[6..8].copy_from_slice(&fixed.to_be_bytes());
    header[8] = inner.ttl;
    header[9] = protocol;
    header[12..16].copy_from_slice(&ends[0].to_be_bytes());
    header[16..20].copy_from_slice(&ends[1].to_be_bytes());
    let mut header = ipv4::Packet::new_unchecked(header);
    header.fill_checksum();
    header.into_inner()
}

/// The header of IP in IP (RFC 2003) in front of `inner`, an IPv4 header without options whose TTL has been decremented. DF is the
/// inner packet's; with it `ident` is not asked for.
#[inline]
pub fn ipip_header(
    inner: &[u8; ipv4::HEADER_LEN],
    ident: impl FnOnce() -> u16,
    ends: [u32; 2],
) -> [u8; ipv4::HEADER_LEN] {
    let ip = ipv4::Packet::new_unchecked(inner);
    let (length, dont_fragment) = (ip.total_len(), ip.dont_fragment());
    let inner = Inner { v6: false, tos: ip.tos(), ttl: ip.ttl(), length: length.into() };
    let ident = if dont_fragment { 0 } else { ident() };
    ipv4_header(inner, protocol::IPIP, length + ipv4::HEADER_LEN as u16, (ident, dont_fragment), ends)
}

fn in_ipv6<F: Frame>(frame: &mut F, at: &Offsets, inner: Inner, outer: &Outer, from: Ipv6Addr, to: Ipv6Addr) -> bool {
    let shim = Shim::of(outer.tunnel);
    let length = inner.length + shim.len();
    let Ok(payload_len) = u16::try_from(length) else { return false };
    if !open(frame, at, ipv6::HEADER_LEN + shim.len(), ethernet::ethertype::IPV6) {
        return false;
    }
    let header = ipv6_header(inner, shim.protocol(inner), payload_len, [from, to]);
    let pseudo = ipv6::Packet::new_unchecked(&header[..]).pseudo_header(header[6], u32::from(payload_len));
    put(frame, &header, length, |payload| shim.write(payload, inner, outer.source_port, pseudo));
    true
}

/// The outer header of IPv6 around `inner`, between these addresses.
#[inline]
fn ipv6_header(inner: Inner, protocol: u8, payload_len: u16, ends: [Ipv6Addr; 2]) -> [u8; ipv6::HEADER_LEN] {
    let mut header = [0; ipv6::HEADER_LEN];
    header[0..4].copy_from_slice(&(0x6000_0000 | u32::from(inner.outer_tos()) << 20).to_be_bytes());
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    header[6] = protocol;
    header[7] = inner.ttl;
    header[8..24].copy_from_slice(&ends[0].octets());
    header[24..40].copy_from_slice(&ends[1].octets());
    header
}

/// The header of IPv6 in IPv6 (RFC 2473) in front of `inner`, an IPv6 header whose hop limit has been decremented, of a packet of at most
/// 65,535 bytes with its header.
#[inline]
pub fn ipip_header_v6(inner: &[u8; ipv6::HEADER_LEN], ends: [Ipv6Addr; 2]) -> [u8; ipv6::HEADER_LEN] {
    let ip = ipv6::Packet::new_unchecked(inner);
    let length = ip.payload_len().wrapping_add(ipv6::HEADER_LEN as u16);
    let inner = Inner { v6: true, tos: ip.traffic_class(), ttl: ip.hop_limit(), length: length.into() };
    ipv6_header(inner, protocol::IPV6, length, ends)
}

/// Makes room for an outer header of `len` bytes between Ethernet and IP, and sets the ethertype. The MACs follow later.
fn open<F: Frame>(frame: &mut F, at: &Offsets, len: usize, ethertype: u16) -> bool {
    let room = (len + ETHERNET).saturating_sub(at.l3);
    if !frame.prepend(room) {
        return false;
    }
    if let Some(field) = frame.bytes_mut().get_mut(12..ETHERNET) {
        field.copy_from_slice(&ethertype.to_be_bytes());
    }
    true
}

/// Writes the outer IP header, and what is between it and the packet.
fn put<F: Frame>(frame: &mut F, header: &[u8], length: usize, shim: impl FnOnce(&mut [u8])) {
    let Some(packet) = frame.bytes_mut().get_mut(ETHERNET..) else { return };
    let Some((field, payload)) = packet.split_at_mut_checked(header.len()) else { return };
    field.copy_from_slice(header);
    if let Some(payload) = payload.get_mut(..length) {
        shim(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::VecFrame;
    use crate::wire::sample::{at, tcp};

    /// The outer headers of recorded packets: destination's last byte, encapsulation, GUE's source port, bytes.
    const RECORDED: [(u8, u16, Tunnel, u16, &str); 5] = [
        (15, 0, Tunnel::Gre { checksum: true }, 0, "45000044000040003f2fe713c6336401c633640f80000800762a0000"),
        (14, 1, Tunnel::Gre { checksum: false }, 0, "45000040000040003f2fe718c6336401c633640e00000800"),
        (
            12,
            3,
            Tunnel::Gue { port: 6080, checksum: true, remote_checksum: false },
            60777,
            "45000048000040003f11e730c6336401c633640ced6917c00034a40e00040000",
        ),
        (
            12,
            3,
            Tunnel::Gue { port: 6080, checksum: false, remote_checksum: true },
            60777,
            "45000048000040003f11e730c6336401c633640ced6917c00034a40e00040000",
        ),
        (
            11,
            4,
            Tunnel::Gue { port: 6080, checksum: false, remote_checksum: false },
            44750,
            "45000048000040003f11e731c6336401c633640baece17c00034000000040000",
        ),
    ];

    #[test]
    fn outer_headers_are_those_that_the_kernel_made() {
        for (server, n, tunnel, source_port, recorded) in RECORDED {
            let client = format!("203.0.113.5:{}", 1000 + n);
            let sample = tcp(at(&client), at("192.0.2.10:80")).ident(101 + u32::from(n)).ttl(63);
            let inner = sample.packet();
            let mut frame = VecFrame::new(&sample.frame());
            let offsets = Offsets { l3: ETHERNET, l4: 34, end: ETHERNET + inner.len(), protocol: protocol::TCP };
            let (from, to) = (IpAddr::from([198, 51, 100, 1]), IpAddr::from([198, 51, 100, server]));
            assert!(encapsulate(
                &mut frame,
                &offsets,
                &Outer { from, to, tunnel, ident: 0, dont_fragment: true, source_port }
            ));
            let digits: Vec<u8> = recorded.bytes().filter(u8::is_ascii_hexdigit).collect();
            let (outer, packet) = frame.bytes()[ETHERNET..].split_at(digits.len() / 2);
            let hex: String = outer.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex.as_bytes(), digits, "{tunnel:?}");
            assert_eq!(packet, inner);
            assert_eq!(overhead(to, tunnel), outer.len());
        }
    }

    #[test]
    fn a_tunnel_over_ipv6_needs_room_for_what_ipv6_must_take() {
        let to = |address| Path { address: Some(address), ..Path::default() };
        let v6 = to(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
        assert!(is_too_narrow(&v6, 1319) && !is_too_narrow(&v6, 1320));
        assert!(!is_too_narrow(&to(IpAddr::from([198, 51, 100, 11])), 600));
    }

    #[test]
    fn addresses_of_two_families_and_a_full_buffer_are_refused_unchanged() {
        let sample = tcp(at("203.0.113.5:1"), at("192.0.2.10:80"));
        let mut frame = VecFrame::new(&sample.frame());
        let offsets = Offsets { l3: ETHERNET, l4: 34, end: 54, protocol: protocol::TCP };
        let (v4, v6) = (IpAddr::from([198, 51, 100, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
        let outer = |from, to| Outer { from, to, tunnel: Tunnel::Ipip, ident: 0, dont_fragment: true, source_port: 0 };
        assert!(!encapsulate(&mut frame, &offsets, &outer(v4, v6)));
        assert!(frame.prepend(crate::io::memory::HEADROOM) && frame.trim_front(crate::io::memory::HEADROOM));
        let mut tight = frame.clone();
        assert!(tight.prepend(crate::io::memory::HEADROOM));
        let before = tight.bytes().to_vec();
        assert!(!encapsulate(&mut tight, &offsets, &outer(v4, v4)));
        assert_eq!(tight.bytes(), before);
    }
}
