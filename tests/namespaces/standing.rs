//! Drain and sorry server in front of live traffic, with real web servers.
use super::health::{start_server, stop_server};
use super::network::within;
use super::rules::ab_says;
use super::testbed::TestBed;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SERVICE: &str = "tcp:192.0.2.10:80";
/// Far more than anything here takes, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
const REQUESTS: usize = 5000;

fn load(bed: &TestBed, path: &str) -> Child {
    let url = format!("http://192.0.2.10{path}");
    let words = ["ab", "-q", "-r", "-s", "20", "-c", "10", "-n", &REQUESTS.to_string(), &url];
    bed.inside("client", &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for ab; all of its requests have succeeded.
fn has_succeeded(ab: Child) {
    let report = String::from_utf8(ab.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(ab_says(&report, "Complete requests"), Some(REQUESTS.to_string().as_str()), "{report}");
    assert_eq!(ab_says(&report, "Failed requests"), Some("0"), "{report}");
    assert_eq!(ab_says(&report, "Non-2xx responses"), None, "{report}");
}

/// What a single request is answered with.
fn answer(bed: &TestBed) -> String {
    let words = ["curl", "-s", "--max-time", "10", "http://192.0.2.10/"];
    String::from_utf8(bed.inside("client", &words).output().unwrap().stdout).unwrap()
}

#[test]
fn a_server_is_drained_and_removed_under_load_and_no_request_fails() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&[
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    ]);
    let (mut ab, mut loads) = (load(&bed, "/drain"), 1);
    assert!(within(PATIENCE, || bed.requests_of("rs2", " /drain") > 0), "the server has no share to lose");
    let words = ["drain", "198.51.100.12", "--templates", "drop", "--timeout", "100", "--wait"];
    let mut drain = bed.spawn_pollvs(&words);
    let begun = Instant::now();
    // Under load from before the drain until after the removal.
    while drain.try_wait().unwrap().is_none() {
        has_succeeded(ab);
        (ab, loads) = (load(&bed, "/drain"), loads + 1);
    }
    assert!(drain.wait().unwrap().success());
    // Connections that are closed stay in the table for 120 s, and hold nothing up.
    println!("drained in {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(90));
    assert!(bed.words().contains("is drained, 0 connections are left; it was removed"), "{}", bed.words());
    let share = bed.requests_of("rs2", " /drain");
    assert!(!bed.pollvs(&["ipvsadm", "-Ln"]).contains("198.51.100.12"));
    has_succeeded(ab);
    has_succeeded(load(&bed, "/drained"));
    assert_eq!(bed.requests_of("rs2", " /drain"), share, "requests after it was drained");
    assert_eq!(bed.requests_of("rs2", " /drained"), 0);
    let answered: usize = ["rs1", "rs2"].iter().map(|role| bed.requests_of(role, " /drain")).sum();
    assert_eq!(answered, loads * REQUESTS);
}

#[test]
fn a_drain_that_is_ended_gives_the_server_its_share_again() {
    let Some(bed) = TestBed::with_workers(2) else { return };
    bed.rules(&[
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    ]);
    bed.pollvs(&["drain", "198.51.100.12:8080", "--service", SERVICE, "--keep"]);
    has_succeeded(load(&bed, "/without"));
    assert_eq!(bed.requests_of("rs2", " /without"), 0);
    assert!(bed.pollvs(&["drains"]).contains("198.51.100.12:8080"));
    bed.pollvs(&["undrain", "198.51.100.12:8080"]);
    has_succeeded(load(&bed, "/with"));
    assert!(bed.requests_of("rs2", " /with") > REQUESTS / 3, "{}", bed.requests_of("rs2", " /with"));

    // One who waits for a drain that is ended is not told that all went well: its connections, just closed, hold the drain up for seconds.
    let mut waiting = bed.spawn_pollvs(&["drain", "198.51.100.12:8080", "--wait"]);
    assert!(within(PATIENCE, || bed.pollvs(&["drains"]).contains("198.51.100.12:8080")));
    bed.pollvs(&["undrain", "198.51.100.12:8080"]);
    assert_eq!(waiting.wait().unwrap().code(), Some(1));
}

#[test]
fn the_sorry_server_answers_while_all_are_down_and_leaves_when_one_is_back() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&[
        "-A -t 192.0.2.10:80 -s rr -p 600",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    ]);
    let sorry = ["--sorry", "198.51.100.13:8080", "--sorry-method", "nat"];
    bed.pollvs(&[&["service", "policy", SERVICE][..], &sorry].concat());
    bed.pollvs(&["check", "set", SERVICE, "type=tcp", "interval=0.3", "timeout=0.3", "fall=2"]);
    let mut events = bed.listen();
    assert_ne!(answer(&bed), "rs3\n");
    stop_server(&bed, "rs1");
    stop_server(&bed, "rs2");
    events.await_kind("sorry_on", PATIENCE);
    has_succeeded(load(&bed, "/sorry"));
    assert_eq!(bed.requests_of("rs3", " /sorry"), REQUESTS);
    assert!(bed.pollvs(&["ipvsadm", "-Ln"]).contains("198.51.100.13:8080"));

    // The client's template points to the sorry server, and does not hold it there.
    let mut server = start_server(&bed, "rs2");
    events.await_kind("sorry_off", PATIENCE);
    has_succeeded(load(&bed, "/back"));
    assert_eq!((bed.requests_of("rs2", " /back"), bed.requests_of("rs3", " /back")), (REQUESTS, 0));
    assert!(!bed.pollvs(&["ipvsadm", "-Ln"]).contains("198.51.100.13:8080"));
    let _ = server.try_wait();
}

#[test]
fn a_web_server_on_the_director_is_a_sorry_server() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&["-A -t 192.0.2.10:80 -s rr"]);
    let page = bed.folder().join("sorry");
    std::fs::create_dir_all(&page).unwrap();
    std::fs::write(page.join("index.html"), "sorry\n").unwrap();
    let words =
        ["python3", "-m", "http.server", "8081", "--bind", "198.51.100.1", "--directory", page.to_str().unwrap()];
    let mut web = bed.inside("director", &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    bed.pollvs(&["service", "policy", SERVICE, "--sorry", "198.51.100.1:8081", "--sorry-method", "nat"]);
    let is_there = within(PATIENCE, || answer(&bed) == "sorry\n");
    bed.rules(&["-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m"]);
    let after = answer(&bed);
    web.kill().unwrap();
    web.wait().unwrap();
    assert!(is_there, "{}", bed.words());
    assert_eq!(after, "rs1\n");
}
