//! The plain verbs of `pollvs`: what is typed becomes one request, the answer a table or its JSON.

pub mod args;
mod capture;
mod drain;
mod progress;
mod requests;
mod table;
pub(in crate::cli) mod tables;
mod tree;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser as _;

use crate::cli::iptables;
use crate::cli::ipvsadm::{self, Host, Outcome, names::Names};
use crate::cli::plain::args::{SyncArgs, Typed, Verb};
use crate::cli::plain::capture::Capture;
use crate::cli::plain::progress::Progress;
use crate::cli::top;
use crate::control::client::{Client, ClientError, DEFAULT_SOCKET};
use crate::control::reply::{ErrorCode, Failure, Reply};
use crate::control::request::{MarkFamily, Request};

/// From one look whether the director is ready to the next.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Why a command fails: exit status 1, and words.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// The director, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Anything else.
    #[error("{0}")]
    Other(String),
    /// Nobody reads what is printed any more: no reason for words.
    #[error("nobody reads the output")]
    Unread,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Unread
        } else {
            Self::Other(format!("cannot print: {error}"))
        }
    }
}

/// Runs the program: the plain verbs, or ipvsadm when called by one of its names.
pub fn main() -> ExitCode {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let socket = || std::env::var("POLLVS_SOCKET").unwrap_or_else(|_| DEFAULT_SOCKET.to_owned());
    if let Some(prefix) = ipvsadm::applet(program) {
        let args: Vec<String> = prefix.iter().map(|a| (*a).to_owned()).chain(words).collect();
        return finish(run_ipvsadm(&args, socket().as_ref()));
    }
    if let Some(family) = iptables::applet(program) {
        let args: Vec<String> = words.collect();
        return finish(run_iptables(family, &args, socket().as_ref()));
    }
    finish(run(Typed::parse()))
}

