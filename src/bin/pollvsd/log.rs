//! The log: to journald when systemd has connected standard error with it, else to standard error. `POLLVS_LOG` says how much
//! (`debug`, or `pollvs::control=debug,info`, as tracing-subscriber's `EnvFilter` reads it). Nothing of the data path writes to it.

use std::io::{IsTerminal as _, stderr};
use std::os::unix::fs::MetadataExt as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// Begins to log.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("POLLVS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let journal = is_journal().then(|| tracing_journald::layer().ok()).flatten();
    match journal {
        Some(journal) => registry.with(journal.with_syslog_identifier("pollvsd".to_owned())).init(),
        None => {
            let lines = fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).with_target(false);
            registry.with(lines).init();
        }
    }
}

/// Is standard error connected with journald? systemd.exec(5) has device and inode compared: a program in between may have put something
/// else in its place.
fn is_journal() -> bool {
    let Some(told) = std::env::var("JOURNAL_STREAM").ok().and_then(|text| device_and_inode(&text)) else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|own| (own.dev(), own.ino()) == told)
}

fn device_and_inode(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_is_read() {
        assert_eq!(device_and_inode("8:31337"), Some((8, 31337)));
        for wrong in ["", "8", "8:", ":1", "8:x", "8:1:2"] {
            assert_eq!(device_and_inode(wrong), None, "{wrong}");
        }
    }
}
