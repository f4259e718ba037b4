//! A backup that is started by hand, by a group of IPv6, learns from the master all that happened before.
use super::network::within;
use super::pair::{Pair, only_vrrp};
use std::time::Duration;

const RULES: [&str; 3] = [
    "-A -t 192.0.2.11:80 -s rr -p 300",
    "-a -t 192.0.2.11:80 -r 198.51.100.11:8080 -m",
    "-a -t 192.0.2.11:80 -r 198.51.100.12:8080 -m",
];
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_backup_that_joins_is_told_of_templates_by_a_group_of_ipv6() {
    let Some(pair) = Pair::start(2, only_vrrp) else { return };
    for member in &pair.members {
        member.director.rules(&RULES);
    }
    let answers =
        |url: &str| pair.inside("client", &["curl", "-sf", "--max-time", "5", url]).status().unwrap().success();
    assert!(within(PATIENCE, || answers("http://192.0.2.11/")), "{}", pair.words());
    for (at, role) in [(0, "master"), (1, "backup")] {
        let line = format!("--start-daemon {role} --mcast-interface twin-inside --mcast-group ff05::81 --syncid 1");
        pair.members[at].director.rules(&[&line]);
    }
    let [master, backup] = &pair.members;
    backup.director.pollvs(&["sync", "--wait-ready", "20"]);
    let state = backup.director.pollvs(&["sync"]);
    assert!(state.contains("transfers_taken"), "{state}");
    let templates = backup.director.pollvs(&["templates"]);
    assert!(templates.contains("192.0.2.11:80"), "{templates}\n{}", master.director.pollvs(&["templates"]));
}
