//! Two directors: what one tells, through the bytes of the protocol, lets the other go on.
use pollvs::director::{Accepted, Limits, Listing};
use pollvs::stats::Event;
use pollvs::sync::message::Pushed;
use pollvs::sync::{Builder, Entry, Flags, Message, Version};
use pollvs::wire::sample::{at, tcp, udp};

use super::{ROOMY, World, is};

const MASTER: &str = "--start-daemon master --mcast-interface lo";
const RULES: [&str; 10] = [
    "-A -t 192.0.2.10:80 -s rr -p 60",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    "-A -t 192.0.2.10:21 -s rr",
    "-a -t 192.0.2.10:21 -r 198.51.100.11:21 -m",
    "-A -u 192.0.2.11:53 -s rr",
    "-a -u 192.0.2.11:53 -r 198.51.100.13:53 -g",
    "-a -u 192.0.2.11:53 -r 198.51.100.14:53 -i",
    "-A -t [2001:db8:1::10]:80 -s rr",
    "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::12]:80 -m",
];

/// A master that tells of every packet, with the same rules as a backup.
fn pair() -> (World, World) {
    let mut master = World::new(&RULES);
    master.ipvsadm(MASTER);
    master.sysctl(|s| s.sync_threshold = [0, 1]);
    master.director.take_told(Vec::with_capacity(64));
    (master, World::new(&RULES))
}

/// Carries what the master has told to the backup, as bytes.
fn carry(master: &mut World, backup: &mut World) -> Vec<Entry> {
    let told = master.director.take_told(Vec::with_capacity(64));
    let mut builder = Builder::new(Version::V1, 0, 65_000);
    told.iter().for_each(|entry| assert_eq!(builder.push(entry), Ok(Pushed::In)));
    let bytes = builder.finish();
    let entries: Vec<Entry> = Message::read(&bytes).unwrap().entries().map(Result::unwrap).collect();
    for entry in &entries {
        assert!(matches!(backup.director.accept(entry, backup.now), Accepted::Made | Accepted::Updated), "{entry:?}");
    }
    entries
}

fn established(world: &mut World, client: &str, vip: &str, server: &str) -> u8 {
    let server_of = world.client(&tcp(at(client), at(vip))).server();
    world.server(&tcp(at(server), at(client)).letters("SA"));
    world.client(&tcp(at(client), at(vip)).letters("A"));
    server_of
}

#[test]
fn a_connection_goes_on_through_the_other_director_both_ways_and_its_client_stays_with_its_server() {
    let (mut master, mut backup) = pair();
    established(&mut master, "203.0.113.4:999", "192.0.2.10:80", "198.51.100.12:8080");
    let server = established(&mut master, "203.0.113.5:1000", "192.0.2.10:80", "198.51.100.11:80");
    assert_eq!(server, 11);
    carry(&mut master, &mut backup);
    assert_eq!(backup.connections(), master.connections());
    assert_eq!(backup.templates(), master.templates());
    let next = tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).letters("PA").data([1]);
    assert_eq!(backup.client(&next), master.client(&next));
    let reply = tcp(at("198.51.100.11:80"), at("203.0.113.5:1000")).letters("A");
    is(&backup.server(&reply), &master.server(&reply).to_string());
    let again = tcp(at("203.0.113.5:1001"), at("192.0.2.10:80"));
    assert_eq!(backup.client(&again).server(), 11, "the template keeps the client");
    assert_eq!(backup.load("tcp:192.0.2.10:80", "198.51.100.11:80"), "2/0");
    backup.sleep(1000);
    assert_eq!((backup.connections().len(), backup.templates().len()), (0, 0));
    assert_eq!(backup.load("tcp:192.0.2.10:80", "198.51.100.11:80"), "0/0");
}

