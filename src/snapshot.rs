//! What control tells the workers: the rules and the network, immutable and shared. Control builds a snapshot once, sends it to each
//! worker, and frees it after the last one has moved on; a worker's configuration never changes within a burst.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::counted::Counted;
use crate::destination::{DestId, Destination, Method, Shim, Tunnel};
use crate::family::Address;
use crate::mark::{Chain, Entrances, Fragment, Header, Marks};
use crate::network::{AddressSet, Hop, Network};
use crate::ready::{Ready, Ways};
use crate::service::{Protocol, Service, ServiceId, ServiceKey};
use crate::settings::Settings;
use crate::shelf::Shelf;

/// FTP's control port: its service also takes the data connections.
const FTP: u16 = 21;
/// FTP's data port.
const FTP_DATA: u16 = 20;
/// Stands for every protocol.
const ANY: u8 = 0;
/// The first unprivileged port.
const UNPRIVILEGED: u16 = 1024;

/// Services and destinations by their index, and the switches of behaviour.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// By [`ServiceId`].
    pub services: Shelf<Arc<Service>>,
    /// By [`DestId`], removed ones that still have connections among them.
    pub destinations: Shelf<Arc<Destination>>,
    /// Sysctls and time-outs.
    pub settings: Settings,
    /// What sets firewall marks.
    pub marks: Arc<Marks>,
    /// Are there services of marks, or connections of former ones: IPv4, IPv6?
    by_mark: [bool; 2],
    index: Index,
    vips4: AddressSet<u32>,
    vips6: AddressSet<u128>,
    /// Services of IPv4 and of IPv6.
    served: [usize; 2],
    /// Services with a persistence engine.
    engines: usize,
    /// Destinations of services of FTP that are under NAT, of IPv4 and of IPv6.
    tracked: [usize; 2],
    virtuals: Virtuals,
    standby: bool,
    tells: bool,
    removals: u64,
    endings: u64,
    /// Protocol ([`ANY`] for marks), address and port of the NAT destinations in services; empty unless `nat_icmp_send` asks for them.
    servers: FxHashSet<(u8, IpAddr, u16)>,
    /// Addresses of the NAT destinations, removed ones among them.
    masqueraded: Counted<IpAddr>,
    /// Address and port of the UDP servers under NAT; empty unless a persistence engine lets servers begin.
    callers: FxHashMap<(IpAddr, u16), DestId>,
    /// The tunnel to an address and, of GUE, UDP port (0 of others), with when the destination was entered: of several the last one.
    tunnels: Arc<FxHashMap<(IpAddr, u16), (u64, Shim)>>,
}

/// Where the service of a key is: in parts, by the last bits of address and port, so that a change copies a small one.
#[derive(Clone, Debug)]
struct Index([Arc<FxHashMap<ServiceKey, ServiceId>>; Self::PARTS]);

impl Default for Index {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

impl Index {
    const PARTS: usize = 64;

    #[inline]
    fn part(key: &ServiceKey) -> usize {
        let last = match *key {
            ServiceKey::Address { address: IpAddr::V4(a), port, .. } => a.octets()[3] ^ port.to_le_bytes()[0],
            ServiceKey::Address { address: IpAddr::V6(a), port, .. } => a.octets()[15] ^ port.to_le_bytes()[0],
            ServiceKey::Mark { mark, .. } => mark.to_le_bytes()[0],
        };
        usize::from(last) % Self::PARTS
    }

    #[inline]
    fn get(&self, key: &ServiceKey) -> Option<ServiceId> {
        self.0[Self::part(key)].get(key).copied()
    }

    fn insert(&mut self, key: ServiceKey, id: ServiceId) {
        Arc::make_mut(&mut self.0[Self::part(&key)]).insert(key, id);
    }

