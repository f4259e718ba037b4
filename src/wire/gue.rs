//! Generic UDP encapsulation (draft-ietf-intarea-gue): the header between UDP and the inner packet, version 0.

use super::WireError;
use super::bytes::{put, put_u8, rest, u8_at, u16_at};

mod field {
    use std::ops::Range;
    pub(super) const VERSION_CONTROL_LEN: usize = 0;
    pub(super) const PROTOCOL: usize = 1;
    pub(super) const FLAGS: Range<usize> = 2..4;
    pub(super) const PRIVATE_FLAGS: Range<usize> = 4..8;
    pub(super) const REMOTE_START: Range<usize> = 8..10;
    pub(super) const REMOTE_OFFSET: Range<usize> = 10..12;
}

/// Length of a header without options in bytes.
pub const HEADER_LEN: usize = field::FLAGS.end;

const CONTROL: u8 = 0x20;
const PRIVATE: u16 = 0x0001;
/// The private flag by which Linux announces remote checksum offload.
const REMOTE_CHECKSUM: u32 = 0x8000_0000;

/// A view of a GUE packet.
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

    /// Checks that the header is of version 0 and there as a whole.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Version`].
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        let len = self.0.as_ref().len();
        if len < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        if self.version() != 0 {
            return Err(WireError::Version);
        }
        if len < self.header_len() { Err(WireError::Truncated) } else { Ok(()) }
    }

    /// Returns the version: 0 in a packet that was checked.
    #[inline]
    pub fn version(&self) -> u8 {
        u8_at(self.0.as_ref(), field::VERSION_CONTROL_LEN) >> 6
    }

    /// Tells whether this is a control message and not a packet in its tunnel.
    #[inline]
    pub fn is_control(&self) -> bool {
        u8_at(self.0.as_ref(), field::VERSION_CONTROL_LEN) & CONTROL != 0
    }

    /// Returns the header's length with its options, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        HEADER_LEN + 4 * usize::from(u8_at(self.0.as_ref(), field::VERSION_CONTROL_LEN) & 0x1f)
    }

    /// Returns the protocol number of the payload.
    #[inline]
    pub fn protocol(&self) -> u8 {
        u8_at(self.0.as_ref(), field::PROTOCOL)
    }

    /// Returns the flags, which tell what options there are.
    #[inline]
    pub fn flags(&self) -> u16 {
        u16_at(self.0.as_ref(), field::FLAGS)
    }

    /// Returns remote checksum offload, if it is the one option of the header.
    pub fn remote_checksum(&self) -> Option<RemoteChecksum> {
        let bytes = self.0.as_ref();
        if self.flags() != PRIVATE || self.header_len() != field::REMOTE_OFFSET.end {
            return None;
        }
        let is_remote = super::bytes::u32_at(bytes, field::PRIVATE_FLAGS) == REMOTE_CHECKSUM;
        let start = u16_at(bytes, field::REMOTE_START);
        is_remote.then(|| RemoteChecksum { start, offset: u16_at(bytes, field::REMOTE_OFFSET) })
    }

    /// Returns the payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        rest(self.0.as_ref(), self.header_len())
    }
}

/// Where the receiver is to find the inner checksum that the outer one vouches for. In bytes from the end of the GUE
/// header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteChecksum {
    /// Where the bytes begin that the inner checksum covers.
    pub start: u16,
    /// Where the inner checksum is.
    pub offset: u16,
}

/// The fields of a data header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Remote checksum offload.
    pub remote_checksum: Option<RemoteChecksum>,
}

impl Repr {
    /// Reads a header; options but remote checksum offload are not kept.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self { protocol: packet.protocol(), remote_checksum: packet.remote_checksum() }
    }

    /// Returns the header's length in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        if self.remote_checksum.is_some() { field::REMOTE_OFFSET.end } else { HEADER_LEN }
    }

    /// Writes the header; the buffer is at least [`header_len`](Self::header_len) long.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let options = (self.header_len() - HEADER_LEN) / 4;
        let flags = if self.remote_checksum.is_some() { PRIVATE } else { 0 };
        let bytes = packet.0.as_mut();
        put_u8(bytes, field::VERSION_CONTROL_LEN, options as u8);
        put_u8(bytes, field::PROTOCOL, self.protocol);
        put(bytes, field::FLAGS, flags.to_be_bytes());
        if let Some(remote) = self.remote_checksum {
            put(bytes, field::PRIVATE_FLAGS, REMOTE_CHECKSUM.to_be_bytes());
            put(bytes, field::REMOTE_START, remote.start.to_be_bytes());
            put(bytes, field::REMOTE_OFFSET, remote.offset.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protocol;
    use proptest::prelude::*;

    #[test]
    fn a_header_without_options_is_four_bytes() {
        let mut bytes = [0xee; 6];
        Repr { protocol: protocol::IPIP, remote_checksum: None }.emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, [0, 4, 0, 0, 0xee, 0xee]);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.is_control(), packet.payload()), (false, &[0xee; 2][..]));
    }

    #[test]
    fn remote_checksum_offload_is_a_private_option() {
        let mut bytes = [0xee; 13];
        let remote_checksum = Some(RemoteChecksum { start: 20, offset: 36 });
        Repr { protocol: protocol::IPIP, remote_checksum }.emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, [2, 4, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 36, 0xee]);
    }

    #[test]
    fn version_one_and_cut_headers_are_refused() {
        assert_eq!(Packet::new_checked([0x45, 0, 0, 0]), Err(WireError::Version));
        let bytes = [0x02, 4, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 36];
        for len in 0..12 {
            assert_eq!(Packet::new_checked(&bytes[..len]), Err(WireError::Truncated), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(protocol: u8, remote in proptest::option::of(any::<(u16, u16)>())) {
            let remote_checksum = remote.map(|(start, offset)| RemoteChecksum { start, offset });
            let repr = Repr { protocol, remote_checksum };
            let mut bytes = vec![0xee; repr.header_len()];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            prop_assert_eq!(Repr::parse(&Packet::new_checked(&bytes).unwrap()), repr);
        }

        #[test]
        fn no_accessor_panics(first in 0u8..64, bytes in proptest::collection::vec(any::<u8>(), 0..140)) {
            if let Ok(packet) = Packet::new_checked([&[first][..], &bytes].concat()) {
                let _ = (Repr::parse(&packet), packet.payload().len(), packet.is_control());
            }
        }
    }
}
