//! The core: packets in, verdicts out, time passed in. Deterministic: the same calls give the same result. One director belongs to
//! one worker and holds what that worker's clients are: connections, templates, scheduler state, counters.
//!
//! A burst goes through three stages so that memory latency overlaps (VPP's way): parse, hash and prefetch the bucket; match the
//! tag and prefetch the entry; decide, change state, rewrite, count. [`Director::process`] runs them in turn; a worker may run stage
//! k of one burst beside stage k-1 of the next.

mod accept;
mod account;
mod announce;
mod apply;
mod call;
mod defence;
mod expected;
mod expire;
mod express;
mod family;
mod flush;
mod ftp;
mod hand_over;
mod icmp;
mod ipsec;
mod late;
mod listing;
mod mark;
mod memory;
mod opening;
mod parse;
mod path_mtu;
mod persist;
mod reply;
mod request;
mod schedule;
mod shared_route;
mod sight;
mod slots;
mod spill;
mod stray;
mod supersede;
mod sweep;
mod unbound;
mod why;

use std::sync::Arc;

use crate::app::Apps;
use crate::burst::{Burst, Kind, Mark, Marks, Meta, Slot};
use crate::conn::ConnId;
use crate::conn::table::Table;
use crate::destination::{DestId, Destination};
use crate::family::Address;
use crate::forward::{self, ETHERNET, Offsets};
use crate::frame::Frame;
use crate::hash::HashKey;
use crate::proto::TimeoutTable;
use crate::proto::segment::Segment;
use crate::scheduler::{Flow, Load};
use crate::snapshot::Snapshot;
use crate::stats::{Counters, DropReason, Event, Line, Traffic};
use crate::steering::Steering;
use crate::time::{Instant, Tick};
use crate::verdict::{Origin, PortId, Verdict, WorkerId};

pub use accept::Accepted;
pub use apply::Change;
pub use flush::Flush;
pub use listing::{ConnectionInfo, Listing};
pub use memory::table_bytes;
pub use sight::Sight;
pub use why::{By, Explanation, Question, Remark};

use family::Family;

/// Sizes of one director's tables, in entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// IPv4 connections.
    pub connections: u32,
    /// IPv6 connections.
    pub connections6: u32,
    /// IPv4 templates.
    pub templates: u32,
    /// IPv6 templates.
    pub templates6: u32,
    /// Destinations that counters are prepared for.
    pub destinations: u32,
    /// FTP control connections with passive data connections, at most 65535.
    pub ftp: u32,
    /// Call-IDs of templates, at most 65535.
    pub calls: u32,
}

impl Limits {
    /// Memory of the tables of one director with these limits, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let table = |v4: u32, v6: u32| table_bytes::<u32>(v4) + table_bytes::<u128>(v6);
        let destination = size_of::<Load>() + size_of::<Traffic>() + 2 * size_of::<u64>();
        let tables = table(self.connections, self.connections6) + table(self.templates, self.templates6);
        tables + destination * self.destinations as usize + Apps::bytes_for(self.ftp, self.calls)
    }
}

/// Connections and templates of one family.
#[derive(Debug)]
pub(crate) struct Tables<A> {
    pub(crate) connections: Table<A>,
    pub(crate) templates: Table<A>,
    /// Connections whose client's port is not known yet.
    portless: u32,
    /// What the synchronisation remembers of the connections, and of the templates.
    told: announce::Memos,
    told_templates: announce::Memos,
}

impl<A: Address> Tables<A> {
    fn new(connections: u32, templates: u32, key: HashKey) -> Self {
        Self {
            connections: Table::new(connections, key),
            templates: Table::new(templates, key),
            portless: 0,
            told: announce::Memos::new(connections),
            told_templates: announce::Memos::new(templates),
        }
    }
}

