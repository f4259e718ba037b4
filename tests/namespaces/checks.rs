//! keepalived's own checks in front of live traffic: a real server that dies leaves the table and comes back, and a pollvsd that dies
//! under keepalived is served on.
use super::network::{signal, within};
use super::pair::{ELECTION, Pair, VIP};
use super::rules::ab_says;
use std::time::{Duration, Instant};

/// A check a second, tried again once a second later; and everything is slow on a busy machine.
const CHECKED: Duration = Duration::from_secs(15);

/// The real servers of a virtual server in pollvsd's table, by the last number of their addresses.
fn servers(pair: &Pair, service: &str) -> Vec<String> {
    let table = pair.members[0].director.pollvs(&["ipvsadm", "-Ln"]);
    let of_service = table.lines().skip_while(|line| !line.contains(service)).skip(1);
    let servers =
        of_service.take_while(|line| line.starts_with("  ->")).filter_map(|line| line.split_whitespace().nth(1));
    let last = |server: &str| {
        server.rsplit_once(':').unwrap().0.rsplit_once(['.', ':']).unwrap().1.trim_end_matches(']').to_owned()
    };
    let mut servers: Vec<_> = servers.map(last).collect();
    servers.sort_unstable();
    servers
}

/// Sends requests with `ab`, 3000 at a time, until `done`; returns how many there were, and how many no server has answered.
fn load_until(pair: &Pair, what: &str, mut done: impl FnMut() -> bool) -> [usize; 2] {
    let begun = Instant::now();
    let (mut sent, before) = (0, answered(pair));
    while !done() {
        assert!(begun.elapsed() < CHECKED * 2, "{what}: never, {}\n{}", table(pair), pair.words());
        sent += ab(pair);
    }
    let failed = sent - (answered(pair) - before);
    println!("{what}: {:?}, {sent} requests, {failed} failed", begun.elapsed());
    [sent, failed]
}

/// Has ab send 3000 requests; tells how many it has sent. What it calls failed it counts twice.
fn ab(pair: &Pair) -> usize {
    let url = format!("http://{VIP}/load");
    let words = ["ab", "-q", "-r", "-s", "10", "-c", "10", "-n", "3000", &url];
    let report = String::from_utf8(pair.inside("client", &words).output().unwrap().stdout).unwrap();
    let sent = ab_says(&report, "Complete requests").and_then(|count| count.parse().ok());
    sent.unwrap_or_else(|| panic!("{report}"))
}

fn answered(pair: &Pair) -> usize {
    ["rs1", "rs2"].iter().map(|role| pair.network().requests_of(role, " /load")).sum()
}

fn table(pair: &Pair) -> String {
    pair.members[0].director.pollvs(&["ipvsadm", "-S", "-n"])
}

#[test]
fn a_server_that_dies_is_taken_out_and_comes_back_and_a_killed_pollvsd_is_served_on() {
    let Some(mut pair) = Pair::start(1, |text| text) else { return };
    pair.await_master(0);
    assert!(within(CHECKED, || servers(&pair, VIP) == ["11", "12"]), "{}", table(&pair));

    // Until it is taken out, it refuses whatever is sent to it, and a client that does not wait is back at once with the next.
    stop_server(&pair);
    let [requests, failed] = load_until(&pair, "a server dies and is taken out", || servers(&pair, VIP) == ["11"]);
    assert!(failed < requests, "the other server answers nothing");
    let [_, failed] = load_until(&pair, "without it", at_the_call(2));
    assert_eq!(failed, 0);
    start_server(&mut pair);
    let [_, failed] = load_until(&pair, "it comes back", || servers(&pair, VIP) == ["11", "12"]);
    assert_eq!(failed, 0);
    let before = pair.network().requests_of("rs2", " /load");
    let [_, failed] = load_until(&pair, "with it", at_the_call(2));
    assert_eq!(failed, 0);
    assert!(pair.network().requests_of("rs2", " /load") > before, "who came back gets nothing");

    let (before, asking) = (table(&pair), pair.client_script("gap.py", &[VIP, "80"]));
    pair.members[0].director.kill();
    pair.start_director(0);
    assert_eq!(table(&pair), before);
    // The twins have lost their carrier, and the addresses with it.
    assert!(within(ELECTION, || pair.has_logged(0, "(VI_1) removing VIPs", 2)), "{}", pair.words());
    pair.await_master(0);
    stop_server(&pair);
    assert!(within(CHECKED, || servers(&pair, VIP) == ["11"]), "keepalived does not go on\n{}", pair.words());
    start_server(&mut pair);
    assert!(within(CHECKED, || table(&pair) == before), "{}", table(&pair));
    println!("pollvsd is killed and started: {}", asking.finish());
    for url in ["http://192.0.2.11/", "http://[2001:db8:1::10]/"] {
        pair.network().run("client", &["curl", "-sS", "--max-time", "5", url]);
    }
}

/// Ends the web server of rs2; its address refuses connections then.
fn stop_server(pair: &Pair) {
    let file = pair.network().folder().join("rs2/nginx.pid");
    assert!(signal("TERM", std::fs::read_to_string(file).unwrap().trim().parse().unwrap()));
}

/// Starts it again.
fn start_server(pair: &mut Pair) {
    let folder = pair.network().folder().join("rs2");
    pair.serve("rs2", &["nginx", "-e", "stderr", "-p", folder.to_str().unwrap(), "-c", "nginx.conf"]);
}

/// True when asked once more than so many times.
fn at_the_call(mut times: usize) -> impl FnMut() -> bool {
    move || {
        let done = times == 0;
        times = times.saturating_sub(1);
        done
    }
}
