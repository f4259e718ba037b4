//! SCTP packets and their chunks (RFC 9260); the checksum is CRC32c, which has no cheap incremental update.

use super::WireError;
use super::bytes::{array, put, rest, u16_at, u32_at};

mod field {
    use std::ops::Range;
    pub(super) const SRC_PORT: Range<usize> = 0..2;
    pub(super) const DST_PORT: Range<usize> = 2..4;
    pub(super) const TAG: Range<usize> = 4..8;
    pub(super) const CHECKSUM: Range<usize> = 8..12;
}

mod chunk_field {
    use std::ops::Range;
    pub(super) const LENGTH: Range<usize> = 2..4;
    pub(super) const VALUE: usize = 4;
}

/// Length of the common header in bytes.
pub const HEADER_LEN: usize = field::CHECKSUM.end;

/// Chunk types.
pub mod kind {
    /// Payload data.
    pub const DATA: u8 = 0;
    /// Initiation.
    pub const INIT: u8 = 1;
    /// Initiation acknowledgement.
    pub const INIT_ACK: u8 = 2;
    /// Selective acknowledgement.
    pub const SACK: u8 = 3;
    /// Heartbeat request.
    pub const HEARTBEAT: u8 = 4;
    /// Heartbeat acknowledgement.
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Abort.
    pub const ABORT: u8 = 6;
    /// Shutdown.
    pub const SHUTDOWN: u8 = 7;
    /// Shutdown acknowledgement.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Operation error.
    pub const ERROR: u8 = 9;
    /// State cookie.
    pub const COOKIE_ECHO: u8 = 10;
    /// Cookie acknowledgement.
    pub const COOKIE_ACK: u8 = 11;
    /// Explicit congestion notification echo.
    pub const ECNE: u8 = 12;
    /// Congestion window reduced.
    pub const CWR: u8 = 13;
    /// Shutdown complete.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// A view of an SCTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes bytes as they are; see [`check_len`](Self::check_len).
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self(buffer)
    }

    /// Takes bytes that hold the common header.
    ///
    /// # Errors
    /// As [`check_len`](Self::check_len).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Checks that the common header is there.
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

    /// Returns the verification tag.
    #[inline]
    pub fn tag(&self) -> u32 {
        u32_at(self.0.as_ref(), field::TAG)
    }

    /// Returns the checksum, which alone in the packet is little-endian (RFC 9260 appendix A).
    #[inline]
    pub fn checksum(&self) -> u32 {
        u32::from_le_bytes(array(self.0.as_ref(), field::CHECKSUM))
    }

    /// Returns the chunks in their order.
    #[inline]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks(rest(self.0.as_ref(), HEADER_LEN))
    }

    /// Tells whether the checksum is right.
    pub fn is_intact(&self) -> bool {
        self.checksum() == self.computed_checksum()
    }

    /// Returns the checksum over all bytes, its own field taken as zero.
    fn computed_checksum(&self) -> u32 {
        let bytes = self.0.as_ref();
        let before = crc32c::crc32c(bytes.get(..field::CHECKSUM.start).unwrap_or_default());
        crc32c::crc32c_append(crc32c::crc32c_append(before, &[0; 4]), rest(bytes, HEADER_LEN))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source port and nothing else.
    #[inline]
    pub fn set_src_port(&mut self, port: u16) {
        put(self.0.as_mut(), field::SRC_PORT, port.to_be_bytes());
    }

    /// Sets the destination port and nothing else.
    #[inline]
    pub fn set_dst_port(&mut self, port: u16) {
        put(self.0.as_mut(), field::DST_PORT, port.to_be_bytes());
    }

    /// Computes the checksum anew.
    pub fn fill_checksum(&mut self) {
        let checksum = self.computed_checksum();
        put(self.0.as_mut(), field::CHECKSUM, checksum.to_le_bytes());
    }
}

/// One chunk of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Type, one of [`kind`].
    pub kind: u8,
    /// Flags, whose meaning depends on the type.
    pub flags: u8,
    /// What follows the chunk's header, without padding; of a packet that was cut, what is there of it.
    pub value: &'a [u8],
}

/// The chunks of a packet in their order; ends where there is no whole chunk header. A length below the header's counts
/// as a chunk without value.
#[derive(Debug, Clone)]
pub struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let &[kind, flags, high, low] = self.0.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low])).max(chunk_field::VALUE);
        let end = length.min(self.0.len());
        let value = self.0.get(chunk_field::VALUE..end).unwrap_or_default();
        self.0 = rest(self.0, length.next_multiple_of(4));
        Some(Chunk { kind, flags, value })
    }
}

/// The fields of a common header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Verification tag.
    pub tag: u32,
}

impl Repr {
    /// Reads a header.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self { src_port: packet.src_port(), dst_port: packet.dst_port(), tag: packet.tag() }
    }

    /// Returns the header's length in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header before the chunks that are already in the buffer, and the checksum over both; the buffer is at
    /// least [`header_len`](Self::header_len) long.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let bytes = packet.0.as_mut();
        put(bytes, field::SRC_PORT, self.src_port.to_be_bytes());
        put(bytes, field::DST_PORT, self.dst_port.to_be_bytes());
        put(bytes, field::TAG, self.tag.to_be_bytes());
        packet.fill_checksum();
    }
}

