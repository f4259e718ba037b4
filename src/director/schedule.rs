//! A client's packet without a connection: which service, may it start one, which destination (`ip_vs_schedule`).

use std::sync::Arc;

use crate::conn::{ConnFlags, ConnId, Connection, InsertError};
use crate::destination::Destination;
use crate::director::announce;
use crate::director::call::call_id;
use crate::director::family::Family;
use crate::director::ftp::is_helped;
use crate::director::request::Bound;
use crate::director::{Lane, Packet, Shared};
use crate::forward;
use crate::forward::answer::Fault;
use crate::frame::Frame;
use crate::proto::State;
use crate::scheduler::Candidates;
use crate::service::{Protocol, Service};
use crate::stats::{DropReason, Event};
use crate::time::HZ;
use crate::verdict::{Origin, Verdict};
use crate::wire::protocol;

/// FTP's control port.
pub(super) const FTP: u16 = 21;
/// FTP's data port: an active data connection is never scheduled.
pub(super) const FTP_DATA: u16 = 20;

/// Life in ticks of a connection of which no packet has been seen yet, only an error about one.
const UNSETTLED: u32 = 3 * HZ;

/// What a new connection is bound to.
pub(super) struct Choice<'s> {
    pub(super) dest: &'s Arc<Destination>,
    pub(super) template: ConnId,
    pub(super) dport: u16,
}

