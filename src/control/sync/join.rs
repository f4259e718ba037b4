//! A director that joins: it asks the group who is there, and has the first pollvsd that answers tell it everything. What it asks
//! begins like no message of the kernel's, which drops it for its length.

use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::backup::{Desk, Neighbourhood, refusal};
use super::counted::Count;
use super::{AGAIN, Context, socket, stamp, transfer};
use crate::control::daemon::DaemonSpec;
use crate::sync::seal::{Sealer, Verifier};

/// How everything of this kind begins. As a message of the kernel's it would say that it is 27756 bytes long.
const OURS: &[u8] = b"pollvs: ";
/// Asks who is there.
pub(super) const ASK: &[u8] = b"pollvs: who is there? ";
/// Says that there is somebody.
const HERE: &[u8] = b"pollvs: here I am ";
/// Questions before a director takes it that nobody is there.
const QUESTIONS: usize = 3;
/// Tries to be told everything.
const TRIES: usize = 5;
/// An answer is shorter.
const ANSWER: usize = 512;

/// Is the datagram between directors of this kind, and no message?
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(OURS)
}

/// These words of a daemon, signed if there is a key.
pub(super) fn words(context: &Context, spec: &DaemonSpec, words: &[u8]) -> Vec<u8> {
    let mut bytes = [words, &[spec.syncid]].concat();
    if let Some(key) = context.shared.key.clone() {
        Sealer::new(key, rand::random()).seal(&mut bytes, stamp());
    }
    bytes
}

/// Are these the words, of a director of the same group, and signed if there is a key?
pub(super) fn are_words(context: &Context, spec: &DaemonSpec, words: &[u8], bytes: &[u8]) -> bool {
    let opened = match context.shared.key.clone() {
        Some(key) => {
            let opened = Verifier::new(key).open(bytes, stamp());
            opened.inspect_err(|error| context.shared.counted.one(refusal(*error))).ok()
        }
        None => Some(bytes),
    };
    match opened.and_then(|bytes| bytes.strip_prefix(words)) {
        Some(&[syncid]) => syncid == spec.syncid || syncid == 0 || spec.syncid == 0,
        _ => false,
    }
}

/// What a master answers to a question; nothing to what is none.
pub(super) fn offer(context: &Context, spec: &DaemonSpec, question: &[u8]) -> Option<Vec<u8>> {
    are_words(context, spec, ASK, question).then(|| words(context, spec, HERE))
}

/// Joins: ends when everything was told, or nobody is there to tell it.
pub(super) async fn run(context: Context, spec: DaemonSpec) {
    for _ in 0..TRIES {
        let Some(master) = find(&context, &spec).await else { break };
        let mut desk = Desk::new(&context);
        match transfer::take(&context, &spec, master, &mut desk).await {
            Ok(entries) => {
                context.shared.counted.one(Count::TransfersTaken);
                context.shared.gate.done(entries);
                tracing::info!("{} has told of {entries} connections and templates", master.ip());
                return;
            }
            Err(error) => {
                context.shared.counted.one(Count::TransfersFailed);
                tracing::warn!("{} does not tell all it knows: {error}", master.ip());
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    context.shared.gate.alone();
}

/// A director that is there. Sockets that cannot be opened now are tried again with the next question.
async fn find(context: &Context, spec: &DaemonSpec) -> Option<SocketAddr> {
    let mut near = Neighbourhood::new(context, spec);
    for _ in 0..QUESTIONS {
        let until = Instant::now() + AGAIN;
        match ask(context, spec, &mut near, until).await {
            Ok(Some(master)) => return Some(master),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!("cannot ask for a director to learn from: {error}");
                tokio::time::sleep_until(until).await;
            }
        }
    }
    None
}

/// Asks once.
async fn ask(
    context: &Context,
    spec: &DaemonSpec,
    near: &mut Neighbourhood,
    until: Instant,
) -> io::Result<Option<SocketAddr>> {
    let (socket, group) = socket::asking(spec)?;
    socket.send_to(&words(context, spec, ASK), group).await?;
    let mut answer = [0; ANSWER];
    while let Some((length, from)) = hear(&socket, &mut answer, until).await? {
        if near.has(from.ip()) && are_words(context, spec, HERE, &answer[..length]) {
            return Ok(Some(from));
        }
    }
    Ok(None)
}

/// The next answer; `None` when the time is over.
async fn hear(socket: &UdpSocket, answer: &mut [u8], until: Instant) -> io::Result<Option<(usize, SocketAddr)>> {
    timeout_at(until, socket.recv_from(answer)).await.ok().transpose()
}
