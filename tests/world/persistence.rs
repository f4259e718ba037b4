//! Persistence: templates, whom they bind, how long they live.
use super::{World, packet};
use pollvs::stats::Event;
use pollvs::wire::sample::{at, tcp, udp};

fn three(flags: &str) -> World {
    let service = format!("-A -t 192.0.2.10:80 -s rr {flags}");
    let rules = ["11", "12", "13"].map(|n| format!("-a -t 192.0.2.10:80 -r 198.51.100.{n}:80 -m"));
    World::new(&[&service, &rules[0], &rules[1], &rules[2]])
}

fn syn(world: &mut World, client: &str) -> u8 {
    world.client(&tcp(at(client), at("192.0.2.10:80"))).server()
}

#[test]
fn a_client_stays_with_its_destination_and_others_do_not() {
    let mut world = three("-p 600");
    assert_eq!((1..5).map(|n| syn(&mut world, &format!("203.0.113.5:{n}"))).collect::<Vec<_>>(), [13; 4]);
    assert_eq!(syn(&mut world, "203.0.113.6:1"), 12);
    assert_eq!(
        world.templates(),
        [
            "TCP 600 NONE 203.0.113.5:0 192.0.2.10:80 198.51.100.13:80",
            "TCP 600 NONE 203.0.113.6:0 192.0.2.10:80 198.51.100.12:80"
        ]
    );
    world.client(&tcp(at("203.0.113.5:1"), at("192.0.2.10:80")).letters("A"));
    assert_eq!(world.templates()[0], "TCP 600 ASSURED 203.0.113.5:0 192.0.2.10:80 198.51.100.13:80");
    let dest = world.control.store.services()[0].destinations[0].id;
    assert_eq!(world.director.load(dest).persistent, 1);
}

#[test]
fn a_netmask_binds_a_whole_network() {
    let mut world = three("-p 600 -M 255.255.255.0");
    assert_eq!(["203.0.113.5:1", "203.0.113.200:1", "203.0.114.5:1"].map(|c| syn(&mut world, c)), [13, 13, 12]);
    assert_eq!(world.templates()[0], "TCP 600 NONE 203.0.113.0:0 192.0.2.10:80 198.51.100.13:80");
}

#[test]
fn a_netmask_may_have_holes() {
    let mut world = three("-p 600 -M 255.0.255.0");
    let clients = ["203.0.113.5:1", "203.9.113.200:1", "203.0.114.5:1", "204.0.113.5:1"];
    assert_eq!(clients.map(|c| syn(&mut world, c)), [13, 13, 12, 11]);
    assert_eq!(world.templates()[0], "TCP 600 NONE 203.0.113.0:0 192.0.2.10:80 198.51.100.13:80");
}

#[test]
fn a_prefix_binds_a_whole_network_in_ipv6() {
    let mut world = World::new(&[
        "-A -t [2001:db8:1::10]:80 -s rr -p 600 -M 64",
        "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m",
        "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::12]:80 -m",
    ]);
    let picks = ["[2001:db8:3::5]:1", "[2001:db8:3::6]:1", "[2001:db8:4::5]:1"]
        .map(|client| world.client(&tcp(at(client), at("[2001:db8:1::10]:80"))).server());
    assert_eq!(picks, [12, 12, 11]);
    assert_eq!(world.templates()[0], "TCP 600 NONE [2001:db8:3::]:0 [2001:db8:1::10]:80 [2001:db8:2::12]:80");
}

#[test]
fn new_connections_start_the_template_again_and_packets_do_not() {
    let mut world = three("-p 100");
    syn(&mut world, "203.0.113.5:1");
    world.sleep(50);
    world.client(&tcp(at("203.0.113.5:1"), at("192.0.2.10:80")).letters("A"));
    assert!(world.templates()[0].starts_with("TCP 50 "), "{:?}", world.templates());
    syn(&mut world, "203.0.113.5:2");
    assert!(world.templates()[0].starts_with("TCP 100 "), "{:?}", world.templates());
}

