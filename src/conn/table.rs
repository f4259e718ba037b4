//! The connection table: a slab of entries and an index of one-line buckets, both laid out whole at start. An entry is indexed
//! once, by its client (protocol, address, port), which both of its directions know; a request then compares the virtual
//! endpoint, a reply the destination's. A bucket that is full sends entries on to those that follow and counts how many, so
//! that a look-up goes on only where something lies further on (the counters of Facebook's F14 tables).

use thiserror::Error;
use wide::{i8x16, i16x8};

use super::edges::Place;
use super::timer::{Link, Wheel};
use super::{ConnFlags, ConnId, Connection, ReplyKey, RequestKey};
use crate::family::Address;
use crate::hash::{HashKey, ProtocolKey};
use crate::prefetch;
use crate::time::Tick;

/// Slots of a bucket.
const SLOTS: usize = 8;
/// Buckets that an entry may lie away from where its hash points, itself included.
const REACH: usize = 64;
/// Connections of one client port, which all have one hash: more are refused, so that nobody can make look-ups slow or crowd out
/// the clients beside. A quarter of what the reach holds.
const ALIKE: u32 = 128;
/// Tag of a slot that is not taken.
const EMPTY: i16 = 0;
/// A bit of the tag that every hash has, so that no tag is that.
const TAGGED: u64 = 1 << 48;
/// End of the list of free entries.
const NO_ENTRY: u32 = u32::MAX;

/// Why a connection was not taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum InsertError {
    /// Every entry is in use.
    #[error("the connection table is full")]
    Full,
    /// Too many connections lie where this client's belong, mostly its own from this one port.
    #[error("too many connections of one client port")]
    ChainFull,
}

/// One cache line of the index.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    tags: [i16; SLOTS],
    entries: [u32; SLOTS],
    /// Entries that passed this bucket, because it was full, and lie further on.
    overflow: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

impl Bucket {
    /// The entry in the first slot that holds `tag`.
    #[inline(always)]
    fn first(&self, tag: i16) -> Option<u32> {
        /// Of the comparison's mask, a bit for each byte.
        const BITS: u32 = i16::BITS / u8::BITS;
        let same: i8x16 = bytemuck::cast(i16x8::new(self.tags).simd_eq(i16x8::splat(tag)));
        let slots = same.to_bitmask();
        if slots == 0 { None } else { self.entries.get((slots.trailing_zeros() / BITS) as usize).copied() }
    }

    /// The slots that hold `tag`, a bit each.
    #[inline]
    fn matching(&self, tag: i16) -> u32 {
        i16x8::new(self.tags).simd_eq(i16x8::splat(tag)).to_bitmask()
    }

    /// The entries under `tag`.
    #[inline]
    fn under(&self, tag: i16) -> impl Iterator<Item = u32> {
        let mut slots = self.matching(tag);
        std::iter::from_fn(move || {
            let slot = if slots == 0 { return None } else { slots.trailing_zeros() as usize };
            slots &= slots - 1;
            self.entries.get(slot).copied()
        })
    }

    /// The first slot that is free.
    #[inline]
    fn free_slot(&self) -> Option<usize> {
        let free = self.matching(EMPTY);
        (free != 0).then_some(free.trailing_zeros() as usize)
    }

    /// Puts an entry into a free slot; returns false when there is none.
    #[inline]
    fn put(&mut self, tag: i16, entry: u32) -> bool {
        let Some(slot) = self.free_slot() else { return false };
        let (Some(of), Some(place)) = (self.tags.get_mut(slot), self.entries.get_mut(slot)) else { return false };
        (*of, *place) = (tag, entry);
        true
    }

    /// Frees the slot of an entry; returns false when it is not here.
    #[inline]
    fn take(&mut self, tag: i16, entry: u32) -> bool {
        let mut slots = self.matching(tag);
        while slots != 0 {
            let slot = slots.trailing_zeros() as usize;
            if self.entries.get(slot) == Some(&entry) {
                self.tags.iter_mut().skip(slot).take(1).for_each(|of| *of = EMPTY);
                return true;
            }
            slots &= slots - 1;
        }
        false
    }
}

/// Where a connection of a certain hash can be entered without a search, for there is none in the table that could be it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vacancy {
    hash: u64,
    entry: u32,
}

/// Hashes clients of one protocol as a table does.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(ProtocolKey);

impl Hasher {
    /// [`Table::hash`].
    #[inline(always)]
    pub fn hash<A: Address>(&self, caddr: A, cport: u16) -> u64 {
        self.0.client(caddr, cport) | TAGGED
    }
}

/// The index of a table apart from its entries, for loops that look up some while they change others.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    /// A power of two of them.
    buckets: &'a [Bucket],
    key: HashKey,
}

impl Index<'_> {
    /// Has it no bucket at all? No table has such an index; who has asked need not fear one.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// [`Table::hash`] for one protocol.
    #[inline(always)]
    pub fn hasher(&self, protocol: u8) -> Hasher {
        Hasher(self.key.of(protocol))
    }

    /// [`Table::hash`].
    #[inline(always)]
    pub fn hash<A: Address>(&self, protocol: u8, caddr: A, cport: u16) -> u64 {
        self.key.client(protocol, caddr, cport) | TAGGED
    }

    /// [`Table::prefetch`].
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        prefetch::element(self.buckets, home(self.buckets.len(), hash));
    }

    /// [`Table::candidate`], given the table's entries.
    #[inline(always)]
    pub fn candidate<A>(&self, hash: &u64, entries: &[Connection<A>]) -> ConnId {
        // Of a hash in memory the bits that are needed are read, the tag into a vector at once.
        let Some(bucket) = self.buckets.get(home(self.buckets.len(), low(hash))) else { return none() };
        let id = match bucket.first(tag_in(hash)) {
            Some(index) => ConnId(index),
            None if bucket.overflow == 0 => return ConnId::NONE,
            None => self.candidate_beyond(*hash, entries),
        };
        prefetch::element(entries, id.index());
        id
    }

    /// The likely connection when the bucket that the hash points to is full of others.
    #[cold]
    fn candidate_beyond<A>(&self, hash: u64, entries: &[Connection<A>]) -> ConnId {
        self.find(hash, entries, |_| true).unwrap_or_default()
    }

    /// [`Table::find`], given the table's entries.
    fn find<A>(
        &self,
        hash: u64,
        entries: &[Connection<A>],
        mut matches: impl FnMut(&Connection<A>) -> bool,
    ) -> Option<ConnId> {
        for at in path(self.buckets.len(), hash) {
            let bucket = self.buckets.get(at)?;
            for index in bucket.under(tag(hash)) {
                if entries.get(index as usize).is_some_and(&mut matches) {
                    return Some(ConnId(index));
                }
            }
            if bucket.overflow == 0 {
                return None;
            }
        }
        None
    }
}

