//! ipvsadm 1.31's syntax, output, error words and exit codes (ipvsadm(8)): `pollvs ipvsadm ARGS...`, or this program called by the
//! name `ipvsadm`, `ipvsadm-save` or `ipvsadm-restore`. What was typed becomes control requests; replies become ipvsadm's text.

mod address;
mod check;
mod help;
mod listing;
pub mod names;
mod options;
mod requests;
mod save;
mod typed;
mod vocabulary;

use crate::cli::ipvsadm::listing::{Columns, Style};
use crate::cli::ipvsadm::names::Names;
use crate::cli::ipvsadm::typed::{Refused, Typed};
use crate::cli::ipvsadm::vocabulary::{Command, Slot};
use crate::control::daemon::DaemonSpec;
use crate::control::proc;
use crate::control::reply::{ConnectionView, Failure, Reply, ServiceView};
use crate::control::request::{Filter, Request};
use crate::service::ServiceKey;
use crate::settings::Timeouts;

/// What a command line came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Exit status.
    pub code: u8,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
}

impl Outcome {
    fn text(stdout: String) -> Self {
        Self { code: 0, stdout, stderr: String::new() }
    }

    fn refused(refused: &Refused) -> Self {
        Self { code: refused.code, stdout: String::new(), stderr: format!("{}\n", refused.message) }
    }
}

/// What ipvsadm needs of the world.
pub struct Host<'a> {
    /// Asks the director; a listing comes whole (every line of it joined).
    pub ask: &'a mut dyn FnMut(Request) -> Reply,
    /// Reads standard input to its end (`-R`).
    pub stdin: &'a mut dyn FnMut() -> String,
    /// Names of ports and hosts.
    pub names: &'a Names,
}

impl std::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// The arguments that a program's name stands for: `ipvsadm-save` is `ipvsadm -S`; none when the name is another program's.
pub fn applet(program: &str) -> Option<&'static [&'static str]> {
    match program {
        "ipvsadm" => Some(&[]),
        "ipvsadm-save" => Some(&["-S"]),
        "ipvsadm-restore" => Some(&["-R"]),
        _ => None,
    }
}

/// Runs one command line (without the program's name).
pub fn run(args: &[String], host: &mut Host<'_>) -> Outcome {
    execute(args, host).unwrap_or_else(|refused| Outcome::refused(&refused))
}

fn execute(args: &[String], host: &mut Host<'_>) -> Result<Outcome, Refused> {
    let typed = Typed::read(args, host.names)?;
    check::check(&typed)?;
    if let Some(request) = requests::change(&typed).map_err(|refused| first_refusal(refused, &typed, host))? {
        done((host.ask)(request))?;
        return Ok(Outcome::default());
    }
    match typed.command {
        Command::Help => Ok(Outcome::text(format!("{}{}", help::VERSION, help::HELP))),
        Command::Version => Ok(Outcome::text(help::VERSION.to_owned())),
        Command::Restore => restore(host),
        Command::Save => {
            let mut services = services(host, None)?;
            listing::sort(&mut services);
            Ok(Outcome::text(save::save(&services, names(&typed, host))))
        }
        _ => list(&typed, host),
    }
}

/// The kernel looks whether the service is there before it looks at the rest.
fn first_refusal(refused: Refused, typed: &Typed, host: &mut Host<'_>) -> Refused {
    let ours = refused.code != 2 && typed.command == Command::AddService;
    if ours && services(host, typed.service).is_ok() { Refused::failed(requests::SERVICE_EXISTS) } else { refused }
}

fn done(reply: Reply) -> Result<(), Refused> {
    match reply {
        Reply::Done {} => Ok(()),
        Reply::Error(failure) => Err(Refused::failed(requests::words(&failure))),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> Refused {
    Refused::failed(format!("the director gave an answer that does not belong to the question: {reply:?}"))
}

/// Runs the lines of standard input, up to the first that is refused.
fn restore(host: &mut Host<'_>) -> Result<Outcome, Refused> {
    let rules = (host.stdin)();
    for line in rules.lines() {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if !args.is_empty() && !line.starts_with('#') && args != ["-R"] {
            execute(&args, host)?;
        }
    }
    Ok(Outcome::default())
}

fn names<'a>(typed: &Typed, host: &Host<'a>) -> Option<&'a Names> {
    (!typed.has(Slot::Numeric)).then_some(host.names)
}

/// A listing that fails exits with 1.
fn listing_refused(failure: &Failure) -> Refused {
    Refused { code: 1, message: requests::words(failure).to_owned() }
}

fn list(typed: &Typed, host: &mut Host<'_>) -> Result<Outcome, Refused> {
    let text = if typed.has(Slot::Connection) {
        let all = connections(host)?;
        listing::connections(&all, typed.has(Slot::PersistentConn), names(typed, host))
    } else if typed.has(Slot::Timeout) {
        listing::timeouts(timeouts(host)?)
    } else if typed.has(Slot::Daemon) {
        listing::daemons(&daemons(host)?)
    } else {
        list_services(typed, host)?
    };
    Ok(Outcome::text(text))
}

fn list_services(typed: &Typed, host: &mut Host<'_>) -> Result<String, Refused> {
    let mut services = services(host, typed.service)?;
    if !typed.has(Slot::Nosort) {
        listing::sort(&mut services);
    }
    let style = Style { columns: columns(typed), exact: typed.has(Slot::Exact), names: names(typed, host) };
    let banner = if typed.service.is_none() { proc::BANNER } else { "" };
    Ok(format!("{banner}{}", listing::services(&services, style)))
}

fn columns(typed: &Typed) -> Columns {
    let choices = [
        (Slot::Stats, Columns::Stats),
        (Slot::Rate, Columns::Rate),
        (Slot::Thresholds, Columns::Thresholds),
        (Slot::PersistentConn, Columns::Persistent),
        (Slot::TunInfo, Columns::Tunnel),
    ];
    choices.iter().find(|(slot, _)| typed.has(*slot)).map_or(Columns::Plain, |c| c.1)
}

fn services(host: &mut Host<'_>, service: Option<ServiceKey>) -> Result<Vec<ServiceView>, Refused> {
    match (host.ask)(Request::Services { service }) {
        Reply::Services { services, .. } => Ok(services),
        Reply::Error(failure) => Err(listing_refused(&failure)),
        other => Err(unexpected(&other)),
    }
}

/// Connections and templates together, as the kernel keeps them.
fn connections(host: &mut Host<'_>) -> Result<Vec<ConnectionView>, Refused> {
    let mut all = Vec::new();
    for request in [Request::Connections(Filter::default()), Request::Templates(Filter::default())] {
        match (host.ask)(request) {
            Reply::Connections { connections, .. } => all.extend(connections),
            Reply::Error(failure) => return Err(listing_refused(&failure)),
            other => return Err(unexpected(&other)),
        }
    }
    Ok(all)
}

fn timeouts(host: &mut Host<'_>) -> Result<Timeouts, Refused> {
    match (host.ask)(Request::Timeouts {}) {
        Reply::Timeouts(timeouts) => Ok(timeouts),
        Reply::Error(failure) => Err(listing_refused(&failure)),
        other => Err(unexpected(&other)),
    }
}

fn daemons(host: &mut Host<'_>) -> Result<Vec<DaemonSpec>, Refused> {
    match (host.ask)(Request::Daemons {}) {
        Reply::Daemons { daemons } => Ok(daemons),
        Reply::Error(failure) => Err(listing_refused(&failure)),
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests;
