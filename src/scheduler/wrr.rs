//! Weighted round robin (the kernel's `ip_vs_wrr.c`): rounds over the list at a falling level; who weighs at least the level
//! is picked, so that heavy destinations take part in more rounds.

use std::sync::Arc;

use super::{Candidates, Flow, Scheduler, WorkerStart};
use crate::destination::{DestId, Destination};
use crate::service::ServiceFlags;
use crate::time::Tick;

/// Weighted round robin.
#[derive(Clone, Copy, Debug)]
pub struct WeightedRoundRobin {
    worker: WorkerStart,
    /// Where the walk goes on.
    next: usize,
    /// The kernel's current weight; 0 before there was any destination.
    level: u32,
    /// The level of a new cycle.
    top: u32,
    /// How far the level falls after each round.
    step: u32,
    started: bool,
}

impl WeightedRoundRobin {
    /// Starts with nothing to pick from.
    pub fn new(worker: WorkerStart) -> Self {
        Self { worker, next: 0, level: 0, top: 0, step: 1, started: false }
    }

    /// The first destination from `next` on that takes part at this level.
    fn pick(&mut self, candidates: &Candidates<'_>) -> Option<DestId> {
        let rest = candidates.destinations.get(self.next..)?;
        let at = rest.iter().position(|d| d.weight >= self.level && candidates.usable(d))?;
        self.next += at + 1;
        rest.get(at).map(|d| d.id)
    }

    /// Ends the round, and skips rounds in which nobody of at most `heaviest` would take part.
    fn lower(&mut self, heaviest: u32) {
        self.next = 0;
        self.level = self.level.checked_sub(self.step).filter(|l| *l > 0).unwrap_or(self.top);
        let idle = self.level.saturating_sub(heaviest).div_ceil(self.step);
        self.level = self.level.saturating_sub(idle * self.step).max(1);
    }

    /// Where a worker that has picked nothing yet starts: workers share out the levels of a cycle.
    fn staggered(&self) -> u32 {
        let levels = u64::from(self.top.div_ceil(self.step));
        let down = levels * u64::from(self.worker.index) / u64::from(self.worker.count.max(1));
        self.top.saturating_sub(u32::try_from(down).unwrap_or(0).saturating_mul(self.step))
    }

    fn kept(&self) -> u32 {
        let level = if self.level > self.top || self.level == 0 { self.top } else { self.level };
        if self.step > 1 { level / self.step * self.step + 1 } else { level }
    }
}

impl Scheduler for WeightedRoundRobin {
    fn schedule(&mut self, candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        let pick = self.pick(candidates).or_else(|| {
            let usable = candidates.destinations.iter().filter(|d| candidates.usable(d));
            self.lower(usable.map(|d| d.weight).max()?);
            self.pick(candidates)
        });
        self.started |= pick.is_some();
        pick
    }

    /// Any addition, removal or edit moves the walk to the head; the level stays where it is as far as it can.
    fn update(&mut self, before: &[Arc<Destination>], candidates: &Candidates<'_>, _flags: ServiceFlags) {
        let now = candidates.destinations;
        if before.len() == now.len() && before.iter().zip(now).all(|(a, b)| Arc::ptr_eq(a, b)) {
            return;
        }
        let weights = || now.iter().map(|d| d.weight).filter(|w| *w > 0);
        self.step = weights().reduce(gcd).unwrap_or(1);
        self.top = weights().max().map_or(0, |heaviest| heaviest - (self.step - 1));
        self.next = self.worker.place(now.len());
        self.level = if self.started || self.worker.index == 0 { self.kept() } else { self.staggered() };
    }
}

pub(super) fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
