//! FTP through NAT: data connections that are announced, expected, opened and given up.
use super::{ROOMY, World, is};
use pollvs::director::Limits;
use pollvs::stats::DropReason;
use pollvs::wire::sample::{Sample, at, tcp};

const RULES: [&str; 2] = ["-A -t 192.0.2.10:21 -s rr", "-a -t 192.0.2.10:21 -r 198.51.100.11:21 -m"];
const ANSWER: &str = "227 Entering Passive Mode (198,51,100,11,156,64).\r\n";

fn from_client(client: &str, flags: &str, data: &str) -> Sample {
    tcp(at(client), at("192.0.2.10:21")).letters(flags).data(data.as_bytes())
}

fn from_server(client: &str, flags: &str, data: &str) -> Sample {
    tcp(at("198.51.100.11:21"), at(client)).letters(flags).data(data.as_bytes())
}

/// Opens a control connection.
fn open(world: &mut World, client: &str) {
    world.client(&from_client(client, "S", ""));
    world.server(&from_server(client, "SA", ""));
    world.client(&from_client(client, "A", ""));
}

/// The data of the frame that left.
fn said(frame: &[u8]) -> String {
    String::from_utf8_lossy(&frame[54..]).into_owned()
}

#[test]
fn an_answer_names_the_virtual_address_and_the_data_connection_finds_its_server() {
    let mut world = World::new(&RULES);
    open(&mut world, "203.0.113.5:1000");
    world.client(&from_client("203.0.113.5:1000", "PA", "PASV\r\n"));
    let answer = world.server(&from_server("203.0.113.5:1000", "PA", ANSWER));
    assert_eq!(said(answer.bytes()), "227 Entering Passive Mode (192,0,2,10,156,64).\r\n");
    let waiting = "TCP 120 LISTEN 203.0.113.5:0 192.0.2.10:40000 198.51.100.11:40000";
    assert_eq!(world.connections()[0], waiting);
    world.client(&tcp(at("203.0.113.5:1001"), at("192.0.2.10:40000")));
    let open = "TCP 60 SYN_RECV 203.0.113.5:1001 192.0.2.10:40000 198.51.100.11:40000";
    assert_eq!(world.connections()[0], open);
    let second = world.client(&tcp(at("203.0.113.5:1002"), at("192.0.2.10:40000")));
    assert!(second.to_string().starts_with("kernel 0"), "one was expected, and has come: {second}");
}

#[test]
fn padding_behind_an_answer_is_no_part_of_it() {
    let mut world = World::new(&RULES);
    open(&mut world, "203.0.113.5:1000");
    world.client(&from_client("203.0.113.5:1000", "PA", "PASV\r\n"));
    let mut frame = from_server("203.0.113.5:1000", "PA", ANSWER).macs(super::server_mac(0), super::INSIDE_MAC).frame();
    frame.extend([0xee; 9]);
    let answer = world.frame(super::INSIDE, pollvs::verdict::Origin::Wire, frame);
    assert!(said(answer.bytes()).ends_with("(192,0,2,10,156,64).\r\n"), "{answer}");
}

#[test]
fn a_longer_virtual_address_makes_the_frame_longer() {
    let rules = ["-A -t 192.0.2.10:21 -s rr", "-a -t 192.0.2.10:21 -r 10.0.0.1:21 -m"];
    let mut world = World::new(&rules);
    let from_server =
        |flags, data: &str| tcp(at("10.0.0.1:21"), at("203.0.113.5:1000")).letters(flags).data(data.as_bytes());
    world.client(&from_client("203.0.113.5:1000", "S", ""));
    world.server(&from_server("SA", ""));
    world.client(&from_client("203.0.113.5:1000", "A", ""));
    world.client(&from_client("203.0.113.5:1000", "PA", "PASV\r\n"));
    let answer = world.server(&from_server("PA", "227 (10,0,0,1,4,1)\r\n"));
    assert_eq!(said(answer.bytes()), "227 (192,0,2,10,4,1)\r\n");
}

#[test]
fn a_control_connection_stays_while_a_data_connection_lives() {
    let mut world = World::new(&RULES);
    open(&mut world, "203.0.113.5:1000");
    world.client(&from_client("203.0.113.5:1000", "PA", "PORT 203,0,113,5,8,0\r\n"));
    world.server(&from_server("203.0.113.5:1000", "RA", ""));
    assert_eq!(world.connections()[1], "TCP 120 LISTEN 203.0.113.5:2048 192.0.2.10:20 198.51.100.11:20");
    world.sleep(119);
    assert_eq!(world.connections().len(), 2);
    world.sleep(61);
    assert_eq!(world.connections(), Vec::<String>::new());
    assert_eq!(world.load("tcp:192.0.2.10:21", "198.51.100.11:21"), "0/0");
}

#[test]
fn when_no_more_control_connections_can_be_remembered_the_command_is_dropped_and_counted() {
    let mut world = World::with(&Limits { ftp: 1, ..ROOMY }, &RULES);
    for client in ["203.0.113.5:1000", "203.0.113.6:1000"] {
        open(&mut world, client);
    }
    world.client(&from_client("203.0.113.5:1000", "PA", "PASV\r\n"));
    is(&world.client(&from_client("203.0.113.6:1000", "PA", "PASV\r\n")), "helpers_full");
    assert_eq!(world.dropped(DropReason::HelpersFull), 1);
    world.client(&from_client("203.0.113.6:1000", "PA", "NOOP\r\n"));
    world.server(&from_server("203.0.113.5:1000", "RA", ""));
    world.sleep(10);
    world.client(&from_client("203.0.113.6:1000", "PA", "PASV\r\n")).server();
}

#[test]
fn what_waits_for_a_client_is_counted_until_it_is_given_up() {
    let mut world = World::new(&RULES);
    open(&mut world, "203.0.113.5:1000");
    world.client(&from_client("203.0.113.5:1000", "PA", "PASV\r\n"));
    world.server(&from_server("203.0.113.5:1000", "PA", ANSWER));
    assert_eq!(world.load("tcp:192.0.2.10:21", "198.51.100.11:21"), "1/1");
    world.sleep(120);
    assert_eq!(world.load("tcp:192.0.2.10:21", "198.51.100.11:21"), "1/0");
    let late = world.client(&tcp(at("203.0.113.5:1001"), at("192.0.2.10:40000")));
    assert!(late.to_string().starts_with("kernel 0"), "{late}");
    assert_eq!(world.traffic("tcp:192.0.2.10:21", "198.51.100.11:21").connections, 1);
}

#[test]
fn with_direct_routing_nothing_is_read() {
    let rules = ["-A -t 192.0.2.10:21 -s rr -p 60", "-a -t 192.0.2.10:21 -r 198.51.100.11:21 -g"];
    let mut world = World::new(&rules);
    world.client(&from_client("203.0.113.5:1000", "S", ""));
    world.client(&from_client("203.0.113.5:1000", "PA", "PORT 203,0,113,5,8,0\r\n"));
    assert_eq!(world.connections().len(), 1);
    assert_eq!(world.client(&tcp(at("203.0.113.5:1001"), at("192.0.2.10:40000"))).server(), 11);
}
