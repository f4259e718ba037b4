//! The two ports that TCP, UDP and SCTP all begin with: enough to find a connection, and often all that an ICMP error
//! quotes (RFC 792: "64 bits of the original data").

use super::WireError;
use super::bytes::{put, u16_at};

mod field {
    use std::ops::Range;
    pub(super) const SRC: Range<usize> = 0..2;
    pub(super) const DST: Range<usize> = 2..4;
}

/// Length of both ports in bytes.
pub const LEN: usize = field::DST.end;

/// A view of the first four bytes of a transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes bytes as they are; see [`check_len`](Self::check_len).
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self(buffer)
    }

    /// Takes bytes that hold both ports.
    ///
    /// # Errors
    /// As [`check_len`](Self::check_len).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Checks that both ports are there.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when they are not.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        if self.0.as_ref().len() < LEN { Err(WireError::Truncated) } else { Ok(()) }
    }

    /// Returns the source port.
    #[inline]
    pub fn src_port(&self) -> u16 {
        u16_at(self.0.as_ref(), field::SRC)
    }

    /// Returns the destination port.
    #[inline]
    pub fn dst_port(&self) -> u16 {
        u16_at(self.0.as_ref(), field::DST)
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source port and nothing else.
    #[inline]
    pub fn set_src_port(&mut self, port: u16) {
        put(self.0.as_mut(), field::SRC, port.to_be_bytes());
    }

    /// Sets the destination port and nothing else.
    #[inline]
    pub fn set_dst_port(&mut self, port: u16) {
        put(self.0.as_mut(), field::DST, port.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_written_in_network_order() {
        let mut bytes = [0x04, 0xd2, 0x00, 0x50, 0xaa];
        let mut ports = Packet::new_checked(&mut bytes[..]).unwrap();
        assert_eq!((ports.src_port(), ports.dst_port()), (1234, 80));
        ports.set_src_port(1);
        ports.set_dst_port(0x1f90);
        assert_eq!(bytes, [0x00, 0x01, 0x1f, 0x90, 0xaa]);
    }

    #[test]
    fn three_bytes_are_too_few() {
        assert_eq!(Packet::new_checked([0; 3]), Err(WireError::Truncated));
    }
}