impl<'s, A: Family> Lane<'s, A> {
    /// Judges a packet to a virtual address that belongs to no connection.
    #[inline(never)]
    pub(super) fn unknown<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        let snapshot = self.snapshot;
        let mark = self.mark(packet);
        let service = Protocol::from_number(packet.at.protocol)
            .and_then(|protocol| snapshot.rules.service_of(mark, protocol, packet.dst.ip(), packet.dport));
        let Some(service) = service else {
            self.shared.event(Event::NoService);
            return self.shared.kernels(snapshot, packet.port, packet.origin);
        };
        let starts = packet.segment.starts(&snapshot.rules.settings) && !self.is_martian(packet);
        if starts && self.shared.defence.drops() {
            return Verdict::Drop(DropReason::Defended);
        }
        if !starts || packet.sport == FTP_DATA {
            if let Some(verdict) = self.spilled(frame, packet, service) {
                return verdict;
            }
            self.shared.event(Event::NoConnection);
            return self.shared.kernels(snapshot, packet.port, packet.origin);
        }
        // A service of port 21 is asked about the other ports too, for its data connections: those of FTP in DR and TUN, which only
        // a template ties to their server. What it does not take is not IPVS's.
        let of_data = service.key.port() == FTP && packet.dport != FTP;
        let call = match call_id(frame, packet, service) {
            Ok(call) => call,
            Err(reason) => return Verdict::Drop(reason),
        };
        let none = of_data && service.persistence.is_none();
        let choice = if none { None } else { self.choose(packet, service, call) };
        match choice {
            Some(choice) => self.open(frame, packet, service, &choice),
            None if self.is_bypassed(packet, service) => self.open_bypass(frame, packet, service),
            None if of_data => self.shared.kernels(snapshot, packet.port, packet.origin),
            None => self.refuse_unbound(frame, *packet, Fault::PortUnreachable, DropReason::NoDestination),
        }
    }

    /// The client's template's destination, or the scheduler's.
    fn choose(&mut self, packet: &Packet<A>, service: &'s Service, call: &[u8]) -> Option<Choice<'s>> {
        match &service.persistence {
            Some(persistence) => self.follow(packet, service, *persistence, call),
            None => self.pick(service, packet).map(|dest| Choice {
                dest,
                template: ConnId::NONE,
                dport: if dest.port == 0 { packet.dport } else { dest.port },
            }),
        }
    }

    /// Makes a connection for a flow of which only an error was seen, of this mark: it has no state yet. `None` when no service takes
    /// it.
    pub(super) fn enter(&mut self, flow: &Packet<A>, mark: u32) -> Option<ConnId> {
        let rules = &self.snapshot.rules;
        let protocol = Protocol::from_number(flow.at.protocol)?;
        let service = rules.service_of(mark, protocol, flow.dst.ip(), flow.dport)?;
        // An error has no Call-ID.
        if service.engine.is_some() && service.persistence.is_some() {
            return None;
        }
        let choice = self.choose(flow, service, &[])?;
        let mut connection = self.connection(flow, &choice);
        // One-packet scheduling: it ends with the error.
        if service.flags.one_packet && flow.at.protocol == protocol::UDP {
            connection.flags.insert(ConnFlags::ONE_PACKET);
        }
        let id = self.tables.connections.insert(flow.hash, connection, flow.now).ok()?;
        self.count_connection(choice.dest.id);
        self.bind(choice.dest.id, choice.dest.upper, choice.template);
        Some(id)
    }

    /// Has the packet a source that no client can have? The kernel drops such packets where it looks up the route.
    #[inline]
    pub(super) fn is_martian(&self, packet: &Packet<A>) -> bool {
        let own = || packet.origin == Origin::Wire && A::network(self.snapshot).local.contains(packet.src);
        !packet.src.is_host() || own()
    }

    /// Asks the service's scheduler.
    #[inline]
    pub(super) fn pick(&mut self, service: &'s Service, packet: &Packet<A>) -> Option<&'s Arc<Destination>> {
        let Shared { schedulers, loads, .. } = &mut *self.shared;
        let scheduler = schedulers.of(service, loads, &self.snapshot.rules)?;
        let candidates = Candidates::of(service, &self.snapshot.rules, loads);
        let id = scheduler.schedule(&candidates, &packet.flow(), packet.now)?;
        // Where destinations are by their index, not in the list of the service, which may be long.
        let dest = self.snapshot.rules.destination(id);
        debug_assert!(
            service.destinations.iter().any(|d| dest.is_some_and(|dest| dest == d)),
            "a service's destination"
        );
        dest
    }

    /// Makes the connection and sends its first packet.
    pub(super) fn open<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        service: &Service,
        choice: &Choice<'_>,
    ) -> Verdict {
        let dest = &**choice.dest;
        let path = self.snapshot.path(dest.id);
        let mut connection = self.connection(packet, choice);
        let one_packet = service.flags.one_packet && packet.at.protocol == Protocol::Udp.number();
        let remembered = (!one_packet).then_some(dest.id);
        let bound =
            Bound { dest: remembered, flags: connection.flags, path, daddr: connection.daddr, dport: connection.dport };
        if one_packet {
            self.count_scheduled(service.id, dest);
            self.count_in(dest.id, packet.length);
            if self.shared.announcer.on {
                self.announce_controller(choice.template, packet.now);
            }
            return forward::verdict(self.deliver(frame, packet, &bound));
        }
        self.supersede(packet.hash, &mut connection);
        self.set_out(&mut connection, packet);
        match self.tables.connections.insert(packet.hash, connection, packet.now) {
            Ok(id) => {
                let length = bound.path.available.then_some(packet.length);
                self.count_begun(service.id, dest, connection.flags, length);
                self.count_controlled(choice.template);
                self.assure_first(id, &connection, packet);
                if self.shared.announcer.on {
                    self.announce(id, packet.now);
                }
                forward::verdict(self.deliver(frame, packet, &bound))
            }
            Err(why) => {
                self.give_back(&connection);
                self.spill(frame, packet, service, choice, why)
            }
        }
    }

    #[inline]
    pub(super) fn connection(&self, packet: &Packet<A>, choice: &Choice<'_>) -> Connection<A> {
        let dest = choice.dest;
        let method = announce::method(dest.method);
        let helped = is_helped(packet.at.protocol, packet.dport, method);
        let helped = if helped { ConnFlags::HELPED } else { ConnFlags::default() };
        Connection {
            caddr: packet.src,
            cport: packet.sport,
            vaddr: packet.dst,
            vport: packet.dport,
            // A tunnel may lead to a server of the other family; its address is then read from the destination.
            daddr: A::from_ip(dest.address).unwrap_or_default(),
            dport: choice.dport,
            protocol: packet.at.protocol,
            state: if packet.at.protocol == protocol::UDP { State::Udp } else { State::None },
            flags: method | helped | ConnFlags::INACTIVE,
            expires: packet.now.plus(UNSETTLED),
            timeout: UNSETTLED,
            dest: dest.id,
            template: choice.template,
            ..Connection::default()
        }
    }
}

pub(super) fn reason(full: InsertError) -> DropReason {
    match full {
        InsertError::Full => DropReason::TableFull,
        InsertError::ChainFull => DropReason::ChainFull,
    }
}
