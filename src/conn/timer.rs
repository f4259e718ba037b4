//! The timer wheel: entries in slots by the tick at which they are to be looked at, four levels of 128 slots after Varghese and
//! Lauck, "Hashed and Hierarchical Timing Wheels" (1987). A slot of the first level is one tick of 10 ms, a slot of the next is
//! 128 of those, and so on; when the clock enters an upper slot its entries move down. The links live in the entries, so that
//! the wheel allocates nothing, and a bitmap a level finds the next occupied slot however far the clock has jumped.
//!
//! An entry whose expiry moves later stays where it is and moves when its slot comes up. An expiry beyond the last slot waits
//! in the last slot and moves on from there. A slot is eight lists, taken from in turn: the end of a connection touches lines
//! that have long left the cache, and one list would name the next only when the last has come.

use super::edges::Edges;
use crate::prefetch;
use crate::time::{self, Tick};

const LEVELS: usize = 4;
/// Bits of a tick that a level takes.
const BITS: u32 = 7;
/// Slots of a level.
const SLOTS: usize = 1 << BITS;
const MASK: u32 = SLOTS as u32 - 1;
/// Lists of a slot.
const LISTS: usize = 8;
/// A level's slots lie on a circle; further ahead than this an entry could come to lie in the top level's present slot.
const FURTHEST: u32 = MASK << ((LEVELS as u32 - 1) * BITS);
/// End of a list.
const END: u32 = u32::MAX;
/// No slot.
const NOWHERE: usize = usize::MAX;

/// Place of an entry in the wheel.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    next: u32,
    prev: u32,
    slot: u16,
}

impl Link {
    /// `slot` of what is not in use.
    const FREE: u16 = u16::MAX;
    /// `slot` of what is in use and in no list.
    const UNARMED: u16 = u16::MAX - 1;

    /// The link of an entry in use that is in no list yet.
    pub(super) const fn unarmed() -> Self {
        Self { next: END, prev: END, slot: Self::UNARMED }
    }

    /// The link of a free entry, on to the next free one.
    pub(super) const fn free(next: u32) -> Self {
        Self { next, prev: END, slot: Self::FREE }
    }

    /// Returns false for a free entry.
    #[inline]
    pub(super) const fn in_use(self) -> bool {
        self.slot != Self::FREE
    }

    /// The entry after this one in its list.
    pub(super) const fn next(self) -> u32 {
        self.next
    }

    const fn armed(self) -> bool {
        self.slot < Self::UNARMED
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::free(END)
    }
}

/// What the wheel needs of an entry.
pub trait Timed {
    /// Its place in the wheel.
    fn link(&self) -> Link;
    /// Its place in the wheel, to be changed by the wheel only.
    fn link_mut(&mut self) -> &mut Link;
    /// When it expires.
    fn expires(&self) -> Tick;
    /// How long before that its timer was set, in ticks.
    fn timeout(&self) -> u32;
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

/// The lists of one slot, one cache line. An entry is in the list of its index's low bits.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Slot([List; LISTS]);

impl Slot {
    const EMPTY: Self = Self([List { head: END, tail: END }; LISTS]);

    #[inline]
    fn list(&mut self, index: u32) -> &mut List {
        &mut self.0[index as usize % LISTS]
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.0.iter().fold(true, |empty, list| empty & (list.head == END))
    }
}

/// Which slots hold entries, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Occupied([u64; LEVELS * SLOTS / 64]);

impl Occupied {
    #[inline]
    fn has(&self, slot: usize) -> bool {
        self.0.get(slot / 64).is_some_and(|bits| bits >> (slot % 64) & 1 == 1)
    }

    #[inline]
    fn set(&mut self, slot: usize) {
        if let Some(bits) = self.0.get_mut(slot / 64) {
            *bits |= 1 << (slot % 64);
        }
    }

    #[inline]
    fn clear(&mut self, slot: usize) {
        if let Some(bits) = self.0.get_mut(slot / 64) {
            *bits &= !(1 << (slot % 64));
        }
    }

