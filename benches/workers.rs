//! Cores that add up: the packets a second of one worker, and of two on a core each, in turns within one run. Each has a ring that loops
//! back, clients of its own, as a card steers them, and what workers share: rings for what another one owns, the board of loads, the
//! rules. Writes `target/bench/workers.json`.
//!
//! `cargo bench --bench workers [-- FLOWS]`, FLOWS (65,536) for each worker.
//!
//! `-- --count SHARDS RUN FLOWS` runs a fixed number of turns of RUN of so many workers, in turn on one core, for callgrind to count the
//! instructions of a packet: `valgrind --tool=callgrind --toggle-collect='*counted*' PROGRAM --count 16 1 1024`. One worker of 16, and 16 in
//! turn, are to cost what the only one costs.
#![allow(clippy::unwrap_used, reason = "a bench may stop")]

#[allow(dead_code, reason = "some of it is for other benches")]
mod rig;
#[allow(dead_code, reason = "some of it is for other benches")]
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant as Wall};

use pollvs::addr::MacAddr;
use pollvs::burst::Burst;
use pollvs::config::Config;
use pollvs::control::store::{Limits as RuleLimits, Store};
use pollvs::director::Director;
use pollvs::handoff::Handoff;
use pollvs::io::dpdk::{Eal, EalOptions, Mbuf, MbufPool, register_thread};
use pollvs::load_board::LoadBoard;
use pollvs::mailbox::{WorkerHandle, mailbox};
use pollvs::snapshot::Snapshot;
use pollvs::steering::{Prefixes, Steering};
use pollvs::verdict::WorkerId;
use pollvs::worker::{NoTwin, SystemClock, Worker};
use rig::Place;
use rig::wire::{Source, Wire};
use serde::Serialize;
use traffic::generator::{Scatter, client};
use traffic::{Generator, fill_ring};

const ROUNDS: usize = 9;
const WINDOW: Duration = Duration::from_millis(300);
/// Turns that callgrind counts, of all workers together.
const COUNTED_TURNS: usize = 16_000;
/// Frames that a ring between two workers holds.
const LINE: usize = 1024;
/// The flows among which each worker finds its own: two to this many.
const FLOW_BITS: u32 = 24;

/// One line of the result.
#[derive(Serialize)]
struct Row {
    workers: usize,
    flows: u32,
    /// Of all workers together: the median, and the range.
    mpps: f64,
    min_mpps: f64,
    max_mpps: f64,
    rounds: usize,
    /// The same of one worker, times as much.
    times_one: f64,
}

/// Packets of the clients of one worker, in an order that no prefetcher guesses.
struct Clients {
    generator: Generator,
    flows: Vec<u32>,
    next: usize,
}

impl Clients {
    /// So many that the worker owns.
    fn of(worker: WorkerId, steering: &Steering, flows: u32, flags: &'static str, own: MacAddr) -> Self {
        let all = 0..1 << FLOW_BITS;
        let scattered = all.map(|n| Scatter::new(FLOW_BITS).of(n));
        let owned = scattered.filter(|flow| steering.owner(client(*flow).into()) == worker);
        let flows: Vec<_> = owned.take(flows as usize).collect();
        Self { generator: Generator::requests(1 << FLOW_BITS, flags, own), flows, next: 0 }
    }

    /// Lets a director see the packet of each once.
    fn establish(&self, director: &mut Director, pool: &MbufPool) {
        self.generator.establish_some(director, pool, self.flows.iter().copied());
    }
}

impl Source for Clients {
    #[inline]
    fn fill(&mut self, burst: &mut Burst<Mbuf>) {
        let Self { generator, flows, next } = self;
        let flow = || {
            let flow = flows[*next];
            *next = if *next + 1 == flows.len() { 0 } else { *next + 1 };
            flow
        };
        generator.write_flows(burst.frames_mut(), flow);
    }
}

type Member = Worker<Wire<Clients>, NoTwin, SystemClock>;

/// Workers of one director, with counters of what each has received.
struct Crew {
    members: Vec<Member>,
    received: Vec<Arc<AtomicU64>>,
    /// Kept, so that the workers have somebody who could command them.
    _handles: Vec<WorkerHandle>,
}

fn snapshot(mac: MacAddr) -> Arc<Snapshot> {
    let rules = Config::parse("bench", &rig::services("wlc", 0, 1)).unwrap().rules;
    let mut store = Store::new(RuleLimits::default());
    store.apply(&rules).unwrap();
    Arc::new(Snapshot::new(1, store.rules(), Arc::new(traffic::network(mac))))
}

