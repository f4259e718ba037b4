//! What a master of the synchronisation says of its connections and templates (`ip_vs_sync_conn`): with each of a client's packets a
//! connection, and then what controls it, is looked at, and told of if it is time. What is to be told is put into a buffer that the
//! director is given and that is taken from it again; when it is full, that is counted, and nothing waits.

use std::sync::Arc;

use crate::app::sequence::Sequences;
use crate::app::sip::CallId;
use crate::conn::{ConnFlags, ConnId, Connection};
use crate::destination::{Destination, Method};
use crate::director::family::Family;
use crate::director::{Core, Director, Lane, Listing, Shared};
use crate::proto::State;
use crate::service::{Engine, ServiceKey};
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::stats::Event;
use crate::sync::{Entry, Flags, Memo, Pace, Subject, Version};
use crate::time::{HZ, Tick};

/// What the synchronisation remembers of the entries of a table, by [`ConnId`]. Laid out as words of zero, so that memory is taken
/// only where something is remembered.
#[derive(Debug)]
pub(super) struct Memos(Box<[[u32; 3]]>);

impl Memos {
    pub(super) fn new(capacity: u32) -> Self {
        Self(vec![[0; 3]; capacity as usize].into_boxed_slice())
    }

    pub(super) fn bytes_for(capacity: u32) -> usize {
        capacity as usize * size_of::<[u32; 3]>()
    }

    pub(super) fn get(&self, id: ConnId) -> Memo {
        let [ends, mark, rest] = self.0.get(id.index()).copied().unwrap_or_default();
        let state = State::ALL.get((rest >> 1) as usize).copied().unwrap_or_default();
        Memo { ends, mark, state, received: rest & 1 != 0 }
    }

    pub(super) fn set(&mut self, id: ConnId, memo: Memo) {
        if let Some(words) = self.0.get_mut(id.index()) {
            *words = [memo.ends, memo.mark, (memo.state as u32) << 1 | u32::from(memo.received)];
        }
    }
}

/// The master's part of one director.
#[derive(Debug)]
pub(super) struct Announcer {
    /// Does a master run?
    pub(super) on: bool,
    /// Is anything remembered in the [`Memos`]?
    pub(super) remembers: bool,
    pub(super) pace: Pace,
    version: Version,
    /// What is to be told; never grows.
    out: Vec<Entry>,
}

impl Default for Announcer {
    fn default() -> Self {
        let settings = Settings::default();
        Self { on: false, remembers: false, pace: Pace::new(&settings), version: Version::V1, out: Vec::new() }
    }
}

impl Announcer {
    /// Goes on by other settings.
    pub(super) fn set_up(&mut self, on: bool, settings: &Settings) {
        self.on = on;
        self.remembers |= on;
        (self.pace, self.version) = (Pace::new(settings), Version::of(settings.sync_version));
    }
}

impl Director {
    /// Takes what is to be told, and leaves an empty buffer for more: at most its capacity is told until the next call.
    pub fn take_told(&mut self, empty: Vec<Entry>) -> Vec<Entry> {
        std::mem::replace(&mut self.core.shared.announcer.out, empty)
    }

    /// What is to be told of the entries from `cursor` on, whether it was told or not, for a director that joins; looks at `max` entries
    /// at most. Returns where to go on, or `None` at the end.
    pub fn tell_all(&self, which: Listing, cursor: u32, max: usize, show: impl FnMut(Entry)) -> Option<u32> {
        if which.v6 {
            tell_all::<u128>(&self.core, &self.snapshot, which.templates, cursor, max, show)
        } else {
            tell_all::<u32>(&self.core, &self.snapshot, which.templates, cursor, max, show)
        }
    }
}

fn tell_all<A: Family>(
    core: &Core,
    snapshot: &Snapshot,
    templates: bool,
    cursor: u32,
    max: usize,
    mut show: impl FnMut(Entry),
) -> Option<u32> {
    let (tables, shared) = (A::tables(core), &core.shared);
    let (table, memos) =
        if templates { (&tables.templates, &tables.told_templates) } else { (&tables.connections, &tables.told) };
    let (entries, next) = table.scan(cursor, max);
    for (id, connection) in entries {
        let subject = Subject::Connection { state: connection.state, persistent: false };
        if templates || shared.announcer.pace.is_told(subject) {
            show(entry(shared, snapshot, connection, memos.get(id)));
        }
    }
    next
}

