use super::*;
use crate::control::request::Request;
use crate::control::standing::{OnFail, Standing, sorry};
use crate::control::store::Limits;
use proptest::prelude::*;
use std::collections::BTreeMap;

const START: Duration = Duration::from_secs(1000);

fn key(port: u16) -> ServiceKey {
    format!("tcp:192.0.2.10:{port}").parse().unwrap()
}

fn address(last: u8) -> SocketAddr {
    ([198, 51, 100, last], 80).into()
}

fn edit(store: &mut Store, request: serde_json::Value) -> Result<(), Failure> {
    store.edit(&serde_json::from_value::<Request>(request).unwrap())
}

fn destination(store: &mut Store, verb: &str, port: u16, last: u8, weight: u32) -> Result<(), Failure> {
    let spec = serde_json::json!({ "address": address(last), "method": "nat", "weight": weight });
    edit(store, serde_json::json!({ "request": verb, "service": key(port), "destination": spec }))
}

fn delete(store: &mut Store, port: u16, last: u8) -> Result<(), Failure> {
    edit(store, serde_json::json!({ "request": "delete_destination", "service": key(port), "address": address(last) }))
}

fn add_service(store: &mut Store, port: u16) -> Result<(), Failure> {
    edit(store, serde_json::json!({ "request": "add_service", "service": key(port), "scheduler": "rr" }))
}

/// Services 80 and 81 with destinations 11 (weight 10) and 12 (weight 20).
fn store() -> Store {
    let mut store = Store::new(Limits::default());
    for port in [80, 81] {
        add_service(&mut store, port).unwrap();
        destination(&mut store, "add_destination", port, 11, 10).unwrap();
        destination(&mut store, "add_destination", port, 12, 20).unwrap();
    }
    store
}

fn down() -> Health {
    Health::Down { reason: "no answer".into() }
}

fn policy(on_fail: OnFail, slow_start_secs: u32) -> Policy {
    Policy { on_fail, slow_start_secs, ..Policy::default() }
}