#[test]
fn ipv6_and_datagrams_by_direct_routing_and_tunnels_go_on() {
    let (mut master, mut backup) = pair();
    let six = tcp(at("[2001:db8:9::5]:1000"), at("[2001:db8:1::10]:80"));
    master.client(&six);
    master.client(&six.clone().letters("A"));
    let datagrams = ["203.0.113.5:2000", "203.0.113.6:2000"].map(|c| udp(at(c), at("192.0.2.11:53")).data([1]));
    datagrams.iter().for_each(|d| drop(master.client(d)));
    carry(&mut master, &mut backup);
    assert_eq!(backup.connections(), master.connections());
    for sample in datagrams.iter().chain([&six.letters("A")]) {
        assert_eq!(backup.client(sample).server(), master.client(sample).server());
    }
    assert_eq!(backup.event(Event::NoConnection), 0);
}

#[test]
fn shifted_sequence_numbers_of_ftp_go_on() {
    let (mut master, mut backup) = pair();
    let (client, vip, server) = ("203.0.113.5:1000", "192.0.2.10:21", "198.51.100.11:21");
    established(&mut master, client, vip, server);
    let said = |flags: &str, text: &str| tcp(at(client), at(vip)).letters(flags).data(text.as_bytes());
    let answered = |flags: &str, text: &str| tcp(at(server), at(client)).letters(flags).data(text.as_bytes());
    master.client(&said("PA", "PASV\r\n"));
    master.server(&answered("PA", "227 Entering Passive Mode (198,51,100,11,156,64).\r\n"));
    master.client(&said("A", ""));
    let told = carry(&mut master, &mut backup);
    assert!(told.iter().any(|e| e.sequences.is_some() && e.flags.contains(Flags::OUT_SEQ)));
    let (next, reply) = (said("PA", "NOOP\r\n"), answered("PA", "200 OK\r\n"));
    assert_eq!(backup.client(&next), master.client(&next));
    assert_eq!(backup.server(&reply), master.server(&reply));
}

/// A backup that is told of connections to this server, which it does not have, by a master that has nothing else.
fn without(server: &str, say: impl Fn(&mut World)) -> (World, Vec<Entry>) {
    let gone = [
        "-d -t 192.0.2.10:80 -r 198.51.100.11:80",
        "-d -t 192.0.2.10:80 -r 198.51.100.12:8080",
        "-d -u 192.0.2.11:53 -r 198.51.100.13:53",
        "-d -u 192.0.2.11:53 -r 198.51.100.14:53",
    ];
    let (mut master, mut backup) = pair();
    for line in gone {
        master.ipvsadm(line);
        backup.ipvsadm(line);
    }
    master.ipvsadm(server);
    say(&mut master);
    let told = carry(&mut master, &mut backup);
    (backup, told)
}

#[test]
fn what_has_no_destination_goes_on_by_itself_and_is_bound_by_the_next_message() {
    let late = "-a -t 192.0.2.10:80 -r 198.51.100.18:80 -m";
    let (mut backup, told) = without(late, |master| {
        established(master, "203.0.113.5:1000", "192.0.2.10:80", "198.51.100.18:80");
    });
    let next = tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).letters("A");
    assert_eq!(backup.client(&next).server(), 18);
    let reply = backup.server(&tcp(at("198.51.100.18:80"), at("203.0.113.5:1000")).letters("A"));
    assert!(reply.to_string().contains("192.0.2.10 > 203.0.113.5"), "{reply}");
    backup.ipvsadm(late);
    assert_eq!(backup.client(&next).server(), 18);
    assert_eq!(backup.load("tcp:192.0.2.10:80", "198.51.100.18:80"), "0/0");
    told.iter().for_each(|entry| assert_eq!(backup.director.accept(entry, backup.now), Accepted::Updated));
    assert_eq!(backup.load("tcp:192.0.2.10:80", "198.51.100.18:80"), "1/0");
    assert_eq!(backup.client(&tcp(at("203.0.113.5:1001"), at("192.0.2.10:80"))).server(), 18);
    assert_eq!(backup.templates().len(), 1, "the template was bound, too");
}