    /// The slots of a level.
    #[inline]
    fn level(&self, level: usize) -> u128 {
        let word = |at: usize| u128::from(self.0.get(level * (SLOTS / 64) + at).copied().unwrap_or(0));
        word(1) << 64 | word(0)
    }
}

/// The wheel. Entries are named by their index in the slice that every call is given, always the same one.
#[derive(Debug)]
pub struct Wheel {
    slots: Box<[Slot; LEVELS * SLOTS]>,
    occupied: Occupied,
    /// The slot that is being emptied, of those that the clock is in; [`NOWHERE`] when that is to be found anew.
    emptied: usize,
    /// The present: every earlier tick has been dealt with, this one may still hold entries.
    cursor: Tick,
    armed: u32,
    /// The list that was taken from last.
    turn: u32,
    /// What will be looked at soon, if anything.
    upcoming: u32,
    /// The kernel's wheel, if entries are due at its edges, not to the tick.
    edges: Option<Edges>,
    /// Nothing is due at this tick: found so, and no entry has been put where the clock stands since.
    quiet: Option<Tick>,
    /// The expiry that was placed last, the present then, and its slot: of entries that are made, or come up, together many share it.
    placed: (Tick, Tick, usize),
}

impl Default for Wheel {
    fn default() -> Self {
        let slots = Box::new([Slot::EMPTY; LEVELS * SLOTS]);
        Self {
            slots,
            occupied: Occupied::default(),
            emptied: NOWHERE,
            cursor: Tick(0),
            armed: 0,
            turn: 0,
            upcoming: END,
            edges: None,
            quiet: None,
            // What expires at present is in the first level.
            placed: (Tick(0), Tick(0), 0),
        }
    }
}

impl Wheel {
    /// Entries in the wheel.
    pub fn len(&self) -> u32 {
        self.armed
    }

    /// Returns true when no entry is in the wheel.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Bytes that the wheel takes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.slots)
    }

    /// Puts entry `index` where its `expires` belongs, wherever it was.
    pub fn arm<T: Timed>(&mut self, entries: &mut [T], index: u32, now: Tick) {
        self.disarm(entries, index);
        if self.armed == 0 {
            self.move_to(now);
        }
        if let Some(entry) = entries.get(index as usize) {
            let slot = self.place(self.fires(entry));
            self.push(entries, index, slot);
        }
    }

    /// Puts entry `index`, which is in no list, where its `expires` belongs.
    #[inline(always)]
    pub fn arm_new<T: Timed>(&mut self, entries: &mut [T], index: u32, now: Tick) {
        if self.armed == 0 {
            self.move_to(now);
        }
        let Some(expires) = entries.get(index as usize).map(|entry| self.fires(entry)) else { return };
        let slot = self.place_again(expires);
        self.push(entries, index, slot);
    }

    /// Lets entries expire as late as on the kernel's wheel.
    pub fn set_edges(&mut self) {
        self.edges = Some(Edges::default());
    }

    /// The kernel's wheel, if entries expire as on it.
    pub fn edges_mut(&mut self) -> Option<&mut Edges> {
        self.edges.as_mut()
    }

    /// When an entry is due.
    #[inline]
    fn fires<T: Timed>(&self, entry: &T) -> Tick {
        if self.edges.is_some() { time::fires(entry.expires(), entry.timeout()) } else { entry.expires() }
    }

    /// Takes entry `index` out; nothing happens when it is in no list.
    pub fn disarm<T: Timed>(&mut self, entries: &mut [T], index: u32) {
        let Some(entry) = entries.get_mut(index as usize) else { return };
        let link = entry.link();
        if !link.armed() {
            return;
        }
        *entry.link_mut() = Link::unarmed();
        self.unlink(entries, index, link);
    }

    /// Returns the next entry that has expired by `now`, out of the wheel. Each entry looked at, also one that is only moved,
    /// takes one off `budget`; at 0 the work stops and the next call resumes it. `None` with budget left: nothing more is due.
    #[inline]
    pub fn due<T: Timed>(&mut self, entries: &mut [T], now: Tick, budget: &mut u32) -> Option<u32> {
        if self.quiet == Some(now) { None } else { self.look(entries, now, budget) }
    }

    #[inline(never)]
    fn look<T: Timed>(&mut self, entries: &mut [T], now: Tick, budget: &mut u32) -> Option<u32> {
        while *budget > 0 {
            let Some(slot) = self.advance(now) else {
                self.quiet = Some(now);
                return None;
            };
            *budget -= 1;
            let index = self.pop(entries, slot);
            let expires = self.fires(entries.get(index as usize)?);
            if expires.reached(self.cursor) {
                return Some(index);
            }
            let slot = self.place_again(expires);
            self.push(entries, index, slot);
        }
        None
    }

    /// An entry that [`Wheel::due`] is likely to return soon and that has been asked for: a guess.
    pub fn upcoming(&self) -> u32 {
        self.upcoming
    }

