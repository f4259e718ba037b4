//! A turn of a worker that shows packets to people: what comes and goes is copied, and where the fate of a packet is wanted its burst
//! is judged packet by packet, so that what is seen of one is as it is when it is judged.

use crate::burst::Burst;
use crate::frame::Frame as _;
use crate::io::PacketIo;
use crate::tap::{Subject, Tap, Way};
use crate::time::Instant;
use crate::worker::exits::Exits;
use crate::worker::{Clock, TwinLink, Worker};

impl<I: PacketIo, T: TwinLink<I::Frame>, C: Clock> Worker<I, T, C> {
    /// Moves every burst one stage on; or, if the newest has a packet whose fate is wanted, all of them to their end.
    #[cold]
    pub(super) fn step_tapped(&mut self, now: Instant) {
        let wanted = |tap: &Tap| tap.subject() == Subject::Fates && has_wanted(&self.pipeline[0], tap);
        if self.tap.as_ref().is_some_and(wanted) {
            self.finish_older(now);
            self.one_by_one(now);
            return;
        }
        let [received, sought, decided] = &mut self.pipeline;
        let director = &mut self.parts.director;
        director.parse(received);
        director.seek(sought);
        director.decide(decided, now);
        self.carry_out::<true>(now);
        self.pipeline.rotate_right(1);
    }

    /// Runs out the bursts before the newest, in their order.
    fn finish_older(&mut self, now: Instant) {
        let [_, sought, decided] = &mut self.pipeline;
        self.parts.director.decide(decided, now);
        self.parts.director.seek(sought);
        self.carry_out::<true>(now);
        self.pipeline.swap(1, 2);
        self.parts.director.decide(&mut self.pipeline[2], now);
        self.carry_out::<true>(now);
    }

    /// Judges the newest burst one packet after the other.
    fn one_by_one(&mut self, now: Instant) {
        let Self { parts, hold, fragments, own, pipeline, tap, single, .. } = self;
        let Some(tap) = tap.as_ref() else { return };
        pipeline[0].give_away(|frame, _, port, origin| {
            let shot =
                if tap.takes(frame.bytes()) { tap.begin(frame.bytes(), Way::In, port, origin, now) } else { None };
            drop(single.push(frame, port, origin));
            parts.director.parse(single);
            parts.director.seek(single);
            let sight = parts.director.sight(single, now);
            parts.director.decide(single, now);
            let judged = single.take(0);
            single.clear();
            let Some((frame, verdict, port)) = judged else { return };
            if let Some(shot) = shot {
                tap.end(shot, sight, verdict, frame.bytes());
            }
            let mut exits = Exits::<_, _, true> { parts, hold, fragments, own, tap: Some(tap), now };
            exits.dispatch(frame, verdict, port, origin);
        });
    }
}

fn has_wanted<F: crate::frame::Frame>(burst: &Burst<F>, tap: &Tap) -> bool {
    burst.since(0).any(|(frame, _)| tap.takes(frame))
}
