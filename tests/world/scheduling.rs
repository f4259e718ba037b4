//! Which destination: weights, removal and return, thresholds, services of all ports, one-packet scheduling, no service left.
use super::{Fate, World, is};
use pollvs::stats::{DropReason, Event};
use pollvs::wire::sample::{Sample, at, tcp, udp};

const SERVICE: &str = "tcp:192.0.2.10:80";

fn client(port: u16) -> Sample {
    tcp(at(&format!("203.0.113.5:{port}")), at("192.0.2.10:80"))
}

fn two() -> World {
    World::new(&[
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m",
    ])
}

fn picks(world: &mut World, ports: std::ops::Range<u16>) -> Vec<u8> {
    ports.map(|port| world.client(&client(port)).server()).collect()
}

#[test]
fn the_newest_destination_is_the_first_in_turn() {
    assert_eq!(picks(&mut two(), 1..6), [12, 11, 12, 11, 12]);
}

#[test]
fn a_quiesced_destination_keeps_its_connections_and_gets_no_new_ones() {
    let mut world = two();
    assert_eq!(picks(&mut world, 1..3), [12, 11]);
    world.ipvsadm("-e -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 0");
    assert_eq!(picks(&mut world, 3..6), [11, 11, 11]);
    assert_eq!(world.client(&client(1).letters("A")).server(), 12);
    world.ipvsadm("-e -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 0");
    let refused = world.client(&client(9)).to_string();
    assert!(
        refused.starts_with("router: IP 192.0.2.10 > 203.0.113.5") && refused.contains("ICMP type=3 code=3"),
        "{refused}"
    );
    assert_eq!(world.dropped(DropReason::NoDestination), 1);
    world.ipvsadm("-e -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 1");
    assert_eq!(world.client(&client(9)).server(), 12);
}

#[test]
fn a_removed_destination_swallows_its_clients_packets_and_gets_its_connections_back() {
    let mut world = two();
    assert_eq!(picks(&mut world, 1..3), [12, 11]);
    world.ipvsadm("-d -t 192.0.2.10:80 -r 198.51.100.12:80");
    is(&world.client(&client(1).letters("A")), "destination_gone");
    let reply = tcp(at("198.51.100.12:80"), at("203.0.113.5:1")).letters("PA");
    assert!(world.server(&reply).to_string().starts_with("router: IP 192.0.2.10 >"), "its own packets still go out");
    assert_eq!(picks(&mut world, 3..5), [11, 11]);
    world.ipvsadm("-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m");
    assert_eq!(world.client(&client(1).letters("A")).server(), 12);
    let traffic = world.traffic(SERVICE, "198.51.100.12:80");
    // What a removed destination sends is not counted.
    assert_eq!((traffic.connections, traffic.in_packets, traffic.out_packets), (1, 2, 0));
    assert_eq!(world.load(SERVICE, "198.51.100.12:80"), "1/0");
}

#[test]
fn with_expire_nodest_conn_a_connection_of_a_removed_destination_ends_at_its_next_packet() {
    let mut world = two();
    world.sysctl(|s| s.expire_nodest_conn = true);
    assert_eq!(picks(&mut world, 1..5), [12, 11, 12, 11]);
    world.ipvsadm("-d -t 192.0.2.10:80 -r 198.51.100.12:80");
    assert!(matches!(world.client(&client(1).letters("A")), Fate::Up(..)), "the local stack answers with a reset");
    assert_eq!(world.client(&client(3)).server(), 11);
    world.expire();
    assert_eq!(world.connections().len(), 3);
}

#[test]
fn with_expire_nodest_conn_a_syn_on_a_quiesced_destinations_connection_is_scheduled_anew() {
    let mut world = two();
    world.sysctl(|s| s.expire_nodest_conn = true);
    assert_eq!(picks(&mut world, 1..3), [12, 11]);
    world.ipvsadm("-e -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 0");
    assert_eq!(world.client(&client(1).letters("A")).server(), 12);
    assert_eq!(world.client(&client(1)).server(), 11);
}