    /// Takes an entry out of a slot, from one list after the other, and asks for the one behind it.
    #[inline]
    fn pop<T: Timed>(&mut self, entries: &mut [T], at: usize) -> u32 {
        let Some(slot) = self.slots.get_mut(at) else { return END };
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        let place = |ahead: u32| turn.wrapping_add(ahead) as usize % LISTS;
        let Some(from) = (0..LISTS as u32).map(place).find(|list| slot.0[*list].head != END) else { return END };
        // Asked for five turns ago: near enough to be in use soon, far enough to have come.
        self.upcoming = slot.0[place(3)].head;
        let index = slot.0[from].head;
        let Some(entry) = entries.get_mut(index as usize) else { return END };
        let next = entry.link().next;
        *entry.link_mut() = Link::unarmed();
        slot.0[from].head = next;
        prefetch::element(entries, next as usize);
        if next == END && slot.is_empty() {
            self.occupied.clear(at);
        }
        self.armed -= 1;
        index
    }

    /// Moves the clock to the next occupied slot that starts by `now` and returns that slot, or moves it to `now`.
    #[inline]
    fn advance(&mut self, now: Tick) -> Option<usize> {
        // What is put into the wheel while a slot is emptied lies below its level, or later.
        if !self.occupied.has(self.emptied) {
            self.enter(now);
        }
        (self.emptied != NOWHERE && self.cursor.reached(now)).then_some(self.emptied)
    }

    /// Looks for the slot to be emptied next: that which the clock is in, or comes into by `now`.
    #[inline(never)]
    fn enter(&mut self, now: Tick) {
        if self.entered().is_none() {
            match self.next_start().filter(|start| start.reached(now)) {
                Some(start) => self.move_to(start),
                None if self.cursor.reached(now) => self.move_to(now),
                None => {}
            }
        }
        self.emptied = self.entered().unwrap_or(NOWHERE);
    }

    /// Sets the clock.
    fn move_to(&mut self, tick: Tick) {
        (self.cursor, self.emptied) = (tick, NOWHERE);
    }

    /// The slot that the clock is in and that still holds entries, upper levels first: they are to move down.
    fn entered(&self) -> Option<usize> {
        let at = |level: usize| level * SLOTS + self.position(level) as usize;
        (0..LEVELS).rev().map(at).find(|slot| self.occupied.has(*slot))
    }

    /// The first tick of the next occupied slot.
    fn next_start(&self) -> Option<Tick> {
        let levels = (0..LEVELS).map(|level| (level, self.occupied.level(level)));
        let starts = levels.filter(|(_, occupied)| *occupied != 0).map(|(level, occupied)| {
            let shift = level_shift(level);
            let ahead = occupied.rotate_right(self.position(level)).trailing_zeros();
            Tick((self.cursor.0 >> shift).wrapping_add(ahead) << shift)
        });
        starts.min_by_key(|start| start.since(self.cursor))
    }

    /// The slot of `level` that the clock is in.
    fn position(&self, level: usize) -> u32 {
        self.cursor.0 >> level_shift(level) & MASK
    }

    /// The slot for an expiry, perhaps the same as that of the last one.
    #[inline]
    fn place_again(&mut self, expires: Tick) -> usize {
        if (self.placed.0, self.placed.1) != (expires, self.cursor) {
            self.placed = (expires, self.cursor, self.place(expires));
        }
        self.placed.2
    }

    /// The slot for an expiry: of the lowest level that reaches so far.
    #[inline(never)]
    fn place(&self, expires: Tick) -> usize {
        let when = self.cursor.plus(expires.since(self.cursor).min(FURTHEST)).0;
        let reaches = |level: &usize| {
            let shift = level_shift(*level);
            (when >> shift).wrapping_sub(self.cursor.0 >> shift) & (u32::MAX >> shift) <= MASK
        };
        let level = (0..LEVELS).find(reaches).unwrap_or(LEVELS - 1);
        level * SLOTS + (when >> level_shift(level) & MASK) as usize
    }

    #[inline]
    fn push<T: Timed>(&mut self, entries: &mut [T], index: u32, at: usize) {
        let Some(list) = self.slots.get_mut(at).map(|slot| slot.list(index)) else { return };
        // The tail of an empty list is what it was last.
        let prev = std::mem::replace(&mut list.tail, index);
        match entries.get_mut(prev as usize).filter(|_| list.head != END) {
            Some(entry) => entry.link_mut().next = index,
            None => list.head = index,
        }
        if let Some(entry) = entries.get_mut(index as usize) {
            *entry.link_mut() = Link { next: END, prev, slot: at as u16 };
        }
        self.occupied.set(at);
        self.armed += 1;
        if at == self.position(0) as usize {
            self.quiet = None;
        }
    }

