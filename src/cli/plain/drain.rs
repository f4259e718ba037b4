//! `pollvs drain --wait`: says what is left, until nothing is or the time is over.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cli::plain::args::DrainArgs;
use crate::cli::plain::{Trouble, tables};
use crate::control::client::{Client, ClientError};
use crate::control::reply::{DrainView, ErrorCode, Failure, Reply};
use crate::control::request::Request;

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// The tables are walked for the oldest connection no longer than one part of the time in so many.
const SHARE: u32 = 10;

/// Waits for the drain that was just begun. Fails if connections are active in the end and the destination stays.
pub(super) fn wait(client: &mut Client, how: &DrainArgs) -> Result<ExitCode, Trouble> {
    let mut progress = Progress::default();
    let mut walk = Walk::default();
    loop {
        let drains = match ours(client, how, walk.is_due()) {
            // A worker that is busy is asked again; one that stays silent is seen in the log and by `pollvs status`.
            Err(Trouble::Client(ClientError::Refused(Failure { code: ErrorCode::WorkerSilent, .. }))) => {
                std::thread::sleep(LOOK);
                continue;
            }
            drains => drains?,
        };
        walk.walked();
        progress.say(&summary(&drains))?;
        // One that is removed in the end is not there any more then.
        if drains.iter().all(|d| d.over) {
            progress.end()?;
            let left: u64 = drains.iter().map(|d| d.active).sum();
            return Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        std::thread::sleep(LOOK);
    }
}

fn ours(client: &mut Client, how: &DrainArgs, oldest: bool) -> Result<Vec<DrainView>, Trouble> {
    let reply = client.ask(&Request::Drains { oldest })?;
    let Reply::Drains { mut drains } = reply else {
        return Err(Trouble::Other("the director does not say what is drained".to_owned()));
    };
    drains.retain(|d| how.destination.is_at(d.destination) && how.service.is_none_or(|service| service == d.service));
    Ok(drains)
}

/// One line for all of them.
fn summary(drains: &[DrainView]) -> String {
    let sum = |field: fn(&DrainView) -> u64| drains.iter().map(field).sum::<u64>();
    if drains.is_empty() {
        return "drained and removed".to_owned();
    }
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
    use super::*;
    use crate::control::reply::OldestView;
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
        for (drains, want) in [
            (vec![], "drained and removed"),
            (vec![drain(0, true, None)], "drained: 0 active, 3 inactive, 1 templates"),
            (
                vec![drain(1, false, None), old],
                "draining: 3 active, 6 inactive, 2 templates, oldest 203.0.113.5:40312 ESTABLISHED, 1 h 2 min, 9 s left",
            ),
        ] {
            assert_eq!(summary(&drains), want);
        }
    }
}
