//! ICMP errors that belong to a connection: found by what they quote, sent to the other side by the connection's method.
use std::time::Duration;

use super::cluster::Cluster;
use super::{Fate, INSIDE, INSIDE_MAC, OUTSIDE, World, is, packet, server_mac};
use pollvs::stats::{DropReason, Event};
use pollvs::wire::protocol;
use pollvs::wire::sample::{DIRECTOR, ROUTER, Sample, at, icmp, ip, tcp, udp};

const CLIENT: &str = "203.0.113.5:1000";
const VIP: &str = "192.0.2.10:80";
const SERVER: &str = "198.51.100.11:8080";
const CLIENT6: &str = "[2001:db8:3::5]:1000";
const VIP6: &str = "[2001:db8:1::10]:80";
const SERVER6: &str = "[2001:db8:2::11]:8080";

/// A world with one established connection in each family.
fn world(method: &str) -> World {
    let mut world = World::new(&[
        "-A -t 192.0.2.10:80 -s rr",
        &format!("-a -t 192.0.2.10:80 -r {SERVER} {method}"),
        "-A -t [2001:db8:1::10]:80 -s rr",
        &format!("-a -t [2001:db8:1::10]:80 -r {SERVER6} {method}"),
    ]);
    for flags in ["S", "A"] {
        assert_eq!(world.client(&tcp(at(CLIENT), at(VIP)).letters(flags)).server(), 11);
        assert_eq!(world.client(&tcp(at(CLIENT6), at(VIP6)).letters(flags)).server(), 11);
    }
    world
}

/// What somebody says to the virtual address of a packet that went from it to the client.
fn about_reply(kind: u8, code: u8) -> Sample {
    let quote = tcp(at(VIP), at(CLIENT)).letters("PA").ttl(55).data(*b"answer");
    icmp(at("198.18.9.9:0").ip(), at(VIP).ip(), kind, code).data(quote.packet())
}

fn about_reply6(kind: u8) -> Sample {
    let quote = tcp(at(VIP6), at(CLIENT6)).letters("PA").ttl(55).data(*b"answer");
    icmp(at("[2001:db8:9::9]:0").ip(), at(VIP6).ip(), kind, 0).data(quote.packet())
}

/// What somebody behind the director says to the client of a packet that went to the server.
fn about_request(kind: u8, code: u8) -> Sample {
    let quote = tcp(at(CLIENT), at(SERVER)).letters("PA").ttl(63);
    icmp(at("198.51.100.200:0").ip(), at(CLIENT).ip(), kind, code).data(quote.packet())
}

