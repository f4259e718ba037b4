//! Nanoseconds a look-up in the connection table, in an order that no prefetcher guesses: one by one, in stages within a burst
//! of 32, and in stages that run one burst apart. Then what a new connection costs: its failed look-up, its entry, its end by
//! the timer. Making the key is measured alone as the baseline, in the same run, round by round in turn with the rest.
//!
//! `cargo bench --no-default-features --bench table [-- CONNECTIONS...]`; writes `target/bench/table.json`. Without `--bench`, as
//! under `cargo test`, it only shows that it runs.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may stop")]

use std::hint::black_box;
use std::time::Instant as Wall;

use pollvs::conn::{ConnFlags, ConnId, Connection, RequestKey, Table};
use pollvs::hash::HashKey;
use pollvs::time::Tick;
use serde::Serialize;

const BURST: usize = 32;
const VIP: u32 = 0xc000_020a;
/// Ticks that a connection lives.
const LIFE: u32 = 6000;

/// One line of the result.
#[derive(Serialize)]
struct Row {
    case: &'static str,
    connections: u32,
    ns: f64,
    min_ns: f64,
    max_ns: f64,
    rounds: usize,
}

/// How much to do.
struct Plan {
    sizes: Vec<u32>,
    rounds: usize,
    /// Look-ups in a window.
    looks: usize,
}

impl Plan {
    fn from_args() -> Self {
        let args: Vec<_> = std::env::args().skip(1).collect();
        if !args.iter().any(|arg| arg == "--bench") {
            return Self { sizes: vec![1, 64], rounds: 1, looks: 1 << 10 };
        }
        let mut sizes: Vec<u32> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
        if sizes.is_empty() {
            sizes = vec![1, 1 << 10, 1 << 14, 1 << 20];
            if free_memory() > 4 << 30 {
                sizes.push(1 << 24);
            }
        }
        Self { sizes, rounds: 31, looks: 1 << 15 }
    }
}

/// Bytes of memory to be had; 0 when the system does not say.
fn free_memory() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) << 10
}

/// Key of the n-th client.
#[inline]
fn key(n: u32) -> RequestKey<u32> {
    RequestKey { protocol: 6, caddr: 0x0a00_0000 + (n >> 4), cport: 1024 + (n & 15) as u16, vaddr: VIP, vport: 80 }
}

#[inline]
fn connection(key: &RequestKey<u32>, expires: Tick) -> Connection<u32> {
    Connection {
        caddr: key.caddr,
        cport: key.cport,
        vaddr: key.vaddr,
        vport: key.vport,
        protocol: key.protocol,
        flags: ConnFlags::DR,
        expires,
        timeout: LIFE,
        ..Connection::default()
    }
}

/// A table under test with its clients 0..size in it, and a state for the cases.
struct Bed {
    size: u32,
    table: Table<u32>,
    random: u64,
    /// The oldest and the next client of the cases that add and end.
    next: u32,
    now: Tick,
}

impl Bed {
    fn new(size: u32) -> Self {
        let table = Table::new(size.next_power_of_two().max(64), HashKey::new(42));
        let mut bed = Self { size, table, random: 1, next: 0, now: Tick(0) };
        for n in 0..size {
            // In an order of its own, so that neighbours in the table were not made one after the other.
            bed.add(scattered(n, size), Tick(LIFE));
        }
        bed
    }

    fn add(&mut self, n: u32, expires: Tick) -> ConnId {
        let key = key(n);
        let hash = self.table.hash(key.protocol, key.caddr, key.cport);
        self.table.insert(hash, connection(&key, expires), self.now).unwrap()
    }

    /// A client at random.
    #[inline]
    fn draw(&mut self) -> RequestKey<u32> {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let n = (self.random >> 32) * u64::from(self.size);
        key((n >> 32) as u32)
    }

    /// What a packet does to its connection.
    #[inline]
    fn touch(&mut self, id: Option<ConnId>) {
        let expires = self.now.plus(LIFE);
        if let Some(connection) = id.and_then(|id| self.table.get_mut(id)) {
            connection.packets += 1;
            connection.expires = expires;
        }
    }
}

/// An order of `0..size` that jumps about, for powers of two.
fn scattered(n: u32, size: u32) -> u32 {
    n.wrapping_mul(0x9e37_79b1) & (size - 1)
}

/// Keys and hashes of one burst, with what stage 2 found.
#[derive(Clone, Copy)]
struct Stage {
    keys: [RequestKey<u32>; BURST],
    hashes: [u64; BURST],
    candidates: [ConnId; BURST],
}

impl Default for Stage {
    fn default() -> Self {
        let keys = [RequestKey::default(); BURST];
        Self { keys, hashes: [0; BURST], candidates: [ConnId::NONE; BURST] }
    }
}

impl Stage {
    #[inline]
    fn parse(&mut self, bed: &mut Bed) {
        for at in 0..BURST {
            let key = bed.draw();
            self.keys[at] = key;
            self.hashes[at] = bed.table.hash(key.protocol, key.caddr, key.cport);
            bed.table.prefetch(self.hashes[at]);
        }
    }

    #[inline]
    fn seek(&mut self, bed: &Bed) {
        for at in 0..BURST {
            self.candidates[at] = bed.table.candidate(self.hashes[at]);
        }
    }

    #[inline]
    fn decide(&self, bed: &mut Bed) {
        for at in 0..BURST {
            let id = bed.table.request(self.hashes[at], self.candidates[at], &self.keys[at]);
            bed.touch(id);
        }
    }
}

