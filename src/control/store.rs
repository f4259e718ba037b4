//! The authoritative rules. Pure: no I/O. Adds, edits and deletes have the semantics of the kernel's `ip_vs_ctl.c`. Its tables share
//! what is the same with their clones, so that keeping what was before costs as little with ten thousand services as with one.
//!
//! A removed destination stays, unavailable, until no worker refers to it ([`Store::forget_unused`]); added again to a service of
//! the same key while it is there, it gets its connections and its counters back, as it does in the kernel.

mod slots;

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rpds::HashTrieMapSync;

use crate::control::daemon::{DaemonSpec, Role};
use crate::control::health::rules::{Checks, ServiceChecks};
use crate::control::key::word;
use crate::control::reply::{ErrorCode, Failure};
use crate::control::request::{DestinationSpec, PersistenceSpec, ServiceSpec};
use crate::control::rule_set::{RuleSet, ServiceRules};
use crate::control::standing::{Policy, Standings};
use crate::control::{Configured, check};
use crate::destination::{DestId, Destination};
use crate::mark::{MarkRules, Marks};
use crate::netmask::Netmask;
use crate::network::AddressSet;
use crate::service::{Service, ServiceId, ServiceKey};
use crate::settings::{MAX_TIMEOUT_SECS, Settings, Timeouts};
use crate::shelf::Shelf;
use crate::snapshot::Rules;

use slots::Slots;

/// FTP's control port.
const FTP: u16 = 21;

/// How many there may be, of those in services and those that only live on for their connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Services.
    pub services: usize,
    /// Destinations.
    pub destinations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { services: 65_536, destinations: 65_536 }
    }
}

/// The rules, their indices and their versions.
#[derive(Clone, Debug, Default)]
pub struct Store {
    limits: Limits,
    pub(super) services: Slots<Service>,
    by_key: HashTrieMapSync<ServiceKey, ServiceId>,
    pub(super) destinations: Slots<Destination>,
    /// By destination: uid of the service object that its traffic is counted for.
    counted_for: Shelf<u64>,
    /// Unavailable destinations by the key of their former service.
    removed: HashTrieMapSync<(ServiceKey, SocketAddr), DestId>,
    settings: Settings,
    /// The master first.
    pub(super) daemons: Vec<DaemonSpec>,
    marks: MarkRules,
    /// These made ready.
    chains: Arc<Marks>,
    /// Destinations removed while `expire_nodest_conn` was on.
    removals: u64,
    /// Times that what a sorry server had was to end.
    pub(super) endings: u64,
    /// Addresses that mean everybody on a link.
    broadcasts: AddressSet<u32>,
    /// Destinations that were brought back since somebody last asked.
    revived: Vec<DestId>,
    /// What is known beside the rules.
    pub(super) standings: Standings,
    /// What is checked.
    pub(super) checks: Checks,
    /// The last uid or version given out.
    pub(super) clock: u64,
    rules: Option<Arc<Rules>>,
    /// These as they were last made.
    pub(super) last: Arc<Rules>,
}

impl Store {
    /// No rules, default settings.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The rules as the workers take them; the same `Arc` until something changes.
    pub fn rules(&mut self) -> Arc<Rules> {
        self.settle();
        if let Some(rules) = &self.rules {
            return rules.clone();
        }
        let (services, destinations) = self.overlaid();
        let runs = |role| self.daemons.iter().any(|d| d.role == role);
        let standby = self.settings.backup_only && runs(Role::Backup);
        let rules = self.last.following(services, destinations, self.settings);
        let rules = rules.with_marks(self.chains.clone()).with_removals(self.removals).with_endings(self.endings);
        self.last = Arc::new(rules.standby(standby).telling(runs(Role::Master)));
        self.rules = Some(self.last.clone());
        self.last.clone()
    }

    /// Has something changed since workers were last told?
    pub(super) fn is_stale(&self) -> bool {
        self.rules.is_none()
    }

    /// Which addresses mean everybody on a link; those of destinations that are there already stay.
    pub fn set_broadcasts(&mut self, broadcasts: AddressSet<u32>) {
        self.broadcasts = broadcasts;
    }

