//! Full tables and floods: what is established is never harmed by what is new.
use super::{Fate, ROOMY, World, is};
use pollvs::director::Limits;
use pollvs::stats::{DropReason, Event};
use pollvs::wire::sample::{Sample, at, tcp};

const SMALL: Limits =
    Limits { connections: 32, connections6: 32, templates: 4, templates6: 4, destinations: 4, ftp: 64, calls: 64 };

fn nat(limits: &Limits, flags: &str) -> World {
    let service = format!("-A -t 192.0.2.10:80 -s rr {flags}");
    World::with(
        limits,
        &[&service, "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m", "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m"],
    )
}

fn from(client: u32, flags: &str) -> Sample {
    let client = std::net::Ipv4Addr::from_bits(0xcb00_7100 + client);
    tcp((std::net::IpAddr::from(client), 1000), at("192.0.2.10:80")).letters(flags)
}

#[test]
fn a_flood_into_a_full_table_is_dropped_and_established_connections_go_on() {
    let mut world = nat(&SMALL, "");
    let servers: Vec<u8> = (0..20).map(|n| world.client(&from(n, "S")).server()).collect();
    (0..20).for_each(|n| drop(world.client(&from(n, "A"))));
    let flood: Vec<Fate> = (1000..11_000).map(|n| world.client(&from(n, "S"))).collect();
    assert_eq!(flood.iter().filter(|fate| matches!(fate, Fate::Out(..))).count(), 12);
    assert_eq!(world.dropped(DropReason::TableFull), 10_000 - 12);
    for (n, server) in (0..).zip(&servers) {
        assert_eq!(world.client(&from(n, "PA")).server(), *server);
        let client = std::net::Ipv4Addr::from_bits(0xcb00_7100 + n);
        let reply = tcp(at(&format!("198.51.100.{server}:80")), (std::net::IpAddr::from(client), 1000)).letters("PA");
        assert!(matches!(world.server(&reply), Fate::Out(..)));
    }
    world.sleep(60);
    assert_eq!(world.connections().len(), 20, "half-open ones are gone after a minute");
    assert!(matches!(world.client(&from(20_000, "S")), Fate::Out(..)));
}

#[test]
fn a_full_table_does_not_touch_the_other_family() {
    let mut world = nat(&SMALL, "");
    world.ipvsadm("-A -t [2001:db8:1::10]:80 -s rr");
    world.ipvsadm("-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m");
    (0..40).for_each(|n| drop(world.client(&from(n, "S"))));
    is(&world.client(&from(99, "S")), "table_full");
    assert_eq!(world.client(&tcp(at("[2001:db8:3::5]:1"), at("[2001:db8:1::10]:80"))).server(), 11);
}

#[test]
fn counts_are_right_after_a_flood_has_expired() {
    let mut world = nat(&SMALL, "");
    (0..100).for_each(|n| drop(world.client(&from(n, "S"))));
    world.sleep(60);
    for server in ["198.51.100.11:80", "198.51.100.12:80"] {
        assert_eq!(world.load("tcp:192.0.2.10:80", server), "0/0");
    }
    assert_eq!(world.director.used(), [0; 4]);
    assert_eq!((0..32).filter(|n| matches!(world.client(&from(*n, "S")), Fate::Out(..))).count(), 32);
}

#[test]
fn without_room_for_a_template_a_client_is_served_all_the_same() {
    let mut world = nat(&SMALL, "-p 600");
    assert!((0..10).all(|n| matches!(world.client(&from(n, "S")), Fate::Out(..))));
    assert_eq!((world.templates().len(), world.connections().len()), (4, 10));
    world.sleep(2000);
    assert_eq!(world.director.used(), [0; 4]);
}

#[test]
fn one_client_port_to_very_many_services_is_refused_past_its_chain() {
    let mut world = World::with(
        &Limits { connections: 2048, ..ROOMY },
        &["-A -t 192.0.2.10:0 -s rr -p 60", "-a -t 192.0.2.10:0 -r 198.51.100.11:0 -m"],
    );
    let to = |port: u16, flags| tcp(at("203.0.113.5:1000"), at(&format!("192.0.2.10:{port}"))).letters(flags);
    let taken = (1..2000).filter(|port| matches!(world.client(&to(*port, "S")), Fate::Out(..))).count();
    assert_eq!(taken, 128);
    assert_eq!(world.dropped(DropReason::ChainFull), 1999 - 128);
    assert_eq!(world.client(&to(1, "A")).server(), 11);
    assert_eq!(
        world.client(&tcp(at("203.0.113.5:1001"), at("192.0.2.10:80"))).server(),
        11,
        "another port of the same client"
    );
    world.sleep(3000);
    assert_eq!(world.director.used(), [0; 4]);
}

#[test]
fn a_bounded_budget_ends_everything_in_the_end() {
    let mut world = nat(&ROOMY, "");
    (0..500).for_each(|n| drop(world.client(&from(n, "S"))));
    world.now = world.now + std::time::Duration::from_secs(61);
    assert_eq!(world.director.expire(world.now, 64), 64);
    let turns = (0..100).take_while(|_| world.director.expire(world.now, 64) > 0).count();
    assert!(turns <= 500 * 4 / 64, "{turns} turns: an entry is looked at once a level of the wheel");
    assert_eq!(world.director.used(), [0; 4]);
}

