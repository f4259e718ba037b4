//! A long run: traffic, random changes of rules, servers that stop and start under health checks, reloads and listings. At the end nothing is left over: tables
//! empty, counters of destinations zero, memory what it was once warm, every frame back in its pool. Half a minute as a test;
//! `make soak` gives it `POLLVS_SOAK_SECONDS`, and `POLLVS_SOAK_SEED` other changes.
use super::network::within;
use super::rules::ab_says;
use super::testbed::TestBed;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

const DATAGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/datagrams.py");
/// Length of the test, and of a run that is long enough to have tables emptied by their timers instead of by command.
const SHORT: Duration = Duration::from_secs(25);
const LONG: Duration = Duration::from_secs(300);
/// From one change to the next.
const PACE: Duration = Duration::from_millis(50);
/// How long a worker may go without a turn on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a connection may take to end by itself: TIME_WAIT is two minutes.
const DRAINED: Duration = Duration::from_secs(240);
/// Memory that may come after the first quarter, in KiB.
const GROWTH: u64 = 8_192;
const SCHEDULERS: [&str; 8] = ["rr", "wrr", "lc", "wlc", "sh", "sed", "nq", "mh"];
const ROLES: [&str; 3] = ["rs1", "rs2", "rs3"];

/// A service that is there all the time, while its destinations come and go.
struct Service {
    /// As ipvsadm names it.
    name: &'static str,
    /// What stands behind the scheduler.
    more: &'static str,
    /// Method, network of the servers, port.
    method: &'static str,
    servers: &'static str,
    port: u16,
}

const SERVICES: [Service; 4] = [
    Service { name: "-t 192.0.2.10:80", more: "", method: "-m", servers: "198.51.100.1", port: 8080 },
    Service { name: "-t 192.0.2.11:80", more: "", method: "-g", servers: "192.0.2.2", port: 80 },
    Service { name: "-t 192.0.2.13:80", more: "-p 5", method: "-m", servers: "198.51.100.1", port: 8080 },
    Service { name: "-u 192.0.2.12:5353", more: "", method: "-m", servers: "198.51.100.1", port: 5353 },
];

impl Service {
    fn rule(&self, verb: &str, server: usize, weight: Option<u32>) -> String {
        let Self { name, method, servers, port, .. } = self;
        let destination = format!("{verb} {name} -r {servers}{server}:{port}");
        weight.map_or(destination.clone(), |weight| format!("{destination} {method} -w {weight}"))
    }
}

/// What changes the rules and servers, and knows what they are.
struct Changes<'a> {
    bed: &'a TestBed,
    random: StdRng,
    /// Weights of the destinations that are there, by service and server.
    weights: BTreeMap<(usize, usize), u32>,
    /// Ports of services that come and go.
    extra: Vec<u16>,
    /// Servers that were stopped, or started again by this.
    stopped: [bool; 3],
    started: Vec<Child>,
    made: BTreeMap<&'static str, usize>,
}

impl<'a> Changes<'a> {
    fn new(bed: &'a TestBed, seed: u64) -> Self {
        bed.pollvs(&["ipvsadm", "--set", "5", "3", "3"]);
        let mut weights = BTreeMap::new();
        for (at, service) in SERVICES.iter().enumerate() {
            bed.rules(&[&format!("-A {} -s wrr {}", service.name, service.more)]);
            for server in 1..=3 {
                bed.rules(&[&service.rule("-a", server, Some(1))]);
                weights.insert((at, server), 1);
            }
        }
        for service in ["tcp:192.0.2.10:80", "tcp:192.0.2.13:80"] {
            bed.pollvs(&["check", "set", service, "type=http", "path=/check", "interval=0.5", "timeout=0.4", "fall=2"]);
        }
        let random = StdRng::seed_from_u64(seed);
        let (stopped, started) = ([false; 3], Vec::new());
        Self { bed, random, weights, extra: Vec::new(), stopped, started, made: BTreeMap::new() }
    }

