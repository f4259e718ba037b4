//! What `pollvsd --check FILE` prints: ports, queues, workers, and the memory of each pool and table. Nothing is started.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::control::key::word;
use crate::fragments;
use crate::service::ServiceKey;

use super::{Auto, Config, PortConfig, Require};

/// Frames that a worker may have in hand beyond its bursts: its pool's cache, those held for an unresolved next hop, and fragments.
const FRAMES_IN_HAND: u32 = 1024 + fragments::MOST_FRAMES as u32;
/// Frames on the way between a port and its twin.
const FRAMES_TO_TWIN: u32 = 2048;

/// The memory of each table and pool, in bytes, by its entries.
pub struct Sizes<'a> {
    /// An IPv4 connection table.
    pub connections: &'a dyn Fn(u32) -> u64,
    /// An IPv6 connection table.
    pub connections6: &'a dyn Fn(u32) -> u64,
    /// An IPv4 template table.
    pub templates: &'a dyn Fn(u32) -> u64,
    /// An IPv6 template table.
    pub templates6: &'a dyn Fn(u32) -> u64,
    /// A pool of frames.
    pub frames: &'a dyn Fn(u32) -> u64,
}

impl std::fmt::Debug for Sizes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sizes")
    }
}

impl Config {
    /// Frames that the pool of all ports must hold so that no queue runs dry.
    pub fn frames(&self) -> u32 {
        let workers = u32::from(self.director.workers);
        let port = |p: &PortConfig| {
            let queued = u32::from(p.queue_count(&self.director)) * (u32::from(p.rx_desc) + u32::from(p.tx_desc));
            queued + if p.twin_name().is_some() { FRAMES_TO_TWIN } else { 0 }
        };
        self.ports.iter().map(port).sum::<u32>() + workers * (FRAMES_IN_HAND + 4 * u32::from(self.director.burst))
    }

    /// The report.
    pub fn check_report(&self, sizes: &Sizes<'_>) -> String {
        let mut text = String::new();
        self.write_report(&mut text, sizes).expect("a String takes everything");
        text
    }

    fn write_report(&self, to: &mut String, sizes: &Sizes<'_>) -> std::fmt::Result {
        self.write_workers(to)?;
        for port in &self.ports {
            self.write_port(to, port)?;
        }
        let memory = self.write_memory(to, sizes)?;
        writeln!(to, "memory    {memory} in all")?;
        let destinations: usize = self.rules.services.iter().map(|s| s.destinations.len()).sum();
        writeln!(to, "rules     {} services, {destinations} destinations", self.rules.services.len())?;
        self.write_announced(to)?;
        let path =
            |p: &std::path::Path| if p.as_os_str().is_empty() { "off".to_owned() } else { p.display().to_string() };
        writeln!(to, "socket    {}", path(&self.director.socket))?;
        writeln!(to, "state     {}", path(&self.director.state))
    }

    fn write_workers(&self, to: &mut String) -> std::fmt::Result {
        let d = &self.director;
        let cpus =
            if d.cpus.is_empty() { "cores chosen at start".to_owned() } else { format!("on cores {:?}", d.cpus) };
        let control = match d.control_cpu {
            Auto::Auto => "control beside them".to_owned(),
            Auto::Is(cpu) => format!("control on core {cpu}"),
        };
        let idle = format!("{:?}", d.idle).to_ascii_lowercase();
        writeln!(to, "workers   {} {cpus}, {control}, idle: {idle}, bursts of {}", d.workers, d.burst)
    }

    fn write_port(&self, to: &mut String, port: &PortConfig) -> std::fmt::Result {
        let twin = port.twin_name().map_or("none".to_owned(), str::to_owned);
        let mtu = port.mtu.given().map_or("the device's".to_owned(), |m| m.to_string());
        writeln!(
            to,
            "port      {}: {}, {} queues of {} (rx) and {} (tx) frames, MTU {mtu}, twin {twin}",
            port.name,
            port.device,
            port.queue_count(&self.director),
            port.rx_desc,
            port.tx_desc,
        )?;
        port.addresses.iter().try_for_each(|a| writeln!(to, "          {a} on the twin"))
    }

    /// The rules of the file alone; what else there will be is known when the director runs.
    fn write_announced(&self, to: &mut String) -> std::fmt::Result {
        let announce = &self.announce;
        if announce.interface.is_empty() {
            return writeln!(to, "announce  off");
        }
        let mut services: BTreeMap<IpAddr, Vec<&ServiceKey>> = BTreeMap::new();
        for key in self.rules.services.iter().map(|s| &s.service.service) {
            if let Some(address) = key.address().filter(|address| announce.takes(*address)) {
                services.entry(address).or_default().push(key);
            }
        }
        if services.is_empty() {
            let networks: Vec<_> = announce.networks.iter().map(ToString::to_string).collect();
            let of = if networks.is_empty() { String::new() } else { format!(" of {}", networks.join(" or ")) };
            return writeln!(
                to,
                "announce  nothing by {}: no service of the file has an address{of}",
                announce.interface
            );
        }
        services.iter().try_for_each(|(address, services)| {
            let (interface, condition) = (&announce.interface, condition(services, announce.require));
            writeln!(to, "announce  {address} by {interface} while {condition}")
        })
    }

    fn write_memory(&self, to: &mut String, sizes: &Sizes<'_>) -> Result<String, std::fmt::Error> {
        let d = &self.director;
        let tables = [
            ("IPv4 connections", d.connections, sizes.connections),
            ("IPv6 connections", d.connections6, sizes.connections6),
            ("IPv4 templates", d.templates, sizes.templates),
            ("IPv6 templates", d.templates6, sizes.templates6),
        ];
        let mut all = 0;
        for (name, entries, size) in tables {
            let bytes = size(entries);
            all += bytes * u64::from(d.workers);
            writeln!(to, "table     {name}: {entries} on each worker, {} each", amount(bytes))?;
        }
        let frames = self.frames();
        let bytes = (sizes.frames)(frames);
        let room = u64::from(self.dpdk.memory_mb) << 20;
        writeln!(to, "pool      {frames} frames, {} of the {} of [dpdk] memory_mb", amount(bytes), amount(room))?;
        if bytes > room {
            writeln!(to, "warning   the pool does not fit; set memory_mb to {} or more", bytes.div_ceil(1 << 20) + 16)?;
        }
        Ok(amount(all + room))
    }
}

/// When the address of these services is announced.
fn condition(services: &[&ServiceKey], require: Require) -> String {
    /// Of more services only the number is told.
    const NAMED: usize = 4;
    let names: Vec<_> = services.iter().map(|key| word(key)).collect();
    let of = if names.len() > NAMED { format!("{} services", names.len()) } else { names.join(", ") };
    match (services.len(), require) {
        (1, _) => format!("{of} has a usable destination"),
        (_, Require::Any) => format!("any of {of} has a usable destination"),
        (_, Require::All) => format!("all of {of} have a usable destination"),
    }
}

/// Bytes for people, exactly and in MiB.
fn amount(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{bytes} bytes ({mib:.1} MiB)")
}
