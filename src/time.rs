//! The clock as the core sees it: an instant that is passed in, never read, and the 10 ms tick in which every time-out is kept.
//!
//! A tick is the kernel's jiffy at HZ=100, so that listings in jiffies (`/proc/net/ip_vs`) need no conversion. A `u32` of ticks
//! wraps after 497 days; comparisons are made on the difference, which is right for time-outs up to 248 days.

use std::time::Duration;

/// Nanoseconds since a zero of the clock's own choosing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// The tick that this instant lies in.
    #[inline]
    pub fn tick(self) -> Tick {
        #[allow(clippy::cast_possible_truncation, reason = "ticks wrap by design")]
        Tick((self.0 / NANOS_PER_TICK) as u32)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0 + u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX / 2))
    }
}

/// Nanoseconds in one tick: 10 ms.
pub const NANOS_PER_TICK: u64 = 10_000_000;
/// Ticks in one second.
pub const HZ: u32 = 100;

/// A point in time in units of 10 ms, wrapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick `after` ticks later.
    #[inline]
    pub fn plus(self, after: u32) -> Self {
        Self(self.0.wrapping_add(after))
    }

    /// Ticks from `now` until this tick; 0 when it has passed.
    #[inline]
    pub fn since(self, now: Self) -> u32 {
        let left = self.0.wrapping_sub(now.0);
        if left > u32::MAX / 2 { 0 } else { left }
    }

    /// Returns true once `now` has reached this tick.
    #[inline]
    pub fn reached(self, now: Self) -> bool {
        now.0.wrapping_sub(self.0) <= u32::MAX / 2
    }
}

/// When a kernel timer that was set `timeout` ticks ahead, to `expires`, fires: at the next edge of its level of the kernel's timer
/// wheel (`kernel/time/timer.c` at 100 Hz), up to an eighth of the time-out late and never early. A time-out of 0 is exact.
#[inline]
pub fn fires(expires: Tick, timeout: u32) -> Tick {
    if timeout == 0 {
        return expires;
    }
    let edge = 3 * level(timeout);
    Tick((expires.0 >> edge).wrapping_add(1) << edge)
}

/// The level of the kernel's timer wheel for a timer that is set `timeout` ticks ahead. Each level has 64 slots, and slots eight times as
/// long as those of the level below.
#[inline]
pub fn level(timeout: u32) -> u32 {
    (0..8).find(|level| timeout < 63 << (3 * level)).unwrap_or(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_at_an_edge_of_their_level() {
        for (expires, timeout, fires_at) in [
            (5, 0, 5),
            (100, 62, 101),
            (200, 200, 208),
            (208, 200, 216),
            (3000, 3000, 3008),
            (6000, 6000, 6144),
            (90_000, 90_000, 90_112),
        ] {
            assert_eq!(fires(Tick(expires), timeout), Tick(fires_at), "{timeout}");
        }
        assert_eq!(fires(Tick(u32::MAX), 200), Tick(0));
    }

    #[test]
    fn a_tick_is_reached_across_the_wrap() {
        let due = Tick(u32::MAX - 1).plus(5);
        assert!(!due.reached(Tick(u32::MAX)));
        assert_eq!(due.since(Tick(u32::MAX)), 4);
        assert!(due.reached(Tick(3)));
        assert_eq!(due.since(Tick(9)), 0);
    }
}
