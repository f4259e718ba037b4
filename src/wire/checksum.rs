//! The Internet checksum (RFC 1071), its pseudo headers (RFC 9293 section 3.1, RFC 8200 section 8.1) and its incremental
//! update when a field changes (RFC 1624, equation 3). Numbers are in host order; what is read from and written to a
//! packet is big-endian.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A ones-complement sum that is not folded yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Returns the empty sum.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds a 16-bit word.
    #[inline]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 32-bit number as its two words.
    #[inline]
    pub const fn long(self, long: u32) -> Self {
        Self(self.0 + long as u64)
    }

    /// Adds bytes. Only the last slice of a sum may be of odd length: it is padded with a zero.
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        Self(self.0 + u64::from(u16::from_be(fold(native_sum(bytes)))))
    }

    /// Adds an IPv4 address.
    #[inline]
    pub const fn ipv4(self, addr: Ipv4Addr) -> Self {
        self.long(addr.to_bits())
    }

    /// Adds an IPv6 address.
    #[inline]
    pub const fn ipv6(self, addr: Ipv6Addr) -> Self {
        let bits = addr.to_bits();
        self.long((bits >> 96) as u32).long((bits >> 64) as u32).long((bits >> 32) as u32).long(bits as u32)
    }

    /// Returns the sum folded to 16 bits. It is zero only if all that was added is zero.
    #[inline]
    pub const fn fold(self) -> u16 {
        fold(self.0)
    }

    /// Returns the checksum: the complement of the folded sum.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// Tells whether the bytes that were added, their checksum field among them, are intact.
    #[inline]
    pub const fn is_intact(self) -> bool {
        folds_to_ones(self.0)
    }
}

/// Adds words as this machine reads them: a sum in the other byte order is the other sum swapped (RFC 1071 section 2 (B)), and a
/// plain loop over native words is what the compiler vectorises.
#[inline]
fn native_sum(bytes: &[u8]) -> u64 {
    let (longs, tail) = bytes.as_chunks::<4>();
    let longs: u64 = longs.iter().map(|long| u64::from(u32::from_ne_bytes(*long))).sum();
    let (words, odd) = tail.as_chunks::<2>();
    let words: u64 = words.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum();
    let odd: u64 = odd.iter().map(|byte| u64::from(u16::from_ne_bytes([*byte, 0]))).sum();
    longs + words + odd
}

/// Tells whether bytes, their checksum field among them, are intact: a header, say.
#[inline]
pub fn is_intact(bytes: &[u8]) -> bool {
    folds_to_ones(native_sum(bytes))
}

/// Tells whether an IPv4 header without options is intact. Carries go round in 64 bits as they do in 16, for one sum is a multiple
/// of 0xffff when the other is.
#[inline(always)]
pub fn is_intact_header(header: &[u8; 20]) -> bool {
    let [a, b] = [long(header, 0), long(header, 8)];
    let c = header.last_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(c) + u64::from(first));
    // What carries out of the second addition leaves a small number, and the third carries out no more.
    folds_to_ones(sum.wrapping_add(u64::from(second)))
}

#[inline(always)]
fn long(header: &[u8; 20], at: usize) -> u64 {
    header[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// Folding keeps the remainder by 0xffff, and gives 0 only for 0: a multiplication tells what folding would end in. It gives the quotient
/// of a multiple, and of anything else a number larger than any quotient (Granlund and Montgomery, 1994, section 9).
#[inline]
const fn folds_to_ones(sum: u64) -> bool {
    /// One by 0xffff, modulo 2^64.
    const INVERSE: u64 = 0x0001_0001_0001_0001_u64.wrapping_neg();
    sum.wrapping_mul(INVERSE).wrapping_sub(1) < u64::MAX / 0xffff
}

/// Folds the carries back in until 16 bits are left. A number and itself turned half round add up, in the upper half, to the sum of both
/// halves with the carry gone round.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Returns the checksum of `bytes`, whose checksum field is zero.
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).checksum()
}

