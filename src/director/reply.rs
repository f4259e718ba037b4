//! A packet that is not for a virtual address: a server's reply under NAT, translated back, or the kernel's (`ip_vs_out`).

use crate::conn::{ConnFlags, ConnId, ReplyKey, RequestKey};
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
            None => self.unrelated(frame, packet),
        }
    }

    /// A packet that is no server's: the kernel's, unless a connection outlives its service, or the kernel answers in the name of a
    /// virtual address.
    fn unrelated<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        if packet.origin == Origin::Twin {
            self.answered_locally(frame, packet);
        } else if let Some(id) = self.orphan(packet) {
            let segment = Segment::read(packet.at.protocol, frame.bytes().get(packet.at.l4..).unwrap_or_default());
            return self.known(frame, packet, segment, id);
        } else if self.is_told(frame, packet) {
            A::decrement_ttl(frame.bytes_mut(), packet.at.l3);
            return self.tell_server(frame, packet, Fault::PortUnreachable, DropReason::UnknownReply);
        }
        self.shared.kernels(self.snapshot, packet.port, packet.origin)
    }

    /// Is a real server to be told that its packet belongs to no connection (`nat_icmp_send`)? Not of a reset.
    fn is_told<F: Frame>(&self, frame: &F, packet: &Packet<A>) -> bool {
        let rules = &self.snapshot.rules;
        rules.is_server(packet.at.protocol, packet.src.ip(), packet.sport)
            && !Segment::read(packet.at.protocol, frame.bytes().get(packet.at.l4..).unwrap_or_default()).resets()
            && A::ttl(frame.bytes(), packet.at.l3) > 1
    }

    /// The connection of a client's packet to an address of ours that is no virtual one any more.
    fn orphan(&self, packet: &Packet<A>) -> Option<ConnId> {
        let Packet { src: caddr, sport: cport, dst: vaddr, dport: vport, .. } = *packet;
        if A::hop(self.snapshot, vaddr) != Hop::Local {
            return None;
        }
        let protocol = packet.at.protocol;
        let hash = self.tables.connections.hash(protocol, caddr, cport);
        self.tables.connections.request(hash, ConnId::NONE, &RequestKey { protocol, caddr, cport, vaddr, vport })
    }

    /// The director itself answers a client of a DR or TUN service ("local node"): its packet moves the connection on.
    fn answered_locally<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) {
        let Packet { dst: caddr, dport: cport, src: vaddr, sport: vport, .. } = *packet;
        let key = RequestKey { protocol: packet.at.protocol, caddr, cport, vaddr, vport };
        let nat = |id: &ConnId| self.tables.connections.get(*id).is_some_and(|c| c.flags.contains(ConnFlags::NAT));
        let found = self.tables.connections.request(packet.hash, ConnId::NONE, &key).filter(|id| !nat(id));
        if let Some(id) = found {
            let segment = Segment::read(packet.at.protocol, frame.bytes().get(packet.at.l4..).unwrap_or_default());
            self.advance(id, packet, Direction::Output, segment);
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
