//! What a change of the rules was, found by comparing what is there after it with what was there before.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Event;
use crate::control::Configured;
use crate::destination::{DestId, Destination};
use crate::service::Service;

/// The events that made one of the other. A destination leaves without a word where its service leaves, and in the order of tables, not
/// of time. Costs what has changed.
pub(in crate::control) fn changes(before: &Configured, now: &Configured) -> Vec<Event> {
    let mut events = Vec::new();
    for (_, before, now) in now.services.changed(&before.services) {
        service(before, now, &mut events);
    }
    for (_, old, new) in now.destinations.changed(&before.destinations) {
        let in_rules = |rules: &Configured, d: &Arc<Destination>| {
            d.available && rules.sorries.get(&d.service).is_none_or(|sorry| sorry.dest != d.id)
        };
        let (old, new) = (old.filter(|d| in_rules(before, d)), new.filter(|d| in_rules(now, d)));
        destination(old, new, now, &mut events);
    }
    drains(before, now, &mut events);
    events
}

fn drains(before: &Configured, now: &Configured, events: &mut Vec<Event>) {
    let place = |id: &DestId| {
        let d = now.destinations.get(id.index()).filter(|d| d.available)?;
        Some((d.of, SocketAddr::new(d.address, d.port)))
    };
    let begun = now.draining.iter().filter(|id| !before.draining.contains(id)).filter_map(place);
    events.extend(begun.map(|(service, destination)| Event::DrainBegun { service, destination }));
    let ended = before.draining.iter().filter(|id| !now.draining.contains(id)).filter_map(place);
    events.extend(ended.map(|(service, destination)| Event::DrainEnded { service, destination }));
}

fn service(before: Option<&Arc<Service>>, now: Option<&Arc<Service>>, events: &mut Vec<Event>) {
    match (before, now) {
        (Some(before), Some(now)) if before.uid == now.uid => {
            let but_for_destinations = |s: &Service| (s.scheduler, s.persistence, s.engine, s.flags);
            if but_for_destinations(before) != but_for_destinations(now) {
                events.push(Event::ServiceEdited { service: now.key });
            }
        }
        (before, now) => {
            events.extend(before.map(|s| Event::ServiceRemoved { service: s.key }));
            events.extend(now.map(|s| Event::ServiceAdded { service: s.key }));
        }
    }
}

fn destination(
    before: Option<&Arc<Destination>>,
    now: Option<&Arc<Destination>>,
    rules: &Configured,
    events: &mut Vec<Event>,
) {
    let address = |d: &Destination| SocketAddr::new(d.address, d.port);
    match (before, now) {
        (Some(before), Some(now)) if (before.uid, before.service) == (now.uid, now.service) => {
            // That it was deleted and added again at once is an edit, if it is anything.
            if **before != (Destination { entered: before.entered, ..Destination::clone(now) }) {
                events.push(Event::DestinationEdited { service: now.of, destination: address(now) });
            }
        }
        (before, now) => {
            let stays = |d: &&Arc<Destination>| rules.services.get(d.service.index()).is_some_and(|s| s.key == d.of);
            events.extend(
                before.filter(stays).map(|d| Event::DestinationRemoved { service: d.of, destination: address(d) }),
            );
            events.extend(now.map(|d| Event::DestinationAdded { service: d.of, destination: address(d) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::Request;
    use crate::control::store::{Limits, Store};

    fn said(store: &mut Store, requests: &[&str]) -> Vec<String> {
        let before = store.configured();
        for request in requests {
            store.edit(&Request::parse(request.as_bytes()).unwrap()).unwrap();
        }
        changes(&before, &store.configured()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_changed_is_told_and_nothing_else() {
        let mut store = Store::new(Limits::default());
        let service = |verb: &str, scheduler: &str| {
            format!(r#"{{"request":"{verb}_service","service":"mark:7","scheduler":"{scheduler}"}}"#)
        };
        let destination = |verb: &str, weight: u32| {
            format!(
                r#"{{"request":"{verb}_destination","service":"mark:7","destination":{{"address":"10.0.0.1:80","weight":{weight}}}}}"#
            )
        };
        let drain = |verb: &str| format!(r#"{{"request":"{verb}","destination":"10.0.0.1"}}"#);
        let delete = r#"{"request":"delete_destination","service":"mark:7","address":"10.0.0.1:80"}"#;
        let of = |what: &str| vec![format!("destination 10.0.0.1:80 of mark:7 was {what}")];
        let service_was = |what: &str| vec![format!("service mark:7 was {what}")];
        let none = Vec::<String>::new();
        for (requests, want) in [
            (vec![service("add", "rr")], service_was("added")),
            (vec![service("edit", "rr")], none.clone()),
            (vec![service("edit", "wlc")], service_was("edited")),
            (vec![destination("add", 1)], of("added")),
            (vec![destination("edit", 1)], none.clone()),
            (vec![destination("edit", 3)], of("edited")),
            (vec![delete.to_owned(), destination("add", 3)], none.clone()),
            (vec![delete.to_owned()], of("removed")),
            (vec![destination("add", 1)], of("added")),
            (vec![drain("drain")], vec!["destination 10.0.0.1:80 of mark:7 is being drained".to_owned()]),
            (vec![drain("drain")], none.clone()),
            (
                vec![drain("undrain")],
                vec!["destination 10.0.0.1:80 of mark:7 is not being drained any more".to_owned()],
            ),
            (vec![r#"{"request":"set_timeouts","udp":7}"#.to_owned()], none),
            (vec![r#"{"request":"flush"}"#.to_owned()], service_was("removed")),
            (vec![service("add", "rr"), destination("add", 1)], [service_was("added"), of("added")].concat()),
        ] {
            let lines: Vec<_> = requests.iter().map(String::as_str).collect();
            assert_eq!(said(&mut store, &lines), want, "{requests:?}");
        }
    }
}
