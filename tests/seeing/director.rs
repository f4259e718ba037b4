//! pollvsd with its rules alone, no privilege needed: killed and started again as a test wants it.
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::succeeds;

/// It runs until the value is dropped.
pub(super) struct Director {
    folder: PathBuf,
    /// Where its metrics are.
    pub(super) metrics: SocketAddr,
    child: Option<Child>,
}

impl Director {
    /// With its files in a folder.
    pub(super) fn start(folder: &Path) -> Self {
        let mut director = Self { folder: folder.into(), metrics: free_address(), child: None };
        director.begin();
        director
    }

    /// Starts it, again perhaps, and waits until it listens.
    pub(super) fn begin(&mut self) {
        let config = self.folder.join("pollvsd.toml");
        std::fs::write(&config, format!("[metrics]\nlisten = \"{}\"\n", self.metrics)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollvsd"));
        command.args(["--no-dataplane", "--state-dir"]).arg(&self.folder).arg("--config").arg(config);
        let mut child = command.env_remove("POLLVS_LOG").stderr(Stdio::piped()).spawn().unwrap();
        let mut words = BufReader::new(child.stderr.take().unwrap()).lines();
        let heard: Vec<_> = words.by_ref().map_while(Result::ok).take_while(|l| !l.contains("rules only")).collect();
        assert!(child.try_wait().unwrap().is_none(), "pollvsd has ended: {heard:?}");
        // What it says later is read, so that it never waits for a reader.
        std::thread::spawn(move || words.map_while(Result::ok).for_each(drop));
        self.child = Some(child);
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its control socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// Does `pollvs WORDS`, the words being one line.
    pub(super) fn pollvs(&self, line: &str) -> String {
        let words = line.split_whitespace();
        succeeds(Command::new(env!("CARGO_BIN_EXE_pollvs")).arg("--socket").arg(self.socket()).args(words))
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address that nobody listens on.
pub(super) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