    /// Takes a key out, unless another service has it by now.
    fn remove(&mut self, key: &ServiceKey, id: ServiceId) {
        if self.get(key) == Some(id) {
            Arc::make_mut(&mut self.0[Self::part(key)]).remove(key);
        }
    }
}

/// What services are found by, those among them whose connections may live on after they were removed: their clients' packets are
/// then still looked up, by the worker that owns the client.
#[derive(Clone, Debug, Default)]
struct Virtuals {
    addresses: Counted<IpAddr>,
    vips4: AddressSet<u32>,
    vips6: AddressSet<u128>,
    /// Addresses have left that are still in the sets.
    stale: bool,
    /// Uses of marks, IPv4 and IPv6.
    marks: [usize; 2],
}

impl Virtuals {
    fn add(&mut self, key: &ServiceKey) {
        match *key {
            ServiceKey::Mark { v6, .. } => self.marks[usize::from(v6)] += 1,
            ServiceKey::Address { address, .. } if self.addresses.add(address) => match address {
                IpAddr::V4(a) => self.vips4.insert(a.to_bits()),
                IpAddr::V6(a) => self.vips6.insert(a.to_bits()),
            },
            ServiceKey::Address { .. } => {}
        }
    }

    fn remove(&mut self, key: &ServiceKey) {
        match *key {
            ServiceKey::Mark { v6, .. } => self.marks[usize::from(v6)] -= 1,
            ServiceKey::Address { address, .. } => self.stale |= self.addresses.remove(&address),
        }
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.stale) {
            self.vips4 = AddressSet::new(self.addresses.iter().filter_map(u32::from_ip));
            self.vips6 = AddressSet::new(self.addresses.iter().filter_map(u128::from_ip));
        }
    }
}

impl Rules {
    /// Indexes the services.
    pub fn new(
        services: Vec<Option<Arc<Service>>>,
        destinations: Vec<Option<Arc<Destination>>>,
        settings: Settings,
    ) -> Self {
        Self::default().following(services.into_iter().collect(), destinations.into_iter().collect(), settings)
    }

    /// The rules that come of these by another choice of services, destinations and settings. Costs what has changed, not what there
    /// is.
    #[must_use]
    pub fn following(
        &self,
        services: Shelf<Arc<Service>>,
        destinations: Shelf<Arc<Destination>>,
        settings: Settings,
    ) -> Self {
        let mut rules = self.clone();
        for (_, before, now) in services.changed(&self.services) {
            rules.service_changed(before, now);
        }
        let mut ends_are_lost = false;
        for (_, before, now) in destinations.changed(&self.destinations) {
            before.into_iter().for_each(|d| rules.without_destination(d));
            now.into_iter().for_each(|d| rules.with_destination(d));
            let (old, new) = (before.and_then(tunnel_end), now.and_then(tunnel_end));
            ends_are_lost |= old.is_some_and(|old| new != Some(old) && rules.tunnels.get(&old.0) == Some(&old.1));
            new.into_iter().for_each(|end| rules.enter_tunnel(end));
        }
        if ends_are_lost {
            rules.tunnels = Arc::default();
            destinations.iter().filter_map(tunnel_end).for_each(|end| rules.enter_tunnel(end));
        }
        rules.virtuals.settle();
        (rules.services, rules.destinations, rules.settings) = (services, destinations, settings);
        // Seldom asked for, so that they may cost more.
        rules.servers = if settings.nat_icmp_send { servers(&rules.services) } else { FxHashSet::default() };
        rules.callers = if rules.engines > 0 { callers(&rules.services) } else { FxHashMap::default() };
        let standby = rules.standby;
        rules.standby(standby)
    }

