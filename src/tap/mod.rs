//! Packets shown to people while they are forwarded: a worker that has a tap copies those that fit its filter into buffers that control
//! has made, and passes them on by a ring. When control does not keep up, packets are not shown, and counted; forwarding waits for
//! nothing. Without a tap a worker asks once a burst whether there is one.

pub mod filter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

pub use filter::{BadFilter, Filter};

use crate::director::Sight;
use crate::time::Instant;
use crate::verdict::{Origin, PortId, Verdict};

/// Bytes of the buffers of one worker, about.
const MEMORY: usize = 8 << 20;
/// Fewest and most buffers.
const FEWEST: usize = 64;
const MOST: usize = 4096;
/// Longest frame that is kept whole.
pub const LONGEST: usize = 9216;

/// What is shown of packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// What a port receives and what it sends.
    Frames,
    /// What becomes of a packet, and why.
    Fates,
}

/// Where a frame was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Way {
    /// Received by the port.
    #[default]
    In,
    /// Sent by the port.
    Out,
}

/// A frame, as much of it as was wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Copied {
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// Its length.
    pub length: usize,
}

impl Copied {
    fn with_room(room: usize) -> Self {
        Self { bytes: Vec::with_capacity(room), length: 0 }
    }

    fn fill(&mut self, frame: &[u8]) {
        let room = self.bytes.capacity();
        self.bytes.clear();
        self.bytes.extend_from_slice(frame.get(..room).unwrap_or(frame));
        self.length = frame.len();
    }
}

/// One packet that was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shot {
    /// When, by the worker's clock.
    pub at: Instant,
    /// Which way.
    pub way: Way,
    /// The port.
    pub port: PortId,
    /// From the wire or from the kernel.
    pub origin: Origin,
    /// The frame as it was seen.
    pub frame: Copied,
    /// Of a packet whose fate is shown: what the director saw in it, what it decided, and the frame after that.
    pub fate: Option<(Sight, Verdict)>,
    /// See there.
    pub after: Copied,
}

/// The ring from one worker to control, and the buffers' way back.
#[derive(Debug)]
pub struct Line {
    empty: ArrayQueue<Box<Shot>>,
    full: ArrayQueue<Box<Shot>>,
    lost: AtomicU64,
}

impl Line {
    /// Buffers for frames of which so many bytes are wanted.
    pub fn new(snaplen: usize) -> Arc<Self> {
        let room = snaplen.clamp(1, LONGEST);
        let count = (MEMORY / room).clamp(FEWEST, MOST);
        let line = Self { empty: ArrayQueue::new(count), full: ArrayQueue::new(count), lost: AtomicU64::new(0) };
        for _ in 0..count {
            let (frame, after) = (Copied::with_room(room), Copied::with_room(room));
            drop(line.empty.push(Box::new(Shot { frame, after, ..Shot::default() })));
        }
        Arc::new(line)
    }

    /// Gives the next packet to `show`, if there is one. Returns false if not.
    pub fn next(&self, show: impl FnOnce(&Shot)) -> bool {
        let Some(shot) = self.full.pop() else { return false };
        show(&shot);
        drop(self.empty.push(shot));
        true
    }

    /// Packets that were not shown, for want of a buffer.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// A worker's end.
#[derive(Clone, Debug)]
pub struct Tap {
    filter: Arc<Filter>,
    subject: Subject,
    line: Arc<Line>,
}

impl Tap {
    /// A tap on what fits the filter.
    pub fn new(filter: Arc<Filter>, subject: Subject, line: Arc<Line>) -> Self {
        Self { filter, subject, line }
    }

    /// What it shows.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Is the packet one to be shown?
    pub fn takes(&self, frame: &[u8]) -> bool {
        self.filter.takes(frame)
    }

    /// Copies a frame that goes by, if it is to be shown.
    pub fn see(&self, frame: &[u8], way: Way, port: PortId, origin: Origin, at: Instant) {
        if self.subject == Subject::Frames
            && self.takes(frame)
            && let Some(shot) = self.begin(frame, way, port, origin, at)
        {
            self.show(shot);
        }
    }

    /// A buffer with this frame in it, to be shown once its fate is known. `None`, counted, when there is none.
    pub fn begin(&self, frame: &[u8], way: Way, port: PortId, origin: Origin, at: Instant) -> Option<Box<Shot>> {
        let Some(mut shot) = self.line.empty.pop() else {
            self.line.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        shot.frame.fill(frame);
        (shot.at, shot.way, shot.port, shot.origin, shot.fate) = (at, way, port, origin, None);
        Some(shot)
    }

    /// Shows it with what became of it.
    pub fn end(&self, mut shot: Box<Shot>, sight: Sight, verdict: Verdict, after: &[u8]) {
        shot.fate = Some((sight, verdict));
        shot.after.fill(after);
        self.show(shot);
    }

    fn show(&self, shot: Box<Shot>) {
        // There are as many places as buffers.
        drop(self.line.full.push(shot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sample::{at, tcp};

    #[test]
    fn what_fits_is_copied_as_far_as_wanted_and_what_finds_no_buffer_is_counted() {
        let (line, frame) = (Line::new(60), tcp(at("203.0.113.5:1000"), at("192.0.2.10:80")).data([7; 100]).frame());
        let tap = Tap::new(Arc::new("port 80".parse().unwrap()), Subject::Frames, line.clone());
        let other = tcp(at("203.0.113.5:1000"), at("192.0.2.10:81")).frame();
        tap.see(&other, Way::In, PortId(0), Origin::Wire, Instant(1));
        for at in 0..MOST as u64 + 3 {
            tap.see(&frame, Way::Out, PortId(1), Origin::Twin, Instant(at));
        }
        assert_eq!(line.lost(), 3);
        let mut seen = 0;
        while line.next(|shot| {
            assert_eq!((shot.at, shot.way, shot.port, shot.origin), (Instant(seen), Way::Out, PortId(1), Origin::Twin));
            assert_eq!((&shot.frame.bytes[..], shot.frame.length), (&frame[..60], frame.len()));
        }) {
            seen += 1;
        }
        assert_eq!(seen, MOST as u64);
        tap.see(&frame, Way::In, PortId(0), Origin::Wire, Instant(1));
        assert!(line.next(|shot| assert_eq!(shot.way, Way::In)) && !line.next(|_| {}), "the buffers come back");
    }
}
