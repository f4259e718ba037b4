//! A master: asks the workers every few milliseconds for what is to be told, sends it as messages, and answers directors that join.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::backup::Neighbourhood;
use super::counted::Count;
use super::{AGAIN, Context, join, socket, stamp, transfer};
use crate::control::daemon::{DaemonSpec, Role};
use crate::mailbox::Command;
use crate::sync::seal::{Sealer, TRAILER};
use crate::sync::sender::ports;
use crate::sync::{Entry, Sender, Setup};

/// How often the workers are asked.
const EVERY: Duration = Duration::from_millis(10);
/// What one worker may have to tell in that time.
const ROOM: usize = 4096;
/// Directors that are told everything at a time.
const TRANSFERS: usize = 4;
/// A datagram of a director that joins is shorter.
const QUESTION: usize = 512;

/// Everything open that a master needs.
struct Open {
    /// By port.
    senders: Vec<(UdpSocket, Option<Sealer>)>,
    questions: UdpSocket,
    joiners: TcpListener,
}

fn open(context: &Context, spec: &DaemonSpec) -> io::Result<Open> {
    let settings = context.shared.wanted.borrow().settings;
    let sealer = || context.shared.key.clone().map(|key| Sealer::new(key, rand::random()));
    let sender = |thread: u16| {
        let socket = socket::sending(spec, spec.port.saturating_add(thread), settings.sync_sock_size)?;
        Ok((socket, sealer()))
    };
    Ok(Open {
        senders: (0..ports(&settings)).map(sender).collect::<io::Result<_>>()?,
        questions: socket::receiving(spec, spec.port, 0)?,
        joiners: socket::listening(spec)?,
    })
}

/// Runs until it is aborted.
pub(super) async fn run(context: Context, spec: DaemonSpec) {
    let mut master = Master::new(context, spec);
    // What happens before there is a way to tell it is gathered nevertheless, as far as there is room.
    master.gather().await;
    let open = loop {
        let outcome = open(&master.context, &master.spec);
        let why = outcome.as_ref().err().map(ToString::to_string);
        if master.context.shared.counted.wait(Role::Master, why.clone())
            && let Some(why) = why
        {
            tracing::warn!("the synchronisation's master on {} waits: {why}", master.spec.interface);
        }
        match outcome {
            Ok(open) => break open,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    tracing::info!("the synchronisation's master tells {} on {}", master.spec.group, master.spec.interface);
    master.serve(open).await;
}

struct Master {
    context: Context,
    spec: DaemonSpec,
    sender: Sender,
    /// Empty buffers, by worker.
    spare: Vec<Vec<Entry>>,
    near: Neighbourhood,
}

impl Master {
    fn new(context: Context, spec: DaemonSpec) -> Self {
        let sender = Sender::new(setup(&context, &spec));
        let spare = context.workers.iter().map(|_| Vec::with_capacity(ROOM)).collect();
        let near = Neighbourhood::new(&context, &spec);
        Self { context, spec, sender, spare, near }
    }

    async fn serve(&mut self, mut open: Open) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut transfers = JoinSet::new();
        let room = Arc::new(Semaphore::new(TRANSFERS));
        let mut question = [0; QUESTION];
        let mut leaving = self.context.shared.leaving.subscribe();
        loop {
            tokio::select! {
                Ok(()) = leaving.changed() => {
                    self.gather().await;
                    self.sender.flush();
                    self.send(&mut open.senders).await;
                    self.context.shared.left.notify_one();
                }
                _ = ticks.tick() => {
                    self.gather().await;
                    self.send(&mut open.senders).await;
                }
                received = socket::receive(&open.questions, &mut question) => match received {
                    Ok(from) => self.answer(&open.questions, &question[..from.length], from).await,
                    Err(_) => tokio::time::sleep(EVERY).await,
                },
                joiner = open.joiners.accept() => match joiner {
                    Ok((stream, _)) => self.tell_all(stream, &room, &mut transfers),
                    Err(_) => tokio::time::sleep(EVERY).await,
                },
                Some(_) = transfers.join_next() => {}
            }
        }
    }

    /// Takes what the workers have to tell.
    async fn gather(&mut self) {
        self.sender.set_up(setup(&self.context, &self.spec));
        let now = self.context.tick();
        for (worker, spare) in self.context.workers.iter().zip(&mut self.spare) {
            let mut empty = std::mem::take(spare);
            // One that was lost with a worker that did not answer.
            empty.reserve_exact(ROOM.saturating_sub(empty.capacity()));
            if let Ok(mut told) = worker.ask(|answer| Command::Told(empty, answer)).await {
                told.iter().for_each(|entry| self.sender.push(entry, now));
                told.clear();
                *spare = told;
            }
        }
        self.sender.age(now);
    }

    async fn send(&mut self, senders: &mut [(UdpSocket, Option<Sealer>)]) {
        let counted = &self.context.shared.counted;
        while let Some((port, mut message)) = self.sender.take() {
            let Some((socket, sealer)) = senders.get_mut(usize::from(port)) else { continue };
            if let Some(sealer) = sealer {
                sealer.seal(&mut message, stamp());
            }
            if socket.send(&message).await.is_err() {
                counted.one(Count::SendFailed);
            }
        }
        let sent = self.sender.counted();
        counted.set(Count::SentMessages, sent.messages);
        counted.set(Count::SentEntries, sent.entries);
        counted.set(Count::NotTellable, sent.unencodable);
        counted.set(Count::LineFull, sent.overflowed);
    }

    /// Answers a director that asks whether there is one to learn from.
    async fn answer(&mut self, socket: &UdpSocket, question: &[u8], from: socket::Received) {
        if from.ttl > self.spec.ttl || !self.near.has(from.from.ip()) {
            return;
        }
        if let Some(offer) = join::offer(&self.context, &self.spec, question) {
            let _ = socket.send_to(&offer, from.from).await;
        }
    }

    /// Tells a director that has connected everything, if there are not too many at it.
    fn tell_all(&mut self, stream: TcpStream, room: &Arc<Semaphore>, transfers: &mut JoinSet<()>) {
        let near = stream.peer_addr().is_ok_and(|peer| self.near.has(peer.ip()));
        if let Ok(permit) = Arc::clone(room).try_acquire_owned()
            && near
        {
            let (context, spec) = (self.context.clone(), self.spec.clone());
            transfers.spawn(async move {
                transfer::give(&context, &spec, stream).await;
                drop(permit);
            });
        }
    }
}

/// How messages are made now. What signs them takes a part of their length.
fn setup(context: &Context, spec: &DaemonSpec) -> Setup {
    let trailer = if context.shared.key.is_some() { TRAILER } else { 0 };
    let trailer = u16::try_from(trailer).unwrap_or(0);
    let settings = context.shared.wanted.borrow().settings;
    Setup::new(&settings, spec.syncid, spec.maxlen.unwrap_or(0).saturating_sub(trailer))
}
