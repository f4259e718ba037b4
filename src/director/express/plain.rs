//! The headers of the common packet: where each family has what the common way asks about, and how it is changed.

use crate::burst::Kind;
use crate::director::family::Family;
use crate::forward::ETHERNET;
use crate::network::AddressSet;
use crate::packet::End;
use crate::ready::Ways;
use crate::snapshot::{Rules, Snapshot};
use crate::wire::checksum::{self, Delta};
use crate::wire::{ethernet, ipv4, ipv6, tcp};

/// A family whose packets may take the common way. A head is a frame's first [`Plain::HEAD`] bytes.
pub(super) trait Plain: Family {
    /// A client's packet.
    const REQUEST: Kind;
    /// A server's.
    const REPLY: Kind;
    /// Where the transport header begins.
    const L4: usize;
    /// Ethernet, IP and TCP, all without options.
    const HEAD: usize = Self::L4 + tcp::HEADER_LEN;
    /// Where the transport protocol stands.
    const PROTOCOL: usize;
    /// Where the time to live stands.
    const HOPS: usize;
    /// Where the source stands.
    const SRC: usize;
    /// Where the destination stands.
    const DST: usize;

    /// Is it of the family, without options, no fragment, and intact as far as its header can tell?
    fn is_plain(head: &[u8]) -> bool;
    /// Length from the IP header on that the header gives, in bytes.
    fn length(head: &[u8]) -> usize;
    /// The address from `at` on.
    fn address(head: &[u8], at: usize) -> Self;
    /// Is it from and to these addresses?
    fn is_between(head: &[u8], src: Self, dst: Self) -> bool;
    /// Takes one from the time to live, of which there are two at least.
    fn take_hop(head: &mut [u8]);
    /// Sets an end's address, and returns the change for the checksums above.
    fn replace(head: &mut [u8], end: End, address: Self) -> Delta;
    /// The family's virtual addresses.
    fn vips(rules: &Rules) -> &AddressSet<Self>;
    /// The ways to clients behind routers.
    fn ways(snapshot: &Snapshot) -> &Ways<Self>;
}

impl Plain for u32 {
    const REQUEST: Kind = Kind::PlainRequest4;
    const REPLY: Kind = Kind::PlainReply4;
    const L4: usize = ETHERNET + ipv4::HEADER_LEN;
    const PROTOCOL: usize = ETHERNET + 9;
    const HOPS: usize = ETHERNET + 8;
    const SRC: usize = ETHERNET + 12;
    const DST: usize = ETHERNET + 16;

    #[inline(always)]
    fn is_plain(head: &[u8]) -> bool {
        /// Ethertype, version and header length; the type of service behind them is masked out.
        const PLAIN: u32 = ((ethernet::ethertype::IPV4 as u32) << 8 | 0x45) << 8;
        /// "More fragments" and the offset.
        const FRAGMENT: u16 = 0x3fff;
        word(head, 12) & 0xffff_ff00 == PLAIN
            && half(head, ETHERNET + 6) & FRAGMENT == 0
            && head[ETHERNET..].first_chunk().is_some_and(checksum::is_intact_header)
    }

    #[inline(always)]
    fn length(head: &[u8]) -> usize {
        half(head, ETHERNET + 2).into()
    }

    #[inline(always)]
    fn address(head: &[u8], at: usize) -> Self {
        word(head, at)
    }

    #[inline(always)]
    fn is_between(head: &[u8], src: Self, dst: Self) -> bool {
        // The two follow one another in the header as in a connection.
        u64::from(src) << 32 | u64::from(dst) == long(head, Self::SRC)
    }

    #[inline(always)]
    fn take_hop(head: &mut [u8]) {
        take_hop(&mut head[ETHERNET..]);
    }

    #[inline(always)]
    fn replace(head: &mut [u8], end: End, address: Self) -> Delta {
        let mut ip = ipv4::Packet::new_unchecked(&mut head[ETHERNET..Self::L4]);
        match end {
            End::Source => ip.set_src(address.into()),
            End::Destination => ip.set_dst(address.into()),
        }
    }

    fn vips(rules: &Rules) -> &AddressSet<Self> {
        rules.vips4()
    }

    fn ways(snapshot: &Snapshot) -> &Ways<Self> {
        &snapshot.ways4
    }
}

impl Plain for u128 {
    const REQUEST: Kind = Kind::PlainRequest6;
    const REPLY: Kind = Kind::PlainReply6;
    const L4: usize = ETHERNET + ipv6::HEADER_LEN;
    const PROTOCOL: usize = ETHERNET + 6;
    const HOPS: usize = ETHERNET + 7;
    const SRC: usize = ETHERNET + 8;
    const DST: usize = ETHERNET + 24;

    #[inline(always)]
    fn is_plain(head: &[u8]) -> bool {
        /// Ethertype and version; traffic class and flow label behind them are masked out.
        const PLAIN: u32 = (ethernet::ethertype::IPV6 as u32) << 16 | 0x6000;
        word(head, 12) & 0xffff_f000 == PLAIN
    }

    #[inline(always)]
    fn length(head: &[u8]) -> usize {
        ipv6::HEADER_LEN + usize::from(half(head, ETHERNET + 4))
    }

    #[inline(always)]
    fn address(head: &[u8], at: usize) -> Self {
        head[at..].first_chunk().map_or(0, |bytes| Self::from_be_bytes(*bytes))
    }

    #[inline(always)]
    fn is_between(head: &[u8], src: Self, dst: Self) -> bool {
        Self::address(head, Self::SRC) == src && Self::address(head, Self::DST) == dst
    }

    #[inline(always)]
    fn take_hop(head: &mut [u8]) {
        head[Self::HOPS] = head[Self::HOPS].wrapping_sub(1);
    }

    #[inline(always)]
    fn replace(head: &mut [u8], end: End, address: Self) -> Delta {
        let mut ip = ipv6::Packet::new_unchecked(&mut head[ETHERNET..Self::L4]);
        match end {
            End::Source => ip.set_src(address.into()),
            End::Destination => ip.set_dst(address.into()),
        }
    }

    fn vips(rules: &Rules) -> &AddressSet<Self> {
        rules.vips6()
    }

    fn ways(snapshot: &Snapshot) -> &Ways<Self> {
        &snapshot.ways6
    }
}

/// Takes one from the time to live of an IPv4 header that has it to spare ([`ipv4::Packet::decrement_ttl`]).
#[inline(always)]
pub(super) fn take_hop(header: &mut [u8]) {
    const TTL: usize = 8;
    const CHECKSUM: usize = 10;
    let Some(header) = header.first_chunk_mut::<{ ipv4::HEADER_LEN }>() else { return };
    header[TTL] = header[TTL].wrapping_sub(1);
    let sum = u32::from(u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]])) + 0x0100;
    let sum = (sum + u32::from(sum >= 0xffff)) as u16;
    [header[CHECKSUM], header[CHECKSUM + 1]] = sum.to_be_bytes();
}

/// The two bytes from `at` on, in network order.
#[inline(always)]
pub(super) fn half(head: &[u8], at: usize) -> u16 {
    head[at..].first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// The four bytes from `at` on, in network order.
#[inline(always)]
pub(super) fn word(head: &[u8], at: usize) -> u32 {
    head[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The eight bytes from `at` on, in network order.
#[inline(always)]
fn long(head: &[u8], at: usize) -> u64 {
    head[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