/// What both families share.
#[derive(Debug)]
struct Shared {
    /// By [`DestId`].
    loads: Vec<Load>,
    /// By [`DestId`].
    traffic: Vec<Line<Traffic>>,
    /// By [`DestId`]: connections that another service made.
    lent: Vec<u64>,
    /// By [`DestId`]: which destination the counters are of.
    owners: Vec<u64>,
    /// By [`DestId`]: what its way was found to take.
    learnt: Vec<path_mtu::Learnt>,
    /// By [`ServiceId`].
    schedulers: slots::Slots,
    timeouts: TimeoutTable,
    counters: Counters,
    /// The last identification of what is, or may be, fragmented.
    ident: u32,
    /// Number of the last connection made.
    serial: u32,
    /// What application helpers remember.
    apps: Apps,
    icmp: account::Bucket,
    defence: defence::Defence,
    /// IPv4 and IPv6.
    walks: [sweep::Walk; 2],
    /// IPv4 and IPv6: the way of the last reply, by number ([`crate::ready::Ways::to_near`]).
    near: [u32; 2],
    /// Ticks that they are put off.
    sweeps_after: u32,
    /// The last removal of a destination that was walked for.
    removals: u64,
    endings: u64,
    announcer: announce::Announcer,
    /// Timers put into the kernel's wheel so far, if they fire in its order.
    turn: Option<u64>,
    /// Has any other rule the kernel track connections of IPv4, of IPv6? `None` where the FTP helper rewrites without.
    tracking: Option<[bool; 2]>,
    /// The routes of destinations as the kernel shares them, if that matters.
    routes: Option<shared_route::SharedRoutes>,
    worker: WorkerId,
    workers: u16,
}

#[derive(Debug)]
struct Core {
    v4: Tables<u32>,
    v6: Tables<u128>,
    shared: Shared,
}

impl Core {
    /// Stage 2 for one packet.
    #[inline(always)]
    fn seek(&self, mark: &mut Mark) {
        let (v4, v6) = (&self.v4.connections, &self.v6.connections);
        mark.candidate = if mark.kind.is_v6() { v6.candidate(mark.hash) } else { v4.candidate(mark.hash) };
    }
}

/// One family's way through the core for one packet.
struct Lane<'a, A> {
    tables: &'a mut Tables<A>,
    shared: &'a mut Shared,
    snapshot: &'a Snapshot,
}

/// What is known of the packet at hand.
#[derive(Clone, Copy, Debug)]
struct Packet<A> {
    src: A,
    dst: A,
    sport: u16,
    dport: u16,
    at: Offsets,
    segment: Segment,
    hash: u64,
    candidate: ConnId,
    /// IP length in bytes.
    length: u16,
    port: PortId,
    origin: Origin,
    now: Tick,
}

/// The director of one worker.
#[derive(Debug)]
pub struct Director {
    core: Core,
    snapshot: Arc<Snapshot>,
    steering: Steering,
    seed: u64,
    /// Takes the common packet's way where it can.
    express: bool,
}

impl Director {
    /// A director with empty tables and no rules. `seed` keys the hashes; `worker` of `steering.workers()`.
    pub fn new(limits: &Limits, seed: u64, worker: WorkerId, steering: Steering) -> Self {
        let key = HashKey::new(seed);
        let v4 = Tables::new(limits.connections, limits.templates, key);
        let v6 = Tables::new(limits.connections6, limits.templates6, key);
        let shared = Shared::new(limits, worker, steering.workers());
        Self { core: Core { v4, v6, shared }, snapshot: Arc::default(), steering, seed, express: true }
    }

    /// What keys its hashes.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Lets connections and templates expire, and the defences be looked at, as late as on the timer wheel at 100 Hz of a kernel that
    /// started at `boot`, to be compared with recordings.
    #[must_use]
    pub fn with_kernel_timers(mut self, boot: Instant) -> Self {
        self.core.shared.defence.set_edges(boot.tick());
        self.core.shared.sweeps_after = sweep::PUT_OFF;
        self.core.shared.turn = Some(0);
        let Core { v4, v6, .. } = &mut self.core;
        [&mut v4.connections, &mut v4.templates].into_iter().for_each(Table::set_edges);
        [&mut v6.connections, &mut v6.templates].into_iter().for_each(Table::set_edges);
        self
    }

    /// Takes note of the timers that were set, for them to fire in the kernel's order: to be called after each packet.
    pub fn note_timers(&mut self) {
        u32::lane(&mut self.core, &self.snapshot).note_timers();
        u128::lane(&mut self.core, &self.snapshot).note_timers();
    }

