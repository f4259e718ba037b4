//! Services of firewall marks: which packets they get, what their templates hold together, and where a packet goes when they have
//! nobody for it.
use super::{World, is, packet};
use pollvs::family::Address;
use pollvs::network::{Fib, Policy, Route, Target};
use pollvs::stats::{DropReason, Event};
use pollvs::wire::protocol;
use pollvs::wire::sample::{Sample, at, ip, tcp, udp};

const WEB: &str =
    "iptables -t mangle -A PREROUTING -d 192.0.2.10/31 -p tcp -m multiport --dports 80,443 -j MARK --set-mark 7";

/// The mark 7 over real servers 11 to 13, with more rules before.
fn three(rules: &[&str], flags: &str) -> World {
    let service = format!("-A -f 7 -s rr {flags}");
    let servers = ["11", "12", "13"].map(|n| format!("-a -f 7 -r 198.51.100.{n}:0 -m"));
    let all: Vec<&str> =
        rules.iter().copied().chain([service.as_str()]).chain(servers.iter().map(String::as_str)).collect();
    World::new(&all)
}

fn syn(from: &str, to: &str) -> Sample {
    tcp(at(from), at(to)).letters("S")
}

#[test]
fn a_mark_holds_addresses_and_ports_together_and_each_packet_keeps_its_port() {
    let mut world = three(&[WEB], "");
    let picks = ["192.0.2.10:80", "192.0.2.11:443", "192.0.2.10:443", "192.0.2.11:80"]
        .map(|to| world.client(&syn("203.0.113.5:1000", to)));
    assert_eq!(picks.iter().map(super::Fate::server).collect::<Vec<_>>(), [13, 12, 11, 13]);
    assert!(packet(picks[1].bytes()).contains("> 198.51.100.12 ttl=63"), "{:?}", picks[1]);
    assert_eq!(world.connections()[1], "TCP 60 SYN_RECV 203.0.113.5:1000 192.0.2.10:80 198.51.100.13:80");
    let reply = world.server(&tcp(at("198.51.100.12:443"), at("203.0.113.5:1000")).letters("SA"));
    assert!(reply.to_string().starts_with("router: IP 192.0.2.11 > 203.0.113.5"), "{reply}");
    // What is not marked is the director's own.
    let own = world.client(&syn("203.0.113.5:1000", "192.0.2.10:22"));
    assert!(own.to_string().starts_with("kernel 0: "), "{own}");
    assert_eq!(world.event(Event::NoService), 1);
}

#[test]
fn a_persistent_mark_binds_a_client_for_every_address_port_and_protocol() {
    let dns = "iptables -t mangle -A PREROUTING -d 192.0.2.10 -p udp --dport 53 -j MARK --set-mark 7";
    let mut world = three(&[WEB, dns], "-p 600");
    for to in ["192.0.2.10:80", "192.0.2.11:443", "192.0.2.10:443"] {
        assert_eq!(world.client(&syn("203.0.113.5:1000", to)).server(), 13);
    }
    assert_eq!(world.client(&udp(at("203.0.113.5:9"), at("192.0.2.10:53"))).server(), 13);
    assert_eq!(world.client(&syn("203.0.113.6:1000", "192.0.2.11:80")).server(), 12);
    assert_eq!(
        world.templates(),
        ["IP 600 NONE 203.0.113.5:0 0.0.0.7:0 198.51.100.13:0", "IP 600 NONE 203.0.113.6:0 0.0.0.7:0 198.51.100.12:0"]
    );
}

#[test]
fn a_marks_template_outlives_its_server_only_renamed() {
    let mut world = three(&[WEB], "-p 600");
    assert_eq!(world.client(&syn("203.0.113.5:1000", "192.0.2.10:80")).server(), 13);
    world.ipvsadm("-d -f 7 -r 198.51.100.13:0");
    assert_eq!(world.client(&syn("203.0.113.5:1001", "192.0.2.11:80")).server(), 12);
    assert_eq!(
        world.templates(),
        [
            "IP 600 NONE 203.0.113.5:0 0.0.0.7:0 198.51.100.12:0",
            "IP 600 NONE 203.0.113.5:0 0.0.0.7:65535 198.51.100.13:65535"
        ]
    );
}

