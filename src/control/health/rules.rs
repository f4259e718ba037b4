//! The checks among the rules: kept, edited, saved and persisted as services and destinations are, and gone with them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use rpds::HashTrieMapSync;
use serde::{Deserialize, Serialize};

use super::board::Id;
use super::engine::Wanted;
use super::plan::{Place, Plan, Subject};
use super::spec::CheckSpec;
use crate::control::Configured;
use crate::control::key::word;
use crate::control::reply::{ErrorCode, Failure};
use crate::control::store::Store;
use crate::service::{Service, ServiceKey};

/// What a check was entered for: a service, or one destination of it.
type Key = (ServiceKey, Option<SocketAddr>);

/// The checks of all services. A copy costs little.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    specs: HashTrieMapSync<Key, Arc<CheckSpec>>,
    /// Grows with every change.
    version: u64,
}

/// The checks of one service, as files have them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceChecks {
    /// Of all destinations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<CheckSpec>,
    /// Of single ones: what differs from that.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub destinations: BTreeMap<SocketAddr, CheckSpec>,
}

impl ServiceChecks {
    /// Is nothing checked?
    pub fn is_empty(&self) -> bool {
        self.service.is_none() && self.destinations.is_empty()
    }

    /// Refuses what cannot be, for a service with these destinations.
    ///
    /// # Errors
    /// The destination whose check it is, unless it is the service's; and what is wrong.
    pub fn check(
        &self,
        service: &ServiceKey,
        destinations: impl Iterator<Item = Place>,
    ) -> Result<(), (Option<SocketAddr>, super::plan::Fault)> {
        if let Some(spec) = &self.service {
            Plan::new(spec, Subject { service, destination: None }).map_err(|fault| (None, fault))?;
        }
        for destination in destinations {
            let own = self.destinations.get(&destination.at);
            // Of what a destination adds to its service's check, and of that where it depends on the destination.
            let both = match (&self.service, own) {
                (Some(base), Some(own)) => own.over(base),
                (None, Some(own)) => own.clone(),
                (Some(base), None) if base.target.is_some() => base.clone(),
                _ => continue,
            };
            let subject = Subject { service, destination: Some(destination) };
            Plan::new(&both, subject).map_err(|fault| (own.map(|_| destination.at), fault))?;
        }
        Ok(())
    }

    /// What becomes of `self` when a file that said `old` now says `new`.
    pub(in crate::control) fn overlay(&mut self, old: Option<&Self>, new: &Self) {
        if old.is_none_or(|o| o.service != new.service) {
            self.service.clone_from(&new.service);
        }
        let was = |address: &SocketAddr| old.and_then(|o| o.destinations.get(address));
        self.destinations.retain(|address, _| was(address).is_none() || new.destinations.contains_key(address));
        for (address, spec) in &new.destinations {
            if was(address) != Some(spec) {
                self.destinations.insert(*address, spec.clone());
            }
        }
    }
}

impl Checks {
    /// Have they changed since then?
    pub(in crate::control) fn differ(&self, then: &Self) -> bool {
        self.version != then.version
    }

    fn get(&self, service: &ServiceKey, destination: Option<SocketAddr>) -> Option<&Arc<CheckSpec>> {
        self.specs.get(&(*service, destination))
    }

    fn set(&mut self, place: Key, spec: Option<CheckSpec>) {
        match spec {
            Some(spec) => self.specs.insert_mut(place, Arc::new(spec)),
            None => drop(self.specs.remove_mut(&place)),
        }
        self.version += 1;
    }

    /// What holds for one destination, if it is checked.
    pub fn of(&self, service: &ServiceKey, destination: SocketAddr) -> Option<CheckSpec> {
        let (base, own) = (self.get(service, None), self.get(service, Some(destination)));
        match (base, own) {
            (Some(base), Some(own)) => Some(own.over(base)),
            (one, other) => one.or(other).map(|spec| CheckSpec::clone(spec)),
        }
    }
}

impl Store {
    /// The checks.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Those of one service.
    pub(in crate::control) fn checks_of(&self, service: &Service) -> ServiceChecks {
        if self.checks.specs.is_empty() {
            return ServiceChecks::default();
        }
        let get = |destination| self.checks.get(&service.key, destination).map(|spec| CheckSpec::clone(spec));
        let addresses = service.destinations.iter().map(|d| SocketAddr::new(d.address, d.port));
        let own = addresses.filter_map(|address| Some((address, get(Some(address))?)));
        ServiceChecks { destinations: own.collect(), service: get(None) }
    }

