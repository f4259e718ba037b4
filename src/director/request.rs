//! A client's packet of a connection that is known, and the way out of every client packet (`ip_vs_in` and `ip_vs_xmit.c`).

use crate::conn::{ConnFlags, ConnId, Connection, RequestKey};
use crate::destination::DestId;
use crate::director::family::Family;
use crate::director::{Lane, Packet, aside};
use crate::forward::answer::{self, Fault};
use crate::forward::tun::{self, Outer};
use crate::forward::{self, Exit, Offsets, nat};
use crate::frame::Frame;
use crate::network::Hop;
use crate::packet::End;
use crate::proto::{Direction, State};
use crate::snapshot::Path;
use crate::stats::{DropReason, Event};
use crate::time::Tick;
use crate::verdict::{Cut, Verdict};
use crate::wire::{ipv6, protocol, sctp, tcp, udp};

/// What forwarding needs of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<'s, A> {
    /// Whose counters; `None` when no connection remembers the packet.
    pub(super) dest: Option<DestId>,
    pub(super) flags: ConnFlags,
    pub(super) path: &'s Path,
    pub(super) daddr: A,
    pub(super) dport: u16,
}

/// What the way out takes, and what of it the method needs, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) mtu: u16,
    pub(super) overhead: u16,
    /// The kernel would know of every fragment that came.
    pub(super) listed: bool,
}

impl Room {
    /// How a client's packet of that length is cut, whose largest fragment was that long, if it came in fragments; through that tunnel, if
    /// any. `None` when it leaves whole. IPv4 has no fragment that is longer than those that came, in a tunnel neither; IPv6 forgets in a
    /// tunnel how it came.
    pub(super) fn cut<A: Family>(self, length: u16, largest: Option<u16>, tunnel: Option<&Path>) -> Option<Cut> {
        let is_long = length.saturating_add(self.overhead) > self.mtu;
        let joined = if self.listed { Cut::Listed } else { Cut::Joined };
        let to_v6 = tunnel.map_or(A::V6, |path| path.address.is_some_and(|address| address.is_ipv6()));
        match largest {
            None => is_long.then_some(Cut::AtMost(self.mtu)),
            Some(largest) if !A::V6 && !to_v6 => Some(joined(self.mtu.min(largest))),
            Some(_) if !A::V6 => is_long.then_some(joined(self.mtu)),
            Some(_) if tunnel.is_some() => is_long.then_some(Cut::Listed(self.mtu)),
            Some(largest) => (length > largest).then_some(Cut::Listed(most_of_piece::<A>(largest, self.mtu))),
        }
    }
}

impl<'s, A: Family> Lane<'s, A> {
    /// Judges a packet to a virtual address.
    #[inline(always)]
    pub(super) fn request<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Exit {
        match self.tables.connections.get(packet.candidate) {
            Some(connection) if request_key(packet).matches(connection) => {
                let bound = self.bound(connection);
                self.known(frame, packet, packet.candidate, &bound)
            }
            _ => Err(aside(self.search(frame, aside(*packet)))),
        }
    }

    /// Judges a packet whose connection is not where it most likely would be.
    #[inline(never)]
    fn search<F: Frame>(&mut self, frame: &mut F, packet: Packet<A>) -> Verdict {
        let key = request_key(&packet);
        let found = self.tables.connections.find(packet.hash, |connection| key.matches(connection));
        let Some((id, connection)) = found.and_then(|id| Some((id, self.tables.connections.get(id)?))) else {
            if is_stub(frame, &packet) {
                return Verdict::Drop(DropReason::FragmentBad);
            }
            if has_no_chunk(&packet) {
                return Verdict::Drop(DropReason::Truncated);
            }
            return self.first(frame, &packet);
        };
        let bound = self.bound(connection);
        forward::verdict(self.known(frame, &packet, id, &bound))
    }