    /// The rules as they were made.
    pub fn configured(&self) -> Configured {
        Configured {
            services: self.services.all.clone(),
            destinations: self.destinations.all.clone(),
            checks: self.checks.clone(),
            draining: self.draining_ids(),
            sorries: self.standings.sorry.clone(),
        }
    }

    /// The services, in order of creation.
    pub fn services(&self) -> Vec<&Arc<Service>> {
        let mut all: Vec<_> = self.services.iter().collect();
        all.sort_by_key(|s| s.uid);
        all
    }

    /// The services as the kernel's tables have them: by hash, newest first, marks last.
    pub fn services_in_kernels_order(&self) -> Vec<&Arc<Service>> {
        let mut all: Vec<_> = self.services.iter().collect();
        all.sort_by_key(|s| (bucket(&s.key), Reverse(s.uid)));
        all
    }

    /// Indices of destinations that are given out, those that are free again among them.
    pub fn destination_indices(&self) -> usize {
        self.destinations.all.len()
    }

    /// The service of that key.
    pub fn find(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(self.by_key.get(key)?.index())
    }

    /// The destination of that index.
    pub fn destination(&self, id: DestId) -> Option<&Arc<Destination>> {
        self.destinations.get(id.index())
    }

    /// The settings and time-outs.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Every destination there is, removed ones among them, each with the uid of the service that its traffic is counted for.
    pub fn counted(&self) -> impl Iterator<Item = (&Arc<Destination>, u64)> {
        self.destinations.iter().map(|d| (d, self.counted_for(d)))
    }

    /// One of them.
    pub fn counted_one(&self, id: DestId) -> Option<(&Arc<Destination>, u64)> {
        self.destinations.get(id.index()).map(|d| (d, self.counted_for(d)))
    }

    fn counted_for(&self, destination: &Destination) -> u64 {
        self.counted_for.get(destination.id.index()).copied().unwrap_or_default()
    }

    /// How many services and destinations there are, removed ones among them.
    pub fn size(&self) -> usize {
        self.services.len() + self.destinations.len()
    }

    /// uid of the service that shares templates with a destination's own: FTP and port 0 of one address; 0 for none. A client of
    /// either stays with the server that it has from the other.
    pub fn borrower(&self, destination: &Destination) -> u64 {
        let own = self.services.get(destination.service.index()).map(|s| s.key);
        let Some(ServiceKey::Address { protocol, address, port }) = own else { return 0 };
        let other = |port| self.find(&ServiceKey::Address { protocol, address, port }).map_or(0, |s| s.uid);
        match port {
            0 => other(FTP),
            FTP => other(0),
            _ => 0,
        }
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.rules = None;
        self.clock
    }

    pub(super) fn known(&self, key: &ServiceKey, code: ErrorCode) -> Result<Arc<Service>, Failure> {
        self.find(key).cloned().ok_or_else(|| Failure::new(code, format!("there is no service {}", word(key))))
    }

    fn put_service(&mut self, mut service: Service) {
        service.version = self.tick();
        self.services.put(service.id.0, Arc::new(service));
    }

    pub(super) fn put_destination(&mut self, destination: Destination, service_uid: u64) -> Arc<Destination> {
        let destination = Arc::new(destination);
        self.destinations.put(destination.id.0, destination.clone());
        self.counted_for.put(destination.id.index(), Some(service_uid));
        destination
    }

    /// Adds a service.
    ///
    /// # Errors
    /// [`ErrorCode::ServiceExists`], [`ErrorCode::UnknownScheduler`], [`ErrorCode::OutOfRange`], [`ErrorCode::Full`].
    pub fn add_service(&mut self, spec: &ServiceSpec) -> Result<ServiceId, Failure> {
        let key = spec.service;
        if self.find(&key).is_some() {
            return Err(Failure::new(ErrorCode::ServiceExists, format!("there is already a service {}", word(&key))));
        }
        let blank = Service {
            id: ServiceId::default(),
            uid: 0,
            version: 0,
            key,
            scheduler: Default::default(),
            persistence: None,
            engine: None,
            flags: Default::default(),
            destinations: Vec::new(),
        };
        let mut service = described(blank, spec)?;
        let index = self.services.free_index(self.limits.services, "services")?;
        service.id = ServiceId(index);
        service.uid = self.tick();
        self.by_key.insert_mut(key, service.id);
        self.put_service(service);
        Ok(ServiceId(index))
    }

