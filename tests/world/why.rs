//! What the director says of a client's next packet is what becomes of it, and nothing is changed by asking.
use pollvs::destination::DestId;
use pollvs::director::{By, Explanation, Question, Remark};
use pollvs::proto::State;
use pollvs::steering::{Prefixes, Steering};
use pollvs::verdict::WorkerId;
use pollvs::wire::sample::{at, tcp, udp};

use super::{OUTSIDE, World, is};

const RULES: [&str; 10] = [
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.13:8080 -m -w 0",
    "-A -t 192.0.2.11:80 -s wlc -p 300 -M 255.255.255.0",
    "-a -t 192.0.2.11:80 -r 198.51.100.14:80 -g",
    "-a -t 192.0.2.11:80 -r 198.51.100.15:80 -g",
    "-A -t 192.0.2.10:21 -s rr",
    "-A -t [2001:db8:1::10]:80 -s rr",
    "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::12]:80 -m",
];

/// What is said of a client, with or without a port.
fn why(world: &mut World, client: &str, vip: &str) -> Explanation {
    let (with_port, vip) = (client.parse::<std::net::SocketAddr>().ok(), at(vip));
    let question = Question {
        protocol: 6,
        client: with_port.map_or_else(|| client.parse().unwrap(), |end| end.ip()),
        cport: with_port.map(|end| end.port()),
        vip: vip.ip(),
        vport: vip.port(),
    };
    let before = (world.connections(), world.templates());
    let said = world.director.why(&question, world.now);
    assert_eq!(world.director.why(&question, world.now), said, "asking changes nothing");
    assert_eq!((world.connections(), world.templates()), before);
    said
}

/// The last byte of the address of the destination that is said.
fn server(world: &World, said: &Explanation) -> u8 {
    match world.director.snapshot().rules.destination(said.dest.unwrap()).unwrap().address {
        std::net::IpAddr::V4(address) => address.octets()[3],
        std::net::IpAddr::V6(address) => address.octets()[15],
    }
}

fn remarks(said: &Explanation) -> Vec<Remark> {
    said.remarks.iter().flatten().copied().collect()
}

#[test]
fn what_is_said_is_what_happens() {
    let mut world = World::new(&RULES);
    let asked = [
        ("203.0.113.5:1000", "192.0.2.10:80"),
        ("203.0.113.6:1000", "192.0.2.10:80"),
        ("203.0.113.7:1000", "192.0.2.11:80"),
        ("203.0.113.8:1000", "192.0.2.11:80"),
        ("[2001:db8:9::5]:1000", "[2001:db8:1::10]:80"),
        ("198.18.0.5:1000", "192.0.2.11:80"),
    ];
    let by = [By::Scheduler, By::Scheduler, By::Scheduler, By::Template, By::Scheduler, By::Scheduler];
    for ((client, vip), by) in asked.into_iter().zip(by) {
        let said = why(&mut world, client, vip);
        let foretold = if client.contains('[') { 0x12 } else { server(&world, &said) };
        let happened = world.client(&tcp(at(client), at(vip))).server();
        assert_eq!(said.by, by, "{client}");
        assert!(foretold == happened || foretold == 0x12 && happened == 12, "{client}: {foretold}, {happened}");
        let known = why(&mut world, client, vip);
        assert_eq!((known.by, known.dest), (By::Connection, said.dest));
        assert_eq!(known.entry, Some((State::SynRecv, 6000)));
    }
    let of_another = why(&mut world, "203.0.113.5", "192.0.2.10:80");
    assert_eq!((of_another.by, remarks(&of_another)), (By::Scheduler, vec![]));
    let new = why(&mut world, "198.51.7.5", "192.0.2.11:80");
    assert_eq!((new.by, remarks(&new)), (By::Scheduler, vec![Remark::NewTemplate]));
}