/// A service of that scheduler, and two destinations by that method.
fn by(scheduler: &str, method: &str) -> World {
    World::with(
        &SMALL,
        &[
            &format!("-A -t 192.0.2.10:80 -s {scheduler}"),
            &format!("-a -t 192.0.2.10:80 -r 198.51.100.11:80 {method} -w 1"),
            &format!("-a -t 192.0.2.10:80 -r 198.51.100.12:80 {method} -w 1"),
        ],
    )
}

#[test]
fn flows_beyond_a_full_table_are_forwarded_where_no_state_is_needed() {
    for (scheduler, method) in [("sh", "-g"), ("mh", "-g"), ("mh", "-i"), ("dh", "-g"), ("sh -b sh-port", "-i")] {
        let mut world = by(scheduler, method);
        let held: Vec<u8> = (0..32).map(|n| world.client(&from(n, "S")).server()).collect();
        assert_eq!(world.director.used()[0], 32);
        let beyond: Vec<u8> = (100..200).map(|n| world.client(&from(n, "S")).server()).collect();
        for flags in ["A", "PA", "A", "FA", "R"] {
            let on: Vec<u8> = (100..200).map(|n| world.client(&from(n, flags)).server()).collect();
            assert_eq!(on, beyond, "{scheduler} {method} {flags}");
        }
        assert_eq!(world.event(Event::Unremembered), 600);
        assert_eq!(world.dropped(DropReason::TableFull), 0);
        let on: Vec<u8> = (0..32).map(|n| world.client(&from(n, "A")).server()).collect();
        assert_eq!(on, held, "those with a connection go on with it");
        // The counts are the same as of flows that are remembered.
        let counted = |world: &World, last| world.traffic("tcp:192.0.2.10:80", &format!("198.51.100.{last}:80"));
        let [one, other] = [11, 12].map(|last| counted(&world, last));
        assert_eq!(one.connections + other.connections, 132);
        assert_eq!(one.in_packets + other.in_packets, 600 + 64);
    }
}

#[test]
fn flows_that_were_never_remembered_go_on_after_there_is_room_again_and_make_no_connection_until_a_syn() {
    let mut world = by("mh", "-g");
    (0..32).for_each(|n| drop(world.client(&from(n, "S"))));
    let server = world.client(&from(100, "S")).server();
    world.sleep(61);
    assert_eq!(world.director.used(), [0; 4]);
    assert_eq!(world.client(&from(100, "A")).server(), server);
    // Whoever sends such packets fills no table with them.
    (5000..6000).for_each(|n| drop(world.client(&from(n, "A"))));
    assert_eq!(world.director.used(), [0; 4]);
    // The life of an established connection after its last packet, as if there were one.
    world.sleep(899);
    assert_eq!(world.client(&from(100, "PA")).server(), server);
    assert_eq!(world.client(&from(100, "S")).server(), server);
    assert_eq!(world.director.used()[0], 1);
    world.sleep(900);
    assert!(world.client(&from(101, "A")).to_string().starts_with("kernel 0"));
}

#[test]
fn what_needs_state_is_refused_by_a_full_table_whatever_the_scheduler() {
    for (scheduler, method) in
        [("sh", "-m"), ("mh", "-m"), ("rr", "-g"), ("wlc", "-i"), ("mh -p 60", "-g"), ("lblc", "-g")]
    {
        let mut world = by(scheduler, method);
        (0..32).for_each(|n| drop(world.client(&from(n, "S"))));
        is(&world.client(&from(100, "S")), "table_full");
        assert!(world.client(&from(100, "A")).to_string().starts_with("kernel 0"), "{scheduler} {method}");
        assert_eq!(world.event(Event::Unremembered), 0);
    }
}

#[test]
fn a_flood_beside_established_connections_loses_none_of_their_packets_and_leaks_nothing() {
    let limits = Limits { connections: 4096, ..SMALL };
    let mut world = World::with(
        &limits,
        &[
            "-A -t 192.0.2.10:80 -s mh",
            "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -g",
            "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -g",
            "-A -t 192.0.2.11:80 -s rr",
            "-a -t 192.0.2.11:80 -r 198.51.100.13:80 -m",
        ],
    );
    let servers: Vec<u8> = (0..500).map(|n| world.client(&from(n, "S")).server()).collect();
    (0..500).for_each(|n| drop(world.client(&from(n, "A"))));
    let mut forged = 100_000;
    // Three minutes of a flood whose sources never come again, to both services: half-open ones end and others take their place.
    for second in 0..180 {
        for _ in 0..200 {
            forged += 1;
            let to = if forged % 2 == 0 { "192.0.2.10:80" } else { "192.0.2.11:80" };
            let client = std::net::Ipv4Addr::from_bits(0xcb00_7100 + forged);
            drop(world.client(&tcp((std::net::IpAddr::from(client), 1000), at(to)).letters("S")));
        }
        for (n, server) in (0..).zip(&servers).skip(second % 10).step_by(10) {
            assert_eq!(world.client(&from(n, "PA")).server(), *server, "second {second}");
        }
        world.sleep(1);
        assert!(world.director.used()[0] <= 4096);
    }
    let (spilled, dropped) = (world.event(Event::Unremembered), world.dropped(DropReason::TableFull));
    assert!(spilled > 5_000 && dropped > 5_000, "{spilled} forwarded, {dropped} dropped");
    assert_eq!(world.event(Event::Created) + spilled + dropped, 500 + 36_000, "every SYN is accounted for");
    world.sleep(900);
    assert_eq!(world.director.used(), [0; 4]);
    assert_eq!(world.event(Event::Created), world.event(Event::Expired));
    assert_eq!(world.load("tcp:192.0.2.10:80", "198.51.100.11:80"), "0/0");
}
