//! Where the fields stand that the director reads and rewrites, in IPv4 and IPv6 headers (RFC 791, RFC 8200). What is written over
//! [`Header`] is compiled once for each family.

use crate::family::Address;
use crate::wire::checksum::{Delta, Sum, pseudo_ipv4, pseudo_ipv6};
use crate::wire::{ipv4, ipv6};

/// Which end of the packet is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Source: of a server's reply.
    Source,
    /// Destination: of a client's request.
    Destination,
}

/// One address family on the packet path. `l3` is the offset of the IP header, whose presence the first stage has checked.
pub trait Header: Address {
    /// Source and destination.
    fn addresses(bytes: &[u8], l3: usize) -> (Self, Self);
    /// TTL or hop limit.
    fn ttl(bytes: &[u8], l3: usize) -> u8;
    /// Takes one from the TTL, with the header checksum where there is one; false, and no change, when that would leave none.
    fn decrement_ttl(bytes: &mut [u8], l3: usize) -> bool;
    /// Must routers not fragment the packet? Always so for IPv6.
    fn dont_fragment(bytes: &[u8], l3: usize) -> bool;
    /// Writes one address; returns the change for the transport checksum.
    fn rewrite_address(bytes: &mut [u8], l3: usize, end: End, address: Self) -> Delta;
    /// Writes the packet's length in bytes, with the header checksum where there is one.
    fn set_length(bytes: &mut [u8], l3: usize, length: u16);
    /// The pseudo header's sum for a transport packet of `length` bytes.
    fn pseudo_header(bytes: &[u8], l3: usize, protocol: u8, length: usize) -> Sum;
}

impl Header for u32 {
    #[inline(always)]
    fn addresses(bytes: &[u8], l3: usize) -> (Self, Self) {
        let Some(header) = bytes.get(l3..).and_then(<[u8]>::first_chunk) else { return (0, 0) };
        let ip = ipv4::Packet::<&[u8; ipv4::HEADER_LEN]>::new_unchecked(header);
        (ip.src_bits(), ip.dst_bits())
    }

    #[inline]
    fn ttl(bytes: &[u8], l3: usize) -> u8 {
        ipv4::Packet::new_unchecked(bytes.get(l3..).unwrap_or_default()).ttl()
    }

    #[inline(always)]
    fn decrement_ttl(bytes: &mut [u8], l3: usize) -> bool {
        let Some(header) = bytes.get_mut(l3..).and_then(<[u8]>::first_chunk_mut) else { return false };
        let mut ip = ipv4::Packet::<&mut [u8; ipv4::HEADER_LEN]>::new_unchecked(header);
        let lives = ip.ttl() > 1;
        if lives {
            ip.decrement_ttl();
        }
        lives
    }

    #[inline]
    fn dont_fragment(bytes: &[u8], l3: usize) -> bool {
        ipv4::Packet::new_unchecked(bytes.get(l3..).unwrap_or_default()).dont_fragment()
    }

    #[inline]
    fn rewrite_address(bytes: &mut [u8], l3: usize, end: End, address: Self) -> Delta {
        let mut ip = ipv4::Packet::new_unchecked(bytes.get_mut(l3..).unwrap_or_default());
        match end {
            End::Source => ip.set_src(address.into()),
            End::Destination => ip.set_dst(address.into()),
        }
    }

    fn set_length(bytes: &mut [u8], l3: usize, length: u16) {
        let mut ip = ipv4::Packet::new_unchecked(bytes.get_mut(l3..).unwrap_or_default());
        ip.set_total_len(length);
    }

    fn pseudo_header(bytes: &[u8], l3: usize, protocol: u8, length: usize) -> Sum {
        let (src, dst) = Self::addresses(bytes, l3);
        pseudo_ipv4(src.into(), dst.into(), protocol, u16::try_from(length).unwrap_or(u16::MAX))
    }
}

impl Header for u128 {
    #[inline]
    fn addresses(bytes: &[u8], l3: usize) -> (Self, Self) {
        let ip = ipv6::Packet::new_unchecked(bytes.get(l3..).unwrap_or_default());
        (ip.src().to_bits(), ip.dst().to_bits())
    }

    #[inline]
    fn ttl(bytes: &[u8], l3: usize) -> u8 {
        ipv6::Packet::new_unchecked(bytes.get(l3..).unwrap_or_default()).hop_limit()
    }

    #[inline]
    fn decrement_ttl(bytes: &mut [u8], l3: usize) -> bool {
        let mut ip = ipv6::Packet::new_unchecked(bytes.get_mut(l3..).unwrap_or_default());
        let lives = ip.hop_limit() > 1;
        if lives {
            ip.decrement_hop_limit();
        }
        lives
    }

    #[inline]
    fn dont_fragment(_bytes: &[u8], _l3: usize) -> bool {
        true
    }

    #[inline]
    fn rewrite_address(bytes: &mut [u8], l3: usize, end: End, address: Self) -> Delta {
        let mut ip = ipv6::Packet::new_unchecked(bytes.get_mut(l3..).unwrap_or_default());
        match end {
            End::Source => ip.set_src(address.into()),
            End::Destination => ip.set_dst(address.into()),
        }
    }

    fn set_length(bytes: &mut [u8], l3: usize, length: u16) {
        let mut ip = ipv6::Packet::new_unchecked(bytes.get_mut(l3..).unwrap_or_default());
        ip.set_payload_len(length.saturating_sub(ipv6::HEADER_LEN as u16));
    }

    fn pseudo_header(bytes: &[u8], l3: usize, protocol: u8, length: usize) -> Sum {
        let (src, dst) = Self::addresses(bytes, l3);
        pseudo_ipv6(src.into(), dst.into(), protocol, u32::try_from(length).unwrap_or(u32::MAX))
    }
}
