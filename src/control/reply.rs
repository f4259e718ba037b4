//! What the director answers on the control socket: one JSON object a line, `{"reply": "services", ...}`. A long listing is several
//! lines, the last of which has `"more": false`. The first line of a connection is the director's `hello`.

mod machine;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::control::daemon::DaemonSpec;
use crate::control::event::Told;
use crate::control::health::view::CheckView;
use crate::control::request::SchedulerFlag;
use crate::control::standing::drain::Templates;
use crate::control::standing::{Policy, Standing};
use crate::control::sync::SyncView;
use crate::destination::{Method, Tunnel};
use crate::mark::MarkRules;
use crate::netmask::Netmask;
use crate::service::{Engine, SchedulerName, ServiceKey};
use crate::settings::{Settings, Timeouts};
use crate::stats::Traffic;

pub use machine::{BurstView, CounterView, PortSteering, PortView, WorkerView};

/// Version of the protocol. Grows when a client written for the old one would be misled.
pub const PROTOCOL: u32 = 1;

/// One reply, one line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The greeting.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Version of the program.
        version: String,
    },
    /// Accepted, persisted, and in force on every worker.
    Done {},
    /// Refused; nothing has changed.
    Error(Failure),
    /// To `status`.
    Status(StatusView),
    /// To `services`.
    Services {
        /// In order of creation.
        services: Vec<ServiceView>,
        /// Another line follows.
        more: bool,
    },
    /// To `connections` and `templates`.
    Connections {
        /// In the order of the tables.
        connections: Vec<ConnectionView>,
        /// Another line follows.
        more: bool,
    },
    /// To `checks`.
    Checks {
        /// By service and destination, as `services` lists them.
        checks: Vec<CheckView>,
        /// Another line follows.
        more: bool,
    },
    /// To `workers`.
    Workers {
        /// By index.
        workers: Vec<WorkerView>,
        /// By which worker packets come, port by port.
        #[serde(default)]
        steering: Vec<PortSteering>,
    },
    /// To `ports`.
    Ports {
        /// In the order of the configuration.
        ports: Vec<PortView>,
    },
    /// To `counters`.
    Counters {
        /// Packets dropped, by reason.
        drops: Vec<CounterView>,
        /// What else happened.
        events: Vec<CounterView>,
    },
    /// To `next_hops`.
    NextHops {
        /// One for each address of a destination.
        next_hops: Vec<NextHopView>,
    },
    /// To `why`.
    Why(Box<WhyView>),
    /// To `capture`.
    Frames {
        /// In the order in which each worker saw them.
        frames: Vec<FrameView>,
        /// Frames that were not shown, since nobody took them in time.
        lost: u64,
        /// Another line follows.
        more: bool,
    },
    /// To `trace`.
    Trace {
        /// In the order in which each worker saw them.
        packets: Vec<TraceView>,
        /// Packets that were not shown, since nobody took them in time.
        lost: u64,
        /// Another line follows.
        more: bool,
    },
    /// To `timeouts`.
    Timeouts(Timeouts),
    /// To `settings`.
    Settings(Settings),
    /// To `daemons`.
    Daemons {
        /// The master first.
        daemons: Vec<DaemonSpec>,
    },
    /// To `sync`.
    Sync(SyncView),
    /// To `marks`: the rules of each family, in order.
    Marks(MarkRules),
    /// To `save`.
    Rules {
        /// TOML.
        rules: String,
    },
    /// To `drains`.
    Drains {
        /// One for each destination that is drained.
        drains: Vec<DrainView>,
    },
    /// To `events`: one that happened.
    Event(Told),
    /// To `apply` and `reload`.
    Applied {
        /// What changed, a sentence each.
        changes: Vec<String>,
        /// What differs but needs a restart, a sentence each.
        restart: Vec<String>,
    },
}

impl Reply {
    /// Does another line of the same answer follow?
    pub fn has_more(&self) -> bool {
        match self {
            Self::Services { more, .. }
            | Self::Connections { more, .. }
            | Self::Checks { more, .. }
            | Self::Frames { more, .. }
            | Self::Trace { more, .. } => *more,
            _ => false,
        }
    }
}

/// Why a request was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what was wrong, and what to do.
    pub message: String,
}

impl Failure {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::Error(failure)
    }
}

