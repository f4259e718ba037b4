//! Two directors, each with pollvsd and keepalived, on the same networks, by the examples of config/keepalived.
use super::director::Director;
use super::network::{Network, signal, within};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/keepalived/");
const POLLVS: &str = env!("CARGO_BIN_EXE_pollvs");
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/");

/// The virtual address that says who is master.
pub(super) const VIP: &str = "192.0.2.10";
/// Long enough for an election on a busy machine, which takes up to 4 s (three advertisements of 1 s, and the skew).
pub(super) const ELECTION: Duration = Duration::from_secs(15);

/// Of the example addresses only: no virtual server, no synchronisation.
pub(super) fn only_vrrp(text: String) -> String {
    let (vrrp, _) = text.split_once("# Masquerading").unwrap();
    vrrp.lines().filter(|line| !line.contains("lvs_sync_daemon")).map(|line| format!("{line}\n")).collect()
}

/// keepalived as a program of a test.
struct Keepalived {
    child: Child,
}

/// A director and its keepalived.
pub(super) struct Member {
    /// pollvsd.
    pub(super) director: Director,
    keepalived: Option<Keepalived>,
    config: PathBuf,
    id: &'static str,
}

/// The pair.
pub(super) struct Pair {
    /// Dropped first, for its end is everybody's.
    network: Option<Network>,
    /// `director1` and `director2` of the example.
    pub(super) members: [Member; 2],
    /// Servers that a test has started.
    servers: Vec<Child>,
}

impl Pair {
    /// Makes the network and starts the first `count` members; `None` where that is impossible. `change` is made to the example of
    /// keepalived's configuration.
    pub(super) fn start(count: usize, change: impl Fn(String) -> String) -> Option<Self> {
        let network = Network::hold(&["pair"])?;
        let member = |(role, id): (&'static str, &'static str), number: usize| {
            let folder = network.folder().join(id);
            std::fs::create_dir(&folder).unwrap();
            let director = Director::new(role, &folder, &pollvsd_config(&folder, number));
            let config = folder.join("keepalived.conf");
            std::fs::write(&config, change(keepalived_config(&director))).unwrap();
            Member { director, keepalived: None, config, id }
        };
        let members = [member(("director", "director1"), 0), member(("standby", "director2"), 1)];
        let mut pair = Self { network: Some(network), members, servers: Vec::new() };
        for at in 0..count {
            pair.start_director(at);
            pair.start_keepalived(at);
        }
        Some(pair)
    }

    pub(super) fn network(&self) -> &Network {
        self.network.as_ref().expect("it is there until the end")
    }

    /// Starts pollvsd of a member and waits until it forwards.
    pub(super) fn start_director(&mut self, at: usize) {
        let network = self.network.as_ref().expect("it is there until the end");
        self.members[at].director.start(network);
    }

    /// Starts keepalived of a member.
    pub(super) fn start_keepalived(&mut self, at: usize) {
        let network = self.network.as_ref().expect("it is there until the end");
        self.members[at].start_keepalived(network);
    }

    /// Asks keepalived of a member to end, and waits for it.
    pub(super) fn stop_keepalived(&mut self, at: usize) {
        let mut keepalived = self.members[at].keepalived.take().unwrap();
        assert!(signal("TERM", keepalived.child.id()));
        keepalived.child.wait().unwrap();
    }

    /// A member's machine dies: pollvsd and keepalived are killed, and nothing is left of the twins.
    pub(super) fn die(&mut self, at: usize) {
        let network = self.network.as_ref().expect("it is there until the end");
        self.members[at].die(network);
    }

    /// A command in the namespace of a role.
    pub(super) fn inside(&self, role: &str, words: &[&str]) -> Command {
        self.network().inside(role, words)
    }

    /// What a command in the namespace of a member prints.
    pub(super) fn run(&self, at: usize, words: &[&str]) -> String {
        self.network().run(self.members[at].director.role, words)
    }

    /// Has the member the virtual addresses?
    pub(super) fn has_addresses(&self, at: usize) -> bool {
        let addresses = self.run(at, &["ip", "-brief", "address", "show"]);
        let on = |twin: &str, address: &str| {
            let line = addresses.lines().find(|line| line.starts_with(twin)).unwrap_or_default();
            line.split_whitespace().any(|word| word == address)
        };
        on("twin-outside", &format!("{VIP}/32")) && on("twin-inside", "198.51.100.1/24")
    }

    /// Waits until one member has the virtual addresses and the other has none, and a client is answered.
    pub(super) fn await_master(&self, master: usize) {
        let done = || self.has_addresses(master) && !self.has_addresses(1 - master) && self.answers();
        assert!(
            within(ELECTION, done),
            "{} does not become the only master\n{}",
            self.members[master].id,
            self.words()
        );
    }

    /// Does the virtual address answer a client?
    pub(super) fn answers(&self) -> bool {
        let url = format!("http://{VIP}/");
        self.inside("client", &["curl", "-s", "-o", "/dev/null", "--max-time", "1", &url]).status().unwrap().success()
    }

    /// The MAC address that the client sends frames for the virtual address to.
    pub(super) fn mac_for_client(&self) -> String {
        let shown = self.network().run("client", &["ip", "neighbour", "show", VIP]);
        shown.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap_or_default().to_owned()
    }

    /// The MAC address of a member's outside port.
    pub(super) fn mac_of(&self, at: usize) -> String {
        self.run(at, &["cat", "/sys/class/net/outside/address"]).trim().to_owned()
    }

