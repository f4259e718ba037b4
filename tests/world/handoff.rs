//! What comes to another worker than its client's: by one arm, in fragments, past a device that was to steer it.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;

use pollvs::handoff::{Handoff, Parcel, Strays};
use pollvs::io::memory::VecFrame;
use pollvs::stats::{DropReason, Event};
use pollvs::steering::{Prefixes, Promise, Role, Steering};
use pollvs::verdict::{Origin, PortId, WorkerId};
use pollvs::wire::sample::{at, tcp, udp};

use super::cluster::Cluster;
use super::{INSIDE, INSIDE_MAC, OUTSIDE, packet, server_mac};

const WORKERS: u16 = 4;

fn client(n: u32) -> SocketAddr {
    (IpAddr::from(Ipv4Addr::from_bits(0xcb00_7100 + n * 7)), 1000).into()
}

/// A cluster, and which of its devices gets frame `n`: not always the owner's.
fn cluster(rules: &[&str]) -> (Cluster, impl Fn(u32) -> usize) {
    (Cluster::new(WORKERS, 1024, rules), |n| (n / 3) as usize % usize::from(WORKERS))
}

#[test]
fn by_one_arm_requests_and_replies_find_their_connection() {
    // Behind the router, as the clients are.
    let rules = ["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.18.0.11:8080 -m"];
    let (mut cluster, device) = cluster(&rules);
    for n in 0..80 {
        cluster.devices[n as usize % 4].push(OUTSIDE, tcp(client(n), at("192.0.2.10:80")).frame());
    }
    cluster.settle();
    let requests = cluster.sent(OUTSIDE);
    assert_eq!(requests.len(), 80);
    assert!(requests.iter().all(|frame| packet(frame).contains(" > 198.18.0.11 ")), "{}", packet(&requests[0]));
    for n in 0..80 {
        let reply = tcp(at("198.18.0.11:8080"), client(n)).letters("SA");
        cluster.devices[device(n)].push(OUTSIDE, reply.frame());
    }
    cluster.settle();
    let replies = cluster.sent(OUTSIDE);
    assert_eq!(replies.len(), 80);
    assert!(replies.iter().all(|frame| packet(frame).starts_with("IP 192.0.2.10 > ")), "{}", packet(&replies[0]));
    assert!(cluster.passed().is_empty());
    let owned: Vec<u64> = (0..WORKERS)
        .map(|w| (0..80).filter(|n| cluster.steering.owner(client(*n).ip()) == WorkerId(w)).count() as u64)
        .collect();
    assert_eq!(cluster.held(), owned);
    assert!(cluster.event(Event::HandedOff).iter().sum::<u64>() > 80);
}

#[test]
fn fragments_that_come_to_several_workers_are_one_datagram() {
    let rules = ["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m"];
    let (mut cluster, device) = cluster(&rules);
    let whole = |from, to, n: u32| udp(from, to).dont_fragment(false).data(vec![7; 200]).ident(n);
    for n in 0..40 {
        let question = whole(client(n), at("192.0.2.10:53"), n);
        let fragments = question.fragments(104);
        assert_eq!(fragments.len(), 2);
        // Every other datagram's first fragment comes last.
        let order = if n % 2 == 0 { [0, 1] } else { [1, 0] };
        for (turn, which) in (0..).zip(order) {
            cluster.devices[device(n + turn * 5)].push(OUTSIDE, fragments[which].clone());
        }
    }
    cluster.settle();
    assert_eq!(cluster.event(Event::Reassembled).iter().sum::<u64>(), 40);
    assert_eq!(cluster.sent(INSIDE).len(), 80, "as they came");
    for n in 0..40 {
        let answer = whole(at("198.51.100.11:53"), client(n), n).macs(server_mac(11), INSIDE_MAC);
        for (turn, fragment) in (0..).zip(answer.fragments(104)) {
            cluster.devices[device(n * 5 + turn * 3)].push(INSIDE, fragment);
        }
    }
    cluster.settle();
    let answers = cluster.sent(OUTSIDE);
    assert_eq!((answers.len(), cluster.passed().len()), (80, 0));
    assert!(answers.iter().all(|frame| packet(frame).starts_with("IP 192.0.2.10 > ")));
    assert_eq!(cluster.counters().iter().flat_map(|counters| counters.drops).sum::<u64>(), 0);
}

