//! The director as a machine with a virtual clock: rules in a store, one worker's pure core, the stand-in for the kernel behind it,
//! counters copied every two seconds.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::MacAddr;
use crate::burst::Burst;
use crate::control::statistics::{Counted, Meter, Statistics};
use crate::control::store::{self, Store};
use crate::control::trash::{self, Removed, Trash};
use crate::destination::Destination;
use crate::director::{Director, Limits};
use crate::fragments::{Datagram, Fragments};
use crate::frame::{Alone, Frame};
use crate::io::memory::VecFrame;
use crate::network::Network;
use crate::replay::build;
use crate::replay::policy;
use crate::replay::reassembly::Reassembly;
use crate::replay::standin::{Act, StandIn};
use crate::replay::sync::Master;
use crate::replay::sysctl::Sysctls;
use crate::replay::topology::Topology;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::stats::Traffic;
use crate::steering::Steering;
use crate::time::{self, HZ, Instant, NANOS_PER_TICK, Tick};
use crate::verdict::{Cut, Origin, PortId, Verdict, WorkerId};

/// The tick that a kernel starts with: five minutes before its clock wraps (`INITIAL_JIFFIES`). Timers fire at edges of this clock.
pub(super) const BOOT: Instant = Instant((u32::MAX as u64 + 1 - 30_000) * NANOS_PER_TICK);
/// From the kernel's start to the scenario's setup in nanoseconds.
const BEFORE_SETUP: u64 = 2_540_370_000;
/// Ticks between two copies of the counters: two seconds as the kernel's timer wheel has them at 100 Hz.
const ESTIMATION: u64 = 208;
/// Ticks between two looks at removed destinations.
const TRASH: u32 = trash::INTERVAL.as_secs() as u32 * HZ;
/// Keys the hashes.
const SEED: u64 = 0x706f_6c6c_7673;
/// Sizes of the tables: enough for any recording.
const LIMITS: Limits = Limits {
    connections: 1 << 16,
    connections6: 1 << 14,
    templates: 1 << 14,
    templates6: 1 << 12,
    destinations: 4096,
    ftp: 4096,
    calls: 4096,
};
/// Frames that one frame may lead to: a loop between director and stack ends here.
const MOST_FRAMES: usize = 4096;

/// The machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) now: Instant,
    pub(super) store: Store,
    pub(super) director: Director,
    pub(super) topology: Topology,
    pub(super) sysctls: Sysctls,
    /// The synchronisation's master, if one runs.
    pub(super) master: Option<Master>,
    network: Arc<Network>,
    stack: StandIn,
    fragments: Fragments<VecFrame>,
    /// Those that were passed to the stack.
    passed: Reassembly,
    version: u64,
    pub(super) sent: Vec<(PortId, Vec<u8>)>,
    pub(super) statistics: Statistics,
    /// Everything together.
    pub(super) all: Meter,
    /// Traffic of forgotten destinations.
    forgotten: Traffic,
    trash: Trash,
    /// Are connections of IPv4, of IPv6 tracked for the sake of other rules?
    tracked: [bool; 2],
    /// When removed destinations are looked at next: the kernel's timer starts with the first of them.
    look: Option<Tick>,
}

impl Machine {
    /// The machine just started, in a network.
    pub(crate) fn new(topology: Topology) -> Self {
        let mut store = Store::new(store::Limits::default());
        let settings = Settings { icmp_msgs_per_sec: 0, ..Settings::default() };
        store.set_settings(settings).expect("the default time-outs are in range");
        let mut machine = Self {
            now: Instant(BOOT.0 + BEFORE_SETUP),
            store,
            director: Director::new(&LIMITS, SEED, WorkerId(0), Steering::default())
                .with_kernel_timers(BOOT)
                .with_kernel_routes(),
            topology,
            sysctls: Sysctls::default(),
            master: None,
            network: Arc::default(),
            stack: StandIn::default(),
            fragments: Fragments::new(SEED).with_kernel_timers(),
            passed: Reassembly::new(SEED),
            version: 0,
            sent: Vec::new(),
            statistics: Statistics::default(),
            all: Meter::default(),
            forgotten: Traffic::default(),
            trash: Trash::default(),
            tracked: [false; 2],
            look: None,
        };
        machine.director.set_tracking(machine.tracked);
        machine.network_changed();
        machine
    }

