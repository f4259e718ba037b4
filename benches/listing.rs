//! What a listing of a million connections costs the data path: how long a worker's turns take while packets of all of them come in, and
//! while somebody reads the listing at the same time, by the control socket and by the distribution's `ipvsadm -Lcn`. The worker has the
//! last core for itself; control, its clients and what they print share the first.
//!
//! `cargo bench --bench listing [-- CONNECTIONS]`; writes `target/bench/listing.json`.
#![allow(clippy::unwrap_used, reason = "a bench may stop")]

#[allow(dead_code, reason = "some of it is for other benches")]
mod rig;
#[allow(dead_code, reason = "some of it is for other benches")]
mod traffic;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant as Wall};

use core_affinity::CoreId;
use hdrhistogram::Histogram;
use pollvs::addr::MacAddr;
use pollvs::director::Director;
use pollvs::io::dpdk::{Eal, EalOptions, MbufPool, register_thread};
use pollvs::mailbox::{Mailbox, Workers, mailbox};
use pollvs::snapshot::Snapshot;
use pollvs::steering::Steering;
use pollvs::verdict::WorkerId;
use pollvs::worker::{NoTwin, SystemClock, Worker};
use rig::wire::Wire;
use serde::Serialize;
use traffic::{Generator, fill_ring};

/// How long the worker is watched, at least.
const WATCH: Duration = Duration::from_secs(5);
/// While what the worker is watched.
#[derive(Clone, Copy)]
enum Phase {
    Calm,
    ControlSocket,
    Ipvsadm,
    /// Not watched.
    Between,
    Over,
}

impl Phase {
    const WATCHED: [Self; 3] = [Self::Calm, Self::ControlSocket, Self::Ipvsadm];

    fn name(self) -> &'static str {
        match self {
            Self::Calm => "no listing",
            Self::ControlSocket => "control socket",
            Self::Ipvsadm => "ipvsadm -Lcn",
            Self::Between | Self::Over => "",
        }
    }
}

