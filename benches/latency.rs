//! How long a burst takes from its receipt until its last frame is sent, through the whole poll loop of a worker: at rest, and while control
//! and time make work for it. Packets of all clients come in without a pause, from a ring that loops back. The worker has the last core
//! for itself; control, its clients and what they print share the first.
//!
//! `cargo bench --bench latency [-- CONNECTIONS]`; writes `target/bench/latency.json`, times in nanoseconds. CONNECTIONS (1,048,576) is a
//! power of two.
//!
//! A burst during which the kernel took the core away is counted apart (`interrupted`): on a machine that does other things too, the rest
//! still shows what the worker itself makes bursts wait for. `wall_max` is of all.
#![allow(clippy::unwrap_used, reason = "a bench may stop")]

#[allow(dead_code, reason = "some of it is for other benches")]
mod rig;
#[allow(dead_code, reason = "some of it is for other benches")]
mod traffic;

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Wall};

use core_affinity::CoreId;
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use pollvs::burst::{BURST, Burst};
use pollvs::control::client::Client;
use pollvs::control::reply::Reply;
use pollvs::control::request::{DestinationSpec, Request};
use pollvs::director::Director;
use pollvs::frame::Frame;
use pollvs::io::PacketIo;
use pollvs::io::dpdk::{DpdkIo, Eal, EalOptions, Mbuf, MbufPool, register_thread};
use pollvs::mailbox::{Workers, mailbox};
use pollvs::service::{Protocol, ServiceKey};
use pollvs::stats::{DropReason, Event};
use pollvs::steering::Steering;
use pollvs::time::Instant;
use pollvs::verdict::{Origin, PortId, WorkerId};
use pollvs::wire::checksum::Sum;
use pollvs::worker::{Clock, NoTwin, SystemClock, Worker};
use rig::LONGEST;
use serde::Serialize;
use traffic::{Generator, VIP, fill_ring};

/// How long each phase is watched.
const WATCH: Duration = Duration::from_secs(5);
/// Services without traffic, of one destination each.
const SERVICES: u16 = 1000;
/// From one change of the rules to the next.
const CHANGE_EVERY: Duration = Duration::from_millis(10);
/// From one change of all services at once to the next.
const RELOAD_EVERY: Duration = Duration::from_millis(250);
/// Bursts that take longer are asked whether the core was taken away meanwhile, in nanoseconds.
const SUSPICIOUS: u64 = 10_000;
/// Frames that may be out of the ring without having been dropped: a burst in each stage.
const MOST_UNDER_WAY: usize = 3 * BURST;
/// Of the packets of a flood one in two is of an established connection; the others are SYNs of so many sources, each in its turn.
const FORGED: u32 = 1 << 27;
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
    /// Not watched.
    Between,
    Over,
}

impl Phase {
    const WATCHED: [Self; 6] = [Self::Rest, Self::Rules, Self::Reload, Self::Listing, Self::Expiry, Self::Flood];

    fn name(self) -> &'static str {
        match self {
            Self::Rest => "at rest",
            Self::Rules => "a rule every 10 ms",
            Self::Reload => "all services anew",
            Self::Listing => "listing",
            Self::Expiry => "all others expire",
            Self::Flood => "SYN flood",
            Self::Between | Self::Over => "",
        }
    }
}

/// One line of the result: times of a burst in nanoseconds.
#[derive(Serialize)]
struct Row {
    case: &'static str,
    scheduler: &'static str,
    connections: u32,
    /// Changes, listings, connections that expired, SYNs, as the case may be.
    done: u64,
    bursts: u64,
    interrupted: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
    wall_max: u64,
    /// Seconds that it took, where it ends by itself.
    seconds: f64,
    /// Packets of established connections that were not sent.
    lost: u64,
}

/// The bursts of one phase.
struct Bursts {
    own: Histogram<u64>,
    interrupted: Histogram<u64>,
}

