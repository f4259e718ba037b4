//! Control: the rules, who may change them and how, and the protocol of the control socket (`docs/control.md`).
//!
//! A change is made in the [`store`], put in force on every worker, persisted, and only then answered; if any of that fails it is
//! taken back whole.

mod ages;
pub mod announce;
pub mod apply;
mod bare;
pub mod bursts;
pub mod check;
pub mod client;
pub mod daemon;
pub mod edit;
pub mod event;
mod handle;
pub mod handover;
pub mod health;
pub mod ipvs;
pub mod key;
mod listing;
pub mod metrics;
mod picture;
pub mod proc;
pub mod reply;
pub mod request;
pub mod rule_set;
pub mod server;
pub mod standing;
pub mod state;
pub mod statistics;
pub mod store;
pub mod sync;
mod totals;
pub mod trash;
mod upkeep;
mod view;
pub mod watching;
pub mod why;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore, watch};

use crate::config::{Config, ConfigError};
use crate::control::ages::Ages;
use crate::control::bursts::Bursts;
use crate::control::event::{Event, Events, Watch};
use crate::control::health::board::{Board, Found};
use crate::control::reply::{ErrorCode, Failure, PortView};
use crate::control::request::Request;
use crate::control::standing::drain::Quiet;
use crate::control::state::{Keeper, State, StateError};
use crate::control::statistics::{INTERVAL, Statistics};
use crate::control::store::{Limits, Store};
use crate::control::totals::Totals;
use crate::control::trash::{Removed, Trash};
use crate::control::upkeep::Report;
use crate::destination::{DestId, Destination};
use crate::mailbox::{Command, Silent, Workers};
use crate::network::Network;
use crate::snapshot::{Rules, Snapshot};
use crate::steering::Prefixes;

pub use listing::{Answer, Listing};
pub use upkeep::Configured;

/// How often it is looked for what is due of the standing of destinations.
const UPKEEP: Duration = Duration::from_millis(500);
/// Listings by a pipe at a time.
const LISTINGS: usize = 32;

/// What the ports say of themselves, at every call.
pub type Ports = Box<dyn Fn() -> Vec<PortView> + Send>;