    /// Changes a service in place; its destinations, connections and templates stay. Returns false when it already was so.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchService`], [`ErrorCode::UnknownScheduler`], [`ErrorCode::OutOfRange`].
    pub fn edit_service(&mut self, spec: &ServiceSpec) -> Result<bool, Failure> {
        let old = self.known(&spec.service, ErrorCode::NoSuchService)?;
        let new = described(Service::clone(&old), spec)?;
        let changed = new != *old;
        if changed {
            self.put_service(new);
        }
        Ok(changed)
    }

    /// Removes a service. Its destinations live on for their connections.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchService`].
    pub fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Failure> {
        let service = self.known(key, ErrorCode::NoSuchService)?;
        for destination in &service.destinations {
            self.bury(key, destination);
        }
        self.by_key.remove_mut(key);
        self.forget_policy(service.id);
        self.forget_check(key, None);
        self.services.take_out(service.id.0);
        self.tick();
        Ok(())
    }

    /// Removes every service.
    pub fn flush(&mut self) {
        let keys: Vec<_> = self.by_key.keys().copied().collect();
        for key in keys {
            self.delete_service(&key).expect("the key was just listed");
        }
    }

    pub(super) fn bury(&mut self, key: &ServiceKey, destination: &Destination) {
        let address = SocketAddr::new(destination.address, destination.port);
        self.removed.insert_mut((*key, address), destination.id);
        self.count_removal();
        self.forget_standing(destination.id);
        self.forget_check(key, Some(address));
        let removed = Destination { available: false, ..Destination::clone(destination) };
        self.destinations.put(destination.id.0, Arc::new(removed));
    }

    /// Notes that a destination leaves the list of its service.
    pub(super) fn count_removal(&mut self) {
        self.removals += u64::from(self.settings.expire_nodest_conn);
    }

    /// Adds a destination at the front of its service's list, or brings it back with its connections.
    ///
    /// # Errors
    /// [`ErrorCode::ServiceNotDefined`], [`ErrorCode::OutOfRange`], [`ErrorCode::DestinationExists`],
    /// [`ErrorCode::InvalidArgument`], [`ErrorCode::Full`]: in the kernel's order.
    pub fn add_destination(&mut self, key: &ServiceKey, spec: &DestinationSpec) -> Result<DestId, Failure> {
        let service = self.known(key, ErrorCode::ServiceNotDefined)?;
        self.check_family(key, spec)?;
        check::numbers(spec)?;
        let address = spec.address;
        if position(&service, address).is_some() {
            let text = format!("{} has already a destination {address}", word(key));
            return Err(Failure::new(ErrorCode::DestinationExists, text));
        }
        self.check_sorry(&service, address)?;
        check::address(key, spec)?;
        self.check_broadcast(spec)?;
        let (id, uid) = self.identity(key, address)?;
        let destination = filled(id, (uid, self.tick()), &service, spec);
        let destination = self.put_destination(destination, service.uid);
        let mut service = Service::clone(&service);
        service.destinations.insert(0, destination);
        self.put_service(service);
        Ok(id)
    }

    /// A destination of the other family needs a tunnel, and no synchronisation that could not carry it.
    pub(super) fn check_family(&self, key: &ServiceKey, spec: &DestinationSpec) -> Result<(), Failure> {
        if spec.address.is_ipv6() == key.v6() || self.daemons.is_empty() {
            return Ok(());
        }
        let text =
            format!("{} is of another family than the service, which synchronisation cannot carry", spec.address);
        Err(Failure::new(ErrorCode::InvalidArgument, text))
    }

    /// A destination is one host.
    fn check_broadcast(&self, spec: &DestinationSpec) -> Result<(), Failure> {
        match spec.address.ip() {
            IpAddr::V4(address) if self.broadcasts.contains(address.to_bits()) => {
                let text = format!("{address} is the broadcast address of a link of the director's");
                Err(Failure::new(ErrorCode::InvalidArgument, text))
            }
            _ => Ok(()),
        }
    }

