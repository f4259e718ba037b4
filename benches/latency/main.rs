//! How long a burst takes from its receipt until its last frame is sent, through the whole poll loop of a worker: at rest, and while control
//! and time make work for it. Packets of all clients come in without a pause, from a ring that loops back. The worker has the last core
//! for itself; control, its clients and what they print share the first.
//!
//! `cargo bench --bench latency [-- CONNECTIONS]`; writes `target/bench/latency.json`, times in nanoseconds. CONNECTIONS (1,048,576) is a
//! power of two.
//!
//! A burst during which another thread had the core is counted apart (`interrupted`): on a machine that does other things too, the rest
//! still shows what the worker itself makes bursts wait for. `wall_max` is of all. What interrupts the core without giving it to another
//! thread, and what a hypervisor takes, no counter of the thread shows: between the phases the worker's thread does arithmetic for as long
//! as turns and bursts take, timed in the same way, and how often that takes too long is what the machine has of each phase's late bursts.
//! docs/benchmarks.md tells more.
#![allow(clippy::unwrap_used, reason = "a bench may stop")]

mod bursts;
mod interrupts;
mod machine;
#[path = "../rig/mod.rs"]
#[allow(dead_code, reason = "some of it is for other benches")]
mod rig;
mod row;
#[path = "../traffic/mod.rs"]
#[allow(dead_code, reason = "some of it is for other benches")]
mod traffic;
mod wire;

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant as Wall};

use core_affinity::CoreId;
use pollvs::control::client::Client;
use pollvs::control::reply::Reply;
use pollvs::control::request::{DestinationSpec, Request};
use pollvs::director::Director;
use pollvs::io::dpdk::{Eal, EalOptions, MbufPool, register_thread};
use pollvs::mailbox::{Workers, mailbox};
use pollvs::service::{Protocol, ServiceKey};
use pollvs::stats::{DropReason, Event};
use pollvs::steering::Steering;
use pollvs::time::Instant;
use pollvs::verdict::WorkerId;
use pollvs::worker::{Clock, NoTwin, SystemClock, Worker};

use bursts::{Log, Stopwatch};
use interrupts::Interrupts;
use machine::{Alone, Time};
use row::Row;
use traffic::{Generator, VIP, fill_ring};
use wire::Wire;

/// How long each phase is watched in a round, and the machine alone after each phase, once without and once with memory.
const WATCH: Duration = Duration::from_secs(1);
const SLICE: Duration = Duration::from_millis(500);
/// Rounds: what else the machine does comes and goes, and is to be in every phase.
const ROUNDS: usize = 5;
/// So long the worker works off what it has left meanwhile.
const CATCH_UP: Duration = Duration::from_millis(100);
/// Services without traffic, of one destination each.
const SERVICES: u16 = 1000;
/// From one change of the rules to the next.
const CHANGE_EVERY: Duration = Duration::from_millis(10);
/// From one change of all services at once to the next.
const RELOAD_EVERY: Duration = Duration::from_millis(250);
/// In a flood time runs so many times as fast, so that half-open connections end and others take their places.
const FLOOD_CLOCK: u64 = 30;
/// The life of an established connection.
const ESTABLISHED: Duration = Duration::from_secs(900);

/// While what the worker is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Rest,
    Rules,
    Reload,
    Listing,
    Expiry,
    Flood,
    /// The machine alone, and with memory.
    Alone,
    Memory,
    /// Not watched: what is done alone is fitted to a turn's time.
    Fit,
    /// Not watched.
    Between,
    Over,
}

impl Phase {
    const WATCHED: [Self; 8] =
        [Self::Rest, Self::Rules, Self::Reload, Self::Listing, Self::Expiry, Self::Flood, Self::Alone, Self::Memory];

    fn name(self) -> &'static str {
        match self {
            Self::Rest => "at rest",
            Self::Rules => "a rule every 10 ms",
            Self::Reload => "all services anew",
            Self::Listing => "listing",
            Self::Expiry => "all others expire",
            Self::Flood => "SYN flood",
            Self::Alone => "machine alone",
            Self::Memory => "machine and memory",
            Self::Fit | Self::Between | Self::Over => "",
        }
    }
}

