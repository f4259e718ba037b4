//! NAT, DR and TUN in both families and both directions, byte for byte where it matters.
use super::{Fate, World, is};
use pollvs::stats::{DropReason, Event};
use pollvs::wire::protocol;
use pollvs::wire::sample::{at, ip, sctp, tcp, udp};

const CLIENT: &str = "203.0.113.5:1000";
const VIP: &str = "192.0.2.10:80";
const CLIENT6: &str = "[2001:db8:3::5]:1000";
const VIP6: &str = "[2001:db8:1::10]:80";

fn nat() -> World {
    World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m"])
}

#[test]
fn nat_rewrites_the_destination_there_and_the_source_back() {
    let mut world = nat();
    is(
        &world.client(&tcp(at(CLIENT), at(VIP))),
        "server 11: IP 203.0.113.5 > 198.51.100.11 ttl=63 tos=0x00 id=1 len=40 DF | TCP 1000 > 8080 S seq=1000 ack=0 win=65535",
    );
    is(
        &world.server(&tcp(at("198.51.100.11:8080"), at(CLIENT)).letters("SA").seq(5)),
        "router: IP 192.0.2.10 > 203.0.113.5 ttl=63 tos=0x00 id=1 len=40 DF | TCP 80 > 1000 SA seq=5 ack=0 win=65535",
    );
    let traffic = world.traffic("tcp:192.0.2.10:80", "198.51.100.11:8080");
    assert_eq!((traffic.connections, traffic.in_packets, traffic.in_bytes), (1, 1, 40));
    assert_eq!((traffic.out_packets, traffic.out_bytes), (1, 40));
    assert_eq!((world.event(Event::Request), world.event(Event::Reply), world.event(Event::Created)), (1, 1, 1));
}

#[test]
fn nat_works_the_same_in_ipv6() {
    let mut world =
        World::new(&["-A -t [2001:db8:1::10]:80 -s rr", "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:8080 -m"]);
    is(
        &world.client(&tcp(at(CLIENT6), at(VIP6))),
        "server 11: IP6 2001:db8:3::5 > 2001:db8:2::11 hlim=63 tc=0x00 plen=20 | TCP 1000 > 8080 S seq=1000 ack=0 win=65535",
    );
    is(
        &world.server(&tcp(at("[2001:db8:2::11]:8080"), at(CLIENT6)).letters("SA")),
        "router: IP6 2001:db8:1::10 > 2001:db8:3::5 hlim=63 tc=0x00 plen=20 | TCP 80 > 1000 SA seq=1000 ack=0 win=65535",
    );
    assert_eq!(world.director.used(), [0, 1, 0, 0]);
}

#[test]
fn nat_of_datagrams_keeps_a_wrong_checksum_and_computes_a_missing_one() {
    let mut world = World::new(&["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.11:5353 -m"]);
    let (client, vip, server) = (at(CLIENT), at("192.0.2.10:53"), at("198.51.100.11:5353"));
    let there = "server 11: IP 203.0.113.5 > 198.51.100.11 ttl=63 tos=0x00 id=1 len=30 DF | UDP 1000 > 5353 len=10 data[2]=6869";
    let back = "router: IP 192.0.2.10 > 203.0.113.5 ttl=63 tos=0x00 id=1 len=30 DF | UDP 53 > 1000 len=10 data[2]=6869";
    is(&world.client(&udp(client, vip).data(*b"hi")), there);
    is(&world.client(&udp(client, vip).data(*b"hi").no_checksum()), there);
    is(&world.server(&udp(server, client).data(*b"hi")), back);
    is(&world.server(&udp(server, client).data(*b"hi").no_checksum()), back);
    let wrong = world.client(&udp(client, vip).data(*b"hi").bad_checksum()).to_string();
    assert!(wrong.contains("BAD-CSUM"), "{wrong}");
    let wrong = world.server(&udp(server, client).data(*b"hi").bad_checksum()).to_string();
    assert!(wrong.contains("BAD-CSUM"), "{wrong}");
    assert_eq!(world.connections(), ["UDP 300 UDP 203.0.113.5:1000 192.0.2.10:53 198.51.100.11:5353"]);
}

