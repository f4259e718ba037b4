//! The probes: one file for each kind, of one shape. Each tries once and says what it saw, a good outcome or a bad one; none has a
//! time-out of its own, for all are dropped when theirs is over, whatever the server does, and all leave nothing behind then.

mod command;
mod dial;
mod dns;
mod http;
mod icmp;
mod tcp;
mod tls;
mod udp;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::plan::{Plan, Probe};
use crate::kernel::{Detours, Way};

/// What was seen: why it is good, or why it is bad. A few words for people.
pub type Outcome = Result<String, String>;

/// Bytes of an answer that are looked at; what follows is not read.
const MOST_READ: usize = 256 << 10;

/// Tries what plans say.
pub trait Probing: Send + Sync + 'static {
    /// Tries once. May be dropped at any time.
    fn probe(&self, plan: &Plan) -> impl Future<Output = Outcome> + Send;

    /// Those are the ways that will be taken; what was made for others may go.
    fn keep(&self, _ways: &HashSet<Way>) {}
}

/// Probes over the network, and by programs.
#[derive(Debug, Default)]
pub struct Probes {
    icmp: icmp::Echoes,
    tls: tls::Clients,
    /// Ways to virtual addresses on real servers; none before the first is needed.
    detours: Mutex<Option<Detours>>,
}

impl Probing for Probes {
    async fn probe(&self, plan: &Plan) -> Outcome {
        let mark = plan.way.map(|way| self.mark(way)).transpose()?;
        match &plan.probe {
            Probe::Icmp(address) => self.icmp.probe(*address).await,
            Probe::Tcp(exchange) => tcp::probe(exchange, mark).await,
            Probe::Udp(exchange) => udp::probe(exchange, mark).await,
            Probe::Http(http) => http::probe(http, &self.tls, mark).await,
            Probe::Dns(question) => dns::probe(question, mark).await,
            Probe::Command(program) => command::probe(program).await,
        }
    }

    fn keep(&self, ways: &HashSet<Way>) {
        if let Some(detours) = &mut *self.detours.lock().unwrap_or_else(PoisonError::into_inner) {
            detours.keep(ways);
        }
    }
}

impl Probes {
    /// The mark of sockets that are to take that way, which is made if it is not there.
    fn mark(&self, way: Way) -> Result<u32, String> {
        let mut detours = self.detours.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = |e: io::Error| format!("no way to {} by {}: {}", way.address, way.by, words(&e));
        let opened = match detours.take() {
            Some(opened) => opened,
            None => Detours::open().map_err(wrong)?,
        };
        detours.insert(opened).mark(way).map_err(wrong)
    }
}

impl Plan {
    /// The outcome of a probe that was not over in time.
    pub fn timed_out(&self) -> Outcome {
        let millis = self.timeout.as_millis();
        match &self.probe {
            // Nobody has refused it.
            Probe::Udp(exchange) if exchange.expect.is_none() => Ok("not refused".to_owned()),
            Probe::Command(_) => Err(format!("not finished after {millis} ms; killed")),
            _ if self.way.is_some_and(|way| way.address.is_ipv4()) => {
                Err(format!("no answer within {millis} ms (is accept_local set for the twin? docs/health.md)"))
            }
            _ => Err(format!("no answer within {millis} ms")),
        }
    }
}

/// What the system says of a failure, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_ascii_lowercase()
}

/// Does the text hold those bytes?
fn holds(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// The beginning of what somebody sent, on one line.
fn excerpt(text: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(text);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST + 1).collect();
    let short: String = line.trim().chars().take(MOST).collect();
    if line.chars().count() > MOST { format!("\"{short}...\"") } else { format!("\"{short}\"") }
}
