//! Which worker owns a client: `owner = RETA[toeplitz(key, packet) mod size]`, with keys of our own making under which the hash
//! depends on nothing but the client (Toeplitz hash and redirection table: Microsoft, "RSS hashing types" and "Verifying the RSS
//! hash calculation"). A NIC that takes such a key brings both directions of all of a client's flows to its owner; where none
//! does, software computes the same owner and hands the packet over.
//!
//! The RETA is indexed by the `bits` low bits of the hash, and input bit `i` flips those by the key bits `i + 32 - bits ..= i + 31`.
//! IPv4's input is source (0 to 31), destination (32 to 63), ports (64 to 95). So the outside port's key may be nonzero from 31 to
//! `63 - bits` only, and the inside port's, where the client is the destination, is the same 32 bits later. Leaving out the
//! last key bits as well takes the low bits of the client out of the hash: then a client network has one owner.
//!
//! IPv6's input is source (0 to 127), destination (128 to 255), ports (256 to 287). Key bits from 127 to `159 - bits` do not touch IPv4
//! and bring in the low 32 bits of the source; IPv4's own bring in its high 32. The 64 bits between stay out, since IPv4's
//! destination and ports lie on them. The inside port cannot serve IPv6 with the same key: its replies are handed over.

mod device;
#[cfg(test)]
mod proof;

use std::net::IpAddr;
use std::ops::RangeInclusive;

pub use device::{Plan, Promise, Role, Rss, SteeredBy, SteeringReport, Unable};

use crate::hash::mum;
use crate::verdict::{PortId, WorkerId};

/// Bytes of the longest key that a NIC takes; shorter ones are a prefix.
pub const KEY_BYTES: usize = 52;

/// A key for a NIC.
pub type Key = [u8; KEY_BYTES];

/// The most bits of the hash that can index the RETA.
pub const MAX_BITS: u8 = 9;

/// Leading bits of a client's address that decide its owner: the shortest prefix that any persistent service masks clients with.
/// IPv6 clients that differ in none of the first 32 bits, nor in the last 32 within the prefix, have the same owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefixes {
    /// Of IPv4, at most 32.
    pub v4: u8,
    /// Of IPv6, at most 128.
    pub v6: u8,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { v4: 32, v6: 128 }
    }
}

/// One table of 256 for each byte of a word.
type Tables = [[u16; 256]; 4];

/// The owner of each client.
#[derive(Clone, Debug)]
pub struct Steering {
    workers: u16,
    /// Bits of the hash that decide.
    bits: u8,
    outside: Key,
    inside: Key,
    /// The hash of IPv4's source, and of the high word of IPv6's.
    high: Box<Tables>,
    /// The hash of the low word of IPv6's source.
    low: Box<Tables>,
    /// Worker by hash.
    owners: Box<[WorkerId]>,
    /// By port: which of its packets the device brings to their owner.
    promises: Box<[Option<Promise>]>,
}

impl Default for Steering {
    /// One worker owns everybody.
    fn default() -> Self {
        Self::new(1, 0, Prefixes::default(), 0)
    }
}

impl Steering {
    /// Spreads clients over so many workers by `bits` bits of the hash: at most [`MAX_BITS`], and no more than the RETA of any NIC
    /// has. The keys are random, from the seed.
    pub fn new(workers: u16, bits: u8, prefixes: Prefixes, seed: u64) -> Self {
        // IPv6's high word is hashed by the same key bits as an IPv4 address.
        let prefix = prefixes.v4.min(prefixes.v6).min(32);
        let bits = bits.min(MAX_BITS).min(prefix);
        let host = 128 - usize::from(prefixes.v6.min(128));
        let v4 = random_bits(31..=31 + usize::from(prefix - bits), seed);
        let v6 = if host + usize::from(bits) <= 32 {
            random_bits(127..=159 - usize::from(bits) - host, seed ^ 0x6c62_272e_07bb_0142)
        } else {
            Vec::new()
        };
        let outside = key(v4.iter().chain(&v6).copied());
        let inside = key(v4.iter().map(|bit| bit + 32));
        let workers = workers.max(1);
        // By the hash's high bits: the low ones know nothing of a client's last bits, in which neighbours differ.
        let owners = (0..1_u32 << bits).map(|hash| WorkerId(((hash * u32::from(workers)) >> bits) as u16)).collect();
        let (high, low) = (Box::new(tables(&outside, 0, bits)), Box::new(tables(&outside, 12, bits)));
        Self { workers, bits, outside, inside, high, low, owners, promises: Box::default() }
    }