    /// Lets the connections of a destination share a route as the kernel does, to be compared with recordings.
    #[must_use]
    pub fn with_kernel_routes(mut self) -> Self {
        self.core.shared.routes = Some(Default::default());
        self
    }

    /// Lets the FTP helper rewrite only what the kernel tracks, to be compared with recordings: by its own rules or, in IPv4 or IPv6, by
    /// others.
    pub fn set_tracking(&mut self, by_others: [bool; 2]) {
        self.core.shared.tracking = Some(by_others);
    }

    /// Judges every packet the general way, for the common packet's way to be held against.
    #[must_use]
    pub fn without_express(mut self) -> Self {
        self.express = false;
        self
    }

    /// Gives every packet of the burst its verdict, rewritten as needed.
    pub fn process<F: Frame>(&mut self, burst: &mut Burst<F>, now: Instant) {
        self.parse(burst);
        self.seek(burst);
        self.decide(burst, now);
    }

    /// Stage 1: what is each packet, whose is it, and where would its connection be.
    pub fn parse<F: Frame>(&mut self, burst: &mut Burst<F>) {
        let left = if self.express { express::look(self, burst) } else { express::leave(burst) };
        if left {
            burst.each_slot(|slot| self.parse_one(slot));
        }
    }

    /// Stage 2: which entry matches, by its tag.
    pub fn seek<F: Frame>(&mut self, burst: &mut Burst<F>) {
        burst.marks_mut().iter_mut().for_each(|mark| self.core.seek(mark));
    }

    /// Stage 3: state, counters, rewriting, verdict.
    pub fn decide<F: Frame>(&mut self, burst: &mut Burst<F>, now: Instant) {
        let mut nothing = Burst::<F>::NOTHING;
        self.step(&mut nothing, 0, burst, now);
    }

    /// Stage 2 of one burst and stage 3 of another, packet by packet in turn: a processor has but so many lines under way from memory, and
    /// a stage that did nothing but ask for them would wait for most.
    pub fn seek_and_decide<F: Frame>(&mut self, sought: &mut Burst<F>, decided: &mut Burst<F>, now: Instant) {
        let count = sought.count();
        self.step(&mut sought.marks, count, decided, now);
    }

    /// Of the marks the first `count` are of packets; to seek for the others does no harm.
    fn step<F: Frame>(&mut self, sought: &mut Marks, count: usize, decided: &mut Burst<F>, now: Instant) {
        // Asked once a burst, so that without a master of the synchronisation nobody asks.
        if self.core.shared.announcer.on {
            self.decide_all::<F, true>(sought, decided, now.tick());
        } else {
            self.decide_all::<F, false>(sought, decided, now.tick());
        }
        sought[..count].iter_mut().skip(decided.len()).for_each(|mark| self.core.seek(mark));
    }

    /// With `TELLS` a master of the synchronisation runs.
    #[inline(always)]
    fn decide_all<F: Frame, const TELLS: bool>(&mut self, sought: &mut Marks, decided: &mut Burst<F>, now: Tick) {
        let mut at = 0;
        loop {
            at = express::judge::<F, TELLS>(&mut self.core, &self.snapshot, sought, decided, at, now);
            if at >= decided.count() {
                return;
            }
            let opened = opening::open(&mut self.core, &self.snapshot, sought, decided, at, now);
            if opened > at {
                at = opened;
                continue;
            }
            sought.iter_mut().skip(at).take(1).for_each(|mark| self.core.seek(mark));
            self.decide_at(decided, at, now);
            at += 1;
        }
    }

