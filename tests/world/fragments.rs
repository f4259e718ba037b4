//! Packets that are too long for their way and may be cut.
use std::time::Duration;

use pollvs::stats::{DropReason, Event};
use pollvs::wire::sample::{Sample, at, icmp, tcp, udp};

use super::cluster::Cluster;
use super::{INSIDE, OUTSIDE, World, is, packet};

fn query(length: usize) -> Sample {
    udp(at("203.0.113.5:1000"), at("192.0.2.10:53")).dont_fragment(false).data(vec![7; length])
}

fn rules(method: &str) -> [String; 2] {
    ["-A -u 192.0.2.10:53 -s rr".to_owned(), format!("-a -u 192.0.2.10:53 -r 198.51.100.11:53 {method}")]
}

#[test]
fn what_may_be_fragmented_leaves_in_pieces_a_tunnels_packet_around_the_whole() {
    let table = [
        ("-m", 1500, "server 11 in pieces of 1500: IP 203.0.113.5 > 198.51.100.11 ttl=63"),
        ("-g", 1500, "server 11 in pieces of 1500: IP 203.0.113.5 > 192.0.2.10 ttl=63"),
        ("-i", 1480, "server 11 in pieces of 1500: IP 198.51.100.1 > 198.51.100.11 ttl=63"),
    ];
    for (method, fits, expected) in table {
        let mut world = World::new(&rules(method).each_ref().map(String::as_str));
        assert_eq!(world.client(&query(fits - 28)).server(), 11, "{method}");
        let line = world.client(&query(fits - 27)).to_string();
        assert!(line.starts_with(expected) && !line.contains("BAD"), "{line}");
        let traffic = world.traffic("udp:192.0.2.10:53", "198.51.100.11:53");
        assert_eq!((traffic.in_packets, traffic.in_bytes), (2, 2 * fits as u64 + 1), "{method}");
    }
}

#[test]
fn without_pmtu_disc_a_tunnel_heeds_no_df_and_has_none() {
    let mut world = World::new(&rules("-i").each_ref().map(String::as_str));
    let mut settings = world.control.store.settings();
    settings.pmtu_disc = false;
    world.control.store.set_settings(settings).unwrap();
    world.apply();
    for (length, expected) in [(100, "server 11: "), (1460, "server 11 in pieces of 1500: ")] {
        let line = world.client(&query(length).dont_fragment(true)).to_string();
        assert!(line.starts_with(&format!("{expected}IP 198.51.100.1 > 198.51.100.11 ")), "{line}");
        let (outer, inner) = line.split_once(" | ").unwrap();
        assert!(!outer.contains(" DF") && inner.contains(" DF"), "{line}");
    }
}

#[test]
fn a_reply_that_may_be_fragmented_leaves_in_pieces() {
    let mut world = World::new(&rules("-m").each_ref().map(String::as_str));
    world.client(&query(10));
    let reply = udp(at("198.51.100.11:53"), at("203.0.113.5:1000")).dont_fragment(false).data(vec![7; 1473]);
    let line = world.server(&reply).to_string();
    assert!(line.starts_with("router in pieces of 1500: IP 192.0.2.10 > 203.0.113.5 ttl=63"), "{line}");
}

#[test]
fn a_packet_of_ipv6_is_never_cut() {
    let rules = ["-A -t [2001:db8:1::10]:80 -s rr", "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m"];
    let mut world = World::new(&rules);
    let long = tcp(at("[2001:db8:3::5]:1000"), at("[2001:db8:1::10]:80")).data(vec![7; 1441]);
    let line = world.client(&long).to_string();
    assert!(line.contains("ICMP6 type=2 code=0 rest=000005dc"), "{line}");
}

#[test]
fn the_worker_sends_the_pieces_in_their_order() {
    let mut cluster = Cluster::new(1, 64, &rules("-m").each_ref().map(String::as_str));
    cluster.devices[0].push(OUTSIDE, query(2972).ident(5).frame());
    cluster.settle();
    let sent: Vec<String> = cluster.sent(INSIDE).iter().map(|frame| packet(frame)).collect();
    let starts = ["len=1500 MF | UDP 1000 > 53", "len=1500 MF frag@1480", "len=40 frag@2960"];
    assert_eq!(sent.len(), 3, "{sent:?}");
    for (line, start) in sent.iter().zip(starts) {
        is_start(line, &format!("IP 203.0.113.5 > 198.51.100.11 ttl=63 tos=0x00 id=5 {start}"));
    }
    assert_eq!((cluster.event(Event::Fragmented), cluster.event(Event::Transmitted)), (vec![1], vec![3]));
}

#[track_caller]
fn is_start(line: &str, start: &str) {
    assert!(line.starts_with(start), "{line}, not {start}");
}