#[test]
fn nat_computes_the_crc_of_sctp_anew() {
    let mut world = World::new(&[
        "-A --sctp-service 192.0.2.10:99 -s rr",
        "-a --sctp-service 192.0.2.10:99 -r 198.51.100.11:9999 -m",
    ]);
    let init = sctp(at(CLIENT), at("192.0.2.10:99")).tag(0).chunk(1, 0, &[7; 16]);
    is(
        &world.client(&init),
        "server 11: IP 203.0.113.5 > 198.51.100.11 ttl=63 tos=0x00 id=1 len=52 DF | SCTP 1000 > 9999 vtag=0 chunks=1",
    );
    let data = sctp(at("203.0.113.6:1000"), at("192.0.2.10:99")).chunk(0, 3, &[7; 16]);
    assert!(matches!(world.client(&data), Fate::Up(..)), "only INIT starts an association");
}

#[test]
fn a_padded_frame_leaves_without_its_padding() {
    let mut world = nat();
    let mut frame = tcp(at(CLIENT), at(VIP)).frame();
    frame.resize(60, 0xee);
    let fate = world.frame(super::OUTSIDE, pollvs::verdict::Origin::Wire, frame);
    assert_eq!(fate.bytes().len(), 54);
    assert!(!fate.to_string().contains("BAD"), "{fate}");
}

#[test]
fn direct_routing_changes_the_macs_and_the_ttl_alone() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.12:9 -g"]);
    is(
        &world.client(&tcp(at(CLIENT), at(VIP)).data(*b"abc").tos(0x1c)),
        "server 12: IP 203.0.113.5 > 192.0.2.10 ttl=63 tos=0x1c id=1 len=43 DF | TCP 1000 > 80 S seq=1000 ack=0 win=65535 data[3]=616263",
    );
    let reply = tcp(at(VIP), at(CLIENT)).letters("SA");
    assert!(matches!(world.server(&reply), Fate::Up(..)), "a reply of DR never comes by; the kernel may have it");
    let mut world =
        World::new(&["-A -t [2001:db8:1::10]:80 -s rr", "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::12]:80 -g"]);
    is(
        &world.client(&tcp(at(CLIENT6), at(VIP6)).ttl(9)),
        "server 12: IP6 2001:db8:3::5 > 2001:db8:1::10 hlim=8 tc=0x00 plen=20 | TCP 1000 > 80 S seq=1000 ack=0 win=65535",
    );
}

#[test]
fn a_wrong_checksum_of_direct_routing_is_not_touched() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -g"]);
    let sent = tcp(at(CLIENT), at(VIP)).bad_checksum();
    let fate = world.client(&sent);
    assert_eq!(fate.bytes()[34..], sent.frame()[34..]);
}

#[test]
fn a_tunnel_puts_an_outer_header_in_front() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.13:80 -i"]);
    let table = [
        (0x00, true, "ttl=63 tos=0x00 id=0 len=60 DF"),
        (0xb8, true, "ttl=63 tos=0xb8 id=0 len=60 DF"),
        (0xbb, true, "ttl=63 tos=0xba id=0 len=60 DF"),
        (0x01, true, "ttl=63 tos=0x01 id=0 len=60 DF"),
    ];
    for (tos, df, outer) in table {
        let inner = format!("IP 203.0.113.5 > 192.0.2.10 ttl=63 tos=0x{tos:02x} id=1 len=40 DF");
        let fate = world.client(&tcp(at(CLIENT), at(VIP)).tos(tos).dont_fragment(df)).to_string();
        let expected = format!("server 13: IP 198.51.100.1 > 198.51.100.13 {outer} | ");
        assert!(fate.starts_with(&expected) && fate.contains(&inner), "{fate}");
        assert!(!fate.contains("BAD"), "{fate}");
    }
}

#[test]
fn packets_of_a_tunnel_that_may_be_fragmented_have_different_idents() {
    let mut world = World::new(&["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.13:53 -i"]);
    let mut ident = || {
        let fate = world.client(&udp(at(CLIENT), at("192.0.2.10:53")).dont_fragment(false));
        let bytes = fate.bytes();
        assert_eq!(bytes[20] & 0x40, 0, "{fate}");
        u16::from_be_bytes([bytes[18], bytes[19]])
    };
    assert_ne!(ident(), ident());
}

