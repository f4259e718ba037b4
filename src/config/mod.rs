//! The configuration: TOML text to [`Config`], every key with its default in `config/director.toml`. Whatever is wrong is refused
//! with file, line, key and remedy.

mod checks;
mod error;
mod marks;
mod report;
mod rules;
mod value;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::control::request::DestinationSpec;
use crate::control::rule_set::RuleSet;
use crate::destination::Method;
use crate::director::Limits;
use crate::service::ServiceKey;
use crate::settings::Settings;
use crate::steering::Role;

pub use error::ConfigError;
pub use report::Sizes;
pub use rules::{Given, parse_rules, write_rules};
pub use value::{Auto, Cidr, Listen};

/// The configuration that `pollvsd` starts with when none is given.
pub const EMBEDDED: &str = include_str!("../../config/director.toml");

/// Everything that a director is told at its start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// `[director]`.
    pub director: DirectorConfig,
    /// `[dpdk]`.
    pub dpdk: DpdkConfig,
    /// `[sync]`.
    pub sync: SyncConfig,
    /// `[metrics]`.
    pub metrics: MetricsConfig,
    /// `[announce]`.
    pub announce: AnnounceConfig,
    /// `[[port]]`, in order.
    pub ports: Vec<PortConfig>,
    /// `[vs]`, `[marks]` and `[[service]]`.
    pub rules: RuleSet,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Polls on: the least latency, a whole core.
    Spin,
    /// Sleeps longer and longer, up to a fraction of a millisecond: for machines that are shared.
    #[default]
    Sleep,
}

/// `[director]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DirectorConfig {
    /// Worker threads.
    #[serde(deserialize_with = "value::workers")]
    pub workers: u16,
    /// Cores of the workers, in order; empty: chosen.
    pub cpus: Vec<u32>,
    /// Core of the control thread.
    pub control_cpu: Auto<u32>,
    /// Idle policy.
    pub idle: Idle,
    /// Starts on fewer cores than there are workers, several sharing one.
    pub allow_fewer: bool,
    /// Frames in a burst.
    #[serde(deserialize_with = "value::burst")]
    pub burst: u16,
    /// Room for IPv4 connections, each worker.
    #[serde(deserialize_with = "value::entries")]
    pub connections: u32,
    /// Room for IPv6 connections, each worker.
    #[serde(deserialize_with = "value::entries")]
    pub connections6: u32,
    /// Room for IPv4 templates, each worker.
    #[serde(deserialize_with = "value::entries")]
    pub templates: u32,
    /// Room for IPv6 templates, each worker.
    #[serde(deserialize_with = "value::entries")]
    pub templates6: u32,
    /// Room for FTP control connections with passive data connections, each worker.
    #[serde(deserialize_with = "value::side_entries")]
    pub ftp_connections: u32,
    /// Room for Call-IDs of SIP calls, each worker.
    #[serde(deserialize_with = "value::side_entries")]
    pub call_ids: u32,
    /// Room for services.
    #[serde(deserialize_with = "value::rules")]
    pub services: u32,
    /// Room for destinations.
    #[serde(deserialize_with = "value::rules")]
    pub destinations: u32,
    /// Seed of the hash; drawn at start unless given.
    pub seed: Auto<u64>,
    /// Seconds that SIGTERM gives open connections to end, with no new ones scheduled; 0: it stops at once.
    pub drain_secs: u32,
    /// Path of the control socket.
    pub socket: PathBuf,
    /// Path of the netlink-compatible socket, from the control socket's folder on; empty: there is none.
    pub ipvs_socket: PathBuf,
    /// Path of the state file; empty: nothing is persisted.
    pub state: PathBuf,
    /// Connections and templates are handed over to the next process, by a file beside the state file.
    pub handover: bool,
}

