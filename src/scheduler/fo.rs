//! Weighted failover (the kernel's `ip_vs_fo.c`): the usable destination of greatest weight takes all.

use super::{Candidates, Flow, Scheduler};
use crate::destination::DestId;
use crate::time::Tick;

/// Weighted failover.
#[derive(Clone, Copy, Debug)]
pub struct Failover;

impl Scheduler for Failover {
    fn schedule(&mut self, candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        let usable = candidates.destinations.iter().filter(|d| candidates.usable(d));
        usable.reduce(|best, next| if next.weight > best.weight { next } else { best }).map(|d| d.id)
    }
}
