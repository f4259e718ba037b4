//! The rules as somebody wants them, by name and not by index: what a file holds, what is persisted, and what [`Store::apply`]
//! takes.
//!
//! [`Store::apply`]: crate::control::store::Store::apply

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::daemon::DaemonSpec;
use crate::control::health::rules::ServiceChecks;
use crate::control::reply::{ErrorCode, Failure};
use crate::control::request::{DestinationSpec, ServiceSpec, SettingValue};
use crate::control::standing::Policy;
use crate::control::standing::drain::Draining;
use crate::mark::MarkRules;
use crate::service::ServiceKey;
use crate::settings::Settings;

/// Services, destinations and settings.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSet {
    /// Switches and time-outs.
    #[serde(default)]
    pub settings: Settings,
    /// What sets firewall marks.
    #[serde(default, skip_serializing_if = "MarkRules::is_empty")]
    pub marks: MarkRules,
    /// In order of creation.
    #[serde(default)]
    pub services: Vec<ServiceRules>,
    /// Synchronisation daemons, which only the socket starts and stops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub daemons: Vec<DaemonSpec>,
}

/// One service with its destinations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRules {
    /// The service.
    pub service: ServiceSpec,
    /// What is to be done as its destinations come and go.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// How they are checked.
    #[serde(default, skip_serializing_if = "ServiceChecks::is_empty")]
    pub checks: ServiceChecks,
    /// Oldest first, as they are to be added.
    #[serde(default)]
    pub destinations: Vec<DestinationSpec>,
    /// Those among them that are drained, which only the socket begins and ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<Draining>,
}

impl RuleSet {
    fn find(&self, key: &ServiceKey) -> Option<&ServiceRules> {
        self.services.iter().find(|s| s.service.service == *key)
    }

    /// What `self` becomes when a file that said `old` now says `new`: only what changed in the file changes here, so that what
    /// others have added by the socket stays.
    #[must_use]
    pub fn overlay(mut self, old: &Self, new: &Self) -> Self {
        self.settings = overlay_settings(&self.settings, &old.settings, &new.settings);
        overlay_marks(&mut self.marks, &old.marks, &new.marks);
        let gone = |key: &ServiceKey| old.find(key).is_some() && new.find(key).is_none();
        self.services.retain(|s| !gone(&s.service.service));
        for wanted in &new.services {
            let before = old.find(&wanted.service.service);
            if before == Some(wanted) {
                continue;
            }
            match self.services.iter_mut().find(|s| s.service.service == wanted.service.service) {
                Some(here) => here.overlay(before, wanted),
                None => self.services.push(wanted.clone()),
            }
        }
        self
    }
}

impl ServiceRules {
    fn find(&self, address: SocketAddr) -> Option<&DestinationSpec> {
        self.destinations.iter().find(|d| d.address == address)
    }

    fn overlay(&mut self, old: Option<&Self>, new: &Self) {
        if old.is_none_or(|o| o.service != new.service) {
            self.service.clone_from(&new.service);
        }
        if old.is_none_or(|o| o.policy != new.policy) {
            self.policy.clone_from(&new.policy);
        }
        let was = |address| old.and_then(|o| o.find(address));
        self.destinations.retain(|d| was(d.address).is_none() || new.find(d.address).is_some());
        for wanted in &new.destinations {
            if was(wanted.address) == Some(wanted) {
                continue;
            }
            match self.destinations.iter_mut().find(|d| d.address == wanted.address) {
                Some(here) => here.clone_from(wanted),
                None => self.destinations.push(wanted.clone()),
            }
        }
        self.checks.overlay(old.map(|o| &o.checks), &new.checks);
        // What goes takes its check along.
        let Self { checks, destinations, .. } = self;
        checks.destinations.retain(|address, _| destinations.iter().any(|d| d.address == *address));
    }
}

/// The order of mark rules counts, so that a chain is taken from the file whole, if the file changed it.
fn overlay_marks(here: &mut MarkRules, old: &MarkRules, new: &MarkRules) {
    for v6 in [false, true] {
        if old.of(v6) != new.of(v6) {
            new.of(v6).clone_into(here.of_mut(v6));
        }
    }
}

fn overlay_settings(here: &Settings, old: &Settings, new: &Settings) -> Settings {
    let mut result = tree(here);
    overlay_values(&mut result, &tree(old), &tree(new));
    serde_json::from_value(result).expect("each value is one of a Settings")
}

fn tree(settings: &Settings) -> Value {
    serde_json::to_value(settings).expect("numbers and truth values always have a JSON form")
}

fn overlay_values(here: &mut Value, old: &Value, new: &Value) {
    match (here, old, new) {
        (Value::Object(here), Value::Object(old), Value::Object(new)) => {
            for (name, value) in here.iter_mut() {
                overlay_values(value, &old[name], &new[name]);
            }
        }
        (here, old, new) if old != new => *here = new.clone(),
        _ => {}
    }
}

/// The settings with one of them changed, by its sysctl name.
///
/// # Errors
/// [`ErrorCode::UnknownSetting`], [`ErrorCode::OutOfRange`].
pub fn with_setting(settings: &Settings, name: &str, value: SettingValue) -> Result<Settings, Failure> {
    let mut all = tree(settings);
    let Some(slot) = all.get_mut(name).filter(|v| !v.is_object()) else {
        return Err(Failure::new(ErrorCode::UnknownSetting, format!("no setting {name:?}; {}", names(settings))));
    };
    *slot = match value {
        // Of two numbers, one changes the first.
        SettingValue::Number(number) => match slot.as_array().and_then(|pair| pair.get(1)) {
            Some(second) => Value::Array(vec![number.into(), second.clone()]),
            None => number.into(),
        },
        SettingValue::Switch(on) => on.into(),
        SettingValue::Pair(pair) => pair.to_vec().into(),
    };
    serde_json::from_value(all).map_err(|e| Failure::new(ErrorCode::OutOfRange, format!("{name}: {e}")))
}

