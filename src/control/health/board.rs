//! What is known of each check: for listings and for metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::machine::Machine;
use super::probe::Outcome;
use crate::service::ServiceKey;

/// What a check is of: a destination of a service.
pub type Id = (ServiceKey, SocketAddr);

/// What is known of one check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Is the destination up, by its check?
    pub up: bool,
    /// Since when.
    pub since: Instant,
    /// Checks that were made.
    pub checks: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Outcomes in a row that speak against the state.
    pub against: u32,
    /// What the last check saw; nothing before the first.
    pub last: Option<Outcome>,
    /// How long it took.
    pub latency: Duration,
}

/// What is known of all checks.
#[derive(Debug, Default)]
pub struct Board {
    rows: Mutex<BTreeMap<Id, Row>>,
}

impl Board {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<Id, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of one.
    pub fn row(&self, id: &Id) -> Option<Row> {
        self.rows().get(id).cloned()
    }

    /// All, by service and destination.
    pub fn all(&self) -> Vec<(Id, Row)> {
        self.rows().iter().map(|(id, row)| (*id, row.clone())).collect()
    }

    /// A check begins. What was counted of the destination before stays.
    pub(super) fn begin(&self, id: Id, up: bool, now: Instant) {
        let new = Row { up, since: now, checks: 0, failed: 0, against: 0, last: None, latency: Duration::ZERO };
        let mut rows = self.rows();
        let row = rows.entry(id).or_insert(new);
        if row.up != up {
            (row.up, row.since) = (up, now);
        }
        row.against = 0;
    }

    /// A check was made.
    pub(super) fn enter(&self, id: &Id, outcome: &Outcome, latency: Duration, machine: &Machine, now: Instant) {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(id) else { return };
        row.checks += 1;
        row.failed += u64::from(outcome.is_err());
        (row.against, row.last, row.latency) = (machine.against(), Some(outcome.clone()), latency);
        if row.up != machine.is_up() {
            (row.up, row.since) = (machine.is_up(), now);
        }
    }

    /// A check is no more.
    pub(super) fn remove(&self, id: &Id) {
        self.rows().remove(id);
    }
}