impl<A: Family> Lane<'_, A> {
    /// A client's packet has gone by: tells of its connection and of what controls that.
    #[cold]
    pub(super) fn announce(&mut self, id: ConnId, now: Tick) {
        if self.shared.announcer.pace.tells(A::V6)
            && let Some(packets) = self.tables.connections.get(id).map(|c| c.packets)
        {
            self.announce_connection(id, packets, now);
        }
    }

    /// Tells of what controls a connection that lived for one packet.
    #[cold]
    pub(super) fn announce_controller(&mut self, template: ConnId, now: Tick) {
        let announcer = &self.shared.announcer;
        if announcer.version == Version::V1 && announcer.pace.tells(A::V6) {
            self.announce_next(template, now);
        }
    }

    /// Tells of a template or a control connection that is given another minute.
    #[cold]
    pub(super) fn announce_held(&mut self, id: ConnId, template: bool, now: Tick) {
        let pace = self.shared.announcer.pace;
        if !pace.tells(A::V6) {
            return;
        }
        if template {
            self.announce_template(id, pace.threshold(), now);
        } else {
            self.announce_connection(id, pace.threshold(), now);
        }
    }

    fn announce_connection(&mut self, id: ConnId, packets: u32, now: Tick) {
        let Some(&connection) = self.tables.connections.get(id) else { return };
        let subject =
            Subject::Connection { state: connection.state, persistent: self.is_persistent(connection.template) };
        let mut memo = self.tables.told.get(id);
        let needed = self.shared.announcer.pace.needs(subject, &mut memo, connection.timeout, packets, now);
        if needed {
            self.tables.told.set(id, memo);
            self.say(&connection, memo);
        }
        // As the kernel: in version 0 a connection that is not told of keeps its controller silent too.
        if needed || self.shared.announcer.version == Version::V1 {
            self.announce_next(connection.template, now);
        }
    }

    fn announce_next(&mut self, controller: ConnId, now: Tick) {
        if let Some(control) = controller.controlling_connection() {
            self.announce_connection(control, self.shared.announcer.pace.threshold(), now);
        } else if let Some(template) = self.tables.templates.get_mut(controller) {
            template.packets = template.packets.wrapping_add(1);
            let packets = template.packets;
            self.announce_template(controller, packets, now);
        }
    }

    fn announce_template(&mut self, id: ConnId, packets: u32, now: Tick) {
        let Some(&template) = self.tables.templates.get(id) else { return };
        let mut memo = self.tables.told_templates.get(id);
        if self.shared.announcer.pace.needs(Subject::Template, &mut memo, template.timeout, packets, now) {
            self.tables.told_templates.set(id, memo);
            self.say(&template, memo);
        }
    }

    /// Is there a template at the end of what controls it?
    fn is_persistent(&self, controller: ConnId) -> bool {
        match controller.controlling_connection() {
            Some(control) => self.tables.connections.get(control).is_some_and(|c| c.template.is_some()),
            None => controller.is_some(),
        }
    }

    fn say(&mut self, connection: &Connection<A>, memo: Memo) {
        let entry = entry(self.shared, self.snapshot, connection, memo);
        let out = &mut self.shared.announcer.out;
        let fits = out.len() < out.capacity();
        if fits {
            out.push(entry);
        }
        self.shared.event(if fits { Event::SyncTold } else { Event::SyncLost });
    }
}