    /// Takes an entry out of its list. What the first of a list has as `prev` says nothing: whoever takes out the one before it need not
    /// have its memory.
    fn unlink<T: Timed>(&mut self, entries: &mut [T], index: u32, link: Link) {
        let at = usize::from(link.slot);
        let Some(slot) = self.slots.get_mut(at) else { return };
        let list = slot.list(index);
        if list.head == index {
            list.head = link.next;
            if link.next == END && slot.is_empty() {
                self.occupied.clear(at);
            }
        } else {
            if let Some(before) = entries.get_mut(link.prev as usize) {
                before.link_mut().next = link.next;
            }
            match entries.get_mut(link.next as usize) {
                Some(after) => after.link_mut().prev = link.prev,
                None => list.tail = link.prev,
            }
        }
        self.armed -= 1;
    }
}

/// Bits of a tick below those that `level` takes.
const fn level_shift(level: usize) -> u32 {
    level as u32 * BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::HZ;
    use proptest::prelude::*;

    const DAY: u32 = 24 * 3600 * HZ;
    const NONE: [u32; 0] = [];

    #[derive(Clone, Copy, Default)]
    struct Entry {
        link: Link,
        expires: Tick,
    }

    impl Timed for Entry {
        fn link(&self) -> Link {
            self.link
        }
        fn link_mut(&mut self) -> &mut Link {
            &mut self.link
        }
        fn expires(&self) -> Tick {
            self.expires
        }
        fn timeout(&self) -> u32 {
            0
        }
    }

    /// A wheel that stands at `start` with entries that expire so many ticks after.
    fn wheel(start: Tick, after: &[u32]) -> (Wheel, Vec<Entry>) {
        let entry = |after: &u32| Entry { link: Link::unarmed(), expires: start.plus(*after) };
        let mut entries: Vec<_> = after.iter().map(entry).collect();
        let mut wheel = Wheel::default();
        for index in 0..entries.len() as u32 {
            wheel.arm(&mut entries, index, start);
        }
        (wheel, entries)
    }

    fn all_due(wheel: &mut Wheel, entries: &mut [Entry], now: Tick) -> Vec<u32> {
        std::iter::from_fn(|| wheel.due(entries, now, &mut 1_000_000)).collect()
    }

    #[test]
    fn every_level_and_edge_fires_at_its_very_tick() {
        let afters = [1, 127, 128, 129, 16_383, 16_384, 16_385, (1 << 21) - 1, 1 << 21, (1 << 21) + 1, FURTHEST - 1];
        let beyond = [FURTHEST, FURTHEST + 1, 31 * DAY, 1 << 28, (1 << 28) + 1, 100 * DAY];
        for start in [0, 1, 127, 128, 16_383, (1 << 21) - 1, 1 << 27, (1 << 28) - 1, u32::MAX - 200, u32::MAX] {
            for after in afters.into_iter().chain(beyond) {
                let start = Tick(start);
                let (mut wheel, mut entries) = wheel(start, &[after]);
                assert_eq!(all_due(&mut wheel, &mut entries, start), NONE, "{start:?} {after} at once");
                let early = start.plus(after - 1);
                assert_eq!(all_due(&mut wheel, &mut entries, early), NONE, "{start:?} {after} early");
                assert_eq!(all_due(&mut wheel, &mut entries, start.plus(after)), [0], "{start:?} {after}");
                assert!(wheel.is_empty());
            }
        }
    }

    #[test]
    fn what_has_expired_already_is_due_at_once() {
        let (mut wheel, mut entries) = wheel(Tick(5), &[0, 70]);
        entries[1].expires = Tick(u32::MAX);
        wheel.arm(&mut entries, 1, Tick(5));
        let mut due = all_due(&mut wheel, &mut entries, Tick(5));
        due.sort_unstable();
        assert_eq!(due, [0, 1]);
    }

    #[test]
    fn a_later_expiry_is_looked_at_a_few_times_only() {
        let (mut wheel, mut entries) = wheel(Tick(77), &[90_000]);
        let mut looks = 0;
        for tick in 0..10 * 90_000 {
            let now = Tick(77 + tick);
            entries[0].expires = now.plus(90_000);
            let mut budget = 100;
            assert_eq!(wheel.due(&mut entries, now, &mut budget), None);
            looks += 100 - budget;
        }
        assert!(looks <= 12, "looked at {looks} times in ten time-outs");
    }

    #[test]
    fn a_jump_of_the_clock_does_not_walk_the_ticks_between() {
        let (mut wheel, mut entries) = wheel(Tick(0), &[31 * DAY]);
        let mut now = Tick(0);
        for _ in 0..200_000 {
            now = now.plus(DAY);
            entries[0].expires = now.plus(31 * DAY);
            assert_eq!(wheel.due(&mut entries, now, &mut 9), None);
        }
        assert_eq!(all_due(&mut wheel, &mut entries, now.plus(31 * DAY)), [0]);
    }

    #[test]
    fn an_empty_wheel_takes_up_the_clock_wherever_it_is() {
        let (mut wheel, mut entries) = wheel(Tick(10), &[5]);
        wheel.disarm(&mut entries, 0);
        let now = Tick(u32::MAX / 2 + 100);
        entries[0].expires = now.plus(3);
        wheel.arm(&mut entries, 0, now);
        assert_eq!(all_due(&mut wheel, &mut entries, now.plus(2)), NONE);
        assert_eq!(all_due(&mut wheel, &mut entries, now.plus(3)), [0]);
    }

    #[test]
    fn an_entry_of_no_list_is_taken_out_without_harm() {
        let (mut wheel, mut entries) = wheel(Tick(10), &[5, 5, 5]);
        for index in [1, 1, 7, 0, 2, 2] {
            wheel.disarm(&mut entries, index);
        }
        assert!(wheel.is_empty() && wheel.occupied == Occupied::default());
        let empty = |list: &List| list.head == END;
        assert!(wheel.slots.iter().flat_map(|slot| &slot.0).all(empty));
    }

    /// Ticks ahead, about as many of every size up to 31 days.
    fn ahead() -> impl Strategy<Value = u32> {
        (0..29_u32, any::<u32>()).prop_map(|(bits, value)| (value & ((1 << bits) - 1)).min(31 * DAY))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn entries_come_out_as_from_a_sorted_list_whatever_the_jumps_and_the_budget(
            start in any::<u32>(),
            entries in prop::collection::vec((ahead(), prop::option::of(ahead())), 1..120),
            jumps in prop::collection::vec(ahead(), 1..60),
            budget in 1_u32..5,
        ) {
            let start = Tick(start);
            let (mut wheel, mut slab) = wheel(start, &entries.iter().map(|(after, _)| *after).collect::<Vec<_>>());
            // Some move later, which the wheel is not told.
            for (entry, (_, more)) in slab.iter_mut().zip(&entries) {
                entry.expires = entry.expires.plus(more.unwrap_or(0));
            }
            let mut sorted: Vec<_> = slab.iter().map(|entry| entry.expires.since(start)).collect();
            sorted.sort_unstable();
            let mut sorted = sorted.into_iter().peekable();
            let mut elapsed = 0;
            for jump in jumps.into_iter().chain([31 * DAY, 31 * DAY]) {
                // Never so far on that half the range of a tick is passed.
                elapsed = (elapsed + jump).min(100 * DAY);
                let mut left = 0;
                while left == 0 {
                    left = budget;
                    while let Some(index) = wheel.due(&mut slab, start.plus(elapsed), &mut left) {
                        let after = slab[index as usize].expires.since(start);
                        prop_assert!(after <= elapsed, "{after} at {elapsed}");
                        prop_assert_eq!(Some(after), sorted.next());
                    }
                }
                prop_assert!(sorted.peek().is_none_or(|next| *next > elapsed), "missed by {elapsed}");
                prop_assert_eq!(wheel.len() as usize, sorted.len());
            }
            prop_assert!(wheel.is_empty());
            prop_assert_eq!(wheel.occupied, Occupied::default());
        }

        #[test]
        fn entries_go_from_and_to_anywhere_in_their_lists(
            steps in prop::collection::vec((0_usize..40, prop::option::of(ahead()), prop::option::weighted(0.2, ahead())), 1..400),
        ) {
            let (mut wheel, mut slab) = (Wheel::default(), vec![Entry { link: Link::unarmed(), expires: Tick(0) }; 40]);
            let (mut armed, mut now) = ([false; 40], Tick(0));
            for (index, after, jump) in steps {
                match after {
                    Some(after) => {
                        slab[index].expires = now.plus(after);
                        wheel.arm(&mut slab, index as u32, now);
                    }
                    None => wheel.disarm(&mut slab, index as u32),
                }
                armed[index] = after.is_some();
                now = now.plus(jump.unwrap_or(0));
                if jump.is_some() {
                    for due in all_due(&mut wheel, &mut slab, now) {
                        prop_assert!(std::mem::take(&mut armed[due as usize]) && slab[due as usize].expires.reached(now));
                    }
                    let late = (0..40).find(|at| armed[*at] && slab[*at].expires.reached(now));
                    prop_assert_eq!(late, None);
                }
                prop_assert_eq!(wheel.len() as usize, armed.iter().filter(|armed| **armed).count());
            }
        }
    }
}
