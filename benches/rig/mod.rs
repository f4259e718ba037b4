//! What the benches of whole workers are made of: control with its sockets on a thread of its own, a worker on a ring whose clients have
//! connections already, and the file that a bench leaves.

pub(crate) mod wire;

use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, atomic};

use core_affinity::CoreId;
use pollvs::burst::BURST;
use pollvs::config::Config;
use pollvs::control::client::Client;
use pollvs::control::reply::Reply;
use pollvs::control::request::{Filter, Request};
use pollvs::control::{Control, Setup, ipvs, server};
use pollvs::director::{Director, Limits};
use pollvs::handoff::Handoff;
use pollvs::io::PacketIo;
use pollvs::load_board::LoadBoard;
use pollvs::mailbox::{Mailbox, Workers};
use pollvs::network::Network;
use pollvs::snapshot::Snapshot;
use pollvs::verdict::WorkerId;
use pollvs::worker::{Clock, Idle, NoTwin, Parts, Worker};
use serde::Serialize;

use crate::traffic::VIP;

/// The longest time that is told apart, in nanoseconds.
pub(crate) const LONGEST: u64 = 1_000_000_000;

/// Tables for so many IPv4 connections, and little else.
pub(crate) fn limits(connections: u32) -> Limits {
    let few = 1024;
    Limits { connections, connections6: few, templates: few, templates6: few, destinations: 2048, ftp: 64, calls: 64 }
}

/// A director's configuration with its sockets in a folder: one service with traffic, by that scheduler, and others without.
pub(crate) fn config(folder: &Path, connections: u32, scheduler: &str, others: u16) -> Config {
    let text = format!(
        "[director]\nsocket = {:?}\nstate = \"\"\nconnections = {connections}\n{}",
        folder.join("control.sock"),
        services(scheduler, others, 1)
    );
    Config::parse("bench", &text).unwrap()
}

/// These services, with that weight of the destinations of those without traffic.
pub(crate) fn services(scheduler: &str, others: u16, weight: u32) -> String {
    let service = |port: u16, scheduler: &str, weight: u32| {
        format!(
            "[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}\"\nport = {port}\nscheduler = \"{scheduler}\"\n\
             [[service.destination]]\naddress = \"198.51.100.11:{port}\"\nmethod = \"dr\"\nweight = {weight}\n"
        )
    };
    let others = (FIRST_OTHER..FIRST_OTHER + others).map(|port| service(port, "wlc", weight));
    std::iter::once(service(80, scheduler, 1)).chain(others).collect()
}

/// The port of the first service without traffic.
pub(crate) const FIRST_OTHER: u16 = 10_000;

/// Control and its sockets, on a thread of their own for as long as the process lives. Returns what the worker begins with.
pub(crate) fn control(config: Config, network: Network, workers: Workers) -> Arc<Snapshot> {
    let (sender, ready) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = server::Server::bind(&config.director.socket).unwrap();
            let mut ipvs = ipvs::server::Server::bind(&config.director.ipvs_path().unwrap()).unwrap();
            let (network, ports) = (Arc::new(network), Box::new(Vec::new));
            let setup = Setup { config, config_path: None, network, workers, ports };
            let (control, snapshot) = Control::new(setup).unwrap();
            sender.send(snapshot).unwrap();
            tokio::join!(server.run(&control), ipvs.run(&control), control.keep_house());
        });
    });
    ready.recv().unwrap()
}

/// The only worker, on that device and with that core.
pub(crate) fn alone<I: PacketIo, C: Clock>(
    io: I,
    director: Director,
    limits: Limits,
    mailbox: Mailbox,
    clock: C,
) -> Worker<I, NoTwin, C> {
    let handoff = Handoff::mesh(1, 1).pop().unwrap();
    let board = Arc::new(LoadBoard::new(1, limits.destinations as usize));
    worker(io, director, limits, Place { id: WorkerId(0), mailbox, handoff, board }, clock)
}

/// What ties a worker to control and to the others.
pub(crate) struct Place<F> {
    pub(crate) id: WorkerId,
    pub(crate) mailbox: Mailbox,
    pub(crate) handoff: Handoff<F>,
    pub(crate) board: Arc<LoadBoard>,
}

/// A worker on that device and with that core, which never rests and knows no kernel.
pub(crate) fn worker<I: PacketIo, C: Clock>(
    io: I,
    director: Director,
    limits: Limits,
    place: Place<I::Frame>,
    clock: C,
) -> Worker<I, NoTwin, C> {
    let Place { id, mailbox, handoff, board } = place;
    let parts = Parts {
        id,
        io,
        director,
        limits,
        mailbox,
        handoff,
        twin: NoTwin,
        resolver: Box::new(|_, _| false),
        board,
        burst: BURST,
        idle: Idle::Spin,
    };
    Worker::new(parts, clock)
}

/// Reads a listing by the control socket. Returns how many connections it has.
pub(crate) fn read_listing(socket: &Path) -> usize {
    let mut count = 0;
    let each = |reply| {
        if let Reply::Connections { connections, .. } = reply {
            count += connections.len();
        }
        Ok(())
    };
    Client::connect(socket).unwrap().each(&Request::Connections(Filter::default()), each).unwrap();
    count
}

/// A core for control and another for the worker.
pub(crate) fn two_cores() -> [CoreId; 2] {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let [first, .., last] = cores[..] else { panic!("the worker and control need a core each") };
    [first, last]
}

/// Leaves the result in `target/bench`.
pub(crate) fn write(name: &str, rows: &[impl Serialize]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), serde_json::to_string_pretty(rows).unwrap()).unwrap();
}

/// Adds to a counter that other threads only read.
pub(crate) fn count(counter: &atomic::AtomicU64, more: u64) {
    counter.store(counter.load(atomic::Ordering::Relaxed) + more, atomic::Ordering::Relaxed);
}