#[test]
fn connections_of_a_deleted_service_are_as_of_a_removed_destination_while_others_are_left() {
    let mut world = two();
    world.ipvsadm("-A -t 192.0.2.10:81 -s rr");
    picks(&mut world, 1..2);
    world.ipvsadm("-D -t 192.0.2.10:80");
    is(&world.client(&client(1).letters("A")), "destination_gone");
    let reply = tcp(at("198.51.100.12:80"), at("203.0.113.5:1")).letters("PA");
    assert!(world.server(&reply).to_string().starts_with("router: IP 192.0.2.10 >"));
    assert_eq!(world.client(&client(2)), Fate::Up(super::OUTSIDE, client(2).frame()));
    assert_eq!(world.connections().len(), 1);
}

#[test]
fn without_any_service_all_is_the_kernels_and_entries_stay_listed() {
    let mut world = two();
    picks(&mut world, 1..2);
    world.ipvsadm("-C");
    assert_eq!(world.client(&client(1).letters("A")), Fate::Up(super::OUTSIDE, client(1).letters("A").frame()));
    let reply = tcp(at("198.51.100.12:80"), at("203.0.113.5:1")).letters("PA");
    assert!(world.server(&reply).to_string().starts_with("kernel 1: IP 198.51.100.12 > 203.0.113.5"), "untranslated");
    assert_eq!(world.connections().len(), 1);
    world.sleep(60);
    assert!(world.connections().is_empty());
}

#[test]
fn a_destination_at_its_upper_threshold_gets_no_more_until_the_lower_one_is_undercut() {
    let mut world = World::new(&[
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m -x 3 -y 2",
    ]);
    assert_eq!(picks(&mut world, 1..9), [12, 11, 12, 11, 12, 11, 11, 11]);
    let reset = |port: u16| tcp(at("198.51.100.12:80"), at(&format!("203.0.113.5:{port}"))).letters("R");
    world.server(&reset(1));
    world.sleep(10);
    assert_eq!(world.load(SERVICE, "198.51.100.12:80"), "2/0");
    assert_eq!(picks(&mut world, 9..11), [11, 11], "two are not fewer than two");
    world.server(&reset(3));
    world.sleep(10);
    assert_eq!(picks(&mut world, 11..13), [12, 11]);
}

#[test]
fn without_a_lower_threshold_three_quarters_of_the_upper_one_count() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m -x 4"]);
    assert_eq!(picks(&mut world, 1..5), [12; 4]);
    let reset = |port: u16| tcp(at("198.51.100.12:80"), at(&format!("203.0.113.5:{port}"))).letters("R");
    let refused = |fate: Fate| assert!(fate.to_string().contains("ICMP type=3 code=3"), "{fate}");
    refused(world.client(&client(9)));
    world.server(&reset(1));
    world.sleep(10);
    refused(world.client(&client(9)));
    world.server(&reset(2));
    world.sleep(10);
    assert_eq!(picks(&mut world, 9..10), [12]);
    world.ipvsadm("-e -t 192.0.2.10:80 -r 198.51.100.12:80 -m -x 0");
    assert_eq!(picks(&mut world, 30..40), [12; 10]);
}

#[test]
fn a_service_of_all_ports_keeps_each_port() {
    let mut world = World::new(&["-A -t 192.0.2.10:0 -s rr -p 300", "-a -t 192.0.2.10:0 -r 198.51.100.11:0 -m"]);
    for port in [22, 80, 8080] {
        let syn = tcp(at("203.0.113.5:1000"), at(&format!("192.0.2.10:{port}")));
        let line = world.client(&syn).to_string();
        assert!(
            line.contains(&format!("> 198.51.100.11 ttl=63 tos=0x00 id=1 len=40 DF | TCP 1000 > {port} S")),
            "{line}"
        );
    }
    assert!(matches!(world.client(&udp(at("203.0.113.5:1000"), at("192.0.2.10:53"))), Fate::Up(..)), "TCP alone");
}

