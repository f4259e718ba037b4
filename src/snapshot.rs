//! What control tells the workers: the rules and the network, immutable and shared. Control builds a snapshot once, sends it to each
//! worker, and frees it after the last one has moved on; a worker's configuration never changes within a burst.

mod ends;
mod index;
mod rules;
mod virtuals;

use std::net::IpAddr;
use std::sync::Arc;

use crate::destination::{DestId, Destination, Tunnel};
use crate::family::Address;
use crate::mark::{Chain, Entrances, Fragment, Header, Marks};
use crate::network::{Hop, Network};
use crate::ready::{Ends6, Ready, Ways};
use crate::shelf::Shelf;

pub use rules::Rules;

/// How to reach a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Path {
    /// The next hop.
    pub hop: Hop,
    /// Source of the outer header (TUN), if the family and the route allow one.
    pub source: Option<IpAddr>,
    /// The destination's own address.
    pub address: Option<IpAddr>,
    /// Encapsulation (TUN).
    pub tunnel: Tunnel,
    /// False once the destination has been removed.
    pub available: bool,
}

impl Path {
    /// The way, if the destination is in service and its neighbour known. Through a tunnel only as long as it obeys DF (`pmtu_disc`).
    fn ready(&self, pmtu_disc: bool) -> Ready {
        let ready = if self.available { Ready::new(&self.hop) } else { Ready::default() };
        match self.address {
            Some(address) if pmtu_disc => ready.through(self.tunnel, self.source, address),
            _ => ready,
        }
    }
}

/// Rules and network at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with each snapshot.
    pub version: u64,
    /// Services and destinations.
    pub rules: Arc<Rules>,
    /// Ports, routes, neighbours.
    pub network: Arc<Network>,
    /// By [`DestId`]: how to reach it.
    pub paths: Shelf<Path>,
    /// What the interfaces of the mark rules mean.
    pub entrances: Entrances,
    /// By [`DestId`]: how to reach it, where that needs no more thought.
    pub ready: Vec<Ready>,
    /// By [`DestId`]: the ends of its tunnel, if that is over IPv6.
    pub ends6: Vec<Ends6>,
    /// The ways to clients that lie behind routers.
    pub ways4: Ways<u32>,
    /// The same of IPv6.
    pub ways6: Ways<u128>,
    /// By [`crate::verdict::PortId`]: the port's MAC as a number of 48 bits.
    pub macs: Vec<u64>,
}

impl Snapshot {
    /// Works out the path of every destination.
    pub fn new(version: u64, rules: Arc<Rules>, network: Arc<Network>) -> Self {
        let (paths, ready, ends6) = Default::default();
        let (ways4, ways6) = (Ways::new(&network.v4, &network.ports), Ways::new(&network.v6, &network.ports));
        let number = |mac: [u8; 6]| mac.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let macs = network.ports.iter().map(|port| number(port.mac.0)).collect();
        let entrances = rules.marks.entrances(network.ports.iter().map(|port| port.name.as_str()));
        let bare = Self { version, rules: Arc::default(), network, paths, entrances, ready, ends6, ways4, ways6, macs };
        bare.with_rules(version, rules)
    }

    /// The snapshot that follows. Costs what has changed, as long as network and settings are the same.
    #[must_use]
    pub fn following(&self, version: u64, rules: Arc<Rules>, network: &Arc<Network>) -> Self {
        let same = Arc::ptr_eq(network, &self.network)
            && Arc::ptr_eq(&rules.marks, &self.rules.marks)
            && rules.settings.pmtu_disc == self.rules.settings.pmtu_disc;
        if same { self.clone().with_rules(version, rules) } else { Self::new(version, rules, network.clone()) }
    }

    fn with_rules(mut self, version: u64, rules: Arc<Rules>) -> Self {
        let pmtu_disc = rules.settings.pmtu_disc;
        let count = rules.destinations.len().max(self.ready.len());
        self.ready.resize(count, Ready::default());
        self.ends6.resize(count, Ends6::NONE);
        for (index, _, now) in rules.destinations.changed(&self.rules.destinations) {
            let path = now.map(|d| path(&self.network, d));
            self.ready[index] = path.map_or_else(Ready::default, |path| path.ready(pmtu_disc));
            self.ends6[index] = path.map_or(Ends6::NONE, |path| Ends6::new(path.source, path.address));
            self.paths.put(index, path);
        }
        (self.version, self.rules) = (version, rules);
        self
    }

    /// The mark of a packet off the wire.
    pub fn mark<A: Marked>(&self, header: &Header<A>) -> u32 {
        A::chain(&self.rules.marks).mark(header, &self.entrances)
    }

    /// The mark of a fragment off the wire; `None` when a rule drops it.
    pub fn mark_of_fragment<A: Marked>(&self, header: &Header<A>, fragment: Fragment) -> Option<u32> {
        A::chain(&self.rules.marks).mark_of_fragment(header, &self.entrances, fragment)
    }

    /// Is what the destination has to end?
    pub fn ends(&self, dest: DestId) -> bool {
        self.rules.destination(dest).is_some_and(|d| d.ends)
    }

    /// The path of a destination; of one that there is not, a path to nowhere.
    #[inline]
    pub fn path(&self, dest: DestId) -> &Path {
        const NOWHERE: &Path =
            &Path { hop: Hop::Unreachable, source: None, address: None, tunnel: Tunnel::Ipip, available: false };
        self.paths.get(dest.index()).unwrap_or(NOWHERE)
    }
}

/// A family with a chain of its own.
pub trait Marked: Address {
    /// Its rules.
    fn chain(marks: &Marks) -> &Chain<Self>;
}

impl Marked for u32 {
    #[inline]
    fn chain(marks: &Marks) -> &Chain<Self> {
        marks.v4()
    }
}

impl Marked for u128 {
    #[inline]
    fn chain(marks: &Marks) -> &Chain<Self> {
        marks.v6()
    }
}

fn path(network: &Network, dest: &Destination) -> Path {
    let source = match dest.address {
        IpAddr::V4(a) => network.v4.source(a.to_bits()).map(|s| IpAddr::V4(s.into())),
        IpAddr::V6(a) => network.v6.source(a.to_bits()).map(|s| IpAddr::V6(s.into())),
    };
    Path {
        hop: if dest.method.is_local() { Hop::Local } else { network.hop(dest.address) },
        source,
        address: Some(dest.address),
        tunnel: dest.tunnel,
        available: dest.available,
    }
}
