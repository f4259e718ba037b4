//! What control knows, as replies show it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::addr::MacAddr;
use crate::control::Inner;
use crate::control::check::flag_list;
use crate::control::key::word;
use crate::control::reply::{
    BurstView, CounterView, DestinationView, HopView, NextHopView, PersistenceView, Reply, ServiceView, SorryView,
    StatusView, WorkerView,
};
use crate::control::state::Keeper;
use crate::destination::Destination;
use crate::mailbox::{Silent, WorkerHandle, WorkerReport};
use crate::network::{Hop, Network};
use crate::service::{Service, ServiceKey};
use crate::snapshot::{Rules, Snapshot};
use crate::stats::{Counters, DropReason, Event};

impl Inner {
    /// The services, or that one, with what was last heard from the workers.
    pub(super) fn service_views(&self, only: Option<ServiceKey>) -> Vec<ServiceView> {
        let chosen = match only {
            Some(key) => self.store.find(&key).into_iter().collect(),
            None => self.store.services(),
        };
        chosen.into_iter().map(|s| self.service_view(s)).collect()
    }

    /// One without its destinations.
    pub(super) fn service_head(&self, service: &Service) -> ServiceView {
        let meter = self.statistics.service(service.uid);
        ServiceView {
            service: service.key,
            scheduler: service.scheduler,
            persistence: service
                .persistence
                .map(|p| PersistenceView { timeout_secs: p.timeout_secs, netmask: p.netmask }),
            pe: service.engine,
            one_packet: service.flags.one_packet,
            flags: flag_list(service.flags),
            traffic: meter.traffic(),
            rates: meter.rates(),
            destinations: Vec::new(),
            policy: self.store.policy(service.id),
            weight_up: self.store.weight_up(service),
            quorum: self.store.has_quorum(service.id),
            sorry: self.sorry_view(service),
        }
    }

    /// One with its destinations.
    pub(super) fn service_view(&self, service: &Service) -> ServiceView {
        let destinations = service.destinations.iter().map(|d| self.destination_view(d)).collect();
        ServiceView { destinations, ..self.service_head(service) }
    }

    fn sorry_view(&self, service: &Service) -> Option<SorryView> {
        let sorry = self.store.sorry(service.id)?;
        let destination = self.destination_view(self.store.destination(sorry.dest)?);
        Some(SorryView { on: sorry.on, destination })
    }

    pub(super) fn destination_view(&self, d: &Destination) -> DestinationView {
        let meter = self.statistics.destination(d.uid);
        let total = self.total(d);
        let (record, effect) = (self.store.record(d.id), self.store.effect(d));
        DestinationView {
            address: SocketAddr::new(d.address, d.port),
            method: d.method,
            tunnel: d.tunnel,
            weight: effect.weight,
            configured_weight: d.weight,
            standing: record.standing(),
            reason: record.reason().to_owned(),
            removed: !effect.available,
            upper: d.upper,
            lower: d.lower,
            active: total.active,
            inactive: total.inactive,
            persistent: total.persistent,
            overloaded: total.overloaded,
            traffic: meter.traffic(),
            rates: meter.rates(),
            next_hop: hop_view(&self.current, d),
        }
    }

    pub(super) fn next_hops(&self) -> Vec<NextHopView> {
        let mut seen = std::collections::HashSet::new();
        let services = self.store.services();
        let sorry = |s: &Service| self.store.destination(self.store.sorry(s.id)?.dest);
        let all = services.iter().flat_map(|s| s.destinations.iter().chain(sorry(s)));
        let destinations = all.filter(|d| seen.insert(d.address));
        let view = |d: &Arc<Destination>| NextHopView {
            address: d.address,
            source: self.current.paths.get(d.id.index()).and_then(|p| p.source),
            next_hop: hop_view(&self.current, d),
        };
        destinations.map(view).collect()
    }

