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

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant as Wall};

use pollvs::addr::MacAddr;
use pollvs::burst::{BURST, Burst};
use pollvs::config::Config;
use pollvs::control::store::{Limits as RuleLimits, Store};
use pollvs::director::Director;
use pollvs::frame::Frame;
use pollvs::handoff::Handoff;
use pollvs::io::PacketIo;
use pollvs::io::dpdk::{DpdkIo, Eal, EalOptions, Mbuf, MbufPool, register_thread};
use pollvs::load_board::LoadBoard;
use pollvs::mailbox::{WorkerHandle, mailbox};
use pollvs::snapshot::Snapshot;
use pollvs::steering::{Prefixes, Steering};
use pollvs::time::Instant;
use pollvs::verdict::{Origin, PortId, WorkerId};
use pollvs::wire::checksum::Sum;
use pollvs::wire::sample::{at, tcp};
use pollvs::worker::{Idle, NoTwin, Parts, SystemClock, Worker};
use serde::Serialize;
use traffic::fill_ring;

const ROUNDS: usize = 9;
const WINDOW: Duration = Duration::from_millis(300);
/// Turns that callgrind counts, of all workers together.
const COUNTED_TURNS: usize = 16_000;
/// Frames that a ring between two workers holds.
const LINE: usize = 1024;
/// Bytes of a packet.
const LENGTH: usize = 54;
/// Offsets in it.
const IP: usize = 14;
const CHECKSUM: usize = IP + 10;
const SOURCE: usize = IP + 12;
const TCP: usize = IP + 20;

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
    template: [u8; LENGTH],
    /// Sum of the IP header without its client address and checksum.
    header: Sum,
    /// Address and port of each.
    all: Vec<(u32, u16)>,
    next: usize,
}

impl Clients {
    /// So many that the worker owns.
    fn of(worker: WorkerId, steering: &Steering, flows: u32, flags: &str, own: MacAddr) -> Self {
        let sample = tcp(at("0.0.0.0:0"), at("192.0.2.10:80")).letters(flags).macs(MacAddr([2, 0, 0, 0, 0, 0xfe]), own);
        let mut template: [u8; LENGTH] = sample.frame()[..LENGTH].try_into().unwrap();
        template[CHECKSUM..CHECKSUM + 2].fill(0);
        let header = Sum::new().bytes(&template[IP..TCP]);
        // An odd product scatters them.
        let clients = (0_u32..).map(|n| 0x0a00_0000 | (n.wrapping_mul(0x9e37_79b1) >> 8));
        let owned = clients.filter(|client| steering.owner(Ipv4Addr::from_bits(*client).into()) == worker);
        let ports = (0_u16..).step_by(7).map(|n| 1024 + n % 60_000).cycle();
        let all = owned.zip(ports).take(flows as usize).collect();
        Self { template, header, all, next: 0 }
    }

    #[inline]
    fn write(&mut self, frame: &mut impl Frame) {
        let (client, port) = self.all[self.next];
        self.next = if self.next + 1 == self.all.len() { 0 } else { self.next + 1 };
        // Padding, of the first time.
        if frame.bytes().len() != LENGTH {
            frame.resize(LENGTH);
        }
        let Some(bytes) = frame.bytes_mut().first_chunk_mut::<LENGTH>() else { return };
        *bytes = self.template;
        bytes[SOURCE..SOURCE + 4].copy_from_slice(&client.to_be_bytes());
        bytes[TCP..TCP + 2].copy_from_slice(&port.to_be_bytes());
        bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&self.header.long(client).checksum().to_be_bytes());
    }

    /// Lets a director see the packet of each once.
    fn establish(&mut self, director: &mut Director, pool: &MbufPool) {
        let mut burst = Burst::default();
        for _ in 0..self.all.len().div_ceil(BURST) {
            while burst.room() > 0 {
                let mut frame = pool.frame(&[0; 60]).unwrap();
                self.write(&mut frame);
                assert!(burst.push(frame, PortId(0), Origin::Wire).is_ok());
            }
            director.process(&mut burst, Instant(0));
            burst.clear();
        }
    }
}

/// A ring whose frames are the next packets when they come in.
struct Wire {
    io: DpdkIo,
    clients: Clients,
    received: Arc<AtomicU64>,
}

impl PacketIo for Wire {
    type Frame = Mbuf;

    fn receive(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let count = self.io.receive(burst);
        burst.frames_mut().for_each(|frame| self.clients.write(frame));
        // Nobody else writes it: no need for more than a store.
        self.received.store(self.received.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
        count
    }

    fn transmit(&mut self, port: PortId, frame: Mbuf) {
        self.io.transmit(port, frame);
    }

    fn blank(&mut self) -> Option<Mbuf> {
        self.io.blank()
    }

    fn flush(&mut self) {
        self.io.flush();
    }
}

type Member = Worker<Wire, NoTwin, SystemClock>;

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
        let received = Arc::new(AtomicU64::new(0));
        let clients = Clients::of(id, &steering, flows, "A", mac);
        let parts = Parts {
            id,
            io: Wire { io, clients, received: Arc::clone(&received) },
            director,
            limits,
            mailbox,
            handoff,
            twin: NoTwin,
            resolver: Box::new(|_, _| false),
            board: Arc::clone(&board),
            burst: BURST,
            idle: Idle::Spin,
        };
        crew.members.push(Worker::new(parts, SystemClock::default()));
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
