//! What control and one worker say to each other. Commands go through a bounded channel and are taken between bursts; answers come
//! back through one-shot channels. Every buffer is made by control and comes back to it, and so does the old snapshot: a worker
//! neither allocates nor frees for that. Schedulers are its own: what new rules ask of them it makes, and frees, between bursts.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::burst_meter::{BurstLog, BurstSums};
use crate::director::{Explanation, Listing, Question};
use crate::snapshot::Snapshot;
use crate::stats::{Counters, Traffic};
use crate::sync::Entry;
use crate::tap::Tap;
use crate::verdict::WorkerId;

/// How long a worker may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Commands that may wait for one worker.
const ROOM: usize = 512;
/// Rows that control asks for at a time.
pub const PAGE: usize = 256;
/// Connections that a worker looks at in one turn: as many as a burst has packets, each as far away in memory, so that packets wait for
/// a listing no longer than for other packets.
pub const CONNECTIONS: u32 = 32;
/// Such commands that are sent together. To wake control, a system call, costs a worker more than the rows; only the last answer does.
const TOGETHER: u32 = 8;

/// Where an answer goes. Sending it never blocks; that nobody waits any more is no error.
pub type Answer<T> = oneshot::Sender<T>;

/// One command to one worker.
#[derive(Debug)]
pub enum Command {
    /// Work by this snapshot, within a few turns; the answer, once all of it is in force, is the old one.
    Apply(Arc<Snapshot>, Answer<Arc<Snapshot>>),
    /// Lists connections or templates.
    Connections(ConnectionQuery, Answer<ConnectionPage>),
    /// Lists the counters of the destinations.
    Stats(StatsPage, Answer<StatsPage>),
    /// The worker's own counters.
    Report(Answer<WorkerReport>),
    /// Hands over what the bursts were like since the last time, for an empty log.
    Bursts(Box<BurstLog>, Answer<Box<BurstLog>>),
    /// Ends every connection and template.
    FlushConnections(Answer<()>),
    /// Hands over what is to be told to other directors, for an empty buffer of which no more is filled than it holds.
    Told(Vec<Entry>, Answer<Vec<Entry>>),
    /// Lists what is to be told to a director that joins.
    TellAll(TellQuery, Answer<TellPage>),
    /// Takes over what another director told.
    Accept(Vec<Entry>, Answer<AcceptReport>),
    /// Which destination a client would get; nothing is changed by it.
    Why(Question, Answer<Explanation>),
    /// Shows packets by this tap from now on, or none; the answer is the tap before, and the worker's time.
    Tap(Option<Tap>, Answer<(Option<Tap>, crate::time::Instant)>),
    /// Answers, and ends the poll loop.
    Stop(Answer<()>),
}

/// Which rows of which table.
#[derive(Debug)]
pub struct ConnectionQuery {
    /// Templates instead of connections.
    pub templates: bool,
    /// Of which family.
    pub v6: bool,
    /// The first entry to look at: 0, or where the last page ended.
    pub cursor: u32,
    /// So many entries are looked at.
    pub entries: u32,
    /// Empty; room for so many rows.
    pub rows: Vec<ConnectionRow>,
}

/// Rows of a table.
#[derive(Debug)]
pub struct ConnectionPage {
    /// The rows.
    pub rows: Vec<ConnectionRow>,
    /// Where to go on; `None` at the end of the table.
    pub next: Option<u32>,
}

impl ConnectionPage {
    /// Adds the page that follows, unless the table had ended.
    fn append(&mut self, following: Self) {
        if self.next.is_some() {
            self.rows.extend(following.rows);
            self.next = following.next;
        }
    }
}

/// Which entries of which table are to be told.
#[derive(Debug)]
pub struct TellQuery {
    /// Of which table.
    pub which: Listing,
    /// The first entry to look at: 0, or where the last page ended.
    pub cursor: u32,
    /// Empty; as many entries as it holds are looked at.
    pub rows: Vec<Entry>,
}

/// What is to be told of a table.
#[derive(Debug)]
pub struct TellPage {
    /// The entries.
    pub rows: Vec<Entry>,
    /// Where to go on; `None` at the end of the table.
    pub next: Option<u32>,
}

/// What became of entries that were told.
#[derive(Debug, Default)]
pub struct AcceptReport {
    /// The entries, to be freed.
    pub entries: Vec<Entry>,
    /// How many were about connections that others had replaced already.
    pub outdated: u32,
    /// For how many there was no room.
    pub full: u32,
}

/// One connection or template.
pub type ConnectionRow = crate::director::ConnectionInfo;

