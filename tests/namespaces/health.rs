//! pollvsd's own checks in front of live traffic: a real server that stops is out after as many failures as it takes and comes back, and
//! nobody else's request fails.
use super::network::{give_addresses, signal, within};
use super::rules::ab_says;
use super::testbed::TestBed;
use std::process::Stdio;
use std::time::{Duration, Instant};

const SERVICE: &str = "tcp:192.0.2.10:80";
const RULES: [&str; 3] = [
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
];
/// Far more than a state takes to change, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(1);
const FALL: u64 = 3;

/// What a listing says of the check of rs2: is it up, checks, failures.
fn check(bed: &TestBed) -> (bool, u64, u64) {
    let all: serde_json::Value = serde_json::from_str(&bed.pollvs(&["--json", "checks"])).unwrap();
    let of_rs2 = |c: &&serde_json::Value| c["destination"].as_str().unwrap().starts_with("198.51.100.12:");
    let one = all["checks"].as_array().unwrap().iter().find(of_rs2).expect("it is checked").clone();
    (one["up"].as_bool().unwrap(), one["checks"].as_u64().unwrap(), one["failed"].as_u64().unwrap())
}

/// Sends requests with `ab`, 2000 at a time, until `done`; returns how many there were, and how many were not answered.
fn load_until(bed: &TestBed, what: &str, done: &mut dyn FnMut() -> bool) -> [usize; 2] {
    let (begun, mut sent, before) = (Instant::now(), 0, answered(bed));
    loop {
        let words = ["ab", "-q", "-r", "-s", "10", "-c", "10", "-n", "2000", "http://192.0.2.10/load"];
        let mut ab = bed.inside("client", &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut is_done = false;
        while ab.try_wait().unwrap().is_none() {
            is_done |= done();
            std::thread::sleep(Duration::from_millis(5));
        }
        let report = String::from_utf8(ab.wait_with_output().unwrap().stdout).unwrap();
        let complete = ab_says(&report, "Complete requests").and_then(|count| count.parse::<usize>().ok());
        sent += complete.unwrap_or_else(|| panic!("{report}"));
        if is_done || done() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: never\n{}", bed.pollvs(&["checks"]));
    }
    let failed = sent - (answered(bed) - before);
    println!("{what}: {sent} requests, {failed} failed");
    [sent, failed]
}

fn answered(bed: &TestBed) -> usize {
    ["rs1", "rs2"].iter().map(|role| bed.requests_of(role, " /load")).sum()
}

/// Ends the web server of a role; its address refuses connections then.
pub(super) fn stop_server(bed: &TestBed, role: &str) {
    let file = bed.folder().join(role).join("nginx.pid");
    assert!(signal("TERM", std::fs::read_to_string(file).unwrap().trim().parse().unwrap()));
}

/// Starts it again. It ends with its namespace.
pub(super) fn start_server(bed: &TestBed, role: &str) -> std::process::Child {
    let folder = bed.folder().join(role);
    let words = ["nginx", "-e", "stderr", "-p", folder.to_str().unwrap(), "-c", "nginx.conf"];
    bed.inside(role, &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_server_that_stops_under_load_is_out_after_fall_failures_and_comes_back_after_rise_successes() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&RULES);
    let keys = ["type=http", "path=/check", "interval=1", "timeout=1", "fall=3", "rise=2"];
    bed.pollvs(&[&["check", "set", SERVICE][..], &keys].concat());
    assert!(within(PATIENCE, || check(&bed).1 >= 2), "{}", bed.words());
    let [_, failed] = load_until(&bed, "both are there", &mut || true);
    assert_eq!((failed, check(&bed).0), (0, true));

    let failures_before = check(&bed).2;
    stop_server(&bed, "rs2");
    let stopped = Instant::now();
    let mut out = None;
    let [sent, failed] = load_until(&bed, "a server stops and is taken out", &mut || {
        let (up, _, failures) = check(&bed);
        if !up && out.is_none() {
            out = Some((stopped.elapsed(), failures - failures_before));
        }
        !up
    });
    let (took, failures) = out.expect("it is out");
    println!("out {took:?} after it stopped, by {failures} failures, {INTERVAL:?} apart");
    assert!(failed < sent, "the other server answers nothing");
    // Looked at every few milliseconds; on a machine that stands still, another check may have come between.
    assert!((FALL..=FALL + 1).contains(&failures), "{failures}");
    assert!(took > INTERVAL * 19 / 20 * 2, "too early for {FALL} failures: {took:?}");
    let [_, failed] = load_until(&bed, "without it", &mut || true);
    assert_eq!(failed, 0);

    let mut server = start_server(&bed, "rs2");
    let [_, failed] = load_until(&bed, "it comes back", &mut || check(&bed).0);
    assert_eq!(failed, 0);
    let before = bed.requests_of("rs2", " /load");
    let [_, failed] = load_until(&bed, "with it", &mut || true);
    assert_eq!(failed, 0);
    assert!(bed.requests_of("rs2", " /load") > before, "who came back gets nothing");
    let _ = server.try_wait();
}

/// One configuration with a check of every kind that the servers of the network can be asked by.
const KINDS: &str = r#"
[[service]]
protocol = "tcp"
address = "192.0.2.13"
port = 80
[service.check]
type = "http"
interval = 0.5
timeout = 0.5
fall = 2
status = [200]
body_regex = "^rs[0-9]\n$"
[[service.destination]]
address = "198.51.100.11:8080"
method = "nat"
[[service.destination]]
address = "198.51.100.12:8080"
method = "nat"
[service.destination.check]
body_regex = "rs1"
[[service.destination]]
address = "198.51.100.13:8080"
method = "nat"
[service.destination.check]
type = "icmp"
interval = 0.5
[[service.destination]]
address = "198.51.100.14:8080"
method = "nat"
[service.destination.check]
type = "icmp"
interval = 0.5
fall = 2
[[service.destination]]
address = "198.51.100.11:9999"
method = "nat"
[service.destination.check]
type = "udp"
interval = 0.5
fall = 2
[[service.destination]]
address = "198.51.100.12:80"
method = "nat"
[service.destination.check]
type = "command"
interval = 0.5
command = ["/bin/bash", "-c", "exec 3<>/dev/tcp/{address}/{port}"]
"#;

#[test]
fn each_kind_of_check_tells_who_is_there_and_a_wrong_reload_leaves_them_alone() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.reload_with(KINDS);
    let states = || -> Vec<(String, bool, bool)> {
        let all: serde_json::Value = serde_json::from_str(&bed.pollvs(&["--json", "checks"])).unwrap();
        let state = |c: &serde_json::Value| {
            let up = c["up"].as_bool().unwrap();
            // Down by two failures, or up by an answer.
            let decided = !up || c["last"]["good"].as_bool() == Some(true);
            (c["destination"].as_str().unwrap().to_owned(), up, decided)
        };
        let mut all: Vec<_> = all["checks"].as_array().unwrap().iter().map(state).collect();
        all.sort();
        all
    };
    let want = [
        ("198.51.100.11:8080", true),
        ("198.51.100.11:9999", false),
        ("198.51.100.12:80", true),
        ("198.51.100.12:8080", false),
        ("198.51.100.13:8080", true),
        ("198.51.100.14:8080", false),
    ];
    let is = || {
        let states = states();
        states.iter().map(|(name, up, _)| (name.as_str(), *up)).eq(want) && states.iter().all(|s| s.2)
    };
    assert!(within(PATIENCE, is), "{}\n{}", bed.pollvs(&["checks"]), bed.words());
    println!("{}", bed.pollvs(&["checks"]));
    bed.reload_with("[[service]]\nmark = 1\n[service.check]\ntype = \"ping\"\n");
    assert!(within(PATIENCE, || bed.words().contains("service.check.type")), "{}", bed.words());
    let made = check(&bed).1;
    assert!(within(PATIENCE, || check(&bed).1 > made + 2), "they do not go on");
    assert!(is(), "{}", bed.pollvs(&["checks"]));
}