    fn service_changed(&mut self, before: Option<&Arc<Service>>, now: Option<&Arc<Service>>) {
        let engine = |service: Option<&Arc<Service>>| usize::from(service.is_some_and(|s| s.engine.is_some()));
        self.engines = self.engines + engine(now) - engine(before);
        if before.map(|s| s.key) == now.map(|s| s.key) {
            return;
        }
        if let Some(service) = before {
            self.index.remove(&service.key, service.id);
            self.virtuals.remove(&service.key);
            self.served[usize::from(service.key.v6())] -= 1;
        }
        if let Some(service) = now {
            self.index.insert(service.key, service.id);
            self.virtuals.add(&service.key);
            self.served[usize::from(service.key.v6())] += 1;
        }
    }

    fn with_destination(&mut self, d: &Destination) {
        self.tracked[usize::from(d.of.v6())] += usize::from(is_tracked(d));
        if d.method == Method::Nat {
            self.masqueraded.add(d.address);
        }
        if !d.available {
            self.virtuals.add(&d.of);
        }
    }

    fn without_destination(&mut self, d: &Destination) {
        self.tracked[usize::from(d.of.v6())] -= usize::from(is_tracked(d));
        if d.method == Method::Nat {
            self.masqueraded.remove(&d.address);
        }
        if !d.available {
            self.virtuals.remove(&d.of);
        }
    }

    fn enter_tunnel(&mut self, (place, end): End) {
        let there = self.tunnels.get(&place);
        if there.is_none_or(|there| there.0 < end.0) {
            Arc::make_mut(&mut self.tunnels).insert(place, end);
        }
    }

    /// With `on`, clients' packets are the local stack's: a backup of the synchronisation only waits (`backup_only`).
    #[must_use]
    pub fn standby(mut self, on: bool) -> Self {
        self.standby = on;
        (self.vips4, self.vips6, self.by_mark) = if on {
            Default::default()
        } else {
            let Virtuals { vips4, vips6, marks, .. } = &self.virtuals;
            (vips4.clone(), vips6.clone(), marks.map(|uses| uses > 0))
        };
        self
    }

    /// With `on`, a master of the synchronisation runs: connections are told of.
    #[must_use]
    pub fn telling(self, on: bool) -> Self {
        Self { tells: on, ..self }
    }

    /// Does a master of the synchronisation run?
    pub fn tells(&self) -> bool {
        self.tells
    }

    /// With the number of destinations that were removed while `expire_nodest_conn` was on.
    #[must_use]
    pub fn with_removals(mut self, removals: u64) -> Self {
        self.removals = removals;
        self
    }

    /// Destinations that were removed while `expire_nodest_conn` was on: as it grows, what belongs to removed ones is to end.
    pub fn removals(&self) -> u64 {
        self.removals
    }

    /// With the number of times that what a destination has was to end.
    #[must_use]
    pub fn with_endings(mut self, endings: u64) -> Self {
        self.endings = endings;
        self
    }

    /// Times that what a destination has was to end: as it grows, what belongs to those that [end](Destination::ends) is to.
    pub fn endings(&self) -> u64 {
        self.endings
    }

    /// Does the director only wait?
    #[inline]
    pub fn stands_by(&self) -> bool {
        self.standby
    }

    /// Sets what sets firewall marks.
    #[must_use]
    pub fn with_marks(self, marks: Arc<Marks>) -> Self {
        Self { marks, ..self }
    }

    /// Are there services of marks, or connections of former ones, of this family?
    #[inline]
    pub fn has_mark_services<A: Address>(&self) -> bool {
        self.by_mark[usize::from(A::V6)]
    }

    /// Is that a server of a NAT service, as far as `nat_icmp_send` asks?
    pub fn is_server(&self, protocol: u8, address: IpAddr, port: u16) -> bool {
        let is_one = |protocol| self.servers.contains(&(protocol, address, port));
        !self.servers.is_empty() && (is_one(protocol) || is_one(ANY))
    }

    /// Is that the address of a server whose replies are translated?
    pub fn is_masqueraded(&self, address: IpAddr) -> bool {
        self.masqueraded.contains(&address)
    }