    /// With what the devices have promised, by [`PortId`](crate::verdict::PortId).
    #[must_use]
    pub fn with_promises(self, promises: Vec<Option<Promise>>) -> Self {
        Self { promises: promises.into(), ..self }
    }

    /// Which packets of a port its device brings to their owner; `None` for none.
    #[inline]
    pub fn promise(&self, port: PortId) -> Option<Promise> {
        self.promises.get(usize::from(port.0)).copied().flatten()
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// Bits of the hash that decide.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The owner of an IPv4 client.
    #[inline]
    pub fn owner4(&self, client: u32) -> WorkerId {
        self.owner_of(word(&self.high, client))
    }

    /// The owner of an IPv6 client.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the high and the low word are taken out")]
    pub fn owner6(&self, client: u128) -> WorkerId {
        self.owner_of(word(&self.high, (client >> 96) as u32) ^ word(&self.low, client as u32))
    }

    /// The owner of a client.
    #[inline]
    pub fn owner(&self, client: IpAddr) -> WorkerId {
        match client {
            IpAddr::V4(a) => self.owner4(a.to_bits()),
            IpAddr::V6(a) => self.owner6(a.to_bits()),
        }
    }

    /// The owner by the hash that a device has computed with the key of its port. Only of the packets that it has promised to bring to
    /// their owner: of any other it is the hash of something else.
    #[inline]
    pub fn owner_of_hash(&self, hash: u32) -> WorkerId {
        self.owners.get(hash as usize & (self.owners.len() - 1)).copied().unwrap_or_default()
    }

    /// The owner of a packet's client by the hash that the device of its port has written beside it; `None` where that is not to be
    /// trusted, or there is none. `role` says on which side the client stands: [`Role::Outside`] of a request.
    #[inline]
    pub fn owner_by_device(&self, port: PortId, role: Role, v6: bool, hash: Option<u32>) -> Option<WorkerId> {
        let hash = hash?;
        self.promise(port).filter(|promise| promise.covers(role, v6)).map(|_| self.owner_of_hash(hash))
    }

    /// Key for the NIC of an outside port, where the client is the source.
    pub fn outside_key(&self) -> &Key {
        &self.outside
    }

    /// Key for the NIC of an inside port, where the client is the destination. Holds for IPv4 only.
    pub fn inside_key(&self) -> &Key {
        &self.inside
    }

    /// A RETA of that size, a power of two: the worker (and queue) of each entry. `None` if it is too small to tell owners apart.
    pub fn redirection(&self, size: usize) -> Option<Vec<u16>> {
        let enough = size.is_power_of_two() && size >= self.owners.len();
        enough.then(|| (0..size).map(|entry| self.owners[entry % self.owners.len()].0).collect())
    }

    #[inline]
    fn owner_of(&self, hash: u16) -> WorkerId {
        self.owners.get(usize::from(hash)).copied().unwrap_or_default()
    }
}

/// The Toeplitz hash: each input bit that is set adds the 32 key bits from its place on.
pub fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes.get(at / 8).map_or(0, |byte| u32::from(byte >> (7 - at % 8) & 1));
    let mut window = (0..32).fold(0, |window, at| window << 1 | bit(key, at));
    let mut hash = 0;
    for at in 0..input.len() * 8 {
        hash ^= window * bit(input, at);
        window = window << 1 | bit(key, at + 32);
    }
    hash
}

/// Random places in the range, its ends among them: with these the hash takes every value equally often.
fn random_bits(range: RangeInclusive<usize>, seed: u64) -> Vec<usize> {
    let (first, last) = (*range.start(), *range.end());
    let heads = |at: usize| mum(seed ^ 0xa076_1d64_78bd_642f, at as u64 ^ 0xe703_7ed1_a0b4_28db) & 1 == 1;
    range.filter(|at| *at == first || *at == last || heads(*at)).collect()
}

fn key(bits: impl Iterator<Item = usize>) -> Key {
    let mut key = [0; KEY_BYTES];
    bits.for_each(|bit| key[bit / 8] |= 0x80 >> (bit % 8));
    key
}

/// The hash of the word at this offset of the input, a table for each of its bytes.
fn tables(key: &Key, offset: usize, bits: u8) -> Tables {
    std::array::from_fn(|byte| {
        let effects = std::array::from_fn(|bit| effect(key, offset + byte, 0x80 >> bit, bits));
        std::array::from_fn(|value| sum(&effects, value))
    })
}

