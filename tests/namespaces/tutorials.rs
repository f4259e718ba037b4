//! docs/tutorials and docs/moving.md, carried out: every block of commands runs on the host that it names, and prints what the block
//! after it shows.
use super::network::Network;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
/// What stands in for systemd and others.
const STANDS_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/tutorial");
const DECAPSULATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/decapsulate.py");
const HOSTS: [&str; 5] = ["client", "router", "director", "rs1", "rs2"];

/// A fenced block of Markdown that means something to a host.
struct Block<'a> {
    /// What stands behind the fence: `sh rs1 rs2`, `toml director /etc/pollvs/director.toml`, `text`.
    info: Vec<&'a str>,
    text: String,
    line: usize,
}

fn blocks(markdown: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for (line, text) in (1..).zip(markdown.lines()) {
        match text.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                open = true;
                blocks.push(Block { info: info.split_whitespace().collect(), text: String::new(), line });
            }
            None if open => {
                let block = blocks.last_mut().unwrap();
                block.text += text;
                block.text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// With what differs from run to run masked: times, ports that a client chooses, counters of destinations, widths of columns.
fn masked(text: &str) -> Vec<String> {
    let masks = [
        (r"^(\s*-> \S+ +(?:Masq|Route|Tunnel|Local) +\d+) +\d+ +\d+", "$1 A I"),
        (r"\s\d\d:\d\d\s", " MM:SS "),
        (r"\s\d+\.\d\d s\s", " SECONDS "),
        (r":(3[2-9]|4\d|5\d|60)\d{3}\b", ":PORT"),
        (r"\s+", " "),
    ];
    let masks = masks.map(|(from, to)| (regex::Regex::new(from).unwrap(), to));
    let mask = |line: &str| {
        let masked = masks.iter().fold(line.to_owned(), |line, (from, to)| from.replace_all(&line, *to).into_owned());
        masked.trim().to_owned()
    };
    text.lines().map(mask).collect()
}

/// The hosts, and what their commands find around them.
struct Hosts {
    network: Network,
    path: String,
}

impl Hosts {
    fn new(lan: &str) -> Option<Self> {
        let network = Network::hold(&["plain", lan])?;
        let bin = network.folder().join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pollvs"), bin.join("pollvs")).unwrap();
        for host in HOSTS {
            fs::create_dir_all(network.folder().join(host)).unwrap();
        }
        let path = format!("{STANDS_IN}:{}:/usr/sbin:/sbin:{}", bin.display(), std::env::var("PATH").unwrap());
        Some(Self { network, path })
    }

    fn folder(&self, host: &str) -> PathBuf {
        self.network.folder().join(host)
    }

    /// Carries out what a document tells.
    fn follow(&self, document: &str) {
        let text = fs::read_to_string(Path::new(DOCS).join(document)).unwrap();
        let blocks = blocks(&text);
        for (at, block) in blocks.iter().enumerate() {
            let place = format!("docs/{document}, line {}", block.line);
            let shown = blocks.get(at + 1).filter(|next| next.info == ["text"]);
            match block.info[..] {
                ["sh", ref hosts @ ..] if !hosts.is_empty() => {
                    hosts.iter().for_each(|host| self.carry_out(host, &block.text, shown, &place));
                }
                ["toml", host, path] | ["text", host, path] => self.write(host, path, &block.text),
                [] | ["console"] => {}
                ["text"] => {
                    assert!(at > 0 && blocks[at - 1].info[0] == "sh", "{place}: what a block of commands prints")
                }
                _ => panic!("{place}: the block says neither what it is nor of which host: {:?}", block.info),
            }
        }
    }

    fn write(&self, host: &str, path: &str, text: &str) {
        let path = self.folder(host).join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn carry_out(&self, host: &str, commands: &str, shown: Option<&Block<'_>>, place: &str) {
        assert!(HOSTS.contains(&host), "{place}: there is no host {host}");
        let output = self.command(host, commands).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let words = || fs::read_to_string(self.folder("director").join("pollvsd.log")).unwrap_or_default();
        assert!(output.status.success(), "{place}, on {host}:\n{commands}{out}{err}\n{}", words());
        if let Some(shown) = shown {
            assert_eq!(masked(&out), masked(&shown.text), "{place}, on {host}; it printed:\n{out}{err}");
        }
    }

    fn command(&self, host: &str, commands: &str) -> Command {
        let state = self.network.folder().join("state");
        fs::create_dir_all(&state).unwrap();
        let library = std::env::current_exe().unwrap().with_file_name("libpollvs_ipvs.so");
        let mut command = self.network.inside(host, &["bash", "-euo", "pipefail", "-c", commands]);
        command.current_dir(self.folder(host)).env("PATH", &self.path).env("LC_ALL", "C");
        command.env("TUTORIAL_POLLVSD", env!("CARGO_BIN_EXE_pollvsd")).env("TUTORIAL_STATE", &state);
        command.env("TUTORIAL_LIBRARY", library).env("TUTORIAL_DECAPSULATE", DECAPSULATE);
        command.env("POLLVS_SOCKET", state.join("control.sock")).env("POLLVS_IPVS_SOCKET", state.join("ipvs.sock"));
        command
    }
}

/// Carries out a document from the start that all have in common, with the real servers on a network.
fn follow(document: &str, lan: &str) {
    let Some(hosts) = Hosts::new(lan) else { return };
    hosts.follow("tutorials/README.md");
    hosts.follow(document);
}

#[test]
fn nat() {
    follow("tutorials/nat.md", "inside");
}

#[test]
fn direct_routing() {
    follow("tutorials/direct-routing.md", "outside");
}

#[test]
fn tunnels() {
    follow("tutorials/tunnels.md", "inside");
}

#[test]
fn persistence() {
    follow("tutorials/persistence.md", "inside");
}

#[test]
fn moving_from_the_kernel() {
    follow("moving.md", "inside");
}

#[test]
fn what_differs_from_run_to_run_is_masked_and_nothing_else() {
    let one =
        "TCP 14:59  FIN_WAIT    192.0.2.100:40216  192.0.2.10:80\n  -> 198.51.100.11:80  Masq    1      0          2\n";
    let other =
        "TCP 01:57  FIN_WAIT    192.0.2.100:59999 192.0.2.10:80\n  -> 198.51.100.11:80  Masq    1      1         1\n";
    assert_eq!(masked(one), masked(other));
    for (from, to) in [("FIN_WAIT", "ESTABLISHED"), ("192.0.2.10:80", "192.0.2.10:81"), ("Masq    1", "Masq    2")] {
        assert_ne!(masked(one), masked(&one.replace(from, to)), "{from}");
    }
}
