//! Connections through the director as clients see them.
use super::testbed::TestBed;

/// curl's exit status.
const CURL_COULD_NOT_CONNECT: i32 = 7;

#[test]
fn checksums_that_the_client_and_server_leave_to_hardware_are_finished() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    for role in ["client", "rs1"] {
        bed.run(role, &["ethtool", "-K", "outside", "tx", "on"]);
    }
    bed.run("rs1", &["ethtool", "-K", "inside", "tx", "on"]);
    bed.rules(&[
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
        "-A -t 192.0.2.11:80 -s rr",
        "-a -t 192.0.2.11:80 -r 198.51.100.11:80 -g",
        "-A -t 192.0.2.12:80 -s rr",
        "-a -t 192.0.2.12:80 -r 198.51.100.11:80 -i",
    ]);
    for vip in ["192.0.2.10", "192.0.2.11", "192.0.2.12"] {
        let url = format!("http://{vip}/");
        assert_eq!(bed.run("client", &["curl", "-sS", "--max-time", "5", &url]), "rs1\n");
    }
}

#[test]
fn two_workers_give_each_client_the_whole_of_a_file() {
    let Some(bed) = TestBed::with_workers(2) else { return };
    bed.rules(&[
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
        "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
    ]);
    let sent = std::fs::read(bed.folder().join("big")).unwrap();
    for client in ["192.0.2.100", "192.0.2.101", "192.0.2.102"] {
        let words = ["curl", "-sS", "--max-time", "10", "--interface", client, "http://192.0.2.10/big"];
        let received = bed.inside("client", &words).output().unwrap().stdout;
        assert!(received == sent, "{client} received {} of {} bytes, or others", received.len(), sent.len());
    }
}

/// AF_PACKET only copies frames. Were the director's kernel to see the originals as well as the twin's, it would answer twice.
#[test]
fn the_kernel_behind_the_twin_answers_exactly_once() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    for address in ["192.0.2.1", "192.0.2.10", "2001:db8:1::1", "2001:db8:1::10"] {
        let report = bed.run("client", &["ping", "-c", "3", "-i", "0.1", "-W", "2", address]);
        assert!(report.contains(" 3 received,") && !report.contains("DUP!"), "{report}");
    }
    let refused = bed.inside("client", &["curl", "-s", "--max-time", "5", "http://192.0.2.10:81/"]).status().unwrap();
    assert_eq!(refused.code(), Some(CURL_COULD_NOT_CONNECT));
}

#[test]
fn ipv6_clients_reach_ipv6_servers_by_nat_and_dr() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&[
        "-A -t [2001:db8:1::10]:80 -s rr",
        "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:8080 -m",
        "-A -t [2001:db8:1::11]:80 -s rr",
        "-a -t [2001:db8:1::11]:80 -r [2001:db8:2::12]:80 -g",
    ]);
    let sent = std::fs::read(bed.folder().join("big")).unwrap();
    for (vip, name) in [("2001:db8:1::10", "rs1\n"), ("2001:db8:1::11", "rs2\n")] {
        let url = format!("http://[{vip}]/");
        assert_eq!(bed.run("client", &["curl", "-sS", "--max-time", "5", &url]), name);
        let received =
            bed.inside("client", &["curl", "-s", "--max-time", "10", &format!("{url}big")]).output().unwrap();
        assert!(
            received.stdout == sent,
            "{vip}: received {} of {} bytes, or others",
            received.stdout.len(),
            sent.len()
        );
    }
}

/// Tunnelled, a full packet would be 20 bytes too long for the way to the server; the client is told, and sends smaller ones.
#[test]
fn an_upload_through_a_tunnel_finds_packets_that_fit() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&["-A -t 192.0.2.12:80 -s rr", "-a -t 192.0.2.12:80 -r 198.51.100.11:80 -i"]);
    let body = format!("@{}", bed.folder().join("big").display());
    let words = ["curl", "-sS", "--max-time", "10", "--data-binary", &body, "http://192.0.2.12/"];
    assert_eq!(bed.run("client", &words), "rs1\n");
}

#[test]
fn datagrams_go_to_the_servers_in_turn_and_their_answers_come_back() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/datagrams.py");
    let servers = [("rs1", "198.51.100.11"), ("rs2", "198.51.100.12")].map(|(role, address)| {
        bed.inside(role, &["python3", script, "answer", address, "5300", role]).spawn().unwrap()
    });
    bed.rules(&[
        "-A -u 192.0.2.10:53 -s rr",
        "-a -u 192.0.2.10:53 -r 198.51.100.11:5300 -m",
        "-a -u 192.0.2.10:53 -r 198.51.100.12:5300 -m",
    ]);
    let answers = bed.run("client", &["python3", script, "ask", "192.0.2.10", "53", "4"]);
    let mut answers: Vec<_> = answers.split_whitespace().collect();
    answers.sort_unstable();
    assert_eq!(answers, ["rs1", "rs1", "rs2", "rs2"]);
    for mut server in servers {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// Both ways in fragments, which the director has to see whole: only the first of them has ports. Those of IPv4 AF_PACKET puts together
/// before DPDK has them (`PACKET_FANOUT_FLAG_DEFRAG`), into a buffer of 2 KiB; the director cuts them again.
#[test]
fn datagrams_of_several_fragments_go_to_the_server_and_back() {
    let Some(bed) = TestBed::with_workers(2) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/datagrams.py");
    let echo = |address: &str| bed.inside("rs1", &["python3", script, "echo", address, "5300", "rs1"]).spawn().unwrap();
    let servers = ["198.51.100.11", "2001:db8:2::11"].map(echo);
    bed.rules(&[
        "-A -u 192.0.2.10:53 -s rr",
        "-a -u 192.0.2.10:53 -r 198.51.100.11:5300 -m",
        "-A -u [2001:db8:1::10]:53 -s rr",
        "-a -u [2001:db8:1::10]:53 -r [2001:db8:2::11]:5300 -m",
    ]);
    for (vip, length) in [("192.0.2.10", "1900"), ("2001:db8:1::10", "4000"), ("2001:db8:1::10", "20000")] {
        assert_eq!(bed.run("client", &["python3", script, "long", vip, "53", length]), "rs1\n", "{vip} {length}");
    }
    let counters = bed.pollvs(&["counters"]);
    let count = |name: &str| {
        let line = counters.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    // Two of IPv6 each way; those, and one of IPv4 each way, left in fragments.
    assert!(count("reassembled") >= 4 && count("fragmented") >= 6, "{counters}");
    for mut server in servers {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// Fragments that are no service's are the kernel's, which puts them together and answers in fragments.
#[test]
fn a_long_echo_is_the_kernels() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.11:5300 -m"]);
    for address in ["2001:db8:1::1", "2001:db8:1::10"] {
        let report = bed.run("client", &["ping", "-c", "2", "-i", "0.2", "-W", "2", "-s", "4000", address]);
        assert!(report.contains(" 2 received,") && !report.contains("DUP!"), "{report}");
    }
}

/// A server that is not there: the director says so, as the kernel does, once three seconds have passed.
#[test]
fn a_next_hop_that_does_not_answer_is_told_to_the_client() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.99:80 -m"]);
    let begun = std::time::Instant::now();
    let output = bed.inside("client", &["curl", "-sS", "--max-time", "10", "http://192.0.2.10/"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(CURL_COULD_NOT_CONNECT), "{told}");
    let seconds = begun.elapsed().as_secs();
    assert!((2..8).contains(&seconds), "{seconds} s, {told}");
}
