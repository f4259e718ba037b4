//! Ends of pollvsd, asked for or not, and what is there when it runs again; and the reading of its configuration while it runs.
use super::testbed::{TestBed, give_addresses, within};
use std::process::Stdio;
use std::time::Duration;

const RULES: [&str; 6] = [
    "-A -t 192.0.2.10:80 -s wrr -p 120",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m -w 3",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m -w 1",
    "-A -u 192.0.2.12:53 -s sh",
    "-a -u 192.0.2.12:53 -r 198.51.100.13:53 -i -w 7",
    "-A -t 192.0.2.11:80 -s lc",
];

/// The client tries to connect all the time. The twin's kernel holds the VIP as soon as the twin is there and has nothing on
/// the port, so a packet that pollvsd let through before its rules were back would be answered with a reset.
#[test]
fn rules_are_back_before_the_first_packet_after_a_kill() {
    let Some(mut bed) = TestBed::with_workers(1) else { return };
    bed.rules(&RULES);
    let before = bed.pollvs(&["ipvsadm", "-S", "-n"]);
    let knock = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/knock.py");
    let mut knocking = bed.inside("client", &["python3", knock, "192.0.2.10", "80"]);
    let mut knocking = knocking.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    bed.kill_director();
    let name = bed.name().to_owned();
    let addressing = std::thread::spawn(move || within(Duration::from_secs(20), || give_addresses(&name)));
    bed.start_director();
    assert!(addressing.join().unwrap(), "the twins did not come back");
    assert_eq!(bed.pollvs(&["ipvsadm", "-S", "-n"]), before);
    let request = || bed.inside("client", &["curl", "-s", "-o", "/dev/null", "http://192.0.2.10/"]).status().unwrap();
    assert!(within(Duration::from_secs(5), || request().success()), "no request succeeds after the restart");
    drop(knocking.stdin.take());
    let report = String::from_utf8(knocking.wait_with_output().unwrap().stdout).unwrap();
    assert!(report.contains(" 0 refused"), "{report}");
}

#[test]
fn a_stopped_pollvsd_ends_well_and_starts_with_the_same_rules() {
    let Some(mut bed) = TestBed::with_workers(1) else { return };
    bed.rules(&RULES);
    let before = bed.pollvs(&["ipvsadm", "-S", "-n"]);
    assert!(bed.stop_director().success());
    bed.start_director();
    assert_eq!(bed.pollvs(&["ipvsadm", "-S", "-n"]), before);
}

const SERVICE: &str = r#"
[[service]]
protocol = "tcp"
address = "192.0.2.13"
port = 80
scheduler = "rr"
[[service.destination]]
address = "198.51.100.13:8080"
method = "nat"
"#;

#[test]
fn a_hangup_brings_what_is_new_in_the_configuration_and_keeps_the_rules_entered() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&RULES);
    bed.reload_with(SERVICE);
    let words = ["curl", "-s", "--max-time", "2", "http://192.0.2.13/"];
    let request = || bed.inside("client", &words).output().unwrap().stdout == b"rs3\n";
    assert!(within(Duration::from_secs(5), request), "the new service does not answer");
    let rules = bed.pollvs(&["ipvsadm", "-S", "-n"]);
    for rule in RULES.iter().filter(|rule| rule.starts_with("-A")) {
        assert!(rules.contains(rule), "{rule} is missing in\n{rules}");
    }
}

#[test]
fn a_configuration_with_a_mistake_changes_nothing() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&RULES);
    let before = bed.pollvs(&["ipvsadm", "-S", "-n"]);
    bed.reload_with(&format!("{SERVICE}\nmethode = \"dr\""));
    assert!(within(Duration::from_secs(5), || bed.words().contains("methode")), "nothing is said about the mistake");
    assert_eq!(bed.pollvs(&["ipvsadm", "-S", "-n"]), before);
}
