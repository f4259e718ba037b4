//! The commands of a scenario: `ipvsadm`, `sysctl`, `ip`, `sleep`, and the files under `/proc`.

use std::time::Duration;

use crate::cli::iptables;
use crate::cli::ipvsadm::names::Names;
use crate::cli::ipvsadm::{self, Host};
use crate::control::proc;
use crate::control::request::MarkFamily;
use crate::replay::machine::Machine;
use crate::replay::shell::{Line, Outcome, Shell, System};
use crate::replay::sysctl::{self, Refusal};
use crate::replay::topology::{Done, Topology};

/// Where the sysctls are.
const SYSCTLS: &str = "/proc/sys/net/ipv4/vs/";

/// The machine and the shell on it.
#[derive(Debug)]
pub(crate) struct World {
    /// The machine.
    pub(crate) machine: Machine,
    shell: Shell,
}

/// What commands see of the world.
struct Console<'a> {
    machine: &'a mut Machine,
    names: Names,
}

impl World {
    /// Just started, in a network.
    pub(crate) fn new(topology: Topology) -> Self {
        Self { machine: Machine::new(topology), shell: Shell::default() }
    }

    /// Runs a line: exit status and output.
    pub(crate) fn run(&mut self, line: &Line) -> Result<(u8, String), String> {
        self.shell.run(line, &mut Console { machine: &mut self.machine, names: Names::default() })
    }
}

/// A time as `sleep` takes it.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text} is no number of seconds"))
}

impl System for Console<'_> {
    fn command(&mut self, words: &[String], stdin: &str) -> Result<Outcome, String> {
        let [program, args @ ..] = words else { return Ok(Outcome::default()) };
        let name = program.rsplit('/').next().unwrap_or_default();
        if let Some(first) = ipvsadm::applet(name) {
            let args: Vec<String> = first.iter().map(|a| (*a).to_owned()).chain(args.iter().cloned()).collect();
            return Ok(self.ipvsadm(&args, stdin));
        }
        if let Some(family) = iptables::applet(name) {
            return self.iptables(family, args);
        }
        match name {
            "sysctl" => self.sysctl(args),
            "ip" => {
                let output = match self.machine.topology.ip(args)? {
                    Done::All(output) => output,
                    Done::Nothing(says) => return Ok(Outcome::fails(2, says)),
                };
                self.machine.network_changed();
                let learnt = args.last().and_then(|address| self.machine.learnt_mtu(address.parse().ok()?));
                Ok(Outcome::says(match learnt {
                    Some((mtu, secs)) => output.replace("cache ", &format!("cache expires {secs}sec mtu {mtu} ")),
                    None => output,
                }))
            }
            // Another user may not change or see rules.
            "su" => Ok(Outcome::fails(255, "Permission denied (you must be root)\n")),
            "modprobe" => Ok(Outcome::default()),
            "sleep" => {
                self.sleep(seconds(&args.concat())?);
                Ok(Outcome::default())
            }
            _ => Err(format!("{program} is no command of a scenario that is supported")),
        }
    }

    fn file(&mut self, path: &str) -> Option<String> {
        if let Some(name) = path.strip_prefix(SYSCTLS) {
            return self.machine.sysctl(name).map(|v| format!("{v}\n"));
        }
        let all = self.machine.all;
        match path.strip_prefix("/proc/net/")? {
            "ip_vs" => Some(proc::services(&self.machine.service_views())),
            "ip_vs_conn" => Some(proc::connections(&self.machine.all_connections())),
            "ip_vs_conn_sync" => Some(proc::connection_origins(&self.machine.all_connections())),
            "ip_vs_stats" => Some(proc::stats(&all.sampled(), &all.rates())),
            "ip_vs_app" => Some(proc::helpers(self.machine.helped())),
            "ip_vs_stats_percpu" => Some(proc::stats_percpu(&[self.machine.total()], &all.sampled(), &all.rates())),
            _ => None,
        }
    }

    fn files(&mut self, folder: &str) -> Vec<String> {
        if format!("{folder}/") == SYSCTLS { sysctl::names().map(str::to_owned).collect() } else { Vec::new() }
    }
}

impl Console<'_> {
    fn ipvsadm(&mut self, args: &[String], stdin: &str) -> Outcome {
        let Self { machine, names } = self;
        let mut ask = |request| machine.ask(request);
        let mut stdin = || stdin.to_owned();
        let ipvsadm::Outcome { code, stdout, stderr } =
            ipvsadm::run(args, &mut Host { ask: &mut ask, stdin: &mut stdin, names });
        Outcome { code, stdout, stderr }
    }

    /// The table mangle is the director's, in which marks are set; others are the business of the stack around it.
    fn iptables(&mut self, family: MarkFamily, args: &[String]) -> Result<Outcome, String> {
        let table = args.iter().position(|word| matches!(word.as_str(), "-t" | "--table"));
        match table.and_then(|at| args.get(at + 1)).map_or("filter", String::as_str) {
            "mangle" => {}
            // Any such rule has connections tracked, which the FTP helper rewrites by.
            "nat" => {
                self.machine.track(family == MarkFamily::Ipv6);
                return Ok(Outcome::default());
            }
            other => return Err(format!("the table {other} of iptables is not supported")),
        }
        let Self { machine, names } = self;
        let mut ask = |request| machine.ask(request);
        let ipvsadm::Outcome { code, stdout, stderr } =
            iptables::run(family, args, &mut iptables::Host { ask: &mut ask, names });
        Ok(Outcome { code, stdout, stderr })
    }

    fn sysctl(&mut self, args: &[String]) -> Result<Outcome, String> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let assignments = match args.as_slice() {
            ["-w", rest @ ..] | ["-q", "-w", rest @ ..] => rest,
            all => all,
        };
        let mut text = String::new();
        for assignment in assignments {
            if sysctl::is_stacks(assignment) {
                text += &format!("{}\n", assignment.replacen('=', " = ", 1));
                continue;
            }
            let name = |key: &str| key.replace('/', ".").strip_prefix("net.ipv4.vs.").map(str::to_owned);
            let unknown = || format!("{assignment} is no sysctl of net.ipv4.vs");
            match assignment.split_once('=') {
                Some((key, value)) => match self.set(&name(key).ok_or_else(unknown)?, value) {
                    Ok(()) => text += &format!("{key} = {value}\n"),
                    Err(Refusal::Unknown) => {
                        let stderr = format!("sysctl: error: '{key}' is an unknown key\n");
                        return Ok(Outcome { code: 1, stdout: text, stderr });
                    }
                    Err(Refusal::Invalid) => {
                        let stderr = "sysctl: write error: Invalid argument\n".to_owned();
                        return Ok(Outcome { code: 1, stdout: text, stderr });
                    }
                },
                None => {
                    let name = name(assignment).ok_or_else(unknown)?;
                    let value = self.machine.sysctl(&name).ok_or_else(unknown)?;
                    text += &format!("{assignment} = {value}\n");
                }
            }
        }
        Ok(Outcome::says(text))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let mut settings = self.machine.store.settings();
        self.machine.sysctls.set(name, value, &mut settings)?;
        self.machine.store.set_settings(settings).map_err(|_| Refusal::Invalid)?;
        self.machine.rules_changed();
        Ok(())
    }

    fn sleep(&mut self, time: Duration) {
        let until = self.machine.now + time;
        while self.machine.now < until {
            self.machine.pass(until);
            drop(self.machine.sent());
        }
    }
}
