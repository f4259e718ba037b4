//! Encapsulation: IP in IP (RFC 2003, RFC 2473), with the outer header as the kernel makes it (semantics of `ip_vs_xmit.c`): type of
//! service, TTL and DF are the inner packet's, and a congestion mark becomes ECT(0).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::forward::{ETHERNET, Offsets};
use crate::frame::Frame;
use crate::wire::{ethernet, ipv4, ipv6, protocol};

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
    dont_fragment: bool,
    length: usize,
}

impl Inner {
    fn read(bytes: &[u8], at: &Offsets) -> Self {
        let header = bytes.get(at.l3..).unwrap_or_default();
        let length = at.end.saturating_sub(at.l3);
        if header.first().is_some_and(|b| b >> 4 == 6) {
            let ip = ipv6::Packet::new_unchecked(header);
            return Self { v6: true, tos: ip.traffic_class(), ttl: ip.hop_limit(), dont_fragment: true, length };
        }
        let ip = ipv4::Packet::new_unchecked(header);
        Self { v6: false, tos: ip.tos(), ttl: ip.ttl(), dont_fragment: ip.dont_fragment(), length }
    }

    /// The outer type of service.
    fn outer_tos(self) -> u8 {
        if self.tos & 3 == CE { self.tos & !3 | ECT0 } else { self.tos }
    }

    fn protocol(self) -> u8 {
        if self.v6 { protocol::IPV6 } else { protocol::IPIP }
    }
}

/// Bytes that the outer header adds towards `address`.
#[inline]
pub fn overhead(address: IpAddr) -> usize {
    if address.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN }
}

/// Puts an outer header in front of the packet, whose TTL has been decremented. `ident` is the outer identification of a packet
/// that may be fragmented. False when the buffer has no room or the two addresses are not of one family; nothing is changed then.
#[inline]
pub fn encapsulate<F: Frame>(frame: &mut F, at: &Offsets, from: IpAddr, to: IpAddr, ident: u16) -> bool {
    let inner = Inner::read(frame.bytes(), at);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => in_ipv4(frame, at, inner, from, to, ident),
        (IpAddr::V6(from), IpAddr::V6(to)) => in_ipv6(frame, at, inner, from, to),
        _ => false,
    }
}

fn in_ipv4<F: Frame>(frame: &mut F, at: &Offsets, inner: Inner, from: Ipv4Addr, to: Ipv4Addr, ident: u16) -> bool {
    let Ok(total_len) = u16::try_from(inner.length + ipv4::HEADER_LEN) else { return false };
    if !open(frame, at, ipv4::HEADER_LEN, ethernet::ethertype::IPV4) {
        return false;
    }
    let fixed = if inner.dont_fragment { 0x4000_u16 } else { 0 };
    let ident = if inner.dont_fragment { 0 } else { ident };
    let mut header = [0; ipv4::HEADER_LEN];
    header[0] = 0x45;
    header[1] = inner.outer_tos();
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[4..6].copy_from_slice(&ident.to_be_bytes());
    header[6..8].copy_from_slice(&fixed.to_be_bytes());
    header[8] = inner.ttl;
    header[9] = inner.protocol();
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let mut outer = ipv4::Packet::new_unchecked(header);
    outer.fill_checksum();
    put(frame, &outer.into_inner());
    true
}

fn in_ipv6<F: Frame>(frame: &mut F, at: &Offsets, inner: Inner, from: Ipv6Addr, to: Ipv6Addr) -> bool {
    let Ok(payload_len) = u16::try_from(inner.length) else { return false };
    if !open(frame, at, ipv6::HEADER_LEN, ethernet::ethertype::IPV6) {
        return false;
    }
    let mut header = [0; ipv6::HEADER_LEN];
    header[0..4].copy_from_slice(&(0x6000_0000 | u32::from(inner.outer_tos()) << 20).to_be_bytes());
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    header[6] = inner.protocol();
    header[7] = inner.ttl;
    header[8..24].copy_from_slice(&from.octets());
    header[24..40].copy_from_slice(&to.octets());
    put(frame, &header);
    true
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

fn put<F: Frame>(frame: &mut F, header: &[u8]) {
    if let Some(field) = frame.bytes_mut().get_mut(ETHERNET..ETHERNET + header.len()) {
        field.copy_from_slice(header);
    }
}
