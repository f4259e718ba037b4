//! Draining: a destination that an operator wants to take away gets no new connections, and those that it has may end. Part of what is
//! persisted, so that a restart does not send clients there again.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rpds::RedBlackTreeSetSync;
use serde::{Deserialize, Serialize};

use super::Record;
use crate::control::key::{endpoint, word};
use crate::control::reply::{ErrorCode, Failure};
use crate::control::store::Store;
use crate::destination::{DestId, Destination};
use crate::service::{Service, ServiceKey};

/// What becomes of the templates of a destination that is drained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Templates {
    /// Clients that are bound to it come back to it as long as their template lives.
    #[default]
    Keep,
    /// Such clients are bound to another one with their next connection.
    Drop,
}

/// Destinations by address: one port, or every port of a real server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Whom {
    /// This one.
    One(SocketAddr),
    /// All of this server.
    Server(IpAddr),
}

impl Whom {
    /// Is it what is at that address and port?
    pub fn is_at(self, place: SocketAddr) -> bool {
        match self {
            Self::One(address) => place == address,
            Self::Server(address) => place.ip() == address,
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => write!(f, "{address}"),
            Self::Server(address) => write!(f, "{address}"),
        }
    }
}

impl FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = || endpoint(text).map(|at| Self::One(at.into()));
        let server = || text.parse().ok().map(Self::Server);
        one().or_else(server).ok_or_else(|| {
            format!(
                "{text:?} is no address; write 198.51.100.11:80, [2001:db8::11]:80, or the address alone for all ports"
            )
        })
    }
}

/// How a destination is drained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// What becomes of its templates.
    pub templates: Templates,
    /// Is it to be removed from its service when nothing is left, or when the time is over?
    pub remove: bool,
    /// When that is, in seconds since 1970; never if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// A destination that is drained, as it is persisted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draining {
    /// Which.
    pub address: SocketAddr,
    /// How.
    pub drain: Drain,
}

/// A drain under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::control) struct UnderWay {
    pub(in crate::control) how: Drain,
    /// That it is over has been told.
    pub(in crate::control) is_over: bool,
}

/// Connections that are being closed, or have just been begun, are given so long when no others are left: enough for the packets that
/// are still under way. What the table remembers of them for longer is nobody's loss.
const LAST_PACKETS: Duration = Duration::from_secs(5);

/// What a destination that is drained still has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::control) struct Left {
    pub(in crate::control) active: u64,
    pub(in crate::control) inactive: u64,
    pub(in crate::control) templates: u64,
    /// For how long none has been active.
    pub(in crate::control) quiet: Duration,
}

/// Since when destinations that are drained have nothing active, by [`Destination::uid`]; times are since the director's start.
#[derive(Debug, Default)]
pub(in crate::control) struct Quiet(HashMap<u64, Duration>);

impl Quiet {
    /// For how long a destination with so many active connections has had none.
    pub(in crate::control) fn look(&mut self, uid: u64, active: u64, now: Duration) -> Duration {
        if active > 0 {
            self.0.remove(&uid);
            return Duration::ZERO;
        }
        now.saturating_sub(*self.0.entry(uid).or_insert(now))
    }

    /// Forgets all but those.
    pub(in crate::control) fn keep(&mut self, uids: &[u64]) {
        self.0.retain(|uid, _| uids.contains(uid));
    }
}

impl Drain {
    /// Is it over, with so much left, at that moment?
    pub(in crate::control) fn is_over(&self, left: Left, unix_secs: u64) -> bool {
        // Templates that hold nobody are left to their timer.
        let waits_for_templates = self.templates == Templates::Keep && left.templates > 0;
        let are_closed = left.active == 0 && (left.inactive == 0 || left.quiet >= LAST_PACKETS);
        (are_closed && !waits_for_templates) || self.until.is_some_and(|until| unix_secs >= until)
    }
}

impl Store {
    /// Drains destinations: of one service, or of all that have them. What is drained already is drained in the new way from now on.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchService`], [`ErrorCode::NoSuchDestination`]; nothing has changed then.
    pub fn drain(&mut self, whom: Whom, service: Option<&ServiceKey>, how: Drain) -> Result<(), Failure> {
        for d in self.meant(whom, service)? {
            let drain = Some(UnderWay { how, is_over: false });
            let record = self.record(d.id);
            self.enter(&d, Record { drain, ..record });
        }
        Ok(())
    }

    /// Ends the draining of destinations: they get new connections again.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchService`], [`ErrorCode::NoSuchDestination`]; [`ErrorCode::InvalidArgument`] if none of them is drained.
    /// Nothing has changed then.
    pub fn undrain(&mut self, whom: Whom, service: Option<&ServiceKey>) -> Result<(), Failure> {
        let mut meant = self.meant(whom, service)?;
        meant.retain(|d| self.record(d.id).drain.is_some());
        if meant.is_empty() {
            return Err(Failure::new(ErrorCode::InvalidArgument, format!("{whom} is not being drained")));
        }
        for d in meant {
            let record = self.record(d.id);
            self.enter(&d, Record { drain: None, ..record });
        }
        Ok(())
    }

