//! Follows the kernel's network and publishes it: changes are gathered for a few milliseconds, then the data path gets a whole new
//! [`Network`]. Also the one that asks the kernel to resolve next hops and keeps those in use fresh. Lives on the control thread.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink_sys::TokioSocket;
use nix::errno::Errno;
use rustc_hash::FxHashSet;

use super::carrier::{Links, Wires};
use super::fresh::Fresh;
use super::rtnetlink::{self, Requests};
use super::view::{Effect, Event, Key, Port, Reach, View};
use crate::family::Address;
use crate::network::{FamilyNetwork, Network, Target};
use crate::verdict::PortId;

/// Changes are gathered for this long, so that one command, or one link that goes down, makes one network.
const GATHER: Duration = Duration::from_millis(2);
/// And for this many times as long as the last network took to make, so that a storm of changes leaves most of the thread's time.
const SHARE: u32 = 4;
/// Wait before the kernel is read again after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Wait when nothing is due.
const LONG: Duration = Duration::from_secs(3600);

/// What has to be done before the next network.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    network: bool,
    routes: bool,
    everything: bool,
}

/// Follows the kernel's network.
pub struct Watcher {
    events: TokioSocket,
    requests: Requests,
    view: View,
    ports: Vec<Port>,
    network: Arc<Network>,
    destinations: Vec<IpAddr>,
    fresh: Fresh,
    wires: Wires,
    pending: Pending,
    due: Option<Instant>,
    cost: Duration,
    overruns: u64,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("ports", &self.ports).field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl Watcher {
    /// Subscribes to changes and reads all there is, in the network namespace of the calling thread. `ports` come in the order of
    /// [`PortId`]. To be called within a tokio runtime that has I/O and time enabled.
    ///
    /// # Errors
    /// What the kernel says when the routing socket cannot be opened or read.
    pub fn new(ports: Vec<Port>) -> io::Result<Self> {
        let events = rtnetlink::subscribe()?;
        let mut requests = Requests::open()?;
        let view = requests.view()?;
        let network = Arc::new(view.network(&ports));
        let mut watcher = Self {
            events,
            requests,
            view,
            wires: Wires::new(ports.len()),
            ports,
            network,
            destinations: Vec::new(),
            fresh: Fresh::default(),
            pending: Pending::default(),
            due: None,
            cost: Duration::ZERO,
            overruns: 0,
        };
        watcher.choose_fresh(Instant::now());
        watcher.show_wires();
        Ok(watcher)
    }

    /// The network as last published.
    pub fn network(&self) -> Arc<Network> {
        Arc::clone(&self.network)
    }

    /// Reads everything anew at once: after addresses were assigned, say.
    ///
    /// # Errors
    /// What the kernel says when it cannot be read.
    pub fn read(&mut self) -> io::Result<Arc<Network>> {
        self.pending.everything = true;
        self.remake(Instant::now())?;
        Ok(self.network())
    }

    /// Waits for the next network that differs from the last. May be dropped at any time without loss, and called again.
    pub async fn next_network(&mut self) -> Arc<Network> {
        loop {
            let wake = self.wake();
            tokio::select! {
                told = rtnetlink::events(&self.events) => self.take(told),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let now = Instant::now();
            self.probe_due(now);
            if self.due.is_some_and(|due| due <= now) && self.publish(now) {
                return self.network();
            }
        }
    }

    /// How often the kernel changed more at once than its socket holds, so that all was read anew.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Asks the kernel to resolve a neighbour on a port's link, at most every 500 ms for each.
    pub fn resolve(&mut self, port: PortId, address: IpAddr) {
        if let Some(interface) = self.twin(port) {
            self.probe((interface, address), Instant::now());
        }
    }

    /// Keeps the next hops of these addresses (those of the destinations, commonly) resolved and confirmed, along with all gateways,
    /// whatever becomes of the routes.
    pub fn keep_fresh(&mut self, destinations: Vec<IpAddr>) {
        self.destinations = destinations;
        let now = Instant::now();
        self.choose_fresh(now);
        self.probe_due(now);
    }

    /// Whether ports have a link, now and later.
    pub fn links(&self) -> Links {
        self.wires.links()
    }

    /// Takes in whether a port's device has a link, and shows it on the twin.
    pub fn device_link(&mut self, port: PortId, up: bool) {
        if self.wires.device(port, up) {
            self.show_wires();
        }
    }

    /// The device of a port stands on another kernel interface than before, or on none.
    pub fn stands_on(&mut self, port: PortId, interface: Option<u32>) {
        if let Some(port) = self.ports.get_mut(usize::from(port.0)) {
            port.behind = interface;
        }
    }

    /// Puts an address on the twin of a port; it is no error when it is there.
    ///
    /// # Errors
    /// What the kernel says; `NotFound` when the port has no twin.
    pub fn assign(&mut self, port: PortId, address: IpAddr, prefix: u8) -> io::Result<()> {
        let interface = self.twin(port).ok_or(io::ErrorKind::NotFound)?;
        self.requests.assign(interface, address, prefix)
    }

    fn twin(&self, port: PortId) -> Option<u32> {
        self.ports.get(usize::from(port.0))?.twin
    }

    fn is_twin(&self, interface: u32) -> bool {
        self.ports.iter().any(|p| p.twin == Some(interface))
    }

    /// Gives every twin the carrier of its wire.
    fn show_wires(&mut self) {
        for (twin, up) in self.wires.changes(&self.view, &self.ports) {
            let port = self.ports.iter().find(|p| p.twin == Some(twin)).map_or("", |p| p.info.name.as_str());
            match self.requests.set_carrier(twin, up) {
                Ok(()) => tracing::info!("port {port}: link {}", state(up)),
                Err(error) => tracing::warn!("port {port}: link {}, which its twin does not show: {error}", state(up)),
            }
        }
    }

    fn wake(&self) -> Instant {
        let far = Instant::now() + LONG;
        self.due.unwrap_or(far).min(self.fresh.next().unwrap_or(far))
    }

    /// Takes in what the kernel told.
    fn take(&mut self, told: io::Result<Vec<Event>>) {
        match told {
            Ok(events) => events.into_iter().for_each(|e| self.follow(e)),
            Err(error) => {
                let lost = error.raw_os_error() == Some(Errno::ENOBUFS as i32);
                if lost {
                    self.overruns += 1;
                } else {
                    tracing::error!(%error, "cannot read the kernel's changes of the network; reading all of it instead");
                }
                self.pending.everything = true;
                self.gather(if lost { GATHER } else { RETRY });
            }
        }
    }

    fn follow(&mut self, event: Event) {
        let of_interest = match event {
            Event::Neighbour((interface, _), _) | Event::NeighbourGone((interface, _)) => self.is_twin(interface),
            _ => true,
        };
        if !of_interest {
            return;
        }
        if let Some(key) = fading(&event) {
            self.fresh.hasten(key, Instant::now());
        }
        // Of a link that is no twin only its routes matter, and they are compared when they have been read.
        let other_link = matches!(event, Event::Link(index, _) if !self.is_twin(index));
        let link = matches!(event, Event::Link(..) | Event::LinkGone(_));
        let Effect { network, routes } = self.view.apply(event);
        if link {
            self.show_wires();
        }
        self.pending.network |= network && !other_link;
        self.pending.routes |= routes;
        if network || routes {
            self.gather(GATHER);
        }
    }

    fn gather(&mut self, least: Duration) {
        self.due.get_or_insert_with(|| Instant::now() + least.max(self.cost * SHARE));
    }

    /// Makes the network anew. Returns false when it is what it was, or could not be read.
    fn publish(&mut self, now: Instant) -> bool {
        self.due = None;
        self.remake(now).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the kernel's network; trying again");
            self.pending.everything = true;
            self.gather(RETRY);
            false
        })
    }

