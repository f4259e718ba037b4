//! Workers: one owner for each client, nothing lost or overtaken on the way to it, rules changed in the middle of it all.
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pollvs::addr::MacAddr;
use pollvs::io::memory::VecFrame;
use pollvs::network::FamilyNetwork;
use pollvs::stats::{DropReason, Event};
use pollvs::steering::{Prefixes, Steering};
use pollvs::wire::sample::{DIRECTOR, ROUTER, Sample, at, tcp, udp};

use super::cluster::Cluster;
use super::{INSIDE, INSIDE_MAC, OUTSIDE, network, packet, server_mac};

const RULES: [&str; 3] = [
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m",
];

fn client(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xcb00_7100 + n * 7).into()
}

fn syn(n: u32) -> Sample {
    tcp((client(n), 1000), at("192.0.2.10:80")).ident(n)
}

fn inside(sample: Sample) -> Sample {
    sample.macs(server_mac(11), INSIDE_MAC)
}

#[test]
fn both_directions_of_a_client_come_to_its_owner_whoever_receives_them() {
    for count in [2_u16, 4] {
        let mut cluster = Cluster::new(count, 1024, &RULES);
        let clients = 200;
        for n in 0..clients {
            cluster.devices[n as usize % usize::from(count)].push(OUTSIDE, syn(n).frame());
        }
        cluster.settle();
        let sent = cluster.sent(INSIDE);
        assert_eq!(sent.len(), clients as usize);
        let owned: Vec<u64> = (0..count)
            .map(|w| (0..clients).filter(|n| cluster.steering.owner(client(*n)).0 == w).count() as u64)
            .collect();
        assert_eq!(cluster.held(), owned);
        assert!(owned.iter().all(|n| *n > 0), "{owned:?}");
        for n in 0..clients {
            let server = sent.iter().find(|f| f[26..30] == octets(client(n))).map(|f| f[33]).unwrap();
            let from = at(&format!("198.51.100.{server}:80"));
            let reply = inside(tcp(from, (client(n), 1000)).letters("SA"));
            cluster.devices[(n as usize / 3) % usize::from(count)].push(INSIDE, reply.frame());
        }
        cluster.settle();
        let back = cluster.sent(OUTSIDE);
        assert_eq!(back.len(), clients as usize);
        assert!(back.iter().all(|frame| packet(frame).starts_with("IP 192.0.2.10 > ")), "translated");
        let handed = cluster.event(Event::HandedOff).iter().sum::<u64>();
        assert_eq!(cluster.event(Event::FromHandoff).iter().sum::<u64>(), handed);
        assert!(handed > 0);
        assert_eq!(cluster.dropped(DropReason::HandoffFull), vec![0; usize::from(count)]);
        assert!(cluster.passed().is_empty());
    }
}

fn octets(address: IpAddr) -> [u8; 4] {
    let IpAddr::V4(address) = address else { panic!("an IPv4 client") };
    address.octets()
}

#[test]
fn a_flow_handed_over_keeps_its_order() {
    let mut cluster = Cluster::new(2, 1024, &RULES);
    let n = (0..).find(|n| cluster.steering.owner(client(*n)).0 == 1).unwrap();
    for seq in 0..500 {
        let flags = if seq == 0 { "S" } else { "PA" };
        cluster.devices[0].push(OUTSIDE, syn(n).letters(flags).seq(seq).frame());
    }
    cluster.settle();
    let seqs: Vec<u32> =
        cluster.sent(INSIDE).iter().map(|f| u32::from_be_bytes(f[38..42].try_into().unwrap())).collect();
    assert_eq!(seqs, (0..500).collect::<Vec<_>>());
}

#[test]
fn a_full_ring_drops_and_counts_and_nothing_else_is_lost() {
    let mut cluster = Cluster::new(2, 64, &RULES);
    for n in 0..400 {
        cluster.devices[0].push(OUTSIDE, syn(n).frame());
    }
    while cluster.turn(0) {}
    cluster.settle();
    let lost = cluster.dropped(DropReason::HandoffFull);
    let handed = cluster.event(Event::HandedOff);
    assert_eq!((handed[0], lost[1]), (64, 0));
    assert!(lost[0] > 0);
    assert_eq!(cluster.sent(INSIDE).len() as u64, 400 - lost[0]);
}

