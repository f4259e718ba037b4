//! What the kernel has told by rtnetlink, as plain maps, and the data path's [`Network`] made of it. Pure: fed with events, it knows no
//! socket. Evaluated are the tables `local` and `main` in that order, as without policy routing; `ip rule` is not.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::addr::MacAddr;
use crate::family::Address;
use crate::network::{FamilyNetwork, Network, PortInfo, Route, Target};
use crate::verdict::PortId;

/// A port as the kernel's view is read for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// The port; its MTU is the most that the device takes.
    pub info: PortInfo,
    /// The interface index of its twin, if it has one.
    pub twin: Option<u32>,
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Hardware address; zeros where there is none of six bytes.
    pub mac: MacAddr,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Administratively up. A link that goes down takes its routes with it, which are then read anew.
    pub up: bool,
}

/// An address on an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assigned {
    /// The interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix: u8,
    /// Is it fit to be the source of a new packet? Not so: secondary (IPv4), tentative, deprecated or duplicate (IPv6), scope host.
    pub source: bool,
}

/// State of a neighbour, as far as the data path asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Its MAC is known and was confirmed lately, or is being confirmed.
    Known,
    /// Its MAC is known, but the kernel will not confirm it unless it is used.
    Stale,
    /// Its MAC is fixed by the operator (or needs no resolution): never to be probed.
    Fixed,
    /// It does not answer, or has not yet.
    Unknown,
}

/// A neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Is its MAC known?
    pub reach: Reach,
    /// The MAC.
    pub mac: Option<MacAddr>,
}

impl Neighbour {
    /// The MAC, if frames may be sent to it.
    pub fn resolved(&self) -> Option<MacAddr> {
        self.mac.filter(|_| self.reach != Reach::Unknown)
    }
}

/// Table of routes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Table {
    /// The kernel's own addresses: looked at first.
    Local,
    /// Everybody's routes.
    Main,
}

/// Type of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteKind {
    /// By an interface, perhaps by a gateway.
    Unicast {
        /// The interface; `None` when it is not told (a next-hop object).
        interface: Option<u32>,
        /// The gateway of the route's own family.
        gateway: Option<IpAddr>,
        /// Can the data path not do what it asks (an encapsulation, a gateway of the other family)?
        foreign: bool,
    },
    /// To the director itself (anycast addresses too).
    Local,
    /// Unreachable, prohibited or blackholed; in the main table also "throw".
    Unreachable,
    /// Broadcast or multicast: the kernel's business.
    Kernel,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelRoute {
    /// Its table.
    pub table: Table,
    /// First address.
    pub network: IpAddr,
    /// Prefix length.
    pub prefix: u8,
    /// Smaller wins among equal prefixes.
    pub metric: u32,
    /// Where it leads.
    pub kind: RouteKind,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Its own MTU, 0 for the interface's.
    pub mtu: u32,
}

/// An interface and an address on its link.
pub(super) type Key = (u32, IpAddr);

/// A change in the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// An interface is there or has changed.
    Link(u32, Link),
    /// An interface is gone.
    LinkGone(u32),
    /// An address is there or has changed.
    Address(Assigned),
    /// An address is gone from an interface.
    AddressGone(u32, IpAddr, u8),
    /// A neighbour is there or has changed.
    Neighbour(Key, Neighbour),
    /// A neighbour is gone.
    NeighbourGone(Key),
    /// Something about routes has changed: they have to be read anew.
    RoutesChanged,
}

/// What follows from an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// The network is not what it was.
    pub network: bool,
    /// The routes have to be read anew. The kernel takes IPv4 routes away silently when their interface goes down or their source
    /// address goes, and tells a changed IPv6 multipath route piecemeal; so no route is followed by its events alone.
    pub routes: bool,
}

/// The kernel's network.
#[derive(Clone, Debug, Default)]
pub struct View {
    links: FxHashMap<u32, Link>,
    /// With the number of their arrival, for the kernel prefers the first.
    addresses: BTreeMap<(u32, IpAddr, u8), (u64, Assigned)>,
    routes: Vec<KernelRoute>,
    neighbours: FxHashMap<Key, Neighbour>,
    arrivals: u64,
}

