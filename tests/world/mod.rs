//! The director in a small world: a virtual clock, a small network, rules as ipvsadm has them, and frames in and out, told in one
//! line each. The network is that of the recordings: clients behind a router on port 0 ("outside"), real servers on port 1
//! ("inside"), documentation addresses only.
mod bounded;
mod calls;
mod cluster;
mod defence;
mod errors;
mod express;
mod forwarding;
mod fragments;
mod ftp;
mod handoff;
mod handover;
mod icmp;
mod limits;
mod marks;
mod opening;
mod persistence;
mod scheduling;
mod shares;
mod standing;
mod synchronisation;
mod tapped;
mod tcp;
mod templates;
mod twin;
mod why;
mod workers;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pollvs::addr::MacAddr;
use pollvs::burst::Burst;
use pollvs::cli::iptables;
use pollvs::cli::ipvsadm::{self, Host, names::Names};
use pollvs::control::key::word;
use pollvs::control::reply::Reply;
use pollvs::control::request::Request;
use pollvs::control::store::{self, Store};
use pollvs::director::{ConnectionInfo, Director, Limits, Listing};
use pollvs::frame::Frame;
use pollvs::io::memory::VecFrame;
use pollvs::network::{FamilyNetwork, Network, PortInfo, Route, Target};
use pollvs::settings::Settings;
use pollvs::snapshot::Snapshot;
use pollvs::stats::{DropReason, Event};
use pollvs::steering::Steering;
use pollvs::time::Instant;
use pollvs::verdict::{Cut, Origin, PortId, Verdict, WorkerId};
use pollvs::wire::sample::{DIRECTOR, ROUTER, Sample};
use pollvs::wire::show;

/// Towards the clients.
pub(crate) const OUTSIDE: PortId = PortId(0);
/// Towards the real servers.
pub(crate) const INSIDE: PortId = PortId(1);
/// The MAC of [`INSIDE`].
pub(crate) const INSIDE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// Tables of a world that does not ask for others.
pub(crate) const ROOMY: Limits = Limits {
    connections: 4096,
    connections6: 4096,
    templates: 1024,
    templates6: 1024,
    destinations: 64,
    ftp: 64,
    calls: 64,
};

/// The MAC of real server `last`.
pub(crate) fn server_mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, last])
}

/// What became of a frame.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Out(PortId, Vec<u8>),
    Up(PortId, Vec<u8>),
    Held(IpAddr),
    Cut(PortId, Option<IpAddr>, Cut, Vec<u8>),
    Kept,
    Handed(WorkerId),
    Dropped(DropReason),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Out(port, bytes) => write!(f, "{}: {}", neighbour(*port, bytes), packet(bytes)),
            Self::Up(port, bytes) => write!(f, "kernel {}: {}", port.0, packet(bytes)),
            Self::Held(neighbour) => write!(f, "held for {neighbour}"),
            Self::Cut(port, None, cut, bytes) => {
                write!(f, "{} in pieces{}: {}", neighbour(*port, bytes), pieces(*cut), packet(bytes))
            }
            Self::Cut(_, Some(neighbour), cut, _) => write!(f, "held for {neighbour} in pieces{}", pieces(*cut)),
            Self::Kept => write!(f, "kept"),
            Self::Handed(worker) => write!(f, "to worker {}", worker.0),
            Self::Dropped(reason) => f.write_str(reason.name()),
        }
    }
}

impl fmt::Debug for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn pieces(cut: Cut) -> String {
    match cut {
        Cut::AtMost(size) => format!(" of {size}"),
        Cut::AsItCame => String::new(),
        Cut::Listed(size) => format!(" as they came, or of {size}"),
        Cut::Joined(size) => format!(" of {size}, joined"),
    }
}

/// The packet in a frame, in one line.
pub(crate) fn packet(bytes: &[u8]) -> String {
    let line = show::frame(bytes, show::Ident::Shown);
    line.split_once(' ').map_or(line.clone(), |(_, packet)| packet.to_owned())
}

