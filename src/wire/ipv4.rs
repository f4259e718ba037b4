//! IPv4 packets (RFC 791). Setters of fields that change on the way keep the header checksum right by updating it
//! (RFC 1624).

use super::WireError;
use super::bytes::{put, put_u8, u8_at, u16_at, u32_at};
use super::checksum::{self, Delta, Sum};
use std::net::Ipv4Addr;

mod field {
    use std::ops::Range;
    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const TOS: usize = 1;
    pub(super) const TOTAL_LEN: Range<usize> = 2..4;
    pub(super) const IDENT: Range<usize> = 4..6;
    pub(super) const FRAGMENT: Range<usize> = 6..8;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: Range<usize> = 10..12;
    pub(super) const SRC: Range<usize> = 12..16;
    pub(super) const DST: Range<usize> = 16..20;
}

/// Length of a header without options in bytes.
pub const HEADER_LEN: usize = field::DST.end;
/// Length of the longest header in bytes.
pub const MAX_HEADER_LEN: usize = 60;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// A view of an IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes bytes as they are; see [`check_len`](Self::check_len).
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self(buffer)
    }

    /// Takes bytes that hold a whole packet; more may follow, as Ethernet's padding does.
    ///
    /// # Errors
    /// As [`check_len`](Self::check_len).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Takes bytes that hold at least the header, as an ICMP error quotes a packet.
    ///
    /// # Errors
    /// As [`check_header`](Self::check_header).
    #[inline]
    pub fn new_quoted(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_header()?;
        Ok(packet)
    }

    /// Checks that the header is one and that the packet is there as a whole.
    ///
    /// # Errors
    /// As [`check_header`](Self::check_header), and [`WireError::PacketLength`] for a length that is less than the
    /// header's or more than there are bytes.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        self.check_header()?;
        let total = usize::from(self.total_len());
        if total < self.header_len() || total > self.0.as_ref().len() { Err(WireError::PacketLength) } else { Ok(()) }
    }

    /// Checks that the header is one and that it is there as a whole.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Version`], [`WireError::HeaderLength`].
    #[inline]
    pub fn check_header(&self) -> Result<(), WireError> {
        let len = self.0.as_ref().len();
        if len < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        if self.version() != 4 {
            return Err(WireError::Version);
        }
        if self.header_len() < HEADER_LEN || self.header_len() > len {
            return Err(WireError::HeaderLength);
        }
        Ok(())
    }

    /// Returns the bytes that were taken.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0
    }

    /// Returns the version: 4 in a packet that was checked.
    #[inline]
    pub fn version(&self) -> u8 {
        u8_at(self.0.as_ref(), field::VERSION_IHL) >> 4
    }

    /// Returns the header's length with its options, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(u8_at(self.0.as_ref(), field::VERSION_IHL) & 0x0f) * 4
    }

    /// Returns the type of service, or DSCP and ECN.
    #[inline]
    pub fn tos(&self) -> u8 {
        u8_at(self.0.as_ref(), field::TOS)
    }

    /// Returns the packet's length with its header, in bytes.
    #[inline]
    pub fn total_len(&self) -> u16 {
        u16_at(self.0.as_ref(), field::TOTAL_LEN)
    }

    /// Returns the identification.
    #[inline]
    pub fn ident(&self) -> u16 {
        u16_at(self.0.as_ref(), field::IDENT)
    }

    /// Tells whether the packet must not be fragmented.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        u16_at(self.0.as_ref(), field::FRAGMENT) & DONT_FRAGMENT != 0
    }

    /// Tells whether fragments follow this one.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        u16_at(self.0.as_ref(), field::FRAGMENT) & MORE_FRAGMENTS != 0
    }

    /// Returns where in the unfragmented payload this fragment begins, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (u16_at(self.0.as_ref(), field::FRAGMENT) & OFFSET) << 3
    }

    /// Tells whether the packet is a fragment, the first included.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        u16_at(self.0.as_ref(), field::FRAGMENT) & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// Returns the time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        u8_at(self.0.as_ref(), field::TTL)
    }

    /// Returns the payload's protocol number.
    #[inline]
    pub fn protocol(&self) -> u8 {
        u8_at(self.0.as_ref(), field::PROTOCOL)
    }

    /// Returns the header checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.0.as_ref(), field::CHECKSUM)
    }

    /// Returns the source.
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.src_bits())
    }

    /// Returns the destination.
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.dst_bits())
    }

    /// Returns the source as a number, its first octet the highest.
    #[inline]
    pub fn src_bits(&self) -> u32 {
        u32_at(self.0.as_ref(), field::SRC)
    }

    /// Returns the destination as a number, its first octet the highest.
    #[inline]
    pub fn dst_bits(&self) -> u32 {
        u32_at(self.0.as_ref(), field::DST)
    }

    /// Returns the header's options as they are.
    #[inline]
    pub fn options(&self) -> &[u8] {
        self.0.as_ref().get(HEADER_LEN..self.header_len()).unwrap_or_default()
    }

    /// Returns the payload, without what follows the packet; of a quoted packet, what is there of it.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let bytes = self.0.as_ref();
        let end = bytes.len().min(usize::from(self.total_len()));
        bytes.get(self.header_len()..end).unwrap_or_default()
    }

    /// Tells whether the header's checksum is right.
    #[inline]
    pub fn is_intact(&self) -> bool {
        let bytes = self.0.as_ref();
        match bytes.first_chunk::<HEADER_LEN>() {
            Some(header) if self.header_len() == HEADER_LEN => checksum::is_intact(header),
            _ => bytes.get(..self.header_len()).is_some_and(checksum::is_intact),
        }
    }

    /// Returns the sum of the pseudo header before an upper-layer packet of `length` bytes.
    #[inline]
    pub fn pseudo_header(&self, length: u16) -> Sum {
        checksum::pseudo_ipv4(self.src(), self.dst(), self.protocol(), length)
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Takes one from the time to live, if there is any left, and updates the checksum. Returns what is left.
    #[inline]
    pub fn decrement_ttl(&mut self) -> u8 {
        let Some(ttl) = self.ttl().checked_sub(1) else { return 0 };
        self.set_ttl(ttl);
        // TTL is the high byte of its word: the sum of all words goes down by 0x0100, its complement up, with the carry round.
        let checksum = u32::from(self.checksum()) + 0x0100;
        self.set_checksum((checksum + u32::from(checksum >= 0xffff)) as u16);
        ttl
    }

    /// Sets the source, updates the header checksum, and returns the change for the checksums above.
    #[inline]
    pub fn set_src(&mut self, addr: Ipv4Addr) -> Delta {
        let delta = Delta::new().u32(self.src_bits(), addr.to_bits());
        put(self.0.as_mut(), field::SRC, addr.octets());
        self.update(delta);
        delta
    }

    /// Sets the destination, updates the header checksum, and returns the change for the checksums above.
    #[inline]
    pub fn set_dst(&mut self, addr: Ipv4Addr) -> Delta {
        let delta = Delta::new().u32(self.dst_bits(), addr.to_bits());
        put(self.0.as_mut(), field::DST, addr.octets());
        self.update(delta);
        delta
    }

    /// Sets the packet's length in bytes and updates the header checksum.
    #[inline]
    pub fn set_total_len(&mut self, len: u16) {
        let old = self.total_len();
        put(self.0.as_mut(), field::TOTAL_LEN, len.to_be_bytes());
        self.update(Delta::new().u16(old, len));
    }

    /// Sets where in the unfragmented payload this fragment begins, in bytes, and whether more follow; the checksum stays as it is.
    #[inline]
    pub fn set_fragment(&mut self, offset: u16, more: bool) {
        let fixed = u16_at(self.0.as_ref(), field::FRAGMENT) & !(MORE_FRAGMENTS | OFFSET);
        let word = fixed | if more { MORE_FRAGMENTS } else { 0 } | offset >> 3;
        put(self.0.as_mut(), field::FRAGMENT, word.to_be_bytes());
    }

    /// Sets the type of service; the checksum stays as it is.
    #[inline]
    pub fn set_tos(&mut self, tos: u8) {
        put_u8(self.0.as_mut(), field::TOS, tos);
    }

    /// Sets whether the packet must not be fragmented; the checksum stays as it is.
    #[inline]
    pub fn set_dont_fragment(&mut self, dont_fragment: bool) {
        let others = u16_at(self.0.as_ref(), field::FRAGMENT) & !DONT_FRAGMENT;
        let word = others | if dont_fragment { DONT_FRAGMENT } else { 0 };
        put(self.0.as_mut(), field::FRAGMENT, word.to_be_bytes());
    }

    /// Sets the time to live; the checksum stays as it is.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        put_u8(self.0.as_mut(), field::TTL, ttl);
    }

    /// Sets the header checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put(self.0.as_mut(), field::CHECKSUM, checksum.to_be_bytes());
    }

    /// Computes the header checksum anew.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let header = self.0.as_ref().get(..self.header_len()).unwrap_or_default();
        let checksum = checksum::of(header);
        self.set_checksum(checksum);
    }

    /// Returns the payload for writing.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let start = self.header_len();
        let total = usize::from(self.total_len());
        let bytes = self.0.as_mut();
        let end = bytes.len().min(total);
        bytes.get_mut(start..end).unwrap_or_default()
    }

    #[inline]
    fn update(&mut self, delta: Delta) {
        self.set_checksum(delta.apply(self.checksum()));
    }
}

