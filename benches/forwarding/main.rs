//! Nanoseconds a packet through the whole director on one core, with states, timers, counters and expiry as in production: packets come
//! from a DPDK ring that loops back, whose frames an in-core generator makes the next packet of the next flow, in an order that no
//! prefetcher guesses, or from a recording. Generator and a MAC swap are the baseline, measured in the same run, round by round in turn
//! with the rest.
//!
//! `cargo bench --bench forwarding [-- --help]`; docs/benchmarks.md tells more.
//!
//! `-- --count CASE FLOWS` runs a fixed number of turns instead, for callgrind to count the instructions of a packet, whatever else
//! the machine is doing; `make count` does that.
#![allow(clippy::unwrap_used, reason = "a bench may stop")]

mod case;
mod draw;
mod plan;
mod report;
mod source;
mod subject;
#[path = "../traffic/mod.rs"]
#[allow(dead_code, reason = "some of it is for other benches")]
mod traffic;

use clap::ValueEnum as _;
use pollvs::io::dpdk::{Eal, EalOptions, MbufPool};

use case::{Case, MOST_RECORDED, Origin};
use plan::Plan;
use report::{Row, median};
use source::Source;
use subject::Subject;
use traffic::generator::{Family, Packets};

/// Turns that callgrind counts.
const COUNTED_TURNS: usize = 10_000;

/// What everything is made from.
struct Bed {
    eal: Eal,
    pool: MbufPool,
    /// Ports that have been opened.
    ports: usize,
}

impl Bed {
    fn new() -> Self {
        let eal = Eal::start(&EalOptions { memory_mib: 256, ..EalOptions::default() }).unwrap();
        // Two recordings, a ring, and what is under way.
        let pool = MbufPool::new(&eal, "bench", (MOST_RECORDED * 4) - 1, 2048).unwrap();
        Self { eal, pool, ports: 0 }
    }

    fn source(&mut self, origin: Origin, packets: Packets, family: Family, flows: u32) -> Source {
        self.ports += 1;
        match origin {
            Origin::Ring => Source::ring(&self.eal, &self.pool, self.ports),
            Origin::Pcap => Source::recording(&self.eal, &self.pool, self.ports, (packets, family, flows)),
        }
    }
}

/// Where callgrind counts. Returns the packets.
#[inline(never)]
fn counted(subject: &mut Subject, source: &mut Source) -> usize {
    (0..COUNTED_TURNS).map(|_| subject.turn(source)).sum()
}

/// One case for callgrind.
fn count(case: Case, family: Family, flows: u32) {
    let mut bed = Bed::new();
    let mut source = bed.source(Origin::Ring, case.packets(), family, flows);
    let mut subject = Subject::new(case, (family, flows), source.mac, &bed.pool, true);
    subject.settle(&mut source);
    println!("{} packets", counted(&mut subject, &mut source));
}

/// What is measured together, in turn.
struct Group {
    origin: Origin,
    family: Family,
    flows: u32,
}

impl Group {
    /// Measures the cases, as many at once as memory holds the tables of.
    fn measure(&self, bed: &mut Bed, plan: &Plan) -> Vec<Row> {
        let (mut rows, mut swaps) = (Vec::new(), vec![Vec::new(); plan.bursts.len()]);
        for lot in self.lots(plan) {
            rows.extend(self.measure_together(bed, plan, &lot, &mut swaps));
        }
        let baseline = |(burst, mut swaps): (&u8, Vec<f64>)| {
            let ns = median(&mut swaps);
            self.row(Case::Macswap, *burst, swaps, ns)
        };
        plan.bursts.iter().zip(swaps).map(baseline).chain(rows).collect()
    }

