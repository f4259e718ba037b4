//! Rules and standing together: what workers see. Kept step by step: a report about one destination costs what its service costs, however
//! many services there are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rpds::{HashTrieMapSync, RedBlackTreeSetSync};

use super::slow_start::SlowStart;
use super::sorry::{Quorum, Sorry};
use super::{Effect, Health, Policy, Record};
use crate::control::event::Event;
use crate::control::reply::{ErrorCode, Failure};
use crate::control::store::Store;
use crate::destination::{DestId, Destination};
use crate::service::{Service, ServiceId, ServiceKey};
use crate::shelf::Shelf;

/// What the store keeps beside the rules.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Standings {
    /// Of the destinations of which something is known.
    records: HashTrieMapSync<DestId, Record>,
    /// Of the services that have another than the default.
    policies: HashTrieMapSync<ServiceId, Policy>,
    warming: RedBlackTreeSetSync<DestId>,
    pub(super) draining: RedBlackTreeSetSync<DestId>,
    pub(super) quorums: HashTrieMapSync<ServiceId, Quorum>,
    pub(in crate::control) sorry: HashTrieMapSync<ServiceId, Sorry>,
    /// The rules when quorums were last looked at, and services that stand otherwise since then.
    pub(super) settled: Shelf<Arc<Service>>,
    pub(super) unsettled: RedBlackTreeSetSync<ServiceId>,
    /// What is to be told.
    pub(super) news: Vec<Event>,
    /// Services that stand otherwise than when the rules in force were made.
    touched: RedBlackTreeSetSync<ServiceId>,
    /// The rules when those in force were made.
    services: Shelf<Arc<Service>>,
    destinations: Shelf<Arc<Destination>>,
}

/// Services and destinations as workers see them.
pub(in crate::control) type InForce = (Shelf<Arc<Service>>, Shelf<Arc<Destination>>);

impl Store {
    /// The policy of a service.
    pub fn policy(&self, id: ServiceId) -> Policy {
        self.standings.policies.get(&id).cloned().unwrap_or_default()
    }

    /// Sets the policy of a service. Returns false when it already was so.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchService`], [`ErrorCode::OutOfRange`]; for the sorry server as for a destination.
    pub fn set_policy(&mut self, key: &ServiceKey, policy: &Policy) -> Result<bool, Failure> {
        let service = self.known(key, ErrorCode::NoSuchService)?;
        let id = service.id;
        policy.check(key).map_err(|(_, failure)| failure)?;
        if self.policy(id) == *policy {
            return Ok(false);
        }
        if self.policy(id).sorry != policy.sorry {
            self.set_sorry(&service, policy.sorry.as_ref())?;
        }
        if policy.is_default() {
            self.standings.policies.remove_mut(&id);
        } else {
            self.standings.policies.insert_mut(id, policy.clone());
        }
        self.touch(id);
        Ok(true)
    }

    /// Takes what a check has found. Returns what is news of it; what is said of a destination that is not there is none.
    pub fn report(&mut self, key: &ServiceKey, address: SocketAddr, health: &Health, now: Duration) -> Option<Event> {
        let d = self.find(key).and_then(|s| s.destination(address)).cloned()?;
        let mut record = self.record(d.id);
        let was_down = record.is_down();
        let slow_start = self.policy(d.service).slow_start_secs;
        let (service, destination) = (*key, address);
        let event = match health {
            Health::Up if record.health == Some(Health::Up) => return None,
            Health::Up => {
                record.warming = SlowStart::begin(slow_start, now).filter(|_| was_down);
                Some(Event::DestinationUp { service, destination })
            }
            Health::Down { reason } => {
                record.warming = None;
                let event = Event::DestinationDown { service, destination, reason: reason.clone() };
                (!was_down).then_some(event)
            }
        };
        record.health = Some(health.clone());
        self.enter(&d, record);
        event
    }

    /// Moves slow starts on. Returns what is news of them.
    pub fn warm(&mut self, now: Duration) -> Vec<Event> {
        let due: Vec<_> = self.standings.warming.iter().copied().collect();
        let mut events = Vec::new();
        for id in due {
            let Some(d) = self.destinations.get(id.index()).cloned() else { continue };
            let record = self.record(d.id);
            let warming = record.warming.and_then(|warming| warming.at(now));
            if warming.is_none() {
                events.push(Event::DestinationWarm { service: d.of, destination: (d.address, d.port).into() });
            }
            self.enter(&d, Record { warming, ..record });
        }
        events
    }

    /// Is the weight of any destination growing?
    pub fn is_warming(&self) -> bool {
        !self.standings.warming.is_empty()
    }

    pub(in crate::control) fn record(&self, id: DestId) -> Record {
        self.known_record(id).cloned().unwrap_or_default()
    }

    pub(super) fn known_record(&self, id: DestId) -> Option<&Record> {
        self.standings.records.get(&id)
    }

