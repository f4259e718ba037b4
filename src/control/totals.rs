//! What the workers have counted: asked for, added up, and kept as it was last heard.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::Inner;
use crate::control::statistics::Counted;
use crate::destination::{DestId, Destination};
use crate::mailbox::{self, Command, DestinationRow, Silent};
use crate::stats::Traffic;

/// What all workers together know of one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    /// The destination.
    pub(super) uid: u64,
    pub(super) traffic: Traffic,
    pub(super) lent: u64,
    pub(super) active: u64,
    pub(super) inactive: u64,
    pub(super) persistent: u64,
    pub(super) overloaded: bool,
}

impl Totals {
    /// That of a destination.
    pub(super) fn of(all: &[Self], d: &Destination) -> Self {
        all.get(d.id.index()).copied().filter(|total| total.uid == d.uid).unwrap_or_default()
    }

    fn add(&mut self, row: &DestinationRow) {
        self.traffic += row.traffic;
        self.lent += row.lent;
        self.active += u64::from(row.active);
        self.inactive += u64::from(row.inactive);
        self.persistent += u64::from(row.persistent);
        self.overloaded |= row.overloaded;
    }

    pub(super) fn in_use(&self) -> bool {
        self.active + self.inactive + self.persistent > 0
    }
}

impl Inner {
    /// Asks all workers what they have counted. Rows of former destinations are left out.
    pub(super) async fn ask_totals(&mut self) -> Result<(), Silent> {
        let mut totals = vec![Totals::default(); self.store.destination_indices()];
        for (d, _) in self.store.counted() {
            totals[d.id.index()].uid = d.uid;
        }
        for (index, worker) in self.workers.clone().iter().enumerate() {
            let rows = worker.stats(0, totals.len()).await?;
            for (total, row) in totals.iter_mut().zip(&rows).filter(|(total, row)| total.uid == row.uid) {
                total.add(row);
            }
            Arc::make_mut(&mut self.statistics).absorb_worker(index, 0, &rows);
        }
        self.totals = Arc::new(totals);
        self.asked = Some(Instant::now());
        self.absorb();
        Ok(())
    }

    /// The same, unless they were asked no longer ago than this.
    pub(super) async fn ask_totals_before(&mut self, age: Duration) -> Result<(), Silent> {
        match self.asked {
            Some(at) if at.elapsed() <= age => Ok(()),
            _ => self.ask_totals().await,
        }
    }

    /// Asks them what they have counted of the destinations that were just brought back.
    pub(super) async fn ask_totals_of_revived(&mut self) -> Result<(), Silent> {
        let revived = self.store.take_revived();
        if revived.len() > mailbox::PAGE {
            return self.ask_totals().await;
        }
        for id in revived {
            self.ask_total(id).await?;
        }
        Ok(())
    }

    async fn ask_total(&mut self, id: DestId) -> Result<(), Silent> {
        let Some(uid) = self.store.counted_one(id).map(|(d, _)| d.uid) else { return Ok(()) };
        let mut total = Totals { uid, ..Totals::default() };
        for (index, worker) in self.workers.clone().iter().enumerate() {
            let rows = worker.stats(id.index(), 1).await?;
            rows.iter().filter(|row| row.uid == uid).for_each(|row| total.add(row));
            Arc::make_mut(&mut self.statistics).absorb_worker(index, id.index(), &rows);
        }
        let totals = Arc::make_mut(&mut self.totals);
        totals.resize(totals.len().max(id.index() + 1), Totals::default());
        totals[id.index()] = total;
        if let Some(counted) = self.store.counted_one(id).map(|one| self.counted(one)) {
            Arc::make_mut(&mut self.statistics).absorb_one(&counted);
        }
        Ok(())
    }

    /// What was last heard of a destination.
    pub(super) fn total(&self, d: &Destination) -> Totals {
        Totals::of(&self.totals, d)
    }

    fn absorb(&mut self) {
        let all: Vec<_> = self.store.counted().map(|one| self.counted(one)).collect();
        let statistics = Arc::make_mut(&mut self.statistics);
        statistics.absorb(&all);
        let services: HashSet<_> = self.store.services().iter().map(|s| s.uid).collect();
        statistics.keep_services(|uid| services.contains(&uid));
    }

    /// Takes the logs of all workers that answer.
    pub(super) async fn ask_bursts(&mut self) {
        let logs = self.workers.ask_each(|answer| Command::Bursts(Box::default(), answer)).await;
        for (worker, log) in logs {
            if let Ok(log) = log {
                self.bursts.hear(worker.id.0.into(), &log);
            }
        }
    }

    fn counted(&self, (d, service_uid): (&Arc<Destination>, u64)) -> Counted {
        let Totals { traffic, lent, .. } = self.total(d);
        Counted { uid: d.uid, service_uid, traffic, lent, listed: d.available, borrower: self.store.borrower(d) }
    }
}
