//! The standing of destinations put in force: what checks report, and what time makes of it.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use crate::control::standing::Health;
use crate::control::{Control, Inner};
use crate::mailbox::Silent;
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

    /// The rules as they were made, and whenever they have changed.
    pub fn watch_rules(&self) -> watch::Receiver<Configured> {
        self.configured.subscribe()
    }
}

impl Inner {
    async fn take_reports(&mut self, reports: &[Report]) -> Result<(), Silent> {
        let now = self.started.elapsed();
        let mut news = false;
        for Report { service, address, health } in reports {
            news |= self.store.report(service, *address, health, now);
        }
        if news { self.publish().await } else { Ok(()) }
    }

    /// Does what is due.
    pub(super) async fn keep_up(&mut self) -> Result<(), Silent> {
        if self.store.is_warming() && self.store.warm(self.started.elapsed()) {
            self.publish().await?;
        }
        Ok(())
    }

    /// Tells those who watch the rules that they have changed, if they have.
    pub(super) fn tell_rules(&self) {
        let now = self.store.configured();
        self.configured.send_if_modified(|known| {
            let differs = now.services.changed(&known.services).next().is_some();
            if differs {
                *known = now;
            }
            differs
        });
    }
}