/// A table of connections, or of templates, of one address family.
#[derive(Debug)]
pub struct Table<A> {
    /// A power of two of them.
    buckets: Box<[Bucket]>,
    entries: Box<[Connection<A>]>,
    key: HashKey,
    /// First of the entries that were freed.
    free: u32,
    /// Entries from here on have never been used.
    fresh: u32,
    len: u32,
    wheel: Wheel,
}

impl<A: Address> Table<A> {
    /// Lays out a table for `capacity` connections; nothing is allocated afterwards.
    pub fn new(capacity: u32, key: HashKey) -> Self {
        Self::with_buckets(capacity, bucket_count(capacity), key)
    }

    fn with_buckets(capacity: u32, buckets: usize, key: HashKey) -> Self {
        Self {
            buckets: vec![Bucket::default(); buckets].into_boxed_slice(),
            entries: vec![Connection::default(); capacity as usize].into_boxed_slice(),
            key,
            free: NO_ENTRY,
            fresh: 0,
            len: 0,
            wheel: Wheel::default(),
        }
    }

    /// Entries beyond the last that was ever in use: indices below this are worth a look.
    pub fn reach(&self) -> u32 {
        self.fresh
    }

    /// Lets connections expire as late as on the kernel's timer wheel ([`crate::time::fires`]).
    pub fn set_edges(&mut self) {
        self.wheel.set_edges();
    }

    /// Has the kernel's timer wheel take note of how the timers are set now. To be asked after whatever sets timers; of several that one
    /// packet sets those of the entries of lower index first.
    pub fn note_edges(&mut self, turn: &mut u64) {
        let Some(edges) = self.wheel.edges_mut() else { return };
        let armed = self.entries.iter().take(self.fresh as usize).enumerate().filter(|(_, entry)| entry.link.in_use());
        armed.for_each(|(index, entry)| edges.set(index as u32, entry.expires, entry.timeout, turn));
    }

    /// The place that the timer of what is due had on the kernel's timer wheel, if connections expire as on it.
    pub fn take_edge(&mut self, id: ConnId) -> Option<Place> {
        self.wheel.edges_mut()?.take(id.0)
    }

    /// Connections in the table.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Returns true when there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Connections that there is room for.
    pub fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Bytes that a table for `capacity` connections takes, but for the wheel's fixed part.
    pub fn bytes_for(capacity: u32) -> usize {
        bucket_count(capacity) * size_of::<Bucket>() + capacity as usize * size_of::<Connection<A>>()
    }

