//! What control knows, as replies show it.

use std::path::Path;

use crate::control::Inner;
use crate::control::key::word;
use crate::control::reply::{BurstView, CounterView, Reply, StatusView, WorkerView};
use crate::control::state::Keeper;
use crate::mailbox::{Silent, WorkerHandle, WorkerReport};
use crate::service::ServiceKey;
use crate::snapshot::Rules;
use crate::stats::{Counters, DropReason, Event};

impl Inner {
    /// The director at a glance; `unreached` by [`Picture::unreached`].
    ///
    /// [`Picture::unreached`]: super::picture::Picture::unreached
    pub(super) fn status(
        &self,
        reports: &[(WorkerHandle, Result<WorkerReport, Silent>)],
        unreached: Vec<String>,
    ) -> StatusView {
        let sum =
            |field: fn(&WorkerReport) -> u64| reports.iter().filter_map(|(_, r)| r.as_ref().ok()).map(field).sum();
        let services = self.store.services();
        let ports = (self.ports)();
        let path = |p: Option<&Path>| p.map(|p| p.display().to_string()).unwrap_or_default();
        StatusView {
            version: env!("POLLVS_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_secs: self.started.elapsed().as_secs(),
            config: path(self.config_path.as_deref()),
            state: path(self.keeper.as_ref().map(Keeper::path)),
            draining: self.draining,
            workers: u32::try_from(reports.len()).unwrap_or(u32::MAX),
            services: u32::try_from(services.len()).unwrap_or(u32::MAX),
            destinations: u32::try_from(services.iter().map(|s| s.destinations.len()).sum::<usize>())
                .unwrap_or(u32::MAX),
            connections: sum(|r| r.connections),
            connections_max: sum(|r| r.connections_max),
            templates: sum(|r| r.templates),
            templates_max: sum(|r| r.templates_max),
            snapshot: self.current.version,
            warnings: self.warnings(reports, &ports, unreached),
            ports: ports.into_iter().map(|p| p.name).collect(),
        }
    }

    fn warnings(
        &self,
        reports: &[(WorkerHandle, Result<WorkerReport, Silent>)],
        ports: &[crate::control::reply::PortView],
        unreached: Vec<String>,
    ) -> Vec<String> {
        let silent = reports.iter().filter_map(|(_, r)| r.as_ref().err()).map(ToString::to_string);
        let trouble = |p: &crate::control::reply::PortView| match (&*p.gone, p.up) {
            ("", true) => None,
            ("", false) => Some(format!("port {} has no link", p.name)),
            (gone, _) => Some(format!("the device of port {} is gone: {gone}", p.name)),
        };
        let down = ports.iter().filter_map(trouble);
        let daemons = self.sync.waits().into_iter().map(|wait| format!("the synchronisation: {wait}"));
        silent.chain(down).chain(unreached).chain(daemons).chain(without_effect(&self.current.rules)).collect()
    }
}

/// What is accepted, as the kernel accepts it, and does nothing in this version.
fn without_effect(rules: &Rules) -> Vec<String> {
    let unset = |v6: bool| !rules.marks.sets(v6);
    let marks = rules.services.iter().filter(|s| matches!(s.key, ServiceKey::Mark { v6, .. } if unset(v6)));
    marks.map(|s| format!("{} gets no packets: no rule sets marks of its family", word(&s.key))).collect()
}

/// One worker.
pub(super) fn worker_view(worker: &WorkerHandle, report: &WorkerReport, bursts: BurstView) -> WorkerView {
    let event = |e: Event| report.counters.events[e as usize];
    WorkerView {
        worker: worker.id.0,
        cpu: worker.cpu,
        turns: report.turns,
        busy_turns: report.busy_turns,
        busy_ns: report.bursts.nanos,
        frames: report.bursts.frames,
        bursts,
        connections: report.connections,
        connections_max: report.connections_max,
        templates: report.templates,
        templates_max: report.templates_max,
        received: event(Event::Received),
        transmitted: event(Event::Transmitted),
        passed: event(Event::Passed),
        handed_off: event(Event::HandedOff),
        dropped: report.counters.drops.iter().sum(),
        snapshot: report.snapshot,
    }
}

/// The counters of all workers.
pub(super) fn counters<'a>(all: impl Iterator<Item = &'a Counters>) -> Reply {
    let mut sum = Counters::default();
    all.for_each(|c| sum.add(c));
    let drop = |r: &DropReason| CounterView {
        name: r.name().to_owned(),
        text: r.text().to_owned(),
        count: sum.drops[*r as usize],
    };
    let event = |e: &Event| CounterView {
        name: e.name().to_owned(),
        text: e.text().to_owned(),
        count: sum.events[*e as usize],
    };
    Reply::Counters {
        drops: DropReason::ALL.iter().map(drop).collect(),
        events: Event::ALL.iter().map(event).collect(),
    }
}
