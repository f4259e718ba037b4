//! Ethernet II frames (IEEE 802.3) with at most one VLAN tag (IEEE 802.1Q).

use super::WireError;
use super::bytes::{array, put, rest, rest_mut, u16_at};
use crate::addr::MacAddr;

/// EtherType values (IANA).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// A VLAN tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

mod field {
    use std::ops::Range;
    pub(super) const DST: Range<usize> = 0..6;
    pub(super) const SRC: Range<usize> = 6..12;
    pub(super) const ETHERTYPE: Range<usize> = 12..14;
    pub(super) const VLAN_TCI: Range<usize> = 14..16;
    pub(super) const VLAN_ETHERTYPE: Range<usize> = 16..18;
}

/// Length of an untagged header in bytes.
pub const HEADER_LEN: usize = field::ETHERTYPE.end;
/// Length of a header with one VLAN tag in bytes.
pub const VLAN_HEADER_LEN: usize = field::VLAN_ETHERTYPE.end;

/// A view of an Ethernet frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes bytes as they are; see [`check_len`](Self::check_len).
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self(buffer)
    }

    /// Takes bytes that hold a whole header.
    ///
    /// # Errors
    /// As [`check_len`](Self::check_len).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Checks that the header, with its VLAN tag if there is one, is there.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when it is not.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        let len = self.0.as_ref().len();
        if len < HEADER_LEN || len < self.payload_offset() { Err(WireError::Truncated) } else { Ok(()) }
    }

    /// Returns the bytes that were taken.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0
    }

    /// Returns the destination's address.
    #[inline]
    pub fn dst(&self) -> MacAddr {
        MacAddr(array(self.0.as_ref(), field::DST))
    }

    /// Returns the source's address.
    #[inline]
    pub fn src(&self) -> MacAddr {
        MacAddr(array(self.0.as_ref(), field::SRC))
    }

    /// Tells whether there is a VLAN tag.
    #[inline]
    pub fn is_tagged(&self) -> bool {
        u16_at(self.0.as_ref(), field::ETHERTYPE) == ethertype::VLAN
    }

    /// Returns the VLAN of a tagged frame, 0 to 4095.
    #[inline]
    pub fn vlan(&self) -> Option<u16> {
        self.is_tagged().then(|| u16_at(self.0.as_ref(), field::VLAN_TCI) & 0x0fff)
    }

    /// Returns the EtherType of the payload, behind the VLAN tag if there is one.
    #[inline]
    pub fn ethertype(&self) -> u16 {
        let outer = u16_at(self.0.as_ref(), field::ETHERTYPE);
        if outer == ethertype::VLAN { u16_at(self.0.as_ref(), field::VLAN_ETHERTYPE) } else { outer }
    }

    /// Returns where the payload begins: 14, or 18 behind a VLAN tag.
    #[inline]
    pub fn payload_offset(&self) -> usize {
        if self.is_tagged() { VLAN_HEADER_LEN } else { HEADER_LEN }
    }

    /// Returns the payload, with the padding that short frames have.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        rest(self.0.as_ref(), self.payload_offset())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the destination's address.
    #[inline]
    pub fn set_dst(&mut self, addr: MacAddr) {
        put(self.0.as_mut(), field::DST, addr.0);
    }

    /// Sets the source's address.
    #[inline]
    pub fn set_src(&mut self, addr: MacAddr) {
        put(self.0.as_mut(), field::SRC, addr.0);
    }

    /// Sets the EtherType of the payload, behind the VLAN tag if there is one.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: u16) {
        let field = if self.is_tagged() { field::VLAN_ETHERTYPE } else { field::ETHERTYPE };
        put(self.0.as_mut(), field, ethertype.to_be_bytes());
    }

    /// Returns the payload for writing.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let offset = self.payload_offset();
        rest_mut(self.0.as_mut(), offset)
    }
}

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
    /// VLAN of a tagged frame, 0 to 4095; its priority bits are not kept.
    pub vlan: Option<u16>,
    /// EtherType of the payload.
    pub ethertype: u16,
}

impl Repr {
    /// Reads a header.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self { dst: packet.dst(), src: packet.src(), vlan: packet.vlan(), ethertype: packet.ethertype() }
    }

    /// Returns the header's length in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        if self.vlan.is_some() { VLAN_HEADER_LEN } else { HEADER_LEN }
    }

    /// Writes the header; the buffer is at least [`header_len`](Self::header_len) long.
    #[inline]
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_dst(self.dst);
        packet.set_src(self.src);
        let bytes = packet.0.as_mut();
        if let Some(vlan) = self.vlan {
            put(bytes, field::ETHERTYPE, ethertype::VLAN.to_be_bytes());
            put(bytes, field::VLAN_TCI, (vlan & 0x0fff).to_be_bytes());
            put(bytes, field::VLAN_ETHERTYPE, self.ethertype.to_be_bytes());
        } else {
            put(bytes, field::ETHERTYPE, self.ethertype.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME_BYTES: [u8; 20] =
        [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xfe, 0x81, 0x00, 0x20, 0x64, 0x08, 0x00, 0xaa, 0xbb];

    #[test]
    fn a_tagged_frame_is_read_behind_its_tag() {
        let frame = Packet::new_checked(&FRAME_BYTES).unwrap();
        assert_eq!(frame.dst(), MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(frame.src(), MacAddr([2, 0, 0, 0, 0, 0xfe]));
        assert_eq!(frame.vlan(), Some(100));
        assert_eq!(frame.ethertype(), ethertype::IPV4);
        assert_eq!(frame.payload_offset(), 18);
        assert_eq!(frame.payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn an_untagged_frame_has_a_header_of_fourteen_bytes() {
        let mut bytes = FRAME_BYTES;
        bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
        let mut frame = Packet::new_checked(&mut bytes).unwrap();
        assert_eq!((frame.vlan(), frame.ethertype(), frame.payload_offset()), (None, ethertype::IPV6, 14));
        frame.set_ethertype(ethertype::ARP);
        assert_eq!(frame.payload_mut(), [0x20, 0x64, 0x08, 0x00, 0xaa, 0xbb]);
        assert_eq!(bytes[12..14], [0x08, 0x06]);
    }

    #[test]
    fn a_frame_cut_inside_its_header_is_refused() {
        for len in 0..VLAN_HEADER_LEN {
            assert_eq!(Packet::new_checked(&FRAME_BYTES[..len]), Err(WireError::Truncated), "{len} bytes");
        }
        assert!(Packet::new_checked(&FRAME_BYTES[..VLAN_HEADER_LEN]).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(
            dst: [u8; 6], src: [u8; 6], vlan in proptest::option::of(0u16..4096), ethertype: u16,
        ) {
            prop_assume!(ethertype != ethertype::VLAN);
            let repr = Repr { dst: MacAddr(dst), src: MacAddr(src), vlan, ethertype };
            let mut bytes = vec![0xee; repr.header_len()];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            prop_assert_eq!(Repr::parse(&Packet::new_checked(&bytes).unwrap()), repr);
        }
    }
}
