//! Everything at once, over TCP, from a master to a director that joins: frames of a length (four bytes, big-endian) and as many bytes, each
//! signed if there is a key. The first says how much there is about to be, then come messages as they are multicast, and the last says
//! how much there was.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::backup::Desk;
use super::counted::Count;
use super::{Context, join, socket, stamp};
use crate::control::daemon::DaemonSpec;
use crate::director::Listing;
use crate::mailbox::{Command, PAGE, TellQuery, WorkerHandle};
use crate::sync::message::Pushed;
use crate::sync::seal::{Sealer, TRAILER, Verifier};
use crate::sync::{Builder, Entry, Message, Version};

/// How long the other may take for one frame.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of a message in a frame.
const LONGEST: usize = 32_768;
/// The kinds of frames.
const BEGIN: u8 = b'B';
const TOLD: u8 = b'M';
const END: u8 = b'E';
/// What is told of, in this order: a client's template decides where its next connection goes.
const TABLES: [Listing; 4] = [
    Listing { v6: false, templates: true },
    Listing { v6: true, templates: true },
    Listing { v6: false, templates: false },
    Listing { v6: true, templates: false },
];

/// One end of a transfer.
struct Wire {
    stream: TcpStream,
    sealer: Option<Sealer>,
    verifier: Option<Verifier>,
}

impl Wire {
    fn new(context: &Context, stream: TcpStream) -> Self {
        let key = || context.shared.key.clone();
        Self { stream, sealer: key().map(|key| Sealer::new(key, rand::random())), verifier: key().map(Verifier::new) }
    }

    async fn write(&mut self, mut frame: Vec<u8>) -> io::Result<()> {
        if let Some(sealer) = &mut self.sealer {
            sealer.seal(&mut frame, stamp());
        }
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?.to_be_bytes();
        let whole = [&length[..], &frame].concat();
        timeout(PATIENCE, self.stream.write_all(&whole)).await?
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let frame = timeout(PATIENCE, async {
            let length = self.stream.read_u32().await? as usize;
            if length > LONGEST + TRAILER + 1 {
                return Err(wrong("a frame is too long"));
            }
            let mut frame = vec![0; length];
            self.stream.read_exact(&mut frame).await?;
            Ok(frame)
        })
        .await??;
        match &mut self.verifier {
            Some(verifier) => Ok(verifier.open(&frame, stamp()).map_err(io::Error::other)?.to_vec()),
            None => Ok(frame),
        }
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A frame that tells a number.
fn number(kind: u8, number: u64) -> Vec<u8> {
    [&[kind][..], &number.to_be_bytes()].concat()
}

/// Tells a director that has connected everything.
pub(super) async fn give(context: &Context, spec: &DaemonSpec, stream: TcpStream) {
    let to = stream.peer_addr().map_or_else(|_| "a director".to_owned(), |peer| peer.ip().to_string());
    match give_all(context, spec, Wire::new(context, stream)).await {
        Ok(entries) => {
            context.shared.counted.one(Count::TransfersGiven);
            tracing::info!("told {to} of {entries} connections and templates");
        }
        Err(error) => {
            context.shared.counted.one(Count::TransfersFailed);
            tracing::warn!("cannot tell {to} everything: {error}");
        }
    }
}

async fn give_all(context: &Context, spec: &DaemonSpec, mut wire: Wire) -> io::Result<u64> {
    let asked = timeout(PATIENCE, read_question(&mut wire)).await??;
    if !join::are_words(context, spec, join::ASK, &asked) {
        return Err(wrong("it does not ask as it should"));
    }
    let reports = context.workers.ask_all(Command::Report).await.map_err(io::Error::other)?;
    wire.write(number(BEGIN, reports.iter().map(|r| r.connections + r.templates).sum())).await?;
    let mut told = 0;
    for which in TABLES {
        for worker in context.workers.iter() {
            told += give_table(context, spec, &mut wire, worker, which).await?;
        }
    }
    wire.write(number(END, told)).await?;
    Ok(told)
}

/// A question is signed by itself, as in a datagram.
async fn read_question(wire: &mut Wire) -> io::Result<Vec<u8>> {
    let length = usize::from(wire.stream.read_u8().await?);
    let mut question = vec![0; length];
    wire.stream.read_exact(&mut question).await?;
    Ok(question)
}

async fn give_table(
    context: &Context,
    spec: &DaemonSpec,
    wire: &mut Wire,
    worker: &WorkerHandle,
    which: Listing,
) -> io::Result<u64> {
    let (mut cursor, mut told) = (Some(0), 0);
    while let Some(from) = cursor {
        let query = TellQuery { which, cursor: from, rows: Vec::with_capacity(PAGE) };
        let page = worker.ask(|answer| Command::TellAll(query, answer)).await.map_err(io::Error::other)?;
        for message in messages(spec.syncid, &page.rows) {
            wire.write([&[TOLD][..], &message].concat()).await?;
        }
        told += page.rows.len() as u64;
        cursor = page.next;
        let rate = context.shared.config.transfer_per_second.max(1);
        tokio::time::sleep(Duration::from_secs_f64(page.rows.len() as f64 / f64::from(rate))).await;
    }
    Ok(told)
}

/// Entries as messages. What cannot be told is left out.
fn messages(syncid: u8, entries: &[Entry]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut open = Builder::new(Version::V1, syncid, LONGEST);
    for entry in entries {
        if open.push(entry) == Ok(Pushed::Full) {
            messages.push(std::mem::replace(&mut open, Builder::new(Version::V1, syncid, LONGEST)).finish());
            let _ = open.push(entry);
        }
    }
    if open.count() > 0 {
        messages.push(open.finish());
    }
    messages
}

/// Has a master tell everything, and gives it to the workers. Returns how much it was.
///
/// # Errors
/// The master cannot be reached, does not keep to the protocol, or breaks off; what came until then is kept.
pub(super) async fn take(context: &Context, spec: &DaemonSpec, master: SocketAddr, desk: &mut Desk) -> io::Result<u64> {
    let mut stream = timeout(PATIENCE, socket::connect(spec, master)).await??;
    let question = join::words(context, spec, join::ASK);
    let length = u8::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&[length][..], &question].concat()).await?;
    let mut wire = Wire::new(context, stream);
    let (mut total, mut got) = (0, 0);
    loop {
        let frame = wire.read().await?;
        match frame.split_first() {
            Some((&BEGIN, count)) => total = read_number(count)?,
            Some((&TOLD, message)) => got += take_message(context, message, desk).await?,
            Some((&END, _)) => return Ok(got),
            _ => return Err(wrong("a frame is of no kind that is known")),
        }
        context.shared.gate.told(got, total);
    }
}

fn read_number(bytes: &[u8]) -> io::Result<u64> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| wrong("a number is of no length that it can have"))
}

async fn take_message(context: &Context, bytes: &[u8], desk: &mut Desk) -> io::Result<u64> {
    let message = Message::read(bytes).map_err(io::Error::other)?;
    let mut taken = 0;
    for entry in message.entries() {
        match entry {
            Ok(entry) => {
                desk.put(context, entry);
                taken += 1;
            }
            Err(_) => context.shared.counted.one(Count::BadEntry),
        }
    }
    desk.give_out(context).await;
    Ok(taken)
}
