//! Captures and traces: packets shown to a client while they are forwarded (`pollvs capture`, `pollvs trace`). Each worker is given a
//! tap; what the taps copy is fetched many times a second and sent on, a line for a handful, until there were as many as wanted, the
//! time is over, or the client is gone. Then the taps are taken back.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::control::reply::{ErrorCode, Failure, FrameView, Reply, TraceView};
use crate::control::{Control, Inner};
use crate::director::Sight;
use crate::mailbox::{Command, Workers};
use crate::tap::{Filter, Line, Shot, Subject, Tap, Way};
use crate::verdict::{Cut, Origin, PortId, Verdict};
use crate::wire::show;

/// From one look for packets to the next.
const LOOK: Duration = Duration::from_millis(10);
/// Packets of one line.
const A_LINE: usize = 64;

/// What somebody wants to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) subject: Subject,
    /// See [`Filter`].
    pub(super) filter: String,
    /// Bytes of each frame; 0 for all.
    pub(super) snaplen: u32,
    /// Packets; 0 for no end.
    pub(super) count: u64,
    /// How long; 0 for no end.
    pub(super) seconds: u32,
}

/// The line of one worker.
#[derive(Debug)]
struct Source {
    worker: u16,
    line: Arc<Line>,
    /// Nanoseconds since 1970 when the worker's clock was 0.
    zero: u64,
}

/// One capture or trace. The taps are taken back when it is dropped.
#[derive(Debug)]
pub struct Watch {
    control: Control,
    subject: Subject,
    sources: Vec<Source>,
    /// Packets still wanted.
    left: u64,
    until: Option<Instant>,
    begun: bool,
    over: bool,
    /// There is one at a time.
    turn: Option<OwnedSemaphorePermit>,
}

impl Control {
    /// Begins to show packets.
    pub(super) async fn watch(&self, wanted: &Wanted) -> Result<Watch, Failure> {
        let bad = |error: crate::tap::BadFilter| Failure::new(ErrorCode::BadRequest, error.to_string());
        let filter: Arc<Filter> = Arc::new(wanted.filter.parse().map_err(bad)?);
        let busy = |_| Failure::new(ErrorCode::Full, "a capture or trace is under way, and there is one at a time");
        let turn = self.watches.clone().try_acquire_owned().map_err(busy)?;
        let snaplen = usize::try_from(wanted.snaplen).ok().filter(|length| *length > 0).unwrap_or(usize::MAX);
        let (count, seconds) = (wanted.count, u64::from(wanted.seconds));
        let mut watch = Watch {
            control: self.clone(),
            subject: wanted.subject,
            sources: Vec::new(),
            left: if count == 0 { u64::MAX } else { count },
            until: (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds)),
            begun: false,
            over: false,
            turn: Some(turn),
        };
        for worker in self.workers.iter() {
            let line = Line::new(snaplen);
            let tap = Tap::new(filter.clone(), wanted.subject, line.clone());
            let (_, at) = worker.ask(|answer| Command::Tap(Some(tap), answer)).await?;
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let zero = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX).saturating_sub(at.0);
            watch.sources.push(Source { worker: worker.id.0, line, zero });
        }
        Ok(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (workers, turn) = (self.control.workers.clone(), self.turn.take());
        // Freed here, not on the workers, and before the next one begins.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                take_back(&workers).await;
                drop(turn);
            });
        }
    }
}

async fn take_back(workers: &Workers) {
    for (_, answer) in workers.ask_each(|answer| Command::Tap(None, answer)).await {
        // A worker that is silent shows packets to nobody, until it is told again.
        drop(answer);
    }
}