    /// Bytes that the table takes, everything counted.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Wheel>()
            + size_of_val(&*self.buckets)
            + size_of_val(&*self.entries)
            + self.wheel.memory_bytes()
    }

    /// Hashes a client, for all calls that ask for a hash.
    #[inline]
    pub fn hash(&self, protocol: u8, caddr: A, cport: u16) -> u64 {
        self.key.client(protocol, caddr, cport) | TAGGED
    }

    /// Hashes what a template is found by. The virtual address takes part, for a client network has one template a service.
    #[inline]
    pub fn template_hash(&self, protocol: u8, network: A, vaddr: A) -> u64 {
        self.key.client(protocol, network, 0) ^ self.key.client(protocol, vaddr, 1) | TAGGED
    }

    /// Hashes the name by which a template is found too: what is kept in its `extra`, 0 for no name.
    pub fn name_hash(&self, name: &[u8]) -> u32 {
        if name.is_empty() { 0 } else { (self.key.bytes(name) >> 32) as u32 | 1 }
    }

    /// Hashes what a template with such a name is found by.
    pub fn named_template_hash(&self, protocol: u8, network: A, vaddr: A, name: u32) -> u64 {
        // The name decides both the bucket and the tag.
        self.template_hash(protocol, network, vaddr) ^ u64::from(name).wrapping_mul(0x9e37_79b9_7f4a_7c15) | TAGGED
    }

    fn hash_of(&self, connection: &Connection<A>) -> u64 {
        if connection.flags.contains(ConnFlags::TEMPLATE) {
            let Connection { protocol, caddr, vaddr, extra, .. } = *connection;
            self.named_template_hash(protocol, caddr, vaddr, extra)
        } else {
            self.hash(connection.protocol, connection.caddr, connection.cport)
        }
    }

    /// First stage of a look-up: fetches the bucket.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.index().prefetch(hash);
    }

    /// Second stage of a look-up: returns the likely connection, unread, and fetches it.
    #[inline]
    pub fn candidate(&self, hash: u64) -> ConnId {
        self.index().candidate(&hash, &self.entries)
    }

    /// The index, for look-ups without the entries.
    #[inline(always)]
    pub fn index(&self) -> Index<'_> {
        Index { buckets: &self.buckets, key: self.key }
    }

    /// The index, and the entries by their ids: of those only what is no part of a key may be changed.
    #[inline(always)]
    pub fn parted(&mut self) -> (Index<'_>, &mut [Connection<A>]) {
        (Index { buckets: &self.buckets, key: self.key }, &mut self.entries)
    }

    /// Last stage of a look-up: the connection of a client's packet. What [`Table::candidate`] returned is tried first, also
    /// when the table has changed since; [`ConnId::NONE`] will do.
    #[inline]
    pub fn request(&self, hash: u64, candidate: ConnId, key: &RequestKey<A>) -> Option<ConnId> {
        self.confirm(hash, candidate, |connection| key.matches(connection))
    }

    /// Last stage of a look-up: the connection of a server's packet, a NAT one.
    #[inline]
    pub fn reply(&self, hash: u64, candidate: ConnId, key: &ReplyKey<A>) -> Option<ConnId> {
        self.confirm(hash, candidate, |connection| key.matches(connection))
    }

    #[inline]
    fn confirm(&self, hash: u64, candidate: ConnId, mut matches: impl FnMut(&Connection<A>) -> bool) -> Option<ConnId> {
        match self.get(candidate) {
            Some(connection) if matches(connection) => Some(candidate),
            _ => self.find(hash, matches),
        }
    }

    /// The first connection under `hash` that `matches`; others that share the hash's tag are asked about too.
    pub fn find(&self, hash: u64, matches: impl FnMut(&Connection<A>) -> bool) -> Option<ConnId> {
        self.index().find(hash, &self.entries, matches)
    }

    /// The connection, or `None` when there is none of this id.
    #[inline]
    pub fn get(&self, id: ConnId) -> Option<&Connection<A>> {
        self.entries.get(id.index()).filter(|connection| connection.link.in_use())
    }

    /// The connection, to be changed, except for where it is found: see [`Table::rekey`].
    #[inline]
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection<A>> {
        self.entries.get_mut(id.index()).filter(|connection| connection.link.in_use())
    }

    /// The entry of that index, in use or not, for a guess at what a packet's will be.
    #[inline]
    pub fn entry(&self, id: ConnId) -> Option<&Connection<A>> {
        self.entries.get(id.index())
    }

    /// Takes in a connection whose client hashes to `hash` and which is not in the table yet, to expire at its `expires`. The hash
    /// of what bears [`ConnFlags::TEMPLATE`] is that of [`Table::template_hash`].
    pub fn insert(&mut self, hash: u64, connection: Connection<A>, now: Tick) -> Result<ConnId, InsertError> {
        debug_assert_eq!(hash, self.hash_of(&connection), "the hash is not this connection's");
        let entry = self.next_entry().ok_or(InsertError::Full)?;
        if !index_put(&mut self.buckets, hash, entry) {
            return Err(InsertError::ChainFull);
        }
        Ok(self.occupy(entry, connection, now))
    }

    /// Room for a connection of this hash, if the bucket that it points to is enough to tell that no connection with the same tag is in
    /// the table, and that there is room.
    #[inline]
    pub fn vacancy(&self, hash: u64) -> Option<Vacancy> {
        let bucket = self.buckets.get(home(self.buckets.len(), hash))?;
        let clear = bucket.overflow == 0 && bucket.matching(tag(hash)) == 0 && bucket.matching(EMPTY) != 0;
        if clear { Some(Vacancy { hash, entry: self.next_entry()? }) } else { None }
    }

    /// [`Table::insert`] where there is room, the table not having changed since.
    #[inline(always)]
    pub fn enter(&mut self, vacancy: Vacancy, connection: Connection<A>, now: Tick) -> ConnId {
        let Vacancy { hash, entry } = vacancy;
        debug_assert_eq!(hash, self.hash_of(&connection), "the hash is not this connection's");
        debug_assert_eq!(Some(vacancy), self.vacancy(hash), "the table has changed");
        let home = home(self.buckets.len(), hash);
        if let Some(bucket) = self.buckets.get_mut(home) {
            bucket.put(tag(hash), entry);
        }
        self.occupy(entry, connection, now)
    }

    /// The entry that the next connection gets.
    #[inline]
    fn next_entry(&self) -> Option<u32> {
        let index = if self.free == NO_ENTRY { self.fresh } else { self.free };
        ((index as usize) < self.entries.len()).then_some(index)
    }

    /// Makes the next entry this connection, which is in the index already.
    #[inline(always)]
    fn occupy(&mut self, index: u32, connection: Connection<A>, now: Tick) -> ConnId {
        if let Some(entry) = self.entries.get_mut(index as usize) {
            let after = entry.link.next();
            // Without a template there is none to be assured.
            let sure = if connection.template.is_some() || connection.flags.contains(ConnFlags::TEMPLATE) {
                ConnFlags(0)
            } else {
                ConnFlags::ASSURED
            };
            *entry = Connection { link: Link::unarmed(), flags: connection.flags | sure, ..connection };
            if index == self.fresh {
                self.fresh += 1;
                prefetch::element(&self.entries, self.fresh as usize);
            } else {
                self.free = after;
                prefetch::element(&self.entries, after as usize);
            }
            self.len += 1;
            self.wheel.arm_new(&mut self.entries, index, now);
        }
        ConnId(index)
    }

    /// Removes a connection and returns it; its timer is gone with it.
    #[inline]
    pub fn remove(&mut self, id: ConnId) -> Option<Connection<A>> {
        let removed = *self.get(id)?;
        self.wheel.disarm(&mut self.entries, id.0);
        if let Some(edges) = self.wheel.edges_mut() {
            edges.take(id.0);
        }
        let hash = self.hash_of(&removed);
        index_take(&mut self.buckets, hash, id.0);
        *self.entries.get_mut(id.index())? = Connection { link: Link::free(self.free), ..Connection::default() };
        self.free = id.0;
        self.len -= 1;
        Some(removed)
    }

    /// Ends a connection at the next tick, unless its `expires` is moved before.
    pub fn expire_now(&mut self, id: ConnId, now: Tick) {
        if let Some(connection) = self.get_mut(id) {
            (connection.expires, connection.timeout) = (now, 0);
            self.rearm(id, now);
        }
    }

    /// Changes what a connection is found by (its protocol, client address or port; of a template the virtual address), and
    /// whatever else `change` does. When it cannot be taken in under the new ones the connection stays as it was. An id of no
    /// connection is no error.
    pub fn rekey(&mut self, id: ConnId, change: impl FnOnce(&mut Connection<A>)) -> Result<(), InsertError> {
        let Some(before) = self.get(id).copied() else { return Ok(()) };
        let mut after = before;
        change(&mut after);
        after.link = before.link;
        let old = self.hash_of(&before);
        index_take(&mut self.buckets, old, id.0);
        let new = self.hash_of(&after);
        if !index_put(&mut self.buckets, new, id.0) {
            let restored = index_put(&mut self.buckets, old, id.0);
            debug_assert!(restored, "the slot just freed is free");
            return Err(InsertError::ChainFull);
        }
        if let Some(entry) = self.get_mut(id) {
            *entry = after;
        }
        Ok(())
    }

    /// Sets the timer by the connection's `expires`: needed when that moved earlier, or after [`Table::due`] returned it.
    pub fn rearm(&mut self, id: ConnId, now: Tick) {
        if self.get(id).is_some() {
            self.wheel.arm(&mut self.entries, id.0, now);
        }
    }

    /// Returns the next connection that has expired by `now`. It is still in the table but has no timer: remove it, or set its
    /// `expires` and [`Table::rearm`] it. Every connection looked at takes one off `budget`; at 0 the work stops, to be resumed
    /// by the next call. `None` with budget left: nothing more is due.
    #[inline]
    pub fn due(&mut self, now: Tick, budget: &mut u32) -> Option<ConnId> {
        let due = self.wheel.due(&mut self.entries, now, budget).map(ConnId)?;
        self.prefetch_upcoming();
        Some(due)
    }

    fn prefetch_upcoming(&self) {
        // The next one is likely to be removed too: have its bucket here by then.
        if let Some(next) = self.entries.get(self.wheel.upcoming() as usize) {
            self.prefetch(self.hash_of(next));
        }
    }

    /// Lists the connections among the next `max` entries from `cursor` on, which starts at 0, and returns the cursor to go on
    /// from, `None` at the end. The table may change between calls: what stays is listed exactly once.
    pub fn scan(
        &self,
        cursor: u32,
        max: usize,
    ) -> (impl Iterator<Item = (ConnId, &Connection<A>)> + use<'_, A>, Option<u32>) {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let end = cursor.saturating_add(max).min(self.fresh);
        let ids = (cursor..end).map(ConnId);
        (ids.filter_map(|id| self.get(id).map(|connection| (id, connection))), (end < self.fresh).then_some(end))
    }
}

