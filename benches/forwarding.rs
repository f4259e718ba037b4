//! Nanoseconds a packet through the whole director on one core: a DPDK ring that loops back, 256 frames in it, and an in-core
//! generator that makes each received frame the next packet of the next flow, in an order that no prefetcher guesses. The
//! generator with a MAC swap is the baseline, measured in the same run, round by round in turn with the rest.
//!
//! `cargo bench --bench forwarding [-- FLOWS...]`; writes `target/bench/forwarding.json`.
//!
//! `-- --count CASE FLOWS` runs a fixed number of turns instead, for callgrind to count the instructions of a packet, whatever else
//! the machine is doing: `valgrind --tool=callgrind --toggle-collect='*counted*' PROGRAM --count dr 1024`.
#![allow(clippy::unwrap_used, reason = "a bench may stop")]

mod traffic;

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant as Wall};

use pollvs::addr::MacAddr;
use pollvs::burst::{BURST, Burst};
use pollvs::burst_meter::BurstMeter;
use pollvs::destination::{DestId, Destination, Method, Tunnel};
use pollvs::director::{Director, Limits};
use pollvs::frame::Frame;
use pollvs::io::PacketIo;
use pollvs::io::dpdk::{DpdkIo, Eal, EalOptions, Mbuf, MbufPool};
use pollvs::netmask::Netmask;
use pollvs::service::{Persistence, Protocol, SchedulerName, Service, ServiceFlags, ServiceId, ServiceKey};
use pollvs::settings::Settings;
use pollvs::snapshot::{Rules, Snapshot};
use pollvs::steering::Steering;
use pollvs::sync::Entry;
use pollvs::time::Instant;
use pollvs::verdict::{Verdict, WorkerId};
use serde::Serialize;
use traffic::{Generator, VIP, fill_ring};

const ROUNDS: usize = 7;
const WINDOW: Duration = Duration::from_millis(200);
/// Turns that are timed together, about half a millisecond.
const SLICE: usize = 256;
const EXPIRY_BUDGET: u32 = 128;
/// Fewer new connections than this take too short a time to be measured.
const FEWEST_NEW: u32 = 16384;
/// Room for what is told.
const TOLD: usize = 4096;
/// Turns that callgrind counts.
const COUNTED_TURNS: usize = 10_000;

/// One line of the result.
#[derive(Serialize)]
struct Row {
    case: &'static str,
    family: u8,
    flows: u32,
    workers: u8,
    burst: usize,
    source: &'static str,
    ns: f64,
    net_ns: f64,
    mpps: f64,
    min_ns: f64,
    max_ns: f64,
    rounds: usize,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    /// Client packets of established connections, by direct routing.
    Dr,
    /// The same through an IP-in-IP tunnel.
    Tun,
    /// The same by masquerade.
    Nat,
    /// Server packets of masqueraded connections.
    NatReply,
    /// As [`Case::Dr`], while a master of the synchronisation tells another director of them.
    Told,
    /// As [`Case::Dr`], of a persistent service.
    Persistent,
    /// SYNs that each make a connection, by direct routing.
    NewDr,
}

impl Case {
    const ALL: [Self; 7] = [Self::Dr, Self::Tun, Self::Nat, Self::NatReply, Self::Told, Self::Persistent, Self::NewDr];

    fn name(self) -> &'static str {
        match self {
            Self::Dr => "dr",
            Self::Tun => "tun",
            Self::Nat => "nat",
            Self::NatReply => "nat-reply",
            Self::Told => "dr-told",
            Self::Persistent => "persistent",
            Self::NewDr => "new-dr",
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Dr | Self::Told | Self::Persistent | Self::NewDr => Method::Dr,
            Self::Tun => Method::Tun,
            Self::Nat | Self::NatReply => Method::Nat,
        }
    }

    fn generator(self, flows: u32, own: MacAddr) -> Generator {
        match self {
            Self::NatReply => Generator::replies(flows, own),
            Self::NewDr => Generator::requests(flows, "S", own),
            _ => Generator::requests(flows, "A", own),
        }
    }
}

fn snapshot(case: Case, mac: MacAddr) -> Arc<Snapshot> {
    let id = ServiceId(0);
    let dest = Arc::new(Destination {
        id: DestId(0),
        uid: 1,
        entered: 0,
        service: id,
        of: ServiceKey::Mark { mark: 1, v6: false },
        address: IpAddr::from([198, 51, 100, 11]),
        port: 80,
        weight: 1,
        method: case.method(),
        tunnel: Tunnel::Ipip,
        upper: 0,
        lower: 0,
        available: true,
        holds: true,
        ends: false,
    });
    let service = Arc::new(Service {
        id,
        uid: 2,
        version: 1,
        key: ServiceKey::Address { protocol: Protocol::Tcp, address: VIP.into(), port: 80 },
        scheduler: SchedulerName::Rr,
        persistence: (case == Case::Persistent)
            .then_some(Persistence { timeout_secs: 300, netmask: Netmask::Prefix(32) }),
        engine: None,
        flags: ServiceFlags::default(),
        destinations: vec![Arc::clone(&dest)],
    });
    let rules = Rules::new(vec![Some(service)], vec![Some(dest)], Settings::default());
    let rules = rules.telling(case == Case::Told);
    Arc::new(Snapshot::new(1, Arc::new(rules), Arc::new(traffic::network(mac))))
}

