//! What one turn of a worker does besides packets is bounded, however much there is to do: new rules, the end of connections, of a million
//! at once, of all of them.
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use pollvs::director::{Change, Limits};
use pollvs::io::memory::VecFrame;
use pollvs::mailbox::Command;
use pollvs::snapshot::Snapshot;
use pollvs::stats::{DropReason, Event};
use pollvs::steering::Steering;
use pollvs::wire::checksum::Sum;
use pollvs::wire::sample::{at, tcp, udp};

use super::cluster::Cluster;
use super::{INSIDE, OUTSIDE, ROOMY, World};

/// A world of so many services of one destination each.
fn services(count: u32, scheduler: &str) -> World {
    let mut world = World::with(&Limits { destinations: 4096, ..ROOMY }, &[]);
    for n in 0..count {
        world.control.ipvsadm(&format!("-A -t {} -s {scheduler}", vip(n)));
        world.control.ipvsadm(&format!("-a -t {} -r 198.51.100.11:80 -g -w 1", vip(n)));
    }
    world.apply();
    world
}

fn client(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xcb00_7100 + n).into()
}

fn vip(n: u32) -> String {
    format!("{}:80", Ipv4Addr::from_bits(0xc000_0a00 + n))
}

/// Gives every service another destination for the one that it has.
fn move_all(world: &mut World, count: u32) -> Arc<Snapshot> {
    for n in 0..count {
        world.control.ipvsadm(&format!("-a -t {} -r 198.51.100.12:80 -g -w 1", vip(n)));
        world.control.ipvsadm(&format!("-d -t {} -r 198.51.100.11:80", vip(n)));
    }
    world.control.snapshot()
}

fn syn(world: &mut World, n: u32) -> u8 {
    world.client(&tcp((client(n), 1000), at(&vip(n)))).server()
}

/// Carries a change out: pieces, and the most bytes that one of them asked for.
fn carry_out(world: &mut World, snapshot: Arc<Snapshot>) -> (u32, u64) {
    let (mut change, mut pieces, mut most) = (Some(Change::new(snapshot)), 0, 0);
    while let Some(left) = change.take() {
        let taken = measure(|| match world.director.advance(left) {
            Ok(old) => std::mem::forget(old),
            Err(left) => change = Some(left),
        });
        (pieces, most) = (pieces + 1, most.max(taken.bytes_total));
    }
    (pieces, most)
}

#[test]
fn however_many_services_change_a_piece_of_the_change_is_as_small() {
    for scheduler in ["wlc", "mh"] {
        let [few, many] = [40, 300].map(|count| {
            let mut world = services(count, scheduler);
            let snapshot = move_all(&mut world, count);
            // Once to make room for the counters.
            carry_out(&mut world, snapshot);
            let edit = |n| format!("-e -t {} -r 198.51.100.12:80 -g -w 2", vip(n));
            (0..count).for_each(|n| world.control.ipvsadm(&edit(n)));
            let snapshot = world.control.snapshot();
            let (pieces, bytes) = carry_out(&mut world, snapshot);
            assert!(pieces >= count / 8, "{count} services of {scheduler} in {pieces} pieces");
            assert_eq!(syn(&mut world, count - 1), 12);
            bytes
        });
        assert_eq!(few, many, "{scheduler}");
    }
}

#[test]
fn one_change_among_hundreds_of_services_is_a_few_pieces() {
    let mut world = services(600, "rr");
    world.control.ipvsadm(&format!("-a -t {} -r 198.51.100.12:80 -g", vip(500)));
    let snapshot = world.control.snapshot();
    let (pieces, bytes) = carry_out(&mut world, snapshot);
    assert!(pieces <= 5 && bytes < 16_384, "{pieces} pieces, {bytes} bytes");
    assert_eq!([syn(&mut world, 500), syn(&mut world, 499)], [12, 11]);
}