#[test]
fn the_pieces_wait_together_for_the_next_hop() {
    let rules = ["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.19:53 -m"];
    let mut world = World::new(&rules);
    is(&world.client(&query(2000)), "held for 198.51.100.19 in pieces of 1500");
    let mut cluster = Cluster::new(1, 64, &rules);
    cluster.devices[0].push(OUTSIDE, query(2000).frame());
    cluster.settle();
    assert_eq!(cluster.event(Event::Held), [2]);
    assert!(cluster.sent(INSIDE).is_empty());
    cluster.sleep(Duration::from_secs(4));
    cluster.settle();
    assert_eq!(cluster.dropped(DropReason::ResolveFailed), [2]);
}

#[test]
fn without_a_buffer_the_rest_is_dropped_and_counted() {
    let mut cluster = Cluster::new(1, 64, &rules("-m").each_ref().map(String::as_str));
    cluster.devices[0].set_blanks(1);
    cluster.devices[0].push(OUTSIDE, query(2972).frame());
    cluster.devices[0].push(OUTSIDE, query(10).frame());
    cluster.settle();
    assert_eq!(cluster.sent(INSIDE).len(), 2);
    assert_eq!(cluster.dropped(DropReason::NoBuffer), [1]);
}

#[test]
fn an_error_in_fragments_comes_to_the_owner_of_the_client_that_it_is_about() {
    let rules = ["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m"];
    let mut cluster = Cluster::new(4, 64, &rules);
    let client = |n: u8| at(&format!("203.0.113.{n}:1000"));
    for n in 0..40 {
        cluster.devices[0].push(OUTSIDE, udp(client(n), at("192.0.2.10:53")).frame());
    }
    cluster.settle();
    assert_eq!(cluster.sent(INSIDE).len(), 40);
    assert!(cluster.held().iter().all(|held| *held > 0));
    for n in 0..40 {
        let quote = udp(at("192.0.2.10:53"), client(n)).ttl(55).data([7; 100]);
        let error = icmp(at("198.18.9.9:0").ip(), at("192.0.2.10:0").ip(), 3, 3).data(quote.packet()).ident(n.into());
        for fragment in error.fragments(48) {
            cluster.devices[usize::from(n) % 4].push(OUTSIDE, fragment);
        }
    }
    cluster.settle();
    let sent = cluster.sent(INSIDE);
    let about = |frame: &Vec<u8>| packet(frame).contains("ICMP type=3 code=3");
    assert_eq!(sent.iter().filter(|frame| about(frame)).count(), 40);
    assert!(sent.iter().all(|frame| packet(frame).starts_with("IP 198.18.9.9 > 198.51.100.11 ")));
    assert_eq!(cluster.event(Event::IcmpRelayed).iter().sum::<u64>(), 40);
    assert!(cluster.passed().is_empty());
}

#[test]
fn a_fragment_of_ipv6_that_no_others_can_join_goes_as_it_is() {
    let rules = ["-A -u [2001:db8:1::10]:53 -s rr", "-a -u [2001:db8:1::10]:53 -r [2001:db8:2::11]:53 -m"];
    let mut cluster = Cluster::new(1, 64, &rules);
    let query = udp(at("[2001:db8:3::5]:1000"), at("[2001:db8:1::10]:53")).data([7; 200]);
    // Ends between units, though more is to come; it ends the datagram that has begun, too.
    let [first, second] = <[_; 2]>::try_from(query.fragments(104)).unwrap();
    let odd = |fragment: &[u8]| {
        let mut fragment = fragment[..fragment.len() - 3].to_vec();
        let length = u16::try_from(fragment.len() - 54).unwrap();
        fragment[18..20].copy_from_slice(&length.to_be_bytes());
        fragment[57] |= 1;
        fragment
    };
    cluster.devices[0].push(OUTSIDE, second.clone());
    cluster.devices[0].push(OUTSIDE, odd(&first));
    cluster.devices[0].push(OUTSIDE, first.clone());
    cluster.settle();
    let sent = cluster.sent(INSIDE);
    assert_eq!(sent.len(), 1, "the datagram has lost a fragment");
    is_start(&packet(&sent[0]), "IP6 2001:db8:3::5 > 2001:db8:2::11 hlim=63");
    assert_eq!(sent[0].len(), first.len() - 3);
    assert_eq!(cluster.dropped(DropReason::FragmentBad), [1]);
    // A later one has no ports: the kernel's.
    cluster.devices[0].push(OUTSIDE, odd(&second));
    cluster.settle();
    assert_eq!(cluster.passed(), [odd(&second)]);
    // That ended the datagram of the first, which then comes again.
    cluster.devices[0].push(OUTSIDE, second);
    cluster.settle();
    assert_eq!(cluster.sent(INSIDE).len(), 0);
    cluster.devices[0].push(OUTSIDE, first);
    cluster.settle();
    assert_eq!(cluster.sent(INSIDE).len(), 2, "as they came");
}
