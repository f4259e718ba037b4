//! What the synchronisation counts beside the workers (`sync_told`, `sync_lost`, `sync_accepted`, `sync_no_room` are theirs): from one
//! list, a name and a text each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::control::daemon::{DaemonSpec, Role};
use crate::control::reply::CounterView;

macro_rules! counters {
    ($($variant:ident $name:literal $text:literal,)*) => {
        /// One counter.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(super) enum Count {
            $(#[doc = $text] $variant,)*
        }

        /// Names and texts, by [`Count`].
        const NAMES: &[(&str, &str)] = &[$(($name, $text),)*];
    };
}

counters! {
    SentMessages "sent_messages" "messages sent",
    SentEntries "sent_entries" "connections and templates told of in them",
    NotTellable "not_tellable" "connections that version 0 cannot tell of",
    LineFull "line_full" "messages dropped because too many waited (sync_qlen_max)",
    SendFailed "send_failed" "messages that the network did not take",
    Received "received" "messages received",
    ReceivedEntries "received_entries" "connections and templates in them",
    Malformed "malformed" "messages dropped: shorter than a header, or of another length than they say",
    OtherGroup "other_group" "messages dropped: of another syncid",
    Unsigned "unsigned" "messages dropped: not signed with the key",
    Stale "stale" "messages dropped: signed, but sent again or by a clock that is wrong",
    Foreign "foreign" "messages dropped: from an address that is not of the interface's networks",
    FarAway "far_away" "messages dropped: arrived with a larger TTL than the daemon's own",
    BadEntry "bad_entry" "connections dropped: not made out, or of a protocol, state or engine that is not known",
    Outdated "outdated" "connections passed over: replaced by another already",
    NoRoom "no_room" "connections dropped: a table was full",
    Silent "worker_silent" "connections dropped: a worker did not answer",
    TransfersGiven "transfers_given" "directors that joined and were told all there is",
    TransfersTaken "transfers_taken" "times that this director was told all there is",
    TransfersFailed "transfers_failed" "the same, broken off",
}

/// The counters, and what the daemons wait for.
#[derive(Debug)]
pub struct Counted {
    counts: [AtomicU64; NAMES.len()],
    waits: Mutex<Vec<(Role, String)>>,
}

impl Default for Counted {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), waits: Mutex::default() }
    }
}

/// The synchronisation as it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SyncView {
    /// The daemons, the master first.
    pub daemons: Vec<DaemonSpec>,
    /// May the director take over? As many of the connections as the configuration asks for are here.
    pub ready: bool,
    /// How many of a hundred.
    pub percent: u8,
    /// What it is doing about it, in words.
    pub state: String,
    /// Are messages signed?
    pub signed: bool,
    /// What a daemon waits for, a sentence each.
    pub waits: Vec<String>,
    /// What happened.
    pub counters: Vec<CounterView>,
}

impl Counted {
    /// Counts one.
    pub(super) fn one(&self, count: Count) {
        self.add(count, 1);
    }

    /// Counts more.
    pub(super) fn add(&self, count: Count, more: u64) {
        self.counts[count as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// Sets a counter that is kept elsewhere.
    pub(super) fn set(&self, count: Count, value: u64) {
        self.counts[count as usize].store(value, Ordering::Relaxed);
    }

    pub(super) fn views(&self) -> Vec<CounterView> {
        let view = |((name, text), count): (&(&str, &str), &AtomicU64)| CounterView {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
            count: count.load(Ordering::Relaxed),
        };
        NAMES.iter().zip(&self.counts).map(view).collect()
    }

    fn with_waits<T>(&self, act: impl FnOnce(&mut Vec<(Role, String)>) -> T) -> T {
        act(&mut self.waits.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// A daemon cannot open its sockets, or can again. Returns true when that is news.
    pub(super) fn wait(&self, role: Role, why: Option<String>) -> bool {
        self.with_waits(|waits| {
            let before = waits.iter().position(|(of, _)| *of == role).map(|at| waits.remove(at).1);
            let news = before != why;
            waits.extend(why.map(|why| (role, why)));
            news
        })
    }

    /// Keeps only what daemons wait for that run.
    pub(super) fn forget_waits(&self, runs: impl Fn(Role) -> bool) {
        self.with_waits(|waits| waits.retain(|(role, _)| runs(*role)));
    }

    pub(super) fn waits(&self) -> Vec<String> {
        self.with_waits(|waits| waits.iter().map(|(role, why)| format!("the {role} waits: {why}")).collect())
    }
}