    /// Sets the check of a service, or of one of its destinations.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchService`], [`ErrorCode::NoSuchDestination`], [`ErrorCode::InvalidArgument`].
    pub fn set_check(
        &mut self,
        key: &ServiceKey,
        destination: Option<SocketAddr>,
        spec: &CheckSpec,
    ) -> Result<(), Failure> {
        let service = self.known(key, ErrorCode::NoSuchService)?;
        let mut checks = self.checks_of(&service);
        match destination {
            None => checks.service = Some(spec.clone()),
            Some(address) => drop(checks.destinations.insert(address, spec.clone())),
        }
        self.set_checks(key, &checks).map(drop)
    }

    /// Takes the check of a service, or of one of its destinations, away.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchService`], [`ErrorCode::NoSuchCheck`], [`ErrorCode::InvalidArgument`].
    pub fn remove_check(&mut self, key: &ServiceKey, destination: Option<SocketAddr>) -> Result<(), Failure> {
        let service = self.known(key, ErrorCode::NoSuchService)?;
        let mut checks = self.checks_of(&service);
        let removed = match destination {
            None => checks.service.take(),
            Some(address) => checks.destinations.remove(&address),
        };
        if removed.is_none() {
            let of = destination.map_or_else(String::new, |address| format!("{address} of "));
            let text = format!("{of}{} has no check of its own", word(key));
            return Err(Failure::new(ErrorCode::NoSuchCheck, text));
        }
        self.set_checks(key, &checks).map(drop)
    }

    /// Makes the checks of a service these. Returns whether they differ from those that were.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchService`], [`ErrorCode::NoSuchDestination`], [`ErrorCode::InvalidArgument`].
    pub(in crate::control) fn set_checks(&mut self, key: &ServiceKey, checks: &ServiceChecks) -> Result<bool, Failure> {
        let service = self.known(key, ErrorCode::NoSuchService)?;
        let before = self.checks_of(&service);
        if before == *checks {
            return Ok(false);
        }
        let places: Vec<_> = service.destinations.iter().map(|d| Place::from(&**d)).collect();
        let addresses: Vec<_> = places.iter().map(|place| place.at).collect();
        if let Some(stranger) = checks.destinations.keys().find(|address| !addresses.contains(address)) {
            let text = format!("{} has no destination {stranger}", word(key));
            return Err(Failure::new(ErrorCode::NoSuchDestination, text));
        }
        checks.check(key, places.into_iter()).map_err(|(destination, fault)| {
            let of = destination.map_or_else(String::new, |address| format!("{address} of "));
            Failure::new(ErrorCode::InvalidArgument, format!("{of}{}: {fault}", word(key)))
        })?;
        if before.service != checks.service {
            self.checks.set((*key, None), checks.service.clone());
        }
        for address in addresses {
            let (old, new) = (before.destinations.get(&address), checks.destinations.get(&address));
            if old != new {
                self.checks.set((*key, Some(address)), new.cloned());
            }
        }
        self.tick();
        Ok(true)
    }

    /// Forgets the check of what is removed.
    pub(in crate::control) fn forget_check(&mut self, key: &ServiceKey, destination: Option<SocketAddr>) {
        let place = (*key, destination);
        if self.checks.specs.contains_key(&place) {
            self.checks.set(place, None);
        }
    }
}

/// A plan, and what it was made of; none where that does not fit the destination.
#[derive(Debug)]
struct Made {
    base: Option<Arc<CheckSpec>>,
    own: Option<Arc<CheckSpec>>,
    of: Place,
    plan: Option<Arc<Plan>>,
}

/// Makes plans of the rules, each once.
#[derive(Debug, Default)]
pub(super) struct Planner {
    made: HashMap<Id, Made>,
}

