//! Commands that are too much for one turn: new rules, and the end of every connection. They are carried out a piece a turn, between
//! bursts, and the commands behind them wait until they are done.

use std::sync::Arc;

use crate::director::{Change, Flush};
use crate::frame::Frame as _;
use crate::io::PacketIo;
use crate::mailbox::Answer;
use crate::snapshot::Snapshot;
use crate::stats::Event;
use crate::tap::Way;
use crate::time::Instant;
use crate::verdict::Origin;

use super::{Clock, TwinLink, Worker};

/// What is under way, and who waits for it.
#[derive(Debug)]
pub(super) enum Long {
    Change(Change, Answer<Arc<Snapshot>>),
    Flush(Flush, Answer<()>),
}

impl<I: PacketIo, T: TwinLink<I::Frame>, C: Clock> Worker<I, T, C> {
    /// Begins to work by new rules and a new network: what was held for a next hop that is known now leaves.
    pub(super) fn change(&mut self, snapshot: Arc<Snapshot>, answer: Answer<Arc<Snapshot>>, now: Instant) {
        let (io, tap) = (&mut self.parts.io, &self.tap);
        let mut released = 0;
        self.hold.release(&snapshot.network, |port, frame| {
            released += 1;
            if let Some(tap) = tap {
                tap.see(frame.bytes(), Way::Out, port, Origin::Wire, now);
            }
            io.transmit(port, frame);
        });
        self.parts.director.counters_mut().events[Event::Transmitted as usize] += released;
        self.go_on(Long::Change(Change::new(snapshot), answer));
    }

    /// Begins to end every connection and template.
    pub(super) fn flush(&mut self, answer: Answer<()>) {
        self.go_on(Long::Flush(self.parts.director.begin_flush(), answer));
    }

    /// Does a piece, with no burst under way.
    pub(super) fn go_on(&mut self, long: Long) {
        // That nobody waits for an answer any more is no error: `send` then gives it back, to be dropped here.
        self.long = match long {
            Long::Change(change, answer) => match self.parts.director.advance(change) {
                Ok(old) => {
                    drop(answer.send(old));
                    None
                }
                Err(left) => Some(Long::Change(left, answer)),
            },
            Long::Flush(mut flush, answer) => {
                if self.parts.director.flush_some(&mut flush, self.pace.most()) {
                    let _ = answer.send(());
                    None
                } else {
                    Some(Long::Flush(flush, answer))
                }
            }
        };
    }
}
