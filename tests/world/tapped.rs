//! Workers that show packets: what is captured is what came and went, what is traced is what became of it, and neither changes anything.
use std::sync::Arc;

use pollvs::director::{By, Sight};
use pollvs::mailbox::Command;
use pollvs::stats::Event;
use pollvs::steering::{Prefixes, Steering};
use pollvs::tap::{Line, Shot, Subject, Tap, Way};
use pollvs::verdict::{Verdict, WorkerId};
use pollvs::wire::sample::{Sample, at, tcp};

use super::cluster::Cluster;
use super::{INSIDE, INSIDE_MAC, OUTSIDE, server_mac};

const RULES: [&str; 3] = [
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m",
];

/// Gives every worker a tap; returns their lines.
fn tap(cluster: &mut Cluster, filter: &str, subject: Subject) -> Vec<Arc<Line>> {
    let filter = Arc::new(filter.parse().unwrap());
    let workers = cluster.workers.clone();
    let mut lines = Vec::new();
    for worker in workers.iter() {
        let line = Line::new(usize::MAX);
        let given = Tap::new(Arc::clone(&filter), subject, Arc::clone(&line));
        cluster.answered(async move { worker.ask(|answer| Command::Tap(Some(given), answer)).await.unwrap() });
        lines.push(line);
    }
    lines
}

fn shots(lines: &[Arc<Line>]) -> Vec<Shot> {
    let mut all = Vec::new();
    lines.iter().for_each(|line| while line.next(|shot| all.push(shot.clone())) {});
    all
}

fn client(n: u16) -> Sample {
    tcp(at(&format!("203.0.113.{}:{n}", n % 200)), at("192.0.2.10:80")).ident(n.into())
}

fn server(n: u16, last: u8) -> Sample {
    let reply = tcp(at(&format!("198.51.100.{last}:80")), at(&format!("203.0.113.{}:{n}", n % 200)));
    reply.letters("SA").macs(server_mac(last), INSIDE_MAC)
}

/// Packets of many clients and the answers to them; returns what left by each port.
fn traffic(cluster: &mut Cluster) -> [Vec<Vec<u8>>; 2] {
    for n in 1000..1100 {
        let at = usize::from(n) % cluster.devices.len();
        cluster.devices[at].push(OUTSIDE, client(n).frame());
    }
    cluster.settle();
    let inside = cluster.sent(INSIDE);
    for frame in &inside {
        let n = u16::from_be_bytes([frame[34], frame[35]]);
        cluster.devices[0].push(INSIDE, server(n, frame[33]).frame());
    }
    cluster.settle();
    [cluster.sent(OUTSIDE), inside]
}

#[test]
fn a_capture_has_every_frame_that_came_and_went_once() {
    for workers in [1, 2] {
        let mut cluster = Cluster::new(workers, 1024, &RULES);
        let lines = tap(&mut cluster, "", Subject::Frames);
        let [outside, inside] = traffic(&mut cluster);
        let seen = shots(&lines);
        let of = |way, port| {
            let fit = seen.iter().filter(|shot| shot.way == way && shot.port == port);
            let mut frames: Vec<_> = fit.map(|shot| shot.frame.bytes.clone()).collect();
            frames.sort();
            frames
        };
        let sorted = |mut frames: Vec<Vec<u8>>| {
            frames.sort();
            frames
        };
        assert_eq!(of(Way::Out, OUTSIDE), sorted(outside));
        assert_eq!(of(Way::Out, INSIDE), sorted(inside));
        assert_eq!(of(Way::In, OUTSIDE), sorted((1000..1100).map(|n| client(n).frame()).collect()));
        assert_eq!(of(Way::In, INSIDE).len(), 100);
        assert!(seen.iter().all(|shot| shot.fate.is_none()));
    }
}

#[test]
fn nothing_is_changed_by_showing_it() {
    let (mut plain, mut captured, mut traced) =
        (Cluster::new(1, 1024, &RULES), Cluster::new(1, 1024, &RULES), Cluster::new(1, 1024, &RULES));
    tap(&mut captured, "tcp", Subject::Frames);
    tap(&mut traced, "port 1003", Subject::Fates);
    let sent = traffic(&mut plain);
    assert_eq!(traffic(&mut captured), sent);
    assert_eq!(traffic(&mut traced), sent);
    assert_eq!(traced.event(Event::Created), plain.event(Event::Created));
}

#[test]
fn a_trace_says_by_what_and_whereto() {
    let mut cluster = Cluster::new(1, 1024, &RULES);
    let lines = tap(&mut cluster, "host 203.0.113.5", Subject::Fates);
    cluster.devices[0].push(OUTSIDE, client(1006).frame());
    for sample in [client(1005), client(1005).letters("A"), client(1005).letters("PA").data([1])] {
        cluster.devices[0].push(OUTSIDE, sample.frame());
    }
    cluster.devices[0].push(OUTSIDE, tcp(at("203.0.113.5:1005"), at("192.0.2.10:81")).frame());
    cluster.settle();
    let chosen = cluster.sent(INSIDE)[1][33];
    cluster.devices[0].push(INSIDE, server(1005, chosen).frame());
    cluster.settle();
    let seen = shots(&lines);
    let by = |shot: &Shot| match shot.fate {
        Some((Sight::Request(_, explained), verdict)) => (format!("{:?}", explained.by), verdict),
        Some((sight, verdict)) => (format!("{sight:?}"), verdict),
        None => panic!("a fate"),
    };
    let (inside, kernel) = (Verdict::Transmit(INSIDE), Verdict::Pass(OUTSIDE));
    let fates: Vec<_> = seen.iter().map(by).collect();
    assert_eq!(fates[0], (format!("{:?}", By::Scheduler), inside));
    assert_eq!(fates[1..3], [(format!("{:?}", By::Connection), inside), (format!("{:?}", By::Connection), inside)]);
    assert_eq!(fates[3], (format!("{:?}", By::NoService), kernel));
    assert!(fates[4].0.contains("192.0.2.10:80") && fates[4].1 == Verdict::Transmit(OUTSIDE), "{:?}", fates[4]);
    assert_eq!(fates.len(), 5);
    assert_eq!(seen[0].frame.bytes, client(1005).frame());
    assert_eq!(seen[0].after.bytes[30..34], [198, 51, 100, chosen], "rewritten");
}

#[test]
fn a_packet_handed_over_is_traced_by_both_workers() {
    let steering = Steering::new(2, 7, Prefixes::default(), 5);
    let mut cluster = Cluster::steered(steering.clone(), 1024, &RULES);
    let owned = (1000..).find(|n| steering.owner(at(&format!("203.0.113.{}:1", n % 200)).ip()) == WorkerId(1)).unwrap();
    let lines = tap(&mut cluster, "port 80", Subject::Fates);
    cluster.devices[0].push(OUTSIDE, client(owned).frame());
    cluster.settle();
    let verdicts: Vec<_> = shots(&lines).iter().map(|shot| shot.fate.unwrap().1).collect();
    assert_eq!(verdicts, [Verdict::Handoff(WorkerId(1)), Verdict::Transmit(INSIDE)]);
}

#[test]
fn a_tap_is_taken_back() {
    let mut cluster = Cluster::new(1, 1024, &RULES);
    let lines = tap(&mut cluster, "", Subject::Frames);
    let worker = cluster.workers.iter().next().unwrap().clone();
    let (old, _) = cluster.answered(async move { worker.ask(|answer| Command::Tap(None, answer)).await.unwrap() });
    assert!(old.is_some_and(|tap| tap.subject() == Subject::Frames));
    traffic(&mut cluster);
    assert!(shots(&lines).is_empty());
}
