//! Connections through the director as clients see them.
use super::testbed::TestBed;

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
