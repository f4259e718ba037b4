//! pollvsd as a program of a test, with its files in a folder: started, killed, stopped, asked.
use super::network::{Network, printed, signal};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

const POLLVSD: &str = env!("CARGO_BIN_EXE_pollvsd");
/// How long the steps of start and end take is said at level debug.
const LOG: &str = "pollvsd=debug,info";
const POLLVS: &str = env!("CARGO_BIN_EXE_pollvs");

/// One pollvsd, running or not.
pub(super) struct Director {
    /// The role whose namespace it runs in.
    pub(super) role: &'static str,
    folder: PathBuf,
    child: Option<Child>,
}

impl Director {
    /// One that is configured, and has not begun. Its files are in `folder`.
    pub(super) fn new(role: &'static str, folder: &Path, config: &str) -> Self {
        std::fs::write(folder.join("pollvsd.toml"), config).unwrap();
        Self { role, folder: folder.into(), child: None }
    }

    /// Its control socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// What `pollvs WORDS` prints; it must succeed.
    pub(super) fn pollvs(&self, words: &[&str]) -> String {
        printed(self.try_pollvs(words), words)
    }

    /// Begins `pollvs WORDS`, whose words to people go nowhere.
    pub(super) fn spawn_pollvs(&self, words: &[&str]) -> Child {
        let mut command = Command::new(POLLVS);
        command.arg("--socket").arg(self.socket()).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Listens to what happens from now on.
    pub(super) fn listen(&self) -> Events {
        Events::new(&self.socket())
    }

    /// Enters rules, each as one would type it after `ipvsadm`.
    pub(super) fn rules(&self, rules: &[&str]) {
        for rule in rules {
            let words: Vec<_> = ["ipvsadm"].into_iter().chain(rule.split_whitespace()).collect();
            self.pollvs(&words);
        }
    }

    /// Starts pollvsd and waits until it says that it is ready, in systemd's way; from then on it answers.
    pub(super) fn start(&mut self, network: &Network) {
        let config = self.folder.join("pollvsd.toml");
        let log = std::fs::File::options().append(true).create(true).open(self.log()).unwrap();
        let notified = self.folder.join("notify");
        let _ = std::fs::remove_file(&notified);
        let systemd = UnixDatagram::bind(&notified).unwrap();
        systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = network.inside(self.role, &[POLLVSD, "--config", config.to_str().unwrap()]);
        command.env("NOTIFY_SOCKET", notified).env("POLLVS_LOG", LOG);
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
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
        assert!(signal("HUP", self.child.as_ref().unwrap().id()));
    }

    /// Kills pollvsd with SIGKILL.
    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks pollvsd to end and waits for it.
    pub(super) fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        assert!(signal("TERM", child.id()));
        child.wait().unwrap()
    }

    /// Sends it a signal. Returns false when that fails.
    pub(super) fn signal(&self, name: &str) -> bool {
        signal(name, self.child.as_ref().unwrap().id())
    }

    /// Waits for it to end with its network.
    pub(super) fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// What becomes of `pollvs WORDS`.
    pub(super) fn try_pollvs(&self, words: &[&str]) -> Output {
        Command::new(POLLVS).arg("--socket").arg(self.socket()).args(words).output().unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("pollvsd.log")
    }

    /// What pollvsd has logged.
    pub(super) fn words(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

/// What a director tells of, line by line.
pub(super) struct Events(BufReader<UnixStream>);

impl Events {
    fn new(socket: &Path) -> Self {
        let mut events = Self(BufReader::new(UnixStream::connect(socket).unwrap()));
        writeln!(events.0.get_mut(), r#"{{"request":"events"}}"#).unwrap();
        // The greeting, and that it is done.
        for _ in 0..2 {
            events.0.read_line(&mut String::new()).unwrap();
        }
        events
    }

    /// Waits until something of this kind happens.
    pub(super) fn await_kind(&mut self, kind: &str, patience: Duration) {
        self.0.get_ref().set_read_timeout(Some(patience)).unwrap();
        let (wanted, mut told) = (format!(r#""kind":"{kind}""#), String::new());
        loop {
            let from = told.len();
            let read = self.0.read_line(&mut told);
            assert!(read.is_ok_and(|bytes| bytes > 0), "no {kind}; there was\n{told}");
            if told[from..].contains(&wanted) {
                return;
            }
        }
    }
}