impl Default for DirectorConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            cpus: Vec::new(),
            control_cpu: Auto::Auto,
            idle: Idle::default(),
            allow_fewer: false,
            burst: 32,
            connections: 1 << 21,
            connections6: 1 << 18,
            templates: 1 << 17,
            templates6: 1 << 15,
            ftp_connections: 16_384,
            call_ids: 16_384,
            services: 65_536,
            destinations: 65_536,
            seed: Auto::Auto,
            drain_secs: 0,
            socket: "/run/pollvs/control.sock".into(),
            ipvs_socket: "ipvs.sock".into(),
            state: "/var/lib/pollvs/state.json".into(),
            handover: true,
        }
    }
}

impl DirectorConfig {
    /// Sizes of one worker's tables.
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.connections,
            connections6: self.connections6,
            templates: self.templates,
            templates6: self.templates6,
            destinations: self.destinations,
            ftp: self.ftp_connections,
            calls: self.call_ids,
        }
    }

    /// Where the netlink-compatible socket is, if there is to be one.
    pub fn ipvs_path(&self) -> Option<PathBuf> {
        let folder = self.socket.parent().unwrap_or(std::path::Path::new(""));
        (!self.ipvs_socket.as_os_str().is_empty()).then(|| folder.join(&self.ipvs_socket))
    }

    /// The file by which connections are handed over, if they are.
    pub fn handover_path(&self) -> Option<PathBuf> {
        let kept = self.handover && !self.state.as_os_str().is_empty();
        kept.then(|| self.state.with_extension("connections"))
    }
}

/// Huge pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Huge {
    /// When enough of them are free.
    #[default]
    Auto,
    /// Ordinary pages.
    Never,
    /// Or do not start.
    Required,
}

/// `[dpdk]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DpdkConfig {
    /// Memory for frames and rings, in MiB.
    #[serde(deserialize_with = "value::memory")]
    pub memory_mb: u32,
    /// Huge pages.
    pub huge: Huge,
    /// More arguments for DPDK's environment.
    pub extra_args: Vec<String>,
}

impl Default for DpdkConfig {
    fn default() -> Self {
        Self { memory_mb: 256, huge: Huge::default(), extra_args: Vec::new() }
    }
}

/// `[sync]`: the synchronisation of directors.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyncConfig {
    /// File of the key that messages are signed with; empty: they are not, as the kernel's are not.
    pub key_file: PathBuf,
    /// Networks that messages are taken from; empty: those of the daemon's interface.
    pub sources: Vec<Cidr>,
    /// How many of a hundred connections must be here before the director says that it is ready to take over.
    #[serde(deserialize_with = "value::percent")]
    pub ready_percent: u8,
    /// Connections and templates that a director that joins is told of in a second.
    #[serde(deserialize_with = "value::per_second")]
    pub transfer_per_second: u32,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self { key_file: PathBuf::new(), sources: Vec::new(), ready_percent: 95, transfer_per_second: 50_000 }
    }
}

/// `[metrics]`: what the director counts, for Prometheus.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Where it is asked by HTTP.
    pub listen: Listen,
}

/// How many of the services of a virtual address must be up for it to be announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// One of them.
    #[default]
    Any,
    /// All of them.
    All,
}

/// `[announce]`: virtual addresses that a routing daemon is to announce.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnnounceConfig {
    /// The interface on which they are; empty: pollvsd puts none anywhere.
    pub interface: String,
    /// Those that belong to these networks; empty: those of all services.
    pub networks: Vec<Cidr>,
    /// When.
    pub require: Require,
}

impl AnnounceConfig {
    /// Is that address one of those that are announced?
    pub fn takes(&self, address: IpAddr) -> bool {
        !self.interface.is_empty()
            && (self.networks.is_empty() || self.networks.iter().any(|network| network.holds(address)))
    }
}

/// Finishing of checksums that senders left to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyChecksums {
    /// On for devices that the kernel stands behind.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What arrives by a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortRole {
    /// See [`Config::role`].
    #[default]
    Auto,
    /// Requests of clients, and in a network of one arm all the rest.
    Outside,
    /// Replies of servers, to be translated.
    Inside,
}

