//! The packet that an ICMP error quotes (RFC 792, RFC 4443): which flow it is of, and its translation together with the error around
//! it. The quoted transport checksum is left as it is, as the kernel leaves it.

use crate::destination::Shim;
use crate::forward::Offsets;
use crate::packet::{End, Header};
use crate::wire::{ethernet, gre, gue, icmpv4, icmpv6, ipv4, ipv6, ports, protocol, udp};

/// Length of an ICMP header in bytes.
const ICMP: usize = 8;

/// What the errors of a family look like.
pub trait Quoting: Header {
    /// The protocol number of ICMP.
    const ICMP: u8;
    /// Does an error of this type follow the connection that it is about?
    fn follows(kind: u8) -> bool;
    /// Is a message of this type an error, or of a kind that nobody knows?
    fn is_error(kind: u8) -> bool;
    /// Protocol and offset of the transport header of a packet that may be cut short; `None` when it is not there.
    fn transport(bytes: &[u8], l3: usize) -> Option<(u8, usize)>;
    /// Computes the checksum of an IP header anew, where it has one.
    fn seal_header(bytes: &mut [u8], l3: usize);
    /// Computes the checksum of the ICMP message anew.
    fn seal(bytes: &mut [u8], at: &Offsets);
    /// Is the checksum of the ICMP message right?
    fn is_intact(bytes: &[u8], at: &Offsets) -> bool;
}

impl Quoting for u32 {
    const ICMP: u8 = protocol::ICMP;

    fn follows(kind: u8) -> bool {
        matches!(kind, icmpv4::kind::UNREACHABLE | icmpv4::kind::SOURCE_QUENCH | icmpv4::kind::TIME_EXCEEDED)
    }

    /// As the kernel has it (`icmp_pointers`).
    fn is_error(kind: u8) -> bool {
        const LAST: u8 = 18;
        icmpv4::Packet::new_unchecked([kind]).is_error() || kind > LAST
    }

    fn transport(bytes: &[u8], l3: usize) -> Option<(u8, usize)> {
        let ip = ipv4::Packet::new_quoted(bytes.get(l3..)?).ok()?;
        (ip.fragment_offset() == 0).then(|| (ip.protocol(), l3 + ip.header_len()))
    }

    fn seal_header(bytes: &mut [u8], l3: usize) {
        if let Some(header) = bytes.get_mut(l3..) {
            ipv4::Packet::new_unchecked(header).fill_checksum();
        }
    }

    fn seal(bytes: &mut [u8], at: &Offsets) {
        if let Some(message) = bytes.get_mut(at.l4..at.end) {
            icmpv4::Packet::new_unchecked(message).fill_checksum();
        }
    }

    fn is_intact(bytes: &[u8], at: &Offsets) -> bool {
        bytes.get(at.l4..at.end).is_some_and(|message| icmpv4::Packet::new_unchecked(message).is_intact())
    }
}

impl Quoting for u128 {
    const ICMP: u8 = protocol::ICMPV6;

    /// Every error does (RFC 4443, section 2.1: the types below 128).
    fn follows(kind: u8) -> bool {
        kind & icmpv6::kind::INFORMATIONAL == 0
    }

    fn is_error(kind: u8) -> bool {
        kind & icmpv6::kind::INFORMATIONAL == 0
    }

    fn transport(bytes: &[u8], l3: usize) -> Option<(u8, usize)> {
        let upper = ipv6::Packet::new_quoted(bytes.get(l3..)?).ok()?.upper().ok()?;
        (!upper.is_later_fragment()).then_some((upper.protocol, l3 + upper.offset))
    }

    fn seal_header(_bytes: &mut [u8], _l3: usize) {}

    fn seal(bytes: &mut [u8], at: &Offsets) {
        let pseudo = Self::pseudo_header(bytes, at.l3, protocol::ICMPV6, at.end.saturating_sub(at.l4));
        if let Some(message) = bytes.get_mut(at.l4..at.end) {
            icmpv6::Packet::new_unchecked(message).fill_checksum(pseudo);
        }
    }

    fn is_intact(bytes: &[u8], at: &Offsets) -> bool {
        let pseudo = Self::pseudo_header(bytes, at.l3, protocol::ICMPV6, at.end.saturating_sub(at.l4));
        bytes.get(at.l4..at.end).is_some_and(|message| icmpv6::Packet::new_unchecked(message).is_intact(pseudo))
    }
}

