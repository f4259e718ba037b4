//! The fragments of one datagram that are held, in the order of their offsets, and whether they are all. The rules are the kernel's
//! (`inet_fragment.c`): what is there already is dropped, what overlaps in part ends the datagram (RFC 5722; Linux has it for IPv4 too).
//! What contradicts the length ends a datagram of IPv4, while IPv6 only drops it (`ip_frag_queue`, `nf_ct_frag6_queue`).

use crate::fragments::piece::Piece;

/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// A fragment held.
#[derive(Debug)]
pub(super) struct Node<F> {
    pub(super) frame: Option<F>,
    /// Where in the datagram's payload it begins and ends, in bytes.
    start: u32,
    end: u32,
    /// It continues the node before, which came before it: the kernel takes both for one run.
    joined: bool,
    /// The next in the line, or the next that is free.
    pub(super) next: u32,
}

impl<F> Node<F> {
    /// A node that is free.
    pub(super) fn free(next: u32) -> Self {
        Self { frame: None, start: 0, end: 0, joined: false, next }
    }
}

/// A datagram of which some fragments are here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) first: u32,
    last: u32,
    /// How many they are.
    pub(super) count: u32,
    /// How long the datagram's payload is, as far as is known, in bytes.
    length: u32,
    /// The last fragment came, so that the length is final.
    ended: bool,
    /// Bytes that are here.
    here: u32,
    largest: u16,
    /// The largest with DF.
    largest_fixed: u16,
    /// The congestion marks that were seen, a bit each.
    marks: u8,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Behind that node ([`NONE`]: before all), and whether it continues it.
    Behind(u32, bool),
    /// It is here already.
    Duplicate,
    /// It contradicts the others, and ends the datagram.
    Contradiction,
    /// It is nowhere in the datagram, which goes on without it.
    Nowhere,
}

impl Line {
    /// Nothing yet.
    pub(super) const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
        count: 0,
        length: 0,
        ended: false,
        here: 0,
        largest: 0,
        largest_fixed: 0,
        marks: 0,
    };

    /// Where the fragment belongs. What it says of the datagram's length is taken note of.
    pub(super) fn place<F>(&mut self, nodes: &[Node<F>], piece: &Piece) -> Place {
        let ends_it = !piece.more;
        let beyond = piece.end > self.length;
        let contradicts = if ends_it {
            piece.end < self.length || self.ended && piece.end != self.length
        } else {
            beyond && self.ended
        };
        if piece.key.v6 && piece.end > u16::MAX.into() {
            return Place::Nowhere;
        }
        let ending = if piece.key.v6 { Place::Nowhere } else { Place::Contradiction };
        if contradicts {
            return ending;
        }
        self.ended |= ends_it;
        self.length = self.length.max(piece.end);
        if piece.start == piece.end { ending } else { self.gap(nodes, piece) }
    }

    /// The gap between two runs that the fragment belongs into.
    fn gap<F>(&self, nodes: &[Node<F>], piece: &Piece) -> Place {
        if let Some(last) = node(nodes, self.last)
            && piece.start >= last.end
        {
            return Place::Behind(self.last, piece.start == last.end);
        }
        let (mut before, mut at) = (NONE, self.first);
        while let Some(begin) = node(nodes, at) {
            let (last_of_run, run_end) = self.run(nodes, at);
            if piece.end <= begin.start {
                break;
            }
            if piece.start >= begin.start && piece.end <= run_end {
                return Place::Duplicate;
            }
            if piece.start < run_end {
                return Place::Contradiction;
            }
            (before, at) = (last_of_run, node(nodes, last_of_run).map_or(NONE, |n| n.next));
        }
        Place::Behind(before, false)
    }

    /// The last node of the run that begins at `at`, and where it ends.
    fn run<F>(&self, nodes: &[Node<F>], at: u32) -> (u32, u32) {
        let (mut last, mut end) = (at, node(nodes, at).map_or(0, |n| n.end));
        let next = |of: u32| node(nodes, of).map_or(NONE, |n| n.next);
        while let Some(follower) = node(nodes, next(last)).filter(|n| n.joined) {
            (last, end) = (next(last), follower.end);
        }
        (last, end)
    }

    /// Puts a fragment into node `at`, which is free, and that into its place.
    pub(super) fn insert<F>(&mut self, nodes: &mut [Node<F>], at: u32, frame: F, piece: &Piece, behind: (u32, bool)) {
        let (before, joined) = behind;
        let next = node(nodes, before).map_or(self.first, |n| n.next);
        if let Some(slot) = nodes.get_mut(at as usize) {
            *slot = Node { frame: Some(frame), start: piece.start, end: piece.end, joined, next };
        }
        match nodes.get_mut(before as usize) {
            Some(before) => before.next = at,
            None => self.first = at,
        }
        if next == NONE {
            self.last = at;
        }
        self.note(piece);
    }

    fn note(&mut self, piece: &Piece) {
        self.count += 1;
        self.here += piece.length();
        self.largest = self.largest.max(piece.size);
        if piece.dont_fragment {
            self.largest_fixed = self.largest_fixed.max(piece.size);
        }
        self.marks |= 1 << piece.ecn;
    }

    /// Are all fragments here?
    pub(super) fn is_whole(&self) -> bool {
        self.ended && self.here == self.length
    }

    /// Is the first fragment here?
    pub(super) fn has_first<F>(&self, nodes: &[Node<F>]) -> bool {
        node(nodes, self.first).is_some_and(|n| n.start == 0)
    }

    /// Length of the largest fragment.
    pub(super) fn largest(&self) -> u16 {
        self.largest
    }

    /// Is the largest fragment one that must not be fragmented? Then neither must the datagram be.
    pub(super) fn dont_fragment(&self) -> bool {
        self.largest_fixed == self.largest
    }

    /// What to add to the congestion mark of the first fragment (RFC 3168, section 5.3); `None` when the marks contradict each other.
    pub(super) fn mark(&self) -> Option<u8> {
        const NOT_CAPABLE: u8 = 1 << 0;
        const EXPERIENCED: u8 = 1 << 3;
        match self.marks {
            NOT_CAPABLE => Some(0),
            marks if marks & NOT_CAPABLE != 0 => None,
            marks if marks & EXPERIENCED != 0 => Some(3),
            _ => Some(0),
        }
    }
}

fn node<F>(nodes: &[Node<F>], at: u32) -> Option<&Node<F>> {
    nodes.get(at as usize)
}
