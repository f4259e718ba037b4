//! Rings between workers: a frame that reached the wrong worker (no RSS, one-arm NAT, a kernel's hash) goes to its client's owner. One
//! single-producer, single-consumer ring for each ordered pair, so that no worker waits for another, and a look into an empty ring costs a
//! load. Frames of one turn go into a ring together, in their order; a full ring drops, counted.

use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::atomic::{AtomicU64, Ordering};
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
        strays.fold([0; 2], |[all, astray], strays| {
            let [some, some_astray] = strays.read();
            [all + some, astray + some_astray]
        })
    }

    fn publish(&self, [all, astray]: [u64; 2]) {
        self.all.store(all, Ordering::Relaxed);
        self.astray.store(astray, Ordering::Release);
    }

    /// The second is never more than the first.
    fn read(&self) -> [u64; 2] {
        let astray = self.astray.load(Ordering::Acquire);
        [self.all.load(Ordering::Relaxed), astray]
    }
}

/// Parcels that a line takes before it is put into its ring.
const LINE: usize = 32;

/// The way to another worker: parcels of this turn, and the ring that they go into together.
#[derive(Debug)]
struct Way<F> {
    line: Vec<Parcel<F>>,
    ring: Producer<Parcel<F>>,
}

impl<F> Way<F> {
    /// Puts the line into the ring, and drops what it has no room for.
    fn flush(&mut self, flushed: &mut Flushed) {
        let room = self.ring.slots().min(self.line.len());
        let sent = match self.ring.write_chunk_uninit(room) {
            Ok(places) => places.fill_from_iter(self.line.drain(..room)),
            Err(_) => 0,
        };
        flushed.sent += sent as u64;
        flushed.refused += self.line.len() as u64;
        self.line.clear();
    }
}

/// What became of parcels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flushed {
    /// Parcels on their way.
    pub sent: u64,
    /// Parcels dropped, since a ring was full.
    pub refused: u64,
}

/// One worker's ends of its rings.
#[derive(Debug)]
pub struct Handoff<F> {
    /// By receiving worker; none to itself.
    to: Vec<Option<Way<F>>>,
    /// By sending worker, itself left out.
    from: Vec<Consumer<Parcel<F>>>,
    /// Where the next [`Handoff::receive`] begins, so that no sender is preferred.
    turn: usize,
    /// Is anything in a line?
    waiting: bool,
    /// Since the last [`Handoff::flush`].
    flushed: Flushed,
    /// By port, as counted and as published.
    counted: Vec<[u64; 2]>,
    strays: Arc<[Strays]>,
}

impl<F> Handoff<F> {
    /// The ends of `workers` workers, with rings of `depth` frames.
    pub fn mesh(workers: usize, depth: usize) -> Vec<Self> {
        let end = |_| Self {
            to: Vec::with_capacity(workers),
            from: Vec::with_capacity(workers),
            turn: 0,
            waiting: false,
            flushed: Flushed::default(),
            counted: Vec::new(),
            strays: Arc::new([]),
        };
        let mut ends: Vec<Self> = (0..workers).map(end).collect();
        for from in 0..workers {
            for to in 0..workers {
                let way = (from != to).then(|| {
                    let (ring, consumer) = RingBuffer::new(depth.max(1));
                    ends[to].from.push(consumer);
                    Way { line: Vec::with_capacity(LINE), ring }
                });
                ends[from].to.push(way);
            }
        }
        ends
    }

    /// Counts in that place, by port, what comes to this worker and is another's.
    #[must_use]
    pub fn counting(self, strays: Arc<[Strays]>) -> Self {
        Self { counted: vec![[0; 2]; strays.len()], strays, ..self }
    }

    /// Counts a frame off the wire that is another worker's; `astray` if the port's device was to bring it there. Published by
    /// [`Handoff::flush`].
    pub fn count(&mut self, port: PortId, astray: bool) {
        if let Some([all, to_be_steered]) = self.counted.get_mut(usize::from(port.0)) {
            *all += 1;
            *to_be_steered += u64::from(astray);
            self.waiting = true;
        }
    }

    /// Puts a frame in line for its owner; it leaves when the line is full or at [`Handoff::flush`].
    ///
    /// # Errors
    /// The parcel, when there is no such other worker.
    pub fn send(&mut self, owner: WorkerId, parcel: Parcel<F>) -> Result<(), Parcel<F>> {
        let Some(Some(way)) = self.to.get_mut(usize::from(owner.0)) else { return Err(parcel) };
        way.line.push(parcel);
        if way.line.len() == LINE {
            way.flush(&mut self.flushed);
        }
        self.waiting = true;
        Ok(())
    }

