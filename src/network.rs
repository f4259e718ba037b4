//! The network as the kernel has it, made ready for the data path: ports, local addresses, routes, neighbours. Control reads it by
//! rtnetlink (or from the file, for replay and bench) and publishes it whole; the data path only looks up.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::addr::MacAddr;
use crate::family::Address;
use crate::verdict::PortId;

/// One port as the data path needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortInfo {
    /// Its name in the configuration.
    pub name: String,
    /// Its MAC, and its twin's.
    pub mac: MacAddr,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Has it a twin to pass frames to?
    pub twin: bool,
}

/// Where a route leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<A> {
    /// An address of the director itself.
    Local,
    /// Out of a port: to the gateway, or to the address itself when it is on the link.
    Via {
        /// The port.
        port: PortId,
        /// Next router.
        gateway: Option<A>,
        /// Preferred source address of packets that the director makes.
        source: Option<A>,
        /// The route's own MTU (`ip route ... mtu`), 0 for the port's.
        mtu: u16,
    },
    /// Unreachable, prohibited or blackholed.
    Unreachable,
    /// By an interface of the kernel that is no port of ours.
    Kernel,
}

/// One route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route<A> {
    /// First address.
    pub network: A,
    /// Prefix length.
    pub prefix: u8,
    /// Smaller wins among equal prefixes.
    pub metric: u32,
    /// Where it leads.
    pub target: Target<A>,
}

/// Longest-prefix match as disjoint intervals in order, found by bisection.
#[derive(Clone, Debug, Default)]
pub struct Fib<A> {
    starts: Vec<A>,
    targets: Vec<Option<Target<A>>>,
}

impl<A: Address> Fib<A> {
    /// Builds the table; the order of the routes does not matter.
    pub fn new(mut routes: Vec<Route<A>>) -> Self {
        routes.sort_by_key(|r| (r.network.masked(r.prefix), r.prefix, std::cmp::Reverse(r.metric)));
        let mut fib = Self { starts: Vec::new(), targets: Vec::new() };
        fib.mark(A::default(), None);
        let mut open: Vec<(A, Target<A>)> = Vec::new();
        for route in &routes {
            let first = route.network.masked(route.prefix);
            fib.close(&mut open, Some(first));
            fib.mark(first, Some(route.target));
            open.push((route.network.last(route.prefix), route.target));
        }
        fib.close(&mut open, None);
        fib
    }

    /// Ends the networks that do not reach `before`, giving what follows back to the network around them.
    fn close(&mut self, open: &mut Vec<(A, Target<A>)>, before: Option<A>) {
        while let Some(&(last, _)) = open.last() {
            if before.is_some_and(|b| b <= last) {
                return;
            }
            open.pop();
            if last != A::MAX {
                self.mark(last.next(), open.last().map(|o| o.1));
            }
        }
    }

    fn mark(&mut self, start: A, target: Option<Target<A>>) {
        if self.starts.last() == Some(&start) {
            self.targets.pop();
            self.starts.pop();
        }
        self.starts.push(start);
        self.targets.push(target);
    }

    /// Where intervals begin, in order: all addresses from one to before the next have the same target.
    pub fn starts(&self) -> impl Iterator<Item = A> {
        self.starts.iter().copied()
    }

    /// The target of the longest prefix that holds the address.
    #[inline]
    pub fn lookup(&self, address: A) -> Option<&Target<A>> {
        let after = self.starts.partition_point(|s| *s <= address);
        self.targets.get(after.wrapping_sub(1))?.as_ref()
    }
}

/// A set of addresses, asked once for every packet: open addressing, at most half full.
#[derive(Clone, Debug, Default)]
pub struct AddressSet<A> {
    /// Half of them free at least; the unspecified address stands for a free one. Shared by copies.
    slots: Arc<[A]>,
    len: usize,
    /// Is the unspecified address in it?
    unspecified: bool,
    /// One of them.
    any: Option<A>,
}

impl<A: Address> AddressSet<A> {
    /// Builds the set.
    pub fn new(addresses: impl IntoIterator<Item = A>) -> Self {
        let all: Vec<A> = addresses.into_iter().collect();
        let mut set = Self::with_room(all.len());
        all.into_iter().for_each(|address| set.put(address));
        set
    }

    fn with_room(addresses: usize) -> Self {
        let slots = vec![A::default(); (addresses * 2).next_power_of_two().max(2)];
        Self { slots: slots.into(), len: 0, unspecified: false, any: None }
    }

    /// Puts an address in.
    pub fn insert(&mut self, address: A) {
        if (self.len + 1) * 2 > self.slots.len() {
            // Twice the room, so that it is not made anew for each.
            let mut larger = Self::with_room((self.len + 1) * 2);
            self.iter().for_each(|address| larger.put(address));
            *self = larger;
        }
        self.put(address);
    }

    /// Any one of the addresses in it; none when it is empty.
    #[inline]
    pub fn any(&self) -> Option<A> {
        self.any
    }

