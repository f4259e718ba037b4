//! The connection table: a slab of entries and an index of one-line buckets, both laid out whole at start. An entry is indexed
//! once, by its client (protocol, address, port), which both of its directions know; a request then compares the virtual
//! endpoint, a reply the destination's. A bucket that is full sends entries on to those that follow and counts how many, so
//! that a look-up goes on only where something lies further on (the counters of Facebook's F14 tables).

use thiserror::Error;

use super::timer::{Link, Wheel};
use super::{ConnId, Connection, ReplyKey, RequestKey};
use crate::family::Address;
use crate::hash::HashKey;
use crate::prefetch;
use crate::time::Tick;

/// Slots of a bucket.
const SLOTS: usize = 8;
/// Buckets that an entry may lie away from where its hash points, itself included: more clients that collide, or connections of
/// one client port, than these hold are refused, so that nobody can make look-ups slow.
const REACH: usize = 64;
/// Tag of a slot that is not taken.
const EMPTY: u16 = 0;
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
    tags: [u16; SLOTS],
    entries: [u32; SLOTS],
    /// Entries that passed this bucket, because it was full, and lie further on.
    overflow: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

impl Bucket {
    /// The slots that hold `tag`, a bit each.
    #[inline]
    fn matching(&self, tag: u16) -> u8 {
        let mut slots = 0;
        for (slot, other) in self.tags.iter().enumerate() {
            slots |= u8::from(*other == tag) << slot;
        }
        slots
    }

    /// The entries under `tag`.
    #[inline]
    fn under(&self, tag: u16) -> impl Iterator<Item = u32> {
        let mut slots = self.matching(tag);
        std::iter::from_fn(move || {
            let slot = slots.trailing_zeros() as usize;
            slots &= slots.wrapping_sub(1);
            self.entries.get(slot).copied()
        })
    }

    /// Puts an entry into a free slot; returns false when there is none.
    fn put(&mut self, tag: u16, entry: u32) -> bool {
        let Some(slot) = self.tags.iter().position(|tag| *tag == EMPTY) else { return false };
        self.tags[slot] = tag;
        self.entries[slot] = entry;
        true
    }

    /// Frees the slot of an entry; returns false when it is not here.
    fn take(&mut self, tag: u16, entry: u32) -> bool {
        let found = |slot: &usize| self.tags[*slot] == tag && self.entries[*slot] == entry;
        let Some(slot) = (0..SLOTS).find(found) else { return false };
        self.tags[slot] = EMPTY;
        true
    }
}

