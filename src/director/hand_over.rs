//! What the next process of this director is handed of the tables, and what it makes of that: the same entries, as they were. Who
//! carries them says which entry and which destination of the new tables and rules is meant.

use crate::app::ftp::Awaited;
use crate::conn::{ConnFlags, ConnId, Connection};
use crate::destination::DestId;
use crate::director::family::Family;
use crate::director::{Core, Director, Lane, Listing, announce};
use crate::proto::State;
use crate::snapshot::Snapshot;
use crate::stats::Event;
use crate::sync::{Kept, Memo, Rest};
use crate::time::{Instant, Tick};

/// The port that a template is renamed to when its destination is no longer followed: there may be many alike.
const RETIRED: u16 = 65535;

impl Director {
    /// Shows what is to be handed over of the entries from `cursor` on, looking at `max` at most. Returns where to go on, or `None` at
    /// the end. What controls others is to be handed over before these: templates, then connections that no connection controls.
    pub fn keep(&self, which: Listing, cursor: u32, max: usize, now: Instant, show: impl FnMut(Kept)) -> Option<u32> {
        if which.v6 {
            keep::<u128>(&self.core, &self.snapshot, which.templates, cursor, max, now.tick(), show)
        } else {
            keep::<u32>(&self.core, &self.snapshot, which.templates, cursor, max, now.tick(), show)
        }
    }

    /// Takes over what was handed over. `controller` and `dest` are those of this director; [`ConnId::NONE`] and [`DestId::NONE`] for
    /// one that it does not have. Returns its place, or `None` when there is no room.
    pub fn take_over(&mut self, kept: &Kept, now: Instant) -> Option<ConnId> {
        let (core, snapshot, now) = (&mut self.core, &*self.snapshot, now.tick());
        if kept.entry.client.is_ipv6() {
            u128::lane(core, snapshot).take_over(kept, now)
        } else {
            u32::lane(core, snapshot).take_over(kept, now)
        }
    }
}

fn keep<A: Family>(
    core: &Core,
    snapshot: &Snapshot,
    templates: bool,
    cursor: u32,
    max: usize,
    now: Tick,
    mut show: impl FnMut(Kept),
) -> Option<u32> {
    let (tables, shared) = (A::tables(core), &core.shared);
    let (table, memos) =
        if templates { (&tables.templates, &tables.told_templates) } else { (&tables.connections, &tables.told) };
    let (entries, next) = table.scan(cursor, max);
    for (id, c) in entries {
        let memo = memos.get(id);
        let helped = if templates { None } else { shared.apps.ftp.get(c.side) };
        let rest = Rest {
            id,
            controller: c.template,
            dest: c.dest,
            flags: c.flags,
            awaited: helped.map_or(Awaited::Nothing, |control| control.awaited),
            memo: Memo { mark: 0, ..memo.until(now) },
            left: c.expires.since(now),
            timeout: c.timeout,
            packets: c.packets,
            age: if templates { 0 } else { shared.serial.wrapping_sub(c.extra) },
            controlled: c.controlled,
        };
        show(Kept { entry: announce::entry(shared, snapshot, c, memo), rest });
    }
    next
}

impl<A: Family> Lane<'_, A> {
    /// `None` too for addresses of another family.
    fn take_over(&mut self, kept: &Kept, now: Tick) -> Option<ConnId> {
        let Kept { entry, rest } = kept;
        let entered = Connection {
            caddr: A::from_ip(entry.client)?,
            vaddr: A::from_ip(entry.vip)?,
            daddr: A::from_ip(entry.dest)?,
            cport: entry.cport,
            vport: entry.vport,
            dport: entry.dport,
            protocol: entry.protocol,
            flags: rest.flags,
            expires: now.plus(rest.left),
            timeout: rest.timeout,
            dest: rest.dest,
            packets: rest.packets,
            ..Connection::default()
        };
        if entry.is_template() {
            self.take_over_template(kept, entered, now)
        } else {
            self.take_over_connection(kept, entered, now)
        }
    }

    fn take_over_connection(&mut self, kept: &Kept, entered: Connection<A>, now: Tick) -> Option<ConnId> {
        let Kept { entry, rest } = kept;
        let new = Connection {
            state: entry.state,
            template: rest.controller,
            side: self.helper(kept),
            // As old among those of its client as it was.
            extra: self.shared.serial.wrapping_sub(rest.age),
            ..entered
        };
        let hash = self.tables.connections.hash(new.protocol, new.caddr, new.cport);
        let Ok(id) = self.tables.connections.insert(hash, new, now) else {
            self.shared.apps.ftp.give_back(new.side);
            self.give_back(&new);
            return None;
        };
        self.tables.portless += u32::from(new.flags.contains(ConnFlags::NO_CPORT));
        self.shared.event(Event::Created);
        if let Some(dest) = self.snapshot.rules.destination(new.dest) {
            self.count_bound(dest, new.flags);
        }
        if let Some(controller) = self.controller(new.template) {
            controller.controlled += 1;
        }
        if let Some(memo) = self.remembered(kept, now) {
            self.tables.told.set(id, memo);
        }
        Some(id)
    }

    /// What a helper knew of the connection, in a place of its own; 0 when it knew nothing, or there is no room.
    fn helper(&mut self, Kept { entry, rest }: &Kept) -> u16 {
        if entry.sequences.is_none() && rest.awaited == Awaited::Nothing {
            return 0;
        }
        let side = self.shared.apps.set_sequences(0, entry.sequences.unwrap_or_default()).unwrap_or_default();
        if let Some(control) = self.shared.apps.ftp.get_mut(side) {
            control.awaited = rest.awaited;
        }
        side
    }

    /// What the synchronisation is to remember, if anything. The mark finds the destination, should that come back.
    fn remembered(&mut self, Kept { entry, rest }: &Kept, now: Tick) -> Option<Memo> {
        let memo = Memo { mark: entry.mark, ..rest.memo.since(now) };
        if memo == Memo::default() {
            return None;
        }
        self.shared.announcer.remembers = true;
        Some(memo)
    }

    /// The template that there is already when two workers had one each of a client's network, which is one worker's now.
    fn take_over_template(&mut self, kept: &Kept, entered: Connection<A>, now: Tick) -> Option<ConnId> {
        let Kept { entry, rest } = kept;
        let call = entry.call.bytes();
        let virtual_end = (entered.vaddr, entered.vport);
        let known = self.template_of(entered.protocol, entered.caddr, virtual_end, call);
        if known.is_some() && entered.vport != RETIRED {
            return known;
        }
        let side = if call.is_empty() { 0 } else { self.shared.apps.calls.take()? };
        let name = self.tables.templates.name_hash(call);
        let new = Connection { state: State::None, side, extra: name, ..entered };
        let hash = self.tables.templates.named_template_hash(new.protocol, new.caddr, new.vaddr, name);
        let Ok(id) = self.tables.templates.insert(hash, new, now) else {
            self.shared.apps.calls.give_back(side);
            return None;
        };
        if let Some(kept) = self.shared.apps.calls.get_mut(side) {
            *kept = entry.call;
        }
        self.shared.event(Event::TemplateCreated);
        if rest.dest != DestId::NONE {
            self.load_mut(rest.dest, |load| load.persistent += 1);
        }
        if let Some(memo) = self.remembered(kept, now) {
            self.tables.told_templates.set(id, memo);
        }
        Some(id)
    }
}
