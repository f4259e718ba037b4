//! Statistics of a service or a destination (`IPVS_STATS_ATTR_*`), in two nests with the same numbers: the old one has most of them in
//! 32 bits.

use super::attribute::{Attributes, Kind, Writer};
use crate::control::reply::Rates;
use crate::stats::Traffic;

/// In the old nest too, these are of 64 bits: bytes in and out.
const WIDE: [usize; 2] = [4, 5];

/// Connections, packets in and out, bytes in and out; the same five per second: numbers 1 to 10 of the nest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Stats(pub(super) [u64; 10]);

impl Stats {
    pub(super) fn new(t: &Traffic, r: &Rates) -> Self {
        Self([
            t.connections,
            t.in_packets,
            t.out_packets,
            t.in_bytes,
            t.out_bytes,
            r.connections,
            r.in_packets,
            r.out_packets,
            r.in_bytes,
            r.out_bytes,
        ])
    }

    /// Reads the new nest, or the old one when there is no other. Nobody refuses a message for its statistics.
    pub(super) fn parse(old: Option<&[u8]>, new: Option<&[u8]>) -> Option<Self> {
        let a = Attributes::<11>::parse(new.or(old)?, &[Kind::Ignored; 11]).ok()?;
        let at = |place: usize| {
            let number = place + 1;
            a.u64(number).or_else(|| a.u32(number).map(u64::from)).unwrap_or_default()
        };
        Some(Self(std::array::from_fn(at)))
    }

    /// Writes both nests.
    pub(super) fn write(&self, w: &mut Writer<'_>, old: usize, new: usize) {
        w.nest(old, |w| {
            self.each(|number, value| {
                #[allow(clippy::cast_possible_truncation, reason = "the kernel cuts them off, too")]
                let narrow = value as u32;
                if WIDE.contains(&number) { w.put(number, &value.to_ne_bytes()) } else { w.u32(number, Some(narrow)) }
            })
        });
        w.nest(new, |w| self.each(|number, value| w.put(number, &value.to_ne_bytes())));
    }

    fn each(&self, mut put: impl FnMut(usize, u64)) {
        (1..).zip(self.0).for_each(|(number, value)| put(number, value));
    }
}
