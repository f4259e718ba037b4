//! One director between clients and servers.
use super::director::{Director, Events};
use super::network::Network;
pub(super) use super::network::{give_addresses, signal, turn, within};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output};

/// Client, director and three real servers, with pollvsd on the director.
pub(super) struct TestBed {
    /// Dropped first, for its end is pollvsd's.
    network: Option<Network>,
    director: Director,
}

impl TestBed {
    /// Makes the network and starts pollvsd in it; `None` where that is impossible.
    pub(super) fn with_workers(workers: usize) -> Option<Self> {
        Self::configured(workers, "")
    }

    /// The same, with more in the configuration.
    pub(super) fn configured(workers: usize, more: &str) -> Option<Self> {
        let network = Network::hold(&[])?;
        let config = Network::config(network.folder(), workers) + "\n" + more;
        let director = Director::new("director", network.folder(), &config);
        let mut bed = Self { network: Some(network), director };
        bed.start_director();
        assert!(give_addresses(bed.name()), "pollvsd has made no twins; it says:\n{}", bed.words());
        Some(bed)
    }

    fn network(&self) -> &Network {
        self.network.as_ref().expect("it is there until the end")
    }

    /// Where the programs of the network keep their files.
    pub(super) fn folder(&self) -> &Path {
        self.network().folder()
    }

    /// A command in the namespace of a role.
    pub(super) fn inside(&self, role: &str, words: &[&str]) -> Command {
        self.network().inside(role, words)
    }

    /// What a command in the namespace of a role prints; it must succeed.
    pub(super) fn run(&self, role: &str, words: &[&str]) -> String {
        self.network().run(role, words)
    }

    /// What `pollvs WORDS` prints; it must succeed.
    pub(super) fn pollvs(&self, words: &[&str]) -> String {
        self.director.pollvs(words)
    }

    /// What becomes of `pollvs WORDS`.
    pub(super) fn try_pollvs(&self, words: &[&str]) -> Output {
        self.director.try_pollvs(words)
    }

    /// Begins `pollvs WORDS`, whose words to people go nowhere.
    pub(super) fn spawn_pollvs(&self, words: &[&str]) -> Child {
        self.director.spawn_pollvs(words)
    }

    /// Listens to what happens from now on.
    pub(super) fn listen(&self) -> Events {
        self.director.listen()
    }

    /// Enters rules, each as one would type it after `ipvsadm`.
    pub(super) fn rules(&self, rules: &[&str]) {
        self.director.rules(rules);
    }

    /// How many requests whose path ends in `path` a real server has logged.
    pub(super) fn requests_of(&self, role: &str, path: &str) -> usize {
        self.network().requests_of(role, path)
    }

    /// Starts pollvsd and waits until it says that it is ready, in systemd's way; from then on it answers.
    pub(super) fn start_director(&mut self) {
        self.director.start(self.network.as_ref().expect("it is there until the end"));
    }

    /// Adds to the configuration and tells pollvsd to read it again, with SIGHUP.
    pub(super) fn reload_with(&self, addition: &str) {
        self.director.reload_with(addition);
    }

    /// Kills pollvsd with SIGKILL.
    pub(super) fn kill_director(&mut self) {
        self.director.kill();
    }

    /// Asks pollvsd to end and waits for it.
    pub(super) fn stop_director(&mut self) -> ExitStatus {
        self.director.stop()
    }

    /// What the names of its namespaces begin with.
    pub(super) fn name(&self) -> &str {
        self.network().name()
    }

    /// What pollvsd has logged.
    pub(super) fn words(&self) -> String {
        self.director.words()
    }
}

impl Drop for TestBed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("pollvsd said:\n{}", self.words());
        }
        self.network = None;
        self.director.end();
    }
}
