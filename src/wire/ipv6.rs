//! IPv6 packets and the walk over their extension headers (RFC 8200).

use super::bytes::{array, put, put_u8, rest, u8_at, u16_at, u32_at};
use super::checksum::{self, Delta, Sum};
use super::{WireError, protocol};
use std::net::Ipv6Addr;

mod field {
    use std::ops::Range;
    pub(super) const VERSION_CLASS_FLOW: Range<usize> = 0..4;
    pub(super) const PAYLOAD_LEN: Range<usize> = 4..6;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SRC: Range<usize> = 8..24;
    pub(super) const DST: Range<usize> = 24..40;
}

mod fragment {
    use std::ops::Range;
    pub(super) const OFFSET_MORE: Range<usize> = 2..4;
    pub(super) const IDENT: Range<usize> = 4..8;
    pub(super) const LEN: usize = 8;
}

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = field::DST.end;
/// What every way must take under IPv6, in bytes (RFC 8200, section 5).
pub const LEAST_MTU: u16 = 1280;
/// How many extension headers a packet may have; RFC 8200 section 4.1 lets each kind occur once (destination options twice).
pub const MAX_EXTENSIONS: usize = 8;

/// A view of an IPv6 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T>(T);

/// What lies behind the extension headers of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper {
    /// Protocol number of what follows.
    pub protocol: u8,
    /// Where it begins, in bytes from the start of the fixed header.
    pub offset: usize,
    /// What the fragment header says, if there is one.
    pub fragment: Option<Fragment>,
}

impl Upper {
    /// Tells whether this is a fragment that does not begin with the upper-layer header.
    #[inline]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset > 0)
    }
}