/// Last byte of the address and weight of what workers see of a service.
fn seen(store: &mut Store, port: u16) -> Vec<(u8, u32)> {
    let last = |d: &Arc<Destination>| match d.address {
        std::net::IpAddr::V4(a) => a.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    store.rules().find(&key(port)).unwrap().destinations.iter().map(|d| (last(d), d.weight)).collect()
}

#[test]
fn what_is_down_is_quiesced_and_comes_back_with_the_weight_of_its_rule() {
    let mut store = store();
    let rules = store.rule_set();
    assert!(store.report(&key(80), address(11), &down(), START).is_some());
    assert_eq!(seen(&mut store, 80), [(12, 20), (11, 0)]);
    assert_eq!(seen(&mut store, 81), [(12, 20), (11, 10)], "another service's");
    assert_eq!(store.rule_set(), rules);
    destination(&mut store, "edit_destination", 80, 11, 7).unwrap();
    assert_eq!(seen(&mut store, 80), [(12, 20), (11, 0)]);
    assert!(store.report(&key(80), address(11), &Health::Up, START).is_some());
    assert_eq!(seen(&mut store, 80), [(12, 20), (11, 7)]);
}

#[test]
fn what_is_down_holds_no_client() {
    let mut store = store();
    let holds = |store: &mut Store| store.rules().find(&key(80)).unwrap().destination(address(11)).unwrap().holds;
    assert!(holds(&mut store));
    store.report(&key(80), address(11), &down(), START);
    assert!(!holds(&mut store));
    store.report(&key(80), address(11), &Health::Up, START);
    assert!(holds(&mut store));
}

#[test]
fn what_is_removed_returns_to_its_place_with_what_it_has_counted() {
    let mut store = store();
    store.set_policy(&key(80), &policy(OnFail::Remove, 0)).unwrap();
    let before = store.rules().find(&key(80)).unwrap().destination(address(12)).unwrap().clone();
    store.report(&key(80), address(12), &down(), START);
    assert_eq!(seen(&mut store, 80), [(11, 10)]);
    let gone = store.rules().destination(before.id).unwrap().clone();
    assert!(!gone.available && gone.uid == before.uid);
    assert_eq!(store.forget_unused(|_| false), 0, "it is in the rules");
    store.report(&key(80), address(12), &Health::Up, START);
    assert_eq!(seen(&mut store, 80), [(12, 20), (11, 10)]);
    assert_eq!(store.rules().destination(before.id).unwrap(), &before);
}

#[test]
fn a_removal_by_checks_ends_connections_where_any_removal_does() {
    let mut store = store();
    store.set_policy(&key(80), &policy(OnFail::Remove, 0)).unwrap();
    store.report(&key(80), address(12), &down(), START);
    assert_eq!(store.rules().removals(), 0);
    edit(&mut store, serde_json::json!({ "request": "set_setting", "name": "expire_nodest_conn", "value": 1 }))
        .unwrap();
    store.report(&key(80), address(11), &down(), START);
    assert_eq!(store.rules().removals(), 1);
}

#[test]
fn the_same_said_again_changes_nothing() {
    let mut store = store();
    store.report(&key(80), address(11), &down(), START);
    let rules = store.rules();
    let other = Health::Down { reason: "refused".into() };
    for (port, last, health, what) in [
        (80, 11, &down(), "the same"),
        (80, 11, &other, "another reason"),
        (80, 99, &down(), "of a destination that is not there"),
        (99, 11, &down(), "of a service that is not there"),
    ] {
        assert_eq!(store.report(&key(port), address(last), health, START), None, "{what}");
        assert!(!store.is_stale(), "{what}");
    }
    let id = store.find(&key(80)).unwrap().destination(address(11)).unwrap().id;
    assert_eq!(store.record(id).reason(), "refused", "the last word");
    assert!(Arc::ptr_eq(&rules, &store.rules()));
}

#[test]
fn a_slow_start_grows_with_time_and_follows_the_rule() {
    let mut store = store();
    store.set_policy(&key(80), &policy(OnFail::Quiesce, 100)).unwrap();
    let weight = |store: &mut Store| seen(store, 80)[0].1;
    let at = |seconds| START + Duration::from_secs(seconds);
    store.report(&key(80), address(12), &Health::Up, START);
    assert_eq!(weight(&mut store), 20, "it was not down before");
    store.report(&key(80), address(12), &down(), START);
    store.report(&key(80), address(12), &Health::Up, START);
    assert!(store.is_warming());
    assert_eq!(weight(&mut store), 1);
    assert_eq!(store.warm(at(9)), []);
    assert!(!store.is_stale(), "nothing to tell workers");
    assert_eq!(store.warm(at(50)), []);
    assert_eq!(weight(&mut store), 10);
    destination(&mut store, "edit_destination", 80, 12, 101).unwrap();
    assert_eq!(weight(&mut store), 51);
    let warm = Event::DestinationWarm { service: key(80), destination: address(12) };
    assert_eq!(store.warm(at(100)), [warm]);
    assert!(!store.is_warming());
    assert_eq!(weight(&mut store), 101);
    let id = store.find(&key(80)).unwrap().destination(address(12)).unwrap().id;
    assert_eq!(store.record(id).standing(), Standing::Up);
}

#[test]
fn a_slow_start_that_fails_is_down_at_once() {
    let mut store = store();
    store.set_policy(&key(80), &policy(OnFail::Quiesce, 100)).unwrap();
    for health in [down(), Health::Up, down()] {
        store.report(&key(80), address(12), &health, START);
    }
    assert_eq!(seen(&mut store, 80)[0].1, 0);
    assert!(!store.is_warming());
}

#[test]
fn what_is_deleted_and_added_again_has_no_past() {
    let mut store = store();
    store.report(&key(80), address(11), &down(), START);
    delete(&mut store, 80, 11).unwrap();
    destination(&mut store, "add_destination", 80, 11, 5).unwrap();
    assert_eq!(seen(&mut store, 80), [(11, 5), (12, 20)]);
    store.set_policy(&key(81), &policy(OnFail::Remove, 9)).unwrap();
    store.report(&key(81), address(11), &down(), START);
    store.delete_service(&key(81)).unwrap();
    add_service(&mut store, 81).unwrap();
    destination(&mut store, "add_destination", 81, 11, 5).unwrap();
    assert_eq!(seen(&mut store, 81), [(11, 5)]);
    let id = store.find(&key(81)).unwrap().id;
    assert_eq!(store.policy(id), Policy::default());
}

#[test]
fn a_report_costs_what_its_service_costs() {
    let mut store = store();
    let before = store.rules();
    store.report(&key(80), address(11), &down(), START);
    let after = store.rules();
    let changed: Vec<_> = after.services.changed(&before.services).filter_map(|(_, _, now)| Some(now?.key)).collect();
    assert_eq!(changed, [key(80)]);
    assert_eq!(after.destinations.changed(&before.destinations).count(), 1);
}

fn with_sorry(quorum: u32, hysteresis: u32, on_return: &str) -> Policy {
    let text = format!(
        r#"{{"quorum":{quorum},"hysteresis":{hysteresis},"sorry":{{"address":"198.51.100.9:80","method":"nat","on_return":"{on_return}"}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn sorry(store: &mut Store) -> Destination {
    let id = store.find(&key(80)).unwrap().id;
    let id = store.sorry(id).unwrap().dest;
    Destination::clone(store.rules().destination(id).unwrap())
}

fn said(store: &mut Store) -> Vec<String> {
    store.settle();
    store.take_news().iter().map(ToString::to_string).collect()
}

#[test]
fn the_sorry_server_is_at_work_exactly_while_nothing_is_up() {
    let mut store = store();
    store.rules();
    assert_eq!(said(&mut store), Vec::<String>::new());
    store.set_policy(&key(80), &with_sorry(1, 0, "keep")).unwrap();
    assert_eq!(seen(&mut store, 80), [(12, 20), (11, 10)]);
    store.report(&key(80), address(12), &down(), START);
    assert_eq!(seen(&mut store, 80), [(12, 0), (11, 10)]);
    store.report(&key(80), address(11), &down(), START);
    assert_eq!(seen(&mut store, 80), [(9, 1), (12, 0), (11, 0)]);
    assert!(sorry(&mut store).holds);
    store.report(&key(80), address(11), &Health::Up, START);
    assert_eq!(seen(&mut store, 80), [(12, 0), (11, 10)]);
    let rests = sorry(&mut store);
    assert!(rests.available && !rests.holds && !rests.ends && rests.weight == 0);
    let of = "tcp:192.0.2.10:80";
    let want = [
        format!("{of} has lost its quorum, weight 0 of 1 is up"),
        format!("the sorry server 198.51.100.9:80 of {of} is at work"),
        format!("{of} has its quorum again, weight 10 of 1 is up"),
        format!("the sorry server 198.51.100.9:80 of {of} is at rest"),
    ];
    assert_eq!(said(&mut store), want);
}

#[test]
fn without_its_quorum_a_service_leaves_those_that_are_up_with_what_they_have() {
    let mut store = store();
    store.set_policy(&key(80), &with_sorry(25, 5, "keep")).unwrap();
    assert_eq!(seen(&mut store, 80), [(12, 20), (11, 10)]);
    store.report(&key(80), address(11), &down(), START);
    assert_eq!(seen(&mut store, 80), [(12, 20), (11, 0)], "20 is not less than 25 by more than 5");
    destination(&mut store, "edit_destination", 80, 12, 19).unwrap();
    assert_eq!(seen(&mut store, 80), [(9, 1), (12, 0), (11, 0)]);
    // Up, but no reason yet for workers to hear of it.
    store.report(&key(80), address(11), &Health::Up, START);
    assert_eq!(seen(&mut store, 80), [(9, 1), (12, 0), (11, 0)], "29 is not 30");
    destination(&mut store, "edit_destination", 80, 11, 11).unwrap();
    assert_eq!(seen(&mut store, 80), [(12, 19), (11, 11)]);
}

#[test]
fn draining_counts_as_not_being_up_and_a_slow_start_as_being_up() {
    let mut store = store();
    store.set_policy(&key(80), &Policy { slow_start_secs: 100, ..with_sorry(20, 0, "keep") }).unwrap();
    for health in [down(), Health::Up] {
        store.report(&key(80), address(12), &health, START);
    }
    assert_eq!(seen(&mut store, 80), [(12, 1), (11, 10)]);
    let drain = |verb: &str| serde_json::json!({ "request": verb, "destination": "198.51.100.12", "service": key(80) });
    edit(&mut store, drain("drain")).unwrap();
    assert_eq!(seen(&mut store, 80), [(9, 1), (12, 0), (11, 0)]);
    edit(&mut store, drain("undrain")).unwrap();
    assert_eq!(seen(&mut store, 80), [(12, 1), (11, 10)]);
}

#[test]
fn what_a_sorry_server_has_ends_if_that_is_wanted() {
    let mut store = store();
    store.set_policy(&key(80), &with_sorry(40, 0, "end")).unwrap();
    assert_eq!(seen(&mut store, 80)[0], (9, 1));
    assert_eq!(store.rules().endings(), 0);
    destination(&mut store, "add_destination", 80, 13, 10).unwrap();
    let rests = sorry(&mut store);
    assert!(rests.ends && !rests.available);
    assert_eq!(store.rules().endings(), 1);
}

#[test]
fn a_service_without_destinations_has_a_sorry_server_at_work_and_tells_of_no_quorum() {
    let mut store = Store::new(Limits::default());
    add_service(&mut store, 80).unwrap();
    store.set_policy(&key(80), &with_sorry(1, 0, "keep")).unwrap();
    assert_eq!(seen(&mut store, 80), [(9, 1)]);
    destination(&mut store, "add_destination", 80, 11, 10).unwrap();
    assert_eq!(seen(&mut store, 80), [(11, 10)]);
    let told = said(&mut store);
    assert!(told.iter().all(|event| event.starts_with("the sorry server ")), "{told:?}");
    store.set_policy(&key(80), &Policy::default()).unwrap();
    delete(&mut store, 80, 11).unwrap();
    assert_eq!(seen(&mut store, 80), []);
}

#[test]
fn a_sorry_server_is_no_destination_and_no_destination_a_sorry_server() {
    let mut store = store();
    let policy = with_sorry(1, 0, "keep");
    destination(&mut store, "add_destination", 80, 9, 1).unwrap();
    assert_eq!(store.set_policy(&key(80), &policy).unwrap_err().code, ErrorCode::DestinationExists);
    delete(&mut store, 80, 9).unwrap();
    store.set_policy(&key(80), &policy).unwrap();
    let refused = destination(&mut store, "add_destination", 80, 9, 1).unwrap_err();
    assert_eq!(refused.code, ErrorCode::DestinationExists);
    assert!(refused.message.contains("is the sorry server of"), "{refused}");
    destination(&mut store, "add_destination", 81, 9, 1).unwrap();
}

#[test]
fn a_sorry_server_that_is_replaced_or_taken_away_lives_on_for_its_connections() {
    let mut store = store();
    store.set_policy(&key(80), &with_sorry(99, 0, "keep")).unwrap();
    let first = sorry(&mut store);
    let mut other = with_sorry(99, 0, "keep");
    other.sorry = other.sorry.map(|sorry| sorry::SorrySpec { address: address(8), ..sorry });
    store.set_policy(&key(80), &other).unwrap();
    assert_eq!(seen(&mut store, 80), [(8, 1), (12, 0), (11, 0)]);
    assert!(!store.rules().destination(first.id).unwrap().available);
    store.delete_service(&key(80)).unwrap();
    assert!(store.rules().destinations.iter().filter(|d| d.of == key(80)).all(|d| !d.available));
    assert_eq!(store.forget_unused(|_| false), 4);
    add_service(&mut store, 80).unwrap();
    assert_eq!(seen(&mut store, 80), []);
}

/// What happens to the rules and beside them.
#[derive(Clone, Debug)]
enum Step {
    AddService(u16),
    DeleteService(u16),
    Add(u16, u8, u32),
    Edit(u16, u8, u32),
    Delete(u16, u8),
    Report(u16, u8, bool),
    Policy(u16, bool, u32),
    Pass(u64),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let (port, last, weight) = (|| 80_u16..83, || 11_u8..15, || 0_u32..30);
    prop_oneof![
        port().prop_map(Step::AddService),
        port().prop_map(Step::DeleteService),
        (port(), last(), weight()).prop_map(|(p, l, w)| Step::Add(p, l, w)),
        (port(), last(), weight()).prop_map(|(p, l, w)| Step::Add(p, l, w)),
        (port(), last(), weight()).prop_map(|(p, l, w)| Step::Edit(p, l, w)),
        (port(), last()).prop_map(|(p, l)| Step::Delete(p, l)),
        (port(), last(), any::<bool>()).prop_map(|(p, l, up)| Step::Report(p, l, up)),
        (port(), last(), any::<bool>()).prop_map(|(p, l, up)| Step::Report(p, l, up)),
        (port(), any::<bool>(), 0_u32..3).prop_map(|(p, remove, slow)| Step::Policy(p, remove, slow * 20)),
        (0_u64..30).prop_map(Step::Pass),
        Just(Step::Look),
    ]
}

/// A destination: last byte, weight, is it down, and the moment and length of its slow start.
type Modelled = (u8, u32, bool, Option<(u64, u32)>);

/// The same, slowly.
#[derive(Default)]
struct Model {
    policies: BTreeMap<u16, (bool, u32)>,
    /// Newest first.
    services: BTreeMap<u16, Vec<Modelled>>,
    now: u64,
}

impl Model {
    fn find(&mut self, port: u16, last: u8) -> Option<&mut Modelled> {
        self.services.get_mut(&port)?.iter_mut().find(|d| d.0 == last)
    }

    fn take(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::AddService(port) => drop(self.services.entry(port).or_default()),
            Step::DeleteService(port) => {
                self.services.remove(&port);
                self.policies.remove(&port);
            }
            Step::Add(port, last, weight) => {
                if self.find(port, last).is_none()
                    && let Some(all) = self.services.get_mut(&port)
                {
                    all.insert(0, (last, weight, false, None));
                }
            }
            Step::Edit(port, last, weight) => self.find(port, last).into_iter().for_each(|d| d.1 = weight),
            Step::Delete(port, last) => {
                self.services.get_mut(&port).into_iter().for_each(|all| all.retain(|d| d.0 != last));
            }
            Step::Report(port, last, up) => {
                let slow = self.policies.get(&port).map_or(0, |p| p.1);
                if let Some(d) = self.find(port, last).filter(|d| d.2 == up) {
                    (d.2, d.3) = (!up, (up && slow > 0).then_some((now, slow)));
                }
            }
            Step::Policy(port, remove, slow) => {
                if self.services.contains_key(&port) {
                    self.policies.insert(port, (remove, slow));
                }
            }
            Step::Pass(seconds) => self.now += seconds,
            Step::Look => {}
        }
    }

    fn seen(&self, port: u16) -> Option<Vec<(u8, u32)>> {
        let removes = self.policies.get(&port).is_some_and(|p| p.0);
        let one = |(last, weight, down, start): &Modelled| match start {
            _ if *down => (!removes).then_some((*last, 0)),
            Some((begun, length)) if *weight > 0 && self.now - begun < u64::from(*length) => {
                let tenths = u32::try_from((self.now - begun) * 10 / u64::from(*length)).unwrap();
                Some((*last, 1 + (weight - 1) * tenths / 10))
            }
            _ => Some((*last, *weight)),
        };
        Some(self.services.get(&port)?.iter().filter_map(one).collect())
    }
}

fn make(store: &mut Store, step: &Step, now: u64) {
    let now = START + Duration::from_secs(now);
    let removed = |remove| if remove { OnFail::Remove } else { OnFail::Quiesce };
    // What is refused changes nothing, which is what is wanted of it here.
    let _ = match *step {
        Step::AddService(port) => add_service(store, port),
        Step::DeleteService(port) => store.delete_service(&key(port)),
        Step::Add(port, last, weight) => destination(store, "add_destination", port, last, weight),
        Step::Edit(port, last, weight) => destination(store, "edit_destination", port, last, weight),
        Step::Delete(port, last) => delete(store, port, last),
        Step::Policy(port, remove, slow) => store.set_policy(&key(port), &policy(removed(remove), slow)).map(drop),
        Step::Report(port, last, up) => {
            store.report(&key(port), address(last), &if up { Health::Up } else { down() }, now);
            Ok(())
        }
        Step::Pass(_) => {
            store.warm(now);
            Ok(())
        }
        Step::Look => Ok(()),
    };
}

proptest! {
    #[test]
    fn workers_see_rules_and_standing_together(steps in prop::collection::vec(step(), 0..60)) {
        let (mut store, mut model) = (Store::new(Limits::default()), Model::default());
        let mut before = store.rules();
        for step in &steps {
            model.take(step);
            make(&mut store, step, model.now);
            // Now and then several changes are put in force at a time.
            if !matches!(step, Step::Look) {
                continue;
            }
            for port in 80..83 {
                let there = store.find(&key(port)).map(|_| ());
                prop_assert_eq!(there.map(|()| seen(&mut store, port)), model.seen(port), "{}", port);
            }
            let rules = store.rules();
            check(&before, &rules)?;
            before = rules;
        }
    }
}

/// Lists and index agree, availability is being listed, and what differs has another version.
fn check(before: &crate::snapshot::Rules, rules: &crate::snapshot::Rules) -> Result<(), TestCaseError> {
    let mut listed = std::collections::HashSet::new();
    for service in rules.services.iter() {
        for d in &service.destinations {
            prop_assert!(Arc::ptr_eq(d, rules.destination(d.id).unwrap()));
            listed.insert(d.id);
        }
        if let Some(old) = before.service(service.id).filter(|old| old.uid == service.uid && ***old != **service) {
            prop_assert!(old.version < service.version);
        }
    }
    for d in rules.destinations.iter() {
        prop_assert_eq!(d.available, listed.contains(&d.id));
    }
    let slots = (
        rules.services.slots().map(|s| s.cloned()).collect(),
        rules.destinations.slots().map(|d| d.cloned()).collect(),
    );
    prop_assert!(rules.is_found_like(&crate::snapshot::Rules::new(slots.0, slots.1, rules.settings)));
    Ok(())
}