#[test]
fn ipsec_follows_its_key_exchange_to_an_address_that_is_virtual_by_its_mark() {
    let keys = "iptables -t mangle -A PREROUTING -p udp --dport 500 -j MARK --set-mark 7";
    let mut world = World::new(&[keys, "-A -f 7 -s rr", "-a -f 7 -r 198.51.100.12:0 -g"]);
    let (client, own) = (at("203.0.113.5:500"), at("192.0.2.1:500"));
    let sealed = |from: &str| ip(at(from).ip(), own.ip(), protocol::ESP).data([7; 32]);
    assert_eq!(world.client(&udp(client, own)).server(), 12);
    assert_eq!(world.client(&sealed("203.0.113.5:500")).server(), 12);
    assert!(world.client(&sealed("203.0.113.6:500")).to_string().starts_with("kernel 0: "));
}

#[test]
fn the_mark_comes_before_address_and_port() {
    let mut world = three(&[WEB, "-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.18:80 -m"], "");
    assert_eq!(world.client(&syn("203.0.113.5:1000", "192.0.2.10:80")).server(), 13);
    world.control.run("iptables -t mangle -F PREROUTING");
    world.apply();
    assert_eq!(world.client(&syn("203.0.113.5:1001", "192.0.2.10:80")).server(), 18);
    // The connection is found whatever the rules say now.
    assert_eq!(world.client(&tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).letters("A")).server(), 13);
}

#[test]
fn a_mark_without_a_service_is_as_none() {
    let mut world = World::new(&[
        "iptables -t mangle -A PREROUTING -p tcp -j MARK --set-mark 8",
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.18:80 -m",
        "-A -f 7 -s rr",
    ]);
    assert_eq!(world.client(&syn("203.0.113.5:1000", "192.0.2.10:80")).server(), 18);
}

#[test]
fn marks_of_the_families_are_apart() {
    let mut world = World::new(&[
        "iptables -t mangle -A PREROUTING -p tcp -j MARK --set-mark 7",
        "ip6tables -t mangle -A PREROUTING -d 2001:db8:1::10 -p tcp -j MARK --set-mark 7",
        "-A -f 7 -6 -s rr -p 600",
        "-a -f 7 -6 -r [2001:db8:2::11]:0 -m",
    ]);
    let four = world.client(&syn("203.0.113.5:1000", "192.0.2.10:80"));
    assert!(four.to_string().starts_with("kernel 0: "), "{four}");
    assert_eq!(world.client(&syn("[2001:db8:ffff::5]:1000", "[2001:db8:1::10]:80")).server(), 11);
    assert_eq!(world.templates(), ["IP 600 NONE [2001:db8:ffff::5]:0 [0:7::]:0 [2001:db8:2::11]:0"]);
}

#[test]
fn a_rule_may_ask_for_the_port_that_a_packet_came_in_by() {
    let rule = "iptables -t mangle -A PREROUTING -i inside -d 192.0.2.10 -j MARK --set-mark 7";
    let mut world = three(&[rule], "");
    let outside = world.client(&syn("203.0.113.5:1000", "192.0.2.10:80"));
    assert!(outside.to_string().starts_with("kernel 0: "), "{outside}");
    assert_eq!(world.server(&syn("198.51.100.18:1000", "192.0.2.10:80")).server(), 13);
}

#[test]
fn datagrams_of_a_mark_with_ops_are_scheduled_one_by_one() {
    let rule = "iptables -t mangle -A PREROUTING -d 192.0.2.10 -j MARK --set-mark 7";
    let mut world = three(&[rule], "-o");
    let picks = [1, 2, 3, 4].map(|_| world.client(&udp(at("203.0.113.5:9"), at("192.0.2.10:53"))).server());
    assert_eq!((picks, world.connections().len()), ([13, 12, 11, 13], 0));
    world.client(&syn("203.0.113.5:9", "192.0.2.10:53"));
    assert_eq!(world.connections().len(), 1, "TCP is no datagram");
}

