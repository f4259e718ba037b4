//! What the director counts, for Prometheus (`docs/metrics.md`): a sample is taken under control's lock, from what the workers say of
//! themselves and from what they said of destinations within the last two seconds, and written on a thread of its own, so that ten
//! thousand destinations hold up neither workers nor control.

pub mod list;
pub mod page;
mod render;
pub mod server;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::burst_meter::BurstSums;
use crate::control::health::board::{Id, Row};
use crate::control::reply::{BurstView, DrainView, PortView, ServiceView, StatusView};
use crate::control::sync::SyncView;
use crate::control::{Control, Inner};
use crate::mailbox::{Command, Silent, WorkerHandle, WorkerReport};

/// What one worker says, and what was heard of its bursts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WorkerSample {
    /// Its index.
    pub worker: u16,
    /// `None` when it is silent.
    pub report: Option<WorkerReport>,
    /// Its bursts since the start.
    pub total: BurstSums,
    /// Its bursts of late.
    pub bursts: BurstView,
}

/// Everything that is shown, at one time.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// Seconds since 1970 at the director's start.
    pub started_secs: u64,
    /// The director at a glance.
    pub status: StatusView,
    /// Room for services and destinations.
    pub room: [usize; 2],
    /// By index.
    pub workers: Vec<WorkerSample>,
    /// In the order of the configuration.
    pub ports: Vec<PortView>,
    /// With their destinations; traffic as counted, whatever was set to zero.
    pub services: Vec<ServiceView>,
    /// Destinations that are drained, as was last heard of them.
    pub drains: Vec<DrainView>,
    /// What is known of health checks.
    pub checks: Vec<(Id, Row)>,
    /// The synchronisation.
    pub sync: SyncView,
}

impl Sample {
    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        render::page(self)
    }
}

impl Control {
    /// Takes a sample. What there is one of for each destination is put together on another thread, while control goes on.
    pub async fn sample(&self) -> Sample {
        let reports = self.workers.ask_each(Command::Report).await;
        let (picture, health) = (self.picture().await, self.health.clone());
        let many = move || (picture.unreached(), picture.counted_views(), picture.drain_views(), health.all());
        let (unreached, services, drains, checks) = tokio::task::spawn_blocking(many).await.unwrap_or_default();
        Sample { services, drains, checks, ..self.inner.lock().await.sample(reports, unreached) }
    }
}

impl Inner {
    /// A sample without what there is one of for each destination.
    fn sample(&self, reports: Vec<(WorkerHandle, Result<WorkerReport, Silent>)>, unreached: Vec<String>) -> Sample {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Sample {
            started_secs: since_1970.saturating_sub(self.started.elapsed()).as_secs(),
            status: self.status(&reports, unreached),
            room: [self.config.director.services, self.config.director.destinations].map(|n| n as usize),
            workers: reports.into_iter().map(|(w, report)| self.worker_sample(&w, report.ok())).collect(),
            ports: (self.ports)(),
            services: Vec::new(),
            drains: Vec::new(),
            checks: Vec::new(),
            sync: self.sync.view(),
        }
    }

    fn worker_sample(&self, worker: &WorkerHandle, report: Option<WorkerReport>) -> WorkerSample {
        let recent = self.bursts.worker(usize::from(worker.id.0));
        WorkerSample {
            worker: worker.id.0,
            report,
            total: recent.map(|r| r.total()).unwrap_or_default(),
            bursts: recent.map(|r| r.view()).unwrap_or_default(),
        }
    }
}