fn names(settings: &Settings) -> String {
    let all = tree(settings);
    let names = all.as_object().into_iter().flatten().filter(|(_, v)| !v.is_object());
    format!("there are {}", names.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> RuleSet {
        serde_json::from_str(text).unwrap()
    }

    fn service(port: u16, destinations: &str) -> String {
        format!(r#"{{"service":{{"service":"tcp:192.0.2.1:{port}"}},"destinations":[{destinations}]}}"#)
    }

    fn destination(last: u8, weight: u32) -> String {
        format!(r#"{{"address":"10.0.0.{last}:80","weight":{weight}}}"#)
    }

    fn file(services: &[String]) -> RuleSet {
        rules(&format!(r#"{{"services":[{}]}}"#, services.join(",")))
    }

    #[test]
    fn only_what_changed_in_the_file_changes() {
        let (a, b, c) = (destination(1, 1), destination(2, 1), destination(3, 1));
        let old = file(&[service(80, &format!("{a},{b}")), service(81, "")]);
        let new = file(&[service(80, &format!("{},{c}", destination(1, 9))), service(82, "")]);
        // By the socket, 83 and the destination 4 were added and b was weighted 7.
        let here = file(&[
            service(80, &format!("{a},{},{}", destination(2, 7), destination(4, 1))),
            service(81, ""),
            service(83, ""),
        ]);
        let want = file(&[
            service(80, &format!("{},{},{c}", destination(1, 9), destination(4, 1))),
            service(83, ""),
            service(82, ""),
        ]);
        assert_eq!(here.overlay(&old, &new), want);
    }

    #[test]
    fn what_was_deleted_by_the_socket_stays_deleted_while_the_file_says_the_same() {
        let old = file(&[service(80, ""), service(81, "")]);
        assert_eq!(file(&[]).overlay(&old, &old), file(&[]));
    }

    #[test]
    fn a_setting_is_taken_from_the_file_only_when_the_file_changed_it() {
        let old = RuleSet::default();
        let mut new = RuleSet::default();
        new.settings.timeouts.tcp = 60;
        let mut here = RuleSet::default();
        here.settings.timeouts.udp = 7;
        let merged = here.overlay(&old, &new).settings;
        assert_eq!((merged.timeouts.tcp, merged.timeouts.udp), (60, 7));
    }

    #[test]
    fn settings_are_known_by_their_sysctl_names() {
        let settings = Settings::default();
        let set = |name, value: &str| with_setting(&settings, name, value.parse().unwrap());
        assert_eq!(set("conn_reuse_mode", "0").unwrap().conn_reuse_mode, 0);
        assert!(set("expire_nodest_conn", "1").unwrap().expire_nodest_conn);
        assert!(set("expire_nodest_conn", "-7").unwrap().expire_nodest_conn);
        assert!(!set("pmtu_disc", "false").unwrap().pmtu_disc);
        assert_eq!(set("sync_threshold", "0\t7").unwrap().sync_threshold, [0, 7]);
        assert_eq!(set("sync_threshold", "7").unwrap().sync_threshold, [7, 50]);
        assert_eq!(set("lblc_expiration", "-1").unwrap().lblc_expiration, -1);
        assert_eq!(set("sync_qlen_max", "2147483648").unwrap().sync_qlen_max, 1 << 31);
    }

    #[test]
    fn what_the_kernel_refuses_is_refused_with_the_range() {
        for (name, value, code, words) in [
            ("expire_nodest_conn", "2147483648", ErrorCode::OutOfRange, "true or false"),
            ("conn_reuse_mode", "2147483648", ErrorCode::OutOfRange, "conn_reuse_mode"),
            ("drop_entry", "4", ErrorCode::OutOfRange, "drop_entry: 4 cannot be; give 0 to 3"),
            ("drop_packet", "-1", ErrorCode::OutOfRange, "0 to 3"),
            ("secure_tcp", "4", ErrorCode::OutOfRange, "0 to 3"),
            ("sync_version", "2", ErrorCode::OutOfRange, "0 to 1"),
            ("sync_retries", "4", ErrorCode::OutOfRange, "0 to 3"),
            ("sync_ports", "3", ErrorCode::OutOfRange, "1, 2, 4, 8"),
            ("sync_qlen_max", "-1", ErrorCode::OutOfRange, "0 to"),
            ("sync_ports", "0", ErrorCode::OutOfRange, "1, 2, 4, 8"),
            ("sync_threshold", "5 5", ErrorCode::OutOfRange, "the first is less"),
            ("sync_threshold", "-1 5", ErrorCode::OutOfRange, "the first is less"),
            ("lblc_expiration", "21474837", ErrorCode::OutOfRange, "-21474836 to 21474836"),
            ("timeouts", "1", ErrorCode::UnknownSetting, "there are am_droprate, "),
            ("nosuch", "1", ErrorCode::UnknownSetting, "no setting \"nosuch\""),
        ] {
            let failure = with_setting(&Settings::default(), name, value.parse().unwrap()).unwrap_err();
            assert_eq!(failure.code, code, "{name}={value}");
            assert!(failure.message.contains(words), "{name}={value}: {}", failure.message);
        }
    }
}
