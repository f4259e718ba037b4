//! What the standing of a destination does to its clients: those that it has, those that templates bind to it, and new ones.

use std::time::Duration;

use super::{World, is};
use pollvs::control::standing::drain::{Drain, Templates, Whom};
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

fn drain(world: &mut World, last: u8, templates: Templates) {
    let whom = Whom::One(([198, 51, 100, last], 80).into());
    world.control.store.drain(whom, None, Drain { templates, ..Drain::default() }).unwrap();
    world.apply();
}

#[test]
fn what_is_drained_keeps_what_it_has_and_gets_nothing_new() {
    let mut world = three("", "quiesce");
    assert_eq!(syn(&mut world, "203.0.113.5:1"), 13);
    drain(&mut world, 13, Templates::Keep);
    assert_eq!(world.client(&tcp(at("203.0.113.5:1"), at("192.0.2.10:80")).letters("A")).server(), 13);
    assert_eq!(syns(&mut world, 2..6), [12, 11, 12, 11]);
    world.control.store.undrain(Whom::Server([198, 51, 100, 13].into()), Some(&key())).unwrap();
    world.apply();
    assert!(syns(&mut world, 6..9).contains(&13));
}

#[test]
fn bound_clients_of_what_is_drained_come_back_or_are_let_go() {
    for (templates, server) in [(Templates::Keep, 13), (Templates::Drop, 12)] {
        let mut world = three("-p 600", "quiesce");
        assert_eq!(syn(&mut world, "203.0.113.5:1"), 13);
        drain(&mut world, 13, templates);
        assert_eq!(syn(&mut world, "203.0.113.5:2"), server, "{templates:?}");
        assert_eq!(syn(&mut world, "203.0.113.5:3"), server, "{templates:?}");
    }
}

/// Two real servers, and 14 or the director itself as the sorry server.
fn sorry(options: &str, sorry: &str) -> World {
    let mut world = three(options, "quiesce");
    let policy = serde_json::from_str(&format!(r#"{{"sorry":{sorry}}}"#)).unwrap();
    world.control.store.set_policy(&key(), &policy).unwrap();
    world.apply();
    world
}

fn all(world: &mut World, health: &Health) {
    for last in 11..14 {
        report(world, last, health);
    }
}

#[test]
fn the_sorry_server_answers_while_nothing_is_up_and_leaves_when_something_is() {
    let mut world = sorry("-p 600", r#"{"address":"198.51.100.14:80","method":"nat"}"#);
    assert_eq!(syn(&mut world, "203.0.113.5:1"), 13);
    all(&mut world, &Health::Down { reason: "no answer".into() });
    assert_eq!(syns(&mut world, 2..5), [14, 14, 14], "its own template does not hold it");
    report(&mut world, 12, &Health::Up);
    assert_eq!(syns(&mut world, 5..8), [12, 12, 12], "nor does that of the sorry server");
    let open = tcp(at("203.0.113.5:4"), at("192.0.2.10:80")).letters("A");
    assert_eq!(world.client(&open).server(), 14, "what it has goes on");
}

#[test]
fn what_the_sorry_server_has_ends_where_that_is_wanted() {
    let mut world = sorry("", r#"{"address":"198.51.100.14:80","method":"nat","on_return":"end"}"#);
    all(&mut world, &Health::Down { reason: "no answer".into() });
    assert_eq!(syns(&mut world, 1..4), [14, 14, 14]);
    world.ipvsadm("-A -t 192.0.2.11:80 -s rr");
    world.ipvsadm("-a -t 192.0.2.11:80 -r 198.51.100.11:80 -m");
    assert_eq!(world.client(&tcp(at("203.0.113.6:1"), at("192.0.2.11:80"))).server(), 11);
    world.ipvsadm("-d -t 192.0.2.11:80 -r 198.51.100.11:80");
    report(&mut world, 12, &Health::Up);
    let open = tcp(at("203.0.113.5:1"), at("192.0.2.10:80")).letters("A");
    assert_eq!(
        world.client(&open).to_string().split(' ').next(),
        Some("kernel"),
        "of no connection, so the kernel refuses it"
    );
    world.sleep(2);
    let left = world.connections();
    assert_eq!(left.len(), 1, "only that of the removed destination, which may return: {left:?}");
    assert!(left[0].contains("203.0.113.6:1"), "{left:?}");
}

#[test]
fn an_old_connection_holds_no_client_at_a_sorry_server_that_is_at_rest() {
    let mut world = sorry("-p 600", r#"{"address":"198.51.100.14:80","method":"nat"}"#);
    all(&mut world, &Health::Down { reason: "no answer".into() });
    assert_eq!(syn(&mut world, "203.0.113.5:1"), 14);
    let letters = |letters| tcp(at("203.0.113.5:1"), at("192.0.2.10:80")).letters(letters);
    let reply = |letters| tcp(at("198.51.100.14:80"), at("203.0.113.5:1")).letters(letters);
    world.server(&reply("SA"));
    world.client(&letters("A"));
    assert_eq!(syn(&mut world, "203.0.113.5:1"), 14, "it is still at work");
    report(&mut world, 12, &Health::Up);
    assert_eq!(world.client(&letters("A")).server(), 14, "what it has goes on");
    assert_eq!(syn(&mut world, "203.0.113.5:1"), 12, "the client begins anew");
    assert_eq!(world.client(&letters("A")).server(), 12);
}

#[test]
fn a_syn_that_is_sent_again_goes_where_it_went() {
    let mut world = three("-p 600", "quiesce");
    assert_eq!(syn(&mut world, "203.0.113.5:1"), 13);
    drain(&mut world, 13, Templates::Drop);
    assert_eq!(syn(&mut world, "203.0.113.5:1"), 13);
    assert_eq!(syn(&mut world, "203.0.113.5:2"), 12);
}