    /// Has the stack track the connections of IPv4, or of IPv6.
    pub(super) fn track(&mut self, v6: bool) {
        self.tracked[usize::from(v6)] = true;
        self.director.set_tracking(self.tracked);
    }

    /// Puts the rules in force.
    pub(crate) fn rules_changed(&mut self) {
        self.version += 1;
        self.await_look();
        let snapshot = Snapshot::new(self.version, self.store.rules(), Arc::clone(&self.network));
        self.passed.rules_changed(&snapshot.rules, self.store.counted().map(|(d, _)| d.address));
        drop(self.director.apply(Arc::new(snapshot)));
        self.master_changed();
    }

    /// Puts the network in force.
    pub(crate) fn network_changed(&mut self) {
        self.network = Arc::new(self.topology.network_now());
        self.store.set_broadcasts(self.network.v4.broadcasts.clone());
        self.rules_changed();
    }

    /// Gives a frame to the port that its destination MAC names.
    pub(crate) fn inject(&mut self, frame: &[u8]) -> PortId {
        let port = self.topology.port_of(frame.get(..6).unwrap_or_default());
        self.run(VecDeque::from([(port, frame.to_vec(), Origin::Wire)]));
        self.gather();
        port
    }

    /// Takes the frames that were sent, those of the first port first.
    pub(crate) fn sent(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut sent = std::mem::take(&mut self.sent);
        sent.sort_by_key(|(port, _)| *port);
        sent
    }

    /// Were frames sent that nobody has taken yet?
    pub(crate) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Lets frames go through director and stack until all have left or ended.
    fn run(&mut self, mut line: VecDeque<(PortId, Vec<u8>, Origin)>) {
        let mut done = 0;
        while let Some((port, frame, origin)) = line.pop_front() {
            done += 1;
            if done > MOST_FRAMES {
                return;
            }
            let acts = self.judge(port, &frame, origin);
            self.director.note_timers();
            self.act(acts, &mut line);
        }
    }

    fn judge(&mut self, port: PortId, frame: &[u8], origin: Origin) -> Vec<Act> {
        let mut burst = Burst::with_limit(1);
        if burst.push(VecFrame::new(frame), port, origin).is_err() {
            return Vec::new();
        }
        self.director.process(&mut burst, self.now);
        let Some((frame, verdict, _)) = burst.take(0) else { return Vec::new() };
        match verdict {
            Verdict::Reassemble => self.reassemble(frame, port, origin),
            Verdict::Pass(_) if self.is_policy_local(port, &frame, origin) => Vec::new(),
            Verdict::Pass(port) => self.pass_up(frame, port),
            _ => self.carry_out(&frame, verdict),
        }
    }

    /// Gives a frame to the stack, which puts some fragments together.
    fn pass_up(&mut self, frame: VecFrame, port: PortId) -> Vec<Act> {
        self.hear(frame.bytes(), port);
        if self.passed.leaves(&frame)
            || !self.passed.wants(frame.bytes(), &self.director.snapshot().rules, &self.network)
        {
            return self.carry_out(&frame, Verdict::Pass(port));
        }
        let tracked = self.director.snapshot().rules.tracks();
        let Some(datagram) = self.passed.take(frame, self.now) else { return Vec::new() };
        let acts = self.stack.receive_whole(&datagram, port, &self.network, tracked, self.now);
        self.passed.give_back(datagram);
        acts
    }

