//! Never queue (the kernel's `ip_vs_nq.c`): a usable destination without active connections takes the next one at once; if there
//! is none, the shortest expected delay decides.

use super::least::{delay, least, usable};
use super::{Candidates, Flow, Scheduler, WorkerStart};
use crate::destination::DestId;
use crate::time::Tick;

/// Never queue.
#[derive(Clone, Copy, Debug)]
pub struct NeverQueue {
    worker: WorkerStart,
}

impl NeverQueue {
    /// Has no state but its worker.
    pub fn new(worker: WorkerStart) -> Self {
        Self { worker }
    }
}

impl Scheduler for NeverQueue {
    fn schedule(&mut self, candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        let idle = usable(candidates, self.worker).find(|(_, load)| load.total_active() == 0).map(|(d, _)| d);
        let best = || least(usable(candidates, self.worker), delay, |d| d.weight);
        idle.or_else(best).map(|d| d.id)
    }
}