#[test]
fn errors_about_replies_go_to_the_masqueraded_server_translated() {
    let mut world = world("-m");
    let line = world.client(&about_reply(3, 4).rest([0, 0, 5, 0x14])).to_string();
    assert_eq!(
        line,
        "server 11: IP 198.18.9.9 > 198.51.100.11 ttl=63 tos=0x00 id=1 len=74 DF | ICMP type=3 code=4 rest=00000514 \
         {IP 198.51.100.11 > 203.0.113.5 ttl=55 tos=0x00 id=1 len=46 DF | TCP 8080 > 1000 PA seq=1000 ack=0 win=65535 \
         data[6]=616e73776572 BAD-CSUM}"
    );
    for kind in [3, 4, 11] {
        assert_eq!(world.client(&about_reply(kind, 0)).server(), 11, "type {kind}");
    }
    assert_eq!(world.event(Event::IcmpRelayed), 4);
    let traffic = world.traffic("tcp:192.0.2.10:80", SERVER);
    assert_eq!((traffic.in_packets, traffic.in_bytes), (2 + 4, 80 + 4 * 74));
    for kind in [1, 2, 3] {
        let line = world.client(&about_reply6(kind)).to_string();
        let expected = format!(
            "server 11: IP6 2001:db8:9::9 > 2001:db8:2::11 hlim=63 tc=0x00 plen=74 | ICMP6 type={kind} code=0 rest=00000000 \
             {{IP6 2001:db8:2::11 > 2001:db8:3::5 hlim=55 tc=0x00 plen=26 | TCP 8080 > 1000 PA"
        );
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
fn errors_about_replies_go_whole_to_servers_of_direct_routing_and_tunnels() {
    let mut direct = world("-g");
    let sent = about_reply(11, 0);
    let fate = direct.client(&sent);
    assert_eq!((fate.server(), &fate.bytes()[26..]), (11, &sent.frame()[26..]));
    assert_eq!(direct.client(&about_reply6(3)).server(), 11);
    let line = world("-i").client(&sent).to_string();
    assert!(line.starts_with("server 11: IP 198.51.100.1 > 198.51.100.11 ttl=63 tos=0x00 id=0 len=94 DF | IPIP { IP 198.18.9.9 > 192.0.2.10 ttl=63"), "{line}");
    let line = world("-i").client(&about_reply6(1)).to_string();
    assert!(line.starts_with("server 11: IP6 2001:db8:2::1 > 2001:db8:2::11 hlim=63"), "{line}");
}

#[test]
fn errors_of_the_servers_side_go_to_the_client_as_if_from_the_virtual_address() {
    let mut world = world("-m");
    is(
        &world.server(&about_request(3, 1)),
        "router: IP 192.0.2.10 > 203.0.113.5 ttl=63 tos=0x00 id=1 len=68 DF | ICMP type=3 code=1 rest=00000000 \
         {IP 203.0.113.5 > 192.0.2.10 ttl=63 tos=0x00 id=1 len=40 DF | TCP 1000 > 80 PA seq=1000 ack=0 win=65535 BAD-CSUM}",
    );
    let traffic = world.traffic("tcp:192.0.2.10:80", SERVER);
    assert_eq!((traffic.out_packets, traffic.out_bytes), (1, 68));
    let quote = tcp(at(CLIENT6), at(SERVER6)).letters("PA");
    let error = icmp(at(SERVER6).ip(), at(CLIENT6).ip(), 1, 4).data(quote.packet());
    let line = world.server(&error).to_string();
    assert!(line.starts_with("router: IP6 2001:db8:1::10 > 2001:db8:3::5 hlim=63"), "{line}");
    assert!(line.contains("{IP6 2001:db8:3::5 > 2001:db8:1::10 hlim=64 tc=0x00 plen=20 | TCP 1000 > 80 PA"), "{line}");
}

#[test]
fn eight_bytes_of_the_quoted_segment_are_enough() {
    let mut world = world("-m");
    let quote = tcp(at(CLIENT), at(SERVER)).data([0; 40]).packet();
    let error = |bytes: usize| icmp(at(SERVER).ip(), at(CLIENT).ip(), 3, 4).data(&quote[..bytes]);
    let line = world.server(&error(28)).to_string();
    assert!(line.starts_with("router: IP 192.0.2.10 > 203.0.113.5 ") && !line.contains("BAD"), "{line}");
    for bytes in 0..24 {
        let frame = error(bytes).macs(server_mac(0), INSIDE_MAC);
        assert_eq!(world.server(&frame), Fate::Up(INSIDE, frame.frame()), "{bytes} bytes quoted");
    }
}

#[test]
fn errors_that_belong_to_nobody_are_the_kernels() {
    let mut world = world("-m");
    let stranger = tcp(at(VIP), at("203.0.113.5:4444"));
    let fragment = tcp(at(VIP), at(CLIENT)).data([0; 64]).fragments(32);
    let from_client = |quote: &[u8]| icmp(at(CLIENT).ip(), at(VIP).ip(), 3, 1).data(quote);
    let frames = [
        from_client(&stranger.packet()),
        from_client(&fragment[1][14..]),
        from_client(&icmp(at(VIP).ip(), at(CLIENT).ip(), 0, 0).packet()),
        about_reply(5, 1),
        about_reply(12, 0),
        icmp(at(CLIENT).ip(), at(VIP).ip(), 8, 0).data([9; 40]),
    ];
    for frame in frames {
        assert_eq!(world.client(&frame), Fate::Up(OUTSIDE, frame.frame()), "{frame:?}");
    }
    for frame in [about_request(5, 1), about_request(12, 0)] {
        let frame = frame.macs(server_mac(11), INSIDE_MAC);
        assert_eq!(world.server(&frame), Fate::Up(INSIDE, frame.clone().macs(server_mac(0), INSIDE_MAC).frame()));
    }
    assert_eq!(world.client(&from_client(&fragment[0][14..])).server(), 11, "the first fragment has the ports");
    assert_eq!(world.event(Event::IcmpRelayed), 1);
    let mut direct = self::world("-g");
    assert!(matches!(direct.server(&about_request(3, 1)), Fate::Up(..)), "only masquerading has replies");
}

#[test]
fn an_error_with_a_wrong_checksum_is_dropped_when_it_is_ours() {
    let mut world = world("-m");
    is(&world.client(&about_reply(3, 4).bad_checksum()), "bad_icmp_checksum");
    is(&world.client(&about_reply6(2).bad_checksum()), "bad_icmp_checksum");
    is(&world.server(&about_request(3, 4).bad_checksum()), "bad_icmp_checksum");
    assert_eq!(world.dropped(DropReason::BadIcmpChecksum), 3);
    let stranger = icmp(at(CLIENT).ip(), at(VIP).ip(), 3, 1).data(tcp(at(VIP), at("203.0.113.5:4444")).packet());
    assert!(matches!(world.client(&stranger.bad_checksum()), Fate::Up(..)));
}

#[test]
fn no_error_is_sent_about_an_error() {
    let mut world = world("-m");
    is(&world.client(&about_reply(3, 4).ttl(1)), "ttl_exceeded");
    is(&world.server(&about_request(3, 4).ttl(1)), "ttl_exceeded");
    assert_eq!(world.event(Event::IcmpSent), 0);
}

#[test]
fn an_error_moves_neither_state_nor_timer() {
    let mut world = world("-m");
    world.sleep(100);
    world.client(&about_reply(3, 1));
    world.server(&about_request(3, 1));
    assert_eq!(world.connections()[0], "TCP 800 ESTABLISHED 203.0.113.5:1000 192.0.2.10:80 198.51.100.11:8080");
}

#[test]
fn an_error_from_the_kernel_for_a_local_server_is_translated_without_a_hop() {
    let mut world = World::new(&["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 192.0.2.1:5353 -m"]);
    let query = udp(at(CLIENT), at("192.0.2.10:53")).data(*b"q");
    assert!(matches!(world.client(&query), Fate::Up(..)));
    let quote = udp(at(CLIENT), at("192.0.2.1:5353")).data(*b"q");
    let error = icmp(at("192.0.2.1:0").ip(), at(CLIENT).ip(), 3, 3).data(quote.packet()).macs(DIRECTOR, ROUTER);
    let line = world.twin(OUTSIDE, &error).to_string();
    assert!(line.starts_with("router: IP 192.0.2.10 > 203.0.113.5 ttl=64"), "{line}");
    assert!(
        line.contains("{IP 203.0.113.5 > 192.0.2.10 ttl=64 tos=0x00 id=1 len=29 DF | UDP 1000 > 53 len=9"),
        "{line}"
    );
}

/// What a router on the way to the server says of a tunnel's packet.
fn about_tunnel(kind: u8, code: u8, mtu: u16) -> Sample {
    let [high, low] = mtu.to_be_bytes();
    let inner = tcp(at(CLIENT), at(VIP)).letters("PA").data([0x64; 1200]).packet();
    let outer = ip(at("198.51.100.1:0").ip(), at("198.51.100.11:0").ip(), protocol::IPIP).data(inner).packet();
    let error = icmp(at("198.51.100.2:0").ip(), at("198.51.100.1:0").ip(), kind, code);
    error.rest([0, 0, high, low]).data(&outer[..68])
}

#[test]
fn errors_about_a_tunnels_packet_become_errors_about_the_packet_inside() {
    let mut world = world("-i");
    for (kind, code) in [(3, 1), (3, 2), (11, 0)] {
        is(
            &world.server(&about_tunnel(kind, code, 0)),
            &format!(
                "router: IP 192.0.2.10 > 203.0.113.5 ttl=64 tos=0xc0 id=0 len=76 | ICMP type={kind} code={code} rest=00000000 \
                 {{IP 203.0.113.5 > 192.0.2.10 ttl=64 tos=0x00 id=1 len=1240 DF | TCP 1000 > 80 PA seq=1000 ack=0 win=65535 \
                 data[8]=6464646464646464}}"
            ),
        );
    }
    assert_eq!(world.event(Event::IcmpRelayed), 3);
}

#[test]
fn errors_about_a_packet_in_gre_become_errors_about_the_packet_inside() {
    let mut world = world("-i --tun-type gre --tun-csum");
    let inner = tcp(at(CLIENT), at(VIP)).letters("PA").packet();
    for header in [&[0, 0, 8, 0][..], &[0x80, 0, 8, 0, 0x12, 0x34, 0, 0]] {
        let outer = ip(at("198.51.100.1:0").ip(), at("198.51.100.11:0").ip(), protocol::GRE);
        let outer = outer.data([header, &inner].concat()).packet();
        let error = icmp(at("198.51.100.2:0").ip(), at("198.51.100.1:0").ip(), 3, 1).data(outer);
        let line = world.server(&error).to_string();
        assert!(
            line.starts_with("router: IP 192.0.2.10 > 203.0.113.5 ttl=64 tos=0xc0 id=0 len=68 | ICMP type=3 code=1"),
            "{line}"
        );
        assert!(line.contains("{IP 203.0.113.5 > 192.0.2.10 ") && !line.contains("BAD"), "{line}");
    }
    let ppp =
        ip(at("198.51.100.1:0").ip(), at("198.51.100.11:0").ip(), protocol::GRE).data([0, 0, 0x88, 0x0b, 1, 2, 3, 4]);
    let error = icmp(at("198.51.100.2:0").ip(), at("198.51.100.1:0").ip(), 3, 1).data(ppp.packet());
    assert!(matches!(world.server(&error), Fate::Up(..)));
}

#[test]
fn a_tunnels_way_that_takes_less_is_remembered_for_ten_minutes() {
    let mut world = world("-i");
    let data = |len: usize| tcp(at(CLIENT), at(VIP)).letters("A").data(vec![7; len - 40]);
    assert_eq!(world.client(&data(1480)).server(), 11);
    // The kernel tells what the way took so far; the next packet that is too long is told what it takes now.
    let line = world.server(&about_tunnel(3, 4, 1100)).to_string();
    assert!(line.contains("ICMP type=3 code=4 rest=000005c8"), "{line}");
    assert_eq!(world.client(&data(1080)).server(), 11);
    let line = world.client(&data(1081)).to_string();
    assert!(line.contains("ICMP type=3 code=4 rest=00000438"), "{line}");
    world.client(&data(1080));
    world.sleep(599);
    assert!(world.client(&data(1081)).to_string().contains("ICMP type=3"));
    world.sleep(1);
    assert_eq!(world.client(&data(1480)).server(), 11);
}

#[test]
fn nobody_can_make_a_tunnels_packets_tiny_or_speak_of_another_tunnel() {
    let mut world = world("-i");
    let data = |len: usize| tcp(at(CLIENT), at(VIP)).letters("A").data(vec![7; len - 40]);
    let elsewhere = ip(at("198.51.100.1:0").ip(), at("198.51.100.12:0").ip(), protocol::IPIP);
    let elsewhere = elsewhere.data(tcp(at(CLIENT), at(VIP)).packet()).packet();
    let forged = icmp(at("198.51.100.2:0").ip(), at("198.51.100.1:0").ip(), 3, 4).rest([0, 0, 2, 99]).data(elsewhere);
    assert!(matches!(world.server(&forged), Fate::Up(..)));
    assert_eq!(world.client(&data(1480)).server(), 11);
    world.server(&about_tunnel(3, 4, 68));
    assert_eq!(world.client(&data(532)).server(), 11);
    assert!(world.client(&data(533)).to_string().contains("rest=00000214"));
}

#[test]
fn schedule_icmp_makes_a_connection_without_a_state_for_three_seconds() {
    let mut world = world("-g");
    let stranger = tcp(at(VIP), at("203.0.113.5:4444"));
    let error = icmp(at("198.18.9.9:0").ip(), at(VIP).ip(), 3, 4).data(stranger.packet());
    assert!(matches!(world.client(&error), Fate::Up(..)));
    world.sysctl(|s| s.schedule_icmp = true);
    assert_eq!(world.client(&error).server(), 11);
    assert!(world.connections().contains(&"TCP 3 NONE 203.0.113.5:4444 192.0.2.10:80 198.51.100.11:80".to_owned()));
    world.sleep(3);
    assert_eq!(world.connections().len(), 2);
}

#[test]
fn an_error_is_handed_to_the_owner_of_the_client_that_it_quotes() {
    let mut cluster = Cluster::new(2, 64, &["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"]);
    let clients: Vec<_> = (0..20).map(|n| at(&format!("203.0.113.{n}:1000"))).collect();
    for client in &clients {
        cluster.devices[0].push(OUTSIDE, tcp(*client, at(VIP)).frame());
        cluster.devices[0].push(OUTSIDE, tcp(*client, at(VIP)).letters("A").frame());
    }
    cluster.settle();
    assert_eq!(cluster.sent(INSIDE).len(), 40);
    for (worker, client) in clients.iter().enumerate() {
        let reply = tcp(at(VIP), *client).packet();
        let error = icmp(at("198.18.9.9:0").ip(), at(VIP).ip(), 3, 4).data(reply);
        cluster.devices[worker % 2].push(OUTSIDE, error.frame());
        let request = tcp(*client, at("198.51.100.11:80")).packet();
        let error = icmp(at("198.51.100.200:0").ip(), client.ip(), 3, 1).data(request);
        cluster.devices[worker / 2 % 2].push(INSIDE, error.macs(server_mac(1), INSIDE_MAC).frame());
    }
    cluster.settle();
    cluster.sleep(Duration::from_millis(5));
    let (inside, outside) = (cluster.sent(INSIDE), cluster.sent(OUTSIDE));
    assert_eq!((inside.len(), outside.len(), cluster.passed().len()), (20, 20, 0));
    assert!(inside.iter().all(|f| packet(f).starts_with("IP 198.18.9.9 > 198.51.100.11 ")));
    assert!(outside.iter().all(|f| packet(f).starts_with("IP 192.0.2.10 > 203.0.113.")));
    assert!(cluster.event(Event::HandedOff).iter().all(|n| *n > 0));
}

#[test]
fn schedule_icmp_leaves_nothing_of_a_one_packet_service() {
    let mut world = World::new(&["-A -u 192.0.2.10:53 -s rr -o", "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -g"]);
    world.sysctl(|s| s.schedule_icmp = true);
    let stranger = udp(at("192.0.2.10:53"), at("203.0.113.5:4444"));
    let error = icmp(at("198.18.9.9:0").ip(), at(VIP).ip(), 3, 3).data(stranger.packet());
    assert_eq!(world.client(&error).server(), 11);
    assert_eq!((world.connections().len(), world.load("udp:192.0.2.10:53", "198.51.100.11:53")), (0, "0/0".to_owned()));
}