#[test]
fn why_not_is_said() {
    let mut world = World::new(&RULES);
    for (client, vip, by) in [
        ("203.0.113.5:1", "192.0.2.10:81", By::NoService),
        ("203.0.113.5:1", "192.0.2.99:80", By::NoService),
        ("192.0.2.1:1", "192.0.2.10:80", By::NoClient),
        ("224.0.0.1:1", "192.0.2.10:80", By::NoClient),
        ("203.0.113.5:1", "192.0.2.10:21", By::NoDestination),
        ("203.0.113.5:1", "192.0.2.10:2000", By::DataOfFtp),
        ("203.0.113.5:1", "[2001:db8:1::10]:80", By::Families),
    ] {
        assert_eq!(why(&mut world, client, vip).by, by, "{client} {vip}");
    }
    let refusal = world.client(&tcp(at("203.0.113.5:1"), at("192.0.2.10:21"))).to_string();
    assert!(refusal.contains("ICMP type=3 code=3"), "{refusal}");
}

#[test]
fn what_was_removed_or_quiesced_is_passed_over_and_said() {
    let mut world = World::new(&RULES);
    let (client, vip) = ("203.0.113.5:1000", "192.0.2.11:80");
    let first = world.client(&tcp(at(client), at(vip))).server();
    let dest = why(&mut world, client, vip).dest.unwrap();
    world.ipvsadm(&format!("-e -t 192.0.2.11:80 -r 198.51.100.{first}:80 -g -w 0"));
    let again = why(&mut world, "203.0.113.5:1001", vip);
    assert_eq!((again.by, again.dest), (By::Template, Some(dest)), "expire_quiescent_template is off");
    world.sysctl(|s| s.expire_quiescent_template = true);
    let again = why(&mut world, "203.0.113.5:1001", vip);
    assert_eq!((again.by, remarks(&again)), (By::Scheduler, vec![Remark::LostTemplate(dest)]));
    assert_ne!(again.dest, Some(dest));
    world.ipvsadm(&format!("-d -t 192.0.2.11:80 -r 198.51.100.{first}:80"));
    let gone = why(&mut world, client, vip);
    assert_eq!(gone.by, By::DestinationGone);
    is(&world.client(&tcp(at(client), at(vip)).letters("A")), "destination_gone");
    world.sysctl(|s| s.expire_nodest_conn = true);
    let anew = why(&mut world, client, vip);
    assert_eq!(anew.by, By::Scheduler);
    assert_eq!(remarks(&anew), [Remark::LostConnection(dest), Remark::LostTemplate(dest)]);
    assert_ne!(anew.dest, Some(DestId::NONE));
}

#[test]
fn a_connection_that_a_syn_would_begin_anew_is_said_to() {
    let mut world = World::new(&RULES);
    let (client, vip) = ("203.0.113.5:1000", "192.0.2.10:80");
    for letters in ["S", "A", "R"] {
        world.client(&tcp(at(client), at(vip)).letters(letters));
    }
    let said = why(&mut world, client, vip);
    assert_eq!((said.by, remarks(&said)), (By::Connection, vec![Remark::OpensAnew(State::Close)]));
}

#[test]
fn marks_and_bypass_are_seen() {
    let mut world = World::new(&[
        "iptables -t mangle -A PREROUTING -d 192.0.2.10 -p tcp --dport 443 -j MARK --set-mark 7",
        "-A -f 7 -s rr",
        "-a -f 7 -r 198.51.100.11:0 -g",
    ]);
    let said = why(&mut world, "203.0.113.5:1", "192.0.2.10:443");
    assert_eq!((said.by, said.mark), (By::Scheduler, 7));
    assert_eq!(why(&mut world, "203.0.113.5:1", "192.0.2.10:80").by, By::NoService);
    let marked = udp(at("203.0.113.5:1"), at("192.0.2.10:443")).frame();
    assert!(matches!(world.frame(OUTSIDE, pollvs::verdict::Origin::Wire, marked), super::Fate::Up(..)), "not of TCP");
}

#[test]
fn a_worker_answers_for_its_own_clients() {
    let mut world = World::new(&RULES);
    let steering = Steering::new(2, pollvs::steering::MAX_BITS, Prefixes { v4: 32, v6: 128 }, 3);
    world.director = pollvs::director::Director::new(&super::ROOMY, 7, WorkerId(0), steering.clone());
    world.apply();
    for host in 1..50 {
        let client = format!("203.0.113.{host}:1");
        let (said, owner) = (why(&mut world, &client, "192.0.2.10:80"), steering.owner(at(&client).ip()));
        assert_eq!(said.owner, owner);
        assert_eq!(said.by, if owner.0 == 0 { By::Scheduler } else { By::OtherWorker });
    }
}
