//! How services and destinations are, in a word and a degree.

use crate::control::reply::{DestinationView, HopView, ServiceView};
use crate::control::standing::Standing;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Level {
    /// As it should be.
    #[default]
    Good,
    /// Somebody wants it so, or it is going to pass.
    Care,
    /// Not as it should be.
    Bad,
}

/// A word and a degree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct State {
    /// For people.
    pub(super) text: String,
    /// How bad.
    pub(super) level: Level,
}

fn state(level: Level, text: impl Into<String>) -> State {
    State { text: text.into(), level }
}

/// A destination's.
pub(super) fn destination_state(d: &DestinationView) -> State {
    match (d.standing, &d.next_hop) {
        (Standing::Down, _) if d.reason.is_empty() => state(Level::Bad, "down"),
        (Standing::Down, _) => state(Level::Bad, format!("down: {}", d.reason)),
        (Standing::Draining, _) if d.reason.is_empty() => state(Level::Care, "draining"),
        (Standing::Draining, _) => state(Level::Care, format!("draining, down: {}", d.reason)),
        (_, HopView::Unreachable) => state(Level::Bad, "no route"),
        (_, HopView::Kernel) => state(Level::Bad, "no port leads there"),
        _ if d.configured_weight == 0 => state(Level::Care, "quiesced"),
        _ if d.overloaded => state(Level::Care, "overloaded"),
        (Standing::Warming, _) => state(Level::Care, format!("warming to {}", d.configured_weight)),
        (_, HopView::Unresolved { .. }) => state(Level::Care, "asking for MAC"),
        (Standing::Up, _) => state(Level::Good, "up"),
        (Standing::Unknown, HopView::Local) => state(Level::Good, "local"),
        (Standing::Unknown, HopView::Resolved { .. }) => state(Level::Good, "reachable"),
    }
}

/// A service's, by its destinations.
pub(super) fn service_state(s: &ServiceView) -> State {
    let all = s.destinations.len();
    let usable = s.destinations.iter().filter(|d| d.is_usable()).count();
    let level = match usable {
        0 if all > 0 => Level::Bad,
        _ if usable < all => Level::Care,
        _ => Level::Good,
    };
    let sorry = if s.sorry.as_ref().is_some_and(|sorry| sorry.on) { ", sorry server" } else { "" };
    state(level, format!("{usable} of {all}{sorry}"))
}
