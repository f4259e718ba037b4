//! What control knows of services and destinations at one time, as replies show it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::MacAddr;
use crate::control::reply::{DestinationView, DrainView, HopView, NextHopView, ServiceView, SorryView};
use crate::control::standing::drain::UnderWay;
use crate::control::statistics::Statistics;
use crate::control::store::Store;
use crate::control::totals::Totals;
use crate::control::upkeep::unix_secs;
use crate::control::{Control, Inner};
use crate::destination::Destination;
use crate::network::{Hop, Network};
use crate::service::{Service, ServiceKey};
use crate::snapshot::Snapshot;
use crate::verdict::PortId;

/// What control knows at one time. A copy costs little, however many destinations there are: it shares what does not change. So replies
/// about all of them are made of one on another thread, while control goes on.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    store: Store,
    statistics: Arc<Statistics>,
    totals: Arc<Vec<Totals>>,
    current: Arc<Snapshot>,
}

impl Control {
    /// What is known now.
    pub(super) async fn picture(&self) -> Picture {
        let mut inner = self.inner.lock().await;
        inner.catch_up();
        inner.picture()
    }
}

impl Inner {
    /// What is known now.
    pub(super) fn picture(&self) -> Picture {
        Picture {
            store: self.store.clone(),
            statistics: self.statistics.clone(),
            totals: self.totals.clone(),
            current: self.current.clone(),
        }
    }
}

impl Picture {
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
            policy: self.store.policy(service.id),
            weight_up: self.store.weight_up(service),
            quorum: self.store.has_quorum(service.id),
            sorry: self.sorry_view(service),
            ..ServiceView::of(service, meter.traffic(), meter.rates())
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
        let total = Totals::of(&self.totals, d);
        let (record, effect) = (self.store.record(d.id), self.store.effect(d));
        DestinationView {
            weight: effect.weight,
            standing: record.standing(),
            reason: record.reason().to_owned(),
            removed: !effect.available,
            active: total.active,
            inactive: total.inactive,
            persistent: total.persistent,
            overloaded: total.overloaded,
            next_hop: hop_view(&self.current, d),
            ..DestinationView::of(d, meter.traffic(), meter.rates())
        }
    }

    /// How each address that destinations have is reached.
    pub(super) fn next_hops(&self) -> Vec<NextHopView> {
        let view = |d: Arc<Destination>| NextHopView {
            address: d.address,
            source: self.current.paths.get(d.id.index()).and_then(|p| p.source),
            next_hop: hop_view(&self.current, &d),
        };
        self.by_address(|_| true).into_iter().map(view).collect()
    }

    /// To which destinations no way leads that workers can go, a sentence for each kind.
    pub(super) fn unreached(&self) -> Vec<String> {
        let reached = |by: Hop| {
            let fits = self.by_address(|d| hop(&self.current, d) == by);
            few(fits.iter().map(|d| d.address).collect())
        };
        let no_route = reached(Hop::Unreachable).map(|some| format!("there is no route to {some}"));
        let beside = reached(Hop::Kernel).map(|some| format!("by an interface that is no port goes the way to {some}"));
        no_route.into_iter().chain(beside).collect()
    }

    /// Destinations and sorry servers, of those that fit one for each address.
    fn by_address(&self, fits: impl Fn(&Destination) -> bool) -> Vec<Arc<Destination>> {
        let mut seen = HashSet::new();
        let services = self.store.services();
        let sorry = |s: &Service| self.store.destination(self.store.sorry(s.id)?.dest);
        let all = services.iter().flat_map(|s| s.destinations.iter().chain(sorry(s)));
        all.filter(|d| fits(d) && seen.insert(d.address)).cloned().collect()
    }

    /// The destinations that are drained.
    pub(super) fn drain_views(&self) -> Vec<DrainView> {
        let now = unix_secs();
        let view = |(d, drain): (&Arc<Destination>, UnderWay)| {
            let total = Totals::of(&self.totals, d);
            DrainView {
                service: d.of,
                destination: (d.address, d.port).into(),
                templates: drain.how.templates,
                remove: drain.how.remove,
                left_secs: drain.how.until.map(|until| until.saturating_sub(now)),
                over: drain.is_over,
                active: total.active,
                inactive: total.inactive,
                persistent: total.persistent,
                oldest: None,
            }
        };
        self.store.drained().map(view).collect()
    }

    /// The services with what has been counted of them and their destinations, whatever was set to zero.
    pub(super) fn counted_views(&self) -> Vec<ServiceView> {
        let counted = |service: &Arc<Service>| {
            let mut view = self.service_view(service);
            view.traffic = self.statistics.service(service.uid).counted();
            let of = |destination: &Destination| self.statistics.destination(destination.uid).counted();
            for (view, destination) in view.destinations.iter_mut().zip(&service.destinations) {
                view.traffic = of(destination);
            }
            let sorry = self.store.sorry(service.id).and_then(|sorry| self.store.destination(sorry.dest));
            if let (Some(view), Some(destination)) = (&mut view.sorry, sorry) {
                view.destination.traffic = of(destination);
            }
            view
        };
        self.store.services().into_iter().map(counted).collect()
    }
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

fn hop(snapshot: &Snapshot, d: &Destination) -> Hop {
    snapshot.paths.get(d.id.index()).map(|p| p.hop).unwrap_or_default()
}

fn hop_view(snapshot: &Snapshot, d: &Destination) -> HopView {
    let port = |id: PortId| port_name(&snapshot.network, id);
    match hop(snapshot, d) {
        Hop::Resolved { port: id, to, mtu, .. } => HopView::Resolved { port: port(id), mac: mac_text(to), mtu },
        Hop::Unresolved { port: id, neighbour, .. } => HopView::Unresolved { port: port(id), neighbour },
        Hop::Local => HopView::Local,
        Hop::Kernel => HopView::Kernel,
        Hop::Unreachable => HopView::Unreachable,
    }
}

pub(super) fn port_name(network: &Network, id: PortId) -> String {
    network.ports.get(usize::from(id.0)).map_or_else(|| format!("port {}", id.0), |p| p.name.clone())
}

fn mac_text(mac: MacAddr) -> String {
    mac.0.map(|byte| format!("{byte:02x}")).join(":")
}