impl Default for Bursts {
    fn default() -> Self {
        let empty = || Histogram::new_with_bounds(1, LONGEST, 3).unwrap();
        Self { own: empty(), interrupted: empty() }
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
}

impl Shared {
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

/// The ring, whose frames are the next packets when they come in, and the times of the bursts.
struct Wire {
    io: DpdkIo,
    pool: MbufPool,
    generator: Generator,
    /// Sources that have been forged.
    forged: u32,
    shared: Arc<Shared>,
    bursts: Arc<[Mutex<Bursts>; Phase::WATCHED.len()]>,
    /// Bursts under way: when each came, and how many packets of established connections in it have not been sent.
    under_way: VecDeque<(Wall, usize)>,
    /// Frames out of the ring and not back, whether under way or dropped.
    owed: usize,
    /// Times that the core was taken away, as last asked, and when that was found to have grown.
    switches: i64,
    switched: Wall,
}

fn switches() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    usage.involuntary_context_switches() + usage.voluntary_context_switches()
}

impl Wire {
    /// A burst that came then has been sent.
    fn record(&mut self, came: Wall) {
        let now = Wall::now();
        let took = u64::try_from((now - came).as_nanos()).unwrap_or(LONGEST);
        if took > SUSPICIOUS {
            let before = std::mem::replace(&mut self.switches, switches());
            if self.switches != before {
                self.switched = now;
            }
        }
        // All that were under way then had to wait.
        let interrupted = came <= self.switched;
        let Some(bursts) = self.bursts.get(self.shared.phase()) else { return };
        let mut bursts = bursts.lock().unwrap();
        let histogram = if interrupted { &mut bursts.interrupted } else { &mut bursts.own };
        histogram.saturating_record(took);
    }

    /// Makes every second packet a SYN of another source. Frames that were dropped are made up for, so that the flood does not end with
    /// them. Returns the packets of established connections.
    fn flood(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        while burst.room() > 0 && self.owed > MOST_UNDER_WAY {
            let Some(frame) = self.pool.frame(&[]) else { break };
            assert!(burst.push(frame, PortId(0), Origin::Wire).is_ok());
        }
        self.generator.generate(burst);
        for frame in burst.frames_mut().skip(1).step_by(2) {
            self.forged = self.forged.wrapping_add(1) % FORGED;
            forge(frame, self.forged);
        }
        let forged = burst.len() / 2;
        rig::count(&self.shared.forged, forged as u64);
        burst.len() - forged
    }
}

/// Offsets in a frame of IPv4 and TCP.
const IP: usize = 14;
const CHECKSUM: usize = IP + 10;
const SOURCE: usize = IP + 12;
const TCP: usize = IP + 20;
const FLAGS: usize = TCP + 13;
const SYN: u8 = 2;

/// Makes a packet the SYN of a source that no established connection has.
fn forge(frame: &mut Mbuf, n: u32) {
    let bytes = frame.bytes_mut();
    bytes[SOURCE..SOURCE + 4].copy_from_slice(&(0x2000_0000 | n).to_be_bytes());
    bytes[FLAGS] = SYN;
    bytes[CHECKSUM..CHECKSUM + 2].fill(0);
    let checksum = Sum::new().bytes(&bytes[IP..TCP]).checksum();
    bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
}

impl PacketIo for Wire {
    type Frame = Mbuf;

    fn receive(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let phase = self.shared.phase();
        if phase == Phase::Over as usize {
            return 0;
        }
        let now = Wall::now();
        self.owed += self.io.receive(burst);
        let established = if phase == Phase::Flood as usize {
            self.flood(burst)
        } else {
            self.generator.generate(burst);
            burst.len()
        };
        if established > 0 {
            rig::count(&self.shared.came, established as u64);
            self.under_way.push_back((now, established));
        }
        burst.len()
    }

    fn transmit(&mut self, port: PortId, frame: Mbuf) {
        let forged = frame.bytes()[FLAGS] == SYN;
        self.io.transmit(port, frame);
        self.owed = self.owed.saturating_sub(1);
        if forged {
            return;
        }
        let Some((came, left)) = self.under_way.front_mut() else { return };
        *left -= 1;
        if *left == 0 {
            let came = *came;
            self.under_way.pop_front();
            self.record(came);
        }
        rig::count(&self.shared.sent, 1);
    }

    fn blank(&mut self) -> Option<Mbuf> {
        self.io.blank()
    }