#[test]
fn a_template_lives_on_a_minute_at_a_time_while_it_has_connections_and_keeps_the_minute() {
    let mut world = three("-p 100");
    syn(&mut world, "203.0.113.5:1");
    world.client(&tcp(at("203.0.113.5:1"), at("192.0.2.10:80")).letters("A"));
    world.sleep(100);
    assert!(world.templates()[0].starts_with("TCP 60 "), "{:?}", world.templates());
    world.sleep(700);
    assert_eq!(world.templates().len(), 1);
    syn(&mut world, "203.0.113.5:2");
    assert!(world.templates()[0].starts_with("TCP 60 "), "a minute for good: {:?}", world.templates());
    world.sleep(200);
    assert_eq!((world.templates().len(), world.connections().len()), (0, 0));
    assert_eq!((world.event(Event::TemplateCreated), world.event(Event::TemplateExpired)), (1, 1));
    assert_eq!(syn(&mut world, "203.0.113.5:3"), 12, "forgotten, so the next in turn");
}

#[test]
fn a_quiesced_destination_keeps_its_clients_unless_told_otherwise() {
    for (expire, server) in [(false, 13), (true, 12)] {
        let mut world = three("-p 600");
        world.sysctl(|s| s.expire_quiescent_template = expire);
        syn(&mut world, "203.0.113.5:1");
        world.ipvsadm("-e -t 192.0.2.10:80 -r 198.51.100.13:80 -m -w 0");
        assert_eq!(syn(&mut world, "203.0.113.5:2"), server);
        let retired = "TCP 600 NONE 203.0.113.5:0 192.0.2.10:65535 198.51.100.13:65535".to_owned();
        assert_eq!(world.templates().contains(&retired), expire, "{:?}", world.templates());
    }
}

#[test]
fn the_clients_of_a_removed_destination_are_scheduled_anew() {
    let mut world = three("-p 600");
    syn(&mut world, "203.0.113.5:1");
    world.ipvsadm("-d -t 192.0.2.10:80 -r 198.51.100.13:80");
    world.sleep(10);
    assert_eq!(syn(&mut world, "203.0.113.5:2"), 12);
    assert_eq!(syn(&mut world, "203.0.113.5:3"), 12);
    assert_eq!(world.templates().len(), 2);
    assert!(world.templates().iter().any(|t| t.starts_with("TCP 590 ")), "left to its timer: {:?}", world.templates());
    world.sleep(1000);
    assert!(world.templates().is_empty(), "{:?}", world.templates());
}

#[test]
fn thresholds_do_not_turn_known_clients_away() {
    let mut world = three("-p 600");
    world.ipvsadm("-e -t 192.0.2.10:80 -r 198.51.100.13:80 -m -x 1");
    assert_eq!((1..4).map(|n| syn(&mut world, &format!("203.0.113.5:{n}"))).collect::<Vec<_>>(), [13; 3]);
    assert_eq!(syn(&mut world, "203.0.113.6:1"), 12);
}

#[test]
fn a_service_of_all_ports_has_one_template_for_all() {
    let mut world = World::new(&[
        "-A -t 192.0.2.10:0 -s rr -p 600",
        "-a -t 192.0.2.10:0 -r 198.51.100.11:0 -m",
        "-a -t 192.0.2.10:0 -r 198.51.100.12:0 -m",
    ]);
    for port in [22, 80, 443] {
        assert_eq!(world.client(&tcp(at("203.0.113.5:1"), at(&format!("192.0.2.10:{port}")))).server(), 12);
    }
    assert_eq!(world.templates(), ["TCP 600 NONE 203.0.113.5:0 192.0.2.10:0 198.51.100.12:0"]);
}

#[test]
fn ports_beside_the_service_port_keep_their_number() {
    let mut world = World::new(&["-A -t 192.0.2.10:21 -s rr -p 600", "-a -t 192.0.2.10:21 -r 198.51.100.11:2121 -m"]);
    let mut port = |port: u16| {
        let fate = world.client(&tcp(at("203.0.113.5:1000"), at(&format!("192.0.2.10:{port}"))));
        packet(fate.bytes()).split(" > ").nth(2).unwrap().split(' ').next().unwrap().to_owned()
    };
    assert_eq!((port(21), port(40000)), ("2121".to_owned(), "40000".to_owned()));
}

#[test]
fn a_datagrams_template_is_assured_by_an_answer() {
    let mut world = World::new(&["-A -u 192.0.2.10:53 -s rr -p 600", "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m"]);
    world.client(&udp(at("203.0.113.5:1000"), at("192.0.2.10:53")));
    assert!(world.templates()[0].starts_with("UDP 600 NONE"), "{:?}", world.templates());
    world.server(&udp(at("198.51.100.11:53"), at("203.0.113.5:1000")));
    assert!(world.templates()[0].starts_with("UDP 600 ASSURED"), "{:?}", world.templates());
}
