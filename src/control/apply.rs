//! From the rules that are to the rules that somebody wants, by the difference alone: what does not differ is not touched, so that
//! no connection, counter or scheduler notices. All or nothing.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;

use crate::control::key::word;
use crate::control::reply::{ErrorCode, Failure};
use crate::control::rule_set::{RuleSet, ServiceRules};
use crate::control::store::{Store, service_rules};
use crate::service::ServiceKey;

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A service was added.
    ServiceAdded(ServiceKey),
    /// Scheduler, persistence or flags of a service.
    ServiceChanged(ServiceKey),
    /// What is done as the destinations of a service come and go.
    PolicyChanged(ServiceKey),
    /// A service was removed.
    ServiceRemoved(ServiceKey),
    /// How the destinations of a service are checked.
    ChecksChanged(ServiceKey),
    /// A destination was added.
    DestinationAdded(ServiceKey, SocketAddr),
    /// Weight, method, tunnel or thresholds of a destination.
    DestinationChanged(ServiceKey, SocketAddr),
    /// A destination was removed.
    DestinationRemoved(ServiceKey, SocketAddr),
    /// Settings or time-outs.
    SettingsChanged,
    /// What sets firewall marks.
    MarksChanged,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAdded(key) => write!(f, "service {} added", word(key)),
            Self::ServiceChanged(key) => write!(f, "service {} changed", word(key)),
            Self::PolicyChanged(key) => write!(f, "policy of {} changed", word(key)),
            Self::ServiceRemoved(key) => write!(f, "service {} removed", word(key)),
            Self::ChecksChanged(key) => write!(f, "checks of service {} changed", word(key)),
            Self::DestinationAdded(key, address) => write!(f, "destination {address} of {} added", word(key)),
            Self::DestinationChanged(key, address) => write!(f, "destination {address} of {} changed", word(key)),
            Self::DestinationRemoved(key, address) => write!(f, "destination {address} of {} removed", word(key)),
            Self::SettingsChanged => f.write_str("settings changed"),
            Self::MarksChanged => f.write_str("mark rules changed"),
        }
    }
}

impl Store {
    /// Makes the rules what is wanted. Returns what changed.
    ///
    /// # Errors
    /// As the single steps; nothing has changed then.
    pub fn apply(&mut self, wanted: &RuleSet) -> Result<Vec<Change>, Failure> {
        no_doubles(wanted)?;
        let mut store = self.clone();
        let mut changes = Vec::new();
        if store.settings() != wanted.settings {
            store.set_settings(wanted.settings)?;
            changes.push(Change::SettingsChanged);
        }
        store.set_daemons(&wanted.daemons);
        if *store.marks() != wanted.marks {
            store.set_marks(wanted.marks.clone());
            changes.push(Change::MarksChanged);
        }
        let keep: HashSet<_> = wanted.services.iter().map(|s| s.service.service).collect();
        let gone: Vec<_> = store.services().iter().map(|s| s.key).filter(|key| !keep.contains(key)).collect();
        for key in gone {
            store.delete_service(&key)?;
            changes.push(Change::ServiceRemoved(key));
        }
        for rules in &wanted.services {
            apply_service(&mut store, rules, &mut changes)?;
            if let Some(service) = store.find(&rules.service.service).cloned() {
                store.set_draining(&service, &rules.draining);
            }
        }
        *self = store;
        Ok(changes)
    }
}

/// Refuses a service or a destination that is there twice.
fn no_doubles(wanted: &RuleSet) -> Result<(), Failure> {
    let mut services = HashSet::new();
    for rules in &wanted.services {
        let key = rules.service.service;
        if !services.insert(key) {
            return Err(Failure::new(ErrorCode::ServiceExists, format!("the service {} is there twice", word(&key))));
        }
        let mut destinations = HashSet::new();
        for address in rules.destinations.iter().map(|d| d.address) {
            if !destinations.insert(address) {
                let text = format!("{} has the destination {address} twice", word(&key));
                return Err(Failure::new(ErrorCode::DestinationExists, text));
            }
        }
    }
    Ok(())
}

fn apply_service(store: &mut Store, wanted: &ServiceRules, changes: &mut Vec<Change>) -> Result<(), Failure> {
    let key = wanted.service.service;
    let Some(before) = store.find(&key).cloned() else {
        store.add_service(&wanted.service)?;
        store.set_policy(&key, &wanted.policy)?;
        changes.push(Change::ServiceAdded(key));
        apply_destinations(store, wanted, None, changes)?;
        return store.set_checks(&key, &wanted.checks).map(drop);
    };
    if store.edit_service(&wanted.service)? {
        changes.push(Change::ServiceChanged(key));
    }
    if store.set_policy(&key, &wanted.policy)? {
        changes.push(Change::PolicyChanged(key));
    }
    apply_destinations(store, wanted, Some(&service_rules(&before)), changes)?;
    if store.set_checks(&key, &wanted.checks)? {
        changes.push(Change::ChecksChanged(key));
    }
    Ok(())
}