/// Returns the sum of the IPv4 pseudo header; `length` in bytes of the upper-layer packet.
#[inline]
pub const fn pseudo_ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: u16) -> Sum {
    Sum::new().ipv4(src).ipv4(dst).word(protocol as u16).word(length)
}

/// Returns the sum of the IPv6 pseudo header; `length` in bytes of the upper-layer packet.
#[inline]
pub const fn pseudo_ipv6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, length: u32) -> Sum {
    Sum::new().ipv6(src).ipv6(dst).long(length).word(next_header as u16)
}

/// What the rewriting of fields does to the checksums that cover them: collected once, applied to each.
///
/// ```
/// use pollvs::wire::checksum::Delta;
/// let rewrite = Delta::new().u32(0xc000_020a, 0xc633_640b).u16(80, 8080);
/// let checksum = rewrite.apply(0x1234);
/// assert_eq!(rewrite.inverse().apply(checksum), 0x1234);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// Returns the change that changes nothing.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Replaces a 16-bit word. It must start at an even offset in what the checksum covers.
    #[inline]
    pub const fn u16(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Replaces a 32-bit number, an IPv4 address say.
    #[inline]
    pub const fn u32(self, old: u32, new: u32) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Replaces 16 bytes, an IPv6 address.
    #[inline]
    pub const fn u128(self, old: u128, new: u128) -> Self {
        self.u32((old >> 96) as u32, (new >> 96) as u32)
            .u32((old >> 64) as u32, (new >> 64) as u32)
            .u32((old >> 32) as u32, (new >> 32) as u32)
            .u32(old as u32, new as u32)
    }

    /// Returns the change followed by `other`.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Returns the change that undoes this one.
    #[inline]
    pub const fn inverse(self) -> Self {
        Self(!fold(self.0) as u64)
    }

    /// Returns `checksum` as it is after the change: `HC' = ~(~HC + ~m + m')`.
    ///
    /// The result is what a full computation gives, as long as something that the checksum covers is not zero (the
    /// protocol number in a pseudo header, the version in an IPv4 header).
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + (!checksum) as u64)
    }
}

/// Returns `checksum` after one 16-bit word was replaced.
#[inline]
pub const fn replace_u16(checksum: u16, old: u16, new: u16) -> u16 {
    Delta::new().u16(old, new).apply(checksum)
}

/// Returns `checksum` after a 32-bit number was replaced.
#[inline]
pub const fn replace_u32(checksum: u16, old: u32, new: u32) -> u16 {
    Delta::new().u32(old, new).apply(checksum)
}

/// Returns `checksum` after 16 bytes were replaced.
#[inline]
pub const fn replace_bytes16(checksum: u16, old: [u8; 16], new: [u8; 16]) -> u16 {
    Delta::new().u128(u128::from_be_bytes(old), u128::from_be_bytes(new)).apply(checksum)
}

