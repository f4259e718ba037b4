//! Where workers tell each other how many connections each destination has, so that least-connection schedulers and thresholds see all
//! of them: own counts exactly, the others' as of a few milliseconds ago. Each worker writes its own row and nobody else does.

use crate::atomic::{AtomicU64, Ordering};
use crate::destination::DestId;
use crate::director::Director;
use crate::verdict::WorkerId;

/// Counts that a piece of an exchange reads and writes, of all workers together: ten thousand destinations do not hold up a burst.
const PIECE: usize = 256;

/// Active and inactive connections by worker and destination.
#[derive(Debug)]
pub struct LoadBoard {
    /// By worker, then by [`DestId`]: active in the high half, inactive in the low one.
    rows: Vec<Box<[AtomicU64]>>,
    /// By worker: the destination where its next piece begins.
    next: Vec<AtomicU64>,
}

impl LoadBoard {
    /// A board for so many workers and destinations.
    pub fn new(workers: usize, destinations: usize) -> Self {
        let row = || (0..destinations).map(|_| AtomicU64::new(0)).collect();
        Self { rows: (0..workers).map(|_| row()).collect(), next: (0..workers).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Bytes that a board takes.
    pub fn memory_bytes(workers: usize, destinations: usize) -> usize {
        workers * destinations * size_of::<AtomicU64>()
    }

    /// Publishes the worker's counts and reads the others', for a piece of the destinations. Returns true when all have had their turn.
    pub fn exchange(&self, worker: WorkerId, director: &mut Director) -> bool {
        let me = usize::from(worker.0);
        let (Some(own), Some(next)) = (self.rows.get(me), self.next.get(me)) else { return true };
        if self.rows.len() < 2 {
            return true;
        }
        let count = director.destinations().min(u32::try_from(own.len()).unwrap_or(u32::MAX));
        let piece = u32::try_from(PIECE.div_ceil(self.rows.len())).unwrap_or(u32::MAX);
        let first = u32::try_from(next.load(Ordering::Relaxed)).unwrap_or(0);
        let last = count.min(first.saturating_add(piece));
        (first..last).for_each(|id| self.exchange_one(me, DestId(id), director));
        let is_over = last >= count;
        next.store(if is_over { 0 } else { u64::from(last) }, Ordering::Relaxed);
        is_over
    }

    fn exchange_one(&self, me: usize, id: DestId, director: &mut Director) {
        let load = director.load(id);
        let mut others = (0_u32, 0_u32);
        for (worker, row) in self.rows.iter().enumerate() {
            let Some(cell) = row.get(id.index()) else { continue };
            if worker == me {
                cell.store(u64::from(load.active) << 32 | u64::from(load.inactive), Ordering::Relaxed);
            } else {
                let (active, inactive) = halves(cell.load(Ordering::Relaxed));
                others = (others.0.saturating_add(active), others.1.saturating_add(inactive));
            }
        }
        director.set_foreign_load(id, others.0, others.1);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
fn halves(cell: u64) -> (u32, u32) {
    ((cell >> 32) as u32, cell as u32)
}
