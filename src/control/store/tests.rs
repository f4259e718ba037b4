use super::*;
use crate::destination::{Method, Tunnel};

fn key(port: u16) -> ServiceKey {
    format!("tcp:192.0.2.10:{port}").parse().unwrap()
}

fn service(port: u16) -> ServiceSpec {
    serde_json::from_value(serde_json::json!({ "service": key(port), "scheduler": "rr" })).unwrap()
}

fn nat(address: &str) -> DestinationSpec {
    serde_json::from_value(serde_json::json!({ "address": address, "method": "nat" })).unwrap()
}

fn store() -> Store {
    let mut store = Store::new(Limits { services: 8, destinations: 8 });
    store.add_service(&service(80)).unwrap();
    store.add_destination(&key(80), &nat("198.51.100.11:80")).unwrap();
    store
}

fn addresses(store: &Store, port: u16) -> Vec<String> {
    let service = store.find(&key(port)).unwrap();
    service.destinations.iter().map(|d| format!("{}:{}", d.address, d.port)).collect()
}

fn code<T>(result: Result<T, Failure>) -> Option<ErrorCode> {
    result.err().map(|f| f.code)
}

#[test]
fn the_newest_destination_is_first() {
    let mut store = store();
    store.add_destination(&key(80), &nat("198.51.100.12:80")).unwrap();
    assert_eq!(addresses(&store, 80), ["198.51.100.12:80", "198.51.100.11:80"]);
}

#[test]
fn services_are_refused_as_the_kernel_does() {
    let with = |change: fn(&mut ServiceSpec)| {
        let mut spec = service(81);
        change(&mut spec);
        spec
    };
    let table: [(ServiceSpec, Option<ErrorCode>); 7] = [
        (service(80), Some(ErrorCode::ServiceExists)),
        (with(|s| s.scheduler = "nosuch".into()), Some(ErrorCode::UnknownScheduler)),
        (
            with(|s| s.persistence = Some(PersistenceSpec { timeout_secs: 0, netmask: None })),
            Some(ErrorCode::OutOfRange),
        ),
        (
            with(|s| s.persistence = Some(PersistenceSpec { timeout_secs: 99_999_999, netmask: None })),
            Some(ErrorCode::OutOfRange),
        ),
        (
            with(|s| s.persistence = Some(PersistenceSpec { timeout_secs: 5, netmask: Some(Netmask::Prefix(33)) })),
            Some(ErrorCode::OutOfRange),
        ),
        (with(|s| s.persistence = Some(PersistenceSpec { timeout_secs: 5, netmask: Some(Netmask::Prefix(24)) })), None),
        (with(|s| s.one_packet = true), None),
    ];
    for (spec, want) in table {
        assert_eq!(code(store().add_service(&spec)), want, "{spec:?}");
    }
    assert_eq!(code(store().edit_service(&service(90))), Some(ErrorCode::NoSuchService));
    assert_eq!(code(store().delete_service(&key(91))), Some(ErrorCode::NoSuchService));
}