/// Why a request was refused, for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The line is no request, or one of its values is nonsense.
    BadRequest,
    /// Edit, delete or list of a service that is not there.
    NoSuchService,
    /// Add of a service that is there.
    ServiceExists,
    /// A destination was given for a service that is not there.
    ServiceNotDefined,
    /// Edit or delete of a destination that is not there.
    NoSuchDestination,
    /// Add of a destination that is there.
    DestinationExists,
    /// No scheduler of that name.
    UnknownScheduler,
    /// No persistence engine of that name.
    UnknownEngine,
    /// An address that cannot be a real server's, port 0 without persistence, and the like.
    InvalidArgument,
    /// A number that cannot be.
    OutOfRange,
    /// Start of a synchronisation daemon that runs.
    DaemonRuns,
    /// Stop of a synchronisation daemon that does not run.
    NoDaemon,
    /// No interface of that name.
    NoSuchInterface,
    /// No mark rule at that place.
    NoSuchRule,
    /// Removal of a check that is not there.
    NoSuchCheck,
    /// No setting of that name.
    UnknownSetting,
    /// The TOML text is wrong; the message names line and key.
    BadRules,
    /// The state file could not be written; the change is taken back.
    NotPersisted,
    /// There is no room on the state file's disk; the change is taken back.
    DiskFull,
    /// A worker does not answer.
    WorkerSilent,
    /// No room for more (services, destinations).
    Full,
    /// Not now: the director is stopping.
    Stopping,
    /// This director cannot do that (no configuration file to reload, say).
    Unsupported,
}

/// The director at a glance.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StatusView {
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since start.
    pub uptime_secs: u64,
    /// Configuration file; empty for the embedded default.
    pub config: String,
    /// State file; empty when nothing is persisted.
    pub state: String,
    /// Stopping: no new connections are scheduled.
    pub draining: bool,
    /// Workers.
    pub workers: u32,
    /// Names of the ports.
    pub ports: Vec<String>,
    /// Services.
    pub services: u32,
    /// Destinations in services.
    pub destinations: u32,
    /// Connections of all workers.
    pub connections: u64,
    /// Room for connections, all workers.
    pub connections_max: u64,
    /// Templates of all workers.
    pub templates: u64,
    /// Room for templates, all workers.
    pub templates_max: u64,
    /// Version of the rules in force.
    pub snapshot: u64,
    /// What somebody should look at, a sentence each.
    pub warnings: Vec<String>,
}

/// One service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceView {
    /// What it is found by.
    pub service: ServiceKey,
    /// Its scheduler.
    pub scheduler: SchedulerName,
    /// Persistence, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<PersistenceView>,
    /// Persistence engine, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pe: Option<Engine>,
    /// Every datagram is scheduled by itself.
    pub one_packet: bool,
    /// Flags of the scheduler.
    pub flags: Vec<SchedulerFlag>,
    /// Since it was added, or since `zero`.
    pub traffic: Traffic,
    /// As estimated every 2 s.
    pub rates: Rates,
    /// Newest first: the order in which schedulers walk.
    pub destinations: Vec<DestinationView>,
    /// What is done as its destinations come and go.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// Weight of the destinations that are up and not drained, by the rules.
    #[serde(default)]
    pub weight_up: u64,
    /// Is that enough?
    #[serde(default)]
    pub quorum: bool,
    /// Its sorry server, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sorry: Option<SorryView>,
}

/// The sorry server of a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SorryView {
    /// Does it take what is new?
    pub on: bool,
    /// As a destination.
    pub destination: DestinationView,
}

impl ServiceView {
    /// The destinations that workers know: what the kernel's tools are shown.
    pub fn in_force(&self) -> impl Iterator<Item = &DestinationView> {
        let sorry = self.sorry.iter().filter(|sorry| sorry.on).map(|sorry| &sorry.destination);
        sorry.chain(self.destinations.iter().filter(|d| !d.removed))
    }
}

/// Persistence of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PersistenceView {
    /// Life of a template in seconds.
    pub timeout_secs: u32,
    /// Bits of the client's address that a template keeps.
    #[serde(rename = "prefix")]
    pub netmask: Netmask,
}

/// One destination.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DestinationView {
    /// Address and port.
    pub address: SocketAddr,
    /// Forwarding method.
    pub method: Method,
    /// Encapsulation of `tun`.
    pub tunnel: Tunnel,
    /// Weight in force.
    pub weight: u32,
    /// Weight by the rules, which is in force unless its standing says otherwise.
    #[serde(default)]
    pub configured_weight: u32,
    /// How it stands.
    #[serde(default)]
    pub standing: Standing,
    /// Why it is down; empty if it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its standing has it taken out of the service: workers do not know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Upper threshold, 0 for none.
    pub upper: u32,
    /// Lower threshold.
    pub lower: u32,
    /// Active connections (ActiveConn).
    pub active: u64,
    /// All others (InActConn).
    pub inactive: u64,
    /// Templates (PersistConn).
    pub persistent: u64,
    /// Above its threshold: it gets no new connections.
    pub overloaded: bool,
    /// Since it was added, or since `zero`.
    pub traffic: Traffic,
    /// As estimated every 2 s.
    pub rates: Rates,
    /// How it is reached.
    pub next_hop: HopView,
}

