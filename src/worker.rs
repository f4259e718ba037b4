//! The poll loop of one worker, run to completion: it pulls a burst from its queues, its rings and the twin, walks it through the
//! director's stages, carries the verdicts out, and takes commands between bursts. Stage k of one burst runs beside stage k-1 of the
//! next, so that the memory of one is fetched while another is worked on; as soon as nothing is received all stages run out.

mod exits;
mod long;
mod pace;
mod tapped;

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::burst::Burst;
use crate::burst_meter::BurstMeter;
use crate::destination::DestId;
use crate::director::{Accepted, Director, Limits, Listing};
use crate::fragments::Fragments;
use crate::handoff::{Flushed, Handoff, Parcel};
use crate::hold::Hold;
use crate::io::PacketIo;
use crate::load_board::LoadBoard;
use crate::mailbox::{
    AcceptReport, Command, ConnectionPage, ConnectionQuery, DestinationRow, Mailbox, StatsPage, TellPage, TellQuery,
    WorkerReport,
};
use crate::stats::{DropReason, Event};
use crate::sync::Entry;
use crate::tap::{Tap, Way};
use crate::time::Instant;
use crate::verdict::{Origin, PortId, WorkerId};

use exits::{Exits, Own};
use long::Long;
use pace::Pace;

/// Time between two looks at what is slow: held frames, published loads.
const CHORES_EVERY: Duration = Duration::from_millis(4);

/// A clock that the worker reads once a turn.
pub trait Clock {
    /// Now.
    fn now(&self) -> Instant;
}

/// The processor's time stamp counter, set by the system's monotonic clock, which is also what stands in where the counter does not run at
/// one speed. It is read every turn, and to ask the system takes three times as long.
static CLOCK: LazyLock<quanta::Clock> = LazyLock::new(quanta::Clock::new);

/// The monotonic clock of the process. Time counts from when it was made; copies agree.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    clock: &'static quanta::Clock,
    start: u64,
}

impl Default for SystemClock {
    fn default() -> Self {
        let clock = &*CLOCK;
        Self { clock, start: clock.raw() }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Instant {
        Instant(self.clock.delta_as_nanos(self.start, self.clock.raw()))
    }
}

/// The worker's side of the kernel twins.
pub trait TwinLink<F> {
    /// Gives a frame to the kernel.
    ///
    /// # Errors
    /// The frame, when there is no room.
    fn pass(&mut self, port: PortId, frame: F) -> Result<(), F>;
    /// The next frame that the kernel sent by a port.
    fn receive(&mut self) -> Option<(PortId, F)>;
    /// Wakes the other side, if anything was given.
    fn flush(&mut self);
}

/// A port that has no twin: nothing passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTwin;

impl<F> TwinLink<F> for NoTwin {
    fn pass(&mut self, _port: PortId, frame: F) -> Result<(), F> {
        Err(frame)
    }

    fn receive(&mut self) -> Option<(PortId, F)> {
        None
    }

    fn flush(&mut self) {}
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Idle {
    /// Polls on: for a director of its own.
    #[default]
    Spin,
    /// Sleeps a little, and longer the longer it lasts: for shared machines.
    Sleep,
}

/// Empty turns before a worker that may sleep does.
const PATIENT_TURNS: u32 = 64;
/// The first sleep.
const SHORTEST: Duration = Duration::from_micros(20);
/// The longest sleep.
const LONGEST: Duration = Duration::from_micros(500);

/// Asks the kernel to resolve a neighbour; must not block. Returns false when the line is full.
pub type Resolver = Box<dyn FnMut(PortId, IpAddr) -> bool + Send>;

/// What a worker is made of.
pub struct Parts<I: PacketIo, T> {
    /// Its index.
    pub id: WorkerId,
    /// Its queues.
    pub io: I,
    /// Its core.
    pub director: Director,
    /// The sizes of its tables, for reports.
    pub limits: Limits,
    /// Its commands.
    pub mailbox: Mailbox,
    /// Its ends of the rings.
    pub handoff: Handoff<I::Frame>,
    /// Its end of the twins.
    pub twin: T,
    /// How it asks for neighbours.
    pub resolver: Resolver,
    /// Where workers tell each other their loads.
    pub board: Arc<LoadBoard>,
    /// Frames in a burst.
    pub burst: usize,
    /// What it does when idle.
    pub idle: Idle,
}

impl<I: PacketIo, T> std::fmt::Debug for Parts<I, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("id", &self.id).finish_non_exhaustive()
    }
}