    /// The service, one with a persistence engine, and the destination of a server that begins a flow itself.
    pub fn caller(&self, address: IpAddr, port: u16) -> Option<(&Arc<Service>, &Arc<Destination>)> {
        if self.callers.is_empty() {
            return None;
        }
        let dest = self.destination(*self.callers.get(&(address, port))?)?;
        let service = self.service(dest.service).filter(|service| service.engine.is_some())?;
        Some((service, dest))
    }

    /// Is that the end of such a tunnel? Of several of one address and port the one that was entered last is meant, as the kernel finds
    /// it.
    pub fn is_tunnel(&self, address: IpAddr, shim: Shim) -> bool {
        self.tunnels.get(&(address, port_of(shim))).is_some_and(|(_, end)| *end == shim)
    }

    /// No service of a family at all: the kernel then takes its hooks out of it, and every packet is the local stack's.
    #[inline]
    pub fn is_empty(&self, v6: bool) -> bool {
        self.served[usize::from(v6)] == 0
    }

    /// Do these and others find the same, but for what settings say? What is made step by step is to be what is made at once.
    #[cfg(test)]
    pub(crate) fn is_found_like(&self, other: &Self) -> bool {
        let sets = |rules: &Self| {
            let sorted = |mut all: Vec<IpAddr>| {
                all.sort_unstable();
                all
            };
            let vips = rules.vips4.iter().map(Address::ip).chain(rules.vips6.iter().map(Address::ip)).collect();
            let counts = (rules.by_mark, rules.served, rules.engines);
            (
                sorted(vips),
                sorted(rules.masqueraded.iter().collect()),
                rules.tunnels.clone(),
                counts,
                rules.callers.clone(),
            )
        };
        let keys = |rules: &Self| rules.index.0.iter().map(|part| part.len()).sum::<usize>();
        let found = other.services.iter().all(|s| self.find(&s.key).is_some_and(|own| Arc::ptr_eq(own, s)));
        sets(self) == sets(other) && keys(self) == keys(other) && found
    }

    /// Would the kernel track connections of IPv4, and so put together whatever comes in fragments before anything else sees it? It does
    /// for FTP under NAT (`ip_vs_register_conntrack`).
    pub fn tracks(&self) -> bool {
        self.tracks_of(false)
    }

    /// Would it track those of IPv4, or of IPv6?
    pub fn tracks_of(&self, v6: bool) -> bool {
        self.tracked[usize::from(v6)] > 0
    }

    /// Is the address a virtual one?
    #[inline]
    pub fn is_vip4(&self, address: u32) -> bool {
        self.vips4.contains(address)
    }

    /// The virtual addresses of IPv4.
    pub fn vips4(&self) -> &AddressSet<u32> {
        &self.vips4
    }

    /// The virtual addresses of IPv6.
    pub fn vips6(&self) -> &AddressSet<u128> {
        &self.vips6
    }

    /// Is the address a virtual one?
    #[inline]
    pub fn is_vip6(&self, address: u128) -> bool {
        self.vips6.contains(address)
    }

    /// The service of that index.
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id.index())
    }

    /// The destination of that index.
    #[inline]
    pub fn destination(&self, id: DestId) -> Option<&Arc<Destination>> {
        self.destinations.get(id.index())
    }

    /// The service of exactly that key.
    pub fn find(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.service(self.index.get(key)?)
    }

    /// The service of a packet, in the kernel's order: its mark, unless that is 0; the port itself; for TCP an FTP service's data
    /// ports; port 0.
    pub fn service_of(&self, mark: u32, protocol: Protocol, address: IpAddr, port: u16) -> Option<&Arc<Service>> {
        let of_mark = || self.find(&ServiceKey::Mark { mark, v6: address.is_ipv6() });
        if let Some(service) = (mark != 0).then(of_mark).flatten() {
            return Some(service);
        }
        let at = |port| self.find(&ServiceKey::Address { protocol, address, port });
        let ftp =
            || (protocol == Protocol::Tcp && (port == FTP_DATA || port >= UNPRIVILEGED)).then(|| at(FTP)).flatten();
        at(port).or_else(ftp).or_else(|| at(0))
    }
}