#[test]
fn ipv6_goes_through_ipv6_and_through_ipv4_tunnels() {
    let mut world = World::new(&[
        "-A -t [2001:db8:1::10]:80 -s rr",
        "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::13]:80 -i",
        "-a -t [2001:db8:1::10]:80 -r 198.51.100.14:80 -i",
    ]);
    let syn = |port: u16| tcp(at(&format!("[2001:db8:3::5]:{port}")), at(VIP6)).tos(0xb8);
    let lines = [world.client(&syn(1)), world.client(&syn(2))].map(|f| f.to_string());
    assert!(
        lines[0].starts_with("server 14: IP 198.51.100.1 > 198.51.100.14 ttl=63 tos=0xb8 id=1 len=80 | "),
        "{}",
        lines[0]
    );
    assert!(lines[1].starts_with("server 13: IP6 2001:db8:2::1 > 2001:db8:2::13 hlim=63 tc=0xb8 plen=60 | "));
    for line in lines {
        assert!(line.contains("IP6 2001:db8:3::5 > 2001:db8:1::10 hlim=63 tc=0xb8 plen=20"), "{line}");
    }
}

#[test]
fn ipv4_goes_through_an_ipv6_tunnel() {
    let mut world = World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r [2001:db8:2::13]:80 -i"]);
    let fate = world.client(&tcp(at(CLIENT), at(VIP)).tos(4)).to_string();
    assert!(fate.starts_with("server 13: IP6 2001:db8:2::1 > 2001:db8:2::13 hlim=63 tc=0x04 plen=40 | "), "{fate}");
    assert_eq!(world.connections(), ["TCP 60 SYN_RECV 203.0.113.5:1000 192.0.2.10:80 [2001:db8:2::13]:80"]);
}

