//! Locality-based least connection (the kernel's `ip_vs_lblc.c`): for transparent caches; an address keeps its cache until that one
//! has too much to do while another is half idle. A cache that was removed is remembered, and has its addresses back when it returns.

use super::cache::Cache;
use super::least::{connections, least, overworked, usable};
use super::{Candidates, Flow, Scheduler, WorkerStart};
use crate::destination::DestId;
use crate::settings::Settings;
use crate::time::{HZ, Tick};

/// Locality-based least connection.
#[derive(Debug)]
pub struct Locality {
    worker: WorkerStart,
    /// The destination of an address by its uid.
    cache: Cache<u64>,
}

impl Locality {
    /// Remembers nothing yet.
    pub fn new(worker: WorkerStart) -> Self {
        Self { worker, cache: Cache::default() }
    }
}

impl Locality {
    /// What would be picked.
    pub(super) fn peek(&self, candidates: &Candidates<'_>, flow: &Flow, now: Tick) -> Option<DestId> {
        let known = known(candidates, self.cache.peek(flow.destination, now).copied());
        known.or_else(|| least(usable(candidates, self.worker), connections, |d| d.weight).map(|d| d.id))
    }
}

/// The cache that an address has, if it can go on.
fn known(candidates: &Candidates<'_>, uid: Option<u64>) -> Option<DestId> {
    let known = uid.and_then(|uid| candidates.destinations.iter().find(|d| d.uid == uid));
    known.filter(|d| d.weight > 0 && !overworked(candidates, d)).map(|d| d.id)
}

impl Scheduler for Locality {
    fn schedule(&mut self, candidates: &Candidates<'_>, flow: &Flow, now: Tick) -> Option<DestId> {
        let known = known(candidates, self.cache.get(flow.destination, now).copied());
        if known.is_some() {
            return known;
        }
        let pick = least(usable(candidates, self.worker), connections, |d| d.weight)?;
        self.cache.put(flow.destination, now, pick.uid);
        Some(pick.id)
    }

    fn remembers(&mut self, uid: u64, now: Tick) -> bool {
        self.cache.holds(now, |known| *known == uid)
    }

    fn tune(&mut self, settings: &Settings) {
        self.cache.expiration = settings.lblc_expiration.max(0).unsigned_abs().saturating_mul(HZ);
    }
}
