//! Open connections survive the death of their director: the other has been told of them, and takes the addresses over.
use super::network::within;
use super::pair::{ELECTION, Pair, only_vrrp};
use std::thread::sleep;
use std::time::Duration;

const CONNECTIONS: usize = 200;
const RULES: [&str; 7] = [
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    "-A -t 192.0.2.11:80 -s rr -p 300",
    "-a -t 192.0.2.11:80 -r 198.51.100.11:8080 -m",
    "-a -t 192.0.2.11:80 -r 198.51.100.12:8080 -m",
    "-a -t 192.0.2.11:80 -r 198.51.100.13:8080 -m",
];
/// A message is two seconds old at the most when it leaves.
const TOLD: Duration = Duration::from_secs(4);

fn daemon(pair: &Pair, at: usize, role: &str, group: &str) {
    let line = format!("--start-daemon {role} --mcast-interface twin-inside --mcast-group {group} --syncid 1");
    pair.members[at].director.rules(&[&line]);
}

/// How much a member has of a counter of the workers.
fn counted(pair: &Pair, at: usize, name: &str) -> usize {
    let text = pair.members[at].director.pollvs(&["counters", "--all"]);
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn open_connections_and_their_clients_servers_outlive_their_director() {
    let Some(mut pair) = Pair::start(2, only_vrrp) else { return };
    for member in &pair.members {
        member.director.rules(&RULES);
    }
    pair.await_master(0);
    daemon(&pair, 0, "master", "224.0.0.81");
    daemon(&pair, 1, "backup", "224.0.0.81");
    let count = CONNECTIONS.to_string();
    let held = pair.client_script("hold.py", &["192.0.2.10", "80", &count]);
    let persistent = pair.client_script("hold.py", &["192.0.2.11", "80", "1"]);
    let known = || counted(&pair, 1, "sync_accepted") > CONNECTIONS;
    assert!(within(ELECTION + TOLD, known), "{}", pair.members[1].director.pollvs(&["sync", "--all"]));
    pair.members[1].director.pollvs(&["sync", "--ready"]);
    sleep(TOLD);
    pair.members[0].director.kill();
    pair.await_master(1);
    let report = |words: String| words.lines().last().unwrap_or_default().to_owned();
    assert_eq!(report(held.finish()), format!("{CONNECTIONS} go on, 0 by another server, 0 are lost"));
    assert_eq!(report(persistent.finish()), "1 go on, 0 by another server, 0 are lost");
    let templates = pair.members[1].director.pollvs(&["templates"]);
    assert!(templates.contains("192.0.2.11:80"), "{templates}");
    // Who comes back as backup learns from the other all that happened since; this time by a group of IPv6.
    pair.start_director(0);
    pair.members[0].director.rules(&["--stop-daemon master"]);
    daemon(&pair, 1, "master", "ff05::81");
    daemon(&pair, 0, "backup", "ff05::81");
    pair.members[0].director.pollvs(&["sync", "--wait-ready", "20"]);
    let (state, templates) =
        (pair.members[0].director.pollvs(&["sync"]), pair.members[0].director.pollvs(&["templates"]));
    assert!(state.contains("transfers_taken"), "{state}");
    assert!(templates.contains("192.0.2.11:80"), "{templates}");
}
