//! A backup: hears the group, believes what it should, and gives each connection to the worker whose client it is.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::counted::Count;
use super::socket::{self, Received};
use super::{AGAIN, Context, join, link, stamp};
use crate::control::daemon::{DaemonSpec, Role};
use crate::mailbox::Command;
use crate::sync::seal::{SealError, Verifier};
use crate::sync::sender::ports;
use crate::sync::{Entry, Message};

/// The longest datagram.
const LONGEST: usize = 1 << 16;
/// Datagrams that are taken before what they tell is given to the workers.
const AT_ONCE: usize = 64;
/// Entries that a worker is given at a time.
const BATCH: usize = 64;
/// How often the interface's addresses are read again when a source is not among their networks.
const LOOK: Duration = Duration::from_secs(1);

/// Runs until it is aborted.
pub(super) async fn run(context: Context, spec: DaemonSpec) {
    context.shared.gate.ask();
    let sockets = loop {
        let outcome = open(&context, &spec);
        let why = outcome.as_ref().err().map(ToString::to_string);
        if context.shared.counted.wait(Role::Backup, why.clone())
            && let Some(why) = why
        {
            tracing::warn!("the synchronisation's backup on {} waits: {why}", spec.interface);
        }
        match outcome {
            Ok(sockets) => break sockets,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    tracing::info!("the synchronisation's backup hears {} on {}", spec.group, spec.interface);
    let mut tasks = JoinSet::new();
    for socket in sockets {
        tasks.spawn(hear(context.clone(), spec.clone(), socket));
    }
    tasks.spawn(join::run(context, spec));
    while tasks.join_next().await.is_some() {}
}

fn open(context: &Context, spec: &DaemonSpec) -> io::Result<Vec<UdpSocket>> {
    let settings = context.shared.wanted.borrow().settings;
    let port = |thread: u16| socket::receiving(spec, spec.port.saturating_add(thread), settings.sync_sock_size);
    (0..ports(&settings)).map(port).collect()
}

async fn hear(context: Context, spec: DaemonSpec, socket: UdpSocket) {
    let mut buffer = vec![0; LONGEST];
    let mut doubts = Doubts::new(&context, &spec);
    let mut desk = Desk::new(&context);
    loop {
        let received = match socket::receive(&socket, &mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!("the synchronisation's backup: {error}");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        doubts.read(&buffer[..received.length], received, &mut desk);
        for _ in 1..AT_ONCE {
            let Some(received) = socket::try_receive(&socket, &mut buffer) else { break };
            doubts.read(&buffer[..received.length], received, &mut desk);
        }
        desk.give_out(&context).await;
    }
}

/// Where a datagram may come from.
#[derive(Debug)]
pub(super) struct Neighbourhood {
    interface: String,
    own: Vec<(IpAddr, IpAddr)>,
    read: Instant,
    allowed: Vec<crate::config::Cidr>,
}

impl Neighbourhood {
    pub(super) fn new(context: &Context, spec: &DaemonSpec) -> Self {
        let (interface, own) = (spec.interface.clone(), link::own(&spec.interface));
        Self { interface, own, read: Instant::now(), allowed: context.shared.config.sources.clone() }
    }

    /// Is that one of the sources that the configuration names, or, when it names none, of the interface's networks? On an interface
    /// without any there is nothing to hold it against.
    pub(super) fn has(&mut self, address: IpAddr) -> bool {
        if !self.allowed.is_empty() {
            return self.allowed.iter().any(|network| network.holds(address));
        }
        if !link::is_near(&self.own, address) && self.read.elapsed() > LOOK {
            (self.own, self.read) = (link::own(&self.interface), Instant::now());
        }
        self.own.is_empty() || link::is_near(&self.own, address)
    }
}

/// What a datagram must pass.
struct Doubts {
    context: Context,
    spec: DaemonSpec,
    near: Neighbourhood,
    verifier: Option<Verifier>,
}

impl Doubts {
    fn new(context: &Context, spec: &DaemonSpec) -> Self {
        let verifier = context.shared.key.clone().map(Verifier::new);
        let near = Neighbourhood::new(context, spec);
        Self { context: context.clone(), spec: spec.clone(), near, verifier }
    }

    /// Puts what a datagram tells on the desk.
    fn read(&mut self, bytes: &[u8], from: Received, desk: &mut Desk) {
        if join::is_ours(bytes) {
            return;
        }
        let counted = &self.context.shared.counted;
        counted.one(Count::Received);
        match believe(self.verifier.as_mut(), &mut self.near, &self.spec, bytes, from) {
            Ok(message) => {
                counted.add(Count::ReceivedEntries, message.count().into());
                for entry in message.entries() {
                    match entry {
                        Ok(entry) => desk.put(&self.context, entry),
                        Err(_) => counted.one(Count::BadEntry),
                    }
                }
            }
            Err(why) => counted.one(why),
        }
    }
}

/// The message in a datagram, if it is to be believed; else what is to be counted.
fn believe<'b>(
    verifier: Option<&mut Verifier>,
    near: &mut Neighbourhood,
    spec: &DaemonSpec,
    bytes: &'b [u8],
    from: Received,
) -> Result<Message<'b>, Count> {
    if from.ttl > spec.ttl {
        return Err(Count::FarAway);
    }
    if !near.has(from.from.ip()) {
        return Err(Count::Foreign);
    }
    let bytes = match verifier {
        Some(verifier) => verifier.open(bytes, stamp()).map_err(refusal)?,
        None => bytes,
    };
    let message = Message::read(bytes).map_err(|_| Count::Malformed)?;
    let ours = spec.syncid == 0 || message.syncid() == spec.syncid;
    if ours { Ok(message) } else { Err(Count::OtherGroup) }
}

/// How a signature that is not believed is counted.
pub(super) fn refusal(error: SealError) -> Count {
    match error {
        SealError::Unsigned => Count::Unsigned,
        SealError::Stale => Count::Stale,
    }
}

/// What waits to be given to the workers, by worker.
pub(super) struct Desk(Vec<Vec<Entry>>);

impl Desk {
    pub(super) fn new(context: &Context) -> Self {
        Self(context.workers.iter().map(|_| Vec::new()).collect())
    }

    /// Puts an entry down for the worker whose client it is.
    pub(super) fn put(&mut self, context: &Context, entry: Entry) {
        let owner = usize::from(context.steering.owner(entry.client).0);
        if let Some(pile) = self.0.get_mut(owner) {
            pile.push(entry);
        }
    }

    /// Gives the workers what is theirs, a bounded piece at a time.
    pub(super) async fn give_out(&mut self, context: &Context) {
        let counted = &context.shared.counted;
        for (worker, pile) in context.workers.iter().zip(&mut self.0) {
            while !pile.is_empty() {
                let batch: Vec<Entry> = pile.drain(..pile.len().min(BATCH)).collect();
                let size = batch.len() as u64;
                match worker.ask(|answer| Command::Accept(batch, answer)).await {
                    Ok(report) => {
                        counted.add(Count::Outdated, report.outdated.into());
                        counted.add(Count::NoRoom, report.full.into());
                    }
                    Err(_) => counted.add(Count::Silent, size),
                }
            }
        }
    }
}