/// Writes a chunk with its header to the front of `bytes` and returns its length with padding; `None` when there is no
/// room or the value is too long. The padding is left as it is.
pub fn emit_chunk(bytes: &mut [u8], chunk: &Chunk<'_>) -> Option<usize> {
    let length = chunk_field::VALUE + chunk.value.len();
    let padded = length.next_multiple_of(4);
    let bytes = bytes.get_mut(..padded)?;
    bytes[..2].copy_from_slice(&[chunk.kind, chunk.flags]);
    put(bytes, chunk_field::LENGTH, u16::try_from(length).ok()?.to_be_bytes());
    bytes[chunk_field::VALUE..length].copy_from_slice(chunk.value);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An INIT chunk of 5 bytes (padded) and a COOKIE ACK, 4000 > 80.
    const PACKET_BYTES: [u8; 28] = [
        0x0f, 0xa0, 0x00, 0x50, 0x00, 0x00, 0x00, 0x01, 0x06, 0x29, 0xab, 0x96, 0x01, 0x00, 0x00, 0x09, 0x61, 0x62,
        0x63, 0x64, 0x65, 0x00, 0x00, 0x00, 0x0b, 0x02, 0x00, 0x04,
    ];

    #[test]
    fn header_and_chunks_are_read() {
        let packet = Packet::new_checked(&PACKET_BYTES).unwrap();
        assert_eq!(Repr::parse(&packet), Repr { src_port: 4000, dst_port: 80, tag: 1 });
        assert!(packet.is_intact());
        let chunks: Vec<Chunk<'_>> = packet.chunks().collect();
        let init = Chunk { kind: kind::INIT, flags: 0, value: b"abcde" };
        let ack = Chunk { kind: kind::COOKIE_ACK, flags: 2, value: b"" };
        assert_eq!(chunks, [init, ack]);
    }

    #[test]
    fn a_changed_port_needs_a_new_checksum() {
        let mut bytes = PACKET_BYTES;
        let mut packet = Packet::new_checked(&mut bytes).unwrap();
        packet.set_dst_port(8080);
        assert!(!packet.is_intact());
        packet.fill_checksum();
        assert!(packet.is_intact());
    }

    #[test]
    fn chunks_that_are_too_short_or_cut_do_not_stop_the_walk_from_ending() {
        let kinds = |chunks: &[u8]| Chunks(chunks).map(|chunk| (chunk.kind, chunk.value.len())).collect::<Vec<_>>();
        assert_eq!(kinds(&[1, 0, 0, 0, 2, 0, 0, 3]), [(1, 0), (2, 0)]);
        assert_eq!(kinds(&[1, 0, 0xff, 0xff, 9]), [(1, 1)]);
        assert_eq!(kinds(&[1, 0, 0, 4, 2, 0, 0]), [(1, 0)]);
    }

    #[test]
    fn a_packet_cut_inside_its_header_is_refused() {
        for len in 0..HEADER_LEN {
            assert_eq!(Packet::new_checked(&PACKET_BYTES[..len]), Err(WireError::Truncated), "{len} bytes");
        }
    }

    #[test]
    fn a_chunk_without_room_is_not_written() {
        let chunk = Chunk { kind: 0, flags: 3, value: &[1; 5] };
        let mut bytes = [0xee; 12];
        assert_eq!(emit_chunk(&mut bytes[..11], &chunk), None);
        assert_eq!(bytes, [0xee; 12]);
        assert_eq!(emit_chunk(&mut bytes, &chunk), Some(12));
        assert_eq!(bytes, [0, 3, 0, 9, 1, 1, 1, 1, 1, 0xee, 0xee, 0xee]);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(src_port: u16, dst_port: u16, tag: u32, kind: u8, flags: u8, value: Vec<u8>) {
            let repr = Repr { src_port, dst_port, tag };
            let chunk = Chunk { kind, flags, value: &value };
            let mut bytes = vec![0; HEADER_LEN + 200];
            let end = emit_chunk(&mut bytes[HEADER_LEN..], &chunk).unwrap() + HEADER_LEN;
            repr.emit(&mut Packet::new_unchecked(&mut bytes[..end]));
            let packet = Packet::new_checked(&bytes[..end]).unwrap();
            prop_assert_eq!(Repr::parse(&packet), repr);
            prop_assert!(packet.is_intact());
            prop_assert_eq!(packet.chunks().collect::<Vec<_>>(), [chunk]);
        }

        #[test]
        fn no_accessor_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(mut packet) = Packet::new_checked(bytes) {
                prop_assert!(packet.chunks().count() <= 12);
                let _ = Repr::parse(&packet);
                packet.fill_checksum();
                prop_assert!(packet.is_intact());
            }
        }
    }
}