/// What both sides look at.
#[derive(Default)]
struct Shared {
    phase: AtomicUsize,
    /// Of the worker's clock, in nanoseconds.
    ahead: AtomicU64,
    /// Nanoseconds from when the others were due until they were gone.
    expired_in: AtomicU64,
    /// SYNs of a flood, and packets of established connections that came and that were sent.
    forged: AtomicU64,
    came: AtomicU64,
    sent: AtomicU64,
    /// What the worker counted.
    created: AtomicU64,
    unremembered: AtomicU64,
    full: AtomicU64,
    /// Of a turn and a burst at rest, in nanoseconds.
    turn: AtomicU64,
    burst: AtomicU64,
}

impl Shared {
    fn at_rest(&self) -> Time {
        Time { turn: self.turn.load(Ordering::Relaxed), burst: self.burst.load(Ordering::Relaxed) }
    }

    fn phase(&self) -> usize {
        self.phase.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Relaxed);
    }
}

/// The worker's clock: the system's, and what is added to it.
struct Skewed {
    clock: SystemClock,
    shared: Arc<Shared>,
    /// When the system's clock was last read.
    calm: Cell<u64>,
    /// What floods have added.
    gained: Cell<u64>,
}

impl Clock for Skewed {
    fn now(&self) -> Instant {
        let now = self.clock.now().0;
        let before = self.calm.replace(now);
        if self.shared.phase() == Phase::Flood as usize {
            self.gained.set(self.gained.get() + (now - before) * (FLOOD_CLOCK - 1));
        }
        Instant(now + self.gained.get() + self.shared.ahead.load(Ordering::Relaxed))
    }
}

type Watched = Worker<Wire, NoTwin, Skewed>;