#[test]
fn a_worker_under_full_load_still_takes_what_is_handed_to_it_and_what_the_kernel_sends() {
    let mut cluster = Cluster::new(2, 1024, &RULES);
    let owned_by = |cluster: &Cluster, w: u16, skip| {
        (0..).filter(move |n| cluster.steering.owner(client(*n)).0 == w).nth(skip).unwrap()
    };
    let (own, foreign) = (owned_by(&cluster, 0, 0), owned_by(&cluster, 0, 1));
    for seq in 0..32 * 100 {
        cluster.devices[0].push(OUTSIDE, syn(own).seq(seq).frame());
    }
    cluster.devices[1].push(OUTSIDE, syn(foreign).frame());
    let arp = [&MacAddr::BROADCAST.0[..], &DIRECTOR.0, &[8, 6], &[0; 46]].concat();
    cluster.kernels[0].down.push((OUTSIDE, VecFrame::new(&arp)));
    while cluster.turn(1) {}
    (0..8).for_each(|_| assert!(cluster.turn(0)));
    let sent = cluster.sent(INSIDE);
    assert!(sent.iter().any(|f| f[26..30] == octets(client(foreign))), "the frame handed over waits behind the wire");
    assert!(cluster.sent(OUTSIDE).contains(&arp), "the kernel's frame waits behind the wire");
}

#[test]
fn a_service_applied_while_bursts_are_under_way_loses_no_frame() {
    for count in [1_u16, 2] {
        let mut cluster = Cluster::new(count, 4096, &RULES);
        let (mut pushed, mut left) = (0, 0);
        for round in 0..50_u32 {
            for n in 0..45 {
                cluster.devices[n as usize % usize::from(count)].push(OUTSIDE, syn(round * 45 + n).frame());
                pushed += 1;
            }
            // A turn or two: frames are now in every stage of the pipeline.
            cluster.turn_all();
            let step = [
                "-A -t 192.0.2.11:81 -s rr",
                "-e -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 5",
                "-D -t 192.0.2.11:81",
                "-e -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 1",
            ];
            cluster.control.ipvsadm(step[round as usize % 4]);
            let snapshot = cluster.control.snapshot();
            cluster.workers.apply_later(&snapshot);
            cluster.turn_all();
            left += cluster.all();
        }
        cluster.settle();
        left += cluster.all();
        assert_eq!(left, pushed);
        assert_eq!(cluster.held().iter().sum::<u64>(), pushed as u64);
        assert_eq!(cluster.counters().iter().flat_map(|c| c.drops).sum::<u64>(), 0);
    }
}

#[test]
fn a_next_hop_is_asked_for_its_frames_wait_and_leave_with_the_new_network() {
    let mut cluster = Cluster::new(1, 64, &["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.19:80 -m"]);
    for n in 0..36 {
        cluster.devices[0].push(OUTSIDE, syn(n).frame());
    }
    cluster.settle();
    assert!(cluster.sent(INSIDE).is_empty());
    assert_eq!(*cluster.asked.lock().unwrap(), [(INSIDE, at("198.51.100.19:0").ip())], "asked once");
    assert_eq!((cluster.event(Event::Held), cluster.dropped(DropReason::Unresolved)), (vec![32], vec![4]));
    resolve(&mut cluster);
    cluster.apply();
    cluster.settle();
    let sent = cluster.sent(INSIDE);
    assert_eq!(sent.iter().map(|f| f[..6].to_vec()).collect::<Vec<_>>(), vec![server_mac(19).0.to_vec(); 32]);
    assert_eq!(
        sent.iter().map(|f| f[26..30].to_vec()).collect::<Vec<_>>(),
        (0..32).map(|n| octets(client(n)).to_vec()).collect::<Vec<_>>()
    );
    assert!(packet(&sent[0]).starts_with("IP 203.0.113.0 > 198.51.100.19 ttl=63"), "{}", packet(&sent[0]));
    cluster.devices[0].push(OUTSIDE, syn(0).letters("A").frame());
    cluster.settle();
    assert_eq!(cluster.sent(INSIDE)[0][..6], server_mac(19).0);
}

