//! The machine alone: what a thread waits for that does nothing but arithmetic, or reads memory besides, as looking up connections does. It
//! keeps the worker's time: a lap is as long as a turn, and a span, which stands for a burst, begins in one lap and ends as far into a later
//! one as a burst does. What interrupts a lap then delays as many spans as it would delay bursts.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant as Wall;

use hdrhistogram::Histogram;
use pollvs::burst::BURST;

use crate::bursts::{Log, Stopwatch};
use crate::rig::LONGEST;
use crate::{Phase, Shared};

/// A turn, and a burst: time in nanoseconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Time {
    pub(crate) turn: u64,
    pub(crate) burst: u64,
}

/// Words of memory that a connection has: an entry and a bucket of the index.
const WORDS: usize = 16;
/// Words that a lap reads, each far from the others.
const READ: usize = 2 * BURST;
/// Spans that are timed to see how long they are, and how often that is done.
const TRIED: u32 = 5_000;
const TRIES: u32 = 10;

/// Arithmetic on one register (Marsaglia's xorshift).
fn spin(rounds: u64) {
    let mut x = black_box(0x9e37_79b9_7f4a_7c15);
    (0..black_box(rounds)).for_each(|_| x = next(x));
    black_box(x);
}

fn next(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^ x << 17
}

/// Reads scattered words of a memory, which may be none.
fn read(memory: &[u64], x: &mut u64) {
    if memory.is_empty() {
        return;
    }
    let mut sum = 0_u64;
    for _ in 0..READ {
        *x = next(*x);
        sum = sum.wrapping_add(memory[*x as usize % memory.len()]);
    }
    black_box(sum);
}

/// Rounds of arithmetic: of a lap before a span ends, and after.
#[derive(Clone, Copy, Default)]
struct Lap {
    before: u64,
    after: u64,
    /// Laps that a span has before the one that it ends in.
    whole: usize,
}

impl Lap {
    /// What a turn and a burst come to when a round takes so many nanoseconds.
    fn of(time: Time, round: f64) -> Self {
        let rounds = |nanos: u64| (nanos as f64 / round) as u64;
        let turn = time.turn.max(1);
        let before = time.burst % turn;
        let whole = usize::try_from(time.burst / turn).unwrap_or(0);
        Self { before: rounds(before), after: rounds(turn - before), whole }
    }

    /// Runs laps for as long as told, timed as those of that phase, and gives each span's beginning to somebody at its end.
    fn run(
        self,
        memory: &[u64],
        stopwatch: &mut Stopwatch,
        phase: usize,
        mut goes_on: impl FnMut() -> bool,
        mut each: impl FnMut(Wall),
    ) {
        let (mut under_way, mut x) = (VecDeque::with_capacity(self.whole + 1), 1);
        while goes_on() {
            under_way.push_back(stopwatch.receive(phase));
            spin(self.before);
            if under_way.len() > self.whole
                && let Some(began) = under_way.pop_front()
            {
                stopwatch.record(phase, began);
                each(began);
            }
            read(memory, &mut x);
            spin(self.after);
        }
    }
}

/// A thread that does nothing else.
pub(crate) struct Alone {
    stopwatch: Stopwatch,
    memory: Vec<u64>,
    /// Without memory and with it.
    laps: [Lap; 2],
}

impl Alone {
    /// With as much memory as so many connections have.
    pub(crate) fn new(log: Log, connections: usize) -> Self {
        // Written, so that every page is there.
        let memory = (0..connections * WORDS).map(|n| n as u64).collect();
        Self { stopwatch: Stopwatch::new(log), memory, laps: [Lap::default(); 2] }
    }

    /// Finds out how much it has to do to take as long.
    pub(crate) fn fit(&mut self, time: Time) {
        let Self { stopwatch, memory, laps } = self;
        for (lap, memory) in laps.iter_mut().zip([&[][..], memory]) {
            let mut round = 1.0;
            for _ in 0..TRIES {
                *lap = Lap::of(time, round);
                let (mut left, mut spans) = (TRIED, Histogram::<u64>::new_with_bounds(1, LONGEST, 3).unwrap());
                let goes_on = || {
                    left -= 1;
                    left > 0
                };
                let took = |began: Wall| u64::try_from(began.elapsed().as_nanos()).unwrap_or(LONGEST);
                lap.run(memory, stopwatch, Phase::Fit as usize, goes_on, |began| spans.saturating_record(took(began)));
                round *= spans.value_at_quantile(0.5) as f64 / time.burst.max(1) as f64;
            }
        }
    }

    /// For as long as that phase lasts.
    pub(crate) fn run(&mut self, phase: usize, shared: &Shared) {
        let Self { stopwatch, memory, laps: [without, with] } = self;
        let (lap, memory) = if phase == Phase::Memory as usize { (with, &memory[..]) } else { (without, &[][..]) };
        lap.run(memory, stopwatch, phase, || shared.phase() == phase, |_| ());
    }
}
