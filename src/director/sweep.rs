//! With `expire_nodest_conn` the removal of a destination ends its connections and templates at once, without waiting for a packet
//! (`ip_vs_expire_nodest_conn_flush`). Some destinations say so themselves. Both tables are walked once, a bounded piece at a time.

use crate::conn::{ConnFlags, ConnId, Connection};
use crate::destination::DestId;
use crate::director::Lane;
use crate::director::family::Family;
use crate::time::Tick;

/// How far a walk has come, in one family.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    connections: u32,
    templates: u32,
    /// When it begins, once that is known.
    begins: Option<Tick>,
    /// Is it for all removed destinations, and not only for those that say so?
    all: bool,
}

/// Ticks from the first look after a removal to the walk of the kernel, which puts it off by one and whose timers are never early.
pub(super) const PUT_OFF: u32 = 1;

impl Walk {
    /// Nothing left to walk.
    pub(super) const DONE: Self = Self { connections: u32::MAX, templates: u32::MAX, begins: None, all: false };

    /// The walk once more from the start, as soon as one that has been put off already; for all removed destinations, or as that one.
    pub(super) fn again(self, all: bool) -> Self {
        Self { begins: self.begins.filter(|_| !self.is_done()), all: all || self.all, ..Self::default() }
    }

    /// Is it over?
    #[inline]
    pub(super) fn is_done(self) -> bool {
        self.templates == u32::MAX
    }
}

impl<A: Family> Lane<'_, A> {
    /// Is there something left to walk?
    #[inline]
    pub(super) fn sweeps(&self) -> bool {
        !self.shared.walks[usize::from(A::V6)].is_done()
    }

    /// Has the time for the walk come?
    pub(super) fn may_sweep(&mut self, now: Tick) -> bool {
        let begins = now.plus(self.shared.sweeps_after);
        self.shared.walks[usize::from(A::V6)].begins.get_or_insert(begins).reached(now)
    }

    /// Ends what belongs to removed destinations, each look costing one of the budget. Connections first: templates go when nothing
    /// holds on to them.
    #[cold]
    pub(super) fn sweep(&mut self, budget: &mut u32) {
        let mut walk = self.shared.walks[usize::from(A::V6)];
        while *budget > 0 && walk.connections < self.tables.connections.reach() {
            let id = ConnId(walk.connections);
            if let Some(stranded) = self.tables.connections.get(id).filter(|c| self.is_stranded(c, walk.all)) {
                let control = stranded.template.controlling_connection();
                self.end(id);
                control.into_iter().for_each(|control| self.end_idle(control));
            }
            walk.connections += 1;
            *budget -= 1;
        }
        let connections_are_done = walk.connections >= self.tables.connections.reach();
        while connections_are_done && *budget > 0 && walk.templates < self.tables.templates.reach() {
            let id = ConnId(walk.templates);
            if self.tables.templates.get(id).is_some_and(|t| self.is_stranded(t, walk.all)) {
                self.forget(id);
            }
            walk.templates += 1;
            *budget -= 1;
        }
        let is_over = connections_are_done && walk.templates >= self.tables.templates.reach();
        self.shared.walks[usize::from(A::V6)] = if is_over { Walk::DONE } else { walk };
    }

    /// Has its destination been removed, with nothing that holds on to it?
    fn is_stranded(&self, entry: &Connection<A>, all: bool) -> bool {
        let removed = entry.dest != DestId::NONE;
        removed
            && entry.controlled == 0
            && !entry.flags.contains(ConnFlags::BYPASS)
            && !self.snapshot.path(entry.dest).available
            && (all || self.snapshot.ends(entry.dest))
    }
}
