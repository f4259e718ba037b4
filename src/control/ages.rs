//! How old connections are. An entry of the table has no room for the moment at which it was made, but it has a serial number; so it is
//! enough to remember when which number was the last one.

use std::time::Duration;

/// Looks that are remembered of those that are as long ago: one that is twice as long ago is remembered half as exactly, so that an age
/// is wrong by a few in a hundred.
const REMEMBERED: u64 = 64;

/// A look at a worker.
#[derive(Debug)]
struct Look {
    /// Counts the looks that found something new.
    index: u64,
    /// The number of the connection that was made last.
    serial: u32,
    /// Since the director's start.
    at: Duration,
}

/// What is remembered, by worker.
#[derive(Debug, Default)]
pub(super) struct Ages(Vec<Vec<Look>>);

impl Ages {
    /// Notes the last number of a worker at a moment since the director's start.
    pub(super) fn note(&mut self, worker: u16, serial: u32, at: Duration) {
        let worker = usize::from(worker);
        self.0.resize_with(self.0.len().max(worker + 1), Vec::new);
        let looks = &mut self.0[worker];
        // While nothing is made, the first moment is the one that counts.
        if looks.last().is_some_and(|last| last.serial == serial) {
            return;
        }
        let index = looks.last().map_or(0, |last| last.index + 1);
        looks.push(Look { index, serial, at });
        looks.retain(|look| look.index == 0 || index - look.index < REMEMBERED << look.index.trailing_zeros().min(32));
    }

    /// How old the connection of that number is at least, at that moment.
    pub(super) fn age(&self, worker: u16, serial: u32, now: Duration) -> Duration {
        let looks = self.0.get(usize::from(worker)).map(Vec::as_slice).unwrap_or_default();
        let made_after = |last: u32| serial.wrapping_sub(last).wrapping_sub(1) < u32::MAX / 2;
        let at = looks.iter().find(|look| !made_after(look.serial)).map_or(now, |look| look.at);
        now.saturating_sub(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_is_as_old_as_the_first_look_that_found_it_made() {
        let mut ages = Ages::default();
        // The number wraps between the second and the third look.
        for (serial, at) in [(u32::MAX - 10, 2), (u32::MAX - 10, 4), (u32::MAX, 6), (5, 8)] {
            ages.note(1, serial, secs(at));
        }
        for (serial, age) in
            [(u32::MAX - 500, 18), (u32::MAX - 10, 18), (u32::MAX - 9, 14), (u32::MAX, 14), (0, 12), (5, 12), (6, 0)]
        {
            assert_eq!(ages.age(1, serial, secs(20)), secs(age), "{serial}");
        }
        assert_eq!(ages.age(0, 1, secs(20)), secs(0), "a worker that nobody has looked at");
    }

    #[test]
    fn what_is_remembered_does_not_grow_without_end() {
        let mut ages = Ages::default();
        for n in 0..100_000 {
            ages.note(0, n, secs(n.into()));
        }
        assert!(ages.0[0].len() < 1500, "{}", ages.0[0].len());
        for age in [1, 10, 63, 100, 1000, 10_000, 90_000] {
            let found = ages.age(0, 100_000 - age, secs(100_000)).as_secs();
            assert!(found <= age.into() && found * 100 >= u64::from(age) * 96, "{found} of {age}");
        }
    }
}
