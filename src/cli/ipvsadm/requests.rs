//! From what was typed to what is asked of the director: the rules of ipvsadm on top of the options (DR and TUN take the service's
//! port, a missing port is the service's), and the words in which it tells a refusal.

use std::net::SocketAddr;

use crate::cli::ipvsadm::typed::{DaemonOptions, Forward, Refused, TunType, Typed, sched_flags};
use crate::cli::ipvsadm::vocabulary::{Command, Slot};
use crate::control::daemon::{self, DaemonSpec};
use crate::control::reply::{ErrorCode, Failure};
use crate::control::request::{DestinationSpec, PersistenceSpec, Request, ServiceSpec};
use crate::destination::{Method, Tunnel};
use crate::service::ServiceKey;

/// The scheduler of a service that names none.
const DEFAULT_SCHEDULER: &str = "wlc";
/// Interface of a synchronisation daemon that names none.
const DEFAULT_INTERFACE: &str = "eth0";
/// What the kernel answers to whatever it does not like about a request.
const INVALID: &str = "Invalid operation.  Possibly wrong module version, address not unicast, ...";
/// A service is added twice.
pub(crate) const SERVICE_EXISTS: &str = "Service already exists";
/// An engine or a scheduler that there is not.
const NOT_FOUND: &str = "Scheduler or persistence engine not found";

/// The request that changes something, if the command is one of these.
pub(crate) fn change(typed: &Typed) -> Result<Option<Request>, Refused> {
    let key = || typed.service.ok_or_else(|| Refused::failed(INVALID));
    Ok(Some(match typed.command {
        Command::AddService => Request::AddService(service(typed, key()?)?),
        Command::EditService => Request::EditService(service(typed, key()?)?),
        Command::DeleteService => Request::DeleteService { service: key()? },
        Command::AddServer => Request::AddDestination { service: key()?, destination: destination(typed, key()?)? },
        Command::EditServer => Request::EditDestination { service: key()?, destination: destination(typed, key()?)? },
        Command::DeleteServer => Request::DeleteDestination { service: key()?, address: server(typed, key()?)? },
        Command::Flush => Request::Flush {},
        Command::Zero => Request::Zero { service: typed.service },
        Command::Set => {
            let [tcp, tcp_fin, udp] = typed.timeouts;
            Request::SetTimeouts { tcp, tcp_fin, udp }
        }
        Command::StartDaemon => Request::StartDaemon(daemon(&typed.daemon)),
        Command::StopDaemon => Request::StopDaemon { role: typed.daemon.role },
        _ => return Ok(None),
    }))
}

fn service(typed: &Typed, service: ServiceKey) -> Result<ServiceSpec, Refused> {
    let named = typed.scheduler.clone().filter(|name| !name.is_empty());
    let scheduler = named.unwrap_or_else(|| DEFAULT_SCHEDULER.to_owned());
    let flags = typed.sched_flags.as_ref().map_or(Ok(Vec::new()), |text| sched_flags(&scheduler, text))?;
    let persistence = typed.persistent.map(|timeout_secs| PersistenceSpec { timeout_secs, netmask: typed.netmask });
    Ok(ServiceSpec {
        service,
        scheduler,
        persistence,
        pe: typed.engine.clone(),
        one_packet: typed.has(Slot::Ops),
        flags,
    })
}

/// The address of the real server; a missing port is the service's.
fn server(typed: &Typed, service: ServiceKey) -> Result<SocketAddr, Refused> {
    let server = typed.server.ok_or_else(|| Refused::failed(INVALID))?;
    Ok((server.address, server.port.unwrap_or(service.port())).into())
}

fn destination(typed: &Typed, service: ServiceKey) -> Result<DestinationSpec, Refused> {
    let mut address = server(typed, service)?;
    let method = match typed.forward {
        Some(Forward::Masquerading) => Method::Nat,
        Some(Forward::Ipip) => Method::Tun,
        Some(Forward::Gatewaying) | None => Method::Dr,
    };
    if method != Method::Nat && matches!(service, ServiceKey::Address { .. }) {
        address.set_port(service.port());
    }
    let (weight, upper, lower) = (typed.weight, typed.upper, typed.lower);
    Ok(DestinationSpec { address, method, weight, tunnel: tunnel(typed), upper, lower })
}

fn tunnel(typed: &Typed) -> Tunnel {
    let (checksum, remote_checksum) = (typed.has(Slot::TunCsum), typed.has(Slot::TunRemcsum));
    match typed.tun_type {
        TunType::Ipip => Tunnel::Ipip,
        TunType::Gue => Tunnel::Gue { port: typed.tun_port, checksum, remote_checksum },
        TunType::Gre => Tunnel::Gre { checksum },
    }
}

/// The words for a refusal.
pub(crate) fn words(failure: &Failure) -> &str {
    match failure.code {
        ErrorCode::NoSuchService => "No such service",
        ErrorCode::ServiceExists => SERVICE_EXISTS,
        ErrorCode::ServiceNotDefined => "Service not defined",
        ErrorCode::NoSuchDestination => "No such destination",
        ErrorCode::DestinationExists => "Destination already exists",
        ErrorCode::UnknownScheduler | ErrorCode::UnknownEngine => NOT_FOUND,
        ErrorCode::InvalidArgument | ErrorCode::BadRequest => INVALID,
        ErrorCode::OutOfRange => "Numerical result out of range",
        ErrorCode::DaemonRuns => "Daemon has already run",
        ErrorCode::NoDaemon => "No daemon is running",
        ErrorCode::NoSuchInterface => "No such device",
        ErrorCode::Full => "Memory allocation problem",
        _ => &failure.message,
    }
}

fn daemon(options: &DaemonOptions) -> DaemonSpec {
    DaemonSpec {
        role: options.role,
        interface: options.interface.clone().unwrap_or_else(|| DEFAULT_INTERFACE.to_owned()),
        syncid: options.syncid,
        maxlen: options.maxlen,
        group: options.group.unwrap_or_else(daemon::group),
        port: options.port.unwrap_or_else(daemon::port),
        ttl: options.ttl.unwrap_or_else(daemon::ttl),
    }
}
