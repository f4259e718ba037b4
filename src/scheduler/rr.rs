//! Round robin (the kernel's `ip_vs_rr.c`): the next usable destination after the last pick.

use std::sync::Arc;

use super::{Candidates, Flow, Scheduler, WorkerStart};
use crate::destination::{DestId, Destination};
use crate::service::ServiceFlags;
use crate::time::Tick;

/// Round robin.
#[derive(Clone, Copy, Debug)]
pub struct RoundRobin {
    worker: WorkerStart,
    /// Place of the last pick in the list.
    last: Option<usize>,
}

impl RoundRobin {
    /// Starts at the head of the list, or as many places later as there are workers before this one.
    pub fn new(worker: WorkerStart) -> Self {
        Self { worker, last: None }
    }
}

impl Scheduler for RoundRobin {
    #[inline]
    fn schedule(&mut self, candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        let len = candidates.destinations.len();
        let first = self.last.map_or_else(|| self.worker.place(len), |last| last + 1).min(len);
        let pick = (first..len).chain(0..first).find(|&i| candidates.usable_at(i).is_some())?;
        self.last = Some(pick);
        candidates.destinations.get(pick).map(|d| d.id)
    }

    /// Follows the last pick to its new place; if it was removed, goes back to the one before it.
    fn update(&mut self, before: &[Arc<Destination>], candidates: &Candidates<'_>, _flags: ServiceFlags) {
        let passed = self.last.and_then(|last| before.get(..=last)).unwrap_or_default();
        self.last = last_kept(passed, candidates.destinations);
    }
}

/// The place in `now` of the last of `passed` that is there.
fn last_kept(passed: &[Arc<Destination>], now: &[Arc<Destination>]) -> Option<usize> {
    let place = |old: &Arc<Destination>| now.iter().position(|d| d.uid == old.uid);
    let (last, earlier) = passed.split_last()?;
    // Nearly always it is there. Where many have been removed, most of them are known to be gone without a look at the whole list.
    place(last).or_else(|| {
        let there = Uids::of(now);
        earlier.iter().rev().filter(|old| there.may_hold(old.uid)).find_map(place)
    })
}

/// Remainders of the uids of a list: one whose remainder is not there is not in the list. As uids are given out one after the other, few
/// that differ have the same remainder.
struct Uids([u64; Self::WORDS]);

impl Uids {
    const WORDS: usize = 1024;
    const BITS: u64 = 64 * Self::WORDS as u64;

    fn of(list: &[Arc<Destination>]) -> Self {
        let mut uids = Self([0; Self::WORDS]);
        for destination in list {
            let (word, bit) = Self::place(destination.uid);
            uids.0[word] |= bit;
        }
        uids
    }

    fn may_hold(&self, uid: u64) -> bool {
        let (word, bit) = Self::place(uid);
        self.0[word] & bit != 0
    }

    #[allow(clippy::cast_possible_truncation, reason = "less than the number of bits")]
    fn place(uid: u64) -> (usize, u64) {
        let remainder = uid % Self::BITS;
        ((remainder / 64) as usize, 1 << (remainder % 64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::destination;
    use super::*;

    fn list(uids: impl IntoIterator<Item = u64>) -> Vec<Arc<Destination>> {
        let of = |uid| Arc::new(Destination { uid, ..destination(0, [198, 51, 100, 1].into(), 80, 1) });
        uids.into_iter().map(of).collect()
    }

    /// The definition.
    fn obvious(passed: &[Arc<Destination>], now: &[Arc<Destination>]) -> Option<usize> {
        passed.iter().rev().find_map(|old| now.iter().position(|d| d.uid == old.uid))
    }

    /// Uids some of which have the same remainder.
    fn uids() -> impl Strategy<Value = Vec<u64>> {
        let uid = (0_u64..12, 0_u64..3).prop_map(|(low, high)| low + high * Uids::BITS);
        prop::collection::hash_set(uid, 0..20).prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #[test]
        fn the_last_pick_is_followed_whatever_becomes_of_the_list(before in uids(), now in uids(), last in 0_usize..20) {
            let (before, now) = (list(before), list(now));
            let passed = before.get(..=last).unwrap_or_default();
            prop_assert_eq!(last_kept(passed, &now), obvious(passed, &now));
        }
    }

    #[test]
    fn of_ten_thousand_removed_destinations_none_is_searched_for_among_ten_thousand_new_ones() {
        let (before, there) = (list(0..10_000), Uids::of(&list(10_000..20_000)));
        assert_eq!(before.iter().filter(|old| there.may_hold(old.uid)).count(), 0);
        assert!((10_000..20_000).all(|uid| there.may_hold(uid)));
    }
}
