//! Runs the checks: a task for each, of which so many probe at a time. A check that is wanted as before goes on, whatever else changes.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::board::{Board, Id, NOT_CHECKED};
use super::machine::Machine;
use super::pace;
use super::plan::{Plan, Probe};
use super::probe::{Outcome, Probing};
use super::spec::Start;

/// Probes at a time. Each takes a descriptor while it lasts.
pub const MOST: usize = 512;
/// Programs at a time, among them.
pub const MOST_PROGRAMS: usize = 32;

/// A check that is to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Of what.
    pub id: Id,
    /// Which object that is: one that was removed and added again is another, and begins anew.
    pub object: (u64, u64),
    /// How.
    pub plan: Arc<Plan>,
}

/// Hears what comes of checks.
pub trait Listener: Clone + Send + Sync + 'static {
    /// A destination is up, or is down for this reason. Done when it is in force.
    fn tell(&self, id: Id, health: Result<(), String>) -> impl Future<Output = ()> + Send;
}

/// Checks that run. All of them end when this is dropped.
#[derive(Debug)]
pub struct Engine<P, L> {
    shared: Arc<Shared<P, L>>,
    running: HashMap<Id, Running>,
}

#[derive(Debug)]
struct Shared<P, L> {
    probes: P,
    listener: L,
    board: Arc<Board>,
    room: Semaphore,
    programs: Semaphore,
}

#[derive(Debug)]
struct Running {
    wanted: Wanted,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<P: Probing, L: Listener> Engine<P, L> {
    /// No checks so far.
    pub fn new(probes: P, listener: L, board: Arc<Board>) -> Self {
        let (room, programs) = (Semaphore::new(MOST), Semaphore::new(MOST_PROGRAMS));
        Self { shared: Arc::new(Shared { probes, listener, board, room, programs }), running: HashMap::new() }
    }

    /// Makes the checks that run those that are wanted. To be called within a tokio runtime.
    pub fn want(&mut self, wanted: Vec<Wanted>) {
        let keep: HashSet<_> = wanted.iter().map(|w| w.id).collect();
        let gone: Vec<_> = self.running.keys().filter(|id| !keep.contains(*id)).copied().collect();
        for id in gone {
            self.running.remove(&id);
            self.shared.board.remove(&id);
            // What nobody checks counts as up.
            let shared = self.shared.clone();
            tokio::spawn(async move { shared.listener.tell(id, Ok(())).await });
        }
        let ways: HashSet<_> = wanted.iter().filter_map(|w| w.plan.way).collect();
        for wanted in wanted {
            self.start(wanted);
        }
        // Those of checks that have just ended, too, are not taken any more.
        self.shared.probes.keep(&ways);
    }

    fn start(&mut self, wanted: Wanted) {
        let before = self.running.remove(&wanted.id);
        if let Some(before) = before {
            if before.wanted == wanted {
                self.running.insert(wanted.id, before);
                return;
            }
            if before.wanted.object != wanted.object {
                self.shared.board.remove(&wanted.id);
            }
        }
        // Checked otherwise than before, it is what it was.
        let up = self.shared.board.row(&wanted.id).map_or(wanted.plan.start == Start::Up, |row| row.up);
        self.shared.board.begin(wanted.id, up, Instant::now().into_std());
        let machine = Machine::new(wanted.plan.fall, wanted.plan.rise, up);
        let task = tokio::spawn(run(self.shared.clone(), wanted.clone(), machine)).abort_handle();
        self.running.insert(wanted.id, Running { wanted, task });
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Do none run?
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

/// Checks one destination for ever.
async fn run<P: Probing, L: Listener>(shared: Arc<Shared<P, L>>, wanted: Wanted, mut machine: Machine) {
    let Wanted { id, plan, .. } = wanted;
    let mut due = Instant::now() + pace::first(plan.interval, rand::random());
    // That it is up is not known before it was seen; that it is down is said at once.
    let mut told = !machine.is_up();
    if told {
        let reason = shared.board.row(&id).map_or_else(|| NOT_CHECKED.to_owned(), |row| row.reason());
        shared.listener.tell(id, Err(reason)).await;
    }
    loop {
        sleep_until(due).await;
        let (outcome, latency) = shared.probe(&plan).await;
        let changed = machine.take(outcome.is_ok());
        shared.board.enter(&id, &outcome, latency, &machine, Instant::now().into_std());
        if changed.is_some() || (outcome.is_ok() && !told) {
            told = true;
            shared.listener.tell(id, outcome.map(drop)).await;
        }
        // A check that came late, for want of room, is not made up for.
        due = (due + pace::next(plan.interval, rand::random())).max(Instant::now());
    }
}

impl<P: Probing, L> Shared<P, L> {
    async fn probe(&self, plan: &Plan) -> (Outcome, Duration) {
        // Neither is ever closed.
        let _program = match plan.probe {
            Probe::Command(_) => self.programs.acquire().await.ok(),
            _ => None,
        };
        let _place = self.room.acquire().await.ok();
        let begun = Instant::now();
        let outcome = timeout(plan.timeout, self.probes.probe(plan)).await;
        (outcome.unwrap_or_else(|_| plan.timed_out()), begun.elapsed())
    }
}