/// Whom a frame out of `port` is addressed to; it has the port's own source MAC.
pub(crate) fn neighbour(port: PortId, bytes: &[u8]) -> String {
    let (to, from) = (bytes.first_chunk::<6>().unwrap(), &bytes[6..12]);
    let expected = if port == OUTSIDE { DIRECTOR } else { INSIDE_MAC };
    let from = if from == expected.0 { String::new() } else { format!(" from {from:02x?}") };
    match (port, to) {
        (OUTSIDE, to) if *to == ROUTER.0 => format!("router{from}"),
        (INSIDE, [2, 0, 0, 0, 1, last]) => format!("server {last}{from}"),
        (port, to) => format!("port {} {}{from}", port.0, MacAddr(*to)),
    }
}

impl Fate {
    /// The last byte of the address of the real server that it went to.
    pub(crate) fn server(&self) -> u8 {
        match self {
            Self::Out(INSIDE, bytes) if bytes[..5] == [2, 0, 0, 0, 1] => bytes[5],
            other => panic!("no real server got it: {other}"),
        }
    }

    /// The frame that left.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Out(_, bytes) | Self::Up(_, bytes) | Self::Cut(_, _, _, bytes) => bytes,
            other => panic!("nothing left: {other}"),
        }
    }
}

fn v4(text: &str) -> u32 {
    text.parse::<std::net::Ipv4Addr>().unwrap().to_bits()
}

fn v6(text: &str) -> u128 {
    text.parse::<std::net::Ipv6Addr>().unwrap().to_bits()
}

fn via<A>(port: PortId, gateway: Option<A>, source: A) -> Target<A> {
    Target::Via { port, gateway, source: Some(source), mtu: 0 }
}

/// The network of the recordings. Servers 11 to 18 are resolved, 19 is not, and 10.9.0.0/16 lies behind an interface of the kernel.
pub(crate) fn network() -> Network {
    let port = |name: &str, mac| PortInfo { name: name.into(), mac, mtu: 1500, twin: true };
    let outside =
        Route { network: 0, prefix: 0, metric: 0, target: via(OUTSIDE, Some(v4("192.0.2.254")), v4("192.0.2.1")) };
    let inside =
        Route { network: v4("198.51.100.0"), prefix: 24, metric: 0, target: via(INSIDE, None, v4("198.51.100.1")) };
    let kernels = Route { network: v4("10.9.0.0"), prefix: 16, metric: 0, target: Target::Kernel };
    let nowhere = Route { network: v4("10.66.0.0"), prefix: 16, metric: 0, target: Target::Unreachable };
    let outside6 =
        Route { network: 0, prefix: 0, metric: 0, target: via(OUTSIDE, Some(v6("fe80::fe")), v6("2001:db8:1::1")) };
    let inside6 =
        Route { network: v6("2001:db8:2::"), prefix: 64, metric: 0, target: via(INSIDE, None, v6("2001:db8:2::1")) };
    let servers4 = (11..=18).map(|n| (INSIDE, v4("198.51.100.0") + u32::from(n), server_mac(n)));
    let servers6 = (11..=18).map(|n| (INSIDE, v6(&format!("2001:db8:2::{n}")), server_mac(n)));
    let local4 = ["192.0.2.1", "192.0.2.10", "192.0.2.11", "198.51.100.1"].map(v4);
    let local6 = ["2001:db8:1::1", "2001:db8:1::10", "2001:db8:2::1"].map(v6);
    Network {
        ports: vec![port("outside", DIRECTOR), port("inside", INSIDE_MAC)],
        v4: FamilyNetwork::new(
            local4,
            vec![outside, inside, kernels, nowhere],
            servers4.chain([(OUTSIDE, v4("192.0.2.254"), ROUTER)]),
        ),
        v6: FamilyNetwork::new(local6, vec![outside6, inside6], servers6.chain([(OUTSIDE, v6("fe80::fe"), ROUTER)])),
    }
}

/// The rules and the network: what control has.
pub(crate) struct Control {
    pub(crate) store: Store,
    pub(crate) network: Network,
    version: u64,
}

impl Default for Control {
    fn default() -> Self {
        Self { store: Store::new(store::Limits::default()), network: network(), version: 0 }
    }
}

impl Control {
    /// What is in force next.
    pub(crate) fn snapshot(&mut self) -> Arc<Snapshot> {
        self.version += 1;
        Arc::new(Snapshot::new(self.version, self.store.rules(), Arc::new(self.network.clone())))
    }

