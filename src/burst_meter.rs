//! What one worker's bursts are like: how many frames came in a turn, and how long the turn took, by the clock readings that the poll
//! loop makes anyway. Times go into a histogram of fixed size (hdrhistogram, two significant digits), which control takes away
//! full and replaces by an empty one, so that a worker neither copies nor allocates.

use hdrhistogram::Histogram;

use crate::burst::CAPACITY;
use crate::time::Instant;

/// Classes of burst sizes: 1, 2 to 3, 4 to 7 and so on.
pub const SIZES: usize = CAPACITY.ilog2() as usize + 1;
/// The shortest time that is told from zero, in nanoseconds.
const SHORTEST: u64 = 1;
/// Longer times, in nanoseconds, count as this.
const LONGEST: u64 = 4_000_000_000;
/// Significant decimal digits of a time.
const DIGITS: u8 = 2;

/// What bursts come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BurstSums {
    /// Nanoseconds of the turns with frames.
    pub nanos: u64,
    /// Frames in them.
    pub frames: u64,
    /// These turns by size of their burst: 1 frame, 2 to 3, 4 to 7 and so on.
    pub sizes: [u64; SIZES],
}

impl std::ops::AddAssign for BurstSums {
    fn add_assign(&mut self, rhs: Self) {
        self.nanos += rhs.nanos;
        self.frames += rhs.frames;
        self.sizes.iter_mut().zip(rhs.sizes).for_each(|(a, b)| *a += b);
    }
}

/// The bursts of some time.
#[derive(Clone, PartialEq, Debug)]
pub struct BurstLog {
    /// Nanoseconds that turns with frames took.
    times: Histogram<u32>,
    sums: BurstSums,
}

impl Default for BurstLog {
    fn default() -> Self {
        let times = Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS).expect("the bounds are in order");
        Self { times, sums: BurstSums::default() }
    }
}

impl BurstLog {
    /// One turn with so many frames took so long.
    #[inline]
    pub fn record(&mut self, frames: usize, nanos: u64) {
        self.times.saturating_record(nanos);
        self.sums.nanos += nanos;
        self.sums.frames += frames as u64;
        self.sums.sizes[(frames.max(1).ilog2() as usize).min(SIZES - 1)] += 1;
    }

    /// Adds another log.
    pub fn add(&mut self, other: &Self) {
        self.times.add(&other.times).expect("all logs have the same bounds");
        self.sums += other.sums;
    }

    /// Nanoseconds that this share (0 to 1) of the turns took at most; 0 when there was none.
    pub fn quantile(&self, share: f64) -> u64 {
        if self.times.is_empty() { 0 } else { self.times.value_at_quantile(share) }
    }

    /// All together.
    pub fn sums(&self) -> BurstSums {
        self.sums
    }
}

/// Measures the turns of one worker.
#[derive(Debug, Default)]
pub struct BurstMeter {
    log: Box<BurstLog>,
    begun: Instant,
    frames: usize,
    /// Of the logs that were given away.
    before: BurstSums,
}

impl BurstMeter {
    /// A turn begins, and with it the one before ends.
    #[inline]
    pub fn begin(&mut self, now: Instant) {
        if self.frames > 0 {
            self.log.record(self.frames, now.0.saturating_sub(self.begun.0));
            self.frames = 0;
        }
        self.begun = now;
    }

    /// So many frames came in this turn.
    #[inline]
    pub fn received(&mut self, frames: usize) {
        self.frames = frames;
    }

    /// All since the start.
    pub fn sums(&self) -> BurstSums {
        let mut sums = self.before;
        sums += self.log.sums;
        sums
    }

    /// Goes on with an empty log, and gives what it had.
    pub fn exchange(&mut self, empty: Box<BurstLog>) -> Box<BurstLog> {
        self.before += self.log.sums;
        std::mem::replace(&mut self.log, empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_with_frames_lasts_until_the_next_begins() {
        let mut meter = BurstMeter::default();
        for (at, frames) in [(1000, 0), (2000, 32), (5000, 1), (5500, 0), (900_000, 0)] {
            meter.begin(Instant(at));
            meter.received(frames);
        }
        let sums = BurstSums { nanos: 3500, frames: 33, sizes: [1, 0, 0, 0, 0, 1, 0] };
        assert_eq!(meter.sums(), sums);
        let log = meter.exchange(Box::default());
        assert_eq!((log.sums(), meter.sums()), (sums, sums));
        let near = |got: u64, want: u64| assert!(got.abs_diff(want) <= want / 50, "{got}, not {want}");
        near(log.quantile(0.5), 500);
        near(log.quantile(1.0), 3000);
        assert_eq!(meter.exchange(log).sums(), BurstSums::default());
    }

    #[test]
    fn every_size_and_time_has_its_place() {
        let mut log = BurstLog::default();
        assert_eq!(log.quantile(0.99), 0);
        (0..=2 * CAPACITY).for_each(|frames| log.record(frames, LONGEST * 2));
        assert_eq!(log.sums().sizes, [2, 2, 4, 8, 16, 32, 65]);
        assert!(log.quantile(1.0) >= LONGEST);
        let mut sum = BurstLog::default();
        sum.add(&log);
        sum.add(&log);
        assert_eq!(sum.sums().frames, 2 * log.sums().frames);
    }
}
