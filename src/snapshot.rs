//! What control tells the workers: the rules and the network, immutable and shared. Control builds a snapshot once, sends it to each
//! worker, and frees it after the last one has moved on; a worker's configuration never changes within a burst.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::destination::{DestId, Destination, Method, Shim, Tunnel};
use crate::family::Address;
use crate::mark::{Chain, Entrances, Fragment, Header, Marks};
use crate::network::{AddressSet, Hop, Network};
use crate::ready::{Ready, Ways};
use crate::service::{Protocol, Service, ServiceId, ServiceKey};
use crate::settings::Settings;

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
    /// By [`ServiceId`]; `None` where the index is free.
    pub services: Vec<Option<Arc<Service>>>,
    /// By [`DestId`], removed ones that still have connections among them; `None` where the index is free.
    pub destinations: Vec<Option<Arc<Destination>>>,
    /// Sysctls and time-outs.
    pub settings: Settings,
    /// What sets firewall marks.
    pub marks: Arc<Marks>,
    /// Are there services of marks, or connections of former ones: IPv4, IPv6?
    by_mark: [bool; 2],
    index: FxHashMap<ServiceKey, ServiceId>,
    vips4: AddressSet<u32>,
    vips6: AddressSet<u128>,
    /// Has IPv4 a service, has IPv6?
    served: [bool; 2],
    /// IPv4 has a service of FTP under NAT.
    tracks: bool,
    standby: bool,
    tells: bool,
    removals: u64,
    /// Protocol ([`ANY`] for marks), address and port of the NAT destinations in services; empty unless `nat_icmp_send` asks for them.
    servers: FxHashSet<(u8, IpAddr, u16)>,
    /// Addresses of the NAT destinations, removed ones among them.
    masqueraded: FxHashSet<IpAddr>,
    /// Address and port of the UDP servers under NAT; empty unless a persistence engine lets servers begin.
    callers: FxHashMap<(IpAddr, u16), DestId>,
    /// The tunnel to an address and, of GUE, UDP port; 0 of others.
    tunnels: FxHashMap<(IpAddr, u16), Shim>,
}

impl Rules {
    /// Indexes the services.
    pub fn new(
        services: Vec<Option<Arc<Service>>>,
        destinations: Vec<Option<Arc<Destination>>>,
        settings: Settings,
    ) -> Self {
        let index: FxHashMap<_, _> = services.iter().flatten().map(|s| (s.key, s.id)).collect();
        let (vips4, vips6) = vips(index.keys().copied());
        let (marks, by_mark) = (Arc::default(), by_mark(index.keys().copied()));
        let servers = if settings.nat_icmp_send { servers(&services) } else { FxHashSet::default() };
        let nat = destinations.iter().flatten().filter(|d| d.method == Method::Nat);
        let masqueraded = nat.map(|d| d.address).collect();
        let callers = callers(&services);
        let tunnels = tunnels(&services);
        let tracks = tracks(&services);
        let served = [false, true].map(|v6| index.keys().any(|key| key.v6() == v6));
        Self {
            callers,
            index,
            vips4,
            vips6,
            served,
            tracks,
            standby: false,
            tells: false,
            removals: 0,
            servers,
            masqueraded,
            tunnels,
            services,
            destinations,
            settings,
            marks,
            by_mark,
        }
    }

    /// Keeps the addresses of services that are gone virtual, as long as connections of theirs may live: their clients' packets are
    /// then still looked up, by the worker that owns the client.
    #[must_use]
    pub fn with_former(mut self, keys: impl Iterator<Item = ServiceKey> + Clone) -> Self {
        let keys = self.index.keys().copied().chain(keys);
        self.by_mark = by_mark(keys.clone());
        (self.vips4, self.vips6) = vips(keys);
        self
    }

    /// With `on`, clients' packets are the local stack's: a backup of the synchronisation only waits (`backup_only`).
    #[must_use]
    pub fn standby(mut self, on: bool) -> Self {
        self.standby = on;
        if on {
            (self.vips4, self.vips6, self.by_mark) = Default::default();
        }
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

    /// Is that the end of such a tunnel?
    pub fn is_tunnel(&self, address: IpAddr, shim: Shim) -> bool {
        self.tunnels.get(&(address, port_of(shim))) == Some(&shim)
    }

    /// No service of a family at all: the kernel then takes its hooks out of it, and every packet is the local stack's.
    #[inline]
    pub fn is_empty(&self, v6: bool) -> bool {
        !self.served[usize::from(v6)]
    }

    /// Would the kernel track connections of IPv4, and so put together whatever comes in fragments before anything else sees it? It does
    /// for FTP under NAT (`ip_vs_register_conntrack`).
    pub fn tracks(&self) -> bool {
        self.tracks
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

    /// Is the address a virtual one?
    #[inline]
    pub fn is_vip6(&self, address: u128) -> bool {
        self.vips6.contains(address)
    }

    /// The service of that index.
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id.index())?.as_ref()
    }

    /// The destination of that index.
    #[inline]
    pub fn destination(&self, id: DestId) -> Option<&Arc<Destination>> {
        self.destinations.get(id.index())?.as_ref()
    }

