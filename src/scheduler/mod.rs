//! Schedulers (the kernel's `ip_vs_*.c` of that name): each chooses a destination for a new connection. With one worker every
//! pick is the kernel's; with several, workers start staggered so that their sum is as even as one.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use crate::destination::{DestId, Destination};
use crate::service::{SchedulerName, Service, ServiceFlags};
use crate::settings::Settings;
use crate::shelf::Shelf;
use crate::snapshot::Rules;
use crate::time::Tick;

mod bucket;
mod cache;
pub mod dh;
pub mod fo;
pub mod lblc;
pub mod lblcr;
pub mod lc;
mod least;
pub mod mh;
pub mod none;
pub mod nq;
pub mod ovf;
pub mod rr;
pub mod sed;
pub mod sh;
pub mod twos;
pub mod wlc;
pub mod wrr;

/// Connections of one destination as a scheduler counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Active connections of this worker.
    pub active: u32,
    /// All its others.
    pub inactive: u32,
    /// Its templates, which count for no threshold and no scheduler.
    pub persistent: u32,
    /// Active connections of the other workers, as last published.
    pub foreign_active: u32,
    /// All others of the other workers.
    pub foreign_inactive: u32,
    /// The upper threshold was reached, and the lower one not yet undercut.
    pub overloaded: bool,
}

impl Load {
    /// Active connections on all workers.
    #[inline]
    pub fn total_active(&self) -> u32 {
        self.active.saturating_add(self.foreign_active)
    }

    /// Inactive connections on all workers.
    #[inline]
    pub fn total_inactive(&self) -> u32 {
        self.inactive.saturating_add(self.foreign_inactive)
    }

    /// Connections on all workers.
    #[inline]
    pub fn total(&self) -> u32 {
        self.total_active().saturating_add(self.total_inactive())
    }

    /// A connection was added: with the upper threshold reached it is overloaded. A threshold of 0 is none.
    #[inline]
    pub fn burden(&mut self, upper: u32) {
        self.overloaded |= upper != 0 && self.total() >= upper;
    }

    /// A connection has ended: below the lower threshold, or three quarters of the upper one, it is overloaded no more. In between
    /// it stays what it was.
    #[inline]
    pub fn relieve(&mut self, upper: u32, lower: u32) {
        self.overloaded &= upper != 0 && self.total() >= low(upper, lower);
    }

    /// The thresholds were changed: at the upper one it is overloaded, below the lower one it is not, in between it stays what it was.
    pub fn limit(&mut self, upper: u32, lower: u32) {
        self.relieve(upper, lower);
        self.burden(upper);
    }
}

/// The lower threshold that counts: three quarters of the upper one, unless there is one.
#[inline]
fn low(upper: u32, lower: u32) -> u32 {
    if lower == 0 { upper - upper / 4 } else { lower }
}

/// What a scheduler may see.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// The service's destinations, newest first.
    pub destinations: &'a [Arc<Destination>],
    /// By [`DestId`].
    pub loads: &'a [Load],
    /// By [`DestId`], of every service, removed ones that are still referred to among them.
    pub all: &'a Shelf<Arc<Destination>>,
    /// Is it a service of IPv6? Through tunnels its destinations may be of the other family.
    pub v6: bool,
}

impl<'a> Candidates<'a> {
    /// Those of a service of these rules; loads by [`DestId`].
    #[inline]
    pub fn of(service: &'a Service, rules: &'a Rules, loads: &'a [Load]) -> Self {
        Self { destinations: &service.destinations, loads, all: &rules.destinations, v6: service.key.v6() }
    }
}

impl Candidates<'_> {
    /// Connections of the destination.
    #[inline]
    pub fn load(&self, destination: &Destination) -> Load {
        self.loads.get(destination.id.index()).copied().unwrap_or_default()
    }

    /// May it be picked: not quiesced, not overloaded?
    #[inline]
    pub fn usable(&self, destination: &Destination) -> bool {
        destination.weight > 0 && !self.load(destination).overloaded
    }

    /// The destination at that place of the list, if it is usable.
    #[inline]
    fn usable_at(&self, index: usize) -> Option<&Destination> {
        self.destinations.get(index).map(|d| &**d).filter(|d| self.usable(d))
    }
}

