//! What is found by the address and port of a destination: servers that errors are sent to, servers that begin flows, ends of tunnels.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::destination::{DestId, Destination, Method, Shim};
use crate::service::{Protocol, Service, ServiceKey};
use crate::shelf::Shelf;

/// Stands for every protocol.
pub(super) const ANY: u8 = 0;

/// Protocol ([`ANY`] for marks), address and port of the NAT destinations in services.
pub(super) fn servers(services: &Shelf<Arc<Service>>) -> FxHashSet<(u8, IpAddr, u16)> {
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

/// The UDP servers under NAT, if a service has a persistence engine. Of those of several services the one that was added last is
/// meant, as the kernel finds it.
pub(super) fn callers(services: &Shelf<Arc<Service>>) -> FxHashMap<(IpAddr, u16), DestId> {
    let udp = |s: &&Arc<Service>| matches!(s.key, ServiceKey::Address { protocol: Protocol::Udp, .. });
    let mut servers: Vec<_> = services.iter().filter(udp).flat_map(|s| &s.destinations).collect();
    servers.sort_by_key(|d| d.entered);
    let servers = servers.into_iter().filter(|d| d.method == Method::Nat);
    servers.map(|d| ((d.address, d.port), d.id)).collect()
}

/// Where a tunnel ends: address and, of GUE, port; when the destination was entered, and what tells it from others to the same end.
pub(super) type End = ((IpAddr, u16), (u64, Shim));

/// The end of the tunnel, if the destination is in service and is one.
pub(super) fn tunnel_end(d: &Arc<Destination>) -> Option<End> {
    let shim = d.tunnel.shim();
    (d.available && d.method == Method::Tun).then_some(((d.address, port_of(shim)), (d.entered, shim)))
}

pub(super) fn port_of(shim: Shim) -> u16 {
    match shim {
        Shim::Gue(port) => port,
        Shim::Ipip | Shim::Gre => 0,
    }
}
