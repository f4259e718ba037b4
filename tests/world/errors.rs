//! The errors that the director itself sends: to whom, from which address, with which quotation, how many.
use super::{Fate, World, is};
use pollvs::frame::Frame as _;
use pollvs::io::memory::VecFrame;
use pollvs::network::{Fib, Route, Target};
use pollvs::stats::{DropReason, Event};
use pollvs::wire::sample::{Sample, at, tcp, udp};
use pollvs::wire::show;

const CLIENT: &str = "203.0.113.5:1000";
const VIP: &str = "192.0.2.10:80";

fn world(method: &str) -> World {
    World::new(&["-A -t 192.0.2.10:80 -s rr", &format!("-a -t 192.0.2.10:80 -r 198.51.100.11:80 {method}")])
}

fn syn() -> Sample {
    tcp(at(CLIENT), at(VIP))
}

#[test]
fn no_usable_destination_is_a_port_unreachable_from_the_virtual_address() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-A -t [2001:db8:1::10]:80 -s rr"]);
    is(
        &world.client(&syn()),
        "router: IP 192.0.2.10 > 203.0.113.5 ttl=64 tos=0xc0 id=0 len=68 | ICMP type=3 code=3 rest=00000000 \
         {IP 203.0.113.5 > 192.0.2.10 ttl=64 tos=0x00 id=1 len=40 DF | TCP 1000 > 80 S seq=1000 ack=0 win=65535}",
    );
    is(
        &world.client(&tcp(at("[2001:db8:3::5]:1000"), at("[2001:db8:1::10]:80"))),
        "router: IP6 2001:db8:1::10 > 2001:db8:3::5 hlim=64 tc=0x00 plen=68 | ICMP6 type=1 code=4 rest=00000000 \
         {IP6 2001:db8:3::5 > 2001:db8:1::10 hlim=64 tc=0x00 plen=20 | TCP 1000 > 80 S seq=1000 ack=0 win=65535}",
    );
    assert_eq!((world.dropped(DropReason::NoDestination), world.event(Event::IcmpSent)), (2, 2));
    assert_eq!(world.director.used(), [0; 4]);
}

#[test]
fn a_ttl_that_runs_out_is_told_by_every_method_in_both_directions() {
    for method in ["-m", "-g", "-i"] {
        let mut world = world(method);
        for ttl in [0, 1] {
            let line = world.client(&syn().ttl(ttl)).to_string();
            assert!(line.starts_with("router: IP 192.0.2.10 > 203.0.113.5 ttl=64"), "{line}");
            assert!(
                line.contains("ICMP type=11 code=0") && line.contains(&format!("ttl={ttl} tos=0x00 id=1")),
                "{line}"
            );
        }
        assert_eq!(world.client(&syn().ttl(2)).server(), 11);
    }
    let mut world = world("-m");
    world.client(&syn());
    is(
        &world.server(&tcp(at("198.51.100.11:80"), at(CLIENT)).letters("SA").ttl(1)),
        "server 11: IP 198.51.100.1 > 198.51.100.11 ttl=64 tos=0xc0 id=0 len=68 | ICMP type=11 code=0 rest=00000000 \
         {IP 198.51.100.11 > 203.0.113.5 ttl=1 tos=0x00 id=1 len=40 DF | TCP 80 > 1000 SA seq=1000 ack=0 win=65535}",
    );
}

#[test]
fn a_packet_longer_than_the_way_is_told_what_would_fit() {
    for (method, fits) in [("-m", 1500), ("-g", 1500), ("-i", 1480)] {
        let mut world = world(method);
        world.client(&syn());
        let data = |len: usize| syn().letters("A").data(vec![7; len - 40]);
        assert_eq!(world.client(&data(fits)).server(), 11, "{method}");
        let line = world.client(&data(fits + 1)).to_string();
        let expected = format!(
            "router: IP 192.0.2.10 > 203.0.113.5 ttl=64 tos=0xc0 id=0 len=576 | ICMP type=3 code=4 rest=0000{fits:04x}"
        );
        assert!(line.starts_with(&expected), "{line}");
        // With the TTL that it would have left with, as the kernel quotes it.
        assert!(line.contains("ttl=63 tos=0x00 id=1"), "{line}");
        assert_eq!(world.dropped(DropReason::TooBig), 1);
    }
}

#[test]
fn too_big_in_ipv6_quotes_up_to_the_least_mtu() {
    let mut world =
        World::new(&["-A -t [2001:db8:1::10]:80 -s rr", "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -i"]);
    let line =
        world.client(&tcp(at("[2001:db8:3::5]:1000"), at("[2001:db8:1::10]:80")).data(vec![1; 1401])).to_string();
    assert!(
        line.starts_with(
            "router: IP6 2001:db8:1::10 > 2001:db8:3::5 hlim=64 tc=0x00 plen=1240 | ICMP6 type=2 code=0 rest=000005b4"
        ),
        "{line}"
    );
    assert!(!line.contains("BAD"), "{line}");
}

