//! Generic routing encapsulation (RFC 2784; RFC 2890 for key and sequence number).

use super::WireError;
use super::bytes::{put, rest, u16_at};
use super::checksum::{self, Sum};

mod field {
    use std::ops::Range;
    pub(super) const FLAGS_VERSION: Range<usize> = 0..2;
    pub(super) const PROTOCOL: Range<usize> = 2..4;
    pub(super) const CHECKSUM: Range<usize> = 4..6;
    pub(super) const RESERVED: Range<usize> = 6..8;
}

/// Length of a header without options in bytes.
pub const HEADER_LEN: usize = field::PROTOCOL.end;

const CHECKSUM: u16 = 0x8000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Version, and the bits of RFC 1701 (routing among them) that later documents require to be zero.
const MUST_BE_ZERO: u16 = 0x4c07;

/// A view of a GRE packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes bytes as they are; see [`check_len`](Self::check_len).
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self(buffer)
    }

    /// Takes bytes that hold a whole header of version 0.
    ///
    /// # Errors
    /// As [`check_len`](Self::check_len).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Checks that the header is of version 0, without routing, and there as a whole.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Unsupported`].
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        let len = self.0.as_ref().len();
        if len < HEADER_LEN || len < self.header_len() {
            return Err(WireError::Truncated);
        }
        if self.flags() & MUST_BE_ZERO == 0 { Ok(()) } else { Err(WireError::Unsupported) }
    }

    /// Returns the header's length with its options, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        let options = self.flags() & (CHECKSUM | KEY | SEQUENCE);
        HEADER_LEN + 4 * options.count_ones() as usize
    }

    /// Returns the EtherType of the payload.
    #[inline]
    pub fn protocol(&self) -> u16 {
        u16_at(self.0.as_ref(), field::PROTOCOL)
    }

    /// Tells whether there is a checksum.
    #[inline]
    pub fn has_checksum(&self) -> bool {
        self.flags() & CHECKSUM != 0
    }

    /// Tells whether there is no option but the checksum.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.flags() & !CHECKSUM == 0
    }

    /// Returns the payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        rest(self.0.as_ref(), self.header_len())
    }

    /// Tells whether the checksum over header and payload is right or absent.
    #[inline]
    pub fn is_intact(&self) -> bool {
        !self.has_checksum() || Sum::new().bytes(self.0.as_ref()).is_intact()
    }

    #[inline]
    fn flags(&self) -> u16 {
        u16_at(self.0.as_ref(), field::FLAGS_VERSION)
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Computes the checksum anew, if there is one.
    pub fn fill_checksum(&mut self) {
        if self.has_checksum() {
            put(self.0.as_mut(), field::CHECKSUM, [0; 2]);
            let checksum = checksum::of(self.0.as_ref());
            put(self.0.as_mut(), field::CHECKSUM, checksum.to_be_bytes());
        }
    }

    /// Returns the payload for writing.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let start = self.header_len();
        super::bytes::rest_mut(self.0.as_mut(), start)
    }
}

/// The fields of a header without key and sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// EtherType of the payload.
    pub protocol: u16,
    /// The header has a checksum over itself and the payload.
    pub checksum: bool,
}

impl Repr {
    /// Reads a header; key and sequence number are not kept.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self { protocol: packet.protocol(), checksum: packet.has_checksum() }
    }

    /// Returns the header's length in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        if self.checksum { HEADER_LEN + 4 } else { HEADER_LEN }
    }

    /// Writes the header before the payload that is already in the buffer, and the checksum, if any, over both; the
    /// buffer is at least [`header_len`](Self::header_len) long.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let flags = if self.checksum { CHECKSUM } else { 0 };
        let bytes = packet.0.as_mut();
        put(bytes, field::FLAGS_VERSION, flags.to_be_bytes());
        put(bytes, field::PROTOCOL, self.protocol.to_be_bytes());
        if self.checksum {
            put(bytes, field::RESERVED, [0; 2]);
            packet.fill_checksum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::ethertype;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_four_bytes_or_eight_with_a_checksum() {
        let mut bytes = [0xee; 10];
        let mut repr = Repr { protocol: ethertype::IPV4, checksum: false };
        repr.emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, [0, 0, 8, 0, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee]);
        assert_eq!(Packet::new_checked(&bytes).unwrap().payload().len(), 6);
        repr.checksum = true;
        repr.emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, [0x80, 0, 8, 0, 0x89, 0x10, 0, 0, 0xee, 0xee]);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.payload(), packet.is_intact()), (&[0xee; 2][..], true));
    }

    #[test]
    fn key_and_sequence_number_are_part_of_the_header() {
        let mut bytes = [0; 18];
        bytes[0] = 0xb0;
        assert_eq!(Packet::new_checked(&bytes).unwrap().payload().len(), 2);
        assert_eq!(Packet::new_checked(&bytes[..15]), Err(WireError::Truncated));
    }

    #[test]
    fn other_versions_and_routing_are_refused() {
        for flags in [[0x00, 0x01], [0x40, 0x00], [0x08, 0x00]] {
            let bytes = [flags[0], flags[1], 0x08, 0x00];
            assert_eq!(Packet::new_checked(bytes), Err(WireError::Unsupported), "{flags:x?}");
        }
    }

    #[test]
    fn a_packet_cut_inside_its_header_is_refused() {
        let bytes = [0x80, 0, 8, 0, 0, 0, 0, 0];
        for len in 0..8 {
            assert_eq!(Packet::new_checked(&bytes[..len]), Err(WireError::Truncated), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(protocol: u16, checksum: bool, payload: Vec<u8>) {
            let repr = Repr { protocol, checksum };
            let mut bytes = vec![0xee; repr.header_len()];
            bytes.extend(&payload);
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert_eq!(Repr::parse(&packet), repr);
            prop_assert_eq!(packet.payload(), &payload);
            prop_assert!(packet.is_intact());
        }

        #[test]
        fn no_accessor_panics(first in 0u8..16, bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let bytes = [&[first << 4, 0][..], &bytes].concat();
            if let Ok(mut packet) = Packet::new_checked(bytes) {
                let _ = (Repr::parse(&packet), packet.payload().len());
                packet.payload_mut().fill(0);
                packet.fill_checksum();
                prop_assert!(packet.is_intact());
            }
        }
    }
}
