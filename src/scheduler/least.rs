//! What the schedulers by load share: the search for the usable destination of least load per weight, and its terms.

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
    costs.reduce(|best, next| if cheaper((next.1, next.2), (best.1, best.2)) { next } else { best }).map(|(d, ..)| d)
}

/// Is the first cost less than the second, each divided by its weight?
#[inline]
pub(super) fn cheaper(a: (u64, u32), b: (u64, u32)) -> bool {
    u128::from(a.0) * u128::from(b.1) < u128::from(b.0) * u128::from(a.1)
}

/// Has it more active connections than its weight while another one has less than half of its own?
pub(super) fn overworked(candidates: &Candidates<'_>, destination: &Destination) -> bool {
    let active = |d: &Destination| u64::from(candidates.load(d).total_active());
    let half_idle = |d: &Destination| active(d) * 2 < u64::from(d.weight);
    active(destination) > u64::from(destination.weight) && candidates.destinations.iter().any(|d| half_idle(d))
}
