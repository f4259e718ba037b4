//! The listings of ipvsadm 1.31, byte for byte, blanks at the ends of lines included.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use crate::cli::ipvsadm::address::{protocol_of, show};
use crate::cli::ipvsadm::names::Names;
use crate::control::daemon::DaemonSpec;
use crate::control::proc::method_name;
use crate::control::reply::{ConnectionView, DestinationView, Rates, ServiceView};
use crate::control::request::SchedulerFlag;
use crate::destination::{Method, Tunnel};
use crate::netmask::Netmask;
use crate::service::{Protocol, SchedulerName, ServiceKey};
use crate::settings::Timeouts;
use crate::stats::Traffic;
use crate::time::HZ;

/// What a listing of services shows of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Columns {
    /// Method, weight, connections.
    Plain,
    /// The same with the tunnel.
    Tunnel,
    /// `--stats`.
    Stats,
    /// `--rate`.
    Rate,
    /// `--thresholds`.
    Thresholds,
    /// `--persistent-conn`.
    Persistent,
}

/// How a listing is to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style<'a> {
    /// Which columns.
    pub(crate) columns: Columns,
    /// Whole numbers, however long.
    pub(crate) exact: bool,
    /// Names of ports, or none for numbers.
    pub(crate) names: Option<&'a Names>,
}

impl Style<'_> {
    /// The two lines above the services.
    fn title(&self) -> String {
        let local = "Prot LocalAddress:Port";
        let remote = "  -> RemoteAddress:Port";
        match self.columns {
            Columns::Plain => {
                format!("{local} Scheduler Flags\n{remote}           Forward Weight ActiveConn InActConn\n")
            }
            Columns::Tunnel => {
                format!(
                    "{local} Scheduler Flags\n{remote}           Forward TunnelInfo    Weight ActiveConn InActConn\n"
                )
            }
            Columns::Stats => format!(
                "{local:<33} {:>8} {:>8} {:>8} {:>8} {:>8}\n{remote}\n",
                "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"
            ),
            Columns::Rate => format!(
                "{local:<33} {:>8} {:>8} {:>8} {:>8} {:>8}\n{remote}\n",
                "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"
            ),
            Columns::Thresholds => format!(
                "{local:<33} {:<10} {:<10} {:<10} {:<10}\n{remote}\n",
                "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
            ),
            Columns::Persistent => format!(
                "{local:<33} {:<9} {:<11} {:<10} {:<10}\n{remote}\n",
                "Weight", "PersistConn", "ActiveConn", "InActConn"
            ),
        }
    }

    fn number(&self, value: u64) -> String {
        let width = |value: u64| value.to_string().len() + 1;
        match value {
            _ if self.exact => format!("{value:>0$}", width(value).max(9)),
            0..=99_999_999 => format!("{value:>9}"),
            100_000_000..=999_999_999 => format!("{:>8}K", value / 1000),
            1_000_000_000..=99_999_999_999 => format!("{:>8}M", value / 1_000_000),
            100_000_000_000..=99_999_999_999_999 => format!("{:>8}G", value / 1_000_000_000),
            _ => format!("{:>8}T", value / 1_000_000_000_000),
        }
    }

    fn traffic(&self, t: &Traffic) -> String {
        [t.connections, t.in_packets, t.out_packets, t.in_bytes, t.out_bytes].map(|n| self.number(n)).concat()
    }

    fn rates(&self, r: &Rates) -> String {
        let small = [r.connections, r.in_packets, r.out_packets].map(|n| format!(" {n:>8}")).concat();
        small + &[r.in_bytes, r.out_bytes].map(|n| self.number(n)).concat()
    }

    fn service(&self, service: &ServiceView) -> String {
        let name = service_name(&service.service, self.names);
        match self.columns {
            Columns::Stats => format!("{name:<33}{}\n", self.traffic(&service.traffic)),
            Columns::Rate => format!("{name:<33}{}\n", self.rates(&service.rates)),
            _ => format!("{name} {}{}\n", service.scheduler.name(), properties(service)),
        }
    }

    fn destination(&self, service: &ServiceView, d: &DestinationView) -> String {
        let name = show(d.address, protocol_of(&service.service), self.names);
        let name = if d.address.is_ipv4() { name.chars().take(28).collect() } else { name };
        let head = format!("  -> {name:<28}");
        let (method, weight, active, inactive) = (method_name(d.method), d.weight, d.active, d.inactive);
        match self.columns {
            Columns::Plain => format!("{head} {method:<7} {weight:<6} {active:<10} {inactive:<10}\n"),
            Columns::Tunnel => {
                let tunnel = tunnel_info(d);
                format!("{head} {method:<7} {tunnel:<13} {weight:<6} {active:<10} {inactive:<10}\n")
            }
            Columns::Stats => format!("{head}{}\n", self.traffic(&d.traffic)),
            Columns::Rate => format!("{head}{}\n", self.rates(&d.rates)),
            Columns::Thresholds => {
                format!("{head} {:<10} {:<10} {active:<10} {inactive:<10}\n", d.upper, d.lower)
            }
            Columns::Persistent => {
                format!("{head} {weight:<9} {:<11} {active:<10} {inactive:<10}\n", d.persistent)
            }
        }
    }
}

