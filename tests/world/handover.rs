//! A director that ends and the next process of it: what one hands over lets the other go on, to the byte.
use std::io::Cursor;

use pollvs::control::handover::{self, Leaving, Left, Moment, TakenOver};
use pollvs::control::health::board::Found;
use pollvs::director::Director;
use pollvs::stats::Event;
use pollvs::steering::{Prefixes, Steering};
use pollvs::time::Instant;
use pollvs::verdict::WorkerId;
use pollvs::wire::sample::{Sample, at, tcp, udp};

use super::{Fate, ROOMY, World, is};

const RULES: [&str; 16] = [
    "-A -t 192.0.2.10:80 -s rr -p 300",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    "-A -t 192.0.2.11:80 -s rr",
    "-a -t 192.0.2.11:80 -r 198.51.100.11:80 -m",
    "-A -t 192.0.2.10:21 -s rr",
    "-a -t 192.0.2.10:21 -r 198.51.100.11:21 -m",
    "-A -u 192.0.2.11:53 -s rr",
    "-a -u 192.0.2.11:53 -r 198.51.100.13:53 -g",
    "-a -u 192.0.2.11:53 -r 198.51.100.14:53 -i",
    "-a -u 192.0.2.11:53 -r [2001:db8:2::15]:53 -i",
    "-A -u 192.0.2.10:5060 -s rr -p 60 --pe sip",
    "-a -u 192.0.2.10:5060 -r 198.51.100.11:5060 -m",
    "-a -u 192.0.2.10:5060 -r 198.51.100.12:5060 -m",
    "-A -t [2001:db8:1::10]:80 -s rr",
    "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::12]:80 -m",
];

fn moment(millis: u64) -> Moment {
    Moment { boot: "one".into(), millis }
}

/// What directors hand over when they stop.
fn handed(directors: &[Director], now: Instant) -> Vec<u8> {
    let mut bytes = Vec::new();
    handover::write(&mut bytes, moment(5000), directors, now).unwrap();
    bytes
}

/// The next process, with these rules and another seed, which begins to count time anew.
fn next(rules: &[&str]) -> World {
    let mut world = World::new(rules);
    (world.director, world.now) = (Director::new(&ROOMY, 8, WorkerId(0), Steering::default()), Instant(0));
    world.apply();
    world
}

fn take(bytes: &[u8], millis: u64, world: &mut World) -> Result<TakenOver, handover::Unusable> {
    let directors = std::slice::from_mut(&mut world.director);
    handover::read(Cursor::new(bytes), &moment(millis), directors, &Steering::default(), world.now)
}

/// The world goes on in the next process, with no time between.
fn restarted(before: &World, rules: &[&str]) -> World {
    let mut world = next(rules);
    take(&handed(std::slice::from_ref(&before.director), before.now), 5000, &mut world).unwrap();
    world
}

fn established(world: &mut World, client: &str, vip: &str) -> u8 {
    let server = world.client(&tcp(at(client), at(vip))).server();
    let port = if server == 12 { 8080 } else { at(vip).port() };
    world.server(&tcp(at(&format!("198.51.100.{server}:{port}")), at(client)).letters("SA"));
    world.client(&tcp(at(client), at(vip)).letters("A"));
    server
}

fn data(client: &str, vip: &str) -> Sample {
    tcp(at(client), at(vip)).letters("PA").data([1])
}

/// Connections and templates of every kind.
fn busy() -> World {
    let mut world = World::new(&RULES);
    established(&mut world, "203.0.113.4:999", "192.0.2.10:80");
    established(&mut world, "203.0.113.5:1000", "192.0.2.10:80");
    world.client(&tcp(at("203.0.113.6:1"), at("192.0.2.10:80")));
    for client in ["203.0.113.5:2000", "203.0.113.6:2000", "203.0.113.7:2000"] {
        world.client(&udp(at(client), at("192.0.2.11:53")).data([1]));
    }
    let six = tcp(at("[2001:db8:9::5]:1000"), at("[2001:db8:1::10]:80"));
    world.client(&six);
    world.client(&six.letters("A"));
    world.client(&call("203.0.113.8:5060"));
    world
}

fn call(client: &str) -> Sample {
    udp(at(client), at("192.0.2.10:5060")).data("INVITE sip:bob@example.org SIP/2.0\r\nCall-ID: a@x\r\n\r\n")
}

