//! The kernel behind the twin: its own frames leave by their port, and destinations of the director itself are reached through it.
use super::{Fate, INSIDE, OUTSIDE, World, is};
use pollvs::wire::sample::{DIRECTOR, ROUTER, at, icmp, ip, tcp};

const CLIENT: &str = "203.0.113.5:1000";
const VIP: &str = "192.0.2.10:80";

#[test]
fn what_the_kernel_sends_leaves_by_its_port_as_it_is() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"]);
    let frames = [
        tcp(at("192.0.2.10:81"), at(CLIENT)).letters("RA").macs(DIRECTOR, ROUTER),
        icmp(at(VIP).ip(), at(CLIENT).ip(), 0, 0).macs(DIRECTOR, ROUTER),
        ip(at(VIP).ip(), at("224.0.0.18:0").ip(), 112).macs(DIRECTOR, pollvs::addr::MacAddr([1, 0, 0x5e, 0, 0, 18])),
        tcp(at("192.0.2.1:22"), at("198.51.100.11:4000")),
    ];
    for frame in frames {
        assert_eq!(world.twin(OUTSIDE, &frame), Fate::Out(OUTSIDE, frame.frame()));
        assert_eq!(world.twin(INSIDE, &frame), Fate::Out(INSIDE, frame.frame()));
    }
    let arp = [&[0xff; 6][..], &DIRECTOR.0, &[8, 6], &[0; 28]].concat();
    assert_eq!(world.frame(OUTSIDE, pollvs::verdict::Origin::Twin, arp.clone()), Fate::Out(OUTSIDE, arp));
}

#[test]
fn a_local_destination_of_direct_routing_is_reached_through_the_twin_untouched() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 192.0.2.1:80 -g"]);
    let syn = tcp(at(CLIENT), at(VIP)).ttl(1);
    assert_eq!(world.client(&syn), Fate::Up(OUTSIDE, syn.frame()));
    assert_eq!(world.connections(), ["TCP 60 SYN_RECV 203.0.113.5:1000 192.0.2.10:80 192.0.2.1:80"]);
    let answer = tcp(at(VIP), at(CLIENT)).letters("SA").macs(DIRECTOR, ROUTER);
    assert_eq!(world.twin(OUTSIDE, &answer), Fate::Out(OUTSIDE, answer.frame()));
}

#[test]
fn a_local_destination_of_masquerading_is_translated_both_ways() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 192.0.2.1:8080 -m"]);
    is(
        &world.client(&tcp(at(CLIENT), at(VIP))),
        "kernel 0: IP 203.0.113.5 > 192.0.2.1 ttl=64 tos=0x00 id=1 len=40 DF | TCP 1000 > 8080 S seq=1000 ack=0 win=65535",
    );
    is(
        &world.twin(OUTSIDE, &tcp(at("192.0.2.1:8080"), at(CLIENT)).letters("SA").macs(DIRECTOR, ROUTER)),
        "router: IP 192.0.2.10 > 203.0.113.5 ttl=64 tos=0x00 id=1 len=40 DF | TCP 80 > 1000 SA seq=1000 ack=0 win=65535",
    );
    assert!(world.connections()[0].contains("SYN_RECV"));
    world.client(&tcp(at(CLIENT), at(VIP)).letters("A"));
    assert!(world.connections()[0].contains("ESTABLISHED"));
}

#[test]
fn replies_to_a_client_behind_an_interface_of_the_kernel_go_up_translated() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"]);
    assert_eq!(world.client(&tcp(at("10.9.0.5:1000"), at(VIP))).server(), 11);
    let line = world.server(&tcp(at("198.51.100.11:80"), at("10.9.0.5:1000")).letters("SA")).to_string();
    assert!(line.starts_with("kernel 1: IP 192.0.2.10 > 10.9.0.5 "), "{line}");
}

#[test]
fn a_service_removed_while_in_use_is_the_kernels_again() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"]);
    world.client(&tcp(at(CLIENT), at(VIP)));
    world.ipvsadm("-D -t 192.0.2.10:80");
    assert!(matches!(world.client(&tcp(at("203.0.113.6:1"), at(VIP))), Fate::Up(..)));
}

#[test]
fn what_the_kernel_sends_to_a_virtual_address_that_it_holds_is_not_scheduled() {
    let rules = ["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -g"];
    let mut world = World::new(&rules);
    // A check of another server by the virtual address, and its answer.
    let syn = tcp(at("198.51.100.1:4000"), at(VIP)).macs(DIRECTOR, pollvs::addr::MacAddr([2, 0, 0, 0, 0, 12]));
    assert_eq!(world.twin(INSIDE, &syn), Fate::Out(INSIDE, syn.frame()));
    let answer = tcp(at(VIP), at("198.51.100.1:4000")).letters("SA");
    assert!(matches!(world.server(&answer), Fate::Up(INSIDE, _)));
    assert_eq!(world.connections(), [""; 0]);
    assert_eq!(world.client(&tcp(at(CLIENT), at(VIP))).server(), 11);
}