    fn put(&mut self, address: A) {
        self.any = Some(address);
        if address == A::default() {
            self.unspecified = true;
            return;
        }
        let mut at = self.home(address);
        while self.slots[at] != A::default() && self.slots[at] != address {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.len += usize::from(self.slots[at] != address);
        Arc::make_mut(&mut self.slots)[at] = address;
    }

    /// The addresses in it, in no order.
    pub fn iter(&self) -> impl Iterator<Item = A> {
        let unspecified = self.unspecified.then(A::default);
        self.slots.iter().copied().filter(|address| *address != A::default()).chain(unspecified)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the high bits of the product are the hash")]
    fn home(&self, address: A) -> usize {
        let hash = address.fold(0x9e37_79b9).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        hash as usize & self.slots.len().wrapping_sub(1)
    }

    /// Returns true when the address is in the set.
    #[inline]
    pub fn contains(&self, address: A) -> bool {
        let mut at = self.home(address);
        while let Some(found) = self.slots.get(at) {
            if *found == address {
                return address != A::default() || self.unspecified;
            }
            if *found == A::default() {
                return false;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        false
    }
}

/// What it takes to send to an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hop {
    /// Out of `port` with these MACs.
    Resolved {
        /// The port.
        port: PortId,
        /// The next hop's MAC.
        to: MacAddr,
        /// The port's MAC.
        from: MacAddr,
        /// Largest IP packet on the way, in bytes.
        mtu: u16,
    },
    /// The neighbour has no MAC yet.
    Unresolved {
        /// The port.
        port: PortId,
        /// The neighbour to ask for.
        neighbour: IpAddr,
        /// The port's MAC.
        from: MacAddr,
        /// Largest IP packet on the way, in bytes.
        mtu: u16,
    },
    /// The director itself.
    Local,
    /// Over an interface that is no port of ours: the kernel's business.
    Kernel,
    /// Nowhere.
    #[default]
    Unreachable,
}

/// A rule of policy routing for marked packets (`ip rule add fwmark MARK/MASK lookup TABLE`), and what its table says.
#[derive(Clone, Debug, Default)]
pub struct Policy<A> {
    /// The bits of the mark that count.
    pub mask: u32,
    /// What they must be.
    pub mark: u32,
    /// Its table.
    pub table: Fib<A>,
}

/// Addresses, routes and neighbours of one family.
#[derive(Clone, Debug, Default)]
pub struct FamilyNetwork<A> {
    /// The director's own addresses (VIPs on the twins among them).
    pub local: AddressSet<A>,
    /// Routes.
    pub fib: Fib<A>,
    /// Resolved neighbours.
    pub neighbours: FxHashMap<(PortId, A), MacAddr>,
    /// Rules of policy routing for marked packets, in their order.
    pub policies: Vec<Policy<A>>,
    /// Addresses that mean everybody on a link of the director's (IPv4 only).
    pub broadcasts: AddressSet<A>,
}

impl<A: Address> FamilyNetwork<A> {
    /// Builds one family's half.
    pub fn new(
        local: impl IntoIterator<Item = A>,
        routes: Vec<Route<A>>,
        neighbours: impl IntoIterator<Item = (PortId, A, MacAddr)>,
    ) -> Self {
        let mut map = HashMap::with_hasher(FxBuildHasher);
        map.extend(neighbours.into_iter().map(|(port, address, mac)| ((port, address), mac)));
        let (local, fib) = (AddressSet::new(local), Fib::new(routes));
        Self { local, fib, neighbours: map, policies: Vec::new(), broadcasts: AddressSet::default() }
    }

    /// The same with rules of policy routing.
    #[must_use]
    pub fn with_policies(self, policies: Vec<Policy<A>>) -> Self {
        Self { policies, ..self }
    }

    /// The same with the broadcast addresses of the director's own addresses, each with its prefix length: those of IPv4 with a network
    /// of more than two (RFC 3021).
    #[must_use]
    pub fn with_broadcasts_of(self, addresses: impl IntoIterator<Item = (A, u8)>) -> Self {
        let shared = addresses.into_iter().filter(|(_, prefix)| !A::V6 && *prefix < 31);
        Self { broadcasts: AddressSet::new(shared.map(|(address, prefix)| address.last(prefix))), ..self }
    }

    /// Is a packet to this address for the director itself, whatever its mark?
    pub fn is_local(&self, address: A) -> bool {
        self.local.contains(address) || matches!(self.fib.lookup(address), Some(Target::Local))
    }

    /// Is a packet of this mark to this address for the director itself by policy routing? The first rule whose table knows a way
    /// decides.
    pub fn is_local_by_policy(&self, address: A, mark: u32) -> bool {
        let holds = |policy: &&Policy<A>| mark & policy.mask == policy.mark;
        let mut ways = self.policies.iter().filter(holds).filter_map(|policy| policy.table.lookup(address));
        matches!(ways.next(), Some(Target::Local))
    }

    /// How to reach `address`, given the ports.
    pub fn hop(&self, ports: &[PortInfo], address: A) -> Hop {
        if self.local.contains(address) {
            return Hop::Local;
        }
        match self.fib.lookup(address) {
            None | Some(Target::Unreachable) => Hop::Unreachable,
            Some(Target::Local) => Hop::Local,
            Some(Target::Kernel) => Hop::Kernel,
            Some(&Target::Via { port, gateway, mtu, .. }) => {
                self.neighbour(ports, port, gateway.unwrap_or(address), mtu)
            }
        }
    }

    fn neighbour(&self, ports: &[PortInfo], port: PortId, neighbour: A, route_mtu: u16) -> Hop {
        let Some(info) = ports.get(usize::from(port.0)) else { return Hop::Unreachable };
        let mtu = if route_mtu == 0 { info.mtu } else { route_mtu.min(info.mtu) };
        match self.neighbours.get(&(port, neighbour)) {
            Some(&to) => Hop::Resolved { port, to, from: info.mac, mtu },
            None => Hop::Unresolved { port, neighbour: neighbour.ip(), from: info.mac, mtu },
        }
    }

    /// The source address that the director uses towards `address`.
    pub fn source(&self, address: A) -> Option<A> {
        match self.fib.lookup(address) {
            Some(&Target::Via { source, .. }) => source,
            _ => None,
        }
    }
}

/// The whole network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Ports by [`PortId`].
    pub ports: Vec<PortInfo>,
    /// IPv4.
    pub v4: FamilyNetwork<u32>,
    /// IPv6.
    pub v6: FamilyNetwork<u128>,
}

impl Network {
    /// The MAC of a neighbour, once it is resolved.
    pub fn neighbour(&self, port: PortId, address: IpAddr) -> Option<MacAddr> {
        match address {
            IpAddr::V4(a) => self.v4.neighbours.get(&(port, a.to_bits())),
            IpAddr::V6(a) => self.v6.neighbours.get(&(port, a.to_bits())),
        }
        .copied()
    }

    /// How to reach `address`.
    pub fn hop(&self, address: IpAddr) -> Hop {
        match address {
            IpAddr::V4(a) => self.v4.hop(&self.ports, a.to_bits()),
            IpAddr::V6(a) => self.v6.hop(&self.ports, a.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn via(port: u16) -> Target<u32> {
        Target::Via { port: PortId(port), gateway: None, source: None, mtu: 0 }
    }

    fn slow(routes: &[Route<u32>], address: u32) -> Option<Target<u32>> {
        routes
            .iter()
            .filter(|r| address.masked(r.prefix) == r.network.masked(r.prefix))
            .max_by_key(|r| (r.prefix, std::cmp::Reverse(r.metric)))
            .map(|r| r.target)
    }

    proptest! {
        #[test]
        fn the_fib_is_longest_prefix_match(
            routes in prop::collection::vec((0_u32..16, 0_u8..=32, 0_u16..9), 0..24),
            probes in prop::collection::vec(any::<u32>(), 32),
        ) {
            let mut seen = std::collections::HashSet::new();
            let routes: Vec<_> = routes.into_iter()
                .map(|(n, prefix, port)| Route { network: n << 28 | n << 3, prefix, metric: 0, target: via(port) })
                .filter(|r| seen.insert((r.network.masked(r.prefix), r.prefix)))
                .collect();
            let fib = Fib::new(routes.clone());
            for r in &routes {
                for probe in [r.network.masked(r.prefix), r.network.last(r.prefix), r.network.last(r.prefix).wrapping_add(1)] {
                    prop_assert_eq!(fib.lookup(probe).copied(), slow(&routes, probe));
                }
            }
            for probe in probes {
                prop_assert_eq!(fib.lookup(probe).copied(), slow(&routes, probe));
            }
        }

        #[test]
        fn the_set_holds_what_was_put_in(addresses in prop::collection::hash_set(any::<u32>(), 0..200), probe: u32) {
            let set = AddressSet::new(addresses.iter().copied());
            for a in &addresses {
                prop_assert!(set.contains(*a));
            }
            prop_assert!(set.any().map_or(addresses.is_empty(), |any| addresses.contains(&any)));
            prop_assert_eq!(set.contains(probe), addresses.contains(&probe));
        }
    }

    #[test]
    fn of_equal_prefixes_the_smaller_metric_wins() {
        let route = |metric, port| Route { network: 0, prefix: 0, metric, target: via(port) };
        assert_eq!(Fib::new(vec![route(5, 1), route(2, 2), route(9, 3)]).lookup(77), Some(&via(2)));
    }

    #[test]
    fn a_gateway_is_what_is_resolved() {
        let ports = [PortInfo { name: "p".into(), mac: MacAddr([2; 6]), mtu: 1500, twin: true }];
        let gateway = Target::Via { port: PortId(0), gateway: Some(9), source: None, mtu: 1400 };
        let net = FamilyNetwork::new(
            [1_u32],
            vec![Route { network: 0, prefix: 0, metric: 0, target: gateway }],
            [(PortId(0), 9, MacAddr([9; 6]))],
        );
        assert_eq!(net.hop(&ports, 1), Hop::Local);
        assert_eq!(
            net.hop(&ports, 500),
            Hop::Resolved { port: PortId(0), to: MacAddr([9; 6]), from: MacAddr([2; 6]), mtu: 1400 }
        );
    }
}