/// Buckets for a load of at most one half when the table is full.
fn bucket_count(capacity: u32) -> usize {
    (capacity as usize * 2).div_ceil(SLOTS).next_power_of_two()
}

/// Puts an entry into the first bucket of its path that has room; changes nothing when none has.
fn index_put(buckets: &mut [Bucket], hash: u64, index: u32) -> bool {
    let length = buckets.len();
    let mut alike = 0;
    let place = |at: usize| {
        let Some(bucket) = buckets.get_mut(at) else { return false };
        alike += bucket.matching(tag(hash)).count_ones();
        alike < ALIKE && bucket.put(tag(hash), index)
    };
    let Some(passed) = path(length, hash).position(place) else { return false };
    for at in path(length, hash).take(passed) {
        buckets[at].overflow += 1;
    }
    true
}

/// Takes an entry out of the index, and off the counters of the buckets that it had passed.
#[inline]
fn index_take(buckets: &mut [Bucket], hash: u64, index: u32) {
    let home = home(buckets.len(), hash);
    if !buckets.get_mut(home).is_some_and(|bucket| bucket.take(tag(hash), index)) {
        index_take_beyond(buckets, hash, index);
    }
}

/// The same where the bucket that the hash points to was full.
#[cold]
fn index_take_beyond(buckets: &mut [Bucket], hash: u64, index: u32) {
    let length = buckets.len();
    let found = |at: usize| buckets.get_mut(at).is_some_and(|bucket| bucket.take(tag(hash), index));
    let Some(passed) = path(length, hash).position(found) else { return };
    for at in path(length, hash).take(passed) {
        buckets[at].overflow -= 1;
    }
}

/// The bucket that a hash points to. The number of buckets is a power of two.
#[inline(always)]
fn home(buckets: usize, hash: u64) -> usize {
    hash as usize & buckets.wrapping_sub(1)
}

/// The lower half of a hash in memory: no table has more buckets than it can tell apart.
#[inline(always)]
fn low(hash: &u64) -> u64 {
    let [first, second] = *bytemuck::cast_ref::<u64, [u32; 2]>(hash);
    u64::from(if cfg!(target_endian = "little") { first } else { second })
}

/// No connection, where that is not to be expected.
#[cold]
#[inline(never)]
fn none() -> ConnId {
    ConnId::NONE
}

/// The tag of a hash in memory.
#[inline(always)]
fn tag_in(hash: &u64) -> i16 {
    let parts = bytemuck::cast_ref::<u64, [i16; 4]>(hash);
    if cfg!(target_endian = "little") { parts[3] } else { parts[0] }
}

/// The buckets in which an entry may lie, nearest first.
fn path(buckets: usize, hash: u64) -> impl Iterator<Item = usize> {
    let (home, mask) = (home(buckets, hash), buckets - 1);
    (0..REACH.min(buckets)).map(move |step| (home + step) & mask)
}

