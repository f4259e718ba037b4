//! Seconds that it takes to hand a table of connections over to the next process, by a file, and to take it over there.
//!
//! `cargo bench --no-default-features --bench handover [-- CONNECTIONS...]`; writes `target/bench/handover.json`. Without `--bench`, as
//! under `cargo test`, it only shows that it runs.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may stop")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Instant as Wall;

use pollvs::app::sip::CallId;
use pollvs::control::handover::{Moment, restore, save};
use pollvs::director::{Director, Limits};
use pollvs::proto::State;
use pollvs::steering::Steering;
use pollvs::sync::{Entry, Flags};
use pollvs::time::Instant;
use pollvs::verdict::WorkerId;
use serde::Serialize;

/// One line of the result.
#[derive(Serialize)]
struct Row {
    connections: u32,
    bytes: u64,
    write_secs: f64,
    read_secs: f64,
    rounds: usize,
}

fn director(connections: u32) -> Director {
    let (connections6, templates, templates6, destinations, ftp, calls) = (8, 8, 8, 8, 8, 8);
    let limits = Limits { connections, connections6, templates, templates6, destinations, ftp, calls };
    Director::new(&limits, 7, WorkerId(0), Steering::default())
}

/// The n-th client's connection under NAT.
fn entry(n: u32) -> Entry {
    let ip = |bits| IpAddr::from(Ipv4Addr::from_bits(bits));
    Entry {
        client: ip(0x0a00_0000 + (n >> 4)),
        vip: ip(0xc000_020a),
        dest: ip(0xc633_640b),
        cport: 1024 + (n & 15) as u16,
        vport: 80,
        dport: 80,
        protocol: 6,
        state: State::Established,
        flags: Flags(0),
        mark: 0,
        timeout_secs: 900,
        sequences: None,
        engine: None,
        call: CallId::NONE,
    }
}

fn measure(path: &Path, connections: u32, rounds: usize) -> Row {
    let mut before = director(connections);
    (0..connections).for_each(|n| _ = before.accept(&entry(n), Instant(0)));
    let (mut writes, mut reads, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let moment = Moment { boot: String::new(), millis: 0 };
        let started = Wall::now();
        let written = save(path, moment.clone(), std::slice::from_ref(&before), Instant(0)).unwrap();
        writes.push(started.elapsed().as_secs_f64());
        bytes = std::fs::metadata(path).unwrap().len();
        let mut after = director(connections);
        let started = Wall::now();
        let directors = std::slice::from_mut(&mut after);
        let taken = restore(path, &moment, directors, &Steering::default(), Instant(0)).unwrap().unwrap();
        reads.push(started.elapsed().as_secs_f64());
        assert_eq!((written, taken.entries, taken.lost), (connections.into(), connections.into(), 0));
    }
    let median = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    };
    Row { connections, bytes, write_secs: median(writes), read_secs: median(reads), rounds }
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let real = args.iter().any(|arg| arg == "--bench");
    let mut sizes: Vec<u32> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = if real { vec![1 << 10, 1 << 20] } else { vec![64] };
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.connections");
    let rows: Vec<_> = sizes.iter().map(|size| measure(&path, *size, if real { 7 } else { 1 })).collect();
    println!(
        "{:>12}{:>14}{:>12}{:>12}   seconds, median of {}",
        "connections", "bytes", "write", "read", rows[0].rounds
    );
    for Row { connections, bytes, write_secs, read_secs, .. } in &rows {
        println!("{connections:>12}{bytes:>14}{write_secs:>12.4}{read_secs:>12.4}");
    }
    let folder = Path::new(option_env!("CARGO_TARGET_TMPDIR").unwrap_or("target")).with_file_name("bench");
    if std::fs::create_dir_all(&folder).is_ok() {
        std::fs::write(folder.join("handover.json"), serde_json::to_string_pretty(&rows).unwrap()).unwrap();
    }
}