fn servers(services: &Shelf<Arc<Service>>) -> FxHashSet<(u8, IpAddr, u16)> {
    let of = |service: &Arc<Service>| {
        let protocol = match service.key {
            ServiceKey::Address { protocol, .. } => protocol.number(),
            ServiceKey::Mark { .. } => ANY,
        };
        let nat = service.destinations.iter().filter(|d| d.method == Method::Nat);
        nat.map(|d| (protocol, d.address, d.port)).collect::<Vec<_>>()
    };
    services.iter().flat_map(of).collect()
}

/// Is it under NAT, in a service of FTP?
fn is_tracked(d: &Destination) -> bool {
    const FTP: u16 = 21;
    let ftp = matches!(d.of, ServiceKey::Address { port: FTP, .. });
    ftp && d.available && d.method == Method::Nat
}

/// The UDP servers under NAT, if a service has a persistence engine. Of those of several services the one that was added last is
/// meant, as the kernel finds it.
fn callers(services: &Shelf<Arc<Service>>) -> FxHashMap<(IpAddr, u16), DestId> {
    let udp = |s: &&Arc<Service>| matches!(s.key, ServiceKey::Address { protocol: Protocol::Udp, .. });
    let mut servers: Vec<_> = services.iter().filter(udp).flat_map(|s| &s.destinations).collect();
    servers.sort_by_key(|d| d.entered);
    let servers = servers.into_iter().filter(|d| d.method == Method::Nat);
    servers.map(|d| ((d.address, d.port), d.id)).collect()
}

/// Where a tunnel ends: address and, of GUE, port; when the destination was entered, and what tells it from others to the same end.
type End = ((IpAddr, u16), (u64, Shim));

/// The end of the tunnel, if the destination is in service and is one.
fn tunnel_end(d: &Arc<Destination>) -> Option<End> {
    let shim = d.tunnel.shim();
    (d.available && d.method == Method::Tun).then_some(((d.address, port_of(shim)), (d.entered, shim)))
}

fn port_of(shim: Shim) -> u16 {
    match shim {
        Shim::Gue(port) => port,
        Shim::Ipip | Shim::Gre => 0,
    }
}

/// How to reach a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Path {
    /// The next hop.
    pub hop: Hop,
    /// Source of the outer header (TUN), if the family and the route allow one.
    pub source: Option<IpAddr>,
    /// The destination's own address.
    pub address: Option<IpAddr>,
    /// Encapsulation (TUN).
    pub tunnel: Tunnel,
    /// False once the destination has been removed.
    pub available: bool,
}

impl Path {
    /// The way, if the destination is in service and its neighbour known. Through a tunnel only as long as it obeys DF (`pmtu_disc`).
    fn ready(&self, pmtu_disc: bool) -> Ready {
        let ready = if self.available { Ready::new(&self.hop) } else { Ready::default() };
        match self.address {
            Some(address) if pmtu_disc => ready.through(self.tunnel, self.source, address),
            _ => ready,
        }
    }
}

/// Rules and network at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with each snapshot.
    pub version: u64,
    /// Services and destinations.
    pub rules: Arc<Rules>,
    /// Ports, routes, neighbours.
    pub network: Arc<Network>,
    /// By [`DestId`]: how to reach it.
    pub paths: Shelf<Path>,
    /// What the interfaces of the mark rules mean.
    pub entrances: Entrances,
    /// By [`DestId`]: how to reach it, where that needs no more thought.
    pub ready: Vec<Ready>,
    /// The ways to clients that lie behind routers.
    pub ways4: Ways<u32>,
    /// The same of IPv6.
    pub ways6: Ways<u128>,
    /// By [`crate::verdict::PortId`]: the port's MAC as a number of 48 bits.
    pub macs: Vec<u64>,
}

