//! Carrying verdicts out: where frames go once they are judged.

use std::net::IpAddr;

use crate::forward::cut::Pieces;
use crate::frame::Frame;
use crate::handoff::Parcel;
use crate::hold::Hold;
use crate::io::PacketIo;
use crate::stats::{DropReason, Event};
use crate::time::Instant;
use crate::verdict::{Origin, PortId, Verdict, WorkerId};
use crate::worker::{Parts, TwinLink};

/// A worker's ways out.
pub(super) struct Exits<'a, I: PacketIo, T> {
    pub(super) parts: &'a mut Parts<I, T>,
    pub(super) hold: &'a mut Hold<I::Frame>,
    pub(super) now: Instant,
}

impl<I: PacketIo, T: TwinLink<I::Frame>> Exits<'_, I, T> {
    /// Carries out the verdict on a frame that came in by `port`.
    #[inline]
    pub(super) fn dispatch(&mut self, frame: I::Frame, verdict: Verdict, port: PortId, origin: Origin) {
        match verdict {
            Verdict::Transmit(out) => self.transmit(out, frame),
            Verdict::Pass(twin) => self.pass(frame, twin),
            Verdict::Handoff(owner) => self.hand_off(frame, owner, port, origin),
            Verdict::Hold(out, neighbour) => self.hold(frame, out, neighbour),
            Verdict::Fragment(out, neighbour, size) => self.fragment(&frame, out, neighbour, size),
            Verdict::Drop(_) => drop(frame),
            Verdict::Pending => self.count(DropReason::Aborted),
        }
    }

    fn count(&mut self, reason: DropReason) {
        self.parts.director.counters_mut().drop(reason);
    }

    #[inline]
    fn transmit(&mut self, port: PortId, frame: I::Frame) {
        self.parts.director.counters_mut().event(Event::Transmitted);
        self.parts.io.transmit(port, frame);
    }

    fn pass(&mut self, frame: I::Frame, port: PortId) {
        let passed = self.parts.twin.pass(port, frame).is_ok();
        let counters = self.parts.director.counters_mut();
        if passed { counters.event(Event::Passed) } else { counters.drop(DropReason::TwinFull) }
    }

    fn hand_off(&mut self, frame: I::Frame, owner: WorkerId, port: PortId, origin: Origin) {
        let sent = self.parts.handoff.send(owner, Parcel { frame, port, origin }).is_ok();
        let counters = self.parts.director.counters_mut();
        if sent { counters.event(Event::HandedOff) } else { counters.drop(DropReason::HandoffFull) }
    }

    fn hold(&mut self, frame: I::Frame, port: PortId, neighbour: IpAddr) {
        let outcome = self.hold.hold(frame, port, neighbour, self.now);
        let counters = self.parts.director.counters_mut();
        if outcome.held {
            counters.event(Event::Held)
        } else {
            counters.drop(DropReason::Unresolved)
        }
        if outcome.ask {
            (self.parts.resolver)(port, neighbour);
        }
    }

    /// Sends a packet in fragments of up to `size` bytes.
    #[cold]
    fn fragment<F: Frame>(&mut self, frame: &F, port: PortId, neighbour: Option<IpAddr>, size: u16) {
        let ident = self.parts.director.next_ident();
        let Some(mut pieces) = Pieces::new(frame.bytes(), size, ident) else {
            return self.count(DropReason::BadHeader);
        };
        self.parts.director.counters_mut().event(Event::Fragmented);
        while !pieces.is_done() {
            let Some(mut piece) = self.parts.io.blank() else { return self.count(DropReason::NoBuffer) };
            if !pieces.write(&mut piece) {
                return self.count(DropReason::NoRoom);
            }
            match neighbour {
                Some(neighbour) => self.hold(piece, port, neighbour),
                None => self.transmit(port, piece),
            }
        }
    }
}
