//! Tests of the schedulers: against picks recorded from the kernel, against slow obvious models, and several workers together.

mod models;
mod recorded;
mod twos;
mod workers;

use super::*;
use crate::service::{ServiceId, ServiceKey};

/// One service on one worker, as the director drives its scheduler.
struct World {
    destinations: Vec<Arc<Destination>>,
    loads: Vec<Load>,
    /// Removed ones among them.
    all: Shelf<Arc<Destination>>,
    flags: ServiceFlags,
    scheduler: AnyScheduler,
    now: Tick,
}

impl World {
    fn new(name: SchedulerName, flags: ServiceFlags, worker: WorkerStart) -> Self {
        let all = Shelf::default();
        let nobody = Candidates { destinations: &[], loads: &[], all: &all, v6: true };
        let mut scheduler = AnyScheduler::new(name, flags, &nobody, worker);
        scheduler.inner_mut().tune(&Settings::default());
        Self { destinations: Vec::new(), loads: Vec::new(), all, flags, scheduler, now: Tick(0) }
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<Arc<Destination>>)) {
        let before = self.destinations.clone();
        change(&mut self.destinations);
        self.destinations.iter().for_each(|d| self.all.put(d.id.index(), Some(d.clone())));
        let candidates = Candidates { destinations: &self.destinations, loads: &self.loads, all: &self.all, v6: true };
        match self.scheduler.ahead(&candidates, self.flags) {
            Some(ahead) => self.scheduler = ahead,
            None => self.scheduler.inner_mut().update(&before, &candidates, self.flags),
        }
    }

    /// Adds one at the head; its number, counted from 0 in order of addition, is its id.
    fn add(&mut self, address: IpAddr, port: u16, weight: u32) {
        let number = u32::try_from(self.loads.len()).expect("few destinations");
        self.loads.push(Load::default());
        let new = destination(number, address, port, weight);
        self.change(|list| list.insert(0, Arc::new(new)));
    }

    fn edit(&mut self, place: usize, weight: u32) {
        let edited = Destination { weight, ..(*self.destinations[place]).clone() };
        self.change(|list| list[place] = Arc::new(edited));
    }

    fn remove(&mut self, place: usize) {
        self.change(|list| drop(list.remove(place)));
    }

    /// Picks, and counts the new connection as an active one.
    fn pick(&mut self, flow: &Flow) -> Option<DestId> {
        let candidates = Candidates { destinations: &self.destinations, loads: &self.loads, all: &self.all, v6: true };
        let foretold = [(); 2].map(|()| self.scheduler.peek(&candidates, flow, self.now));
        let pick = self.scheduler.inner_mut().schedule(&candidates, flow, self.now);
        assert_eq!(foretold, [pick; 2], "what was foretold");
        let pick = pick?;
        self.loads[pick.index()].active += 1;
        Some(pick)
    }
}

pub(super) fn destination(number: u32, address: IpAddr, port: u16, weight: u32) -> Destination {
    Destination {
        id: DestId(number),
        uid: u64::from(number),
        entered: 0,
        service: ServiceId(0),
        of: ServiceKey::Mark { mark: 1, v6: false },
        address,
        port,
        weight,
        method: Default::default(),
        tunnel: Default::default(),
        upper: 0,
        lower: 0,
        available: true,
        holds: true,
        ends: false,
    }
}

/// A flow from that client to some service.
fn flow_from(source: IpAddr, source_port: u16) -> Flow {
    Flow { source, destination: IpAddr::from([192, 0, 2, 10]), source_port, destination_port: 80 }
}

#[test]
fn changed_thresholds_set_and_clear_the_overload_flag_at_once() {
    let limit = |overloaded, upper, lower| {
        let mut load = Load { active: 2, inactive: 3, overloaded, ..Load::default() };
        load.limit(upper, lower);
        load.overloaded
    };
    for (before, upper, lower, after) in [
        (false, 5, 2, true),
        (false, 6, 2, false),
        (true, 6, 5, true),
        (true, 7, 6, false),
        (true, 6, 0, true),
        (true, 8, 0, false),
        (true, 0, 0, false),
    ] {
        assert_eq!(limit(before, upper, lower), after, "{before} {upper} {lower}");
    }
}

#[test]
fn the_overload_flag_is_set_at_the_upper_and_cleared_below_the_lower_threshold() {
    let flags = |upper, lower, totals: &[u32]| {
        let mut load = Load::default();
        let step = |total: &u32| {
            let more = *total > load.total();
            (load.active, load.inactive) = (total / 2, total - total / 2);
            if more {
                load.burden(upper)
            } else {
                load.relieve(upper, lower)
            }
            load.overloaded
        };
        totals.iter().map(step).collect::<Vec<_>>()
    };
    assert_eq!(flags(4, 2, &[3, 4, 5, 3, 2, 1, 2, 3, 4]), [false, true, true, true, true, false, false, false, true]);
    assert_eq!(flags(8, 0, &[7, 8, 7, 6, 5, 7]), [false, true, true, true, false, false]);
    assert_eq!(flags(7, 0, &[7, 6, 5]), [true, true, false]);
    assert_eq!(flags(0, 0, &[0, 1_000_000]), [false, false]);
}