/// One worker.
#[derive(Debug)]
pub struct Worker<I: PacketIo, T, C> {
    parts: Parts<I, T>,
    clock: C,
    /// The burst that is being received, the one whose entries are being fetched, the one that is being decided.
    pipeline: [Box<Burst<I::Frame>>; 3],
    hold: Hold<I::Frame>,
    fragments: Fragments<I::Frame>,
    own: Box<Own<I::Frame>>,
    /// A command that came while it slept.
    woken_by: Option<Command>,
    /// A command that takes several turns.
    long: Option<Long>,
    pace: Pace,
    tap: Option<Tap>,
    /// For packets that are judged alone.
    single: Box<Burst<I::Frame>>,
    chores_at: Instant,
    /// Loads are being told, a piece a turn.
    exchanges: bool,
    turns: u64,
    busy_turns: u64,
    bursts: BurstMeter,
    stopped: bool,
}

impl<I: PacketIo, T: TwinLink<I::Frame>, C: Clock> Worker<I, T, C> {
    /// A worker that has not begun.
    pub fn new(parts: Parts<I, T>, clock: C) -> Self {
        let pipeline = std::array::from_fn(|_| Box::new(Burst::with_limit(parts.burst)));
        let fragments = Fragments::new(parts.director.seed());
        let pace = Pace::new(parts.burst);
        Self {
            parts,
            clock,
            pipeline,
            hold: Hold::default(),
            fragments,
            own: Box::default(),
            woken_by: None,
            long: None,
            pace,
            tap: None,
            single: Box::new(Burst::with_limit(1)),
            chores_at: Instant(0),
            exchanges: false,
            turns: 0,
            busy_turns: 0,
            bursts: BurstMeter::default(),
            stopped: false,
        }
    }

    /// Polls until it is told to stop.
    pub fn run(&mut self) {
        let mut empty = 0_u32;
        while !self.stopped {
            empty = if self.turn() { 0 } else { empty.saturating_add(1) };
            if empty > 0 {
                self.rest(empty);
            }
        }
    }

    /// Does as it may when there is nothing to do; a command ends its sleep.
    fn rest(&mut self, empty: u32) {
        match self.parts.idle {
            Idle::Spin => std::hint::spin_loop(),
            Idle::Sleep if empty > PATIENT_TURNS => {
                self.woken_by = self.parts.mailbox.wait((SHORTEST * (empty - PATIENT_TURNS)).min(LONGEST));
            }
            Idle::Sleep => std::hint::spin_loop(),
        }
    }

    /// Its core.
    pub fn director(&self) -> &Director {
        &self.parts.director
    }

    /// What it has of connections and templates when it has ended.
    pub fn into_director(self) -> Director {
        self.parts.director
    }

    /// One turn. Returns true when there was something to do.
    pub fn turn(&mut self) -> bool {
        let now = self.clock.now();
        self.turns += 1;
        self.bursts.begin(now);
        let commanded = self.obey(now);
        let received = self.receive(now);
        self.bursts.received(received);
        if received > 0 {
            self.busy_turns += 1;
            self.step(now);
        } else {
            self.drain(now);
        }
        let expired = self.expire(now);
        if now >= self.chores_at {
            self.chores(now);
        }
        if self.exchanges {
            self.exchanges = !self.parts.board.exchange(self.parts.id, &mut self.parts.director);
        }
        self.parts.io.flush();
        self.parts.twin.flush();
        self.flush_handoff();
        commanded || received > 0 || expired
    }