/// Returns a computed UDP checksum as it goes on the wire: 0 there means that there is none (RFC 768), so 0 is sent as
/// its other form, 0xffff.
#[inline]
pub const fn udp_on_wire(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Returns the UDP checksum of a datagram after a change: one that has none stays without.
#[inline]
pub const fn udp_update(checksum: u16, delta: Delta) -> u16 {
    if checksum == 0 { 0 } else { udp_on_wire(delta.apply(checksum)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071, section 3: the example.
    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        assert_eq!(Sum::new().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).fold(), 0xddf2);
    }

    /// RFC 1624, section 4: where equation 2 gives 0xffff, equation 3 gives 0x0000.
    #[test]
    fn the_example_of_rfc_1624_gives_zero() {
        assert_eq!(replace_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn an_odd_byte_counts_as_the_high_half_of_a_word() {
        assert_eq!(Sum::new().bytes(&[1, 2, 3]).fold(), 0x0102 + 0x0300);
        assert_eq!(Sum::new().bytes(&[3]).fold(), 0x0300);
        assert_eq!(Sum::new().bytes(&[]).fold(), 0);
    }

    #[test]
    fn a_udp_checksum_is_never_zero_unless_there_is_none() {
        assert_eq!(udp_on_wire(0), 0xffff);
        assert_eq!(udp_update(0, Delta::new().u16(1, 2)), 0);
        let to_zero = Delta::new().u16(0x5555, 0x3285);
        assert_eq!(to_zero.apply(0xdd2f), 0);
        assert_eq!(udp_update(0xdd2f, to_zero), 0xffff);
        assert_eq!(udp_update(0xffff, to_zero.inverse()), 0xdd2f);
    }

    /// The slow and obvious sum.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    /// Bytes that are often all zeros or all ones, where ones-complement sums have their corners.
    fn corner_bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0u8), Just(0xff), any::<u8>()];
        prop_oneof![Just(vec![0; length]), Just(vec![0xff; length]), proptest::collection::vec(byte, length)]
    }

    proptest! {
        #[test]
        fn the_sum_is_the_plain_sum(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(of(&bytes), plain(&bytes));
        }

        #[test]
        fn a_header_is_intact_by_either_sum(bytes in corner_bytes(20), mend: bool) {
            let mut header: [u8; 20] = bytes.try_into().unwrap();
            if mend {
                header[10..12].fill(0);
                let checksum = of(&header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            prop_assert_eq!(is_intact_header(&header), is_intact(&header));
        }

        #[test]
        fn what_folds_to_ones_is_found_without_folding(sum in prop_oneof![Just(0), any::<u64>(), (0..1_u64 << 48).prop_map(|n| n * 0xffff)]) {
            prop_assert_eq!(folds_to_ones(sum), fold(sum) == 0xffff);
        }

        #[test]
        fn a_sum_in_parts_is_the_sum(a in proptest::collection::vec(any::<u8>(), 0..50), b in corner_bytes(33)) {
            let a = &a[..a.len() & !1];
            prop_assert_eq!(Sum::new().bytes(a).bytes(&b).checksum(), plain(&[a, &b].concat()));
        }

        #[test]
        fn an_update_is_a_full_computation(
            first in 1u16..,
            before in corner_bytes(40),
            (word, long, address) in (corner_bytes(2), corner_bytes(4), corner_bytes(16)),
            at in (0usize..20, 0usize..19, 0usize..13),
        ) {
            let at = (at.0 * 2, at.1 * 2, at.2 * 2);
            let mut packet = before;
            let full = |packet: &[u8]| plain(&[&first.to_be_bytes(), packet].concat());

            let old: [u8; 2] = packet[at.0..at.0 + 2].try_into().unwrap();
            let start = full(&packet);
            packet[at.0..at.0 + 2].copy_from_slice(&word);
            let new = u16::from_be_bytes(word.try_into().unwrap());
            let updated = replace_u16(start, u16::from_be_bytes(old), new);
            prop_assert_eq!(updated, full(&packet));

            let old: [u8; 4] = packet[at.1..at.1 + 4].try_into().unwrap();
            packet[at.1..at.1 + 4].copy_from_slice(&long);
            let new = u32::from_be_bytes(long.try_into().unwrap());
            let updated = replace_u32(updated, u32::from_be_bytes(old), new);
            prop_assert_eq!(updated, full(&packet));

            let old: [u8; 16] = packet[at.2..at.2 + 16].try_into().unwrap();
            packet[at.2..at.2 + 16].copy_from_slice(&address);
            let updated = replace_bytes16(updated, old, address.try_into().unwrap());
            prop_assert_eq!(updated, full(&packet));
        }

        #[test]
        fn changes_add_up_and_can_be_undone(checksum in 0u16..0xffff, a in any::<(u16, u16)>(), b in any::<(u128, u128)>()) {
            let first = Delta::new().u16(a.0, a.1);
            let second = Delta::new().u128(b.0, b.1);
            let both = first.and(second);
            // 0xffff and 0 are the same number in ones-complement.
            let canonical = |checksum: u16| if checksum == 0xffff { 0 } else { checksum };
            prop_assert_eq!(canonical(both.apply(checksum)), canonical(second.apply(first.apply(checksum))));
            prop_assert_eq!(canonical(both.inverse().apply(both.apply(checksum))), checksum);
        }
    }
}
