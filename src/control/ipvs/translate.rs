//! From attributes to the rules' own words and back, with the kernel's checks in the kernel's order (`ip_vs_ctl.c`:
//! `ip_vs_genl_parse_service`, `ip_vs_genl_parse_dest`, `ip_vs_genl_new_daemon`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;

use super::daemon::DaemonAttributes;
use super::dest::DestAttributes;
use super::errno;
use super::service::{Flags, ServiceAttributes};
use super::stats::Stats;
use crate::control::check;
use crate::control::daemon::{self, DaemonSpec, Role};
use crate::control::reply::{DestinationView, Failure, PersistenceView, ServiceView};
use crate::control::request::{DestinationSpec, PersistenceSpec, SchedulerFlag, ServiceSpec};
use crate::destination::{Method, Tunnel};
use crate::netmask::Netmask;
use crate::service::{Protocol, ServiceKey};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

const PERSISTENT: u32 = 1;
/// Of every service in the kernel's tables; clients rely on it.
const HASHED: u32 = 2;
const ONE_PACKET: u32 = 4;
const SCHEDULER_FLAGS: [(u32, SchedulerFlag); 3] =
    [(8, SchedulerFlag::Flag1), (0x10, SchedulerFlag::Flag2), (0x20, SchedulerFlag::Flag3)];
const EVERY_FLAG: u32 = u32::MAX;

const IPIP: u8 = 0;
const GUE: u8 = 1;
const GRE: u8 = 2;
const CHECKSUM: u16 = 1;
const REMOTE_CHECKSUM: u16 = 2;

const MASTER: u32 = 1;
const BACKUP: u32 = 2;

/// What a service is found by.
pub(super) fn key(s: &ServiceAttributes) -> Result<ServiceKey, Errno> {
    let by_address = (s.protocol, s.address, s.port);
    let (af, by_address) = match (s.af, s.mark, by_address) {
        (Some(af), Some(_), _) => (af, None),
        (Some(af), None, (Some(protocol), Some(address), Some(port))) => (af, Some((protocol, address, port))),
        _ => return Err(Errno::EINVAL),
    };
    let v6 = is_v6(af)?;
    // A packet has room for eight bits of it.
    let protocol = |number: u16| u8::try_from(number).map(Protocol::any).map_err(|_| Errno::EINVAL);
    match (s.mark.filter(|mark| *mark != 0), by_address) {
        (Some(mark), _) => Ok(ServiceKey::Mark { mark, v6 }),
        (None, Some((number, address, port))) => {
            Ok(ServiceKey::Address { protocol: protocol(number)?, address: ip(address, v6), port })
        }
        // Mark 0 is none: what the kernel then has in hand is all zeros.
        (None, None) => Ok(ServiceKey::Address { protocol: Protocol::Tcp, address: ip([0; 16], v6), port: 0 }),
    }
}

fn is_v6(af: u16) -> Result<bool, Errno> {
    match af {
        AF_INET => Ok(false),
        AF_INET6 => Ok(true),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

fn ip(bytes: [u8; 16], v6: bool) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    if v6 { Ipv6Addr::from(bytes).into() } else { Ipv4Addr::new(a, b, c, d).into() }
}

fn ip_bytes(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(a) => bytes[..4].copy_from_slice(&a.octets()),
        IpAddr::V6(a) => bytes = a.octets(),
    }
    bytes
}

/// A whole service, of whose attributes none that is needed is missing.
#[derive(Debug)]
pub(super) struct WholeService<'a> {
    key: ServiceKey,
    scheduler: &'a str,
    engine: Option<&'a str>,
    flags: Flags,
    timeout: u32,
    netmask: [u8; 4],
}

impl<'a> WholeService<'a> {
    /// Looks whether it is whole.
    pub(super) fn of(s: &'a ServiceAttributes) -> Result<Self, Errno> {
        let key = key(s)?;
        let (Some(scheduler), Some(flags), Some(timeout), Some(netmask)) =
            (s.scheduler.as_deref(), s.flags, s.timeout, s.netmask)
        else {
            return Err(Errno::EINVAL);
        };
        let engine = s.engine.as_deref().filter(|name| !name.is_empty());
        Ok(Self { key, scheduler, engine, flags, timeout, netmask })
    }

    /// What it is found by.
    pub(super) fn key(&self) -> ServiceKey {
        self.key
    }

