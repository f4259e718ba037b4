//! Fragments of datagrams that the director has to see whole, kept until all are here or time is up (RFC 791, section 3.2; RFC 8200,
//! section 4.5). The frames themselves are kept, in places that were made at the start, and nothing is allocated later. A flood gets no
//! more than its source's share; where all together are too many, the oldest datagram makes room, since the fragments of one that is
//! still to become whole come close together.

mod datagram;
mod line;
mod piece;
#[cfg(test)]
mod tests;

use crate::frame::Frame;
use crate::hash::HashKey;
use crate::stats::{Counters, DropReason, Event};
use crate::time::{self, HZ, Instant, Tick};
use crate::verdict::Origin;

pub use datagram::Datagram;

use line::{Line, NONE, Node, Place};
use piece::{Key, Piece};

/// Fragments that a store keeps at most.
pub const MOST_FRAMES: usize = 1024;
/// Datagrams of which it keeps some at most.
pub const MOST_DATAGRAMS: usize = 512;
/// Fragments of one source at most (IPv6: of a network of 64 bits): what the longest datagram has at the least MTU, and more.
const PER_SOURCE: u16 = 256;
/// Cells of the index, and of the account of sources. A power of two.
const CELLS: usize = 1024;
/// How long the fragments of an IPv4 datagram wait for the others (`ipfrag_time`).
const PATIENCE_V4: u32 = 30 * HZ;
/// The same for IPv6.
const PATIENCE_V6: u32 = 60 * HZ;

/// A datagram of which some fragments are here.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Key,
    line: Line,
    since: Tick,
    /// The next in its cell of the index, or the next that is free.
    next: u32,
    older: u32,
    newer: u32,
}

/// Datagrams of one family in the order in which their first fragment came.
#[derive(Clone, Copy, Debug)]
struct Ages {
    oldest: u32,
    newest: u32,
    patience: u32,
}

/// The store of one worker.
#[derive(Debug)]
pub struct Fragments<F> {
    nodes: Vec<Node<F>>,
    free_node: u32,
    slots: Vec<Slot>,
    free_slot: u32,
    /// First slot of each cell.
    index: Vec<u32>,
    /// IPv4, IPv6.
    ages: [Ages; 2],
    /// Fragments held, by a hash of their source.
    held: Vec<u16>,
    hash: HashKey,
    /// Time runs out at the edges of the kernel's timer wheel.
    edges: bool,
    /// What datagrams are put together in; lent out by [`Fragments::take`].
    spare: Option<Datagram>,
}

impl<F: Frame> Fragments<F> {
    /// An empty store. `seed` keys its hash.
    pub fn new(seed: u64) -> Self {
        let chain = |most: usize, n: usize| if n + 1 < most { index(n + 1) } else { NONE };
        let free =
            |next| Slot { key: Key::default(), line: Line::EMPTY, since: Tick(0), next, older: NONE, newer: NONE };
        let ages = |patience| Ages { oldest: NONE, newest: NONE, patience };
        Self {
            nodes: (0..MOST_FRAMES).map(|n| Node::free(chain(MOST_FRAMES, n))).collect(),
            free_node: 0,
            slots: (0..MOST_DATAGRAMS).map(|n| free(chain(MOST_DATAGRAMS, n))).collect(),
            free_slot: 0,
            index: vec![NONE; CELLS],
            ages: [ages(PATIENCE_V4), ages(PATIENCE_V6)],
            held: vec![0; CELLS],
            hash: HashKey::new(seed),
            edges: false,
            spare: Some(Datagram::new(usize::from(PER_SOURCE))),
        }
    }

    /// Lets time run out as late as on the kernel's timer wheel at 100 Hz, to be compared with recordings.
    #[must_use]
    pub fn with_kernel_timers(mut self) -> Self {
        self.edges = true;
        self
    }

