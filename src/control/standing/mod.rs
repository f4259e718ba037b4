//! The standing of destinations: what checks, operators and time make of the rules while they are at work. The rules themselves stay what
//! they are: what is edited, saved and persisted. What workers see is both together ([`overlay`]).
//!
//! Pure: no I/O, and the time is given as what has passed since the director's start.

pub mod drain;
mod overlay;
pub mod policy;
mod slow_start;
pub mod sorry;

use serde::{Deserialize, Serialize};

use crate::destination::Destination;

use drain::{Templates, UnderWay};
pub(super) use overlay::Standings;
pub use policy::{OnFail, Policy};
use slow_start::SlowStart;

/// What a check finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// The destination does its work.
    Up,
    /// It does not.
    Down {
        /// Why, for people.
        reason: String,
    },
}

/// How a destination stands, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Nobody has checked it: it counts as up.
    #[default]
    Unknown,
    /// Its checks succeed.
    Up,
    /// Its checks fail.
    Down,
    /// Back, with a weight that still grows.
    Warming,
    /// An operator wants it to have nothing new.
    Draining,
}

impl Standing {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Warming => "warming",
            Self::Draining => "draining",
        }
    }
}

/// What is known of one destination beside its rule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Record {
    health: Option<Health>,
    warming: Option<SlowStart>,
    pub(super) drain: Option<UnderWay>,
}

/// What its standing makes of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Effect {
    /// Weight in force.
    pub(super) weight: u32,
    /// False: it is taken out of its service's list.
    pub(super) available: bool,
    /// Do templates hold their clients there?
    pub(super) holds: bool,
    /// Is what it has to end?
    pub(super) ends: bool,
}

impl Record {
    pub(super) fn standing(&self) -> Standing {
        match (&self.health, &self.warming) {
            _ if self.drain.is_some() => Standing::Draining,
            (Some(Health::Down { .. }), _) => Standing::Down,
            (_, Some(_)) => Standing::Warming,
            (Some(Health::Up), None) => Standing::Up,
            (None, None) => Standing::Unknown,
        }
    }

    /// Does it take its share of what is new?
    fn is_at_work(&self) -> bool {
        !self.is_down() && self.drain.is_none()
    }

    fn is_down(&self) -> bool {
        matches!(self.health, Some(Health::Down { .. }))
    }

    /// Why it is down; empty if it is not.
    pub(super) fn reason(&self) -> &str {
        match &self.health {
            Some(Health::Down { reason }) => reason,
            _ => "",
        }
    }

    pub(super) fn effect(&self, d: &Destination, policy: &Policy) -> Effect {
        // Whoever is at weight 0 because an operator wants it so may keep its templates; one that does not answer may not.
        if self.is_down() {
            let available = policy.on_fail == OnFail::Quiesce;
            return Effect { weight: 0, available, holds: false, ends: false };
        }
        if let Some(drain) = self.drain {
            let holds = drain.how.templates == Templates::Keep;
            return Effect { weight: 0, available: true, holds, ends: false };
        }
        let weight = self.warming.map_or(d.weight, |warming| warming.weight(d.weight));
        Effect { weight, available: true, holds: true, ends: false }
    }
}
