//! iptables' syntax for the rules that set firewall marks (iptables(8)): `pollvs iptables ARGS...` and `pollvs ip6tables ARGS...`, or this
//! program called by those names. There is one table, mangle, with rules in one chain, PREROUTING; what was typed becomes control
//! requests, and errors are told in iptables' words and with its exit status.

mod listing;
mod typed;

use crate::cli::iptables::listing::Style;
use crate::cli::iptables::typed::{Command, Typed};
use crate::cli::ipvsadm::Outcome;
use crate::cli::ipvsadm::names::Names;
use crate::control::reply::{ErrorCode, Failure, Reply};
use crate::control::request::{MarkFamily, Request};
use crate::mark::Rule;

/// What iptables needs of the world.
pub struct Host<'a> {
    /// Asks the director.
    pub ask: &'a mut dyn FnMut(Request) -> Reply,
    /// Names of ports.
    pub names: &'a Names,
}

impl std::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// The family that a program's name stands for; none when the name is another program's.
pub fn applet(program: &str) -> Option<MarkFamily> {
    match program {
        "iptables" => Some(MarkFamily::Ipv4),
        "ip6tables" => Some(MarkFamily::Ipv6),
        _ => None,
    }
}

/// A command line that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Refused {
    /// Exit status: 1 refused, 2 a wrong command line, 3 a table that there is not, 4 the director cannot be reached.
    code: u8,
    message: String,
}

impl Refused {
    fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    fn missing(message: &str) -> Self {
        Self { code: 1, message: message.to_owned() }
    }

    fn of(failure: &Failure) -> Self {
        let code = if failure.code == ErrorCode::Unsupported { 4 } else { 1 };
        Self { code, message: failure.message.clone() }
    }

    /// The outcome, as iptables prints it.
    fn outcome(&self, family: MarkFamily) -> Outcome {
        let name = program(family);
        let plain = self.message.starts_with("Bad argument");
        let before = if plain { String::new() } else { format!("{name} (pollvs): ") };
        let stderr = match self.code {
            2 => format!("{before}{}\nTry `{name} -h' or '{name} --help' for more information.\n", self.message),
            3 => format!("{before}{}\n", self.message),
            _ => format!("{name}: {}\n", self.message),
        };
        Outcome { code: self.code, stdout: String::new(), stderr }
    }
}

fn program(family: MarkFamily) -> &'static str {
    if family.v6() { "ip6tables" } else { "iptables" }
}

/// Runs one command line (without the program's name).
pub fn run(family: MarkFamily, args: &[String], host: &mut Host<'_>) -> Outcome {
    match execute(family, args, host) {
        Ok(stdout) => Outcome { code: 0, stdout, stderr: String::new() },
        Err(refused) => refused.outcome(family),
    }
}

fn execute(family: MarkFamily, args: &[String], host: &mut Host<'_>) -> Result<String, Refused> {
    let Typed { command, numeric, numbers } = Typed::read(family, args, host.names)?;
    match command {
        Command::Help => return Ok(typed::HELP.replace("iptables", program(family))),
        Command::Version => return Ok(format!("{} (pollvs {})\n", program(family), env!("POLLVS_VERSION"))),
        Command::Nothing => {}
        Command::Append(rule) => done(host, add(family, &rule, None), "")?,
        Command::Insert(position, rule) => {
            done(host, add(family, &rule, Some(position)), "Index of insertion too big.")?;
        }
        Command::Replace(position, rule) => {
            let request = Request::ReplaceMark { family, rule: rule.to_string(), position };
            done(host, request, "Index of replacement too big.")?;
        }
        Command::DeleteAt(position) => {
            done(host, Request::DeleteMark { family, position }, "Index of deletion too big.")?;
        }
        Command::Delete(rule) => {
            let position = position(host, family, &rule)?;
            done(host, Request::DeleteMark { family, position }, NO_SUCH)?;
        }
        Command::Check(rule) => drop(position(host, family, &rule)?),
        Command::Flush => done(host, Request::FlushMarks { family: Some(family) }, "")?,
        Command::Save { chain, only } => return Ok(listing::save(&rules(host, family)?, chain.as_deref(), only)),
        Command::List { chain, only } => {
            let style = Style { names: (!numeric).then_some(host.names), numbers, only };
            return Ok(listing::list(&rules(host, family)?, chain.as_deref(), style));
        }
    }
    Ok(String::new())
}

/// What is said of a rule that is not there.
const NO_SUCH: &str = "No chain/target/match by that name.";

fn add(family: MarkFamily, rule: &Rule, position: Option<u32>) -> Request {
    Request::AddMark { family, rule: rule.to_string(), position }
}

/// Asks for a change; `no_place` is said when there is no such place.
fn done(host: &mut Host<'_>, request: Request, no_place: &str) -> Result<(), Refused> {
    match (host.ask)(request) {
        Reply::Done {} => Ok(()),
        Reply::Error(failure) if failure.code == ErrorCode::NoSuchRule => Err(Refused::missing(no_place)),
        Reply::Error(failure) => Err(Refused::of(&failure)),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> Refused {
    let message = format!("the director gave an answer that does not belong to the question: {reply:?}");
    Refused { code: 1, message }
}

fn rules(host: &mut Host<'_>, family: MarkFamily) -> Result<Vec<Rule>, Refused> {
    match (host.ask)(Request::Marks {}) {
        Reply::Marks(rules) => Ok(rules.of(family.v6()).to_vec()),
        Reply::Error(failure) => Err(Refused::of(&failure)),
        other => Err(unexpected(&other)),
    }
}

/// The place of the first rule that is the same.
fn position(host: &mut Host<'_>, family: MarkFamily, rule: &Rule) -> Result<u32, Refused> {
    let index = rules(host, family)?.iter().position(|known| known == rule);
    let position = index.and_then(|index| u32::try_from(index + 1).ok());
    position.ok_or_else(|| Refused::missing(NO_SUCH))
}

#[cfg(test)]
mod tests;
