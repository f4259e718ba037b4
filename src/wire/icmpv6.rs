//! ICMP for IPv6 (RFC 4443). Its checksum covers a pseudo header, so it changes with the addresses too.

use super::WireError;
use super::bytes::{array, put, put_u8, rest, u8_at, u16_at, u32_at};
use super::checksum::{Delta, Sum};

mod field {
    use std::ops::Range;
    pub(super) const TYPE: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: Range<usize> = 2..4;
    pub(super) const REST: Range<usize> = 4..8;
    pub(super) const IDENT: Range<usize> = 4..6;
    pub(super) const SEQ: Range<usize> = 6..8;
}

/// Length of the header in bytes.
pub const HEADER_LEN: usize = field::REST.end;

/// Message types; below 128 they are errors.
pub mod kind {
    /// The bit of the types that are no errors (RFC 4443, section 2.1).
    pub const INFORMATIONAL: u8 = 0x80;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Neighbour solicitation (RFC 4861).
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement (RFC 4861).
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
}

/// Codes of destination unreachable.
pub mod unreachable {
    /// No route.
    pub const NO_ROUTE: u8 = 0;
    /// Administratively prohibited.
    pub const PROHIBITED: u8 = 1;
    /// Address.
    pub const ADDRESS: u8 = 3;
    /// Port.
    pub const PORT: u8 = 4;
}

/// A view of an ICMPv6 message.
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

    /// Returns the next hop's MTU in bytes, of a packet too big.
    #[inline]
    pub fn mtu(&self) -> u32 {
        u32_at(self.0.as_ref(), field::REST)
    }

    /// Returns all that follows the header; of an error, the packet that it quotes.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        rest(self.0.as_ref(), HEADER_LEN)
    }

    /// Tells whether the message is one of the four errors that quote a packet.
    #[inline]
    pub fn is_error(&self) -> bool {
        matches!(self.kind(), kind::UNREACHABLE | kind::PACKET_TOO_BIG | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM)
    }

    /// Returns the packet that an error quotes, from its IPv6 header on.
    #[inline]
    pub fn quoted(&self) -> Option<&[u8]> {
        self.is_error().then(|| self.payload())
    }

    /// Tells whether the checksum is right; `pseudo` is the sum of the pseudo header, for as many bytes as these.
    #[inline]
    pub fn is_intact(&self, pseudo: Sum) -> bool {
        pseudo.bytes(self.0.as_ref()).is_intact()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put(self.0.as_mut(), field::CHECKSUM, checksum.to_be_bytes());
    }

    /// Updates the checksum for bytes that were changed, in the message or in the pseudo header.
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

    /// Sets the next hop's MTU in bytes and nothing else; returns the change for the checksum.
    #[inline]
    pub fn set_mtu(&mut self, mtu: u32) -> Delta {
        let delta = Delta::new().u32(self.mtu(), mtu);
        put(self.0.as_mut(), field::REST, mtu.to_be_bytes());
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
    /// Returns the header of a packet too big, for a next hop of `mtu` bytes.
    pub const fn packet_too_big(mtu: u32) -> Self {
        Self { kind: kind::PACKET_TOO_BIG, code: 0, rest: mtu.to_be_bytes() }
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
    /// [`header_len`](Self::header_len) long, and `pseudo` the sum of the pseudo header for its length.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>, pseudo: Sum) {
        let bytes = packet.0.as_mut();
        put_u8(bytes, field::TYPE, self.kind);
        put_u8(bytes, field::CODE, self.code);
        put(bytes, field::REST, self.rest);
        packet.fill_checksum(pseudo);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{checksum, protocol};
    use proptest::prelude::*;
    use std::net::Ipv6Addr;

    fn pseudo(src: Ipv6Addr, length: u32) -> Sum {
        checksum::pseudo_ipv6(src, Ipv6Addr::LOCALHOST, protocol::ICMPV6, length)
    }

    #[test]
    fn a_packet_too_big_tells_the_mtu_and_quotes_the_packet() {
        let mut bytes = [0xee; 12];
        Repr::packet_too_big(1280).emit(&mut Packet::new_unchecked(&mut bytes), Sum::new());
        assert_eq!(bytes, [2, 0, 0x1b, 0x22, 0, 0, 0x05, 0, 0xee, 0xee, 0xee, 0xee]);
        let mut message = Packet::new_checked(&mut bytes).unwrap();
        assert_eq!((message.mtu(), message.quoted()), (1280, Some(&[0xee; 4][..])));
        let delta = message.set_mtu(0x0001_2345);
        message.update_checksum(delta);
        assert!(message.is_intact(Sum::new()));
    }

    #[test]
    fn an_echo_is_no_error_and_quotes_nothing() {
        let bytes = [129, 0, 0, 0, 0x12, 0x34, 0, 7, 1, 2];
        let message = Packet::new_checked(&bytes).unwrap();
        assert_eq!((message.kind(), message.ident(), message.seq()), (kind::ECHO_REPLY, 0x1234, 7));
        assert_eq!((message.quoted(), message.payload()), (None, &[1, 2][..]));
    }

    #[test]
    fn the_checksum_changes_with_the_addresses() {
        let mut bytes = [128, 0, 0, 0, 0, 1, 0, 1];
        let mut message = Packet::new_checked(&mut bytes).unwrap();
        let (old, new) =
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x11));
        message.fill_checksum(pseudo(old, 8));
        assert!(!message.is_intact(pseudo(new, 8)));
        message.update_checksum(Delta::new().u128(old.to_bits(), new.to_bits()));
        assert!(message.is_intact(pseudo(new, 8)));
    }

    #[test]
    fn a_message_cut_inside_its_header_is_refused() {
        for len in 0..HEADER_LEN {
            assert_eq!(Packet::new_checked(&[0; HEADER_LEN][..len]), Err(WireError::Truncated), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(kind: u8, code: u8, rest: [u8; 4], payload: Vec<u8>, src: Ipv6Addr) {
            let repr = Repr { kind, code, rest };
            let mut bytes = [&[0xee; HEADER_LEN][..], &payload].concat();
            let pseudo = pseudo(src, bytes.len() as u32);
            repr.emit(&mut Packet::new_unchecked(&mut bytes), pseudo);
            let message = Packet::new_checked(&bytes).unwrap();
            prop_assert_eq!(Repr::parse(&message), repr);
            prop_assert!(message.is_intact(pseudo));
            prop_assert_eq!(message.payload(), &payload);
        }

        #[test]
        fn no_accessor_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(mut message) = Packet::new_checked(bytes) {
                let _ = (Repr::parse(&message), message.ident(), message.seq(), message.mtu(), message.quoted().is_some());
                message.payload_mut().fill(0);
                message.fill_checksum(Sum::new());
                prop_assert!(message.is_intact(Sum::new()));
            }
        }
    }
}