    fn remake(&mut self, now: Instant) -> io::Result<bool> {
        let changed = self.reread()?;
        self.pending = Pending::default();
        if changed {
            self.network = Arc::new(self.view.network(&self.ports));
            self.choose_fresh(now);
        }
        self.cost = now.elapsed();
        Ok(changed)
    }

    fn reread(&mut self) -> io::Result<bool> {
        if self.pending.everything {
            self.view = self.requests.view()?;
            self.show_wires();
            return Ok(true);
        }
        let routes = self.pending.routes && self.requests.replace_routes(&mut self.view)?;
        Ok(self.pending.network || routes)
    }

    fn choose_fresh(&mut self, now: Instant) {
        let next_hops = self.destinations.iter().filter_map(|&d| next_hop(&self.network, d));
        let twin = |(port, address): (PortId, IpAddr)| Some((self.twin(port)?, address));
        let mut wanted: FxHashSet<Key> = next_hops.filter_map(twin).collect();
        wanted.extend(self.view.gateways().into_iter().filter(|(interface, _)| self.is_twin(*interface)));
        self.fresh.keep(&wanted, now);
    }

    fn probe_due(&mut self, now: Instant) {
        for key in self.fresh.take_due(now) {
            self.probe(key, now);
        }
    }

    /// Asks the kernel about a neighbour. Not about one that the operator has fixed: to be used would end its permanence.
    fn probe(&mut self, key: Key, now: Instant) {
        let fixed = self.view.neighbour(&key).is_some_and(|n| n.reach == Reach::Fixed);
        if fixed || !self.fresh.ask(key, now) {
            return;
        }
        if let Err(error) = self.requests.probe(key) {
            tracing::debug!(neighbour = %key.1, %error, "the kernel does not resolve it");
        }
    }
}

fn state(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

/// The neighbour that an event says is no longer sure.
fn fading(event: &Event) -> Option<Key> {
    match event {
        Event::Neighbour(key, n) if matches!(n.reach, Reach::Stale | Reach::Unknown) => Some(*key),
        Event::NeighbourGone(key) => Some(*key),
        _ => None,
    }
}

/// The neighbour that packets to `address` are sent to.
fn next_hop(network: &Network, address: IpAddr) -> Option<(PortId, IpAddr)> {
    match address {
        IpAddr::V4(a) => next_hop_of(&network.v4, a.to_bits()),
        IpAddr::V6(a) => next_hop_of(&network.v6, a.to_bits()),
    }
}

fn next_hop_of<A: Address>(network: &FamilyNetwork<A>, address: A) -> Option<(PortId, IpAddr)> {
    match network.fib.lookup(address) {
        Some(&Target::Via { port, gateway, .. }) if !network.local.contains(address) => {
            Some((port, gateway.unwrap_or(address).ip()))
        }
        _ => None,
    }
}
