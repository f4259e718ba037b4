//! Weighted least connection (the kernel's `ip_vs_wlc.c`): the usable destination of least load per weight.

use super::least::{connections, least, usable};
use super::{Candidates, Flow, Scheduler, WorkerStart};
use crate::destination::DestId;
use crate::time::Tick;

/// Weighted least connection.
#[derive(Clone, Copy, Debug)]
pub struct WeightedLeastConnection {
    worker: WorkerStart,
}

impl WeightedLeastConnection {
    /// Has no state but its worker.
    pub fn new(worker: WorkerStart) -> Self {
        Self { worker }
    }
}

impl Scheduler for WeightedLeastConnection {
    fn schedule(&mut self, candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        least(usable(candidates, self.worker), connections, |d| d.weight).map(|d| d.id)
    }
}