    pub(super) fn status(&self, reports: &[(WorkerHandle, Result<WorkerReport, Silent>)]) -> StatusView {
        let sum =
            |field: fn(&WorkerReport) -> u64| reports.iter().filter_map(|(_, r)| r.as_ref().ok()).map(field).sum();
        let services = self.store.services();
        let ports = (self.ports)();
        let path = |p: Option<&Path>| p.map(|p| p.display().to_string()).unwrap_or_default();
        StatusView {
            version: env!("POLLVS_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_secs: self.started.elapsed().as_secs(),
            config: path(self.config_path.as_deref()),
            state: path(self.keeper.as_ref().map(Keeper::path)),
            draining: self.draining,
            workers: u32::try_from(reports.len()).unwrap_or(u32::MAX),
            services: u32::try_from(services.len()).unwrap_or(u32::MAX),
            destinations: u32::try_from(services.iter().map(|s| s.destinations.len()).sum::<usize>())
                .unwrap_or(u32::MAX),
            connections: sum(|r| r.connections),
            connections_max: sum(|r| r.connections_max),
            templates: sum(|r| r.templates),
            templates_max: sum(|r| r.templates_max),
            snapshot: self.current.version,
            warnings: self.warnings(reports, &ports),
            ports: ports.into_iter().map(|p| p.name).collect(),
        }
    }

    fn warnings(
        &self,
        reports: &[(WorkerHandle, Result<WorkerReport, Silent>)],
        ports: &[crate::control::reply::PortView],
    ) -> Vec<String> {
        let silent = reports.iter().filter_map(|(_, r)| r.as_ref().err()).map(ToString::to_string);
        let down = ports.iter().filter(|p| !p.up).map(|p| format!("port {} has no link", p.name));
        let hops = self.next_hops();
        let which = |wanted: HopView| hops.iter().filter(move |n| n.next_hop == wanted).map(|n| n.address).collect();
        let no_route = few(which(HopView::Unreachable)).map(|some| format!("there is no route to {some}"));
        let beside =
            few(which(HopView::Kernel)).map(|some| format!("by an interface that is no port goes the way to {some}"));
        let unreached = no_route.into_iter().chain(beside);
        let daemons = self.sync.waits().into_iter().map(|wait| format!("the synchronisation: {wait}"));
        silent.chain(down).chain(unreached).chain(daemons).chain(without_effect(&self.current.rules)).collect()
    }
}

/// What is accepted, as the kernel accepts it, and does nothing in this version.
fn without_effect(rules: &Rules) -> Vec<String> {
    let unset = |v6: bool| !rules.marks.sets(v6);
    let marks = rules.services.iter().filter(|s| matches!(s.key, ServiceKey::Mark { v6, .. } if unset(v6)));
    marks.map(|s| format!("{} gets no packets: no rule sets marks of its family", word(&s.key))).collect()
}

/// The first few of some addresses, and how many more there are; `None` for none.
fn few(addresses: Vec<IpAddr>) -> Option<String> {
    const FEW: usize = 3;
    let named: Vec<_> = addresses.iter().take(FEW).map(ToString::to_string).collect();
    let named = named.join(", ");
    match addresses.len() {
        0 => None,
        1..=FEW => Some(named),
        more => Some(format!("{named} and {} more", more - FEW)),
    }
}

fn hop_view(snapshot: &Snapshot, d: &Destination) -> HopView {
    let port = |id: crate::verdict::PortId| port_name(&snapshot.network, id);
    match snapshot.paths.get(d.id.index()).map(|p| p.hop).unwrap_or_default() {
        Hop::Resolved { port: id, to, mtu, .. } => HopView::Resolved { port: port(id), mac: mac_text(to), mtu },
        Hop::Unresolved { port: id, neighbour, .. } => HopView::Unresolved { port: port(id), neighbour },
        Hop::Local => HopView::Local,
        Hop::Kernel => HopView::Kernel,
        Hop::Unreachable => HopView::Unreachable,
    }
}

pub(super) fn port_name(network: &Network, id: crate::verdict::PortId) -> String {
    network.ports.get(usize::from(id.0)).map_or_else(|| format!("port {}", id.0), |p| p.name.clone())
}

fn mac_text(mac: MacAddr) -> String {
    mac.0.map(|byte| format!("{byte:02x}")).join(":")
}

/// One worker.
pub(super) fn worker_view(worker: &WorkerHandle, report: &WorkerReport, bursts: BurstView) -> WorkerView {
    let event = |e: Event| report.counters.events[e as usize];
    WorkerView {
        worker: worker.id.0,
        cpu: worker.cpu,
        turns: report.turns,
        busy_turns: report.busy_turns,
        busy_ns: report.bursts.nanos,
        frames: report.bursts.frames,
        bursts,
        connections: report.connections,
        connections_max: report.connections_max,
        templates: report.templates,
        templates_max: report.templates_max,
        received: event(Event::Received),
        transmitted: event(Event::Transmitted),
        passed: event(Event::Passed),
        handed_off: event(Event::HandedOff),
        dropped: report.counters.drops.iter().sum(),
        snapshot: report.snapshot,
    }
}

/// The counters of all workers.
pub(super) fn counters<'a>(all: impl Iterator<Item = &'a Counters>) -> Reply {
    let mut sum = Counters::default();
    all.for_each(|c| sum.add(c));
    let drop = |r: &DropReason| CounterView {
        name: r.name().to_owned(),
        text: r.text().to_owned(),
        count: sum.drops[*r as usize],
    };
    let event = |e: &Event| CounterView {
        name: e.name().to_owned(),
        text: e.text().to_owned(),
        count: sum.events[*e as usize],
    };
    Reply::Counters {
        drops: DropReason::ALL.iter().map(drop).collect(),
        events: Event::ALL.iter().map(event).collect(),
    }
}
