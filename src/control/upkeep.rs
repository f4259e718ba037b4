//! The standing of destinations put in force: what checks report, and what time makes of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rpds::{HashTrieMapSync, RedBlackTreeSetSync};
use tokio::sync::watch;

use crate::control::event::{self, Event, Listener, Seen};
use crate::control::health::rules::Checks;
use crate::control::reply::{DrainView, OldestView};
use crate::control::request::Request;
use crate::control::standing::Health;
use crate::control::standing::drain::{Drain, Left};
use crate::control::standing::sorry::Sorry;
use crate::control::totals::Totals;
use crate::control::{Control, Inner};
use crate::destination::{DestId, Destination};
use crate::mailbox::{Command, ConnectionRow, Silent, WorkerHandle, WorkerReport};
use crate::service::{Service, ServiceId, ServiceKey};
use crate::shelf::Shelf;

/// Seconds since 1970.
pub(super) fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a check has found of a destination.
#[derive(Debug)]
pub(super) struct Report {
    service: ServiceKey,
    address: SocketAddr,
    health: Health,
}

/// The rules as they were made, whatever the standing of destinations. A copy costs little, and what has changed since another one is
/// told by [`Shelf::changed`].
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// By [`crate::service::ServiceId`].
    pub services: Shelf<Arc<Service>>,
    /// By [`crate::destination::DestId`], removed ones that are remembered among them.
    pub destinations: Shelf<Arc<Destination>>,
    /// What is checked.
    pub checks: Checks,
    /// Destinations that are drained.
    pub(super) draining: RedBlackTreeSetSync<DestId>,
    /// Sorry servers, which are no destinations of their services.
    pub(super) sorries: HashTrieMapSync<ServiceId, Sorry>,
}

impl Control {
    /// Puts what a check has found in force: when this returns, every worker works by it. To say the same again changes nothing, and what
    /// is said of a destination that is not there is not heard. What many report at a time is put in force together.
    ///
    /// # Errors
    /// [`Silent`]; the others work by it then.
    pub async fn report_health(&self, service: ServiceKey, address: SocketAddr, health: Health) -> Result<(), Silent> {
        let reports = || self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports().push(Report { service, address, health });
        let mut inner = self.inner.lock().await;
        let all = std::mem::take(&mut *reports());
        inner.take_reports(&all).await
    }

    /// Looks for what is not asked for and happens all the same.
    pub(super) async fn look(&self) {
        let reports = self.workers.ask_each(Command::Report).await;
        self.note_serials(&reports);
        let workers = reports.into_iter().map(|(worker, report)| (worker.id.0, report.ok().map(|r| r.used))).collect();
        self.inner.lock().await.see(workers);
    }

    fn note_serials(&self, reports: &[(WorkerHandle, Result<WorkerReport, Silent>)]) {
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.started.elapsed();
        for (worker, report) in reports.iter().filter_map(|(worker, report)| Some((worker, report.as_ref().ok()?))) {
            ages.note(worker.id.0, report.serial, now);
        }
    }

    /// The destinations that are drained and what they have; with the oldest connection of each, if that is asked for.
    pub(super) async fn drains(&self, oldest: bool) -> Result<Vec<DrainView>, Silent> {
        let (mut views, ids) = {
            let mut inner = self.inner.lock().await;
            inner.ask_totals().await?;
            let ids: Vec<_> = inner.store.drained().map(|(d, _)| d.id).collect();
            (inner.picture().drain_views(), ids)
        };
        if oldest && views.iter().any(|view| view.active + view.inactive > 0) {
            let found = self.oldest(&ids).await?;
            for (view, id) in views.iter_mut().zip(&ids) {
                view.oldest = found.get(id).cloned();
            }
        }
        Ok(views)
    }

    /// The oldest connection of each of these destinations. Walks all tables.
    async fn oldest(&self, ids: &[DestId]) -> Result<HashMap<DestId, OldestView>, Silent> {
        let mut oldest: HashMap<DestId, OldestView> = HashMap::new();
        for worker in self.workers.iter() {
            for v6 in [false, true] {
                let mut cursor = Some(0);
                while let Some(from) = cursor {
                    let page = worker.connections(false, v6, from).await?;
                    let rows = page.rows.iter().filter(|row| ids.contains(&row.destination));
                    rows.for_each(|row| self.older(&mut oldest, worker.id.0, row));
                    cursor = page.next;
                }
            }
        }
        Ok(oldest)
    }

