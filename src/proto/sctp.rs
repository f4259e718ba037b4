//! SCTP's states (RFC 9260) as the kernel's `ip_vs_proto_sctp.c` names them, from the type of a packet's first chunk. Thin: an
//! association goes up, transfers and goes down; collisions of both ends' INITs are not told apart.

use super::{Direction, State};

/// Chunk types (RFC 9260, 3.2) that move an association.
pub mod chunk {
    /// INIT.
    pub const INIT: u8 = 1;
    /// INIT ACK.
    pub const INIT_ACK: u8 = 2;
    /// ABORT.
    pub const ABORT: u8 = 6;
    /// SHUTDOWN.
    pub const SHUTDOWN: u8 = 7;
    /// SHUTDOWN ACK.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// COOKIE ECHO.
    pub const COOKIE_ECHO: u8 = 10;
    /// COOKIE ACK.
    pub const COOKIE_ACK: u8 = 11;
    /// SHUTDOWN COMPLETE.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The state after a packet whose first chunk is of this type.
pub fn transition(state: State, direction: Direction, chunk_type: u8) -> State {
    match (chunk_type, direction) {
        (chunk::INIT, _) => State::SctpInit1,
        (chunk::INIT_ACK, _) => State::SctpCookieSent,
        (chunk::COOKIE_ECHO, _) => State::SctpCookieReplied,
        (chunk::COOKIE_ACK, _) => State::SctpEstablished,
        (chunk::SHUTDOWN, Direction::Output) => State::SctpShutdownSent,
        (chunk::SHUTDOWN, _) => State::SctpShutdownReceived,
        (chunk::SHUTDOWN_ACK, _) => State::SctpShutdownAckSent,
        (chunk::ABORT | chunk::SHUTDOWN_COMPLETE, _) => State::SctpClosed,
        // Without the server's COOKIE ACK, the client's data tell that it was accepted.
        (_, Direction::InputOnly) if state == State::SctpCookieReplied => State::SctpEstablished,
        _ if state == State::None => State::SctpEstablished,
        _ => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::TimeoutTable;

    #[test]
    fn an_association_goes_through_the_recorded_states() {
        use Direction::{Input, Output};
        let recorded = [
            (Input, chunk::INIT, "INIT1", 4),
            (Output, chunk::INIT_ACK, "C-SENT", 61),
            (Input, chunk::COOKIE_ECHO, "C-REPLIED", 61),
            (Output, chunk::COOKIE_ACK, "ESTABLISHED", 900),
            (Input, 0, "ESTABLISHED", 900),
            (Input, chunk::SHUTDOWN, "S-RECEIVED", 61),
            (Output, chunk::SHUTDOWN_ACK, "S-ACK-SENT", 61),
            (Input, chunk::SHUTDOWN_COMPLETE, "CLOSED", 60),
        ];
        let timeouts = TimeoutTable::default();
        let mut state = State::None;
        for (direction, chunk_type, name, seconds) in recorded {
            state = transition(state, direction, chunk_type);
            assert_eq!((state.name(), timeouts.ticks(state)), (name, seconds * 100), "after chunk {chunk_type}");
        }
    }

    #[test]
    fn data_establish_an_association_whose_replies_are_not_seen() {
        let replied = transition(State::SctpInit1, Direction::InputOnly, chunk::COOKIE_ECHO);
        assert_eq!(transition(replied, Direction::InputOnly, 0), State::SctpEstablished);
        assert_eq!(transition(replied, Direction::Input, 0), State::SctpCookieReplied);
    }
}
