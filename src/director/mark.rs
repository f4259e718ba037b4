//! Firewall marks: which packets they bring to the director, and the connection that a mark's client gets when no destination can be
//! had (`ip_vs_leave` with `cache_bypass`).

use crate::conn::{ConnFlags, ConnId, Connection};
use crate::destination::DestId;
use crate::director::family::Family;
use crate::director::request::Bound;
use crate::director::schedule::reason;
use crate::director::{Director, Lane, Packet};
use crate::forward;
use crate::frame::Frame;
use crate::mark::Header;
use crate::network::Hop;
use crate::proto::{Direction, State};
use crate::service::{Protocol, Service, ServiceKey};
use crate::snapshot::Snapshot;
use crate::stats::{DropReason, Event};
use crate::verdict::{Origin, Verdict};

/// Is the packet for the director itself, though its destination is no virtual address: by address, by route, or by policy routing for
/// its mark? To be asked only while there are services of marks.
#[inline(never)]
pub(super) fn is_delivered<A: Family>(snapshot: &Snapshot, header: &Header<A>) -> bool {
    let network = A::network(snapshot);
    let by_policy = || !network.policies.is_empty() && network.is_local_by_policy(header.dst, snapshot.mark(header));
    header.dst.is_host() && (network.is_local(header.dst) || by_policy())
}

impl Director {
    /// Has a firewall mark, or may one have, to do with a packet that is for no virtual address?
    #[inline(always)]
    pub(super) fn is_by_mark<A: Family>(&self, header: impl FnOnce() -> Header<A>, origin: Origin) -> bool {
        self.snapshot.rules.has_mark_services::<A>()
            && origin == Origin::Wire
            && is_delivered(&self.snapshot, &header())
    }
}

impl<A: Family> Lane<'_, A> {
    /// See [`Director::is_by_mark`].
    pub(super) fn is_by_mark(&self, packet: &Packet<A>) -> bool {
        self.snapshot.rules.has_mark_services::<A>()
            && packet.origin == Origin::Wire
            && is_delivered(self.snapshot, &packet.header())
    }

    /// The packet's mark; 0 as long as no service asks for one. What the director itself sends is never marked.
    pub(super) fn mark(&self, packet: &Packet<A>) -> u32 {
        if packet.origin != Origin::Wire || !self.snapshot.rules.has_mark_services::<A>() {
            return 0;
        }
        self.snapshot.mark(&packet.header())
    }

    /// Is a client for whom there is no destination sent on to the address that it asked for?
    pub(super) fn is_bypassed(&self, packet: &Packet<A>, service: &Service) -> bool {
        let foreign = || A::V6 || !A::network(self.snapshot).is_local(packet.dst);
        self.snapshot.rules.settings.cache_bypass
            && matches!(service.key, ServiceKey::Mark { .. })
            && packet.dst.is_host()
            && foreign()
    }

    /// Makes a connection that goes past every destination, and sends its first packet.
    pub(super) fn open_bypass<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, service: &Service) -> Verdict {
        let mut connection = self.bypass_connection(packet);
        let bound = self.bound(&connection);
        if service.flags.one_packet && packet.at.protocol == Protocol::Udp.number() {
            return forward::verdict(self.deliver(frame, packet, &bound));
        }
        self.supersede(packet.hash, &mut connection);
        match self.tables.connections.insert(packet.hash, connection, packet.now) {
            Ok(id) => {
                self.shared.event(Event::Created);
                self.advance(id, packet, Direction::Input);
                forward::verdict(self.deliver(frame, packet, &bound))
            }
            Err(full) => Verdict::Drop(reason(full)),
        }
    }

    fn bypass_connection(&self, packet: &Packet<A>) -> Connection<A> {
        let timeout = self.shared.timeouts.ticks(State::None);
        Connection {
            caddr: packet.src,
            cport: packet.sport,
            vaddr: packet.dst,
            vport: packet.dport,
            protocol: packet.at.protocol,
            state: State::None,
            flags: ConnFlags::BYPASS,
            expires: packet.now.plus(timeout),
            timeout,
            dest: DestId::NONE,
            template: ConnId::NONE,
            ..Connection::default()
        }
    }

    /// Sends a client's packet on to the address that it asked for.
    #[cold]
    pub(super) fn bypass<F: Frame>(&mut self, frame: &mut F, packet: Packet<A>, bound: Bound<'_, A>) -> Verdict {
        let hop = A::hop(self.snapshot, packet.dst);
        if hop == Hop::Local {
            return Verdict::Drop(DropReason::NoRoute);
        }
        forward::verdict(self.deliver_by(frame, &packet, &bound, &hop))
    }
}

impl<A: Family> Packet<A> {
    /// What the mark rules look at.
    pub(super) fn header(&self) -> Header<A> {
        let Self { src, dst, sport, dport, port, .. } = *self;
        Header { src, dst, protocol: self.at.protocol, sport, dport, port }
    }
}
