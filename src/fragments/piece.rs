//! One fragment: which datagram it is of, and which part of it (RFC 791, RFC 8200 section 4.5).

use crate::forward::ETHERNET;
use crate::verdict::Origin;
use crate::wire::{icmpv6, ipv4, ipv6, protocol, tcp, udp};

/// What the fragments of one datagram have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Key {
    pub(super) src: u128,
    pub(super) dst: u128,
    pub(super) ident: u32,
    /// Of IPv4 only: the fragments of an IPv6 datagram are told by addresses and identification.
    pub(super) protocol: u8,
    pub(super) v6: bool,
    pub(super) from_twin: bool,
}

/// A fragment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) key: Key,
    /// Where in the datagram's payload it begins and ends, in bytes.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Others follow.
    pub(super) more: bool,
    pub(super) dont_fragment: bool,
    /// The two bits of explicit congestion notification.
    pub(super) ecn: u8,
    /// Its length from the IP header on; in IPv4 without what is beyond its last unit.
    pub(super) size: u16,
    /// Where in the frame the unfragmentable part ends.
    pub(super) header: usize,
    /// Where in the frame the payload begins.
    pub(super) payload: usize,
    /// What the payload of the datagram begins with; of the first fragment.
    pub(super) protocol: u8,
}

/// Extension headers before the fragment header, at most.
const MOST_EXTENSIONS: usize = 8;
/// Length of a fragment header in bytes.
const FRAGMENT: usize = 8;

impl Piece {
    /// The fragment in a frame; `None` for what is none, or is cut short.
    pub(super) fn read(frame: &[u8], origin: Origin) -> Option<Self> {
        Self::read_packet(frame.get(ETHERNET..)?, origin)
    }

    /// The same of a packet, as if it were in a frame.
    pub(super) fn read_packet(packet: &[u8], origin: Origin) -> Option<Self> {
        let from_twin = origin == Origin::Twin;
        if packet.first()? >> 4 == 6 { Self::read_v6(packet, from_twin) } else { Self::read_v4(packet, from_twin) }
    }

    fn read_v4(packet: &[u8], from_twin: bool) -> Option<Self> {
        let ip = ipv4::Packet::new_checked(packet).ok()?;
        let protocol = ip.protocol();
        let (src, dst) = (ip.src_bits().into(), ip.dst_bits().into());
        let (start, length) = (u32::from(ip.fragment_offset()), u32::try_from(ip.payload().len()).ok()?);
        let header = ETHERNET + ip.header_len();
        Some(Self {
            key: Key { src, dst, ident: ip.ident().into(), protocol, v6: false, from_twin },
            start,
            end: start + length,
            more: ip.more_fragments(),
            dont_fragment: ip.dont_fragment(),
            ecn: ip.tos() & 3,
            size: ip.total_len(),
            header,
            payload: header,
            protocol,
        })
    }

    fn read_v6(packet: &[u8], from_twin: bool) -> Option<Self> {
        let ip = ipv6::Packet::new_checked(packet).ok()?;
        let at = fragment_header(packet)?;
        let header = packet.get(at..at + FRAGMENT)?;
        let fragment = ipv6::Fragment::read(header);
        let length = ip.total_len().checked_sub(at + FRAGMENT)?;
        let start = u32::from(fragment.offset);
        let (src, dst) = (ip.src().to_bits(), ip.dst().to_bits());
        Some(Self {
            key: Key { src, dst, ident: fragment.ident, protocol: 0, v6: true, from_twin },
            start,
            end: start + u32::try_from(length).ok()?,
            more: fragment.more,
            dont_fragment: false,
            ecn: ip.traffic_class() & 3,
            size: u16::try_from(ip.total_len()).ok()?,
            header: ETHERNET + at,
            payload: ETHERNET + at + FRAGMENT,
            protocol: *header.first()?,
        })
    }

    /// The fragment without what is beyond its last unit of 8 bytes, if others follow, as the kernel takes it; in IPv6 there is no such
    /// fragment, and the first has the whole transport header (RFC 8200, section 4.5).
    pub(super) fn in_units(mut self) -> Option<Self> {
        if self.key.v6 {
            return (!self.is_stub() && !self.is_odd()).then_some(self);
        }
        if self.is_odd() {
            self.size -= u16::try_from(self.end & 7).unwrap_or_default();
            self.end &= !7;
        }
        Some(self)
    }

    /// Does it end between units though others follow?
    pub(super) fn is_odd(&self) -> bool {
        self.more && !self.end.is_multiple_of(8)
    }

    /// Is it a first fragment that has not even the whole transport header?
    pub(super) fn is_stub(&self) -> bool {
        let least = match self.protocol {
            protocol::TCP => tcp::HEADER_LEN,
            protocol::UDP => udp::HEADER_LEN,
            protocol::ICMPV6 => icmpv6::HEADER_LEN,
            _ => 1,
        };
        self.start == 0 && (self.length() as usize) < least
    }

    /// Its length in the datagram.
    pub(super) fn length(&self) -> u32 {
        self.end - self.start
    }
}

/// Where the fragment header of an IPv6 packet stands.
fn fragment_header(packet: &[u8]) -> Option<usize> {
    const NEXT_HEADER: usize = 6;
    let (mut kind, mut at) = (*packet.get(NEXT_HEADER)?, ipv6::HEADER_LEN);
    for _ in 0..MOST_EXTENSIONS {
        match kind {
            protocol::FRAGMENT => return Some(at),
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                kind = *packet.get(at)?;
                at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
            }
            _ => return None,
        }
    }
    None
}
