//! The life of TCP connections, as the recordings have it: states, time-outs, what counts as active, a SYN on an old connection.
use super::{Fate, World};
use pollvs::stats::{DropReason, Event};
use pollvs::wire::sample::{Sample, at, tcp};

const SERVICE: &str = "tcp:192.0.2.10:80";
const SERVER: &str = "198.51.100.11:80";

fn nat() -> World {
    World::new(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"])
}

fn request(flags: &str) -> Sample {
    tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).letters(flags)
}

fn reply(flags: &str) -> Sample {
    tcp(at(SERVER), at("203.0.113.5:1000")).letters(flags)
}

/// Plays segments, `>` from the client and `<` from the server, with the state, its time-out and active/inactive after each.
fn play(world: &mut World, script: &[(&str, &str)]) {
    for (segment, expected) in script {
        let (way, flags) = segment.split_at(1);
        let fate = if way == ">" { world.client(&request(flags)) } else { world.server(&reply(flags)) };
        assert!(matches!(fate, Fate::Out(..)), "{segment}: {fate}");
        let connections = world.connections();
        let [connection] = &connections[..] else { panic!("{segment}: {connections:?}") };
        let words: Vec<_> = connection.split(' ').collect();
        let load = world.load(SERVICE, SERVER);
        assert_eq!(format!("{} {} {load}", words[2], words[1]), *expected, "after {segment}");
    }
}

#[test]
fn a_client_that_closes_leaves_time_wait() {
    play(
        &mut nat(),
        &[
            (">S", "SYN_RECV 60 1/0"),
            ("<SA", "SYN_RECV 60 1/0"),
            (">A", "ESTABLISHED 900 1/0"),
            (">PA", "ESTABLISHED 900 1/0"),
            ("<PA", "ESTABLISHED 900 1/0"),
            (">FA", "CLOSE_WAIT 60 0/1"),
            ("<A", "CLOSE_WAIT 60 0/1"),
            ("<FA", "TIME_WAIT 120 0/1"),
            (">A", "TIME_WAIT 120 0/1"),
        ],
    );
}

#[test]
fn a_server_that_closes_goes_through_fin_wait() {
    play(
        &mut nat(),
        &[
            (">S", "SYN_RECV 60 1/0"),
            ("<SA", "SYN_RECV 60 1/0"),
            (">A", "ESTABLISHED 900 1/0"),
            ("<FA", "FIN_WAIT 120 0/1"),
            (">A", "FIN_WAIT 120 0/1"),
            (">FA", "TIME_WAIT 120 0/1"),
        ],
    );
}

#[test]
fn resets_close_from_the_server_at_once_and_from_the_client_once_established() {
    play(
        &mut nat(),
        &[(">S", "SYN_RECV 60 1/0"), (">R", "SYN_RECV 60 1/0"), ("<RA", "CLOSE 10 0/1"), (">A", "CLOSE 10 0/1")],
    );
    play(
        &mut nat(),
        &[(">S", "SYN_RECV 60 1/0"), ("<SA", "SYN_RECV 60 1/0"), (">A", "ESTABLISHED 900 1/0"), (">R", "CLOSE 10 0/1")],
    );
}

#[test]
fn direct_routing_and_tunnels_judge_by_the_client_alone() {
    for method in ["-g", "-i"] {
        let mut world =
            World::new(&["-A -t 192.0.2.10:80 -s rr", &format!("-a -t 192.0.2.10:80 -r 198.51.100.11:80 {method}")]);
        play(
            &mut world,
            &[
                (">S", "SYN_RECV 60 1/0"),
                (">A", "ESTABLISHED 900 1/0"),
                (">FA", "FIN_WAIT 120 0/1"),
                (">A", "FIN_WAIT 120 0/1"),
                (">R", "CLOSE 10 0/1"),
            ],
        );
    }
}

#[test]
fn every_packet_starts_the_timer_of_its_state_again_and_its_end_ends_the_connection() {
    let mut world = nat();
    world.client(&request("S"));
    for _ in 0..3 {
        world.sleep(59);
        assert_eq!(world.connections(), ["TCP 1 SYN_RECV 203.0.113.5:1000 192.0.2.10:80 198.51.100.11:80"]);
        world.client(&request("S"));
    }
    world.client(&request("A"));
    world.sleep(899);
    assert_eq!(world.connections().len(), 1);
    world.sleep(1);
    assert_eq!(world.connections(), [""; 0]);
    assert_eq!((world.load(SERVICE, SERVER), world.event(Event::Expired)), ("0/0".to_owned(), 1));
    assert!(matches!(world.client(&request("A")), Fate::Up(..)), "the connection is gone");
}

#[test]
fn a_shorter_state_ends_after_its_own_time() {
    let mut world = nat();
    world.client(&request("S"));
    world.client(&request("A"));
    world.sleep(300);
    world.server(&reply("R"));
    world.sleep(9);
    assert_eq!(world.connections(), ["TCP 1 CLOSE 203.0.113.5:1000 192.0.2.10:80 198.51.100.11:80"]);
    world.sleep(1);
    assert!(world.connections().is_empty());
}

