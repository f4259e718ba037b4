//! The standing of destinations put in force: what checks report, and what time makes of it.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use crate::control::event::{self, Listener, Seen};
use crate::control::health::rules::Checks;
use crate::control::standing::Health;
use crate::control::{Control, Inner};
use crate::destination::Destination;
use crate::mailbox::{Command, Silent};
use crate::service::{Service, ServiceKey};
use crate::shelf::Shelf;

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
        let workers = reports.into_iter().map(|(worker, report)| (worker.id.0, report.ok().map(|r| r.used))).collect();
        self.inner.lock().await.see(workers);
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
        let ports = (self.ports)().into_iter().map(|p| (p.name, p.up)).collect();
        let events = self.watch.look(&Seen { workers, room, ports });
        events.into_iter().for_each(|event| self.events.tell(event));
    }

    async fn publish_if_stale(&mut self) -> Result<(), Silent> {
        if self.store.is_stale() { self.publish().await } else { Ok(()) }
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
