//! Taking new rules: counters follow their destination, a scheduler's state survives everything but a change of its own service. However
//! much has changed, a piece is small enough that no burst waits for it.

use std::sync::Arc;

use crate::destination::Destination;
use crate::director::path_mtu::Learnt;
use crate::director::{Director, Shared};
use crate::proto::TimeoutTable;
use crate::scheduler::{Load, WorkerStart};
use crate::snapshot::{Rules, Snapshot};
use crate::stats::Line;
use crate::steering::Steering;

/// New rules on their way into force, a bounded piece at a time: first the counters of their destinations and what their schedulers will
/// need, which no packet asks for yet, then the rules, then the schedulers of services that have changed. A packet for a service whose
/// scheduler has not had its turn gives it to it.
#[derive(Debug)]
pub struct Change {
    stage: Stage,
    /// The first index that has not been looked at.
    next: usize,
}

#[derive(Debug)]
enum Stage {
    /// Counters are made to fit these, which are not in force yet.
    Counters(Arc<Snapshot>),
    /// What schedulers will need is made, for these, which are not in force yet.
    Needs(Arc<Snapshot>),
    /// Schedulers are made to fit the rules in force; these were before.
    Schedulers(Arc<Snapshot>),
}

impl Change {
    /// Indices of services or destinations that one piece looks at, whether they have changed or not.
    const LOOKS: usize = 1024;
    /// Changed destinations, or services, that one piece deals with.
    const DESTINATIONS: usize = 64;
    const SERVICES: usize = 8;

    /// These rules and this network are to be in force.
    pub fn new(to: Arc<Snapshot>) -> Self {
        Self { stage: Stage::Counters(to), next: 0 }
    }
}

impl Director {
    /// Carries out a piece of a change, between bursts and with none under way. Returns what is left of it, or at the end the old rules
    /// and network, to be freed elsewhere.
    ///
    /// # Errors
    /// What is left: no error, but not the end yet.
    pub fn advance(&mut self, change: Change) -> Result<Arc<Snapshot>, Change> {
        let Change { stage, next } = change;
        match stage {
            Stage::Counters(to) => {
                let next = self.core.shared.prepare_counters(&self.snapshot.rules, &to.rules, next);
                Err(match next {
                    Some(next) => Change { stage: Stage::Counters(to), next },
                    None => Change { stage: Stage::Needs(to), next: 0 },
                })
            }
            Stage::Needs(to) => {
                let next = self.core.shared.prepare_schedulers(&self.snapshot.rules, &to.rules, next);
                Err(match next {
                    Some(next) => Change { stage: Stage::Needs(to), next },
                    None => Change { stage: Stage::Schedulers(self.put_in_force(to)), next: 0 },
                })
            }
            Stage::Schedulers(from) => {
                match self.core.shared.reschedule_some(&from.rules, &self.snapshot.rules, next) {
                    Some(next) => Err(Change { stage: Stage::Schedulers(from), next }),
                    None => Ok(from),
                }
            }
        }
    }

    fn put_in_force(&mut self, mut snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        if let Some(routes) = &mut self.core.shared.routes {
            snapshot = routes.follow(&self.snapshot, &snapshot);
        }
        self.core.shared.take_up(&snapshot.rules);
        self.core.told(&snapshot.rules.settings);
        std::mem::replace(&mut self.snapshot, snapshot)
    }

    /// The same, whose clients are those that another steering with as many workers says, before its first packet.
    #[must_use]
    pub fn steered(mut self, steering: Steering) -> Self {
        self.core.shared.workers = steering.workers();
        self.steering = steering;
        self
    }
}