impl View {
    /// Takes an event in.
    pub fn apply(&mut self, event: Event) -> Effect {
        let topology = |changed| Effect { network: changed, routes: changed };
        match event {
            Event::Link(index, link) => topology(self.links.insert(index, link.clone()) != Some(link)),
            Event::LinkGone(index) => topology(self.forget(index)),
            Event::Address(assigned) => topology(self.assign(assigned)),
            Event::AddressGone(interface, address, prefix) => {
                topology(self.addresses.remove(&(interface, address, prefix)).is_some())
            }
            Event::Neighbour(key, neighbour) => self.neighbour_changed(key, Some(neighbour)),
            Event::NeighbourGone(key) => self.neighbour_changed(key, None),
            Event::RoutesChanged => Effect { network: false, routes: true },
        }
    }

    fn assign(&mut self, assigned: Assigned) -> bool {
        let key = (assigned.interface, assigned.address, assigned.prefix);
        self.arrivals += 1;
        let arrival = self.addresses.get(&key).map_or(self.arrivals, |(first, _)| *first);
        let before = self.addresses.insert(key, (arrival, assigned.clone()));
        before.is_none_or(|(_, before)| before != assigned)
    }

    fn forget(&mut self, index: u32) -> bool {
        self.addresses.retain(|(interface, ..), _| *interface != index);
        self.neighbours.retain(|(interface, _), _| *interface != index);
        self.links.remove(&index).is_some()
    }

    fn neighbour_changed(&mut self, key: Key, now: Option<Neighbour>) -> Effect {
        let before = match now {
            Some(neighbour) => self.neighbours.insert(key, neighbour),
            None => self.neighbours.remove(&key),
        };
        let mac = |n: Option<Neighbour>| n.and_then(|n| n.resolved());
        Effect { network: mac(before) != mac(now), routes: false }
    }

    /// Takes the routes as just read. Returns true when they differ from those before.
    pub fn replace_routes(&mut self, routes: Vec<KernelRoute>) -> bool {
        let changed = self.routes != routes;
        self.routes = routes;
        changed
    }

    /// The neighbour of that key.
    pub fn neighbour(&self, key: &Key) -> Option<&Neighbour> {
        self.neighbours.get(key)
    }

    /// The gateways of all routes in use, each with its interface.
    pub fn gateways(&self) -> FxHashSet<Key> {
        let gateway = |route: &KernelRoute| match route.kind {
            RouteKind::Unicast { interface: Some(interface), gateway: Some(gateway), foreign: false } => {
                Some((interface, gateway))
            }
            _ => None,
        };
        self.routes.iter().filter_map(gateway).collect()
    }

    /// The network for the data path, given the ports in their order.
    pub fn network(&self, ports: &[Port]) -> Network {
        let ids = (0..).map(PortId).zip(ports).filter_map(|(id, port)| Some((port.twin?, id))).collect();
        Network { ports: ports.iter().map(|p| self.port(p)).collect(), v4: self.family(&ids), v6: self.family(&ids) }
    }

    /// The port with what was changed on its twin. A larger MTU than the device's does not make its frames longer.
    fn port(&self, port: &Port) -> PortInfo {
        let mut info = PortInfo { twin: port.twin.is_some(), ..port.info.clone() };
        if let Some(link) = port.twin.and_then(|index| self.links.get(&index)) {
            info.mac = link.mac;
            info.mtu = u16::try_from(link.mtu).map_or(info.mtu, |mtu| mtu.min(info.mtu));
        }
        info
    }

    fn family<A: Address>(&self, ids: &FxHashMap<u32, PortId>) -> FamilyNetwork<A> {
        FamilyNetwork::new(self.local(ids), self.family_routes(ids), self.resolved(ids))
    }

    /// Every address of the director, on whatever interface, up or down (the kernel answers for all of them on each), but for the loopback's own and
    /// for link-local ones of links that are none of ours.
    fn local<A: Address>(&self, ids: &FxHashMap<u32, PortId>) -> impl Iterator<Item = A> {
        let ours = |a: &Assigned| !is_link_local(a.address) || ids.contains_key(&a.interface);
        let local = move |a: &Assigned| !a.address.is_loopback() && ours(a);
        self.addresses.values().filter(move |(_, a)| local(a)).filter_map(|(_, a)| A::from_ip(a.address))
    }

