//! Ending every connection and template, a bounded piece at a time. What is made in the meantime lives on, and so does what controls it.

use crate::conn::{ConnId, Connection};
use crate::director::family::Family;
use crate::director::{Director, Lane};

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub struct Flush {
    /// Number of the last connection that is to end.
    serial: u32,
    /// Entries that have been in use, and how many of them have been looked at: connections of IPv4 and of IPv6, then templates, which
    /// go when nothing holds on to them any more.
    walks: [(u32, u32); 4],
}

impl Director {
    /// Everything that there is now is to end.
    pub fn begin_flush(&self) -> Flush {
        let (v4, v6) = (&self.core.v4, &self.core.v6);
        let connections = [v4.connections.reach(), v6.connections.reach()];
        let [c4, c6, t4, t6] = [connections[0], connections[1], v4.templates.reach(), v6.templates.reach()];
        Flush { serial: self.core.shared.serial, walks: [c4, c6, t4, t6].map(|reach| (reach, 0)) }
    }

    /// Ends more of it, looking at `budget` entries at most. Returns true when all is done.
    pub fn flush_some(&mut self, flush: &mut Flush, budget: u32) -> bool {
        let mut left = budget;
        for (which, (reach, next)) in flush.walks.iter_mut().enumerate() {
            let share = left.min(*reach - *next);
            let entries = (*next..*next + share).map(ConnId);
            match which {
                0 => u32::lane(&mut self.core, &self.snapshot).end_older(entries, flush.serial),
                1 => u128::lane(&mut self.core, &self.snapshot).end_older(entries, flush.serial),
                2 => u32::lane(&mut self.core, &self.snapshot).forget_idle(entries),
                _ => u128::lane(&mut self.core, &self.snapshot).forget_idle(entries),
            }
            (*next, left) = (*next + share, left - share);
        }
        flush.walks.iter().all(|(reach, next)| reach == next)
    }
}

impl<A: Family> Lane<'_, A> {
    /// Ends those of the connections that were made up to that number. One that controls others goes with the last of them.
    fn end_older(&mut self, ids: impl Iterator<Item = ConnId>, serial: u32) {
        let is_older = |c: &&Connection<A>| c.controlled == 0 && !c.is_later_than(serial.wrapping_add(1));
        for id in ids {
            let Some(connection) = self.tables.connections.get(id).filter(is_older) else { continue };
            let control = connection.template.controlling_connection();
            self.end(id);
            if let Some(control) = control.filter(|id| self.tables.connections.get(*id).filter(is_older).is_some()) {
                self.end(control);
            }
        }
    }

    fn forget_idle(&mut self, ids: impl Iterator<Item = ConnId>) {
        for id in ids {
            if self.tables.templates.get(id).is_some_and(|template| template.controlled == 0) {
                self.forget(id);
            }
        }
    }
}
