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
command = ["/bin/bash", "-c", "exec 3<>/dev/tcp/{address}/{port}; ls -m /proc/self/fd"]
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
    // The connection and the folder that is listed: nothing of pollvsd's own.
    assert!(bed.pollvs(&["checks"]).contains("\"0, 1, 2, 3, 4\""), "descriptors: {}", bed.pollvs(&["checks"]));
    bed.reload_with("[[service]]\nmark = 1\n[service.check]\ntype = \"ping\"\n");
    assert!(within(PATIENCE, || bed.words().contains("service.check.type")), "{}", bed.words());
    let made = check(&bed).1;
    assert!(within(PATIENCE, || check(&bed).1 > made + 2), "they do not go on");
    assert!(is(), "{}", bed.pollvs(&["checks"]));
}

/// How real servers are reached by which the virtual address is checked.
struct ByVip {
    vip: &'static str,
    /// What the addresses of real servers and of the director begin with.
    inside: &'static str,
    rule: &'static str,
    method: &'static str,
}

const BY_MAC: ByVip = ByVip { vip: "192.0.2.11", inside: "198.51.100.", rule: "-t", method: "-g" };
const BY_TUNNEL: ByVip = ByVip { vip: "192.0.2.12", method: "-i", ..BY_MAC };
const BY_TUNNEL_OF_IPV6: ByVip = ByVip { method: "-i", ..BY_MAC_OF_IPV6 };
const BY_MAC_OF_IPV6: ByVip = ByVip { vip: "2001:db8:1::11", inside: "2001:db8:2::", ..BY_MAC };

impl ByVip {
    fn v6(&self) -> bool {
        self.vip.contains(':')
    }

    fn service(&self) -> String {
        if self.v6() { format!("[{}]:80", self.vip) } else { format!("{}:80", self.vip) }
    }

    fn server(&self, number: usize) -> String {
        let address = format!("{}1{number}", self.inside);
        if self.v6() { format!("[{address}]:80") } else { format!("{address}:80") }
    }

    /// A rule for a real server: its letter, and what follows.
    fn enter(&self, bed: &TestBed, letter: &str, number: usize, method: &str) {
        bed.rules(&[&format!("{letter} {} {} -r {} {method}", self.rule, self.service(), self.server(number))]);
    }

    /// Is that server up, by its check?
    fn is_up(&self, bed: &TestBed, number: usize) -> bool {
        let all: serde_json::Value = serde_json::from_str(&bed.pollvs(&["--json", "checks"])).unwrap();
        let mut all = all["checks"].as_array().unwrap().iter();
        let one = all.find(|c| c["destination"] == self.server(number).as_str()).expect("it is checked");
        one["up"] == true && one["last"]["good"] == true
    }

    /// How often the director has asked a real server by the virtual address.
    fn asked(&self, bed: &TestBed, number: usize) -> usize {
        let log = format!("{}1 {} /vip", self.inside, self.vip);
        bed.requests_of(&format!("rs{number}"), &log)
    }

    /// Asked again, and again, from now on.
    fn is_asked(&self, bed: &TestBed, number: usize) -> bool {
        let before = self.asked(bed, number);
        within(PATIENCE, || self.asked(bed, number) >= before + 2)
    }

    /// Gives a real server the virtual address, or takes it away.
    fn hold(&self, bed: &TestBed, number: usize, word: &str) {
        let address = format!("{}/{}", self.vip, if self.v6() { 128 } else { 32 });
        let nodad: &[_] = if self.v6() && word == "add" { &["nodad"] } else { &[] };
        let words = [&["ip", "address", word, &address, "dev", "lo"][..], nodad].concat();
        bed.run(&format!("rs{number}"), &words);
    }
}

/// What the kernel of the director has been told for checks: rules of policy routing, and interfaces.
fn told(bed: &TestBed) -> String {
    let links = bed.run("director", &["ip", "-o", "link"]);
    let links = links.lines().filter(|line| line.contains("pollvs-checks")).count();
    format!("{}{}{links}", bed.run("director", &["ip", "rule"]), bed.run("director", &["ip", "-6", "rule"]))
}