    /// Keeps a fragment; judges its datagram if it is whole now.
    fn reassemble(&mut self, frame: VecFrame, port: PortId, origin: Origin) -> Vec<Act> {
        let counters = self.director.counters_mut();
        if self.fragments.leaves(&frame, origin, counters) {
            return self.judge_alone(frame, port, origin);
        }
        let Some(datagram) = self.fragments.take(frame, origin, self.now, counters) else { return Vec::new() };
        let mut burst = Burst::with_limit(1);
        drop(burst.push(datagram, port, origin));
        self.director.process(&mut burst, self.now);
        let Some((datagram, verdict, _)) = burst.take(0) else { return Vec::new() };
        let acts = self.carry_out_whole(&datagram, datagram.unless_unchanged(verdict));
        self.fragments.give_back(datagram);
        acts
    }

    /// Judges a fragment that no others can join.
    fn judge_alone(&mut self, frame: VecFrame, port: PortId, origin: Origin) -> Vec<Act> {
        let mut burst = Burst::with_limit(1);
        drop(burst.push(Alone(frame), port, origin));
        self.director.process(&mut burst, self.now);
        burst.take(0).map(|(Alone(frame), verdict, _)| self.carry_out(&frame, verdict)).unwrap_or_default()
    }

    /// Carries out the verdict on a packet that came in fragments.
    fn carry_out_whole(&mut self, datagram: &Datagram, verdict: Verdict) -> Vec<Act> {
        let tracked = self.director.snapshot().rules.tracks();
        match verdict {
            Verdict::Pass(port) => self.stack.receive_whole(datagram, port, &self.network, tracked, self.now),
            Verdict::Fragment(port, to, cut) => self.fragment(datagram.bytes(), cut, datagram.parts(cut), port, to),
            _ => self.carry_out(datagram, verdict),
        }
    }

    /// Carries out the verdict on a packet that came whole.
    fn carry_out<F: Frame>(&mut self, frame: &F, verdict: Verdict) -> Vec<Act> {
        match verdict {
            // What the stack told itself, an error, has nobody to read it if it is about no connection.
            Verdict::Transmit(_) if frame.bytes().starts_with(&MacAddr::default().0) => Vec::new(),
            Verdict::Transmit(port) => {
                self.sent.push((port, frame.bytes().to_vec()));
                Vec::new()
            }
            Verdict::Pass(port) => self.stack.receive(frame.bytes(), port, &self.network, self.now),
            Verdict::Fragment(port, neighbour, cut) => self.fragment(frame.bytes(), cut, &[], port, neighbour),
            Verdict::Hold(port, neighbour) => self.stack.hold(frame.bytes(), port, neighbour, &self.network, self.now),
            Verdict::Drop(_) | Verdict::Reassemble | Verdict::Pending | Verdict::Handoff(_) => Vec::new(),
        }
    }

    /// What the way to an address was found to take, in bytes, and for how many seconds that is believed.
    pub(super) fn learnt_mtu(&self, address: IpAddr) -> Option<(u16, u32)> {
        let mut there = self.store.counted().filter(|(d, _)| d.address == address);
        there.find_map(|(d, _)| self.director.learnt_mtu(d.id, self.now))
    }

    fn fragment(&mut self, frame: &[u8], cut: Cut, parts: &[u16], port: PortId, neighbour: Option<IpAddr>) -> Vec<Act> {
        let mut acts = Vec::new();
        for piece in build::fragments(frame, cut, parts, self.director.next_ident()) {
            match neighbour {
                Some(neighbour) => acts.extend(self.stack.hold(&piece, port, neighbour, &self.network, self.now)),
                None => self.sent.push((port, piece)),
            }
        }
        acts
    }

    /// Is the frame for the director by policy routing alone? Its stack has no socket for the packet, and no address to answer from.
    fn is_policy_local(&self, port: PortId, frame: &VecFrame, origin: Origin) -> bool {
        origin == Origin::Wire && policy::is_only_by_policy(self.director.snapshot(), frame.bytes(), port)
    }

    fn act(&mut self, acts: Vec<Act>, line: &mut VecDeque<(PortId, Vec<u8>, Origin)>) {
        for act in acts {
            match act {
                Act::Send(port, frame) => line.push_back((port, frame, Origin::Twin)),
                Act::Learn(port, neighbour, mac) => {
                    self.topology.learn(port, neighbour, mac);
                    self.network_changed();
                    let held = self.stack.resolved(port, neighbour, mac);
                    self.act(held, line);
                }
            }
        }
    }

