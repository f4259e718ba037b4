//! When to ask the kernel about a neighbour. The data path's packets do not pass the kernel, which would therefore never confirm the
//! next hops that they use, and in the end forget them. Time is passed in.

use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::view::Key;

/// Least time between two questions about one neighbour.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// A neighbour in use is confirmed this often, at the least.
const PERIOD: Duration = Duration::from_secs(20);
/// And at most this much later, so that the questions about many do not come at once.
const SPREAD: Duration = Duration::from_secs(10);
/// Neighbours in [`SPREAD`]'s round.
const SLOTS: u32 = 64;
/// Most neighbours about whom it is remembered when they were asked about; more than that are not asked about within one pause.
const REMEMBERED: usize = 1 << 14;

/// Neighbours in use, and when each was asked about.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    due: FxHashMap<Key, Instant>,
    asked: FxHashMap<Key, Instant>,
    slot: u32,
}

impl Fresh {
    /// Sets the neighbours in use; new ones are asked about at once.
    pub(super) fn keep(&mut self, wanted: &FxHashSet<Key>, now: Instant) {
        self.due.retain(|key, _| wanted.contains(key));
        for key in wanted {
            self.due.entry(*key).or_insert(now);
        }
    }

    /// Has a neighbour in use asked about as soon as the pause allows: it is stale, failed or forgotten.
    pub(super) fn hasten(&mut self, key: Key, now: Instant) {
        let earliest = self.asked.get(&key).map_or(now, |asked| now.max(*asked + PAUSE));
        if let Some(due) = self.due.get_mut(&key) {
            *due = earliest.min(*due);
        }
    }

    /// May the neighbour be asked about now? If so, it counts as asked.
    pub(super) fn ask(&mut self, key: Key, now: Instant) -> bool {
        let recent = |asked: &Instant| now.saturating_duration_since(*asked) < PAUSE;
        if self.asked.get(&key).is_some_and(recent) {
            return false;
        }
        if self.asked.len() >= REMEMBERED {
            self.asked.retain(|_, asked| recent(asked));
        }
        if self.asked.len() >= REMEMBERED {
            return false;
        }
        self.asked.insert(key, now);
        true
    }

    /// When the next neighbour is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// The neighbours that are due, each put off to its next turn.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Key> {
        let mut taken = Vec::new();
        for (key, due) in self.due.iter_mut().filter(|(_, due)| **due <= now) {
            self.slot = (self.slot + 1) % SLOTS;
            *due = now + PERIOD + SPREAD * self.slot / SLOTS;
            taken.push(*key);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> Key {
        (3, [192, 0, 2, last].into())
    }

    fn keys(all: &[u8]) -> FxHashSet<Key> {
        all.iter().map(|l| key(*l)).collect()
    }

    #[test]
    fn a_new_neighbour_is_due_at_once_and_then_every_20_to_30_seconds() {
        let (mut fresh, mut now) = (Fresh::default(), Instant::now());
        fresh.keep(&keys(&[1]), now);
        for _ in 0..100 {
            assert_eq!(fresh.take_due(now), [key(1)]);
            assert_eq!(fresh.take_due(now + PERIOD - Duration::from_millis(1)), []);
            let next = fresh.next().unwrap();
            assert!(next - now >= PERIOD && next - now <= PERIOD + SPREAD);
            now = next;
        }
    }

    #[test]
    fn keeping_again_does_not_ask_again_and_what_is_not_wanted_is_dropped() {
        let (mut fresh, now) = (Fresh::default(), Instant::now());
        fresh.keep(&keys(&[1, 2]), now);
        assert_eq!(fresh.take_due(now).len(), 2);
        fresh.keep(&keys(&[2, 3]), now);
        assert_eq!(fresh.take_due(now), [key(3)]);
        assert_eq!(fresh.take_due(now + PERIOD + SPREAD).len(), 2);
    }

    #[test]
    fn a_lost_neighbour_is_due_as_soon_as_the_pause_since_the_last_question_is_over() {
        let (mut fresh, now) = (Fresh::default(), Instant::now());
        fresh.keep(&keys(&[1]), now);
        fresh.take_due(now);
        assert!(fresh.ask(key(1), now));
        fresh.hasten(key(1), now + PAUSE / 2);
        assert_eq!(fresh.next(), Some(now + PAUSE));
        fresh.hasten(key(9), now);
        assert_eq!(fresh.next(), Some(now + PAUSE), "one that is not in use is nobody's care");
    }

    #[test]
    fn a_neighbour_is_asked_about_once_a_pause() {
        let (mut fresh, now) = (Fresh::default(), Instant::now());
        assert!(fresh.ask(key(1), now));
        assert!(fresh.ask(key(2), now));
        assert!(!fresh.ask(key(1), now + PAUSE - Duration::from_millis(1)));
        assert!(fresh.ask(key(1), now + PAUSE));
    }

    #[test]
    fn a_scan_of_addresses_does_not_grow_the_memory_without_bound() {
        let (mut fresh, now) = (Fresh::default(), Instant::now());
        let all = |base: u32| (0..).map(move |i| (1, std::net::Ipv4Addr::from_bits(base + i).into()));
        let asked = all(0).take(REMEMBERED * 2).filter(|k| fresh.ask(*k, now)).count();
        assert_eq!(asked, REMEMBERED);
        assert!(fresh.ask(key(1), now + PAUSE), "what is old gives way");
        assert!(fresh.asked.len() < REMEMBERED);
    }
}