    /// The service that is asked for, in place of one that is there already, if one is.
    pub(super) fn spec(&self, old: Option<&ServiceSpec>) -> Result<ServiceSpec, Errno> {
        let refused = |failure: Failure| errno::of(&failure);
        check::scheduler(self.scheduler).map_err(refused)?;
        self.engine.map(check::engine).transpose().map_err(refused)?;
        let flags = self.flags.over(old.map_or(0, flags_of));
        let persistence = PersistenceSpec { timeout_secs: self.timeout, netmask: Some(self.netmask()?) };
        Ok(ServiceSpec {
            service: self.key,
            scheduler: self.scheduler.to_owned(),
            persistence: (flags & PERSISTENT != 0).then_some(persistence),
            pe: self.engine.map(str::to_owned),
            one_packet: flags & ONE_PACKET != 0,
            flags: SCHEDULER_FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, flag)| *flag).collect(),
        })
    }

    /// The mask, looked at whether or not it is needed.
    fn netmask(&self) -> Result<Netmask, Errno> {
        if !self.key.v6() {
            return Ok(Netmask::of(self.netmask.into()));
        }
        let prefix = u8::try_from(u32::from_ne_bytes(self.netmask)).ok().filter(|p| (1..=128).contains(p));
        prefix.map(Netmask::Prefix).ok_or(Errno::EINVAL)
    }
}

fn flags_of(spec: &ServiceSpec) -> u32 {
    flag_bits(spec.persistence.is_some(), spec.one_packet, &spec.flags)
}

fn flag_bits(persistent: bool, one_packet: bool, flags: &[SchedulerFlag]) -> u32 {
    let bit = |set, bit| if set { bit } else { 0 };
    let scheduler = SCHEDULER_FLAGS.iter().map(|(value, flag)| bit(flags.contains(flag), *value));
    bit(persistent, PERSISTENT) | bit(one_packet, ONE_PACKET) | scheduler.fold(0, |all, one| all | one)
}

/// A service as it is shown.
pub(super) fn show_service(s: &ServiceView) -> ServiceAttributes {
    let v6 = s.service.v6();
    let PersistenceView { timeout_secs, netmask } =
        s.persistence.unwrap_or(PersistenceView { timeout_secs: 0, netmask: Netmask::full(v6) });
    let shown = ServiceAttributes {
        af: Some(if v6 { AF_INET6 } else { AF_INET }),
        scheduler: Some(s.scheduler.name().into()),
        engine: s.pe.map(|engine| engine.name().into()),
        flags: Some(Flags {
            flags: HASHED | flag_bits(s.persistence.is_some(), s.one_packet, &s.flags),
            mask: EVERY_FLAG,
        }),
        timeout: Some(timeout_secs),
        netmask: Some(if v6 { u32::from(netmask.leading()).to_ne_bytes() } else { netmask.bits4().to_be_bytes() }),
        stats: Some(Stats::new(&s.traffic, &s.rates)),
        ..ServiceAttributes::default()
    };
    match s.service {
        ServiceKey::Mark { mark, .. } => ServiceAttributes { mark: Some(mark), ..shown },
        ServiceKey::Address { protocol, address, port } => ServiceAttributes {
            protocol: Some(protocol.number().into()),
            address: Some(ip_bytes(address)),
            port: Some(port),
            ..shown
        },
    }
}

/// Address and port of a destination of that service.
pub(super) fn address(d: &DestAttributes, key: &ServiceKey) -> Result<SocketAddr, Errno> {
    let (Some(address), Some(port)) = (d.address, d.port) else { return Err(Errno::EINVAL) };
    let v6 = match d.af.unwrap_or(0) {
        0 => key.v6(),
        af => is_v6(af)?,
    };
    Ok(SocketAddr::new(ip(address, v6), port))
}

/// A whole destination of that service.
pub(super) fn destination(d: &DestAttributes, key: &ServiceKey) -> Result<DestinationSpec, Errno> {
    let numbers = (d.address, d.port, d.method, d.weight, d.upper, d.lower);
    let (Some(_), Some(_), Some(method), Some(weight), Some(upper), Some(lower)) = numbers else {
        return Err(Errno::EINVAL);
    };
    let address = address(d, key)?;
    let method = Method::from_number(method);
    if address.is_ipv6() != key.v6() && method != Method::Tun {
        return Err(Errno::EINVAL);
    }
    Ok(DestinationSpec { address, method, weight, tunnel: tunnel(d)?, upper, lower })
}

