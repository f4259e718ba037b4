//! When a destination goes down and when it comes back: `fall` failures in a row, `rise` successes in a row, each check counting
//! once, as keepalived and HAProxy have it. Pure: told outcomes, it tells changes.

/// The state of one destination by its check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    fall: u32,
    rise: u32,
    up: bool,
    /// Outcomes in a row that speak against the state.
    against: u32,
}

impl Machine {
    /// One that begins as `up` says. `fall` and `rise` are 1 at least.
    pub fn new(fall: u32, rise: u32, up: bool) -> Self {
        Self { fall: fall.max(1), rise: rise.max(1), up, against: 0 }
    }

    /// Takes the outcome of a check. Returns the new state if that changed it.
    pub fn take(&mut self, good: bool) -> Option<bool> {
        if good == self.up {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if self.up { self.fall } else { self.rise };
        if self.against < needed {
            return None;
        }
        (self.up, self.against) = (good, 0);
        Some(good)
    }

    /// Is it up?
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Outcomes in a row that speak against the state.
    pub fn against(&self) -> u32 {
        self.against
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fall_and_rise_are_counted_in_a_row() {
        // Outcomes (+ good, - bad), and the state after each (U up, d down).
        for (fall, rise, up, outcomes, states) in [
            (3, 1, true, "---", "UUd"),
            (3, 1, true, "--+---", "UUUUUd"),
            (3, 1, true, "---+", "UUdU"),
            (1, 1, true, "-+-+", "dUdU"),
            (3, 2, true, "---+-++", "UUddddU"),
            (2, 3, false, "+++--", "ddUUd"),
            (2, 3, false, "++-+++", "dddddU"),
            (0, 0, true, "-+", "dU"),
        ] {
            let mut machine = Machine::new(fall, rise, up);
            let mut seen = String::new();
            for outcome in outcomes.chars() {
                machine.take(outcome == '+');
                seen.push(if machine.is_up() { 'U' } else { 'd' });
            }
            assert_eq!(seen, states, "fall {fall}, rise {rise}: {outcomes}");
        }
    }

    /// The state after all outcomes, looked up slowly: the last run that was long enough decides.
    fn model(fall: usize, rise: usize, start: bool, outcomes: &[bool]) -> bool {
        let long_enough = |end: usize, good: bool| {
            let needed = if good { rise } else { fall };
            end >= needed && outcomes[end - needed..end].iter().all(|o| *o == good)
        };
        let decided = (1..=outcomes.len()).rev().find_map(|end| {
            let good = outcomes[end - 1];
            long_enough(end, good).then_some(good)
        });
        decided.unwrap_or(start)
    }

    proptest! {
        #[test]
        fn the_last_run_that_is_long_enough_decides(
            fall in 1_u32..6, rise in 1_u32..6, start: bool, outcomes in prop::collection::vec(any::<bool>(), 0..40)
        ) {
            let mut machine = Machine::new(fall, rise, start);
            for (index, outcome) in outcomes.iter().enumerate() {
                let before = machine.is_up();
                let told = machine.take(*outcome);
                prop_assert_eq!(told, (machine.is_up() != before).then_some(machine.is_up()));
                let want = model(fall as usize, rise as usize, start, &outcomes[..=index]);
                prop_assert_eq!(machine.is_up(), want);
            }
        }
    }
}
