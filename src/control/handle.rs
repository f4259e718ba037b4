//! From request to answer.

use std::sync::Arc;

use crate::config::{Given, parse_rules, write_rules};
use crate::control::bursts::Recent;
use crate::control::daemon::DaemonSpec;
use crate::control::key::word;
use crate::control::reply::{ErrorCode, Failure, PortSteering, Reply};
use crate::control::request::Request;
use crate::control::rule_set::RuleSet;
use crate::control::upkeep::unix_secs;
use crate::control::watching::Wanted;
use crate::control::{Answer, Applied, Control, Inner, Listing, view};
use crate::kernel;
use crate::mailbox::{Command, WorkerHandle};
use crate::service::ServiceKey;
use crate::settings::Settings;
use crate::tap::Subject;

impl Control {
    /// Answers one request. A change is in force on every worker, and persisted, when this returns.
    pub async fn handle(&self, request: Request) -> Answer {
        self.answer(request).await.unwrap_or_else(|failure| Reply::Error(failure).into())
    }

    async fn answer(&self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::Services { service } => self.services(service).await,
            Request::Checks { service } => Ok(Answer::Many(Listing::checks(self.check_views(service).await?))),
            Request::Connections(filter) => Ok(Answer::Many(Listing::connections(self.workers.clone(), filter, false))),
            Request::Templates(filter) => Ok(Answer::Many(Listing::connections(self.workers.clone(), filter, true))),
            Request::Status {}
            | Request::Workers {}
            | Request::Counters {}
            | Request::Ports {}
            | Request::NextHops {} => self.observe(&request).await.map(Answer::from),
            Request::Drains { oldest } => Ok(Reply::Drains { drains: self.drains(oldest).await? }.into()),
            Request::Reload {} => Ok(applied(self.reload().await?).into()),
            Request::Events {} => Ok(Answer::Many(Listing::events(self.listen()))),
            Request::Sync {} => Ok(Reply::Sync(self.sync.view()).into()),
            Request::Capture { filter, snaplen, count, seconds } => {
                let wanted = Wanted { subject: Subject::Frames, filter, snaplen, count, seconds };
                Ok(Answer::Many(Listing::watch(self.watch(&wanted).await?)))
            }
            Request::Trace { filter, count, seconds } => {
                let wanted = Wanted { subject: Subject::Fates, filter, snaplen: 0, count, seconds };
                Ok(Answer::Many(Listing::watch(self.watch(&wanted).await?)))
            }
            Request::Why { client, r#virtual, protocol } => {
                self.why(client, r#virtual, protocol).await.map(Answer::from)
            }
            Request::FlushConnections {} => {
                self.workers.ask_all(Command::FlushConnections).await?;
                Ok(Reply::Done {}.into())
            }
            Request::Shutdown { drain_secs } => {
                let control = self.clone();
                tokio::spawn(async move { control.shut_down(drain_secs).await });
                Ok(Reply::Done {}.into())
            }
            other => self.inner.lock().await.rules(other.fitted(unix_secs())).await.map(Answer::from),
        }
    }

    async fn services(&self, service: Option<ServiceKey>) -> Result<Answer, Failure> {
        let mut inner = self.inner.lock().await;
        if let Some(key) = service {
            inner.known(&key)?;
        }
        inner.ask_totals().await?;
        let picture = inner.picture();
        drop(inner);
        let views = tokio::task::spawn_blocking(move || picture.service_views(service));
        Ok(Answer::Many(Listing::services(views.await.unwrap_or_default())))
    }

    async fn observe(&self, request: &Request) -> Result<Reply, Failure> {
        match request {
            Request::Ports {} => Ok(Reply::Ports { ports: (self.inner.lock().await.ports)() }),
            Request::NextHops {} => Ok(Reply::NextHops { next_hops: self.inner.lock().await.picture().next_hops() }),
            Request::Status {} => {
                let reports = self.workers.ask_each(Command::Report).await;
                let picture = self.picture().await;
                let unreached = tokio::task::spawn_blocking(move || picture.unreached()).await.unwrap_or_default();
                Ok(Reply::Status(self.inner.lock().await.status(&reports, unreached)))
            }
            Request::Workers {} => {
                let reports = self.workers.ask_all(Command::Report).await?;
                let inner = self.inner.lock().await;
                let bursts =
                    |w: &WorkerHandle| inner.bursts.worker(usize::from(w.id.0)).map(Recent::view).unwrap_or_default();
                let views = self.workers.iter().zip(&reports).map(|(w, r)| view::worker_view(w, r, bursts(w)));
                let steering = (inner.ports)().iter().map(PortSteering::from).collect();
                Ok(Reply::Workers { workers: views.collect(), steering })
            }
            _ => {
                let reports = self.workers.ask_all(Command::Report).await?;
                Ok(view::counters(reports.iter().map(|r| &r.counters)))
            }
        }
    }
}

