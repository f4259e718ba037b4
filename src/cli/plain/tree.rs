//! `pollvs services --tree`: each service with all that is known of it, and its destinations below it.

use crate::cli::plain::tables::{hop, method, options, state};
use crate::control::key::word;
use crate::control::reply::{DestinationView, HopView, Rates, ServiceView};

/// The text.
pub(super) fn services(all: &[ServiceView]) -> String {
    if all.is_empty() {
        return "none\n".to_owned();
    }
    all.iter().map(service).collect()
}

fn service(s: &ServiceView) -> String {
    let usable = s.destinations.iter().filter(|d| d.is_usable()).count();
    let mut text = format!("{}  {}, {usable} of {} usable\n", word(&s.service), options(s), s.destinations.len());
    let trunk = if s.destinations.is_empty() { ' ' } else { '│' };
    text += &format!("{trunk}    {}\n", rates(s.rates));
    if let Some(sorry) = &s.sorry {
        let at_work = if sorry.on { "at work" } else { "at rest" };
        text += &format!(
            "{trunk}    sorry server {}, {}, {at_work}\n",
            sorry.destination.address,
            method(&sorry.destination)
        );
    }
    for (index, d) in s.destinations.iter().enumerate() {
        let last = index + 1 == s.destinations.len();
        let (branch, trunk) = if last { ("└─", ' ') } else { ("├─", '│') };
        text += &format!("{branch} {}  {}, weight {}, {}\n", d.address, method(d), weight(d), state(d));
        for line in details(d) {
            text += &format!("{trunk}    {line}\n");
        }
    }
    text
}

fn weight(d: &DestinationView) -> String {
    if d.weight == d.configured_weight {
        return d.weight.to_string();
    }
    format!("{} of {}", d.weight, d.configured_weight)
}

fn details(d: &DestinationView) -> Vec<String> {
    let limits = match (d.upper, d.lower) {
        (0, _) => String::new(),
        (upper, 0) => format!(", at most {upper}"),
        (upper, lower) => format!(", at most {upper}, again below {lower}"),
    };
    let connections = format!("active {}, inactive {}, templates {}{limits}", d.active, d.inactive, d.persistent);
    let way = match &d.next_hop {
        HopView::Resolved { mac, mtu, .. } => format!("{}, MAC {mac}, MTU {mtu}", hop(&d.next_hop)),
        other => hop(other),
    };
    vec![connections, rates(d.rates), way]
}

fn rates(r: Rates) -> String {
    format!(
        "new {}/s; packets/s in {}, out {}; bytes/s in {}, out {}",
        r.connections, r.in_packets, r.out_packets, r.in_bytes, r.out_bytes
    )
}
