//! `pollvs replay SCENARIO -o FOLDER`: the pure director on a recorded scenario, with no device and a virtual clock. A scenario is a
//! folder with `setup.sh`, `input.pcap`, `steps` and, when its network is its own, `base.sh`; the results are written as the recordings of Linux IPVS are (`trace.txt` above
//! all), so that the two can be compared file by file.

mod answers;
mod build;
mod commands;
mod machine;
mod policy;
mod reassembly;
mod record;
mod shell;
mod standin;
mod sync;
mod sysctl;
mod topology;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::io::pcap;
use crate::replay::commands::World;
use crate::replay::record::{Record, sorted};
use crate::replay::shell::Line;
use crate::replay::topology::Topology;
use crate::time::Instant;

/// Why a scenario could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file cannot be read or written.
    #[error("{}: {source}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The capture is none.
    #[error("{}: {source}", .file.display())]
    Capture {
        /// The file.
        file: PathBuf,
        /// Why.
        source: pcap::PcapError,
    },
    /// A line is not understood.
    #[error("{}:{line}: {text}: {why}", .file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
        /// What in it is not understood.
        why: String,
    },
}

/// From the machine's start to its first setup command, and from the last to the first frame.
const SETTLE: Duration = Duration::from_millis(50);
/// From the last frame to the steps at the end.
const AFTER_LAST: Duration = Duration::from_millis(20);
/// The counters that are shown are copied every two seconds.
const COUNTERS: Duration = Duration::from_millis(2500);

/// The files written at the end, and the commands whose output they hold.
const DUMPS: [(&str, &str); 10] = [
    ("rules.txt", "ipvsadm -Ln"),
    ("connections.txt", "ipvsadm -Lcn"),
    ("persistent.txt", "ipvsadm -Ln --persistent-conn"),
    ("thresholds.txt", "ipvsadm -Ln --thresholds"),
    ("save.txt", "ipvsadm -Sn"),
    ("timeout.txt", "ipvsadm -L --timeout"),
    ("proc_ip_vs.txt", "cat /proc/net/ip_vs"),
    ("proc_ip_vs_conn.txt", "cat /proc/net/ip_vs_conn"),
    ("stats.txt", "ipvsadm -Ln --stats --exact"),
    ("proc_ip_vs_stats.txt", "cat /proc/net/ip_vs_stats"),
];

/// A command with the place that it stands at.
#[derive(Clone, Debug)]
struct Command {
    at: Place,
    text: String,
}

#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    line: usize,
}

impl Place {
    fn error(&self, text: &str, why: String) -> ReplayError {
        ReplayError::Line { file: self.file.clone(), line: self.line, text: text.to_owned(), why }
    }
}

/// A scenario as read.
#[derive(Debug)]
struct Scenario {
    /// The network to start from, when it is the scenario's own.
    base: Vec<Command>,
    setup: Vec<Command>,
    /// When (a frame's number, or "end") and what.
    steps: Vec<(String, Command)>,
    /// Time since the first frame.
    frames: Vec<(Duration, Vec<u8>)>,
}

fn file_error(path: &Path, source: io::Error) -> ReplayError {
    ReplayError::File { file: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, ReplayError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path, error)),
    }
}

/// The lines of a file that are neither empty nor comments; none when there is no such file.
fn lines(path: &Path) -> Result<Vec<Command>, ReplayError> {
    Ok(commands_of(&String::from_utf8_lossy(&read(path)?.unwrap_or_default()), path))
}

/// The lines of the text of a file that are neither empty nor comments.
fn commands_of(text: &str, path: &Path) -> Vec<Command> {
    let command = |(index, line): (usize, &str)| Command {
        at: Place { file: path.to_owned(), line: index + 1 },
        text: line.trim().to_owned(),
    };
    let all = text.lines().enumerate().map(command);
    all.filter(|c| !c.text.is_empty() && !c.text.starts_with('#')).collect()
}

impl Scenario {
    fn read(folder: &Path) -> Result<Self, ReplayError> {
        fs::read_dir(folder).map_err(|error| file_error(folder, error))?;
        let steps = lines(&folder.join("steps"))?.into_iter().map(step).collect::<Result<_, _>>()?;
        let capture = folder.join("input.pcap");
        let records = match read(&capture)? {
            Some(bytes) => pcap::read(&bytes).map_err(|error| ReplayError::Capture { file: capture, source: error })?,
            None => Vec::new(),
        };
        let first = records.first().map_or(0, |r| r.at.0);
        let since = |at: Instant| Duration::from_nanos(at.0.saturating_sub(first));
        let frames = records.into_iter().map(|r| (since(r.at), r.frame)).collect();
        let [base, setup] = [lines(&folder.join("base.sh"))?, lines(&folder.join("setup.sh"))?];
        Ok(Self { base, setup, steps, frames })
    }
}