    /// Decides about one packet the general way.
    #[inline(never)]
    fn decide_at<F: Frame>(&mut self, burst: &mut Burst<F>, at: usize, now: Tick) {
        let Some(mut slot) = burst.slot_mut(at) else { return };
        express::complete(&mut slot);
        let Slot { frame: Some(frame), mark, meta, verdict, port, origin } = slot else { return };
        let (core, snapshot) = (&mut self.core, &*self.snapshot);
        let exit = match meta.kind {
            Kind::Done | Kind::Unseen => Err(*verdict),
            Kind::Request4 | Kind::PlainRequest4 => {
                let packet = Packet::read(frame.bytes(), meta, port, origin, now);
                u32::lane(core, snapshot).request(frame, &packet)
            }
            Kind::Reply4 | Kind::PlainReply4 => {
                let packet = Packet::read(frame.bytes(), meta, port, origin, now);
                u32::lane(core, snapshot).reply(frame, &packet)
            }
            Kind::Request6 | Kind::PlainRequest6 => {
                let packet = Packet::read(frame.bytes(), meta, port, origin, now);
                u128::lane(core, snapshot).request(frame, &packet)
            }
            Kind::Reply6 | Kind::PlainReply6 => {
                let packet = Packet::read(frame.bytes(), meta, port, origin, now);
                u128::lane(core, snapshot).reply(frame, &packet)
            }
            Kind::Icmp4 => {
                let packet = Packet::read(frame.bytes(), meta, port, origin, now);
                Err(u32::lane(core, snapshot).message(frame, &packet))
            }
            Kind::Icmp6 => {
                let packet = Packet::read(frame.bytes(), meta, port, origin, now);
                Err(u128::lane(core, snapshot).message(frame, &packet))
            }
            Kind::Ipsec4 => {
                let packet = Packet::read(frame.bytes(), meta, port, origin, now);
                Err(u32::lane(core, snapshot).ipsec(frame, &packet))
            }
            Kind::Ipsec6 => {
                let packet = Packet::read(frame.bytes(), meta, port, origin, now);
                Err(u128::lane(core, snapshot).ipsec(frame, &packet))
            }
        };
        match self.core.shared.settle(forward::verdict(exit)) {
            // So that a burst all of whose frames leave by one port is handed over whole.
            Verdict::Transmit(port) => mark.way = port.0,
            other => *verdict = other,
        }
    }

    /// Takes new rules and a new network, all at once; gives the old ones back to be freed elsewhere. What forwards takes them piece by
    /// piece, by [`Director::advance`].
    pub fn apply(&mut self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let mut change = Change::new(snapshot);
        loop {
            change = match self.advance(change) {
                Ok(old) => return old,
                Err(left) => left,
            };
        }
    }

    /// The rules and network in force.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Ends what has timed out, looking at `budget` entries at most. Returns how many were looked at.
    pub fn expire(&mut self, now: Instant, budget: u32) -> u32 {
        let mut left = budget;
        if self.core.shared.defence.is_due(now.tick()) {
            self.core.watch(&self.snapshot.rules.settings, now.tick());
        }
        u32::lane(&mut self.core, &self.snapshot).expire(now.tick(), &mut left);
        u128::lane(&mut self.core, &self.snapshot).expire(now.tick(), &mut left);
        budget - left
    }

    /// Counters of the data path.
    pub fn counters(&self) -> &Counters {
        &self.core.shared.counters
    }

