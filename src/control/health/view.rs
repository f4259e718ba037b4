//! A check as replies show it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::board::{Id, Row};
use super::spec::CheckSpec;
use crate::service::ServiceKey;

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckView {
    /// The service.
    pub service: ServiceKey,
    /// The destination.
    pub destination: SocketAddr,
    /// How it is checked: the keys of its service and its own together.
    pub check: CheckSpec,
    /// Is it up, by the check? It is what `start` says until checks have decided.
    pub up: bool,
    /// Since how many seconds.
    pub since_secs: u64,
    /// Checks that were made.
    pub checks: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Outcomes in a row that speak against the state.
    pub against: u32,
    /// The last check; nothing before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<OutcomeView>,
}

/// The outcome of a check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutcomeView {
    /// Was it good?
    pub good: bool,
    /// What was seen.
    pub text: String,
    /// How long it took, in microseconds.
    pub latency_us: u64,
}

impl CheckView {
    /// A check, and what is known of it; it may just have been entered.
    pub(super) fn new((service, destination): Id, check: CheckSpec, row: Option<Row>) -> Self {
        let start = check.start.unwrap_or_default() == super::spec::Start::Up;
        let last = row.as_ref().and_then(|row| {
            let outcome = row.last.as_ref()?;
            let text = outcome.as_ref().unwrap_or_else(|text| text).clone();
            let latency_us = u64::try_from(row.latency.as_micros()).unwrap_or(u64::MAX);
            Some(OutcomeView { good: outcome.is_ok(), text, latency_us })
        });
        Self {
            service,
            destination,
            check,
            up: row.as_ref().map_or(start, |row| row.up),
            since_secs: row.as_ref().map_or(0, |row| row.since.elapsed().as_secs()),
            checks: row.as_ref().map_or(0, |row| row.checks),
            failed: row.as_ref().map_or(0, |row| row.failed),
            against: row.as_ref().map_or(0, |row| row.against),
            last,
        }
    }
}
