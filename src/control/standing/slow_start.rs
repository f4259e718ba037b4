//! Slow start: the weight of a destination that has come back grows in equal steps, so that a server with cold caches is not run over.

use std::time::Duration;

/// Steps from weight 1 to the whole.
const STEPS: u32 = 10;

/// A slow start under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SlowStart {
    begun: Duration,
    length: Duration,
    step: u32,
}

impl SlowStart {
    /// One that begins now, if it is to take any time.
    pub(super) fn begin(seconds: u32, now: Duration) -> Option<Self> {
        (seconds > 0).then(|| Self { begun: now, length: Duration::from_secs(seconds.into()), step: 0 })
    }

    /// Later; `None` when it is over.
    pub(super) fn at(self, now: Duration) -> Option<Self> {
        let passed = now.saturating_sub(self.begun).as_millis() * u128::from(STEPS);
        let step = u32::try_from(passed / self.length.as_millis()).unwrap_or(STEPS);
        (step < STEPS).then_some(Self { step, ..self })
    }

    /// The weight in force, of a destination of this weight.
    pub(super) fn weight(self, whole: u32) -> u32 {
        let grown = u64::from(whole.saturating_sub(1)) * u64::from(self.step) / u64::from(STEPS);
        whole.min(1) + u32::try_from(grown).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(whole: u32, seconds: u32, at: &[u64]) -> Vec<Option<u32>> {
        let begun = Duration::from_secs(100);
        let start = SlowStart::begin(seconds, begun).unwrap();
        at.iter().map(|ms| start.at(begun + Duration::from_millis(*ms)).map(|s| s.weight(whole))).collect()
    }

    #[test]
    fn the_weight_grows_from_1_to_the_whole_in_steps() {
        let grown = weights(101, 30, &[0, 2999, 3000, 15_000, 29_999, 30_000, 99_000]);
        assert_eq!(grown, [Some(1), Some(1), Some(11), Some(51), Some(91), None, None]);
        assert_eq!(weights(u32::MAX, 10, &[9000]), [Some(1 + (u32::MAX - 1) / 10 * 9 + 3)]);
    }

    #[test]
    fn small_weights_and_none_start_too() {
        assert_eq!(weights(1, 10, &[0, 5000]), [Some(1), Some(1)]);
        assert_eq!(weights(0, 10, &[0, 5000]), [Some(0), Some(0)]);
        assert_eq!(SlowStart::begin(0, Duration::ZERO), None);
    }
}
