//! What is measured, and the rules that a director has for it.

use std::net::IpAddr;
use std::sync::Arc;

use clap::ValueEnum;
use pollvs::addr::MacAddr;
use pollvs::destination::{DestId, Destination, Method, Tunnel};
use pollvs::director::Limits;
use pollvs::netmask::Netmask;
use pollvs::service::{Persistence, Protocol, SchedulerName, Service, ServiceFlags, ServiceId, ServiceKey};
use pollvs::settings::Settings;
use pollvs::snapshot::{Rules, Snapshot};

use crate::traffic::generator::{Family, Packets};
use crate::traffic::{self, SERVER, SERVER6, VIP, VIP6};

/// Fewer new connections than this take too short a time to be measured.
const FEWEST_NEW: u32 = 16384;
/// The most packets of a recording: more of them drown the signal.
pub(crate) const MOST_RECORDED: u32 = 8192;

/// One case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Case {
    /// Generator and MAC swap, nothing else: the baseline.
    Macswap,
    /// Packets are parsed, and four workers' clients told apart in software.
    Steer,
    /// Client packets of established connections, by direct routing.
    Dr,
    /// The same through an IP-in-IP tunnel.
    Tun,
    /// The same by masquerade.
    Nat,
    /// Server packets of masqueraded connections.
    NatReply,
    /// As `dr`, of a persistent service.
    Persistent,
    /// TCP SYNs that each make a connection, by direct routing.
    NewDr,
    /// UDP datagrams that each make a connection, by masquerade.
    NewNat,
    /// Of ten packets one makes a connection, by direct routing, and nine belong to open ones, while old ones time out.
    Mix,
    /// As `dr`, while a master of the synchronisation tells another director of the connections.
    DrTold,
}

/// Where packets come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Origin {
    /// A ring that loops back, and the in-core generator.
    Ring,
    /// A recording that DPDK's net_pcap plays over and over.
    Pcap,
}

impl Case {
    /// What is measured unless asked otherwise.
    pub(crate) fn usual() -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|case| *case != Self::DrTold).collect()
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Does every packet make a connection?
    pub(crate) fn is_new(self) -> bool {
        matches!(self, Self::NewDr | Self::NewNat)
    }

    /// Can it be measured with so many flows, from there?
    pub(crate) fn is_for(self, flows: u32, origin: Origin) -> bool {
        let opens = self.is_new() || self == Self::Mix;
        match origin {
            Origin::Ring => !opens || flows >= FEWEST_NEW,
            Origin::Pcap => !opens && flows <= MOST_RECORDED,
        }
    }

    pub(crate) fn packets(self) -> Packets {
        match self {
            Self::NatReply => Packets::Replies,
            Self::NewDr => Packets::Requests("S"),
            Self::NewNat => Packets::Datagrams,
            _ => Packets::Requests("A"),
        }
    }

    /// Bytes that the director puts in front of a frame.
    pub(crate) fn front(self, family: Family) -> usize {
        match (self, family) {
            (Self::Tun, Family::V4) => 20,
            (Self::Tun, Family::V6) => 40,
            _ => 0,
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Tun => Method::Tun,
            Self::Nat | Self::NatReply | Self::NewNat => Method::Nat,
            _ => Method::Dr,
        }
    }

    /// Sizes of the tables.
    pub(crate) fn limits(self, family: Family, flows: u32) -> Limits {
        let few = 1024;
        let connections = match self {
            Self::Macswap | Self::Steer => few,
            // As many as are open time out, some room for those whose turn it is.
            Self::Mix => flows * 2 + flows / 8,
            _ => flows,
        };
        let templates = if self == Self::Persistent { flows.max(few) } else { few };
        let pick = |wanted: u32, of| if family == of { wanted } else { few };
        Limits {
            connections: pick(connections, Family::V4),
            connections6: pick(connections, Family::V6),
            templates: pick(templates, Family::V4),
            templates6: pick(templates, Family::V6),
            destinations: 16,
            ftp: 64,
            calls: 64,
        }
    }

    /// A service with one destination.
    pub(crate) fn snapshot(self, family: Family, mac: MacAddr) -> Arc<Snapshot> {
        let (vip, server): (IpAddr, IpAddr) =
            if family == Family::V4 { (VIP.into(), SERVER.into()) } else { (VIP6.into(), SERVER6.into()) };
        let id = ServiceId(0);
        let dest = Arc::new(Destination {
            id: DestId(0),
            uid: 1,
            entered: 0,
            service: id,
            of: ServiceKey::Mark { mark: 1, v6: family == Family::V6 },
            address: server,
            port: 80,
            weight: 1,
            method: self.method(),
            tunnel: Tunnel::Ipip,
            upper: 0,
            lower: 0,
            available: true,
            holds: true,
            ends: false,
        });
        let protocol = if self == Self::NewNat { Protocol::Udp } else { Protocol::Tcp };
        let netmask = Netmask::Prefix(if family == Family::V4 { 32 } else { 128 });
        let service = Arc::new(Service {
            id,
            uid: 2,
            version: 1,
            key: ServiceKey::Address { protocol, address: vip, port: 80 },
            scheduler: SchedulerName::Rr,
            persistence: (self == Self::Persistent).then_some(Persistence { timeout_secs: 300, netmask }),
            engine: None,
            flags: ServiceFlags::default(),
            destinations: vec![Arc::clone(&dest)],
        });
        let rules = Rules::new(vec![Some(service)], vec![Some(dest)], Settings::default());
        let rules = rules.telling(self == Self::DrTold);
        Arc::new(Snapshot::new(1, Arc::new(rules), Arc::new(traffic::network(mac))))
    }
}