fn tunnel(d: &DestAttributes) -> Result<Tunnel, Errno> {
    let flags = d.tunnel_flags.unwrap_or(0);
    let (checksum, remote_checksum) = (flags & CHECKSUM != 0, flags & REMOTE_CHECKSUM != 0);
    match d.tunnel_type.unwrap_or(IPIP) {
        IPIP => Ok(Tunnel::Ipip),
        GUE => Ok(Tunnel::Gue { port: d.tunnel_port.unwrap_or(0), checksum, remote_checksum }),
        GRE => Ok(Tunnel::Gre { checksum }),
        _ => Err(Errno::EINVAL),
    }
}

/// A destination as it is shown.
pub(super) fn show_destination(d: &DestinationView) -> DestAttributes {
    let few = |number: u64| Some(u32::try_from(number).unwrap_or(u32::MAX));
    let (tunnel_type, tunnel_port, tunnel_flags) = show_tunnel(d.tunnel);
    DestAttributes {
        address: Some(ip_bytes(d.address.ip())),
        port: Some(d.address.port()),
        method: Some(d.method.number()),
        weight: Some(d.weight),
        tunnel_type: Some(tunnel_type),
        tunnel_port: Some(tunnel_port),
        tunnel_flags: Some(tunnel_flags),
        upper: Some(d.upper),
        lower: Some(d.lower),
        active: few(d.active),
        inactive: few(d.inactive),
        persistent: few(d.persistent),
        af: Some(if d.address.is_ipv6() { AF_INET6 } else { AF_INET }),
        stats: Some(Stats::new(&d.traffic, &d.rates)),
    }
}

fn show_tunnel(tunnel: Tunnel) -> (u8, u16, u16) {
    let bit = |set, bit| if set { bit } else { 0 };
    match tunnel {
        Tunnel::Ipip => (IPIP, 0, 0),
        Tunnel::Gue { port, checksum, remote_checksum } => {
            (GUE, port, bit(checksum, CHECKSUM) | bit(remote_checksum, REMOTE_CHECKSUM))
        }
        Tunnel::Gre { checksum } => (GRE, 0, bit(checksum, CHECKSUM)),
    }
}

/// Which daemon is meant.
pub(super) fn role(d: &DaemonAttributes) -> Result<Role, Errno> {
    match d.state {
        Some(MASTER) => Ok(Role::Master),
        Some(BACKUP) => Ok(Role::Backup),
        _ => Err(Errno::EINVAL),
    }
}

/// A daemon that is to be started.
pub(super) fn daemon(d: &DaemonAttributes) -> Result<DaemonSpec, Errno> {
    let (Some(_), Some(interface), Some(syncid)) = (d.state, d.interface.clone(), d.syncid) else {
        return Err(Errno::EINVAL);
    };
    let group = match (d.group, d.group6) {
        (Some(group), _) => IpAddr::from(group),
        (None, Some(group)) => IpAddr::from(group),
        (None, None) => daemon::group(),
    };
    if !group.is_multicast() {
        return Err(Errno::EINVAL);
    }
    Ok(DaemonSpec {
        role: role(d)?,
        interface,
        // A message has room for eight bits of it.
        syncid: u8::try_from(syncid).map_err(|_| Errno::EINVAL)?,
        maxlen: d.maxlen.filter(|length| *length != 0),
        group,
        port: d.port.filter(|port| *port != 0).unwrap_or_else(daemon::port),
        ttl: d.ttl.filter(|ttl| *ttl != 0).unwrap_or_else(daemon::ttl),
    })
}

/// A daemon as it is shown.
pub(super) fn show_daemon(d: &DaemonSpec) -> DaemonAttributes {
    let (group, group6) = match d.group {
        IpAddr::V4(group) => (Some(group.octets()), None),
        IpAddr::V6(group) => (None, Some(group.octets())),
    };
    DaemonAttributes {
        state: Some(match d.role {
            Role::Master => MASTER,
            Role::Backup => BACKUP,
        }),
        interface: Some(d.interface.clone()),
        syncid: Some(d.syncid.into()),
        maxlen: Some(d.maxlen.unwrap_or(0)),
        port: Some(d.port),
        ttl: Some(d.ttl),
        group,
        group6,
    }
}