    /// Index and uid of a destination to be added: its former ones while it is remembered.
    pub(super) fn identity(&mut self, key: &ServiceKey, address: SocketAddr) -> Result<(DestId, u64), Failure> {
        let former = (*key, address);
        if let Some(id) = self.removed.get(&former).copied() {
            self.removed.remove_mut(&former);
            if let Some(destination) = self.destinations.get(id.index()) {
                self.revived.push(id);
                return Ok((id, destination.uid));
            }
        }
        let index = self.destinations.free_index(self.limits.destinations, "destinations")?;
        Ok((DestId(index), self.tick()))
    }

    /// The destinations that were brought back since this was last asked: what they have counted until then is not their new services'.
    pub fn take_revived(&mut self) -> Vec<DestId> {
        std::mem::take(&mut self.revived)
    }

    /// Changes a destination in place.
    ///
    /// # Errors
    /// [`ErrorCode::ServiceNotDefined`], [`ErrorCode::OutOfRange`], [`ErrorCode::NoSuchDestination`],
    /// [`ErrorCode::InvalidArgument`].
    pub fn edit_destination(&mut self, key: &ServiceKey, spec: &DestinationSpec) -> Result<(), Failure> {
        let service = self.known(key, ErrorCode::ServiceNotDefined)?;
        self.check_family(key, spec)?;
        check::numbers(spec)?;
        let (at, old) = located(&service, spec.address)?;
        check::address(key, spec)?;
        let entered = if is_same_way(old, spec) { old.entered } else { self.tick() };
        let destination = filled(old.id, (old.uid, entered), &service, spec);
        let destination = self.put_destination(destination, service.uid);
        let mut service = Service::clone(&service);
        service.destinations[at] = destination;
        self.put_service(service);
        Ok(())
    }

    /// Removes a destination. It lives on for its connections.
    ///
    /// # Errors
    /// [`ErrorCode::ServiceNotDefined`], [`ErrorCode::NoSuchDestination`].
    pub fn delete_destination(&mut self, key: &ServiceKey, address: SocketAddr) -> Result<(), Failure> {
        let service = self.known(key, ErrorCode::ServiceNotDefined)?;
        let (at, old) = located(&service, address)?;
        self.bury(key, old);
        let mut service = Service::clone(&service);
        service.destinations.remove(at);
        self.put_service(service);
        Ok(())
    }

    /// Frees the removed destinations that no worker refers to any more. Returns how many.
    pub fn forget_unused(&mut self, used: impl Fn(DestId) -> bool) -> usize {
        let unused: Vec<_> = self.removed.iter().filter(|(_, id)| !used(**id)).map(|(key, id)| (*key, *id)).collect();
        for (key, id) in &unused {
            self.removed.remove_mut(key);
            self.destinations.take_out(id.0);
        }
        let forgotten = unused.len();
        if forgotten > 0 {
            self.rules = None;
        }
        forgotten
    }

    /// Is half of the room for destinations taken, removed ones among them?
    pub fn is_crowded(&self) -> bool {
        self.destinations.iter().count() > self.limits.destinations / 2
    }

    /// Are there removed destinations that wait to be forgotten?
    pub fn has_removed(&self) -> bool {
        !self.removed.is_empty()
    }

    /// Replaces settings and time-outs.
    ///
    /// # Errors
    /// [`ErrorCode::OutOfRange`].
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), Failure> {
        let Timeouts { tcp, tcp_fin, udp } = settings.timeouts;
        for (name, secs) in [("tcp", tcp), ("tcp_fin", tcp_fin), ("udp", udp)] {
            if secs == 0 || secs > MAX_TIMEOUT_SECS {
                let text = format!("the time-out {name} cannot be {secs} s; give 1 to {MAX_TIMEOUT_SECS}");
                return Err(Failure::new(ErrorCode::OutOfRange, text));
            }
        }
        if settings != self.settings {
            self.settings = settings;
            self.tick();
        }
        Ok(())
    }

    /// The mark rules.
    pub fn marks(&self) -> &MarkRules {
        &self.marks
    }

    /// Replaces the mark rules.
    pub fn set_marks(&mut self, marks: MarkRules) {
        if marks != self.marks {
            self.chains = Marks::new(&marks);
            self.marks = marks;
            self.tick();
        }
    }

    /// The rules by name: what is saved.
    pub fn rule_set(&self) -> RuleSet {
        let services = self.services().into_iter();
        let rules = |s: &Arc<Service>| {
            let (policy, checks, draining) = (self.policy(s.id), self.checks_of(s), self.draining(s));
            ServiceRules { policy, checks, draining, ..service_rules(s) }
        };
        let services = services.map(rules).collect();
        let (settings, marks, daemons) = (self.settings, self.marks.clone(), self.daemons.clone());
        RuleSet { settings, marks, services, daemons }
    }
}