    /// Takes what is known of a destination now. Workers are told only of what makes a difference to them.
    pub(super) fn enter(&mut self, d: &Destination, record: Record) {
        let before = self.effect(d);
        member(&mut self.standings.warming, d.id, record.warming.is_some());
        member(&mut self.standings.draining, d.id, record.drain.is_some());
        self.standings.records.insert_mut(d.id, record);
        let now = self.effect(d);
        if before.available && !now.available {
            self.count_removal();
        }
        self.standings.unsettled.insert_mut(d.service);
        if before != now {
            self.touch(d.service);
        }
    }

    /// What its standing makes of a destination.
    pub(in crate::control) fn effect(&self, d: &Destination) -> Effect {
        let own = || match self.known_record(d.id) {
            Some(record) => record.effect(d, &self.policy(d.service)),
            None => Record::default().effect(d, &Policy::default()),
        };
        match self.sorry(d.service) {
            Some(sorry) if sorry.dest == d.id => sorry.effect(),
            Some(sorry) if sorry.on => Effect { weight: 0, holds: false, ..own() },
            _ => own(),
        }
    }

    /// Forgets how a destination stood.
    pub(in crate::control) fn forget_standing(&mut self, id: DestId) {
        self.standings.records.remove_mut(&id);
        self.standings.warming.remove_mut(&id);
        self.standings.draining.remove_mut(&id);
    }

    /// Forgets the policy of a service.
    pub(in crate::control) fn forget_policy(&mut self, id: ServiceId) {
        self.standings.policies.remove_mut(&id);
        self.standings.quorums.remove_mut(&id);
        self.sorry(id).into_iter().for_each(|sorry| self.forget_sorry(id, sorry));
    }

    pub(super) fn touch(&mut self, service: ServiceId) {
        self.standings.touched.insert_mut(service);
        self.standings.unsettled.insert_mut(service);
        self.tick();
    }

    /// Services and destinations as workers are to see them. Costs what has changed since the rules in force were made.
    pub(in crate::control) fn overlaid(&mut self) -> InForce {
        let mut in_force = (self.last.services.clone(), self.last.destinations.clone());
        let (services, destinations) = (self.services.all.clone(), self.destinations.all.clone());
        for (index, _, now) in destinations.changed(&self.standings.destinations) {
            in_force.1.put(index, now.cloned());
        }
        for (index, _, now) in services.changed(&self.standings.services) {
            let service = now.map(|service| self.overlay(service, service.version, &mut in_force.1));
            in_force.0.put(index, service);
        }
        let touched = std::mem::take(&mut self.standings.touched);
        for service in touched.iter().filter_map(|id| services.get(id.index())) {
            let overlaid = self.overlay(service, self.clock, &mut in_force.1);
            in_force.0.put(service.id.index(), Some(overlaid));
        }
        (self.standings.services, self.standings.destinations) = (services, destinations);
        in_force
    }

    /// A service as it stands; its destinations are put where workers find them.
    fn overlay(&self, service: &Arc<Service>, version: u64, all: &mut Shelf<Arc<Destination>>) -> Arc<Service> {
        let mut place = |d: &Arc<Destination>| {
            let stands = self.as_it_stands(d);
            if all.get(d.id.index()).is_none_or(|there| !Arc::ptr_eq(there, &stands)) {
                all.put(d.id.index(), Some(stands.clone()));
            }
            stands
        };
        let sorry = self.sorry(service.id).and_then(|sorry| Some((sorry, self.destinations.get(sorry.dest.index())?)));
        let sorry = sorry.map(|(sorry, d)| (sorry.on, place(d)));
        let mut listed = Vec::with_capacity(service.destinations.len() + 1);
        listed.extend(sorry.filter(|(on, _)| *on).map(|(_, d)| d));
        listed.extend(service.destinations.iter().map(place).filter(|d| d.available));
        let as_the_rules_say = listed.len() == service.destinations.len()
            && listed.iter().zip(&service.destinations).all(|(stands, d)| Arc::ptr_eq(stands, d));
        if as_the_rules_say && version == service.version {
            return service.clone();
        }
        Arc::new(Service { version, destinations: listed, ..Service::clone(service) })
    }

    fn as_it_stands(&self, d: &Arc<Destination>) -> Arc<Destination> {
        let Effect { weight, available, holds, ends } = self.effect(d);
        let stands = Destination { weight, available, holds, ends, ..Destination::clone(d) };
        if stands == **d {
            return d.clone();
        }
        let before = self.last.destinations.get(d.id.index()).filter(|before| ***before == stands);
        before.cloned().unwrap_or_else(|| Arc::new(stands))
    }
}

fn member(set: &mut RedBlackTreeSetSync<DestId>, id: DestId, is_one: bool) {
    if is_one {
        set.insert_mut(id);
    } else {
        set.remove_mut(&id);
    }
}

#[cfg(test)]
mod tests;