/// A director whose every flow is established, except where new ones are measured.
struct Subject {
    case: Case,
    director: Director,
    pipeline: [Box<Burst<Mbuf>>; 3],
    start: Wall,
    flows: u32,
    generator: Generator,
    meter: BurstMeter,
    /// What was told last, and how many turns ago.
    told: (Vec<Entry>, usize),
    rounds: Vec<f64>,
}

impl Subject {
    fn new(case: Case, flows: u32, mac: MacAddr, pool: &MbufPool) -> Self {
        let few = 1024;
        let templates = if case == Case::Persistent { flows.max(few) } else { few };
        let limits = Limits {
            connections: flows,
            connections6: few,
            templates,
            templates6: few,
            destinations: 16,
            ftp: 64,
            calls: 64,
        };
        let mut director = Director::new(&limits, 42, WorkerId(0), Steering::default());
        director.apply(snapshot(case, mac));
        let generator = case.generator(flows, mac);
        let (pipeline, start, meter, rounds) = (Default::default(), Wall::now(), BurstMeter::default(), Vec::new());
        director.take_told(Vec::with_capacity(TOLD));
        let told = (Vec::with_capacity(TOLD), 0);
        let mut subject = Self { case, director, pipeline, start, flows, generator, meter, told, rounds };
        if case != Case::NewDr {
            for flags in ["S", "A"] {
                Generator::requests(flows, flags, mac).establish(&mut subject.director, pool);
            }
            assert_eq!(subject.director.used()[0], flows, "every flow has a connection");
        }
        subject
    }

    fn now(&self) -> Instant {
        Instant(self.start.elapsed().as_nanos() as u64)
    }

    /// One turn, as a worker does it: three bursts under way, each in another stage.
    fn turn(&mut self, io: &mut DpdkIo) -> usize {
        let now = self.now();
        self.meter.begin(now);
        let [received, sought, decided] = &mut self.pipeline;
        let count = io.receive(received);
        self.meter.received(count);
        self.generator.generate(received);
        self.director.parse(received);
        self.director.seek(sought);
        self.director.decide(decided, now);
        send(decided, io);
        self.director.expire(now, EXPIRY_BUDGET);
        io.flush();
        self.pipeline.rotate_right(1);
        self.collect();
        count
    }

    /// Takes what is told away, as control does from time to time.
    #[inline]
    fn collect(&mut self) {
        let (told, turns) = &mut self.told;
        *turns += 1;
        if *turns == SLICE && self.case == Case::Told {
            told.clear();
            *turns = 0;
            *told = self.director.take_told(std::mem::take(told));
        }
    }

    /// One round: nanoseconds a packet.
    fn measure(&mut self, io: &mut DpdkIo) {
        let ns = if self.case == Case::NewDr { self.pass(io) } else { window(|| self.turn(io)) };
        self.rounds.push(ns);
        self.drain(io);
    }

    /// Makes every connection once, after ending all.
    fn pass(&mut self, io: &mut DpdkIo) -> f64 {
        self.director.flush();
        self.generator.next = 0;
        let slices = self.flows as usize / (SLICE * BURST);
        let slice = |_| {
            let start = Wall::now();
            let packets = (0..SLICE).map(|_| self.turn(io)).sum::<usize>();
            start.elapsed().as_secs_f64() * 1e9 / packets as f64
        };
        median(&mut (1..slices).map(slice).collect::<Vec<_>>())
    }

    /// Runs the stages out, so that every frame is in the ring.
    fn drain(&mut self, io: &mut DpdkIo) {
        for _ in 0..3 {
            let now = self.now();
            let [_, sought, decided] = &mut self.pipeline;
            self.director.seek(sought);
            self.director.decide(decided, now);
            send(decided, io);
            self.pipeline.rotate_right(1);
        }
        io.flush();
    }
}

#[inline]
fn send(burst: &mut Burst<Mbuf>, io: &mut DpdkIo) {
    burst.give_away(|frame, verdict, _, _| match verdict {
        Verdict::Transmit(port) => io.transmit(port, frame),
        _ => panic!("an established connection got {verdict:?}"),
    });
}

