//! The table of 256 buckets and the multiplicative hash (Knuth, The Art of Computer Programming 6.4) that sh and dh share.

use std::net::IpAddr;
use std::sync::Arc;

use crate::destination::Destination;

/// Buckets in a table.
pub(super) const BUCKETS: usize = 256;

/// Places in the list of destinations, by bucket; `None` while the list is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets(Option<Box<[u32; BUCKETS]>>);

impl Buckets {
    /// Deals the buckets out in list order, again and again, to each destination as many in a row as `share` says, at least one.
    pub(super) fn deal(&mut self, destinations: &[Arc<Destination>], share: impl Fn(&Destination) -> u32) {
        if destinations.is_empty() {
            self.0 = None;
            return;
        }
        let hand = |(place, d): (u32, &Arc<Destination>)| (0..share(d).max(1)).map(move |_| place);
        let mut places = (0_u32..).zip(destinations).cycle().flat_map(hand);
        let table = self.0.get_or_insert_with(|| Box::new([0; BUCKETS]));
        table.fill_with(|| places.next().unwrap_or(0));
    }

    /// The destination of a bucket.
    #[inline]
    pub(super) fn at<'a>(&self, bucket: u8, destinations: &'a [Arc<Destination>]) -> Option<&'a Destination> {
        let place = self.0.as_ref()?[usize::from(bucket)];
        destinations.get(place as usize).map(|d| &**d)
    }
}

/// The bucket of a word: the high bits of its product with the golden ratio.
#[inline]
pub(super) fn hash(word: u32) -> u8 {
    word.wrapping_mul(0x61c8_8647).to_be_bytes()[0]
}

/// An address as one word: IPv6's four words are XORed.
#[inline]
pub(super) fn fold(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(a) => a.to_bits(),
        IpAddr::V6(a) => {
            let bits = a.to_bits();
            let half = (bits >> 64) ^ bits;
            #[allow(clippy::cast_possible_truncation, reason = "the four words are folded into the lowest")]
            let word = ((half >> 32) ^ half) as u32;
            word
        }
    }
}
