//! The checks of a director at work: those that the rules name run, and what they find is put in force.

use std::time::{Duration, Instant};

use super::board::{Board, Found, Id};
use super::engine::{Engine, Listener};
use super::probe::Probes;
use super::rules::Planner;
use super::view::CheckView;
use crate::control::reply::Failure;
use crate::control::standing::Health;
use crate::control::store::Store;
use crate::control::{Control, Inner};
use crate::service::ServiceKey;

/// Changes of the rules are gathered for so long.
const GATHER: Duration = Duration::from_millis(20);

impl Control {
    /// Runs the checks that the rules name. Never returns.
    pub async fn check_health(&self) {
        let mut rules = self.watch_rules();
        let mut engine = Engine::new(Probes::default(), self.clone(), self.health.clone());
        let mut planner = Planner::default();
        loop {
            let now = rules.borrow_and_update().clone();
            engine.want(planner.wanted(&now));
            if rules.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// What the checks have found, for the next process.
    pub fn findings(&self) -> Vec<Found> {
        self.health.found(Instant::now())
    }

    /// What is known of the checks.
    pub fn health(&self) -> &Board {
        &self.health
    }

    /// The checks of all services, or of one.
    pub(in crate::control) async fn check_views(&self, only: Option<ServiceKey>) -> Result<Vec<CheckView>, Failure> {
        let inner = self.inner.lock().await;
        if let Some(key) = only {
            inner.known(&key)?;
        }
        Ok(inner.check_views(&self.health, only))
    }
}

impl Store {
    /// Takes over what the checks of the process before have found of destinations that are checked still.
    pub(in crate::control) fn inherit(&mut self, found: &[Found]) -> Board {
        let (board, now) = (Board::default(), Instant::now());
        for one in found {
            let known = self.find(&one.service).is_some_and(|s| s.destination(one.address).is_some());
            if known && self.checks().of(&one.service, one.address).is_some() {
                let health = one.down.clone().map_or(Health::Up, |reason| Health::Down { reason });
                // What is there from the start is no event.
                let _ = self.report(&one.service, one.address, &health, Duration::ZERO);
                board.inherit(one, now);
            }
        }
        if !found.is_empty() {
            self.settle();
        }
        board
    }
}

impl Listener for Control {
    async fn tell(&self, (service, address): Id, health: Result<(), String>) {
        let health = health.map_or_else(|reason| Health::Down { reason }, |()| Health::Up);
        if let Err(silent) = self.report_health(service, address, health).await {
            tracing::error!("{silent}");
        }
    }
}

impl Inner {
    fn check_views(&self, board: &Board, only: Option<ServiceKey>) -> Vec<CheckView> {
        let checks = self.store.checks();
        let services = self.store.services().into_iter().filter(|s| only.is_none_or(|key| s.key == key));
        let of = |(service, address): Id| {
            let check = checks.of(&service, address)?;
            Some(CheckView::new((service, address), check, board.row(&(service, address))))
        };
        let ids = services.flat_map(|s| s.destinations.iter().map(|d| (s.key, (d.address, d.port).into())));
        ids.filter_map(of).collect()
    }
}