/// The service with the description's scheduler, persistence and flags.
fn described(mut service: Service, spec: &ServiceSpec) -> Result<Service, Failure> {
    service.scheduler = check::scheduler(&spec.scheduler)?;
    service.persistence = spec.persistence.as_ref().map(|p| check::persistence(p, service.key.v6())).transpose()?;
    service.engine = spec.pe.as_deref().map(check::engine).transpose()?;
    service.flags = check::flags(spec);
    Ok(service)
}

/// Where the kernel keeps a service: the table (addresses before marks) and its row (`ip_vs_svc_hashkey`).
fn bucket(key: &ServiceKey) -> (bool, u32) {
    match *key {
        ServiceKey::Mark { mark, .. } => (true, mark & 0xff),
        ServiceKey::Address { protocol, address, port } => {
            let words = match address {
                IpAddr::V4(a) => a.to_bits(),
                IpAddr::V6(a) => {
                    a.octets().chunks(4).fold(0, |all, w| all ^ w.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
                }
            };
            (false, (u32::from(protocol.number()) ^ words ^ u32::from(port >> 8) ^ u32::from(port)) & 0xff)
        }
    }
}

fn position(service: &Service, address: SocketAddr) -> Option<usize> {
    service.destinations.iter().position(|d| d.is_at(address))
}

fn located(service: &Service, address: SocketAddr) -> Result<(usize, &Arc<Destination>), Failure> {
    let missing =
        || Failure::new(ErrorCode::NoSuchDestination, format!("{} has no destination {address}", word(&service.key)));
    let at = position(service, address).ok_or_else(missing)?;
    Ok((at, &service.destinations[at]))
}

/// Are method and tunnel the same, but for checksums?
fn is_same_way(old: &Destination, spec: &DestinationSpec) -> bool {
    old.method == spec.method && old.tunnel.shim() == spec.tunnel.shim()
}

pub(super) fn filled(id: DestId, (uid, entered): (u64, u64), service: &Service, spec: &DestinationSpec) -> Destination {
    Destination {
        id,
        uid,
        entered,
        service: service.id,
        of: service.key,
        address: spec.address.ip(),
        port: spec.address.port(),
        weight: spec.weight,
        method: spec.method,
        tunnel: spec.tunnel,
        upper: spec.upper,
        lower: spec.lower,
        available: true,
        holds: true,
        ends: false,
    }
}

/// A service by name, its destinations oldest first; without what it does not know: its policy, its checks, and who is drained.
pub fn service_rules(service: &Service) -> ServiceRules {
    let full = Netmask::full(service.key.v6());
    let persistence = service
        .persistence
        .map(|p| PersistenceSpec { timeout_secs: p.timeout_secs, netmask: (p.netmask != full).then_some(p.netmask) });
    ServiceRules {
        service: ServiceSpec {
            service: service.key,
            scheduler: service.scheduler.name().to_owned(),
            persistence,
            pe: service.engine.map(|engine| engine.name().to_owned()),
            one_packet: service.flags.one_packet,
            flags: check::flag_list(service.flags),
        },
        policy: Policy::default(),
        checks: ServiceChecks::default(),
        destinations: service.destinations.iter().rev().map(|d| destination_spec(d)).collect(),
        draining: Vec::new(),
    }
}

/// A destination by name.
pub fn destination_spec(d: &Destination) -> DestinationSpec {
    DestinationSpec {
        address: SocketAddr::new(d.address, d.port),
        method: d.method,
        weight: d.weight,
        tunnel: d.tunnel,
        upper: d.upper,
        lower: d.lower,
    }
}

#[cfg(test)]
mod tests;