    fn meant(&self, whom: Whom, service: Option<&ServiceKey>) -> Result<Vec<Arc<Destination>>, Failure> {
        let services = match service {
            Some(key) => vec![self.known(key, ErrorCode::NoSuchService)?],
            None => self.services().into_iter().cloned().collect(),
        };
        let all = services.iter().flat_map(|s| &s.destinations);
        let meant: Vec<_> = all.filter(|d| whom.is_at((d.address, d.port).into())).cloned().collect();
        if meant.is_empty() {
            let text = match service {
                Some(key) => format!("{} has no destination {whom}", word(key)),
                None => format!("no service has a destination {whom}"),
            };
            return Err(Failure::new(ErrorCode::NoSuchDestination, text));
        }
        Ok(meant)
    }

    /// Sets which destinations of a service are drained, and how.
    pub(in crate::control) fn set_draining(&mut self, service: &Service, wanted: &[Draining]) {
        for d in &service.destinations {
            let how = wanted.iter().find(|w| d.is_at(w.address)).map(|w| w.drain);
            let record = self.record(d.id);
            if record.drain.map(|drain| drain.how) != how {
                let drain = how.map(|how| UnderWay { how, is_over: false });
                self.enter(d, Record { drain, ..record });
            }
        }
    }

    /// The destinations of a service that are drained, oldest first.
    pub(in crate::control) fn draining(&self, service: &Service) -> Vec<Draining> {
        let draining = |d: &Arc<Destination>| {
            let drain = self.record(d.id).drain?.how;
            Some(Draining { address: (d.address, d.port).into(), drain })
        };
        if self.standings.draining.is_empty() {
            return Vec::new();
        }
        service.destinations.iter().rev().filter_map(draining).collect()
    }

    /// Every destination that is drained, by index.
    pub(in crate::control) fn draining_ids(&self) -> RedBlackTreeSetSync<DestId> {
        self.standings.draining.clone()
    }

    /// Every destination that is drained, and how.
    pub(in crate::control) fn drained(&self) -> impl Iterator<Item = (&Arc<Destination>, UnderWay)> {
        let one = |id: &DestId| Some((self.destinations.get(id.index())?, self.record(*id).drain?));
        self.standings.draining.iter().filter_map(one)
    }

    /// Notes that the drain of a destination is over.
    pub(in crate::control) fn finish(&mut self, d: &Destination) {
        let record = self.record(d.id);
        let drain = record.drain.map(|drain| UnderWay { is_over: true, ..drain });
        self.enter(d, Record { drain, ..record });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_over_when_nothing_is_left_or_the_time_is() {
        let left = |active, templates| Left { active, templates, ..Left::default() };
        let closing = |seconds| Left { inactive: 3, quiet: Duration::from_secs(seconds), ..Left::default() };
        let how = |templates, until| Drain { templates, remove: false, until };
        for (drain, left, over) in [
            (how(Templates::Keep, None), left(0, 0), true),
            (how(Templates::Keep, None), left(0, 1), false),
            (how(Templates::Keep, None), left(1, 0), false),
            (how(Templates::Drop, None), left(0, 1), true),
            (how(Templates::Drop, None), left(1, 0), false),
            (how(Templates::Drop, None), closing(4), false),
            (how(Templates::Drop, None), closing(5), true),
            (how(Templates::Keep, None), Left { templates: 1, ..closing(5) }, false),
            (how(Templates::Keep, Some(100)), left(1, 1), true),
            (how(Templates::Keep, Some(101)), left(1, 1), false),
        ] {
            assert_eq!(drain.is_over(left, 100), over, "{drain:?} {left:?}");
        }
    }

    #[test]
    fn it_is_quiet_since_the_last_active_connection() {
        let (mut quiet, second) = (Quiet::default(), Duration::from_secs);
        for (active, now, want) in [(1, 0, 0), (0, 2, 0), (0, 4, 2), (2, 6, 0), (0, 8, 0), (0, 13, 5)] {
            assert_eq!(quiet.look(7, active, second(now)), second(want), "{active} at {now}");
        }
        quiet.keep(&[8]);
        assert_eq!(quiet.look(7, 0, second(14)), second(0));
    }

    #[test]
    fn an_address_without_a_port_is_the_whole_server() {
        for (text, want) in [
            ("198.51.100.11:80", Some(Whom::One("198.51.100.11:80".parse().unwrap()))),
            ("198.51.100.11", Some(Whom::Server("198.51.100.11".parse().unwrap()))),
            ("2001:db8::11", Some(Whom::Server("2001:db8::11".parse().unwrap()))),
            ("[2001:db8::11]:80", Some(Whom::One("[2001:db8::11]:80".parse().unwrap()))),
            ("server", None),
            ("198.51.100.11:", None),
        ] {
            assert_eq!(text.parse::<Whom>().ok(), want, "{text}");
            let json: Option<Whom> = serde_json::from_value(text.into()).ok();
            assert_eq!(json, want, "{text}");
        }
    }
}