#[test]
fn what_is_no_service_of_ours_goes_to_the_kernel_as_it_is() {
    let mut world = nat();
    let (client, vip) = (at(CLIENT), at(VIP));
    let frames = [
        tcp(client, at("192.0.2.10:81")),
        udp(client, vip),
        tcp(client, at("192.0.2.1:80")),
        tcp(client, at("198.51.100.11:80")),
        tcp(client, vip).letters("A"),
        tcp(client, vip).letters("SR"),
        ip(client.ip(), vip.ip(), protocol::ESP).data([0; 32]),
        ip(client.ip(), vip.ip(), protocol::ICMP).data([8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
        tcp(at(CLIENT6), at(VIP6)),
    ];
    for frame in frames {
        assert_eq!(world.client(&frame), Fate::Up(super::OUTSIDE, frame.frame()));
    }
    assert_eq!((world.event(Event::NoService), world.event(Event::NoConnection)), (2, 3));
    assert_eq!(world.director.used(), [0; 4]);
}

#[test]
fn a_port_without_a_twin_drops_what_is_the_kernels() {
    let mut world = nat();
    world.control.network.ports[0].twin = false;
    world.apply();
    is(&world.client(&tcp(at(CLIENT), at("192.0.2.10:81"))), "twin_off");
    assert_eq!(world.dropped(DropReason::TwinOff), 1);
}

#[test]
fn two_clients_on_one_port_number_do_not_meet() {
    let mut world = nat();
    let (one, two) = (tcp(at(CLIENT), at(VIP)), tcp(at("203.0.113.6:1000"), at(VIP)));
    world.client(&one);
    world.client(&two);
    let reply = |to| tcp(at("198.51.100.11:8080"), at(to)).letters("SA");
    for client in [CLIENT, "203.0.113.6:1000"] {
        let line = world.server(&reply(client)).to_string();
        let address = client.split(':').next().unwrap();
        assert!(line.starts_with(&format!("router: IP 192.0.2.10 > {address} ")), "{line}");
    }
    assert!(matches!(world.server(&reply("203.0.113.7:1000")), Fate::Up(..)));
    assert!(matches!(world.server(&tcp(at("198.51.100.12:8080"), at(CLIENT))), Fate::Up(..)));
}

#[test]
fn a_burst_with_request_and_reply_of_one_new_connection_is_judged_in_order() {
    use pollvs::verdict::Origin::Wire;
    let mut world = nat();
    let syn = tcp(at(CLIENT), at(VIP)).frame();
    let reply = tcp(at("198.51.100.11:8080"), at(CLIENT)).letters("SA");
    let reply = reply.macs(super::server_mac(11), super::INSIDE_MAC).frame();
    let ack = tcp(at(CLIENT), at(VIP)).letters("A").frame();
    let fates =
        world.burst(vec![(super::OUTSIDE, Wire, syn), (super::INSIDE, Wire, reply), (super::OUTSIDE, Wire, ack)]);
    let starts = ["server 11: ", "router: ", "server 11: "];
    for (fate, start) in fates.iter().zip(starts) {
        assert!(fate.to_string().starts_with(start), "{fate}");
    }
    assert_eq!(world.connections(), ["TCP 900 ESTABLISHED 203.0.113.5:1000 192.0.2.10:80 198.51.100.11:8080"]);
}

#[test]
fn a_connection_that_starts_over_keeps_the_replies_it_had_taken_over() {
    let vips = ["192.0.2.10:80", "192.0.2.11:80"];
    let rules: Vec<String> = vips
        .iter()
        .flat_map(|vip| [format!("-A -t {vip} -s rr"), format!("-a -t {vip} -r 198.51.100.11:8080 -m")])
        .collect();
    let mut world = World::new(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    for vip in vips {
        world.client(&tcp(at(CLIENT), at(vip)));
    }
    for letters in ["A", "R", "S"] {
        world.client(&tcp(at(CLIENT), at(vips[1])).letters(letters));
    }
    assert_eq!(world.event(Event::Reused), 1);
    // Long enough for what the second SYN ended to be gone.
    world.sleep(1);
    let reply = world.server(&tcp(at("198.51.100.11:8080"), at(CLIENT)).letters("SA")).to_string();
    assert!(reply.contains(&vips[1][..10]), "{reply}");
}

#[test]
fn of_two_connections_that_a_reply_fits_the_newest_gets_it_and_the_others_inherit() {
    let vips = ["192.0.2.10:80", "192.0.2.11:80", "192.0.2.12:80"];
    let rules: Vec<String> = vips
        .iter()
        .flat_map(|vip| [format!("-A -t {vip} -s rr"), format!("-a -t {vip} -r 198.51.100.11:8080 -m")])
        .collect();
    let mut world = World::new(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    for vip in vips {
        world.client(&tcp(at(CLIENT), at(vip)));
        let reply = world.server(&tcp(at("198.51.100.11:8080"), at(CLIENT)).letters("SA")).to_string();
        assert!(reply.contains(&vip[..10]), "{vip}: {reply}");
    }
    // The newest ends, then the one in the middle: each time the next newest hears the server again.
    for (closed, heard) in [(vips[2], vips[1]), (vips[1], vips[0])] {
        world.client(&tcp(at(CLIENT), at(closed)).letters("A"));
        world.client(&tcp(at(CLIENT), at(closed)).letters("R"));
        world.sleep(11);
        let reply = world.server(&tcp(at("198.51.100.11:8080"), at(CLIENT)).letters("A")).to_string();
        assert!(reply.contains(&heard[..10]), "{heard}: {reply}");
    }
}

#[test]
fn a_connection_that_is_closing_gives_its_replies_to_a_new_one_of_another_address() {
    let mut world = World::new(&[
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
        "-A -t 192.0.2.11:80 -s rr",
        "-a -t 192.0.2.11:80 -r 198.51.100.11:8080 -m",
    ]);
    let (server, client) = (at("198.51.100.11:8080"), at(CLIENT));
    for round in 0..3 {
        for vip in ["192.0.2.10:80", "192.0.2.11:80"] {
            for (from_client, letters) in [(true, "S"), (false, "SA"), (true, "A"), (false, "FA"), (true, "FA")] {
                let fate = if from_client {
                    world.client(&tcp(client, at(vip)).letters(letters))
                } else {
                    world.server(&tcp(server, client).letters(letters))
                };
                assert!(from_client || fate.to_string().contains(&vip[..10]), "{round} {vip} {letters}: {fate}");
            }
        }
    }
}