impl Inner {
    pub(super) fn known(&self, key: &ServiceKey) -> Result<u64, Failure> {
        let missing = || Failure::new(ErrorCode::NoSuchService, format!("there is no service {}", word(key)));
        self.store.find(key).map(|s| s.uid).ok_or_else(missing)
    }

    /// Requests on the rules.
    pub(super) async fn rules(&mut self, request: Request) -> Result<Reply, Failure> {
        if let Request::StartDaemon(spec) = request {
            self.start_daemon(&spec).await?;
        } else if request.is_edit() {
            self.change(Some(&request), |store| store.edit(&request)).await?;
            self.ask_totals_of_revived().await?;
        } else if let Request::Zero { service } = request {
            self.zero(service).await?;
        } else {
            return self.texts(request).await;
        }
        Ok(Reply::Done {})
    }

    /// Requests that are answered with more than `done`.
    async fn texts(&mut self, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::Daemons {} => Ok(Reply::Daemons { daemons: self.store.daemons().to_vec() }),
            Request::Timeouts {} => Ok(Reply::Timeouts(self.store.settings().timeouts)),
            Request::Settings {} => self.settings().await.map(Reply::Settings),
            Request::Marks {} => Ok(Reply::Marks(self.store.marks().clone())),
            Request::Save {} => Ok(Reply::Rules { rules: write_rules(&self.store.rule_set()) }),
            Request::Apply { rules, name } => self.apply(&name, &rules).await.map(applied),
            other => Err(Failure::new(ErrorCode::Unsupported, format!("{other:?} is not answered here"))),
        }
    }

    /// The settings, with the modes of defence as the kernel shows them: 2 while memory is scarce, else 1.
    async fn settings(&mut self) -> Result<Settings, Failure> {
        let reports = self.workers.ask_all(Command::Report).await?;
        Ok(self.store.settings().with_memory(reports.iter().any(|r| r.scarce)))
    }

    /// Kept with the message length that was settled on, so that it is the same after a restart.
    async fn start_daemon(&mut self, spec: &DaemonSpec) -> Result<(), Failure> {
        let mtu = kernel::interface_mtu(&spec.interface);
        let settled = Request::StartDaemon(mtu.map_or_else(|| spec.clone(), |mtu| spec.settled(mtu)));
        self.change(Some(&settled), |store| store.start_daemon(spec, mtu)).await
    }

    async fn zero(&mut self, service: Option<ServiceKey>) -> Result<(), Failure> {
        let uid = service.map(|key| self.known(&key)).transpose()?;
        // What has been counted until now is what is set to zero.
        self.ask_totals().await?;
        Arc::make_mut(&mut self.statistics).zero(uid);
        Ok(())
    }

    async fn apply(&mut self, name: &str, text: &str) -> Result<Applied, Failure> {
        let name = if name.is_empty() { "rules" } else { name };
        let Given { settings, marks, mut services } = parse_rules(name, text)?;
        for rules in &mut services {
            // What no text says stays.
            let service = self.store.find(&rules.service.service);
            rules.draining = service.map(|s| self.store.draining(s)).unwrap_or_default();
        }
        let settings = settings.unwrap_or_else(|| self.store.settings());
        let wanted = RuleSet { settings, marks, services, daemons: self.store.daemons().to_vec() };
        let changes = self.change(None, |s| s.apply(&wanted)).await?;
        self.ask_totals_of_revived().await?;
        Ok(Applied { changes: changes.iter().map(ToString::to_string).collect(), restart: Vec::new() })
    }
}

fn applied(applied: Applied) -> Reply {
    Reply::Applied { changes: applied.changes, restart: applied.restart }
}
