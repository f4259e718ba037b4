//! What is to be done as the destinations of a service come and go, as somebody wants it. Part of the rules, but nothing that workers know.

use serde::{Deserialize, Serialize};

use crate::control::reply::{ErrorCode, Failure};

/// The longest slow start: a day.
pub const MAX_SLOW_START_SECS: u32 = 86_400;

/// What becomes of a destination whose checks fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFail {
    /// Weight 0: its connections go on, nothing new comes.
    #[default]
    Quiesce,
    /// Taken out of the service, as if it had been deleted.
    Remove,
}

/// The policy of one service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What becomes of a destination whose checks fail.
    pub on_fail: OnFail,
    /// Seconds in which the weight of a destination that has come back grows from 1 to what it is by the rules; 0: at once.
    pub slow_start_secs: u32,
}

impl Policy {
    /// Is it the one that a service has unless another is given?
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what cannot be. The first of the pair is the key that is wrong.
    ///
    /// # Errors
    /// [`ErrorCode::OutOfRange`].
    pub fn check(&self) -> Result<(), (&'static str, Failure)> {
        if self.slow_start_secs > MAX_SLOW_START_SECS {
            let text = format!("a slow start of {} s cannot be; give 0 to {MAX_SLOW_START_SECS}", self.slow_start_secs);
            return Err(("slow_start", Failure::new(ErrorCode::OutOfRange, text)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_key() {
        let slow = |slow_start_secs| Policy { slow_start_secs, ..Policy::default() };
        for (policy, want) in [(slow(0), None), (slow(86_400), None), (slow(86_401), Some("slow_start"))] {
            assert_eq!(policy.check().err().map(|(key, _)| key), want, "{policy:?}");
        }
    }
}
