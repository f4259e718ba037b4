//! TCP's states as seen from the middle (the kernel's `ip_vs_proto_tcp.c`; RFC 9293, 3.3.2 for the ends' own). Sequence numbers
//! are never looked at: direction, state and one flag decide. The usual ways, with NAT (both directions seen):
//!
//! ```text
//!            client SYN                 client ACK or server ACK
//!   NONE ───────────────> SYN_RECV ──────────────────────────────> ESTABLISHED
//!                            │                                       │     │
//!                            │ server RST            client FIN      │     │  server FIN
//!                            v                   ┌───────────────────┘     └─────────────┐
//!                          CLOSE                 v                                       v
//!                            ^               CLOSE_WAIT                               FIN_WAIT
//!                            │ RST               │ server FIN               client FIN   │
//!                            │                   └──────────────> TIME_WAIT <────────────┘
//! ```
//!
//! With DR and TUN only the client's packets are seen: its FIN leads from ESTABLISHED to FIN_WAIT, which is the end.

use super::{Direction, State};

/// FIN.
pub const FIN: u8 = 0x01;
/// SYN.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// ACK.
pub const ACK: u8 = 0x10;

/// States of TCP; their numbers are the columns of the tables.
const STATES: usize = 11;
type Table = [[State; STATES]; 5];

use State::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI, None as NO,
    SynAck as SA, SynRecv as SR, SynSent as SS, TimeWait as TW,
};

/// The columns, in the order of the states' numbers.
const COLUMNS: [State; STATES] = [NO, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA];

