//! The log goes to journald where systemd has connected it, and to standard error everywhere else.
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use super::there_are;

const POLLVSD: &str = env!("CARGO_BIN_EXE_pollvsd");

#[test]
fn another_programs_journal_is_not_ours() {
    let output =
        Command::new(POLLVSD).args(["--config", "/nonexistent/x.toml"]).env("JOURNAL_STREAM", "1:2").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("ERROR") && said.contains("/nonexistent/x.toml: cannot be read"), "{said}");
}

/// A journald that is made up, at the place of the real one in a mount namespace of its own.
const JOURNALD: &str = r#"
mkdir -p /run/systemd/journal
mount -t tmpfs none /run/systemd/journal
exec python3 -c '
import os, socket, subprocess, sys
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
journal.settimeout(20)
at = os.fstat(2)
told = dict(os.environ, JOURNAL_STREAM="%d:%d" % (at.st_dev, at.st_ino))
subprocess.run([sys.argv[1], "--config", "/nonexistent/x.toml"], env=told)
message = b""
while b"MESSAGE" not in message:
    message = journal.recv(65536)
sys.stdout.buffer.write(message)
' "$0"
"#;

#[test]
fn what_is_said_under_systemd_is_in_the_journal_and_only_there() {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root || !there_are(&["unshare", "mount", "python3"]) {
        println!("skipped: a mount namespace needs root");
        return;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec", JOURNALD, POLLVSD])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut journal, mut errors) = (Vec::new(), String::new());
    child.stdout.take().unwrap().read_to_end(&mut journal).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success(), "{errors}");
    let journal = String::from_utf8_lossy(&journal);
    for words in ["/nonexistent/x.toml: cannot be read", "SYSLOG_IDENTIFIER\n", "pollvsd\n", "PRIORITY\n"] {
        assert!(journal.contains(words), "no {words:?} in {journal:?}");
    }
    assert_eq!(errors, "");
}