#[test]
fn destinations_are_refused_as_the_kernel_does() {
    let with = |address: &str, change: fn(&mut DestinationSpec)| {
        let mut spec = nat(address);
        change(&mut spec);
        spec
    };
    let keep = |_: &mut DestinationSpec| ();
    let table: [(DestinationSpec, Option<ErrorCode>); 16] = [
        (with("198.51.100.11:80", keep), Some(ErrorCode::DestinationExists)),
        (with("198.51.100.11:8080", |d| d.method = Method::Dr), None),
        (with("198.51.100.11:8080", keep), None),
        (with("198.51.100.15:80", |d| d.weight = 65_536), None),
        (with("198.51.100.15:80", |d| d.weight = MAX), None),
        (with("198.51.100.15:80", |d| d.weight = MAX + 1), Some(ErrorCode::OutOfRange)),
        (with("198.51.100.16:80", |d| (d.upper, d.lower) = (5, 9)), Some(ErrorCode::OutOfRange)),
        (with("198.51.100.16:80", |d| (d.upper, d.lower) = (0, 9)), Some(ErrorCode::OutOfRange)),
        (with("198.51.100.16:80", |d| (d.upper, d.lower) = (9, 9)), None),
        (with("224.0.0.1:80", keep), Some(ErrorCode::InvalidArgument)),
        (with("255.255.255.255:80", keep), Some(ErrorCode::InvalidArgument)),
        (with("0.0.0.0:80", keep), Some(ErrorCode::InvalidArgument)),
        (with("198.51.100.18:0", keep), None),
        (with("[2001:db8:2::11]:80", keep), Some(ErrorCode::InvalidArgument)),
        (with("[2001:db8:2::11]:80", |d| d.method = Method::Tun), None),
        (
            with("198.51.100.18:80", |d| {
                (d.method, d.tunnel) = (Method::Tun, Tunnel::Gue { port: 0, checksum: false, remote_checksum: false });
            }),
            Some(ErrorCode::InvalidArgument),
        ),
    ];
    const MAX: u32 = i32::MAX as u32;
    for (spec, want) in table {
        assert_eq!(code(store().add_destination(&key(80), &spec)), want, "{spec:?}");
    }
    let spec = nat("198.51.100.18:80");
    assert_eq!(code(store().add_destination(&key(99), &spec)), Some(ErrorCode::ServiceNotDefined));
    assert_eq!(code(store().edit_destination(&key(80), &spec)), Some(ErrorCode::NoSuchDestination));
    assert_eq!(code(store().delete_destination(&key(80), spec.address)), Some(ErrorCode::NoSuchDestination));
    assert_eq!(code(store().delete_destination(&key(99), spec.address)), Some(ErrorCode::ServiceNotDefined));
}

#[test]
fn a_destination_added_again_is_the_same_while_it_is_remembered() {
    let mut store = store();
    let address = "198.51.100.11:80".parse().unwrap();
    let first = store.find(&key(80)).unwrap().destinations[0].clone();
    store.delete_destination(&key(80), address).unwrap();
    assert!(!store.rules().destination(first.id).unwrap().available);
    let again = store.add_destination(&key(80), &nat("198.51.100.11:80")).unwrap();
    assert_eq!(again, first.id);
    let rules = store.rules();
    let revived = rules.destination(again).unwrap();
    assert!(revived.available && revived.uid == first.uid);

    store.delete_service(&key(80)).unwrap();
    store.add_service(&service(81)).unwrap();
    let new = store.add_service(&service(80)).unwrap();
    assert_eq!(store.add_destination(&key(80), &nat("198.51.100.11:80")).unwrap(), first.id);
    assert_eq!(store.rules().destination(first.id).unwrap().service, new);
}

#[test]
fn a_forgotten_destination_is_a_new_one_when_added_again() {
    let mut store = store();
    let address = "198.51.100.11:80".parse().unwrap();
    let first = store.find(&key(80)).unwrap().destinations[0].clone();
    store.delete_destination(&key(80), address).unwrap();
    assert_eq!(store.forget_unused(|id| id == first.id), 0);
    assert_eq!(store.forget_unused(|_| false), 1);
    assert!(store.rules().destination(first.id).is_none());
    let again = store.add_destination(&key(80), &nat("198.51.100.11:80")).unwrap();
    assert_ne!(store.rules().destination(again).unwrap().uid, first.uid);
}

#[test]
fn an_edit_to_the_same_leaves_the_service_alone() {
    let mut store = store();
    let before = store.rules();
    assert!(!store.edit_service(&service(80)).unwrap());
    assert!(Arc::ptr_eq(&before, &store.rules()));
    assert!(store.edit_service(&ServiceSpec { scheduler: "wlc".into(), ..service(80) }).unwrap());
    assert!(!Arc::ptr_eq(&before, &store.rules()));
}

#[test]
fn there_is_an_end_to_the_room() {
    let mut store = store();
    for last in 12..19 {
        store.add_destination(&key(80), &nat(&format!("198.51.100.{last}:80"))).unwrap();
    }
    assert_eq!(code(store.add_destination(&key(80), &nat("198.51.100.19:80"))), Some(ErrorCode::Full));
}
