//! What happens: told by type to whoever listens (the request `events`), and in words to the log.

mod changes;
mod watch;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::control::key::word;
use crate::service::ServiceKey;

pub(super) use changes::changes;
pub(super) use watch::{Seen, Watch};

/// Events that wait for a listener; one that is slower loses the oldest.
const WAITING: usize = 4096;

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The checks of a destination succeed: for the first time, or again.
    DestinationUp {
        /// Its service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
    },
    /// The checks of a destination fail.
    DestinationDown {
        /// Its service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The slow start of a destination is over.
    DestinationWarm {
        /// Its service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
    },
    /// A destination gets nothing new, so that what it has may end.
    DrainBegun {
        /// Its service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
    },
    /// What it had has ended, or the time for it is over.
    Drained {
        /// Its service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
        /// Connections that are left all the same.
        connections: u64,
        /// Was it removed from its service?
        removed: bool,
    },
    /// It gets new connections again.
    DrainEnded {
        /// Its service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
    },
    /// So much of a service is down that it has no quorum.
    QuorumLost {
        /// Which.
        service: ServiceKey,
        /// Weight that is up.
        weight: u64,
        /// Weight that must be.
        quorum: u32,
    },
    /// It has its quorum again.
    QuorumReached {
        /// Which.
        service: ServiceKey,
        /// Weight that is up.
        weight: u64,
        /// Weight that must be.
        quorum: u32,
    },
    /// The sorry server takes everything new.
    SorryOn {
        /// Of which service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
    },
    /// It takes nothing new any more.
    SorryOff {
        /// Of which service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
    },
    /// A service was added.
    ServiceAdded {
        /// Which.
        service: ServiceKey,
    },
    /// Scheduler, persistence or flags of a service were edited.
    ServiceEdited {
        /// Which.
        service: ServiceKey,
    },
    /// A service was removed, with its destinations.
    ServiceRemoved {
        /// Which.
        service: ServiceKey,
    },
    /// A destination was added.
    DestinationAdded {
        /// Its service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
    },
    /// Weight, method, tunnel or thresholds of a destination were edited.
    DestinationEdited {
        /// Its service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
    },
    /// A destination was removed from a service that stays.
    DestinationRemoved {
        /// Its service.
        service: ServiceKey,
        /// Its address.
        destination: SocketAddr,
    },
    /// The configuration file was read again.
    Reloaded {
        /// Changes that this made to the rules.
        changes: usize,
    },
    /// The configuration file was read again and refused; nothing has changed.
    ReloadFailed {
        /// Why.
        reason: String,
    },
    /// A worker does not answer.
    WorkerSilent {
        /// Its index.
        worker: u16,
    },
    /// A worker that did not answer does.
    WorkerBack {
        /// Its index.
        worker: u16,
    },
    /// A port has a link.
    LinkUp {
        /// Its name.
        port: String,
    },
    /// A port has lost its link.
    LinkDown {
        /// Its name.
        port: String,
    },
    /// The device of a port was removed.
    DeviceRemoved {
        /// The port's name.
        port: String,
        /// As configured.
        device: String,
    },
    /// It is there again, and the port forwards.
    DeviceBack {
        /// The port's name.
        port: String,
        /// As configured.
        device: String,
    },
    /// It is there again, and cannot be taken up; told once for each reason.
    DeviceRefused {
        /// The port's name.
        port: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A device does not steer as it was told; told once.
    Astray {
        /// Its port.
        port: String,
        /// Frames that it brought to the wrong worker.
        frames: u64,
        /// Of so many.
        received: u64,
    },
    /// A virtual address was put on the interface from which a routing daemon announces it.
    Announced {
        /// Which.
        address: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// A virtual address was taken away from that interface.
    Withdrawn {
        /// Which.
        address: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The interface could not be brought in line with what is to be announced.
    AnnounceFailed {
        /// Its name.
        interface: String,
        /// Why.
        reason: String,
    },
    /// A table is nearly full.
    TableNearlyFull {
        /// The worker that it is of.
        worker: u16,
        /// Its key of `[director]`: `connections`, `connections6`, `templates`, `templates6`.
        table: String,
        /// Entries.
        used: u64,
        /// Room for entries.
        room: u64,
    },
    /// A table that was nearly full has room again.
    TableRelieved {
        /// The worker that it is of.
        worker: u16,
        /// As above.
        table: String,
        /// Entries.
        used: u64,
        /// Room for entries.
        room: u64,
    },
    /// The listener was too slow for events.
    Lost {
        /// How many it has not heard of.
        count: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DestinationUp { service, destination } => write!(f, "{} is up", of(service, destination)),
            Self::DestinationDown { service, destination, reason } => {
                write!(f, "{} is down: {reason}", of(service, destination))
            }
            Self::DestinationWarm { service, destination } => {
                write!(f, "{} has warmed up", of(service, destination))
            }
            Self::DrainBegun { service, destination } => write!(f, "{} is being drained", of(service, destination)),
            Self::Drained { service, destination, connections, removed } => {
                let then = if *removed { "; it was removed" } else { "" };
                write!(f, "{} is drained, {connections} connections are left{then}", of(service, destination))
            }
            Self::DrainEnded { service, destination } => {
                write!(f, "{} is not being drained any more", of(service, destination))
            }
            Self::QuorumLost { service, weight, quorum } => {
                write!(f, "{} has lost its quorum, weight {weight} of {quorum} is up", word(service))
            }
            Self::QuorumReached { service, weight, quorum } => {
                write!(f, "{} has its quorum again, weight {weight} of {quorum} is up", word(service))
            }
            Self::SorryOn { service, destination } => {
                write!(f, "the sorry server {destination} of {} is at work", word(service))
            }
            Self::SorryOff { service, destination } => {
                write!(f, "the sorry server {destination} of {} is at rest", word(service))
            }
            Self::ServiceAdded { service } => write!(f, "service {} was added", word(service)),
            Self::ServiceEdited { service } => write!(f, "service {} was edited", word(service)),
            Self::ServiceRemoved { service } => write!(f, "service {} was removed", word(service)),
            Self::DestinationAdded { service, destination } => write!(f, "{} was added", of(service, destination)),
            Self::DestinationEdited { service, destination } => write!(f, "{} was edited", of(service, destination)),
            Self::DestinationRemoved { service, destination } => {
                write!(f, "{} was removed", of(service, destination))
            }
            Self::Reloaded { changes } => write!(f, "the configuration was read again, {changes} changes"),
            Self::ReloadFailed { reason } => {
                write!(f, "the configuration was read again and refused, nothing has changed: {reason}")
            }
            Self::WorkerSilent { worker } => {
                write!(f, "worker {worker} does not answer; if this lasts, restart the director")
            }
            Self::WorkerBack { worker } => write!(f, "worker {worker} answers again"),
            Self::LinkUp { port } => write!(f, "port {port} has a link"),
            Self::LinkDown { port } => write!(f, "port {port} has no link"),
            Self::DeviceRemoved { port, device } => {
                write!(f, "the device of port {port} was removed ({device}): its frames are dropped until it is back")
            }
            Self::DeviceBack { port, .. } => write!(f, "the device of port {port} is back"),
            Self::DeviceRefused { port, reason } => {
                write!(f, "the device of port {port} cannot be taken up again: {reason}")
            }
            Self::Astray { port, frames, received } => write!(
                f,
                "port {port} does not steer as it was told: {frames} of {received} frames came to the wrong worker and were handed \
                 over; is its `role` right?"
            ),
            Self::Announced { address, interface } => write!(f, "{address} is announced by {interface}"),
            Self::Withdrawn { address, interface } => write!(f, "{address} is no more announced by {interface}"),
            Self::AnnounceFailed { interface, reason } => {
                write!(f, "virtual addresses cannot be announced by {interface}: {reason}")
            }
            Self::TableNearlyFull { worker, table, used, room } => {
                write!(f, "{table} of worker {worker} are nearly full, {used} of {room}; raise [director] {table}")
            }
            Self::TableRelieved { worker, table, used, room } => {
                write!(f, "{table} of worker {worker} have room again, {used} of {room}")
            }
            Self::Lost { count } => write!(f, "{count} events were lost, this listener was too slow"),
        }
    }
}

fn of(service: &ServiceKey, destination: &SocketAddr) -> String {
    format!("destination {destination} of {}", word(service))
}

impl Event {
    /// Writes it to the log. Whoever changes rules knows what was changed, so that this is for those who look closely.
    fn log(&self) {
        match self {
            Self::DestinationDown { .. }
            | Self::QuorumLost { .. }
            | Self::SorryOn { .. }
            | Self::WorkerSilent { .. }
            | Self::LinkDown { .. }
            | Self::DeviceRemoved { .. }
            | Self::DeviceRefused { .. }
            | Self::Astray { .. }
            | Self::TableNearlyFull { .. } => tracing::warn!("{self}"),
            Self::ReloadFailed { .. } | Self::AnnounceFailed { .. } => tracing::error!("{self}"),
            Self::ServiceAdded { .. }
            | Self::ServiceEdited { .. }
            | Self::ServiceRemoved { .. }
            | Self::DestinationAdded { .. }
            | Self::DestinationEdited { .. }
            | Self::DestinationRemoved { .. }
            | Self::Lost { .. } => tracing::debug!("{self}"),
            Self::DestinationUp { .. }
            | Self::DestinationWarm { .. }
            | Self::DrainBegun { .. }
            | Self::Drained { .. }
            | Self::DrainEnded { .. }
            | Self::QuorumReached { .. }
            | Self::SorryOff { .. }
            | Self::Reloaded { .. }
            | Self::WorkerBack { .. }
            | Self::LinkUp { .. }
            | Self::DeviceBack { .. }
            | Self::Announced { .. }
            | Self::Withdrawn { .. }
            | Self::TableRelieved { .. } => tracing::info!("{self}"),
        }
    }
}

/// An event with its moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Milliseconds since 1970, UTC.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Told {
    /// That it happens now.
    pub fn now(event: Event) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), event }
    }
}

