//! New rules on their way into force, a piece between bursts: a packet by them that comes before its service's scheduler has had its turn
//! allocates and frees nothing either, and goes by the new rules alone.
use std::sync::Arc;

use pollvs::director::{Change, Limits};
use pollvs::service::SchedulerName;
use pollvs::snapshot::Snapshot;
use pollvs::wire::sample::{Sample, at, tcp};

use super::quietly;
use crate::world::{Fate, ROOMY, World};

/// More services than one piece of a change deals with.
const SERVICES: u16 = 12;

/// Changes of every service, in lines of ipvsadm, and the server that they leave it with, if any. `S` stands for the scheduler, `T` for
/// another one, `V` for the service.
const STEPS: [(&[&str], Option<u8>); 10] = [
    (&["-A -t V -s S", "-a -t V -r 198.51.100.11:80 -m"], Some(11)),
    (&["-a -t V -r 198.51.100.12:80 -m -w 3", "-d -t V -r 198.51.100.11:80"], Some(12)),
    (&["-d -t V -r 198.51.100.12:80"], None),
    (&["-a -t V -r 198.51.100.13:80 -m"], Some(13)),
    (&["-E -t V -s T"], Some(13)),
    (&["-e -t V -r 198.51.100.13:80 -m -w 0"], None),
    (&["-E -t V -s S", "-e -t V -r 198.51.100.13:80 -m -w 2"], Some(13)),
    (&["-a -t V -r 198.51.100.14:80 -m -w 5", "-d -t V -r 198.51.100.13:80"], Some(14)),
    (&["-D -t V", "-A -t V -s T", "-a -t V -r 198.51.100.15:80 -m"], Some(15)),
    (&["-D -t V"], None),
];

fn vip(service: u16) -> String {
    format!("192.0.2.10:{}", 8000 + service)
}

/// A packet to each service, of clients that have not come before.
fn clients(burst: u16) -> Vec<Sample> {
    (0..SERVICES).map(|n| tcp(at(&format!("203.0.113.5:{burst}")), at(&vip(n)))).collect()
}

/// The rules after one step for every service.
fn stepped(world: &mut World, lines: &[&str], names: [&str; 2]) -> Arc<Snapshot> {
    for n in 0..SERVICES {
        for line in lines {
            let line = line.replace("-s S", &format!("-s {}", names[0])).replace("-s T", &format!("-s {}", names[1]));
            world.control.ipvsadm(&line.replace('V', &vip(n)));
        }
    }
    world.control.snapshot()
}

/// Carries the change out with packets to every service after each piece. Returns the bursts that came by the new rules before the end.
fn carry_out(world: &mut World, snapshot: Arc<Snapshot>, mut seen: impl FnMut(&[Fate])) -> u32 {
    let (version, mut late) = (snapshot.version, 0);
    let mut change = Change::new(snapshot);
    loop {
        let (left, over) = match world.director.advance(change) {
            Ok(old) => (Change::new(old), true),
            Err(left) => (left, false),
        };
        world.director.flush();
        let fates = quietly(world, &clients(1000));
        if world.director.snapshot().version == version {
            seen(&fates);
            late += u32::from(!over);
        }
        if over {
            return late;
        }
        change = left;
    }
}

#[test]
fn a_packet_amid_a_change_of_any_scheduler_allocates_nothing_and_goes_by_the_new_rules() {
    let limits = Limits { destinations: 256, ..ROOMY };
    let names = SchedulerName::ALL.iter().filter(|name| **name != SchedulerName::None).map(|name| name.name());
    let others = names.clone().cycle().skip(1);
    for names in names.zip(others).map(|(name, other)| [name, other]) {
        let mut world = World::with(&limits, &[]);
        for (lines, server) in STEPS {
            let snapshot = stepped(&mut world, lines, names);
            let late = carry_out(&mut world, snapshot, |fates| {
                for fate in fates {
                    let found = matches!(fate, Fate::Out(..)).then(|| fate.to_string());
                    let is = found.is_some_and(|fate| fate.starts_with(&format!("server {}: ", server.unwrap_or(0))));
                    assert_eq!(is, server.is_some(), "{names:?}, {lines:?}: {fate}");
                }
            });
            assert!(late > 0, "{names:?}, {lines:?}: in force at once");
        }
    }
}

#[test]
fn a_packet_amid_a_change_of_settings_allocates_nothing() {
    for name in SchedulerName::ALL.iter().map(|name| name.name()) {
        let mut world = World::with(&Limits { destinations: 256, ..ROOMY }, &[]);
        let first = stepped(&mut world, STEPS[0].0, [name; 2]);
        world.director.apply(first);
        world.control.sysctl(|s| (s.lblc_expiration, s.lblcr_expiration) = (60, 60));
        let snapshot = stepped(&mut world, STEPS[1].0, [name; 2]);
        assert!(carry_out(&mut world, snapshot, |_| {}) > 0, "{name}");
    }
}
