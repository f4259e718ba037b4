//! The order in which timers that are due together fire in the Linux kernel (`kernel/time/timer.c`), for results that are compared with
//! recordings. Of the buckets of its wheel that of the highest level comes first, and of a bucket what was put there last. A timer that
//! is set again stays where it is if its new time belongs to the same bucket.

use crate::time::{self, Tick};

/// A timer's place in the kernel's wheel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// When its bucket fires.
    fires: Tick,
    level: u32,
    /// Number of the call that put it there.
    turn: u64,
}

impl Place {
    /// Sorts the timers that are due by `now` in the order in which they fire.
    pub fn order(self, now: Tick) -> impl Ord {
        let late = now.0.wrapping_sub(self.fires.0);
        (u32::MAX - late, u32::MAX - self.level, u64::MAX - self.turn)
    }
}

/// The places of a table's timers.
#[derive(Clone, Debug, Default)]
pub struct Edges {
    /// By the entry's index.
    places: Vec<Option<Place>>,
}

impl Edges {
    /// Notes that the timer of an entry is set to `expires`, `timeout` ticks ahead. Turns are counted in `turn`.
    pub fn set(&mut self, index: u32, expires: Tick, timeout: u32, turn: &mut u64) {
        let at = index as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        let (fires, level) = (time::fires(expires, timeout), time::level(timeout));
        let stays = |place: &Place| (place.fires, place.level) == (fires, level);
        if !self.places[at].as_ref().is_some_and(stays) {
            *turn += 1;
            self.places[at] = Some(Place { fires, level, turn: *turn });
        }
    }

    /// Takes the timer of an entry out of the wheel: its place, if it had one.
    pub fn take(&mut self, index: u32) -> Option<Place> {
        self.places.get_mut(index as usize)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::HZ;

    /// The order in which timers fire that are set as told: index, moment and time-out in ticks.
    fn order(calls: &[(u32, u32, u32)]) -> Vec<u32> {
        let (mut edges, mut turn) = (Edges::default(), 0);
        for (index, at, timeout) in calls {
            edges.set(*index, Tick(*at).plus(*timeout), *timeout, &mut turn);
        }
        let mut timers: Vec<_> =
            (0..4).filter_map(|index| Some((edges.take(index)?.order(Tick(90_000)), index))).collect();
        timers.sort();
        timers.into_iter().map(|(_, index)| index).collect()
    }

    #[test]
    fn what_was_put_into_a_bucket_last_fires_first() {
        assert_eq!(order(&[(0, 0, 60 * HZ), (1, 0, 60 * HZ), (2, 1, 60 * HZ)]), [2, 1, 0]);
    }

    #[test]
    fn what_is_set_again_into_its_bucket_keeps_its_turn() {
        assert_eq!(order(&[(0, 0, 60 * HZ), (1, 0, 60 * HZ), (0, 9, 60 * HZ)]), [1, 0]);
        assert_eq!(order(&[(0, 0, 60 * HZ), (1, 200, 60 * HZ), (0, 200, 60 * HZ)]), [0, 1]);
    }

    #[test]
    fn earlier_buckets_fire_first_and_of_those_due_together_the_highest() {
        // 6144 is an edge of the levels of 6000 ticks (slots of 512) and of 1000 (of 64).
        assert_eq!(order(&[(0, 0, 6000), (1, 5100, 1000)]), [0, 1]);
        assert_eq!(order(&[(0, 5100, 1000), (1, 0, 6000)]), [1, 0]);
        assert_eq!(order(&[(0, 600, 6000), (1, 0, 6000)]), [1, 0]);
    }
}