#[test]
fn every_kind_of_connection_and_template_goes_on_as_it_was() {
    let mut before = busy();
    let mut after = restarted(&before, &RULES);
    assert_eq!(after.connections(), before.connections());
    assert_eq!(after.templates(), before.templates());
    assert_eq!(after.event(Event::Created), 8);
    for (service, server) in [("tcp:192.0.2.10:80", "198.51.100.11:80"), ("udp:192.0.2.11:53", "198.51.100.14:53")] {
        assert_eq!(after.load(service, server), before.load(service, server));
    }
    let sent = [
        data("203.0.113.4:999", "192.0.2.10:80"),
        data("203.0.113.5:1000", "192.0.2.10:80"),
        tcp(at("203.0.113.5:1001"), at("192.0.2.10:80")),
        udp(at("203.0.113.6:2000"), at("192.0.2.11:53")).data([2]),
        data("[2001:db8:9::5]:1000", "[2001:db8:1::10]:80"),
        call("203.0.113.8:5061"),
    ];
    for sample in &sent {
        let unnumbered = |fate: Fate| (fate.server(), fate.bytes().len());
        assert_eq!(unnumbered(after.client(sample)), unnumbered(before.client(sample)));
    }
    let reply = tcp(at("198.51.100.11:80"), at("203.0.113.5:1000")).letters("A");
    is(&after.server(&reply), &before.server(&reply).to_string());
    assert_eq!(after.connections(), before.connections());
    before.sleep(90);
    after.sleep(90);
    assert_eq!((after.connections(), after.templates()), (before.connections(), before.templates()));
    after.sleep(2000);
    assert_eq!(after.director.used(), [0; 4]);
    assert_eq!(after.load("tcp:192.0.2.10:80", "198.51.100.11:80"), "0/0");
}

#[test]
fn the_time_between_counts() {
    let before = busy();
    let bytes = handed(std::slice::from_ref(&before.director), before.now);
    let mut after = next(&RULES);
    let taken = take(&bytes, 5000 + 7 * 1000, &mut after).unwrap();
    assert_eq!((taken.entries, taken.lost, taken.age.as_secs()), (12, 0, 7));
    let mut waited = busy();
    waited.sleep(7);
    assert_eq!((after.connections(), after.templates()), (waited.connections(), waited.templates()));
    // A day later all of it is due, and templates live on for what they control, as always.
    let mut late = next(&RULES);
    assert_eq!(take(&bytes, 86_400_000, &mut late).unwrap().entries, 12);
    late.sleep(61);
    assert_eq!(late.director.used(), [0; 4]);
}

#[test]
fn other_numbers_of_workers_find_their_clients() {
    let rules = ["-A -t 192.0.2.10:80 -s rr -p 300 -M 255.255.255.0", RULES[1], RULES[2]];
    let mut before = World::new(&rules);
    let clients: Vec<_> = (0..40).map(|n| format!("203.0.{n}.5:1000")).collect();
    clients.iter().for_each(|client| _ = established(&mut before, client, "192.0.2.10:80"));
    let prefixes = Prefixes { v4: 24, v6: 128 };
    let mut bytes = handed(std::slice::from_ref(&before.director), before.now);
    for workers in [3, 2, 1] {
        let steering = Steering::new(workers, pollvs::steering::MAX_BITS, prefixes, 3);
        let one = |id| {
            let mut director = Director::new(&ROOMY, 9, WorkerId(id), steering.clone());
            director.apply(before.control.snapshot());
            director
        };
        let mut directors: Vec<_> = (0..workers).map(one).collect();
        let taken = handover::read(Cursor::new(&bytes), &moment(5000), &mut directors, &steering, Instant(0)).unwrap();
        assert_eq!((taken.entries, taken.lost), (80, 0));
        for (id, director) in (0..).map(WorkerId).zip(&directors) {
            let owned = clients.iter().filter(|client| steering.owner(at(client).ip()) == id).count() as u32;
            assert_eq!(director.used(), [owned, 0, owned, 0], "worker {}", id.0);
        }
        bytes = handed(&directors, Instant(0));
        before.director = directors.remove(0);
    }
    before.now = Instant(0);
    let again = tcp(at("203.0.7.9:1001"), at("192.0.2.10:80"));
    let first = before.client(&data(&clients[7], "192.0.2.10:80")).server();
    assert_eq!(before.client(&again).server(), first, "the template of the network keeps it");
    before.sleep(2000);
    assert_eq!(before.director.used(), [0; 4]);
}

