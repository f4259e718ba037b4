//! The network of config/demo/testbed.sh for a test: up while the value lives, one at a time, and gone with the test however
//! that ends, because the script that holds it waits for the end of a pipe.
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/testbed.sh");
const POLLVSD: &str = env!("CARGO_BIN_EXE_pollvsd");
const POLLVS: &str = env!("CARGO_BIN_EXE_pollvs");

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

/// Client, director and three real servers, with pollvsd on the director.
pub(super) struct TestBed {
    name: String,
    folder: PathBuf,
    holder: Child,
    stdin: Option<ChildStdin>,
    director: Option<Child>,
    _turn: MutexGuard<'static, ()>,
}

impl TestBed {
    /// Makes the network and starts pollvsd in it; `None` where that is impossible.
    pub(super) fn with_workers(workers: usize) -> Option<Self> {
        let turn = turn()?;
        let mut holder = script(&["hold"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = holder.stdin.take();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut words = line.split_whitespace().skip(1).map(String::from);
        let (name, folder) =
            words.next().zip(words.next()).expect("the test bed says its name and folder when it is ready");
        let mut bed = Self { name, folder: folder.into(), holder, stdin, director: None, _turn: turn };
        let config = script(&["config", bed.folder().to_str().unwrap(), &workers.to_string()]).output().unwrap();
        std::fs::write(bed.folder.join("pollvsd.toml"), config.stdout).unwrap();
        bed.start_director();
        assert!(give_addresses(&bed.name), "pollvsd has made no twins; it says:\n{}", bed.words());
        Some(bed)
    }

    /// Where the programs of the network keep their files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
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

    /// What `pollvs WORDS` prints; it must succeed.
    pub(super) fn pollvs(&self, words: &[&str]) -> String {
        printed(self.try_pollvs(words), words)
    }

    /// Enters rules, each as one would type it after `ipvsadm`.
    pub(super) fn rules(&self, rules: &[&str]) {
        for rule in rules {
            let words: Vec<_> = ["ipvsadm"].into_iter().chain(rule.split_whitespace()).collect();
            self.pollvs(&words);
        }
    }

    /// How many requests whose path ends in `path` a real server has logged.
    pub(super) fn requests_of(&self, role: &str, path: &str) -> usize {
        let log = std::fs::read_to_string(self.folder.join(role).join("access.log")).unwrap();
        log.lines().filter(|line| line.ends_with(path)).count()
    }

    /// Starts pollvsd and waits until it says that it is ready, in systemd's way; from then on it answers.
    pub(super) fn start_director(&mut self) {
        let config = self.folder.join("pollvsd.toml");
        let log = std::fs::File::options().append(true).create(true).open(self.log()).unwrap();
        let notified = self.folder.join("notify");
        let _ = std::fs::remove_file(&notified);
        let systemd = UnixDatagram::bind(&notified).unwrap();
        systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = self.inside("director", &[POLLVSD, "--config", config.to_str().unwrap()]);
        command.env("NOTIFY_SOCKET", notified);
        self.director = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let mut word = [0; 64];
        let length = systemd.recv(&mut word).unwrap_or_default();
        assert!(word[..length].starts_with(b"READY=1"), "pollvsd is not ready; it says:\n{}", self.words());
        self.pollvs(&["status"]);
    }

    /// Adds to the configuration and tells pollvsd to read it again, with SIGHUP.
    pub(super) fn reload_with(&self, addition: &str) {
        let config = self.folder.join("pollvsd.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("{text}\n{addition}")).unwrap();
        assert!(signal("HUP", self.director.as_ref().unwrap().id()));
    }

    /// Kills pollvsd with SIGKILL.
    pub(super) fn kill_director(&mut self) {
        let mut director = self.director.take().unwrap();
        director.kill().unwrap();
        director.wait().unwrap();
    }

    /// Asks pollvsd to end and waits for it.
    pub(super) fn stop_director(&mut self) -> std::process::ExitStatus {
        let mut director = self.director.take().unwrap();
        assert!(signal("TERM", director.id()));
        director.wait().unwrap()
    }

    /// What the names of its namespaces begin with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn try_pollvs(&self, words: &[&str]) -> Output {
        Command::new(POLLVS).arg("--socket").arg(self.folder.join("control.sock")).args(words).output().unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("pollvsd.log")
    }

    /// What pollvsd has logged.
    pub(super) fn words(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for TestBed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("pollvsd said:\n{}", self.words());
        }
        drop(self.stdin.take());
        let _ = self.holder.wait();
        if let Some(mut director) = self.director.take() {
            let _ = director.wait();
        }
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

fn printed(output: Output, words: &[&str]) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?} failed: {out}{err}");
    out.into_owned()
}
