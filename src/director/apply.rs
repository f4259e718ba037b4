//! Taking new rules: counters follow their destination, a scheduler's state survives everything but a change of its own service.

use std::sync::Arc;

use crate::destination::Destination;
use crate::director::Shared;
use crate::director::path_mtu::Learnt;
use crate::proto::TimeoutTable;
use crate::scheduler::{AnyScheduler, Candidates, Load, WorkerStart};
use crate::service::Service;
use crate::settings::Settings;
use crate::snapshot::Rules;
use crate::stats::Traffic;
use crate::time::Tick;

/// The scheduler of one service, and the service as it last saw it.
#[derive(Debug)]
pub(super) struct Slot {
    service: Arc<Service>,
    pub(super) scheduler: AnyScheduler,
}

impl Shared {
    /// Makes counters and schedulers fit the rules.
    pub(super) fn apply(&mut self, before: &Rules, rules: &Rules) {
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
        let most = rules.destinations.len().max(self.loads.len());
        self.loads.resize(most, Load::default());
        self.traffic.resize(most, Traffic::default());
        self.lent.resize(most, 0);
        self.owners.resize(most, 0);
        self.learnt.resize(most, Learnt::default());
        for (_, _, now) in rules.destinations.changed(&before.destinations) {
            now.into_iter().for_each(|dest| {
                self.adopt(dest);
                self.limit(before, dest);
            });
        }
        self.schedulers.resize_with(rules.services.len().max(self.schedulers.len()), || None);
        for (index, _, now) in rules.services.changed(&before.services) {
            self.reschedule(index, now);
            self.tune(index, &rules.settings);
        }
        if rules.settings != before.settings {
            (0..self.schedulers.len()).for_each(|index| self.tune(index, &rules.settings));
        }
    }

    fn tune(&mut self, index: usize, settings: &Settings) {
        if let Some(Some(slot)) = self.schedulers.get_mut(index) {
            slot.scheduler.inner_mut().tune(settings);
        }
    }

    /// Does a scheduler remember the destination?
    pub(super) fn remembers(&mut self, uid: u64, now: Tick) -> bool {
        self.schedulers.iter_mut().flatten().any(|slot| slot.scheduler.inner_mut().remembers(uid, now))
    }

    /// Clears what was counted for the destination that had this index before.
    fn adopt(&mut self, dest: &Destination) {
        let index = dest.id.index();
        if self.owners[index] != dest.uid {
            self.owners[index] = dest.uid;
            self.loads[index] = Load::default();
            self.traffic[index] = Traffic::default();
            self.lent[index] = 0;
            self.learnt[index] = Learnt::default();
        }
    }

    fn reschedule(&mut self, index: usize, service: Option<&Arc<Service>>) {
        let Some(service) = service else {
            self.schedulers[index] = None;
            return;
        };
        match self.schedulers[index].take() {
            Some(slot) if slot.service.uid == service.uid => self.update(index, slot, service),
            _ => self.schedulers[index] = Some(self.start(service)),
        }
    }

    fn update(&mut self, index: usize, mut slot: Slot, service: &Arc<Service>) {
        if slot.service.version != service.version {
            if slot.service.scheduler == service.scheduler {
                let candidates =
                    Candidates { destinations: &service.destinations, loads: &self.loads, v6: service.key.v6() };
                slot.scheduler.inner_mut().update(&slot.service.destinations, &candidates, service.flags);
                slot.service = Arc::clone(service);
            } else {
                slot = self.start(service);
            }
        }
        self.schedulers[index] = Some(slot);
    }

    /// New thresholds are held against the connections that there are (`__ip_vs_dest_update_overload`).
    fn limit(&mut self, before: &Rules, dest: &Destination) {
        let old = before.destination(dest.id).filter(|old| old.uid == dest.uid);
        let changed = old.is_some_and(|old| (old.upper, old.lower) != (dest.upper, dest.lower));
        if changed && let Some(load) = self.loads.get_mut(dest.id.index()) {
            load.limit(dest.upper, dest.lower);
        }
    }

    fn start(&self, service: &Arc<Service>) -> Slot {
        let candidates = Candidates { destinations: &service.destinations, loads: &self.loads, v6: service.key.v6() };
        let start = WorkerStart { index: self.worker.0, count: self.workers.max(1) };
        let scheduler = AnyScheduler::new(service.scheduler, service.flags, &candidates, start);
        Slot { service: Arc::clone(service), scheduler }
    }
}