#[test]
fn a_destination_that_is_gone_is_bound_when_it_comes_back() {
    let mut before = World::new(&RULES);
    assert_eq!(established(&mut before, "203.0.113.5:1000", "192.0.2.10:80"), 12);
    let mut after = restarted(&before, &[RULES[0], RULES[1]]);
    is(&after.client(&data("203.0.113.5:1000", "192.0.2.10:80")), "destination_gone");
    after.ipvsadm(RULES[2]);
    assert_eq!(after.client(&data("203.0.113.5:1000", "192.0.2.10:80")).server(), 12);
    assert_eq!(after.load("tcp:192.0.2.10:80", "198.51.100.12:8080"), "1/0");
    assert_eq!(after.client(&tcp(at("203.0.113.5:1001"), at("192.0.2.10:80"))).server(), 12, "by the template");
}

#[test]
fn ftp_goes_on_between_a_question_and_its_answer_and_with_shifted_numbers() {
    let mut before = World::new(&RULES);
    let (client, vip, server) = ("203.0.113.5:1000", "192.0.2.10:21", "198.51.100.11:21");
    established(&mut before, client, vip);
    let said = |flags: &str, text: &str| tcp(at(client), at(vip)).letters(flags).data(text.as_bytes());
    let answered = |flags: &str, text: &str| tcp(at(server), at(client)).letters(flags).data(text.as_bytes());
    before.client(&said("PA", "PASV\r\n"));
    let mut after = restarted(&before, &RULES);
    let answer = answered("PA", "227 Entering Passive Mode (198,51,100,11,156,64).\r\n");
    is(&after.server(&answer), &before.server(&answer).to_string());
    let mut third = restarted(&after, &RULES);
    for (sample, of_server) in [(said("A", ""), false), (answered("PA", "200 OK\r\n"), true)] {
        let go = |world: &mut World| if of_server { world.server(&sample) } else { world.client(&sample) };
        assert_eq!(go(&mut third), go(&mut before));
    }
    let opens = tcp(at("203.0.113.5:1001"), at("192.0.2.10:40000"));
    assert_eq!(third.client(&opens), before.client(&opens), "the data connection is expected");
    let mut fourth = restarted(&third, &RULES);
    assert_eq!(fourth.connections(), before.connections());
    fourth.sleep(2000);
    assert_eq!(fourth.director.used(), [0; 4]);
}

/// One client port, two virtual addresses, one real server: the newest connection has the replies, and gives them back.
#[test]
fn whose_replies_are_whose_stays_so() {
    let mut before = World::new(&["-A -t 192.0.2.10:80 -s rr", RULES[1], RULES[3], RULES[4]]);
    established(&mut before, "203.0.113.5:1000", "192.0.2.10:80");
    established(&mut before, "203.0.113.5:1000", "192.0.2.11:80");
    let mut after = restarted(&before, &["-A -t 192.0.2.10:80 -s rr", RULES[1], RULES[3], RULES[4]]);
    let reply = tcp(at("198.51.100.11:80"), at("203.0.113.5:1000")).letters("A");
    let (was, is_now) = (before.server(&reply).to_string(), after.server(&reply));
    assert!(was.contains("192.0.2.11"), "{was}");
    is(&is_now, &was);
    // The newer one ends, the older one is kept alive.
    for world in [&mut before, &mut after] {
        world.client(&tcp(at("203.0.113.5:1000"), at("192.0.2.11:80")).letters("R"));
        world.sleep(11);
    }
    let was = before.server(&reply).to_string();
    assert!(was.contains("192.0.2.10"), "{was}");
    is(&after.server(&reply), &was);
}

#[test]
fn what_was_told_is_not_told_again() {
    let rules = [RULES[3], RULES[4]];
    let mut before = World::new(&rules);
    let master = "--start-daemon master --mcast-interface lo";
    before.ipvsadm(master);
    before.director.take_told(Vec::with_capacity(64));
    let told = |world: &mut World, packets| {
        for _ in 0..packets {
            world.client(&data("203.0.113.5:1000", "192.0.2.11:80"));
        }
        world.director.take_told(Vec::with_capacity(64)).len()
    };
    established(&mut before, "203.0.113.5:1000", "192.0.2.11:80");
    assert_eq!(told(&mut before, 1), 1, "the third packet");
    let mut after = restarted(&before, &rules);
    after.ipvsadm(master);
    after.director.take_told(Vec::with_capacity(64));
    assert_eq!(told(&mut after, 49), 0);
    assert_eq!(told(&mut after, 1), 1, "the 53rd");
}