/// The packet that a connection is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// The client.
    pub source: IpAddr,
    /// The virtual address.
    pub destination: IpAddr,
    /// The client's port.
    pub source_port: u16,
    /// The virtual port.
    pub destination_port: u16,
}

/// Chooses destinations for one service on one worker.
pub trait Scheduler {
    /// Chooses a destination for a new connection, or `None` if none may take it. Allocates nothing.
    fn schedule(&mut self, candidates: &Candidates<'_>, flow: &Flow, now: Tick) -> Option<DestId>;

    /// The service or its destinations changed; `before` is the list that it had. A destination was edited if its `Arc` is
    /// another one. Allocates and frees nothing, but where [`AnyScheduler::ahead`] spares a packet from waiting for it.
    fn update(&mut self, before: &[Arc<Destination>], candidates: &Candidates<'_>, flags: ServiceFlags) {
        let _ = (before, candidates, flags);
    }

    /// Does it still refer to the removed destination of that uid? In the kernel that keeps what the destination has counted.
    fn remembers(&mut self, uid: u64, now: Tick) -> bool {
        let _ = (uid, now);
        false
    }

    /// Takes the sysctls that concern it. To be called after its making and whenever they change.
    fn tune(&mut self, settings: &Settings) {
        let _ = settings;
    }
}

/// Which of how many workers a scheduler works for. Worker 0 starts where the kernel does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerStart {
    /// Index of the worker.
    pub index: u16,
    /// Number of workers.
    pub count: u16,
}

impl Default for WorkerStart {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl WorkerStart {
    /// The place in a list of `len` at which this worker starts.
    #[inline]
    fn place(self, len: usize) -> usize {
        usize::from(self.index).checked_rem(len).unwrap_or(0)
    }
}

/// A scheduler of any name.
#[derive(Debug)]
pub enum AnyScheduler {
    /// Round robin.
    Rr(rr::RoundRobin),
    /// Weighted round robin.
    Wrr(wrr::WeightedRoundRobin),
    /// Least connection.
    Lc(lc::LeastConnection),
    /// Weighted least connection.
    Wlc(wlc::WeightedLeastConnection),
    /// Source hashing.
    Sh(sh::SourceHashing),
    /// Shortest expected delay.
    Sed(sed::ShortestExpectedDelay),
    /// Never queue.
    Nq(nq::NeverQueue),
    /// Weighted failover.
    Fo(fo::Failover),
    /// Weighted overflow.
    Ovf(ovf::Overflow),
    /// Destination hashing.
    Dh(dh::DestinationHashing),
    /// Maglev hashing.
    Mh(mh::Maglev),
    /// Locality-based least connection.
    Lblc(lblc::Locality),
    /// The same with replication.
    Lblcr(lblcr::Replication),
    /// Power of two choices.
    Twos(twos::PowerOfTwo),
    /// None.
    None(none::Nobody),
}

impl AnyScheduler {
    /// Makes the scheduler of that name for a service with these flags and destinations.
    pub fn new(name: SchedulerName, flags: ServiceFlags, candidates: &Candidates<'_>, worker: WorkerStart) -> Self {
        let mut scheduler = match name {
            SchedulerName::Rr => Self::Rr(rr::RoundRobin::new(worker)),
            SchedulerName::Wrr => Self::Wrr(wrr::WeightedRoundRobin::new(worker)),
            SchedulerName::Lc => Self::Lc(lc::LeastConnection::new(worker)),
            SchedulerName::Wlc => Self::Wlc(wlc::WeightedLeastConnection::new(worker)),
            SchedulerName::Sh => Self::Sh(sh::SourceHashing::default()),
            SchedulerName::Sed => Self::Sed(sed::ShortestExpectedDelay::new(worker)),
            SchedulerName::Nq => Self::Nq(nq::NeverQueue::new(worker)),
            SchedulerName::Fo => Self::Fo(fo::Failover),
            SchedulerName::Ovf => Self::Ovf(ovf::Overflow),
            SchedulerName::Dh => Self::Dh(dh::DestinationHashing::default()),
            SchedulerName::Mh => Self::Mh(mh::Maglev::default()),
            SchedulerName::Lblc => Self::Lblc(lblc::Locality::new(worker)),
            SchedulerName::Lblcr => Self::Lblcr(lblcr::Replication::new(worker)),
            SchedulerName::Twos => Self::Twos(twos::PowerOfTwo::new(worker)),
            SchedulerName::None => Self::None(none::Nobody),
        };
        scheduler.inner_mut().update(&[], candidates, flags);
        scheduler
    }