impl Shared {
    /// Makes the counters of some destinations fit rules that are to come. Returns where to go on, or `None` at the end.
    fn prepare_counters(&mut self, before: &Rules, rules: &Rules, next: usize) -> Option<usize> {
        let all = rules.destinations.len().max(before.destinations.len());
        let end = (next + Change::LOOKS).min(all);
        self.make_room(end.min(rules.destinations.len()));
        let mut changed = rules.destinations.changed_within(&before.destinations, next..end);
        for (_, _, now) in changed.by_ref().take(Change::DESTINATIONS) {
            now.into_iter().for_each(|dest| {
                self.adopt(dest);
                self.limit(before, dest);
            });
        }
        let next = changed.next().map_or(end, |(index, ..)| index);
        (next < all).then_some(next)
    }

    /// Makes what the schedulers of some services need for rules that are to come. Returns where to go on, or `None` at the end.
    fn prepare_schedulers(&mut self, before: &Rules, rules: &Rules, next: usize) -> Option<usize> {
        let all = rules.services.len();
        let end = (next + Change::LOOKS).min(all);
        self.schedulers.make_room(end);
        let start = WorkerStart { index: self.worker.0, count: self.workers.max(1) };
        let mut changed = rules.services.changed_within(&before.services, next..end);
        for (_, _, now) in changed.by_ref().take(Change::SERVICES) {
            now.into_iter().for_each(|service| self.schedulers.prepare(service, rules, &self.loads, start));
        }
        let next = changed.next().map_or(end, |(index, ..)| index);
        (next < all).then_some(next)
    }

    /// Room for the counters of so many destinations.
    fn make_room(&mut self, destinations: usize) {
        let most = destinations.max(self.loads.len());
        self.loads.resize(most, Load::default());
        self.traffic.resize(most, Line::default());
        self.lent.resize(most, 0);
        self.owners.resize(most, 0);
        self.learnt.resize(most, Learnt::default());
    }

    /// Works by these rules from now on, as far as they are not about single services and destinations.
    fn take_up(&mut self, rules: &Rules) {
        self.timeouts = TimeoutTable::new(&rules.settings.timeouts);
        self.announcer.set_up(rules.tells(), &rules.settings);
        if rules.removals() != self.removals {
            self.removals = rules.removals();
            self.walks = self.walks.map(|walk| walk.again(true));
        }
        if rules.endings() != self.endings {
            self.endings = rules.endings();
            self.walks = self.walks.map(|walk| walk.again(false));
        }
    }

    /// Makes some schedulers fit the rules in force. Returns where to go on, or `None` at the end.
    fn reschedule_some(&mut self, before: &Rules, rules: &Rules, next: usize) -> Option<usize> {
        let all = self.schedulers.len();
        if rules.settings != before.settings {
            let end = (next + Change::SERVICES).min(all);
            (next..end).for_each(|index| self.schedulers.settle(index, rules, &self.loads));
            return (end < all).then_some(end);
        }
        let end = (next + Change::LOOKS).min(all);
        let mut changed = rules.services.changed_within(&before.services, next..end);
        for (index, ..) in changed.by_ref().take(Change::SERVICES) {
            self.schedulers.settle(index, rules, &self.loads);
        }
        let next = changed.next().map_or(end, |(index, ..)| index);
        (next < all).then_some(next)
    }

    /// Clears what was counted for the destination that had this index before.
    fn adopt(&mut self, dest: &Destination) {
        let index = dest.id.index();
        if self.owners[index] != dest.uid {
            self.owners[index] = dest.uid;
            self.loads[index] = Load::default();
            self.traffic[index] = Line::default();
            self.lent[index] = 0;
            self.learnt[index] = Learnt::default();
        }
    }

    /// New thresholds are held against the connections that there are (`__ip_vs_dest_update_overload`).
    fn limit(&mut self, before: &Rules, dest: &Destination) {
        let old = before.destination(dest.id).filter(|old| old.uid == dest.uid);
        let changed = old.is_some_and(|old| (old.upper, old.lower) != (dest.upper, dest.lower));
        if changed && let Some(load) = self.loads.get_mut(dest.id.index()) {
            load.limit(dest.upper, dest.lower);
        }
    }
}
