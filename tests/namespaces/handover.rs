//! pollvsd ends and is started again under open connections and load: the connections go on.
use super::health::stop_server;
use super::rules::ab_says;
use super::testbed::{TestBed, within};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

/// Far more than anything here takes, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that stay open.
const HELD: usize = 1000;
const RULES: [&str; 12] = [
    "-A -t 192.0.2.10:7000 -s rr",
    "-a -t 192.0.2.10:7000 -r 198.51.100.11:7000 -m",
    "-a -t 192.0.2.10:7000 -r 198.51.100.12:7000 -m",
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    "-A -t 192.0.2.11:80 -s rr -p 300",
    "-a -t 192.0.2.11:80 -r 198.51.100.11:80 -g",
    "-a -t 192.0.2.11:80 -r 198.51.100.12:80 -g",
    "-A -u 192.0.2.10:53 -s rr",
    "-a -u 192.0.2.10:53 -r 198.51.100.11:5300 -m",
    "-a -u 192.0.2.10:53 -r 198.51.100.12:5300 -m",
];
const CLIENTS: [&str; 3] = ["192.0.2.100", "192.0.2.101", "192.0.2.102"];

/// A program that runs until its stdin ends, and the rest of what it prints.
struct Running(Child, ChildStdin, BufReader<ChildStdout>);

impl Running {
    /// Starts a script of this folder at the client and waits for its first line.
    fn start(bed: &TestBed, script: &str, words: &[&str]) -> Self {
        let path = path(script);
        let words: Vec<_> = ["python3", &path].iter().chain(words).copied().collect();
        let mut child = bed.inside("client", &words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        said.read_line(&mut first).unwrap();
        assert!(first.ends_with('\n'), "{script} does not begin");
        let stdin = child.stdin.take().unwrap();
        Self(child, stdin, said)
    }

    /// Ends it and returns its last line.
    fn finish(self) -> String {
        let Self(mut child, stdin, mut said) = self;
        drop(stdin);
        let mut last = String::new();
        said.read_line(&mut last).unwrap();
        child.wait().unwrap();
        last
    }
}

fn path(script: &str) -> String {
    format!("{}/tests/namespaces/{script}", env!("CARGO_MANIFEST_DIR"))
}

/// The services that the web servers do not have; they end with the network.
fn serve(bed: &TestBed) -> Vec<Child> {
    let (echoes, datagrams) = (path("echoes.py"), path("datagrams.py"));
    let mut children = Vec::new();
    for (role, address) in [("rs1", "198.51.100.11"), ("rs2", "198.51.100.12")] {
        children.push(bed.inside(role, &["python3", &echoes, "serve", address, "7000", role]).spawn().unwrap());
        children.push(bed.inside(role, &["python3", &datagrams, "answer", address, "5300", role]).spawn().unwrap());
        let listens = || bed.run(role, &["ss", "-Hltun"]).matches(&format!("{address}:")).count() >= 2;
        assert!(within(PATIENCE, listens), "{role} does not serve");
    }
    children
}

fn servers(bed: &TestBed) -> [String; 3] {
    let url = "http://192.0.2.11/";
    CLIENTS.map(|client| bed.run("client", &["curl", "-sS", "--max-time", "5", "--interface", client, url]))
}

/// The second time with another number of workers.
#[test]
fn a_thousand_open_connections_and_all_requests_outlive_a_restart() {
    let Some(mut bed) = TestBed::with_workers(2) else { return };
    bed.rules(&RULES);
    let serving = serve(&bed);
    let holding = Running::start(&bed, "echoes.py", &["open", "192.0.2.10", "7000", &HELD.to_string()]);
    let kept = servers(&bed);
    for workers in ["workers = 2", "workers = 1"] {
        let beating = Running::start(&bed, "beat.py", &["192.0.2.10", "53"]);
        let words = ["ab", "-q", "-r", "-s", "30", "-c", "10", "-t", "6", "-n", "1000000", "http://192.0.2.10/load"];
        let load = bed.inside("client", &words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        assert!(within(PATIENCE, || bed.requests_of("rs1", "/load") > 100), "ab does not begin");
        let config = bed.folder().join("pollvsd.toml");
        let text = std::fs::read_to_string(&config).unwrap().replace("workers = 2", workers);
        std::fs::write(&config, text).unwrap();
        assert!(bed.stop_director().success());
        bed.start_director();
        let report = String::from_utf8(load.wait_with_output().unwrap().stdout).unwrap();
        let of_ab = |what| ab_says(&report, what).and_then(|count| count.parse::<usize>().ok());
        let beat = beating.finish();
        println!("{workers}: {beat}{:?} complete, {:?} failed", of_ab("Complete requests"), of_ab("Failed requests"));
        for line in bed.words().lines().filter(|line| line.contains("over ") || line.contains(" took ")) {
            println!("{line}");
        }
        assert_eq!(of_ab("Failed requests"), Some(0), "{report}");
        assert!(beat.contains(" of 1 servers, "), "{beat}");
        assert_eq!(servers(&bed), kept, "templates");
    }
    let listing = bed.pollvs(&["ipvsadm", "-Lcn"]);
    let open = listing.lines().filter(|line| line.contains(" ESTABLISHED ") && line.contains(":7000 ")).count();
    assert_eq!(open, HELD);
    let report = holding.finish();
    println!("{report}");
    assert!(report.contains(&format!("{HELD} opened, 0 broken")), "{report}");
    for mut server in serving {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// The check after the restart comes minutes later; until then what was found before it holds.
#[test]
fn a_server_that_was_down_gets_nothing_after_a_restart() {
    let Some(mut bed) = TestBed::with_workers(1) else { return };
    bed.rules(&[
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    ]);
    let service = "tcp:192.0.2.10:80";
    stop_server(&bed, "rs2");
    bed.pollvs(&["check", "set", service, "type=tcp", "interval=0.3", "timeout=0.3", "fall=2"]);
    let is_down =
        |bed: &TestBed| bed.pollvs(&["checks"]).lines().any(|l| l.contains(".12:8080") && l.contains(" down "));
    assert!(within(PATIENCE, || is_down(&bed)), "{}", bed.pollvs(&["checks"]));
    bed.pollvs(&["check", "set", service, "type=tcp", "interval=600", "timeout=1"]);
    assert!(bed.stop_director().success());
    bed.start_director();
    let checks = bed.pollvs(&["checks"]);
    assert!(is_down(&bed) && checks.contains("connection refused"), "{checks}");
    for _ in 0..4 {
        assert_eq!(bed.run("client", &["curl", "-sS", "--max-time", "5", "http://192.0.2.10/"]), "rs1\n");
    }
}

#[test]
fn what_cannot_be_used_is_said_and_holds_up_nothing() {
    let Some(mut bed) = TestBed::with_workers(1) else { return };
    bed.rules(&RULES);
    assert!(bed.stop_director().success());
    std::fs::write(bed.folder().join("state.connections"), "pollvs connections 0\nof an old program").unwrap();
    bed.start_director();
    let says = "state.connections is not used: it is of version 0, this program knows 2";
    assert!(bed.words().contains(says), "{}", bed.words());
    assert_eq!(bed.run("client", &["curl", "-sS", "--max-time", "5", "http://192.0.2.10/"]).len(), 4);
}