/// `[[port]]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortConfig {
    /// Its name.
    pub name: String,
    /// PCI address, or virtual device with its arguments.
    pub device: String,
    /// What arrives there: clients' requests, or servers' replies.
    #[serde(default)]
    pub role: PortRole,
    /// Queues; one for each worker unless given.
    #[serde(default)]
    pub queues: Auto<u16>,
    /// Largest IP packet in bytes; the device's own unless given.
    #[serde(default)]
    pub mtu: Auto<u16>,
    /// Frames that a receive queue holds.
    #[serde(default = "value::default_descriptors", deserialize_with = "value::descriptors")]
    pub rx_desc: u16,
    /// Frames that a transmit queue holds.
    #[serde(default = "value::default_descriptors", deserialize_with = "value::descriptors")]
    pub tx_desc: u16,
    /// Name of the kernel twin; empty for none; the port's name unless given.
    #[serde(default)]
    pub twin: Option<String>,
    /// Does the twin stay, with its addresses and routes, when the director ends?
    #[serde(default = "value::yes")]
    pub keep_twin: bool,
    /// Addresses to put on the twin.
    #[serde(default)]
    pub addresses: Vec<Cidr>,
    /// Takes frames for any MAC address.
    #[serde(default)]
    pub promiscuous: bool,
    /// Finishing of checksums.
    #[serde(default)]
    pub verify_checksums: VerifyChecksums,
}

impl PortConfig {
    /// The kernel's name for the twin, if there is to be one.
    pub fn twin_name(&self) -> Option<&str> {
        let name = self.twin.as_ref().unwrap_or(&self.name);
        (!name.is_empty()).then_some(name)
    }

    /// Queues of this port.
    pub fn queue_count(&self, director: &DirectorConfig) -> u16 {
        self.queues.unwrap_or(director.workers)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    director: DirectorConfig,
    dpdk: DpdkConfig,
    sync: SyncConfig,
    metrics: MetricsConfig,
    announce: AnnounceConfig,
    port: Vec<Spanned<PortConfig>>,
    vs: Option<Settings>,
    marks: marks::MarksSection,
    service: Vec<Spanned<rules::ServiceSection>>,
}

impl Config {
    /// Reads a configuration. `name` is the file's, for messages. Never panics, whatever the text is.
    ///
    /// # Errors
    /// What is wrong, where, and what to do.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let place = error::Place { name, text };
        let file: File = toml::from_str(text).map_err(|e| place.toml(e))?;
        check_cpus(&place, &file.director)?;
        check_ports(&place, &file)?;
        check_announce(&place, &file.announce)?;
        let marks = marks::convert(&place, &file.marks)?;
        let services = rules::convert(&place, file.service)?;
        Ok(Self {
            rules: RuleSet { settings: file.vs.unwrap_or_default(), marks, services, daemons: Vec::new() },
            ports: file.port.into_iter().map(Spanned::into_inner).collect(),
            director: file.director,
            dpdk: file.dpdk,
            sync: file.sync,
            metrics: file.metrics,
            announce: file.announce,
        })
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// As [`Config::parse`], and when the file cannot be read.
    pub fn load(path: &std::path::Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::unreadable(&name, &e))?;
        Self::parse(&name, &text)
    }

    /// What arrives by a port. Unless it says so itself: replies, if it is one of several and a network of its `addresses` has a
    /// destination of the configuration that is reached by NAT, and none of its virtual addresses.
    pub fn role(&self, port: &PortConfig) -> Role {
        match port.role {
            PortRole::Outside => Role::Outside,
            PortRole::Inside => Role::Inside,
            PortRole::Auto if self.ports.len() > 1 && self.is_servers(port) => Role::Inside,
            PortRole::Auto => Role::Outside,
        }
    }

