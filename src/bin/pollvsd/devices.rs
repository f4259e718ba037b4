//! What becomes of a port whose device is removed: its queues stand aside, the device is closed, and is looked for until it is back and
//! forwards again. Everything that takes its time is done on a thread beside control's, and nothing by workers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pollvs::config::PortConfig;
use pollvs::control::Control;
use pollvs::control::event::Event;
use pollvs::io::dpdk::{Port, PortError};
use pollvs::kernel::{self, Watcher};
use pollvs::verdict::PortId;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// From one attempt to find a device to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// Where a device stands.
#[derive(Debug)]
enum Stage {
    There,
    /// Its queues are to stand aside; then it is closed.
    Leaving(Option<JoinHandle<bool>>),
    /// It is looked for at that moment.
    Away(Instant),
    /// It is being looked for.
    Returning(JoinHandle<Result<(), PortError>>),
}

/// Why a port's device is not there; empty while it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Absence(Arc<Mutex<String>>);

impl Absence {
    /// In words.
    pub(crate) fn reason(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether that is new.
    fn set(&self, reason: String) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *known != reason;
        *known = reason;
        is_new
    }
}

/// The device of one port.
#[derive(Debug)]
struct One {
    port: Arc<Port>,
    name: String,
    device: String,
    absence: Absence,
    stage: Stage,
}

/// The devices of all ports.
#[derive(Debug)]
pub(crate) struct Devices(Vec<One>);

impl Devices {
    /// All there.
    pub(crate) fn new(ports: &[Arc<Port>], settings: &[PortConfig]) -> Self {
        let one = |(port, settings): (&Arc<Port>, &PortConfig)| One {
            port: port.clone(),
            name: settings.name.clone(),
            device: settings.device.clone(),
            absence: Absence::default(),
            stage: Stage::There,
        };
        Self(ports.iter().zip(settings).map(one).collect())
    }

    /// Why devices are not there, by port, now and later.
    pub(crate) fn absences(&self) -> Vec<Absence> {
        self.0.iter().map(|one| one.absence.clone()).collect()
    }

    /// Looks after all of them; to be called many times a second.
    pub(crate) async fn look(&mut self, control: &Control, watcher: &mut Watcher) {
        for (id, one) in (0..).map(PortId).zip(&mut self.0) {
            if let Some(event) = one.step().await {
                if matches!(event, Event::DeviceBack { .. }) {
                    watcher.stands_on(id, kernel::interface_behind(&one.device));
                }
                control.tell(event);
            }
            watcher.device_link(id, one.port.link_is_up());
        }
    }
}

impl One {
    /// Goes on as far as it can without waiting, and returns what is to be told.
    async fn step(&mut self) -> Option<Event> {
        match &mut self.stage {
            Stage::There if self.port.is_removed() => return Some(self.leave()),
            Stage::Leaving(None) => {
                let port = self.port.clone();
                self.stage = Stage::Leaving(Some(tokio::task::spawn_blocking(move || port.close())));
            }
            Stage::Leaving(Some(task)) if task.is_finished() => {
                let closed = task.await.unwrap_or(false);
                self.stage = if closed { Stage::Away(Instant::now()) } else { Stage::Leaving(None) };
            }
            Stage::Away(when) if *when <= Instant::now() => {
                let port = self.port.clone();
                self.stage = Stage::Returning(tokio::task::spawn_blocking(move || port.reopen()));
            }
            Stage::Returning(task) if task.is_finished() => {
                let outcome = task.await;
                self.stage = Stage::Away(Instant::now() + AGAIN);
                return match outcome {
                    Ok(Ok(())) => Some(self.back()),
                    Ok(Err(error)) => self.stays_away(&error),
                    Err(_) => None,
                };
            }
            _ => {}
        }
        None
    }

    fn leave(&mut self) -> Event {
        self.port.leave();
        self.stage = Stage::Leaving(None);
        self.absence.set("it was removed".to_owned());
        Event::DeviceRemoved { port: self.name.clone(), device: self.device.clone() }
    }

    fn back(&mut self) -> Event {
        self.stage = Stage::There;
        self.absence.set(String::new());
        Event::DeviceBack { port: self.name.clone(), device: self.device.clone() }
    }

    /// That it is not there is known; anything else is news.
    fn stays_away(&self, error: &PortError) -> Option<Event> {
        let reason = error.to_string();
        let is_news = self.absence.set(reason.clone()) && !matches!(error, PortError::Absent { .. });
        is_news.then(|| Event::DeviceRefused { port: self.name.clone(), reason })
    }
}
