//! Several workers on devices in memory, run turn by turn by hand: hand-off, next hops that are asked for, commands between bursts.
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use pollvs::director::{Director, Limits};
use pollvs::frame::Frame;
use pollvs::handoff::{Handoff, Strays};
use pollvs::io::memory::{MemoryIo, VecFrame};
use pollvs::load_board::LoadBoard;
use pollvs::mailbox::{Workers, mailbox};
use pollvs::stats::{Counters, DropReason, Event};
use pollvs::steering::{Prefixes, Steering};
use pollvs::time::Instant;
use pollvs::verdict::{PortId, WorkerId};
use pollvs::worker::{Clock, Idle, Parts, TwinLink, Worker};

use super::{Control, INSIDE, OUTSIDE, ROOMY};

#[derive(Clone, Debug, Default)]
pub(crate) struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::Relaxed))
    }
}

/// The kernel's end of the twins of one worker.
#[derive(Clone, Default)]
pub(crate) struct Kernel {
    pub(crate) up: Arc<SegQueue<(PortId, VecFrame)>>,
    pub(crate) down: Arc<SegQueue<(PortId, VecFrame)>>,
}

impl TwinLink<VecFrame> for Kernel {
    fn pass(&mut self, port: PortId, frame: VecFrame) -> Result<(), VecFrame> {
        self.up.push((port, frame));
        Ok(())
    }

    fn receive(&mut self) -> Option<(PortId, VecFrame)> {
        self.down.pop()
    }

    fn flush(&mut self) {}
}

type Member = Worker<MemoryIo, Kernel, Hand>;

pub(crate) struct Cluster {
    members: Vec<Member>,
    pub(crate) devices: Vec<MemoryIo>,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) asked: Arc<Mutex<Vec<(PortId, IpAddr)>>>,
    pub(crate) control: Control,
    pub(crate) workers: Workers,
    pub(crate) steering: Steering,
    /// By worker, then by port.
    pub(crate) strays: Vec<Arc<[Strays]>>,
    clock: Hand,
}

impl Cluster {
    /// So many workers with these rules in force, and rings of that depth.
    pub(crate) fn new(count: u16, depth: usize, rules: &[&str]) -> Self {
        Self::steered(Steering::new(count, 7, Prefixes::default(), 5), depth, rules)
    }

    /// The workers that this steering knows of.
    pub(crate) fn steered(steering: Steering, depth: usize, rules: &[&str]) -> Self {
        Self::sized(&ROOMY, steering, depth, rules)
    }

    /// The same with tables of that size.
    pub(crate) fn sized(limits: &Limits, steering: Steering, depth: usize, rules: &[&str]) -> Self {
        let count = steering.workers();
        let clock = Hand(Arc::new(AtomicU64::new(1_000_000_000)));
        let board = Arc::new(LoadBoard::new(usize::from(count), 64));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (mut members, mut handles, mut devices, mut kernels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let strays = Strays::table(usize::from(count), 2);
        for (id, handoff) in (0..count).zip(Handoff::mesh(usize::from(count), depth)) {
            let handoff = handoff.counting(Arc::clone(&strays[usize::from(id)]));
            let (handle, mailbox) = mailbox(WorkerId(id), None);
            let (io, twin, asked) = (MemoryIo::new(2), Kernel::default(), Arc::clone(&asked));
            devices.push(io.clone());
            kernels.push(twin.clone());
            handles.push(handle);
            let parts = Parts {
                id: WorkerId(id),
                io,
                director: Director::new(limits, 7, WorkerId(id), steering.clone()),
                limits: *limits,
                mailbox,
                handoff,
                twin,
                resolver: Box::new(move |port, neighbour| {
                    asked.lock().unwrap().push((port, neighbour));
                    true
                }),
                board: Arc::clone(&board),
                burst: 32,
                idle: Idle::Spin,
            };
            members.push(Worker::new(parts, clock.clone()));
        }
        let workers = Workers::new(handles);
        let mut cluster =
            Self { members, devices, kernels, asked, control: Control::default(), workers, steering, strays, clock };
        rules.iter().for_each(|line| cluster.control.ipvsadm(line));
        cluster.apply();
        cluster
    }

    /// Puts rules and network in force, waiting for every worker.
    pub(crate) fn apply(&mut self) {
        let snapshot = self.control.snapshot();
        let workers = self.workers.clone();
        self.answered(async move { workers.apply(&snapshot).await.unwrap() });
    }

    /// Lets the workers work until the question is answered.
    pub(crate) fn answered<T>(&mut self, question: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let members = &mut self.members;
        runtime.block_on(async {
            let work = async {
                loop {
                    turn_all(members);
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                answer = question => answer,
                () = work => unreachable!("work has no end"),
            }
        })
    }

    /// The core of a worker.
    pub(crate) fn director(&self, worker: usize) -> &Director {
        self.members[worker].director()
    }

    /// One turn of one worker.
    pub(crate) fn turn(&mut self, worker: usize) -> bool {
        self.members[worker].turn()
    }

    /// One turn of each worker.
    pub(crate) fn turn_all(&mut self) -> bool {
        turn_all(&mut self.members)
    }

    /// Turns until nobody has anything to do.
    pub(crate) fn settle(&mut self) {
        // The turn that runs the stages out receives nothing, but may hand frames to a worker that has had its turn.
        while self.turn_all() || self.turn_all() {}
    }

    pub(crate) fn sleep(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap();
        self.clock.0.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counters of each worker.
    pub(crate) fn counters(&mut self) -> Vec<Counters> {
        let workers = self.workers.clone();
        let reports = self.answered(async move { workers.ask_all(pollvs::mailbox::Command::Report).await.unwrap() });
        reports.into_iter().map(|report| report.counters).collect()
    }

    pub(crate) fn event(&mut self, event: Event) -> Vec<u64> {
        self.counters().iter().map(|c| c.events[event as usize]).collect()
    }

    pub(crate) fn dropped(&mut self, reason: DropReason) -> Vec<u64> {
        self.counters().iter().map(|c| c.drops[reason as usize]).collect()
    }

    /// Connections that each worker holds.
    pub(crate) fn held(&mut self) -> Vec<u64> {
        let workers = self.workers.clone();
        let reports = self.answered(async move { workers.ask_all(pollvs::mailbox::Command::Report).await.unwrap() });
        reports.into_iter().map(|report| report.connections).collect()
    }

    /// What left by a port, by whichever worker, in each worker's order.
    pub(crate) fn sent(&self, port: PortId) -> Vec<Vec<u8>> {
        self.devices.iter().flat_map(|device| device.take(port)).map(|frame| frame.bytes().to_vec()).collect()
    }

    /// What went to the kernel.
    pub(crate) fn passed(&self) -> Vec<Vec<u8>> {
        let up = self.kernels.iter().flat_map(|kernel| std::iter::from_fn(|| kernel.up.pop()));
        up.map(|(_, frame)| frame.bytes().to_vec()).collect()
    }

    /// Everything that has left and gone up.
    pub(crate) fn all(&self) -> usize {
        self.sent(OUTSIDE).len() + self.sent(INSIDE).len() + self.passed().len()
    }
}

/// Returns true when one of them had something to do.
fn turn_all(members: &mut [Member]) -> bool {
    members.iter_mut().map(|worker| worker.turn()).fold(false, |any, busy| any | busy)
}