/// A case does about so many operations and returns how many.
type Case = (&'static str, fn(&mut Bed, usize) -> usize);

const CASES: [Case; 8] = [
    ("key only", |bed, count| {
        for _ in 0..count {
            let key = bed.draw();
            black_box(bed.table.hash(key.protocol, key.caddr, key.cport));
        }
        count
    }),
    ("one by one", |bed, count| {
        for _ in 0..count {
            let key = bed.draw();
            let hash = bed.table.hash(key.protocol, key.caddr, key.cport);
            let id = bed.table.request(hash, ConnId::NONE, &key);
            bed.touch(id);
        }
        count
    }),
    ("staged in a burst", |bed, count| {
        let mut stage = Stage::default();
        for _ in 0..count / BURST {
            stage.parse(bed);
            stage.seek(bed);
            stage.decide(bed);
        }
        count
    }),
    ("pipelined across bursts", |bed, count| {
        let mut stages = [Stage::default(); 3];
        for turn in 0..count / BURST {
            stages[turn % 3].parse(bed);
            stages[(turn + 2) % 3].seek(bed);
            stages[(turn + 1) % 3].decide(bed);
        }
        count
    }),
    ("miss, staged", |bed, count| {
        let mut stage = Stage::default();
        for _ in 0..count / BURST {
            for at in 0..BURST {
                let key = RequestKey { cport: 5, ..bed.draw() };
                (stage.keys[at], stage.hashes[at]) = (key, bed.table.hash(key.protocol, key.caddr, key.cport));
                bed.table.prefetch(stage.hashes[at]);
            }
            stage.seek(bed);
            stage.decide(bed);
        }
        count
    }),
    ("remove and insert", |bed, count| {
        let count = count / 4;
        for _ in 0..count {
            let n = scattered(bed.next, bed.size);
            let key = key(n);
            let hash = bed.table.hash(key.protocol, key.caddr, key.cport);
            let id = bed.table.request(hash, ConnId::NONE, &key).unwrap();
            bed.table.remove(id);
            bed.add(n, bed.now.plus(LIFE + (bed.next & 255)));
            bed.next = bed.next.wrapping_add(1);
        }
        count
    }),
    ("due with nothing due", |bed, count| {
        for _ in 0..count {
            black_box(bed.table.due(bed.now, &mut 64));
        }
        count
    }),
    ("expire and insert", |bed, count| {
        // A flow that neither grows nor shrinks: every connection is ended by the timer, some time in its life having moved
        // through the wheel, and made anew.
        // Long enough for slots of the upper levels to come up as often as they do.
        let count = count.max(bed.size as usize / 4);
        let mut done = 0;
        while done < count {
            bed.now = bed.now.plus((LIFE / bed.size).max(1));
            let mut budget = u32::MAX;
            while let Some(id) = bed.table.due(bed.now, &mut budget) {
                let ended = bed.table.remove(id).unwrap();
                let hash = bed.table.hash(ended.protocol, ended.caddr, ended.cport);
                bed.random = bed.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                let expires = bed.now.plus(LIFE / 2 + (bed.random >> 32) as u32 % LIFE);
                bed.table.insert(hash, Connection { expires, ..ended }, bed.now).unwrap();
                done += 1;
            }
        }
        done
    }),
];

fn main() {
    let plan = Plan::from_args();
    let mut beds: Vec<_> = plan.sizes.iter().map(|size| Bed::new(*size)).collect();
    for bed in &beds {
        let bytes = bed.table.memory_bytes();
        println!(
            "{:>9} connections: {bytes} bytes, {:.1} each",
            bed.size,
            bytes as f64 / f64::from(bed.table.capacity())
        );
    }
    let mut samples = vec![Vec::new(); beds.len() * CASES.len()];
    for _ in 0..plan.rounds {
        // The last case moves the clock of its table on, so every case of a size sees the same table.
        for (case, (_, run)) in CASES.iter().enumerate() {
            for (at, bed) in beds.iter_mut().enumerate() {
                // Unmeasured first, so that a small table is in the cache again after the large one.
                if bed.size < 1 << 18 {
                    run(bed, plan.looks);
                }
                let started = Wall::now();
                let done = run(bed, plan.looks);
                let spent = started.elapsed();
                samples[case * plan.sizes.len() + at].push(spent.as_nanos() as f64 / done as f64);
            }
        }
    }
    let names = CASES.iter().flat_map(|(name, _)| plan.sizes.iter().map(move |size| (*name, *size)));
    let rows: Vec<_> = names.zip(samples).map(|((case, connections), ns)| row(case, connections, ns)).collect();
    report(&rows);
}

fn row(case: &'static str, connections: u32, mut ns: Vec<f64>) -> Row {
    ns.sort_by(f64::total_cmp);
    let (min_ns, max_ns) = (ns[0], ns[ns.len() - 1]);
    Row { case, connections, ns: ns[ns.len() / 2], min_ns, max_ns, rounds: ns.len() }
}

fn report(rows: &[Row]) {
    println!(
        "{:<26}{:>12}{:>10}{:>10}{:>10}   ns each, median of {}",
        "", "connections", "median", "min", "max", rows[0].rounds
    );
    for row in rows {
        let Row { case, connections, ns, min_ns, max_ns, .. } = row;
        println!("{case:<26}{connections:>12}{ns:>10.1}{min_ns:>10.1}{max_ns:>10.1}");
    }
    let folder = std::path::Path::new(option_env!("CARGO_TARGET_TMPDIR").unwrap_or("target")).with_file_name("bench");
    if std::fs::create_dir_all(&folder).is_ok() {
        std::fs::write(folder.join("table.json"), serde_json::to_string_pretty(rows).unwrap()).unwrap();
    }
}
