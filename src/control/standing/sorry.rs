//! Quorum and sorry server. A service has its quorum as long as enough of its destinations, by their weights, are up; without it the sorry
//! server takes everything new, if there is one. The words are keepalived's.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Effect, Policy, Record};
use crate::control::check;
use crate::control::event::Event;
use crate::control::key::word;
use crate::control::reply::{ErrorCode, Failure};
use crate::control::request::DestinationSpec;
use crate::control::store::{Store, filled};
use crate::destination::{DestId, Destination, Method, Tunnel};
use crate::service::{Service, ServiceId, ServiceKey};

/// What becomes of a sorry server's connections when the quorum is back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReturn {
    /// They go on.
    #[default]
    Keep,
    /// They end.
    End,
}

/// The sorry server of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SorrySpec {
    /// Address and port, of another host or of the director itself.
    pub address: SocketAddr,
    /// Forwarding method; `dr` if not given.
    #[serde(default)]
    pub method: Method,
    /// Encapsulation of `tun`.
    #[serde(default, skip_serializing_if = "is_ipip")]
    pub tunnel: Tunnel,
    /// What becomes of its connections when the quorum is back.
    #[serde(default)]
    pub on_return: OnReturn,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_ipip(tunnel: &Tunnel) -> bool {
    *tunnel == Tunnel::Ipip
}

impl SorrySpec {
    /// As a destination of its service.
    fn destination(&self, key: &ServiceKey) -> DestinationSpec {
        let Self { address, method, tunnel, .. } = *self;
        DestinationSpec { address, method, tunnel, weight: 1, upper: 0, lower: 0 }.fitted(key)
    }

    /// Refuses what cannot be the sorry server of that service.
    ///
    /// # Errors
    /// As for a destination.
    pub fn check(&self, key: &ServiceKey) -> Result<(), Failure> {
        let destination = self.destination(key);
        check::numbers(&destination)?;
        check::address(key, &destination)
    }
}

/// A sorry server at work or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::control) struct Sorry {
    pub(in crate::control) dest: DestId,
    pub(in crate::control) on: bool,
    on_return: OnReturn,
}

impl Sorry {
    pub(super) fn effect(self) -> Effect {
        let stays = self.on || self.on_return == OnReturn::Keep;
        Effect { weight: u32::from(self.on), available: stays, holds: self.on, ends: !stays }
    }
}

/// Has a service its quorum?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::control) enum Quorum {
    /// It never had.
    #[default]
    Unreached,
    Reached,
    Lost,
}

impl Quorum {
    /// What it is with so much weight up.
    fn next(self, weight: u64, policy: &Policy) -> Self {
        let (quorum, hysteresis) = (u64::from(policy.quorum), u64::from(policy.hysteresis));
        let needed = match self {
            Self::Unreached => quorum,
            Self::Reached => quorum.saturating_sub(hysteresis),
            Self::Lost => quorum + hysteresis,
        };
        match self {
            _ if weight >= needed => Self::Reached,
            Self::Unreached => Self::Unreached,
            Self::Reached | Self::Lost => Self::Lost,
        }
    }
}

impl Store {
    /// Sets the sorry server of a service, or takes it away.
    pub(super) fn set_sorry(&mut self, service: &Service, spec: Option<&SorrySpec>) -> Result<(), Failure> {
        let there = self.standings.sorry.get(&service.id).copied();
        let key = &service.key;
        let Some(spec) = spec else {
            there.into_iter().for_each(|sorry| self.forget_sorry(service.id, sorry));
            return Ok(());
        };
        let destination = spec.destination(key);
        self.check_family(key, &destination)?;
        if service.destination(destination.address).is_some() {
            let text =
                format!("{} is a destination of {}, so it cannot be its sorry server", destination.address, word(key));
            return Err(Failure::new(ErrorCode::DestinationExists, text));
        }
        let place = |d: &Destination| SocketAddr::new(d.address, d.port);
        let same = there.and_then(|sorry| Some((sorry, self.destinations.get(sorry.dest.index())?.clone())));
        let (sorry, uid) = match same.filter(|(_, d)| place(d) == destination.address) {
            Some((sorry, d)) => (Sorry { on_return: spec.on_return, ..sorry }, d.uid),
            None => {
                let (dest, uid) = self.identity(key, destination.address)?;
                there.into_iter().for_each(|old| self.forget_sorry(service.id, old));
                (Sorry { dest, on: false, on_return: spec.on_return }, uid)
            }
        };
        let entered = self.tick();
        self.put_destination(filled(sorry.dest, (uid, entered), service, &destination), service.uid);
        self.standings.sorry.insert_mut(service.id, sorry);
        Ok(())
    }