#[test]
fn what_has_no_destination_ends_as_it_would_and_counts_for_nobody() {
    let (mut backup, _) = without("-a -t 192.0.2.10:80 -r 198.51.100.18:80 -m", |master| {
        established(master, "203.0.113.5:1000", "192.0.2.10:80", "198.51.100.18:80");
    });
    let end = tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).letters("R");
    assert_eq!(backup.client(&end).server(), 18);
    assert!(backup.connections()[0].starts_with("TCP 10 CLOSE "), "{:?}", backup.connections());
    backup.sysctl(|s| s.expire_nodest_conn = true);
    assert_eq!(backup.client(&end).server(), 18, "no destination was removed");
    backup.sleep(12);
    assert_eq!(backup.connections(), [""; 0]);
}

#[test]
fn direct_routing_without_a_destination_goes_on_and_what_would_need_a_tunnel_is_dropped() {
    let datagram = udp(at("203.0.113.5:2000"), at("192.0.2.11:53")).data([1]);
    let told_of = |method| without(method, |master| drop(master.client(&datagram))).0;
    let mut backup = told_of("-a -u 192.0.2.11:53 -r 198.51.100.18:53 -g");
    assert_eq!(backup.client(&datagram).server(), 18);
    let mut backup = told_of("-a -u 192.0.2.11:53 -r 198.51.100.18:53 -i");
    is(&backup.client(&datagram), "destination_gone");
    assert!(backup.connections()[0].starts_with("UDP 300 UDP "), "its time starts anew: {:?}", backup.connections());
    let mut backup = told_of("-a -u 192.0.2.11:53 -r 10.66.0.1:53 -g");
    assert!(backup.client(&datagram).to_string().contains("ICMP"), "no route");
}

#[test]
fn a_connection_of_the_same_ends_to_another_server_replaces_the_one_that_is_known() {
    let (mut master, mut backup) = pair();
    established(&mut master, "203.0.113.5:1000", "192.0.2.10:80", "198.51.100.12:8080");
    let told = carry(&mut master, &mut backup);
    let connection = told.iter().find(|e| !e.is_template()).unwrap();
    let moved = Entry { dest: "198.51.100.11".parse().unwrap(), dport: 80, ..*connection };
    let late = Entry { flags: Flags::INACTIVE, ..moved };
    assert_eq!(backup.director.accept(&late, backup.now), Accepted::Outdated);
    assert_eq!(backup.director.accept(&moved, backup.now), Accepted::Made);
    let next = tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).letters("A");
    assert_eq!(backup.client(&next).server(), 11);
    backup.sleep(1);
    assert_eq!(backup.connections().len(), 1);
    assert_eq!(backup.load("tcp:192.0.2.10:80", "198.51.100.12:8080"), "0/0");
}

#[test]
fn full_tables_and_full_buffers_are_counted_and_hold_up_nothing() {
    let (mut master, _) = pair();
    let mut small = World::with(&Limits { connections: 1, templates: 0, ..ROOMY }, &RULES);
    master.director.take_told(Vec::with_capacity(3));
    for port in 1000..1003 {
        let client = format!("203.0.113.5:{port}");
        established(&mut master, &client, "192.0.2.10:80", "198.51.100.12:8080");
    }
    let told = master.director.take_told(Vec::new());
    assert_eq!((told.len(), master.event(Event::SyncTold)), (3, 3));
    assert_eq!(master.event(Event::SyncLost), 6, "a template and a connection of each, but for SYN_RECV");
    let mut all = Vec::new();
    let connections = Listing { v6: false, templates: false };
    assert_eq!(master.director.tell_all(connections, 0, 1000, |entry| all.push(entry)), None);
    assert_eq!(all.len(), 3);
    all.extend(told);
    all.iter().for_each(|entry| _ = small.director.accept(entry, small.now));
    assert_eq!(small.connections().len(), 1);
    assert!(small.event(Event::SyncNoRoom) >= 3);
}