/// A client's packet. Rows: SYN, FIN, ACK, RST, none of them.
#[rustfmt::skip]
const INPUT: Table = [
    //         NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    /* SYN */ [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
    /* FIN */ [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW],
    /* ACK */ [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
    /* RST */ [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR],
    /*  -  */ [CL; STATES],
];

/// A server's packet.
#[rustfmt::skip]
const OUTPUT: Table = [
    //         NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    /* SYN */ [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR],
    /* FIN */ [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
    /* ACK */ [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
    /* RST */ [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
    /*  -  */ [CL; STATES],
];

/// A client's packet where no server's packet is ever seen.
#[rustfmt::skip]
const INPUT_ONLY: Table = [
    //         NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    /* SYN */ [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
    /* FIN */ [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
    /* ACK */ [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
    /* RST */ [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    /*  -  */ [CL; STATES],
];

/// A client's packet, with `secure_tcp`: only the server's ACK establishes.
#[rustfmt::skip]
const SECURE_INPUT: Table = [
    //         NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    /* SYN */ [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA],
    /* FIN */ [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA],
    /* ACK */ [ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA],
    /* RST */ [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    /*  -  */ [CL; STATES],
];

/// A server's packet, with `secure_tcp`.
#[rustfmt::skip]
const SECURE_OUTPUT: Table = [
    //         NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    /* SYN */ [SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA],
    /* FIN */ [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
    /* ACK */ [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
    /* RST */ [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
    /*  -  */ [CL; STATES],
];

/// A client's packet where no server's packet is ever seen, with `secure_tcp`.
#[rustfmt::skip]
const SECURE_INPUT_ONLY: Table = [
    //         NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    /* SYN */ [SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA],
    /* FIN */ [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
    /* ACK */ [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
    /* RST */ [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    /*  -  */ [CL; STATES],
];

/// Columns of the unfolded tables, a power of two.
const WIDTH: usize = 16;

/// The tables unfolded: by [`Direction`] and after those `secure_tcp`'s, the low five flag bits, and the state before.
static NEXT: [[[State; WIDTH]; 32]; 6] = [
    unfolded(&INPUT),
    unfolded(&OUTPUT),
    unfolded(&INPUT_ONLY),
    unfolded(&SECURE_INPUT),
    unfolded(&SECURE_OUTPUT),
    unfolded(&SECURE_INPUT_ONLY),
];

const fn unfolded(table: &Table) -> [[State; WIDTH]; 32] {
    let mut next = [[State::Close; WIDTH]; 32];
    let mut flags = 0;
    while flags < 32 {
        let mut state = 0;
        while state < STATES {
            next[flags][state] = table[row(flags as u8) as usize][state];
            state += 1;
        }
        flags += 1;
    }
    next
}

/// The one flag that decides.
const fn row(flags: u8) -> u8 {
    if flags & RST != 0 {
        3
    } else if flags & SYN != 0 {
        0
    } else if flags & FIN != 0 {
        1
    } else if flags & ACK != 0 {
        2
    } else {
        4
    }
}

/// The state after a segment with these flags, `secure` by the tables of `secure_tcp`. A state that is not TCP's becomes CLOSE.
#[inline]
pub fn transition(state: State, direction: Direction, flags: u8, secure: bool) -> State {
    let row = &NEXT[direction as usize + 3 * usize::from(secure)][usize::from(flags & 31)];
    row.get(state as usize).copied().unwrap_or(State::Close)
}

const _: () = {
    let mut column = 0;
    while column < STATES {
        assert!(COLUMNS[column] as usize == column, "a state's number is its column");
        column += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::TimeoutTable;

    /// The published tables: state before in the columns, flag in the rows.
    const PUBLISHED_INPUT: &str = "
| | NONE | ESTAB | SYN_SENT | SYN_RECV | FIN_WAIT | TIME_WAIT | CLOSE | CLOSE_WAIT | LAST_ACK | LISTEN | SYNACK |
|---|---|---|---|---|---|---|---|---|---|---|---|
| SYN | SYN_RECV | ESTAB | ESTAB | SYN_RECV | SYN_RECV | SYN_RECV | SYN_RECV | SYN_RECV | SYN_RECV | SYN_RECV | SYN_RECV |
| FIN | CLOSE | CLOSE_WAIT | SYN_SENT | TIME_WAIT | TIME_WAIT | TIME_WAIT | CLOSE | CLOSE_WAIT | LAST_ACK | LISTEN | TIME_WAIT |
| ACK | ESTAB | ESTAB | SYN_SENT | ESTAB | FIN_WAIT | TIME_WAIT | CLOSE | CLOSE_WAIT | CLOSE | LISTEN | ESTAB |
| RST | CLOSE | CLOSE | CLOSE | SYN_RECV | CLOSE | CLOSE | CLOSE | CLOSE | LAST_ACK | LISTEN | SYN_RECV |
";
    const PUBLISHED_OUTPUT: &str = "
| | NONE | ESTAB | SYN_SENT | SYN_RECV | FIN_WAIT | TIME_WAIT | CLOSE | CLOSE_WAIT | LAST_ACK | LISTEN | SYNACK |
|---|---|---|---|---|---|---|---|---|---|---|---|
| SYN | SYN_SENT | ESTAB | SYN_SENT | SYN_RECV | SYN_SENT | SYN_SENT | SYN_SENT | SYN_SENT | SYN_SENT | LISTEN | SYN_RECV |
| FIN | TIME_WAIT | FIN_WAIT | SYN_SENT | TIME_WAIT | FIN_WAIT | TIME_WAIT | CLOSE | TIME_WAIT | LAST_ACK | LISTEN | TIME_WAIT |
| ACK | ESTAB | ESTAB | SYN_SENT | ESTAB | FIN_WAIT | TIME_WAIT | CLOSE | CLOSE_WAIT | LAST_ACK | ESTAB | ESTAB |
| RST | CLOSE | CLOSE | SYN_SENT | CLOSE | CLOSE | TIME_WAIT | CLOSE | CLOSE | CLOSE | CLOSE | CLOSE |
";
    /// Where a client's packet is judged otherwise when no server's packet is seen.
    const PUBLISHED_INPUT_ONLY: [(&str, &str, &str); 3] =
        [("FIN", "ESTAB", "FIN_WAIT"), ("FIN", "FIN_WAIT", "FIN_WAIT"), ("RST", "SYNACK", "CLOSE")];
    const PUBLISHED_TIMEOUTS: &str = "NONE 2, SYN_SENT 120 active, SYN_RECV 60 active, ESTABLISHED 900 active, FIN_WAIT 120, \
         TIME_WAIT 120, CLOSE 10, CLOSE_WAIT 60, LAST_ACK 30, LISTEN 120, SYNACK 120 active";

    fn state(name: &str) -> State {
        let name = if name == "ESTAB" { "ESTABLISHED" } else { name };
        *COLUMNS.iter().find(|s| s.name() == name).unwrap_or_else(|| panic!("no state {name}"))
    }

    fn flag(name: &str) -> u8 {
        [("SYN", SYN), ("FIN", FIN), ("ACK", ACK), ("RST", RST)].iter().find(|f| f.0 == name).expect("a flag").1
    }

    /// (flag, state before, state after) for each cell.
    fn cells(table: &'static str) -> Vec<(&'static str, &'static str, &'static str)> {
        let split = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
        let mut lines = table.lines().filter(|l| !l.is_empty()).map(split);
        let head = lines.next().expect("a head");
        let rows: Vec<_> = lines.skip(1).collect();
        let of_row = |row: Vec<_>| {
            let cell = |(before, after): (&&'static str, &&'static str)| (row[0], *before, *after);
            head.iter().zip(&row).skip(1).map(cell).collect::<Vec<_>>()
        };
        rows.into_iter().flat_map(of_row).collect()
    }

    fn assert_cell(direction: Direction, (name, before, after): (&str, &str, &str)) {
        let got = transition(state(before), direction, flag(name), false);
        assert_eq!(got, state(after), "{direction:?}: {name} in {before}");
    }

    #[test]
    fn the_tables_are_the_published_ones() {
        for (direction, table) in [(Direction::Input, PUBLISHED_INPUT), (Direction::Output, PUBLISHED_OUTPUT)] {
            let cells = cells(table);
            assert_eq!(cells.len(), 44);
            cells.into_iter().for_each(|cell| assert_cell(direction, cell));
        }
    }

    #[test]
    fn without_replies_three_cells_differ() {
        for cell in cells(PUBLISHED_INPUT) {
            let other = PUBLISHED_INPUT_ONLY.iter().find(|c| (c.0, c.1) == (cell.0, cell.1));
            assert_cell(Direction::InputOnly, *other.unwrap_or(&cell));
        }
    }

    #[test]
    fn with_secure_tcp_the_servers_ack_alone_establishes() {
        use Direction::{Input, InputOnly, Output};
        let after = |steps: &[(Direction, u8)]| {
            steps
                .iter()
                .fold(State::None, |state, (direction, flags)| transition(state, *direction, *flags, true))
                .name()
        };
        assert_eq!(after(&[(Input, SYN), (Input, ACK)]), "SYN_RECV");
        assert_eq!(after(&[(Input, SYN), (Output, SYN | ACK)]), "SYNACK");
        assert_eq!(after(&[(Input, SYN), (Output, SYN | ACK), (Input, ACK)]), "SYNACK");
        assert_eq!(after(&[(Input, SYN), (Output, SYN | ACK), (Input, ACK), (Output, ACK)]), "ESTABLISHED");
        assert_eq!(after(&[(InputOnly, SYN)]), "SYNACK");
        assert_eq!(after(&[(InputOnly, SYN), (InputOnly, ACK), (InputOnly, FIN)]), "FIN_WAIT");
    }

    #[test]
    fn time_outs_and_activity_are_the_published_ones() {
        let timeouts = TimeoutTable::default();
        for item in PUBLISHED_TIMEOUTS.split(", ") {
            let words: Vec<_> = item.split_whitespace().collect();
            let seconds: u32 = words[1].parse().expect("seconds");
            assert_eq!(timeouts.ticks(state(words[0])), seconds * 100, "{item}");
            assert_eq!(state(words[0]).is_active(), words.len() == 3, "{item}");
        }
        assert_eq!(PUBLISHED_TIMEOUTS.split(", ").count(), STATES);
    }

    #[test]
    fn rst_goes_before_syn_before_fin_before_ack() {
        let order = [RST, SYN, FIN, ACK];
        for flags in 0..=u8::MAX {
            let decides = order.iter().find(|f| flags & **f != 0);
            for before in COLUMNS {
                for direction in [Direction::Input, Direction::Output, Direction::InputOnly] {
                    let expected = decides.map_or(State::Close, |f| transition(before, direction, *f, false));
                    assert_eq!(
                        transition(before, direction, flags, false),
                        expected,
                        "{flags:#04x} in {}",
                        before.name()
                    );
                }
            }
        }
    }
}