    pub(in crate::control) fn forget_sorry(&mut self, service: ServiceId, sorry: Sorry) {
        self.standings.sorry.remove_mut(&service);
        if let Some(d) = self.destinations.get(sorry.dest.index()).cloned() {
            self.bury(&d.of, &d);
        }
    }

    /// Refuses a destination that is its service's sorry server already.
    pub(in crate::control) fn check_sorry(&self, service: &Service, address: SocketAddr) -> Result<(), Failure> {
        let is_it = |d: &&Arc<Destination>| d.is_at(address);
        match self.sorry(service.id).and_then(|sorry| self.destinations.get(sorry.dest.index())).filter(is_it) {
            Some(_) => {
                let text =
                    format!("{address} is the sorry server of {}; give it another one first", word(&service.key));
                Err(Failure::new(ErrorCode::DestinationExists, text))
            }
            None => Ok(()),
        }
    }

    /// The sorry server of a service.
    pub(in crate::control) fn sorry(&self, service: ServiceId) -> Option<Sorry> {
        self.standings.sorry.get(&service).copied()
    }

    /// Has the service its quorum?
    pub(in crate::control) fn has_quorum(&self, service: ServiceId) -> bool {
        self.standings.quorums.get(&service) == Some(&Quorum::Reached)
    }

    /// The weight, by the rules, of the destinations that are up and not drained.
    pub(in crate::control) fn weight_up(&self, service: &Service) -> u64 {
        let counts = |d: &&Arc<Destination>| self.known_record(d.id).is_none_or(Record::is_at_work);
        service.destinations.iter().filter(counts).map(|d| u64::from(d.weight)).sum()
    }

    /// Works out which services have their quorum, and whose sorry server is at work.
    pub(in crate::control) fn settle(&mut self) {
        let services = self.services.all.clone();
        let mut indices: Vec<_> = services.changed(&self.standings.settled).map(|(index, ..)| index).collect();
        indices.extend(std::mem::take(&mut self.standings.unsettled).iter().map(|id| id.index()));
        for index in indices {
            if let Some(service) = services.get(index) {
                self.settle_one(service);
            }
        }
        self.standings.settled = services;
    }

    fn settle_one(&mut self, service: &Service) {
        let before = self.standings.quorums.get(&service.id).copied().unwrap_or_default();
        let policy = self.policy(service.id);
        let weight = self.weight_up(service);
        let now = before.next(weight, &policy);
        if now != before {
            self.standings.quorums.insert_mut(service.id, now);
            let (service, quorum) = (service.key, policy.quorum);
            self.standings.news.extend(match (before, now) {
                (_, Quorum::Lost) => Some(Event::QuorumLost { service, weight, quorum }),
                (Quorum::Lost, _) => Some(Event::QuorumReached { service, weight, quorum }),
                _ => None,
            });
        }
        let Some(sorry) = self.sorry(service.id) else { return };
        let on = now != Quorum::Reached;
        if on != sorry.on {
            self.switch_sorry(service, Sorry { on, ..sorry });
        }
    }

    fn switch_sorry(&mut self, service: &Service, sorry: Sorry) {
        self.standings.sorry.insert_mut(service.id, sorry);
        let Some(d) = self.destinations.get(sorry.dest.index()) else { return };
        let destination = SocketAddr::new(d.address, d.port);
        self.standings.news.push(if sorry.on {
            Event::SorryOn { service: service.key, destination }
        } else {
            Event::SorryOff { service: service.key, destination }
        });
        if sorry.effect().ends {
            self.endings += 1;
        }
        self.touch(service.id);
    }

    /// What has become of quorums and sorry servers since this was last asked.
    pub(in crate::control) fn take_news(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.standings.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_lost_with_less_and_back_with_more_than_it_by_the_hysteresis() {
        for (quorum, hysteresis, weights, want) in [
            (1, 0, [0, 1, 5, 0, 1], [false, true, true, false, true]),
            (10, 0, [9, 10, 9, 10, 9], [false, true, false, true, false]),
            (10, 3, [9, 10, 7, 6, 12], [false, true, true, false, false]),
            (10, 3, [10, 6, 13, 7, 6], [true, false, true, true, false]),
        ] {
            let policy = Policy { quorum, hysteresis, ..Policy::default() };
            let mut state = Quorum::default();
            let reached = weights.map(|weight| {
                state = state.next(weight, &policy);
                state == Quorum::Reached
            });
            assert_eq!(reached, want, "{quorum} {hysteresis} {weights:?}");
        }
    }
}
