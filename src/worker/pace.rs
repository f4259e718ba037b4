//! How many entries of its tables a worker looks at in a turn to end what has timed out. A million connections may be due at one tick, and
//! a burst is not to wait for them; yet they are to be gone within the second, and what comes in is to go as fast. So the share grows
//! with the time that a turn takes, with the connections that are made, and the longer something is overdue.

use std::time::Duration;

use crate::time::Instant;

/// Time in nanoseconds in which one entry is looked at: two million a second, of which each takes some 50 ns.
const PER_LOOK: u64 = 512;
/// Looks that a connection takes in its life, once a level of the timer wheel.
const PER_CONNECTION: u32 = 4;
/// Something has been overdue for so long: twice the looks, and twice that after the same time again.
const PATIENCE: Duration = Duration::from_millis(250);
/// No turn looks at more entries for each frame that a burst may have: some 30 us for 32.
const PER_FRAME: u32 = 16;

/// Looks at entries, turn after turn.
#[derive(Debug)]
pub(super) struct Pace {
    most: u32,
    last: Instant,
    /// Number of the last connection that was made.
    serial: u32,
    /// Since when every turn has left something overdue.
    overdue: Option<Instant>,
}

impl Pace {
    /// For bursts of so many frames.
    pub(super) fn new(burst: usize) -> Self {
        let most = u32::try_from(burst).unwrap_or(u32::MAX).saturating_mul(PER_FRAME);
        Self { most, last: Instant(0), serial: 0, overdue: None }
    }

    /// Looks that any turn may have.
    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// Looks that this turn has: at least one. `serial` counts the connections that were made.
    pub(super) fn looks(&mut self, now: Instant, serial: u32) -> u32 {
        let passed = now.0.saturating_sub(self.last.0);
        let made = serial.wrapping_sub(self.serial);
        (self.last, self.serial) = (now, serial);
        let overdue = self.overdue.map_or(0, |since| now.0.saturating_sub(since.0)) / PATIENCE.as_nanos() as u64;
        let by_time = (passed / PER_LOOK + 1).saturating_mul(1 << overdue.min(16));
        let by_time = u32::try_from(by_time).unwrap_or(u32::MAX);
        by_time.saturating_add(made.saturating_mul(PER_CONNECTION)).min(self.most)
    }

    /// The turn had so many, and used so many.
    pub(super) fn looked(&mut self, had: u32, used: u32) {
        self.overdue = if used < had { None } else { self.overdue.or(Some(self.last)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of so many nanoseconds, until a backlog of so many entries is gone: seconds that it takes, and the most looks of a turn.
    fn work_off(backlog: u32, turn: u64) -> (f64, u32) {
        let (mut pace, mut left, mut now, mut most) = (Pace::new(32), backlog, 1_000_000_000, 0);
        pace.looks(Instant(now), 0);
        while left > 0 {
            now += turn;
            let looks = pace.looks(Instant(now), 0);
            let used = looks.min(left);
            pace.looked(looks, used);
            (left, most) = (left - used, most.max(looks));
        }
        ((now - 1_000_000_000) as f64 / 1e9, most)
    }

    #[test]
    fn a_million_go_within_the_second_and_few_of_them_in_a_turn() {
        for (turn, allowed) in [(200, 4), (1_000, 8), (2_000, 12), (5_000, 24), (20_000, 100), (300_000, 512)] {
            let (seconds, most) = work_off(1_000_000, turn);
            assert!(seconds < 1.0 && most <= allowed, "{seconds} s, {most} in a turn of {turn} ns");
        }
    }

    #[test]
    fn the_longer_something_is_overdue_the_more_is_looked_at_but_never_more_than_a_turn_takes() {
        let (few, many) = (work_off(1_000_000, 2_000), work_off(100_000_000, 2_000));
        assert!(many.0 < 30.0 * few.0, "a hundred times as many take {} s, not {} s", many.0, few.0);
        assert_eq!(many.1, 512);
    }

    #[test]
    fn what_is_made_can_be_ended_as_fast() {
        let mut pace = Pace::new(32);
        pace.looks(Instant(1000), 7);
        assert_eq!(pace.looks(Instant(1000), 7), 1);
        assert_eq!(pace.looks(Instant(1000), 7 + 32), 1 + 4 * 32);
        assert_eq!(pace.looks(Instant(9_000_000), 39), 512, "after a pause no more than a turn takes");
    }

    #[test]
    fn what_is_overdue_no_more_counts_no_more() {
        let mut pace = Pace::new(32);
        pace.looks(Instant(0), 0);
        pace.looked(1, 1);
        assert_eq!(pace.looks(Instant(1_000_000_000), 0), 512);
        pace.looked(512, 511);
        assert_eq!(pace.looks(Instant(1_000_000_000), 0), 1);
    }
}
