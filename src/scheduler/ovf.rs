//! Weighted overflow (the kernel's `ip_vs_ovf.c`): the usable destination of greatest weight takes all until it has more active
//! connections than its weight, then the next one.

use super::{Candidates, Flow, Scheduler};
use crate::destination::{DestId, Destination};
use crate::time::Tick;

/// Weighted overflow.
#[derive(Clone, Copy, Debug)]
pub struct Overflow;

impl Scheduler for Overflow {
    fn schedule(&mut self, candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        let room = |d: &Destination| candidates.usable(d) && candidates.load(d).total_active() <= d.weight;
        let open = candidates.destinations.iter().filter(|d| room(d));
        open.reduce(|best, next| if next.weight > best.weight { next } else { best }).map(|d| d.id)
    }
}
