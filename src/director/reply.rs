//! A packet that is not for a virtual address: a server's reply under NAT, translated back, or the kernel's (`ip_vs_out`).

use crate::conn::{ConnFlags, ConnId, Connection, ReplyKey, RequestKey};
use crate::director::family::Family;
use crate::director::request::{is_stub, longest, most_of_piece, transport_header, trim};
use crate::director::{Lane, Packet, aside};
use crate::forward::answer::Fault;
use crate::forward::{self, Exit, Offsets, nat};
use crate::frame::Frame;
use crate::network::Hop;
use crate::packet::End;
use crate::proto::Direction;
use crate::stats::{DropReason, Event};
use crate::verdict::{Cut, Origin, Verdict};
use crate::wire::{ports, protocol};

impl<A: Family> Lane<'_, A> {
    /// Judges a packet to any other address.
    #[inline(always)]
    pub(super) fn reply<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Exit {
        match self.tables.connections.get(packet.candidate) {
            Some(connection) if reply_key(packet).matches_common(connection) && !is_stub(frame, packet) => {
                self.translate(frame, packet, packet.candidate, connection.vaddr, connection.vport)
            }
            _ => Err(aside(self.search_reply(frame, aside(*packet)))),
        }
    }

    /// Judges a packet whose connection is not where it most likely would be.
    #[inline(never)]
    fn search_reply<F: Frame>(&mut self, frame: &mut F, packet: Packet<A>) -> Verdict {
        let key = reply_key(&packet);
        let found = self.tables.connections.find(packet.hash, |connection| key.matches(connection));
        match found.and_then(|id| Some((id, self.tables.connections.get(id)?))) {
            Some((id, connection)) if connection.flags.contains(ConnFlags::HELPED) => {
                self.control_reply(frame, &packet, id)
            }
            Some(_) if is_stub(frame, &packet) => Verdict::Drop(DropReason::FragmentBad),
            Some((id, &Connection { vaddr, vport, .. })) => {
                forward::verdict(self.translate(frame, &packet, id, vaddr, vport))
            }
            None => self.unrelated(frame, &packet),
        }
    }

    /// A packet that is no server's: the kernel's, which perhaps answers in the name of a virtual address.
    fn unrelated<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        if packet.at.protocol == protocol::UDP
            && let Some(verdict) = self.originate(frame, packet)
        {
            return verdict;
        }
        if packet.origin == Origin::Twin {
            self.answered_locally(packet);
        } else if self.is_told(frame, packet) {
            A::decrement_ttl(frame.bytes_mut(), packet.at.l3);
            return self.tell_server(frame, *packet, Fault::PortUnreachable, DropReason::UnknownReply);
        }
        self.shared.kernels(self.snapshot, packet.port, packet.origin)
    }

    /// Is a real server to be told that its packet belongs to no connection (`nat_icmp_send`)? Not of a RST or ABORT, nor of what would
    /// not be forwarded.
    fn is_told<F: Frame>(&self, frame: &F, packet: &Packet<A>) -> bool {
        let rules = &self.snapshot.rules;
        rules.is_server(packet.at.protocol, packet.src.ip(), packet.sport)
            && !packet.segment.resets()
            && A::ttl(frame.bytes(), packet.at.l3) > 1
            && self.fits(frame, packet, &A::hop(self.snapshot, packet.dst))
    }

    /// The director itself answers a client of a DR or TUN service ("local node"): its packet moves the connection on.
    fn answered_locally(&mut self, packet: &Packet<A>) {
        let Packet { dst: caddr, dport: cport, src: vaddr, sport: vport, .. } = *packet;
        let key = RequestKey { protocol: packet.at.protocol, caddr, cport, vaddr, vport };
        let nat = |id: &ConnId| self.tables.connections.get(*id).is_some_and(|c| c.flags.contains(ConnFlags::NAT));
        let found = self.tables.connections.request(packet.hash, ConnId::NONE, &key).filter(|id| !nat(id));
        if let Some(id) = found {
            self.advance(id, packet, Direction::Output);
        }
    }

    #[inline(always)]
    pub(super) fn translate<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        id: ConnId,
        vaddr: A,
        vport: u16,
    ) -> Exit {
        let hop = A::hop(self.snapshot, packet.dst);
        let from_wire = packet.origin == Origin::Wire;
        if from_wire && A::ttl(frame.bytes(), packet.at.l3) <= 1 {
            return Err(aside(self.tell_server(frame, aside(*packet), Fault::TtlExceeded, DropReason::TtlExceeded)));
        }
        if let Some(mtu) = forward::mtu(&hop)
            && (packet.length > mtu || frame.largest_fragment().is_some())
        {
            return Err(aside(self.return_in_pieces(frame, aside(*packet), id, (vaddr, vport), &hop, mtu)));
        }
        self.translate_and_return(frame, packet, id, (vaddr, vport), &hop)
    }

    #[inline(always)]
    fn translate_and_return<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        id: ConnId,
        (vaddr, vport): (A, u16),
        hop: &Hop,
    ) -> Exit {
        let from_wire = packet.origin == Origin::Wire;
        self.advance(id, packet, Direction::Output);
        trim(frame, packet.at.end);
        if from_wire {
            A::decrement_ttl(frame.bytes_mut(), packet.at.l3);
        }
        nat::rewrite(frame.bytes_mut(), aside(packet.at), End::Source, vaddr, vport);
        self.shared.event(Event::Reply);
        match *hop {
            // The client is the director itself, or lies behind an interface that is no port of ours.
            Hop::Local | Hop::Kernel => Err(self.shared.kernels(self.snapshot, packet.port, packet.origin)),
            _ => forward::send(frame, hop),
        }
    }

    /// Longer than the way to the client takes, or come in fragments: with DF the server is told, without it the reply leaves in
    /// fragments.
    #[cold]
    fn return_in_pieces<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: Packet<A>,
        id: ConnId,
        virtual_end: (A, u16),
        hop: &Hop,
        mtu: u16,
    ) -> Verdict {
        let largest = frame.largest_fragment();
        let fixed = A::dont_fragment(frame.bytes(), packet.at.l3);
        let tracked = !A::V6 && self.snapshot.rules.tracks();
        if fixed && !A::V6 && !tracked && largest.is_some() {
            return self.refuse_whole_reply(frame, packet, id, virtual_end, mtu);
        }
        let fits = tracked && largest.is_some_and(|largest| largest <= mtu);
        if fixed && longest(&packet, largest) > mtu && !fits {
            return self.tell_server(frame, packet, Fault::TooBig(mtu), DropReason::TooBig);
        }
        frame.pull(transport_header(packet.at.protocol));
        let exit = self.translate_and_return(frame, &packet, id, virtual_end, hop);
        match largest {
            Some(largest) if A::V6 && packet.length <= largest => forward::verdict(exit),
            Some(largest) => forward::in_pieces(exit, Cut::Listed(most_of_piece::<A>(largest, mtu))),
            None => forward::in_pieces(exit, Cut::AtMost(mtu)),
        }
    }

    /// A reply that came in fragments with DF: the kernel does not send it, however short, since a whole packet with DF is not to be
    /// cut again. What it tells the server comes to itself first, about the reply as it would have left, and goes on as an error of a
    /// client's: from the virtual address, and counted as the client's. So the server that hears of it is the one that the client is
    /// connected with now, though that be another than the one that has called it.
    fn refuse_whole_reply<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: Packet<A>,
        id: ConnId,
        (vaddr, vport): (A, u16),
        mtu: u16,
    ) -> Verdict {
        self.advance(id, &packet, Direction::Output);
        let Packet { dst: caddr, dport: cport, at: Offsets { protocol, .. }, .. } = packet;
        let key = RequestKey { protocol, caddr, cport, vaddr, vport };
        let heard = self.tables.connections.request(packet.hash, ConnId::NONE, &key).unwrap_or(id);
        let Some(&Connection { dest, daddr, dport, .. }) = self.tables.connections.get(heard) else {
            return Verdict::Drop(DropReason::TooBig);
        };
        let packet = Packet { src: daddr, sport: dport, ..packet };
        A::decrement_ttl(frame.bytes_mut(), packet.at.l3);
        // The checksum of the reply as it would have left: an error on its way back does not change the one that it quotes.
        nat::rewrite(frame.bytes_mut(), packet.at, End::Source, vaddr, vport);
        A::rewrite_address(frame.bytes_mut(), packet.at.l3, End::Source, packet.src);
        if let Some(header) = frame.bytes_mut().get_mut(packet.at.l4..) {
            ports::Packet::new_unchecked(header).set_src_port(packet.sport);
        }
        let verdict = self.answer(frame, &packet, Fault::TooBig(mtu), DropReason::TooBig, vaddr);
        if let Verdict::Transmit(_) | Verdict::Hold(..) = verdict {
            let length = frame.bytes().len().saturating_sub(packet.at.l3);
            self.count_in(dest, u16::try_from(length).unwrap_or(u16::MAX));
            A::decrement_ttl(frame.bytes_mut(), packet.at.l3);
        }
        verdict
    }

    /// Answers a server's packet with an error from the director's own address on that side, quoting it untranslated.
    #[cold]
    fn tell_server<F: Frame>(&mut self, frame: &mut F, packet: Packet<A>, fault: Fault, reason: DropReason) -> Verdict {
        match A::network(self.snapshot).source(packet.src) {
            Some(from) => self.answer(frame, &packet, fault, reason, from),
            None => Verdict::Drop(reason),
        }
    }
}

#[inline(always)]
fn reply_key<A: Family>(packet: &Packet<A>) -> ReplyKey<A> {
    let Packet { dst: caddr, dport: cport, src: daddr, sport: dport, .. } = *packet;
    ReplyKey { protocol: packet.at.protocol, caddr, cport, daddr, dport }
}
