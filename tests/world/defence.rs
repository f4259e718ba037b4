//! The defences, as far as they depend on chance: what `drop_entry` ends, and how much of it.
use std::time::Duration;

use super::World;
use pollvs::stats::Event;
use pollvs::wire::sample::{at, tcp};

fn world(persistence: &str) -> World {
    let service = format!("-A -t 192.0.2.10:80 -s rr {persistence}");
    World::new(&[&service, "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"])
}

fn open(world: &mut World, ports: std::ops::Range<u16>, letters: &[&str]) {
    for port in ports {
        let segment = tcp(at(&format!("203.0.113.5:{port}")), at("192.0.2.10:80"));
        letters.iter().for_each(|letters| drop(world.client(&segment.clone().letters(letters))));
    }
}

fn of_state(world: &World, state: &str) -> usize {
    world.connections().iter().filter(|line| line.contains(state)).count()
}

#[test]
fn one_entry_in_32_is_looked_at_each_second_and_the_half_open_are_dropped() {
    let mut world = world("");
    open(&mut world, 1000..1640, &["S"]);
    open(&mut world, 2000..2640, &["S", "A"]);
    world.sysctl(|s| s.drop_entry = 3);
    world.sleep(20);
    let left = of_state(&world, "SYN_RECV");
    // 640 times (1 - 1/32)^20 are 339; four standard deviations are 51.
    assert!((288..=390).contains(&left), "{left} half-open left");
    assert_eq!(of_state(&world, "ESTABLISHED"), 640, "none of them has been idle for a minute");
    assert_eq!(world.event(Event::EntryDropped), 640 - left as u64);
    let dest = world.control.store.services()[0].destinations[0].id;
    assert_eq!(world.director.load(dest).active as usize, left + 640);
}

#[test]
fn idle_connections_of_few_packets_are_thinned_out() {
    let mut world = world("");
    open(&mut world, 1000..1320, &["S", "A"]);
    open(&mut world, 2000..2320, &["S", "A", "A", "A", "A", "A", "A", "A", "A"]);
    world.sleep(60);
    world.sysctl(|s| s.drop_entry = 3);
    world.sleep(64);
    let all = world.connections();
    let [few, many] = ["203.0.113.5:1", "203.0.113.5:2"].map(|c| all.iter().filter(|l| l.contains(c)).count());
    // Two packets: every other look drops. 320 times (1 - 1/64)^64 are 117.
    assert!((75..=160).contains(&few), "{few} of 320 left");
    assert_eq!(many, 320, "nine packets are too many to be dropped");
}

#[test]
fn the_template_of_a_dropped_connection_goes_with_it_unless_it_is_assured() {
    for (letters, templates) in [(&["S"][..], 0), (&["S", "A"], 1)] {
        let mut world = world("-p 3000");
        open(&mut world, 1000..1001, letters);
        world.sleep(if templates == 0 { 1 } else { 61 });
        world.sysctl(|s| s.drop_entry = 3);
        // Half-open entries live for a minute; the packets keep it from ending by itself.
        for _ in 0..600 {
            if world.connections().is_empty() {
                break;
            }
            if templates == 0 {
                open(&mut world, 1000..1001, &["S"]);
            }
            world.sleep(1);
        }
        assert!(world.event(Event::EntryDropped) >= 1);
        assert_eq!(world.templates().len(), templates, "{:?}", world.templates());
    }
}

#[test]
fn looks_are_bounded_by_the_budget_of_a_turn() {
    let mut world = world("");
    open(&mut world, 1000..3048, &["S"]);
    world.sysctl(|s| s.drop_entry = 3);
    world.now = world.now + Duration::from_secs(1);
    let mut looks = 0;
    for _ in 0..100 {
        let done = world.director.expire(world.now, 10);
        assert!(done <= 10);
        looks += done;
    }
    assert_eq!(looks, 2048 / 32, "a share of the entries, a piece each turn");
}
