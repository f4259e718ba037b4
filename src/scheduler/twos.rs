//! Power of two choices (the kernel's `ip_vs_twos.c`, since 5.17): two usable destinations are drawn at random, each as likely as its
//! weight, and the less loaded of them per weight is picked. The randomness is a generator of its own, so that the same history
//! gives the same picks.

use super::least::{cheaper, connections};
use super::{Candidates, Flow, Scheduler, WorkerStart};
use crate::destination::{DestId, Destination};
use crate::hash::mum;
use crate::time::Tick;

/// Power of two choices.
#[derive(Clone, Copy, Debug)]
pub struct PowerOfTwo {
    state: u64,
}

impl PowerOfTwo {
    /// Starts the generator; each worker has another one.
    pub fn new(worker: WorkerStart) -> Self {
        Self { state: u64::from(worker.index) << 48 }
    }

    /// A number below `bound`, each as likely as the others (SplitMix64, folded to the range by multiplication).
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = mum(self.state ^ 0xa076_1d64_78bd_642f, self.state ^ 0xe703_7ed1_a0b4_28db);
        u64::try_from((u128::from(mixed) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// Draws a usable destination; `total` is the sum of their weights, not 0.
    fn draw<'a>(&mut self, candidates: &'a Candidates<'_>, total: u64) -> Option<&'a Destination> {
        let mut left = self.below(total);
        usable(candidates).find(|d| match left.checked_sub(u64::from(d.weight)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
    }
}

fn usable<'a>(candidates: &'a Candidates<'_>) -> impl Iterator<Item = &'a Destination> {
    candidates.destinations.iter().map(|d| &**d).filter(|d| candidates.usable(d))
}

impl Scheduler for PowerOfTwo {
    fn schedule(&mut self, candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        let total = usable(candidates).map(|d| u64::from(d.weight)).sum();
        if total == 0 {
            return None;
        }
        let (first, second) = (self.draw(candidates, total)?, self.draw(candidates, total)?);
        let cost = |d: &Destination| (connections(&candidates.load(d)), d.weight);
        let pick = if cheaper(cost(second), cost(first)) { second } else { first };
        Some(pick.id)
    }
}