/// A destination that is drained.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DrainView {
    /// Its service.
    pub service: ServiceKey,
    /// Its address and port.
    pub destination: SocketAddr,
    /// What becomes of its templates.
    pub templates: Templates,
    /// Is it to be removed in the end?
    pub remove: bool,
    /// Seconds until the time for it is over; without end if not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_secs: Option<u64>,
    /// Is it over?
    pub over: bool,
    /// Active connections.
    pub active: u64,
    /// All others.
    pub inactive: u64,
    /// Templates.
    pub persistent: u64,
    /// Its oldest connection, if that was asked for and there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<OldestView>,
}

/// The oldest connection of a destination.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OldestView {
    /// The client.
    pub client: SocketAddr,
    /// State, as `ipvsadm -Lc` names it.
    pub state: String,
    /// At least so old.
    pub age_secs: u64,
    /// The worker that owns it.
    pub worker: u16,
}

impl DestinationView {
    /// May new connections go there? One whose next hop the kernel is still asking for gets them, and they wait.
    pub fn is_usable(&self) -> bool {
        let reached = !matches!(self.next_hop, HopView::Unreachable | HopView::Kernel);
        self.weight > 0 && !self.removed && !self.overloaded && reached
    }
}

/// Where a client's packet would go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WhyView {
    /// The worker that the client belongs to.
    pub worker: u16,
    /// By what: `connection`, `template`, `scheduler`, `bypass`, `kernel` (left to it), or `nothing` (dropped or refused).
    pub by: String,
    /// The service, if one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKey>,
    /// Its scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerName>,
    /// Firewall mark of the packet, 0 for none.
    #[serde(default)]
    pub mark: u32,
    /// State of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Ticks of 10 ms that connection or template has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ticks: Option<u32>,
    /// The destination, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationView>,
    /// Why not, and what else there is to say, a sentence each.
    pub reasons: Vec<String>,
}

/// One frame that was received or sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrameView {
    /// The worker that saw it.
    pub worker: u16,
    /// Nanoseconds since 1970.
    pub at_nanos: u64,
    /// Name of the port.
    pub port: String,
    /// Sent, not received.
    pub out: bool,
    /// Bytes of the frame.
    pub length: u32,
    /// The first of them, as hexadecimal digits.
    pub data: String,
}

/// What became of one packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TraceView {
    /// The worker that judged it.
    pub worker: u16,
    /// Nanoseconds since 1970.
    pub at_nanos: u64,
    /// The packet as it came, in one line.
    pub packet: String,
    /// What was seen in it and done with it, in order, a sentence each.
    pub steps: Vec<String>,
    /// The packet as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Per second, as the kernel rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Connections (CPS).
    pub connections: u64,
    /// Packets from clients (InPPS).
    pub in_packets: u64,
    /// Packets from servers (OutPPS).
    pub out_packets: u64,
    /// Bytes from clients (InBPS).
    pub in_bytes: u64,
    /// Bytes from servers (OutBPS).
    pub out_bytes: u64,
}

/// How an address is reached.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum HopView {
    /// The next hop has a MAC.
    Resolved {
        /// Name of the port.
        port: String,
        /// The next hop's MAC.
        mac: String,
        /// Largest IP packet on the way, in bytes.
        mtu: u16,
    },
    /// The kernel is still looking for the next hop's MAC.
    Unresolved {
        /// Name of the port.
        port: String,
        /// The next hop.
        neighbour: IpAddr,
    },
    /// The director itself.
    Local,
    /// Over an interface of the kernel that is no port.
    Kernel,
    /// No route.
    #[default]
    Unreachable,
}

/// How the destinations of one address are reached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NextHopView {
    /// The real server.
    pub address: IpAddr,
    /// Source of the outer header, for TUN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// How it is reached.
    pub next_hop: HopView,
}

/// One connection or template.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionView {
    /// `TCP`, `UDP`, `SCTP`; `IP` for the template of a mark.
    pub protocol: String,
    /// The client; of a template the masked client network.
    pub client: SocketAddr,
    /// The virtual address and port; of a mark's template the mark as an address.
    #[serde(rename = "virtual")]
    pub vip: SocketAddr,
    /// The real server.
    pub destination: SocketAddr,
    /// State, as `ipvsadm -Lc` names it.
    pub state: String,
    /// Ticks of 10 ms until it ends.
    pub expires_ticks: u32,
    /// Template?
    pub template: bool,
    /// Of a template: the persistence engine that made it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pe: Option<Engine>,
    /// Of such a template: what the engine knows its client by (the Call-ID).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pe_data: String,
    /// Was it taken over from another director?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub received: bool,
    /// The worker that owns it.
    pub worker: u16,
}