    /// Is nothing held?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ages.iter().all(|ages| ages.oldest == NONE)
    }

    /// Is that a fragment that no others can join: one of IPv6 that ends between units though others follow, which ends its datagram, too,
    /// or a first one without the whole transport header? The kernel leaves it as it is (`nf_ct_frag6_gather`).
    #[must_use]
    pub fn leaves(&mut self, frame: &F, origin: Origin, counters: &mut Counters) -> bool {
        let Some(piece) = Piece::read(frame.bytes(), origin).filter(|piece| piece.key.v6) else { return false };
        let stub = piece.is_stub();
        if !stub
            && piece.is_odd()
            && let Some(id) = self.find(&piece.key)
        {
            self.drop_datagram(id, DropReason::FragmentBad, counters);
        }
        stub || piece.is_odd()
    }

    /// Takes a fragment. Returns its datagram when it is whole now, to be given back once it is judged.
    pub fn take(&mut self, frame: F, origin: Origin, now: Instant, counters: &mut Counters) -> Option<Datagram> {
        let Some(piece) = Piece::read(frame.bytes(), origin).and_then(Piece::in_units) else {
            counters.drop(DropReason::FragmentBad);
            return None;
        };
        let source = self.source(&piece.key);
        if self.held.get(source).is_none_or(|held| *held >= PER_SOURCE) {
            counters.drop(DropReason::FragmentsFull);
            return None;
        }
        self.make_room(counters);
        let id = self.find(&piece.key).or_else(|| self.open(piece.key, now))?;
        self.enter(id, frame, &piece, counters)
    }

    /// Takes back a datagram that [`Fragments::take`] gave away.
    pub fn give_back(&mut self, datagram: Datagram) {
        self.spare = Some(datagram);
    }

    /// Enters a fragment among those of its datagram.
    fn enter(&mut self, id: u32, frame: F, piece: &Piece, counters: &mut Counters) -> Option<Datagram> {
        let slot = self.slots.get_mut(id as usize)?;
        match slot.line.place(&self.nodes, piece) {
            Place::Duplicate => counters.drop(DropReason::FragmentDuplicate),
            Place::Contradiction => {
                counters.drop(DropReason::FragmentBad);
                self.drop_datagram(id, DropReason::FragmentBad, counters);
            }
            Place::Nowhere => {
                counters.drop(DropReason::FragmentBad);
                if slot.line.count == 0 {
                    self.release(id, drop);
                }
            }
            Place::Behind(node, joined) => {
                let at = self.free_node;
                self.free_node = self.nodes.get(at as usize)?.next;
                slot.line.insert(&mut self.nodes, at, frame, piece, (node, joined));
                let whole = slot.line.is_whole();
                let source = self.source(&piece.key);
                if let Some(held) = self.held.get_mut(source) {
                    *held += 1;
                }
                counters.event(Event::FragmentsHeld);
                return if whole { self.put_together(id, counters) } else { None };
            }
        }
        None
    }

    /// Puts a datagram together and lets its fragments go.
    fn put_together(&mut self, id: u32, counters: &mut Counters) -> Option<Datagram> {
        let mut datagram = self.spare.take()?;
        if self.fill(&mut datagram, id).is_some() {
            counters.event(Event::Reassembled);
            self.release(id, drop);
            return Some(datagram);
        }
        self.spare = Some(datagram);
        self.drop_datagram(id, DropReason::FragmentBad, counters);
        None
    }

    fn fill(&self, datagram: &mut Datagram, id: u32) -> Option<()> {
        let Slot { line, key, .. } = self.slots.get(id as usize)?;
        let origin = if key.from_twin { Origin::Twin } else { Origin::Wire };
        let mut at = line.first;
        let first = Piece::read(self.nodes.get(at as usize)?.frame.as_ref()?.bytes(), origin)?;
        while let Some(node) = self.nodes.get(at as usize) {
            let frame = node.frame.as_ref()?.bytes();
            let piece = Piece::read(frame, origin)?.in_units()?;
            if at == line.first {
                datagram.begin(frame, &piece, line.largest());
            }
            if !datagram.add(frame.get(piece.payload..piece.payload + piece.length() as usize)?) {
                return None;
            }
            at = node.next;
        }
        datagram.finish(&first, line.mark()?, line.dont_fragment()).then_some(())
    }

    /// Drops what has waited too long, the newest first as the kernel does. The first fragment of each datagram, if it has come, is put
    /// into `late`: its sender is to be told, unless that is the kernel behind the twin.
    pub fn expire(&mut self, now: Instant, counters: &mut Counters, late: &mut Vec<F>) {
        for family in 0..self.ages.len() {
            let mut at = self.newest_due(family, now.tick());
            while let Some(slot) = self.slots.get(at as usize) {
                let older = slot.older;
                self.time_out(at, counters, late);
                at = older;
            }
        }
    }

    fn time_out(&mut self, id: u32, counters: &mut Counters, late: &mut Vec<F>) {
        let Some(slot) = self.slots.get(id as usize) else { return };
        let mut told = slot.key.from_twin || !slot.line.has_first(&self.nodes);
        self.release(id, |mut frame| {
            counters.drop(DropReason::FragmentTimeout);
            if !std::mem::replace(&mut told, true) {
                cut_to_size(&mut frame);
                late.push(frame);
            }
        });
    }

    /// The newest datagram whose time is up; all that are older are up, too.
    fn newest_due(&self, family: usize, now: Tick) -> u32 {
        let mut due = NONE;
        let Some(ages) = self.ages.get(family) else { return due };
        let mut at = ages.oldest;
        while let Some(slot) = self.slots.get(at as usize) {
            let end = slot.since.plus(ages.patience);
            let end = if self.edges { time::fires(end, ages.patience) } else { end };
            if !end.reached(now) {
                break;
            }
            (due, at) = (at, slot.newer);
        }
        due
    }

    /// Lets the oldest datagram go when there is no room for a fragment or a datagram more.
    fn make_room(&mut self, counters: &mut Counters) {
        if self.free_node != NONE && self.free_slot != NONE {
            return;
        }
        let since = |ages: &Ages| self.slots.get(ages.oldest as usize).map(|slot| (slot.since, ages.oldest));
        let [v4, v6] = self.ages.each_ref().map(since);
        let oldest = match (v4, v6) {
            // The later of the two is the one that lies ahead of the other.
            (Some((a, _)), Some(b)) if b.0.reached(a) && b.0 != a => Some(b),
            (v4, v6) => v4.or(v6),
        };
        if let Some((_, id)) = oldest {
            self.drop_datagram(id, DropReason::FragmentsFull, counters);
        }
    }

    fn drop_datagram(&mut self, id: u32, reason: DropReason, counters: &mut Counters) {
        self.release(id, |_| counters.drop(reason));
    }

    /// Lets a datagram's fragments go, each to `give`, and its places be free again.
    fn release(&mut self, id: u32, mut give: impl FnMut(F)) {
        self.unlink(id);
        let Some(slot) = self.slots.get_mut(id as usize) else { return };
        let (key, line) = (slot.key, slot.line);
        slot.next = self.free_slot;
        self.free_slot = id;
        let source = self.source(&key);
        if let Some(held) = self.held.get_mut(source) {
            *held = held.saturating_sub(u16::try_from(line.count).unwrap_or(u16::MAX));
        }
        let mut at = line.first;
        while let Some(node) = self.nodes.get_mut(at as usize) {
            let next = std::mem::replace(&mut node.next, self.free_node);
            self.free_node = at;
            if let Some(frame) = node.frame.take() {
                give(frame);
            }
            at = next;
        }
    }

    // The index, and the order of ages.

    fn cell(&self, key: &Key) -> usize {
        let Key { src, dst, ident, protocol, from_twin, .. } = *key;
        let word = src ^ dst.rotate_left(64) ^ u128::from(ident) << 77 ^ u128::from(from_twin);
        // Any bits of a hash are as good as others.
        self.hash.client(protocol, word, 0) as usize % CELLS
    }

    /// The account of a source.
    fn source(&self, key: &Key) -> usize {
        let network = if key.v6 { key.src >> 64 } else { key.src };
        self.hash.client(0, network, 1) as usize % CELLS
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let mut at = *self.index.get(self.cell(key))?;
        while let Some(slot) = self.slots.get(at as usize) {
            if slot.key == *key {
                return Some(at);
            }
            at = slot.next;
        }
        None
    }

    /// A place for a datagram of which nothing is here yet.
    fn open(&mut self, key: Key, now: Instant) -> Option<u32> {
        let (id, cell) = (self.free_slot, self.cell(&key));
        let ages = self.ages.get_mut(usize::from(key.v6))?;
        let slot = self.slots.get_mut(id as usize)?;
        self.free_slot = slot.next;
        let head = self.index.get_mut(cell)?;
        *slot = Slot { key, line: Line::EMPTY, since: now.tick(), next: *head, older: ages.newest, newer: NONE };
        *head = id;
        let before = std::mem::replace(&mut ages.newest, id);
        match self.slots.get_mut(before as usize) {
            Some(before) => before.newer = id,
            None => ages.oldest = id,
        }
        Some(id)
    }

    /// Takes a datagram out of index and ages.
    fn unlink(&mut self, id: u32) {
        let Some(&Slot { key, next, older, newer, .. }) = self.slots.get(id as usize) else { return };
        if let Some(ages) = self.ages.get_mut(usize::from(key.v6)) {
            match self.slots.get_mut(older as usize) {
                Some(older) => older.newer = newer,
                None => ages.oldest = newer,
            }
            match self.slots.get_mut(newer as usize) {
                Some(newer) => newer.older = older,
                None => ages.newest = older,
            }
        }
        self.unlink_from_index(id, &key, next);
    }

    fn unlink_from_index(&mut self, id: u32, key: &Key, next: u32) {
        let cell = self.cell(key);
        let Some(head) = self.index.get_mut(cell) else { return };
        if *head == id {
            *head = next;
            return;
        }
        let mut at = *head;
        while let Some(slot) = self.slots.get_mut(at as usize) {
            if slot.next == id {
                slot.next = next;
                return;
            }
            at = slot.next;
        }
    }
}

/// Takes off a fragment what does not count: Ethernet's padding, and what is beyond its last unit.
fn cut_to_size<F: Frame>(frame: &mut F) {
    if let Some(piece) = Piece::read(frame.bytes(), Origin::Wire).and_then(Piece::in_units) {
        frame.resize(piece.payload + piece.length() as usize);
    }
}

/// Is that IP packet a first fragment without the whole transport header?
pub fn is_stub(packet: &[u8]) -> bool {
    Piece::read_packet(packet, Origin::Wire).is_some_and(|piece| piece.is_stub())
}

/// Is there a fragment in the frame?
pub fn is_fragment(frame: &[u8]) -> bool {
    Piece::read(frame, Origin::Wire).is_some_and(|piece| piece.key.v6 || piece.more || piece.start > 0)
}

fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(NONE)
}
