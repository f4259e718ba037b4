//! The common packet's way into a tunnel of IP in IP, over its own family.

use crate::forward::{ETHERNET, tun};
use crate::ready::{Ends6, Ready};
use crate::wire::{ethernet, ipv4, ipv6};

use super::plain::{Plain, take_hop};

/// Takes one from the time to live of the packet, and writes what goes in front of it, for which there is room. `last` is the
/// identification given last.
#[inline(always)]
pub(super) fn enter<A: Plain>(bytes: &mut [u8], ready: &Ready, ends: &Ends6, last: &mut u32) {
    if A::V6 {
        // The general way numbers these, too, though they have no field for it.
        *last = last.wrapping_add(1);
        enter_v6(bytes, ready, ends);
    } else {
        enter_v4(bytes, ready, last);
    }
}

/// IPv4 in IPv4.
#[inline(always)]
fn enter_v4(bytes: &mut [u8], ready: &Ready, last: &mut u32) {
    const INNER: usize = ETHERNET + ipv4::HEADER_LEN;
    let ident = || {
        *last = last.wrapping_add(1);
        *last as u16
    };
    let Some(head) = bytes.first_chunk_mut::<{ INNER + ipv4::HEADER_LEN }>() else { return };
    let (outer, inner) = head.split_at_mut(INNER);
    let header = inner.first_chunk_mut().map_or([0; ipv4::HEADER_LEN], |inner: &mut [u8; ipv4::HEADER_LEN]| {
        take_hop(inner);
        tun::ipip_header(inner, ident, ready.ends)
    });
    outer[..12].copy_from_slice(&ready.macs);
    outer[12..ETHERNET].copy_from_slice(&ethernet::ethertype::IPV4.to_be_bytes());
    outer[ETHERNET..].copy_from_slice(&header);
}

/// IPv6 in IPv6.
#[inline(always)]
fn enter_v6(bytes: &mut [u8], ready: &Ready, ends: &Ends6) {
    const INNER: usize = ETHERNET + ipv6::HEADER_LEN;
    const HOPS: usize = 7;
    let Some(head) = bytes.first_chunk_mut::<{ INNER + ipv6::HEADER_LEN }>() else { return };
    let (outer, inner) = head.split_at_mut(INNER);
    let header = inner.first_chunk_mut().map_or([0; ipv6::HEADER_LEN], |inner: &mut [u8; ipv6::HEADER_LEN]| {
        inner[HOPS] = inner[HOPS].wrapping_sub(1);
        tun::ipip_header_v6(inner, ends.0)
    });
    outer[..12].copy_from_slice(&ready.macs);
    outer[12..ETHERNET].copy_from_slice(&ethernet::ethertype::IPV6.to_be_bytes());
    outer[ETHERNET..].copy_from_slice(&header);
}
