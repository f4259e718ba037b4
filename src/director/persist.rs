//! Persistence: a template binds a client, or a client's network, to a destination (`ip_vs_sched_persist`). Its timer starts when it is
//! made and again with each new connection, never with a packet.

use std::sync::Arc;

use crate::app::sip::CallId;
use crate::conn::{ConnFlags, ConnId, Connection};
use crate::destination::{DestId, Destination};
use crate::director::family::Family;
use crate::director::schedule::Choice;
use crate::director::{Lane, Packet};
use crate::proto::State;
use crate::service::{Persistence, Service, ServiceKey};
use crate::stats::Event;
use crate::time::{HZ, Tick};

/// FTP's control port: its template holds for every port of the address.
const FTP: u16 = 21;
/// The protocol of a mark's template, which holds for all of them.
const ANY: u8 = 0;
/// The port that a template is renamed to when its destination is no longer followed.
const RETIRED: u16 = 65535;

/// What a template is found by.
#[derive(Clone, Copy)]
struct Wanted<'c, A> {
    protocol: u8,
    network: A,
    vaddr: A,
    vport: u16,
    call: &'c [u8],
    /// Hash of the Call-ID.
    name: u32,
    hash: u64,
}

impl<'s, A: Family> Lane<'s, A> {
    /// Follows the client's template, or schedules and makes one.
    pub(super) fn follow(
        &mut self,
        packet: &Packet<A>,
        service: &'s Service,
        persistence: Persistence,
        call: &[u8],
    ) -> Option<Choice<'s>> {
        let own_port = is_of_own_port(packet, service);
        let wanted = self.wanted_by(packet, service, persistence, call);
        let found = self.find_template(&wanted);
        found.into_iter().for_each(|id| self.bind_template(id));
        let (dest, template) = match found.and_then(|id| self.still_valid(id, packet.now, None)) {
            Some(found) => found,
            None => {
                let dest = self.pick(service, packet)?;
                (dest, self.establish(&wanted, dest, if own_port { dest.port } else { 0 }, persistence, packet.now))
            }
        };
        let to_service_port = packet.dport == service.key.port() && dest.port != 0;
        Some(Choice { dest, template, dport: if to_service_port { dest.port } else { packet.dport } })
    }

    /// The template that the client of a packet has at a service.
    pub(super) fn template_by(
        &self,
        packet: &Packet<A>,
        service: &Service,
        persistence: Persistence,
        call: &[u8],
    ) -> Option<ConnId> {
        self.find_template(&self.wanted_by(packet, service, persistence, call))
    }

    fn wanted_by<'c>(
        &self,
        packet: &Packet<A>,
        service: &Service,
        persistence: Persistence,
        call: &'c [u8],
    ) -> Wanted<'c, A> {
        let (protocol, vaddr) = match service.key {
            ServiceKey::Mark { mark, .. } if packet.dport != 0 => (ANY, A::of_mark(mark)),
            _ => (packet.at.protocol, packet.dst),
        };
        let vport = if is_of_own_port(packet, service) { packet.dport } else { 0 };
        self.wanted(protocol, packet.src.under(persistence.netmask), (vaddr, vport), call)
    }

    /// The template that binds the client of a flow to the destination that began it, made if there is none to that one.
    pub(super) fn template_to(
        &mut self,
        flow: &Packet<A>,
        vport: u16,
        persistence: Persistence,
        call: &[u8],
        dest: &'s Arc<Destination>,
        dport: u16,
    ) -> ConnId {
        let network = flow.src.under(persistence.netmask);
        let wanted = self.wanted(flow.at.protocol, network, (flow.dst, vport), call);
        let found = self.find_template(&wanted);
        match found.and_then(|id| self.still_valid(id, flow.now, Some(dest.id))) {
            Some((_, template)) => template,
            None => self.establish(&wanted, dest, dport, persistence, flow.now),
        }
    }

    /// The template of a client's network and a virtual end.
    pub(super) fn template_of(&self, protocol: u8, network: A, virtual_end: (A, u16), call: &[u8]) -> Option<ConnId> {
        self.find_template(&self.wanted(protocol, network, virtual_end, call))
    }

    fn wanted<'c>(&self, protocol: u8, network: A, (vaddr, vport): (A, u16), call: &'c [u8]) -> Wanted<'c, A> {
        let templates = &self.tables.templates;
        let name = templates.name_hash(call);
        let hash = templates.named_template_hash(protocol, network, vaddr, name);
        Wanted { protocol, network, vaddr, vport, call, name, hash }
    }

    fn find_template(&self, wanted: &Wanted<'_, A>) -> Option<ConnId> {
        let calls = &self.shared.apps.calls;
        self.tables.templates.find(wanted.hash, |t| {
            (t.caddr == wanted.network)
                & (t.vaddr == wanted.vaddr)
                & (t.vport == wanted.vport)
                & (t.protocol == wanted.protocol)
                & (t.extra == wanted.name)
                && (wanted.name == 0 || calls.get(t.side).is_some_and(|kept| kept.bytes() == wanted.call))
        })
    }

    /// The template's destination, if it still takes the client and is the one that is meant; the template's timer then starts again.
    /// Otherwise the template is renamed and left to its timer.
    fn still_valid(&mut self, id: ConnId, now: Tick, meant: Option<DestId>) -> Option<(&'s Arc<Destination>, ConnId)> {
        let bound = self.tables.templates.get(id)?.dest;
        let dest = self.keeps_clients(bound).filter(|d| meant.is_none_or(|meant| meant == d.id));
        let template = self.tables.templates.get_mut(id)?;
        match dest {
            Some(_) => template.expires = now.plus(template.timeout),
            None => (template.vport, template.dport) = (RETIRED, RETIRED),
        }
        dest.map(|dest| (dest, id))
    }

    /// The destination, if it still takes the clients of its templates.
    pub(super) fn keeps_clients(&self, dest: DestId) -> Option<&'s Arc<Destination>> {
        let rules = &self.snapshot.rules;
        let expire_quiescent = rules.settings.expire_quiescent_template;
        // As in the kernel it may be another service's: those of FTP and of port 0 share the templates of an address.
        rules.destination(dest).filter(|d| d.available && d.holds && (d.weight > 0 || !expire_quiescent))
    }

    /// Makes a template. A full table leaves the client without a template, not without service.
    fn establish(
        &mut self,
        wanted: &Wanted<'_, A>,
        dest: &Destination,
        dport: u16,
        persistence: Persistence,
        now: Tick,
    ) -> ConnId {
        let timeout = persistence.timeout_secs.saturating_mul(HZ);
        let side = if wanted.name == 0 { Some(0) } else { self.shared.apps.calls.take() };
        let Some(side) = side else { return ConnId::NONE };
        let template = Connection {
            caddr: wanted.network,
            vaddr: wanted.vaddr,
            vport: wanted.vport,
            daddr: A::from_ip(dest.address).unwrap_or_default(),
            dport,
            protocol: wanted.protocol,
            state: State::None,
            flags: ConnFlags::TEMPLATE,
            side,
            extra: wanted.name,
            expires: now.plus(timeout),
            timeout,
            dest: dest.id,
            ..Connection::default()
        };
        let Ok(id) = self.tables.templates.insert(wanted.hash, template, now) else {
            self.shared.apps.calls.give_back(side);
            return ConnId::NONE;
        };
        if let Some(kept) = self.shared.apps.calls.get_mut(side) {
            *kept = CallId::new(wanted.call).unwrap_or_default();
        }
        self.shared.event(Event::TemplateCreated);
        self.load_mut(dest.id, |load| load.persistent += 1);
        id
    }
}

/// Is the packet to the service's own port, which is not FTP's?
fn is_of_own_port<A>(packet: &Packet<A>, service: &Service) -> bool {
    packet.dport == service.key.port() && packet.dport != FTP
}