/// What is told of a connection or template as it is now.
pub(super) fn entry<A: Family>(shared: &Shared, snapshot: &Snapshot, connection: &Connection<A>, memo: Memo) -> Entry {
    let template = connection.flags.contains(ConnFlags::TEMPLATE);
    let dest = snapshot.rules.destination(connection.dest).map(Arc::as_ref);
    let sequences = shifts(shared, connection);
    let call = call_of(shared, connection);
    let flags = if template { of_template(dest) } else { of_connection(connection) };
    let flags = flags
        .with(Flags::SYNC, memo.received)
        .with(Flags::TRACKED, snapshot.rules.settings.conntrack)
        .with(Flags::OUT_SEQ, sequences.is_some_and(|s| !s.output.is_none()))
        .with(Flags::IN_SEQ, sequences.is_some_and(|s| !s.input.is_none()));
    let assured = template && connection.flags.contains(ConnFlags::ASSURED);
    Entry {
        client: connection.caddr.ip(),
        vip: connection.vaddr.ip(),
        dest: connection.daddr.ip(),
        cport: connection.cport,
        vport: connection.vport,
        dport: connection.dport,
        protocol: connection.protocol,
        state: if assured { State::Assured } else { connection.state },
        flags,
        mark: dest.and_then(|dest| mark_of(snapshot, dest)).unwrap_or(memo.mark),
        timeout_secs: connection.timeout / HZ,
        sequences,
        engine: (!call.is_empty()).then_some(Engine::Sip),
        call,
    }
}

/// The mark of a destination's service, if it is one of a mark.
fn mark_of(snapshot: &Snapshot, dest: &Destination) -> Option<u32> {
    match snapshot.rules.service(dest.service)?.key {
        ServiceKey::Mark { mark, .. } => Some(mark),
        ServiceKey::Address { .. } => None,
    }
}

/// What a helper has shifted, if it has.
fn shifts<A>(shared: &Shared, connection: &Connection<A>) -> Option<Sequences> {
    let helped = connection.flags.contains(ConnFlags::HELPED) && connection.side != 0;
    let sequences = helped.then(|| shared.apps.sequences(connection.side))?;
    (!sequences.input.is_none() || !sequences.output.is_none()).then_some(sequences)
}

/// The Call-ID of a template that has one.
fn call_of<A>(shared: &Shared, connection: &Connection<A>) -> CallId {
    let named = connection.flags.contains(ConnFlags::TEMPLATE) && connection.extra != 0;
    let call = if named { shared.apps.calls.get(connection.side) } else { None };
    call.copied().unwrap_or_default()
}

/// Flags of a connection of a destination's method.
pub(super) fn method(method: Method) -> ConnFlags {
    match method {
        Method::Nat => ConnFlags::NAT,
        Method::Dr => ConnFlags::DR | ConnFlags::NO_OUTPUT,
        Method::Tun => ConnFlags::TUN | ConnFlags::NO_OUTPUT,
        Method::Bypass => ConnFlags::BYPASS | ConnFlags::NO_OUTPUT,
        Method::Local | Method::Five | Method::Six | Method::Seven => ConnFlags::LOCAL | ConnFlags::NO_OUTPUT,
    }
}

/// How packets are forwarded, by the kernel's numbers.
fn forwarding(flags: ConnFlags) -> Flags {
    const METHODS: [(ConnFlags, Flags); 4] = [
        (ConnFlags::DR, Flags::DR),
        (ConnFlags::TUN, Flags::TUN),
        (ConnFlags::LOCAL, Flags::LOCAL),
        (ConnFlags::BYPASS, Flags::BYPASS),
    ];
    METHODS.iter().find(|(own, _)| flags.contains(*own)).map_or(Flags(0), |(_, theirs)| *theirs)
}

/// A template has, as the kernel keeps it, the flags of its destination.
fn of_template(dest: Option<&Destination>) -> Flags {
    let method = dest.map_or(ConnFlags::NAT, |dest| method(dest.method));
    forwarding(method)
        .with(Flags::TEMPLATE, true)
        .with(Flags::INACTIVE, true)
        .with(Flags::NO_OUTPUT, method.contains(ConnFlags::NO_OUTPUT))
}

/// The FTP helper has its connections tracked.
fn of_connection<A>(connection: &Connection<A>) -> Flags {
    let has = |flag| connection.flags.contains(flag);
    forwarding(connection.flags)
        .with(Flags::INACTIVE, has(ConnFlags::INACTIVE))
        .with(Flags::NO_OUTPUT, has(ConnFlags::NO_OUTPUT))
        .with(Flags::NO_CPORT, has(ConnFlags::NO_CPORT))
        .with(Flags::TRACKED, has(ConnFlags::HELPED) || connection.template.controlling_connection().is_some())
}