    /// Starts a script of this folder at the client; it runs until its stdin ends.
    pub(super) fn client_script(&self, script: &str, words: &[&str]) -> Script {
        let path = format!("{HERE}{script}");
        let words: Vec<_> = ["python3", &path].iter().chain(words).copied().collect();
        let mut command = self.inside("client", &words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        Script { child, stdin }
    }

    /// Starts a program in the namespace of a role; it ends with the network.
    pub(super) fn serve(&mut self, role: &str, words: &[&str]) {
        let server = self.inside(role, words).stderr(Stdio::null()).spawn().unwrap();
        self.servers.push(server);
    }

    /// Has keepalived of a member said that so many times?
    pub(super) fn has_logged(&self, at: usize, words: &str, times: usize) -> bool {
        std::fs::read_to_string(self.members[at].log()).unwrap_or_default().matches(words).count() >= times
    }

    /// What all programs have logged.
    pub(super) fn words(&self) -> String {
        let mut words = String::new();
        for member in &self.members {
            let keepalived = std::fs::read_to_string(member.log()).unwrap_or_default();
            let _ =
                writeln!(words, "--- {}: pollvsd\n{}--- keepalived\n{keepalived}", member.id, member.director.words());
        }
        words
    }
}

impl Member {
    /// keepalived in the foreground, with its own files; the words of its processes go to a log.
    fn start_keepalived(&mut self, network: &Network) {
        let log = std::fs::File::options().append(true).create(true).open(self.log()).unwrap();
        let file = |name: &str| self.config.with_file_name(name).display().to_string();
        let (config, pid, vrrp, checkers) =
            (file("keepalived.conf"), file("keepalived.pid"), file("vrrp.pid"), file("checkers.pid"));
        let words = ["keepalived", "--dont-fork", "--log-console", "--log-detail", "--config-id", self.id];
        let files = ["-f", &config, "-p", &pid, "-r", &vrrp, "-c", &checkers];
        let preload = format!("LD_PRELOAD={}", library().display());
        let socket = format!("POLLVS_IPVS_SOCKET={}", file("ipvs.sock"));
        let environment = ["env", &preload, &socket, "POLLVS_IPVS_STRICT=1"];
        let words: Vec<_> = environment.iter().chain(&words).chain(&files).copied().collect();
        let mut command = network.inside(self.director.role, &words);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.keepalived = Some(Keepalived { child });
    }

    fn log(&self) -> PathBuf {
        self.config.with_file_name("keepalived.log")
    }

    /// As when its machine dies.
    fn die(&mut self, network: &Network) {
        self.director.kill();
        self.kill_keepalived();
        for twin in ["twin-outside", "twin-inside"] {
            network.run(self.director.role, &["ip", "link", "delete", twin]);
        }
    }

    /// Kills every process of keepalived with SIGKILL. The parent is stopped first, for it would start the others anew, and its
    /// death would let them take leave.
    fn kill_keepalived(&mut self) {
        let mut keepalived = self.keepalived.take().unwrap();
        assert!(signal("STOP", keepalived.child.id()));
        for name in ["vrrp.pid", "checkers.pid"] {
            let id = std::fs::read_to_string(self.config.with_file_name(name)).ok();
            id.and_then(|id| id.trim().parse().ok()).map(|id| signal("KILL", id));
        }
        keepalived.child.kill().unwrap();
        keepalived.child.wait().unwrap();
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.words());
        }
        self.network = None;
        self.servers.iter_mut().for_each(|server| drop(server.wait()));
        for member in &mut self.members {
            member.director.end();
            member.keepalived.take().map(|mut keepalived| keepalived.child.wait());
        }
    }
}

/// A program that says something when its stdin ends.
pub(super) struct Script {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Script {
    /// Ends its stdin and returns what it says.
    pub(super) fn finish(mut self) -> String {
        drop(self.stdin.take());
        String::from_utf8(self.child.wait_with_output().unwrap().stdout).unwrap()
    }
}

/// The preload library, which cargo builds beside this test.
fn library() -> PathBuf {
    let library = std::env::current_exe().unwrap().with_file_name("libpollvs_ipvs.so");
    assert!(library.exists(), "{} is not there", library.display());
    library
}

/// The example, on the test bed's devices, with a core and files of its own. `number` counts from 0.
fn pollvsd_config(folder: &Path, number: usize) -> String {
    let text = std::fs::read_to_string(format!("{EXAMPLES}director.toml")).unwrap();
    let file = |name: &str| folder.join(name).display().to_string();
    let own = format!("cpus = [{number}]\nsocket = {:?}\nstate = {:?}", file("control.sock"), file("state.json"));
    let host = number + 2;
    let changes = [
        ("workers = 1", format!("workers = 1\n{own}")),
        ("0000:01:00.0", "net_af_packet_outside,iface=outside".to_owned()),
        ("0000:01:00.1", "net_af_packet_inside,iface=inside".to_owned()),
        (".2/24", format!(".{host}/24")),
        ("::2/64", format!("::{host}/64")),
    ];
    changes.into_iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, &to)
    })
}

/// The example, which names pollvs where `make install` puts it.
fn keepalived_config(director: &Director) -> String {
    let text = std::fs::read_to_string(format!("{EXAMPLES}keepalived.conf")).unwrap();
    let installed = "/usr/local/sbin/pollvs";
    assert!(text.contains(installed));
    text.replace(installed, &format!("{POLLVS} --socket {}", director.socket().display()))
}
