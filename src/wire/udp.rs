//! UDP datagrams (RFC 768).

use super::WireError;
use super::bytes::{put, rest, u16_at};
use super::checksum::{self, Delta, Sum};

mod field {
    use std::ops::Range;
    pub(super) const SRC_PORT: Range<usize> = 0..2;
    pub(super) const DST_PORT: Range<usize> = 2..4;
    pub(super) const LENGTH: Range<usize> = 4..6;
    pub(super) const CHECKSUM: Range<usize> = 6..8;
}

/// Length of the header in bytes.
pub const HEADER_LEN: usize = field::CHECKSUM.end;
/// Where the checksum stands in a header.
pub const CHECKSUM: usize = field::CHECKSUM.start;

/// A view of a UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes bytes as they are; see [`check_len`](Self::check_len).
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self(buffer)
    }

    /// Takes bytes that hold the header.
    ///
    /// # Errors
    /// As [`check_len`](Self::check_len).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Checks that the header is there. The length field is not judged: a forwarder leaves that to the receiver, and in a
    /// first fragment or an ICMP error it is more than there is.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
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

    /// Returns the length field: header and payload, in bytes.
    #[inline]
    pub fn length(&self) -> u16 {
        u16_at(self.0.as_ref(), field::LENGTH)
    }

    /// Returns the checksum; 0 when there is none.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.0.as_ref(), field::CHECKSUM)
    }

    /// Tells whether there is a checksum.
    #[inline]
    pub fn has_checksum(&self) -> bool {
        self.checksum() != 0
    }

    /// Returns all that follows the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        rest(self.0.as_ref(), HEADER_LEN)
    }

    /// Tells whether the checksum is right or absent; `pseudo` is the sum of the pseudo header, for as many bytes as
    /// these.
    #[inline]
    pub fn is_intact(&self, pseudo: Sum) -> bool {
        !self.has_checksum() || pseudo.bytes(self.0.as_ref()).is_intact()
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

    /// Sets the checksum as it is; 0 means that there is none.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put(self.0.as_mut(), field::CHECKSUM, checksum.to_be_bytes());
    }

    /// Updates the checksum for fields that were changed, in this header or in the pseudo header. A datagram that has
    /// none stays without.
    #[inline]
    pub fn update_checksum(&mut self, delta: Delta) {
        self.set_checksum(checksum::udp_update(self.checksum(), delta));
    }

    /// Computes the checksum anew; `pseudo` is the sum of the pseudo header, for as many bytes as these.
    pub fn fill_checksum(&mut self, pseudo: Sum) {
        self.set_checksum(0);
        let checksum = pseudo.bytes(self.0.as_ref()).checksum();
        self.set_checksum(checksum::udp_on_wire(checksum));
    }

    /// Returns all that follows the header for writing.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        super::bytes::rest_mut(self.0.as_mut(), HEADER_LEN)
    }
}

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Length of header and payload in bytes.
    pub length: u16,
}

impl Repr {
    /// Reads a header.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self { src_port: packet.src_port(), dst_port: packet.dst_port(), length: packet.length() }
    }

    /// Returns the header's length in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header with no checksum; the buffer is at least [`header_len`](Self::header_len) long.
    #[inline]
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let bytes = packet.0.as_mut();
        put(bytes, field::SRC_PORT, self.src_port.to_be_bytes());
        put(bytes, field::DST_PORT, self.dst_port.to_be_bytes());
        put(bytes, field::LENGTH, self.length.to_be_bytes());
        put(bytes, field::CHECKSUM, [0; 2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protocol;
    use proptest::prelude::*;

    /// 5353 > 53 with three bytes of data, between 203.0.113.5 and 192.0.2.11.
    const DATAGRAM_BYTES: [u8; 11] = [0x14, 0xe9, 0x00, 0x35, 0x00, 0x0b, 0x28, 0x46, 0x61, 0x62, 0x63];

    fn pseudo(length: u16) -> Sum {
        checksum::pseudo_ipv4([203, 0, 113, 5].into(), [192, 0, 2, 11].into(), protocol::UDP, length)
    }

    #[test]
    fn every_field_is_read() {
        let datagram = Packet::new_checked(&DATAGRAM_BYTES).unwrap();
        assert_eq!(Repr::parse(&datagram), Repr { src_port: 5353, dst_port: 53, length: 11 });
        assert_eq!(datagram.payload(), b"abc");
        assert!(datagram.has_checksum() && datagram.is_intact(pseudo(11)));
        assert!(!datagram.is_intact(pseudo(12)));
    }

    #[test]
    fn a_datagram_without_checksum_stays_without() {
        let mut bytes = DATAGRAM_BYTES;
        let mut datagram = Packet::new_checked(&mut bytes).unwrap();
        datagram.set_checksum(0);
        let delta = datagram.set_dst_port(5300);
        datagram.update_checksum(delta);
        assert!(!datagram.has_checksum() && datagram.is_intact(pseudo(11)));
    }

    #[test]
    fn a_datagram_cut_inside_its_header_is_refused() {
        for len in 0..HEADER_LEN {
            assert_eq!(Packet::new_checked(&DATAGRAM_BYTES[..len]), Err(WireError::Truncated), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(src_port: u16, dst_port: u16, length: u16) {
            let repr = Repr { src_port, dst_port, length };
            let mut bytes = [0xee; HEADER_LEN];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            prop_assert_eq!(Repr::parse(&Packet::new_checked(&bytes).unwrap()), repr);
            prop_assert!(!Packet::new_checked(&bytes).unwrap().has_checksum());
        }

        #[test]
        fn updated_checksums_are_computed_ones(ports: (u16, u16), before: (u16, u16), data: Vec<u8>) {
            let mut bytes = [&DATAGRAM_BYTES[..], &data].concat();
            let mut datagram = Packet::new_checked(&mut bytes[..]).unwrap();
            datagram.set_src_port(before.0);
            datagram.set_dst_port(before.1);
            datagram.fill_checksum(pseudo(11));
            let delta = datagram.set_src_port(ports.0).and(datagram.set_dst_port(ports.1));
            datagram.update_checksum(delta);
            let updated = datagram.checksum();
            datagram.fill_checksum(pseudo(11));
            prop_assert_eq!(updated, datagram.checksum());
            prop_assert!(datagram.has_checksum() && datagram.is_intact(pseudo(11)));
        }

        #[test]
        fn no_accessor_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(mut datagram) = Packet::new_checked(bytes) {
                let _ = (Repr::parse(&datagram), datagram.payload().len(), datagram.is_intact(Sum::new()));
                datagram.payload_mut().fill(0);
                datagram.fill_checksum(Sum::new());
                prop_assert!(datagram.is_intact(Sum::new()));
            }
        }
    }
}