#[test]
fn a_device_that_steers_otherwise_than_it_was_told_is_counted_and_nothing_is_lost() {
    let promise = |role| Some(Promise { role, v4: true, v6: role == Role::Outside, proven: false });
    let steering = Steering::new(WORKERS, 7, Prefixes::default(), 5)
        .with_promises(vec![promise(Role::Outside), promise(Role::Inside)]);
    let rules = ["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"];
    let mut cluster = Cluster::steered(steering.clone(), 1024, &rules);
    let owner = |n: u32| usize::from(steering.owner(client(n).ip()).0);
    let count = |cluster: &Cluster| [OUTSIDE, INSIDE].map(|port| Strays::of_port(&cluster.strays, port.0.into()));
    // As told: to the owner, both ways.
    for n in 0..40 {
        cluster.devices[owner(n)].push(OUTSIDE, tcp(client(n), at("192.0.2.10:80")).frame());
        cluster.settle();
        let reply = tcp(at("198.51.100.11:80"), client(n)).letters("SA").macs(server_mac(11), INSIDE_MAC);
        cluster.devices[owner(n)].push(INSIDE, reply.frame());
    }
    cluster.settle();
    assert_eq!((cluster.sent(INSIDE).len(), cluster.sent(OUTSIDE).len()), (40, 40));
    assert_eq!(count(&cluster), [[0, 0], [0, 0]]);
    // To the next one.
    for n in 0..40 {
        let ack = tcp(client(n), at("192.0.2.10:80")).letters("A");
        cluster.devices[(owner(n) + 1) % 4].push(OUTSIDE, ack.frame());
    }
    // What no device was to know: a reply that comes in by the outside port, whose source is not the client.
    let server = usize::from(steering.owner(at("198.51.100.11:80").ip()).0);
    let n = (0..40).find(|n| owner(*n) != server).unwrap();
    let reply = tcp(at("198.51.100.11:80"), client(n)).letters("A");
    cluster.devices[(owner(n) + 1) % 4].push(OUTSIDE, reply.frame());
    cluster.settle();
    assert_eq!((cluster.sent(INSIDE).len(), cluster.sent(OUTSIDE).len()), (40, 1));
    assert_eq!(count(&cluster), [[41, 40], [0, 0]]);
    assert_eq!(cluster.dropped(DropReason::HandoffFull), [0; 4]);
}

#[test]
fn the_hash_of_a_device_that_has_said_its_key_back_is_believed_and_that_of_no_other() {
    for (proven, handed_over) in [(true, 0), (false, 40)] {
        let promise = Promise { role: Role::Outside, v4: true, v6: true, proven };
        let steering = Steering::new(WORKERS, 7, Prefixes::default(), 5).with_promises(vec![Some(promise), None]);
        let rules = ["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"];
        let mut cluster = Cluster::steered(steering.clone(), 1024, &rules);
        // No client is worker 0's, and the device says that all are: who is believed is seen by who hands over.
        let others = (0..1000).filter(|n| steering.owner(client(*n).ip()) != WorkerId(0));
        for n in others.take(40) {
            let hash = (0..128).find(|hash| steering.owner_of_hash(*hash) == WorkerId(0)).unwrap();
            let frame = tcp(client(n), at("192.0.2.10:80")).frame();
            cluster.devices[0].push(OUTSIDE, VecFrame::new(&frame).hashed(hash));
        }
        cluster.settle();
        assert_eq!(cluster.sent(INSIDE).len(), 40);
        let [over, _] = Strays::of_port(&cluster.strays, OUTSIDE.0.into());
        assert_eq!(over, handed_over, "proven: {proven}");
    }
}

#[test]
fn rings_between_threads_lose_nothing_that_they_took_and_keep_the_order() {
    const FRAMES: u32 = 20_000;
    let mut ends = Handoff::mesh(4, 64);
    let mut receiver = ends.remove(0);
    let send = |(from, mut end): (u32, Handoff<(u32, u32)>)| {
        thread::spawn(move || {
            let mut refused = 0;
            for n in 0..FRAMES {
                let parcel = Parcel { frame: (from, n), port: PortId(0), origin: Origin::Wire };
                end.send(WorkerId(0), parcel).unwrap();
                if n % 7 == 0 {
                    refused += end.flush().refused;
                    thread::yield_now();
                }
            }
            refused + end.flush().refused
        })
    };
    let senders: Vec<_> = (0..).zip(ends).map(send).collect();
    let (mut next, mut got) = ([0; 3], 0);
    loop {
        let over = senders.iter().all(|sender| sender.is_finished());
        while let Some(Parcel { frame: (from, n), .. }) = receiver.receive() {
            assert!(n >= next[from as usize], "overtaken");
            (next[from as usize], got) = (n + 1, got + 1);
        }
        if over {
            break;
        }
        thread::yield_now();
    }
    let refused: u64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
    assert_eq!(got + refused, 3 * u64::from(FRAMES));
}