/// Counters of destinations from an index on, one row for each index.
#[derive(Debug)]
pub struct StatsPage {
    /// The index that the first row is of.
    pub first: u32,
    /// To be filled up to its capacity and no further; fewer rows mean the end.
    pub rows: Vec<DestinationRow>,
}

/// What one worker knows of one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DestinationRow {
    /// The destination that the row is of; another uid than control's means that the counters are a former destination's.
    pub uid: u64,
    /// Traffic since the destination was made.
    pub traffic: Traffic,
    /// Of its connections, those that another service made.
    pub lent: u64,
    /// Active connections.
    pub active: u32,
    /// All other connections.
    pub inactive: u32,
    /// Templates.
    pub persistent: u32,
    /// Above its threshold.
    pub overloaded: bool,
}

/// What one worker says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WorkerReport {
    /// Drop reasons and events.
    pub counters: Counters,
    /// Turns of the poll loop.
    pub turns: u64,
    /// Turns that found a packet.
    pub busy_turns: u64,
    /// What these come to.
    pub bursts: BurstSums,
    /// Entries in each table: connections and templates, IPv4 and then IPv6 of each.
    pub used: [u64; 4],
    /// Serial number of the connection that was made last.
    pub serial: u32,
    /// Connections, both families.
    pub connections: u64,
    /// Room for connections.
    pub connections_max: u64,
    /// Templates, both families.
    pub templates: u64,
    /// Room for templates.
    pub templates_max: u64,
    /// Version of the snapshot in force.
    pub snapshot: u64,
    /// Memory was scarce when the defences last looked.
    pub scarce: bool,
}

/// A worker's end.
#[derive(Clone, Debug)]
pub struct Mailbox {
    commands: Receiver<Command>,
}

impl Mailbox {
    /// The next command, if there is one. Never blocks.
    #[inline]
    pub fn poll(&self) -> Option<Command> {
        self.commands.try_recv().ok()
    }

    /// Waits for a command, for a worker that has nothing else to do. Sleeps on when nobody is left to send one.
    pub fn wait(&self, most: Duration) -> Option<Command> {
        let until = std::time::Instant::now() + most;
        let command = self.commands.recv_deadline(until).ok();
        if command.is_none() {
            std::thread::sleep(until.saturating_duration_since(std::time::Instant::now()));
        }
        command
    }
}

/// A worker that does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("worker {} does not answer; if this lasts, restart the director", .0.0)]
pub struct Silent(pub WorkerId);

/// Control's end of one worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    /// Its index.
    pub id: WorkerId,
    /// The core it is pinned to, if it is.
    pub cpu: Option<u32>,
    commands: Sender<Command>,
}

/// Makes the two ends for one worker.
pub fn mailbox(id: WorkerId, cpu: Option<u32>) -> (WorkerHandle, Mailbox) {
    let (sender, receiver) = bounded(ROOM);
    (WorkerHandle { id, cpu, commands: sender }, Mailbox { commands: receiver })
}

impl WorkerHandle {
    /// Puts a command in line; `None` when the worker takes no more.
    fn send<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Option<oneshot::Receiver<T>> {
        let (answer, reply) = oneshot::channel();
        self.commands.try_send(command(answer)).ok().map(|()| reply)
    }

    async fn receive<T>(&self, reply: Option<oneshot::Receiver<T>>, until: Instant) -> Result<T, Silent> {
        let reply = reply.ok_or(Silent(self.id))?;
        tokio::time::timeout_at(until, reply).await.ok().and_then(Result::ok).ok_or(Silent(self.id))
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// [`Silent`] after [`PATIENCE`], or at once when the worker has ended.
    pub async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Silent> {
        let reply = self.send(command);
        self.receive(reply, Instant::now() + PATIENCE).await
    }

    /// Rows of a table, from one entry on.
    ///
    /// # Errors
    /// [`Silent`].
    pub async fn connections(&self, templates: bool, v6: bool, cursor: u32) -> Result<ConnectionPage, Silent> {
        let entries = CONNECTIONS;
        let send = |n: u32| {
            let (cursor, rows) = (cursor.saturating_add(n * entries), Vec::with_capacity(entries as usize));
            self.send(|answer| Command::Connections(ConnectionQuery { templates, v6, cursor, entries, rows }, answer))
        };
        let mut replies: Vec<_> = (0..TOGETHER).map(send).collect();
        let until = Instant::now() + PATIENCE;
        let last = self.receive(replies.pop().flatten(), until).await?;
        let mut whole = ConnectionPage { rows: Vec::with_capacity((entries * TOGETHER) as usize), next: Some(cursor) };
        for reply in replies {
            whole.append(self.receive(reply, until).await?);
        }
        whole.append(last);
        Ok(whole)
    }

    /// The counters of `count` destinations from an index on.
    ///
    /// # Errors
    /// [`Silent`].
    pub async fn stats(&self, start: usize, count: usize) -> Result<Vec<DestinationRow>, Silent> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let first = u32::try_from(start + all.len()).expect("destinations are numbered by u32");
            let rows = Vec::with_capacity(PAGE.min(count - all.len()));
            let page = self.ask(|answer| Command::Stats(StatsPage { first, rows }, answer)).await?;
            if page.rows.is_empty() {
                break;
            }
            all.extend(page.rows);
        }
        Ok(all)
    }
}