    /// Sends other workers what is theirs.
    #[inline]
    fn flush_handoff(&mut self) {
        let Flushed { sent, refused } = self.parts.handoff.flush();
        let counters = self.parts.director.counters_mut();
        counters.events[Event::HandedOff as usize] += sent;
        counters.drops[DropReason::HandoffFull as usize] += refused;
    }

    /// Ends what has timed out, as far as it is this turn's share. Returns true when there was something to look at.
    fn expire(&mut self, now: Instant) -> bool {
        let director = &mut self.parts.director;
        let looks = self.pace.looks(now, director.serial());
        let used = director.expire(now, looks);
        self.pace.looked(looks, used);
        used > 0
    }

    /// Takes one command, or goes on with one, with no burst under way.
    fn obey(&mut self, now: Instant) -> bool {
        if let Some(long) = self.long.take() {
            self.drain(now);
            self.go_on(long);
            return true;
        }
        let Some(command) = self.woken_by.take().or_else(|| self.parts.mailbox.poll()) else { return false };
        self.drain(now);
        self.execute(command, now);
        true
    }

    /// Fills the burst. Rings and twins have a share of it, so that a wire that never ends does not shut them out, and what the
    /// wire leaves.
    fn receive(&mut self, now: Instant) -> usize {
        let room = self.pipeline[0].room();
        self.take_over(room / 2);
        self.hear_kernel(room / 4);
        let before = self.pipeline[0].len();
        let wire = self.parts.io.receive(&mut self.pipeline[0]);
        if let Some(tap) = &self.tap {
            self.pipeline[0].since(before).for_each(|(frame, port)| tap.see(frame, Way::In, port, Origin::Wire, now));
        }
        self.parts.director.counters_mut().events[Event::Received as usize] += wire as u64;
        self.take_over(room);
        self.hear_kernel(room);
        self.pipeline[0].len()
    }

    /// Takes up to `most` frames that other workers handed over.
    #[inline]
    fn take_over(&mut self, most: usize) {
        let burst = &mut self.pipeline[0];
        for _ in 0..most.min(burst.room()) {
            let Some(Parcel { frame, port, origin }) = self.parts.handoff.receive() else { return };
            self.parts.director.counters_mut().event(Event::FromHandoff);
            drop(burst.push(frame, port, origin));
        }
    }

    /// Takes up to `most` frames that the kernel sent.
    #[inline]
    fn hear_kernel(&mut self, most: usize) {
        let burst = &mut self.pipeline[0];
        for _ in 0..most.min(burst.room()) {
            let Some((port, frame)) = self.parts.twin.receive() else { return };
            self.parts.director.counters_mut().event(Event::FromTwin);
            drop(burst.push(frame, port, Origin::Twin));
        }
    }

    /// Moves every burst one stage on.
    fn step(&mut self, now: Instant) {
        if self.tap.is_some() {
            return self.step_tapped(now);
        }
        let [received, sought, decided] = &mut self.pipeline;
        let director = &mut self.parts.director;
        director.parse(received);
        director.seek_and_decide(sought, decided, now);
        self.carry_out::<false>(now);
        self.pipeline.rotate_right(1);
    }

    /// Runs out all stages.
    fn drain(&mut self, now: Instant) {
        while self.pipeline.iter().any(|burst| !burst.is_empty()) {
            self.step(now);
        }
    }

    /// Carries out the verdicts of the burst that has been decided, and empties it.
    fn carry_out<const TAPPED: bool>(&mut self, now: Instant) {
        let Self { parts, hold, fragments, own, pipeline, tap, .. } = self;
        let decided = &mut pipeline[2];
        if !TAPPED && let Some(port) = decided.leaves_by() {
            parts.director.counters_mut().events[Event::Transmitted as usize] += decided.len() as u64;
            return parts.io.transmit_all(port, decided);
        }
        let mut exits = Exits::<_, _, TAPPED> { parts, hold, fragments, own, tap: tap.as_ref(), now };
        decided.give_away(|frame, verdict, port, origin| exits.dispatch(frame, verdict, port, origin));
    }

