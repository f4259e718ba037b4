//! Locality-based least connection with replication (the kernel's `ip_vs_lblcr.c`): as lblc, but an address in demand gets a set of
//! caches, which shrinks again when it has not changed for long.

use super::cache::Cache;
use super::least::{cheaper, connections, least, overworked, usable};
use super::{Candidates, Flow, Load, Scheduler, WorkerStart};
use crate::destination::{DestId, Destination};
use crate::settings::Settings;
use crate::time::{HZ, Tick};

/// Members of a set; the kernel has no limit.
const MEMBERS: usize = 8;

/// A member of a set. What it weighs, and whether it is in the service's list, is asked of the rules in force: a change of them need not
/// look through the sets.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    id: DestId,
    uid: u64,
}

impl Member {
    fn is_listed(self, candidates: &Candidates<'_>) -> bool {
        candidates.destinations.iter().any(|d| d.uid == self.uid)
    }

    /// Of one that was removed, what it weighed then.
    fn weight(self, candidates: &Candidates<'_>) -> u32 {
        let destination = candidates.all.get(self.id.index()).filter(|d| d.uid == self.uid);
        destination.map_or(0, |d| d.weight)
    }
}

/// The caches of one address. One that was removed from the service stays a member: it counts for the size of the set and may be the
/// one that leaves it, and is used again when it returns.
#[derive(Clone, Debug, Default)]
struct Set {
    /// Newest first.
    members: [Member; MEMBERS],
    len: usize,
    changed: Tick,
}

impl Set {
    fn members(&self) -> &[Member] {
        &self.members[..self.len]
    }

    /// Adds one that is not there yet. From a full set the oldest of those removed leaves, or else the oldest of all.
    fn add(&mut self, new: &Destination, candidates: &Candidates<'_>, now: Tick) {
        if self.members().iter().any(|m| m.uid == new.uid) {
            return;
        }
        if self.len == MEMBERS {
            let oldest = self.members.iter().rposition(|m| !m.is_listed(candidates));
            self.remove(oldest.unwrap_or(MEMBERS - 1));
        }
        self.members.rotate_right(1);
        self.members[0] = Member { id: new.id, uid: new.uid };
        self.len += 1;
        self.changed = now;
    }

    fn remove(&mut self, index: usize) {
        self.members[index..self.len].rotate_left(1);
        self.len -= 1;
    }

    /// Members that may be used, with their loads.
    fn usable<'c>(&self, candidates: &'c Candidates<'_>) -> impl Iterator<Item = (&'c Destination, Load)> {
        let listed = |m: &Member| candidates.destinations.iter().find(|d| d.uid == m.uid);
        let loaded = self.members().iter().filter_map(listed).map(|d| (&**d, candidates.load(d)));
        loaded.filter(|(d, load)| d.weight > 0 && !load.overloaded)
    }

    /// The member that goes on serving, unless it has too much to do.
    fn best(&self, candidates: &Candidates<'_>) -> Option<DestId> {
        let best = least(self.usable(candidates), connections, |d| d.weight);
        best.filter(|d| !overworked(candidates, d)).map(|d| d.id)
    }

    /// Removes the member with most to do, if nothing has changed for so many ticks.
    fn shrink(&mut self, candidates: &Candidates<'_>, now: Tick, expiration: u32) {
        if self.len < 2 || now.since(self.changed) <= expiration {
            return;
        }
        let load = |m: &Member| candidates.loads.get(m.id.index()).copied().unwrap_or_default();
        let cost = |(index, m): (usize, &Member)| (index, connections(&load(m)), m.weight(candidates));
        let costs = self.members().iter().enumerate().map(cost).filter(|(.., weight)| *weight > 0);
        let dearest = costs.reduce(|a, b| if cheaper((a.1, a.2), (b.1, b.2)) { b } else { a });
        if let Some((index, ..)) = dearest {
            self.remove(index);
            self.changed = now;
        }
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

    /// What would be picked.
    pub(super) fn peek(&self, candidates: &Candidates<'_>, flow: &Flow, now: Tick) -> Option<DestId> {
        let known = self.cache.peek(flow.destination, now).and_then(|set| set.best(candidates));
        known.or_else(|| least(usable(candidates, self.worker), connections, |d| d.weight).map(|d| d.id))
    }
}

impl Scheduler for Replication {
    fn schedule(&mut self, candidates: &Candidates<'_>, flow: &Flow, now: Tick) -> Option<DestId> {
        let expiration = self.cache.expiration;
        let set = self.cache.get(flow.destination, now);
        let known = set.and_then(|set| {
            let best = set.best(candidates);
            set.shrink(candidates, now, expiration);
            best
        });
        if known.is_some() {
            return known;
        }
        let pick = least(usable(candidates, self.worker), connections, |d| d.weight)?;
        match self.cache.get(flow.destination, now) {
            Some(set) => set.add(pick, candidates, now),
            None => {
                let mut set = Set::default();
                set.add(pick, candidates, now);
                self.cache.put(flow.destination, now, set);
            }
        }
        Some(pick.id)
    }

    fn remembers(&mut self, uid: u64, now: Tick) -> bool {
        self.cache.holds(now, |set| set.members().iter().any(|m| m.uid == uid))
    }

    fn tune(&mut self, settings: &Settings) {
        self.cache.expiration = settings.lblcr_expiration.max(0).unsigned_abs().saturating_mul(HZ);
    }
}