/// All workers.
#[derive(Clone, Debug, Default)]
pub struct Workers(Arc<[WorkerHandle]>);

impl Workers {
    /// These workers, by index.
    pub fn new(handles: Vec<WorkerHandle>) -> Self {
        Self(handles.into())
    }

    /// Each worker.
    pub fn iter(&self) -> std::slice::Iter<'_, WorkerHandle> {
        self.0.iter()
    }

    /// Sends a command to all at once and waits for all answers, by index.
    ///
    /// # Errors
    /// [`Silent`], of the first that does not answer.
    pub async fn ask_all<T>(&self, command: impl Fn(Answer<T>) -> Command) -> Result<Vec<T>, Silent> {
        self.ask_each(command).await.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Sends a command to all at once and waits for what each answers, or does not.
    pub async fn ask_each<T>(&self, command: impl Fn(Answer<T>) -> Command) -> Vec<(WorkerHandle, Result<T, Silent>)> {
        let replies: Vec<_> = self.iter().map(|w| (w.clone(), w.send(&command))).collect();
        let until = Instant::now() + PATIENCE;
        let mut answers = Vec::with_capacity(replies.len());
        for (worker, reply) in replies {
            let answer = worker.receive(reply, until).await;
            answers.push((worker, answer));
        }
        answers
    }

    /// Puts a snapshot in force: returns when every worker works by it, with the old ones, to be freed here.
    ///
    /// # Errors
    /// [`Silent`]; the others work by the new snapshot then.
    pub async fn apply(&self, snapshot: &Arc<Snapshot>) -> Result<Vec<Arc<Snapshot>>, Silent> {
        self.ask_all(|answer| Command::Apply(snapshot.clone(), answer)).await
    }

    /// Puts a snapshot in line without waiting.
    pub fn apply_later(&self, snapshot: &Arc<Snapshot>) {
        for worker in self.iter() {
            worker.send(|answer| Command::Apply(snapshot.clone(), answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Workers, Mailbox) {
        let (handle, mailbox) = mailbox(WorkerId(3), None);
        (Workers::new(vec![handle]), mailbox)
    }

    #[tokio::test]
    async fn the_old_snapshot_comes_back() {
        let (workers, mailbox) = pair();
        let old = Arc::new(Snapshot::default());
        let mut now = old.clone();
        let worker = std::thread::spawn(move || {
            if let Some(Command::Apply(new, answer)) = mailbox.wait(PATIENCE) {
                answer.send(std::mem::replace(&mut now, new)).unwrap();
            }
            now
        });
        let new = Arc::new(Snapshot { version: 7, ..Snapshot::default() });
        let back = workers.apply(&new).await.unwrap();
        assert!(Arc::ptr_eq(&back[0], &old));
        assert_eq!(worker.join().unwrap().version, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_answer_is_named() {
        let (workers, _mailbox) = pair();
        let error = workers.apply(&Arc::default()).await.unwrap_err();
        assert_eq!(error.to_string(), "worker 3 does not answer; if this lasts, restart the director");
    }

    #[tokio::test]
    async fn a_worker_that_has_ended_is_noticed_at_once() {
        let (workers, mailbox) = pair();
        drop(mailbox);
        assert!(workers.apply(&Arc::default()).await.is_err());
    }

    #[test]
    fn a_worker_that_waits_is_woken_by_a_command_only() {
        let (workers, mailbox) = pair();
        workers.apply_later(&Arc::default());
        assert!(matches!(mailbox.wait(PATIENCE), Some(Command::Apply(..))));
        drop(workers);
        let (start, most) = (std::time::Instant::now(), Duration::from_millis(20));
        assert!(mailbox.wait(most).is_none());
        assert!(start.elapsed() >= most, "control is gone, which is no reason to be in a hurry");
    }

    #[tokio::test(start_paused = true)]
    async fn commands_do_not_pile_up_without_end() {
        let (workers, mailbox) = pair();
        for _ in 0..1000 {
            workers.apply_later(&Arc::default());
        }
        assert!(workers.apply(&Arc::default()).await.is_err());
        assert_eq!(std::iter::from_fn(|| mailbox.poll()).count(), ROOM);
    }
}
