//! What the kernel accepts as a service and as a destination (`ip_vs_ctl.c`), and what it says otherwise.

use std::net::IpAddr;

use crate::control::reply::{ErrorCode, Failure};
use crate::control::request::{DestinationSpec, PersistenceSpec, SchedulerFlag, ServiceSpec};
use crate::destination::{Method, Tunnel};
use crate::netmask::Netmask;
use crate::service::{Engine, Persistence, SchedulerName, ServiceFlags, ServiceKey};

/// The longest persistence: ipvsadm's limit, 31 days.
pub const MAX_PERSISTENCE_SECS: u32 = 31 * 86_400;
/// The greatest weight: the kernel keeps it signed.
pub const MAX_WEIGHT: u32 = i32::MAX as u32;
/// The greatest upper threshold: connections are counted by a signed number.
pub const MAX_THRESHOLD: u32 = i32::MAX as u32;

fn refuse<T>(code: ErrorCode, message: String) -> Result<T, Failure> {
    Err(Failure::new(code, message))
}

/// The scheduler of that name.
///
/// # Errors
/// [`ErrorCode::UnknownScheduler`], with those that there are.
pub fn scheduler(name: &str) -> Result<SchedulerName, Failure> {
    SchedulerName::from_name(name).map_or_else(
        || {
            let known: Vec<_> = SchedulerName::ALL.iter().map(|s| s.name()).collect();
            refuse(ErrorCode::UnknownScheduler, format!("no scheduler {name:?}; there are {}", known.join(", ")))
        },
        Ok,
    )
}

/// The persistence engine of that name.
///
/// # Errors
/// [`ErrorCode::UnknownEngine`], with those that there are.
pub fn engine(name: &str) -> Result<Engine, Failure> {
    Engine::from_name(name).map_or_else(
        || {
            let known: Vec<_> = Engine::ALL.iter().map(|engine| engine.name()).collect();
            let text = format!("no persistence engine {name:?}; there is {}", known.join(", "));
            refuse(ErrorCode::UnknownEngine, text)
        },
        Ok,
    )
}

/// The persistence, of a service of that family.
///
/// # Errors
/// [`ErrorCode::OutOfRange`] for a time-out or a prefix that cannot be.
pub fn persistence(spec: &PersistenceSpec, v6: bool) -> Result<Persistence, Failure> {
    let secs = spec.timeout_secs;
    if secs == 0 || secs > MAX_PERSISTENCE_SECS {
        return refuse(
            ErrorCode::OutOfRange,
            format!("a persistence of {secs} s cannot be; give 1 to {MAX_PERSISTENCE_SECS}"),
        );
    }
    let most = if v6 { 128 } else { 32 };
    match spec.netmask.unwrap_or(Netmask::full(v6)) {
        Netmask::Prefix(prefix) if prefix > most || (v6 && prefix == 0) => refuse(
            ErrorCode::OutOfRange,
            format!("a client prefix of {prefix} bits cannot be; give {} to {most}", u8::from(v6)),
        ),
        Netmask::Holes(mask) if v6 => {
            refuse(ErrorCode::OutOfRange, format!("{mask} is no mask of IPv6 clients; give 1 to {most} bits"))
        }
        netmask => Ok(Persistence { timeout_secs: secs, netmask }),
    }
}

/// The flags of a service.
pub fn flags(spec: &ServiceSpec) -> ServiceFlags {
    let has = |flag| spec.flags.contains(&flag);
    ServiceFlags {
        one_packet: spec.one_packet,
        sched1: has(SchedulerFlag::Flag1),
        sched2: has(SchedulerFlag::Flag2),
        sched3: has(SchedulerFlag::Flag3),
    }
}

/// The scheduler's flags of a service, as requests and replies have them.
pub fn flag_list(flags: ServiceFlags) -> Vec<SchedulerFlag> {
    let all = [
        (flags.sched1, SchedulerFlag::Flag1),
        (flags.sched2, SchedulerFlag::Flag2),
        (flags.sched3, SchedulerFlag::Flag3),
    ];
    all.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect()
}

/// The numbers of a destination, which the kernel looks at before anything else.
///
/// # Errors
/// [`ErrorCode::OutOfRange`] for weight or thresholds, [`ErrorCode::InvalidArgument`] for a tunnel without port.
pub fn numbers(spec: &DestinationSpec) -> Result<(), Failure> {
    if spec.weight > MAX_WEIGHT {
        let text = format!("a weight of {} is out of range; the greatest is {MAX_WEIGHT}", spec.weight);
        return refuse(ErrorCode::OutOfRange, text);
    }
    if spec.lower > spec.upper {
        let text = format!("the lower threshold ({}) is above the upper ({})", spec.lower, spec.upper);
        return refuse(ErrorCode::OutOfRange, text);
    }
    if spec.upper > MAX_THRESHOLD {
        let text = format!("an upper threshold of {} cannot be; the greatest is {MAX_THRESHOLD}", spec.upper);
        return refuse(ErrorCode::InvalidArgument, text);
    }
    if matches!(spec.tunnel, Tunnel::Gue { port: 0, .. }) {
        return refuse(ErrorCode::InvalidArgument, "a gue tunnel needs the real server's UDP port".to_owned());
    }
    Ok(())
}

/// The address of a new destination.
///
/// # Errors
/// [`ErrorCode::InvalidArgument`] if it is no unicast address, or of the other family without a tunnel.
pub fn address(key: &ServiceKey, spec: &DestinationSpec) -> Result<(), Failure> {
    let address = spec.address.ip();
    if address.is_ipv6() != key.v6() && spec.method != Method::Tun {
        let text = format!("{address} is of another family than the service; only tunnels allow that");
        return refuse(ErrorCode::InvalidArgument, text);
    }
    if !unicast(address) {
        return refuse(ErrorCode::InvalidArgument, format!("{address} is not a unicast address"));
    }
    Ok(())
}

fn unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => !(a.is_multicast() || a.is_broadcast() || a.is_unspecified()),
        IpAddr::V6(a) => {
            !(a.is_multicast() || a.is_unspecified() || a.is_unicast_link_local() || a.to_ipv4_mapped().is_some())
        }
    }
}
