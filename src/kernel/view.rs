//! What the kernel has told by rtnetlink, as plain maps, and the data path's [`Network`] made of it. Pure: fed with events, it knows no
//! socket. Evaluated are the tables `local` and `main` in that order, as without policy routing; of `ip rule` only what looks
//! at a firewall mark and nothing else, and that only for whether a marked packet is for the director.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::addr::MacAddr;
use crate::family::Address;
use crate::network::{FamilyNetwork, Fib, Network, Policy, PortInfo, Route, Target};
use crate::verdict::PortId;

/// A port as the kernel's view is read for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// The port; its MTU is the most that the device takes.
    pub info: PortInfo,
    /// The interface index of its twin, if it has one.
    pub twin: Option<u32>,
    /// The index of the kernel interface that its device takes its frames from, if there is one.
    pub behind: Option<u32>,
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
    /// Has it carrier?
    pub carrier: bool,
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
    /// One that rules of policy routing look at.
    Other(u32),
}

/// A rule of policy routing that looks at the mark alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelPolicy {
    /// IPv6?
    pub v6: bool,
    /// What the bits of the mask must be.
    pub mark: u32,
    /// The bits that count.
    pub mask: u32,
    /// The number of the table.
    pub table: u32,
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
    /// In their order.
    policies: Vec<KernelPolicy>,
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

    /// Takes the rules of policy routing as just read. Returns true when they differ from those before.
    pub fn replace_policies(&mut self, policies: Vec<KernelPolicy>) -> bool {
        let changed = self.policies != policies;
        self.policies = policies;
        changed
    }

    /// Is the interface there, up, and with carrier?
    pub fn has_carrier(&self, interface: u32) -> bool {
        self.links.get(&interface).is_some_and(|link| link.up && link.carrier)
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
            .with_policies(self.family_policies(ids))
            .with_broadcasts_of(self.addresses.values().filter_map(|(_, a)| Some((A::from_ip(a.address)?, a.prefix))))
    }

    /// The rules of policy routing of one family, each with its table.
    fn family_policies<A: Address>(&self, ids: &FxHashMap<u32, PortId>) -> Vec<Policy<A>> {
        let route = |r: &KernelRoute| {
            let network = A::from_ip(r.network)?;
            Some(Route { network, prefix: r.prefix, metric: r.metric, target: self.target(ids, r) })
        };
        let routes = |table| self.routes.iter().filter(move |r| r.table == table).filter_map(route).collect();
        let policy = |p: &KernelPolicy| Policy {
            mask: p.mask,
            mark: p.mark & p.mask,
            table: Fib::new(routes(Table::Other(p.table))),
        };
        self.policies.iter().filter(|p| p.v6 == A::V6).map(policy).collect()
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
        let usual = |r: &&KernelRoute| !matches!(r.table, Table::Other(_));
        let of_family = || self.routes.iter().filter(usual).filter_map(|r| Some((A::from_ip(r.network)?, r)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Hop;

    const TWIN: u32 = 5;
    const SECOND: u32 = 6;
    const ELSEWHERE: u32 = 2;
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn ports() -> Vec<Port> {
        let port = |name: &str, last, twin| Port {
            info: PortInfo { name: name.into(), mac: MacAddr([2, 0, 0, 0, 0, last]), mtu: 1500, twin: false },
            twin,
            behind: None,
        };
        vec![port("outside", 1, Some(TWIN)), port("inside", 2, Some(SECOND)), port("bare", 3, None)]
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn assigned(interface: u32, address: &str, prefix: u8) -> Event {
        Event::Address(Assigned { interface, address: ip(address), prefix, source: true })
    }

    fn neighbour(interface: u32, address: &str, reach: Reach) -> Event {
        let mac = (reach != Reach::Unknown).then_some(PEER);
        Event::Neighbour((interface, ip(address)), Neighbour { reach, mac })
    }

    fn link(mtu: u32, last: u8) -> Event {
        Event::Link(TWIN, Link { mac: MacAddr([2, 0, 0, 0, 0, last]), mtu, up: true, carrier: true })
    }

    fn view(events: impl IntoIterator<Item = Event>, routes: Vec<KernelRoute>) -> View {
        let mut view = View::default();
        for event in events {
            view.apply(event);
        }
        view.replace_routes(routes);
        view
    }

    fn route(text: &str, kind: RouteKind) -> KernelRoute {
        let (network, prefix) = text.split_once('/').unwrap();
        let prefix = prefix.parse().unwrap();
        KernelRoute { table: Table::Main, network: ip(network), prefix, metric: 0, kind, source: None, mtu: 0 }
    }

    fn local(text: &str) -> KernelRoute {
        KernelRoute { table: Table::Local, ..route(text, RouteKind::Local) }
    }

    fn by(interface: u32, gateway: Option<&str>) -> RouteKind {
        RouteKind::Unicast { interface: Some(interface), gateway: gateway.map(ip), foreign: false }
    }

    fn hop(view: &View, address: &str) -> Hop {
        view.network(&ports()).hop(ip(address))
    }

    /// The port of the hop and the neighbour to be asked for.
    fn unresolved(view: &View, address: &str) -> Option<(u16, String)> {
        match hop(view, address) {
            Hop::Unresolved { port, neighbour, .. } => Some((port.0, neighbour.to_string())),
            _ => None,
        }
    }

    fn source(view: &View, address: &str) -> Option<String> {
        let network = view.network(&ports());
        match ip(address) {
            IpAddr::V4(a) => network.v4.source(a.to_bits()).map(|a| a.ip().to_string()),
            IpAddr::V6(a) => network.v6.source(a.to_bits()).map(|a| a.ip().to_string()),
        }
    }

    #[test]
    fn a_marks_policy_has_a_table_of_its_own_that_leads_nobody_else() {
        let mut view = view([], vec![KernelRoute { table: Table::Other(100), ..route("0.0.0.0/0", RouteKind::Local) }]);
        assert!(view.replace_policies(vec![KernelPolicy { v6: false, mark: 7, mask: 0xff, table: 100 }]));
        let network = view.network(&ports());
        let address = u32::from_ip(ip("198.18.0.1")).unwrap();
        assert_eq!(network.hop(ip("198.18.0.1")), Hop::Unreachable);
        assert!(network.v4.is_local_by_policy(address, 0x107) && !network.v4.is_local_by_policy(address, 8));
        assert!(network.v6.policies.is_empty());
    }

    #[test]
    fn each_kind_of_route_leads_where_it_should() {
        let foreign = RouteKind::Unicast { interface: Some(TWIN), gateway: None, foreign: true };
        let unknown = RouteKind::Unicast { interface: None, gateway: None, foreign: false };
        let routes = vec![
            route("10.1.0.0/16", by(TWIN, None)),
            route("10.2.0.0/16", by(SECOND, Some("10.1.0.1"))),
            route("10.3.0.0/16", by(ELSEWHERE, None)),
            route("10.4.0.0/16", RouteKind::Unreachable),
            route("10.5.0.0/16", RouteKind::Kernel),
            route("10.6.0.0/16", foreign),
            route("10.7.0.0/16", unknown),
            route("10.8.0.0/16", RouteKind::Local),
        ];
        let view = view([], routes);
        assert_eq!(unresolved(&view, "10.1.2.3"), Some((0, "10.1.2.3".into())));
        assert_eq!(unresolved(&view, "10.2.2.3"), Some((1, "10.1.0.1".into())));
        for (address, expected) in [
            ("10.3.0.1", Hop::Kernel),
            ("10.4.0.1", Hop::Unreachable),
            ("10.5.0.1", Hop::Kernel),
            ("10.6.0.1", Hop::Kernel),
            ("10.7.0.1", Hop::Kernel),
            ("10.8.0.1", Hop::Local),
            ("10.9.0.1", Hop::Unreachable),
        ] {
            assert_eq!(hop(&view, address), expected, "{address}");
        }
    }

    #[test]
    fn a_neighbour_counts_as_resolved_while_its_mac_is_known() {
        for (event, expected) in [
            (neighbour(TWIN, "10.1.0.9", Reach::Known), true),
            (neighbour(TWIN, "10.1.0.9", Reach::Stale), true),
            (neighbour(TWIN, "10.1.0.9", Reach::Fixed), true),
            (neighbour(TWIN, "10.1.0.9", Reach::Unknown), false),
            (neighbour(SECOND, "10.1.0.9", Reach::Known), false),
            (neighbour(ELSEWHERE, "10.1.0.9", Reach::Known), false),
            (Event::NeighbourGone((TWIN, ip("10.1.0.9"))), false),
        ] {
            let told = format!("{event:?}");
            let view = view([event], vec![route("10.1.0.0/16", by(TWIN, None))]);
            let resolved = Hop::Resolved { port: PortId(0), to: PEER, from: MAC, mtu: 1500 };
            assert_eq!(hop(&view, "10.1.0.9") == resolved, expected, "{told}");
        }
    }

    #[test]
    fn a_failed_neighbour_keeps_its_old_mac_in_the_kernel_but_is_not_resolved() {
        let failed = Neighbour { reach: Reach::Unknown, mac: Some(PEER) };
        assert_eq!(failed.resolved(), None);
    }

    #[test]
    fn only_what_the_data_path_sees_makes_a_new_network() {
        let mut view = View::default();
        let (nothing, network) = (Effect::default(), Effect { network: true, routes: false });
        let both = Effect { network: true, routes: true };
        let gone = || Event::NeighbourGone((TWIN, ip("10.1.0.9")));
        let address_gone = || Event::AddressGone(TWIN, ip("10.1.0.1"), 16);
        for (step, (event, expected)) in [
            (neighbour(TWIN, "10.1.0.9", Reach::Unknown), nothing),
            (neighbour(TWIN, "10.1.0.9", Reach::Known), network),
            (neighbour(TWIN, "10.1.0.9", Reach::Stale), nothing),
            (neighbour(TWIN, "10.1.0.9", Reach::Unknown), network),
            (gone(), nothing),
            (neighbour(TWIN, "10.1.0.9", Reach::Fixed), network),
            (gone(), network),
            (gone(), nothing),
            (assigned(TWIN, "10.1.0.1", 16), both),
            (assigned(TWIN, "10.1.0.1", 16), nothing),
            (address_gone(), both),
            (address_gone(), nothing),
            (link(1500, 1), both),
            (link(1500, 1), nothing),
            (link(1400, 1), both),
            (Event::LinkGone(TWIN), both),
            (Event::LinkGone(TWIN), nothing),
            (Event::RoutesChanged, Effect { network: false, routes: true }),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(view.apply(event.clone()), expected, "step {step}: {event:?}");
        }
        assert!(view.replace_routes(vec![local("10.1.0.1/32")]));
        assert!(!view.replace_routes(vec![local("10.1.0.1/32")]));
    }

    #[test]
    fn an_address_on_any_interface_is_the_directors_but_loopback_and_foreign_link_local_are_not() {
        let events = [
            assigned(TWIN, "192.0.2.1", 24),
            assigned(TWIN, "203.0.113.5", 32),
            assigned(ELSEWHERE, "198.51.100.1", 24),
            assigned(1, "127.0.0.1", 8),
            assigned(1, "203.0.113.6", 32),
            assigned(1, "::1", 128),
            assigned(TWIN, "fe80::1", 64),
            assigned(ELSEWHERE, "fe80::2", 64),
        ];
        let network = view(events, vec![]).network(&ports());
        for (address, expected) in [
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("203.0.113.5", true),
            ("198.51.100.1", true),
            ("127.0.0.1", false),
            ("203.0.113.6", true),
            ("::1", false),
            ("fe80::1", true),
            ("fe80::2", false),
        ] {
            assert_eq!(network.hop(ip(address)) == Hop::Local, expected, "{address}");
        }
    }

    #[test]
    fn the_local_table_comes_before_longer_prefixes_of_the_main_one() {
        let routes = vec![
            route("10.1.0.0/16", by(TWIN, None)),
            local("10.0.0.0/8"),
            route("11.0.0.0/8", by(TWIN, None)),
            local("11.0.0.1/32"),
            route("11.0.0.1/32", by(TWIN, None)),
        ];
        let view = view([], routes);
        assert_eq!(hop(&view, "10.1.0.1"), Hop::Local);
        assert_eq!(hop(&view, "11.0.0.1"), Hop::Local);
        assert_eq!(unresolved(&view, "11.0.0.2"), Some((0, "11.0.0.2".into())));
    }

    #[test]
    fn of_equal_routes_the_smaller_metric_wins_and_then_the_first() {
        let mut routes = vec![
            KernelRoute { metric: 20, ..route("10.0.0.0/8", by(TWIN, Some("192.0.2.20"))) },
            KernelRoute { metric: 10, ..route("10.0.0.0/8", by(TWIN, Some("192.0.2.10"))) },
            KernelRoute { metric: 10, ..route("10.0.0.0/8", by(TWIN, Some("192.0.2.11"))) },
        ];
        assert_eq!(unresolved(&view([], routes.clone()), "10.0.0.1"), Some((0, "192.0.2.10".into())));
        routes.remove(1);
        assert_eq!(unresolved(&view([], routes), "10.0.0.1"), Some((0, "192.0.2.11".into())));
    }

    #[test]
    fn the_ports_mac_and_mtu_are_its_twins() {
        for (mtu, expected) in [(1500, 1500), (1300, 1300), (9000, 1500), (100_000, 1500)] {
            let network = view([link(mtu, 7)], vec![]).network(&ports());
            let port = &network.ports[0];
            assert_eq!((port.mtu, port.mac, port.twin), (expected, MacAddr([2, 0, 0, 0, 0, 7]), true), "{mtu}");
        }
        let untold = view([], vec![]).network(&ports());
        assert_eq!((untold.ports[0].mac, untold.ports[0].mtu), (MAC, 1500));
        assert!(!untold.ports[2].twin);
    }

    #[test]
    fn a_routes_own_mtu_holds() {
        let narrow = KernelRoute { mtu: 1400, ..route("10.0.0.0/8", by(TWIN, None)) };
        let view = view([], vec![narrow, route("11.0.0.0/8", by(TWIN, None))]);
        let mtu = |address| match hop(&view, address) {
            Hop::Unresolved { mtu, .. } => mtu,
            other => panic!("{other:?}"),
        };
        assert_eq!((mtu("10.0.0.1"), mtu("11.0.0.1")), (1400, 1500));
    }

    #[test]
    fn the_source_is_the_one_that_the_kernel_would_choose() {
        let secondary =
            Event::Address(Assigned { interface: TWIN, address: ip("192.0.2.7"), prefix: 24, source: false });
        let events = vec![
            assigned(1, "127.0.0.1", 8),
            assigned(ELSEWHERE, "198.51.100.1", 24),
            assigned(TWIN, "203.0.113.5", 32),
            assigned(TWIN, "192.0.2.8", 24),
            secondary,
            assigned(TWIN, "10.1.0.1", 16),
            assigned(TWIN, "fe80::1", 64),
            assigned(TWIN, "2001:db8:1::1", 64),
            assigned(TWIN, "2001:db8:2::1", 64),
        ];
        let chosen =
            KernelRoute { source: Some(ip("203.0.113.5")), ..route("14.0.0.0/8", by(TWIN, Some("192.0.2.9"))) };
        let routes = vec![
            route("11.0.0.0/8", by(TWIN, Some("192.0.2.9"))),
            route("12.0.0.0/8", by(TWIN, Some("10.1.0.9"))),
            route("13.0.0.0/8", by(TWIN, Some("172.16.0.1"))),
            chosen,
            route("15.0.0.0/8", by(SECOND, None)),
            route("::/0", by(TWIN, Some("fe80::9"))),
            route("2001:db8:2::/48", by(TWIN, Some("fe80::9"))),
            route("fe80::/64", by(TWIN, None)),
        ];
        let view = view(events, routes);
        for (address, expected) in [
            ("11.0.0.1", "192.0.2.8"),
            ("12.0.0.1", "10.1.0.1"),
            ("13.0.0.1", "203.0.113.5"),
            ("14.0.0.1", "203.0.113.5"),
            ("15.0.0.1", "198.51.100.1"),
            ("2001:db8:2::77", "2001:db8:2::1"),
            ("2001:db8:9::77", "2001:db8:1::1"),
            ("fe80::77", "fe80::1"),
        ] {
            assert_eq!(source(&view, address).as_deref(), Some(expected), "{address}");
        }
    }

    #[test]
    fn an_address_told_again_keeps_its_place() {
        let mut view = view(
            [assigned(TWIN, "10.0.0.2", 32), assigned(TWIN, "10.0.0.1", 32)],
            vec![route("0.0.0.0/0", by(TWIN, Some("192.0.2.9")))],
        );
        assert_eq!(source(&view, "11.0.0.1").as_deref(), Some("10.0.0.2"));
        view.apply(assigned(TWIN, "10.0.0.2", 32));
        assert_eq!(source(&view, "11.0.0.1").as_deref(), Some("10.0.0.2"));
        view.apply(Event::AddressGone(TWIN, ip("10.0.0.2"), 32));
        assert_eq!(source(&view, "11.0.0.1").as_deref(), Some("10.0.0.1"));
    }

    #[test]
    fn an_interface_that_goes_takes_its_addresses_and_neighbours_with_it() {
        let mut view = view(
            [link(1500, 1), assigned(TWIN, "192.0.2.1", 24), neighbour(TWIN, "192.0.2.9", Reach::Known)],
            vec![route("192.0.2.0/24", by(TWIN, None))],
        );
        assert_eq!(hop(&view, "192.0.2.1"), Hop::Local);
        view.apply(Event::LinkGone(TWIN));
        assert_eq!(unresolved(&view, "192.0.2.1"), Some((0, "192.0.2.1".into())));
        assert_eq!(unresolved(&view, "192.0.2.9"), Some((0, "192.0.2.9".into())));
    }

    #[test]
    fn gateways_are_those_of_routes_by_an_interface() {
        let foreign = RouteKind::Unicast { interface: Some(TWIN), gateway: Some(ip("10.0.0.3")), foreign: true };
        let routes = vec![
            route("11.0.0.0/8", by(TWIN, Some("10.0.0.1"))),
            route("12.0.0.0/8", by(TWIN, Some("10.0.0.1"))),
            route("13.0.0.0/8", by(SECOND, Some("10.0.0.2"))),
            route("14.0.0.0/8", by(TWIN, None)),
            route("15.0.0.0/8", foreign),
        ];
        let expected = FxHashSet::from_iter([(TWIN, ip("10.0.0.1")), (SECOND, ip("10.0.0.2"))]);
        assert_eq!(view([], routes).gateways(), expected);
    }
}
