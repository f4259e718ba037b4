//! How long the steps of start and end take: what clients notice of a restart is their sum (`docs/restart.md`). In the log at level
//! debug.

use std::time::Instant;

/// Steps, one after the other.
pub(crate) struct Steps {
    of: &'static str,
    begun: Instant,
    last: Instant,
}

impl Steps {
    /// The first begins.
    pub(crate) fn begin(of: &'static str) -> Self {
        let now = Instant::now();
        Self { of, begun: now, last: now }
    }

    /// One is done, and the next begins.
    pub(crate) fn done(&mut self, what: &str) {
        let now = Instant::now();
        let (took, so_far) = (now - self.last, now - self.begun);
        tracing::debug!("{}: {what} took {} ms, {} ms so far", self.of, took.as_millis(), so_far.as_millis());
        self.last = now;
    }
}
