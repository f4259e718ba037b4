//! A client's packet of a connection that is known, and the way out of every client packet (`ip_vs_in` and `ip_vs_xmit.c`).

use crate::conn::{ConnFlags, ConnId, Connection, RequestKey};
use crate::destination::DestId;
use crate::director::family::Family;
use crate::director::{Lane, Packet};
use crate::forward::answer::{self, Fault};
use crate::forward::tun::{self, Outer};
use crate::forward::{self, nat};
use crate::frame::Frame;
use crate::network::Hop;
use crate::packet::End;
use crate::proto::segment::Segment;
use crate::proto::{Direction, State};
use crate::snapshot::Path;
use crate::stats::{DropReason, Event};
use crate::verdict::Verdict;
use crate::wire::protocol;

/// What forwarding needs of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<A> {
    /// Whose counters; `None` when no connection remembers the packet.
    pub(super) dest: Option<DestId>,
    pub(super) flags: ConnFlags,
    pub(super) path: Path,
    pub(super) daddr: A,
    pub(super) dport: u16,
}

impl<A: Family> Lane<'_, A> {
    /// Judges a packet to a virtual address.
    #[inline]
    pub(super) fn request<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        let Packet { src: caddr, sport: cport, dst: vaddr, dport: vport, .. } = *packet;
        let key = RequestKey { protocol: packet.at.protocol, caddr, cport, vaddr, vport };
        let segment = Segment::read(packet.at.protocol, frame.bytes().get(packet.at.l4..).unwrap_or_default());
        match self.tables.connections.request(packet.hash, packet.candidate, &key) {
            Some(id) => self.known(frame, packet, segment, id),
            None => self.unknown(frame, packet, segment),
        }
    }

    #[inline]
    pub(super) fn known<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        segment: Segment,
        id: ConnId,
    ) -> Verdict {
        let Some(connection) = self.tables.connections.get(id) else { return self.unknown(frame, packet, segment) };
        let path = self.snapshot.paths.get(connection.dest.index()).copied().unwrap_or_default();
        let starts_over = segment.opens() && self.starts_over(connection);
        if starts_over || (!path.available && self.snapshot.rules.settings.expire_nodest_conn) {
            self.retire(id, packet.now);
            self.shared.event(Event::Reused);
            return self.unknown(frame, packet, segment);
        }
        if !path.available && !connection.flags.contains(ConnFlags::BYPASS) {
            return Verdict::Drop(DropReason::DestinationGone);
        }
        let dest = Some(connection.dest);
        let bound = Bound { dest, flags: connection.flags, path, daddr: connection.daddr, dport: connection.dport };
        self.advance(id, packet, Direction::Input, segment);
        self.deliver(frame, packet, &bound)
    }

    /// Does a SYN on this connection begin a new one (`conn_reuse_mode`)? One that a template controls stays where it is.
    fn starts_over(&self, connection: &Connection<A>) -> bool {
        let settings = &self.snapshot.rules.settings;
        let quiesced = || self.snapshot.rules.destination(connection.dest).is_some_and(|d| d.weight == 0);
        if settings.expire_nodest_conn && quiesced() {
            return true;
        }
        if settings.conn_reuse_mode == 0 || connection.template.is_some() || connection.protocol != protocol::TCP {
            return false;
        }
        match connection.state {
            State::TimeWait | State::Close => true,
            State::FinWait => settings.conn_reuse_mode & 2 != 0 && connection.flags.contains(ConnFlags::NO_OUTPUT),
            _ => false,
        }
    }

    /// Sends a client's packet on to its destination, counted already.
    #[inline]
    pub(super) fn deliver<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, bound: &Bound<A>) -> Verdict {
        let bypass = bound.flags.contains(ConnFlags::BYPASS);
        let hop = if bypass { A::hop(self.snapshot, packet.dst) } else { bound.path.hop };
        if hop == Hop::Local {
            return self.deliver_locally(frame, packet, bound);
        }
        let Some(mtu) = forward::mtu(&hop) else {
            return self.refuse_bound(frame, packet, bound, Fault::HostUnreachable, DropReason::NoRoute);
        };
        if A::ttl(frame.bytes(), packet.at.l3) <= 1 {
            return self.refuse_bound(frame, packet, bound, Fault::TtlExceeded, DropReason::TtlExceeded);
        }
        trim(frame, packet.at.end);
        A::decrement_ttl(frame.bytes_mut(), packet.at.l3);
        let tunnelled = bound.flags.contains(ConnFlags::TUN);
        let mtu = if tunnelled { self.tunnel_mtu(bound.dest, mtu, packet.now) } else { mtu };
        let overhead =
            if tunnelled { bound.path.address.map_or(0, |to| tun::overhead(to, bound.path.tunnel)) } else { 0 };
        if usize::from(packet.length) + overhead > usize::from(mtu) {
            return self.too_big(frame, packet, bound, usize::from(mtu) - overhead.min(usize::from(mtu)));
        }
        self.shared.event(Event::Request);
        if bound.flags.contains(ConnFlags::NAT) {
            nat::rewrite(frame.bytes_mut(), &packet.at, End::Destination, bound.daddr, bound.dport);
        } else if tunnelled && !self.encapsulate(frame, packet, &bound.path) {
            return Verdict::Drop(DropReason::NoRoom);
        }
        forward::send(frame, &hop)
    }

    /// The destination is the director itself: the kernel behind the twin takes it, translated for NAT.
    fn deliver_locally<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, bound: &Bound<A>) -> Verdict {
        if bound.flags.contains(ConnFlags::NAT) {
            nat::rewrite(frame.bytes_mut(), &packet.at, End::Destination, bound.daddr, bound.dport);
        }
        self.shared.event(Event::Request);
        self.shared.kernels(self.snapshot, packet.port, packet.origin)
    }

    pub(super) fn encapsulate<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, path: &Path) -> bool {
        let (Some(from), Some(to)) = (path.source, path.address) else { return false };
        self.shared.ident = self.shared.ident.wrapping_add(1);
        let (tunnel, ident) = (path.tunnel, self.shared.ident);
        tun::encapsulate(frame, &packet.at, &Outer { from, to, tunnel, ident, source_port: source_port(packet.hash) })
    }

    /// Longer than the way out takes: with DF the sender is told what would fit.
    fn too_big<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, bound: &Bound<A>, fits: usize) -> Verdict {
        if !A::dont_fragment(frame.bytes(), packet.at.l3) {
            return Verdict::Drop(DropReason::TooBig);
        }
        let fits = u16::try_from(fits).unwrap_or(u16::MAX);
        self.refuse_bound(frame, packet, bound, Fault::TooBig(fits), DropReason::TooBig)
    }

    /// Answers a packet of a connection. Under DR and TUN the error, which has the virtual address as its source, counts as a packet
    /// from the server.
    fn refuse_bound<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        bound: &Bound<A>,
        fault: Fault,
        reason: DropReason,
    ) -> Verdict {
        let verdict = self.refuse(frame, packet, fault, reason);
        if let (Some(dest), false, Verdict::Transmit(_) | Verdict::Hold(..)) =
            (bound.dest, bound.flags.contains(ConnFlags::NAT), verdict)
        {
            self.count_out(dest, frame.bytes().len().saturating_sub(packet.at.l3));
        }
        verdict
    }

    /// Answers a client's packet with an error from the virtual address.
    pub(super) fn refuse<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        fault: Fault,
        reason: DropReason,
    ) -> Verdict {
        self.answer(frame, packet, fault, reason, packet.dst)
    }

    /// Turns the packet into an error to its source, if there is a way to it and the limit on such errors allows one more.
    pub(super) fn answer<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        fault: Fault,
        reason: DropReason,
        from: A,
    ) -> Verdict {
        let hop = A::hop(self.snapshot, packet.src);
        let limit = self.snapshot.rules.settings.icmp_msgs_per_sec;
        if forward::mtu(&hop).is_none() || !self.shared.icmp.take(packet.now, limit) {
            return Verdict::Drop(reason);
        }
        if answer::turn_into(frame, &packet.at, fault, from).is_none() {
            return Verdict::Drop(DropReason::NoReplyRoom);
        }
        self.shared.counters.drop(reason);
        self.shared.event(Event::IcmpSent);
        forward::send(frame, &hop)
    }
}

/// Takes Ethernet's padding off.
#[inline]
pub(super) fn trim<F: Frame>(frame: &mut F, end: usize) {
    if frame.bytes().len() > end {
        frame.resize(end);
    }
}

/// A source port for a flow, of the range that the kernel takes its own from.
fn source_port(hash: u64) -> u16 {
    const FIRST: u16 = 32768;
    const COUNT: u64 = 28232;
    FIRST + u16::try_from((hash >> 20) % COUNT).unwrap_or(0)
}
