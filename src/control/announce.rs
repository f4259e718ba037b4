//! Virtual addresses that a routing daemon is to announce: those whose services have a usable destination (`docs/scale-out.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tokio::sync::watch;

use crate::config::{AnnounceConfig, Require};
use crate::control::{Control, Inner};
use crate::service::Service;
use crate::snapshot::Rules;

impl Control {
    /// The addresses that are to be announced, as that changes.
    pub fn announced(&self) -> watch::Receiver<BTreeSet<IpAddr>> {
        self.announced.subscribe()
    }
}

impl Inner {
    /// Tells what is to be announced by the rules that are in force.
    pub(super) fn want_announced(&self, rules: &Rules) {
        let config = &self.config.announce;
        if config.interface.is_empty() {
            return;
        }
        let wanted = addresses(config, rules.services.iter().map(|s| &**s));
        self.announced.send_if_modified(|now| {
            let differs = *now != wanted;
            *now = wanted;
            differs
        });
    }
}

/// The addresses of which as many services are up as is required.
fn addresses<'a>(config: &AnnounceConfig, services: impl Iterator<Item = &'a Service>) -> BTreeSet<IpAddr> {
    let mut up: BTreeMap<IpAddr, bool> = BTreeMap::new();
    for service in services {
        let Some(address) = service.key.address().filter(|address| config.takes(*address)) else { continue };
        let is_up = is_up(service);
        let all = up.entry(address).or_insert(is_up);
        *all = match config.require {
            Require::Any => *all || is_up,
            Require::All => *all && is_up,
        };
    }
    up.into_iter().filter_map(|(address, up)| up.then_some(address)).collect()
}

/// Has it a destination that takes new connections?
fn is_up(service: &Service) -> bool {
    service.destinations.iter().any(|d| d.available && d.weight > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::Request;
    use crate::control::store::{Limits, Store};

    /// Services by address and port, each with destinations of these weights.
    fn rules(services: &[(&str, u16, &[u32])]) -> Store {
        let mut store = Store::new(Limits { services: 8, destinations: 8 });
        let edit = |store: &mut Store, request: serde_json::Value| {
            store.edit(&Request::parse(request.to_string().as_bytes()).unwrap()).unwrap();
        };
        for (address, port, weights) in services {
            let service = format!("tcp:{address}:{port}");
            edit(&mut store, serde_json::json!({ "request": "add_service", "service": service }));
            for (last, weight) in (11..).zip(*weights) {
                let network = if address.contains(':') { "2001:db8:2::" } else { "198.51.100." };
                let host =
                    if address.contains(':') { format!("[{network}{last}]") } else { format!("{network}{last}") };
                let destination =
                    serde_json::json!({ "address": format!("{host}:80"), "method": "nat", "weight": weight });
                edit(
                    &mut store,
                    serde_json::json!({ "request": "add_destination", "service": service, "destination": destination }),
                );
            }
        }
        store
    }

    fn announced(config: &AnnounceConfig, store: &mut Store) -> Vec<String> {
        let rules = store.rules();
        addresses(config, rules.services.iter().map(|s| &**s)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_address_is_announced_while_enough_of_its_services_have_a_usable_destination() {
        let config = |networks: &[&str], require| AnnounceConfig {
            interface: "vips".into(),
            networks: networks.iter().map(|n| n.parse().unwrap()).collect(),
            require,
        };
        let mut store = rules(&[
            ("203.0.113.1", 80, &[1, 0]),
            ("203.0.113.1", 443, &[0]),
            ("203.0.113.2", 80, &[0, 0]),
            ("203.0.113.3", 80, &[]),
            ("192.0.2.10", 80, &[1]),
            ("[2001:db8:1::10]", 80, &[1]),
        ]);
        let table: [(&[&str], Require, &[&str]); 4] = [
            (&[], Require::Any, &["192.0.2.10", "203.0.113.1", "2001:db8:1::10"]),
            (&["203.0.113.0/24"], Require::Any, &["203.0.113.1"]),
            (&["203.0.113.0/24"], Require::All, &[]),
            (&["192.0.2.0/24", "2001:db8:1::/64"], Require::All, &["192.0.2.10", "2001:db8:1::10"]),
        ];
        for (networks, require, want) in table {
            assert_eq!(announced(&config(networks, require), &mut store), want, "{networks:?} {require:?}");
        }
    }
}
