//! Least connection (the kernel's `ip_vs_lc.c`): the usable destination of least load; weights only say who is usable.

use super::least::{connections, least, usable};
use super::{Candidates, Flow, Scheduler, WorkerStart};
use crate::destination::DestId;
use crate::time::Tick;

/// Least connection.
#[derive(Clone, Copy, Debug)]
pub struct LeastConnection {
    worker: WorkerStart,
}

impl LeastConnection {
    /// Has no state but its worker.
    pub fn new(worker: WorkerStart) -> Self {
        Self { worker }
    }
}

impl Scheduler for LeastConnection {
    fn schedule(&mut self, candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        least(usable(candidates, self.worker), connections, |_| 1).map(|d| d.id)
    }
}