/// The real servers answer by their own addresses all the time; what is asked is the virtual one, which they hold for direct routing.
#[test]
fn the_virtual_address_is_checked_on_the_real_server_itself() {
    let Some(mut bed) = TestBed::with_workers(1) else { return };
    let rules_of = |bed: &TestBed| bed.run("director", &["ip", "rule"]);
    let before = rules_of(&bed);
    let set = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/sysctl.sh");
    bed.run("director", &["bash", set, "net/ipv4/conf/twin-inside/accept_local=1"]);
    bed.rules(&[
        "-A -t 192.0.2.11:80 -s rr",
        "-a -t 192.0.2.11:80 -r 198.51.100.11:80 -g",
        "-a -t 192.0.2.11:80 -r 198.51.100.12:80 -g",
    ]);
    let keys = ["type=http", "target=vip", "path=/vip", "interval=0.5", "timeout=0.5", "fall=2"];
    bed.pollvs(&[&["check", "set", "tcp:192.0.2.11:80"][..], &keys].concat());
    let both = || ["rs1", "rs2"].iter().all(|role| asked_by_vip(&bed, role) >= 2);
    assert!(within(PATIENCE, both), "{}\n{}\n{}", bed.pollvs(&["checks"]), rules_of(&bed), bed.words());
    assert!(within(PATIENCE, || check(&bed).0), "{}", bed.pollvs(&["checks"]));

    bed.run("rs2", &["ip", "address", "del", "192.0.2.11/32", "dev", "lo"]);
    assert!(within(PATIENCE, || !check(&bed).0), "{}", bed.pollvs(&["checks"]));
    let own = bed.run("rs2", &["curl", "-sS", "--max-time", "5", "http://198.51.100.12/"]);
    assert_eq!(own, "rs2\n", "its own address answers all the same");
    bed.run("rs2", &["ip", "address", "add", "192.0.2.11/32", "dev", "lo"]);
    assert!(within(PATIENCE, || check(&bed).0), "{}", bed.pollvs(&["checks"]));

    // What clients send is scheduled as ever, and what was made for the checks goes with the director, killed or not.
    let request = ["curl", "-sS", "--max-time", "5", "http://192.0.2.11/"];
    let answers: std::collections::BTreeSet<_> = (0..4).map(|_| bed.run("client", &request)).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_ne!(rules_of(&bed), before);
    bed.kill_director();
    bed.start_director();
    assert!(give_addresses(bed.name()));
    let made = asked_by_vip(&bed, "rs2");
    assert!(within(PATIENCE, || asked_by_vip(&bed, "rs2") > made), "{}\n{}", bed.pollvs(&["checks"]), rules_of(&bed));
    assert!(bed.stop_director().success());
    assert_eq!(rules_of(&bed), before);
}

/// How often the director has asked a real server by the virtual address.
fn asked_by_vip(bed: &TestBed, role: &str) -> usize {
    bed.requests_of(role, "198.51.100.1 192.0.2.11 /vip")
}