/// The fields of a header without options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Length of the payload in bytes.
    pub payload_len: u16,
    /// Time to live.
    pub ttl: u8,
    /// Type of service, or DSCP and ECN.
    pub tos: u8,
    /// Identification.
    pub ident: u16,
    /// The packet must not be fragmented.
    pub dont_fragment: bool,
    /// Fragments follow this one.
    pub more_fragments: bool,
    /// Where in the unfragmented payload this fragment begins, in bytes; a multiple of 8.
    pub fragment_offset: u16,
}

impl Repr {
    /// Reads a header; its options are not kept.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self {
            src: packet.src(),
            dst: packet.dst(),
            protocol: packet.protocol(),
            payload_len: packet.total_len().saturating_sub(packet.header_len() as u16),
            ttl: packet.ttl(),
            tos: packet.tos(),
            ident: packet.ident(),
            dont_fragment: packet.dont_fragment(),
            more_fragments: packet.more_fragments(),
            fragment_offset: packet.fragment_offset(),
        }
    }

    /// Returns the header's length in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header with its checksum; the buffer is at least [`header_len`](Self::header_len) long.
    #[inline]
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        self.emit_with_options(packet, 0);
    }

    /// Writes the header for `options_len` bytes of options, a multiple of 4 that is at most 40. The options are
    /// already in the buffer.
    pub(super) fn emit_with_options<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>, options_len: usize) {
        let header_len = HEADER_LEN + options_len;
        let bytes = packet.0.as_mut();
        put_u8(bytes, field::VERSION_IHL, 0x40 | (header_len / 4) as u8);
        put_u8(bytes, field::TOS, self.tos);
        put(bytes, field::TOTAL_LEN, self.payload_len.saturating_add(header_len as u16).to_be_bytes());
        put(bytes, field::IDENT, self.ident.to_be_bytes());
        put(bytes, field::FRAGMENT, self.fragment_word().to_be_bytes());
        put_u8(bytes, field::TTL, self.ttl);
        put_u8(bytes, field::PROTOCOL, self.protocol);
        put(bytes, field::SRC, self.src.octets());
        put(bytes, field::DST, self.dst.octets());
        packet.fill_checksum();
    }

    const fn fragment_word(&self) -> u16 {
        let dont = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        let more = if self.more_fragments { MORE_FRAGMENTS } else { 0 };
        dont | more | self.fragment_offset >> 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 203.0.113.5 > 192.0.2.10, TTL 64, DF, id 103, options of 4 bytes, 2 bytes of payload and 2 of padding.
    const PACKET_BYTES: [u8; 28] = [
        0x46, 0x10, 0x00, 0x1a, 0x00, 0x67, 0x40, 0x00, 0x40, 0x06, 0xa7, 0x52, 0xcb, 0x00, 0x71, 0x05, 0xc0, 0x00,
        0x02, 0x0a, 0x94, 0x04, 0x00, 0x00, 0xaa, 0xbb, 0x00, 0x00,
    ];

    #[test]
    fn every_field_is_read() {
        let packet = Packet::new_checked(&PACKET_BYTES).unwrap();
        assert_eq!((packet.version(), packet.header_len(), packet.tos(), packet.total_len()), (4, 24, 0x10, 26));
        assert_eq!((packet.ident(), packet.ttl(), packet.protocol()), (103, 64, 6));
        assert_eq!((packet.dont_fragment(), packet.more_fragments(), packet.fragment_offset()), (true, false, 0));
        assert_eq!((packet.src(), packet.dst()), (Ipv4Addr::new(203, 0, 113, 5), Ipv4Addr::new(192, 0, 2, 10)));
        assert_eq!((packet.src_bits(), packet.dst_bits()), (0xcb00_7105, 0xc000_020a));
        assert_eq!((packet.options(), packet.payload()), (&[0x94, 4, 0, 0][..], &[0xaa, 0xbb][..]));
        assert!(packet.is_intact() && !packet.is_fragment());
    }

    #[test]
    fn a_fragment_says_where_it_begins() {
        let mut bytes = PACKET_BYTES;
        bytes[6..8].copy_from_slice(&[0x20, 0xb9]);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.dont_fragment(), packet.more_fragments(), packet.fragment_offset()), (false, true, 1480));
        assert!(packet.is_fragment());
        bytes[6..8].copy_from_slice(&[0x1f, 0xff]);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.is_fragment(), packet.fragment_offset()), (true, 65528));
    }

    #[test]
    fn bad_headers_are_refused_with_the_reason() {
        let with = |at: usize, value: u8| {
            let mut bytes = PACKET_BYTES;
            bytes[at] = value;
            Packet::new_checked(bytes).map(|_| ())
        };
        assert_eq!(with(0, 0x66), Err(WireError::Version));
        assert_eq!(with(0, 0x44), Err(WireError::HeaderLength));
        assert_eq!(with(0, 0x48), Err(WireError::HeaderLength));
        assert_eq!(with(3, 23), Err(WireError::PacketLength));
        assert_eq!(with(3, 29), Err(WireError::PacketLength));
        assert_eq!(with(3, 24), Ok(()));
        assert_eq!(with(3, 28), Ok(()));
    }

    #[test]
    fn a_packet_cut_anywhere_is_refused() {
        for len in 0..26 {
            assert!(Packet::new_checked(&PACKET_BYTES[..len]).is_err(), "{len} bytes");
            assert_eq!(Packet::new_quoted(&PACKET_BYTES[..len]).is_ok(), len >= 24, "{len} bytes quoted");
        }
    }

    #[test]
    fn a_ttl_of_zero_stays_zero() {
        let mut bytes = PACKET_BYTES;
        let mut packet = Packet::new_checked(&mut bytes).unwrap();
        packet.set_ttl(1);
        packet.fill_checksum();
        assert_eq!(packet.decrement_ttl(), 0);
        assert_eq!(packet.decrement_ttl(), 0);
        assert!(packet.is_intact());
    }

    #[test]
    fn a_wrong_checksum_stays_wrong_by_as_much() {
        let mut bytes = PACKET_BYTES;
        bytes[10] ^= 0x55;
        let mut packet = Packet::new_checked(&mut bytes).unwrap();
        packet.decrement_ttl();
        packet.set_dst(Ipv4Addr::new(198, 51, 100, 11));
        assert!(!packet.is_intact());
    }

    fn any_repr() -> impl Strategy<Value = Repr> {
        let numbers = (any::<u8>(), 0u16..1000, any::<u8>(), any::<u8>(), any::<u16>());
        (any::<(Ipv4Addr, Ipv4Addr)>(), numbers, any::<(bool, bool)>(), 0u16..0x2000).prop_map(
            |((src, dst), (protocol, payload_len, ttl, tos, ident), (dont_fragment, more_fragments), offset)| Repr {
                src,
                dst,
                protocol,
                payload_len,
                ttl,
                tos,
                ident,
                dont_fragment,
                more_fragments,
                fragment_offset: offset * 8,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(repr in any_repr()) {
            let mut bytes = vec![0xee; repr.header_len() + usize::from(repr.payload_len)];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert!(packet.is_intact());
            prop_assert_eq!(Repr::parse(&packet), repr);
        }

        #[test]
        fn updated_checksums_are_computed_ones(repr in any_repr(), src: Ipv4Addr, dst: Ipv4Addr, len: u16) {
            let mut bytes = vec![0; HEADER_LEN + 1000];
            let mut packet = Packet::new_unchecked(&mut bytes);
            repr.emit(&mut packet);
            packet.set_src(src);
            packet.set_dst(dst);
            packet.set_total_len(len);
            let ttl = packet.decrement_ttl();
            prop_assert_eq!((packet.src(), packet.dst(), packet.total_len()), (src, dst, len));
            prop_assert_eq!(ttl, repr.ttl.saturating_sub(1));
            let updated = packet.checksum();
            packet.fill_checksum();
            prop_assert_eq!(updated, packet.checksum());
        }

        #[test]
        fn no_accessor_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), version: bool) {
            let mut bytes = bytes;
            if let (true, Some(first)) = (version, bytes.first_mut()) {
                *first = 0x40 | (*first & 0x0f);
            }
            if let Ok(mut packet) = Packet::new_quoted(&mut bytes[..]) {
                let _ = (Repr::parse(&packet), packet.options().len(), packet.payload().len(), packet.is_intact());
                packet.decrement_ttl();
                packet.payload_mut().fill(0);
                packet.fill_checksum();
                prop_assert!(packet.is_intact());
            }
        }
    }
}