    /// The service of exactly that key.
    pub fn find(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.service(*self.index.get(key)?)
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

fn servers(services: &[Option<Arc<Service>>]) -> FxHashSet<(u8, IpAddr, u16)> {
    let of = |service: &Arc<Service>| {
        let protocol = match service.key {
            ServiceKey::Address { protocol, .. } => protocol.number(),
            ServiceKey::Mark { .. } => ANY,
        };
        let nat = service.destinations.iter().filter(|d| d.method == Method::Nat);
        nat.map(|d| (protocol, d.address, d.port)).collect::<Vec<_>>()
    };
    services.iter().flatten().flat_map(of).collect()
}

/// The UDP servers under NAT, if a service has a persistence engine. Of those of several services the one that was added last is
/// meant, as the kernel finds it.
fn callers(services: &[Option<Arc<Service>>]) -> FxHashMap<(IpAddr, u16), DestId> {
    let services = || services.iter().flatten();
    if services().all(|service| service.engine.is_none()) {
        return FxHashMap::default();
    }
    let udp = |s: &&Arc<Service>| matches!(s.key, ServiceKey::Address { protocol: Protocol::Udp, .. });
    let mut servers: Vec<_> = services().filter(udp).flat_map(|s| &s.destinations).collect();
    servers.sort_by_key(|d| d.entered);
    let servers = servers.into_iter().filter(|d| d.method == Method::Nat);
    servers.map(|d| ((d.address, d.port), d.id)).collect()
}

/// The ends of tunnels; of several of one address and port the one that was entered last is meant, as the kernel finds it.
fn tunnels(services: &[Option<Arc<Service>>]) -> FxHashMap<(IpAddr, u16), Shim> {
    let mut all: Vec<_> =
        services.iter().flatten().flat_map(|s| &s.destinations).filter(|d| d.method == Method::Tun).collect();
    all.sort_by_key(|d| d.entered);
    let shims = all.into_iter().map(|d| (d.address, d.tunnel.shim()));
    shims.map(|(address, shim)| ((address, port_of(shim)), shim)).collect()
}

fn port_of(shim: Shim) -> u16 {
    match shim {
        Shim::Gue(port) => port,
        Shim::Ipip | Shim::Gre => 0,
    }
}

fn tracks(services: &[Option<Arc<Service>>]) -> bool {
    const FTP: u16 = 21;
    let ftp = |s: &&Arc<Service>| matches!(s.key, ServiceKey::Address { port: FTP, address: IpAddr::V4(_), .. });
    services.iter().flatten().filter(ftp).flat_map(|s| &s.destinations).any(|d| d.method == Method::Nat)
}

/// The virtual addresses of these services, by family.
fn vips(keys: impl Iterator<Item = ServiceKey> + Clone) -> (AddressSet<u32>, AddressSet<u128>) {
    let vips4 = keys.clone().filter_map(vip).filter_map(u32::from_ip);
    let vips6 = keys.filter_map(vip).filter_map(u128::from_ip);
    (AddressSet::new(vips4), AddressSet::new(vips6))
}

fn by_mark(keys: impl Iterator<Item = ServiceKey> + Clone) -> [bool; 2] {
    [false, true].map(|wanted| keys.clone().any(|key| matches!(key, ServiceKey::Mark { v6, .. } if v6 == wanted)))
}

fn vip(key: ServiceKey) -> Option<IpAddr> {
    match key {
        ServiceKey::Address { address, .. } => Some(address),
        ServiceKey::Mark { .. } => None,
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
    pub paths: Vec<Path>,
    /// What the interfaces of the mark rules mean.
    pub entrances: Entrances,
    /// By [`DestId`]: how to reach it, where that needs no more thought.
    pub ready: Vec<Ready>,
    /// The ways to clients that lie behind routers.
    pub ways4: Ways<u32>,
    /// By [`crate::verdict::PortId`]: the port's MAC as a number of 48 bits.
    pub macs: Vec<u64>,
}

impl Snapshot {
    /// Works out the path of every destination.
    pub fn new(version: u64, rules: Arc<Rules>, network: Arc<Network>) -> Self {
        let path = |dest: &Option<Arc<Destination>>| dest.as_ref().map_or_else(Path::default, |d| path(&network, d));
        let paths: Vec<Path> = rules.destinations.iter().map(path).collect();
        let pmtu_disc = rules.settings.pmtu_disc;
        let ready = paths.iter().map(|path| path.ready(pmtu_disc)).collect();
        let ways4 = Ways::new(&network.v4, &network.ports);
        let number = |mac: [u8; 6]| mac.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let macs = network.ports.iter().map(|port| number(port.mac.0)).collect();
        let entrances = rules.marks.entrances(network.ports.iter().map(|port| port.name.as_str()));
        Self { version, rules, network, paths, entrances, ready, ways4, macs }
    }

    /// The mark of a packet off the wire.
    pub fn mark<A: Marked>(&self, header: &Header<A>) -> u32 {
        A::chain(&self.rules.marks).mark(header, &self.entrances)
    }

    /// The mark of a fragment off the wire; `None` when a rule drops it.
    pub fn mark_of_fragment<A: Marked>(&self, header: &Header<A>, fragment: Fragment) -> Option<u32> {
        A::chain(&self.rules.marks).mark_of_fragment(header, &self.entrances, fragment)
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