/// The tag of a hash: bits that do not choose the bucket, never that of an empty slot.
#[inline]
fn tag(hash: u64) -> i16 {
    (hash >> 48) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick(1000);

    fn connection(client: u32, vport: u16) -> Connection<u32> {
        let (caddr, vaddr, daddr) = (client, 0xc633_6401, 0x0a00_0001);
        let (protocol, expires) = (6, NOW.plus(100));
        let flags = ConnFlags::NAT;
        Connection {
            caddr,
            vaddr,
            daddr,
            cport: 5000,
            vport,
            dport: 80,
            protocol,
            flags,
            expires,
            ..Default::default()
        }
    }

    fn put(table: &mut Table<u32>, connection: Connection<u32>) -> Result<ConnId, InsertError> {
        table.insert(table.hash(connection.protocol, connection.caddr, connection.cport), connection, NOW)
    }

    fn request(c: &Connection<u32>) -> RequestKey<u32> {
        RequestKey { protocol: c.protocol, caddr: c.caddr, cport: c.cport, vaddr: c.vaddr, vport: c.vport }
    }

    fn reply(c: &Connection<u32>) -> ReplyKey<u32> {
        ReplyKey { protocol: c.protocol, caddr: c.caddr, cport: c.cport, daddr: c.daddr, dport: c.dport }
    }

    #[test]
    fn a_connection_is_found_in_both_directions_until_it_expires() {
        let mut table = Table::new(8, HashKey::new(1));
        let entry = connection(1, 443);
        let hash = table.hash(6, entry.caddr, entry.cport);
        assert_eq!(table.request(hash, table.candidate(hash), &request(&entry)), None);
        let id = put(&mut table, entry).unwrap();
        assert_eq!(table.candidate(hash), id);
        assert_eq!(table.request(hash, ConnId::NONE, &request(&entry)), Some(id));
        assert_eq!(table.reply(hash, id, &reply(&entry)), Some(id));
        assert_eq!(table.due(NOW.plus(99), &mut 9), None);
        assert_eq!(table.due(NOW.plus(100), &mut 9), Some(id));
        assert!(table.remove(id).is_some() && table.remove(id).is_none() && table.get(id).is_none());
        assert_eq!(table.request(hash, id, &request(&entry)), None);
    }

    /// Nothing left behind: no slot taken, nothing counted as further on, every entry to be had again.
    fn assert_pristine(table: &mut Table<u32>) {
        assert_eq!((table.len(), table.wheel.len()), (0, 0));
        assert!(table.buckets.iter().all(|bucket| bucket.overflow == 0), "a bucket counts entries that are gone");
        assert!(table.buckets.iter().all(|bucket| bucket.tags == [EMPTY; SLOTS]), "a slot is taken");
        let mut chain = std::collections::BTreeSet::new();
        let mut next = table.free;
        while next != NO_ENTRY {
            assert!(chain.insert(next), "entry {next} is free twice");
            next = table.entries[next as usize].link.next();
        }
        assert!(chain.into_iter().eq(0..table.fresh), "an entry is lost");
    }

    #[test]
    fn a_retired_connection_is_found_by_replies_alone_until_the_next_tick() {
        let mut table = Table::new(8, HashKey::new(1));
        let entry = connection(1, 443);
        let id = put(&mut table, entry).unwrap();
        let hash = table.hash(6, entry.caddr, entry.cport);
        table.expire_now(id, NOW);
        assert_eq!(table.request(hash, id, &request(&entry)), Some(id));
        table.get_mut(id).unwrap().flags.insert(ConnFlags::RETIRED);
        assert_eq!(table.request(hash, id, &request(&entry)), None);
        assert_eq!(table.reply(hash, id, &reply(&entry)), Some(id));
        assert_eq!(table.due(NOW, &mut 9), Some(id));
        assert!(table.remove(id).is_some());
        assert_pristine(&mut table);
    }

    #[test]
    fn only_a_nat_connection_takes_replies() {
        let mut table = Table::new(8, HashKey::new(1));
        let entry = Connection { flags: ConnFlags::DR, ..connection(1, 443) };
        let id = put(&mut table, entry).unwrap();
        let hash = table.hash(6, entry.caddr, entry.cport);
        assert_eq!(table.reply(hash, id, &reply(&entry)), None);
        assert_eq!(table.request(hash, id, &request(&entry)), Some(id));
    }

    #[test]
    fn a_vacancy_is_there_only_while_a_bucket_tells_all() {
        let mut table = Table::with_buckets(64, 1, HashKey::new(1));
        let fill = |table: &mut Table<u32>, client: u32| {
            let entry = connection(client, 443);
            let hash = table.hash(6, entry.caddr, entry.cport);
            let vacancy = table.vacancy(hash);
            let id = vacancy.map(|vacancy| table.enter(vacancy, entry, NOW));
            (id, table.vacancy(hash), table.request(hash, ConnId::NONE, &request(&entry)))
        };
        for client in 0..SLOTS as u32 {
            let id = ConnId(client);
            assert_eq!(fill(&mut table, client), (Some(id), None, Some(id)), "its own tag is taken then");
        }
        assert_eq!(fill(&mut table, 99), (None, None, None), "the bucket is full");
        (0..SLOTS as u32).for_each(|index| assert!(table.remove(ConnId(index)).is_some()));
        assert_pristine(&mut table);
        assert_eq!(fill(&mut table, 99).0, Some(ConnId(SLOTS as u32 - 1)), "the entry that was freed last");
        let mut none = Table::<u32>::new(0, HashKey::new(1));
        assert_eq!((none.vacancy(3), put(&mut none, connection(1, 1))), (None, Err(InsertError::Full)));
    }

    #[test]
    fn a_candidate_that_has_gone_stale_does_no_harm() {
        let mut table = Table::new(8, HashKey::new(1));
        let (one, other) = (connection(1, 443), connection(2, 443));
        let hash = table.hash(6, one.caddr, one.cport);
        let stale = put(&mut table, one).unwrap();
        table.remove(stale);
        assert_eq!(table.request(hash, stale, &request(&one)), None, "removed");
        assert_eq!(put(&mut table, other), Ok(stale));
        let again = put(&mut table, one).unwrap();
        assert_eq!(table.request(hash, stale, &request(&one)), Some(again), "the entry is another's now");
        assert_eq!(table.request(hash, ConnId(4_000_000_000), &request(&one)), Some(again));
    }

    #[test]
    fn an_entry_of_zeros_is_told_from_a_free_one() {
        let mut table = Table::new(8, HashKey::new(1));
        let id = put(&mut table, Connection::default()).unwrap();
        let hash = table.hash(0, 0, 0);
        assert_eq!(table.request(hash, id, &RequestKey::default()), Some(id));
        table.remove(id);
        assert_eq!(table.request(hash, id, &RequestKey::default()), None);
        assert!(table.get(id).is_none() && table.get_mut(id).is_none() && table.get(ConnId::NONE).is_none());
    }

    #[test]
    fn one_client_port_is_held_to_its_reach_and_others_are_not_harmed() {
        let mut table = Table::new(4096, HashKey::new(3));
        let most = ALIKE as u16;
        let ids: Vec<_> = (0..most).map(|vport| put(&mut table, connection(7, vport)).unwrap()).collect();
        assert_eq!(put(&mut table, connection(7, most)), Err(InsertError::ChainFull));
        let others: Vec<_> = (100..1100).map(|client| connection(client, 80)).collect();
        for other in &others {
            put(&mut table, *other).unwrap();
        }
        for entry in (0..most).map(|vport| connection(7, vport)).chain(others) {
            let hash = table.hash(6, entry.caddr, entry.cport);
            let id = table.request(hash, table.candidate(hash), &request(&entry)).unwrap();
            assert_eq!(request(table.get(id).unwrap()), request(&entry));
        }
        table.remove(ids[100]);
        assert!(put(&mut table, connection(7, most)).is_ok(), "there is room again");
        let all: Vec<_> = table.scan(0, usize::MAX).0.map(|(id, _)| id).collect();
        for id in all {
            table.remove(id);
        }
        assert_pristine(&mut table);
    }

    #[test]
    fn a_client_network_may_have_templates_of_many_services_and_each_can_be_renamed() {
        let mut table = Table::new(4096, HashKey::new(3));
        let template = |n: u32| {
            let flags = ConnFlags::TEMPLATE;
            Connection { cport: 0, vaddr: 0xc633_6400 + n, flags, ..connection(0x0a00_0000, 80) }
        };
        let hash = |table: &Table<u32>, n| table.template_hash(6, 0x0a00_0000, template(n).vaddr);
        for n in 0..2000 {
            let id = table.insert(hash(&table, n), template(n), NOW).unwrap();
            let entry = table.get_mut(id).unwrap();
            entry.vport = if n % 2 == 0 { 65535 } else { entry.vport };
        }
        for n in 0..2000 {
            let wanted = |entry: &Connection<u32>| entry.vaddr == template(n).vaddr && entry.vport == 80;
            assert_eq!(table.find(hash(&table, n), wanted).is_some(), n % 2 == 1);
        }
        for id in 0..2000 {
            table.remove(ConnId(id));
        }
        assert_pristine(&mut table);
    }

    #[test]
    fn a_table_filled_to_the_last_entry_and_emptied_is_as_new() {
        for (capacity, buckets) in [(1, 1), (8, 1), (1000, 256), (512, 64)] {
            let mut table = Table::with_buckets(capacity, buckets, HashKey::new(9));
            for round in 0..3 {
                let ids: Vec<_> =
                    (0..capacity).map(|client| put(&mut table, connection(client, round)).unwrap()).collect();
                assert_eq!(table.len(), capacity);
                assert!(put(&mut table, connection(capacity, round)).is_err());
                for (client, id) in ids.iter().enumerate() {
                    let entry = connection(client as u32, round);
                    let hash = table.hash(6, entry.caddr, entry.cport);
                    assert_eq!(table.request(hash, table.candidate(hash), &request(&entry)), Some(*id));
                }
                let (odd, even): (Vec<_>, Vec<_>) = ids.iter().partition(|id| id.0 % 2 == 1);
                for id in odd.into_iter().chain(even) {
                    assert!(table.remove(id).is_some());
                }
                assert_pristine(&mut table);
            }
        }
    }

    #[test]
    fn a_full_table_says_so_and_takes_the_next_once_one_has_gone() {
        let mut table = Table::new(2, HashKey::new(1));
        let first = put(&mut table, connection(1, 80)).unwrap();
        put(&mut table, connection(2, 80)).unwrap();
        assert_eq!(put(&mut table, connection(3, 80)), Err(InsertError::Full));
        table.remove(first);
        assert_eq!(put(&mut table, connection(3, 80)), Ok(first));
        assert_eq!(put(&mut Table::new(0, HashKey::new(1)), connection(1, 80)), Err(InsertError::Full));
    }

    #[test]
    fn misses_seldom_go_beyond_their_bucket_at_the_load_of_a_full_table() {
        let mut table = Table::new(1 << 16, HashKey::new(5));
        for client in 0..1 << 16 {
            put(&mut table, connection(client, 80)).unwrap();
        }
        assert_eq!(table.buckets.len() * SLOTS, 2 << 16);
        let over = table.buckets.iter().filter(|bucket| bucket.overflow > 0).count();
        assert!(over * 25 < table.buckets.len(), "{over} of {} buckets overflow", table.buckets.len());
    }

    #[test]
    fn a_connection_moves_to_another_client_port_or_stays_whole() {
        let mut table = Table::new(4096, HashKey::new(3));
        let id = put(&mut table, connection(1, 80)).unwrap();
        table.rekey(id, |entry| entry.cport = 65535).unwrap();
        let moved = Connection { cport: 65535, ..connection(1, 80) };
        assert_eq!(table.find(table.hash(6, 1, 65535), |entry| entry.vport == 80), Some(id));
        assert_eq!(table.find(table.hash(6, 1, 5000), |_| true), None);
        for vport in 0..ALIKE as u16 {
            put(&mut table, connection(7, vport)).unwrap();
        }
        let full = table.rekey(id, |entry| (entry.caddr, entry.cport) = (7, 5000));
        assert_eq!(full, Err(InsertError::ChainFull));
        assert_eq!(table.request(table.hash(6, 1, 65535), ConnId::NONE, &request(&moved)), Some(id));
        assert_eq!(table.remove(id).map(|entry| (entry.caddr, entry.cport)), Some((1, 65535)));
        assert_eq!(table.rekey(id, |_| ()), Ok(()), "no connection, no error");
        assert_eq!((0..=ALIKE).filter_map(|id| table.remove(ConnId(id))).count(), ALIKE as usize);
        assert_pristine(&mut table);
    }

    #[test]
    fn a_listing_in_parts_has_every_connection_once() {
        let mut table = Table::new(100, HashKey::new(1));
        let ids: Vec<_> = (0..50).map(|client| put(&mut table, connection(client, 80)).unwrap()).collect();
        for id in ids.iter().step_by(3) {
            table.remove(*id);
        }
        let (mut listed, mut cursor) = (Vec::new(), Some(0));
        while let Some(from) = cursor {
            let (part, next) = table.scan(from, 7);
            listed.extend(part.map(|(id, entry)| (id, entry.caddr)));
            cursor = next;
        }
        assert!(listed.into_iter().eq((0..50).filter(|n| n % 3 != 0).map(|n| (ConnId(n), n))));
        assert_eq!(table.scan(u32::MAX, usize::MAX).1, None);
    }

    #[test]
    fn sixteen_million_connections_take_at_most_96_bytes_each() {
        // The sum, not the table: 16M of them would take the memory. A smaller table shows that the sum is right.
        let fixed = size_of::<Table<u32>>() - size_of::<Wheel>() + Wheel::default().memory_bytes();
        let small = Table::<u32>::new(5000, HashKey::new(1));
        assert_eq!(small.memory_bytes(), Table::<u32>::bytes_for(5000) + fixed);
        assert_eq!(small.memory_bytes() - fixed, size_of_val(&*small.entries) + size_of_val(&*small.buckets));
        for capacity in [16_000_000, 1 << 24] {
            let each = (Table::<u32>::bytes_for(capacity) + fixed) as f64 / f64::from(capacity);
            assert!(each <= 96.0, "{each} bytes a connection");
        }
        // Just above a power of two the index is at its largest, 32 bytes a connection.
        assert!(Table::<u32>::bytes_for((1 << 24) + 1) < 97 << 24);
        assert!(Table::<u128>::bytes_for(1 << 24) <= (128 + 16) << 24);
    }

    mod against_a_model {
        use super::*;
        use proptest::prelude::*;

        #[derive(Clone, Debug)]
        enum Step {
            Insert { client: u32, cport: u16, vport: u16, nat: bool, after: u32 },
            Look { client: u32, cport: u16, port: u16, candidate: u32 },
            Remove(usize),
            Rekey(usize, u16),
            Earlier(usize, u32),
            Later(usize, u32),
            Pass(u32),
            Due { budget: u32, keep: Option<u32> },
        }

        fn ticks() -> impl Strategy<Value = u32> {
            (0..27_u32, any::<u32>()).prop_map(|(bits, value)| value & ((1 << bits) - 1))
        }

        fn step() -> impl Strategy<Value = Step> {
            let (client, cport, port) = (0..4_u32, 0..3_u16, 0..4_u16);
            let look = (client.clone(), cport.clone(), port.clone(), 0..50_u32);
            let insert = (client, cport.clone(), port, any::<bool>(), ticks());
            prop_oneof![
                8 => insert.prop_map(|(client, cport, vport, nat, after)| Step::Insert { client, cport, vport, nat, after }),
                6 => look.prop_map(|(client, cport, port, candidate)| Step::Look { client, cport, port, candidate }),
                2 => any::<usize>().prop_map(Step::Remove),
                1 => (any::<usize>(), cport).prop_map(|(n, cport)| Step::Rekey(n, cport)),
                2 => (any::<usize>(), ticks()).prop_map(|(n, by)| Step::Earlier(n, by)),
                3 => (any::<usize>(), ticks()).prop_map(|(n, by)| Step::Later(n, by)),
                2 => ticks().prop_map(Step::Pass),
                3 => (0..6_u32, prop::option::of(ticks())).prop_map(|(budget, keep)| Step::Due { budget, keep }),
            ]
        }

        /// The table beside a plain list of what should be in it.
        struct Pair {
            table: Table<u32>,
            live: Vec<(ConnId, Connection<u32>)>,
            now: Tick,
            /// Ticks since nothing was overdue: never let so many pass that ticks compare the wrong way round.
            passed: u32,
        }

        impl Pair {
            fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
                match step {
                    Step::Insert { client, cport, vport, nat, after } => {
                        self.insert(client, cport, vport, nat, after)?
                    }
                    Step::Look { client, cport, port, candidate } => self.look(client, cport, port, candidate)?,
                    Step::Remove(n) => self.remove(n)?,
                    Step::Rekey(n, cport) => self.rekey(n, cport),
                    Step::Earlier(n, by) => self.shift(n, by.wrapping_neg()),
                    Step::Later(n, by) => self.shift(n, by),
                    Step::Pass(by) if self.passed < 1 << 30 => {
                        self.now = self.now.plus(by);
                        self.passed += by;
                    }
                    Step::Pass(_) => {}
                    Step::Due { budget, keep } => self.due(budget, keep)?,
                }
                prop_assert_eq!(self.table.len() as usize, self.live.len());
                prop_assert_eq!(self.table.wheel.len() as usize, self.live.len());
                Ok(())
            }

            fn insert(
                &mut self,
                client: u32,
                cport: u16,
                vport: u16,
                nat: bool,
                after: u32,
            ) -> Result<(), TestCaseError> {
                let flags = if nat { ConnFlags::NAT } else { ConnFlags::DR };
                let expires = self.now.plus(after);
                let entry = Connection { cport, flags, expires, dport: vport + 1, ..connection(client, vport) };
                if self.live.iter().any(|(_, other)| request(other) == request(&entry)) {
                    return Ok(());
                }
                let inserted = self.table.insert(self.table.hash(6, client, cport), entry, self.now);
                let (live, slots) = (self.live.len(), self.table.buckets.len() * SLOTS);
                match inserted {
                    Ok(id) => {
                        prop_assert!(self.live.iter().all(|(other, _)| *other != id), "{id:?} is taken");
                        self.live.push((id, entry));
                    }
                    Err(InsertError::Full) => prop_assert_eq!(live as u32, self.table.capacity()),
                    Err(InsertError::ChainFull) => prop_assert_eq!(live, slots),
                }
                Ok(())
            }

            fn look(&mut self, client: u32, cport: u16, port: u16, candidate: u32) -> Result<(), TestCaseError> {
                let hash = self.table.hash(6, client, cport);
                let of_request = RequestKey { cport, ..request(&connection(client, port)) };
                let of_reply = ReplyKey { cport, dport: port, ..reply(&connection(client, 0)) };
                let id_where = |wanted: &dyn Fn(&Connection<u32>) -> bool| {
                    self.live.iter().find(|(_, entry)| wanted(entry)).map(|(id, _)| *id)
                };
                let requested = id_where(&|entry| request(entry) == of_request);
                let replied = id_where(&|entry| entry.flags == ConnFlags::NAT && reply(entry) == of_reply);
                for candidate in [ConnId(candidate), ConnId::NONE, self.table.candidate(hash)] {
                    prop_assert_eq!(self.table.request(hash, candidate, &of_request), requested);
                    prop_assert_eq!(self.table.reply(hash, candidate, &of_reply), replied);
                }
                Ok(())
            }

            fn remove(&mut self, n: usize) -> Result<(), TestCaseError> {
                if self.live.is_empty() {
                    return Ok(());
                }
                let (id, entry) = self.live.swap_remove(n % self.live.len());
                let removed = self.table.remove(id);
                prop_assert_eq!(
                    removed.map(|entry| (request(&entry), entry.expires)),
                    Some((request(&entry), entry.expires))
                );
                prop_assert!(self.table.get(id).is_none());
                Ok(())
            }

            fn rekey(&mut self, n: usize, cport: u16) {
                let Some(at) = n.checked_rem(self.live.len()) else { return };
                let (id, mut entry) = self.live[at];
                entry.cport = cport;
                if self.live.iter().all(|(_, other)| request(other) != request(&entry)) {
                    self.table.rekey(id, |entry| entry.cport = cport).expect("there is a slot: its own");
                    self.live[at].1 = entry;
                }
            }

            fn shift(&mut self, n: usize, by: u32) {
                let Some(at) = n.checked_rem(self.live.len()) else { return };
                let (id, entry) = &mut self.live[at];
                let later = by < u32::MAX / 2;
                // What is overdue stays so; what is not may move between now and 31 days on.
                if !entry.expires.reached(self.now) && entry.expires.plus(by).since(self.now) < 31 * 8_640_000 {
                    entry.expires = entry.expires.plus(by);
                    self.table.get_mut(*id).expect("it is live").expires = entry.expires;
                    if !later {
                        self.table.rearm(*id, self.now);
                    }
                }
            }

            fn due(&mut self, mut budget: u32, keep: Option<u32>) -> Result<(), TestCaseError> {
                while let Some(id) = self.table.due(self.now, &mut budget) {
                    let at = self.live.iter().position(|(other, _)| *other == id);
                    let at = at.ok_or_else(|| TestCaseError::fail("due, but removed"))?;
                    prop_assert!(self.live[at].1.expires.reached(self.now), "early");
                    if let Some(after) = keep {
                        self.live[at].1.expires = self.now.plus(after + 1);
                        self.table.get_mut(id).expect("it is live").expires = self.now.plus(after + 1);
                        self.table.rearm(id, self.now);
                    } else {
                        self.live.swap_remove(at);
                        prop_assert!(self.table.remove(id).is_some());
                    }
                }
                if budget > 0 {
                    self.passed = 0;
                    prop_assert!(self.live.iter().all(|(_, entry)| !entry.expires.reached(self.now)), "missed");
                }
                Ok(())
            }

            fn finish(mut self) -> Result<(), TestCaseError> {
                let mut listed: Vec<_> =
                    self.table.scan(0, usize::MAX).0.map(|(id, entry)| (id, request(entry))).collect();
                let mut live: Vec<_> = self.live.iter().map(|(id, entry)| (*id, request(entry))).collect();
                listed.sort_by_key(|(id, _)| *id);
                live.sort_by_key(|(id, _)| *id);
                prop_assert_eq!(listed, live);
                self.now = self.now.plus(40 * 8_640_000);
                self.due(u32::MAX, None)?;
                prop_assert!(self.live.is_empty());
                assert_pristine(&mut self.table);
                Ok(())
            }
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(400))]

            #[test]
            fn any_sequence_of_calls_does_as_a_plain_list_would(
                start in any::<u32>(),
                seed in any::<u64>(),
                (capacity, buckets) in prop::sample::select(vec![(40, 16), (24, 4), (40, 4), (12, 1), (5, 1)]),
                steps in prop::collection::vec(step(), 1..400),
            ) {
                let table = Table::with_buckets(capacity, buckets, HashKey::new(seed));
                let mut pair = Pair { table, live: Vec::new(), now: Tick(start), passed: 0 };
                for step in steps {
                    pair.take(step)?;
                }
                pair.finish()?;
            }
        }
    }
}
