//! How much of what another director knows is here: what a director waits for before it takes an address over.

use std::sync::{Mutex, PoisonError};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// No backup runs: nothing to wait for.
    #[default]
    Idle,
    /// Asks whether there is a director to learn from.
    Asking,
    /// Nobody answered.
    Alone,
    /// Is being told.
    Told { so_far: u64, of: u64 },
    /// Has been told everything.
    Done { entries: u64 },
}

/// The gate.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

impl Gate {
    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn state(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No backup runs any more.
    pub(super) fn stop(&self) {
        self.set(State::Idle);
    }

    /// A backup has begun.
    pub(super) fn ask(&self) {
        self.set(State::Asking);
    }

    /// Nobody answers.
    pub(super) fn alone(&self) {
        self.set(State::Alone);
    }

    /// So many of so many are here.
    pub(super) fn told(&self, so_far: u64, of: u64) {
        self.set(State::Told { so_far, of });
    }

    /// All are here.
    pub(super) fn done(&self, entries: u64) {
        self.set(State::Done { entries });
    }

    /// How many of a hundred are here.
    pub(super) fn percent(&self) -> u8 {
        match self.state() {
            State::Idle | State::Alone | State::Done { .. } => 100,
            State::Asking => 0,
            // All only when the other has said so: connections come and go meanwhile.
            State::Told { so_far, of } => {
                u8::try_from(so_far.saturating_mul(100).checked_div(of).unwrap_or(0)).unwrap_or(99).min(99)
            }
        }
    }

    /// What is going on, in words.
    pub(super) fn text(&self) -> String {
        match self.state() {
            State::Idle => "no backup runs".to_owned(),
            State::Asking => "asks for a director to learn from".to_owned(),
            State::Alone => "no director of this kind answers; learns what it is told from now on".to_owned(),
            State::Told { so_far, of } => format!("is being told: {so_far} of {of}"),
            State::Done { entries } => format!("was told of {entries}, and of what happens since"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_director_is_whole_when_it_was_told_so_or_has_nobody_to_ask() {
        let gate = Gate::default();
        assert_eq!(gate.percent(), 100);
        gate.ask();
        assert_eq!(gate.percent(), 0);
        for (so_far, of, percent) in [(0, 0, 0), (0, 10, 0), (1, 10, 10), (10, 10, 99), (12, 10, 99), (u64::MAX, 1, 99)]
        {
            gate.told(so_far, of);
            assert_eq!(gate.percent(), percent, "{so_far} of {of}");
        }
        gate.done(10);
        assert_eq!(gate.percent(), 100);
        gate.ask();
        gate.alone();
        assert_eq!(gate.percent(), 100);
    }
}
