//! The errors that the director itself sends: ICMP (RFC 792) and ICMPv6 (RFC 4443), made in the buffer of the packet that they are
//! about. As the kernel makes them: source is the address that the packet was for, TTL 64, type of service 0xc0 and the bits of the
//! packet's own that RFC 1349 has (IPv6: 0), up to 576 bytes (IPv6: 1280) in all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::forward::{ETHERNET, Offsets};
use crate::frame::Frame;
use crate::packet::Header;
use crate::wire::{icmpv4, icmpv6, ipv4, ipv6, protocol};

/// What is wrong with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No destination of the service is usable.
    PortUnreachable,
    /// No route to the destination.
    HostUnreachable,
    /// The TTL ran out.
    TtlExceeded,
    /// Longer than this many bytes, with DF set.
    TooBig(u16),
    /// What a router said of the tunnel's packet that it was in: ICMP type and code.
    Told(u8, u8),
}

impl Fault {
    /// ICMP type and code.
    fn v4(self) -> (u8, u8) {
        match self {
            Self::HostUnreachable => (3, 1),
            Self::PortUnreachable => (3, 3),
            Self::TooBig(_) => (3, 4),
            Self::TtlExceeded => (11, 0),
            Self::Told(kind, code) => (kind, code),
        }
    }

    /// ICMPv6 type and code.
    fn v6(self) -> (u8, u8) {
        match self {
            Self::HostUnreachable => (1, 3),
            Self::PortUnreachable => (1, 4),
            Self::TooBig(_) => (2, 0),
            Self::TtlExceeded => (3, 0),
            Self::Told(kind, code) => (kind, code),
        }
    }

    /// The second word of the ICMP header.
    fn rest(self) -> u32 {
        if let Self::TooBig(mtu) = self { u32::from(mtu) } else { 0 }
    }
}

/// Most bytes of an ICMP error, its IP header among them.
const MOST_V4: usize = 576;
/// Most bytes of an ICMPv6 error.
const MOST_V6: usize = 1280;
/// Type of service of an error: the precedence of internetwork control (RFC 1812, section 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;
/// The bits of the type of service that an error takes from the packet (RFC 1349, section 3).
const TOS: u8 = 0x1e;
/// Length of the ICMP header in bytes.
const ICMP: usize = 8;

/// Turns the frame into the error about the packet in it, addressed to the packet's source; the MACs follow later. Returns the
/// error's length in bytes from the IP header on, or `None` when the buffer has no room.
pub fn turn_into<A: Header, F: Frame>(frame: &mut F, at: &Offsets, fault: Fault, from: A) -> Option<u16> {
    let to = A::addresses(frame.bytes(), at.l3).0;
    let (header, most) = if A::V6 { (ipv6::HEADER_LEN, MOST_V6) } else { (ipv4::HEADER_LEN, MOST_V4) };
    let quoted = at.end.saturating_sub(at.l3).min(most - header - ICMP);
    if !frame.resize(at.l3 + quoted) || !frame.prepend((ETHERNET + header + ICMP).saturating_sub(at.l3)) {
        return None;
    }
    let ethertype = if A::V6 { crate::wire::ethernet::ethertype::IPV6 } else { crate::wire::ethernet::ethertype::IPV4 };
    frame.bytes_mut().get_mut(12..ETHERNET)?.copy_from_slice(&ethertype.to_be_bytes());
    let packet = frame.bytes_mut().get_mut(ETHERNET..)?;
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => write_v4(packet, from, to, fault)?,
        (IpAddr::V6(from), IpAddr::V6(to)) => write_v6(packet, from, to, fault)?,
        _ => return None,
    }
    u16::try_from(packet.len()).ok()
}

/// Writes the IPv4 and ICMP headers in front of the quoted packet.
fn write_v4(packet: &mut [u8], from: Ipv4Addr, to: Ipv4Addr, fault: Fault) -> Option<()> {
    let total_len = u16::try_from(packet.len()).ok()?;
    let (kind, code) = fault.v4();
    let (header, body) = packet.split_first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
    *header = [0; ipv4::HEADER_LEN];
    header[0] = 0x45;
    header[1] = PRECEDENCE | body.get(ICMP + 1)? & TOS;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[8] = 64;
    header[9] = protocol::ICMP;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    ipv4::Packet::new_unchecked(&mut header[..]).fill_checksum();
    body.get_mut(..ICMP)?.copy_from_slice(&icmp_header(kind, code, fault.rest()));
    icmpv4::Packet::new_unchecked(body).fill_checksum();
    Some(())
}

/// Writes the IPv6 and ICMPv6 headers in front of the quoted packet.
fn write_v6(packet: &mut [u8], from: Ipv6Addr, to: Ipv6Addr, fault: Fault) -> Option<()> {
    let payload_len = u16::try_from(packet.len().checked_sub(ipv6::HEADER_LEN)?).ok()?;
    let (kind, code) = fault.v6();
    let (header, body) = packet.split_first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
    header[0..4].copy_from_slice(&0x6000_0000_u32.to_be_bytes());
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    header[6] = protocol::ICMPV6;
    header[7] = 64;
    header[8..24].copy_from_slice(&from.octets());
    header[24..40].copy_from_slice(&to.octets());
    body.get_mut(..ICMP)?.copy_from_slice(&icmp_header(kind, code, fault.rest()));
    let pseudo = ipv6::Packet::new_unchecked(&header[..]).pseudo_header(protocol::ICMPV6, u32::from(payload_len));
    let checksum = pseudo.bytes(body).checksum();
    icmpv6::Packet::new_unchecked(body).set_checksum(checksum);
    Some(())
}

fn icmp_header(kind: u8, code: u8, rest: u32) -> [u8; ICMP] {
    let [a, b, c, d] = rest.to_be_bytes();
    [kind, code, 0, 0, a, b, c, d]
}