/// Where events are told; clones are the same place.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Told>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(WAITING))
    }
}

impl Events {
    /// Tells the log, and everybody who listens.
    pub fn tell(&self, event: Event) {
        event.log();
        // That nobody listens is no error.
        let _ = self.0.send(Told::now(event));
    }

    /// Everything from now on.
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// Somebody who listens.
#[derive(Debug)]
pub struct Listener(broadcast::Receiver<Told>);

impl Listener {
    /// The next event; `None` when there will be none any more.
    pub async fn next(&mut self) -> Option<Told> {
        match self.0.recv().await {
            Ok(told) => Some(told),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Told::now(Event::Lost { count })),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(worker: u16) -> Event {
        Event::WorkerSilent { worker }
    }

    #[tokio::test]
    async fn whoever_listens_hears_what_happens_from_then_on() {
        let events = Events::default();
        events.tell(silent(0));
        let (mut one, mut other) = (events.listen(), events.clone().listen());
        events.tell(silent(1));
        assert_eq!(one.next().await.unwrap().event, silent(1));
        assert_eq!(other.next().await.unwrap().event, silent(1));
        drop(events);
        assert!(one.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_how_much_it_has_lost() {
        let events = Events::default();
        let mut listener = events.listen();
        (0..5000).for_each(|n| events.tell(silent(n)));
        assert_eq!(listener.next().await.unwrap().event, Event::Lost { count: 5000 - 4096 });
        assert_eq!(listener.next().await.unwrap().event, silent(5000 - 4096));
    }

    #[test]
    fn an_event_reads_back() {
        let event = Event::DestinationDown {
            service: "tcp:192.0.2.10:80".parse().unwrap(),
            destination: "198.51.100.11:80".parse().unwrap(),
            reason: "connection refused".into(),
        };
        let told = Told { at_ms: 7, event };
        let text = serde_json::to_string(&told).unwrap();
        assert!(text.starts_with(r#"{"at_ms":7,"kind":"destination_down","service":"tcp:192.0.2.10:80","#), "{text}");
        assert_eq!(serde_json::from_str::<Told>(&text).unwrap(), told);
        assert_eq!(
            told.event.to_string(),
            "destination 198.51.100.11:80 of tcp:192.0.2.10:80 is down: connection refused"
        );
    }
}