fn crew(eal: &Eal, pool: &MbufPool, count: u16, flows: u32) -> Crew {
    let steering = Steering::new(count, 9, Prefixes::default(), 5);
    let limits = rig::limits(flows);
    let board = Arc::new(LoadBoard::new(count.into(), limits.destinations as usize));
    let mut crew = Crew { members: Vec::new(), received: Vec::new(), _handles: Vec::new() };
    for (index, handoff) in (0..count).zip(Handoff::mesh(count.into(), LINE)) {
        let id = WorkerId(index);
        let (io, mac) = fill_ring(eal, pool, index.into());
        let (handle, mailbox) = mailbox(id, None);
        let mut director = Director::new(&limits, 42, id, steering.clone());
        director.apply(snapshot(mac));
        for flags in ["S", "A"] {
            Clients::of(id, &steering, flows, flags, mac).establish(&mut director, pool);
        }
        assert_eq!(director.used()[0], flows, "every flow has a connection");
        let (wire, received) = Wire::new(io, Clients::of(id, &steering, flows, "A", mac));
        let place = Place { id, mailbox, handoff, board: Arc::clone(&board) };
        crew.members.push(rig::worker(wire, director, limits, place, SystemClock::default()));
        crew.received.push(received);
        crew._handles.push(handle);
    }
    crew
}

/// Packets a second, in millions, of all workers together, while only so many of them work.
fn window(crew: &[Arc<AtomicU64>], working: &AtomicUsize, count: usize) -> f64 {
    working.store(count, Ordering::Relaxed);
    std::thread::sleep(WINDOW / 4);
    let sum = || crew.iter().map(|received| received.load(Ordering::Relaxed)).sum::<u64>();
    let (start, before) = (Wall::now(), sum());
    std::thread::sleep(WINDOW);
    (sum() - before) as f64 / start.elapsed().as_secs_f64() / 1e6
}

fn measure(eal: &Eal, pool: &MbufPool, flows: u32) -> Vec<Row> {
    let cores = rig::two_cores();
    let Crew { members, received, _handles } = crew(eal, pool, 2, flows);
    let working = Arc::new(AtomicUsize::new(0));
    for (index, (mut member, core)) in members.into_iter().zip(cores).enumerate() {
        let working = Arc::clone(&working);
        // For as long as the process lives.
        std::thread::spawn(move || {
            core_affinity::set_for_current(core);
            let _registered = register_thread().unwrap();
            loop {
                while index < working.load(Ordering::Relaxed) {
                    member.turn();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rounds[0].push(window(&received, &working, 1));
        rounds[1].push(window(&received, &working, 2));
    }
    working.store(0, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(100));
    rounds.iter_mut().for_each(|rounds| rounds.sort_by(f64::total_cmp));
    let one = rounds[0][ROUNDS / 2];
    let row = |(workers, rounds): (usize, &Vec<f64>)| {
        let mpps = rounds[ROUNDS / 2];
        let (min_mpps, max_mpps) = (rounds[0], rounds[ROUNDS - 1]);
        Row { workers, flows, mpps, min_mpps, max_mpps, rounds: ROUNDS, times_one: mpps / one }
    };
    (1..).zip(&rounds).map(row).collect()
}

/// Where callgrind counts.
#[inline(never)]
fn counted(members: &mut [Member]) {
    for turn in 0..COUNTED_TURNS {
        let index = turn % members.len();
        members[index].turn();
    }
}

/// Some of a number of workers, in turn, for callgrind.
fn count(eal: &Eal, pool: &MbufPool, shards: u16, run: usize, flows: u32) {
    let Crew { mut members, received, _handles } = crew(eal, pool, shards, flows);
    // The stages are full, and everything has been touched.
    for member in &mut members {
        (0..200).for_each(|_| assert!(member.turn()));
    }
    let sum = || received.iter().map(|received| received.load(Ordering::Relaxed)).sum::<u64>();
    let before = sum();
    counted(&mut members[..run]);
    println!("{} packets", sum() - before);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let eal = Eal::start(&EalOptions { memory_mib: 128, ..EalOptions::default() }).unwrap();
    let pool = MbufPool::new(&eal, "bench", 8191, 2048).unwrap();
    if let [mode, shards, run, flows] = &arguments[..]
        && mode == "--count"
    {
        return count(&eal, &pool, shards.parse().unwrap(), run.parse().unwrap(), flows.parse().unwrap());
    }
    let flows = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(1 << 16);
    let rows = measure(&eal, &pool, flows);
    println!("{:>7} {:>9} {:>8} {:>8} {:>8} {:>9}", "workers", "flows", "Mpps", "min", "max", "times one");
    for Row { workers, flows, mpps, min_mpps, max_mpps, times_one, .. } in &rows {
        println!("{workers:>7} {flows:>9} {mpps:>8.2} {min_mpps:>8.2} {max_mpps:>8.2} {times_one:>9.3}");
    }
    rig::write("workers.json", &rows);
}