    /// The value of a sysctl. The modes of defence show what memory makes of them.
    pub(crate) fn sysctl(&self, name: &str) -> Option<String> {
        let modes = self.store.settings().with_memory(self.director.is_scarce());
        Some(match name {
            "drop_entry" => modes.drop_entry.to_string(),
            "drop_packet" => modes.drop_packet.to_string(),
            "secure_tcp" => modes.secure_tcp.to_string(),
            _ => self.sysctls.value(name)?.to_owned(),
        })
    }

    /// Lets time pass to `to`, or until a frame is sent.
    pub(crate) fn pass(&mut self, to: Instant) {
        while self.now < to && !self.has_sent() {
            let next = Instant((self.now.0 / NANOS_PER_TICK + 1) * NANOS_PER_TICK);
            if next > to {
                self.now = to;
            } else {
                self.now = next;
                self.tick();
            }
        }
    }

    fn tick(&mut self) {
        self.director.expire(self.now, u32::MAX);
        self.send_messages();
        self.give_up_fragments();
        let acts = self.stack.tick(&self.network, self.now);
        if !acts.is_empty() {
            let mut line = VecDeque::new();
            self.act(acts, &mut line);
            self.run(line);
        }
        let tick = (self.now.0 - BOOT.0) / NANOS_PER_TICK;
        if tick.is_multiple_of(ESTIMATION) {
            self.estimate();
        }
        if self.look.is_some_and(|look| look.reached(self.now.tick())) {
            self.empty_trash();
            self.look = None;
            self.await_look();
        }
    }

    fn give_up_fragments(&mut self) {
        let mut late = Vec::new();
        self.passed.expire(self.now, &mut late);
        self.fragments.expire(self.now, self.director.counters_mut(), &mut late);
        let mut line = VecDeque::new();
        for mut frame in late {
            if let Some(port) = self.director.timed_out(&mut frame, self.now) {
                line.push_back((port, frame.bytes().to_vec(), Origin::Twin));
            }
        }
        self.run(line);
    }

    /// Takes the counters as they are now; to be called before the rules change, too.
    pub(super) fn absorb(&mut self) {
        let counted = |(d, service_uid): (&Arc<Destination>, u64)| Counted {
            uid: d.uid,
            service_uid,
            traffic: self.director.traffic(d.id),
            lent: self.director.lent(d.id),
            borrower: self.store.borrower(d),
            listed: d.available,
        };
        let counted: Vec<Counted> = self.store.counted().map(counted).collect();
        self.statistics.absorb(&counted);
        self.all.set(self.total());
    }

    fn estimate(&mut self) {
        if !self.store.settings().run_estimation {
            return;
        }
        self.absorb();
        self.statistics.estimate();
        self.all.estimate();
    }

    /// The counters of all together, as they are.
    pub(crate) fn total(&self) -> Traffic {
        let mut total = self.forgotten;
        self.store.counted().for_each(|(d, _)| total += self.director.traffic(d.id));
        total
    }

    /// Starts the timer of removed destinations, if there are any and it does not run.
    fn await_look(&mut self) {
        if self.look.is_none() && self.store.has_removed() {
            self.look = Some(time::fires(self.now.tick().plus(TRASH), TRASH));
        }
    }

    /// Forgets removed destinations that nothing has referred to for two minutes.
    fn empty_trash(&mut self) {
        self.absorb();
        let now = self.now;
        let director = &mut self.director;
        let removed: Vec<_> = self
            .store
            .counted()
            .filter(|(d, _)| !d.available)
            .map(|(d, _)| Removed { id: d.id, uid: d.uid, in_use: director.refers_to(d, now) })
            .collect();
        let gone = self.trash.look(&removed, false);
        gone.iter().for_each(|id| self.forgotten += self.director.traffic(*id));
        if self.store.forget_unused(|id| !gone.contains(&id)) > 0 {
            self.rules_changed();
        }
    }
}
