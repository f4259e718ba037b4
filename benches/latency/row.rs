//! What comes of the watching: a line for each phase, and how much of it is the machine's.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::bursts::{Bursts, Log};
use crate::interrupts::Interrupts;
use crate::rig::LONGEST;
use crate::{Done, Phase};

/// A burst is late that takes so many times the median.
const LATE: u64 = 3;
/// No burst is to wait longer for what control does, in nanoseconds.
const LONG: u64 = 200_000;

/// One line of the result: times of a burst in nanoseconds.
#[derive(Serialize)]
pub(crate) struct Row {
    case: &'static str,
    scheduler: &'static str,
    connections: u32,
    /// Changes, listings, connections that expired, SYNs, slices of the machine alone, as the case may be.
    done: u64,
    bursts: u64,
    interrupted: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
    wall_max: u64,
    /// From one receipt to the next.
    gap_p50: u64,
    gap_p999: u64,
    gap_max: u64,
    /// Seconds that it took, where it ends by itself.
    seconds: f64,
    /// Packets of established connections that were not sent.
    lost: u64,
    /// Seconds that it was watched for, and seconds of these in which no other thread had the core: what follows is a second of the latter.
    watched: f64,
    ran: f64,
    /// Uninterrupted bursts that took more than three times the median; spans of the machine with memory that took as long; the difference.
    late: f64,
    late_machine: f64,
    late_net: f64,
    /// The difference as a part of a thousand bursts: below one, p99.9 would be at most three times the median but for the machine.
    late_per_mille: f64,
    /// Bursts that took more than 200 us, and spans of the machine with memory.
    long: f64,
    long_machine: f64,
    /// The same of gaps between receipts: late where they are longer than three times the median burst.
    gap_late: f64,
    gap_late_machine: f64,
    gap_long: f64,
    gap_long_machine: f64,
    /// Interrupts of the worker's core while it was watched.
    interrupts: Interrupts,
}

/// Of so many there were so many longer than that.
fn longer(times: &Histogram<u64>, than: u64) -> f64 {
    times.count_between(than + 1, LONGEST) as f64
}

/// Seconds in which no other thread had the core.
fn ran(bursts: &Bursts) -> f64 {
    bursts.gaps.mean() * bursts.gaps.len() as f64 / 1e9
}

/// The machine that a phase is held against: packets are looked up in memory.
fn yardstick(phase: Phase) -> Phase {
    if phase == Phase::Alone { phase } else { Phase::Memory }
}

/// A line for each.
pub(crate) fn rows(all: &[Done], log: &Log, scheduler: &'static str, connections: u32, lost: u64) -> Vec<Row> {
    let row = |done: &Done| {
        let rate = |phase: Phase, than| {
            let bursts = log[phase as usize].lock().unwrap();
            longer(&bursts.own, than) / ran(&bursts)
        };
        let gaps = |phase: Phase, than| {
            let bursts = log[phase as usize].lock().unwrap();
            longer(&bursts.gaps, than) / ran(&bursts)
        };
        let mut row = times(done, &log[done.phase as usize].lock().unwrap());
        (row.scheduler, row.connections, row.lost) = (scheduler, connections, lost);
        let limit = LATE * row.p50;
        let machine = yardstick(done.phase);
        (row.late, row.late_machine) = (rate(done.phase, limit), rate(machine, limit));
        (row.long, row.long_machine) = (rate(done.phase, LONG), rate(machine, LONG));
        (row.gap_late, row.gap_late_machine) = (gaps(done.phase, limit), gaps(machine, limit));
        (row.gap_long, row.gap_long_machine) = (gaps(done.phase, LONG), gaps(machine, LONG));
        row.late_net = row.late - row.late_machine;
        row.late_per_mille = 1e3 * row.late_net * row.ran / (row.bursts - row.interrupted).max(1) as f64;
        row
    };
    all.iter().map(row).collect()
}

/// What can be said of a phase without another.
fn times(done: &Done, bursts: &Bursts) -> Row {
    let Bursts { own, interrupted, gaps } = bursts;
    let at = |quantile| if own.is_empty() { 0 } else { own.value_at_quantile(quantile) };
    Row {
        case: done.phase.name(),
        scheduler: "",
        connections: 0,
        done: done.done,
        bursts: own.len() + interrupted.len(),
        interrupted: interrupted.len(),
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        max: own.max(),
        wall_max: own.max().max(interrupted.max()),
        gap_p50: gaps.value_at_quantile(0.5),
        gap_p999: gaps.value_at_quantile(0.999),
        gap_max: gaps.max(),
        seconds: done.seconds,
        lost: 0,
        watched: done.watched,
        ran: ran(bursts),
        late: 0.0,
        late_machine: 0.0,
        late_net: 0.0,
        late_per_mille: 0.0,
        long: 0.0,
        long_machine: 0.0,
        gap_late: 0.0,
        gap_late_machine: 0.0,
        gap_long: 0.0,
        gap_long_machine: 0.0,
        interrupts: done.interrupts,
    }
}

/// Prints them, and then what the machine has of each.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "{:<19} {:<4} {:>10} {:>9} {:>7} {:>7} {:>7} {:>7} {:>8} {:>9} {:>7} {:>9} {:>8} {:>8}",
        "nanoseconds",
        "",
        "done",
        "bursts",
        "interr.",
        "p50",
        "p99",
        "p99.9",
        "max",
        "wall max",
        "gap p50",
        "gap p99.9",
        "gap max",
        "seconds"
    );
    for row in rows {
        let Row { case, scheduler, done, bursts, interrupted, p50, p99, p999, max, wall_max, .. } = row;
        let Row { gap_p50, gap_p999, gap_max, seconds, .. } = row;
        println!(
            "{case:<19} {scheduler:<4} {done:>10} {bursts:>9} {interrupted:>7} {p50:>7} {p99:>7} {p999:>7} {max:>8} {wall_max:>9} \
             {gap_p50:>7} {gap_p999:>9} {gap_max:>8} {seconds:>8.3}"
        );
    }
    println!();
    for (title, more) in [("late and long bursts", false), ("late and long gaps; interrupts", true)] {
        println!("{title}, a second");
        rows.iter().for_each(|row| if more { print_gaps(row) } else { print_late(row) });
    }
}

fn print_late(row: &Row) {
    let Row { case, scheduler, late, late_machine, late_net, late_per_mille, long, long_machine, .. } = row;
    println!(
        "{case:<19} {scheduler:<4} late {late:>7.1}, machine {late_machine:>7.1}, net {late_net:>7.1}: {late_per_mille:>6.3} of a thousand; \
         over 200 us {long:>5.1}, machine {long_machine:>5.1}"
    );
}

fn print_gaps(row: &Row) {
    let Row { case, scheduler, gap_late, gap_late_machine, gap_long, gap_long_machine, interrupts, watched, .. } = row;
    let each = |count: u64| count as f64 / watched;
    let Interrupts { ticks, shootdowns, calls, wakings, others } = interrupts;
    println!(
        "{case:<19} {scheduler:<4} late {gap_late:>7.1}, machine {gap_late_machine:>7.1}; over 200 us {gap_long:>5.1}, machine \
         {gap_long_machine:>5.1}; ticks {:.0}, shootdowns {:.1}, calls {:.1}, wakings {:.1}, others {:.1}",
        each(*ticks),
        each(*shootdowns),
        each(*calls),
        each(*wakings),
        each(*others)
    );
}
