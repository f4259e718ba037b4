//! Carrying verdicts out: where frames go once they are judged.

use std::net::IpAddr;

use crate::burst::Burst;
use crate::forward::cut::Pieces;
use crate::fragments::{self, Datagram, Fragments};
use crate::frame::{Alone, Frame};
use crate::handoff::Parcel;
use crate::hold::{self, Hold};
use crate::io::PacketIo;
use crate::stats::{DropReason, Event};
use crate::tap::{Tap, Way};
use crate::time::Instant;
use crate::verdict::{Cut, Origin, PortId, Verdict, WorkerId};
use crate::worker::{Parts, TwinLink};

/// Room for what a worker makes of frames that it has kept.
#[derive(Debug)]
pub(super) struct Own<F> {
    /// A datagram put together.
    whole: Burst<Datagram>,
    /// An error about a frame given up.
    error: Burst<F>,
    /// A fragment that no others can join.
    alone: Burst<Alone<F>>,
    /// Frames given up, with the ports that they would have left by.
    late: Vec<(F, PortId)>,
    /// First fragments given up.
    late_fragments: Vec<F>,
}

impl<F> Default for Own<F> {
    fn default() -> Self {
        let (late, late_fragments) = (Vec::with_capacity(hold::MOST), Vec::with_capacity(fragments::MOST_DATAGRAMS));
        let (whole, error, alone) = (Burst::with_limit(1), Burst::with_limit(1), Burst::with_limit(1));
        Self { whole, error, alone, late, late_fragments }
    }
}

/// A worker's ways out.
///
/// With `TAPPED` there may be a tap; without it nobody asks.
pub(super) struct Exits<'a, I: PacketIo, T, const TAPPED: bool> {
    pub(super) parts: &'a mut Parts<I, T>,
    pub(super) hold: &'a mut Hold<I::Frame>,
    pub(super) fragments: &'a mut Fragments<I::Frame>,
    pub(super) own: &'a mut Own<I::Frame>,
    pub(super) tap: Option<&'a Tap>,
    pub(super) now: Instant,
}

