//! The schedulers of the services, by index, and how each comes to fit new rules: what has to be allocated for that is made before the
//! rules are in force, so that the first packet that comes by them takes it up, or has the scheduler updated where it is.

use std::sync::Arc;

use crate::scheduler::{AnyScheduler, Candidates, Load, WorkerStart};
use crate::service::Service;
use crate::settings::Settings;
use crate::snapshot::Rules;
use crate::time::Tick;

/// The scheduler of one service, and the service as it last saw it.
#[derive(Debug)]
struct Slot {
    service: Arc<Service>,
    scheduler: AnyScheduler,
}

impl Slot {
    /// Is it of these very rules?
    #[inline]
    fn is_of(&self, service: &Service) -> bool {
        std::ptr::eq(&raw const *self.service, service)
    }

    /// Does what it remembers go on to count by these rules?
    fn goes_on_by(&self, service: &Service) -> bool {
        self.service.uid == service.uid && self.service.scheduler == service.scheduler
    }

    fn update(&mut self, service: &Arc<Service>, rules: &Rules, loads: &[Load]) {
        if self.service.version != service.version {
            let candidates = Candidates::of(service, rules, loads);
            self.scheduler.inner_mut().update(&self.service.destinations, &candidates, service.flags);
        }
        // Always the one in force: the last to hold another would have to free it. The rules before are still held by the change.
        self.service = Arc::clone(service);
    }
}

/// What there is of one index.
#[derive(Debug, Default)]
struct Place {
    slot: Option<Slot>,
    /// Made ahead, for rules that are not in force yet; once they are, what it was exchanged for.
    other: Option<Box<Option<Slot>>>,
}

impl Place {
    #[inline]
    fn is_of(&self, service: &Service) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.is_of(service))
    }

    /// Makes what a service that is to come cannot have without allocation.
    fn prepare(&mut self, service: &Arc<Service>, rules: &Rules, loads: &[Load], start: WorkerStart) {
        let candidates = Candidates::of(service, rules, loads);
        let made = match &self.slot {
            Some(slot) if !slot.goes_on_by(service) => None,
            Some(slot) if slot.service.version == service.version => return,
            Some(slot) => match slot.scheduler.ahead(&candidates, service.flags) {
                None => return,
                made => made,
            },
            None => None,
        };
        let new = || AnyScheduler::new(service.scheduler, service.flags, &candidates, start);
        let scheduler = made.unwrap_or_else(new);
        self.other = Some(Box::new(Some(Slot { service: Arc::clone(service), scheduler })));
    }

    /// Fits the scheduler to the service in force, with nothing allocated or freed. Returns false if it was not prepared for it.
    #[cold]
    fn catch_up(&mut self, service: &Arc<Service>, rules: &Rules, loads: &[Load]) -> bool {
        match (&mut self.slot, self.other.as_deref_mut()) {
            (slot, Some(other)) if other.as_ref().is_some_and(|other| other.is_of(service)) => {
                std::mem::swap(slot, other)
            }
            (Some(slot), _) if slot.goes_on_by(service) => slot.update(service, rules, loads),
            _ => return false,
        }
        self.tune(&rules.settings);
        true
    }

    fn tune(&mut self, settings: &Settings) {
        if let Some(slot) = &mut self.slot {
            slot.scheduler.inner_mut().tune(settings);
        }
    }
}

/// The schedulers of a worker, by [`crate::service::ServiceId`].
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Place>);

impl Slots {
    /// Indices, free ones among them.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes room for so many services.
    pub(super) fn make_room(&mut self, services: usize) {
        self.0.resize_with(services.max(self.0.len()), Place::default);
    }

    /// Makes ahead what a service of rules that are to come will need. May allocate.
    pub(super) fn prepare(&mut self, service: &Arc<Service>, rules: &Rules, loads: &[Load], start: WorkerStart) {
        if let Some(place) = self.0.get_mut(service.id.index()) {
            place.prepare(service, rules, loads, start);
        }
    }

    /// Fits the scheduler of an index to the rules in force, and frees what is over. Not for when there are packets about.
    pub(super) fn settle(&mut self, index: usize, rules: &Rules, loads: &[Load]) {
        let Some(place) = self.0.get_mut(index) else { return };
        match rules.services.get(index) {
            None => place.slot = None,
            Some(service) if place.is_of(service) => place.tune(&rules.settings),
            Some(service) => drop(place.catch_up(service, rules, loads)),
        }
        place.other = None;
    }

    /// The scheduler of a service in force, for a packet: allocates and frees nothing.
    #[inline]
    pub(super) fn of(&mut self, service: &Service, loads: &[Load], rules: &Rules) -> Option<&mut AnyScheduler> {
        let index = service.id.index();
        let place = self.0.get_mut(index)?;
        if !place.is_of(service) && !place.catch_up(rules.services.get(index)?, rules, loads) {
            return None;
        }
        place.slot.as_mut().map(|slot| &mut slot.scheduler)
    }

    /// The scheduler of a service, to be looked at.
    pub(super) fn peek(&self, service: &Service) -> Option<&AnyScheduler> {
        let slot = self.0.get(service.id.index())?.slot.as_ref()?;
        slot.is_of(service).then_some(&slot.scheduler)
    }

    /// Does a scheduler remember the destination?
    pub(super) fn remember(&mut self, uid: u64, now: Tick) -> bool {
        let mut slots = self.0.iter_mut().filter_map(|place| place.slot.as_mut());
        slots.any(|slot| slot.scheduler.inner_mut().remembers(uid, now))
    }
}
