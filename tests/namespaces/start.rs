//! Less than was asked for at the start, and a wire or a device that is pulled later.
use super::director::Director;
use super::network::Network;
use super::testbed::{TestBed, within};
use std::time::Duration;

const POLLVSD: &str = env!("CARGO_BIN_EXE_pollvsd");

/// One port, of a device with one queue of each kind, for two workers.
fn one_queue(folder: &std::path::Path, more: &str) -> String {
    let folder = folder.display();
    format!(
        "[director]\nworkers = 2\nconnections = 1024\nsocket = \"{folder}/control.sock\"\nstate = \"\"\n{more}\n\
         [[port]]\nname = \"only\"\ndevice = \"net_pcap0,iface=lo\"\ntwin = \"\"\n"
    )
}

#[test]
fn a_device_with_too_few_queues_is_refused_with_the_line_to_write_or_gets_fewer_workers() {
    let Some(network) = Network::hold(&[]) else { return };
    let file = network.folder().join("refused.toml");
    std::fs::write(&file, one_queue(network.folder(), "")).unwrap();
    let refused = network.inside("director", &[POLLVSD, "--config", file.to_str().unwrap()]).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success(), "{words}");
    assert!(
        words.contains("has 1 queues for 2 workers") && words.contains("write workers = 1, or allow_fewer = true"),
        "{words}"
    );

    let mut director = Director::new("director", network.folder(), &one_queue(network.folder(), "allow_fewer = true"));
    director.start(&network);
    let workers = director.pollvs(&["workers"]);
    assert!(workers.contains("port only (outside): there is one worker, and nothing to steer"), "{workers}");
    assert!(director.words().contains("1 workers are started instead of 2 (allow_fewer)"), "{}", director.words());
    assert!(director.stop().success());
}

#[test]
fn a_port_that_loses_its_link_is_told_of_once_counted_and_forwards_again() {
    let Some(bed) = TestBed::with_workers(2) else { return };
    bed.rules(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m"]);
    let fetch = |path: &str| {
        let url = format!("http://192.0.2.10/{path}");
        let words = ["curl", "-s", "-o", "/dev/null", "--retry", "5", "--retry-all-errors", "-m", "5", &url];
        bed.inside("client", &words).status().unwrap().success()
    };
    assert!(fetch("before"));
    let said = bed.pollvs(&["workers"]);
    let software = "port inside (outside): workers hand over to each other what another one owns: the device offers no hash of addresses";
    assert!(said.contains(software), "{said}");
    let mut events = bed.listen();
    let pull = |state| bed.run("lan", &["ip", "link", "set", "ins-director", state]);
    for losses in 1..=2 {
        pull("down");
        events.await_kind("link_down", Duration::from_secs(10));
        assert!(bed.pollvs(&["status"]).contains("port inside has no link"));
        pull("up");
        events.await_kind("link_up", Duration::from_secs(10));
        assert!(fetch("after"), "after {losses} losses");
        let ports: serde_json::Value = serde_json::from_str(&bed.pollvs(&["ports", "--json"])).unwrap();
        let inside = ports["ports"].as_array().unwrap().iter().find(|port| port["name"] == "inside").unwrap();
        assert_eq!((&inside["link_losses"], &inside["up"]), (&losses.into(), &true.into()));
        let told = bed.words().lines().filter(|line| line.contains("port inside has no link")).count();
        assert_eq!(told, losses, "{}", bed.words());
    }
}

/// Makes the director's inside interface again, as the test bed has made it.
fn plug_again(bed: &TestBed) {
    let lan = format!("{}-lan", bed.name());
    let ip = |role, words: &[&str]| bed.run(role, &[&["ip", "link"][..], words].concat());
    ip("director", &["add", "inside", "type", "veth", "peer", "name", "ins-director", "netns", &lan]);
    for (role, interface) in [("director", "inside"), ("lan", "ins-director")] {
        bed.run(role, &["ethtool", "-K", interface, "tx", "off", "gso", "off", "tso", "off", "gro", "off"]);
    }
    ip("lan", &["set", "ins-director", "master", "inside", "up"]);
    ip("director", &["set", "inside", "arp", "off", "multicast", "off", "addrgenmode", "none", "up"]);
}

#[test]
fn a_port_whose_device_is_removed_is_told_of_once_counted_and_forwards_again() {
    let Some(bed) = TestBed::with_workers(2) else { return };
    bed.rules(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m"]);
    bed.rules(&["-A -t 192.0.2.11:80 -s rr", "-a -t 192.0.2.11:80 -r 192.0.2.22:80 -g"]);
    let fetch = |vip: &str, tries: &str| {
        let url = format!("http://{vip}/");
        let words = ["curl", "-s", "-o", "/dev/null", "--retry", tries, "--retry-all-errors", "-m", "3", &url];
        bed.inside("client", &words).status().unwrap().success()
    };
    let inside = || {
        let ports: serde_json::Value = serde_json::from_str(&bed.pollvs(&["ports", "--json"])).unwrap();
        ports["ports"].as_array().unwrap().iter().find(|port| port["name"] == "inside").unwrap().clone()
    };
    assert!(fetch("192.0.2.10", "5") && fetch("192.0.2.11", "5"));
    let before = inside();
    let mut events = bed.listen();
    for removals in 1..=2 {
        bed.run("director", &["ip", "link", "del", "inside"]);
        events.await_kind("device_removed", Duration::from_secs(10));
        let missing =
            "the device of port inside is gone: `net_af_packet_inside,iface=inside`: there is no interface inside";
        assert!(
            within(Duration::from_secs(10), || bed.pollvs(&["status"]).contains(missing)),
            "{}",
            bed.pollvs(&["status"])
        );
        assert!(bed.pollvs(&["ports"]).contains("link gone"), "{}", bed.pollvs(&["ports"]));
        assert!(fetch("192.0.2.11", "5"), "the other port forwards");
        assert!(!fetch("192.0.2.10", "0"));
        plug_again(&bed);
        events.await_kind("device_back", Duration::from_secs(10));
        assert!(fetch("192.0.2.10", "8"), "after {removals} removals");
        let now = inside();
        assert_eq!(
            (&now["removals"], &now["up"], &now["gone"]),
            (&removals.into(), &true.into(), &serde_json::Value::Null)
        );
        assert_eq!(now["mac"], before["mac"]);
        let address = bed.run("director", &["ip", "link", "show", "inside"]);
        assert!(address.contains(before["mac"].as_str().unwrap()), "{address}");
        let told = bed.words().lines().filter(|line| line.contains("the device of port inside was removed")).count();
        assert_eq!(told, removals, "{}", bed.words());
    }
    let count = |what: &str, port: &serde_json::Value| port["counters"][what].as_u64().unwrap();
    assert!(count("rx_packets", &inside()) > count("rx_packets", &before), "counted on");
}
