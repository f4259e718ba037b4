//! A virtual service (the kernel's `struct ip_vs_service`): what is balanced, by which scheduler, over which destinations.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::destination::Destination;
use crate::netmask::Netmask;

/// Index of a service, stable for its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ServiceId(pub u32);

impl ServiceId {
    /// The index as a `usize`.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The protocol of a service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "ProtocolName", into = "ProtocolName")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// Any other IP protocol: kept and listed as the kernel does, which balances none of them either.
    Other(u8),
}

impl Protocol {
    /// The protocol of this IP protocol number, if it is one that can be balanced.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// The protocol of this IP protocol number, whatever it is.
    pub fn any(number: u8) -> Self {
        Self::from_number(number).unwrap_or(Self::Other(number))
    }

    /// Its IP protocol number.
    #[inline]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Other(number) => number,
        }
    }
}

/// As `/proc/net/ip_vs` has it.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("TCP"),
            Self::Udp => f.write_str("UDP"),
            Self::Sctp => f.write_str("SCTP"),
            Self::Other(number) => write!(f, "IP_{number}"),
        }
    }
}

/// A protocol as a file has it: `"tcp"`, `"udp"`, `"sctp"`, or a number.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ProtocolName {
    Name(String),
    Number(u8),
}

impl TryFrom<ProtocolName> for Protocol {
    type Error = String;

    fn try_from(name: ProtocolName) -> Result<Self, String> {
        match name {
            ProtocolName::Number(number) => Ok(Self::any(number)),
            ProtocolName::Name(name) => match name.as_str() {
                "tcp" => Ok(Self::Tcp),
                "udp" => Ok(Self::Udp),
                "sctp" => Ok(Self::Sctp),
                _ => Err(format!("{name:?} is no protocol; there are \"tcp\", \"udp\" and \"sctp\"")),
            },
        }
    }
}

impl From<Protocol> for ProtocolName {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Other(number) => Self::Number(number),
            named => Self::Name(named.to_string().to_lowercase()),
        }
    }
}

/// What a service is found by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ServiceKey {
    /// Protocol, virtual address, port (0: every port).
    Address {
        /// Transport protocol.
        protocol: Protocol,
        /// Virtual address (VIP).
        address: IpAddr,
        /// Virtual port.
        port: u16,
    },
    /// A firewall mark.
    Mark {
        /// The mark, not 0.
        mark: u32,
        /// Marks are kept apart by family.
        v6: bool,
    },
}

/// A word or three, for the sake of the first packets of flows: what is derived hashes byte by byte.
impl Hash for ServiceKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match *self {
            Self::Address { protocol, address, port } => {
                let end = u64::from(port) << 8 | u64::from(protocol.number());
                match address {
                    IpAddr::V4(address) => state.write_u64(end << 32 | u64::from(address.to_bits())),
                    IpAddr::V6(address) => {
                        state.write_u128(address.to_bits());
                        state.write_u64(end);
                    }
                }
            }
            Self::Mark { mark, v6 } => state.write_u64(u64::from(v6) << 32 | u64::from(mark)),
        }
    }
}

impl ServiceKey {
    /// IPv6?
    pub fn v6(&self) -> bool {
        match self {
            Self::Address { address, .. } => address.is_ipv6(),
            Self::Mark { v6, .. } => *v6,
        }
    }

    /// The virtual address; none for a mark.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address { address, .. } => Some(*address),
            Self::Mark { .. } => None,
        }
    }

    /// The virtual port; 0 for a mark.
    pub fn port(&self) -> u16 {
        match self {
            Self::Address { port, .. } => *port,
            Self::Mark { .. } => 0,
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, address: IpAddr::V4(a), port } => write!(f, "{protocol} {a}:{port}"),
            Self::Address { protocol, address: IpAddr::V6(a), port } => write!(f, "{protocol} [{a}]:{port}"),
            Self::Mark { mark, v6: false } => write!(f, "FWM {mark}"),
            Self::Mark { mark, v6: true } => write!(f, "FWM {mark} IPv6"),
        }
    }
}

/// Name of a scheduler, as `ipvsadm -s` spells it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerName {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connection.
    Lc,
    /// Weighted least connection.
    #[default]
    Wlc,
    /// Source hashing.
    Sh,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted failover.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// Destination hashing.
    Dh,
    /// Maglev hashing.
    Mh,
    /// Locality-based least connection.
    Lblc,
    /// Locality-based least connection with replication.
    Lblcr,
    /// Power of two choices.
    Twos,
    /// None: nobody is picked.
    None,
}

impl SchedulerName {
    /// Every scheduler there is.
    pub const ALL: &'static [Self] = &[
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Sh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
        Self::Dh,
        Self::Mh,
        Self::Lblc,
        Self::Lblcr,
        Self::Twos,
        Self::None,
    ];

    /// The name that ipvsadm uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Dh => "dh",
            Self::Mh => "mh",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Twos => "twos",
            Self::None => "none",
        }
    }

    /// The scheduler of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.name() == name)
    }
}

/// Persistence of a service (`-p`, `-M`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Persistence {
    /// Life of a template in seconds.
    pub timeout_secs: u32,
    /// Bits of the client's address that a template keeps.
    pub netmask: Netmask,
}

/// A persistence engine: what else than its address a client is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The Call-ID of SIP messages.
    Sip,
}

impl Engine {
    /// Every engine there is.
    pub const ALL: &'static [Self] = &[Self::Sip];

    /// The name that ipvsadm uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sip => "sip",
        }
    }

    /// The engine of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|engine| engine.name() == name)
    }
}

/// Flags of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServiceFlags {
    /// Every datagram is scheduled by itself (`-o`).
    pub one_packet: bool,
    /// Scheduler flag 1: `sh-fallback`, `mh-fallback`.
    pub sched1: bool,
    /// Scheduler flag 2: `sh-port`, `mh-port`.
    pub sched2: bool,
    /// Scheduler flag 3.
    pub sched3: bool,
}

/// One virtual service. Immutable: a change makes a new one with the same `id` and a greater `version`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its index.
    pub id: ServiceId,
    /// Never used twice: tells a worker that an index now means another service.
    pub uid: u64,
    /// Grows with every change of the service or its destinations; what a worker compares to know that its scheduler must look.
    pub version: u64,
    /// What it is found by.
    pub key: ServiceKey,
    /// Its scheduler.
    pub scheduler: SchedulerName,
    /// Persistence, if any.
    pub persistence: Option<Persistence>,
    /// Persistence engine, if any.
    pub engine: Option<Engine>,
    /// Its flags.
    pub flags: ServiceFlags,
    /// Its destinations, newest first: the order in which the kernel's schedulers walk.
    pub destinations: Vec<Arc<Destination>>,
}

impl Service {
    /// The destination of that address and port.
    pub fn destination(&self, address: SocketAddr) -> Option<&Arc<Destination>> {
        self.destinations.iter().find(|d| d.is_at(address))
    }
}