/// The fields of a fragment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Where in the unfragmented part this fragment begins, in bytes.
    pub offset: u16,
    /// Fragments follow this one.
    pub more: bool,
    /// Identification, common to all fragments of a packet.
    pub ident: u32,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes bytes as they are; see [`check_len`](Self::check_len).
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self(buffer)
    }

    /// Takes bytes that hold a whole packet; more may follow, as Ethernet's padding does.
    ///
    /// # Errors
    /// As [`check_len`](Self::check_len).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Takes bytes that hold at least the fixed header, as an ICMP error quotes a packet.
    ///
    /// # Errors
    /// As [`check_header`](Self::check_header).
    #[inline]
    pub fn new_quoted(buffer: T) -> Result<Self, WireError> {
        let packet = Self(buffer);
        packet.check_header()?;
        Ok(packet)
    }

    /// Checks that the fixed header is one and that the packet is there as a whole.
    ///
    /// # Errors
    /// As [`check_header`](Self::check_header), and [`WireError::PacketLength`] for more payload than there are bytes.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        self.check_header()?;
        if self.total_len() > self.0.as_ref().len() { Err(WireError::PacketLength) } else { Ok(()) }
    }

    /// Checks that the fixed header is one and that it is there as a whole.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Version`].
    #[inline]
    pub fn check_header(&self) -> Result<(), WireError> {
        if self.0.as_ref().len() < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        if self.version() == 6 { Ok(()) } else { Err(WireError::Version) }
    }

    /// Returns the bytes that were taken.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0
    }

    /// Returns the version: 6 in a packet that was checked.
    #[inline]
    pub fn version(&self) -> u8 {
        (self.first_word() >> 28) as u8
    }

    /// Returns the traffic class: DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (self.first_word() >> 20) as u8
    }

    /// Returns the flow label, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        self.first_word() & 0xf_ffff
    }

    /// Returns the length of what follows the fixed header, in bytes.
    #[inline]
    pub fn payload_len(&self) -> u16 {
        u16_at(self.0.as_ref(), field::PAYLOAD_LEN)
    }

    /// Returns the packet's length with its fixed header, in bytes.
    #[inline]
    pub fn total_len(&self) -> usize {
        HEADER_LEN + usize::from(self.payload_len())
    }

    /// Returns the protocol number of what follows the fixed header.
    #[inline]
    pub fn next_header(&self) -> u8 {
        u8_at(self.0.as_ref(), field::NEXT_HEADER)
    }

    /// Returns the hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        u8_at(self.0.as_ref(), field::HOP_LIMIT)
    }

    /// Returns the source.
    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        Ipv6Addr::from(array::<16>(self.0.as_ref(), field::SRC))
    }

    /// Returns the destination.
    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        Ipv6Addr::from(array::<16>(self.0.as_ref(), field::DST))
    }

    /// Returns what follows the fixed header, without what follows the packet; of a quoted packet, what is there of it.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let bytes = self.0.as_ref();
        bytes.get(HEADER_LEN..bytes.len().min(self.total_len())).unwrap_or_default()
    }

    /// Walks over hop-by-hop options, routing, destination options and fragment headers to the upper-layer header. In a
    /// later fragment the walk ends at the fragment header, since what follows it is no header.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when a header is not there as a whole, [`WireError::Unsupported`] when there are more
    /// than [`MAX_EXTENSIONS`].
    #[inline]
    pub fn upper(&self) -> Result<Upper, WireError> {
        let upper = Upper { protocol: self.next_header(), offset: HEADER_LEN, fragment: None };
        if is_extension(upper.protocol) { self.walk(upper) } else { Ok(upper) }
    }

    fn walk(&self, mut upper: Upper) -> Result<Upper, WireError> {
        for _ in 0..MAX_EXTENSIONS {
            upper = self.step(upper)?;
            if !is_extension(upper.protocol) || upper.is_later_fragment() {
                return Ok(upper);
            }
        }
        Err(WireError::Unsupported)
    }

    /// Steps over the one extension header that `at` points to.
    fn step(&self, at: Upper) -> Result<Upper, WireError> {
        let start = at.offset - HEADER_LEN;
        let header = rest(self.payload(), start);
        let (Some(&next), Some(&units)) = (header.first(), header.get(1)) else { return Err(WireError::Truncated) };
        let is_fragment = at.protocol == protocol::FRAGMENT;
        let len = if is_fragment { fragment::LEN } else { (usize::from(units) + 1) * 8 };
        if header.len() < len {
            return Err(WireError::Truncated);
        }
        let fragment = if is_fragment { Some(Fragment::read(header)) } else { at.fragment };
        Ok(Upper { protocol: next, offset: at.offset + len, fragment })
    }

    /// Returns the sum of the pseudo header before an upper-layer packet of `length` bytes.
    #[inline]
    pub fn pseudo_header(&self, next_header: u8, length: u32) -> Sum {
        checksum::pseudo_ipv6(self.src(), self.dst(), next_header, length)
    }

    #[inline]
    fn first_word(&self) -> u32 {
        u32_at(self.0.as_ref(), field::VERSION_CLASS_FLOW)
    }
}

/// Tells whether the walk steps over headers of this kind.
#[inline]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION_OPTIONS)
}

impl Fragment {
    pub(crate) fn read(header: &[u8]) -> Self {
        let word = u16_at(header, fragment::OFFSET_MORE);
        Self { offset: word & !7, more: word & 1 == 1, ident: u32_at(header, fragment::IDENT) }
    }

    /// Returns the fragment header before a payload of `next_header`.
    pub fn to_bytes(self, next_header: u8) -> [u8; fragment::LEN] {
        let mut bytes = [0; fragment::LEN];
        bytes[0] = next_header;
        put(&mut bytes, fragment::OFFSET_MORE, (self.offset & !7 | u16::from(self.more)).to_be_bytes());
        put(&mut bytes, fragment::IDENT, self.ident.to_be_bytes());
        bytes
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Takes one from the hop limit, if there is any left. Returns what is left.
    #[inline]
    pub fn decrement_hop_limit(&mut self) -> u8 {
        let hop_limit = self.hop_limit().saturating_sub(1);
        self.set_hop_limit(hop_limit);
        hop_limit
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        put_u8(self.0.as_mut(), field::HOP_LIMIT, hop_limit);
    }

    /// Sets the length of what follows the fixed header, in bytes.
    #[inline]
    pub fn set_payload_len(&mut self, len: u16) {
        put(self.0.as_mut(), field::PAYLOAD_LEN, len.to_be_bytes());
    }

    /// Sets the source and returns the change for the checksums above.
    #[inline]
    pub fn set_src(&mut self, addr: Ipv6Addr) -> Delta {
        let delta = Delta::new().u128(self.src().to_bits(), addr.to_bits());
        put(self.0.as_mut(), field::SRC, addr.octets());
        delta
    }

    /// Sets the destination and returns the change for the checksums above.
    #[inline]
    pub fn set_dst(&mut self, addr: Ipv6Addr) -> Delta {
        let delta = Delta::new().u128(self.dst().to_bits(), addr.to_bits());
        put(self.0.as_mut(), field::DST, addr.octets());
        delta
    }

    /// Returns what follows the fixed header for writing.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let total = self.total_len();
        let bytes = self.0.as_mut();
        let end = bytes.len().min(total);
        bytes.get_mut(HEADER_LEN..end).unwrap_or_default()
    }
}

