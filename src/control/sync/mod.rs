//! The synchronisation daemons at work: the master's messages leave by multicast, a backup's are taken in, and a director that joins
//! asks for all there is (`docs/sync.md`). All of it runs on control's thread; workers are asked for what is to be told, and given what
//! was told, in pieces of bounded size.

mod backup;
mod counted;
mod gate;
mod join;
mod link;
mod master;
mod socket;
mod transfer;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::config::SyncConfig;
use crate::control::Control;
use crate::control::daemon::{DaemonSpec, Role};
use crate::mailbox::Workers;
use crate::settings::Settings;
use crate::steering::Steering;
use crate::sync::seal::{self, Key};
use crate::time::Tick;

pub use counted::{Counted, SyncView};
use gate::Gate;

/// From one try to open the sockets to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// What is to run, and how.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Wanted {
    /// The daemons.
    pub(super) daemons: Vec<DaemonSpec>,
    /// The sysctls among other things.
    pub(super) settings: Settings,
}

/// The state of the synchronisation that is shared by its tasks and by those who ask.
#[derive(Debug)]
pub(super) struct Shared {
    config: SyncConfig,
    key: Option<Key>,
    counted: Counted,
    gate: Gate,
    wanted: watch::Sender<Wanted>,
    /// The director stops: a master is to send all it has.
    leaving: watch::Sender<bool>,
    /// It has.
    left: Notify,
}

/// Why the key of the synchronisation cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("sync.key_file: {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What it holds is too short.
    #[error("sync.key_file: {}: a key has {} bytes at least; make one with: head -c 32 /dev/urandom | base64", .0.display(), seal::SHORTEST_KEY)]
    Short(std::path::PathBuf),
}

impl Shared {
    /// As the configuration has it.
    pub(super) fn new(config: &SyncConfig) -> Result<Arc<Self>, KeyError> {
        let key = if config.key_file.as_os_str().is_empty() { None } else { Some(key(&config.key_file)?) };
        Ok(Arc::new(Self {
            config: config.clone(),
            key,
            counted: Counted::default(),
            gate: Gate::default(),
            wanted: watch::Sender::new(Wanted::default()),
            leaving: watch::Sender::new(false),
            left: Notify::new(),
        }))
    }

    /// Tells the daemons what is wanted of them now.
    pub(super) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|now| {
            let differs = *now != wanted;
            *now = wanted;
            differs
        });
    }

    /// What its daemons wait for, a sentence each.
    pub(super) fn waits(&self) -> Vec<String> {
        self.counted.waits()
    }

    /// What is shown of it.
    pub(super) fn view(&self) -> SyncView {
        let percent = self.gate.percent();
        SyncView {
            daemons: self.wanted.borrow().daemons.clone(),
            ready: percent >= self.config.ready_percent,
            percent,
            state: self.gate.text(),
            signed: self.key.is_some(),
            waits: self.counted.waits(),
            counters: self.counted.views(),
        }
    }
}

fn key(path: &std::path::Path) -> Result<Key, KeyError> {
    let bytes = std::fs::read(path).map_err(|source| KeyError::Unreadable { path: path.into(), source })?;
    Key::new(bytes.trim_ascii()).ok_or_else(|| KeyError::Short(path.into()))
}

/// What a task of the synchronisation works with.
#[derive(Clone, Debug)]
struct Context {
    shared: Arc<Shared>,
    workers: Workers,
    steering: Arc<Steering>,
    started: std::time::Instant,
}

impl Context {
    /// Now, in ticks since the start.
    #[allow(clippy::cast_possible_truncation, reason = "ticks wrap by design")]
    fn tick(&self) -> Tick {
        Tick((self.started.elapsed().as_millis() / 10) as u32)
    }
}

/// Microseconds since 1970.
fn stamp() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A daemon that runs, and ends when this is dropped.
struct Running {
    spec: DaemonSpec,
    ports: i32,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Control {
    /// Lets a master tell what it has not told yet, before the director stops. The workers must still answer.
    pub async fn take_leave(&self) {
        // Nobody hears it where no master is at work.
        if self.sync.leaving.send(true).is_ok() {
            let _ = tokio::time::timeout(AGAIN, self.sync.left.notified()).await;
        }
    }

    /// Runs the daemons that the rules name. `steering` tells whose clients are whose. Never returns.
    pub async fn synchronise(&self, steering: Steering) {
        let shared = Arc::clone(&self.sync);
        let mut wanted = shared.wanted.subscribe();
        let steering = Arc::new(steering);
        let context = Context { shared, workers: self.workers.clone(), steering, started: std::time::Instant::now() };
        let mut running: Vec<Running> = Vec::new();
        loop {
            let now = wanted.borrow_and_update().clone();
            reconcile(&context, &now, &mut running);
            if wanted.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Ends what is not wanted any more and starts what is.
fn reconcile(context: &Context, wanted: &Wanted, running: &mut Vec<Running>) {
    let ports = wanted.settings.sync_ports;
    running.retain(|daemon| daemon.ports == ports && wanted.daemons.contains(&daemon.spec));
    for spec in &wanted.daemons {
        if running.iter().any(|daemon| daemon.spec == *spec) {
            continue;
        }
        let task = match spec.role {
            Role::Master => tokio::spawn(master::run(context.clone(), spec.clone())),
            Role::Backup => tokio::spawn(backup::run(context.clone(), spec.clone())),
        };
        running.push(Running { spec: spec.clone(), ports, task: task.abort_handle() });
    }
    context.shared.counted.forget_waits(|role| running.iter().any(|daemon| daemon.spec.role == role));
    if !running.iter().any(|daemon| daemon.spec.role == Role::Backup) {
        context.shared.gate.stop();
    }
}
