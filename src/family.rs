//! An address family as the tables see it: an address is one integer, `u32` for IPv4 and `u128` for IPv6, in host order
//! (the number that the dotted or colon notation writes).

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::BitAnd;

use crate::netmask::Netmask;

/// One address of one family. Tables and the packet path are written once over it and compiled twice.
pub trait Address: Copy + Eq + Ord + Hash + Debug + Default + BitAnd<Output = Self> + Send + Sync + 'static {
    /// Bits in an address.
    const BITS: u8;
    /// IPv6?
    const V6: bool;
    /// The largest address.
    const MAX: Self;

    /// The address as the standard library has it.
    fn ip(self) -> IpAddr;
    /// The address of this family, or `None` when it is of the other.
    fn from_ip(ip: IpAddr) -> Option<Self>;
    /// The address with all but the first `prefix` bits cleared.
    fn masked(self, prefix: u8) -> Self;
    /// The address with all bits cleared that the mask does not keep. One of IPv6 has no holes.
    fn under(self, netmask: Netmask) -> Self;
    /// The last address that shares the first `prefix` bits.
    fn last(self, prefix: u8) -> Self;
    /// The next address; wraps at the end.
    fn next(self) -> Self;
    /// May one host have it? Not so of the unspecified, the loopback, the multicast and the broadcast addresses.
    fn is_host(self) -> bool;
    /// A firewall mark in the place of an address: in the first four bytes, as the kernel has it.
    fn of_mark(mark: u32) -> Self;
    /// 64 bits to be mixed by a hash; for IPv6 both halves folded under `key`, for IPv4 no more than 32, as they stand in a packet.
    fn fold(self, key: u64) -> u64;
}

impl Address for u32 {
    const BITS: u8 = 32;
    const V6: bool = false;
    const MAX: Self = Self::MAX;

    #[inline]
    fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(self))
    }

    #[inline]
    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(a) => Some(a.to_bits()),
            IpAddr::V6(_) => None,
        }
    }

    #[inline]
    fn masked(self, prefix: u8) -> Self {
        self & Self::MAX.checked_shl(u32::from(32 - prefix.min(32))).unwrap_or(0)
    }

    #[inline]
    fn under(self, netmask: Netmask) -> Self {
        self & netmask.bits4()
    }

    fn last(self, prefix: u8) -> Self {
        self | !Self::MAX.masked(prefix)
    }

    fn next(self) -> Self {
        self.wrapping_add(1)
    }

    #[inline]
    fn is_host(self) -> bool {
        !matches!(self >> 24, 0 | 127 | 224..=239) && self != Self::MAX
    }

    fn of_mark(mark: u32) -> Self {
        mark
    }

    #[inline]
    fn fold(self, _key: u64) -> u64 {
        u64::from(self.to_be())
    }
}

impl Address for u128 {
    const BITS: u8 = 128;
    const V6: bool = true;
    const MAX: Self = Self::MAX;

    #[inline]
    fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(self))
    }

    #[inline]
    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V6(a) => Some(a.to_bits()),
            IpAddr::V4(_) => None,
        }
    }

    #[inline]
    fn masked(self, prefix: u8) -> Self {
        self & Self::MAX.checked_shl(u32::from(128 - prefix.min(128))).unwrap_or(0)
    }

    #[inline]
    fn under(self, netmask: Netmask) -> Self {
        self.masked(netmask.leading())
    }

    fn last(self, prefix: u8) -> Self {
        self | !Self::MAX.masked(prefix)
    }

    fn next(self) -> Self {
        self.wrapping_add(1)
    }

    #[inline]
    fn is_host(self) -> bool {
        self > 1 && self >> 120 != 0xff
    }

    fn of_mark(mark: u32) -> Self {
        Self::from(mark) << 96
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the two halves are taken apart on purpose")]
    fn fold(self, key: u64) -> u64 {
        crate::hash::mum((self >> 64) as u64 ^ key, self as u64 ^ key.rotate_left(32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_the_prefix_at_both_ends() {
        assert_eq!(0xc000_02ff_u32.masked(24), 0xc000_0200);
        assert_eq!(0xc000_02ff_u32.masked(0), 0);
        assert_eq!(0xc000_02ff_u32.masked(32), 0xc000_02ff);
        assert_eq!(0xc000_0200_u32.last(24), 0xc000_02ff);
        assert_eq!(u128::MAX.masked(0), 0);
        assert_eq!(1_u128.masked(128), 1);
        assert_eq!(0_u128.last(64), u128::from(u64::MAX));
        assert_eq!(0xc000_02ff_u32.under(Netmask::Prefix(24)), 0xc000_0200);
        assert_eq!(0xc001_02ff_u32.under(Netmask::Holes(Ipv4Addr::new(255, 0, 255, 0))), 0xc000_0200);
        assert_eq!(u128::MAX.under(Netmask::Prefix(64)), u128::MAX << 64);
    }
}