#[test]
fn a_director_that_joins_is_told_of_all_that_a_master_would_tell() {
    let (mut master, mut backup) = pair();
    for host in 1..9 {
        let client = format!("203.0.113.{host}:1000");
        established(&mut master, &client, "192.0.2.10:80", "198.51.100.12:8080");
    }
    master.client(&tcp(at("203.0.113.99:1"), at("192.0.2.10:80")));
    for templates in [false, true] {
        let (mut cursor, mut pages) = (Some(0), 0);
        while let Some(from) = cursor {
            let mut page = Vec::new();
            let which = Listing { v6: false, templates };
            cursor = master.director.tell_all(which, from, 3, |entry| page.push(entry));
            page.iter().for_each(|entry| _ = backup.director.accept(entry, backup.now));
            pages += 1;
        }
        assert!(pages >= 3);
    }
    assert_eq!(backup.connections().len(), 8, "half-open ones are not told of");
    assert_eq!(backup.templates(), master.templates());
}

#[test]
fn the_messages_that_the_kernel_took_are_those_that_are_written() {
    let captures = [
        &include_bytes!("../parity/scenarios/sync-backup/input.pcap")[..],
        include_bytes!("../parity/scenarios/sync-backup-unbound/input.pcap"),
    ];
    let frames = captures.iter().flat_map(|capture| pollvs::io::pcap::read(capture).unwrap());
    let mut taken = 0;
    for frame in frames.map(|record| record.frame).filter(|frame| frame.starts_with(&[1, 0, 0x5e])) {
        let Ok(message) = Message::read(&frame[42..]) else { continue };
        let Ok(entries) = message.entries().collect::<Result<Vec<_>, _>>() else { continue };
        let mut builder = Builder::new(message.version(), message.syncid(), 1472);
        entries.iter().for_each(|entry| assert_eq!(builder.push(entry), Ok(Pushed::In)));
        assert_eq!(builder.finish(), frame[42..]);
        taken += entries.len();
    }
    assert_eq!(taken, 27);
}

/// The datagrams to the group that a kernel master sent in the recorded scenarios.
fn sent_by_the_kernel() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/scenarios");
    let scenarios = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let masters = scenarios.filter(|path| path.to_string_lossy().contains("/sync-master"));
    let captures = masters.map(|path| std::fs::read(path.join("expected/output.pcap")).unwrap());
    let frames = captures.flat_map(|capture| pollvs::io::pcap::read(&capture).unwrap()).map(|record| record.frame);
    let datagram = |frame: Vec<u8>| match frame[..3] {
        [1, 0, 0x5e] => Some(frame[42..].to_vec()),
        [0x33, 0x33, _] => Some(frame[62..].to_vec()),
        _ => None,
    };
    frames.filter_map(datagram).collect()
}

#[test]
fn every_message_of_the_kernels_is_read_taken_and_written_again_as_it_was() {
    let messages = sent_by_the_kernel();
    let mut backup = World::new(&RULES);
    let mut seen = [0; 2];
    for bytes in &messages {
        let message = Message::read(bytes).unwrap();
        let entries: Vec<Entry> = message.entries().map(Result::unwrap).collect();
        let mut builder = Builder::new(message.version(), message.syncid(), 1472);
        for entry in &entries {
            assert!(
                matches!(backup.director.accept(entry, backup.now), Accepted::Made | Accepted::Updated),
                "{entry:?}"
            );
            builder.push(entry).unwrap();
        }
        assert_eq!(builder.finish(), *bytes);
        seen[usize::from(message.version() == Version::V1)] += entries.len();
    }
    assert!(messages.len() > 30 && seen.iter().all(|count| *count > 5), "{} {seen:?}", messages.len());
}

#[test]
fn nothing_is_told_without_a_master_and_nothing_after_it_has_stopped() {
    let mut world = World::new(&RULES);
    world.director.take_told(Vec::with_capacity(64));
    established(&mut world, "203.0.113.5:1000", "192.0.2.10:80", "198.51.100.12:8080");
    assert_eq!(world.director.take_told(Vec::with_capacity(64)), []);
    world.ipvsadm(MASTER);
    world.client(&tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).letters("FA"));
    assert_eq!(world.director.take_told(Vec::with_capacity(64)).len(), 2);
    world.ipvsadm("--stop-daemon master");
    world.client(&tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).letters("RA"));
    assert_eq!(world.director.take_told(Vec::new()), []);
}
