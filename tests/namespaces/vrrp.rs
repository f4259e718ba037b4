//! The virtual addresses move when a director dies, whatever it dies of, and clients' requests with them.
use super::network::within;
use super::pair::{ELECTION, Pair, only_vrrp};
use std::thread::sleep;
use std::time::Duration;

/// An election takes 3.6 s at the most, and everything is slow on a busy machine.
const LONGEST_GAP: Duration = Duration::from_secs(8);

const RULES: [&str; 3] = [
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
];

/// Makes `failure` happen while a client asks; the addresses move from one member to the other, the client learns of it, and is
/// answered again within the time of an election.
fn moves(pair: &mut Pair, from: usize, what: &str, failure: impl FnOnce(&mut Pair)) {
    assert_eq!(pair.mac_for_client(), pair.mac_of(from), "before: {what}");
    let asking = pair.client_script("gap.py", &["192.0.2.10", "80"]);
    sleep(Duration::from_millis(500));
    failure(pair);
    pair.await_master(1 - from);
    assert!(within(Duration::from_secs(1), || pair.mac_for_client() == pair.mac_of(1 - from)), "{what}");
    sleep(Duration::from_millis(500));
    let report = asking.finish();
    println!("{what}: {report}");
    let gap: u128 = report.split_whitespace().rev().nth(4).and_then(|ms| ms.parse().ok()).unwrap_or(u128::MAX);
    assert!(gap < LONGEST_GAP.as_millis(), "{what}: {report}");
}

#[test]
fn addresses_and_requests_move_when_a_director_dies() {
    let Some(mut pair) = Pair::start(2, only_vrrp) else { return };
    for member in &pair.members {
        member.director.rules(&RULES);
    }
    pair.await_master(0);
    moves(&mut pair, 0, "pollvsd is killed", |pair| pair.members[0].director.kill());
    pair.start_director(0);
    assert!(within(ELECTION, || pair.has_logged(0, "Entering BACKUP STATE", 2)), "{}", pair.words());
    assert!(pair.has_addresses(1) && !pair.has_addresses(0), "who comes back stays backup");
    moves(&mut pair, 1, "keepalived is stopped", |pair| pair.stop_keepalived(1));
    pair.start_keepalived(1);
    assert!(within(ELECTION, || pair.has_logged(1, "Entering BACKUP STATE", 2)), "{}", pair.words());
    moves(&mut pair, 0, "the inside wire is pulled", |pair| {
        pair.run(0, &["ip", "link", "set", "inside", "down"]);
    });
    pair.run(0, &["ip", "link", "set", "inside", "up"]);
    assert!(within(ELECTION, || pair.has_logged(0, "Entering BACKUP STATE", 3)), "{}", pair.words());
    moves(&mut pair, 1, "pollvsd hangs", |pair| assert!(pair.members[1].director.signal("STOP")));
    assert!(pair.members[1].director.signal("CONT"));
    // What its kernel had sent meanwhile goes out late, advertisements too; that may cost the other an election.
    sleep(Duration::from_secs(1));
    pair.await_master(0);
}
