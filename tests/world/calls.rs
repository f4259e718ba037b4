//! The persistence engine sip: whose datagrams stay together, and what is no call.
use super::{ROOMY, World, is};
use pollvs::director::Limits;
use pollvs::stats::DropReason;
use pollvs::wire::sample::{Sample, at, udp};

fn rules(flags: &str) -> Vec<String> {
    let service = format!("-A -u 192.0.2.10:5060 -s rr {flags} --pe sip");
    let server = |last| format!("-a -u 192.0.2.10:5060 -r 198.51.100.{last}:5060 -m");
    std::iter::once(service).chain([11, 12, 13].map(server)).collect()
}

fn world(limits: &Limits, flags: &str) -> World {
    let rules = rules(flags);
    World::with(limits, &rules.iter().map(String::as_str).collect::<Vec<_>>())
}

fn message(call: &str) -> String {
    format!("INVITE sip:bob@example.org SIP/2.0\r\nCall-ID: {call}\r\n\r\n")
}

fn from_client(client: &str, call: &str) -> Sample {
    udp(at(client), at("192.0.2.10:5060")).data(message(call))
}

#[test]
fn the_datagrams_of_a_call_stay_together_and_those_of_others_do_not() {
    let mut world = world(&ROOMY, "-p 60");
    let picks =
        [("203.0.113.5:1", "a@x"), ("203.0.113.5:2", "b@x"), ("203.0.113.5:3", "a@x"), ("203.0.113.6:1", "a@x")]
            .map(|(client, call)| world.client(&from_client(client, call)).server());
    assert_eq!(picks, [13, 12, 13, 11]);
    assert_eq!(world.templates().len(), 3);
    let junk = udp(at("203.0.113.5:9"), at("192.0.2.10:5060")).data("hello");
    is(&world.client(&junk), "no_call_id");
    assert_eq!(world.dropped(DropReason::NoCallId), 1);
}

#[test]
fn many_calls_of_one_client_are_told_apart() {
    let limits = Limits { calls: 1000, ..ROOMY };
    let mut world = world(&limits, "-p 60 -o");
    let picks: Vec<_> =
        (0..900).map(|n| world.client(&from_client("203.0.113.5:1", &format!("{n}@x"))).server()).collect();
    assert_eq!(world.templates().len(), 900);
    let again: Vec<_> =
        (0..900).map(|n| world.client(&from_client("203.0.113.5:2", &format!("{n}@x"))).server()).collect();
    assert_eq!(picks, again);
    world.sleep(60);
    assert!(world.templates().is_empty());
    assert_eq!(world.client(&from_client("203.0.113.5:1", "new@x")).server(), 13, "900 turns later");
}

#[test]
fn a_call_too_many_is_served_but_not_remembered() {
    let mut world = world(&Limits { calls: 1, ..ROOMY }, "-p 60 -o");
    let picks = ["a@x", "b@x", "b@x", "a@x"].map(|call| world.client(&from_client("203.0.113.5:1", call)).server());
    assert_eq!(picks, [13, 12, 11, 13]);
    assert_eq!(world.templates().len(), 1);
}

#[test]
fn a_server_that_begins_a_call_gets_the_answers() {
    let mut world = world(&ROOMY, "-p 60");
    let first = udp(at("198.51.100.12:5060"), at("203.0.113.5:5080")).data(message("s@x"));
    let sent = world.server(&first);
    assert!(sent.to_string().contains("192.0.2.10 > 203.0.113.5"), "{sent}");
    assert_eq!(world.client(&from_client("203.0.113.5:5080", "s@x")).server(), 12);
    assert_eq!(world.client(&from_client("203.0.113.5:5081", "s@x")).server(), 12, "by the template");
    assert_eq!(world.templates(), ["UDP 60 ASSURED 203.0.113.5:0 192.0.2.10:5060 198.51.100.12:5060"]);
}

#[test]
fn the_packets_of_a_client_go_to_the_server_that_called_it_last() {
    let mut world = world(&ROOMY, "-p 60");
    let client = from_client("203.0.113.5:5080", "a@x");
    assert_eq!(world.client(&client).server(), 13);
    for caller in ["198.51.100.12:5060", "198.51.100.11:5060"] {
        world.server(&udp(at(caller), at("203.0.113.5:5080")).data(message("s@x")));
    }
    assert_eq!(world.client(&client).server(), 11, "the newest of three");
    assert_eq!(world.connections().len(), 3);
}