/// Lists services in the order in which they are given.
pub(crate) fn services(services: &[ServiceView], style: Style<'_>) -> String {
    let mut text = style.title();
    for service in services {
        text += &style.service(service);
        text.extend(service.in_force().map(|d| style.destination(service, d)));
    }
    text
}

fn service_name(key: &ServiceKey, names: Option<&Names>) -> String {
    match key {
        ServiceKey::Address { protocol, address, port } => {
            let name = format!("{:<4} {}", protocol.to_string(), show((*address, *port).into(), *protocol, names));
            if address.is_ipv4() { name.chars().take(33).collect() } else { name }
        }
        // Signed, as ipvsadm has it.
        ServiceKey::Mark { mark, v6: false } => format!("FWM  {}", mark.cast_signed()),
        ServiceKey::Mark { mark, v6: true } => format!("FWM  {} IPv6", mark.cast_signed()),
    }
}

/// What follows the scheduler.
fn properties(service: &ServiceView) -> String {
    let mut text = String::new();
    if !service.flags.is_empty() {
        let _ = write!(text, " ({})", flag_names(service.scheduler, &service.flags));
    }
    if let Some(persistence) = service.persistence {
        let _ = write!(text, " persistent {}", persistence.timeout_secs);
        if let Some(mask) = mask(&service.service, persistence.netmask) {
            let _ = write!(text, " mask {mask}");
        }
        if let Some(engine) = service.pe {
            let _ = write!(text, " pe {}", engine.name());
        }
    }
    if service.one_packet {
        text += " ops";
    }
    text
}

/// The mask of a persistent service, unless it is one client's.
pub(crate) fn mask(key: &ServiceKey, netmask: Netmask) -> Option<String> {
    let v6 = key.v6();
    let text = || if v6 { netmask.to_string() } else { Ipv4Addr::from_bits(netmask.bits4()).to_string() };
    (netmask != Netmask::full(v6)).then(text)
}

/// Flags of a scheduler by name, in the order of their bits.
pub(crate) fn flag_names(scheduler: SchedulerName, flags: &[SchedulerFlag]) -> String {
    let (first, second) = match scheduler.name() {
        "sh" => ("sh-fallback", "sh-port"),
        "mh" => ("mh-fallback", "mh-port"),
        _ => ("flag-1", "flag-2"),
    };
    // sh and mh have no name for the third.
    let third = (first == "flag-1").then_some("flag-3");
    let name = |flag: &SchedulerFlag| match flag {
        SchedulerFlag::Flag1 => Some(first),
        SchedulerFlag::Flag2 => Some(second),
        SchedulerFlag::Flag3 => third,
    };
    flags.iter().filter_map(name).collect::<Vec<_>>().join(",")
}

fn tunnel_info(destination: &DestinationView) -> String {
    let sum = |checksum| if checksum { "+c" } else { "-c" };
    match (destination.method, destination.tunnel) {
        (Method::Tun, Tunnel::Ipip) => "ipip".to_owned(),
        (Method::Tun, Tunnel::Gue { port, remote_checksum: true, .. }) => format!("gue:{port}:r+c"),
        (Method::Tun, Tunnel::Gue { port, checksum, .. }) => format!("gue:{port}:{}", sum(checksum)),
        (Method::Tun, Tunnel::Gre { checksum }) => format!("gre:{}", sum(checksum)),
        _ => "n/a".to_owned(),
    }
}