#[test]
fn a_packet_in_the_middle_of_a_change_goes_by_the_rules_that_are_in_force() {
    let mut world = services(300, "mh");
    let snapshot = move_all(&mut world, 300);
    let mut change = Change::new(snapshot);
    let mut seen = [0; 2];
    for n in 0.. {
        let before = syn(&mut world, 299 - n % 300);
        assert!(before == 11 || before == 12);
        seen[usize::from(before - 11)] += 1;
        // What has moved stays moved, to the last service.
        assert!(before == 12 || seen[1] == 0, "back at the old rules");
        world.director.flush();
        change = match world.director.advance(change) {
            Ok(_) => break,
            Err(left) => left,
        };
    }
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    (0..300).for_each(|n| assert_eq!(syn(&mut world, n), 12));
}

#[test]
fn a_change_by_a_worker_takes_turns_and_is_answered_at_the_end() {
    let mut cluster = Cluster::sized(&Limits { destinations: 1024, ..ROOMY }, Steering::default(), 64, &[]);
    for n in 0..400 {
        cluster.control.ipvsadm(&format!("-A -t {} -s rr", vip(n)));
        cluster.control.ipvsadm(&format!("-a -t {} -r 198.51.100.11:80 -g", vip(n)));
    }
    let (snapshot, workers) = (cluster.control.snapshot(), cluster.workers.clone());
    let version = snapshot.version;
    workers.apply_later(&snapshot);
    // Those behind it wait.
    let report = cluster.answered(async move { workers.ask_all(Command::Report).await.unwrap() });
    assert_eq!(report[0].snapshot, version);
    assert!(report[0].turns > 400 / 8, "{} turns", report[0].turns);
    for n in 0..400 {
        cluster.devices[0].push(OUTSIDE, tcp((client(n), 1000), at(&vip(n))).frame());
    }
    cluster.settle();
    assert_eq!(cluster.all(), 400);
}

#[test]
fn all_connections_end_in_pieces_and_those_made_meanwhile_live_on() {
    let mut world = World::new(&[
        "-A -t 192.0.2.10:80 -s rr -p 60",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
        "-A -t [2001:db8:1::10]:80 -s rr",
        "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m",
    ]);
    let client = |n, port: u16| tcp((client(n), port), at("192.0.2.10:80"));
    (0..500).for_each(|n| drop(world.client(&client(n, 1000))));
    (1000..1300)
        .for_each(|port| drop(world.client(&tcp(at(&format!("[2001:db8:3::5]:{port}")), at("[2001:db8:1::10]:80")))));
    assert_eq!(world.director.used(), [500, 300, 500, 0]);
    let (mut flush, mut pieces) = (world.director.begin_flush(), 0);
    loop {
        let before = world.event(Event::Expired) + world.event(Event::TemplateExpired);
        let over = world.director.flush_some(&mut flush, 50);
        let ended = world.event(Event::Expired) + world.event(Event::TemplateExpired) - before;
        assert!(ended <= 50, "{ended} ended in a piece of 50");
        pieces += 1;
        // A client with a template and one without, where there is room by now and where there was none before.
        if pieces == 3 {
            drop(world.client(&client(7, 2000)));
            drop(world.client(&client(9_999, 2000)));
            assert_eq!(world.client(&client(7, 2000).letters("A")).server(), 11);
        }
        if over {
            break;
        }
    }
    assert!(pieces >= (500 + 300 + 500) / 50, "{pieces}");
    assert_eq!(world.director.used(), [2, 0, 2, 0]);
    assert_eq!(world.client(&client(9_999, 2000).letters("A")).server(), 11);
    world.sleep(1200);
    assert_eq!(world.director.used(), [0; 4]);
    assert_eq!(world.load("tcp:192.0.2.10:80", "198.51.100.11:80"), "0/0");
}