#[test]
fn what_is_cut_off_or_changed_is_refused_whole() {
    let before = busy();
    let bytes = handed(std::slice::from_ref(&before.director), before.now);
    let mut after = next(&RULES);
    let mut refused = |bytes: &[u8], what: &dyn std::fmt::Debug| {
        let outcome = take(bytes, 5000, &mut after);
        assert!(outcome.is_err() && after.director.used() == [0; 4], "{what:?}: {outcome:?}");
        outcome.unwrap_err().to_string()
    };
    for length in 0..bytes.len() {
        refused(&bytes[..length], &length);
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        refused(&changed, &at);
    }
    let replaced = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut changed = [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..bytes.len() - 4]].concat();
        changed.extend(crc32c::crc32c(&changed).to_be_bytes());
        changed
    };
    let says = [
        ("pollvs connections 2\n", "pollvs connections 3\n", "it is of version 3, this program knows 2"),
        ("pollvs connections 2\n", "{}\n", "it is no list of connections"),
        (r#""boot":"one""#, r#""boot":"two""#, "it is from before the machine was started"),
        (r#""destinations":["#, r#""destinations":[7,"#, "what it says of its entries cannot be read: "),
    ];
    for (from, to, says) in says {
        let said = refused(&replaced(from, to), &from);
        assert!(said.starts_with(says), "{said}");
    }
    assert_eq!(take(&bytes, 5000, &mut after).unwrap().entries, 12);
}

#[test]
fn a_smaller_table_takes_what_it_has_room_for() {
    let before = busy();
    let bytes = handed(std::slice::from_ref(&before.director), before.now);
    let mut after = next(&RULES);
    let small = pollvs::director::Limits { connections: 2, templates: 1, ..ROOMY };
    after.director = Director::new(&small, 8, WorkerId(0), Steering::default());
    after.apply();
    let taken = take(&bytes, 5000, &mut after).unwrap();
    assert_eq!(taken.entries - taken.lost, 4, "two connections and a template, and one of IPv6");
    after.sleep(2000);
    assert_eq!(after.director.used(), [0; 4]);
    assert_eq!(after.load("tcp:192.0.2.10:80", "198.51.100.11:80"), "0/0");
}

#[test]
fn a_file_is_used_once_and_there_is_none_without_entries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.connections");
    let before = busy();
    let stop = |director: &Director| handover::save(&path, moment(5000), std::slice::from_ref(director), before.now);
    let start = |world: &mut World| {
        let directors = std::slice::from_mut(&mut world.director);
        handover::restore(&path, &moment(5000), directors, &Steering::default(), world.now)
    };
    assert_eq!(stop(&before.director).unwrap(), 12);
    let mut after = next(&RULES);
    assert_eq!(start(&mut after).unwrap().unwrap().entries, 12);
    assert_eq!(start(&mut after).unwrap(), None);
    assert_eq!(stop(&before.director).unwrap(), 12);
    assert_eq!(stop(&next(&RULES).director).unwrap(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "what was there is out of date");
    std::fs::write(&path, "rubbish").unwrap();
    let said = start(&mut after).unwrap_err().to_string();
    assert!(said.ends_with("state.connections is not used: it is no list of connections"), "{said}");
    assert_eq!(start(&mut after).unwrap(), None, "refused once");
    let nowhere =
        handover::save("/nonexistent/x".as_ref(), moment(0), std::slice::from_ref(&before.director), before.now);
    assert!(nowhere.is_err());
}

#[test]
fn what_checks_have_found_is_left_with_and_without_connections() {
    let found = |port, down: Option<&str>, since_ms| Found {
        service: "tcp:192.0.2.10:80".parse().unwrap(),
        address: ([198, 51, 100, 11], port).into(),
        down: down.map(str::to_owned),
        since_ms,
    };
    let health = vec![found(80, Some("connection refused"), 7000), found(81, None, 5)];
    let world = World::new(&[]);
    let leaving = Leaving { stopped: moment(5000), health: health.clone() };
    let mut bytes = Vec::new();
    handover::write(&mut bytes, leaving.clone(), std::slice::from_ref(&world.director), world.now).unwrap();
    assert_eq!(Left::new(Cursor::new(&bytes), &moment(6000)).unwrap().health(), health);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connections");
    handover::save(&path, leaving, std::slice::from_ref(&world.director), world.now).unwrap();
    assert_eq!(handover::open(&path, &moment(6000)).unwrap().unwrap().health(), health);
    assert!(handover::open(&path, &moment(6000)).unwrap().is_none(), "it is used once");
}
