//! Persistence: a template binds a client, or a client's network, to a destination (`ip_vs_sched_persist`). Its timer starts when it is
//! made and again with each new connection, never with a packet.

use std::sync::Arc;

use crate::conn::{ConnFlags, ConnId, Connection};
use crate::destination::Destination;
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
struct Wanted<A> {
    protocol: u8,
    network: A,
    vaddr: A,
    vport: u16,
    hash: u64,
}

impl<'s, A: Family> Lane<'s, A> {
    /// Follows the client's template, or schedules and makes one.
    pub(super) fn follow(
        &mut self,
        packet: &Packet<A>,
        service: &'s Service,
        persistence: Persistence,
    ) -> Option<Choice<'s>> {
        let wanted = self.wanted(packet, service, persistence);
        let id = self.tables.templates.find(wanted.hash, |t| {
            (t.caddr == wanted.network)
                & (t.vaddr == wanted.vaddr)
                & (t.vport == wanted.vport)
                & (t.protocol == wanted.protocol)
        });
        let (dest, template) = match id.and_then(|id| self.still_valid(id, packet.now)) {
            Some(found) => found,
            None => self.establish(packet, service, persistence, &wanted)?,
        };
        let to_service_port = packet.dport == service.key.port() && dest.port != 0;
        Some(Choice { dest, template, dport: if to_service_port { dest.port } else { packet.dport } })
    }

    fn wanted(&self, packet: &Packet<A>, service: &Service, persistence: Persistence) -> Wanted<A> {
        let own_port = packet.dport == service.key.port() && packet.dport != FTP;
        let network = packet.src.masked(persistence.prefix);
        let (protocol, vaddr) = match service.key {
            ServiceKey::Mark { mark, .. } if packet.dport != 0 => (ANY, A::of_mark(mark)),
            _ => (packet.at.protocol, packet.dst),
        };
        let hash = self.tables.templates.template_hash(protocol, network, vaddr);
        Wanted { protocol, network, vaddr, vport: if own_port { packet.dport } else { 0 }, hash }
    }

    /// The template's destination, if it still takes the client; the template's timer starts again either way.
    fn still_valid(&mut self, id: ConnId, now: Tick) -> Option<(&'s Arc<Destination>, ConnId)> {
        let template = self.tables.templates.get_mut(id)?;
        template.expires = now.plus(template.timeout);
        let dest = template.dest;
        let expire_quiescent = self.snapshot.rules.settings.expire_quiescent_template;
        // As in the kernel it may be another service's: those of FTP and of port 0 share the templates of an address.
        let dest = self.snapshot.rules.destination(dest);
        let dest = dest.filter(|d| d.available && (d.weight > 0 || !expire_quiescent));
        if dest.is_none() {
            (template.vport, template.dport) = (RETIRED, RETIRED);
        }
        dest.map(|dest| (dest, id))
    }

    /// Schedules, and remembers the choice. A full table leaves the client without a template, not without service.
    fn establish(
        &mut self,
        packet: &Packet<A>,
        service: &'s Service,
        persistence: Persistence,
        wanted: &Wanted<A>,
    ) -> Option<(&'s Arc<Destination>, ConnId)> {
        let dest = self.pick(service, packet)?;
        let timeout = persistence.timeout_secs.saturating_mul(HZ);
        let template = Connection {
            caddr: wanted.network,
            vaddr: wanted.vaddr,
            vport: wanted.vport,
            daddr: A::from_ip(dest.address).unwrap_or_default(),
            dport: if packet.dport == service.key.port() && packet.dport != FTP { dest.port } else { 0 },
            protocol: wanted.protocol,
            state: State::None,
            flags: ConnFlags::TEMPLATE,
            expires: packet.now.plus(timeout),
            timeout,
            dest: dest.id,
            ..Connection::default()
        };
        let id = self.tables.templates.insert(wanted.hash, template, packet.now).unwrap_or(ConnId::NONE);
        if id.is_some() {
            self.shared.event(Event::TemplateCreated);
            self.load_mut(dest.id, |load| load.persistent += 1);
        }
        Some((dest, id))
    }
}