    fn resolved<A: Address>(&self, ids: &FxHashMap<u32, PortId>) -> impl Iterator<Item = (PortId, A, MacAddr)> {
        self.neighbours.iter().filter_map(|((interface, address), neighbour)| {
            Some((*ids.get(interface)?, A::from_ip(*address)?, neighbour.resolved()?))
        })
    }

    /// The routes of one family. In the kernel any match in the local table comes before the main one, however short its prefix, so
    /// what it covers of the main table is left out; and of routes that differ in nothing the first is used.
    fn family_routes<A: Address>(&self, ids: &FxHashMap<u32, PortId>) -> Vec<Route<A>> {
        let of_family = || self.routes.iter().filter_map(|r| Some((A::from_ip(r.network)?, r)));
        let local: FxHashSet<(A, u8)> =
            of_family().filter(|(_, r)| r.table == Table::Local).map(|(a, r)| (a.masked(r.prefix), r.prefix)).collect();
        let lengths: HashSet<u8> = local.iter().map(|(_, prefix)| *prefix).collect();
        let covered = |a: A, prefix: u8| lengths.iter().any(|&l| l <= prefix && local.contains(&(a.masked(l), l)));
        let mut seen = FxHashSet::default();
        of_family()
            .filter(|(a, r)| r.table == Table::Local || !covered(*a, r.prefix))
            .filter(|(a, r)| seen.insert((a.masked(r.prefix), r.prefix, r.metric)))
            .map(|(network, r)| Route { network, prefix: r.prefix, metric: r.metric, target: self.target(ids, r) })
            .collect()
    }

    fn target<A: Address>(&self, ids: &FxHashMap<u32, PortId>, route: &KernelRoute) -> Target<A> {
        let (interface, gateway) = match route.kind {
            RouteKind::Local => return Target::Local,
            RouteKind::Unreachable => return Target::Unreachable,
            RouteKind::Unicast { interface: Some(interface), gateway, foreign: false } => (interface, gateway),
            RouteKind::Kernel | RouteKind::Unicast { .. } => return Target::Kernel,
        };
        let Some(&port) = ids.get(&interface) else { return Target::Kernel };
        let source = route.source.or_else(|| self.source(interface, nearest(route.network, gateway)));
        Target::Via {
            port,
            gateway: gateway.and_then(A::from_ip),
            source: source.and_then(A::from_ip),
            mtu: u16::try_from(route.mtu).unwrap_or(0),
        }
    }

    /// The source address that the kernel would choose: on the interface before any other, then the best match of the next hop (IPv4: in
    /// its network; IPv6: the longest common prefix, RFC 6724 section 5 rule 8), then the first.
    fn source(&self, interface: u32, towards: IpAddr) -> Option<IpAddr> {
        let rank = |(arrival, a): &(u64, Assigned)| {
            (a.interface == interface, matching(a, towards), std::cmp::Reverse(*arrival))
        };
        let fit = |a: &Assigned| {
            let scope = is_link_local(a.address) == is_link_local(towards) || a.address.is_ipv4();
            a.source && scope && a.address.is_ipv4() == towards.is_ipv4() && !a.address.is_loopback()
        };
        self.addresses.values().filter(|(_, a)| fit(a)).max_by_key(|a| rank(a)).map(|(_, a)| a.address)
    }
}

/// The address that the source is chosen for: in IPv4 the next hop, in IPv6 the destination (a gateway may well be link-local).
fn nearest(network: IpAddr, gateway: Option<IpAddr>) -> IpAddr {
    gateway.filter(IpAddr::is_ipv4).unwrap_or(network)
}

/// How well an address suits as the source towards another of its family.
fn matching(assigned: &Assigned, towards: IpAddr) -> u32 {
    match (assigned.address, towards) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            u32::from(a.to_bits().masked(assigned.prefix) == b.to_bits().masked(assigned.prefix))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros().min(u32::from(assigned.prefix)),
        _ => 0,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}