    /// Sends what is in line, and publishes what was counted. What has no room in its ring is dropped; the caller counts.
    #[inline]
    pub fn flush(&mut self) -> Flushed {
        if !self.waiting {
            return Flushed::default();
        }
        self.waiting = false;
        let lines = self.to.iter_mut().flatten().filter(|way| !way.line.is_empty());
        lines.for_each(|way| way.flush(&mut self.flushed));
        self.strays.iter().zip(&self.counted).for_each(|(strays, counted)| strays.publish(*counted));
        std::mem::take(&mut self.flushed)
    }

    /// Takes the next frame that another worker sent.
    #[inline]
    pub fn receive(&mut self) -> Option<Parcel<F>> {
        for _ in 0..self.from.len() {
            self.turn = if self.turn + 1 < self.from.len() { self.turn + 1 } else { 0 };
            if let Some(parcel) = self.from.get_mut(self.turn).and_then(|ring| ring.pop().ok()) {
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
        assert!(ends[2].receive().is_none(), "not before the end of the turn");
        assert_eq!(ends[0].flush(), Flushed { sent: 5, refused: 0 });
        assert_eq!(ends[0].flush(), Flushed::default());
        assert!(ends[1].receive().is_none());
        let got: Vec<u32> = std::iter::from_fn(|| ends[2].receive()).map(|p| p.frame).collect();
        assert_eq!(got, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_full_ring_takes_no_more_and_loses_nothing_of_what_it_took() {
        let mut ends = Handoff::mesh(2, 40);
        (0..100).for_each(|n| ends[0].send(WorkerId(1), parcel(n)).unwrap());
        assert_eq!(ends[0].flush(), Flushed { sent: 40, refused: 60 });
        let got = |ends: &mut Vec<Handoff<u32>>| {
            std::iter::from_fn(|| ends[1].receive()).map(|p| p.frame).collect::<Vec<_>>()
        };
        assert_eq!(got(&mut ends), (0..40).collect::<Vec<_>>());
        ends[0].send(WorkerId(1), parcel(7)).unwrap();
        assert_eq!((ends[0].flush().sent, got(&mut ends)), (1, vec![7]));
    }

    #[test]
    fn there_is_no_way_to_oneself_or_to_nobody() {
        let mut ends = Handoff::mesh(2, 1);
        assert_eq!(ends[0].send(WorkerId(0), parcel(2)).unwrap_err().frame, 2);
        assert_eq!(ends[0].send(WorkerId(7), parcel(3)).unwrap_err().frame, 3);
    }

    #[test]
    fn frames_in_line_and_in_rings_are_freed_with_the_workers() {
        let frame = Arc::new(());
        let mut ends = Handoff::mesh(2, 64);
        for _ in 0..LINE + 3 {
            let parcel = Parcel { frame: Arc::clone(&frame), port: PortId(0), origin: Origin::Wire };
            ends[0].send(WorkerId(1), parcel).unwrap();
        }
        drop(ends);
        assert_eq!(Arc::strong_count(&frame), 1);
    }

    #[test]
    fn what_comes_to_the_wrong_worker_is_counted_by_port() {
        let table = Strays::table(2, 2);
        let mut ends: Vec<_> =
            Handoff::<u32>::mesh(2, 1).into_iter().zip(&table).map(|(end, s)| end.counting(s.clone())).collect();
        for (worker, port, astray) in [(0, 0, true), (0, 0, false), (1, 0, true), (1, 1, false), (1, 9, true)] {
            ends[worker].count(PortId(port), astray);
        }
        ends.iter_mut().for_each(|end| assert_eq!(end.flush(), Flushed::default()));
        assert_eq!([0, 1, 2].map(|port| Strays::of_port(&table, port)), [[3, 2], [1, 0], [0, 0]]);
    }

    #[test]
    fn senders_are_served_in_turn() {
        let mut ends = Handoff::mesh(3, 8);
        for n in 0..4 {
            ends[1].send(WorkerId(0), parcel(10 + n)).unwrap();
            ends[2].send(WorkerId(0), parcel(20 + n)).unwrap();
        }
        assert!(ends.iter_mut().map(Handoff::flush).map(|f| f.sent).eq([0, 4, 4]));
        let first: Vec<u32> = std::iter::from_fn(|| ends[0].receive()).take(4).map(|p| p.frame / 10).collect();
        assert_eq!(first, [2, 1, 2, 1]);
    }
}