/// One line of the result: times of a turn in nanoseconds.
#[derive(Serialize)]
struct Row {
    phase: &'static str,
    connections: u32,
    /// Listings that were read, and the seconds that one took.
    listings: u32,
    seconds: f64,
    turns: u64,
    mpps: f64,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

type Member = Worker<Wire<Generator>, NoTwin, SystemClock>;

/// Where the worker's turns go, by phase.
type Turns = Vec<Histogram<u64>>;

/// Runs a worker and watches it until that is over.
fn watch(mut worker: Member, phase: &AtomicUsize) -> Turns {
    let mut turns: Turns =
        Phase::WATCHED.iter().map(|_| Histogram::new_with_bounds(1, rig::LONGEST, 3).unwrap()).collect();
    loop {
        let now = phase.load(Ordering::Relaxed);
        if now == Phase::Over as usize {
            return turns;
        }
        let start = Wall::now();
        worker.turn();
        let took = start.elapsed().as_nanos();
        if let Some(turns) = turns.get_mut(now) {
            turns.saturating_record(u64::try_from(took).unwrap_or(rig::LONGEST));
        }
    }
}

/// A worker that knows a connection of every flow.
fn worker(
    wire: Wire<Generator>,
    (mac, pool): (MacAddr, &MbufPool),
    connections: u32,
    mailbox: Mailbox,
    snapshot: Arc<Snapshot>,
) -> Member {
    let limits = rig::limits(connections);
    let mut director = Director::new(&limits, 42, WorkerId(0), Steering::default());
    director.apply(snapshot);
    for flags in ["S", "A"] {
        Generator::requests(connections, flags, mac).establish(&mut director, pool);
    }
    assert_eq!(director.used()[0], connections, "every flow has a connection");
    rig::alone(wire, director, limits, mailbox, SystemClock::default())
}

/// Reads a listing by the distribution's program, through the preload library, which Cargo has built beside this bench.
fn read_ipvsadm(socket: &Path) -> usize {
    let library = std::env::current_exe().unwrap().with_file_name("libpollvs_ipvs.so");
    let mut command = Command::new("ipvsadm");
    command.arg("-Lcn").env("LD_PRELOAD", library).env("POLLVS_IPVS_SOCKET", socket.with_file_name("ipvs.sock"));
    let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines();
    // Two lines are titles.
    let count = lines.map(Result::unwrap).count() - 2;
    assert!(program.wait().unwrap().success());
    count
}

/// What was done in a phase.
struct Done {
    phase: Phase,
    listings: u32,
    seconds: f64,
    packets: u64,
}

/// Lets the worker be watched while listings are read one after the other, each of so many connections, or while nothing happens.
fn during(phase: Phase, now: &AtomicUsize, received: &AtomicU64, mut read: impl FnMut() -> u32) -> Done {
    let (start, packets) = (Wall::now(), received.load(Ordering::Relaxed));
    now.store(phase as usize, Ordering::Relaxed);
    let mut listings = 0;
    while start.elapsed() < WATCH {
        listings += read();
    }
    now.store(Phase::Between as usize, Ordering::Relaxed);
    let packets = received.load(Ordering::Relaxed) - packets;
    Done { phase, listings, seconds: start.elapsed().as_secs_f64(), packets }
}

fn row(done: &Done, turns: &Histogram<u64>, connections: u32) -> Row {
    let at = |quantile| turns.value_at_quantile(quantile);
    Row {
        phase: done.phase.name(),
        connections,
        listings: done.listings,
        seconds: if done.listings == 0 { 0.0 } else { done.seconds / f64::from(done.listings) },
        turns: turns.len(),
        mpps: done.packets as f64 / done.seconds / 1e6,
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        max: turns.max(),
    }
}

/// Has a listing read, which must be whole.
fn whole(read: impl FnOnce() -> usize, connections: u32) -> u32 {
    assert_eq!(read(), connections as usize, "a listing has every connection once");
    1
}

fn measure(connections: u32, cores: [CoreId; 2]) -> Vec<Row> {
    core_affinity::set_for_current(cores[0]);
    let eal = Eal::start(&EalOptions { memory_mib: 128, ..EalOptions::default() }).unwrap();
    let pool = MbufPool::new(&eal, "bench", 4095, 2048).unwrap();
    let (io, mac) = fill_ring(&eal, &pool, 0);
    let folder = tempfile::tempdir().unwrap();
    let config = rig::config(folder.path(), connections, "rr", 0);
    let socket = config.director.socket.clone();
    let (handle, mailbox) = mailbox(WorkerId(0), None);
    let snapshot = rig::control(config, traffic::network(mac), Workers::new(vec![handle]));
    let (wire, received) = Wire::new(io, Generator::requests(connections, "A", mac));
    let worker = worker(wire, (mac, &pool), connections, mailbox, snapshot);
    let phase = Arc::new(AtomicUsize::new(Phase::Between as usize));
    let now = Arc::clone(&phase);
    let watching = std::thread::spawn(move || {
        core_affinity::set_for_current(cores[1]);
        let _registered = register_thread().unwrap();
        watch(worker, &now)
    });
    let calm = || {
        std::thread::sleep(WATCH);
        0
    };
    let done = [
        during(Phase::Calm, &phase, &received, calm),
        during(Phase::ControlSocket, &phase, &received, || whole(|| rig::read_listing(&socket), connections)),
        during(Phase::Ipvsadm, &phase, &received, || whole(|| read_ipvsadm(&socket), connections)),
    ];
    phase.store(Phase::Over as usize, Ordering::Relaxed);
    let turns = watching.join().unwrap();
    done.iter().zip(&turns).map(|(done, turns)| row(done, turns, connections)).collect()
}

fn main() {
    let connections = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(1 << 20);
    let rows = measure(connections, rig::two_cores());
    println!(
        "{:<15} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "nanoseconds", "listings", "s each", "Mpps", "p50", "p99", "p99.9", "max"
    );
    for Row { phase, listings, seconds, mpps, p50, p99, p999, max, .. } in &rows {
        println!("{phase:<15} {listings:>9} {seconds:>9.2} {mpps:>8.2} {p50:>8} {p99:>8} {p999:>8} {max:>9}");
    }
    rig::write("listing.json", &rows);
}