    fn flush(&mut self) {
        self.io.flush();
    }
}

type Watched = Worker<Wire, NoTwin, Skewed>;

/// Runs a worker until that is over, and what is under way then.
fn run(mut worker: Watched, shared: &Shared, clock: SystemClock, active: u32) {
    let mut turns = 0;
    while shared.phase() != Phase::Over as usize || turns < 8 {
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

/// What a phase comes to: how much was done, and how long that took where it ends by itself.
struct Done {
    phase: Phase,
    done: u64,
    seconds: f64,
}

/// A worker at work, and who makes it work more.
struct Bench {
    shared: Arc<Shared>,
    clock: SystemClock,
    socket: PathBuf,
    done: Vec<Done>,
}

impl Bench {
    /// Lets the worker be watched while something is done again and again.
    fn during(&mut self, phase: Phase, every: Duration, mut act: impl FnMut(u64)) {
        let start = Wall::now();
        self.shared.enter(phase);
        let mut times = 0;
        while start.elapsed() < WATCH {
            act(times);
            times += 1;
            std::thread::sleep((every * u32::try_from(times).unwrap_or(0)).saturating_sub(start.elapsed()));
        }
        self.shared.enter(Phase::Between);
        let seconds = if every.is_zero() { start.elapsed().as_secs_f64() / times as f64 } else { 0.0 };
        self.done.push(Done { phase, done: times, seconds });
    }

    fn rest(&mut self) {
        self.during(Phase::Rest, WATCH, |_| {});
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
        self.shared.enter(Phase::Expiry);
        std::thread::sleep(Duration::from_millis(1200));
        self.shared.enter(Phase::Between);
        std::thread::sleep(Duration::from_secs(5));
        let seconds = self.shared.expired_in.load(Ordering::Relaxed) as f64 / 1e9;
        self.done.push(Done { phase: Phase::Expiry, done: idle.into(), seconds });
    }

    fn flood(&mut self) {
        self.during(Phase::Flood, WATCH, |_| {});
        let done = self.shared.forged.load(Ordering::Relaxed);
        self.done.last_mut().unwrap().done = done;
    }
}

fn done(reply: &Reply) {
    assert!(matches!(reply, Reply::Done {}), "{reply:?}");
}

fn row(done: &Done, bursts: &Bursts, scheduler: &'static str, connections: u32, lost: u64) -> Row {
    let Bursts { own, interrupted } = bursts;
    let at = |quantile| if own.is_empty() { 0 } else { own.value_at_quantile(quantile) };
    Row {
        case: done.phase.name(),
        scheduler,
        connections,
        done: done.done,
        bursts: own.len() + interrupted.len(),
        interrupted: interrupted.len(),
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        max: own.max(),
        wall_max: own.max().max(interrupted.max()),
        seconds: done.seconds,
        lost,
    }
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
    let bursts = Arc::<[Mutex<Bursts>; Phase::WATCHED.len()]>::default();
    let wire = Wire {
        io,
        pool: machine.pool,
        generator: Generator::requests(active, "A", mac),
        forged: 0,
        shared: Arc::clone(&shared),
        bursts: Arc::clone(&bursts),
        under_way: VecDeque::with_capacity(16),
        owed: 0,
        switches: 0,
        switched: Wall::now(),
    };
    let (theirs, worker_clock) = (Arc::clone(&shared), Arc::clone(&shared));
    let running = std::thread::spawn(move || {
        core_affinity::set_for_current(cores[1]);
        let _registered = register_thread().unwrap();
        let skewed = Skewed { clock, shared: worker_clock, calm: Cell::new(0), gained: Cell::new(0) };
        run(rig::alone(wire, director, limits, mailbox, skewed), &theirs, clock, active);
    });
    std::thread::sleep(Duration::from_secs(1));
    let mut bench = Bench { shared, clock, socket, done: Vec::new() };
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
    bench
        .done
        .iter()
        .map(|done| row(done, &bursts[done.phase as usize].lock().unwrap(), scheduler, table, lost))
        .collect()
}

fn main() {
    let connections: u32 = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(1 << 20);
    let cores = rig::two_cores();
    core_affinity::set_for_current(cores[0]);
    let eal = Eal::start(&EalOptions { memory_mib: 128, ..EalOptions::default() }).unwrap();
    let pool = MbufPool::new(&eal, "bench", 4095, 2048).unwrap();
    let mut machine = Machine { cores, eal, pool, rings: 0 };
    let mut rows = measure(&mut machine, (2 * connections, 2 * connections, connections), "rr", |bench| {
        bench.rest();
        bench.rules();
        bench.reload();
        bench.expiry(connections);
        bench.listing(connections);
    });
    for scheduler in ["rr", "mh"] {
        let sizes = (connections, connections / 2, connections / 2);
        rows.extend(measure(&mut machine, sizes, scheduler, |bench| {
            bench.rest();
            bench.flood();
        }));
    }
    println!(
        "{:<19} {:<4} {:>10} {:>9} {:>7} {:>7} {:>7} {:>7} {:>8} {:>9} {:>8}",
        "nanoseconds", "", "done", "bursts", "interr.", "p50", "p99", "p99.9", "max", "wall max", "seconds"
    );
    for row in &rows {
        let Row { case, scheduler, done, bursts, interrupted, p50, p99, p999, max, wall_max, seconds, .. } = row;
        println!(
            "{case:<19} {scheduler:<4} {done:>10} {bursts:>9} {interrupted:>7} {p50:>7} {p99:>7} {p999:>7} {max:>8} {wall_max:>9} {seconds:>8.3}"
        );
    }
    rig::write("latency.json", &rows);
}