fn apply_destinations(
    store: &mut Store,
    wanted: &ServiceRules,
    before: Option<&ServiceRules>,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    let key = wanted.service.service;
    let before = before.map_or(&[][..], |b| &b.destinations);
    let keep: HashSet<_> = wanted.destinations.iter().map(|d| d.address).collect();
    for gone in before.iter().map(|d| d.address).filter(|address| !keep.contains(address)) {
        store.delete_destination(&key, gone)?;
        changes.push(Change::DestinationRemoved(key, gone));
    }
    for spec in &wanted.destinations {
        let address = spec.address;
        match before.iter().find(|d| d.address == address) {
            Some(old) if old == spec => {}
            Some(_) => {
                store.edit_destination(&key, spec)?;
                changes.push(Change::DestinationChanged(key, address));
            }
            None => {
                store.add_destination(&key, spec)?;
                changes.push(Change::DestinationAdded(key, address));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::store::Limits;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Port, scheduler, and of each destination the last byte of its address and its weight.
    type Brief<'a> = (u16, &'a str, Vec<(u8, u32)>);

    fn rules(services: &[Brief<'_>]) -> RuleSet {
        let destination = |(last, weight): &(u8, u32)| serde_json::json!({ "address": format!("10.0.0.{last}:80"), "weight": weight });
        let service = |(port, scheduler, destinations): &Brief<'_>| {
            serde_json::json!({
                "service": { "service": format!("tcp:192.0.2.1:{port}"), "scheduler": scheduler },
                "destinations": destinations.iter().map(destination).collect::<Vec<_>>(),
            })
        };
        let services: Vec<_> = services.iter().map(service).collect();
        serde_json::from_value(serde_json::json!({ "services": services })).unwrap()
    }

    #[test]
    fn only_the_difference_is_applied() {
        let mut store = Store::new(Limits::default());
        store.apply(&rules(&[(80, "rr", vec![(1, 1), (2, 1)]), (81, "rr", vec![])])).unwrap();
        let untouched = store.services()[0].clone();
        let changes = store.apply(&rules(&[(80, "rr", vec![(1, 1), (2, 1)]), (82, "wlc", vec![(3, 1)])])).unwrap();
        let said: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "service tcp:192.0.2.1:81 removed",
                "service tcp:192.0.2.1:82 added",
                "destination 10.0.0.3:80 of tcp:192.0.2.1:82 added"
            ]
        );
        assert!(Arc::ptr_eq(&untouched, store.services()[0]));
        assert_eq!(store.apply(&store.rule_set()).unwrap(), []);
    }

    #[test]
    fn a_wrong_rule_changes_nothing() {
        let mut store = Store::new(Limits::default());
        store.apply(&rules(&[(80, "rr", vec![(1, 1)])])).unwrap();
        let before = (store.rules(), store.rule_set());
        for wrong in [
            rules(&[(81, "rr", vec![(1, 1)]), (80, "nosuch", vec![])]),
            rules(&[(81, "rr", vec![]), (81, "rr", vec![])]),
            rules(&[(80, "rr", vec![(1, 2), (1, 3)])]),
            rules(&[(80, "rr", vec![(1, u32::MAX)])]),
        ] {
            assert!(store.apply(&wrong).is_err());
            assert!(Arc::ptr_eq(&before.0, &store.rules()));
            assert_eq!(store.rule_set(), before.1);
        }
    }

    type Wanted = Vec<(u16, bool, std::collections::BTreeMap<u8, u32>)>;

    fn wanted() -> impl Strategy<Value = Wanted> {
        let destinations = prop::collection::btree_map(1_u8..6, 0_u32..3, 0..5);
        prop::collection::btree_map(80_u16..84, (any::<bool>(), destinations), 0..4)
            .prop_map(|m| m.into_iter().map(|(port, (wrr, d))| (port, wrr, d)).collect())
    }

    fn named(wanted: &Wanted) -> RuleSet {
        let services: Vec<_> = wanted
            .iter()
            .map(|(port, wrr, d)| (*port, if *wrr { "wrr" } else { "rr" }, d.iter().map(|(l, w)| (*l, *w)).collect()))
            .collect();
        rules(&services)
    }

    fn sorted(mut rules: RuleSet) -> RuleSet {
        rules.services.sort_by_key(|s| s.service.service);
        rules.services.iter_mut().for_each(|s| s.destinations.sort_by_key(|d| d.address));
        rules
    }

    proptest! {
        #[test]
        fn whatever_was_there_what_is_wanted_is_there_after(steps in prop::collection::vec((wanted(), any::<bool>()), 1..8)) {
            let mut store = Store::new(Limits::default());
            for (step, forget) in steps {
                let wanted = named(&step);
                store.apply(&wanted).unwrap();
                prop_assert_eq!(sorted(store.rule_set()), sorted(wanted));
                check_indices(&mut store)?;
                if forget {
                    store.forget_unused(|_| false);
                    prop_assert!(!store.has_removed());
                    check_indices(&mut store)?;
                }
            }
        }
    }

    /// Indices, back references and availability agree; uids are unique.
    fn check_indices(store: &mut Store) -> Result<(), TestCaseError> {
        let rules = store.rules();
        let slots = (
            rules.services.slots().map(|s| s.cloned()).collect(),
            rules.destinations.slots().map(|d| d.cloned()).collect(),
        );
        let anew = crate::snapshot::Rules::new(slots.0, slots.1, store.settings());
        prop_assert!(rules.is_found_like(&anew), "step by step it is not what it is at once");
        let mut uids = HashSet::new();
        let mut listed = HashSet::new();
        for (index, service) in rules.services.slots().enumerate().filter_map(|(i, s)| Some((i, s?))) {
            prop_assert_eq!(service.id.index(), index);
            prop_assert!(uids.insert(service.uid));
            for d in &service.destinations {
                prop_assert!(d.available && d.service == service.id);
                prop_assert!(Arc::ptr_eq(d, rules.destination(d.id).unwrap()));
                listed.insert(d.id);
            }
        }
        for (index, d) in rules.destinations.slots().enumerate().filter_map(|(i, d)| Some((i, d?))) {
            prop_assert_eq!(d.id.index(), index);
            prop_assert!(uids.insert(d.uid));
            prop_assert_eq!(d.available, listed.contains(&d.id));
        }
        Ok(())
    }
}
