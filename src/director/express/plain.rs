//! The headers of the common packet: where each family has what the common way asks about, and how it is changed.

use wide::u8x32;

use crate::burst::Kind;
use crate::director::family::Family;
use crate::director::{Core, Shared, Tables};
use crate::family::Address;
use crate::forward::ETHERNET;
use crate::network::AddressSet;
use crate::packet::End;
use crate::proto::tcp as flag;
use crate::ready::Ways;
use crate::snapshot::{Rules, Snapshot};
use crate::wire::checksum::{self, Delta};
use crate::wire::{ethernet, ipv4, ipv6, protocol, tcp};

/// Offset of the flags in a TCP header.
pub(super) const FLAGS: usize = 13;
/// The flags of a segment that may open or close a connection, and that which all others have.
pub(super) const DECIDING: u8 = flag::FIN | flag::SYN | flag::RST | flag::ACK;

/// Of these bits of byte `at` a head has those.
struct Field {
    at: usize,
    of: u8,
    is: u8,
}

/// Bytes that are compared at once.
const BLOCK: usize = 32;

/// What two blocks of a head are to be, its first bytes and those from [`Plain::WINDOW`] on, all asked at once.
#[derive(Clone, Copy)]
pub(super) struct Mould {
    of: [[u8; BLOCK]; 2],
    is: [[u8; BLOCK]; 2],
    /// Where the destination stands in the second block.
    destination: usize,
}

impl Mould {
    /// Of fields all of which lie in the first block, but for that of the second.
    const fn new(fields: &[Field], second: Field, window: usize, destination: usize) -> Self {
        let mut mould = Self { of: [[0; BLOCK]; 2], is: [[0; BLOCK]; 2], destination: destination - window };
        let mut next = 0;
        while next < fields.len() {
            let Field { at, of, is } = fields[next];
            (mould.of[0][at], mould.is[0][at]) = (of, is);
            next += 1;
        }
        (mould.of[1][second.at - window], mould.is[1][second.at - window]) = (second.of, second.is);
        mould
    }

    /// The same for frames to a MAC.
    pub(super) fn to(mut self, mac: [u8; 6]) -> Self {
        self.of[0][..mac.len()].fill(u8::MAX);
        self.is[0][..mac.len()].copy_from_slice(&mac);
        self
    }

    /// The same for packets to an address.
    #[inline(always)]
    pub(super) fn addressed<A: Plain>(&self, address: A) -> Self {
        let mut mould = *self;
        let place = self.destination..self.destination + size_of::<A>();
        let (Some(of), Some(is)) = (mould.of[1].get_mut(place.clone()), mould.is[1].get_mut(place)) else {
            return mould;
        };
        of.fill(u8::MAX);
        address.write(is);
        mould
    }

    /// Is a frame of this head to the MAC?
    #[inline(always)]
    pub(super) fn is_to(&self, head: &[u8]) -> bool {
        head[..6] == self.is[0][..6]
    }