/// What control starts with.
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// Where it was read from; `None` for the embedded default, which cannot be reloaded.
    pub config_path: Option<PathBuf>,
    /// The network at start.
    pub network: Arc<Network>,
    /// The workers.
    pub workers: Workers,
    /// The ports.
    pub ports: Ports,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why control does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The key of the synchronisation.
    #[error(transparent)]
    Key(#[from] sync::KeyError),
    /// The rules of state file and configuration together.
    #[error("the rules of configuration and state file do not go together: {0}")]
    Rules(#[from] Failure),
}

/// Control of one director; clones are the same one.
#[derive(Clone, Debug)]
pub struct Control {
    inner: Arc<Mutex<Inner>>,
    workers: Workers,
    /// Room for long listings by a pipe.
    listings: Arc<Semaphore>,
    /// Room for captures and traces.
    watches: Arc<Semaphore>,
    sync: Arc<sync::Shared>,
    /// What checks have reported and is not in force yet.
    reports: Arc<std::sync::Mutex<Vec<Report>>>,
    configured: watch::Sender<Configured>,
    events: Events,
    health: Arc<Board>,
    announced: watch::Sender<BTreeSet<IpAddr>>,
    /// How old connections are.
    ages: Arc<std::sync::Mutex<Ages>>,
    started: tokio::time::Instant,
    stop: watch::Sender<Option<Stop>>,
}

/// Somebody has asked the director to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stop;

struct Inner {
    config: Config,
    config_path: Option<PathBuf>,
    keeper: Option<Keeper>,
    store: Store,
    /// Shared with pictures.
    statistics: Arc<Statistics>,
    bursts: Bursts,
    network: Arc<Network>,
    workers: Workers,
    ports: Ports,
    current: Arc<Snapshot>,
    /// There are no workers, and the rules have changed since `current` was made.
    behind: bool,
    /// What all workers together had counted when they were last asked, by [`DestId`].
    totals: Arc<Vec<Totals>>,
    /// When that was.
    asked: Option<Instant>,
    /// Snapshots that a silent worker may still hold: freed here and not there.
    retired: Vec<Arc<Snapshot>>,
    /// Told what daemons are wanted.
    sync: Arc<sync::Shared>,
    /// Told of the rules.
    configured: watch::Sender<Configured>,
    events: Events,
    /// What has been seen without being asked for.
    watch: Watch,
    /// Told what addresses are to be announced.
    announced: watch::Sender<BTreeSet<IpAddr>>,
    draining: bool,
    /// Of destinations that are drained.
    quiet: Quiet,
    started: tokio::time::Instant,
    trash: Trash,
    /// When removed destinations were last looked at.
    emptied: Instant,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Control {
    /// Restores the rules: those of the state file, with what has changed in the configuration since it was written. Also returns
    /// the snapshot to give each worker before its first packet.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(setup: Setup) -> Result<(Self, Arc<Snapshot>), StartError> {
        Self::inheriting(setup, &[])
    }

    /// The same, with what the checks of the process before have found: nobody is sent to a server that was down.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn inheriting(setup: Setup, found: &[Found]) -> Result<(Self, Arc<Snapshot>), StartError> {
        let Setup { config, config_path, network, workers, ports } = setup;
        let state_path = Some(config.director.state.clone()).filter(|p| !p.as_os_str().is_empty());
        let mut store = restored(&config, state_path.as_deref())?;
        let health = store.inherit(found);
        let sync = sync::Shared::new(&config.sync)?;
        let inner = Inner {
            config,
            config_path,
            keeper: state_path.map(Keeper::new),
            store,
            statistics: Arc::default(),
            bursts: Bursts::default(),
            current: Arc::default(),
            behind: false,
            totals: Arc::default(),
            asked: None,
            network,
            workers,
            ports,
            retired: Vec::new(),
            sync,
            configured: watch::Sender::default(),
            events: Events::default(),
            watch: Watch::default(),
            announced: watch::Sender::default(),
            draining: false,
            started: tokio::time::Instant::now(),
            trash: Trash::default(),
            emptied: Instant::now(),
            quiet: Quiet::default(),
        };
        Self::begin(inner, health)
    }

    fn begin(mut inner: Inner, health: Board) -> Result<(Self, Arc<Snapshot>), StartError> {
        match inner.persist(None) {
            // What is there is what was read, so that clients can be served while somebody makes room.
            Err(error) if error.is_for_want_of_room() => {
                tracing::error!("{error}; changes are refused until there is room")
            }
            outcome => outcome?,
        }
        inner.store.set_broadcasts(inner.network.v4.broadcasts.clone());
        let snapshot = inner.next_snapshot();
        // What is there from the start is no event.
        inner.configured.send_replace(inner.store.configured());
        inner.tell_news();
        let control = Self {
            workers: inner.workers.clone(),
            listings: Arc::new(Semaphore::new(LISTINGS)),
            watches: Arc::new(Semaphore::new(1)),
            sync: inner.sync.clone(),
            reports: Arc::default(),
            configured: inner.configured.clone(),
            events: inner.events.clone(),
            health: Arc::new(health),
            announced: inner.announced.clone(),
            ages: Arc::default(),
            started: inner.started,
            stop: watch::Sender::new(None),
            inner: Arc::new(Mutex::new(inner)),
        };
        Ok((control, snapshot))
    }

    /// Puts a new network in force on every worker.
    ///
    /// # Errors
    /// [`Silent`]; the others work by the new network then.
    pub async fn set_network(&self, network: Arc<Network>) -> Result<(), Silent> {
        let mut inner = self.inner.lock().await;
        inner.store.set_broadcasts(network.v4.broadcasts.clone());
        inner.network = network;
        inner.publish().await
    }

    /// Addresses of all destinations, whose next hops are to be kept resolved.
    pub async fn destination_addresses(&self) -> Vec<IpAddr> {
        let inner = self.inner.lock().await;
        // By the rules and not by what is in force: one that is down is to be reached at once when it is back.
        inner.store.counted().map(|(d, _)| d).filter(|d| d.available).map(|d| d.address).collect()
    }

    /// Samples the counters every two seconds, estimates rates, and forgets removed destinations that nobody refers to; does what is
    /// due of the standing of destinations; and brings what was accepted in a hurry onto the disk. Never returns.
    pub async fn keep_house(&self) {
        let (mut ticks, mut syncs) = (tokio::time::interval(INTERVAL), tokio::time::interval(state::SYNC));
        let mut upkeep = tokio::time::interval(UPKEEP);
        loop {
            let outcome = tokio::select! {
                _ = ticks.tick() => {
                    self.look().await;
                    self.inner.lock().await.tick().await
                }
                _ = upkeep.tick() => self.inner.lock().await.keep_up().await,
                _ = syncs.tick() => {
                    self.inner.lock().await.sync();
                    Ok(())
                }
            };
            if let Err(silent) = outcome {
                // Told as an event, once.
                tracing::debug!("{silent}");
            }
        }
    }

    /// Waits until somebody asks the director to stop, and until its connections have ended if that was asked for.
    pub async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as `self`.
        let _ = stop.wait_for(Option::is_some).await;
    }

    /// Stops: schedules nothing new, waits up to `drain_secs` for connections to end, then lets [`Control::stopped`] return.
    pub async fn shut_down(&self, drain_secs: u32) {
        if drain_secs > 0 {
            self.inner.lock().await.quiesce().await;
            self.drain(Duration::from_secs(drain_secs.into())).await;
        }
        self.stop.send_replace(Some(Stop));
    }

    async fn drain(&self, most: Duration) {
        let idle = async {
            while self.connections().await != Some(0) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let _ = tokio::time::timeout(most, idle).await;
    }

    /// Connections of all workers, unless one is silent.
    async fn connections(&self) -> Option<u64> {
        let reports = self.workers.ask_all(Command::Report).await.ok()?;
        Some(reports.iter().map(|r| r.connections).sum())
    }

    /// Reads the configuration file again and applies what has changed in its rules.
    ///
    /// # Errors
    /// [`ErrorCode::Unsupported`] without a file; [`ErrorCode::BadRules`] and others when the file is wrong: nothing has changed
    /// then.
    pub async fn reload(&self) -> Result<Applied, Failure> {
        let outcome = self.inner.lock().await.reload().await;
        self.events.tell(match &outcome {
            Ok(applied) => Event::Reloaded { changes: applied.changes.len() },
            Err(failure) => Event::ReloadFailed { reason: failure.message.clone() },
        });
        outcome
    }
}