impl Planner {
    /// All that is to be checked by these rules.
    pub(super) fn wanted(&mut self, rules: &Configured) -> Vec<Wanted> {
        let mut before = std::mem::take(&mut self.made);
        if rules.checks.specs.is_empty() {
            return Vec::new();
        }
        let mut all = Vec::new();
        for service in rules.services.iter() {
            let base = rules.checks.get(&service.key, None);
            for d in &service.destinations {
                let of = Place::from(&**d);
                let (id, own) = ((service.key, of.at), rules.checks.get(&service.key, Some(of.at)));
                let made = match before.remove(&id).filter(|made| made.is_of(base, own, of)) {
                    Some(made) => made,
                    None if base.is_none() && own.is_none() => continue,
                    None => Made::new(base, own, &service.key, of),
                };
                let plan = made.plan.clone();
                all.extend(plan.map(|plan| Wanted { id, object: (d.uid, d.entered), plan }));
                self.made.insert(id, made);
            }
        }
        all
    }
}

impl Made {
    fn new(base: Option<&Arc<CheckSpec>>, own: Option<&Arc<CheckSpec>>, service: &ServiceKey, of: Place) -> Self {
        let spec = match (base, own) {
            (Some(base), Some(own)) => own.over(base),
            (one, other) => one.or(other).map_or_else(CheckSpec::default, |spec| CheckSpec::clone(spec)),
        };
        let plan = Plan::new(&spec, Subject { service, destination: Some(of) });
        // It was added after the check was taken.
        let plan = plan.inspect_err(|fault| {
            tracing::warn!("{} of {} is not checked: {fault}", of.at, word(service));
        });
        Self { base: base.cloned(), own: own.cloned(), of, plan: plan.ok().map(Arc::new) }
    }