/// Server 19 answers the kernel.
fn resolve(cluster: &mut Cluster) {
    let known = network().v4.neighbours.into_iter().map(|((port, address), mac)| (port, address, mac));
    let new = (INSIDE, u32::from_be_bytes([198, 51, 100, 19]), server_mac(19));
    let v4 = std::mem::take(&mut cluster.control.network.v4);
    cluster.control.network.v4 =
        FamilyNetwork { neighbours: FamilyNetwork::new([], vec![], known.chain([new])).neighbours, ..v4 };
}

#[test]
fn a_next_hop_that_does_not_answer_is_asked_again_and_given_up_after_three_seconds() {
    let mut cluster = Cluster::new(1, 64, &["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.19:53 -m"]);
    let query = udp((client(1), 1000), at("192.0.2.10:53")).frame();
    let mut asked = Vec::new();
    for tenth in 0..29 {
        if tenth < 8 {
            cluster.devices[0].push(OUTSIDE, query.clone());
        }
        cluster.settle();
        asked.push(cluster.asked.lock().unwrap().len());
        cluster.sleep(Duration::from_millis(100));
    }
    assert_eq!(asked[..8], [1, 1, 2, 2, 3, 3, 4, 4], "every 200 ms while frames come");
    assert_eq!(cluster.dropped(DropReason::ResolveFailed), [0]);
    cluster.sleep(Duration::from_millis(110));
    cluster.settle();
    assert_eq!(cluster.dropped(DropReason::ResolveFailed), [1]);
    cluster.sleep(Duration::from_secs(1));
    cluster.settle();
    assert_eq!(cluster.dropped(DropReason::ResolveFailed), [8]);
    resolve(&mut cluster);
    cluster.apply();
    assert!(cluster.sent(INSIDE).is_empty(), "what was given up is gone");
}

#[test]
fn frames_of_the_twin_leave_and_what_is_not_ours_goes_up() {
    let mut cluster = Cluster::new(2, 64, &RULES);
    let echo = pollvs::wire::sample::icmp(client(3), at("192.0.2.10:0").ip(), 8, 0).frame();
    let answer = pollvs::wire::sample::icmp(at("192.0.2.10:0").ip(), client(3), 0, 0).macs(DIRECTOR, ROUTER).frame();
    cluster.devices[1].push(OUTSIDE, echo.clone());
    cluster.settle();
    assert_eq!(cluster.passed(), [echo]);
    cluster.kernels[0].down.push((OUTSIDE, VecFrame::new(&answer)));
    cluster.settle();
    assert_eq!(cluster.sent(OUTSIDE), [answer]);
    assert_eq!((cluster.event(Event::Passed), cluster.event(Event::FromTwin)), (vec![0, 1], vec![1, 0]));
}

#[test]
fn workers_see_each_others_load() {
    let mut cluster = Cluster::new(
        2,
        64,
        &[
            "-A -t 192.0.2.10:80 -s lc",
            "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
            "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m",
        ],
    );
    let owned =
        |w: u16, cluster: &Cluster| (0..500).filter(|n| cluster.steering.owner(client(*n)).0 == w).collect::<Vec<_>>();
    let (ones, twos) = (owned(0, &cluster), owned(1, &cluster));
    let to = |cluster: &mut Cluster, n: u32| {
        let owner = usize::from(cluster.steering.owner(client(n)).0);
        cluster.devices[owner].push(OUTSIDE, syn(n).frame());
        cluster.settle();
        cluster.sleep(Duration::from_millis(5));
        cluster.settle();
        cluster.sent(INSIDE)[0][33]
    };
    assert_eq!([0, 1, 2].map(|n| to(&mut cluster, ones[n])), [12, 11, 12]);
    // By itself the second worker would take 11, 12, 11: ties begin elsewhere on each worker.
    assert_eq!([0, 1, 2].map(|n| to(&mut cluster, twos[n])), [11, 11, 12]);
}