    fn is_servers(&self, port: &PortConfig) -> bool {
        let holds = |address: IpAddr| port.addresses.iter().any(|network| network.holds(address));
        let services = &self.rules.services;
        let is_virtual = |key: &ServiceKey| matches!(key, ServiceKey::Address { address, .. } if holds(*address));
        let virtual_one = services.iter().any(|s| is_virtual(&s.service.service));
        let nat = |d: &&DestinationSpec| d.method == Method::Nat;
        let mut servers = services.iter().flat_map(|s| s.destinations.iter()).filter(nat);
        !virtual_one && servers.any(|d| holds(d.address.ip()))
    }

    /// The embedded default.
    pub fn embedded() -> Self {
        Self::parse("(embedded)", EMBEDDED).expect("a test reads the embedded configuration")
    }

    /// What differs from `running` outside the rules, and so needs a restart: the keys.
    pub fn needs_restart(&self, running: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        differences("director", &self.director, &running.director, &mut keys);
        differences("dpdk", &self.dpdk, &running.dpdk, &mut keys);
        differences("sync", &self.sync, &running.sync, &mut keys);
        differences("metrics", &self.metrics, &running.metrics, &mut keys);
        differences("announce", &self.announce, &running.announce, &mut keys);
        if self.ports != running.ports {
            keys.push("port".to_owned());
        }
        keys
    }
}

fn differences<T: Serialize>(section: &str, new: &T, old: &T, keys: &mut Vec<String>) {
    let table = |value: &T| serde_json::to_value(value).expect("a section has string keys");
    let (new, old) = (table(new), table(old));
    for (key, value) in new.as_object().into_iter().flatten() {
        if old.get(key) != Some(value) {
            keys.push(format!("{section}.{key}"));
        }
    }
}

fn check_cpus(place: &error::Place<'_>, director: &DirectorConfig) -> Result<(), ConfigError> {
    let (cpus, workers) = (director.cpus.len(), usize::from(director.workers));
    if cpus != 0 && cpus < workers && !director.allow_fewer {
        let text = format!("{cpus} cores for {workers} workers; name {workers}, or set allow_fewer = true");
        return Err(place.key("director.cpus", place.find("cpus"), text));
    }
    Ok(())
}

fn check_announce(place: &error::Place<'_>, announce: &AnnounceConfig) -> Result<(), ConfigError> {
    if announce.interface.is_empty() {
        return Ok(());
    }
    let key = "announce.interface";
    value::check_name(key, &announce.interface).map_err(|e| place.key(key, place.find("interface"), e))
}

fn check_ports(place: &error::Place<'_>, file: &File) -> Result<(), ConfigError> {
    for (index, port) in file.port.iter().enumerate() {
        let (line, port) = (port.span().start, port.get_ref());
        let queues = port.queue_count(&file.director);
        if queues < file.director.workers {
            let workers = file.director.workers;
            let text = format!("{queues} queues for {workers} workers; each worker needs one of its own on every port");
            return Err(place.key("port.queues", line, text));
        }
        if queues > file.director.workers {
            let workers = file.director.workers;
            let text =
                format!("{queues} queues for {workers} workers; nobody would poll the rest: write queues = \"auto\"");
            return Err(place.key("port.queues", line, text));
        }
        value::check_name("port.name", &port.name).map_err(|e| place.key("port.name", line, e))?;
        if let Some(twin) = port.twin_name() {
            value::check_name("port.twin", twin).map_err(|e| place.key("port.twin", line, e))?;
        }
        let same = |other: &&Spanned<PortConfig>| {
            let other = other.get_ref();
            other.name == port.name
                || other.device == port.device
                || (port.twin_name().is_some() && other.twin_name() == port.twin_name())
        };
        if file.port.iter().take(index).any(|p| same(&p)) {
            let text = format!("{:?} shares its name, its device or its twin with another port", port.name);
            return Err(place.key("port.name", line, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