impl Watch {
    /// The next line. The first is empty and says that packets are shown from now on; the last says that there are no more.
    pub(super) async fn next(&mut self) -> Option<Reply> {
        if self.over {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true) {
            return Some(self.reply(Vec::new()).await);
        }
        loop {
            let shots = self.fetch();
            self.left -= shots.len() as u64;
            self.over = self.left == 0 || self.until.is_some_and(|until| until <= Instant::now()) && shots.is_empty();
            if !shots.is_empty() || self.over {
                return Some(self.reply(shots).await);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The packets of one line, of each worker in turn.
    fn fetch(&mut self) -> Vec<(u16, u64, Shot)> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(A_LINE);
        let mut shots = Vec::new();
        for Source { worker, line, zero } in &self.sources {
            while shots.len() < most && line.next(|shot| shots.push((*worker, zero + shot.at.0, shot.clone()))) {}
        }
        shots.sort_by_key(|(_, at, _)| *at);
        shots
    }

    async fn reply(&self, shots: Vec<(u16, u64, Shot)>) -> Reply {
        let (lost, more) = (self.sources.iter().map(|source| source.line.lost()).sum(), !self.over);
        let inner = self.control.inner.lock().await;
        let shots = shots.iter().map(|(worker, at, shot)| (*worker, *at, shot));
        match self.subject {
            Subject::Frames => Reply::Frames { frames: shots.map(|shot| inner.frame_view(shot)).collect(), lost, more },
            Subject::Fates => Reply::Trace { packets: shots.map(|shot| inner.trace_view(shot)).collect(), lost, more },
        }
    }
}

impl Inner {
    fn port_name(&self, port: PortId) -> String {
        crate::control::picture::port_name(&self.current.network, port)
    }

    fn frame_view(&self, (worker, at_nanos, shot): (u16, u64, &Shot)) -> FrameView {
        FrameView {
            worker,
            at_nanos,
            port: self.port_name(shot.port),
            out: shot.way == Way::Out,
            length: u32::try_from(shot.frame.length).unwrap_or(u32::MAX),
            data: hex(&shot.frame.bytes),
        }
    }

    fn trace_view(&self, (worker, at_nanos, shot): (u16, u64, &Shot)) -> TraceView {
        let from = match shot.origin {
            Origin::Wire => format!("received by {}", self.port_name(shot.port)),
            Origin::Twin => format!("from the kernel, for {}", self.port_name(shot.port)),
        };
        let mut steps = vec![from];
        if let Some((sight, verdict)) = shot.fate {
            steps.extend(self.seen(&sight));
            steps.push(self.decided(verdict));
        }
        let sent = shot.fate.is_some_and(|(_, verdict)| {
            matches!(verdict, Verdict::Transmit(_) | Verdict::Fragment(..) | Verdict::Hold(..))
        });
        TraceView {
            worker,
            at_nanos,
            packet: show::frame(&shot.frame.bytes, show::Ident::Shown),
            steps,
            after: sent.then(|| show::frame(&shot.after.bytes, show::Ident::Shown)),
        }
    }

    fn seen(&self, sight: &Sight) -> Vec<String> {
        match sight {
            Sight::Headers => Vec::new(),
            Sight::Error => vec!["may be an ICMP error about a connection".to_owned()],
            Sight::Ipsec => vec!["is protected by IPsec: goes by the connection of its key exchange".to_owned()],
            Sight::Reply(None) => vec!["not to a virtual address, and no server's answer on a connection".to_owned()],
            Sight::Reply(Some((vip, state))) => {
                vec![format!("a server's answer on a connection to {vip} in {}", state.name())]
            }
            Sight::Request(question, explained) => {
                let why = self.explain(question, explained);
                let service = why.service.map(|service| format!("service {}", crate::control::key::word(&service)));
                let state = why.state.map(|state| format!(" in {state}")).unwrap_or_default();
                let to = why.destination.map(|d| format!("{}{state}: {}, weight {}", why.by, d.address, d.weight));
                service.into_iter().chain(to).chain(why.reasons).collect()
            }
        }
    }

    fn decided(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Transmit(port) => format!("sent by {}", self.port_name(port)),
            Verdict::Fragment(port, _, cut) => format!("sent by {} in fragments{}", self.port_name(port), most(cut)),
            Verdict::Reassemble => "kept until its datagram is whole".to_owned(),
            Verdict::Pass(port) => format!("left to the kernel, by the twin of {}", self.port_name(port)),
            Verdict::Handoff(worker) => format!("handed over to worker {}, whose client it is", worker.0),
            Verdict::Hold(port, neighbour) => {
                format!("held for {} until {neighbour} is resolved", self.port_name(port))
            }
            Verdict::Drop(reason) => format!("dropped ({}): {}", reason.name(), reason.text()),
            Verdict::Pending => "not judged".to_owned(),
        }
    }
}

fn most(cut: Cut) -> String {
    match cut {
        Cut::AtMost(bytes) => format!(" of at most {bytes} bytes"),
        Cut::AsItCame | Cut::Listed(_) | Cut::Joined(_) => " as it came".to_owned(),
    }
}

/// Bytes as they stand in a reply.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes again; `None` for what is none.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_in_a_reply_as_hexadecimal_digits() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(unhex("001fff"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!((unhex("0"), unhex("0g"), unhex("")), (None, None, Some(Vec::new())));
    }
}
