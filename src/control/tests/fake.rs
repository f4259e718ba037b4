//! Workers that obey the mailbox and forward nothing.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Control, Setup};
use crate::config::Config;
use crate::control::health::board::Found;
use crate::destination::DestId;
use crate::director::{By, Explanation};
use crate::mailbox::{
    AcceptReport, Command, ConnectionPage, ConnectionQuery, ConnectionRow, DestinationRow, Mailbox, StatsPage,
    TellPage, WorkerReport, Workers, mailbox,
};
use crate::service::ServiceId;
use crate::snapshot::Snapshot;
use crate::stats::Traffic;
use crate::time::Instant;
use crate::verdict::WorkerId;

/// What a test may set and see of a worker.
#[derive(Debug, Default)]
pub(super) struct Knobs {
    /// Connections that it lists.
    pub(super) connections: AtomicU64,
    /// Active connections of each destination.
    pub(super) active: AtomicU64,
    /// Packets from clients that each destination has had, five by connection.
    pub(super) packets: AtomicU64,
    /// Takes no command.
    pub(super) silent: AtomicBool,
    /// The snapshot in force.
    pub(super) snapshot: Mutex<Arc<Snapshot>>,
}

/// Workers, and the control over them.
pub(super) struct Fake {
    pub(super) knobs: Vec<Arc<Knobs>>,
    pub(super) control: Control,
    threads: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|t| t.join().unwrap());
    }
}

impl Fake {
    pub(super) fn new(workers: u16) -> Self {
        let mut config = Config::default();
        config.director.state = "".into();
        Self::with(config, None, workers).unwrap()
    }

    pub(super) fn with(
        config: Config,
        config_path: Option<std::path::PathBuf>,
        workers: u16,
    ) -> Result<Self, super::StartError> {
        Self::inheriting(config, config_path, workers, &[])
    }

    /// One that is told what the checks of another have found.
    pub(super) fn inheriting(
        config: Config,
        config_path: Option<std::path::PathBuf>,
        workers: u16,
        found: &[Found],
    ) -> Result<Self, super::StartError> {
        let (handles, mailboxes): (Vec<_>, Vec<_>) = (0..workers).map(|i| mailbox(WorkerId(i), None)).unzip();
        let workers = Workers::new(handles);
        let setup = Setup { config, config_path, network: Arc::default(), workers, ports: Box::new(Vec::new) };
        let (control, snapshot) = Control::inheriting(setup, found)?;
        let knobs: Vec<Arc<Knobs>> = mailboxes.iter().map(|_| Arc::default()).collect();
        let over = Arc::new(AtomicBool::new(false));
        let start = |(mailbox, knobs): (Mailbox, &Arc<Knobs>)| {
            *knobs.snapshot.lock().unwrap() = snapshot.clone();
            let (knobs, over) = (knobs.clone(), over.clone());
            std::thread::spawn(move || run(&mailbox, &knobs, &over))
        };
        let threads = mailboxes.into_iter().zip(&knobs).map(start).collect();
        Ok(Self { knobs, control, threads, over })
    }

    /// The weights of all destinations in force on each worker.
    pub(super) fn weights(&self) -> Vec<Vec<u32>> {
        let of = |k: &Arc<Knobs>| {
            let snapshot = k.snapshot.lock().unwrap().clone();
            snapshot.rules.services.iter().flat_map(|s| &s.destinations).map(|d| d.weight).collect()
        };
        self.knobs.iter().map(of).collect()
    }
}

fn run(mailbox: &Mailbox, knobs: &Knobs, over: &AtomicBool) {
    let waits = || knobs.silent.load(Ordering::Relaxed) && !over.load(Ordering::Relaxed);
    while !over.load(Ordering::Relaxed) {
        let Some(command) = mailbox.wait(Duration::from_millis(5)) else { continue };
        while waits() {
            std::thread::sleep(Duration::from_millis(5));
        }
        obey(knobs, command);
    }
}

fn obey(knobs: &Knobs, command: Command) {
    match command {
        Command::Apply(new, answer) => {
            let old = std::mem::replace(&mut *knobs.snapshot.lock().unwrap(), new);
            let _ = answer.send(old);
        }
        Command::Connections(query, answer) => drop(answer.send(page(knobs, query))),
        Command::Stats(query, answer) => drop(answer.send(stats(knobs, query))),
        Command::Report(answer) => {
            let connections = knobs.connections.load(Ordering::Relaxed);
            let _ = answer.send(WorkerReport { connections, connections_max: 1000, ..WorkerReport::default() });
        }
        Command::Bursts(empty, answer) => drop(answer.send(empty)),
        Command::Told(empty, answer) => drop(answer.send(empty)),
        Command::TellAll(query, answer) => drop(answer.send(TellPage { rows: query.rows, next: None })),
        Command::Accept(entries, answer) => drop(answer.send(AcceptReport { entries, ..AcceptReport::default() })),
        Command::Tap(_, answer) => drop(answer.send((None, Instant(0)))),
        Command::Why(_, answer) => drop(answer.send(why())),
        Command::FlushConnections(answer) => {
            knobs.connections.store(0, Ordering::Relaxed);
            let _ = answer.send(());
        }
        Command::Stop(answer) => drop(answer.send(())),
    }
}

/// The first destination, by the scheduler.
fn why() -> Explanation {
    let (owner, service, dest) = (WorkerId(0), Some(ServiceId(0)), Some(DestId(0)));
    Explanation { owner, by: By::Scheduler, mark: 0, service, dest, entry: None, remarks: [None; 4] }
}

/// Connection n is of client port n; every tenth entry of the table is empty; there are no IPv6 entries and no templates.
fn page(knobs: &Knobs, query: ConnectionQuery) -> ConnectionPage {
    let ConnectionQuery { templates, v6, cursor, entries, mut rows } = query;
    let count = if templates || v6 { 0 } else { knobs.connections.load(Ordering::Relaxed) };
    let end = count.min(u64::from(cursor + entries));
    let there = (cursor..).take_while(|at| u64::from(*at) < end).filter(|at| at % 10 != 9);
    rows.extend(there.map(row));
    ConnectionPage { rows, next: (end < count).then_some(cursor + entries) }
}

fn row(at: u32) -> ConnectionRow {
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    ConnectionRow {
        protocol: 6,
        caddr: ip("203.0.113.5"),
        cport: u16::try_from(at % 65_536).unwrap(),
        vaddr: ip("192.0.2.10"),
        vport: 80,
        daddr: ip("198.51.100.11"),
        dport: 80,
        state: "ESTABLISHED",
        expires: 90_000,
        flags: crate::conn::ConnFlags::default(),
        destination: Default::default(),
        packets: 1,
        controlled: 0,
        call_id: Default::default(),
        received: false,
        serial: at,
    }
}

fn stats(knobs: &Knobs, mut page: StatsPage) -> StatsPage {
    let snapshot = knobs.snapshot.lock().unwrap().clone();
    let (active, packets) = (knobs.active.load(Ordering::Relaxed), knobs.packets.load(Ordering::Relaxed));
    for destination in snapshot.rules.destinations.slots().skip(page.first as usize).take(page.rows.capacity()) {
        let traffic = Traffic { connections: packets / 5, in_packets: packets, ..Traffic::default() };
        page.rows.push(destination.map_or_else(DestinationRow::default, |d| DestinationRow {
            uid: d.uid,
            traffic,
            active: u32::try_from(active).unwrap(),
            ..DestinationRow::default()
        }));
    }
    page
}
