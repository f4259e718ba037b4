//! The keyed hash of the tables. The key is random at start, so that nobody outside can choose clients that collide; replay
//! and tests pass their own. Folded multiplication after Wang Yi's wyhash (public domain).

use crate::family::Address;

/// Multiplies to 128 bits and folds the halves.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the halves of the product are folded")]
pub(crate) fn mum(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Key of a table's hash.
#[derive(Clone, Copy, Debug)]
pub struct HashKey {
    a: u64,
    b: u64,
}

/// The key for the clients of one protocol.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolKey {
    key: HashKey,
    first: u64,
}

impl ProtocolKey {
    /// [`HashKey::client`].
    #[inline]
    pub fn client<A: Address>(&self, address: A, port: u16) -> u64 {
        let HashKey { a, b } = self.key;
        // As they stand in a packet, so that nothing read out of one has to be turned round.
        let word = address.fold(a) ^ u64::from(port.to_be()) << 32;
        // One round alone leaves clients in a row on a lattice: with some keys half of them share a few buckets.
        mum(mum(word ^ self.first, b) ^ a, b)
    }
}

impl HashKey {
    /// Derives a key from a seed.
    pub fn new(seed: u64) -> Self {
        let a = mum(seed ^ 0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db);
        let b = mum(seed.wrapping_add(0x8ebc_6af0_9c88_c6e3), a | 1);
        Self { a, b: b | 1 }
    }

    /// Hashes a client: protocol, address, port. The only key of a connection's index entry, in both directions.
    #[inline]
    pub fn client<A: Address>(&self, protocol: u8, address: A, port: u16) -> u64 {
        self.of(protocol).client(address, port)
    }

    /// What hashes the clients of one protocol.
    #[inline]
    pub fn of(&self, protocol: u8) -> ProtocolKey {
        ProtocolKey { key: *self, first: self.a ^ u64::from(protocol) << 48 }
    }

    /// Hashes bytes, at most 2^32 of them.
    pub fn bytes(&self, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let start = self.a ^ bytes.len() as u64;
        let all = words.iter().chain([&last]);
        all.fold(start, |hash, word| mum(hash ^ u64::from_le_bytes(*word), self.b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_clients_spread_over_the_low_and_the_high_bits() {
        let key = HashKey::new(7);
        let mut low = [0_u32; 256];
        let mut high = [0_u32; 256];
        for port in 0..=u16::MAX {
            let hash = key.client(6, 0x0a00_0001_u32, port);
            low[(hash & 255) as usize] += 1;
            high[(hash >> 56) as usize] += 1;
        }
        for counts in [low, high] {
            let worst = counts.iter().max().expect("256 counts");
            assert!(*worst < 256 * 2, "one of 256 cells holds {worst} of 65536");
        }
    }

    /// Clients beyond the eighth in one of 512 cells, of 2048 with addresses and ports in a row.
    fn crowded_out(seed: u64) -> u32 {
        let key = HashKey::new(seed);
        let mut cells = [0_u32; 512];
        for client in 0..2048_u32 {
            let port = 1024 + (client & 15) as u16;
            cells[(key.client(6, 0x0a00_0000 | client >> 4, port) & 511) as usize] += 1;
        }
        cells.iter().map(|cell| cell.saturating_sub(8)).sum()
    }

    #[test]
    fn clients_in_a_row_fill_no_bucket_more_than_chance_does_whatever_the_key() {
        for seed in 0..64 {
            // Chance crowds out 17.
            assert!(crowded_out(seed) < 60, "seed {seed}: {} of 2048", crowded_out(seed));
        }
    }

    #[test]
    fn the_seed_changes_the_order() {
        let of = |seed| HashKey::new(seed).client(6, 1_u128, 80);
        assert_ne!(of(1), of(2));
    }
}