    #[inline(always)]
    pub(super) fn known<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        id: ConnId,
        bound: &Bound<'_, A>,
    ) -> Exit {
        if packet.segment.opens() && self.starts_over(id) {
            return Err(aside(self.anew(frame, aside(*packet), id)));
        }
        if !bound.path.available
            && let Some(verdict) = self.gone(frame, aside(*packet), id, bound.flags)
        {
            return Err(aside(verdict));
        }
        self.note(id, packet);
        self.deliver(frame, packet, bound)
    }

    /// A client's packet goes by: counts it, moves the connection on, and tells others of it.
    #[inline(always)]
    pub(super) fn note(&mut self, id: ConnId, packet: &Packet<A>) {
        self.advance(id, packet, Direction::Input);
        if self.shared.announcer.on {
            self.announce(id, packet.now);
        }
    }

    /// What forwarding needs of a connection.
    #[inline(always)]
    pub(super) fn bound(&self, connection: &Connection<A>) -> Bound<'s, A> {
        let path = self.snapshot.path(connection.dest);
        let dest = Some(connection.dest);
        Bound { dest, flags: connection.flags, path, daddr: connection.daddr, dport: connection.dport }
    }

    /// The verdict on a packet whose destination has been removed, or was never there; none if it needs no destination.
    #[cold]
    fn gone<F: Frame>(&mut self, frame: &mut F, packet: Packet<A>, id: ConnId, flags: ConnFlags) -> Option<Verdict> {
        if flags.contains(ConnFlags::BYPASS) {
            return None;
        }
        if self.is_unbound(id) {
            return Some(self.unbound(frame, &packet, id));
        }
        if self.bind_later(id) {
            let bound = self.bound(self.tables.connections.get(id)?);
            return Some(forward::verdict(self.known(frame, &packet, id, &bound)));
        }
        let ends = || self.tables.connections.get(id).is_some_and(|c| self.snapshot.ends(c.dest));
        if self.snapshot.rules.settings.expire_nodest_conn || ends() {
            return Some(self.anew(frame, packet, id));
        }
        Some(Verdict::Drop(DropReason::DestinationGone))
    }

    /// Ends the connection at the next tick and takes the packet for one without. A packet that comes before the tick, when no new
    /// connection has taken its place, finds the old one once more and lets it live on.
    #[cold]
    fn anew<F: Frame>(&mut self, frame: &mut F, packet: Packet<A>, id: ConnId) -> Verdict {
        if self.tables.connections.get(id).is_some_and(|c| c.controlled == 0) {
            self.tables.connections.expire_now(id, packet.now);
        }
        self.shared.event(Event::Reused);
        let before = self.tables.connections.len();
        let verdict = self.unknown(frame, &packet);
        if self.tables.connections.len() > before {
            self.replace(packet.hash, id, &request_key(&packet));
        }
        verdict
    }

    /// Does a SYN on this connection begin a new one (`conn_reuse_mode`)? One that a template controls stays where it is. Nothing stays
    /// where templates no longer lead, but for a SYN that is sent again.
    pub(super) fn starts_over(&self, id: ConnId) -> bool {
        let Some(connection) = self.tables.connections.get(id) else { return false };
        let settings = &self.snapshot.rules.settings;
        let dest = || self.snapshot.rules.destination(connection.dest);
        if settings.expire_nodest_conn && dest().is_some_and(|d| d.weight == 0) {
            return true;
        }
        if connection.state != State::SynRecv && dest().is_some_and(|d| !d.holds) {
            return true;
        }
        if settings.conn_reuse_mode == 0 || connection.template.is_some() {
            return false;
        }
        match connection.state {
            State::TimeWait | State::Close | State::SctpClosed => true,
            State::FinWait => settings.conn_reuse_mode & 2 != 0 && connection.flags.contains(ConnFlags::NO_OUTPUT),
            _ => false,
        }
    }

    /// Sends a client's packet on to its destination, counted already.
    #[inline(always)]
    pub(super) fn deliver<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, bound: &Bound<'_, A>) -> Exit {
        if bound.flags.intersects(ConnFlags::BYPASS | ConnFlags::HELPED) {
            return Err(aside(self.deliver_specially(frame, aside(*packet), aside(*bound))));
        }
        if self.shared.routes.is_some() {
            let hop = self.shared_hop(bound, packet.dst);
            return self.deliver_by(frame, packet, bound, &hop);
        }
        self.deliver_by(frame, packet, bound, &bound.path.hop)
    }

    /// Sends a client's packet past the destinations, or past a helper.
    #[cold]
    fn deliver_specially<F: Frame>(&mut self, frame: &mut F, packet: Packet<A>, bound: Bound<'_, A>) -> Verdict {
        if bound.flags.contains(ConnFlags::HELPED) {
            return self.control_request(frame, packet, bound);
        }
        self.bypass(frame, packet, bound)
    }

    #[inline(always)]
    pub(super) fn deliver_by<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        bound: &Bound<'_, A>,
        hop: &Hop,
    ) -> Exit {
        let Some(mtu) = forward::mtu(hop) else {
            return Err(aside(self.deliver_elsewhere(frame, aside(*packet), aside(*bound), hop)));
        };
        if !A::decrement_ttl(frame.bytes_mut(), packet.at.l3) {
            let (packet, bound) = (aside(*packet), aside(*bound));
            return Err(aside(self.refuse_bound(frame, packet, bound, Fault::TtlExceeded, DropReason::TtlExceeded)));
        }
        trim(frame, packet.at.end);
        let tunnelled = bound.flags.contains(ConnFlags::TUN);
        let mtu = if tunnelled { self.tunnel_mtu(bound.dest, mtu, packet.now) } else { mtu };
        let overhead =
            if tunnelled { bound.path.address.map_or(0, |to| tun::overhead(to, bound.path.tunnel)) } else { 0 };
        if usize::from(packet.length) + overhead > usize::from(mtu) || frame.largest_fragment().is_some() {
            let overhead = u16::try_from(overhead).unwrap_or(u16::MAX);
            let room = Room { mtu, overhead, listed: self.snapshot.rules.tracks() };
            return Err(aside(self.deliver_in_pieces(frame, aside(*packet), aside(*bound), hop, room)));
        }
        self.translate_and_send(frame, packet, bound, hop)
    }

    /// What the way takes, and through which tunnel it leads, if any.
    pub(super) fn room<'b>(&mut self, bound: &Bound<'b, A>, hop: &Hop, now: Tick) -> (Room, Option<&'b Path>) {
        let mtu = forward::mtu(hop).unwrap_or(u16::MAX);
        let listed = self.snapshot.rules.tracks();
        if !bound.flags.contains(ConnFlags::TUN) {
            return (Room { mtu, overhead: 0, listed }, None);
        }
        let overhead = bound.path.address.map_or(0, |to| tun::overhead(to, bound.path.tunnel));
        let overhead = u16::try_from(overhead).unwrap_or(u16::MAX);
        (Room { mtu: self.tunnel_mtu(bound.dest, mtu, now), overhead, listed }, Some(bound.path))
    }

    /// Does to the packet what the connection's method is.
    #[inline(always)]
    fn translate_and_send<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        bound: &Bound<'_, A>,
        hop: &Hop,
    ) -> Exit {
        self.shared.event(Event::Request);
        if bound.flags.contains(ConnFlags::NAT) {
            if is_stub(frame, packet) {
                return Err(Verdict::Drop(DropReason::FragmentBad));
            }
            nat::rewrite(frame.bytes_mut(), aside(packet.at), End::Destination, bound.daddr, bound.dport);
        } else if bound.flags.contains(ConnFlags::TUN)
            && let Err(reason) = self.encapsulate(frame, aside(packet.at), packet.hash, bound.path)
        {
            return Err(Verdict::Drop(reason));
        }
        forward::send(frame, hop)
    }

    /// Where no port leads: to the director itself, or nowhere.
    #[cold]
    fn deliver_elsewhere<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: Packet<A>,
        bound: Bound<'_, A>,
        hop: &Hop,
    ) -> Verdict {
        if *hop == Hop::Local {
            return self.deliver_locally(frame, &packet, &bound);
        }
        self.refuse_bound(frame, packet, bound, Fault::HostUnreachable, DropReason::NoRoute)
    }

    /// The destination is the director itself: the kernel behind the twin takes it, translated for NAT.
    fn deliver_locally<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, bound: &Bound<'_, A>) -> Verdict {
        if bound.flags.contains(ConnFlags::NAT) {
            nat::rewrite(frame.bytes_mut(), packet.at, End::Destination, bound.daddr, bound.dport);
        }
        self.shared.event(Event::Request);
        self.shared.kernels(self.snapshot, packet.port, packet.origin)
    }

    /// Puts the packet into the tunnel, for which the director needs an address of its own on the way.
    pub(super) fn encapsulate<F: Frame>(
        &mut self,
        frame: &mut F,
        at: Offsets,
        hash: u64,
        path: &Path,
    ) -> Result<(), DropReason> {
        let (Some(from), Some(to)) = (path.source, path.address) else { return Err(DropReason::NoRoute) };
        if forward::mtu(&path.hop).is_some_and(|mtu| tun::is_too_narrow(path, mtu)) {
            return Err(DropReason::TooBig);
        }
        let obeys = self.snapshot.rules.settings.pmtu_disc;
        let fixed = !A::V6 && A::dont_fragment(frame.bytes(), at.l3);
        let outer = Outer {
            from,
            to,
            tunnel: path.tunnel,
            // The low half, as it counts. With DF it has no use, as long as nobody cuts a datagram with DF: the kernel does.
            ident: if fixed && obeys { 0 } else { self.shared.next_ident() as u16 },
            dont_fragment: fixed && (obeys || frame.largest_fragment().is_some()),
            source_port: source_port(hash),
        };
        if tun::encapsulate(frame, &at, &outer) { Ok(()) } else { Err(DropReason::NoRoom) }
    }

    /// Longer than the way out takes, or come in fragments: with DF the sender is told what would fit, without it the packet leaves in
    /// fragments, a tunnel's around the whole.
    #[cold]
    fn deliver_in_pieces<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: Packet<A>,
        bound: Bound<'_, A>,
        hop: &Hop,
        room: Room,
    ) -> Verdict {
        let tunnelled = bound.flags.contains(ConnFlags::TUN);
        if tunnelled && tun::is_too_narrow(bound.path, room.mtu) {
            return Verdict::Drop(DropReason::TooBig);
        }
        let heedless = !A::V6 && tunnelled && !self.snapshot.rules.settings.pmtu_disc;
        let fits = room.mtu.saturating_sub(room.overhead);
        let largest = frame.largest_fragment();
        if longest::<A>(&packet, largest) > fits && A::dont_fragment(frame.bytes(), packet.at.l3) && !heedless {
            return self.refuse_bound(frame, packet, bound, Fault::TooBig(fits), DropReason::TooBig);
        }
        if bound.flags.contains(ConnFlags::NAT) {
            frame.pull(transport_header(packet.at.protocol));
        }
        let exit = self.translate_and_send(frame, &packet, &bound, hop);
        match room.cut::<A>(packet.length, largest, tunnelled.then_some(bound.path)) {
            Some(cut) => forward::in_pieces(exit, cut),
            None => forward::verdict(exit),
        }
    }

    /// Answers a packet of a connection. Under DR and TUN the error, which has the virtual address as its source, counts as a packet
    /// from the server; so it does of others, if such a connection of the client was just ended and is still there until the next tick.
    #[cold]
    fn refuse_bound<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: Packet<A>,
        bound: Bound<'_, A>,
        fault: Fault,
        reason: DropReason,
    ) -> Verdict {
        if bound.flags.contains(ConnFlags::NAT) {
            return self.refuse_unbound(frame, packet, fault, reason);
        }
        self.refuse_for(frame, packet, fault, reason, bound.dest)
    }

    /// Answers a packet of no connection, or of one under NAT.
    #[cold]
    pub(super) fn refuse_unbound<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: Packet<A>,
        fault: Fault,
        reason: DropReason,
    ) -> Verdict {
        let before = self.replaced(packet.hash, &request_key(&packet));
        self.refuse_for(frame, packet, fault, reason, before)
    }

    /// Answers a packet, counting the answer as a packet from this server.
    fn refuse_for<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: Packet<A>,
        fault: Fault,
        reason: DropReason,
        dest: Option<DestId>,
    ) -> Verdict {
        let verdict = self.refuse(frame, packet, fault, reason);
        if let (Some(dest), Verdict::Transmit(_) | Verdict::Hold(..)) = (dest, verdict) {
            self.count_out(dest, frame.bytes().len().saturating_sub(packet.at.l3));
        }
        verdict
    }

    /// Answers a client's packet with an error from the virtual address. An address that is the director's by policy routing alone
    /// cannot be a source, so that nothing is said then.
    #[cold]
    pub(super) fn refuse<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: Packet<A>,
        fault: Fault,
        reason: DropReason,
    ) -> Verdict {
        let is_own = || A::is_vip(self.snapshot, packet.dst) || A::network(self.snapshot).is_local(packet.dst);
        if self.snapshot.rules.has_mark_services::<A>() && !is_own() {
            return Verdict::Drop(reason);
        }
        self.answer(frame, &packet, fault, reason, packet.dst)
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
        forward::verdict(forward::send(frame, &hop))
    }
}

