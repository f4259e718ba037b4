//! Long random histories of one service: each scheduler does what a slow and obvious reading of its definition does.

use proptest::prelude::*;

use super::*;
use crate::scheduler::mh::{LOOKUP_KEY, SKIP_KEY, hash};
use crate::time::HZ;

/// What happens to a service. Places are taken modulo the length of the list.
#[derive(Clone, Debug)]
enum Event {
    Pick { client: IpAddr, port: u16, server: IpAddr },
    Add { weight: u32 },
    Edit { place: usize, weight: u32 },
    Remove { place: usize },
    Load { place: usize, load: Load },
    Flags { fallback: bool, port: bool },
    Wait { seconds: u32 },
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0_u32..=12, 1 => Just(100)]
}

/// A multiple of every weight but 0, so that loads divided by weights are whole numbers.
const MULTIPLE: u128 = 138_600;

fn load() -> impl Strategy<Value = Load> {
    let count = || prop_oneof![4 => 0_u32..4, 1 => 0_u32..100_000];
    let own = (count(), count(), count());
    (own, 0_u32..2, 0_u32..2, prop::bool::weighted(0.2)).prop_map(
        |(own, foreign_active, foreign_inactive, overloaded)| {
            let (active, inactive, persistent) = own;
            Load { active, inactive, persistent, foreign_active, foreign_inactive, overloaded }
        },
    )
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

/// Often one of a few, so that lblc and lblcr meet it again.
fn server() -> impl Strategy<Value = IpAddr> {
    prop_oneof![4 => (0_u8..5).prop_map(|n| IpAddr::from([198, 18, 0, n])), 1 => address()]
}

fn event() -> impl Strategy<Value = Event> {
    let pick =
        (address(), any::<u16>(), server()).prop_map(|(client, port, server)| Event::Pick { client, port, server });
    prop_oneof![
        12 => pick,
        2 => weight().prop_map(|weight| Event::Add { weight }),
        1 => (any::<usize>(), weight()).prop_map(|(place, weight)| Event::Edit { place, weight }),
        1 => any::<usize>().prop_map(|place| Event::Remove { place }),
        3 => (any::<usize>(), load()).prop_map(|(place, load)| Event::Load { place, load }),
        1 => any::<(bool, bool)>().prop_map(|(fallback, port)| Event::Flags { fallback, port }),
        1 => (0_u32..60_000).prop_map(|seconds| Event::Wait { seconds }),
    ]
}

/// A change of the list, as a model is told of it.
enum Change {
    Added,
    Edited,
    /// From this place, with this load.
    Removed(usize, Load),
}

/// The list as a model sees it.
type List = [(Arc<Destination>, Load)];

trait Model {
    fn changed(&mut self, _change: &Change, _list: &List) {}
    fn pick(&mut self, list: &List, flow: &Flow, flags: ServiceFlags) -> Option<DestId>;
    /// The time of the next pick.
    fn wait(&mut self, _now: Tick) {}
}

fn usable((d, load): &(Arc<Destination>, Load)) -> bool {
    d.weight != 0 && !load.overloaded
}

fn seen(world: &World) -> Vec<(Arc<Destination>, Load)> {
    world.destinations.iter().map(|d| (d.clone(), world.loads[d.id.index()])).collect()
}

/// Lets the event happen to both, and compares.
fn happen(world: &mut World, model: &mut dyn Model, event: &Event) -> Result<(), TestCaseError> {
    let len = world.destinations.len();
    match *event {
        Event::Pick { client, port, server } => {
            let flow = Flow { destination: server, ..flow_from(client, port) };
            model.wait(world.now);
            let expected = model.pick(&seen(world), &flow, world.flags);
            prop_assert_eq!(world.pick(&flow), expected, "{:?}", seen(world));
        }
        Event::Add { weight } => {
            let number = u8::try_from(world.loads.len() % 250).expect("less than 250");
            world.add(IpAddr::from([198, 51, 100, number]), 80, weight);
            model.changed(&Change::Added, &seen(world));
        }
        Event::Flags { fallback, port } => {
            world.flags = ServiceFlags { sched1: fallback, sched2: port, ..world.flags };
            world.change(|_| ());
        }
        Event::Wait { seconds } => world.now = world.now.plus(seconds * HZ),
        _ if len == 0 => {}
        Event::Edit { place, weight } => {
            world.edit(place % len, weight);
            model.changed(&Change::Edited, &seen(world));
        }
        Event::Remove { place } => {
            let load = world.loads[world.destinations[place % len].id.index()];
            world.remove(place % len);
            model.changed(&Change::Removed(place % len, load), &seen(world));
        }
        Event::Load { place, load } => {
            let id = world.destinations[place % len].id;
            world.loads[id.index()] = load;
        }
    }
    Ok(())
}

fn agree(name: SchedulerName, mut model: impl Model, events: &[Event]) -> Result<(), TestCaseError> {
    let mut world = World::new(name, ServiceFlags::default(), WorkerStart::default());
    events.iter().try_for_each(|event| happen(&mut world, &mut model, event))
}

/// A definition that remembers nothing.
impl<F: Fn(&List, &Flow, ServiceFlags) -> Option<DestId>> Model for F {
    fn pick(&mut self, list: &List, flow: &Flow, flags: ServiceFlags) -> Option<DestId> {
        self(list, flow, flags)
    }
}

/// The list as a ring with the head among its nodes, and a pointer to the last pick or the head.
#[derive(Default)]
struct Ring {
    destinations: usize,
    at: usize,
}

impl Model for Ring {
    fn changed(&mut self, change: &Change, list: &List) {
        self.destinations = list.len();
        match change {
            Change::Added if self.at > 0 => self.at += 1,
            Change::Removed(place, _) if self.at > *place => self.at -= 1,
            _ => {}
        }
    }

    fn pick(&mut self, list: &List, _: &Flow, _: ServiceFlags) -> Option<DestId> {
        let nodes = self.destinations + 1;
        let walk = (1..=nodes).map(|k| (self.at + k) % nodes);
        self.at = walk.into_iter().find(|n| *n > 0 && usable(&list[n - 1]))?;
        Some(list[self.at - 1].0.id)
    }
}

/// One step of the walk after another.
#[derive(Default)]
struct Rounds {
    /// Destinations of the list already passed in this round.
    passed: usize,
    level: i64,
    top: i64,
    step: i64,
}

impl Model for Rounds {
    fn changed(&mut self, _: &Change, list: &List) {
        let weights = || list.iter().map(|(d, _)| i64::from(d.weight)).filter(|w| *w > 0);
        let heaviest = weights().max().unwrap_or(0);
        self.step = (1..=heaviest).rev().find(|step| weights().all(|w| w % step == 0)).unwrap_or(1);
        self.top = heaviest - (self.step - 1);
        self.passed = 0;
        if self.level > self.top || self.level == 0 {
            self.level = self.top;
        } else if self.step > 1 {
            self.level = self.level / self.step * self.step + 1;
        }
    }

    fn pick(&mut self, list: &List, _: &Flow, _: ServiceFlags) -> Option<DestId> {
        if !list.iter().any(usable) {
            return None;
        }
        loop {
            if self.passed == list.len() {
                self.passed = 0;
                self.level -= self.step;
                if self.level <= 0 {
                    self.level = self.top;
                }
            }
            self.passed += 1;
            let next = &list[self.passed - 1];
            if usable(next) && i64::from(next.0.weight) >= self.level {
                return Some(next.0.id);
            }
        }
    }
}

/// The table of 256 as a list of places that is written down until it is long enough.
fn table(list: &List, share: impl Fn(&Destination) -> usize) -> Vec<usize> {
    let mut table = Vec::new();
    while table.len() < 256 && !list.is_empty() {
        for (place, (d, _)) in list.iter().enumerate() {
            table.extend(std::iter::repeat_n(place, share(d)));
        }
    }
    table
}

fn bucket(address: IpAddr, port: u16) -> usize {
    let word = match address {
        IpAddr::V4(a) => u64::from(u32::from_be_bytes(a.octets())),
        IpAddr::V6(a) => {
            let words = a.octets();
            words.chunks(4).map(|w| w.iter().fold(0, |n, byte| n * 256 + u64::from(*byte))).fold(0, |a, b| a ^ b)
        }
    };
    let product = (word + u64::from(port)) % (1 << 32) * 0x61c8_8647 % (1 << 32);
    usize::try_from(product / (1 << 24)).expect("a byte")
}

fn source_hashing(list: &List, flow: &Flow, flags: ServiceFlags) -> Option<DestId> {
    let table = table(list, |d| (d.weight as usize).max(1));
    let first = bucket(flow.source, if flags.sched2 { flow.source_port } else { 0 });
    let others = (0..256).filter(|_| flags.sched1).map(|k| (first + first + k) % 256);
    let places = std::iter::once(first).chain(others).filter_map(|b| table.get(b));
    places.map(|place| &list[*place]).find(|c| usable(c)).map(|c| c.0.id)
}

fn destination_hashing(list: &List, flow: &Flow, _: ServiceFlags) -> Option<DestId> {
    let place = *table(list, |_| 1).get(bucket(flow.destination, 0))?;
    usable(&list[place]).then(|| list[place].0.id)
}

/// The first usable destination of the least key.
fn least(list: &List, key: impl Fn(&Destination, u128) -> u128, cost: impl Fn(u128, u128) -> u128) -> Option<DestId> {
    let counts = |l: &Load| {
        let active = u128::from(l.active) + u128::from(l.foreign_active);
        cost(active, u128::from(l.inactive) + u128::from(l.foreign_inactive))
    };
    let usable = list.iter().filter(|c| usable(c));
    usable.min_by_key(|(d, load)| key(d, counts(load))).map(|(d, _)| d.id)
}

fn per_weight(d: &Destination, cost: u128) -> u128 {
    cost * MULTIPLE / u128::from(d.weight)
}

fn never_queue(list: &List, _: &Flow, _: ServiceFlags) -> Option<DestId> {
    let idle = list.iter().find(|c| usable(c) && c.1.active == 0 && c.1.foreign_active == 0);
    idle.map(|c| c.0.id).or_else(|| least(list, per_weight, |active, _| active + 1))
}

/// The first of the heaviest destinations that may take more.
fn heaviest(list: &List, room: impl Fn(&Destination, u64) -> bool) -> Option<DestId> {
    let active = |l: &Load| u64::from(l.active) + u64::from(l.foreign_active);
    let mut order: Vec<_> = list.iter().filter(|c| usable(c) && room(&c.0, active(&c.1))).collect();
    order.sort_by_key(|c| std::cmp::Reverse(c.0.weight));
    order.first().map(|c| c.0.id)
}

/// Maglev with every permutation written out.
#[derive(Default)]
struct Permutations {
    weights: std::collections::HashMap<u64, u32>,
    table: Vec<Option<usize>>,
}

const PRIME: u32 = 4093;

impl Permutations {
    fn turns(&self, list: &List) -> Vec<u32> {
        let weights: Vec<_> = list.iter().map(|(d, _)| self.weights.get(&d.uid).copied().unwrap_or(0)).collect();
        let top = weights.iter().copied().max().unwrap_or(0);
        let divisor = (1..=top).rev().find(|n| weights.iter().all(|w| w % n == 0)).unwrap_or(1);
        let shift = (0..).find(|s| (top / divisor) >> s < 64).expect("a shift");
        weights.iter().map(|w| if *w == 0 { 0 } else { ((w / divisor) >> shift).max(1) }).collect()
    }
}

impl Model for Permutations {
    fn changed(&mut self, _: &Change, list: &List) {
        let weighty = list.iter().filter(|(d, _)| d.weight > 0);
        self.weights.extend(weighty.map(|(d, _)| (d.uid, d.weight)));
        let order = |d: &Destination| {
            let offset = hash(LOOKUP_KEY, d.address, d.port, 0) % PRIME;
            let skip = hash(SKIP_KEY, d.address, d.port, 0) % (PRIME - 1) + 1;
            (0..PRIME).map(move |j| ((offset + j * skip) % PRIME) as usize)
        };
        let mut orders: Vec<_> = list.iter().map(|(d, _)| order(d)).collect();
        let turns = self.turns(list);
        self.table = vec![None; PRIME as usize];
        while turns.iter().any(|t| *t > 0) && self.table.contains(&None) {
            for (place, turns) in turns.iter().enumerate() {
                for _ in 0..*turns {
                    let free = orders[place].find(|entry| self.table[*entry].is_none());
                    free.into_iter().for_each(|entry| self.table[entry] = Some(place));
                }
            }
        }
    }

    fn pick(&mut self, list: &List, flow: &Flow, flags: ServiceFlags) -> Option<DestId> {
        let port = if flags.sched2 { flow.source_port } else { 0 };
        let at = |offset| hash(LOOKUP_KEY, flow.source, port, offset) % PRIME;
        let first = at(0);
        let others = (0..PRIME).filter(|_| flags.sched1).map(|k| at((k + first) % PRIME));
        let mut entries = std::iter::once(first).chain(others);
        let found = entries.find_map(|entry| (*self.table.get(entry as usize)?).filter(|place| usable(&list[*place])));
        found.map(|place| list[place].0.id)
    }
}

/// Members of the set of each address, newest first, with the time of its last change and last use, in seconds. lblc's sets have
/// one member.
#[derive(Default)]
struct Memory {
    replicate: bool,
    sets: std::collections::HashMap<IpAddr, (Vec<DestId>, u32, u32)>,
    now: u32,
    next_check: Option<u32>,
    /// The list as it was last, and who was removed from it.
    list: Vec<Arc<Destination>>,
    gone: Vec<(Arc<Destination>, Load)>,
}

/// A day.
const EXPIRATION: u32 = 86_400;

fn active(load: &Load) -> u64 {
    u64::from(load.active) + u64::from(load.foreign_active)
}

fn cost(active: u128, inactive: u128) -> u128 {
    active * 257 + inactive
}

fn overworked(list: &List, id: DestId) -> bool {
    let (d, load) = list.iter().find(|c| c.0.id == id).expect("in the list");
    active(load) > u64::from(d.weight) && list.iter().any(|(d, load)| active(load) * 2 < u64::from(d.weight))
}

impl Memory {
    /// The members in their order, as a list.
    fn members(&self, list: &List, address: IpAddr) -> Vec<(Arc<Destination>, Load)> {
        let ids = self.sets.get(&address).map(|set| set.0.clone()).unwrap_or_default();
        ids.iter().filter_map(|id| list.iter().find(|c| c.0.id == *id && c.0.weight > 0).cloned()).collect()
    }

    fn shrink(&mut self, list: &List, address: IpAddr) {
        let members = self.members(&[list, &self.gone].concat(), address);
        let Some((ids, changed, _)) = self.sets.get_mut(&address) else { return };
        let total = |c: &(Arc<Destination>, Load)| {
            let load = cost(active(&c.1).into(), u128::from(c.1.inactive) + u128::from(c.1.foreign_inactive));
            per_weight(&c.0, load)
        };
        // The last of equal ones in reverse order is the first.
        let dearest = members.iter().rev().max_by_key(|c| total(c)).map(|c| c.0.id);
        if ids.len() > 1 && self.now > *changed + EXPIRATION && dearest.is_some() {
            ids.retain(|id| Some(*id) != dearest);
            *changed = self.now;
        }
    }
}

impl Model for Memory {
    fn wait(&mut self, now: Tick) {
        self.now = now.0 / HZ;
        let check = self.next_check.get_or_insert(self.now + 1800);
        while *check <= self.now {
            self.sets.retain(|_, (.., used)| *check < *used + EXPIRATION);
            *check += 1800;
        }
    }

    fn changed(&mut self, change: &Change, list: &List) {
        if let Change::Removed(place, load) = change {
            self.gone.push((self.list.remove(*place), *load));
        }
        self.list = list.iter().map(|c| c.0.clone()).collect();
    }

    fn pick(&mut self, list: &List, flow: &Flow, _: ServiceFlags) -> Option<DestId> {
        let (now, address) = (self.now, flow.destination);
        let members = self.members(list, address);
        if let Some(set) = self.sets.get_mut(&address) {
            set.2 = now;
        }
        let best = if self.replicate { least(&members, per_weight, cost) } else { members.first().map(|c| c.0.id) };
        if self.replicate {
            self.shrink(list, address);
        }
        if let Some(best) = best.filter(|id| !overworked(list, *id)) {
            return Some(best);
        }
        let pick = least(list, per_weight, cost)?;
        let set = self.sets.entry(address).or_insert((Vec::new(), now, now));
        if !self.replicate {
            set.0.clear();
        }
        if !set.0.contains(&pick) {
            if set.0.len() == 8 {
                let there = |id: &DestId| list.iter().any(|c| c.0.id == *id);
                set.0.remove(set.0.iter().rposition(|id| !there(id)).unwrap_or(7));
            }
            set.0.insert(0, pick);
            set.1 = now;
        }
        Some(pick)
    }
}

fn history(most: usize) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn rr_walks_a_ring(events in history(300)) {
        agree(SchedulerName::Rr, Ring::default(), &events)?;
    }

    #[test]
    fn wrr_walks_rounds_at_a_falling_level(events in history(300)) {
        agree(SchedulerName::Wrr, Rounds::default(), &events)?;
    }

    #[test]
    fn lc_and_wlc_take_the_least_load(events in history(200)) {
        agree(SchedulerName::Lc, |list: &List, _: &Flow, _| least(list, |_, load| load, cost), &events)?;
        agree(SchedulerName::Wlc, |list: &List, _: &Flow, _| least(list, per_weight, cost), &events)?;
    }

    #[test]
    fn sed_and_nq_take_the_shortest_delay(events in history(200)) {
        agree(SchedulerName::Sed, |list: &List, _: &Flow, _| least(list, per_weight, |active, _| active + 1), &events)?;
        agree(SchedulerName::Nq, never_queue, &events)?;
    }

    #[test]
    fn fo_and_ovf_take_the_heaviest(events in history(200)) {
        agree(SchedulerName::Fo, |list: &List, _: &Flow, _| heaviest(list, |_, _| true), &events)?;
        let room = |d: &Destination, active: u64| active <= u64::from(d.weight);
        agree(SchedulerName::Ovf, move |list: &List, _: &Flow, _| heaviest(list, room), &events)?;
    }

    #[test]
    fn sh_and_dh_look_up_a_table_of_256(events in history(200)) {
        agree(SchedulerName::Sh, source_hashing, &events)?;
        agree(SchedulerName::Dh, destination_hashing, &events)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20) })]

    #[test]
    fn lblc_and_lblcr_remember_who_served_an_address(events in history(400)) {
        agree(SchedulerName::Lblc, Memory::default(), &events)?;
        agree(SchedulerName::Lblcr, Memory { replicate: true, ..Memory::default() }, &events)?;
    }

    #[test]
    fn mh_deals_out_permutations(events in history(120)) {
        agree(SchedulerName::Mh, Permutations::default(), &events)?;
    }
}
