//! `pollvs drain --wait`: says what is left, until nothing is, the time is over, or somebody has ended the drain.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cli::plain::args::DrainArgs;
use crate::cli::plain::{Trouble, tables};
use crate::control::client::{Client, ClientError};
use crate::control::key::word;
use crate::control::reply::{DrainView, ErrorCode, Failure, Reply, ServiceView};
use crate::control::request::Request;
use crate::control::standing::Standing;
use crate::service::ServiceKey;

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// The tables are walked for the oldest connection no longer than one part of the time in so many.
const SHARE: u32 = 10;

/// Of which service a destination is, and where.
type Place = (ServiceKey, SocketAddr);

/// Waits for the drain that was just begun. Fails if in the end the destination stays with active connections, or undrained.
pub(super) fn wait(client: &mut Client, how: &DrainArgs) -> Result<ExitCode, Trouble> {
    let mut progress = Progress::default();
    let left = Watch::new(client, how).wait(LOOK, |line| progress.say(line))?;
    progress.end()?;
    Ok(if left.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How it stands with what was drained.
struct Left {
    drains: Vec<DrainView>,
    /// In their services, and not drained any more.
    undrained: Vec<Place>,
}

impl Left {
    /// One that is removed in the end is not there any more then.
    fn is_over(&self) -> bool {
        self.drains.iter().all(|d| d.over)
    }

    fn is_clean(&self) -> bool {
        self.undrained.is_empty() && self.drains.iter().all(|d| d.active == 0)
    }
}

/// One who waits.
struct Watch<'a> {
    client: &'a mut Client,
    how: &'a DrainArgs,
    walk: Walk,
    /// All that were drained at any look.
    seen: BTreeSet<Place>,
}

impl<'a> Watch<'a> {
    fn new(client: &'a mut Client, how: &'a DrainArgs) -> Self {
        Self { client, how, walk: Walk::default(), seen: BTreeSet::new() }
    }

    /// Looks again and again, and says what it sees, until it is over.
    fn wait(mut self, pause: Duration, mut say: impl FnMut(&str) -> io::Result<()>) -> Result<Left, Trouble> {
        loop {
            match self.look() {
                // A worker that is busy is asked again; one that stays silent is seen in the log and by `pollvs status`.
                Err(Trouble::Client(ClientError::Refused(Failure { code: ErrorCode::WorkerSilent, .. }))) => {}
                left => {
                    let left = left?;
                    say(&summary(&left))?;
                    if left.is_over() {
                        return Ok(left);
                    }
                }
            }
            std::thread::sleep(pause);
        }
    }

    fn look(&mut self) -> Result<Left, Trouble> {
        let drains = self.drains()?;
        self.seen.extend(drains.iter().map(place));
        let undrained = self.undrained(&drains)?;
        Ok(Left { drains, undrained })
    }

    fn drains(&mut self) -> Result<Vec<DrainView>, Trouble> {
        let reply = self.client.ask(&Request::Drains { oldest: self.walk.is_due() })?;
        self.walk.walked();
        let Reply::Drains { mut drains } = reply else {
            return Err(Trouble::Other("the director does not say what is drained".to_owned()));
        };
        drains.retain(|d| is_meant(self.how, d.service, d.destination));
        Ok(drains)
    }

    /// Those that were drained, are not any more, and have not been removed: somebody has ended the drain.
    fn undrained(&mut self, drains: &[DrainView]) -> Result<Vec<Place>, Trouble> {
        let now: BTreeSet<Place> = drains.iter().map(place).collect();
        let all_seen = self.seen.is_subset(&now) && !now.is_empty();
        if all_seen {
            return Ok(Vec::new());
        }
        let mut undrained = self.in_service()?;
        // A drain that has ended before the first look was of any that is meant.
        let was_drained = |at: &Place| self.seen.contains(at) || self.seen.is_empty();
        undrained.retain(|at| !now.contains(at) && was_drained(at));
        Ok(undrained)
    }

    /// Which of those that are meant are in their services, and not drained.
    fn in_service(&mut self) -> Result<Vec<Place>, Trouble> {
        let services = match self.client.ask(&Request::Services { service: self.how.service }) {
            Ok(Reply::Services { services, .. }) => services,
            // Gone, with all that it had.
            Err(ClientError::Refused(Failure { code: ErrorCode::NoSuchService, .. })) => Vec::new(),
            Ok(_) => return Err(Trouble::Other("the director does not say what is in service".to_owned())),
            Err(error) => return Err(error.into()),
        };
        let of = |s: ServiceView| {
            let stays = s.destinations.into_iter().filter(|d| d.standing != Standing::Draining);
            stays.map(move |d| (s.service, d.address))
        };
        Ok(services.into_iter().flat_map(of).filter(|(service, at)| is_meant(self.how, *service, *at)).collect())
    }
}

fn place(drain: &DrainView) -> Place {
    (drain.service, drain.destination)
}

fn is_meant(how: &DrainArgs, service: ServiceKey, at: SocketAddr) -> bool {
    how.destination.is_at(at) && how.service.is_none_or(|only| only == service)
}

/// One line for all of them.
fn summary(left: &Left) -> String {
    let Left { drains, undrained } = left;
    let named = |(service, at): &Place| format!("{at} of {}", word(service));
    let undrained = undrained.iter().map(named).collect::<Vec<_>>().join(", ");
    match (drains.is_empty(), undrained.is_empty()) {
        (true, true) => "drained and removed".to_owned(),
        (true, false) => format!("not drained any more, and not removed: {undrained}"),
        (false, true) => progress(drains),
        (false, false) => format!("{}; not drained any more: {undrained}", progress(drains)),
    }
}

/// How far those have come that are drained.
fn progress(drains: &[DrainView]) -> String {
    let sum = |field: fn(&DrainView) -> u64| drains.iter().map(field).sum::<u64>();
    let oldest = drains.iter().filter_map(|d| d.oldest.as_ref()).max_by_key(|oldest| oldest.age_secs);
    let oldest = oldest.map_or(String::new(), |oldest| format!(", oldest {}", tables::oldest(oldest)));
    let left = drains.iter().filter_map(|d| d.left_secs).max().map_or(String::new(), |secs| format!(", {secs} s left"));
    let [active, inactive, templates] = [sum(|d| d.active), sum(|d| d.inactive), sum(|d| d.persistent)];
    let state = if drains.iter().all(|d| d.over) { "drained" } else { "draining" };
    format!("{state}: {active} active, {inactive} inactive, {templates} templates{oldest}{left}")
}

/// Walks that take long are made seldom.
#[derive(Default)]
struct Walk {
    begun: Option<Instant>,
    next: Option<Instant>,
}

impl Walk {
    fn is_due(&mut self) -> bool {
        let due = self.next.is_none_or(|next| Instant::now() >= next);
        self.begun = due.then(Instant::now);
        due
    }

    fn walked(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.next = Some(Instant::now() + begun.elapsed() * SHARE);
        }
    }
}

