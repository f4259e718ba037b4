//! `ipvsadm -S`: the rules as command lines that `-R` reads, whatever the standing of destinations makes of them. Thresholds are
//! not saved, as ipvsadm has it.

use std::fmt::Write as _;

use crate::cli::ipvsadm::address::{protocol_of, show};
use crate::cli::ipvsadm::listing::{flag_names, mask};
use crate::cli::ipvsadm::names::Names;
use crate::control::reply::{DestinationView, ServiceView};
use crate::destination::{Method, Tunnel};
use crate::service::{Protocol, ServiceKey};

/// Writes the rules, in the order in which they are given.
pub(crate) fn save(services: &[ServiceView], names: Option<&Names>) -> String {
    let mut text = String::new();
    for service in services {
        let (key, protocol) = (key(&service.service, names), protocol_of(&service.service));
        let _ = writeln!(text, "-A {key} -s {}{}", service.scheduler.name(), properties(service));
        for destination in &service.destinations {
            let address = show(destination.address, protocol, names);
            let _ = writeln!(text, "-a {key} -r {address} {}", method(destination));
        }
    }
    text
}

fn key(key: &ServiceKey, names: Option<&Names>) -> String {
    match key {
        ServiceKey::Address { protocol, address, port } => {
            let option = match protocol {
                Protocol::Tcp => "-t",
                Protocol::Udp => "-u",
                // ipvsadm has no option for others.
                Protocol::Sctp | Protocol::Other(_) => "--sctp-service",
            };
            format!("{option} {}", show((*address, *port).into(), *protocol, names))
        }
        ServiceKey::Mark { mark, v6: false } => format!("-f {}", mark.cast_signed()),
        ServiceKey::Mark { mark, v6: true } => format!("-f {} -6", mark.cast_signed()),
    }
}

fn properties(service: &ServiceView) -> String {
    let mut text = String::new();
    if let Some(persistence) = service.persistence {
        let _ = write!(text, " -p {}", persistence.timeout_secs);
        if let Some(mask) = mask(&service.service, persistence.netmask) {
            let _ = write!(text, " -M {mask}");
        }
    }
    if let Some(engine) = service.pe {
        let _ = write!(text, " --pe {}", engine.name());
    }
    if service.one_packet {
        text += " -o";
    }
    if !service.flags.is_empty() {
        let _ = write!(text, " -b {}", flag_names(service.scheduler, &service.flags));
    }
    text
}

fn method(destination: &DestinationView) -> String {
    let weight = destination.configured_weight;
    let sum = |checksum| if checksum { "--tun-csum" } else { "--tun-nocsum" };
    match (destination.method, destination.tunnel) {
        (Method::Dr, _) => format!("-g -w {weight}"),
        (Method::Tun, Tunnel::Ipip) => format!("-i -w {weight} --tun-type ipip"),
        (Method::Tun, Tunnel::Gue { port, checksum, remote_checksum }) => {
            let sum = if remote_checksum { "--tun-remcsum" } else { sum(checksum) };
            format!("-i -w {weight} --tun-type gue --tun-port {port} {sum}")
        }
        (Method::Tun, Tunnel::Gre { checksum }) => format!("-i -w {weight} --tun-type gre {}", sum(checksum)),
        // Nor has it one for the methods that are not told apart from NAT.
        _ => format!("-m -w {weight}"),
    }
}
