//! What the standing of a destination does to its clients: those that it has, those that templates bind to it, and new ones.

use std::time::Duration;

use super::{World, is};
use pollvs::control::standing::{Health, OnFail, Policy};
use pollvs::service::ServiceKey;
use pollvs::wire::sample::{at, tcp};

const DOWN: [&str; 2] = ["quiesce", "remove"];

fn key() -> ServiceKey {
    "tcp:192.0.2.10:80".parse().unwrap()
}

/// Three real servers under NAT; the first client gets 13.
fn three(options: &str, on_fail: &str) -> World {
    let mut rules = vec![format!("-A -t 192.0.2.10:80 -s rr {options}")];
    rules.extend((11..14).map(|last| format!("-a -t 192.0.2.10:80 -r 198.51.100.{last}:80 -m")));
    let mut world = World::new(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    let on_fail = if on_fail == "remove" { OnFail::Remove } else { OnFail::Quiesce };
    world.control.store.set_policy(&key(), &Policy { on_fail, ..Policy::default() }).unwrap();
    world.apply();
    world
}

fn report(world: &mut World, last: u8, health: &Health) {
    let news = world.control.store.report(&key(), ([198, 51, 100, last], 80).into(), health, Duration::ZERO);
    assert!(news.is_some());
    world.apply();
}

fn down(world: &mut World, last: u8) {
    report(world, last, &Health::Down { reason: "no answer".into() });
}

fn syn(world: &mut World, client: &str) -> u8 {
    world.client(&tcp(at(client), at("192.0.2.10:80"))).server()
}

fn syns(world: &mut World, ports: std::ops::Range<u16>) -> Vec<u8> {
    ports.map(|port| syn(world, &format!("203.0.113.5:{port}"))).collect()
}

#[test]
fn nothing_new_goes_to_what_is_down_until_it_is_up() {
    for on_fail in DOWN {
        let mut world = three("", on_fail);
        down(&mut world, 13);
        assert_eq!(syns(&mut world, 1..5), [12, 11, 12, 11], "{on_fail}");
        report(&mut world, 13, &Health::Up);
        let mut seen = syns(&mut world, 5..8);
        seen.sort_unstable();
        assert_eq!(seen, [11, 12, 13], "{on_fail}");
    }
}

#[test]
fn open_connections_go_on_unless_it_is_removed_and_then_when_it_is_back() {
    for on_fail in DOWN {
        let mut world = three("", on_fail);
        assert_eq!(syn(&mut world, "203.0.113.5:1"), 13);
        let ack = tcp(at("203.0.113.5:1"), at("192.0.2.10:80")).letters("A");
        down(&mut world, 13);
        let fate = world.client(&ack);
        match on_fail {
            "remove" => is(&fate, "destination_gone"),
            _ => assert_eq!(fate.server(), 13),
        }
        report(&mut world, 13, &Health::Up);
        assert_eq!(world.client(&ack).server(), 13, "{on_fail}");
    }
}

#[test]
fn templates_lead_nobody_to_what_is_down_whatever_the_setting_says() {
    for on_fail in DOWN {
        for expire in [false, true] {
            let mut world = three("-p 600", on_fail);
            world.sysctl(|s| s.expire_quiescent_template = expire);
            assert_eq!(syn(&mut world, "203.0.113.5:1"), 13);
            down(&mut world, 13);
            assert_eq!(syn(&mut world, "203.0.113.5:2"), 12, "{on_fail} {expire}");
            report(&mut world, 13, &Health::Up);
            assert_eq!(syn(&mut world, "203.0.113.5:3"), 12, "bound anew: {on_fail} {expire}");
        }
    }
}