impl<I: PacketIo, T: TwinLink<I::Frame>, const TAPPED: bool> Exits<'_, I, T, TAPPED> {
    /// Carries out the verdict on a frame that came in by `port`.
    #[inline]
    pub(super) fn dispatch(&mut self, frame: I::Frame, verdict: Verdict, port: PortId, origin: Origin) {
        match verdict {
            Verdict::Transmit(out) => self.transmit(out, frame),
            Verdict::Pass(twin) => self.pass(frame, twin),
            Verdict::Handoff(owner) => self.hand_off(frame, owner, port, origin),
            Verdict::Hold(out, neighbour) => self.hold(frame, out, neighbour),
            Verdict::Fragment(out, neighbour, cut) => self.fragment(&frame, &[], out, neighbour, cut),
            Verdict::Reassemble => self.reassemble(frame, port, origin),
            Verdict::Drop(_) => drop(frame),
            Verdict::Pending => self.count(DropReason::Aborted),
        }
    }

    fn count(&mut self, reason: DropReason) {
        self.parts.director.counters_mut().drop(reason);
    }

    #[inline]
    fn transmit(&mut self, port: PortId, frame: I::Frame) {
        if TAPPED && let Some(tap) = self.tap {
            tap.see(frame.bytes(), Way::Out, port, Origin::Wire, self.now);
        }
        self.parts.director.counters_mut().event(Event::Transmitted);
        self.parts.io.transmit(port, frame);
    }

    fn pass(&mut self, frame: I::Frame, port: PortId) {
        let passed = self.parts.twin.pass(port, frame).is_ok();
        let counters = self.parts.director.counters_mut();
        if passed { counters.event(Event::Passed) } else { counters.drop(DropReason::TwinFull) }
    }

    fn hand_off(&mut self, frame: I::Frame, owner: WorkerId, port: PortId, origin: Origin) {
        if origin == Origin::Wire {
            let astray = self.parts.director.was_to_reach(owner, port, frame.bytes());
            self.parts.handoff.count(port, astray);
        }
        // What is sent is counted when it is; see `flush_handoff`.
        if self.parts.handoff.send(owner, Parcel { frame, port, origin }).is_err() {
            self.count(DropReason::HandoffFull);
        }
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

    /// Sends a packet in fragments. `parts` is how it came, if in fragments.
    #[cold]
    fn fragment<F: Frame>(&mut self, frame: &F, parts: &[u16], port: PortId, neighbour: Option<IpAddr>, cut: Cut) {
        self.parts.director.counters_mut().event(Event::Fragmented);
        self.in_pieces(frame, parts, cut, |exits, piece| match neighbour {
            Some(neighbour) => exits.hold(piece, port, neighbour),
            None => exits.transmit(port, piece),
        });
    }

    fn in_pieces<F: Frame>(&mut self, frame: &F, parts: &[u16], cut: Cut, mut to: impl FnMut(&mut Self, I::Frame)) {
        let ident = self.parts.director.next_ident();
        let Some(mut pieces) = Pieces::new(frame.bytes(), cut, parts, ident) else {
            return self.count(DropReason::BadHeader);
        };
        while !pieces.is_done() {
            let Some(mut piece) = self.parts.io.blank() else { return self.count(DropReason::NoBuffer) };
            if !pieces.write(&mut piece) {
                return self.count(DropReason::NoRoom);
            }
            to(self, piece);
        }
    }

    /// Keeps a fragment; has its datagram judged if it is whole now.
    #[cold]
    fn reassemble(&mut self, frame: I::Frame, port: PortId, origin: Origin) {
        let director = &mut self.parts.director;
        if self.fragments.leaves(&frame, origin, director.counters_mut()) {
            return self.judge_alone(frame, port, origin);
        }
        let Some(datagram) = self.fragments.take(frame, origin, self.now, director.counters_mut()) else { return };
        let whole = &mut self.own.whole;
        drop(whole.push(datagram, port, origin));
        director.process(whole, self.now);
        let judged = whole.take(0);
        whole.clear();
        let Some((datagram, verdict, _)) = judged else { return };
        self.dispatch_whole(&datagram, datagram.unless_unchanged(verdict), port, origin);
        self.fragments.give_back(datagram);
    }

    /// Has a fragment judged that no others can join.
    fn judge_alone(&mut self, frame: I::Frame, port: PortId, origin: Origin) {
        let alone = &mut self.own.alone;
        drop(alone.push(Alone(frame), port, origin));
        self.parts.director.process(alone, self.now);
        let judged = alone.take(0);
        alone.clear();
        match judged {
            None | Some((_, Verdict::Reassemble, _)) => self.count(DropReason::FragmentBad),
            Some((Alone(frame), verdict, port)) => self.dispatch(frame, verdict, port, origin),
        }
    }

    /// Carries out the verdict on a datagram put together; the kernel gets it as it came.
    fn dispatch_whole(&mut self, datagram: &Datagram, verdict: Verdict, port: PortId, origin: Origin) {
        let all = Cut::AtMost(u16::MAX);
        match verdict {
            Verdict::Transmit(out) => self.in_pieces(datagram, &[], all, |exits, frame| exits.transmit(out, frame)),
            Verdict::Hold(out, to) => self.in_pieces(datagram, &[], all, |exits, frame| exits.hold(frame, out, to)),
            Verdict::Fragment(out, to, cut) => self.fragment(datagram, datagram.parts(cut), out, to, cut),
            Verdict::Pass(twin) => {
                let cut = Cut::AsItCame;
                self.in_pieces(datagram, datagram.parts(cut), cut, |exits, frame| exits.pass(frame, twin));
            }
            // The owner of an error's client is known only now.
            Verdict::Handoff(owner) => {
                self.in_pieces(datagram, &[], all, |exits, frame| exits.hand_off(frame, owner, port, origin));
            }
            Verdict::Drop(_) => {}
            Verdict::Reassemble | Verdict::Pending => self.count(DropReason::Aborted),
        }
    }

    /// Gives up what has waited too long for a next hop or for other fragments, and has the senders told.
    pub(super) fn give_up(&mut self) {
        if !self.hold.is_empty() {
            self.hold.give_up(self.now, &mut self.own.late);
            let late = self.own.late.len() as u64;
            self.parts.director.counters_mut().drops[DropReason::ResolveFailed as usize] += late;
            self.tell_unreachable();
        }
        if !self.fragments.is_empty() {
            let (counters, late) = (self.parts.director.counters_mut(), &mut self.own.late_fragments);
            self.fragments.expire(self.now, counters, late);
            self.tell_timed_out();
        }
    }

    fn tell_timed_out(&mut self) {
        let mut late = std::mem::take(&mut self.own.late_fragments);
        for mut frame in late.drain(..) {
            if let Some(port) = self.parts.director.timed_out(&mut frame, self.now) {
                self.send_own(frame, port);
            }
        }
        self.own.late_fragments = late;
    }

    fn tell_unreachable(&mut self) {
        let mut late = std::mem::take(&mut self.own.late);
        for (mut frame, port) in late.drain(..) {
            if let Some(port) = self.parts.director.unreachable(&mut frame, port, self.now) {
                self.send_own(frame, port);
            }
        }
        self.own.late = late;
    }

    /// Judges an error of the director's own as one of the kernel's, and carries the verdict out.
    fn send_own(&mut self, frame: I::Frame, port: PortId) {
        let error = &mut self.own.error;
        drop(error.push(frame, port, Origin::Twin));
        self.parts.director.process(error, self.now);
        let judged = error.take(0);
        error.clear();
        if let Some((frame, verdict, port)) = judged {
            self.dispatch(frame, verdict, port, Origin::Twin);
        }
    }
}
