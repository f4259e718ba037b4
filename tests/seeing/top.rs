//! `pollvs top` in a real terminal: tmux gives it the keys and shows the screen.
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use regex::Regex;

use super::director::Director;
use super::{succeeds, there_are};

/// A terminal with the program in it, until the value is dropped.
struct Terminal {
    /// tmux' own socket.
    name: String,
    /// Where the program's exit status is written. tmux does not always notice that a program has ended, when that comes while the last of
    /// what it wrote is still to be read.
    status: PathBuf,
}

impl Terminal {
    /// 80 columns and 24 lines, with the command in it.
    fn new(name: &str, command: &str) -> Self {
        let name = format!("pollvs-{name}-{}", std::process::id());
        let status = std::env::temp_dir().join(format!("{name}.status"));
        let command = format!("{command}; echo $? > {}.new; mv {0}.new {0}", status.display());
        let terminal = Self { name, status };
        let set_up = ["-f", "/dev/null", "start-server", ";", "set-option", "-g", "remain-on-exit", "on", ";"];
        terminal.tmux(&[&set_up[..], &["new-session", "-d", "-x", "80", "-y", "24", &command]].concat());
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        succeeds(Command::new("tmux").args(["-L", &self.name]).args(words).env("LC_ALL", "C.UTF-8").env_remove("TMUX"))
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&std::iter::once("send-keys").chain(keys.iter().copied()).collect::<Vec<_>>());
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until it is as it is to be.
    fn until(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if fits(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}:\n{screen}");
            sleep(Duration::from_millis(20));
        }
    }

    /// The exit status of the program, once it has ended.
    fn status(&self) -> String {
        let begun = Instant::now();
        loop {
            if let Ok(status) = std::fs::read_to_string(&self.status) {
                return status.trim().to_owned();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end:\n{}", self.screen());
            sleep(Duration::from_millis(20));
        }
    }

    fn until_it_says(&self, words: &str) -> String {
        self.until(words, |screen| screen.contains(words))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.name, "kill-server"]).output();
        let _ = std::fs::remove_file(&self.status);
    }
}

/// The screen without what differs from run to run.
fn masked(screen: &str) -> String {
    let masked = Regex::new(r"(?m)^pollvsd .*$").unwrap().replace(screen, "pollvsd");
    masked.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn started() -> (tempfile::TempDir, Director) {
    let folder = tempfile::tempdir().unwrap();
    let director = Director::start(folder.path());
    for line in [
        "service add tcp:192.0.2.10:80 -s wrr",
        "destination add tcp:192.0.2.10:80 198.51.100.11:80 -w 3",
        "destination add tcp:192.0.2.10:80 198.51.100.12:80 -w 0",
        "service add udp:[2001:db8::1]:53 -s sh",
    ] {
        director.pollvs(line);
    }
    (folder, director)
}

fn top(name: &str, director: &Director, environment: &str) -> Terminal {
    let (program, socket) = (env!("CARGO_BIN_EXE_pollvs"), director.socket());
    Terminal::new(name, &format!("{environment} {program} --socket {} top", socket.display()))
}

#[test]
fn the_screen_is_what_it_was_and_keys_do_what_they_are_for() {
    if !there_are(&["tmux"]) {
        return;
    }
    let (_folder, director) = started();
    let terminal = top("keys", &director, "env -u NO_COLOR");
    let screen = terminal.until_it_says("udp:[2001:db8::1]:53");
    assert_eq!(masked(&screen), include_str!("top.txt"), "{}", masked(&screen));
    terminal.keys(&["Enter"]);
    terminal.until("the service is folded", |screen| !screen.contains("198.51.100.12:80"));
    terminal.keys(&["Enter", "/", "1", "2", ":", "8", "0", "Enter"]);
    terminal.until("the filter is in force", |screen| !screen.contains("udp:") && screen.contains("only \"12:80\""));
    terminal.keys(&["Escape"]);
    terminal.until_it_says("udp:");
    // The second line is the destination added last, the third the one with weight 3.
    terminal.keys(&["Down", "Down", "d"]);
    terminal.until_it_says("Drain 198.51.100.11:80 of tcp:192.0.2.10:80, then remove it?");
    terminal.keys(&["n"]);
    terminal.until_it_says("nothing is changed");
    assert!(!director.pollvs("services").contains("draining"));
    terminal.keys(&["D"]);
    terminal.until_it_says("and keep it?");
    terminal.keys(&["y"]);
    terminal.until_it_says("198.51.100.11:80 of tcp:192.0.2.10:80 gets nothing new");
    assert!(director.pollvs("services").contains("draining"));
    // Undrain is only asked about what the screen shows as drained.
    terminal.until_it_says("draining");
    terminal.keys(&["u"]);
    terminal.until_it_says("y/n  Undrain");
    terminal.keys(&["y"]);
    terminal.until_it_says("gets new connections again");
    assert!(!director.pollvs("services").contains("draining"));
    terminal.keys(&["?"]);
    terminal.until_it_says("show or hide the destinations of a service");
    terminal.keys(&["x", "2"]);
    terminal.until_it_says("WORKER");
    terminal.keys(&["Tab"]);
    terminal.until_it_says("REASON");
    terminal.keys(&["q"]);
    assert_eq!(terminal.status(), "0");
}

#[test]
fn a_director_that_goes_and_comes_back_and_a_terminal_that_grows_are_noticed() {
    if !there_are(&["tmux"]) {
        return;
    }
    let (_folder, mut director) = started();
    let terminal = top("restart", &director, "env NO_COLOR=1");
    terminal.until_it_says("udp:");
    director.kill();
    terminal.until_it_says("NO ANSWER for ");
    terminal.until_it_says("198.51.100.11:80");
    director.begin();
    terminal.until_it_says("pollvsd was started again: process ");
    let coloured = Regex::new("\x1b\\[[0-9;]*[39][0-7][;m]").unwrap();
    let screen = terminal.tmux(&["capture-pane", "-p", "-e"]);
    assert!(!coloured.is_match(&screen), "{screen:?}");
    terminal.tmux(&["resize-window", "-x", "140", "-y", "30"]);
    terminal.until_it_says("NEW/S OF LATE");
    terminal.tmux(&["resize-window", "-x", "60", "-y", "10"]);
    terminal.until("it fits again", |screen| !screen.contains("NEW/S OF LATE") && screen.contains("SERVICE"));
}

#[test]
fn without_a_terminal_it_says_what_does_without() {
    let output = Command::new(env!("CARGO_BIN_EXE_pollvs")).arg("top").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("pollvs top needs a terminal") && !said.contains("cannot print"), "{said}");
}