/// Brings services and their destinations into the order of ipvsadm: marks last (but for those that are negative as it sees them), IPv4 before IPv6, by protocol, address and port.
pub(crate) fn sort(services: &mut [ServiceView]) {
    merge_sort(services, &|a, b| by_key(&a.service, &b.service));
    for service in services {
        let by_end = |a: &DestinationView, b: &DestinationView| {
            by_address(a.address.ip(), b.address.ip()).then(a.address.port().cmp(&b.address.port()))
        };
        merge_sort(&mut service.destinations, &by_end);
    }
}

/// ipvsadm compares by the sign of a difference of 32 bits, which is no order: numbers further apart than half the range compare the
/// other way round. What comes of it depends on the way of sorting, so it is the C library's: halves are sorted and merged.
fn merge_sort<T: Clone>(all: &mut [T], compare: &impl Fn(&T, &T) -> Ordering) {
    if all.len() < 2 {
        return;
    }
    let middle = all.len() / 2;
    merge_sort(&mut all[..middle], compare);
    merge_sort(&mut all[middle..], compare);
    let (first, second) = (all[..middle].to_vec(), all[middle..].to_vec());
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    for place in all {
        let from_first = match (first.peek(), second.peek()) {
            (Some(a), Some(b)) => compare(a, b) != Ordering::Greater,
            (a, _) => a.is_some(),
        };
        if let Some(next) = if from_first { first.next() } else { second.next() } {
            *place = next;
        }
    }
}

/// The sign of the difference, as 32 bits hold it.
fn by_difference(a: u32, b: u32) -> Ordering {
    a.wrapping_sub(b).cast_signed().cmp(&0)
}

fn by_key(a: &ServiceKey, b: &ServiceKey) -> Ordering {
    use ServiceKey::{Address, Mark};
    match (a, b) {
        (Address { .. }, Mark { mark, .. }) => by_difference(0, *mark),
        (Mark { mark, .. }, Address { .. }) => by_difference(*mark, 0),
        (Mark { mark: a, v6: a6 }, Mark { mark: b, v6: b6 }) => by_difference(*a, *b).then(a6.cmp(b6)),
        (Address { protocol: p, address: a, port: i }, Address { protocol: q, address: b, port: j }) => {
            (a.is_ipv6(), p.number()).cmp(&(b.is_ipv6(), q.number())).then(by_address(*a, *b)).then(i.cmp(j))
        }
    }
}

fn by_address(a: IpAddr, b: IpAddr) -> Ordering {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => by_difference(a.to_bits(), b.to_bits()),
        _ => a.cmp(&b),
    }
}

/// Lists connections and templates in the order in which they are given.
pub(crate) fn connections(connections: &[ConnectionView], with_engine: bool, names: Option<&Names>) -> String {
    let mut text = "IPVS connection entries\n".to_owned();
    text += if with_engine {
        "pro expire state       source             virtual            destination        pe name          pe_data\n"
    } else {
        "pro expire state       source             virtual            destination\n"
    };
    text.extend(connections.iter().map(|c| connection(c, with_engine, names)));
    text
}

fn connection(c: &ConnectionView, with_engine: bool, names: Option<&Names>) -> String {
    let protocol = match c.protocol.as_str() {
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    let [client, vip, destination] = [c.client, c.vip, c.destination].map(|a| show(a, protocol, names));
    let secs = c.expires_ticks / HZ;
    let expire = format!("{:02}:{:02}", secs / 60, secs % 60);
    let head = format!("{:<3} {expire:<6} {:<11} {client:<18} {vip:<18}", c.protocol, c.state);
    match c.pe.filter(|_| with_engine) {
        Some(engine) => format!("{head} {destination:<16} {:<18} {}\n", engine.name(), c.pe_data),
        None => format!("{head} {destination}\n"),
    }
}

/// `--daemon`.
pub(crate) fn daemons(daemons: &[DaemonSpec]) -> String {
    daemons.iter().map(daemon).collect()
}

fn daemon(d: &DaemonSpec) -> String {
    let DaemonSpec { role, interface, syncid, group, port, ttl, .. } = d;
    let length = d.maxlen.map(|length| format!(", maxlen={length}")).unwrap_or_default();
    format!("{role} sync daemon (mcast={interface}, syncid={syncid}{length}, group={group}, port={port}, ttl={ttl})\n")
}

/// `--timeout`.
pub(crate) fn timeouts(t: Timeouts) -> String {
    format!("Timeout (tcp tcpfin udp): {} {} {}\n", t.tcp, t.tcp_fin, t.udp)
}
