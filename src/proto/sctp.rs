//! SCTP's states (RFC 9260) as the kernel's `ip_vs_proto_sctp.c` names them, from the type of a packet's first chunk. The tables were
//! read off a kernel: every chunk in every state, in both directions.

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
    /// ERROR.
    pub const ERROR: u8 = 9;
    /// COOKIE ECHO.
    pub const COOKIE_ECHO: u8 = 10;
    /// COOKIE ACK.
    pub const COOKIE_ACK: u8 = 11;
    /// SHUTDOWN COMPLETE.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// States of SCTP; their numbers are the columns of the tables.
const STATES: usize = 14;
/// By chunk as [`row`] counts them, and the state before.
type Table = [[State; STATES]; 10];

use State::{
    None as NO, SctpClosed as CL, SctpCookie as CO, SctpCookieEchoed as CE, SctpCookieReplied as CR,
    SctpCookieSent as CS, SctpCookieWait as CW, SctpEstablished as ES, SctpInit as IN, SctpInit1 as I1,
    SctpRejected as RJ, SctpShutdownAckSent as SA, SctpShutdownReceived as SR, SctpShutdownSent as SS,
};

/// The columns, in the order of the states' numbers.
const COLUMNS: [State; STATES] = [NO, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL];

/// A client's packet.
#[rustfmt::skip]
const INPUT: Table = [
    //                        NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
    /* INIT              */ [I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN],
    /* INIT ACK          */ [CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL],
    /* COOKIE ECHO       */ [CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /* COOKIE ACK        */ [ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL],
    /* SHUTDOWN          */ [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL],
    /* SHUTDOWN ACK      */ [CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL],
    /* SHUTDOWN COMPLETE */ [CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL],
    /* ERROR             */ [CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL],
    /* ABORT             */ [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL],
    /* any other         */ [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
];

/// A server's packet.
#[rustfmt::skip]
const OUTPUT: Table = [
    //                        NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
    /* INIT              */ [CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW],
    /* INIT ACK          */ [CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /* COOKIE ECHO       */ [CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL],
    /* COOKIE ACK        */ [ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL],
    /* SHUTDOWN          */ [SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL],
    /* SHUTDOWN ACK      */ [SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL],
    /* SHUTDOWN COMPLETE */ [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /* ERROR             */ [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /* ABORT             */ [CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL],
    /* any other         */ [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
];

/// A client's packet where no server's packet is ever seen. Of the states that are not reached so the columns are those of [`INPUT`].
#[rustfmt::skip]
const INPUT_ONLY: Table = [
    //                        NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
    /* INIT              */ [I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN],
    /* INIT ACK          */ [CE, CE, CE, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL],
    /* COOKIE ECHO       */ [ES, ES, ES, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /* COOKIE ACK        */ [ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL],
    /* SHUTDOWN          */ [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL],
    /* SHUTDOWN ACK      */ [CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL],
    /* SHUTDOWN COMPLETE */ [CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, CL, CL, RJ, CL],
    /* ERROR             */ [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /* ABORT             */ [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL],
    /* any other         */ [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
];

fn row(chunk_type: u8) -> usize {
    match chunk_type {
        chunk::INIT => 0,
        chunk::INIT_ACK => 1,
        chunk::COOKIE_ECHO => 2,
        chunk::COOKIE_ACK => 3,
        chunk::SHUTDOWN => 4,
        chunk::SHUTDOWN_ACK => 5,
        chunk::SHUTDOWN_COMPLETE => 6,
        chunk::ERROR => 7,
        chunk::ABORT => 8,
        _ => 9,
    }
}

/// The state after a packet whose first chunk is of this type. A state that is not SCTP's becomes CLOSED.
pub fn transition(state: State, direction: Direction, chunk_type: u8) -> State {
    let table = match direction {
        Direction::Input => &INPUT,
        Direction::Output => &OUTPUT,
        Direction::InputOnly => &INPUT_ONLY,
    };
    let column = usize::from(state.number());
    let known = COLUMNS.get(column) == Some(&state);
    if known { table[row(chunk_type)][column] } else { State::SctpClosed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::TimeoutTable;

    #[test]
    fn the_columns_are_in_the_order_of_the_states_numbers() {
        for (column, state) in COLUMNS.iter().enumerate() {
            assert_eq!(usize::from(state.number()), column, "{}", state.name());
        }
        assert_eq!(transition(State::TimeWait, Direction::Input, 0), State::SctpClosed);
    }

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
            (Input, chunk::SHUTDOWN_COMPLETE, "CLOSED", 61),
        ];
        let timeouts = TimeoutTable::default();
        let mut state = State::None;
        for (direction, chunk_type, name, seconds) in recorded {
            state = transition(state, direction, chunk_type);
            assert_eq!((state.name(), timeouts.ticks(state)), (name, seconds * 100), "after chunk {chunk_type}");
        }
    }

    #[test]
    fn a_cookie_establishes_an_association_whose_replies_are_not_seen() {
        let begun = transition(State::None, Direction::InputOnly, chunk::INIT);
        assert_eq!(transition(begun, Direction::InputOnly, chunk::COOKIE_ECHO), State::SctpEstablished);
        assert_eq!(transition(begun, Direction::Input, chunk::COOKIE_ECHO), State::SctpInit);
    }
}
