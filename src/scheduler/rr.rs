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
        let place = |old: &Arc<Destination>| candidates.destinations.iter().position(|d| d.uid == old.uid);
        let passed = self.last.and_then(|last| before.get(..=last)).unwrap_or_default();
        self.last = passed.iter().rev().find_map(place);
    }
}
