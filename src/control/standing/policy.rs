//! What is to be done as the destinations of a service come and go, as somebody wants it. Part of the rules, but nothing that workers know.

use serde::{Deserialize, Serialize};

use super::sorry::SorrySpec;
use crate::control::reply::{ErrorCode, Failure};
use crate::service::ServiceKey;

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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What becomes of a destination whose checks fail.
    pub on_fail: OnFail,
    /// Seconds in which the weight of a destination that has come back grows from 1 to what it is by the rules; 0: at once.
    pub slow_start_secs: u32,
    /// Weight that must be up, by the rules.
    pub quorum: u32,
    /// A quorum is lost with so much less, and back with so much more.
    pub hysteresis: u32,
    /// What takes everything new while there is no quorum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sorry: Option<SorrySpec>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { on_fail: OnFail::default(), slow_start_secs: 0, quorum: 1, hysteresis: 0, sorry: None }
    }
}

impl Policy {
    /// Is it the one that a service has unless another is given?
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what cannot be the policy of that service. The first of the pair is the key that is wrong.
    ///
    /// # Errors
    /// [`ErrorCode::OutOfRange`]; for the sorry server as for a destination.
    pub fn check(&self, key: &ServiceKey) -> Result<(), (&'static str, Failure)> {
        if self.slow_start_secs > MAX_SLOW_START_SECS {
            let text = format!("a slow start of {} s cannot be; give 0 to {MAX_SLOW_START_SECS}", self.slow_start_secs);
            return Err(("slow_start", Failure::new(ErrorCode::OutOfRange, text)));
        }
        if self.quorum == 0 {
            let text = "a quorum of 0 is none at all; give 1 or more";
            return Err(("quorum", Failure::new(ErrorCode::OutOfRange, text)));
        }
        if self.hysteresis >= self.quorum {
            let (hysteresis, quorum) = (self.hysteresis, self.quorum);
            let text = format!(
                "a hysteresis of {hysteresis} would never let a quorum of {quorum} be lost; give less than that"
            );
            return Err(("hysteresis", Failure::new(ErrorCode::OutOfRange, text)));
        }
        self.sorry.map_or(Ok(()), |sorry| sorry.check(key).map_err(|failure| ("sorry", failure)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_key() {
        for (policy, want) in [
            ("{}", None),
            (r#"{"slow_start_secs":86400}"#, None),
            (r#"{"slow_start_secs":86401}"#, Some("slow_start")),
            (r#"{"quorum":0}"#, Some("quorum")),
            (r#"{"quorum":3,"hysteresis":2}"#, None),
            (r#"{"hysteresis":1}"#, Some("hysteresis")),
            (r#"{"sorry":{"address":"198.51.100.9:80","method":"nat"}}"#, None),
            (r#"{"sorry":{"address":"224.0.0.1:80","method":"nat"}}"#, Some("sorry")),
            (r#"{"sorry":{"address":"[2001:db8::9]:80","method":"nat"}}"#, Some("sorry")),
            (r#"{"sorry":{"address":"[2001:db8::9]:80","method":"tun"}}"#, None),
        ] {
            let policy: Policy = serde_json::from_str(policy).unwrap();
            let wrong = policy.check(&"tcp:192.0.2.10:80".parse().unwrap());
            assert_eq!(wrong.err().map(|(key, _)| key), want, "{policy:?}");
        }
    }
}