/// Where the packet of IPv4 in a tunnel's packet begins, and what the tunnel is, if it is one. One of GUE looks like any datagram, but for
/// `is_gue` of its UDP port. As the kernel reads them (`ipvs_udp_decap`, `ipvs_gre_decap`): of GRE without options but the checksum, of
/// GUE with any.
fn inside(bytes: &[u8], protocol: u8, next: usize, is_gue: impl Fn(u16) -> bool) -> Option<(usize, Shim)> {
    let header = bytes.get(next..)?;
    match protocol {
        protocol::IPIP => Some((next, Shim::Ipip)),
        protocol::GRE => {
            let gre = gre::Packet::new_checked(header).ok()?;
            let plain = gre.protocol() == ethernet::ethertype::IPV4 && gre.is_plain();
            plain.then(|| (next + gre.header_len(), Shim::Gre))
        }
        protocol::UDP => {
            let port = ports::Packet::new_checked(header).ok()?.dst_port();
            let gue = gue::Packet::new_checked(header.get(udp::HEADER_LEN..)?).ok()?;
            let plain = is_gue(port) && !gue.is_control() && gue.protocol() == protocol::IPIP;
            plain.then(|| (next + udp::HEADER_LEN + gue.header_len(), Shim::Gue(port)))
        }
        _ => None,
    }
}

/// A quoted packet with ports; of a tunnel's packet, the one inside.
#[derive(Clone, Copy, Debug)]
pub struct Quote<A> {
    /// Its transport protocol.
    pub protocol: u8,
    /// Its source.
    pub src: A,
    /// Its source port.
    pub sport: u16,
    /// Its destination.
    pub dst: A,
    /// Its destination port.
    pub dport: u16,
    /// Where it begins in the frame.
    pub l3: usize,
    /// Where its ports are.
    l4: usize,
    /// The end of the tunnel that it was in, and what that is.
    pub through: Option<(A, Shim)>,
}

impl<A: Quoting> Quote<A> {
    /// Reads what the message quotes; `None` when it is no error that follows a connection, or quotes too little. Tunnels of GUE are those
    /// to an address and port of which `is_gue`.
    pub fn read(bytes: &[u8], l4: usize, end: usize, is_gue: impl Fn(A, u16) -> bool) -> Option<Self> {
        let bytes = bytes.get(..end)?;
        if !A::follows(*bytes.get(l4)?) {
            return None;
        }
        let outer = l4 + ICMP;
        let (protocol, next) = A::transport(bytes, outer)?;
        let to = A::addresses(bytes, outer).1;
        let Some((l3, shim)) = inside(bytes, protocol, next, |port| is_gue(to, port)).filter(|_| !A::V6) else {
            return Self::of(bytes, outer, protocol, next, None);
        };
        let through = (to, shim);
        let (protocol, l4) = A::transport(bytes, l3)?;
        Self::of(bytes, l3, protocol, l4, Some(through))
    }

    fn of(bytes: &[u8], l3: usize, protocol: u8, l4: usize, through: Option<(A, Shim)>) -> Option<Self> {
        if !matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
            return None;
        }
        let ports = ports::Packet::new_checked(bytes.get(l4..)?).ok()?;
        let (sport, dport) = (ports.src_port(), ports.dst_port());
        let (src, dst) = A::addresses(bytes, l3);
        Some(Self { protocol, src, sport, dst, dport, l3, l4, through })
    }

    /// How far into what the error at `at` carries its translation reaches, in bytes.
    pub fn reach(&self, at: &Offsets) -> usize {
        const PORTS: usize = 4;
        (self.l4 + PORTS).saturating_sub(at.l4)
    }

    /// Rewrites one end of the error at `at`, and the other end of the packet that it quotes.
    pub fn translate(&self, bytes: &mut [u8], at: &Offsets, end: End, address: A, port: u16) {
        A::rewrite_address(bytes, at.l3, end, address);
        let quoted = if end == End::Source { End::Destination } else { End::Source };
        A::rewrite_address(bytes, self.l3, quoted, address);
        A::seal_header(bytes, self.l3);
        if let Some(header) = bytes.get_mut(self.l4..) {
            let mut ports = ports::Packet::new_unchecked(header);
            if quoted == End::Source { ports.set_src_port(port) } else { ports.set_dst_port(port) }
        }
        A::seal(bytes, at);
    }
}
