//! The messages of a master: entries are gathered until a message is full or two seconds old, and wait in a bounded line to be sent
//! (`ip_vs_sync_conn`, `sync_thread_master`). With several ports (`sync_ports`) each has messages of its own, by connection.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;

use super::entry::Entry;
use super::message::{Builder, Pushed, Version};
use crate::settings::Settings;
use crate::time::{HZ, Tick};

/// Ticks that an entry may wait for others.
pub const OLDEST: u32 = 2 * HZ;

/// How messages are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Version of the protocol.
    pub version: Version,
    /// Which group of directors.
    pub syncid: u8,
    /// Most bytes of a message.
    pub maxlen: u16,
    /// Ports that they are spread over.
    pub ports: u16,
    /// Messages that may wait on each.
    pub room: usize,
}

impl Setup {
    /// By the sysctls.
    pub fn new(settings: &Settings, syncid: u8, maxlen: u16) -> Self {
        Self {
            version: Version::of(settings.sync_version),
            syncid,
            maxlen,
            ports: ports(settings),
            room: usize::try_from(settings.sync_qlen_max).unwrap_or(usize::MAX),
        }
    }
}

/// Most ports that messages are spread over (`IPVS_SYNC_PORTS_MAX`).
const MOST_PORTS: i32 = 64;

/// Ports that messages are spread over, by the sysctls.
pub fn ports(settings: &Settings) -> u16 {
    u16::try_from(settings.sync_ports.clamp(1, MOST_PORTS)).unwrap_or(1)
}

/// What one sender has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Entries put into messages.
    pub entries: u64,
    /// Messages given away to be sent.
    pub messages: u64,
    /// Entries that the version cannot tell of.
    pub unencodable: u64,
    /// Messages dropped because too many waited.
    pub overflowed: u64,
}

#[derive(Debug)]
struct Open {
    message: Builder,
    since: Tick,
}

/// Makes the messages of one master.
#[derive(Debug)]
pub struct Sender {
    setup: Setup,
    /// By port.
    open: Vec<Option<Open>>,
    /// By port.
    waiting: Vec<VecDeque<Vec<u8>>>,
    counted: Sent,
}

impl Sender {
    /// A sender with nothing to send.
    pub fn new(setup: Setup) -> Self {
        let ports = usize::from(setup.ports);
        Self {
            setup,
            open: (0..ports).map(|_| None).collect(),
            waiting: (0..ports).map(|_| VecDeque::new()).collect(),
            counted: Sent::default(),
        }
    }

    /// Goes on by another setup; what is gathered already leaves as it is, in its time.
    pub fn set_up(&mut self, setup: Setup) {
        if setup == self.setup {
            return;
        }
        let ports = usize::from(setup.ports).max(self.open.len());
        let spread_anew = setup.ports != self.setup.ports;
        self.setup = setup;
        if spread_anew {
            (0..self.open.len()).for_each(|port| self.close(port));
        }
        self.open.resize_with(ports, || None);
        self.waiting.resize_with(ports, VecDeque::new);
    }

    /// What has been counted.
    pub fn counted(&self) -> Sent {
        self.counted
    }

    /// Takes an entry to be sent.
    pub fn push(&mut self, entry: &Entry, now: Tick) {
        let port = self.port(entry);
        if self.open[port].as_ref().is_some_and(|open| open.message.version() != self.setup.version) {
            self.close(port);
        }
        if self.offer(port, entry, now) == Ok(Pushed::Full) {
            self.close(port);
            let _ = self.offer(port, entry, now);
        }
    }

    fn offer(&mut self, port: usize, entry: &Entry, now: Tick) -> Result<Pushed, super::Unencodable> {
        let Setup { version, syncid, maxlen, .. } = self.setup;
        let new = || Open { message: Builder::new(version, syncid, maxlen.into()), since: now };
        let open = self.open[port].get_or_insert_with(new);
        let outcome = open.message.push(entry);
        match outcome {
            Ok(Pushed::In) => self.counted.entries += 1,
            Ok(Pushed::Full) => {}
            Err(_) => self.counted.unencodable += 1,
        }
        if open.message.count() == 0 {
            self.open[port] = None;
        }
        outcome
    }

    /// The port of a connection: always the same one.
    fn port(&self, entry: &Entry) -> usize {
        let hash = FxBuildHasher.hash_one((entry.client, entry.vip, entry.cport, entry.vport, entry.protocol));
        (hash >> 32) as usize % usize::from(self.setup.ports)
    }

    fn close(&mut self, port: usize) {
        let Some(open) = self.open[port].take() else { return };
        if self.waiting[port].len() < self.setup.room {
            self.waiting[port].push_back(open.message.finish());
        } else {
            self.counted.overflowed += 1;
        }
    }

    /// Puts what is two seconds old in line.
    pub fn age(&mut self, now: Tick) {
        self.close_if(|open| open.since.plus(OLDEST).reached(now));
    }

    /// Puts everything in line.
    pub fn flush(&mut self) {
        self.close_if(|_| true);
    }

    fn close_if(&mut self, due: impl Fn(&Open) -> bool) {
        for port in 0..self.open.len() {
            if self.open[port].as_ref().is_some_and(&due) {
                self.close(port);
            }
        }
    }

    /// Does a full message wait to be sent?
    pub fn is_waiting(&self) -> bool {
        self.waiting.iter().any(|line| !line.is_empty())
    }

    /// The next message to be sent, and the port, counted from the first.
    pub fn take(&mut self) -> Option<(u16, Vec<u8>)> {
        let (port, line) = (0..).zip(&mut self.waiting).find(|(_, line)| !line.is_empty())?;
        let message = line.pop_front()?;
        self.counted.messages += 1;
        Some((port, message))
    }
}
