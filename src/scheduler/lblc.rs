//! Locality-based least connection (the kernel's `ip_vs_lblc.c`): for transparent caches; an address keeps its cache until that one
//! has too much to do while another is half idle.

use std::sync::Arc;

use super::cache::Cache;
use super::least::{connections, least, overworked, place_after, usable};
use super::{Candidates, Flow, Scheduler, WorkerStart};
use crate::destination::{DestId, Destination};
use crate::service::ServiceFlags;
use crate::settings::Settings;
use crate::time::{HZ, Tick};

/// Locality-based least connection.
#[derive(Debug)]
pub struct Locality {
    worker: WorkerStart,
    /// Place in the list by address.
    cache: Cache<usize>,
}

impl Locality {
    /// Remembers nothing yet.
    pub fn new(worker: WorkerStart) -> Self {
        Self { worker, cache: Cache::default() }
    }
}

impl Scheduler for Locality {
    fn schedule(&mut self, candidates: &Candidates<'_>, flow: &Flow, now: Tick) -> Option<DestId> {
        let known = self.cache.get(flow.destination, now).and_then(|place| candidates.destinations.get(*place));
        if let Some(known) = known.filter(|d| d.weight > 0 && !overworked(candidates, d)) {
            return Some(known.id);
        }
        let pick = least(usable(candidates, self.worker), connections, |d| d.weight)?.id;
        let place = candidates.destinations.iter().position(|d| d.id == pick)?;
        self.cache.put(flow.destination, now, place);
        Some(pick)
    }

    fn update(&mut self, before: &[Arc<Destination>], candidates: &Candidates<'_>, _flags: ServiceFlags) {
        let follow = |place: &mut usize| place_after(before, candidates, *place).map(|new| *place = new).is_some();
        self.cache.retain(follow);
    }

    fn tune(&mut self, settings: &Settings) {
        self.cache.expiration = settings.lblc_expiration.max(0).unsigned_abs().saturating_mul(HZ);
    }
}