    /// Makes one change.
    fn make(&mut self) {
        let what = match self.random.random_range(0..100) {
            0..25 => self.come_or_go(),
            25..50 => self.weigh(),
            50..60 => self.reschedule(),
            60..70 => self.extra_service(),
            70..74 => self.stop_or_start(),
            74..78 => self.reload(),
            78..83 => self.switch(),
            83..85 => self.zero(),
            _ => self.list(),
        };
        *self.made.entry(what).or_default() += 1;
    }

    fn rule(&self, rule: &str) {
        let words: Vec<_> = ["ipvsadm"].into_iter().chain(rule.split_whitespace()).collect();
        self.ask(&words);
    }

    /// Asks pollvs, again where a machine that does too much else has kept a worker from answering: nothing has changed then.
    fn ask(&self, words: &[&str]) {
        let mut said = String::new();
        let answered = within(PATIENCE, || {
            let output = self.bed.try_pollvs(words);
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() || said.contains("does not answer"), "{words:?}: {said}");
            output.status.success()
        });
        assert!(answered, "{words:?}: {said}");
    }

    fn any_destination(&mut self) -> (usize, usize) {
        (self.random.random_range(0..SERVICES.len()), self.random.random_range(1..=3))
    }

    fn come_or_go(&mut self) -> &'static str {
        let (service, server) = self.any_destination();
        if self.weights.remove(&(service, server)).is_some() {
            self.rule(&SERVICES[service].rule("-d", server, None));
            return "destinations removed";
        }
        let weight = self.random.random_range(0..4);
        self.rule(&SERVICES[service].rule("-a", server, Some(weight)));
        self.weights.insert((service, server), weight);
        "destinations added"
    }

    fn weigh(&mut self) -> &'static str {
        let (service, server) = self.any_destination();
        let new = self.random.random_range(0..4);
        if let Some(weight) = self.weights.get_mut(&(service, server)) {
            *weight = new;
            self.rule(&SERVICES[service].rule("-e", server, Some(new)));
        }
        "weights"
    }

    fn reschedule(&mut self) -> &'static str {
        let Service { name, more, .. } = SERVICES.choose(&mut self.random).unwrap();
        let scheduler = SCHEDULERS.choose(&mut self.random).unwrap();
        self.rule(&format!("-E {name} -s {scheduler} {more}"));
        "schedulers"
    }

    fn extra_service(&mut self) -> &'static str {
        if self.extra.len() > 20 || (!self.extra.is_empty() && self.random.random()) {
            let port = self.extra.swap_remove(self.random.random_range(0..self.extra.len()));
            self.rule(&format!("-D -t 192.0.2.14:{port}"));
            return "services removed";
        }
        let port = self.random.random_range(1..u16::MAX);
        if !self.extra.contains(&port) {
            self.rule(&format!("-A -t 192.0.2.14:{port} -s rr"));
            self.rule(&format!("-a -t 192.0.2.14:{port} -r 198.51.100.11:8080 -m"));
            self.extra.push(port);
        }
        "services added"
    }

    fn stop_or_start(&mut self) -> &'static str {
        let at = self.random.random_range(0..ROLES.len());
        if self.stopped[at] {
            self.start_server(at);
            return "servers started";
        }
        let folder = self.bed.folder().join(ROLES[at]);
        let words = ["nginx", "-e", "stderr", "-p", folder.to_str().unwrap(), "-c", "nginx.conf", "-s", "stop"];
        self.bed.run(ROLES[at], &words);
        assert!(within(Duration::from_secs(20), || !folder.join("nginx.pid").exists()), "nginx does not stop");
        self.stopped[at] = true;
        "servers stopped"
    }

    fn start_server(&mut self, at: usize) {
        let folder = self.bed.folder().join(ROLES[at]);
        let words = ["nginx", "-e", "stderr", "-p", folder.to_str().unwrap(), "-c", "nginx.conf"];
        self.started.push(self.bed.inside(ROLES[at], &words).stderr(Stdio::null()).spawn().unwrap());
        assert!(within(Duration::from_secs(20), || folder.join("nginx.pid").exists()), "nginx does not start");
        self.stopped[at] = false;
    }

    fn reload(&mut self) -> &'static str {
        self.bed.reload_with("");
        "reloads"
    }

    fn switch(&mut self) -> &'static str {
        let switches = ["expire_nodest_conn", "expire_quiescent_template", "sloppy_tcp", "conn_reuse_mode"];
        let value = if self.random.random() { "1" } else { "0" };
        let switch = switches.choose(&mut self.random).unwrap();
        self.ask(&["settings", switch, value]);
        "settings"
    }

    fn zero(&mut self) -> &'static str {
        self.rule("-Z");
        "counters zeroed"
    }

    fn list(&mut self) -> &'static str {
        let listings: [&[&str]; 10] = [
            &["services"],
            &["connections"],
            &["templates", "--json"],
            &["stats"],
            &["rates"],
            &["workers"],
            &["counters", "--all"],
            &["save"],
            &["ipvsadm", "-Ln"],
            &["ipvsadm", "-Lnc"],
        ];
        let listing = *listings.choose(&mut self.random).unwrap();
        self.ask(listing);
        "listings"
    }
}

