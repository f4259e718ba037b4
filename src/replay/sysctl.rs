//! `net.ipv4.vs.*` as the kernel lists it: numbers, of which a switch keeps whatever it was given.

use crate::control::rule_set::with_setting;
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

/// Sysctls of the stack that the stand-in behaves by, with the values that it behaves by; an interface's under the name of any.
const STACK: [&str; 9] = [
    "net.ipv4.ip_forward=1",
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv4.conf.*.forwarding=1",
    "net.ipv4.conf.*.rp_filter=0",
    "net.ipv4.conf.*.send_redirects=0",
    "net.ipv6.conf.*.forwarding=1",
    "net.ipv6.conf.*.accept_ra=0",
    "net.ipv6.conf.*.accept_dad=0",
    "net.ipv6.icmp.ratelimit=0",
];

/// Does an assignment only say what the stand-in does anyway?
pub(crate) fn is_stacks(assignment: &str) -> bool {
    let says = |pattern: &&str| match pattern.split_once('*') {
        Some((before, after)) => assignment.starts_with(before) && assignment.ends_with(after),
        None => assignment == *pattern,
    };
    STACK.iter().any(says)
}

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

    /// Sets one, in the settings too. Refuses what the kernel refuses; then nothing has changed.
    pub(crate) fn set(&mut self, name: &str, value: &str, settings: &mut Settings) -> Result<(), Refusal> {
        let entry = self.0.iter_mut().find(|(n, _)| *n == name).ok_or(Refusal::Unknown)?;
        let parsed = value.trim().parse().map_err(|_| Refusal::Invalid)?;
        *settings = with_setting(settings, name, parsed).map_err(|_| Refusal::Invalid)?;
        entry.1 = match name {
            "sync_threshold" => settings.sync_threshold.map(|n| n.to_string()).join("\t"),
            _ => value.trim().to_owned(),
        };
        Ok(())
    }
}

/// Why a sysctl cannot be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// There is none of that name.
    Unknown,
    /// The kernel does not take the value.
    Invalid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_changes_the_setting_of_its_name() {
        let (mut sysctls, mut settings) = (Sysctls::default(), Settings::default());
        for (name, value) in [("conn_reuse_mode", "0"), ("expire_nodest_conn", "5"), ("sync_threshold", "4 60")] {
            assert_eq!(sysctls.set(name, value, &mut settings), Ok(()), "{name}");
        }
        assert_eq!((settings.conn_reuse_mode, settings.expire_nodest_conn), (0, true));
        assert_eq!((sysctls.value("expire_nodest_conn"), sysctls.value("sync_threshold")), (Some("5"), Some("4\t60")));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let (mut sysctls, mut settings) = (Sysctls::default(), Settings::default());
        for (name, value, why) in [
            ("nosuch", "1", Refusal::Unknown),
            ("icmp_msgs_per_sec", "1", Refusal::Unknown),
            ("drop_entry", "4", Refusal::Invalid),
            ("drop_entry", "often", Refusal::Invalid),
        ] {
            assert_eq!(sysctls.set(name, value, &mut settings), Err(why), "{name}");
        }
        assert_eq!((settings, sysctls.value("drop_entry")), (Settings::default(), Some("0")));
    }

    #[test]
    fn every_sysctl_of_the_kernel_is_a_setting_and_starts_with_the_kernels_value() {
        for (name, value) in DEFAULTS {
            let mut settings = Settings::default();
            assert_eq!(Sysctls::default().set(name, value, &mut settings), Ok(()), "{name}");
            assert_eq!(settings, Settings::default(), "{name}");
        }
    }
}
