//! Source hashing (the kernel's `ip_vs_sh.c`): a client always gets the same destination, as long as the list stays the same.

use std::sync::Arc;

use super::bucket::{Buckets, fold, hash};
use super::{Candidates, Flow, Scheduler};
use crate::destination::{DestId, Destination};
use crate::service::ServiceFlags;
use crate::time::Tick;

/// Source hashing.
#[derive(Clone, Debug, Default)]
pub struct SourceHashing {
    buckets: Buckets,
    /// `sh-fallback`: another destination for the clients of one that is not usable.
    fallback: bool,
    /// `sh-port`: the client's port counts too.
    port: bool,
}

impl SourceHashing {
    fn usable(&self, candidates: &Candidates<'_>, bucket: u8) -> Option<DestId> {
        let destination = self.buckets.at(bucket, candidates.destinations)?;
        candidates.usable(destination).then_some(destination.id)
    }

    /// The destination that is looked up for a flow; nothing is remembered of it.
    pub(super) fn pick(&self, candidates: &Candidates<'_>, flow: &Flow) -> Option<DestId> {
        let port = if self.port { u32::from(flow.source_port) } else { 0 };
        let home = hash(fold(flow.source).wrapping_add(port));
        let pick = self.usable(candidates, home);
        if pick.is_some() || !self.fallback {
            return pick;
        }
        // The kernel adds the hash once more as the first offset.
        (0..=u8::MAX).find_map(|k| self.usable(candidates, home.wrapping_mul(2).wrapping_add(k)))
    }
}

impl Scheduler for SourceHashing {
    fn schedule(&mut self, candidates: &Candidates<'_>, flow: &Flow, _now: Tick) -> Option<DestId> {
        self.pick(candidates, flow)
    }

    fn update(&mut self, _before: &[Arc<Destination>], candidates: &Candidates<'_>, flags: ServiceFlags) {
        (self.fallback, self.port) = (flags.sched1, flags.sched2);
        self.buckets.deal(candidates.destinations, |d| d.weight);
    }
}