    /// What an update would make of it, made ahead and beside it, where that takes allocations: what such a scheduler knows comes of
    /// its service alone, never of packets.
    pub fn ahead(&self, candidates: &Candidates<'_>, flags: ServiceFlags) -> Option<Self> {
        let mut ahead = match self {
            Self::Sh(s) => Self::Sh(s.clone()),
            Self::Dh(s) => Self::Dh(s.clone()),
            Self::Mh(s) => Self::Mh(s.clone()),
            _ => return None,
        };
        // These do not ask for the list that they had.
        ahead.inner_mut().update(&[], candidates, flags);
        Some(ahead)
    }

    /// Chooses a destination for a new connection ([`Scheduler::schedule`]), the commonest schedulers without a detour.
    #[inline(always)]
    pub fn schedule(&mut self, candidates: &Candidates<'_>, flow: &Flow, now: Tick) -> Option<DestId> {
        match self {
            Self::Rr(s) => s.schedule(candidates, flow, now),
            Self::Wrr(s) => s.schedule(candidates, flow, now),
            other => other.inner_mut().schedule(candidates, flow, now),
        }
    }

    /// What it would choose, with nothing changed by asking.
    pub fn peek(&self, candidates: &Candidates<'_>, flow: &Flow, now: Tick) -> Option<DestId> {
        match self {
            Self::Rr(s) => { *s }.schedule(candidates, flow, now),
            Self::Wrr(s) => { *s }.schedule(candidates, flow, now),
            Self::Lc(s) => { *s }.schedule(candidates, flow, now),
            Self::Wlc(s) => { *s }.schedule(candidates, flow, now),
            Self::Sh(s) => s.pick(candidates, flow),
            Self::Sed(s) => { *s }.schedule(candidates, flow, now),
            Self::Nq(s) => { *s }.schedule(candidates, flow, now),
            Self::Fo(s) => { *s }.schedule(candidates, flow, now),
            Self::Ovf(s) => { *s }.schedule(candidates, flow, now),
            Self::Dh(s) => s.pick(candidates, flow),
            Self::Mh(s) => s.pick(candidates, flow),
            Self::Lblc(s) => s.peek(candidates, flow, now),
            Self::Lblcr(s) => s.peek(candidates, flow, now),
            Self::Twos(s) => { *s }.schedule(candidates, flow, now),
            Self::None(s) => { *s }.schedule(candidates, flow, now),
        }
    }

    /// The scheduler itself: the one match.
    #[inline]
    pub fn inner_mut(&mut self) -> &mut dyn Scheduler {
        match self {
            Self::Rr(s) => s,
            Self::Wrr(s) => s,
            Self::Lc(s) => s,
            Self::Wlc(s) => s,
            Self::Sh(s) => s,
            Self::Sed(s) => s,
            Self::Nq(s) => s,
            Self::Fo(s) => s,
            Self::Ovf(s) => s,
            Self::Dh(s) => s,
            Self::Mh(s) => s,
            Self::Lblc(s) => s,
            Self::Lblcr(s) => s,
            Self::Twos(s) => s,
            Self::None(s) => s,
        }
    }
}

#[cfg(test)]
mod tests;