/// A line that is written over on a terminal, and elsewhere one for each change.
#[derive(Default)]
struct Progress {
    last: String,
}

impl Progress {
    fn say(&mut self, line: &str) -> io::Result<()> {
        if self.last == line {
            return Ok(());
        }
        let mut to = io::stderr();
        if to.is_terminal() {
            let blank = self.last.chars().count().saturating_sub(line.chars().count());
            write!(to, "\r{line}{}", " ".repeat(blank))?;
        } else {
            writeln!(to, "{line}")?;
        }
        line.clone_into(&mut self.last);
        to.flush()
    }

    fn end(&self) -> io::Result<()> {
        let mut to = io::stderr();
        if to.is_terminal() { writeln!(to) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use clap::Parser as _;

    use super::*;
    use crate::cli::plain::args::{Typed, Verb};
    use crate::control::reply::{OldestView, PROTOCOL};
    use crate::control::standing::drain::Templates;

    fn drain(active: u64, over: bool, left_secs: Option<u64>) -> DrainView {
        DrainView {
            service: "mark:7".parse().unwrap(),
            destination: "198.51.100.11:80".parse().unwrap(),
            templates: Templates::Keep,
            remove: false,
            left_secs,
            over,
            active,
            inactive: 3,
            persistent: 1,
            oldest: None,
        }
    }

    #[test]
    fn what_is_left_is_one_line() {
        let oldest = OldestView {
            client: "203.0.113.5:40312".parse().unwrap(),
            state: "ESTABLISHED".into(),
            age_secs: 3725,
            worker: 0,
        };
        let old = DrainView { oldest: Some(oldest), ..drain(2, false, Some(9)) };
        let other: Place = ("mark:8".parse().unwrap(), "198.51.100.11:80".parse().unwrap());
        for (drains, undrained, want) in [
            (vec![], vec![], "drained and removed"),
            (vec![], vec![other], "not drained any more, and not removed: 198.51.100.11:80 of mark:8"),
            (vec![drain(0, true, None)], vec![], "drained: 0 active, 3 inactive, 1 templates"),
            (
                vec![drain(1, false, None), old],
                vec![],
                "draining: 3 active, 6 inactive, 2 templates, oldest 203.0.113.5:40312 ESTABLISHED, 1 h 2 min, 9 s left",
            ),
            (
                vec![drain(1, false, None)],
                vec![other],
                "draining: 1 active, 3 inactive, 1 templates; not drained any more: 198.51.100.11:80 of mark:8",
            ),
        ] {
            assert_eq!(summary(&Left { drains, undrained }), want);
        }
    }

    /// Answers requests in turn on a socket, and then goes.
    fn director(socket: &Path, answers: &[Reply]) -> std::thread::JoinHandle<Vec<String>> {
        let (listener, answers) = (UnixListener::bind(socket).unwrap(), answers.to_vec());
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let say = |reply: &Reply| writeln!(&stream, "{}", serde_json::to_string(reply).unwrap()).unwrap();
            say(&Reply::Hello { protocol: PROTOCOL, version: String::new() });
            let mut asked = BufReader::new(&stream).lines();
            let mut next = |reply| {
                let line = asked.next().unwrap().unwrap();
                say(reply);
                line
            };
            answers.iter().map(&mut next).collect()
        })
    }