    /// What need not be done every turn.
    fn chores(&mut self, now: Instant) {
        self.chores_at = now + CHORES_EVERY;
        let Self { parts, hold, fragments, own, tap, .. } = self;
        Exits::<_, _, true> { parts, hold, fragments, own, tap: tap.as_ref(), now }.give_up();
        self.exchanges = true;
    }

    fn execute(&mut self, command: Command, now: Instant) {
        // That nobody waits for an answer any more is no error: `send` then gives it back, to be dropped here.
        match command {
            Command::Apply(snapshot, answer) => self.change(snapshot, answer, now),
            Command::Connections(query, answer) => drop(answer.send(self.list(query, now))),
            Command::Stats(page, answer) => drop(answer.send(self.stats(page))),
            Command::Report(answer) => drop(answer.send(self.report())),
            Command::Bursts(empty, answer) => drop(answer.send(self.bursts.exchange(empty))),
            Command::FlushConnections(answer) => self.flush(answer),
            Command::Told(empty, answer) => drop(answer.send(self.parts.director.take_told(empty))),
            Command::TellAll(query, answer) => drop(answer.send(self.tell_all(query))),
            Command::Accept(entries, answer) => drop(answer.send(self.accept(entries, now))),
            Command::Why(question, answer) => drop(answer.send(self.parts.director.why(&question, now))),
            Command::Tap(tap, answer) => drop(answer.send((std::mem::replace(&mut self.tap, tap), now))),
            Command::Stop(answer) => {
                self.stopped = true;
                let _ = answer.send(());
            }
        }
    }

    fn list(&self, query: ConnectionQuery, now: Instant) -> ConnectionPage {
        let ConnectionQuery { templates, v6, cursor, entries, mut rows } = query;
        let room = (entries as usize).min(rows.capacity() - rows.len());
        let next = self.parts.director.list(Listing { v6, templates }, cursor, room, now, |info| rows.push(info));
        ConnectionPage { rows, next }
    }

    fn tell_all(&self, query: TellQuery) -> TellPage {
        let TellQuery { which, cursor, mut rows } = query;
        let room = rows.capacity() - rows.len();
        let next = self.parts.director.tell_all(which, cursor, room, |entry| rows.push(entry));
        TellPage { rows, next }
    }

    fn accept(&mut self, entries: Vec<Entry>, now: Instant) -> AcceptReport {
        let (mut outdated, mut full) = (0, 0);
        for entry in &entries {
            match self.parts.director.accept(entry, now) {
                Accepted::Made | Accepted::Updated => {}
                Accepted::Outdated => outdated += 1,
                Accepted::Full => full += 1,
            }
        }
        AcceptReport { entries, outdated, full }
    }

    fn stats(&self, mut page: StatsPage) -> StatsPage {
        let director = &self.parts.director;
        let last = director.destinations();
        let room = page.rows.capacity() - page.rows.len();
        let ids = (page.first..last).take(room).map(DestId);
        page.rows.extend(ids.map(|id| {
            let load = director.load(id);
            DestinationRow {
                uid: director.owner(id),
                traffic: director.traffic(id),
                lent: director.lent(id),
                active: load.active,
                inactive: load.inactive,
                persistent: load.persistent,
                overloaded: load.overloaded,
            }
        }));
        page
    }

    fn report(&self) -> WorkerReport {
        let Limits { connections, connections6, templates, templates6, .. } = self.parts.limits;
        let used = self.parts.director.used().map(u64::from);
        WorkerReport {
            counters: self.parts.director.counters().clone(),
            turns: self.turns,
            busy_turns: self.busy_turns,
            used,
            bursts: self.bursts.sums(),
            serial: self.parts.director.serial(),
            connections: used[0] + used[1],
            connections_max: u64::from(connections) + u64::from(connections6),
            templates: used[2] + used[3],
            templates_max: u64::from(templates) + u64::from(templates6),
            snapshot: self.parts.director.snapshot().version,
            scarce: self.parts.director.is_scarce(),
        }
    }
}
