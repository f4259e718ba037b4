//! The texts of `/proc/net/ip_vs*`: services, connections, counters, in the kernel's own columns and upper-case hex.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::control::reply::{ConnectionView, DestinationView, Rates, ServiceView};
use crate::destination::Method;
use crate::netmask::Netmask;
use crate::service::ServiceKey;
use crate::stats::Traffic;
use crate::time::HZ;

/// The first line of a listing of all services: the version of the kernel's interface and of its table.
pub(crate) const BANNER: &str = "IP Virtual Server version 1.2.1 (size=4096)\n";
/// The first line of `/proc/net/ip_vs_conn`.
pub(crate) const CONNECTIONS: &str =
    "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n";
/// The first line of `/proc/net/ip_vs_conn_sync`.
pub(crate) const CONNECTION_ORIGINS: &str =
    "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n";

/// `/proc/net/ip_vs`. Persistence is in jiffies (10 ms).
pub fn services(services: &[ServiceView]) -> String {
    let mut text = format!(
        "{BANNER}Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
    );
    for service in services {
        text += &head(service);
        match service.persistence {
            Some(p) => {
                let _ = writeln!(text, "persistent {} {:08X}", p.timeout_secs * HZ, mask(&service.service, p.netmask));
            }
            None => text.push('\n'),
        }
        text.extend(service.in_force().map(destination));
    }
    text
}

fn head(service: &ServiceView) -> String {
    let scheduler = service.scheduler.name();
    let ops = if service.one_packet { "ops " } else { "" };
    match service.service {
        ServiceKey::Address { protocol, address: address @ IpAddr::V4(_), port } => {
            format!("{protocol}  {} {scheduler} {ops} ", endpoint((address, port).into()))
        }
        ServiceKey::Address { protocol, address, port } => {
            format!("{protocol}  {} {scheduler} ", endpoint((address, port).into()))
        }
        ServiceKey::Mark { mark, .. } => format!("FWM  {mark:08X} {scheduler} {ops}"),
    }
}

/// The mask as the kernel keeps it: of IPv6 the prefix length, seen in network byte order.
fn mask(key: &ServiceKey, netmask: Netmask) -> u32 {
    if key.v6() { u32::from(netmask.leading()).swap_bytes() } else { netmask.bits4() }
}

fn destination(d: &DestinationView) -> String {
    let (method, address) = (method_name(d.method), endpoint(d.address));
    format!("  -> {address}      {method:<7} {:<6} {:<10} {:<10}\n", d.weight, d.active, d.inactive)
}

fn endpoint(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(_) => format!("{}:{:04X}", self::address(address.ip()), address.port()),
        SocketAddr::V6(_) => format!("[{}]:{:04X}", self::address(address.ip()), address.port()),
    }
}

fn address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(a) => format!("{:08X}", a.to_bits()),
        IpAddr::V6(a) => a.segments().map(|s| format!("{s:04x}")).join(":"),
    }
}

/// `/proc/net/ip_vs_conn`.
pub fn connections(connections: &[ConnectionView]) -> String {
    let mut text = CONNECTIONS.to_owned();
    text.extend(connections.iter().map(connection));
    text
}

/// A line of `/proc/net/ip_vs_conn`.
pub(crate) fn connection(c: &ConnectionView) -> String {
    let engine = c.pe.map(|engine| format!(" {} {}", engine.name(), c.pe_data)).unwrap_or_default();
    format!("{} {:>7}{engine}\n", flow(c), c.expires_ticks / HZ)
}

/// `/proc/net/ip_vs_conn_sync`: connections with their origin.
pub fn connection_origins(connections: &[ConnectionView]) -> String {
    let mut text = CONNECTION_ORIGINS.to_owned();
    text.extend(connections.iter().map(connection_origin));
    text
}

/// A line of `/proc/net/ip_vs_conn_sync`.
pub(crate) fn connection_origin(c: &ConnectionView) -> String {
    let origin = if c.received { "SYNC" } else { "LOCAL" };
    format!("{} {origin:<6} {:>7}\n", flow(c), c.expires_ticks / HZ)
}

/// `/proc/net/ip_vs_app`: the one application helper, and the connections that it reads.
pub fn helpers(ftp: usize) -> String {
    format!("prot port    usecnt name\nTCP  {:<7} {ftp:<6} {:<17}\n", 21, "ftp")
}

/// Protocol, the three ends and the state.
fn flow(c: &ConnectionView) -> String {
    let [client, vip, dest] = [c.client, c.vip, c.destination].map(|a| format!("{} {:04X}", address(a.ip()), a.port()));
    format!("{:<3} {client} {vip} {dest} {:<11}", c.protocol, c.state)
}

fn row(t: &Traffic) -> String {
    format!(
        "{:>8X} {:>8X} {:>8X} {:>16X} {:>16X}\n",
        t.connections, t.in_packets, t.out_packets, t.in_bytes, t.out_bytes
    )
}

fn rate_row(r: &Rates) -> String {
    let Rates { connections, in_packets, out_packets, in_bytes, out_bytes } = *r;
    row(&Traffic { connections, in_packets, out_packets, in_bytes, out_bytes })
}

/// `/proc/net/ip_vs_stats`: all services together.
pub fn stats(traffic: &Traffic, rates: &Rates) -> String {
    format!(
        "   Total Incoming Outgoing         Incoming         Outgoing\n   Conns  Packets  Packets            Bytes            Bytes\n\
         {}\n Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n{}",
        row(traffic),
        rate_row(rates)
    )
}

/// `/proc/net/ip_vs_stats_percpu`: the raw counters of each worker (never zeroed), and what is shown of all.
pub fn stats_percpu(raw: &[Traffic], traffic: &Traffic, rates: &Rates) -> String {
    let mut text = "       Total Incoming Outgoing         Incoming         Outgoing\n\
                    CPU    Conns  Packets  Packets            Bytes            Bytes\n"
        .to_owned();
    for (cpu, worker) in raw.iter().enumerate() {
        let _ = write!(text, "{cpu:>3X} {}", row(worker));
    }
    let _ = write!(text, "  ~ {}\n     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n", row(traffic));
    let _ = write!(text, "    {}", rate_row(rates));
    text
}

/// A forwarding method, as the kernel's listings name it (`ip_vs_fwd_name`).
pub(crate) fn method_name(method: Method) -> &'static str {
    match method {
        Method::Dr => "Route",
        Method::Tun => "Tunnel",
        Method::Local => "Local",
        Method::Nat | Method::Bypass | Method::Five | Method::Six | Method::Seven => "Masq",
    }
}