/// What `apply` and `reload` did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// What changed, a sentence each.
    pub changes: Vec<String>,
    /// What differs but needs a restart, a sentence each.
    pub restart: Vec<String>,
}

/// The shortest prefixes by which a persistent service of configuration or state file takes clients together.
///
/// # Errors
/// [`StartError`], as [`Control::new`].
pub fn client_prefixes(config: &Config) -> Result<Prefixes, StartError> {
    let state = Some(config.director.state.as_path()).filter(|path| !path.as_os_str().is_empty());
    let store = restored(config, state)?;
    let shortest = |v6: bool| {
        let services = store.services().into_iter().filter(move |s| s.key.v6() == v6);
        services.filter_map(|s| s.persistence).map(|p| p.netmask.leading()).min()
    };
    let Prefixes { v4, v6 } = Prefixes::default();
    Ok(Prefixes { v4: shortest(false).unwrap_or(v4), v6: shortest(true).unwrap_or(v6) })
}

fn limits(config: &Config) -> Limits {
    let d = &config.director;
    Limits { services: d.services as usize, destinations: d.destinations as usize }
}

/// The rules of the state file, with what has changed in the configuration since it was written.
fn restored(config: &Config, state: Option<&Path>) -> Result<Store, StartError> {
    let mut store = Store::new(limits(config));
    let Some(kept) = state.map(state::load).transpose()?.flatten() else {
        store.apply(&config.rules)?;
        return Ok(store);
    };
    store.apply(&kept.state.rules)?;
    for (index, change) in kept.changes.iter().enumerate() {
        let broken = |failure: Failure| kept.broken(state.unwrap_or(Path::new("")), index, &failure.message);
        store.edit(change).map_err(broken)?;
    }
    store.apply(&store.rule_set().overlay(&kept.state.file, &config.rules))?;
    // The connections of what was removed on the way ended with the last director.
    store.forget_unused(|_| false);
    Ok(store)
}

impl From<Silent> for Failure {
    fn from(silent: Silent) -> Self {
        Self::new(ErrorCode::WorkerSilent, silent.to_string())
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let code = if error.is_for_want_of_room() { ErrorCode::DiskFull } else { ErrorCode::NotPersisted };
        Self::new(code, error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorCode::BadRules, error.to_string())
    }
}

impl Inner {
    /// Makes a change, puts it in force, persists it (by `journal`, if that makes the same change again); or takes it back.
    async fn change<T>(
        &mut self,
        journal: Option<&Request>,
        edit: impl FnOnce(&mut Store) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.draining {
            return Err(Failure::new(ErrorCode::Stopping, "the director is stopping; its rules stay as they are"));
        }
        let before = self.store.clone();
        let outcome = edit(&mut self.store).inspect_err(|_| self.store.clone_from(&before))?;
        let kept = match self.publish().await {
            Ok(()) => self.persist(journal).map_err(Failure::from),
            Err(silent) => Err(silent.into()),
        };
        if let Err(failure) = kept {
            self.store = before;
            // In line after what is taken back, so that also a worker that answers late ends with the old rules.
            let back = self.next_snapshot();
            self.workers.apply_later(&back);
            return Err(failure);
        }
        self.tell_rules();
        self.tell_news();
        Ok(outcome)
    }