/// Runs a worker until that is over, and what is under way then.
fn run(mut worker: Watched, shared: &Shared, mut alone: Alone, clock: SystemClock, active: u32) {
    let mut turns = 0;
    while shared.phase() != Phase::Over as usize || turns < 8 {
        let phase = shared.phase();
        if phase == Phase::Fit as usize {
            alone.fit(shared.at_rest());
            shared.enter(Phase::Between);
        } else if [Phase::Alone as usize, Phase::Memory as usize].contains(&phase) {
            alone.run(phase, shared);
        }
        worker.turn();
        turns = if shared.phase() == Phase::Over as usize { turns + 1 } else { 0 };
        if shared.phase() == Phase::Expiry as usize
            && shared.expired_in.load(Ordering::Relaxed) == 0
            && worker.director().used()[0] <= active
        {
            let now = Instant(clock.now().0 + shared.ahead.load(Ordering::Relaxed));
            shared.expired_in.store(now.0.saturating_sub(nanos(ESTABLISHED)), Ordering::Relaxed);
        }
    }
    let counters = worker.director().counters();
    shared.unremembered.store(counters.events[Event::Unremembered as usize], Ordering::Relaxed);
    shared.full.store(counters.drops[DropReason::TableFull as usize], Ordering::Relaxed);
    shared.created.store(counters.events[Event::Created as usize], Ordering::Relaxed);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a phase comes to, all rounds together.
#[derive(Clone, Copy)]
struct Done {
    phase: Phase,
    /// How much was done, and how many seconds that took where it ends by itself.
    done: u64,
    seconds: f64,
    /// Seconds that it was watched for, and what interrupted the worker's core in them.
    watched: f64,
    interrupts: Interrupts,
}

/// A worker at work, and who makes it work more.
struct Bench {
    shared: Arc<Shared>,
    clock: SystemClock,
    socket: PathBuf,
    log: Log,
    /// Number of the worker's core.
    core: usize,
    done: Vec<Done>,
}

impl Bench {
    /// Watches a phase for as long as something is done, which returns how much that was.
    fn watch(&mut self, phase: Phase, act: impl FnOnce(&mut Self) -> u64) -> &mut Done {
        let (start, before) = (Wall::now(), Interrupts::of(self.core));
        self.shared.enter(phase);
        let done = act(self);
        self.shared.enter(Phase::Between);
        let (watched, interrupts) = (start.elapsed().as_secs_f64(), Interrupts::of(self.core) - before);
        let sum = self.sum(phase);
        sum.done += done;
        sum.watched += watched;
        sum.interrupts += interrupts;
        sum
    }

    /// What there is of a phase so far.
    fn sum(&mut self, phase: Phase) -> &mut Done {
        let place = self.done.iter().position(|done| done.phase == phase);
        let place = place.unwrap_or_else(|| {
            self.done.push(Done { phase, done: 0, seconds: 0.0, watched: 0.0, interrupts: Interrupts::default() });
            self.done.len() - 1
        });
        &mut self.done[place]
    }

    /// Watches the machine alone.
    fn machine(&mut self) {
        for phase in [Phase::Alone, Phase::Memory] {
            self.watch(phase, |_| {
                std::thread::sleep(SLICE);
                1
            });
            std::thread::sleep(CATCH_UP);
        }
    }

    /// Lets the worker be watched while something is done again and again.
    fn during(&mut self, phase: Phase, every: Duration, mut act: impl FnMut(u64)) {
        let before = self.sum(phase).done;
        let sum = self.watch(phase, |_| {
            let (start, mut times) = (Wall::now(), 0);
            while start.elapsed() < WATCH {
                act(before + times);
                times += 1;
                std::thread::sleep((every * u32::try_from(times).unwrap_or(0)).saturating_sub(start.elapsed()));
            }
            times
        });
        if every.is_zero() {
            sum.seconds = sum.watched / sum.done as f64;
        }
    }

    fn rest(&mut self) {
        self.during(Phase::Rest, WATCH, |_| {});
        let (burst, turn) = {
            let bursts = self.log[Phase::Rest as usize].lock().unwrap();
            (bursts.own.value_at_quantile(0.5), bursts.gaps.value_at_quantile(0.5))
        };
        self.shared.burst.store(burst, Ordering::Relaxed);
        self.shared.turn.store(turn, Ordering::Relaxed);
        self.shared.enter(Phase::Fit);
        while self.shared.phase() != Phase::Between as usize {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(CATCH_UP);
    }

    /// One destination of another service each time.
    fn rules(&mut self) {
        let mut client = Client::connect(&self.socket).unwrap();
        self.during(Phase::Rules, CHANGE_EVERY, |n| {
            let port = rig::FIRST_OTHER + u16::try_from(n % u64::from(SERVICES)).unwrap();
            let service = ServiceKey::Address { protocol: Protocol::Tcp, address: VIP.into(), port };
            let address = SocketAddr::from(([198, 51, 100, 11], port));
            let weight = 2 + u32::try_from(n % 7).unwrap();
            let destination = serde_json::json!({ "address": address, "weight": weight });
            let destination: DestinationSpec = serde_json::from_value(destination).unwrap();
            done(&client.ask(&Request::EditDestination { service, destination }).unwrap());
        });
    }

    /// Every service at once.
    fn reload(&mut self) {
        let mut client = Client::connect(&self.socket).unwrap();
        self.during(Phase::Reload, RELOAD_EVERY, |n| {
            let rules = rig::services("rr", SERVICES, 2 + u32::try_from(n % 7).unwrap());
            let reply = client.ask(&Request::Apply { rules, name: "bench".into() }).unwrap();
            assert!(matches!(reply, Reply::Applied { .. }), "{reply:?}");
        });
    }

    fn listing(&mut self, connections: u32) {
        let socket = self.socket.clone();
        self.during(Phase::Listing, Duration::ZERO, |_| {
            assert_eq!(rig::read_listing(&socket), connections as usize, "a listing has every connection once");
        });
    }

    /// Lets those that send nothing come to their end, all at one tick, and watches the second before and after.
    fn expiry(&mut self, idle: u32) {
        let set = |to: Duration| {
            let ahead = nanos(to).saturating_sub(self.clock.now().0);
            self.shared.ahead.store(ahead, Ordering::Relaxed);
        };
        // Those that send something do so again, and the rest moves down the wheel.
        set(ESTABLISHED.saturating_sub(Duration::from_secs(20)));
        std::thread::sleep(Duration::from_secs(5));
        set(ESTABLISHED.saturating_sub(Duration::from_millis(200)));
        self.watch(Phase::Expiry, |_| {
            std::thread::sleep(Duration::from_millis(1200));
            idle.into()
        });
        std::thread::sleep(Duration::from_secs(5));
        self.sum(Phase::Expiry).seconds = self.shared.expired_in.load(Ordering::Relaxed) as f64 / 1e9;
    }

    fn flood(&mut self) {
        self.during(Phase::Flood, WATCH, |_| {});
        self.sum(Phase::Flood).done = self.shared.forged.load(Ordering::Relaxed);
    }
}

fn done(reply: &Reply) {
    assert!(matches!(reply, Reply::Done {}), "{reply:?}");
}

/// A machine that is set up: cores, DPDK, and the number of the next ring.
struct Machine {
    /// Of control, and of the worker.
    cores: [CoreId; 2],
    eal: Eal,
    pool: MbufPool,
    rings: usize,
}

/// Watches a worker with a table of that size. So many connections are established, of which the `active` first ones send.
fn measure(
    machine: &mut Machine,
    (table, established, active): (u32, u32, u32),
    scheduler: &'static str,
    act: impl FnOnce(&mut Bench),
) -> Vec<Row> {
    let cores = machine.cores;
    let (io, mac) = fill_ring(&machine.eal, &machine.pool, machine.rings);
    machine.rings += 1;
    let folder = tempfile::tempdir().unwrap();
    let config = rig::config(folder.path(), table, scheduler, SERVICES);
    let socket = config.director.socket.clone();
    let (handle, mailbox) = mailbox(WorkerId(0), None);
    let snapshot = rig::control(config, traffic::network(mac), Workers::new(vec![handle]));
    let limits = rig::limits(table);
    let mut director = Director::new(&limits, 42, WorkerId(0), Steering::default());
    director.apply(snapshot);
    for flags in ["S", "A"] {
        Generator::requests(established, flags, mac).establish(&mut director, &machine.pool);
    }
    assert_eq!(director.used()[0], established, "every flow has a connection");
    let (shared, clock) = (Arc::new(Shared::default()), SystemClock::default());
    shared.enter(Phase::Between);
    let log = Log::default();
    let generator = Generator::requests(active, "A", mac);
    let wire = Wire::new(io, machine.pool, generator, Arc::clone(&shared), Stopwatch::new(Arc::clone(&log)));
    let (theirs, worker_clock, their_log) = (Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&log));
    let alone = Alone::new(their_log, established as usize);
    let running = std::thread::spawn(move || {
        core_affinity::set_for_current(cores[1]);
        let _registered = register_thread().unwrap();
        let skewed = Skewed { clock, shared: worker_clock, calm: Cell::new(0), gained: Cell::new(0) };
        run(rig::alone(wire, director, limits, mailbox, skewed), &theirs, alone, clock, active);
    });
    std::thread::sleep(Duration::from_secs(1));
    let mut bench = Bench { shared, clock, socket, log, core: cores[1].id, done: Vec::new() };
    act(&mut bench);
    bench.shared.enter(Phase::Over);
    running.join().unwrap();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let Shared { came, sent, created, unremembered, full, .. } = &*bench.shared;
    let lost = count(came) - count(sent);
    println!(
        "{scheduler}: {} connections made, {} SYNs forwarded without one, {} dropped, {lost} packets of others lost",
        count(created),
        count(unremembered),
        count(full)
    );
    row::rows(&bench.done, &bench.log, scheduler, table, lost)
}

fn main() {
    let connections: u32 = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(1 << 20);
    let cores = rig::two_cores();
    core_affinity::set_for_current(cores[0]);
    let eal = Eal::start(&EalOptions { memory_mib: 128, ..EalOptions::default() }).unwrap();
    let pool = MbufPool::new(&eal, "bench", 4095, 2048).unwrap();
    let mut machine = Machine { cores, eal, pool, rings: 0 };
    let mut rows = measure(&mut machine, (2 * connections, 2 * connections, connections), "rr", |bench| {
        for _ in 0..ROUNDS {
            bench.rest();
            bench.machine();
            bench.rules();
            bench.machine();
            bench.reload();
            bench.machine();
        }
        bench.expiry(connections);
        for _ in 0..ROUNDS {
            bench.listing(connections);
            bench.machine();
        }
    });
    for scheduler in ["rr", "mh"] {
        let sizes = (connections, connections / 2, connections / 2);
        rows.extend(measure(&mut machine, sizes, scheduler, |bench| {
            for _ in 0..ROUNDS {
                bench.rest();
                bench.machine();
                bench.flood();
                bench.machine();
            }
        }));
    }
    row::print(&rows);
    rig::write("latency.json", &rows);
}
