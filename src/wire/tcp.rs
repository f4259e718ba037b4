//! TCP segments (RFC 9293).

use super::WireError;
use super::bytes::{put, put_u8, rest, u8_at, u16_at, u32_at};
use super::checksum::{Delta, Sum};
use std::fmt;
use std::ops::{BitOr, BitOrAssign};

mod field {
    use std::ops::Range;
    pub(super) const SRC_PORT: Range<usize> = 0..2;
    pub(super) const DST_PORT: Range<usize> = 2..4;
    pub(super) const SEQ: Range<usize> = 4..8;
    pub(super) const ACK: Range<usize> = 8..12;
    pub(super) const DATA_OFFSET: usize = 12;
    pub(super) const FLAGS: usize = 13;
    pub(super) const WINDOW: Range<usize> = 14..16;
    pub(super) const CHECKSUM: Range<usize> = 16..18;
    pub(super) const URGENT: Range<usize> = 18..20;
}

/// Length of a header without options in bytes.
pub const HEADER_LEN: usize = field::URGENT.end;
/// Where the checksum stands in a header.
pub const CHECKSUM: usize = field::CHECKSUM.start;

/// Most bytes that options can take.
pub const MAX_OPTIONS_LEN: usize = 40;

/// The control bits of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No bit at all.
    pub const EMPTY: Self = Self(0);
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    const LETTERS: [char; 8] = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];

    /// Tells whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Tells whether any bit of `other` is set.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns the flags that letters stand for, as they are displayed: `SA`, `FA`, `.` for none. `None` for a letter
    /// that is no flag's.
    pub fn from_letters(letters: &str) -> Option<Self> {
        let mut flags = Self::EMPTY;
        for letter in letters.chars().filter(|letter| *letter != '.') {
            let bit = Self::LETTERS.iter().position(|known| *known == letter)?;
            flags |= Self(1 << bit);
        }
        Some(flags)
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for TcpFlags {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::EMPTY {
            return f.write_str(".");
        }
        let set = Self::LETTERS.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 == 1);
        set.map(|(_, letter)| *letter).try_for_each(|letter| write!(f, "{letter}"))
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A view of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes bytes as they are; see [`check_len`](Self::check_len).
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self(buffer)
    }

    /// Takes bytes that hold a whole header with its options.
    ///
    /// # Errors
    /// As [`check_len`](Self::check_len).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Takes bytes that hold the header without its options, whatever the data offset says: enough to move a
    /// connection's state. Options and payload are then what there is of them.
    ///
    /// # Errors
    /// As [`check_header`](Self::check_header).
    #[inline]
    pub fn new_quoted(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_header()?;
        Ok(packet)
    }

    /// Checks that the header is there with its options.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::HeaderLength`].
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        self.check_header()?;
        let header_len = self.header_len();
        if header_len < HEADER_LEN || header_len > self.0.as_ref().len() {
            Err(WireError::HeaderLength)
        } else {
            Ok(())
        }
    }

    /// Checks that the header is there without its options.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn check_header(&self) -> Result<(), WireError> {
        if self.0.as_ref().len() < HEADER_LEN { Err(WireError::Truncated) } else { Ok(()) }
    }

    /// Returns the source port.
    #[inline]
    pub fn src_port(&self) -> u16 {
        u16_at(self.0.as_ref(), field::SRC_PORT)
    }

    /// Returns the destination port.
    #[inline]
    pub fn dst_port(&self) -> u16 {
        u16_at(self.0.as_ref(), field::DST_PORT)
    }

    /// Returns the sequence number.
    #[inline]
    pub fn seq(&self) -> u32 {
        u32_at(self.0.as_ref(), field::SEQ)
    }

    /// Returns the acknowledgement number.
    #[inline]
    pub fn ack(&self) -> u32 {
        u32_at(self.0.as_ref(), field::ACK)
    }

    /// Returns the header's length with its options, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(u8_at(self.0.as_ref(), field::DATA_OFFSET) >> 4) * 4
    }

    /// Returns the control bits.
    #[inline]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(u8_at(self.0.as_ref(), field::FLAGS))
    }

    /// Returns the window as it is in the header, unscaled.
    #[inline]
    pub fn window(&self) -> u16 {
        u16_at(self.0.as_ref(), field::WINDOW)
    }

    /// Returns the checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.0.as_ref(), field::CHECKSUM)
    }

    /// Returns the urgent pointer.
    #[inline]
    pub fn urgent(&self) -> u16 {
        u16_at(self.0.as_ref(), field::URGENT)
    }

    /// Returns the options as they are.
    #[inline]
    pub fn options(&self) -> &[u8] {
        let bytes = self.0.as_ref();
        bytes.get(HEADER_LEN..bytes.len().min(self.header_len())).unwrap_or_default()
    }

    /// Returns the maximum segment size option in bytes, which only a SYN has.
    pub fn mss(&self) -> Option<u16> {
        let mss = Options(self.options()).find(|option| option.kind == TcpOption::MSS)?;
        mss.value.try_into().ok().map(u16::from_be_bytes)
    }

    /// Returns the payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        rest(self.0.as_ref(), self.header_len())
    }

    /// Tells whether the checksum is right; `pseudo` is the sum of the pseudo header, for as many bytes as these.
    #[inline]
    pub fn is_intact(&self, pseudo: Sum) -> bool {
        pseudo.bytes(self.0.as_ref()).is_intact()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source port and nothing else; returns the change for the checksum.
    #[inline]
    pub fn set_src_port(&mut self, port: u16) -> Delta {
        let delta = Delta::new().u16(self.src_port(), port);
        put(self.0.as_mut(), field::SRC_PORT, port.to_be_bytes());
        delta
    }

    /// Sets the destination port and nothing else; returns the change for the checksum.
    #[inline]
    pub fn set_dst_port(&mut self, port: u16) -> Delta {
        let delta = Delta::new().u16(self.dst_port(), port);
        put(self.0.as_mut(), field::DST_PORT, port.to_be_bytes());
        delta
    }

    /// Sets the sequence number and nothing else; returns the change for the checksum.
    #[inline]
    pub fn set_seq(&mut self, seq: u32) -> Delta {
        let delta = Delta::new().u32(self.seq(), seq);
        put(self.0.as_mut(), field::SEQ, seq.to_be_bytes());
        delta
    }

    /// Sets the acknowledgement number and nothing else; returns the change for the checksum.
    #[inline]
    pub fn set_ack(&mut self, ack: u32) -> Delta {
        let delta = Delta::new().u32(self.ack(), ack);
        put(self.0.as_mut(), field::ACK, ack.to_be_bytes());
        delta
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put(self.0.as_mut(), field::CHECKSUM, checksum.to_be_bytes());
    }

    /// Updates the checksum for fields that were changed, in this header or in the pseudo header.
    #[inline]
    pub fn update_checksum(&mut self, delta: Delta) {
        self.set_checksum(delta.apply(self.checksum()));
    }

    /// Computes the checksum anew; `pseudo` is the sum of the pseudo header, for as many bytes as these.
    pub fn fill_checksum(&mut self, pseudo: Sum) {
        self.set_checksum(0);
        let checksum = pseudo.bytes(self.0.as_ref()).checksum();
        self.set_checksum(checksum);
    }

    /// Returns the options for writing.
    #[inline]
    pub fn options_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        let bytes = self.0.as_mut();
        let end = end.min(bytes.len());
        bytes.get_mut(HEADER_LEN..end).unwrap_or_default()
    }

    /// Returns the payload for writing.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let start = self.header_len();
        super::bytes::rest_mut(self.0.as_mut(), start)
    }
}