    /// Is it all that?
    #[inline(always)]
    pub(super) fn fits(&self, head: &[u8], window: usize) -> bool {
        // Read as these the compiler finds that the numbers which are read next are parts of them, and not of a whole block, out of
        // which it would take them with more trouble than out of memory.
        let long = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let longs = |at: usize| [long(at), long(at + 8), long(at + 16), long(at + 24)];
        let other = |at: usize, block: usize| {
            let bytes: u8x32 = bytemuck::cast(longs(at));
            (bytes ^ u8x32::new(self.is[block])) & u8x32::new(self.of[block])
        };
        (other(0, 0) | other(window, 1)).simd_eq(u8x32::ZERO).all()
    }
}

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

    /// Where in a head the second block of a mould begins: it has the destination and the flags.
    const WINDOW: usize;
    /// What a segment of an open connection looks like, but for the MAC and the address that it is to.
    const MOULD: Mould;
    /// The other family.
    type Other: Address;

    /// The family's tables, those of the other, and what both share.
    fn parted(core: &mut Core) -> (&mut Tables<Self>, &Tables<Self::Other>, &mut Shared);
    /// Writes the address as it stands in a packet.
    fn write(self, bytes: &mut [u8]);

    /// Is it of the family, without options, and no fragment?
    fn is_plain(head: &[u8]) -> bool;
    /// Is its header intact as far as it can tell?
    fn has_intact_header(head: &[u8]) -> bool;
    /// Length from the IP header on that the header gives, in bytes.
    fn length(head: &[u8]) -> usize;
    /// The address from `at` on.
    fn address(head: &[u8], at: usize) -> Self;
    /// Is it to that address?
    fn is_to(head: &[u8], address: Self) -> bool;
    /// Is it from and to these addresses?
    fn is_between(head: &[u8], src: Self, dst: Self) -> bool;
    /// Takes one from the time to live, of which there are two at least.
    fn take_hop(head: &mut [u8]);
    /// Sets an end's address, which is `old`, to `new`, and takes one from the time to live, of which there are two at least. Returns the
    /// change for the checksums above.
    fn redirect(head: &mut [u8], end: End, old: Self, new: Self) -> Delta;
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
    const WINDOW: usize = Self::HEAD - BLOCK;
    const SRC: usize = ETHERNET + 12;
    const DST: usize = ETHERNET + 16;
    const MOULD: Mould = Mould::new(
        &[
            Field { at: 12, of: 0xff, is: 0x08 },
            Field { at: 13, of: 0xff, is: 0x00 },
            // The version, and the length of a header without options.
            Field { at: ETHERNET, of: 0xff, is: 0x45 },
            // "More fragments" and the offset.
            Field { at: ETHERNET + 6, of: 0x3f, is: 0 },
            Field { at: ETHERNET + 7, of: 0xff, is: 0 },
            Field { at: Self::PROTOCOL, of: 0xff, is: protocol::TCP },
        ],
        Field { at: Self::L4 + FLAGS, of: DECIDING, is: flag::ACK },
        Self::WINDOW,
        Self::DST,
    );
    type Other = u128;

    #[inline(always)]
    fn parted(core: &mut Core) -> (&mut Tables<Self>, &Tables<u128>, &mut Shared) {
        (&mut core.v4, &core.v6, &mut core.shared)
    }

    #[inline(always)]
    fn write(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_be_bytes());
    }

    #[inline(always)]
    fn is_plain(head: &[u8]) -> bool {
        /// Ethertype, version and header length; the type of service behind them is masked out.
        const PLAIN: u32 = ((ethernet::ethertype::IPV4 as u32) << 8 | 0x45) << 8;
        /// "More fragments" and the offset.
        const FRAGMENT: u16 = 0x3fff;
        word(head, 12) & 0xffff_ff00 == PLAIN && half(head, ETHERNET + 6) & FRAGMENT == 0
    }

    #[inline(always)]
    fn has_intact_header(head: &[u8]) -> bool {
        head[ETHERNET..].first_chunk().is_some_and(checksum::is_intact_header)
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
    fn is_to(head: &[u8], address: Self) -> bool {
        // In the order of the wire, so that only one side is turned round, and that outside of a loop.
        head[Self::DST..].first_chunk() == Some(&address.to_be_bytes())
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
    fn redirect(head: &mut [u8], end: End, old: Self, new: Self) -> Delta {
        const CHECKSUM: usize = ETHERNET + 10;
        /// The time to live is the upper half of its word.
        const ONE_LESS: Delta = Delta::new().u16(0x0100, 0);
        put(head, if end == End::Source { Self::SRC } else { Self::DST }, new.to_be_bytes());
        head[Self::HOPS] = head[Self::HOPS].wrapping_sub(1);
        let delta = Delta::new().u32(old, new);
        let checksum = delta.and(ONE_LESS).apply(half(head, CHECKSUM));
        put(head, CHECKSUM, checksum.to_be_bytes());
        delta
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
    const WINDOW: usize = Self::L4 + FLAGS + 1 - BLOCK;
    const SRC: usize = ETHERNET + 8;
    const DST: usize = ETHERNET + 24;
    const MOULD: Mould = Mould::new(
        &[
            Field { at: 12, of: 0xff, is: 0x86 },
            Field { at: 13, of: 0xff, is: 0xdd },
            Field { at: ETHERNET, of: 0xf0, is: 0x60 },
            Field { at: Self::PROTOCOL, of: 0xff, is: protocol::TCP },
        ],
        Field { at: Self::L4 + FLAGS, of: DECIDING, is: flag::ACK },
        Self::WINDOW,
        Self::DST,
    );
    type Other = u32;

    #[inline(always)]
    fn parted(core: &mut Core) -> (&mut Tables<Self>, &Tables<u32>, &mut Shared) {
        (&mut core.v6, &core.v4, &mut core.shared)
    }

    #[inline(always)]
    fn write(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_be_bytes());
    }

    #[inline(always)]
    fn is_plain(head: &[u8]) -> bool {
        /// Ethertype and version; traffic class and flow label behind them are masked out.
        const PLAIN: u32 = (ethernet::ethertype::IPV6 as u32) << 16 | 0x6000;
        word(head, 12) & 0xffff_f000 == PLAIN
    }

    #[inline(always)]
    fn has_intact_header(_: &[u8]) -> bool {
        true
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
    fn is_to(head: &[u8], address: Self) -> bool {
        head[Self::DST..].first_chunk() == Some(&address.to_be_bytes())
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
    fn redirect(head: &mut [u8], end: End, old: Self, new: Self) -> Delta {
        put(head, if end == End::Source { Self::SRC } else { Self::DST }, new.to_be_bytes());
        Self::take_hop(head);
        Delta::new().u128(old, new)
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
    // One less to live, and one more in the checksum, which stands two bytes further on: as this is read, in its lowest bit. When that
    // carries out, or leaves all bits set, one is added to it once more.
    const ONE_MORE: u32 = 1 << 16;
    const LESS: u32 = ONE_MORE - 1;
    let Some(word) = header.get_mut(TTL..).and_then(|header| header.first_chunk_mut::<4>()) else { return };
    let before = u32::from_le_bytes(*word);
    if before > u32::MAX - LESS - ONE_MORE {
        return carry(word);
    }
    *word = before.wrapping_add(LESS).to_le_bytes();

    #[cold]
    #[inline(never)]
    fn carry(word: &mut [u8; 4]) {
        *word = u32::from_le_bytes(*word).wrapping_add(LESS + ONE_MORE).to_le_bytes();
    }
}

/// Writes bytes from `at` on.
#[inline(always)]
pub(super) fn put<const N: usize>(head: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = head[at..].first_chunk_mut() {
        *place = bytes;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sample::{at, tcp};

    #[test]
    fn a_hop_is_taken_as_the_header_itself_takes_it_whatever_its_checksum() {
        for ttl in [2, 64, 255] {
            for sum in 0..=u16::MAX {
                let mut header = [0x45, 3, 0, 40, 1, 2, 0x40, 0, ttl, protocol::TCP, 0, 0, 10, 0, 0, 1, 192, 0, 2, 10];
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                let mut expected = header;
                ipv4::Packet::new_unchecked(&mut expected).decrement_ttl();
                take_hop(&mut header);
                assert_eq!(header, expected, "time to live {ttl}, checksum {sum:#06x}");
            }
        }
    }

    #[test]
    fn a_mould_asks_for_all_that_it_names_and_for_nothing_else() {
        let mould = u32::MOULD.to([2, 0, 0, 0, 0, 1]).addressed(0xc000_020a_u32);
        let sample = tcp(at("203.0.113.1:1000"), at("192.0.2.10:80"));
        let mut head = sample.letters("A").frame();
        head.resize(u32::HEAD, 0);
        head[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        assert!(mould.fits(&head, u32::WINDOW) && mould.is_to(&head));
        let mut asked = vec![0; head.len()];
        for (at, asked) in asked.iter_mut().enumerate() {
            for bit in 0..8 {
                head[at] ^= 1 << bit;
                *asked |= u8::from(!mould.fits(&head, u32::WINDOW)) << bit;
                head[at] ^= 1 << bit;
            }
        }
        let named = (0..6).chain([12, 13, 14, 21, 23]).chain(30..34).map(|at| (at, 0xff));
        let mut expected = vec![0; head.len()];
        named.chain([(20, 0x3f), (47, DECIDING)]).for_each(|(at, bits)| expected[at] = bits);
        assert_eq!(asked, expected);
    }
}