    /// For what the worker around the core counts.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.core.shared.counters
    }

    /// An identification for the fragments of an IPv6 packet.
    pub fn next_ident(&mut self) -> u32 {
        self.core.shared.next_ident()
    }

    /// What a tunnel's way to a destination was found to take, in bytes, and for how many seconds that is still believed.
    pub fn learnt_mtu(&self, dest: DestId, now: Instant) -> Option<(u16, u32)> {
        self.core.shared.learnt.get(dest.index())?.believed(now.tick())
    }

    /// Counters of a destination.
    pub fn traffic(&self, dest: DestId) -> Traffic {
        self.core.shared.traffic.get(dest.index()).copied().unwrap_or_default().0
    }

    /// Of the connections counted of a destination, those that another service made: its client had the destination already.
    pub fn lent(&self, dest: DestId) -> u64 {
        self.core.shared.lent.get(dest.index()).copied().unwrap_or_default()
    }

    /// Connections of a destination.
    pub fn load(&self, dest: DestId) -> Load {
        self.core.shared.loads.get(dest.index()).copied().unwrap_or_default()
    }

    /// Does anything here still refer to a destination that was removed: a connection, a template or a scheduler's memory?
    pub fn refers_to(&mut self, dest: &Destination, now: Instant) -> bool {
        let load = self.load(dest.id);
        load.total() + load.persistent > 0 || self.core.shared.schedulers.remember(dest.uid, now.tick())
    }

    /// Tells how many connections other workers hold to a destination.
    pub fn set_foreign_load(&mut self, dest: DestId, active: u32, inactive: u32) {
        let Some(load) = self.core.shared.loads.get_mut(dest.index()) else { return };
        if (load.foreign_active, load.foreign_inactive) != (active, inactive) {
            (load.foreign_active, load.foreign_inactive) = (active, inactive);
            // Another worker's connections may be all that there were, and the end of them is nothing that this one would notice.
            let limits = self.snapshot.rules.destination(dest).map_or((0, 0), |d| (d.upper, d.lower));
            load.limit(limits.0, limits.1);
        }
    }

    /// Which destination the counters at this index are of: its `uid`; 0 for none.
    pub fn owner(&self, dest: DestId) -> u64 {
        self.core.shared.owners.get(dest.index()).copied().unwrap_or_default()
    }

    /// Destinations that counters are kept for: indices below this.
    pub fn destinations(&self) -> u32 {
        u32::try_from(self.core.shared.loads.len()).unwrap_or(u32::MAX)
    }

    /// Was memory scarce at the last look? The defences of modes 1 and 2 are up then.
    pub fn is_scarce(&self) -> bool {
        self.core.shared.defence.is_scarce()
    }

    /// Ends every connection and template.
    pub fn flush(&mut self) {
        u32::lane(&mut self.core, &self.snapshot).flush();
        u128::lane(&mut self.core, &self.snapshot).flush();
    }

    /// Entries in use: IPv4 and IPv6 connections, IPv4 and IPv6 templates.
    pub fn used(&self) -> [u32; 4] {
        let Core { v4, v6, .. } = &self.core;
        [v4.connections.len(), v6.connections.len(), v4.templates.len(), v6.templates.len()]
    }

    /// Serial number of the connection that was made last; numbers wrap.
    pub fn serial(&self) -> u32 {
        self.core.shared.serial
    }
}

/// Takes a value aside for, or from, code off the common way. Without it the compiler would let that code have the original, which
/// would then live in memory on the common way too.
#[inline(always)]
fn aside<T>(value: T) -> T {
    std::hint::black_box(value)
}

impl<A: Family> Packet<A> {
    #[inline(always)]
    fn read(bytes: &[u8], meta: &Meta, port: PortId, origin: Origin, now: Tick) -> Self {
        let Meta { hash, candidate, length, sport, dport, protocol, segment, .. } = *meta;
        let at = Offsets { l3: ETHERNET, l4: meta.l4.into(), end: ETHERNET + usize::from(length), protocol };
        let (src, dst) = A::addresses(bytes, ETHERNET);
        Self { src, dst, sport, dport, at, segment, hash, candidate, length, port, origin, now }
    }

    /// What a scheduler may know of it.
    #[inline(always)]
    fn flow(&self) -> Flow {
        Flow {
            source: self.src.ip(),
            destination: self.dst.ip(),
            source_port: self.sport,
            destination_port: self.dport,
        }
    }
}

impl Shared {
    /// Counts what became of a packet.
    #[inline]
    fn settle(&mut self, verdict: Verdict) -> Verdict {
        if let Verdict::Drop(reason) = verdict {
            self.counters.drop(reason);
        }
        verdict
    }

    /// The verdict for a packet that is the kernel's: up the twin, or, when it came from there, out as the kernel addressed it.
    #[inline]
    fn kernels(&self, snapshot: &Snapshot, port: PortId, origin: Origin) -> Verdict {
        match origin {
            Origin::Twin => Verdict::Transmit(port),
            Origin::Wire if snapshot.network.ports.get(usize::from(port.0)).is_some_and(|p| p.twin) => {
                Verdict::Pass(port)
            }
            Origin::Wire => Verdict::Drop(DropReason::TwinOff),
        }
    }

    #[inline]
    fn next_ident(&mut self) -> u32 {
        self.ident = self.ident.wrapping_add(1);
        self.ident
    }

    #[inline]
    fn event(&mut self, event: Event) {
        self.counters.event(event);
    }
}
