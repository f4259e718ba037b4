//! `net.ipv4.vs.*` as the kernel lists it. Those that pollvs has change its settings; the others keep their value and do nothing here
//! (synchronisation, connection tracking, defences that need the kernel's memory figures).

use serde_json::Value;

use crate::settings::Settings;

/// Every sysctl of the directory with its value at start, in the order of a listing.
const DEFAULTS: [(&str, &str); 30] = [
    ("am_droprate", "10"),
    ("amemthresh", "1024"),
    ("backup_only", "0"),
    ("cache_bypass", "0"),
    ("conn_reuse_mode", "1"),
    ("conntrack", "0"),
    ("debug_level", "0"),
    ("drop_entry", "0"),
    ("drop_packet", "0"),
    ("expire_nodest_conn", "0"),
    ("expire_quiescent_template", "0"),
    ("ignore_tunneled", "0"),
    ("lblc_expiration", "86400"),
    ("lblcr_expiration", "86400"),
    ("nat_icmp_send", "0"),
    ("pmtu_disc", "1"),
    ("run_estimation", "1"),
    ("schedule_icmp", "0"),
    ("secure_tcp", "0"),
    ("sloppy_sctp", "0"),
    ("sloppy_tcp", "0"),
    ("snat_reroute", "1"),
    ("sync_persist_mode", "0"),
    ("sync_ports", "1"),
    ("sync_qlen_max", "1024"),
    ("sync_refresh_period", "0"),
    ("sync_retries", "0"),
    ("sync_sock_size", "0"),
    ("sync_threshold", "3\t50"),
    ("sync_version", "1"),
];

/// The names, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DEFAULTS.iter().map(|(name, _)| *name)
}

/// The values now.
#[derive(Clone, Debug)]
pub(crate) struct Sysctls(Vec<(&'static str, String)>);

impl Default for Sysctls {
    fn default() -> Self {
        Self(DEFAULTS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }
}

impl Sysctls {
    /// The value of one.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// Sets one, in the settings too if they have it. Returns false when there is none of that name.
    pub(crate) fn set(&mut self, name: &str, value: &str, settings: &mut Settings) -> bool {
        let Some(entry) = self.0.iter_mut().find(|(n, _)| *n == name) else { return false };
        entry.1 = value.to_owned();
        if let Some(changed) = changed(settings, name, value) {
            *settings = changed;
        }
        true
    }
}

/// The settings with one of them changed, by its name.
fn changed(settings: &Settings, name: &str, value: &str) -> Option<Settings> {
    let mut all = serde_json::to_value(settings).ok()?;
    let field = all.get_mut(name)?;
    let number: u64 = value.trim().parse().ok()?;
    *field = if field.is_boolean() { Value::Bool(number != 0) } else { Value::from(number) };
    serde_json::from_value(all).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_changes_the_setting_of_its_name() {
        let (mut sysctls, mut settings) = (Sysctls::default(), Settings::default());
        assert!(sysctls.set("conn_reuse_mode", "0", &mut settings));
        assert!(sysctls.set("expire_nodest_conn", "1", &mut settings));
        assert_eq!((settings.conn_reuse_mode, settings.expire_nodest_conn), (0, true));
        assert_eq!(sysctls.value("expire_nodest_conn"), Some("1"));
        assert!(!sysctls.set("nosuch", "1", &mut settings));
    }

    #[test]
    fn every_setting_that_the_kernel_has_starts_with_the_kernels_value() {
        for (name, value) in DEFAULTS {
            assert!(changed(&Settings::default(), name, value).is_none_or(|s| s == Settings::default()), "{name}");
        }
    }
}
