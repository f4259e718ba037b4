//! The addresses that lblc and lblcr remember. As large as the kernel lets its table grow, 16384, but set-associative: it never
//! allocates after its making, and where more addresses meet in one set, the one unused for longest makes room.

use std::net::IpAddr;

use super::bucket::fold;
use crate::hash::mum;
use crate::time::{HZ, Tick};

const SETS: usize = 2048;
const WAYS: usize = 8;
/// Ticks between the kernel's checks for entries that grew old; only then are they forgotten.
const CHECK: u32 = 30 * 60 * HZ;

#[derive(Clone, Debug)]
struct Entry<V> {
    address: IpAddr,
    used: Tick,
    value: V,
}

impl<V> Entry<V> {
    /// Only what was last used before the check can have been found old by it.
    fn is_old(&self, check: Tick, expiration: u32) -> bool {
        self.used.reached(check) && check.since(self.used) >= expiration
    }
}

type Set<V> = [Option<Entry<V>>; WAYS];

/// Values by address.
#[derive(Debug)]
pub(super) struct Cache<V> {
    sets: Box<[Set<V>]>,
    /// The time of the first use, from which checks are reckoned.
    start: Option<Tick>,
    /// Life of an entry after its last use, in ticks.
    pub(super) expiration: u32,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        let sets = (0..SETS).map(|_| [const { None }; WAYS]).collect();
        Self { sets, start: None, expiration: u32::MAX }
    }
}

impl<V> Cache<V> {
    /// The value of the address, which is used hereby.
    pub(super) fn get(&mut self, address: IpAddr, now: Tick) -> Option<&mut V> {
        let check = self.last_check(now);
        let expiration = self.expiration;
        let slot = self.set(address).iter_mut().find(|slot| slot.as_ref().is_some_and(|e| e.address == address))?;
        if slot.as_ref().is_some_and(|e| e.is_old(check, expiration)) {
            *slot = None;
        }
        let entry = slot.as_mut()?;
        entry.used = now;
        Some(&mut entry.value)
    }

    /// The same for who changes nothing by asking.
    pub(super) fn peek(&self, address: IpAddr, now: Tick) -> Option<&V> {
        let entry = self.sets.get(place(address))?.iter().flatten().find(|entry| entry.address == address)?;
        (!entry.is_old(self.check_before(now), self.expiration)).then_some(&entry.value)
    }

    /// Remembers the value.
    pub(super) fn put(&mut self, address: IpAddr, now: Tick, value: V) {
        let age = |slot: &Option<Entry<V>>| match slot {
            Some(entry) if entry.address == address => u64::MAX,
            Some(entry) => u64::from(now.since(entry.used)),
            None => u64::MAX - 1,
        };
        if let Some(slot) = self.set(address).iter_mut().max_by_key(|slot| age(slot)) {
            *slot = Some(Entry { address, used: now, value });
        }
    }

    /// Is there an entry with such a value that no check has forgotten yet?
    pub(super) fn holds(&mut self, now: Tick, wanted: impl Fn(&V) -> bool) -> bool {
        let (check, expiration) = (self.last_check(now), self.expiration);
        self.sets.iter().flatten().flatten().any(|entry| !entry.is_old(check, expiration) && wanted(&entry.value))
    }

    fn set(&mut self, address: IpAddr) -> &mut Set<V> {
        &mut self.sets[place(address)]
    }

    fn last_check(&mut self, now: Tick) -> Tick {
        let last = self.check_before(now);
        // Moved along, so that the wrap of ticks does no harm.
        self.start = Some(last);
        last
    }

    /// When the table was last looked through, by `now`.
    fn check_before(&self, now: Tick) -> Tick {
        let start = self.start.unwrap_or(now);
        start.plus(now.since(start) / CHECK * CHECK)
    }
}

/// The set of an address.
fn place(address: IpAddr) -> usize {
    let hash = mum(u64::from(fold(address)) ^ 0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db);
    #[allow(clippy::cast_possible_truncation, reason = "reduced to the number of sets")]
    let index = hash as usize % SETS;
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn an_old_entry_is_forgotten_at_the_next_check() {
        let mut cache = Cache { expiration: 600 * HZ, ..Cache::default() };
        let at = |seconds: u32| Tick(u32::MAX - 1000).plus(seconds * HZ);
        assert_eq!(cache.get(address(1), at(0)), None);
        cache.put(address(1), at(0), 'a');
        assert_eq!(cache.get(address(1), at(1190)), Some(&mut 'a'), "old, but not checked yet");
        assert!(cache.holds(at(1790), |v| *v == 'a') && !cache.holds(at(1790), |v| *v == 'b'));
        assert!(!cache.holds(at(1810), |_| true));
        assert_eq!(cache.get(address(1), at(1810)), None, "checked at 1800 s");
        cache.put(address(1), at(3500), 'b');
        assert_eq!(cache.get(address(1), at(5390)), Some(&mut 'b'), "fresh at 3600 s");
        assert_eq!(cache.get(address(1), at(7300)), None);
    }

    #[test]
    fn the_least_lately_used_makes_room() {
        let mut cache = Cache::default();
        // The addresses of one set, found by filling an empty cache.
        let first = std::ptr::from_ref(cache.set(address(0)));
        let same: Vec<_> = (0..).map(address).filter(|a| std::ptr::eq(cache.set(*a), first)).take(WAYS + 1).collect();
        (0..).zip(&same[..WAYS]).for_each(|(n, a)| cache.put(*a, Tick(n), n));
        assert_eq!(cache.get(same[0], Tick(50)), Some(&mut 0));
        cache.put(same[WAYS], Tick(51), 99);
        let left: Vec<_> = same.iter().filter_map(|a| cache.get(*a, Tick(52)).copied()).collect();
        assert_eq!(left, [0, 2, 3, 4, 5, 6, 7, 99]);
    }

    #[test]
    fn a_thousand_addresses_have_room() {
        let mut cache = Cache::default();
        (0..1000).for_each(|n| cache.put(address(0xc612_0000 + n), Tick(1), n));
        assert!((0..1000).all(|n| cache.get(address(0xc612_0000 + n), Tick(2)) == Some(&mut { n })));
    }
}
