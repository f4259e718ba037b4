//! What a packet tells the state tables: TCP's flags, SCTP's first chunk.

use super::{Direction, State, sctp, tcp, udp};
use crate::wire::protocol;

/// Offset of the flags in a TCP header (RFC 9293).
const TCP_FLAGS: usize = 13;
/// Offset of the first chunk's type in an SCTP packet (RFC 9260).
const SCTP_CHUNK: usize = 12;

/// One packet, as far as states are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    /// TCP, with its flags.
    Tcp(u8),
    /// UDP.
    Udp,
    /// SCTP, with the type of its first chunk.
    Sctp(u8),
    /// Of a protocol without states.
    Other,
}

impl Segment {
    /// Reads the transport header.
    #[inline]
    pub fn read(protocol: u8, header: &[u8]) -> Self {
        let at = |offset: usize| header.get(offset).copied();
        match protocol {
            protocol::TCP => Self::Tcp(at(TCP_FLAGS).unwrap_or(0)),
            protocol::UDP => Self::Udp,
            protocol::SCTP => Self::Sctp(at(SCTP_CHUNK).unwrap_or(u8::MAX)),
            _ => Self::Other,
        }
    }

    /// Does it begin a connection anew, whatever was there before?
    #[inline]
    pub fn opens(self) -> bool {
        match self {
            Self::Tcp(flags) => flags & tcp::SYN != 0,
            _ => self == Self::Sctp(sctp::chunk::INIT),
        }
    }

    /// Does it reset a connection?
    #[inline]
    pub fn resets(self) -> bool {
        matches!(self, Self::Tcp(flags) if flags & tcp::RST != 0)
    }

    /// May it make a connection where there is none? With `sloppy`, any TCP segment but RST may.
    #[inline]
    pub fn starts(self, sloppy: bool) -> bool {
        match self {
            Self::Tcp(flags) => (sloppy || flags & tcp::SYN != 0) && flags & tcp::RST == 0,
            Self::Udp => true,
            Self::Sctp(chunk) => chunk == sctp::chunk::INIT,
            Self::Other => false,
        }
    }
}

/// The state after a packet.
#[inline]
pub fn next(state: State, direction: Direction, segment: Segment) -> State {
    match segment {
        Segment::Tcp(flags) => tcp::transition(state, direction, flags),
        _ => next_without_flags(state, direction, segment),
    }
}

/// Apart, so that the nearly always TCP is told by one comparison.
#[inline(never)]
fn next_without_flags(state: State, direction: Direction, segment: Segment) -> State {
    match segment {
        Segment::Udp => udp::transition(),
        Segment::Sctp(chunk) => sctp::transition(state, direction, chunk),
        Segment::Other | Segment::Tcp(_) => state,
    }
}

/// Does the connection, now in this state, assure its template? TCP and SCTP when established, UDP when answered.
#[inline]
pub fn assures(segment: Segment, direction: Direction, state: State) -> bool {
    match segment {
        Segment::Udp => direction == Direction::Output,
        _ => matches!(state, State::Established | State::SctpEstablished),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_syn_without_a_rst_starts_a_connection() {
        let tcp = |flags| Segment::Tcp(flags);
        assert!(tcp(tcp::SYN).starts(false) && tcp(tcp::SYN | tcp::ACK).starts(false));
        assert!(!tcp(tcp::ACK).starts(false) && tcp(tcp::ACK).starts(true));
        assert!(!tcp(tcp::SYN | tcp::RST).starts(true) && !tcp(tcp::RST).starts(true));
    }

    #[test]
    fn a_header_cut_short_is_a_segment_without_flags() {
        assert_eq!(Segment::read(protocol::TCP, &[0; 8]), Segment::Tcp(0));
        assert!(!Segment::read(protocol::SCTP, &[0; 8]).starts(false));
    }
}
