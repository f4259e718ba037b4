//! Protocol states: what a connection's next packet makes of it, and for how long it then lives. Names, numbers and time-outs are
//! the kernel's, as `ipvsadm -Lcn` prints them and the sync protocol sends them.

use crate::settings::Timeouts;
use crate::time::HZ;
use crate::wire::protocol;

pub mod sctp;
pub mod segment;
pub mod tcp;
pub mod udp;

macro_rules! states {
    ($($(#[$attribute:meta])* $variant:ident $number:literal $name:literal $seconds:literal $active:literal,)*) => {
        /// State of a connection or template, of any protocol.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
        #[repr(u8)]
        pub enum State {
            $($(#[$attribute])*#[doc = concat!("Printed as `", $name, "`; lives ", $seconds, " s by default.")] $variant,)*
        }

        impl State {
            /// Every state.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            const SECONDS: [u32; Self::ALL.len()] = [$($seconds),*];

            /// The name that `ipvsadm -Lcn` prints.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The kernel's number of the state, within its protocol.
            pub fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* }
            }

            /// Does a connection in this state count as active?
            #[inline]
            pub fn is_active(self) -> bool {
                match self { $(Self::$variant => $active,)* }
            }
        }
    };
}

states! {
    #[default]
    None 0 "NONE" 2 false,
    Established 1 "ESTABLISHED" 900 true,
    SynSent 2 "SYN_SENT" 120 true,
    SynRecv 3 "SYN_RECV" 60 true,
    FinWait 4 "FIN_WAIT" 120 false,
    TimeWait 5 "TIME_WAIT" 120 false,
    Close 6 "CLOSE" 10 false,
    CloseWait 7 "CLOSE_WAIT" 60 false,
    LastAck 8 "LAST_ACK" 30 false,
    Listen 9 "LISTEN" 120 false,
    SynAck 10 "SYNACK" 120 true,
    Udp 0 "UDP" 300 false,
    Assured 1 "ASSURED" 2 false,
    SctpInit1 1 "INIT1" 4 false,
    SctpInit 2 "INIT" 61 false,
    SctpCookieSent 3 "C-SENT" 61 false,
    SctpCookieReplied 4 "C-REPLIED" 61 false,
    SctpCookieWait 5 "C-WAIT" 61 false,
    SctpCookie 6 "COOKIE" 61 false,
    SctpCookieEchoed 7 "C-ECHOED" 61 false,
    SctpEstablished 8 "ESTABLISHED" 900 true,
    SctpShutdownSent 9 "S-SENT" 61 false,
    SctpShutdownReceived 10 "S-RECEIVED" 61 false,
    SctpShutdownAckSent 11 "S-ACK-SENT" 61 false,
    SctpRejected 12 "REJECTED" 4 false,
    SctpClosed 13 "CLOSED" 61 false,
}

impl State {
    /// The state of that number, within a protocol that is balanced.
    pub fn from_number(protocol: u8, number: u16) -> Option<Self> {
        let of = match protocol {
            protocol::TCP => Self::None as usize..Self::Udp as usize,
            protocol::UDP => Self::Udp as usize..Self::Assured as usize,
            protocol::SCTP if number > 0 => Self::SctpInit1 as usize..Self::ALL.len(),
            protocol::SCTP => Self::None as usize..Self::Established as usize,
            _ => return None,
        };
        Self::ALL.get(of)?.iter().copied().find(|state| u16::from(state.number()) == number)
    }
}

/// Which way a packet goes, and what is known of the other way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Direction {
    /// From the client, on a connection whose replies are seen.
    Input,
    /// From the real server.
    Output,
    /// From the client, on a connection whose replies are not seen.
    InputOnly,
}

/// How long a connection lives after its last packet, by state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeoutTable {
    ticks: [u32; State::ALL.len()],
}

impl TimeoutTable {
    /// The kernel's time-outs, but for the three that `ipvsadm --set` changes.
    pub fn new(timeouts: &Timeouts) -> Self {
        let mut ticks = State::SECONDS.map(|seconds| seconds * HZ);
        let set = [(State::Established, timeouts.tcp), (State::FinWait, timeouts.tcp_fin), (State::Udp, timeouts.udp)];
        for (state, seconds) in set {
            ticks[state as usize] = seconds.saturating_mul(HZ);
        }
        Self { ticks }
    }

    /// Time-out of the state in ticks.
    #[inline]
    pub fn ticks(&self, state: State) -> u32 {
        self.ticks[state as usize]
    }
}

impl Default for TimeoutTable {
    fn default() -> Self {
        Self::new(&Timeouts::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_states_number_finds_it_within_its_protocol() {
        for state in State::ALL {
            let protocol = match state {
                State::Udp => protocol::UDP,
                State::Assured => continue,
                sctp if format!("{sctp:?}").starts_with("Sctp") => protocol::SCTP,
                _ => protocol::TCP,
            };
            assert_eq!(State::from_number(protocol, state.number().into()), Some(*state));
        }
        assert_eq!(State::from_number(protocol::SCTP, 0), Some(State::None));
        for (protocol, number) in [(protocol::TCP, 11), (protocol::UDP, 1), (protocol::SCTP, 14), (50, 0)] {
            assert_eq!(State::from_number(protocol, number), None, "{protocol} {number}");
        }
    }

    #[test]
    fn a_set_changes_three_time_outs_and_no_other() {
        let table = TimeoutTable::new(&Timeouts { tcp: 7, tcp_fin: 8, udp: 9 });
        for state in State::ALL {
            let expected = match state {
                State::Established => 700,
                State::FinWait => 800,
                State::Udp => 900,
                _ => TimeoutTable::default().ticks(*state),
            };
            assert_eq!(table.ticks(*state), expected, "{}", state.name());
        }
        assert_eq!(TimeoutTable::default().ticks(State::SctpEstablished), 90_000);
    }
}