#[test]
fn a_worker_that_ends_all_connections_forwards_meanwhile() {
    let mut cluster = Cluster::new(1, 64, &["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -g"]);
    let from = |n| tcp((client(n), 1000), at("192.0.2.10:80"));
    (0..2000).for_each(|n| cluster.devices[0].push(OUTSIDE, from(n).frame()));
    cluster.settle();
    assert_eq!((cluster.held(), cluster.all()), (vec![2000], 2000));
    let workers = cluster.workers.clone();
    for n in 0..200 {
        cluster.devices[0].push(OUTSIDE, from(10_000 + n).frame());
    }
    cluster.answered(async move { workers.ask_all(Command::FlushConnections).await.unwrap() });
    cluster.settle();
    assert_eq!(cluster.all(), 200);
    assert!(cluster.held()[0] > 100, "what came after the first piece is there: {:?}", cluster.held());
}

/// Frames of datagrams of one flow after the other, each an IPv4 client of its own.
struct Flows {
    template: Vec<u8>,
    sum: Sum,
}

impl Flows {
    fn new() -> Self {
        let mut template = udp(at("0.0.0.0:1000"), at("192.0.2.10:53")).data(*b"query").frame();
        template[24..26].fill(0);
        // Without a checksum over addresses, as UDP over IPv4 may be.
        template[40..42].fill(0);
        let sum = Sum::new().bytes(&template[14..34]);
        Self { template, sum }
    }

    fn frame(&self, n: u32) -> VecFrame {
        let client = 0x0b00_0000 + n;
        let mut bytes = self.template.clone();
        bytes[26..30].copy_from_slice(&client.to_be_bytes());
        bytes[24..26].copy_from_slice(&self.sum.long(client).checksum().to_be_bytes());
        VecFrame::new(&bytes)
    }
}

#[test]
fn a_hundred_thousand_connections_due_at_once_end_in_a_sixth_of_a_second_and_no_turn_ends_many() {
    const COUNT: u32 = 100_000;
    // A core with little to do, one with long turns, and a slow one.
    for (turn, most) in
        [(Duration::from_micros(2), 9), (Duration::from_micros(20), 44), (Duration::from_micros(250), 493)]
    {
        let limits = Limits { connections: COUNT + 1, ..ROOMY };
        let rules = ["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -g"];
        let mut cluster = Cluster::sized(&limits, Steering::default(), 64, &rules);
        let flows = Flows::new();
        for first in (0..COUNT).step_by(32) {
            (first..(first + 32).min(COUNT)).for_each(|n| cluster.devices[0].push(OUTSIDE, flows.frame(n)));
            cluster.turn(0);
            cluster.devices[0].take(INSIDE);
        }
        cluster.settle();
        cluster.devices[0].take(INSIDE);
        assert_eq!(cluster.director(0).used()[0], COUNT);
        // On the way through the levels of the wheel.
        let mut passed = Duration::ZERO;
        while passed < Duration::from_secs(299) {
            passed += Duration::from_millis(500);
            cluster.sleep(Duration::from_millis(500));
            while cluster.turn(0) {
                passed += turn;
                cluster.sleep(turn);
            }
        }
        assert_eq!(cluster.director(0).used()[0], COUNT, "none is early");
        cluster.sleep(Duration::from_secs(300).saturating_sub(passed));
        let mut turns = 0;
        // Beside it a packet of another flow a turn, of which none is lost.
        while cluster.director(0).used()[0] > 1 {
            let before = cluster.director(0).used()[0];
            cluster.devices[0].push(OUTSIDE, flows.frame(COUNT));
            cluster.turn(0);
            let ended = before.saturating_sub(cluster.director(0).used()[0]);
            assert!(turns == 0 || ended <= most, "{ended} in turn {turns} of {turn:?}");
            cluster.sleep(turn);
            turns += 1;
        }
        cluster.settle();
        assert_eq!(cluster.dropped(DropReason::TableFull), [0]);
        assert_eq!(cluster.sent(INSIDE).len(), turns as usize);
        let took = turn * turns;
        assert!(took < Duration::from_millis(150), "{took:?} in turns of {turn:?}");
    }
}