    fn is_of(&self, base: Option<&Arc<CheckSpec>>, own: Option<&Arc<CheckSpec>>, of: Place) -> bool {
        let same = |a: Option<&Arc<CheckSpec>>, b: &Option<Arc<CheckSpec>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same(base, &self.base) && same(own, &self.own) && of == self.of
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::Request;
    use crate::control::store::Limits;

    fn edit(store: &mut Store, json: &str) -> Result<(), Failure> {
        store.edit(&Request::parse(json.as_bytes()).unwrap())
    }

    fn set(destination: &str, check: &str) -> String {
        format!(r#"{{"request":"set_check","service":"tcp:192.0.2.10:80"{destination},"check":{check}}}"#)
    }

    const SECOND: &str = r#","destination":"198.51.100.12:80""#;

    fn store() -> Store {
        let mut store = Store::new(Limits::default());
        edit(&mut store, r#"{"request":"add_service","service":"tcp:192.0.2.10:80"}"#).unwrap();
        for last in [11, 12] {
            let address = format!(r#"{{"address":"198.51.100.{last}:80","method":"nat"}}"#);
            let add =
                format!(r#"{{"request":"add_destination","service":"tcp:192.0.2.10:80","destination":{address}}}"#);
            edit(&mut store, &add).unwrap();
        }
        store
    }

    fn wanted(planner: &mut Planner, store: &Store) -> Vec<(String, u64)> {
        let mut all: Vec<_> = planner
            .wanted(&store.configured())
            .into_iter()
            .map(|w| (w.id.1.to_string(), w.plan.interval.as_secs()))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_service_is_checked_with_all_its_destinations_and_a_destination_as_it_says() {
        let (mut store, mut planner) = (store(), Planner::default());
        assert_eq!(wanted(&mut planner, &store), []);
        let two = |a: u64, b: u64| [("198.51.100.11:80".to_owned(), a), ("198.51.100.12:80".to_owned(), b)];
        edit(&mut store, &set("", r#"{"type":"tcp","interval":7}"#)).unwrap();
        assert_eq!(wanted(&mut planner, &store), two(7, 7));
        edit(&mut store, &set(SECOND, r#"{"interval":9}"#)).unwrap();
        assert_eq!(wanted(&mut planner, &store), two(7, 9));
        let rules = store.rule_set();
        let mut other = Store::new(Limits::default());
        other.apply(&rules).unwrap();
        assert_eq!((other.rule_set(), wanted(&mut planner, &other)), (rules.clone(), two(7, 9).to_vec()));
        assert_eq!(other.apply(&rules).unwrap(), [], "nothing differs");
        edit(&mut store, r#"{"request":"delete_service","service":"tcp:192.0.2.10:80"}"#).unwrap();
        assert_eq!((wanted(&mut planner, &store), store.checks.specs.is_empty()), (vec![], true));
    }

    #[test]
    fn plans_of_what_did_not_change_are_kept() {
        let (mut store, mut planner) = (store(), Planner::default());
        edit(&mut store, &set("", r#"{"type":"tcp"}"#)).unwrap();
        let before = planner.wanted(&store.configured());
        edit(&mut store, &set(SECOND, r#"{"interval":9}"#)).unwrap();
        let after = planner.wanted(&store.configured());
        let same = before.iter().zip(&after).filter(|(a, b)| Arc::ptr_eq(&a.plan, &b.plan)).count();
        assert_eq!((before.len(), after.len(), same), (2, 2, 1));
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let mut store = store();
        edit(&mut store, &set("", r#"{"type":"tcp"}"#)).unwrap();
        edit(&mut store, &set(SECOND, r#"{"fall":9}"#)).unwrap();
        let before = store.rule_set();
        let stranger = r#","destination":"198.51.100.13:80""#;
        let remove =
            |destination: &str| format!(r#"{{"request":"remove_check","service":"tcp:192.0.2.10:80"{destination}}}"#);
        for (request, code, text) in [
            (set("", r#"{"type":"tcp","path":"/"}"#), ErrorCode::InvalidArgument, "tcp:192.0.2.10:80: check.path: "),
            (
                set(SECOND, r#"{"path":"/"}"#),
                ErrorCode::InvalidArgument,
                "198.51.100.12:80 of tcp:192.0.2.10:80: check.path",
            ),
            (set(stranger, r#"{"type":"tcp"}"#), ErrorCode::NoSuchDestination, "has no destination 198.51.100.13:80"),
            (
                set("", r#"{"type":"tcp"}"#).replace(":80\"", ":81\""),
                ErrorCode::NoSuchService,
                "no service tcp:192.0.2.10:81",
            ),
            (remove(stranger), ErrorCode::NoSuchCheck, "198.51.100.13:80 of tcp:192.0.2.10:80 has no check of its own"),
            (
                remove(""),
                ErrorCode::InvalidArgument,
                "198.51.100.12:80 of tcp:192.0.2.10:80: check.type: it is missing",
            ),
        ] {
            let failure = edit(&mut store, &request).unwrap_err();
            assert!(failure.code == code && failure.message.contains(text), "{request}: {failure:?}");
            assert_eq!(store.rule_set(), before);
        }
        edit(&mut store, &remove(SECOND)).unwrap();
        edit(&mut store, &remove("")).unwrap();
        assert!(store.checks.specs.is_empty());
    }

    #[test]
    fn a_service_of_a_mark_needs_a_port() {
        let mut store = Store::new(Limits::default());
        edit(&mut store, r#"{"request":"add_service","service":"mark:7"}"#).unwrap();
        let request = r#"{"request":"set_check","service":"mark:7","check":{"type":"tcp"}}"#;
        let failure = edit(&mut store, request).unwrap_err();
        assert_eq!(failure.message, "mark:7: check.port: it is missing, and mark:7 has none; give it");
        edit(&mut store, &request.replace("\"tcp\"", "\"tcp\",\"port\":80")).unwrap();
        edit(&mut store, &request.replace("\"tcp\"", "\"icmp\"")).unwrap();
    }

    #[test]
    fn only_what_changed_in_a_file_changes() {
        let checks = |json: &str| serde_json::from_str::<ServiceChecks>(json).unwrap();
        let old =
            checks(r#"{"service":{"type":"tcp"},"destinations":{"10.0.0.1:80":{"fall":1},"10.0.0.2:80":{"fall":1}}}"#);
        let new = checks(r#"{"service":{"type":"icmp"},"destinations":{"10.0.0.2:80":{"fall":2}}}"#);
        let mut here = old.clone();
        here.destinations.insert("10.0.0.3:80".parse().unwrap(), CheckSpec { fall: Some(3), ..CheckSpec::default() });
        here.overlay(Some(&old), &new);
        let want = r#"{"service":{"type":"icmp"},"destinations":{"10.0.0.2:80":{"fall":2},"10.0.0.3:80":{"fall":3}}}"#;
        assert_eq!(here, checks(want));
        let mut here = checks(r#"{"service":{"type":"dns"}}"#);
        here.overlay(Some(&old), &old);
        assert_eq!(here, checks(r#"{"service":{"type":"dns"}}"#), "the socket's stays while the file says the same");
    }
}