    fn older(&self, oldest: &mut HashMap<DestId, OldestView>, worker: u16, row: &ConnectionRow) {
        let ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        let age_secs = ages.age(worker, row.serial, self.started.elapsed()).as_secs();
        if oldest.get(&row.destination).is_none_or(|known| known.age_secs < age_secs) {
            let client = SocketAddr::new(row.caddr, row.cport);
            let view = OldestView { client, state: row.state.to_owned(), age_secs, worker };
            oldest.insert(row.destination, view);
        }
    }

    /// Tells of what happens outside of control.
    pub fn tell(&self, event: Event) {
        self.events.tell(event);
    }

    /// What happens from now on.
    pub fn listen(&self) -> Listener {
        self.events.listen()
    }

    /// The rules as they were made, and whenever they have changed.
    pub fn watch_rules(&self) -> watch::Receiver<Configured> {
        self.configured.subscribe()
    }
}

impl Inner {
    async fn take_reports(&mut self, reports: &[Report]) -> Result<(), Silent> {
        let now = self.started.elapsed();
        for Report { service, address, health } in reports {
            let event = self.store.report(service, *address, health, now);
            event.into_iter().for_each(|event| self.events.tell(event));
        }
        self.publish_if_stale().await
    }

    /// Does what is due.
    pub(super) async fn keep_up(&mut self) -> Result<(), Silent> {
        if self.store.is_warming() {
            let events = self.store.warm(self.started.elapsed());
            events.into_iter().for_each(|event| self.events.tell(event));
            self.publish_if_stale().await?;
        }
        Ok(())
    }

    fn see(&mut self, workers: Vec<(u16, Option<[u64; 4]>)>) {
        let d = &self.config.director;
        let room = [d.connections, d.connections6, d.templates, d.templates6].map(u64::from);
        let all = (self.ports)();
        let strays = all.iter().map(|p| (p.name.clone(), p.astray, p.counters.rx_packets)).collect();
        let ports = all.into_iter().map(|p| (p.name, p.gone.is_empty().then_some(p.up))).collect();
        let events = self.watch.look(&Seen { workers, room, ports, strays });
        events.into_iter().for_each(|event| self.events.tell(event));
    }

    /// Ends the drains that are over; what they have was just asked for.
    pub(super) async fn end_drains(&mut self) {
        for (d, left, how) in self.over() {
            let (service, destination) = (d.of, SocketAddr::new(d.address, d.port));
            if how.remove {
                let removal = Request::DeleteDestination { service, address: destination };
                if let Err(failure) = self.change(Some(&removal), |store| store.edit(&removal)).await {
                    tracing::warn!("{destination} is drained and cannot be removed yet: {failure}");
                    continue;
                }
            } else {
                self.store.finish(&d);
            }
            let connections = left.active;
            self.events.tell(Event::Drained { service, destination, connections, removed: how.remove });
        }
    }

    /// The drains that are over and have not been told, with what is left.
    fn over(&mut self) -> Vec<(Arc<Destination>, Left, Drain)> {
        let (now, uptime) = (unix_secs(), self.started.elapsed());
        let drained: Vec<_> = self.store.drained().filter(|(_, drain)| !drain.is_over).collect();
        let totals = drained.into_iter().map(|(d, drain)| (d.clone(), drain.how, self.total(d)));
        let totals: Vec<_> = totals.collect();
        self.quiet.keep(&totals.iter().map(|(d, ..)| d.uid).collect::<Vec<_>>());
        let left = totals.into_iter().map(|(d, how, Totals { active, inactive, persistent, .. })| {
            let quiet = self.quiet.look(d.uid, active, uptime);
            (d, Left { active, inactive, templates: persistent, quiet }, how)
        });
        left.filter(|(_, left, how)| how.is_over(*left, now)).collect()
    }

    async fn publish_if_stale(&mut self) -> Result<(), Silent> {
        self.store.settle();
        let outcome = if self.store.is_stale() { self.publish().await } else { Ok(()) };
        self.tell_news();
        outcome
    }

    /// Tells what has become of quorums and sorry servers.
    pub(super) fn tell_news(&mut self) {
        self.store.take_news().into_iter().for_each(|event| self.events.tell(event));
    }

    /// Tells those who watch the rules, and those who listen to events, what has changed in them, if anything has.
    pub(super) fn tell_rules(&self) {
        let now = self.store.configured();
        self.configured.send_if_modified(|known| {
            let events = event::changes(known, &now);
            events.iter().cloned().for_each(|event| self.events.tell(event));
            let differs = !events.is_empty() || now.checks.differ(&known.checks);
            *known = now;
            differs
        });
    }
}