/// A table of connections, or of templates, of one address family.
#[derive(Debug)]
pub struct Table<A> {
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
        let buckets = (capacity as usize * 2).div_ceil(SLOTS).next_power_of_two();
        Self::with_buckets(capacity, buckets, key)
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
        let buckets = (capacity as usize * 2).div_ceil(SLOTS).next_power_of_two();
        buckets * size_of::<Bucket>() + capacity as usize * size_of::<Connection<A>>()
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
        self.key.client(protocol, caddr, cport)
    }

    /// First stage of a look-up: fetches the bucket.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch::element(&self.buckets, self.home(hash));
    }

    /// Second stage of a look-up: returns the likely connection, unread, and fetches it.
    #[inline]
    pub fn candidate(&self, hash: u64) -> ConnId {
        let found = self.buckets.get(self.home(hash)).and_then(|bucket| bucket.under(tag(hash)).next());
        let Some(index) = found else { return ConnId::NONE };
        prefetch::element(&self.entries, index as usize);
        ConnId(index)
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
    pub fn find(&self, hash: u64, mut matches: impl FnMut(&Connection<A>) -> bool) -> Option<ConnId> {
        for at in self.path(hash) {
            let bucket = self.buckets.get(at)?;
            for index in bucket.under(tag(hash)) {
                if self.entries.get(index as usize).is_some_and(&mut matches) {
                    return Some(ConnId(index));
                }
            }
            if bucket.overflow == 0 {
                return None;
            }
        }
        None
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

    /// Takes in a connection whose client hashes to `hash` and which is not in the table yet, to expire at its `expires`.
    pub fn insert(&mut self, hash: u64, connection: Connection<A>, now: Tick) -> Result<ConnId, InsertError> {
        let index = if self.free == NO_ENTRY { self.fresh } else { self.free };
        let entry = self.entries.get_mut(index as usize).ok_or(InsertError::Full)?;
        let after = entry.link.next;
        if !index_put(&mut self.buckets, hash, index) {
            return Err(InsertError::ChainFull);
        }
        *entry = Connection { link: Link::unarmed(), ..connection };
        if index == self.fresh {
            self.fresh += 1;
        } else {
            self.free = after;
        }
        self.len += 1;
        self.wheel.arm(&mut self.entries, index, now);
        Ok(ConnId(index))
    }

    /// Removes a connection and returns it; its timer is gone with it.
    pub fn remove(&mut self, id: ConnId) -> Option<Connection<A>> {
        let removed = *self.get(id)?;
        self.wheel.disarm(&mut self.entries, id.0);
        let hash = self.hash(removed.protocol, removed.caddr, removed.cport);
        index_take(&mut self.buckets, hash, id.0);
        *self.entries.get_mut(id.index())? = Connection { link: Link::free(self.free), ..Connection::default() };
        self.free = id.0;
        self.len -= 1;
        Some(removed)
    }

    /// Changes a connection's protocol, client address or port, by which it is found, and whatever else `change` does. When it
    /// cannot be taken in under the new ones the connection stays as it was. An id of no connection is no error.
    pub fn rekey(&mut self, id: ConnId, change: impl FnOnce(&mut Connection<A>)) -> Result<(), InsertError> {
        let Some(before) = self.get(id).copied() else { return Ok(()) };
        let mut after = before;
        change(&mut after);
        after.link = before.link;
        let old = self.hash(before.protocol, before.caddr, before.cport);
        index_take(&mut self.buckets, old, id.0);
        let new = self.hash(after.protocol, after.caddr, after.cport);
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
    pub fn due(&mut self, now: Tick, budget: &mut u32) -> Option<ConnId> {
        self.wheel.due(&mut self.entries, now, budget).map(ConnId)
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

    #[inline]
    fn home(&self, hash: u64) -> usize {
        home(self.buckets.len(), hash)
    }

    fn path(&self, hash: u64) -> impl Iterator<Item = usize> + use<A> {
        path(self.buckets.len(), hash)
    }
}

/// Puts an entry into the first bucket of its path that has room; changes nothing when none has.
fn index_put(buckets: &mut [Bucket], hash: u64, index: u32) -> bool {
    let length = buckets.len();
    let place = |at: usize| buckets.get_mut(at).is_some_and(|bucket| bucket.put(tag(hash), index));
    let Some(passed) = path(length, hash).position(place) else { return false };
    for at in path(length, hash).take(passed) {
        buckets[at].overflow += 1;
    }
    true
}

/// Takes an entry out of the index, and off the counters of the buckets that it had passed.
fn index_take(buckets: &mut [Bucket], hash: u64, index: u32) {
    let length = buckets.len();
    let found = |at: usize| buckets.get_mut(at).is_some_and(|bucket| bucket.take(tag(hash), index));
    let Some(passed) = path(length, hash).position(found) else { return };
    for at in path(length, hash).take(passed) {
        buckets[at].overflow -= 1;
    }
}

/// The bucket that a hash points to. The number of buckets is a power of two.
#[inline]
fn home(buckets: usize, hash: u64) -> usize {
    hash as usize & (buckets - 1)
}

/// The buckets in which an entry may lie, nearest first.
fn path(buckets: usize, hash: u64) -> impl Iterator<Item = usize> {
    let (home, mask) = (home(buckets, hash), buckets - 1);
    (0..REACH.min(buckets)).map(move |step| (home + step) & mask)
}

/// The tag of a hash: bits that do not choose the bucket, never that of an empty slot.
#[inline]
fn tag(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(EMPTY + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::ConnFlags;

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
}