    /// What can be measured, in lots whose tables memory holds; the baseline is the first of each.
    fn lots(&self, plan: &Plan) -> Vec<Vec<Case>> {
        let (memory, mut free, mut lots) = (plan.memory(), plan.memory(), vec![vec![Case::Macswap]]);
        let wanted = |case: &Case| *case != Case::Macswap && case.is_for(self.flows, self.origin);
        for case in plan.cases.iter().copied().filter(wanted) {
            let bytes = case.limits(self.family, self.flows).memory_bytes();
            if bytes > memory {
                eprintln!("No memory for {} with {} flows of IPv{}", case.name(), self.flows, self.family.number());
                continue;
            }
            if bytes > free {
                free = memory;
                lots.push(vec![Case::Macswap]);
            }
            free -= bytes;
            lots.last_mut().unwrap().push(case);
        }
        lots
    }

    /// Measures cases in interleaved rounds. The rounds of the baseline, which is the first of them, are added to `swaps`, by burst.
    fn measure_together(&self, bed: &mut Bed, plan: &Plan, cases: &[Case], swaps: &mut [Vec<f64>]) -> Vec<Row> {
        let mut source = |packets| bed.source(self.origin, packets, self.family, self.flows);
        let (mut requests, mut replies) = (source(Packets::Requests("A")), None);
        if self.origin == Origin::Pcap && cases.contains(&Case::NatReply) {
            replies = Some(source(Packets::Replies));
        }
        let new = |case: &Case| Subject::new(*case, (self.family, self.flows), requests.mac, &bed.pool, false);
        let mut subjects: Vec<_> = cases.iter().map(new).collect();
        let mut rounds = vec![vec![Vec::new(); plan.bursts.len()]; cases.len()];
        subjects.iter_mut().for_each(|subject| subject.settle(&mut requests));
        for _ in 0..plan.rounds {
            for (at, burst) in plan.bursts.iter().enumerate() {
                for (subject, rounds) in subjects.iter_mut().zip(&mut rounds) {
                    let source = replies.as_mut().filter(|_| subject.case == Case::NatReply).unwrap_or(&mut requests);
                    rounds[at].push(subject.measure(source, usize::from(*burst), plan.window()));
                }
            }
        }
        let mut baseline = Vec::new();
        for (rounds, swaps) in rounds.remove(0).iter_mut().zip(swaps) {
            swaps.extend(rounds.iter().copied());
            baseline.push(median(rounds));
        }
        let measured = cases[1..].iter().zip(rounds).flat_map(|(case, rounds)| {
            let bursts = plan.bursts.iter().zip(&baseline).zip(rounds);
            bursts.map(|((burst, baseline), rounds)| self.row(*case, *burst, rounds, *baseline))
        });
        measured.collect()
    }

    fn row(&self, case: Case, burst: u8, mut rounds: Vec<f64>, baseline: f64) -> Row {
        let ns = median(&mut rounds);
        let row = Row {
            case: case.name(),
            family: self.family.number(),
            flows: self.flows,
            workers: 1,
            burst: burst.into(),
            source: self.origin.to_possible_value().unwrap().get_name().into(),
            ns,
            net_ns: ns - baseline,
            mpps: 1e3 / ns,
            min_ns: rounds[0],
            max_ns: rounds[rounds.len() - 1],
            rounds: rounds.len(),
        };
        row.print();
        row
    }
}

fn main() {
    let plan = Plan::new();
    if let Some(file) = &plan.draw {
        return std::fs::write(file, draw::picture(&report::read())).unwrap();
    }
    core_affinity::get_core_ids().and_then(|cores| cores.last().copied()).map(core_affinity::set_for_current);
    if let Some((case, family, flows)) = plan.count().unwrap() {
        return count(case, family, flows);
    }
    let mut bed = Bed::new();
    let mut rows = Vec::new();
    report::print_title();
    for origin in &plan.sources {
        for family in &plan.families {
            for flows in plan.flows.iter().filter(|flows| **flows <= MOST_RECORDED || *origin == Origin::Ring) {
                let group = Group { origin: *origin, family: *family, flows: *flows };
                rows.extend(group.measure(&mut bed, &plan));
            }
        }
    }
    report::write(&rows);
}