fn finish(result: Result<ExitCode, Trouble>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(Trouble::Unread) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("pollvs: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn run(typed: Typed) -> Result<ExitCode, Trouble> {
    let Typed { socket, json, verb } = typed;
    match &verb {
        Verb::Ipvsadm { args } => return run_ipvsadm(args, &socket),
        Verb::Iptables { args } => return run_iptables(MarkFamily::Ipv4, args, &socket),
        Verb::Ip6tables { args } => return run_iptables(MarkFamily::Ipv6, args, &socket),
        Verb::Replay(scenario) => return Ok(replay(scenario)),
        Verb::Top => return show(&socket),
        _ => {}
    }
    let request = requests::request(verb.clone())?;
    if let Verb::Sync(SyncArgs { ready: true, .. } | SyncArgs { wait_ready: Some(_), .. }) = &verb {
        return is_ready(&verb, &socket);
    }
    let mut client = Client::connect(&socket)?;
    if matches!(verb, Verb::Events) {
        return listen(&mut client, json);
    }
    if let (Verb::Capture(args), false) = (&verb, json) {
        return write_capture(&mut client, &request, &args.output);
    }
    let mut to = io::BufWriter::new(io::stdout().lock());
    if json {
        print_json(&mut client, &request, &mut to)?
    } else {
        print(&mut client, &request, &verb, &mut to)?
    }
    to.flush()?;
    match verb {
        Verb::Drain(how) if how.wait => drain::wait(&mut client, &how),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The director on the terminal.
fn show(socket: &std::path::Path) -> Result<ExitCode, Trouble> {
    top::run(socket).map(|()| ExitCode::SUCCESS).map_err(|error| Trouble::Other(error.to_string()))
}

/// Succeeds once the director is ready to take over. One that cannot be reached is asked again as long as there is time.
fn is_ready(verb: &Verb, socket: &std::path::Path) -> Result<ExitCode, Trouble> {
    let Verb::Sync(SyncArgs { wait_ready, .. }) = verb else { return Ok(ExitCode::FAILURE) };
    let until = Instant::now() + Duration::from_secs(wait_ready.unwrap_or(0).into());
    loop {
        let reply = Client::connect(socket).and_then(|mut client| client.ask(&Request::Sync {}));
        match reply {
            Ok(Reply::Sync(view)) if view.ready => return Ok(ExitCode::SUCCESS),
            Err(error) if Instant::now() >= until => return Err(error.into()),
            _ if Instant::now() >= until => return Ok(ExitCode::FAILURE),
            _ => std::thread::sleep(ASK_AGAIN),
        }
    }
}

/// Prints events as they come.
fn listen(client: &mut Client, json: bool) -> Result<ExitCode, Trouble> {
    let mut trouble = None;
    let outcome = client.listen(|told| {
        let line = if json {
            serde_json::to_string(&Reply::Event(told)).map(|line| line + "\n").map_err(io::Error::from)
        } else {
            Ok(tables::event(&told))
        };
        let mut to = io::stdout().lock();
        let printed = line.and_then(|line| to.write_all(line.as_bytes())).and_then(|()| to.flush());
        printed.map_err(|error| {
            trouble = Some(error.into());
            ClientError::Garbled(String::new())
        })
    });
    match trouble {
        Some(trouble) => Err(trouble),
        None => outcome.map(|()| ExitCode::SUCCESS).map_err(Trouble::from),
    }
}

/// Carries a failure to print through the client.
fn each(
    client: &mut Client,
    request: &Request,
    mut show: impl FnMut(Reply) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut trouble = None;
    let outcome = client.each(request, |reply| {
        show(reply).map_err(|t| {
            trouble = Some(t);
            ClientError::Garbled(String::new())
        })
    });
    trouble.map_or_else(|| outcome.map_err(Trouble::from), Err)
}

/// What a request does, for those who wait for it; listings print line after line.
fn progress(request: &Request) -> Progress {
    let (what, prints_lines) = match request {
        Request::Apply { name, .. } => (format!("applying {name}"), false),
        Request::Reload {} => ("reading the configuration again".to_owned(), false),
        Request::Connections(_) => ("listing connections".to_owned(), true),
        Request::Templates(_) => ("listing templates".to_owned(), true),
        _ => ("waiting for pollvsd".to_owned(), false),
    };
    Progress::begin(what, prints_lines)
}

fn print_json(client: &mut Client, request: &Request, to: &mut impl Write) -> Result<(), Trouble> {
    let progress = progress(request);
    each(client, request, |reply| {
        progress.add(connections(&reply));
        let line = serde_json::to_string(&reply).map_err(io::Error::from)?;
        Ok(writeln!(to, "{line}")?)
    })
}

/// Says once that packets are shown from now on.
fn say_begun(begun: &mut bool) {
    if !std::mem::replace(begun, true) {
        eprintln!("watching, until Ctrl-C unless --count or --seconds ends it");
    }
}

/// Writes frames as they come; says how many they were at the end.
fn write_capture(client: &mut Client, request: &Request, to: &std::path::Path) -> Result<ExitCode, Trouble> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => Trouble::Unread,
        _ => Trouble::Other(format!("cannot write {}: {error}", to.display())),
    };
    let file: Box<dyn Write> = match to.to_str() {
        Some("-") => Box::new(io::stdout()),
        _ => Box::new(std::fs::File::create(to).map_err(cannot)?),
    };
    let mut capture = Capture::new(io::BufWriter::new(file)).map_err(cannot)?;
    let (mut lost_in_all, mut begun) = (0, false);
    each(client, request, |reply| {
        if let Reply::Frames { frames, lost, .. } = reply {
            say_begun(&mut begun);
            lost_in_all = lost;
            capture.write(&frames).map_err(cannot)?;
        }
        Ok(())
    })?;
    eprintln!("{} frames captured, {lost_in_all} lost since they came too fast", capture.frames);
    Ok(ExitCode::SUCCESS)
}

fn print(client: &mut Client, request: &Request, verb: &Verb, to: &mut impl Write) -> Result<(), Trouble> {
    let progress = progress(request);
    if let Request::Connections(_) | Request::Templates(_) = request {
        let mut first = true;
        return each(client, request, |reply| {
            progress.add(connections(&reply));
            if let Reply::Connections { connections, .. } = reply {
                tables::connections(&connections, std::mem::take(&mut first), to)?;
            }
            Ok(())
        });
    }
    if let Request::Trace { .. } = request {
        let mut begun = false;
        return each(client, request, |reply| {
            say_begun(&mut begun);
            to.write_all(tables::text(&reply, verb).as_bytes())?;
            Ok(to.flush()?)
        });
    }
    let reply = client.ask(request)?;
    drop(progress);
    Ok(to.write_all(tables::text(&reply, verb).as_bytes())?)
}

/// Connections in a reply.
fn connections(reply: &Reply) -> usize {
    if let Reply::Connections { connections, .. } = reply { connections.len() } else { 0 }
}

/// A scenario that is not understood is a wrong command line: exit status 2.
fn replay(scenario: &crate::replay::Arguments) -> ExitCode {
    match crate::replay::replay(&scenario.scenario, &scenario.out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pollvs: {error}");
            ExitCode::from(2)
        }
    }
}

fn run_ipvsadm(args: &[String], socket: &std::path::Path) -> Result<ExitCode, Trouble> {
    let mut client = None;
    let mut ask = |request: Request| ask(&mut client, socket, &request).unwrap_or_else(Reply::Error);
    let mut stdin = || io::read_to_string(io::stdin()).unwrap_or_default();
    let names = Names::system();
    say(ipvsadm::run(args, &mut Host { ask: &mut ask, stdin: &mut stdin, names: &names }))
}

fn run_iptables(family: MarkFamily, args: &[String], socket: &std::path::Path) -> Result<ExitCode, Trouble> {
    let mut client = None;
    let mut ask = |request: Request| ask(&mut client, socket, &request).unwrap_or_else(Reply::Error);
    say(iptables::run(family, args, &mut iptables::Host { ask: &mut ask, names: &Names::system() }))
}

fn say(outcome: Outcome) -> Result<ExitCode, Trouble> {
    let Outcome { code, stdout, stderr } = outcome;
    eprint!("{stderr}");
    let mut to = io::stdout().lock();
    to.write_all(stdout.as_bytes())?;
    to.flush()?;
    Ok(code.into())
}

/// Asks on a connection that is opened by the first request.
fn ask(client: &mut Option<Client>, socket: &std::path::Path, request: &Request) -> Result<Reply, Failure> {
    let failure = |error: ClientError| match error {
        ClientError::Refused(failure) => failure,
        other => Failure::new(ErrorCode::Unsupported, other.to_string()),
    };
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::connect(socket).map_err(failure)?),
    };
    client.ask(request).map_err(failure)
}

#[cfg(test)]
mod tests;
