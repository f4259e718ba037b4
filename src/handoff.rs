//! Rings between workers: a frame that reached the wrong worker (no RSS, one-arm NAT, a kernel's hash) goes to its client's owner. One
//! single-producer ring for each ordered pair, so that no worker waits for another; a full ring drops, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;

use crate::verdict::{Origin, PortId, WorkerId};

/// A frame on its way between two workers.
#[derive(Debug)]
pub struct Parcel<F> {
    /// The frame.
    pub frame: F,
    /// The port that it came in by.
    pub port: PortId,
    /// Wire or twin.
    pub origin: Origin,
}

/// What came to one worker by one port and was another worker's. That worker writes it, control reads it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Strays {
    all: AtomicU64,
    astray: AtomicU64,
}

impl Strays {
    /// For so many workers, each with so many ports.
    pub fn table(workers: usize, ports: usize) -> Vec<Arc<[Self]>> {
        (0..workers).map(|_| (0..ports).map(|_| Self::default()).collect()).collect()
    }

    /// Of one port, all workers together: frames off the wire that were another worker's, and those among them that the port's device
    /// was to bring there by itself.
    pub fn of_port(table: &[Arc<[Self]>], port: usize) -> [u64; 2] {
        let strays = table.iter().filter_map(|ports| ports.get(port));
        strays.fold([0; 2], |[all, astray], s| [all + s.all.load(Relaxed), astray + s.astray.load(Relaxed)])
    }

    fn count(&self, astray: bool) {
        // Nobody else writes.
        self.all.store(self.all.load(Relaxed) + 1, Relaxed);
        if astray {
            self.astray.store(self.astray.load(Relaxed) + 1, Relaxed);
        }
    }
}

type Ring<F> = Arc<ArrayQueue<Parcel<F>>>;

/// One worker's ends of its rings.
#[derive(Debug)]
pub struct Handoff<F> {
    /// By receiving worker.
    to: Vec<Ring<F>>,
    /// By sending worker.
    from: Vec<Ring<F>>,
    /// Where the next [`Handoff::receive`] begins, so that no sender is preferred.
    turn: usize,
    /// By port.
    strays: Arc<[Strays]>,
}

impl<F> Handoff<F> {
    /// The ends of `workers` workers, with rings of `depth` frames.
    pub fn mesh(workers: usize, depth: usize) -> Vec<Self> {
        let ring = || Arc::new(ArrayQueue::new(depth.max(1)));
        let rings: Vec<Vec<Ring<F>>> = (0..workers).map(|_| (0..workers).map(|_| ring()).collect()).collect();
        let from = |me: usize| rings.iter().map(|row| Arc::clone(&row[me])).collect();
        (0..workers).map(|me| Self { to: rings[me].clone(), from: from(me), turn: 0, strays: Arc::default() }).collect()
    }

    /// Counts in that place, by port, what comes to this worker and is another's.
    #[must_use]
    pub fn counting(self, strays: Arc<[Strays]>) -> Self {
        Self { strays, ..self }
    }

    /// Counts a frame off the wire that is another worker's; `astray` if the port's device was to bring it there.
    pub fn count(&self, port: PortId, astray: bool) {
        if let Some(strays) = self.strays.get(usize::from(port.0)) {
            strays.count(astray);
        }
    }

    /// Sends a frame to its owner.
    ///
    /// # Errors
    /// The parcel, when the ring is full or there is no such worker.
    pub fn send(&mut self, owner: WorkerId, parcel: Parcel<F>) -> Result<(), Parcel<F>> {
        match self.to.get(usize::from(owner.0)) {
            Some(ring) => ring.push(parcel),
            None => Err(parcel),
        }
    }

    /// Takes the next frame that another worker sent.
    #[inline]
    pub fn receive(&mut self) -> Option<Parcel<F>> {
        for _ in 0..self.from.len() {
            self.turn = if self.turn + 1 < self.from.len() { self.turn + 1 } else { 0 };
            if let Some(parcel) = self.from.get(self.turn).and_then(|ring| ring.pop()) {
                return Some(parcel);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(frame: u32) -> Parcel<u32> {
        Parcel { frame, port: PortId(0), origin: Origin::Wire }
    }

    #[test]
    fn frames_arrive_in_order_at_their_owner_only() {
        let mut ends = Handoff::mesh(3, 8);
        for n in 0..5 {
            ends[0].send(WorkerId(2), parcel(n)).unwrap();
        }
        assert!(ends[1].receive().is_none());
        let got: Vec<u32> = std::iter::from_fn(|| ends[2].receive()).map(|p| p.frame).collect();
        assert_eq!(got, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_full_ring_gives_the_frame_back() {
        let mut ends = Handoff::mesh(2, 1);
        ends[0].send(WorkerId(1), parcel(1)).unwrap();
        assert_eq!(ends[0].send(WorkerId(1), parcel(2)).unwrap_err().frame, 2);
        assert_eq!(ends[0].send(WorkerId(7), parcel(3)).unwrap_err().frame, 3);
    }

    #[test]
    fn what_comes_to_the_wrong_worker_is_counted_by_port() {
        let table = Strays::table(2, 2);
        let ends: Vec<_> =
            Handoff::<u32>::mesh(2, 1).into_iter().zip(&table).map(|(end, s)| end.counting(s.clone())).collect();
        for (worker, port, astray) in [(0, 0, true), (0, 0, false), (1, 0, true), (1, 1, false), (1, 9, true)] {
            ends[worker].count(PortId(port), astray);
        }
        assert_eq!([0, 1, 2].map(|port| Strays::of_port(&table, port)), [[3, 2], [1, 0], [0, 0]]);
    }

    #[test]
    fn senders_are_served_in_turn() {
        let mut ends = Handoff::mesh(3, 8);
        for n in 0..4 {
            ends[1].send(WorkerId(0), parcel(10 + n)).unwrap();
            ends[2].send(WorkerId(0), parcel(20 + n)).unwrap();
        }
        let first: Vec<u32> = std::iter::from_fn(|| ends[0].receive()).take(4).map(|p| p.frame / 10).collect();
        assert_eq!(first, [1, 2, 1, 2]);
    }
}
