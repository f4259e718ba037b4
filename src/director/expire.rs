//! The end of connections and templates. One that still controls connections lives on for a minute at a time
//! (`ip_vs_conn_expire`).

use crate::conn::{ConnId, Table};
use crate::director::Lane;
use crate::director::family::Family;
use crate::proto::State;
use crate::stats::Event;
use crate::sync::Memo;
use crate::time::{HZ, Tick};

/// What a template, or a control connection, that still controls connections is given; a template for good.
const HELD: u32 = 60 * HZ;

/// What is due.
enum Entry {
    Connection(ConnId),
    Template(ConnId),
}

impl<A: Family> Lane<'_, A> {
    /// Ends what is due, each look at an entry costing one of the budget.
    pub(super) fn expire(&mut self, now: Tick, budget: &mut u32) {
        if self.shared.turn.is_some() {
            self.expire_in_order(now, budget);
        }
        while let Some(id) = self.tables.connections.due(now, budget) {
            self.end_connection(id, now);
        }
        if self.owes_looks() {
            self.thin_out(now, budget);
        }
        if self.sweeps() && self.may_sweep(now) {
            self.sweep(budget);
        }
        while let Some(id) = self.tables.templates.due(now, budget) {
            self.end_template(id, now);
        }
    }

    /// The same in the order in which the kernel's timers fire. It decides what becomes of a template that is due with its last connection.
    #[cold]
    fn expire_in_order(&mut self, now: Tick, budget: &mut u32) {
        let mut due = Vec::new();
        while let Some(id) = self.tables.connections.due(now, budget) {
            due.push(Entry::Connection(id));
        }
        while let Some(id) = self.tables.templates.due(now, budget) {
            due.push(Entry::Template(id));
        }
        if due.is_empty() {
            return;
        }
        self.note_timers();
        due.sort_by_cached_key(|entry| {
            let place = match *entry {
                Entry::Connection(id) => self.tables.connections.take_edge(id),
                Entry::Template(id) => self.tables.templates.take_edge(id),
            };
            place.map(|place| place.order(now))
        });
        for entry in due {
            match entry {
                Entry::Connection(id) => self.end_connection(id, now),
                Entry::Template(id) => self.end_template(id, now),
            }
        }
    }

    /// Has the kernel's timer wheel take note of the timers that were set. Those of templates are set first, and those of the connections
    /// that a packet announces before its own.
    pub(super) fn note_timers(&mut self) {
        let Some(turn) = &mut self.shared.turn else { return };
        self.tables.templates.note_edges(turn);
        self.tables.connections.note_edges(turn);
    }

    /// Ends a connection that is due.
    fn end_connection(&mut self, id: ConnId, now: Tick) {
        if self.tables.connections.get(id).is_some_and(|c| c.controlled > 0) {
            self.hold_connection(id, now);
        } else {
            self.end(id);
        }
    }

    /// Keeps a control connection for the sake of those that it controls.
    #[cold]
    fn hold_connection(&mut self, id: ConnId, now: Tick) {
        hold(&mut self.tables.connections, id, now);
        if self.shared.announcer.on {
            self.announce_held(id, false, now);
        }
        // In the kernel the shift is netfilter's, whose own entry of a connection that is not open any more ends about now.
        if let Some(closed) = self.tables.connections.get_mut(id).filter(|c| c.state != State::Established) {
            self.shared.apps.ftp.give_back(std::mem::take(&mut closed.side));
        }
    }

    /// Ends a connection now.
    pub(super) fn end(&mut self, id: ConnId) {
        if let Some(connection) = self.tables.connections.remove(id) {
            self.unbind(&connection);
            self.give_back(&connection);
            if self.shared.announcer.remembers {
                self.tables.told.set(id, Memo::default());
            }
        }
    }

    /// Ends a connection now, unless it controls others.
    pub(super) fn end_idle(&mut self, id: ConnId) {
        if self.tables.connections.get(id).is_some_and(|c| c.controlled == 0) {
            self.end(id);
        }
    }

    /// Ends everything.
    pub(super) fn flush(&mut self) {
        (0..self.tables.connections.capacity()).for_each(|index| self.end(ConnId(index)));
        for index in 0..self.tables.templates.capacity() {
            self.forget(ConnId(index));
        }
    }

    fn end_template(&mut self, id: ConnId, now: Tick) {
        if self.tables.templates.get(id).is_some_and(|template| template.controlled > 0) {
            hold(&mut self.tables.templates, id, now);
            if self.shared.announcer.on {
                self.announce_held(id, true, now);
            }
        } else {
            self.forget(id);
        }
    }

    pub(super) fn forget(&mut self, id: ConnId) {
        if let Some(template) = self.tables.templates.remove(id) {
            self.shared.event(Event::TemplateExpired);
            self.shared.apps.calls.give_back(template.side);
            self.load_mut(template.dest, |load| load.persistent = load.persistent.saturating_sub(1));
            if self.shared.announcer.remembers {
                self.tables.told_templates.set(id, Memo::default());
            }
        }
    }
}

/// Gives what controls connections another minute.
fn hold<A: Family>(table: &mut Table<A>, id: ConnId, now: Tick) {
    let Some(controller) = table.get_mut(id) else { return };
    (controller.timeout, controller.expires) = (HELD, now.plus(HELD));
    table.rearm(id, now);
}