    fn persist(&mut self, journal: Option<&Request>) -> Result<(), StateError> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        match journal {
            Some(change) if !keeper.is_full(self.store.size()) => keeper.append(change),
            _ => keeper.replace(&State::new(self.store.rule_set(), self.config.rules.clone())),
        }
    }

    fn next_snapshot(&mut self) -> Arc<Snapshot> {
        let rules = if self.draining { Arc::new(quiesced(&self.store.rules())) } else { self.store.rules() };
        let snapshot = Arc::new(self.current.following(self.current.version + 1, rules, &self.network));
        self.want_daemons();
        self.want_announced(&snapshot.rules);
        let old = std::mem::replace(&mut self.current, snapshot.clone());
        self.retired.push(old);
        self.retired.retain(|s| Arc::strong_count(s) > 1);
        snapshot
    }

    /// Brings what was written of late onto the disk.
    fn sync(&mut self) {
        if let Some(keeper) = &mut self.keeper
            && let Err(error) = keeper.sync()
        {
            tracing::error!("{error}; the next change is going to write it anew");
        }
    }

    /// Tells the synchronisation what is wanted of it.
    fn want_daemons(&self) {
        self.sync.want(sync::Wanted { daemons: self.store.daemons().to_vec(), settings: self.store.settings() });
    }

    /// Makes the snapshot that was not made because no worker waits for it.
    fn catch_up(&mut self) {
        if std::mem::take(&mut self.behind) {
            self.next_snapshot();
        }
    }

    async fn publish(&mut self) -> Result<(), Silent> {
        if self.workers.iter().len() == 0 {
            self.store.settle();
            self.behind = true;
            self.want_daemons();
            return Ok(());
        }
        let snapshot = self.next_snapshot();
        self.workers.apply(&snapshot).await.map(drop)
    }

    async fn quiesce(&mut self) {
        self.draining = true;
        if let Err(silent) = self.publish().await {
            tracing::warn!("{silent}");
        }
    }

    async fn tick(&mut self) -> Result<(), Silent> {
        self.ask_bursts().await;
        self.ask_totals().await?;
        if self.store.settings().run_estimation {
            Arc::make_mut(&mut self.statistics).estimate();
        }
        self.end_drains().await;
        let scarce = self.store.is_crowded();
        if self.store.has_removed() && (scarce || self.emptied.elapsed() >= trash::INTERVAL) {
            self.emptied = Instant::now();
            let totals = &self.totals;
            let in_use = |id: DestId| totals.get(id.index()).is_none_or(Totals::in_use);
            let removed = self.store.counted().filter(|(d, _)| !d.available);
            let removed: Vec<_> =
                removed.map(|(d, _)| Removed { id: d.id, uid: d.uid, in_use: in_use(d.id) }).collect();
            let gone = self.trash.look(&removed, scarce);
            if self.store.forget_unused(|id| !gone.contains(&id)) > 0 {
                self.publish().await?;
            }
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<Applied, Failure> {
        let Some(path) = self.config_path.clone() else {
            let text = "the director runs on its embedded configuration; start it with --config FILE to reload one";
            return Err(Failure::new(ErrorCode::Unsupported, text));
        };
        let new = Config::load(&path)?;
        let restart = new.needs_restart(&self.config);
        let wanted = self.store.rule_set().overlay(&self.config.rules, &new.rules);
        // In place before the change, so that the state file is written with it.
        let old = std::mem::replace(&mut self.config.rules, new.rules);
        match self.change(None, |store| store.apply(&wanted)).await {
            Ok(changes) => Ok(Applied {
                changes: changes.iter().map(ToString::to_string).collect(),
                restart: restart.iter().map(|key| format!("{key} differs; restart the director to apply it")).collect(),
            }),
            Err(failure) => {
                self.config.rules = old;
                Err(failure)
            }
        }
    }
}

/// The same rules, but no destination takes anything new.
fn quiesced(rules: &Rules) -> Rules {
    let still = |d: &Arc<Destination>| Arc::new(Destination { weight: 0, ..Destination::clone(d) });
    let destinations = rules.destinations.slots().map(|d| d.map(still)).collect();
    let service = |s: &Arc<crate::service::Service>| {
        let mut service = crate::service::Service::clone(s);
        service.version += 1;
        service.destinations = service.destinations.iter().map(still).collect();
        Arc::new(service)
    };
    let services = rules.services.slots().map(|s| s.map(service)).collect();
    let mut quiesced = rules.clone();
    (quiesced.services, quiesced.destinations) = (services, destinations);
    quiesced
}

#[cfg(test)]
mod tests;