/// What must fit the way: of an IPv6 datagram that came in fragments, the largest of them, in bytes.
pub(super) fn longest<A: Family>(packet: &Packet<A>, largest: Option<u16>) -> u16 {
    largest.filter(|_| A::V6).unwrap_or(packet.length)
}

/// What the fragments may have that a datagram leaves in: no more than those had that it came in, in bytes. IPv6 cuts nothing smaller
/// than every way takes.
pub(super) fn most_of_piece<A: Family>(largest: u16, mtu: u16) -> u16 {
    if A::V6 { largest.max(ipv6::LEAST_MTU) } else { largest.min(mtu) }
}

/// Is it a fragment alone that has not the whole transport header? NAT cannot rewrite it, and no connection begins with it.
#[inline(always)]
pub(super) fn is_stub<A: Family, F: Frame>(frame: &F, packet: &Packet<A>) -> bool {
    frame.is_alone() && packet.at.end - packet.at.l4 < transport_header(packet.at.protocol)
}

/// Is it one of SCTP that is too short for a chunk? No connection begins with it, nor is it for the director's own stack
/// (`sctp_conn_schedule`).
fn has_no_chunk<A: Family>(packet: &Packet<A>) -> bool {
    const CHUNK_HEADER: usize = 4;
    packet.at.protocol == protocol::SCTP && packet.at.end - packet.at.l4 < sctp::HEADER_LEN + CHUNK_HEADER
}

/// What NAT needs of the transport header, in bytes.
pub(super) fn transport_header(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => tcp::HEADER_LEN,
        protocol::UDP => udp::HEADER_LEN,
        protocol::SCTP => sctp::HEADER_LEN,
        _ => 0,
    }
}

#[inline(always)]
pub(super) fn request_key<A: Family>(packet: &Packet<A>) -> RequestKey<A> {
    let Packet { src: caddr, sport: cport, dst: vaddr, dport: vport, .. } = *packet;
    RequestKey { protocol: packet.at.protocol, caddr, cport, vaddr, vport }
}

/// Takes Ethernet's padding off.
#[inline(always)]
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