/// What the clients have got.
#[derive(Default)]
struct Traffic {
    stop: AtomicBool,
    requests: AtomicUsize,
    datagrams: AtomicUsize,
}

impl Traffic {
    /// Clients that go on until they are told to stop. What fails is the fault of the changes: servers are gone on purpose.
    fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, bed: &'scope TestBed) {
        for (vip, client) in
            [("192.0.2.10", "192.0.2.100"), ("192.0.2.11", "192.0.2.101"), ("192.0.2.13", "192.0.2.102")]
        {
            let url = format!("http://{vip}/soak");
            let words = ["ab", "-q", "-r", "-s", "2", "-c", "4", "-n", "200", "-B", client, &url].map(String::from);
            scope.spawn(move || {
                self.again(bed, &words, |report| (ab_says(report, "Complete requests"), &self.requests))
            });
        }
        let words = ["python3", DATAGRAMS, "scatter", "192.0.2.12", "5353", "200"].map(String::from);
        scope.spawn(move || self.again(bed, &words, |report| (Some(report.trim()), &self.datagrams)));
    }

    fn again<'a>(&'a self, bed: &TestBed, words: &[String], counted: impl Fn(&str) -> (Option<&str>, &'a AtomicUsize)) {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        while !self.stop.load(Ordering::Relaxed) {
            let output = bed.inside("client", &words).stderr(Stdio::null()).output().unwrap();
            let report = String::from_utf8_lossy(&output.stdout).into_owned();
            let (number, counter) = counted(&report);
            // ab says nothing when the first connection of its ten is refused.
            counter.fetch_add(number.and_then(|n| n.parse().ok()).unwrap_or(0), Ordering::Relaxed);
        }
    }
}

