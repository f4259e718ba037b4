//! Which tables and which half of the network are a family's. The director is written once over this trait.

use crate::director::{Core, Lane, Shared, Tables};
use crate::forward::quote::Quoting;
use crate::network::{FamilyNetwork, Hop};
use crate::snapshot::{Marked, Snapshot};

/// One address family in the director.
pub(super) trait Family: Quoting + Marked {
    /// The family's lane through the core.
    fn lane<'a>(core: &'a mut Core, snapshot: &'a Snapshot) -> Lane<'a, Self>;
    /// The family's tables.
    fn tables(core: &Core) -> &Tables<Self>;
    /// The family's half of the network.
    fn network(snapshot: &Snapshot) -> &FamilyNetwork<Self>;
    /// Is the address a virtual one?
    fn is_vip(snapshot: &Snapshot, address: Self) -> bool;

    /// The way to an address.
    #[inline]
    fn hop(snapshot: &Snapshot, address: Self) -> Hop {
        Self::network(snapshot).hop(&snapshot.network.ports, address)
    }
}

#[inline]
fn lane<'a, A>(tables: &'a mut Tables<A>, shared: &'a mut Shared, snapshot: &'a Snapshot) -> Lane<'a, A> {
    Lane { tables, shared, snapshot }
}

impl Family for u32 {
    #[inline]
    fn lane<'a>(core: &'a mut Core, snapshot: &'a Snapshot) -> Lane<'a, Self> {
        lane(&mut core.v4, &mut core.shared, snapshot)
    }

    #[inline]
    fn tables(core: &Core) -> &Tables<Self> {
        &core.v4
    }

    #[inline]
    fn network(snapshot: &Snapshot) -> &FamilyNetwork<Self> {
        &snapshot.network.v4
    }

    #[inline]
    fn is_vip(snapshot: &Snapshot, address: Self) -> bool {
        snapshot.rules.is_vip4(address)
    }
}

impl Family for u128 {
    #[inline]
    fn lane<'a>(core: &'a mut Core, snapshot: &'a Snapshot) -> Lane<'a, Self> {
        lane(&mut core.v6, &mut core.shared, snapshot)
    }

    #[inline]
    fn tables(core: &Core) -> &Tables<Self> {
        &core.v6
    }

    #[inline]
    fn network(snapshot: &Snapshot) -> &FamilyNetwork<Self> {
        &snapshot.network.v6
    }

    #[inline]
    fn is_vip(snapshot: &Snapshot, address: Self) -> bool {
        snapshot.rules.is_vip6(address)
    }
}