fn step(command: Command) -> Result<(String, Command), ReplayError> {
    let Command { at, text } = command;
    match text.split_once(char::is_whitespace) {
        Some((when, rest)) => Ok((when.to_owned(), Command { at, text: rest.trim_start().to_owned() })),
        None => Err(at.error(&text, "a step is a frame's number or `end`, and a command".to_owned())),
    }
}

/// A run under way.
struct Run {
    world: World,
    record: Record,
    /// The clock at the first frame.
    zero: Instant,
}

/// Replays the scenario in one folder and writes the results to another, which is made if need be.
///
/// # Errors
/// [`ReplayError`]; nothing is written for a scenario that cannot be understood.
pub fn replay(scenario: &Path, out: &Path) -> Result<(), ReplayError> {
    for (name, contents) in results(scenario)? {
        let path = out.join(name);
        fs::create_dir_all(out).map_err(|error| file_error(out, error))?;
        fs::write(&path, contents).map_err(|error| file_error(&path, error))?;
    }
    Ok(())
}

/// Replays a scenario: the name and contents of each file that it results in.
///
/// # Errors
/// [`ReplayError`].
pub fn results(scenario: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, ReplayError> {
    run(Scenario::read(scenario)?, scenario)
}

/// Replays a scenario that is no folder: the lines of `setup.sh` and of `steps`, and frames with the time since the first of them.
/// Never panics, whatever they are. No file is read or written.
///
/// # Errors
/// [`ReplayError`], with the names that the files would have.
pub fn results_of(
    setup: &str,
    steps: &str,
    frames: Vec<(Duration, Vec<u8>)>,
) -> Result<Vec<(&'static str, Vec<u8>)>, ReplayError> {
    let steps = commands_of(steps, Path::new("steps")).into_iter().map(step).collect::<Result<_, _>>()?;
    let setup = commands_of(setup, Path::new("setup.sh"));
    run(Scenario { base: Vec::new(), setup, steps, frames }, Path::new(""))
}

fn run(scenario: Scenario, folder: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, ReplayError> {
    let Scenario { base, setup, steps, frames } = scenario;
    let topology = if base.is_empty() { Topology::default() } else { Topology::bare() };
    let mut run = Run { world: World::new(topology), record: Record::default(), zero: Instant(0) };
    let log = run.base(&base)? + &run.set_up(&setup)?;
    run.play(&frames, &steps)?;
    let mut files = run.dump();
    let capture =
        run.record.capture().map_err(|source| ReplayError::Capture { file: folder.join("input.pcap"), source })?;
    files.extend([
        ("setup.log", log.into_bytes()),
        ("trace.txt", run.record.trace().as_bytes().to_vec()),
        ("output.pcap", capture),
    ]);
    Ok(files)
}

impl Run {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.world.machine.now.0 - self.zero.0)
    }

    /// Makes the network of the scenario's own. What its commands say is in the log, they themselves are not.
    fn base(&mut self, base: &[Command]) -> Result<String, ReplayError> {
        base.iter().map(|command| self.command(command)).collect()
    }

    /// Runs a command of the setup: what it says.
    fn command(&mut self, command: &Command) -> Result<String, ReplayError> {
        let error = |why| command.at.error(&command.text, why);
        let line = Line::parse(&command.text).map_err(error)?;
        Ok(self.world.run(&line).map_err(error)?.1)
    }

    /// Runs the setup. What is sent meanwhile is no part of the results.
    fn set_up(&mut self, setup: &[Command]) -> Result<String, ReplayError> {
        let mut log = String::new();
        if !setup.is_empty() {
            log += "+ . ./setup.sh\n";
        }
        for command in setup {
            let line = Line::parse(&command.text).map_err(|why| command.at.error(&command.text, why))?;
            line.traced().for_each(|words| log += &format!("+ {words}\n"));
            log += &self.command(command)?;
        }
        let ready = self.world.machine.now + SETTLE;
        while self.world.machine.now < ready {
            self.world.machine.pass(ready);
            drop(self.world.machine.sent());
        }
        self.zero = self.world.machine.now;
        Ok(log)
    }

    /// Injects the frames at their times, with the steps before them. Time that a `sleep` adds delays what follows.
    fn play(&mut self, frames: &[(Duration, Vec<u8>)], steps: &[(String, Command)]) -> Result<(), ReplayError> {
        let mut late = Duration::ZERO;
        for (index, (at, frame)) in frames.iter().enumerate() {
            self.wait_until(*at + late);
            let before = self.now();
            if self.steps(steps, &(index + 1).to_string())? {
                late += self.now().saturating_sub(before.max(*at + late));
            }
            self.inject(frame);
        }
        if !frames.is_empty() {
            self.wait_until(self.now() + AFTER_LAST);
        }
        self.drain();
        self.steps(steps, "end")?;
        self.drain();
        Ok(())
    }

    fn inject(&mut self, frame: &[u8]) {
        let machine = &mut self.world.machine;
        let at = Instant(machine.now.0 - self.zero.0);
        let name = machine.topology.name(machine.topology.port_of(frame.get(..6).unwrap_or_default()));
        self.record.came(at, name, frame);
        machine.inject(frame);
        self.drain();
    }

    /// Runs the steps of one place. Returns true when one of them let time pass.
    fn steps(&mut self, steps: &[(String, Command)], when: &str) -> Result<bool, ReplayError> {
        let mut slept = false;
        for (_, command) in steps.iter().filter(|(at, _)| at == when) {
            let at = Instant(self.world.machine.now.0 - self.zero.0);
            self.record.step(at, when, &command.text);
            slept |= self.step(command)?;
        }
        Ok(slept)
    }

    fn step(&mut self, command: &Command) -> Result<bool, ReplayError> {
        let error = |why| command.at.error(&command.text, why);
        if let Some(time) = command.text.strip_prefix("sleep ") {
            let time = commands::seconds(time.trim()).map_err(error)?;
            self.wait_until(self.now() + time);
            return Ok(true);
        }
        let line = Line::parse(&command.text).map_err(error)?;
        let (code, output) = self.world.run(&line).map_err(error)?;
        let connections = command.text.contains("ip_vs_conn") || command.text.contains("-Lc");
        let lines: Vec<&str> = if connections { sorted(&output) } else { output.lines().collect() };
        lines.into_iter().for_each(|line| self.record.text(line));
        if code != 0 {
            self.record.text(&format!("exit status {code}"));
        }
        self.drain();
        Ok(command.text.starts_with("sleep"))
    }

    /// Lets time pass, recording what is sent meanwhile.
    fn wait_until(&mut self, time: Duration) {
        let until = self.zero + time;
        while self.world.machine.now < until {
            self.world.machine.pass(until);
            self.drain();
        }
    }

    fn drain(&mut self) {
        let machine = &mut self.world.machine;
        let at = Instant(machine.now.0 - self.zero.0);
        for (port, frame) in machine.sent() {
            self.record.went(at, machine.topology.name(port), frame);
        }
    }

    /// The tables at the end; the counters after they have been copied once more.
    fn dump(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        let mut files: Vec<(&'static str, Vec<u8>)> = Vec::new();
        let (late, early): (Vec<_>, Vec<_>) = DUMPS.into_iter().partition(|(name, _)| name.contains("stats"));
        for (name, command) in early {
            files.push((name, self.output(name, command)));
        }
        let counted = self.world.machine.now + COUNTERS;
        while self.world.machine.now < counted {
            self.world.machine.pass(counted);
            drop(self.world.machine.sent());
        }
        for (name, command) in late {
            files.push((name, self.output(name, command)));
        }
        files
    }

    fn output(&mut self, name: &str, command: &str) -> Vec<u8> {
        let line = Line::parse(command).expect("the commands of the listings are shell");
        let (_, text) = self.world.run(&line).expect("the commands of the listings are known");
        if name.contains("conn") {
            return sorted(&text).into_iter().flat_map(|line| [line, "\n"]).collect::<String>().into_bytes();
        }
        text.into_bytes()
    }
}

/// What `pollvs replay` is told: `SCENARIO -o FOLDER`.
#[derive(Clone, PartialEq, Eq, Debug, clap::Args)]
pub struct Arguments {
    /// Folder with setup.sh, input.pcap, steps and, for another network than the usual, base.sh.
    pub scenario: PathBuf,
    /// Folder for the results, made if need be.
    #[arg(short, long)]
    pub out: PathBuf,
}