/// Generator and MAC swap, nothing else.
fn macswap(io: &mut DpdkIo, burst: &mut Burst<Mbuf>, generator: &mut Generator) -> usize {
    let count = io.receive(burst);
    generator.generate(burst);
    burst.give_away(|mut frame, _, port, _| {
        if let Some(macs) = frame.bytes_mut().first_chunk_mut::<12>() {
            let (to, from) = macs.split_at_mut(6);
            to.swap_with_slice(from);
        }
        io.transmit(port, black_box(frame));
    });
    io.flush();
    count
}

/// Nanoseconds a packet, the median of the slices of one window: a slice is shorter than what another process is given, so that
/// few of them hold its time too.
fn window(mut turn: impl FnMut() -> usize) -> f64 {
    (0..2000).for_each(|_| {
        turn();
    });
    let (start, mut slices) = (Wall::now(), Vec::new());
    while start.elapsed() < WINDOW {
        let before = Wall::now();
        let packets = (0..SLICE).map(|_| turn()).sum::<usize>();
        slices.push(before.elapsed().as_secs_f64() * 1e9 / packets as f64);
    }
    median(&mut slices)
}

fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn row(case: &'static str, flows: u32, rounds: &mut [f64], baseline: f64) -> Row {
    let ns = median(rounds);
    Row {
        case,
        family: 4,
        flows,
        workers: 1,
        burst: 32,
        source: "ring",
        ns,
        net_ns: ns - baseline,
        mpps: 1e3 / ns,
        min_ns: rounds[0],
        max_ns: rounds[rounds.len() - 1],
        rounds: rounds.len(),
    }
}

/// Where callgrind counts. Returns the packets.
#[inline(never)]
fn counted(mut turn: impl FnMut() -> usize) -> usize {
    (0..COUNTED_TURNS).map(|_| turn()).sum()
}

/// One case for callgrind.
fn count(eal: &Eal, pool: &MbufPool, name: &str, flows: u32) {
    let (mut io, mac) = fill_ring(eal, pool, 0);
    let packets = if let Some(case) = Case::ALL.into_iter().find(|case| case.name() == name) {
        let mut subject = Subject::new(case, flows, mac, pool);
        counted(|| subject.turn(&mut io))
    } else {
        assert_eq!(name, "macswap", "no such case");
        let (mut burst, mut generator) = (Burst::default(), Generator::requests(flows, "A", mac));
        counted(|| macswap(&mut io, &mut burst, &mut generator))
    };
    println!("{packets} packets");
}

fn measure(eal: &Eal, pool: &MbufPool, number: usize, flows: u32) -> Vec<Row> {
    let (mut io, mac) = fill_ring(eal, pool, number);
    let measured = |case: &Case| *case != Case::NewDr || flows >= FEWEST_NEW;
    let cases = Case::ALL.into_iter().filter(measured);
    let mut subjects: Vec<_> = cases.map(|case| Subject::new(case, flows, mac, pool)).collect();
    let mut swap_rounds = Vec::new();
    let mut generator = Generator::requests(flows, "A", mac);
    let mut burst = Burst::default();
    for _ in 0..ROUNDS {
        swap_rounds.push(window(|| macswap(&mut io, &mut burst, &mut generator)));
        subjects.iter_mut().for_each(|subject| subject.measure(&mut io));
    }
    let baseline = median(&mut swap_rounds);
    let mut rows = vec![row("macswap", flows, &mut swap_rounds, baseline)];
    rows.extend(subjects.iter_mut().map(|subject| row(subject.case.name(), flows, &mut subject.rounds, baseline)));
    rows
}

fn main() {
    let flows: Vec<u32> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let flows = if flows.is_empty() { vec![1, 1 << 10, 1 << 20] } else { flows };
    core_affinity::get_core_ids().and_then(|cores| cores.last().copied()).map(core_affinity::set_for_current);
    let eal = Eal::start(&EalOptions { memory_mib: 128, ..EalOptions::default() }).unwrap();
    let pool = MbufPool::new(&eal, "bench", 4095, 2048).unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [mode, case, flows] = &arguments[..]
        && mode == "--count"
    {
        return count(&eal, &pool, case, flows.parse().unwrap());
    }
    let mut rows = Vec::new();
    println!("{:<10} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}", "case", "flows", "ns", "net", "Mpps", "min", "max");
    for (number, flows) in flows.into_iter().enumerate() {
        assert!(flows.is_power_of_two(), "flows are a power of two");
        for row in measure(&eal, &pool, number, flows) {
            let Row { case, flows, ns, net_ns, mpps, min_ns, max_ns, .. } = row;
            println!("{case:<10} {flows:>9} {ns:>8.1} {net_ns:>8.1} {mpps:>8.1} {min_ns:>8.1} {max_ns:>8.1}");
            rows.push(row);
        }
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("forwarding.json"), serde_json::to_string_pretty(&rows).unwrap()).unwrap();
}
