//! UDP (RFC 768) has one state; every datagram of either direction restarts its time-out.

use super::State;

/// The state after a datagram.
#[inline]
pub fn transition() -> State {
    State::Udp
}
