//! Services and destinations as replies show them: what the rules say and what was counted. What is known of their health, of their
//! connections and of the way to them, who makes the reply puts on top.

use std::net::SocketAddr;

use crate::control::check::flag_list;
use crate::control::reply::{DestinationView, HopView, PersistenceView, Rates, ServiceView};
use crate::destination::Destination;
use crate::service::{Persistence, Service};
use crate::stats::Traffic;

impl ServiceView {
    /// A service without its destinations.
    pub(crate) fn of(service: &Service, traffic: Traffic, rates: Rates) -> Self {
        Self {
            service: service.key,
            scheduler: service.scheduler,
            persistence: service.persistence.map(PersistenceView::from),
            pe: service.engine,
            one_packet: service.flags.one_packet,
            flags: flag_list(service.flags),
            traffic,
            rates,
            destinations: Vec::new(),
            policy: Default::default(),
            weight_up: 0,
            quorum: false,
            sorry: None,
        }
    }
}

impl From<Persistence> for PersistenceView {
    fn from(Persistence { timeout_secs, netmask }: Persistence) -> Self {
        Self { timeout_secs, netmask }
    }
}

impl DestinationView {
    /// A destination by its rules, without connections.
    pub(crate) fn of(destination: &Destination, traffic: Traffic, rates: Rates) -> Self {
        Self {
            address: SocketAddr::new(destination.address, destination.port),
            method: destination.method,
            tunnel: destination.tunnel,
            weight: destination.weight,
            configured_weight: destination.weight,
            standing: Default::default(),
            reason: String::new(),
            removed: false,
            upper: destination.upper,
            lower: destination.lower,
            active: 0,
            inactive: 0,
            persistent: 0,
            overloaded: false,
            traffic,
            rates,
            next_hop: HopView::default(),
        }
    }
}
