//! ICMP errors that belong to a connection, found by the packet that they quote (`ip_vs_in_icmp`, `ip_vs_out_icmp`). Those from the
//! clients' side go to the connection's server as its packets do; those from the servers' side about a masqueraded connection go to
//! the client, translated back; those about a tunnel's packet become errors about the packet inside. The rest is the kernel's. An
//! error moves no state and no timer.

use crate::burst::{Kind, Meta};
use crate::conn::{ConnFlags, ConnId, ReplyKey, RequestKey};
use crate::destination::{DestId, Shim};
use crate::director::family::Family;
use crate::director::mark::is_delivered;
use crate::director::parse::L3;
use crate::director::request::{Bound, Room, longest, most_of_piece, trim};
use crate::director::{Director, Lane, Packet};
use crate::forward::answer::{self, Fault};
use crate::forward::quote::Quote;
use crate::forward::{self, Offsets, tun};
use crate::frame::Frame;
use crate::mark::Header;
use crate::network::Hop;
use crate::packet::End;
use crate::proto::Direction;
use crate::snapshot::{Path, Snapshot};
use crate::stats::{DropReason, Event};
use crate::verdict::{Cut, Origin, PortId, Verdict};
use crate::wire::{icmpv4, ipv4};

/// What every way must take under IPv4 (RFC 791).
const LEAST_MTU: u16 = 68;

/// Where an error comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// The clients': it quotes what a server, or the director for it, sent to a client.
    Client,
    /// The servers': it quotes what the director sent to a server.
    Server,
    /// The way to a server: it quotes a tunnel's packet.
    Tunnel,
}

/// Is that where a tunnel of GUE ends, about whose packets the director is told at this address of its own?
fn is_gue<A: Family>(snapshot: &Snapshot, told: A) -> impl Fn(A, u16) -> bool + '_ {
    let here = !A::V6 && A::network(snapshot).local.contains(told);
    move |end, port| here && snapshot.rules.is_tunnel(end.ip(), Shim::Gue(port))
}

/// Whose side an error comes from.
fn side<A: Family>(snapshot: &Snapshot, header: &Header<A>, quote: &Quote<A>) -> Side {
    let by_mark = || snapshot.rules.has_mark_services::<A>() && is_delivered(snapshot, header);
    if quote.through.is_some() {
        Side::Tunnel
    } else if A::is_vip(snapshot, header.dst) || A::network(snapshot).local.contains(header.dst) || by_mark() {
        Side::Client
    } else {
        Side::Server
    }
}

impl Director {
    /// Stage 1 for an ICMP message: whose connection is it about?
    #[cold]
    pub(super) fn message<A: Family>(
        &mut self,
        bytes: &[u8],
        message: Meta,
        port: PortId,
        origin: Origin,
        meta: &mut Meta,
    ) -> Result<(), Verdict> {
        let end = L3 + usize::from(message.length);
        let ours = message.protocol == A::ICMP && !self.snapshot.rules.is_empty(A::V6);
        let (src, dst) = A::addresses(bytes, L3);
        let is_gue = is_gue(&self.snapshot, dst);
        let quote = if ours { Quote::<A>::read(bytes, message.l4.into(), end, is_gue) } else { None };
        let Some(quote) = quote else { return Err(self.core.shared.kernels(&self.snapshot, port, origin)) };
        let header = Header { src, dst, protocol: message.protocol, sport: 0, dport: 0, port };
        let side = side(&self.snapshot, &header, &quote);
        if self.snapshot.rules.stands_by() && side != Side::Server {
            return Err(self.core.shared.kernels(&self.snapshot, port, origin));
        }
        let (client, cport) = match side {
            Side::Client => (quote.dst, quote.dport),
            Side::Server | Side::Tunnel => (quote.src, quote.sport),
        };
        self.elsewhere(client)?;
        let connections = &A::tables(&self.core).connections;
        let kind = if A::V6 { Kind::Icmp6 } else { Kind::Icmp4 };
        let hash = connections.hash(quote.protocol, client, cport);
        connections.prefetch(hash);
        *meta = Meta { kind, hash, ..message };
        Ok(())
    }
}

