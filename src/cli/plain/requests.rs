//! From what was typed to what is asked.

use std::io::Read as _;
use std::path::Path;

use crate::cli::plain::Trouble;
use crate::cli::plain::args::{
    CaptureArgs, CheckVerb, Chosen, DestinationArgs, DestinationVerb, DrainArgs, Listed, PolicyArgs, ServiceArgs,
    ServiceVerb, TraceArgs, TunnelArg, Verb, Which, WhyArgs,
};
use crate::control::request::{DestinationSpec, Filter, PersistenceSpec, Request, ServiceSpec};
use crate::control::standing::Policy;
use crate::control::standing::sorry::SorrySpec;
use crate::destination::Tunnel;

/// The request that a verb stands for.
pub(super) fn request(verb: Verb) -> Result<Request, Trouble> {
    Ok(match verb {
        Verb::Status => Request::Status {},
        Verb::Services(Listed { chosen: Chosen { service }, .. })
        | Verb::Stats(Chosen { service })
        | Verb::Rates(Chosen { service }) => Request::Services { service },
        Verb::Connections(which) => Request::Connections(filter(which)),
        Verb::Templates(which) => Request::Templates(filter(which)),
        Verb::Checks(Chosen { service }) => Request::Checks { service },
        Verb::Check(CheckVerb::Remove { service, destination }) => Request::RemoveCheck { service, destination },
        Verb::Check(CheckVerb::Set { service, destination, keys }) => {
            let check = toml::Value::Table(keys.into_iter().collect()).try_into();
            let check = Box::new(check.map_err(|e: toml::de::Error| Trouble::Other(e.message().to_owned()))?);
            Request::SetCheck { service, destination, check }
        }
        Verb::Workers => Request::Workers {},
        Verb::Ports => Request::Ports {},
        Verb::Counters { .. } => Request::Counters {},
        Verb::Events => Request::Events {},
        Verb::Why(WhyArgs { client, vip, protocol }) => {
            Request::Why { client, r#virtual: vip, protocol: protocol.into() }
        }
        Verb::Trace(TraceArgs { filter, count, seconds }) => {
            Request::Trace { filter: filter.join(" "), count, seconds }
        }
        Verb::Capture(CaptureArgs { filter, snaplen, count, seconds, .. }) => {
            Request::Capture { filter: filter.join(" "), snaplen, count, seconds }
        }
        Verb::NextHops => Request::NextHops {},
        Verb::Sync(_) => Request::Sync {},
        Verb::Marks => Request::Marks {},
        Verb::Apply { file } => apply(&file)?,
        Verb::Save => Request::Save {},
        Verb::Flush { connections: false } => Request::Flush {},
        Verb::Flush { connections: true } => Request::FlushConnections {},
        Verb::Zero(Chosen { service }) => Request::Zero { service },
        Verb::Service(verb) => service(verb),
        Verb::Destination(verb) => destination(verb),
        Verb::Timeouts { tcp: None, tcp_fin: None, udp: None } => Request::Timeouts {},
        Verb::Timeouts { tcp, tcp_fin, udp } => {
            let or_as_it_is = Option::unwrap_or_default;
            Request::SetTimeouts { tcp: or_as_it_is(tcp), tcp_fin: or_as_it_is(tcp_fin), udp: or_as_it_is(udp) }
        }
        Verb::Settings { name: Some(name), value: Some(value) } => Request::SetSetting { name, value },
        Verb::Settings { .. } => Request::Settings {},
        Verb::Reload => Request::Reload {},
        Verb::Shutdown { drain } => Request::Shutdown { drain_secs: drain.unwrap_or(0) },
        Verb::Drain(DrainArgs { destination, service, templates, timeout, keep, .. }) => {
            let templates = templates.into();
            Request::Drain { destination, service, templates, remove: !keep, timeout_secs: timeout, until: None }
        }
        Verb::Undrain { destination, service } => Request::Undrain { destination, service },
        Verb::Drains => Request::Drains { oldest: true },
        Verb::Ipvsadm { .. } | Verb::Iptables { .. } | Verb::Ip6tables { .. } | Verb::Replay(_) | Verb::Top => {
            return Err(Trouble::Other("not a request to the director".to_owned()));
        }
    })
}

fn filter(which: Which) -> Filter {
    let Which { service, client, destination, limit } = which;
    Filter { service, client, destination, limit }
}

fn apply(file: &Path) -> Result<Request, Trouble> {
    let name = file.display().to_string();
    let mut rules = String::new();
    let read = if name == "-" {
        std::io::stdin().read_to_string(&mut rules).map(drop)
    } else {
        std::fs::read_to_string(file).map(|text| rules = text)
    };
    read.map_err(|e| Trouble::Other(format!("{name} cannot be read: {e}")))?;
    Ok(Request::Apply { rules, name })
}

fn service(verb: ServiceVerb) -> Request {
    match verb {
        ServiceVerb::Add(args) => Request::AddService(service_spec(args)),
        ServiceVerb::Edit(args) => Request::EditService(service_spec(args)),
        ServiceVerb::Delete { service } => Request::DeleteService { service },
        ServiceVerb::Policy(args) => policy(&args),
    }
}

fn policy(args: &PolicyArgs) -> Request {
    let (method, on_return) = (args.sorry_method.into(), args.on_return.into());
    let policy = Policy {
        on_fail: args.on_fail.into(),
        slow_start_secs: args.slow_start,
        quorum: args.quorum,
        hysteresis: args.hysteresis,
        sorry: args.sorry.map(|address| SorrySpec { address, method, tunnel: Tunnel::Ipip, on_return }),
    };
    Request::SetPolicy { service: args.service, policy }
}

fn service_spec(args: ServiceArgs) -> ServiceSpec {
    let ServiceArgs { service, scheduler, persistent, netmask, pe, one_packet, flags } = args;
    let persistence = persistent.map(|timeout_secs| PersistenceSpec { timeout_secs, netmask });
    ServiceSpec { service, scheduler, persistence, pe, one_packet, flags }
}

fn destination(verb: DestinationVerb) -> Request {
    match verb {
        DestinationVerb::Add(args) => {
            Request::AddDestination { service: args.service, destination: destination_spec(&args) }
        }
        DestinationVerb::Edit(args) => {
            Request::EditDestination { service: args.service, destination: destination_spec(&args) }
        }
        DestinationVerb::Delete { service, address } => Request::DeleteDestination { service, address },
    }
}

fn destination_spec(args: &DestinationArgs) -> DestinationSpec {
    let checksum = args.tunnel_checksum;
    let tunnel = match args.tunnel {
        TunnelArg::Ipip => Tunnel::Ipip,
        TunnelArg::Gue => Tunnel::Gue {
            port: args.tunnel_port.unwrap_or_default(),
            checksum,
            remote_checksum: args.tunnel_remote_checksum,
        },
        TunnelArg::Gre => Tunnel::Gre { checksum },
    };
    DestinationSpec {
        address: args.address,
        method: args.method.into(),
        weight: args.weight,
        tunnel,
        upper: args.upper,
        lower: args.lower,
    }
}