/// One option of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOption<'a> {
    /// What it is (IANA).
    pub kind: u8,
    /// What it says, without its kind and length.
    pub value: &'a [u8],
}

impl TcpOption<'_> {
    /// End of the list.
    pub const END: u8 = 0;
    /// Padding.
    pub const NOP: u8 = 1;
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Blocks that have arrived (RFC 2018).
    pub const SACK: u8 = 5;
}

/// The options of a header that have a length, in their order; ends at the first that is malformed.
#[derive(Debug, Clone)]
pub struct Options<'a>(pub &'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        while let [TcpOption::NOP, after @ ..] = self.0 {
            self.0 = after;
        }
        let (&kind, &len) = (self.0.first()?, self.0.get(1)?);
        let value = self.0.get(2..usize::from(len)).filter(|_| kind != TcpOption::END)?;
        self.0 = rest(self.0, usize::from(len));
        Some(TcpOption { kind, value })
    }
}

/// The fields of a header; options follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Window, unscaled.
    pub window: u16,
    /// Length of the options in bytes, a multiple of 4 that is at most 40.
    pub options_len: usize,
}

impl Repr {
    /// Reads a header.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            seq: packet.seq(),
            ack: packet.ack(),
            flags: packet.flags(),
            window: packet.window(),
            options_len: packet.options().len(),
        }
    }

    /// Returns the header's length with its options, in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.options_len
    }

    /// Writes the header without its options and with a checksum of zero; the buffer is at least
    /// [`header_len`](Self::header_len) long.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let bytes = packet.0.as_mut();
        put(bytes, field::SRC_PORT, self.src_port.to_be_bytes());
        put(bytes, field::DST_PORT, self.dst_port.to_be_bytes());
        put(bytes, field::SEQ, self.seq.to_be_bytes());
        put(bytes, field::ACK, self.ack.to_be_bytes());
        put_u8(bytes, field::DATA_OFFSET, (self.header_len() as u8 / 4) << 4);
        put_u8(bytes, field::FLAGS, self.flags.0);
        put(bytes, field::WINDOW, self.window.to_be_bytes());
        put(bytes, field::CHECKSUM, [0; 2]);
        put(bytes, field::URGENT, [0; 2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{checksum, protocol};
    use proptest::prelude::*;

    /// 1000 > 80 SYN with MSS 1460, SACK permitted and two bytes of data, between 203.0.113.5 and 192.0.2.10.
    const SEGMENT_BYTES: [u8; 30] = [
        0x03, 0xe8, 0x00, 0x50, 0x00, 0x00, 0x03, 0xe8, 0x00, 0x00, 0x00, 0x00, 0x70, 0x02, 0xff, 0xff, 0x14, 0x84,
        0x00, 0x00, 0x02, 0x04, 0x05, 0xb4, 0x01, 0x01, 0x04, 0x02, 0x68, 0x69,
    ];

    fn pseudo() -> Sum {
        checksum::pseudo_ipv4([203, 0, 113, 5].into(), [192, 0, 2, 10].into(), protocol::TCP, 30)
    }

    #[test]
    fn every_field_is_read() {
        let segment = Packet::new_checked(&SEGMENT_BYTES).unwrap();
        assert_eq!((segment.src_port(), segment.dst_port(), segment.seq(), segment.ack()), (1000, 80, 1000, 0));
        assert_eq!((segment.header_len(), segment.flags(), segment.window()), (28, TcpFlags::SYN, 65535));
        assert_eq!((segment.mss(), segment.urgent(), segment.payload()), (Some(1460), 0, &b"hi"[..]));
        assert!(segment.is_intact(pseudo()));
        let kinds: Vec<u8> = Options(segment.options()).map(|option| option.kind).collect();
        assert_eq!(kinds, [2, 4]);
    }

    #[test]
    fn malformed_options_end_the_list() {
        let kinds = |options: &[u8]| Options(options).map(|option| option.kind).collect::<Vec<u8>>();
        assert_eq!(kinds(&[2, 4, 5, 0xb4, 0, 3, 3, 7]), [2], "the list ends at its end");
        assert_eq!(kinds(&[3, 3, 7, 8, 10, 0, 0]), [3], "an option longer than the list");
        for len in 0..2 {
            assert!(kinds(&[2, len, 5, 0xb4]).is_empty(), "a length of {len}");
        }
        assert!(kinds(&[1, 1, 2]).is_empty(), "an option without length");
    }

    #[test]
    fn a_segment_cut_inside_its_header_is_refused() {
        for len in 0..28 {
            assert!(Packet::new_checked(&SEGMENT_BYTES[..len]).is_err(), "{len} bytes");
            assert_eq!(Packet::new_quoted(&SEGMENT_BYTES[..len]).is_ok(), len >= 20, "{len} bytes quoted");
        }
        let mut bytes = SEGMENT_BYTES;
        bytes[12] = 0x40;
        assert_eq!(Packet::new_checked(bytes), Err(WireError::HeaderLength));
    }

    #[test]
    fn flags_are_letters_in_the_order_of_their_bits() {
        assert_eq!((TcpFlags::SYN | TcpFlags::ACK).to_string(), "SA");
        assert_eq!(TcpFlags(0xff).to_string(), "FSRPAUEC");
        assert_eq!(TcpFlags::EMPTY.to_string(), ".");
        assert_eq!(TcpFlags::from_letters("AS"), Some(TcpFlags(0x12)));
        assert_eq!(TcpFlags::from_letters("."), Some(TcpFlags::EMPTY));
        assert_eq!(TcpFlags::from_letters("SX"), None);
        assert!(TcpFlags(0x12).contains(TcpFlags::SYN) && !TcpFlags(0x12).contains(TcpFlags(0x03)));
        assert!(TcpFlags(0x12).intersects(TcpFlags(0x03)) && !TcpFlags(0x12).intersects(TcpFlags::FIN));
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(
            ports: (u16, u16), numbers: (u32, u32), flags: u8, window: u16, options in 0usize..=10,
        ) {
            let repr = Repr {
                src_port: ports.0,
                dst_port: ports.1,
                seq: numbers.0,
                ack: numbers.1,
                flags: TcpFlags(flags),
                window,
                options_len: options * 4,
            };
            let mut bytes = vec![0xee; repr.header_len()];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            let mut segment = Packet::new_checked(&mut bytes).unwrap();
            prop_assert_eq!(Repr::parse(&segment), repr);
            segment.fill_checksum(pseudo());
            prop_assert!(segment.is_intact(pseudo()));
        }

        #[test]
        fn updated_checksums_are_computed_ones(ports: (u16, u16), numbers: (u32, u32), data: Vec<u8>) {
            let mut bytes = [&SEGMENT_BYTES[..], &data].concat();
            let mut segment = Packet::new_checked(&mut bytes[..]).unwrap();
            segment.fill_checksum(pseudo());
            let delta = segment.set_src_port(ports.0).and(segment.set_dst_port(ports.1));
            let delta = delta.and(segment.set_seq(numbers.0)).and(segment.set_ack(numbers.1));
            segment.update_checksum(delta);
            let updated = segment.checksum();
            segment.fill_checksum(pseudo());
            prop_assert_eq!(updated, segment.checksum());
            prop_assert_eq!((segment.src_port(), segment.dst_port()), ports);
            prop_assert_eq!((segment.seq(), segment.ack()), numbers);
        }

        #[test]
        fn no_accessor_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(mut segment) = Packet::new_quoted(bytes) {
                let _ = (Repr::parse(&segment), segment.mss(), segment.urgent(), segment.payload().len());
                segment.payload_mut().fill(0);
                segment.fill_checksum(Sum::new());
            }
        }
    }
}
