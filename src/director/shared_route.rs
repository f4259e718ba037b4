//! The kernel keeps one route for each destination, made by whichever of its connections first needs one and used by all
//! (`__ip_vs_get_out_rt`). A route made for NAT or a tunnel does not say who the next hop is, so that a packet under DR over it asks the
//! link for the virtual address, which nobody there has. That happens when a destination's method is edited under live connections. This
//! director sends such packets to their server; it does as the kernel only to be compared with recordings.

use std::sync::Arc;

use crate::conn::ConnFlags;
use crate::destination::{DestId, Destination};
use crate::director::Lane;
use crate::director::family::Family;
use crate::director::request::Bound;
use crate::network::{Hop, Target};
use crate::ready::Ready;
use crate::snapshot::Snapshot;

/// The route that the connections of one destination share.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Route {
    /// Has its destination had several methods?
    mixed: bool,
    made: Option<Made>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Made {
    /// It names the destination as the next hop.
    ForDr,
    /// The next hop is whom the packet is for.
    ForOthers,
}

/// The routes that are shared.
#[derive(Debug, Default)]
pub(super) struct SharedRoutes {
    /// By [`DestId`].
    routes: Vec<Route>,
    /// How many are of several methods.
    mixed: usize,
}

impl SharedRoutes {
    /// Forgets what new rules or a new network make void. The destinations that have had several methods are kept off the common
    /// packet's way.
    pub(super) fn follow(&mut self, before: &Snapshot, now: &Arc<Snapshot>) -> Arc<Snapshot> {
        let (old, new) = (&before.rules.destinations, &now.rules.destinations);
        self.routes.resize(new.len().max(self.routes.len()), Route::default());
        let rerouted = !Arc::ptr_eq(&before.network, &now.network);
        for (index, old, new) in new.changed(old) {
            let (Some(route), Some(new)) = (self.routes.get_mut(index), new) else { continue };
            self.mixed -= usize::from(route.mixed);
            route.follow(old.filter(|old| old.uid == new.uid), new);
            self.mixed += usize::from(route.mixed);
        }
        if rerouted {
            self.routes.iter_mut().for_each(|route| route.made = None);
        }
        if self.mixed == 0 {
            return Arc::clone(now);
        }
        let mut slowed = Snapshot::clone(now);
        let mixed = slowed.ready.iter_mut().zip(&self.routes).filter(|(_, route)| route.mixed);
        mixed.for_each(|(ready, _)| *ready = Ready::default());
        Arc::new(slowed)
    }

    /// Does the packet go by a route that was not made for DR?
    fn misleads(&mut self, dest: DestId, flags: ConnFlags) -> bool {
        let Some(route) = self.routes.get_mut(dest.index()) else { return false };
        let dr = flags.contains(ConnFlags::DR);
        let made = *route.made.get_or_insert(if dr { Made::ForDr } else { Made::ForOthers });
        dr && made == Made::ForOthers
    }
}

impl Route {
    /// The destination has changed.
    fn follow(&mut self, old: Option<&Arc<Destination>>, new: &Arc<Destination>) {
        self.mixed = old.is_some_and(|old| self.mixed || old.method != new.method);
        self.made = None;
    }
}

impl<A: Family> Lane<'_, A> {
    /// The next hop of a client's packet to this address.
    #[cold]
    pub(super) fn shared_hop(&mut self, bound: &Bound<'_, A>, to: A) -> Hop {
        let Some(routes) = &mut self.shared.routes else { return bound.path.hop };
        let on_link = bound.path.address.and_then(A::from_ip).is_some_and(|address| {
            matches!(A::network(self.snapshot).fib.lookup(address), Some(Target::Via { gateway: None, .. }))
        });
        match (bound.dest, bound.path.hop) {
            (Some(dest), Hop::Resolved { port, from, mtu, .. } | Hop::Unresolved { port, from, mtu, .. })
                if routes.misleads(dest, bound.flags) && on_link =>
            {
                match A::network(self.snapshot).neighbours.get(&(port, to)) {
                    Some(&to) => Hop::Resolved { port, to, from, mtu },
                    None => Hop::Unresolved { port, neighbour: to.ip(), from, mtu },
                }
            }
            _ => bound.path.hop,
        }
    }
}
