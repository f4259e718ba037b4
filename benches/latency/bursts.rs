//! The times of bursts, phase by phase, as the worker's own thread takes them.

use std::sync::{Arc, Mutex};
use std::time::Instant as Wall;

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};

use crate::Phase;
use crate::rig::LONGEST;

/// Bursts that take longer are asked whether the core was taken away meanwhile, in nanoseconds.
const SUSPICIOUS: u64 = 10_000;

/// The bursts of one phase, or spans of the machine alone: times in nanoseconds.
pub(crate) struct Bursts {
    /// During which no other thread had the core.
    pub(crate) own: Histogram<u64>,
    pub(crate) interrupted: Histogram<u64>,
    /// From one receipt to the next, as long as no other thread had the core: what waits on the wire waits no longer.
    pub(crate) gaps: Histogram<u64>,
}

impl Default for Bursts {
    fn default() -> Self {
        let empty = || Histogram::new_with_bounds(1, LONGEST, 3).unwrap();
        Self { own: empty(), interrupted: empty(), gaps: empty() }
    }
}

/// The bursts of every phase that is watched.
pub(crate) type Log = Arc<[Mutex<Bursts>; Phase::WATCHED.len()]>;

/// What takes the times of bursts, on the thread whose they are.
pub(crate) struct Stopwatch {
    log: Log,
    /// Times that the core was taken away, as last asked, and when that was found to have grown.
    switches: i64,
    switched: Wall,
    /// When something was last received, and in which phase.
    received: (Wall, usize),
}

impl Stopwatch {
    pub(crate) fn new(log: Log) -> Self {
        let now = Wall::now();
        Self { log, switches: 0, switched: now, received: (now, usize::MAX) }
    }

    /// Something is being received in that phase. Returns when.
    pub(crate) fn receive(&mut self, phase: usize) -> Wall {
        let now = Wall::now();
        let (before, last) = std::mem::replace(&mut self.received, (now, phase));
        let (gap, interrupted) = self.took(before, now);
        if last == phase
            && !interrupted
            && let Some(bursts) = self.log.get(phase)
        {
            bursts.lock().unwrap().gaps.saturating_record(gap);
        }
        now
    }

    /// A burst that came then, in that phase, has been sent.
    pub(crate) fn record(&mut self, phase: usize, came: Wall) {
        let (took, interrupted) = self.took(came, Wall::now());
        let Some(bursts) = self.log.get(phase) else { return };
        let mut bursts = bursts.lock().unwrap();
        let histogram = if interrupted { &mut bursts.interrupted } else { &mut bursts.own };
        histogram.saturating_record(took);
    }

    /// Nanoseconds from then to now, and whether another thread had the core in between.
    fn took(&mut self, then: Wall, now: Wall) -> (u64, bool) {
        let took = u64::try_from((now - then).as_nanos()).unwrap_or(LONGEST);
        if took > SUSPICIOUS {
            let before = std::mem::replace(&mut self.switches, switches());
            if self.switches != before {
                self.switched = now;
            }
        }
        // All that were under way then had to wait.
        (took, then <= self.switched)
    }
}

/// How often the thread has lost its core.
fn switches() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    usage.involuntary_context_switches() + usage.voluntary_context_switches()
}