impl<A: Family> Lane<'_, A> {
    /// Judges an ICMP error.
    #[cold]
    pub(super) fn message<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        let quote = Quote::read(frame.bytes(), packet.at.l4, packet.at.end, is_gue(self.snapshot, packet.dst));
        let judged = quote.and_then(|quote| match side(self.snapshot, &packet.header(), &quote) {
            Side::Client => self.clients_error(frame, packet, &quote),
            Side::Server if self.snapshot.rules.has_mark_services::<A>() => self.forwarded_error(frame, packet, &quote),
            Side::Server => self.servers_error(frame, packet, &quote),
            Side::Tunnel => self.tunnels_error(frame, packet, &quote),
        });
        judged.unwrap_or_else(|| self.shared.kernels(self.snapshot, packet.port, packet.origin))
    }

    /// What the client, or a router before it, says of a server's packet goes to the server.
    fn clients_error<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, quote: &Quote<A>) -> Option<Verdict> {
        let Quote { dst: caddr, dport: cport, src: vaddr, sport: vport, protocol, .. } = *quote;
        let key = RequestKey { protocol, caddr, cport, vaddr, vport };
        let id = match self.tables.connections.request(packet.hash, packet.candidate, &key) {
            Some(id) => id,
            None if self.snapshot.rules.settings.schedule_icmp => self.adopt(packet, quote)?,
            None => return None,
        };
        let connection = self.tables.connections.get(id)?;
        let path = self.way_of(id, connection);
        let bound = Bound { path: &path, ..self.bound(connection) };
        // Only NAT, which rewrites it, looks at the checksum.
        let verdict = if !bound.flags.contains(ConnFlags::NAT) || A::is_intact(frame.bytes(), &packet.at) {
            self.count_error(id, packet, Direction::Input);
            self.relay(frame, packet, quote, &bound)
        } else {
            Verdict::Drop(DropReason::BadIcmpChecksum)
        };
        if bound.flags.contains(ConnFlags::ONE_PACKET) {
            self.end(id);
        }
        Some(verdict)
    }

    /// An error to an address that is not the director's may still be about a connection of a mark, whose virtual addresses are anybody's:
    /// the kernel looks for these first (`ip_vs_forward_icmp`). The packet was being
    /// forwarded, which takes one from its TTL before IPVS does.
    #[cold]
    fn forwarded_error<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, quote: &Quote<A>) -> Option<Verdict> {
        let hash = self.tables.connections.hash(quote.protocol, quote.dst, quote.dport);
        let of_client = Packet { hash, candidate: ConnId::NONE, ..*packet };
        let Quote { dst: caddr, dport: cport, src: vaddr, sport: vport, protocol, .. } = *quote;
        let key = RequestKey { protocol, caddr, cport, vaddr, vport };
        if self.tables.connections.request(hash, ConnId::NONE, &key).is_some()
            && packet.origin == Origin::Wire
            && !A::decrement_ttl(frame.bytes_mut(), packet.at.l3)
        {
            return None;
        }
        match self.clients_error(frame, &of_client, quote) {
            // What it forwards the kernel does not join when it puts it together.
            Some(Verdict::Fragment(port, to, Cut::Joined(size))) => {
                Some(Verdict::Fragment(port, to, Cut::Listed(size)))
            }
            Some(verdict) => Some(verdict),
            None => self.servers_error(frame, packet, quote),
        }
    }

    /// A connection for an error about none: the flow is the quoted packet's, reversed.
    fn adopt(&mut self, packet: &Packet<A>, quote: &Quote<A>) -> Option<ConnId> {
        let at = Offsets { protocol: quote.protocol, ..packet.at };
        let flow = Packet { src: quote.dst, sport: quote.dport, dst: quote.src, dport: quote.sport, at, ..*packet };
        let mark = self.mark(packet);
        self.enter(&flow, mark)
    }

    /// Sends an error on to a connection's server, by the connection's method. One too long is not refused, for nobody is told of an error
    /// about an error: that of IPv4 leaves in pieces, that of IPv6 not at all.
    fn relay<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        quote: &Quote<A>,
        bound: &Bound<'_, A>,
    ) -> Verdict {
        let bypass = bound.flags.contains(ConnFlags::BYPASS);
        let hop = if bypass { A::hop(self.snapshot, packet.dst) } else { self.shared_hop(bound, packet.dst) };
        let local = hop == Hop::Local;
        if !local && forward::mtu(&hop).is_none() {
            return Verdict::Drop(DropReason::NoRoute);
        }
        if !local && A::ttl(frame.bytes(), packet.at.l3) <= 1 {
            return Verdict::Drop(DropReason::TtlExceeded);
        }
        let (room, tunnel) = self.room(bound, &hop, packet.now);
        let is_narrow = tunnel.is_some_and(|path| tun::is_too_narrow(path, room.mtu));
        if !local && (is_narrow || self.is_kept(frame, packet, room, tunnel)) {
            return Verdict::Drop(DropReason::TooBig);
        }
        if !local {
            trim(frame, packet.at.end);
            A::decrement_ttl(frame.bytes_mut(), packet.at.l3);
        }
        self.shared.event(Event::IcmpRelayed);
        if bound.flags.contains(ConnFlags::NAT) {
            frame.pull(quote.reach(&packet.at));
            quote.translate(frame.bytes_mut(), &packet.at, End::Destination, bound.daddr, bound.dport);
        }
        if local {
            return self.shared.kernels(self.snapshot, packet.port, packet.origin);
        }
        if bound.flags.contains(ConnFlags::TUN)
            && let Err(reason) = self.encapsulate(frame, packet.at, packet.hash, bound.path)
        {
            return Verdict::Drop(reason);
        }
        let cut = room.cut::<A>(packet.length, frame.largest_fragment(), tunnel);
        if matches!(cut, Some(Cut::AtMost(_))) {
            take_df_off(frame, packet.at.l3);
        }
        let exit = forward::send(frame, &hop);
        match cut {
            Some(cut) => forward::in_pieces(exit, cut),
            None => forward::verdict(exit),
        }
    }

    /// Is an error too long to be cut: one of IPv6, or of IPv4 that came in longer fragments with DF?
    fn is_kept<F: Frame>(&self, frame: &F, packet: &Packet<A>, room: Room, tunnel: Option<&Path>) -> bool {
        let largest = frame.largest_fragment();
        if A::V6 {
            return longest(packet, largest) > room.mtu.saturating_sub(room.overhead);
        }
        let obeys = tunnel.is_none_or(|path| {
            path.address.is_some_and(|address| address.is_ipv4()) && self.snapshot.rules.settings.pmtu_disc
        });
        obeys && A::dont_fragment(frame.bytes(), packet.at.l3) && largest.is_some_and(|largest| largest > room.mtu)
    }

    /// What a server, or a router before it, says of a client's packet goes to the client, as if from the virtual address.
    fn servers_error<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, quote: &Quote<A>) -> Option<Verdict> {
        let Quote { src: caddr, sport: cport, dst: daddr, dport, protocol, .. } = *quote;
        let key = ReplyKey { protocol, caddr, cport, daddr, dport };
        let Some(id) = self.tables.connections.reply(packet.hash, packet.candidate, &key) else {
            self.count_own_error(packet, quote);
            return None;
        };
        if !A::is_intact(frame.bytes(), &packet.at) {
            return Some(Verdict::Drop(DropReason::BadIcmpChecksum));
        }
        let (vaddr, vport) = self.tables.connections.get(id).map(|c| (c.vaddr, c.vport))?;
        let from_wire = packet.origin == Origin::Wire;
        if from_wire && A::ttl(frame.bytes(), packet.at.l3) <= 1 {
            return Some(Verdict::Drop(DropReason::TtlExceeded));
        }
        let hop = A::hop(self.snapshot, packet.dst);
        let (largest, fixed) = (frame.largest_fragment(), A::dont_fragment(frame.bytes(), packet.at.l3));
        let is_long = forward::mtu(&hop).is_some_and(|mtu| longest(packet, largest) > mtu);
        let tracked = !A::V6 && self.snapshot.rules.tracks();
        let fits = largest.is_some_and(|largest| !tracked || forward::mtu(&hop).is_none_or(|mtu| largest <= mtu));
        if from_wire && fixed && is_long && (A::V6 || !fits) {
            return Some(Verdict::Drop(DropReason::TooBig));
        }
        self.count_error(id, packet, Direction::Output);
        trim(frame, packet.at.end);
        if from_wire {
            A::decrement_ttl(frame.bytes_mut(), packet.at.l3);
        }
        frame.pull(quote.reach(&packet.at));
        quote.translate(frame.bytes_mut(), &packet.at, End::Source, vaddr, vport);
        self.shared.event(Event::IcmpRelayed);
        let Some(mtu) = forward::mtu(&hop) else {
            return Some(self.shared.kernels(self.snapshot, packet.port, packet.origin));
        };
        let exit = forward::send(frame, &hop);
        Some(match largest {
            Some(_) if fixed && !A::V6 && !tracked => Verdict::Drop(DropReason::TooBig),
            Some(largest) if A::V6 && packet.length <= largest => forward::verdict(exit),
            Some(largest) => forward::in_pieces(exit, Cut::Listed(most_of_piece::<A>(largest, mtu))),
            None if packet.length > mtu => forward::in_pieces(exit, Cut::AtMost(mtu)),
            None => forward::verdict(exit),
        })
    }

    /// An error that the director's own stack sends about a packet on its way to a server of DR or TUN counts as that server's.
    fn count_own_error(&mut self, packet: &Packet<A>, quote: &Quote<A>) {
        let Quote { src: caddr, sport: cport, dst: vaddr, dport: vport, protocol, .. } = *quote;
        let key = RequestKey { protocol, caddr, cport, vaddr, vport };
        let found = self.tables.connections.request(packet.hash, packet.candidate, &key);
        let nat = |id: ConnId| self.tables.connections.get(id).is_some_and(|c| c.flags.contains(ConnFlags::NAT));
        if let Some(id) = found.filter(|id| packet.origin == Origin::Twin && !nat(*id)) {
            self.count_error(id, packet, Direction::Output);
        }
    }

    /// What a router says of a tunnel's packet is told to the client, about the packet inside and from the virtual address. The tunnel
    /// may be any of ours: the kernel does not ask whether it is the connection's.
    fn tunnels_error<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, quote: &Quote<A>) -> Option<Verdict> {
        let known = |tunnel: &(A, Shim)| self.snapshot.rules.is_tunnel(tunnel.0.ip(), tunnel.1);
        if !A::network(self.snapshot).local.contains(packet.dst) || !quote.through.as_ref().is_some_and(known) {
            return None;
        }
        let Quote { src: caddr, sport: cport, dst: vaddr, dport: vport, protocol, .. } = *quote;
        let key = RequestKey { protocol, caddr, cport, vaddr, vport };
        let id = self.tables.connections.request(packet.hash, packet.candidate, &key)?;
        let (dest, nat) = self.tables.connections.get(id).map(|c| (c.dest, c.flags.contains(ConnFlags::NAT)))?;
        let path = self.snapshot.path(dest);
        if !A::is_intact(frame.bytes(), &packet.at) {
            return Some(Verdict::Drop(DropReason::BadIcmpChecksum));
        }
        let header = icmpv4::Packet::new_checked(frame.bytes().get(packet.at.l4..)?).ok()?;
        let (kind, code, mtu) = (header.kind(), header.code(), header.mtu());
        if (kind, code) != (icmpv4::kind::UNREACHABLE, icmpv4::unreachable::FRAGMENTATION_NEEDED) {
            return Some(self.tell_client(frame, packet, quote, (dest, nat), Fault::Told(kind, code)));
        }
        // As the kernel: told now is what the way took so far; what it takes from now on is told to the next packet that is too long.
        let before = self.shared.learn_mtu(dest, forward::mtu(&path.hop)?, mtu, packet.now);
        let overhead = u16::try_from(quote.l3.saturating_sub(packet.at.l4 + icmpv4::HEADER_LEN)).ok()?;
        let fits = if before > LEAST_MTU + overhead { before - overhead } else { before };
        let asks = A::dont_fragment(frame.bytes(), quote.l3);
        asks.then(|| self.tell_client(frame, packet, quote, (dest, nat), Fault::TooBig(fits)))
    }

    /// Sends the error about the packet inside. The kernel counts what it quotes as the server's, and the error too unless it is about a
    /// connection under NAT.
    fn tell_client<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        quote: &Quote<A>,
        (dest, nat): (DestId, bool),
        fault: Fault,
    ) -> Verdict {
        let hop = A::hop(self.snapshot, quote.src);
        if forward::mtu(&hop).is_none() {
            return Verdict::Drop(DropReason::NoRoute);
        }
        let front = quote.l3 - L3;
        let at = Offsets { l3: L3, l4: L3, end: packet.at.end - front, protocol: quote.protocol };
        let turned = if frame.trim_front(front) { answer::turn_into(frame, &at, fault, quote.dst) } else { None };
        let Some(length) = turned else { return Verdict::Drop(DropReason::NoReplyRoom) };
        self.count_out(dest, at.end - L3);
        if !nat {
            self.count_out(dest, length.into());
        }
        self.shared.event(Event::IcmpRelayed);
        forward::verdict(forward::send(frame, &hop))
    }

    /// Counts an error among the packets of the connection's destination.
    fn count_error(&mut self, id: ConnId, packet: &Packet<A>, direction: Direction) {
        let Some(dest) = self.tables.connections.get(id).map(|c| c.dest) else { return };
        match direction {
            Direction::Output => self.count_out(dest, packet.length.into()),
            _ => self.count_in(dest, packet.length),
        }
    }
}

/// Takes DF off a packet of IPv4, as the kernel does when it relays errors that are too long.
#[cold]
fn take_df_off<F: Frame>(frame: &mut F, l3: usize) {
    let bytes = frame.bytes_mut().get_mut(l3..).unwrap_or_default();
    if let Ok(mut packet) = ipv4::Packet::new_checked(bytes) {
        packet.set_dont_fragment(false);
    }
}
