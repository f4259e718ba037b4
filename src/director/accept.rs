//! What a backup of the synchronisation makes of a connection or template that it is told of (`ip_vs_proc_conn`): it enters it, bound
//! to the destination that its own rules have for it, or moves on the one that is there. One for which there is no destination yet is
//! kept unbound until the next message finds one (`ip_vs_try_bind_dest`).

use std::sync::Arc;

use crate::app::sip::CallId;
use crate::conn::{ConnFlags, ConnId, Connection, RequestKey};
use crate::destination::{DestId, Destination, Method};
use crate::director::announce::method;
use crate::director::family::Family;
use crate::director::ftp::is_helped;
use crate::director::supersede::requests_of;
use crate::director::{Director, Lane};
use crate::proto::State;
use crate::service::{Protocol, ServiceKey};
use crate::stats::Event;
use crate::sync::{Entry, Flags, Memo};
use crate::time::{HZ, Instant, Tick};
use crate::wire::protocol;

/// FTP's control port: its service's templates have the virtual port 0.
const FTP: u16 = 21;
/// Life in ticks of a template of which no time-out is told.
const TEMPLATE: u32 = 180 * HZ;
/// The longest time-out in seconds: a signed word of ticks holds it.
const LONGEST_SECS: u32 = i32::MAX.unsigned_abs() / HZ;

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// It is a new one.
    Made,
    /// It was known.
    Updated,
    /// It is about a connection that was replaced by another already.
    Outdated,
    /// There is no room for it.
    Full,
}

impl Director {
    /// Takes over a connection or template of another director.
    pub fn accept(&mut self, entry: &Entry, now: Instant) -> Accepted {
        let (core, snapshot, now) = (&mut self.core, &*self.snapshot, now.tick());
        core.shared.announcer.remembers = true;
        let v4 = u32::lane(core, snapshot).accept(entry, now);
        let accepted = v4.or_else(|| u128::lane(core, snapshot).accept(entry, now)).unwrap_or(Accepted::Full);
        if accepted == Accepted::Full {
            core.shared.event(Event::SyncNoRoom);
        } else {
            core.shared.event(Event::SyncAccepted);
        }
        accepted
    }
}

/// The ends of an entry in one family.
#[derive(Clone, Copy)]
struct Ends<A> {
    client: A,
    vip: A,
    dest: A,
}

impl<'s, A: Family> Lane<'s, A> {
    /// `None` when the entry is of the other family.
    fn accept(&mut self, entry: &Entry, now: Tick) -> Option<Accepted> {
        let (client, vip) = (A::from_ip(entry.client)?, A::from_ip(entry.vip)?);
        let ends = Ends { client, vip, dest: A::from_ip(entry.dest)? };
        Some(if entry.is_template() {
            self.accept_template(entry, ends, now)
        } else {
            self.accept_connection(entry, ends, now)
        })
    }

    fn accept_connection(&mut self, entry: &Entry, ends: Ends<A>, now: Tick) -> Accepted {
        let Some(id) = self.told_connection(entry, ends) else { return self.new_connection(entry, ends, None, now) };
        let Some(known) = self.tables.connections.get(id) else { return Accepted::Full };
        if (known.daddr, known.dport) == (ends.dest, entry.dport) {
            self.update_connection(id, entry, now);
            return Accepted::Updated;
        }
        if entry.flags.contains(Flags::INACTIVE) {
            return Accepted::Outdated;
        }
        self.tables.connections.expire_now(id, now);
        self.new_connection(entry, ends, Some(id), now)
    }

    /// The connection that is told of, if it is known; perhaps one whose client's port is not.
    fn told_connection(&self, entry: &Entry, Ends { client: caddr, vip: vaddr, .. }: Ends<A>) -> Option<ConnId> {
        let connections = &self.tables.connections;
        let find = |cport: u16| {
            let key = RequestKey { protocol: entry.protocol, caddr, cport, vaddr, vport: entry.vport };
            let hash = connections.hash(entry.protocol, caddr, cport);
            connections.find(hash, |c| key.matches(c) && c.flags.contains(ConnFlags::NO_CPORT) == (cport == 0))
        };
        find(entry.cport).or_else(|| if self.tables.portless == 0 { None } else { find(0) })
    }

    fn update_connection(&mut self, id: ConnId, entry: &Entry, now: Tick) {
        let Some(&known) = self.tables.connections.get(id) else { return };
        let (was, is) = (known.flags.contains(ConnFlags::INACTIVE), entry.flags.contains(Flags::INACTIVE));
        if was != is {
            self.load_mut(known.dest, |load| {
                let (from, to) =
                    if is { (&mut load.active, &mut load.inactive) } else { (&mut load.inactive, &mut load.active) };
                *from = from.saturating_sub(1);
                *to += 1;
            });
        }
        if let Some(known) = self.tables.connections.get_mut(id) {
            let active = known.flags.without(ConnFlags::INACTIVE);
            known.flags = if is { active | ConnFlags::INACTIVE } else { active };
        }
        self.bind_later(id);
        self.settle_connection(id, entry, now);
    }