/// The fields of a fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// Protocol number of what follows.
    pub next_header: u8,
    /// Length of what follows, in bytes.
    pub payload_len: u16,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
}

impl Repr {
    /// Reads a header.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self {
            src: packet.src(),
            dst: packet.dst(),
            next_header: packet.next_header(),
            payload_len: packet.payload_len(),
            hop_limit: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
            flow_label: packet.flow_label(),
        }
    }

    /// Returns the header's length in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header; the buffer is at least [`header_len`](Self::header_len) long.
    #[inline]
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        let bytes = packet.0.as_mut();
        put(bytes, field::VERSION_CLASS_FLOW, first.to_be_bytes());
        put(bytes, field::PAYLOAD_LEN, self.payload_len.to_be_bytes());
        put_u8(bytes, field::NEXT_HEADER, self.next_header);
        put_u8(bytes, field::HOP_LIMIT, self.hop_limit);
        put(bytes, field::SRC, self.src.octets());
        put(bytes, field::DST, self.dst.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Repr = Repr {
        src: Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 5),
        dst: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10),
        next_header: protocol::TCP,
        payload_len: 0,
        hop_limit: 64,
        traffic_class: 0xb8,
        flow_label: 0x12345,
    };

    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let repr = Repr { next_header, payload_len: payload.len() as u16, ..HEADER };
        let mut bytes = vec![0; HEADER_LEN];
        repr.emit(&mut Packet::new_unchecked(&mut bytes));
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_header_is_laid_out_as_in_rfc_8200() {
        let bytes = packet(protocol::UDP, &[1, 2, 3]);
        assert_eq!(bytes[..8], [0x6b, 0x81, 0x23, 0x45, 0, 3, 17, 64]);
        assert_eq!(bytes[8..14], [0x20, 0x01, 0x0d, 0xb8, 0, 3]);
        assert_eq!((bytes[39], &bytes[40..]), (0x10, &[1, 2, 3][..]));
    }

    #[test]
    fn the_upper_protocol_of_a_plain_packet_follows_the_header() {
        let bytes = packet(protocol::TCP, &[]);
        let upper = Packet::new_checked(&bytes).unwrap().upper().unwrap();
        assert_eq!(upper, Upper { protocol: protocol::TCP, offset: 40, fragment: None });
    }

    #[test]
    fn the_walk_steps_over_every_kind_of_extension() {
        let fragment = Fragment { offset: 0, more: true, ident: 0xdead_beef };
        let mut payload = vec![protocol::ROUTING, 0, 1, 4, 0, 0, 0, 0];
        payload.extend([protocol::FRAGMENT, 1]);
        payload.extend([0; 14]);
        payload.extend(fragment.to_bytes(protocol::DESTINATION_OPTIONS));
        payload.extend([protocol::UDP, 0, 1, 4, 0, 0, 0, 0]);
        payload.extend([0xff; 8]);
        let bytes = packet(protocol::HOP_BY_HOP, &payload);
        let upper = Packet::new_checked(&bytes).unwrap().upper().unwrap();
        assert_eq!(upper, Upper { protocol: protocol::UDP, offset: 40 + 8 + 16 + 8 + 8, fragment: Some(fragment) });
        assert!(!upper.is_later_fragment());
        for len in 0..bytes.len() {
            let quoted = Packet::new_quoted(&bytes[..len]);
            let walk = quoted.and_then(|packet| packet.upper());
            assert_eq!(walk.is_ok(), len >= 80, "{len} bytes");
            assert!(Packet::new_checked(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn the_walk_ends_at_the_header_of_a_later_fragment() {
        let fragment = Fragment { offset: 1232, more: false, ident: 7 };
        let mut payload = fragment.to_bytes(protocol::HOP_BY_HOP).to_vec();
        payload.extend([0xff; 8]);
        let bytes = packet(protocol::FRAGMENT, &payload);
        let upper = Packet::new_checked(&bytes).unwrap().upper().unwrap();
        assert_eq!(upper, Upper { protocol: protocol::HOP_BY_HOP, offset: 48, fragment: Some(fragment) });
        assert!(upper.is_later_fragment());
    }

    #[test]
    fn the_walk_does_not_read_beyond_the_packet() {
        let mut bytes = packet(protocol::HOP_BY_HOP, &[protocol::TCP, 0, 1, 4, 0, 0, 0, 0]);
        Packet::new_unchecked(&mut bytes).set_payload_len(7);
        assert_eq!(Packet::new_checked(&bytes).unwrap().upper(), Err(WireError::Truncated));
    }

    #[test]
    fn an_endless_chain_of_extensions_is_refused() {
        let chain = |n: usize| {
            let mut payload = [protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0].repeat(n);
            payload[8 * (n - 1)] = protocol::TCP;
            packet(protocol::DESTINATION_OPTIONS, &payload)
        };
        let upper = |n: usize| Packet::new_checked(chain(n)).unwrap().upper();
        assert_eq!(upper(MAX_EXTENSIONS).map(|upper| upper.offset), Ok(40 + 8 * MAX_EXTENSIONS));
        assert_eq!(upper(MAX_EXTENSIONS + 1), Err(WireError::Unsupported));
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = packet(protocol::TCP, &[]);
        bytes[0] = 0x4b;
        assert_eq!(Packet::new_checked(&bytes), Err(WireError::Version));
    }

    fn any_repr() -> impl Strategy<Value = Repr> {
        (any::<(Ipv6Addr, Ipv6Addr)>(), any::<(u8, u8, u8)>(), 0u16..500, 0u32..0x10_0000).prop_map(
            |((src, dst), (next_header, hop_limit, traffic_class), payload_len, flow_label)| Repr {
                src,
                dst,
                next_header,
                payload_len,
                hop_limit,
                traffic_class,
                flow_label,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(repr in any_repr()) {
            let mut bytes = vec![0xee; repr.header_len() + usize::from(repr.payload_len)];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            prop_assert_eq!(Repr::parse(&Packet::new_checked(&bytes).unwrap()), repr);
        }

        #[test]
        fn a_rewrite_tells_its_change(repr in any_repr(), src: Ipv6Addr, dst: Ipv6Addr, data: [u8; 9]) {
            let mut bytes = vec![0; HEADER_LEN];
            let mut packet = Packet::new_unchecked(&mut bytes);
            repr.emit(&mut packet);
            let full = |packet: &Packet<&mut Vec<u8>>| packet.pseudo_header(6, 9).bytes(&data).checksum();
            let before = full(&packet);
            let delta = packet.set_src(src).and(packet.set_dst(dst));
            prop_assert_eq!((packet.src(), packet.dst()), (src, dst));
            prop_assert_eq!(delta.apply(before), full(&packet));
        }

        #[test]
        fn no_accessor_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), next: u8, units in 0u8..4) {
            let mut bytes = bytes;
            if bytes.len() > 41 {
                bytes[0] = 0x60;
                bytes[4] = 0;
                bytes[6] = [0, 43, 44, 60, next][usize::from(next % 5)];
                bytes[41] = units;
            }
            if let Ok(mut packet) = Packet::new_quoted(&mut bytes[..]) {
                if let Ok(upper) = packet.upper() {
                    prop_assert!(upper.offset <= packet.total_len());
                }
                let _ = (Repr::parse(&packet), packet.payload().len());
                packet.decrement_hop_limit();
                packet.payload_mut().fill(0);
            }
        }
    }
}
