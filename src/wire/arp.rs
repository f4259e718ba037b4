//! ARP for IPv4 over Ethernet (RFC 826).

use super::WireError;
use super::bytes::{array, put, u16_at, u32_at};
use super::ethernet::ethertype;
use crate::addr::MacAddr;
use std::net::Ipv4Addr;

mod field {
    use std::ops::Range;
    pub(super) const HARDWARE: Range<usize> = 0..2;
    pub(super) const PROTOCOL: Range<usize> = 2..4;
    pub(super) const LENGTHS: Range<usize> = 4..6;
    pub(super) const OPERATION: Range<usize> = 6..8;
    pub(super) const SENDER_MAC: Range<usize> = 8..14;
    pub(super) const SENDER_IP: Range<usize> = 14..18;
    pub(super) const TARGET_MAC: Range<usize> = 18..24;
    pub(super) const TARGET_IP: Range<usize> = 24..28;
}

/// Length of a message in bytes.
pub const LEN: usize = field::TARGET_IP.end;

const ETHERNET: u16 = 1;
const ADDRESS_LENGTHS: [u8; 2] = [6, 4];

/// What a message wants or says.
pub mod operation {
    /// Who has the target address?
    pub const REQUEST: u16 = 1;
    /// The sender has.
    pub const REPLY: u16 = 2;
}

/// A view of an ARP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes bytes as they are; see [`check_len`](Self::check_len).
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self(buffer)
    }

    /// Takes bytes that hold a message for IPv4 over Ethernet.
    ///
    /// # Errors
    /// As [`check_len`](Self::check_len).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Checks that the message is there and that it is for IPv4 over Ethernet.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Unsupported`].
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        let bytes = self.0.as_ref();
        if bytes.len() < LEN {
            return Err(WireError::Truncated);
        }
        let kinds = (u16_at(bytes, field::HARDWARE), u16_at(bytes, field::PROTOCOL), array(bytes, field::LENGTHS));
        if kinds == (ETHERNET, ethertype::IPV4, ADDRESS_LENGTHS) { Ok(()) } else { Err(WireError::Unsupported) }
    }

    /// Returns the operation, one of [`operation`].
    #[inline]
    pub fn operation(&self) -> u16 {
        u16_at(self.0.as_ref(), field::OPERATION)
    }

    /// Returns the sender's MAC address.
    #[inline]
    pub fn sender_mac(&self) -> MacAddr {
        MacAddr(array(self.0.as_ref(), field::SENDER_MAC))
    }

    /// Returns the sender's IPv4 address.
    #[inline]
    pub fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32_at(self.0.as_ref(), field::SENDER_IP))
    }

    /// Returns the target's MAC address; in a request it means nothing.
    #[inline]
    pub fn target_mac(&self) -> MacAddr {
        MacAddr(array(self.0.as_ref(), field::TARGET_MAC))
    }

    /// Returns the target's IPv4 address.
    #[inline]
    pub fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32_at(self.0.as_ref(), field::TARGET_IP))
    }
}

/// The fields of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Operation, one of [`operation`].
    pub operation: u16,
    /// The sender's MAC address.
    pub sender_mac: MacAddr,
    /// The sender's IPv4 address.
    pub sender_ip: Ipv4Addr,
    /// The target's MAC address.
    pub target_mac: MacAddr,
    /// The target's IPv4 address.
    pub target_ip: Ipv4Addr,
}

impl Repr {
    /// Reads a message.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self {
            operation: packet.operation(),
            sender_mac: packet.sender_mac(),
            sender_ip: packet.sender_ip(),
            target_mac: packet.target_mac(),
            target_ip: packet.target_ip(),
        }
    }

    /// Returns the message's length in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        LEN
    }

    /// Writes the message; the buffer is at least [`header_len`](Self::header_len) long.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let bytes = packet.0.as_mut();
        put(bytes, field::HARDWARE, ETHERNET.to_be_bytes());
        put(bytes, field::PROTOCOL, ethertype::IPV4.to_be_bytes());
        put(bytes, field::LENGTHS, ADDRESS_LENGTHS);
        put(bytes, field::OPERATION, self.operation.to_be_bytes());
        put(bytes, field::SENDER_MAC, self.sender_mac.0);
        put(bytes, field::SENDER_IP, self.sender_ip.octets());
        put(bytes, field::TARGET_MAC, self.target_mac.0);
        put(bytes, field::TARGET_IP, self.target_ip.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Who has 192.0.2.10? Tell 192.0.2.254.
    const REQUEST_BYTES: [u8; LEN] =
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xfe, 192, 0, 2, 254, 0, 0, 0, 0, 0, 0, 192, 0, 2, 10];

    #[test]
    fn a_request_is_read() {
        let expected = Repr {
            operation: operation::REQUEST,
            sender_mac: MacAddr([2, 0, 0, 0, 0, 0xfe]),
            sender_ip: Ipv4Addr::new(192, 0, 2, 254),
            target_mac: MacAddr::ZERO,
            target_ip: Ipv4Addr::new(192, 0, 2, 10),
        };
        assert_eq!(Repr::parse(&Packet::new_checked(&REQUEST_BYTES).unwrap()), expected);
    }

    #[test]
    fn messages_of_other_networks_are_refused() {
        for at in [1, 3, 4, 5] {
            let mut bytes = REQUEST_BYTES;
            bytes[at] ^= 1;
            assert_eq!(Packet::new_checked(bytes), Err(WireError::Unsupported), "byte {at}");
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_refused() {
        for len in 0..LEN {
            assert_eq!(Packet::new_checked(&REQUEST_BYTES[..len]), Err(WireError::Truncated), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(operation: u16, macs: ([u8; 6], [u8; 6]), sender_ip: Ipv4Addr, target_ip: Ipv4Addr) {
            let (sender_mac, target_mac) = (MacAddr(macs.0), MacAddr(macs.1));
            let repr = Repr { operation, sender_mac, sender_ip, target_mac, target_ip };
            let mut bytes = [0xee; LEN];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            prop_assert_eq!(Repr::parse(&Packet::new_checked(&bytes).unwrap()), repr);
        }
    }
}