impl Snapshot {
    /// Works out the path of every destination.
    pub fn new(version: u64, rules: Arc<Rules>, network: Arc<Network>) -> Self {
        let (paths, ready) = Default::default();
        let (ways4, ways6) = (Ways::new(&network.v4, &network.ports), Ways::new(&network.v6, &network.ports));
        let number = |mac: [u8; 6]| mac.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let macs = network.ports.iter().map(|port| number(port.mac.0)).collect();
        let entrances = rules.marks.entrances(network.ports.iter().map(|port| port.name.as_str()));
        let bare = Self { version, rules: Arc::default(), network, paths, entrances, ready, ways4, ways6, macs };
        bare.with_rules(version, rules)
    }

    /// The snapshot that follows. Costs what has changed, as long as network and settings are the same.
    #[must_use]
    pub fn following(&self, version: u64, rules: Arc<Rules>, network: &Arc<Network>) -> Self {
        let same = Arc::ptr_eq(network, &self.network)
            && Arc::ptr_eq(&rules.marks, &self.rules.marks)
            && rules.settings.pmtu_disc == self.rules.settings.pmtu_disc;
        if same { self.clone().with_rules(version, rules) } else { Self::new(version, rules, network.clone()) }
    }

    fn with_rules(mut self, version: u64, rules: Arc<Rules>) -> Self {
        let pmtu_disc = rules.settings.pmtu_disc;
        self.ready.resize(rules.destinations.len().max(self.ready.len()), Ready::default());
        for (index, _, now) in rules.destinations.changed(&self.rules.destinations) {
            let path = now.map(|d| path(&self.network, d));
            self.ready[index] = path.map_or_else(Ready::default, |path| path.ready(pmtu_disc));
            self.paths.put(index, path);
        }
        (self.version, self.rules) = (version, rules);
        self
    }

    /// The mark of a packet off the wire.
    pub fn mark<A: Marked>(&self, header: &Header<A>) -> u32 {
        A::chain(&self.rules.marks).mark(header, &self.entrances)
    }

    /// The mark of a fragment off the wire; `None` when a rule drops it.
    pub fn mark_of_fragment<A: Marked>(&self, header: &Header<A>, fragment: Fragment) -> Option<u32> {
        A::chain(&self.rules.marks).mark_of_fragment(header, &self.entrances, fragment)
    }

    /// Is what the destination has to end?
    pub fn ends(&self, dest: DestId) -> bool {
        self.rules.destination(dest).is_some_and(|d| d.ends)
    }

    /// The path of a destination; of one that there is not, a path to nowhere.
    #[inline]
    pub fn path(&self, dest: DestId) -> &Path {
        const NOWHERE: &Path =
            &Path { hop: Hop::Unreachable, source: None, address: None, tunnel: Tunnel::Ipip, available: false };
        self.paths.get(dest.index()).unwrap_or(NOWHERE)
    }
}

/// A family with a chain of its own.
pub trait Marked: Address {
    /// Its rules.
    fn chain(marks: &Marks) -> &Chain<Self>;
}

impl Marked for u32 {
    #[inline]
    fn chain(marks: &Marks) -> &Chain<Self> {
        marks.v4()
    }
}

impl Marked for u128 {
    #[inline]
    fn chain(marks: &Marks) -> &Chain<Self> {
        marks.v6()
    }
}

fn path(network: &Network, dest: &Destination) -> Path {
    let source = match dest.address {
        IpAddr::V4(a) => network.v4.source(a.to_bits()).map(|s| IpAddr::V4(s.into())),
        IpAddr::V6(a) => network.v6.source(a.to_bits()).map(|s| IpAddr::V6(s.into())),
    };
    Path {
        hop: if dest.method.is_local() { Hop::Local } else { network.hop(dest.address) },
        source,
        address: Some(dest.address),
        tunnel: dest.tunnel,
        available: dest.available,
    }
}