    /// Changes the rules by one line of ipvsadm, or of iptables or ip6tables called by name.
    pub(crate) fn run(&mut self, line: &str) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let Some(family) = words.first().and_then(|word| iptables::applet(word)) else { return self.ipvsadm(line) };
        let store = &mut self.store;
        let mut ask = |request| change(store, request);
        let mut host = iptables::Host { ask: &mut ask, names: &Names::default() };
        let outcome = iptables::run(family, &words[1..], &mut host);
        assert_eq!(outcome.code, 0, "{line}: {}", outcome.stderr);
    }

    /// Changes the rules by one line of ipvsadm.
    pub(crate) fn ipvsadm(&mut self, line: &str) {
        let (code, stderr) = self.try_ipvsadm(line);
        assert_eq!(code, 0, "ipvsadm {line}: {stderr}");
    }

    /// Changes the rules by one line of ipvsadm if they allow it; returns the exit code and what was said.
    pub(crate) fn try_ipvsadm(&mut self, line: &str) -> (i32, String) {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let names = Names::default();
        let store = &mut self.store;
        let mut ask = |request| change(store, request);
        let mut host = Host { ask: &mut ask, stdin: &mut String::new, names: &names };
        let outcome = ipvsadm::run(&args, &mut host);
        (outcome.code.into(), outcome.stderr)
    }

    pub(crate) fn sysctl(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.store.settings();
        change(&mut settings);
        self.store.set_settings(settings).unwrap();
    }
}

fn change(store: &mut Store, request: Request) -> Reply {
    match request {
        Request::Marks {} => Reply::Marks(store.marks().clone()),
        edit => store.edit(&edit).map_or_else(Reply::Error, |()| Reply::Done {}),
    }
}

/// One director and everything around it.
pub(crate) struct World {
    pub(crate) director: Director,
    pub(crate) control: Control,
    pub(crate) now: Instant,
}

impl World {
    /// A world with these rules, a line of ipvsadm, iptables or ip6tables each.
    pub(crate) fn new(rules: &[&str]) -> Self {
        Self::with(&ROOMY, rules)
    }

    pub(crate) fn with(limits: &Limits, rules: &[&str]) -> Self {
        let director = Director::new(limits, 7, WorkerId(0), Steering::default());
        // An odd beginning, so that nobody relies on time being zero.
        let mut world = Self { director, control: Control::default(), now: Instant(123_456_789_012) };
        rules.iter().for_each(|line| world.control.run(line));
        world.apply();
        world
    }

    /// Puts rules and network in force.
    pub(crate) fn apply(&mut self) {
        let snapshot = self.control.snapshot();
        self.director.apply(snapshot);
    }

    /// Changes the rules by one line of ipvsadm, at once in force.
    pub(crate) fn ipvsadm(&mut self, line: &str) {
        self.control.ipvsadm(line);
        self.apply();
    }

    /// The same where the rules allow it.
    pub(crate) fn try_ipvsadm(&mut self, line: &str) -> (i32, String) {
        let outcome = self.control.try_ipvsadm(line);
        self.apply();
        outcome
    }

    pub(crate) fn sysctl(&mut self, change: impl FnOnce(&mut Settings)) {
        self.control.sysctl(change);
        self.apply();
    }

