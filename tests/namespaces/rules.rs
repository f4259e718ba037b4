//! Rules that change under load.
use super::testbed::TestBed;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

const REQUESTS: usize = 10_000;

/// A server comes, takes its share, is quiesced and goes; the weight of another moves to and fro; a service comes and goes.
const CHANGES: [&str; 8] = [
    "-a -t 192.0.2.10:80 -r 198.51.100.13:8080 -m -w 1",
    "-e -t 192.0.2.10:80 -r 198.51.100.11:8080 -m -w 3",
    "-A -u 192.0.2.10:53 -s rr",
    "-e -t 192.0.2.10:80 -r 198.51.100.13:8080 -m -w 2",
    "-e -t 192.0.2.10:80 -r 198.51.100.13:8080 -m -w 0",
    "-e -t 192.0.2.10:80 -r 198.51.100.11:8080 -m -w 1",
    "-D -u 192.0.2.10:53",
    "-d -t 192.0.2.10:80 -r 198.51.100.13:8080",
];

/// As many requests as were asked for, and all of `CHANGES` a few times over, however fast the machine is.
fn requests_under_change(workers: usize) {
    let Some(bed) = TestBed::with_workers(workers) else { return };
    bed.rules(&[
        "-A -t 192.0.2.10:80 -s wrr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m -w 1",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m -w 1",
    ]);
    let mut changes = CHANGES.iter().cycle().enumerate();
    let (mut requests, mut made) = (0, 0);
    while made < 3 * CHANGES.len() {
        made = load_under_change(&bed, &mut changes);
        requests += REQUESTS;
    }
    let logged: usize = ["rs1", "rs2", "rs3"].iter().map(|role| bed.requests_of(role, " /change")).sum();
    assert_eq!(logged, requests);
    assert!(bed.requests_of("rs3", " /change") > 0, "the server that came and went got nothing");
}

/// Runs ab once and makes a change every 50 ms meanwhile; returns how many changes there have been.
fn load_under_change<'a>(bed: &TestBed, changes: &mut impl Iterator<Item = (usize, &'a &'a str)>) -> usize {
    let words = ["ab", "-q", "-r", "-c", "10", "-n", &REQUESTS.to_string(), "http://192.0.2.10/change"];
    let mut ab = bed.inside("client", &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut made = 0;
    while ab.try_wait().unwrap().is_none() {
        let (index, change) = changes.next().unwrap();
        bed.rules(&[change]);
        made = index + 1;
        sleep(Duration::from_millis(50));
    }
    let report = String::from_utf8(ab.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(ab_says(&report, "Complete requests"), Some(REQUESTS.to_string().as_str()), "{report}");
    assert_eq!(ab_says(&report, "Failed requests"), Some("0"), "{report}");
    assert_eq!(ab_says(&report, "Non-2xx responses"), None, "{report}");
    made
}

#[test]
fn ten_thousand_requests_succeed_while_rules_change_every_50_ms() {
    requests_under_change(1);
}

#[test]
fn ten_thousand_requests_succeed_while_rules_change_under_two_workers() {
    requests_under_change(2);
}

/// What ab's report says after `what:`.
pub(super) fn ab_says<'a>(report: &'a str, what: &str) -> Option<&'a str> {
    let rest = report.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))?;
    rest.split_whitespace().next()
}
