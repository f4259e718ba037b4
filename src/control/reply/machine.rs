//! What is told of the machine: workers, ports, counters.

use serde::{Deserialize, Serialize};

use crate::io::PortCounters;
use crate::steering::SteeringReport;

/// One worker.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WorkerView {
    /// Index.
    pub worker: u16,
    /// The core it is pinned to, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Turns of the poll loop.
    pub turns: u64,
    /// Turns that found a packet.
    pub busy_turns: u64,
    /// Nanoseconds that these took, since the start.
    #[serde(default)]
    pub busy_ns: u64,
    /// Frames in them: off the wire, from other workers and from the kernel twin.
    #[serde(default)]
    pub frames: u64,
    /// How long they took of late.
    #[serde(default)]
    pub bursts: BurstView,
    /// Connections.
    pub connections: u64,
    /// Room for connections.
    pub connections_max: u64,
    /// Templates.
    pub templates: u64,
    /// Room for templates.
    pub templates_max: u64,
    /// Frames received.
    pub received: u64,
    /// Frames transmitted.
    pub transmitted: u64,
    /// Frames given to the kernel twin.
    pub passed: u64,
    /// Frames given to other workers.
    pub handed_off: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Version of the rules in force here.
    pub snapshot: u64,
}

/// Nanoseconds that turns with packets took in the last ten to twenty seconds: so much or less in this share of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BurstView {
    /// Half.
    pub p50_ns: u64,
    /// 90 %.
    pub p90_ns: u64,
    /// 99 %.
    pub p99_ns: u64,
    /// 99.9 %.
    pub p999_ns: u64,
    /// All.
    pub max_ns: u64,
}

/// One port.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PortView {
    /// Name.
    pub name: String,
    /// PCI address or device string.
    pub device: String,
    /// MAC.
    pub mac: String,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Queues.
    pub queues: u16,
    /// Link is up.
    pub up: bool,
    /// How often it was lost.
    #[serde(default)]
    pub link_losses: u64,
    /// How often its device was removed.
    #[serde(default)]
    pub removals: u64,
    /// Why its device is not there; empty while it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gone: String,
    /// Name of the kernel twin; empty for none.
    pub twin: String,
    /// Who brings its packets to their clients' workers.
    #[serde(default)]
    pub steering: SteeringReport,
    /// Frames that came to another worker than their client's.
    #[serde(default)]
    pub handed_over: u64,
    /// Those among them that the device was to bring to the right one.
    #[serde(default)]
    pub astray: u64,
    /// Counters of the device.
    pub counters: PortCounters,
}

/// Who brings the packets of a port to their clients' workers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PortSteering {
    /// Name of the port.
    pub port: String,
    /// How it is steered.
    #[serde(flatten)]
    pub report: SteeringReport,
    /// As of a port.
    pub handed_over: u64,
    /// As of a port.
    pub astray: u64,
}

impl From<&PortView> for PortSteering {
    fn from(p: &PortView) -> Self {
        Self { port: p.name.clone(), report: p.steering.clone(), handed_over: p.handed_over, astray: p.astray }
    }
}

/// One counter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CounterView {
    /// For programs.
    pub name: String,
    /// For people.
    pub text: String,
    /// How often.
    pub count: u64,
}
