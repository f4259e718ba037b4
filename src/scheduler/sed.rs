//! Shortest expected delay (the kernel's `ip_vs_sed.c`): the usable destination where one more active connection weighs least.

use super::least::{delay, least, usable};
use super::{Candidates, Flow, Scheduler, WorkerStart};
use crate::destination::DestId;
use crate::time::Tick;

/// Shortest expected delay.
#[derive(Clone, Copy, Debug)]
pub struct ShortestExpectedDelay {
    worker: WorkerStart,
}

impl ShortestExpectedDelay {
    /// Has no state but its worker.
    pub fn new(worker: WorkerStart) -> Self {
        Self { worker }
    }
}

impl Scheduler for ShortestExpectedDelay {
    fn schedule(&mut self, candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        least(usable(candidates, self.worker), delay, |d| d.weight).map(|d| d.id)
    }
}