/// What one input bit alone does to the hash.
#[allow(clippy::cast_possible_truncation, reason = "at most nine bits of the hash are kept")]
fn effect(key: &Key, byte: usize, bit: u8, bits: u8) -> u16 {
    let mut input = [0; 16];
    input[byte] = bit;
    (toeplitz(key, &input) & ((1 << bits) - 1)) as u16
}

/// What a whole byte does: the sum of its bits, most significant first.
fn sum(effects: &[u16; 8], value: usize) -> u16 {
    (0..8).filter(|bit| value & 0x80 >> bit != 0).fold(0, |hash, bit| hash ^ effects[bit])
}

#[inline]
fn word(tables: &Tables, word: u32) -> u16 {
    let [a, b, c, d] = word.to_be_bytes().map(usize::from);
    tables[0][a] ^ tables[1][b] ^ tables[2][c] ^ tables[3][d]
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    pub(super) const MICROSOFT: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];
    /// Source, destination, hash of the addresses, hash with the ports.
    pub(super) const PUBLISHED: [(&str, &str, u32, u32); 8] = [
        ("66.9.149.187:2794", "161.142.100.80:1766", 0x323e_8fc2, 0x51cc_c178),
        ("199.92.111.2:14230", "65.69.140.83:4739", 0xd718_262a, 0xc626_b0ea),
        ("24.19.198.95:12898", "12.22.207.184:38024", 0xd2d0_a5de, 0x5c2b_394a),
        ("38.27.205.30:48228", "209.142.163.6:2217", 0x8298_9176, 0xafc7_327f),
        ("153.39.163.191:44251", "202.188.127.2:1303", 0x5d18_09c5, 0x10e8_28a2),
        ("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x2cc1_8cd5, 0x4020_7d3d),
        ("[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0x0f0c_461c, 0xdde5_1bbf),
        ("[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", "[fe80::200:f8ff:fe21:67cf]:38024", 0x4b61_e985, 0x02d1_feef),
    ];

    fn octets(address: IpAddr) -> Vec<u8> {
        match address {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        }
    }

    /// What a NIC hashes of a packet; fragments and other protocols have no ports.
    fn input(source: SocketAddr, destination: SocketAddr, ports: bool) -> Vec<u8> {
        let mut input = [octets(source.ip()), octets(destination.ip())].concat();
        if ports {
            input.extend(source.port().to_be_bytes());
            input.extend(destination.port().to_be_bytes());
        }
        input
    }

    #[test]
    fn the_hash_is_the_published_one() {
        for (source, destination, addresses, all) in PUBLISHED {
            let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
            let hash = |ports| toeplitz(&MICROSOFT, &input(parse(source), parse(destination), ports));
            assert_eq!((hash(false), hash(true)), (addresses, all), "{source}");
        }
    }

    /// What a NIC with that key and a RETA of that size makes of a packet.
    fn queue(steering: &Steering, key: &[u8], size: usize, packet: &[u8]) -> WorkerId {
        let redirection = steering.redirection(size).expect("the table is large enough");
        WorkerId(redirection[toeplitz(key, packet) as usize % size])
    }

    fn steering() -> impl Strategy<Value = Steering> {
        let prefixes = (prop_oneof![Just(32), 0_u8..=32], prop_oneof![Just(128), 0_u8..=128]);
        (1_u16..=32, 0..=MAX_BITS, prefixes, any::<u64>())
            .prop_map(|(workers, bits, (v4, v6), seed)| Steering::new(workers, bits, Prefixes { v4, v6 }, seed))
    }

    fn peer4() -> impl Strategy<Value = SocketAddr> {
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from)
    }

    fn peer6() -> impl Strategy<Value = SocketAddr> {
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn both_directions_of_any_ipv4_flow_reach_the_owner(
            steering in steering(), client in peer4(), vip in peer4(), server in peer4(), ports: bool, long: bool,
        ) {
            let owner = steering.owner(client.ip());
            let bytes = if long { KEY_BYTES } else { 40 };
            let request = queue(&steering, &steering.outside_key()[..bytes], 512, &input(client, vip, ports));
            let reply = queue(&steering, &steering.inside_key()[..bytes], 1024, &input(server, client, ports));
            prop_assert_eq!((request, reply), (owner, owner));
        }

        #[test]
        fn requests_of_any_ipv6_flow_reach_the_owner(
            steering in steering(), client in peer6(), vip in peer6(), ports: bool,
        ) {
            let request = queue(&steering, &steering.outside_key()[..40], 512, &input(client, vip, ports));
            prop_assert_eq!(request, steering.owner(client.ip()));
        }

        #[test]
        fn a_client_network_has_one_owner(
            workers in 1_u16..=32, bits in 0..=MAX_BITS, v4 in 0_u8..=32, v6 in 0_u8..=128, seed: u64,
            client4: u32, other4: u32, client6: u128, other6: u128,
        ) {
            let steering = Steering::new(workers, bits, Prefixes { v4, v6 }, seed);
            let (hosts4, hosts6) = (u32::MAX.checked_shr(v4.into()), u128::MAX.checked_shr(v6.into()));
            let neighbour4 = client4 ^ other4 & hosts4.unwrap_or(0);
            let neighbour6 = client6 ^ other6 & hosts6.unwrap_or(0);
            prop_assert_eq!(steering.owner4(client4), steering.owner4(neighbour4));
            prop_assert_eq!(steering.owner6(client6), steering.owner6(neighbour6));
        }
    }

    /// The farthest that any worker's number of clients is from the mean, in percent.
    fn unevenness(steering: &Steering, owners: impl Iterator<Item = WorkerId>) -> f64 {
        let mut counts = vec![0_u32; steering.workers().into()];
        owners.for_each(|owner| counts[usize::from(owner.0)] += 1);
        let mean = f64::from(counts.iter().sum::<u32>()) / f64::from(steering.workers());
        counts.iter().map(|count| (f64::from(*count) / mean - 1.0).abs() * 100.0).fold(0.0, f64::max)
    }

    #[test]
    fn a_million_random_clients_spread_evenly() {
        for (workers, prefix, bits) in
            [(2, 32, 9), (2, 24, 7), (4, 24, 7), (4, 32, 8), (8, 32, 9), (16, 24, 7), (16, 32, 9)]
        {
            let steering = Steering::new(workers, bits, Prefixes { v4: prefix, v6: 128 }, 11);
            let random = |n: u64| mum(n ^ 0x9e37_79b9_7f4a_7c15, 0xe703_7ed1_a0b4_28db);
            #[allow(clippy::cast_possible_truncation, reason = "32 random bits")]
            let clients = (0..1_000_000_u64).map(|n| steering.owner4(random(n) as u32));
            let off = unevenness(&steering, clients);
            assert!(off < 5.0, "{workers} workers: {off:.2} % off");
            let clients6 =
                (0..100_000_u64).map(|n| steering.owner6(u128::from(random(n)) << 64 | u128::from(random(!n))));
            let off = unevenness(&steering, clients6);
            assert!(off < 5.0, "{workers} workers, IPv6: {off:.2} % off");
        }
    }

    #[test]
    fn neighbours_spread_perfectly() {
        for seed in 0..20 {
            let hosts = Steering::new(16, 7, Prefixes::default(), seed);
            assert!(unevenness(&hosts, (0..256).map(|n| hosts.owner4(0x0a00_0000 + n))) < 0.1, "hosts, seed {seed}");
            assert!(
                unevenness(&hosts, (0..256).map(|n| hosts.owner6((0x2001_0db8 << 96) + n))) < 0.1,
                "IPv6, seed {seed}"
            );
            let networks = Steering::new(16, 7, Prefixes { v4: 24, v6: 128 }, seed);
            let owners = (0..256).map(|n| networks.owner4(0x0a00_0000 + (n << 8)));
            assert!(unevenness(&networks, owners) < 0.1, "networks, seed {seed}");
        }
    }

    #[test]
    fn the_neighbours_of_a_small_network_are_spread_over_the_workers() {
        for workers in [2, 3, 4] {
            let steering = Steering::new(workers, 7, Prefixes::default(), 5);
            let mut owned = [[0; 4]; 2];
            for n in 0..64 {
                owned[0][usize::from(steering.owner4(0xc0a8_0100 + n).0)] += 1;
                owned[1][usize::from(steering.owner6(0x2001_0db8 << 96 | u128::from(n)).0)] += 1;
            }
            for owned in owned {
                let used = &owned[..usize::from(workers)];
                assert!(used.iter().all(|n| (10..=40).contains(n)), "{workers} workers: {used:?}");
            }
        }
    }

    #[test]
    fn a_table_too_small_for_the_bits_is_refused() {
        let steering = Steering::new(4, 7, Prefixes::default(), 1);
        assert_eq!(steering.redirection(64), None);
        assert_eq!(steering.redirection(200), None);
        assert_eq!(steering.redirection(128).map(|t| t.len()), Some(128));
        assert_eq!(Steering::default().owner4(7), WorkerId(0));
    }
}
