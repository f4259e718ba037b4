//! Locality-based least connection with replication (the kernel's `ip_vs_lblcr.c`): as lblc, but an address in demand gets a set of
//! caches, which shrinks again when it has not changed for long.

use std::sync::Arc;

use super::cache::Cache;
use super::least::{cheaper, connections, least, overworked, place_after, usable};
use super::{Candidates, Flow, Load, Scheduler, WorkerStart};
use crate::destination::{DestId, Destination};
use crate::service::ServiceFlags;
use crate::settings::Settings;
use crate::time::{HZ, Tick};

/// Members of a set; the kernel has no limit.
const MEMBERS: usize = 8;

/// The caches of one address.
#[derive(Clone, Debug, Default)]
struct Set {
    /// Places in the list, newest member first.
    members: [usize; MEMBERS],
    len: usize,
    changed: Tick,
}

impl Set {
    fn places(&self) -> &[usize] {
        &self.members[..self.len]
    }

    /// Adds one that is not there yet; the oldest leaves a full set.
    fn add(&mut self, place: usize, now: Tick) {
        if self.places().contains(&place) {
            return;
        }
        self.members.rotate_right(1);
        self.members[0] = place;
        self.len = (self.len + 1).min(MEMBERS);
        self.changed = now;
    }

    fn remove(&mut self, index: usize) {
        self.members[index..self.len].rotate_left(1);
        self.len -= 1;
    }

    /// Members with their loads.
    fn loaded<'c>(&self, candidates: &'c Candidates<'_>) -> impl Iterator<Item = (&'c Destination, Load)> {
        let member = |place: &usize| candidates.destinations.get(*place).map(|d| (&**d, candidates.load(d)));
        self.places().iter().filter_map(member).filter(|(d, _)| d.weight > 0)
    }

    /// Removes the member with most to do, if nothing has changed for so many ticks.
    fn shrink(&mut self, candidates: &Candidates<'_>, now: Tick, expiration: u32) {
        if self.len < 2 || now.since(self.changed) <= expiration {
            return;
        }
        let cost = |(d, load): (&Destination, Load)| (d.id, connections(&load), d.weight);
        let dearest =
            self.loaded(candidates).map(cost).reduce(|a, b| if cheaper((a.1, a.2), (b.1, b.2)) { b } else { a });
        let place = dearest.and_then(|(id, ..)| candidates.destinations.iter().position(|d| d.id == id));
        if let Some(index) = self.places().iter().position(|p| Some(*p) == place) {
            self.remove(index);
            self.changed = now;
        }
    }

    /// Follows the members to their places in a new list; returns false when none is left.
    fn follow(&mut self, before: &[Arc<Destination>], candidates: &Candidates<'_>) -> bool {
        let mut kept = 0;
        for index in 0..self.len {
            if let Some(place) = place_after(before, candidates, self.members[index]) {
                self.members[kept] = place;
                kept += 1;
            }
        }
        self.len = kept;
        kept > 0
    }
}

/// Locality-based least connection with replication.
#[derive(Debug)]
pub struct Replication {
    worker: WorkerStart,
    cache: Cache<Set>,
}

impl Replication {
    /// Remembers nothing yet.
    pub fn new(worker: WorkerStart) -> Self {
        Self { worker, cache: Cache::default() }
    }
}

impl Scheduler for Replication {
    fn schedule(&mut self, candidates: &Candidates<'_>, flow: &Flow, now: Tick) -> Option<DestId> {
        let expiration = self.cache.expiration;
        let set = self.cache.get(flow.destination, now);
        let known = set.and_then(|set| {
            let usable = set.loaded(candidates).filter(|(_, load)| !load.overloaded);
            let best = least(usable, connections, |d| d.weight);
            set.shrink(candidates, now, expiration);
            best.filter(|d| !overworked(candidates, d)).map(|d| d.id)
        });
        if known.is_some() {
            return known;
        }
        let pick = least(usable(candidates, self.worker), connections, |d| d.weight)?.id;
        let place = candidates.destinations.iter().position(|d| d.id == pick)?;
        match self.cache.get(flow.destination, now) {
            Some(set) => set.add(place, now),
            None => {
                let mut set = Set::default();
                set.add(place, now);
                self.cache.put(flow.destination, now, set);
            }
        }
        Some(pick)
    }

    fn update(&mut self, before: &[Arc<Destination>], candidates: &Candidates<'_>, _flags: ServiceFlags) {
        self.cache.retain(|set| set.follow(before, candidates));
    }

    fn tune(&mut self, settings: &Settings) {
        self.cache.expiration = settings.lblcr_expiration.max(0).unsigned_abs().saturating_mul(HZ);
    }
}
