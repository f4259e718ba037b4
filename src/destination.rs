//! A destination: one real server of one virtual service (the kernel's `struct ip_vs_dest`).

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::service::{ServiceId, ServiceKey};

/// Index of a destination, stable for its life; also the index of its counters on every worker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DestId(pub u32);

impl DestId {
    /// No destination: of a connection that goes past all of them.
    pub const NONE: Self = Self(u32::MAX);

    /// The index as a `usize`.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How packets reach the destination.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Addresses and ports are rewritten, and back on the way out (masquerade, `-m`).
    Nat,
    /// Only the MAC changes (direct routing, `-g`).
    #[default]
    Dr,
    /// Encapsulated (`-i`), as [`Tunnel`] says.
    Tun,
    /// Left to the director's own stack, whatever the destination's address is (the kernel's number 1).
    Local,
    /// Past the destination, to the address that the client asked for (the kernel's number 4).
    Bypass,
    /// The kernel's number 5, which has no name: it keeps and lists it, and leaves the packets to its own stack.
    #[serde(rename = "method-5")]
    Five,
    /// Number 6, likewise.
    #[serde(rename = "method-6")]
    Six,
    /// Number 7, likewise.
    #[serde(rename = "method-7")]
    Seven,
}

impl Method {
    /// By the kernel's numbers.
    const NUMBERED: [Self; 8] =
        [Self::Nat, Self::Local, Self::Tun, Self::Dr, Self::Bypass, Self::Five, Self::Six, Self::Seven];

    /// The method of the kernel's number, of which the three lowest bits are looked at.
    pub fn from_number(number: u32) -> Self {
        Self::NUMBERED[(number & 7) as usize]
    }

    /// The kernel's number.
    pub fn number(self) -> u32 {
        (0..8).find(|number| Self::from_number(*number) == self).unwrap_or_default()
    }

    /// Is it the director's own stack that gets the packets?
    pub fn is_local(self) -> bool {
        matches!(self, Self::Local | Self::Five | Self::Six | Self::Seven)
    }
}

/// The encapsulation of [`Method::Tun`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type", deny_unknown_fields)]
pub enum Tunnel {
    /// IP in IP (RFC 2003).
    #[default]
    Ipip,
    /// Generic UDP encapsulation to `port`.
    Gue {
        /// UDP port of the real server.
        port: u16,
        /// Checksum of the outer UDP datagram.
        checksum: bool,
        /// Remote checksum offload: as `checksum` for every packet that comes in by a wire. The option of the header tells a receiver
        /// where to put a checksum that was left to hardware, and none of these was.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        remote_checksum: bool,
    },
    /// GRE (RFC 2784).
    Gre {
        /// GRE checksum.
        checksum: bool,
    },
}

/// What tells a tunnel from others to the same address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shim {
    /// IP in IP.
    Ipip,
    /// GRE.
    Gre,
    /// GUE to this UDP port.
    Gue(u16),
}

impl Tunnel {
    /// What tells it from others.
    pub fn shim(self) -> Shim {
        match self {
            Self::Ipip => Shim::Ipip,
            Self::Gre { .. } => Shim::Gre,
            Self::Gue { port, .. } => Shim::Gue(port),
        }
    }
}

/// One real server of one service. Immutable: an edit makes a new one with the same `id` and `uid`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Its index.
    pub id: DestId,
    /// Never used twice: tells a worker that an index now means another destination.
    pub uid: u64,
    /// When it was entered among all destinations, counted in changes of rules: when it came, came back, or changed its method or
    /// tunnel. Of several at one address the kernel finds the last (`ip_vs_rs_hash`).
    pub entered: u64,
    /// The service it belongs to, or belonged to.
    pub service: ServiceId,
    /// What that is found by.
    pub of: ServiceKey,
    /// Address of the real server.
    pub address: IpAddr,
    /// Port of the real server; 0 for a service of all ports.
    pub port: u16,
    /// Share of new connections; 0 quiesces: existing connections and templates go on, no new picks.
    pub weight: u32,
    /// Forwarding method of new connections.
    pub method: Method,
    /// Encapsulation, when the method is TUN.
    pub tunnel: Tunnel,
    /// Upper connection threshold; 0 for none.
    pub upper: u32,
    /// Lower connection threshold; 0 for three quarters of the upper.
    pub lower: u32,
    /// False once it has been removed from its service and only lives on for its connections.
    pub available: bool,
    /// False: templates no longer lead clients here, whatever its weight.
    pub holds: bool,
    /// It is not available and what it has is to end, whatever settings say.
    pub ends: bool,
}

impl Destination {
    /// Is that its address and port?
    pub fn is_at(&self, address: SocketAddr) -> bool {
        (self.address, self.port) == (address.ip(), address.port())
    }
}