/// A policy that delivers packets of the mark to everywhere.
fn deliver<A: Address>(mark: u32) -> Policy<A> {
    let everywhere = Route { network: A::default(), prefix: 0, metric: 0, target: Target::Local };
    Policy { mask: u32::MAX, mark, table: Fib::new(vec![everywhere]) }
}

const ALL: &str = "iptables -t mangle -A PREROUTING -p tcp --dport 80 -j MARK --set-mark 7";

#[test]
fn packets_to_others_are_the_directors_by_route_or_by_policy() {
    let mut world = three(&[ALL], "");
    let to_others = syn("203.0.113.5:1000", "198.18.0.1:80");
    assert!(world.client(&to_others).to_string().starts_with("kernel 0: "), "forwarded by the kernel");
    world.control.network.v4.policies = vec![deliver(8), deliver(7)];
    world.apply();
    assert_eq!(world.client(&to_others).server(), 13);
    assert_eq!(world.connections(), ["TCP 60 SYN_RECV 203.0.113.5:1000 198.18.0.1:80 198.51.100.13:80"]);
    let reply = world.server(&tcp(at("198.51.100.13:80"), at("203.0.113.5:1000")).letters("SA"));
    assert!(reply.to_string().starts_with("router: IP 198.18.0.1 > 203.0.113.5"), "{reply}");
}

#[test]
fn nobody_answers_in_the_name_of_an_address_that_is_the_directors_by_policy_only() {
    let mut world = World::new(&[ALL, "-A -f 7 -s rr"]);
    world.control.network.v4.policies = vec![deliver(7)];
    world.apply();
    is(&world.client(&syn("203.0.113.5:1000", "198.18.0.1:80")), DropReason::NoDestination.name());
    let own = world.client(&syn("203.0.113.5:1000", "192.0.2.10:80"));
    assert!(own.to_string().contains("ICMP type=3 code=3"), "{own}");
}

#[test]
fn who_finds_no_server_is_sent_to_the_address_that_he_asked_for() {
    let mut world = World::new(&[ALL, "-A -f 7 -s rr -p 60"]);
    world.control.network.v4.policies = vec![deliver(7)];
    world.sysctl(|s| s.cache_bypass = true);
    let flow = |letters| tcp(at("203.0.113.5:1000"), at("198.51.100.14:80")).letters(letters);
    let first = world.client(&flow("S"));
    assert!(first.to_string().starts_with("server 14: IP 203.0.113.5 > 198.51.100.14 ttl=63"), "{first}");
    assert_eq!(world.client(&flow("A")).server(), 14);
    assert_eq!(world.connections(), ["TCP 900 ESTABLISHED 203.0.113.5:1000 198.51.100.14:80 0.0.0.0:0"]);
    // No server is waited for, nor is the connection's missing destination one that was removed.
    world.sysctl(|s| s.expire_nodest_conn = true);
    assert_eq!(world.client(&flow("FA")).server(), 14);
    assert!(world.connections()[0].starts_with("TCP 60 CLOSE_WAIT"), "{:?}", world.connections());
    world.sleep(61);
    assert_eq!((world.connections().len(), world.event(Event::Expired)), (0, 1));
    // An address of the director's own is no way past it.
    let own = world.client(&syn("203.0.113.5:1000", "192.0.2.10:80"));
    assert!(own.to_string().contains("ICMP type=3 code=3"), "{own}");
}

#[test]
fn a_removed_mark_service_still_gets_the_packets_of_its_connections() {
    let mut world = three(&[ALL, "-A -u 192.0.2.11:53"], "");
    world.control.network.v4.policies = vec![deliver(7)];
    world.apply();
    let flow = |letters| tcp(at("203.0.113.5:1000"), at("198.18.0.1:80")).letters(letters);
    assert_eq!(world.client(&flow("S")).server(), 13);
    world.ipvsadm("-D -f 7");
    is(&world.client(&flow("A")), DropReason::DestinationGone.name());
}
