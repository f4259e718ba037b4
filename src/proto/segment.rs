//! What a packet tells the state tables: TCP's flags, SCTP's first chunk.

use super::{Direction, State, sctp, tcp, udp};
use crate::settings::Settings;
use crate::wire::protocol;

/// Offset of the flags in a TCP header (RFC 9293).
const TCP_FLAGS: usize = 13;
/// Offset of the first chunk in an SCTP packet (RFC 9260).
const SCTP_CHUNK: usize = 12;

/// Bytes of a chunk's header, to which chunks are aligned, too.
const SCTP_CHUNK_HEADER: usize = 4;

/// One packet, as far as states are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    /// TCP, with its flags.
    Tcp(u8),
    /// UDP.
    Udp,
    /// SCTP, with the type of its first chunk.
    Sctp(u8),
    /// SCTP, a cookie's chunk with an ABORT behind it.
    SctpAborted,
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
            protocol::SCTP => sctp_chunks(header),
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

    /// Does it end a connection at once: a RST, an ABORT?
    #[inline]
    pub fn resets(self) -> bool {
        match self {
            Self::Tcp(flags) => flags & tcp::RST != 0,
            _ => self == Self::Sctp(sctp::chunk::ABORT),
        }
    }

    /// The state that it leaves as it is, whichever way it goes, if it is one that nearly all packets find: more of a flow that goes on.
    #[inline(always)]
    pub fn keeps(self) -> Option<State> {
        const DECIDING: u8 = tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK;
        match self {
            Self::Tcp(flags) if flags & DECIDING == tcp::ACK => Some(State::Established),
            Self::Udp => Some(State::Udp),
            _ => None,
        }
    }

    /// May it make a connection where there is none? `sloppy_tcp` allows any segment but RST, `sloppy_sctp` any first chunk but
    /// ABORT.
    #[inline]
    pub fn starts(self, settings: &Settings) -> bool {
        match self {
            Self::Tcp(flags) => (settings.sloppy_tcp || flags & tcp::SYN != 0) && flags & tcp::RST == 0,
            Self::Udp => true,
            Self::Sctp(chunk) if settings.sloppy_sctp => chunk != sctp::chunk::ABORT,
            Self::Sctp(chunk) => chunk == sctp::chunk::INIT,
            Self::SctpAborted => settings.sloppy_sctp,
            Self::Other => false,
        }
    }
}

/// The first chunk of an SCTP packet decides, but for an ABORT behind a cookie.
fn sctp_chunks(packet: &[u8]) -> Segment {
    let Some(&[first, _, l0, l1]) = packet.get(SCTP_CHUNK..).and_then(|chunk| chunk.first_chunk()) else {
        return Segment::Sctp(u8::MAX);
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let cookie = matches!(first, sctp::chunk::COOKIE_ECHO | sctp::chunk::COOKIE_ACK) && length >= SCTP_CHUNK_HEADER;
    let second = if cookie { packet.get(SCTP_CHUNK + length.next_multiple_of(SCTP_CHUNK_HEADER)) } else { None };
    if second == Some(&sctp::chunk::ABORT) { Segment::SctpAborted } else { Segment::Sctp(first) }
}

/// The state after a packet; `secure`: by the states of `secure_tcp`.
#[inline]
pub fn next(state: State, direction: Direction, segment: Segment, secure: bool) -> State {
    match segment {
        Segment::Tcp(flags) => tcp::transition(state, direction, flags, secure),
        _ => next_without_flags(state, direction, segment),
    }
}

/// Apart, so that the nearly always TCP is told by one comparison.
#[inline(never)]
fn next_without_flags(state: State, direction: Direction, segment: Segment) -> State {
    match segment {
        Segment::Udp => udp::transition(),
        Segment::Sctp(chunk) => sctp::transition(state, direction, chunk),
        Segment::SctpAborted => sctp::transition(state, direction, sctp::chunk::ABORT),
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
        let sloppy = Settings { sloppy_tcp: true, ..Settings::default() };
        let starts = |flags| Segment::Tcp(flags).starts(&Settings::default());
        let starts_sloppily = |flags| Segment::Tcp(flags).starts(&sloppy);
        assert!(starts(tcp::SYN) && starts(tcp::SYN | tcp::ACK) && !starts(tcp::ACK));
        assert!(starts_sloppily(tcp::ACK) && !starts_sloppily(tcp::SYN | tcp::RST) && !starts_sloppily(tcp::RST));
    }

    #[test]
    fn only_an_init_starts_an_association_unless_sloppily() {
        let sloppy = Settings { sloppy_sctp: true, ..Settings::default() };
        for (first, strictly, sloppily) in [(0, false, true), (1, true, true), (6, false, false), (99, false, true)] {
            let segment = Segment::Sctp(first);
            assert_eq!(segment.starts(&Settings::default()), strictly, "chunk {first}");
            assert_eq!(segment.starts(&sloppy), sloppily, "chunk {first}");
        }
    }

    #[test]
    fn an_abort_behind_a_cookie_decides() {
        let packet = |chunks: &[&[u8]]| Segment::read(protocol::SCTP, &[&[0; 12], chunks.concat().as_slice()].concat());
        let (cookie, abort, data): (&[u8], &[u8], &[u8]) = (&[10, 0, 0, 6, 1, 2, 0, 0], &[6, 0, 0, 4], &[0, 3, 0, 4]);
        assert_eq!(packet(&[cookie, abort]), Segment::SctpAborted);
        assert_eq!(packet(&[cookie, data, abort]), Segment::Sctp(10));
        assert_eq!(packet(&[data, abort]), Segment::Sctp(0));
        assert_eq!(packet(&[cookie]), Segment::Sctp(10));
        assert_eq!(packet(&[&[11, 0, 0, 3], abort]), Segment::Sctp(11));
        assert_eq!(packet(&[&[11, 0, 0xff, 0xff], abort]), Segment::Sctp(11));
    }

    #[test]
    fn what_keeps_a_state_keeps_it_in_every_direction() {
        let segments = (0..=u8::MAX).map(Segment::Tcp).chain([Segment::Udp]);
        for segment in segments {
            let Some(state) = segment.keeps() else { continue };
            for direction in [Direction::Input, Direction::Output, Direction::InputOnly] {
                for secure in [false, true] {
                    assert_eq!(next(state, direction, segment, secure), state, "{segment:?} {direction:?} {secure}");
                }
            }
            assert!(!segment.opens() && !segment.resets());
        }
        assert_eq!(Segment::Tcp(tcp::ACK | 0x28).keeps(), Some(State::Established), "PSH and URG decide nothing");
    }

    #[test]
    fn a_header_cut_short_is_a_segment_without_flags() {
        assert_eq!(Segment::read(protocol::TCP, &[0; 8]), Segment::Tcp(0));
        assert!(!Segment::read(protocol::SCTP, &[0; 8]).starts(&Settings::default()));
    }
}