    fn new_connection(&mut self, entry: &Entry, ends: Ends<A>, old: Option<ConnId>, now: Tick) -> Accepted {
        let virtual_end = (ends.vip, entry.vport);
        let dest =
            self.destination_of(entry.mark, entry.protocol, virtual_end, ends.dest, entry.dport, is_nat(entry.flags));
        let mut new = made(entry, ends, dest.map(Arc::as_ref), now);
        let hash = self.tables.connections.hash(new.protocol, new.caddr, new.cport);
        self.supersede(hash, &mut new);
        let Ok(id) = self.tables.connections.insert(hash, new, now) else {
            self.give_back(&new);
            return Accepted::Full;
        };
        self.tables.portless += u32::from(new.flags.contains(ConnFlags::NO_CPORT));
        self.shared.event(Event::Created);
        dest.into_iter().for_each(|dest| self.count_bound(dest, new.flags));
        let key = requests_of(&new);
        old.into_iter().for_each(|old| self.replace(hash, old, &key));
        self.tables.told.set(id, Memo { mark: entry.mark, received: true, ..Memo::default() });
        self.settle_connection(id, entry, now);
        Accepted::Made
    }

    /// State, time-out and what else is set whether it was known or not.
    fn settle_connection(&mut self, id: ConnId, entry: &Entry, now: Tick) {
        let timeout = match entry.timeout_secs {
            0 => self.shared.timeouts.ticks(entry.state),
            secs => secs.min(LONGEST_SECS) * HZ,
        };
        let threshold = self.shared.announcer.pace.threshold();
        let Some(connection) = self.tables.connections.get_mut(id) else { return };
        (connection.state, connection.packets) = (entry.state, threshold);
        (connection.timeout, connection.expires) = (timeout, now.plus(timeout));
        if let Some(sequences) = entry.sequences.filter(|_| connection.flags.contains(ConnFlags::HELPED)) {
            match self.shared.apps.set_sequences(connection.side, sequences) {
                Some(side) => connection.side = side,
                None => self.shared.event(Event::SyncNoRoom),
            }
        }
        self.tables.connections.rearm(id, now);
        let memo = Memo { state: entry.state, ..self.tables.told.get(id) };
        self.tables.told.set(id, memo);
    }

    fn accept_template(&mut self, entry: &Entry, ends: Ends<A>, now: Tick) -> Accepted {
        let call = if entry.engine.is_some() { entry.call } else { CallId::NONE };
        let known = self.template_of(entry.protocol, ends.client, (ends.vip, entry.vport), call.bytes());
        let (id, accepted) = match known {
            Some(id) => (id, Accepted::Updated),
            None => match self.new_template(entry, ends, &call, now) {
                Some(id) => (id, Accepted::Made),
                None => return Accepted::Full,
            },
        };
        self.bind_template(id);
        let timeout = if entry.timeout_secs == 0 { TEMPLATE } else { entry.timeout_secs.min(LONGEST_SECS) * HZ };
        let threshold = self.shared.announcer.pace.threshold();
        if let Some(template) = self.tables.templates.get_mut(id) {
            let flags = template.flags.without(ConnFlags::ASSURED);
            template.flags = if entry.state == State::Assured { flags | ConnFlags::ASSURED } else { flags };
            (template.timeout, template.expires) = (timeout, now.plus(timeout));
            template.packets = threshold;
        }
        self.tables.templates.rearm(id, now);
        accepted
    }

    fn new_template(&mut self, entry: &Entry, ends: Ends<A>, call: &CallId, now: Tick) -> Option<ConnId> {
        let side = if call.is_empty() { 0 } else { self.shared.apps.calls.take()? };
        let name = self.tables.templates.name_hash(call.bytes());
        let template = Connection {
            caddr: ends.client,
            vaddr: ends.vip,
            vport: entry.vport,
            daddr: ends.dest,
            dport: entry.dport,
            protocol: entry.protocol,
            flags: ConnFlags::TEMPLATE,
            side,
            extra: name,
            expires: now,
            dest: DestId::NONE,
            ..Connection::default()
        };
        let hash = self.tables.templates.named_template_hash(entry.protocol, ends.client, ends.vip, name);
        let Ok(id) = self.tables.templates.insert(hash, template, now) else {
            self.shared.apps.calls.give_back(side);
            return None;
        };
        if let Some(kept) = self.shared.apps.calls.get_mut(side) {
            *kept = *call;
        }
        self.shared.event(Event::TemplateCreated);
        self.tables.told_templates.set(id, Memo { mark: entry.mark, received: true, ..Memo::default() });
        Some(id)
    }

    /// Binds a connection that has no destination, if there is one for it now. Returns true if so.
    pub(super) fn bind_later(&mut self, id: ConnId) -> bool {
        let Some(&c) = self.tables.connections.get(id) else { return false };
        let Some(dest) = self.lacked_by(id) else { return false };
        let own = method(dest.method);
        let flags = c.flags.without(ConnFlags::METHOD | ConnFlags::NO_OUTPUT) | own;
        let helps = is_helped(c.protocol, c.vport, own);
        if let Some(connection) = self.tables.connections.get_mut(id) {
            connection.flags = if helps { flags | ConnFlags::HELPED } else { flags };
            connection.dest = dest.id;
        }
        self.count_bound(dest, flags);
        true
    }

