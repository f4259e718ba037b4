//! The search that lc, wlc, sed and nq share: the usable destination of least load per weight.

use super::{Candidates, Load, WorkerStart};
use crate::destination::Destination;

/// Load of a destination as lc and wlc reckon it: an active connection weighs as much as 257 others.
#[inline]
pub(super) fn connections(load: &Load) -> u64 {
    u64::from(load.total_active()) * 256 + u64::from(load.total())
}

/// The expected delay before division by the weight, as sed and nq reckon it.
#[inline]
pub(super) fn delay(load: &Load) -> u64 {
    u64::from(load.total_active()) + 1
}

/// The usable destinations with their loads, in list order from the worker's place on: ties go to another one on each worker.
#[inline]
pub(super) fn usable<'a>(
    candidates: &'a Candidates<'_>,
    worker: WorkerStart,
) -> impl Iterator<Item = (&'a Destination, Load)> {
    let (head, rest) = candidates.destinations.split_at(worker.place(candidates.destinations.len()));
    let all = rest.iter().chain(head).map(|d| (&**d, candidates.load(d)));
    all.filter(|(d, load)| d.weight > 0 && !load.overloaded)
}

/// The first of those for which `cost / weight` is least.
#[inline]
pub(super) fn least<'a>(
    usable: impl Iterator<Item = (&'a Destination, Load)>,
    cost: impl Fn(&Load) -> u64,
    weight: impl Fn(&Destination) -> u32,
) -> Option<&'a Destination> {
    let costs = usable.map(|(d, load)| (d, cost(&load), weight(d)));
    let cheaper =
        |a: &(_, u64, u32), b: &(_, u64, u32)| u128::from(b.1) * u128::from(a.2) < u128::from(a.1) * u128::from(b.2);
    costs.reduce(|best, next| if cheaper(&best, &next) { next } else { best }).map(|(d, ..)| d)
}
