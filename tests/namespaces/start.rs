//! Less than was asked for at the start, and a wire that is pulled later.
use super::director::Director;
use super::network::Network;
use super::testbed::TestBed;
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