    /// Lets seconds pass; what is due ends in the second in which it is.
    pub(crate) fn sleep(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            self.expire();
        }
    }

    pub(crate) fn expire(&mut self) {
        while self.director.expire(self.now, 1024) == 1024 {}
    }

    /// A client's frame.
    pub(crate) fn client(&mut self, sample: &Sample) -> Fate {
        self.frame(OUTSIDE, Origin::Wire, sample.frame())
    }

    /// A server's frame.
    pub(crate) fn server(&mut self, sample: &Sample) -> Fate {
        self.frame(INSIDE, Origin::Wire, sample.clone().macs(server_mac(0), INSIDE_MAC).frame())
    }

    /// A frame that the kernel sends by the twin of a port.
    pub(crate) fn twin(&mut self, port: PortId, sample: &Sample) -> Fate {
        self.frame(port, Origin::Twin, sample.frame())
    }

    pub(crate) fn frame(&mut self, port: PortId, origin: Origin, bytes: Vec<u8>) -> Fate {
        self.burst(vec![(port, origin, bytes)]).remove(0)
    }

    /// Frames that come in one burst. Every one gets its fate.
    pub(crate) fn burst(&mut self, frames: Vec<(PortId, Origin, Vec<u8>)>) -> Vec<Fate> {
        let mut burst = Burst::with_limit(frames.len());
        let count = frames.len();
        for (port, origin, bytes) in frames {
            burst.push(VecFrame::new(&bytes), port, origin).unwrap();
        }
        self.director.process(&mut burst, self.now);
        (0..count).map(|index| fate(burst.take(index).unwrap())).collect()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.director.counters().drops[reason as usize]
    }

    pub(crate) fn event(&self, event: Event) -> u64 {
        self.director.counters().events[event as usize]
    }

    /// Connections as `ipvsadm -Lcn` lists them, sorted; the time in seconds.
    pub(crate) fn connections(&self) -> Vec<String> {
        self.list(false)
    }

    pub(crate) fn templates(&self) -> Vec<String> {
        self.list(true)
    }

    fn list(&self, templates: bool) -> Vec<String> {
        let mut lines = Vec::new();
        for v6 in [false, true] {
            let show = |info| lines.push(line(&info));
            assert_eq!(self.director.list(Listing { v6, templates }, 0, usize::MAX, self.now, show), None);
        }
        lines.sort();
        lines
    }

    /// `active/inactive` of a destination, in the words of [`pollvs::control::key`].
    pub(crate) fn load(&self, service: &str, address: &str) -> String {
        let found = self.counted(service, address);
        let load = self.director.load(found);
        format!("{}/{}", load.active, load.inactive)
    }

    pub(crate) fn traffic(&self, service: &str, address: &str) -> pollvs::stats::Traffic {
        self.director.traffic(self.counted(service, address))
    }

    fn counted(&self, service: &str, address: &str) -> pollvs::destination::DestId {
        let service = self.control.store.services().into_iter().find(|s| word(&s.key) == service).unwrap();
        let of = |d: &pollvs::destination::Destination| std::net::SocketAddr::new(d.address, d.port).to_string();
        service.destinations.iter().find(|d| of(d) == address).unwrap().id
    }
}

fn line(info: &ConnectionInfo) -> String {
    let end = |address, port| std::net::SocketAddr::new(address, port);
    let protocol = match info.protocol {
        6 => "TCP",
        17 => "UDP",
        132 => "SCTP",
        0 => "IP",
        _ => "?",
    };
    let (client, service, server) =
        (end(info.caddr, info.cport), end(info.vaddr, info.vport), end(info.daddr, info.dport));
    format!("{protocol} {} {} {client} {service} {server}", info.expires / 100, info.state)
}

pub(crate) fn fate((frame, verdict, _): (VecFrame, Verdict, PortId)) -> Fate {
    match verdict {
        Verdict::Transmit(port) => Fate::Out(port, frame.bytes().to_vec()),
        Verdict::Pass(port) => Fate::Up(port, without_padding(frame.bytes()).to_vec()),
        Verdict::Hold(_, neighbour) => Fate::Held(neighbour),
        Verdict::Fragment(port, neighbour, cut) => Fate::Cut(port, neighbour, cut, frame.bytes().to_vec()),
        Verdict::Reassemble => Fate::Kept,
        Verdict::Handoff(worker) => Fate::Handed(worker),
        Verdict::Drop(reason) => Fate::Dropped(reason),
        Verdict::Pending => panic!("no verdict"),
    }
}

/// The frame up to the end of its packet. Whether the kernel gets the padding behind is all the same: it cuts it off (`ip_rcv_core`,
/// `ip6_rcv_core`).
fn without_padding(bytes: &[u8]) -> &[u8] {
    let half = |at: usize| bytes.get(at..at + 2).map_or(0, |half| usize::from(half[0]) << 8 | usize::from(half[1]));
    let end = match half(12) {
        0x0800 => 14 + half(16),
        0x86dd => 54 + half(18),
        _ => bytes.len(),
    };
    bytes.get(..end).unwrap_or(bytes)
}

/// Compares what happened with a line; on failure both are shown whole.
#[track_caller]
pub(crate) fn is(fate: &Fate, expected: &str) {
    assert_eq!(fate.to_string(), expected);
}
