//! No scheduler: the kernel takes the name `none`, and then picks nobody. Clients that have a template go on.

use super::{Candidates, Flow, Scheduler};
use crate::destination::DestId;
use crate::time::Tick;

/// No scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Scheduler for Nobody {
    fn schedule(&mut self, _candidates: &Candidates<'_>, _flow: &Flow, _now: Tick) -> Option<DestId> {
        None
    }
}
