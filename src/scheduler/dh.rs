//! Destination hashing (the kernel's `ip_vs_dh.c`): for transparent caches behind a firewall mark; the same address always goes
//! to the same cache. Weights count only as on or off.

use std::sync::Arc;

use super::bucket::{Buckets, fold, hash};
use super::{Candidates, Flow, Scheduler};
use crate::destination::{DestId, Destination};
use crate::service::ServiceFlags;
use crate::time::Tick;

/// Destination hashing.
#[derive(Clone, Debug, Default)]
pub struct DestinationHashing {
    buckets: Buckets,
}

impl DestinationHashing {
    /// The destination that is looked up for a flow; nothing is remembered of it.
    pub(super) fn pick(&self, candidates: &Candidates<'_>, flow: &Flow) -> Option<DestId> {
        let destination = self.buckets.at(hash(fold(flow.destination)), candidates.destinations)?;
        candidates.usable(destination).then_some(destination.id)
    }
}

impl Scheduler for DestinationHashing {
    fn schedule(&mut self, candidates: &Candidates<'_>, flow: &Flow, _now: Tick) -> Option<DestId> {
        self.pick(candidates, flow)
    }

    fn update(&mut self, _before: &[Arc<Destination>], candidates: &Candidates<'_>, _flags: ServiceFlags) {
        self.buckets.deal(candidates.destinations, |_| 1);
    }
}
