//! The end of connections and templates. A template that still controls connections lives on for a minute at a time
//! (`ip_vs_conn_expire`).

use crate::conn::{ConnFlags, ConnId};
use crate::director::Lane;
use crate::director::family::Family;
use crate::stats::Event;
use crate::time::{HZ, Tick};

/// What a template that still controls connections is given, for good.
const HELD: u32 = 60 * HZ;

impl<A: Family> Lane<'_, A> {
    /// Ends what is due, each look at an entry costing one of the budget.
    pub(super) fn expire(&mut self, now: Tick, budget: &mut u32) {
        while let Some(id) = self.tables.connections.due(now, budget) {
            self.end(id);
        }
        while let Some(id) = self.tables.templates.due(now, budget) {
            self.end_template(id, now);
        }
    }

    /// Ends a connection at the next tick; its replies are another's from now on.
    pub(super) fn retire(&mut self, id: ConnId, now: Tick) {
        self.tables.connections.retire(id, now);
        let Some(connection) = self.tables.connections.get_mut(id) else { return };
        let retired = *connection;
        connection.flags.remove(ConnFlags::SUPERSEDES);
        self.give_back(&retired);
    }

    /// Ends a connection now.
    pub(super) fn end(&mut self, id: ConnId) {
        if let Some(connection) = self.tables.connections.remove(id) {
            self.unbind(&connection);
            self.give_back(&connection);
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
        let Some(template) = self.tables.templates.get_mut(id) else { return };
        if template.controlled > 0 {
            template.timeout = HELD;
            template.expires = now.plus(HELD);
            self.tables.templates.rearm(id, now);
            return;
        }
        self.forget(id);
    }

    fn forget(&mut self, id: ConnId) {
        if let Some(template) = self.tables.templates.remove(id) {
            self.shared.event(Event::TemplateExpired);
            self.load_mut(template.dest, |load| load.persistent = load.persistent.saturating_sub(1));
        }
    }
}