#[test]
fn set_time_outs_hold_from_the_next_packet_on() {
    let mut world = nat();
    world.client(&request("S"));
    world.client(&request("A"));
    world.ipvsadm("--set 100 20 0");
    assert!(world.connections()[0].starts_with("TCP 900 ESTABLISHED"));
    world.client(&request("A"));
    assert!(world.connections()[0].starts_with("TCP 100 ESTABLISHED"));
    world.server(&reply("FA"));
    assert!(world.connections()[0].starts_with("TCP 20 FIN_WAIT"));
}

#[test]
fn a_syn_on_a_closed_connection_is_scheduled_anew_unless_told_otherwise() {
    let both = [
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m",
    ];
    for (mode, state, anew) in [
        (1, "close", true),
        (1, "time_wait", true),
        (1, "fin_wait", false),
        (0, "close", false),
        (0, "time_wait", false),
    ] {
        let mut world = World::new(&both);
        world.sysctl(|s| s.conn_reuse_mode = mode);
        let first = world.client(&request("S")).server();
        let from = |flags| tcp(at(&format!("198.51.100.{first}:80")), at("203.0.113.5:1000")).letters(flags);
        let segments = match state {
            "close" => vec!["R"],
            "time_wait" => vec!["SA", "FA"],
            _ => vec!["SA", "A", "FA"],
        };
        segments.into_iter().for_each(|flags| drop(world.server(&from(flags))));
        assert!(world.connections()[0].to_lowercase().contains(state), "{:?}", world.connections());
        let second = world.client(&request("S")).server();
        assert_eq!(second != first, anew, "mode {mode}, {state}");
        world.expire();
        assert!(world.connections()[0].starts_with("TCP 60 SYN_RECV"), "{:?}", world.connections());
        assert_eq!(world.connections().len(), 1);
        assert_eq!(world.event(Event::Reused), u64::from(anew));
    }
}

#[test]
fn mode_2_widens_reuse_to_fin_wait_of_direct_routing() {
    for (mode, anew) in [(1, false), (3, true)] {
        let mut world = World::new(&[
            "-A -t 192.0.2.10:80 -s rr",
            "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -g",
            "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -g",
        ]);
        world.sysctl(|s| s.conn_reuse_mode = mode);
        let first = world.client(&request("S")).server();
        world.client(&request("A"));
        world.client(&request("FA"));
        assert_eq!(world.client(&request("S")).server() != first, anew, "mode {mode}");
    }
}

#[test]
fn sloppy_takes_any_segment_but_a_reset() {
    for (flags, state) in
        [("A", "900 ESTABLISHED"), ("PA", "900 ESTABLISHED"), ("FA", "10 CLOSE"), ("SA", "60 SYN_RECV")]
    {
        let mut world = nat();
        world.sysctl(|s| s.sloppy_tcp = true);
        assert!(matches!(world.client(&request("RA")), Fate::Up(..)));
        assert_eq!(world.client(&request(flags)).server(), 11);
        assert!(world.connections()[0].starts_with(&format!("TCP {state}")), "{flags}: {:?}", world.connections());
    }
}

#[test]
fn a_connection_is_made_and_counted_before_its_packet_dies() {
    let mut world = nat();
    let fate = world.client(&request("S").ttl(1));
    assert!(fate.to_string().contains("ICMP type=11 code=0"), "{fate}");
    assert_eq!(world.connections(), ["TCP 60 SYN_RECV 203.0.113.5:1000 192.0.2.10:80 198.51.100.11:80"]);
    assert_eq!(world.traffic(SERVICE, SERVER).in_packets, 1);
    assert_eq!(world.dropped(DropReason::TtlExceeded), 1);
}

#[test]
fn ftp_data_is_never_scheduled() {
    let mut world = nat();
    assert!(matches!(world.client(&tcp(at("203.0.113.5:20"), at("192.0.2.10:80"))), Fate::Up(..)));
}

#[test]
fn a_closed_connection_lives_on_if_its_successor_finds_no_server_before_the_next_tick() {
    let mut world = nat();
    world.client(&request("S"));
    world.server(&reply("RA"));
    world.ipvsadm("-e -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 0");
    assert!(world.client(&request("S")).to_string().contains("ICMP type=3 code=3"));
    assert_eq!(world.client(&request("A")).server(), 11, "the old connection is found once more");
    world.sleep(9);
    assert_eq!(world.connections().len(), 1, "and lives on");
}

#[test]
fn a_replaced_connection_still_takes_the_replies_of_its_own_server_until_the_next_tick() {
    let mut world = nat();
    world.client(&request("S"));
    world.server(&reply("RA"));
    world.ipvsadm("-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m");
    assert_eq!(world.client(&request("S")).server(), 12);
    assert!(world.server(&reply("A")).to_string().contains("IP 192.0.2.10 > 203.0.113.5"));
    assert_eq!(world.client(&request("A")).server(), 12, "the client's packets are the new one's");
    world.sleep(11);
    assert_eq!(world.connections().len(), 1);
}

#[test]
fn without_a_service_of_its_family_a_servers_packet_is_the_kernels() {
    let mut world = nat();
    world.ipvsadm("-A -t [2001:db8:1::10]:80 -s rr");
    world.client(&request("S"));
    world.ipvsadm("-D -t 192.0.2.10:80");
    assert!(matches!(world.server(&reply("SA")), Fate::Up(..)));
}
