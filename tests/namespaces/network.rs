//! The network of config/demo/testbed.sh for a test: up while the value lives, one at a time, and gone with the test however
//! that ends, because the script that holds it waits for the end of a pipe.
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/testbed.sh");

/// Load on two cores disturbs whoever runs beside it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits for its turn among the tests that need the machine's network; `None`, with a word why, where they cannot run.
pub(super) fn turn() -> Option<MutexGuard<'static, ()>> {
    let reason = if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        "network namespaces need root"
    } else if cfg!(not(feature = "dpdk")) {
        "pollvsd is built without DPDK"
    } else {
        return Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
    };
    assert_ne!(std::env::var("POLLVS_NAMESPACE_TESTS").as_deref(), Ok("required"), "{reason}");
    println!("skipped: {reason}");
    None
}

/// Client, directors and three real servers, each in a namespace.
pub(super) struct Network {
    name: String,
    folder: PathBuf,
    holder: Child,
    stdin: Option<ChildStdin>,
    _turn: MutexGuard<'static, ()>,
}

impl Network {
    /// Makes the network, as `testbed.sh hold WORDS` does; `None` where that is impossible.
    pub(super) fn hold(words: &[&str]) -> Option<Self> {
        let turn = turn()?;
        let mut holder = script(&["hold"]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = holder.stdin.take();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut words = line.split_whitespace().skip(1).map(String::from);
        let (name, folder) =
            words.next().zip(words.next()).expect("the test bed says its name and folder when it is ready");
        Some(Self { name, folder: folder.into(), holder, stdin, _turn: turn })
    }

    /// Where the programs of the network keep their files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the names of its namespaces begin with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A command in the namespace of a role.
    pub(super) fn inside(&self, role: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{role}", self.name)]).args(words).stdin(Stdio::null());
        command
    }

    /// What a command in the namespace of a role prints; it must succeed.
    pub(super) fn run(&self, role: &str, words: &[&str]) -> String {
        printed(self.inside(role, words).output().unwrap(), words)
    }

    /// How many requests whose path ends in `path` a real server has logged.
    pub(super) fn requests_of(&self, role: &str, path: &str) -> usize {
        let log = std::fs::read_to_string(self.folder.join(role).join("access.log")).unwrap();
        log.lines().filter(|line| line.ends_with(path)).count()
    }

    /// pollvsd's configuration, as `testbed.sh config` prints it for files in a folder.
    pub(super) fn config(folder: &Path, workers: usize) -> String {
        let output = script(&["config", folder.to_str().unwrap(), &workers.to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Puts the director's addresses on its twins; false while these are not there.
pub(super) fn give_addresses(name: &str) -> bool {
    script(&["addresses", name]).output().unwrap().status.success()
}

/// Tries every few milliseconds until it succeeds; false when it never does.
pub(super) fn within(limit: Duration, mut succeeds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !succeeds() {
        if start.elapsed() > limit {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
    true
}

/// Sends a signal by the shell's own `kill`; the program of that name is not everywhere.
pub(super) fn signal(name: &str, id: u32) -> bool {
    Command::new("bash").args(["-c", "kill -s \"$0\" \"$1\"", name, &id.to_string()]).status().unwrap().success()
}

fn script(words: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.arg(SCRIPT).args(words);
    command
}

/// What a program has printed; it must have succeeded.
pub(super) fn printed(output: Output, words: &[&str]) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?} failed: {out}{err}");
    out.into_owned()
}