#[test]
fn the_exact_port_goes_before_the_service_of_all_ports() {
    let mut world = World::new(&[
        "-A -t 192.0.2.10:0 -s rr -p 300",
        "-a -t 192.0.2.10:0 -r 198.51.100.11:0 -m",
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m",
    ]);
    assert_eq!(world.client(&client(1)).server(), 12);
    assert_eq!(world.client(&tcp(at("203.0.113.5:1"), at("192.0.2.10:81"))).server(), 11);
}

#[test]
fn one_packet_scheduling_remembers_nothing_and_translates_no_reply() {
    let mut world = World::new(&[
        "-A -u 192.0.2.10:53 -s rr -o",
        "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m",
        "-a -u 192.0.2.10:53 -r 198.51.100.12:53 -m",
    ]);
    let query = udp(at("203.0.113.5:1000"), at("192.0.2.10:53"));
    assert_eq!((0..4).map(|_| world.client(&query).server()).collect::<Vec<_>>(), [12, 11, 12, 11]);
    assert!(world.connections().is_empty());
    assert!(matches!(world.server(&udp(at("198.51.100.11:53"), at("203.0.113.5:1000"))), Fate::Up(..)));
    let traffic = world.traffic("udp:192.0.2.10:53", "198.51.100.11:53");
    assert_eq!((traffic.connections, traffic.in_packets, traffic.out_packets), (2, 2, 0));
    assert_eq!(world.load("udp:192.0.2.10:53", "198.51.100.11:53"), "0/0");
}

#[test]
fn datagrams_stay_with_their_destination_for_five_minutes() {
    let mut world = World::new(&[
        "-A -u 192.0.2.10:53 -s rr",
        "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m",
        "-a -u 192.0.2.10:53 -r 198.51.100.12:53 -m",
    ]);
    let query = udp(at("203.0.113.5:1000"), at("192.0.2.10:53"));
    assert_eq!(world.client(&query).server(), 12);
    world.sleep(299);
    assert_eq!(world.client(&query).server(), 12);
    world.sleep(299);
    world.server(&udp(at("198.51.100.12:53"), at("203.0.113.5:1000")));
    world.sleep(299);
    assert_eq!(world.client(&query).server(), 12);
    world.sleep(300);
    assert_eq!(world.client(&query).server(), 11);
    assert_eq!(world.load("udp:192.0.2.10:53", "198.51.100.12:53"), "0/0");
}

#[test]
fn changing_one_service_leaves_the_turn_of_another_alone() {
    let mut world = two();
    assert_eq!(picks(&mut world, 1..2), [12]);
    world.ipvsadm("-A -t 192.0.2.10:81 -s wrr");
    world.ipvsadm("-a -t 192.0.2.10:81 -r 198.51.100.15:81 -m");
    world.ipvsadm("-D -t 192.0.2.10:81");
    assert_eq!(picks(&mut world, 2..4), [11, 12]);
}

#[test]
fn an_edit_to_another_scheduler_keeps_the_connections() {
    let mut world = two();
    assert_eq!(picks(&mut world, 1..4), [12, 11, 12]);
    world.ipvsadm("-E -t 192.0.2.10:80 -s lc");
    assert_eq!(picks(&mut world, 4..5), [11]);
    assert_eq!(world.client(&client(1).letters("A")).server(), 12);
}

#[test]
fn an_index_used_again_starts_with_clean_counters() {
    let mut world = two();
    picks(&mut world, 1..5);
    world.ipvsadm("-d -t 192.0.2.10:80 -r 198.51.100.12:80");
    world.sleep(60);
    assert_eq!(world.control.store.forget_unused(|_| false), 1);
    world.apply();
    world.ipvsadm("-a -t 192.0.2.10:80 -r 198.51.100.13:80 -m");
    assert_eq!(world.traffic(SERVICE, "198.51.100.13:80"), Default::default());
    assert_eq!(picks(&mut world, 5..7), [13, 11]);
    assert_eq!(world.event(Event::Expired), 4);
}