#[test]
fn a_reply_that_is_too_long_is_told_to_the_server_untranslated() {
    let mut world = world("-m");
    world.control.network.ports[0].mtu = 1400;
    world.apply();
    world.client(&syn());
    let reply = tcp(at("198.51.100.11:80"), at(CLIENT)).letters("PA").data(vec![1; 1400]);
    let line = world.server(&reply).to_string();
    assert!(line.starts_with("server 11: IP 198.51.100.1 > 198.51.100.11 "), "{line}");
    assert!(
        line.contains("ICMP type=3 code=4 rest=00000578") && line.contains("{IP 198.51.100.11 > 203.0.113.5"),
        "{line}"
    );
}

#[test]
fn no_way_to_the_destination_is_a_host_unreachable() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 10.66.0.1:80 -m"]);
    let line = world.client(&syn()).to_string();
    assert!(line.starts_with("router: IP 192.0.2.10 > 203.0.113.5") && line.contains("ICMP type=3 code=1"), "{line}");
    assert_eq!((world.dropped(DropReason::NoRoute), world.connections().len()), (1, 1));
}

#[test]
fn a_tunnel_without_an_address_of_the_directors_has_no_way() {
    let mut world = world("-i");
    let route = Route {
        network: u32::from_be_bytes([198, 51, 100, 0]),
        prefix: 24,
        metric: 0,
        target: Target::Via { port: super::INSIDE, gateway: None, source: None, mtu: 0 },
    };
    world.control.network.v4.fib = Fib::new(vec![route]);
    world.apply();
    assert_eq!(world.client(&syn()), Fate::Dropped(DropReason::NoRoute));
}

#[test]
fn errors_are_limited_to_a_burst_and_so_many_a_second() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr"]);
    world.sysctl(|s| s.icmp_msgs_per_sec = 10);
    let told = |world: &mut World, n: u32| (0..n).filter(|_| matches!(world.client(&syn()), Fate::Out(..))).count();
    assert_eq!(told(&mut world, 200), 50);
    world.sleep(1);
    assert_eq!(told(&mut world, 200), 10);
    world.sleep(100);
    assert_eq!(told(&mut world, 200), 10, "the bucket fills at the rate, a second at most");
    assert_eq!(world.dropped(DropReason::NoDestination), 600);
    world.sysctl(|s| s.icmp_msgs_per_sec = 0);
    assert_eq!(told(&mut world, 200), 200);
}

#[test]
fn an_error_that_cannot_be_sent_is_a_drop_counted_once() {
    for (client, wherever) in [("10.66.0.9:1000", "nowhere"), ("10.9.0.9:1000", "behind an interface of the kernel")] {
        let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr"]);
        assert_eq!(world.client(&tcp(at(client), at(VIP))), Fate::Dropped(DropReason::NoDestination), "{wherever}");
        assert_eq!(world.director.counters().drops.iter().sum::<u64>(), 1);
        assert_eq!(world.event(Event::IcmpSent), 0);
    }
}

#[test]
fn sources_that_nobody_can_have_start_no_connection_and_get_no_error() {
    let mut world = World::new(&[
        "-A -u 192.0.2.10:53 -s rr",
        "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m",
        "-A -u [2001:db8:1::10]:53 -s rr",
    ]);
    for source in
        ["0.0.0.0:53", "127.0.0.1:53", "224.0.0.1:53", "255.255.255.255:53", "192.0.2.10:53", "198.51.100.1:53"]
    {
        let frame = udp(at(source), at("192.0.2.10:53"));
        assert_eq!(world.client(&frame), Fate::Up(super::OUTSIDE, frame.frame()), "{source} is the kernel's to drop");
    }
    for source in ["[::]:53", "[::1]:53", "[ff02::1]:53", "[2001:db8:1::10]:53"] {
        let frame = udp(at(source), at("[2001:db8:1::10]:53"));
        assert_eq!(world.client(&frame), Fate::Up(super::OUTSIDE, frame.frame()), "{source} is the kernel's to drop");
    }
    assert_eq!(world.director.used(), [0; 4]);
}

#[test]
fn a_next_hop_that_does_not_answer_is_told_of_by_the_virtual_address_in_ipv6_alone() {
    let told = |rules: [&str; 2], client: &str, vip: &str| {
        let mut world = World::new(&rules);
        let mut frame = VecFrame::new(&tcp(at(client), at(vip)).frame());
        let port = world.director.unreachable(&mut frame, super::INSIDE, world.now);
        assert_eq!(port, Some(super::OUTSIDE));
        show::frame(frame.bytes(), show::Ident::Shown)
    };
    let line = told(
        ["-A -t [2001:db8:1::10]:80 -s rr", "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -g"],
        "[2001:db8:3::5]:1000",
        "[2001:db8:1::10]:80",
    );
    assert!(line.contains("IP6 2001:db8:1::10 > 2001:db8:3::5 ") && line.contains("ICMP6 type=1 code=3"), "{line}");
    let line = told(["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -g"], CLIENT, VIP);
    assert!(line.contains("IP 192.0.2.1 > 203.0.113.5 ") && line.contains("ICMP type=3 code=1"), "{line}");
}
