//! A full table, and services that need none. `sh`, `dh` and `mh` choose by addresses and ports alone, the same destination for every packet
//! of a flow; what is forwarded by direct routing, through a tunnel or to the director itself comes back by another way. So a flow for
//! which there is no room is forwarded packet by packet, remembered by nobody, while with another scheduler, with persistence or under
//! NAT it is refused. (The kernel's table has no end but memory, and its refusal is `ENOMEM`.)
//!
//! Packets in the middle of such a flow look like those of no connection. They are taken for the flow's as long as such flows may live: for
//! the time-out of an established connection after the last packet that was forwarded so. They make no connection when there is room again,
//! for anybody could send such packets; a SYN does.

use crate::conn::{ConnId, InsertError};
use crate::destination::{Destination, Method};
use crate::director::family::Family;
use crate::director::request::Bound;
use crate::director::schedule::{Choice, reason};
use crate::director::{Lane, Packet};
use crate::forward;
use crate::frame::Frame;
use crate::proto::State;
use crate::service::{SchedulerName, Service};
use crate::stats::Event;
use crate::verdict::Verdict;

impl<'s, A: Family> Lane<'s, A> {
    /// Judges the first packet of a flow that did not fit.
    #[cold]
    pub(super) fn spill<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        service: &Service,
        choice: &Choice<'_>,
        why: InsertError,
    ) -> Verdict {
        if why != InsertError::Full || !is_by_hash(service) || !needs_no_state(choice.dest) {
            return Verdict::Drop(reason(why));
        }
        self.count_scheduled(service.id, choice.dest);
        self.forward_unremembered(frame, packet, choice)
    }

    /// The verdict on a packet that starts nothing, if it may be of such a flow.
    #[inline]
    pub(super) fn spilled<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        service: &'s Service,
    ) -> Option<Verdict> {
        if self.shared.defence.has_spilled(packet.now) { self.of_spilled(frame, packet, service) } else { None }
    }

    #[cold]
    fn of_spilled<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, service: &'s Service) -> Option<Verdict> {
        // Not the data connections of FTP, which its port takes as well.
        let to_port = service.key.port() == 0 || service.key.port() == packet.dport;
        if !to_port || !is_by_hash(service) || self.is_martian(packet) {
            return None;
        }
        // These schedulers change nothing when they are asked.
        let dest = self.pick(service, packet).filter(|dest| needs_no_state(dest))?;
        let dport = if dest.port == 0 { packet.dport } else { dest.port };
        Some(self.forward_unremembered(frame, packet, &Choice { dest, template: ConnId::NONE, dport }))
    }

    fn forward_unremembered<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, choice: &Choice<'_>) -> Verdict {
        let connection = self.connection(packet, choice);
        let path = self.snapshot.path(choice.dest.id);
        let bound =
            Bound { dest: None, flags: connection.flags, path, daddr: connection.daddr, dport: connection.dport };
        let lives = self.shared.timeouts.ticks(State::Established);
        self.shared.defence.spill_until(packet.now.plus(lives));
        self.shared.event(Event::Unremembered);
        self.count_in(choice.dest.id, packet.length);
        forward::verdict(self.deliver(frame, packet, &bound))
    }
}

/// Does the service choose by what is in every packet alone?
fn is_by_hash(service: &Service) -> bool {
    matches!(service.scheduler, SchedulerName::Sh | SchedulerName::Dh | SchedulerName::Mh)
        && service.persistence.is_none()
}

/// Is nothing to be known of a packet of the server?
fn needs_no_state(dest: &Destination) -> bool {
    !matches!(dest.method, Method::Nat | Method::Bypass)
}
