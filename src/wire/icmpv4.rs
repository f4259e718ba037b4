//! ICMP for IPv4 (RFC 792; RFC 1191 for the next hop's MTU).

use super::WireError;
use super::bytes::{array, put, put_u8, rest, u8_at, u16_at};
use super::checksum::{self, Delta, Sum};

mod field {
    use std::ops::Range;
    pub(super) const TYPE: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: Range<usize> = 2..4;
    pub(super) const REST: Range<usize> = 4..8;
    pub(super) const IDENT: Range<usize> = 4..6;
    pub(super) const SEQ: Range<usize> = 6..8;
    pub(super) const MTU: Range<usize> = 6..8;
}

/// Length of the header in bytes.
pub const HEADER_LEN: usize = field::REST.end;

/// Message types.
pub mod kind {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Timestamp request.
    pub const TIMESTAMP: u8 = 13;
    /// Timestamp reply.
    pub const TIMESTAMP_REPLY: u8 = 14;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Codes of destination unreachable.
pub mod unreachable {
    /// Network.
    pub const NET: u8 = 0;
    /// Host.
    pub const HOST: u8 = 1;
    /// Protocol.
    pub const PROTOCOL: u8 = 2;
    /// Port.
    pub const PORT: u8 = 3;
    /// The packet is too long for the next hop and must not be fragmented.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
}

/// A view of an ICMP message.
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

    /// Checks that the header is there.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        if self.0.as_ref().len() < HEADER_LEN { Err(WireError::Truncated) } else { Ok(()) }
    }

    /// Returns the type, one of [`kind`].
    #[inline]
    pub fn kind(&self) -> u8 {
        u8_at(self.0.as_ref(), field::TYPE)
    }

    /// Returns the code.
    #[inline]
    pub fn code(&self) -> u8 {
        u8_at(self.0.as_ref(), field::CODE)
    }

    /// Returns the checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.0.as_ref(), field::CHECKSUM)
    }

    /// Returns the second word of the header, whose meaning depends on the type.
    #[inline]
    pub fn rest(&self) -> [u8; 4] {
        array(self.0.as_ref(), field::REST)
    }

    /// Returns the identifier of an echo.
    #[inline]
    pub fn ident(&self) -> u16 {
        u16_at(self.0.as_ref(), field::IDENT)
    }

    /// Returns the sequence number of an echo.
    #[inline]
    pub fn seq(&self) -> u16 {
        u16_at(self.0.as_ref(), field::SEQ)
    }

    /// Returns the next hop's MTU in bytes, of a fragmentation needed.
    #[inline]
    pub fn mtu(&self) -> u16 {
        u16_at(self.0.as_ref(), field::MTU)
    }

    /// Returns all that follows the header; of an error, the packet that it quotes.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        rest(self.0.as_ref(), HEADER_LEN)
    }

    /// Tells whether the message is an error, which quotes a packet.
    #[inline]
    pub fn is_error(&self) -> bool {
        matches!(
            self.kind(),
            kind::UNREACHABLE | kind::SOURCE_QUENCH | kind::REDIRECT | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM
        )
    }

    /// Returns the packet that an error quotes, from its IPv4 header on.
    #[inline]
    pub fn quoted(&self) -> Option<&[u8]> {
        self.is_error().then(|| self.payload())
    }

    /// Tells whether the checksum is right.
    #[inline]
    pub fn is_intact(&self) -> bool {
        Sum::new().bytes(self.0.as_ref()).is_intact()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put(self.0.as_mut(), field::CHECKSUM, checksum.to_be_bytes());
    }

    /// Updates the checksum for bytes that were changed.
    #[inline]
    pub fn update_checksum(&mut self, delta: Delta) {
        self.set_checksum(delta.apply(self.checksum()));
    }

    /// Computes the checksum anew.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let checksum = checksum::of(self.0.as_ref());
        self.set_checksum(checksum);
    }

    /// Sets the next hop's MTU in bytes and nothing else; returns the change for the checksum.
    #[inline]
    pub fn set_mtu(&mut self, mtu: u16) -> Delta {
        let delta = Delta::new().u16(self.mtu(), mtu);
        put(self.0.as_mut(), field::MTU, mtu.to_be_bytes());
        delta
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
    /// Type, one of [`kind`].
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The second word of the header.
    pub rest: [u8; 4],
}

impl Repr {
    /// Returns the header of a fragmentation needed, for a next hop of `mtu` bytes.
    pub const fn fragmentation_needed(mtu: u16) -> Self {
        let [high, low] = mtu.to_be_bytes();
        Self { kind: kind::UNREACHABLE, code: unreachable::FRAGMENTATION_NEEDED, rest: [0, 0, high, low] }
    }

    /// Reads a header.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self { kind: packet.kind(), code: packet.code(), rest: packet.rest() }
    }

    /// Returns the header's length in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header before what is already in the buffer, and the checksum over both; the buffer is at least
    /// [`header_len`](Self::header_len) long.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let bytes = packet.0.as_mut();
        put_u8(bytes, field::TYPE, self.kind);
        put_u8(bytes, field::CODE, self.code);
        put(bytes, field::REST, self.rest);
        packet.fill_checksum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fragmentation_needed_tells_the_mtu_and_quotes_the_packet() {
        let mut bytes = [0xee; 12];
        Repr::fragmentation_needed(1480).emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, [3, 4, 0x19, 0x56, 0, 0, 0x05, 0xc8, 0xee, 0xee, 0xee, 0xee]);
        let mut message = Packet::new_checked(&mut bytes).unwrap();
        assert_eq!((message.mtu(), message.quoted()), (1480, Some(&[0xee; 4][..])));
        let delta = message.set_mtu(1400);
        message.update_checksum(delta);
        assert!(message.is_intact());
    }

    #[test]
    fn an_echo_is_no_error_and_quotes_nothing() {
        let bytes = [8, 0, 0, 0, 0x12, 0x34, 0, 7, 1, 2];
        let message = Packet::new_checked(&bytes).unwrap();
        assert_eq!((message.kind(), message.ident(), message.seq()), (kind::ECHO_REQUEST, 0x1234, 7));
        assert_eq!((message.quoted(), message.payload()), (None, &[1, 2][..]));
        assert!(!message.is_intact());
    }

    #[test]
    fn a_message_cut_inside_its_header_is_refused() {
        for len in 0..HEADER_LEN {
            assert_eq!(Packet::new_checked(&[0; HEADER_LEN][..len]), Err(WireError::Truncated), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(kind: u8, code: u8, rest: [u8; 4], payload: Vec<u8>) {
            let repr = Repr { kind, code, rest };
            let mut bytes = [&[0xee; HEADER_LEN][..], &payload].concat();
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            let message = Packet::new_checked(&bytes).unwrap();
            prop_assert_eq!(Repr::parse(&message), repr);
            prop_assert!(message.is_intact());
            prop_assert_eq!(message.payload(), &payload);
        }

        #[test]
        fn no_accessor_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(mut message) = Packet::new_checked(bytes) {
                let _ = (Repr::parse(&message), message.ident(), message.seq(), message.mtu(), message.quoted().is_some());
                message.payload_mut().fill(0);
                message.fill_checksum();
                prop_assert!(message.is_intact());
            }
        }
    }
}
