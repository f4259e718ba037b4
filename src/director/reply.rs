//! A packet that is not for a virtual address: a server's reply under NAT, translated back, or the kernel's (`ip_vs_out`).

use crate::conn::{ConnId, ReplyKey};
use crate::director::family::Family;
use crate::director::request::trim;
use crate::director::{Lane, Packet};
use crate::forward::answer::Fault;
use crate::forward::{self, nat};
use crate::frame::Frame;
use crate::network::Hop;
use crate::packet::End;
use crate::proto::Direction;
use crate::proto::segment::Segment;
use crate::stats::{DropReason, Event};
use crate::verdict::{Origin, Verdict};

impl<A: Family> Lane<'_, A> {
    /// Judges a packet to any other address.
    #[inline]
    pub(super) fn reply<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        let Packet { dst: caddr, dport: cport, src: daddr, sport: dport, .. } = *packet;
        let key = ReplyKey { protocol: packet.at.protocol, caddr, cport, daddr, dport };
        match self.tables.connections.reply(packet.hash, packet.candidate, &key) {
            Some(id) => self.translate(frame, packet, id),
            None => self.shared.kernels(self.snapshot, packet.port, packet.origin),
        }
    }

    #[inline]
    fn translate<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, id: ConnId) -> Verdict {
        let Some(connection) = self.tables.connections.get(id) else { return Verdict::Drop(DropReason::Aborted) };
        let (vaddr, vport) = (connection.vaddr, connection.vport);
        let hop = A::hop(self.snapshot, packet.dst);
        let from_wire = packet.origin == Origin::Wire;
        if from_wire && A::ttl(frame.bytes(), packet.at.l3) <= 1 {
            return self.tell_server(frame, packet, Fault::TtlExceeded, DropReason::TtlExceeded);
        }
        if forward::mtu(&hop).is_some_and(|mtu| packet.length > mtu) {
            return self.reply_too_big(frame, packet, forward::mtu(&hop).unwrap_or(0));
        }
        let segment = Segment::read(packet.at.protocol, frame.bytes().get(packet.at.l4..).unwrap_or_default());
        self.advance(id, packet, Direction::Output, segment);
        trim(frame, packet.at.end);
        if from_wire {
            A::decrement_ttl(frame.bytes_mut(), packet.at.l3);
        }
        nat::rewrite(frame.bytes_mut(), &packet.at, End::Source, vaddr, vport);
        self.shared.event(Event::Reply);
        match hop {
            // The client is the director itself, or lies behind an interface that is no port of ours.
            Hop::Local | Hop::Kernel => self.shared.kernels(self.snapshot, packet.port, packet.origin),
            _ => forward::send(frame, &hop),
        }
    }

    fn reply_too_big<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, mtu: u16) -> Verdict {
        if !A::dont_fragment(frame.bytes(), packet.at.l3) {
            return Verdict::Drop(DropReason::TooBig);
        }
        self.tell_server(frame, packet, Fault::TooBig(mtu), DropReason::TooBig)
    }

    /// Answers a server's packet with an error from the director's own address on that side, quoting it untranslated.
    fn tell_server<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        fault: Fault,
        reason: DropReason,
    ) -> Verdict {
        match A::network(self.snapshot).source(packet.src) {
            Some(from) => self.answer(frame, packet, fault, reason, from),
            None => Verdict::Drop(reason),
        }
    }
}
