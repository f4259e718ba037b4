//! Services and destinations, and what packets find them by. Control makes new rules of the old ones and of what has changed.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::counted::Counted;
use crate::destination::{DestId, Destination, Method, Shim};
use crate::family::Address;
use crate::mark::Marks;
use crate::network::AddressSet;
use crate::service::{Protocol, Service, ServiceId, ServiceKey};
use crate::settings::Settings;
use crate::shelf::Shelf;

use super::ends::{ANY, End, callers, port_of, servers, tunnel_end};
use super::index::Index;
use super::virtuals::Virtuals;

/// FTP's control port: its service also takes the data connections.
const FTP: u16 = 21;
/// FTP's data port.
const FTP_DATA: u16 = 20;
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
        let found = other.services.iter().all(|s| self.find(&s.key).is_some_and(|own| Arc::ptr_eq(own, s)));
        sets(self) == sets(other) && self.index.len() == other.index.len() && found
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
    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id.index())
    }

    /// The destination of that index.
    #[inline]
    pub fn destination(&self, id: DestId) -> Option<&Arc<Destination>> {
        self.destinations.get(id.index())
    }

    /// The service of exactly that key.
    #[inline]
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

/// Is it under NAT, in a service of FTP?
fn is_tracked(d: &Destination) -> bool {
    let ftp = matches!(d.of, ServiceKey::Address { port: FTP, .. });
    ftp && d.available && d.method == Method::Nat
}