    /// A service of that mark with that destination.
    fn service(mark: u32, standing: Standing) -> ServiceView {
        let line = include_str!("../../../docs/control.md").lines().find(|l| l.starts_with(r#"{"reply":"services""#));
        let Ok(Reply::Services { mut services, .. }) = serde_json::from_str(line.unwrap()) else { panic!() };
        let mut service = services.remove(0);
        service.service = format!("mark:{mark}").parse().unwrap();
        (service.destinations[0].address, service.destinations[0].standing) =
            ("198.51.100.11:80".parse().unwrap(), standing);
        service
    }

    /// What was said by one who waited with a director that answered so, and whether all went well.
    fn said(words: &str, answers: &[Reply]) -> (Vec<String>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let director = director(&socket, answers);
        let typed = Typed::try_parse_from(format!("pollvs drain 198.51.100.11 {words}").split_whitespace()).unwrap();
        let Verb::Drain(how) = typed.verb else { panic!() };
        let mut lines = Vec::new();
        let say = |line: &str| {
            lines.push(line.to_owned());
            Ok(())
        };
        let left = Watch::new(&mut Client::connect(&socket).unwrap(), &how).wait(Duration::ZERO, say).unwrap();
        director.join().unwrap();
        (lines, left.is_clean())
    }

    #[test]
    fn one_who_waits_is_told_whether_a_destination_was_removed_or_undrained() {
        let drains = |drains: Vec<DrainView>| Reply::Drains { drains };
        let services = |services| Reply::Services { services, more: false };
        let (begun, none) = (drains(vec![drain(1, false, None)]), drains(vec![]));
        let stays = || services(vec![service(7, Standing::Up), service(9, Standing::Draining)]);
        let gone = || services(vec![service(9, Standing::Up)]);
        let going = "draining: 1 active, 3 inactive, 1 templates".to_owned();
        let undrained = "not drained any more, and not removed: 198.51.100.11:80 of mark:7".to_owned();
        let removed = "drained and removed".to_owned();
        let no_service = Reply::Error(Failure::new(ErrorCode::NoSuchService, "gone"));
        for (words, answers, lines, well) in [
            ("", vec![begun.clone(), none.clone(), stays()], vec![going.clone(), undrained.clone()], false),
            ("", vec![begun.clone(), none.clone(), gone()], vec![going.clone(), removed.clone()], true),
            ("--service mark:7", vec![begun, none.clone(), no_service], vec![going, removed.clone()], true),
            // Before the first look.
            ("--service mark:7", vec![none.clone(), stays()], vec![undrained], false),
            ("--service mark:8", vec![none, gone()], vec![removed], true),
        ] {
            assert_eq!(said(words, &answers), (lines, well), "{words}: {answers:?}");
        }
    }
}
