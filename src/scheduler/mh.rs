//! Maglev hashing (the kernel's `ip_vs_mh.c`; Eisenbud et al., "Maglev", NSDI 2016, 3.4): a client always gets the same destination,
//! and few clients move when the list changes. The hash is SipHash-1-3 (Aumasson and Bernstein, 2012) with the kernel's fixed
//! keys, as a 64-bit kernel has it, so that directors agree with each other and with the kernel.

use std::net::IpAddr;
use std::sync::Arc;

use super::bucket::fold;
use super::wrr::gcd;
use super::{Candidates, Flow, Scheduler};
use crate::destination::{DestId, Destination};
use crate::service::ServiceFlags;
use crate::time::Tick;

/// Entries of the table: a prime.
const ENTRIES: u32 = 4093;
/// A destination takes less than two to this many entries in a row.
const TURN_BITS: u32 = 6;
/// Both halves of the key of lookups and offsets.
pub(super) const LOOKUP_KEY: u64 = 2_654_435_761;
/// Both halves of the key of skips.
pub(super) const SKIP_KEY: u64 = 2_654_446_892;
/// Mark of an entry that nobody has.
const FREE: u32 = u32::MAX;

/// Maglev hashing.
#[derive(Clone, Debug, Default)]
pub struct Maglev {
    /// Places in the list of destinations; empty while nobody takes part.
    table: Vec<u32>,
    /// `uid` and last weight but 0 of each destination: a quiesced one keeps its entries.
    weights: Vec<(u64, u32)>,
    /// `mh-fallback`: another destination for the clients of one that is not usable.
    fallback: bool,
    /// `mh-port`: the client's port counts too.
    port: bool,
}

impl Maglev {
    fn usable(&self, candidates: &Candidates<'_>, entry: u32) -> Option<DestId> {
        let place = *self.table.get(entry as usize)?;
        candidates.usable_at(place as usize).map(|d| d.id)
    }

    fn remember(&mut self, destinations: &[Arc<Destination>]) {
        let kept =
            |d: &Destination| self.weights.iter().find(|(uid, _)| *uid == d.uid).map_or(0, |(_, weight)| *weight);
        let weight = |d: &Destination| if d.weight == 0 { kept(d) } else { d.weight };
        self.weights = destinations.iter().map(|d| (d.uid, weight(d))).collect();
    }

    /// Destinations in list order take so many free entries of their own permutation in turn, until all are taken.
    fn fill(&mut self, destinations: &[Arc<Destination>], v6: bool) {
        let turns = turns(&self.weights);
        self.table.clear();
        if turns.iter().all(|t| *t == 0) {
            return;
        }
        self.table.resize(ENTRIES as usize, FREE);
        let mut rows: Vec<_> = destinations.iter().map(|d| Row::new(d, v6)).collect();
        let turn = |(place, turns): (u32, &u32)| (0..*turns).map(move |_| place);
        let places = (0_u32..).zip(&turns).cycle().flat_map(turn).take(ENTRIES as usize);
        for place in places {
            rows[place as usize].take(&mut self.table, place);
        }
    }

    /// The destination that is looked up for a flow; nothing is remembered of it.
    pub(super) fn pick(&self, candidates: &Candidates<'_>, flow: &Flow) -> Option<DestId> {
        let port = if self.port { flow.source_port } else { 0 };
        let home = hash(LOOKUP_KEY, flow.source, port, 0) % ENTRIES;
        let pick = self.usable(candidates, home);
        if pick.is_some() || !self.fallback || !candidates.destinations.iter().any(|d| candidates.usable(d)) {
            return pick;
        }
        let other = |k| hash(LOOKUP_KEY, flow.source, port, (k + home) % ENTRIES) % ENTRIES;
        (0..ENTRIES).find_map(|k| self.usable(candidates, other(k)))
    }
}

impl Scheduler for Maglev {
    fn schedule(&mut self, candidates: &Candidates<'_>, flow: &Flow, _now: Tick) -> Option<DestId> {
        self.pick(candidates, flow)
    }

    fn update(&mut self, _before: &[Arc<Destination>], candidates: &Candidates<'_>, flags: ServiceFlags) {
        (self.fallback, self.port) = (flags.sched1, flags.sched2);
        self.remember(candidates.destinations);
        self.fill(candidates.destinations, candidates.v6);
    }
}

/// Entries that each destination takes in a row: its weight in lowest terms, cut to a few bits.
fn turns(weights: &[(u64, u32)]) -> Vec<u32> {
    let weights = || weights.iter().map(|(_, weight)| *weight);
    let divisor = weights().filter(|w| *w > 0).reduce(gcd).unwrap_or(1);
    let heaviest = weights().max().unwrap_or(0) / divisor;
    let shift = (u32::BITS - heaviest.leading_zeros()).saturating_sub(TURN_BITS);
    weights().map(|w| ((w / divisor) >> shift).max(w.min(1))).collect()
}

/// The order in which a destination wants the entries: from an offset on in equal steps.
struct Row {
    entry: u32,
    skip: u32,
}

impl Row {
    fn new(destination: &Destination, v6: bool) -> Self {
        let hash = |key| hash(key, seen_as(destination.address, v6), destination.port, 0);
        Self { entry: hash(LOOKUP_KEY) % ENTRIES, skip: hash(SKIP_KEY) % (ENTRIES - 1) + 1 }
    }

    /// Takes the next entry that is free, if any is.
    fn take(&mut self, table: &mut [u32], place: u32) {
        for _ in 0..ENTRIES {
            let entry = &mut table[self.entry as usize];
            self.entry = (self.entry + self.skip) % ENTRIES;
            if *entry == FREE {
                *entry = place;
                return;
            }
        }
    }
}

/// A destination's address as the kernel hashes it, by the family of the service: of an IPv6 one in a service of IPv4 the first word.
fn seen_as(address: IpAddr, v6: bool) -> IpAddr {
    match address {
        IpAddr::V6(address) if !v6 => {
            let [a, b, c, d, ..] = address.octets();
            IpAddr::from([a, b, c, d])
        }
        address => address,
    }
}

pub(super) fn hash(key: u64, address: IpAddr, port: u16, offset: u32) -> u32 {
    siphash(key, key, fold(address).wrapping_add(u32::from(port)).wrapping_add(offset))
}

/// SipHash-1-3 of one little-endian word, its low half.
#[allow(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn siphash(k0: u64, k1: u64, word: u32) -> u32 {
    let block = 4 << 56 | u64::from(word);
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    v[3] ^= block;
    round(&mut v);
    v[0] ^= block;
    v[2] ^= 0xff;
    (0..3).for_each(|_| round(&mut v));
    (v[0] ^ v[1] ^ v[2] ^ v[3]) as u32
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    #[test]
    #[allow(
        deprecated,
        clippy::cast_possible_truncation,
        reason = "the one SipHash of the standard library that is 1-3"
    )]
    fn the_hash_is_sip_hash_1_3() {
        for word in [0_u32, 1, 0xc633_640b, u32::MAX] {
            let mut reference = std::collections::hash_map::DefaultHasher::new();
            reference.write(&word.to_le_bytes());
            assert_eq!(siphash(0, 0, word), reference.finish() as u32);
        }
    }
}