/// The real servers answer by their own addresses all the time; what is asked is the virtual one.
fn the_virtual_address_is_checked(by: &ByVip) {
    let Some(mut bed) = TestBed::with_workers(1) else { return };
    let before = told(&bed);
    let set = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/sysctl.sh");
    bed.run("director", &["bash", set, "net/ipv4/conf/twin-inside/accept_local=1"]);
    bed.rules(&[&format!("-A {} {} -s rr", by.rule, by.service())]);
    by.enter(&bed, "-a", 1, by.method);
    by.enter(&bed, "-a", 2, by.method);
    let service = format!("tcp:{}", by.service());
    let keys = ["type=http", "target=vip", "path=/vip", "interval=0.5", "timeout=0.5", "fall=2"];
    bed.pollvs(&[&["check", "set", &service][..], &keys].concat());
    let state = |bed: &TestBed| format!("{}\n{}\n{}", bed.pollvs(&["checks"]), told(bed), bed.words());
    assert!(by.is_asked(&bed, 1) && by.is_asked(&bed, 2), "{}", state(&bed));
    assert!(within(PATIENCE, || by.is_up(&bed, 1) && by.is_up(&bed, 2)), "{}", state(&bed));

    by.hold(&bed, 2, "del");
    assert!(within(PATIENCE, || !by.is_up(&bed, 2)), "{}", state(&bed));
    let own = format!("http://{}/", by.server(2));
    assert_eq!(bed.run("rs2", &["curl", "-gsS", "--max-time", "5", &own]), "rs2\n", "its own address answers");
    by.hold(&bed, 2, "add");
    assert!(within(PATIENCE, || by.is_up(&bed, 2)), "{}", state(&bed));

    // What clients send is scheduled as ever.
    let url = format!("http://{}/", by.service());
    let request = ["curl", "-gsS", "--max-time", "5", &url];
    let answers: std::collections::BTreeSet<_> = (0..4).map(|_| bed.run("client", &request)).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");

    // One that comes later is checked as well; one by NAT, which does not hold the virtual address, by its own.
    by.enter(&bed, "-a", 3, by.method);
    assert!(by.is_asked(&bed, 3), "{}", state(&bed));
    by.enter(&bed, "-e", 3, "-m");
    let own = || bed.requests_of("rs3", &format!("{0}1 {0}13 /vip", by.inside));
    assert!(within(PATIENCE, || own() >= 2 && by.is_up(&bed, 3)), "{}", state(&bed));

    // The director's interface goes down and comes back, which takes routes along.
    bed.run("director", &["ip", "link", "set", "twin-inside", "down"]);
    assert!(within(PATIENCE, || !by.is_up(&bed, 1)), "{}", state(&bed));
    assert!(give_addresses(bed.name()));
    assert!(within(PATIENCE, || by.is_up(&bed, 1)), "{}", state(&bed));

    // What was made for the checks goes with them, and with the director, killed or not.
    assert_ne!(told(&bed), before);
    bed.pollvs(&["check", "remove", &service]);
    assert!(within(PATIENCE, || told(&bed) == before), "{}", state(&bed));
    bed.pollvs(&[&["check", "set", &service][..], &keys].concat());
    assert!(by.is_asked(&bed, 2), "{}", state(&bed));
    bed.kill_director();
    bed.start_director();
    assert!(give_addresses(bed.name()));
    assert!(by.is_asked(&bed, 2), "{}", state(&bed));
    assert!(bed.stop_director().success());
    assert_eq!(told(&bed), before);
}

#[test]
fn the_virtual_address_is_checked_by_the_mac_of_the_real_server() {
    the_virtual_address_is_checked(&BY_MAC);
}

#[test]
fn the_virtual_address_of_ipv6_is_checked_by_the_mac_of_the_real_server() {
    the_virtual_address_is_checked(&BY_MAC_OF_IPV6);
}

#[test]
fn the_virtual_address_is_checked_through_the_tunnel() {
    the_virtual_address_is_checked(&BY_TUNNEL);
}

#[test]
fn the_virtual_address_of_ipv6_is_checked_through_the_tunnel() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    let by = &BY_TUNNEL_OF_IPV6;
    let unwrap = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/unwrap.py");
    let mut unwrapping = bed.inside("rs1", &["python3", unwrap, "ip6"]).spawn().unwrap();
    bed.rules(&[&format!("-A -t {} -s rr", by.service())]);
    by.enter(&bed, "-a", 1, "-i");
    by.enter(&bed, "-a", 2, "-i");
    let keys = ["type=http", "target=vip", "path=/vip", "interval=0.5", "timeout=0.5", "fall=2"];
    bed.pollvs(&[&["check", "set", &format!("tcp:{}", by.service())][..], &keys].concat());
    let decided = || by.is_up(&bed, 1) && !by.is_up(&bed, 2);
    assert!(within(PATIENCE, decided) && by.is_asked(&bed, 1), "{}", bed.pollvs(&["checks"]));
    unwrapping.kill().unwrap();
    unwrapping.wait().unwrap();
    assert!(within(PATIENCE, || !by.is_up(&bed, 1)), "{}", bed.pollvs(&["checks"]));
}

/// The servers take packets out of one encapsulation only.
#[test]
fn the_virtual_address_is_checked_through_tunnels_of_all_kinds() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    let by = &BY_TUNNEL;
    let set = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/sysctl.sh");
    bed.run("director", &["bash", set, "net/ipv4/conf/twin-inside/accept_local=1"]);
    let unwrap = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/unwrap.py");
    let start = |role: &str, kind: &str| bed.inside(role, &["python3", unwrap, kind]).spawn().unwrap();
    let mut unwrapping = [start("rs1", "gre"), start("rs2", "gue")];
    bed.rules(&[&format!("-A -t {} -s rr", by.service())]);
    by.enter(&bed, "-a", 1, "-i --tun-type gre --tun-csum");
    by.enter(&bed, "-a", 2, "-i --tun-type gue --tun-port 6080 --tun-csum");
    by.enter(&bed, "-a", 3, "-i --tun-type gre");
    let keys = ["type=http", "target=vip", "path=/vip", "interval=0.5", "timeout=0.5", "fall=2"];
    bed.pollvs(&[&["check", "set", "tcp:192.0.2.12:80"][..], &keys].concat());
    let decided = || [1, 2, 3].map(|number| by.is_up(&bed, number)) == [true, true, false];
    assert!(within(PATIENCE, decided) && by.is_asked(&bed, 1) && by.is_asked(&bed, 2), "{}", bed.pollvs(&["checks"]));
    by.enter(&bed, "-e", 3, "-i");
    assert!(within(PATIENCE, || by.is_up(&bed, 3)), "another encapsulation: {}", bed.pollvs(&["checks"]));
    for child in &mut unwrapping {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
