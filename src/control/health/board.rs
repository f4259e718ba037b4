//! What is known of each check: for listings and for metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::probe::Outcome;
use crate::service::ServiceKey;

/// Rows that are listed at a time.
const AT_A_TIME: usize = 256;

/// What a check is of: a destination of a service.
pub type Id = (ServiceKey, SocketAddr);

/// What a check has found of a destination, as the next process of the director is told it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// The service.
    pub service: ServiceKey,
    /// The destination.
    pub address: SocketAddr,
    /// Why it is down; it is up if that is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<String>,
    /// Since so many milliseconds.
    pub since_ms: u64,
}

/// Why a destination is down of which no check has said anything.
pub(super) const NOT_CHECKED: &str = "not checked yet";

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

impl Row {
    fn new(up: bool, since: Instant) -> Self {
        Self { up, since, checks: 0, failed: 0, against: 0, last: None, latency: Duration::ZERO }
    }

    /// Why it is down.
    pub(super) fn reason(&self) -> String {
        match &self.last {
            Some(Err(reason)) => reason.clone(),
            _ => NOT_CHECKED.to_owned(),
        }
    }
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
        let mut all = Vec::new();
        let mut after = Bound::Unbounded;
        loop {
            // Checks that are made meanwhile wait for some rows, not for all.
            let listed = all.len();
            let rows = self.rows();
            all.extend(rows.range((after, Bound::Unbounded)).take(AT_A_TIME).map(|(id, row)| (*id, row.clone())));
            match all.last() {
                Some((id, _)) if all.len() > listed => after = Bound::Excluded(*id),
                _ => return all,
            }
        }
    }

    /// What is known of destinations that are down, or were seen to be up.
    pub(in crate::control) fn found(&self, now: Instant) -> Vec<Found> {
        let found = |(id, row): (&Id, &Row)| {
            let down = (!row.up).then(|| row.reason());
            let since = now.saturating_duration_since(row.since).as_millis();
            let since_ms = u64::try_from(since).unwrap_or(u64::MAX);
            (down.is_some() || row.last.is_some()).then_some(Found { service: id.0, address: id.1, down, since_ms })
        };
        self.rows().iter().filter_map(found).collect()
    }

    /// A destination is taken for what the process before has found, until checks have decided.
    pub(in crate::control) fn inherit(&self, found: &Found, now: Instant) {
        let since = now.checked_sub(Duration::from_millis(found.since_ms)).unwrap_or(now);
        let last = found.down.clone().map_or_else(|| Ok("seen before the restart".to_owned()), Err);
        let row = Row { last: Some(last), ..Row::new(found.down.is_none(), since) };
        self.rows().insert((found.service, found.address), row);
    }

    /// A check begins. What was counted of the destination before stays.
    pub(super) fn begin(&self, id: Id, up: bool, now: Instant) {
        let mut rows = self.rows();
        let row = rows.entry(id).or_insert_with(|| Row::new(up, now));
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