/// Ends the traffic, also when a change fails.
struct End<'a>(&'a Traffic);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Resident memory of pollvsd, in KiB.
fn memory(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("pollvsd runs on");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What `pollvs status` says after a word.
fn status(bed: &TestBed, word: &str) -> String {
    let text = bed.pollvs(&["status"]);
    let line = text.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{word} in {text}"));
    line[word.len()..].trim().to_owned()
}

/// A number from the environment.
fn given(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Traffic and changes for so long. Returns the most memory within the first quarter and after it.
fn run(bed: &TestBed, changes: &mut Changes<'_>, traffic: &Traffic, length: Duration) -> [u64; 2] {
    let process = status(bed, "director").split_once("process ").unwrap().1.split(',').next().unwrap().to_owned();
    let begun = Instant::now();
    let (mut most, mut said) = ([0; 2], Duration::ZERO);
    std::thread::scope(|scope| {
        traffic.begin(scope, bed);
        let _end = End(traffic);
        while begun.elapsed() < length {
            changes.make();
            let (now, part) = (memory(&process), usize::from(begun.elapsed() > length / 4));
            most[part] = most[part].max(now);
            if begun.elapsed() > said {
                println!("{:4} s: {now} KiB, {} connections", begun.elapsed().as_secs(), status(bed, "connections"));
                said += Duration::from_secs(30);
            }
            sleep(PACE);
        }
    });
    most
}

/// Waits until the tables are empty, and checks that nothing is counted of what was in them.
fn check_empty(bed: &TestBed) {
    let is_empty = |what: &str| status(bed, what).starts_with("0 of");
    let drained = within(DRAINED, || is_empty("connections") && is_empty("templates"));
    assert!(drained, "{}{}{}", bed.pollvs(&["status"]), bed.pollvs(&["connections"]), bed.pollvs(&["templates"]));
    let table = bed.pollvs(&["ipvsadm", "-Ln"]);
    let destinations: Vec<_> = table.lines().filter(|line| line.starts_with("  -> ")).skip(1).collect();
    assert!(!destinations.is_empty(), "{table}");
    for line in destinations {
        assert!(line.split_whitespace().skip(4).eq(["0", "0"]), "{line}");
    }
}

/// The process has ended as it should, and has given everything back.
fn check_log(words: &str) {
    let is_fault =
        |line: &&str| ["panicked", "fault of the program", " ERROR "].iter().any(|fault| line.contains(fault));
    // See `Changes::ask`.
    let faults: Vec<_> = words.lines().filter(is_fault).filter(|line| !line.contains("does not answer")).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let frames = words.lines().find(|line| line.contains("frames are in their pool")).expect("it says so when it ends");
    let numbers: Vec<_> = frames.split_whitespace().filter_map(|word| word.parse::<usize>().ok()).collect();
    assert_eq!(numbers[0], numbers[1], "{frames}");
}

#[test]
fn nothing_is_left_over_after_a_long_run() {
    let Some(mut bed) = TestBed::with_workers(2) else { return };
    let length = Duration::from_secs(given("POLLVS_SOAK_SECONDS", SHORT.as_secs()));
    let seed = given("POLLVS_SOAK_SEED", 1);
    let mut datagrams: Vec<Child> = Vec::new();
    for (number, role) in (1..).zip(ROLES) {
        let address = format!("198.51.100.1{number}");
        let mut command: Command = bed.inside(role, &["python3", DATAGRAMS, "answer", &address, "5353", role]);
        datagrams.push(command.stderr(Stdio::null()).spawn().unwrap());
    }
    let (traffic, mut changes) = (Traffic::default(), Changes::new(&bed, seed));
    let most = run(&bed, &mut changes, &traffic, length);
    let Changes { made, mut started, .. } = changes;
    let (requests, datagram_count) = (traffic.requests.into_inner(), traffic.datagrams.into_inner());
    let is_long = length >= LONG;
    if !is_long {
        bed.pollvs(&["flush", "--connections"]);
    }
    let begun = Instant::now();
    check_empty(&bed);
    println!(
        "seed {seed}, {} s: {requests} requests, {datagram_count} datagrams answered, {made:?}\n\
         memory: {} KiB at the most in the first quarter, {} KiB after it; tables empty after {} s",
        length.as_secs(),
        most[0],
        most[1],
        begun.elapsed().as_secs()
    );
    assert!(requests > 0 && datagram_count > 0);
    assert!(most[1] <= most[0] + GROWTH, "memory grows: {most:?} KiB");
    assert!(bed.stop_director().success());
    check_log(&bed.words());
    drop(bed);
    started.iter_mut().chain(&mut datagrams).for_each(|child| drop(child.wait()));
}