#[test]
fn expiry_keeps_up_with_a_flood_of_short_flows() {
    let mut cluster = Cluster::new(1, 64, &["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m"]);
    // A whole burst of new clients each turn, sixty turns for the life of one: 1920 of 4096 entries are in use.
    for turn in 0..600_u32 {
        for n in 0..32 {
            let client = Ipv4Addr::from_bits(0x0b00_0000 + turn * 32 + n);
            cluster.devices[0].push(OUTSIDE, udp((IpAddr::from(client), 1000), at("192.0.2.10:53")).frame());
        }
        cluster.turn_all();
        cluster.sleep(Duration::from_secs(5));
    }
    assert_eq!(cluster.dropped(DropReason::TableFull), [0]);
    let held = cluster.held()[0];
    assert!(held <= 75 * 32, "{held}: some turns late at the most, when an upper slot of the wheel comes up");
}

#[test]
fn the_clients_of_a_deleted_service_still_come_to_their_owner() {
    let mut cluster = Cluster::new(2, 1024, &RULES);
    cluster.control.ipvsadm("-A -t 192.0.2.11:80 -s rr");
    cluster.apply();
    let push = |cluster: &Cluster, flags| {
        for n in 0..40 {
            cluster.devices[n as usize % 2].push(OUTSIDE, syn(n).letters(flags).frame());
        }
    };
    push(&cluster, "S");
    cluster.settle();
    assert_eq!(cluster.sent(INSIDE).len(), 40);
    cluster.control.ipvsadm("-D -t 192.0.2.10:80");
    cluster.apply();
    push(&cluster, "A");
    cluster.settle();
    assert_eq!(cluster.dropped(DropReason::DestinationGone).iter().sum::<u64>(), 40, "silently, as the kernel");
    assert!(cluster.passed().is_empty());
    cluster.control.store.forget_unused(|_| false);
    cluster.apply();
    let stranger = tcp(at("203.0.113.99:9"), at("192.0.2.10:80")).frame();
    cluster.devices[0].push(OUTSIDE, stranger.clone());
    cluster.settle();
    assert_eq!(cluster.passed(), [stranger]);
}

#[test]
fn clients_of_ipv6_have_one_owner_too() {
    let mut cluster = Cluster::new(
        4,
        1024,
        &["-A -t [2001:db8:1::10]:80 -s rr", "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m"],
    );
    let client = |n: u16| at(&format!("[2001:db8:3::{n:x}]:1000"));
    for n in 0..80 {
        let syn = tcp(client(n), at("[2001:db8:1::10]:80"));
        cluster.devices[usize::from(n % 4)].push(OUTSIDE, syn.frame());
        let reply = inside(tcp(at("[2001:db8:2::11]:80"), client(n)).letters("SA"));
        cluster.settle();
        cluster.devices[usize::from(n / 4 % 4)].push(INSIDE, reply.frame());
    }
    cluster.settle();
    assert_eq!((cluster.sent(INSIDE).len(), cluster.sent(OUTSIDE).len(), cluster.passed().len()), (80, 80, 0));
    let held = cluster.held();
    assert!(held.iter().sum::<u64>() == 80 && held.iter().all(|n| *n > 0), "{held:?}");
}

#[test]
fn a_persistent_network_has_one_owner_and_one_template() {
    let steering = Steering::new(4, 7, Prefixes { v4: 24, v6: 128 }, 5);
    let rules = [
        "-A -t 192.0.2.10:80 -s rr -p 600 -M 255.255.255.0",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.13:80 -m",
    ];
    let mut cluster = Cluster::steered(steering, 1024, &rules);
    for network in 0..8_u32 {
        for host in 0..32 {
            let client = Ipv4Addr::from_bits(0x0b00_0000 + (network << 8) + host * 7);
            let syn = tcp((IpAddr::from(client), 1000), at("192.0.2.10:80"));
            cluster.devices[host as usize % 4].push(OUTSIDE, syn.frame());
        }
        cluster.settle();
        let servers: Vec<u8> = cluster.sent(INSIDE).iter().map(|frame| frame[33]).collect();
        assert_eq!(servers, vec![servers[0]; 32], "network {network}");
    }
    assert_eq!(cluster.event(Event::TemplateCreated).iter().sum::<u64>(), 8);
}