    /// The same for a template.
    pub(super) fn bind_template(&mut self, id: ConnId) {
        let Some(dest) = self.lacked_by_template(id).map(|d| d.id) else { return };
        if let Some(template) = self.tables.templates.get_mut(id) {
            template.dest = dest;
        }
        self.load_mut(dest, |load| load.persistent += 1);
    }

    /// The destination that there is now for a connection that has none.
    pub(super) fn lacked_by(&self, id: ConnId) -> Option<&'s Arc<Destination>> {
        let c = self.tables.connections.get(id)?;
        if c.dest != DestId::NONE || c.flags.contains(ConnFlags::BYPASS) {
            return None;
        }
        let mark = self.tables.told.get(id).mark;
        let nat = c.flags.contains(ConnFlags::NAT);
        self.destination_of(mark, c.protocol, (c.vaddr, c.vport), c.daddr, c.dport, nat)
    }

    /// The same for a template.
    pub(super) fn lacked_by_template(&self, id: ConnId) -> Option<&'s Arc<Destination>> {
        let t = self.tables.templates.get(id).filter(|t| t.dest == DestId::NONE)?;
        let mark = self.tables.told_templates.get(id).mark;
        // A template does not keep how packets are forwarded; under a mark either port will do.
        let by = |nat| self.destination_of(mark, t.protocol, (t.vaddr, t.vport), t.daddr, t.dport, nat);
        by(true).or_else(|| by(false))
    }

    #[inline]
    pub(super) fn count_bound(&mut self, dest: &Destination, flags: ConnFlags) {
        let inactive = flags.contains(ConnFlags::INACTIVE);
        self.load_mut(dest.id, |load| {
            *(if inactive { &mut load.inactive } else { &mut load.active }) += 1;
            load.burden(dest.upper);
        });
    }

    /// The destination that these rules have for what is told (`ip_vs_find_dest`).
    fn destination_of(
        &self,
        mark: u32,
        protocol: u8,
        (vip, vport): (A, u16),
        address: A,
        port: u16,
        nat: bool,
    ) -> Option<&'s Arc<Destination>> {
        let rules = &self.snapshot.rules;
        let by_mark = if mark == 0 { None } else { rules.find(&ServiceKey::Mark { mark, v6: A::V6 }) };
        let by_address = || {
            let protocol = Protocol::from_number(protocol)?;
            let of_ftp = ServiceKey::Address { protocol, address: vip.ip(), port: FTP };
            let ftp = if vport == 0 && protocol.number() == protocol::TCP { rules.find(&of_ftp) } else { None };
            rules.service_of(0, protocol, vip.ip(), vport).or(ftp)
        };
        let service = by_mark.or_else(by_address)?;
        let first = if mark != 0 && !nat { 0 } else { port };
        let at = |port| service.destinations.iter().find(|d| d.address == address.ip() && d.port == port);
        at(first).or_else(|| at(first ^ port))
    }
}

/// The connection that is told of, bound to this destination or to none.
fn made<A: Family>(entry: &Entry, ends: Ends<A>, dest: Option<&Destination>, now: Tick) -> Connection<A> {
    let own = dest.map_or_else(|| unbound(entry.flags), |dest| method(dest.method));
    let flag = |told, own| if entry.flags.contains(told) { own } else { ConnFlags::default() };
    Connection {
        caddr: ends.client,
        cport: entry.cport,
        vaddr: ends.vip,
        vport: entry.vport,
        daddr: ends.dest,
        dport: entry.dport,
        protocol: entry.protocol,
        state: entry.state,
        flags: own
            | helped(entry, own)
            | flag(Flags::INACTIVE, ConnFlags::INACTIVE)
            | flag(Flags::NO_CPORT, ConnFlags::NO_CPORT),
        expires: now,
        dest: dest.map_or(DestId::NONE, |d| d.id),
        template: ConnId::NONE,
        ..Connection::default()
    }
}

/// Is it NAT by its flags?
fn is_nat(flags: Flags) -> bool {
    !flags.intersects(Flags::METHOD)
}

/// How a connection without a destination is forwarded.
fn unbound(flags: Flags) -> ConnFlags {
    match flags.only(Flags::METHOD) {
        Flags::TUN => method(Method::Tun),
        Flags::DR => method(Method::Dr),
        Flags::LOCAL => method(Method::Local),
        Flags::BYPASS => ConnFlags::BYPASS,
        _ => method(Method::Nat),
    }
}

/// Does a helper read it?
fn helped(entry: &Entry, method: ConnFlags) -> ConnFlags {
    if is_helped(entry.protocol, entry.vport, method) { ConnFlags::HELPED } else { ConnFlags::default() }
}
