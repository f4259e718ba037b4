//! Settings of the kernel (Linux `Documentation/networking/ip-sysctl.rst`) that stand in a director's way: read, never written.

use std::path::Path;

/// Where the kernel shows its settings of the network.
const NET: &str = "/proc/sys/net";

/// Looks for settings that stand in the way of a director with these twins. Returns a sentence on each, for the log; a setting that
/// cannot be read is passed over.
pub fn check_sysctls(twins: &[&str]) -> Vec<String> {
    check(Path::new(NET), twins)
}

fn check(net: &Path, twins: &[&str]) -> Vec<String> {
    let read = |setting: &str| std::fs::read_to_string(net.join(setting)).ok()?.trim().parse::<i32>().ok();
    let mut found = Vec::new();
    for (family, setting) in [("IPv4", "ipv4/ip_forward"), ("IPv6", "ipv6/conf/all/forwarding")] {
        if read(setting) == Some(0) {
            found.push(format!(
                "{} is 0: {family} packets that are no service's are not routed for the real servers; set it to 1 if the director is \
                 their gateway",
                name(setting)
            ));
        }
    }
    let all = read("ipv4/conf/all/rp_filter").unwrap_or(0);
    for twin in twins {
        let own = format!("ipv4/conf/{twin}/rp_filter");
        // The kernel applies the larger of the two; 2 is the loose mode.
        if read(&own).is_some_and(|own| own.max(all) == 1) {
            found.push(format!(
                "{} is 1 (strict, by itself or by net.ipv4.conf.all.rp_filter): the kernel drops what reaches it by {twin} from \
                 sources that it routes elsewhere; set it to 2 if routing is asymmetric",
                name(&own)
            ));
        }
        let disabled = format!("ipv6/conf/{twin}/disable_ipv6");
        if read(&disabled) == Some(1) {
            found.push(format!(
                "{} is 1: no IPv6 neighbour is resolved and no IPv6 address held on {twin}",
                name(&disabled)
            ));
        }
    }
    found
}

/// The name that sysctl(8) knows the setting by; a dot within an interface's name is a slash there.
fn name(path: &str) -> String {
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        c => c,
    };
    std::iter::once("net.").flat_map(str::chars).chain(path.chars().map(swap)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with those settings.
    fn tree(settings: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, value) in settings {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{value}\n")).unwrap();
        }
        root
    }

    #[test]
    fn settings_that_stand_in_the_way_are_named() {
        let strict = [("ipv4/conf/all/rp_filter", "1"), ("ipv4/conf/twin0/rp_filter", "0")];
        let loose = [("ipv4/conf/all/rp_filter", "1"), ("ipv4/conf/twin0/rp_filter", "2")];
        for (settings, named) in [
            (&[][..], &[][..]),
            (&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")], &[]),
            (&[("ipv4/ip_forward", "0")], &["net.ipv4.ip_forward is 0"]),
            (&[("ipv6/conf/all/forwarding", "0")], &["net.ipv6.conf.all.forwarding is 0"]),
            (&strict, &["net.ipv4.conf.twin0.rp_filter is 1"]),
            (&loose, &[]),
            (&[("ipv6/conf/twin0/disable_ipv6", "1")], &["net.ipv6.conf.twin0.disable_ipv6 is 1"]),
            (&[("ipv6/conf/another/disable_ipv6", "1")], &[]),
        ] {
            let found = check(tree(settings).path(), &["twin0"]);
            assert_eq!(found.len(), named.len(), "{settings:?}: {found:?}");
            assert!(found.iter().zip(named).all(|(found, named)| found.starts_with(named)), "{settings:?}: {found:?}");
        }
    }

    #[test]
    fn a_dot_in_an_interfaces_name_is_a_slash_to_sysctl() {
        assert_eq!(name("ipv4/conf/eth0.100/rp_filter"), "net.ipv4.conf.eth0/100.rp_filter");
    }
}
