//! Brings the data path up: DPDK, ports, twins, workers. In two steps, so that rules and network are in the directors before the
//! first packet is received.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use core_affinity::CoreId;
use pollvs::config::{Config, DirectorConfig, Huge, Idle, PortConfig};
use pollvs::control::Ports;
use pollvs::control::health::board::Found;
use pollvs::control::reply::PortView;
use pollvs::director::{Director, Limits};
use pollvs::frame::FrameSource;
use pollvs::handoff::{Handoff, Strays};
use pollvs::io::dpdk::{
    DpdkIo, Eal, EalOptions, HugePages, Mbuf, MbufPool, Port, PortSettings, Queue, register_thread,
};
use pollvs::kernel::{self, Links, Tap, Twin, TwinEnd};
use pollvs::load_board::LoadBoard;
use pollvs::mailbox::{Mailbox, Workers, mailbox};
use pollvs::network::PortInfo;
use pollvs::steering::{Steering, SteeringReport};
use pollvs::verdict::{PortId, WorkerId};
use pollvs::worker::{self, Parts, SystemClock, Worker};
use tokio::sync::mpsc;

use crate::cores::Cores;
use crate::devices::{Absence, Devices};
use crate::frames::Frames;
use crate::handover;
use crate::ports::{self, Opened};
use crate::steps::Steps;

/// Bytes of a buffer for a frame of the usual MTU.
const DATA_ROOM: usize = 2048;
/// Frames in line between a worker and the twin thread, and between two workers.
const LINE: usize = 1024;
/// Neighbours that may wait to be asked for.
const QUESTIONS: usize = 256;

/// A neighbour that a worker wants resolved.
pub(crate) type Question = (PortId, IpAddr);

/// Ports and twins, open but not yet polled.
pub(crate) struct Prepared {
    /// How many workers there are to be: as many as asked for, or as there are queues for.
    pub(crate) workers: u16,
    ports: Vec<Arc<Port>>,
    queues: Vec<Vec<Queue>>,
    frames: Frames,
    devices: Devices,
    taps: Vec<(PortId, Tap)>,
    steering: Steering,
    /// By port.
    reports: Vec<SteeringReport>,
    /// By worker, then by port.
    strays: Vec<Arc<[Strays]>>,
}

/// The data path at work.
pub(crate) struct DataPlane {
    twin: Twin,
    /// Each returns what its worker has of connections and templates, if it has run.
    threads: Vec<JoinHandle<Option<Director>>>,
    /// Whose ticks the directors count.
    clock: SystemClock,
    /// What the workers want resolved.
    pub(crate) questions: mpsc::Receiver<Question>,
    /// Whose clients are whose.
    pub(crate) steering: Steering,
    ports: Vec<Arc<Port>>,
    /// The devices of the ports.
    pub(crate) devices: Devices,
    frames: Frames,
}

/// Makes the mailboxes of all workers.
pub(crate) fn mailboxes(workers: u16, cores: &Cores) -> (Workers, Vec<Mailbox>) {
    let one = |index: u16| {
        let cpu = cores.worker(usize::from(index)).and_then(|core| u32::try_from(core.id).ok());
        mailbox(WorkerId(index), cpu)
    };
    let (handles, mailboxes) = (0..workers).map(one).unzip();
    (Workers::new(handles), mailboxes)
}

/// Says what room there is, and the memory that it takes.
fn say_memory(limits: &Limits, workers: usize) {
    let each = limits.memory_bytes() + LoadBoard::memory_bytes(1, limits.destinations as usize);
    tracing::info!(
        "room for {} IPv4 and {} IPv6 connections, {} and {} templates on each worker: {} MiB each, {} MiB in all",
        limits.connections,
        limits.connections6,
        limits.templates,
        limits.templates6,
        each.div_ceil(1 << 20),
        (each * workers).div_ceil(1 << 20)
    );
}

/// Starts DPDK and opens ports and twins.
pub(crate) fn prepare(config: &Config, cores: &Cores, seed: u64, steps: &mut Steps) -> anyhow::Result<Prepared> {
    if config.ports.is_empty() {
        bail!(
            "the configuration names no port; write a [[port]] section with name and device (config/minimal.toml shows one)"
        );
    }
    let eal = start_eal(config)?;
    let room = data_room(config);
    steps.done("DPDK");
    let frames = Frames::new(&eal, config, cores, room)?;
    steps.done("the frames");
    let Opened { workers, ports, queues, steering, reports } = ports::open(&eal, config, &frames, seed)?;
    steps.done("the ports");
    let mut taps = Vec::new();
    for ((id, port), open) in (0..).map(PortId).zip(&config.ports).zip(&ports) {
        if let Some(name) = port.twin_name() {
            let mtu = port.mtu.unwrap_or(open.mtu());
            let tap = Tap::create(name, open.mac(), mtu, port.keep_twin);
            taps.push((id, tap.with_context(|| format!("twin of port {:?}", port.name))?));
        }
    }
    steps.done("the twins");
    let strays = Strays::table(workers.into(), ports.len());
    let devices = Devices::new(&ports, &config.ports);
    Ok(Prepared { workers, ports, devices, queues, frames, taps, steering, reports, strays })
}

fn start_eal(config: &Config) -> anyhow::Result<Eal> {
    let settings = config.ports.iter().map(|p| PortSettings::new(p.device.as_str()));
    let options = EalOptions {
        memory_mib: config.dpdk.memory_mb,
        huge_pages: match config.dpdk.huge {
            Huge::Auto => HugePages::Auto,
            Huge::Never => HugePages::Never,
            Huge::Required if config.director.allow_fewer => HugePages::Auto,
            Huge::Required => HugePages::Always,
        },
        pci: settings.filter(PortSettings::is_pci).map(|p| p.device).collect(),
        extra: config.dpdk.extra_args.clone(),
        ..EalOptions::default()
    };
    let eal = Eal::start(&options)?;
    if config.dpdk.huge == Huge::Required && !eal.has_huge_pages() {
        tracing::warn!(
            "too few huge pages are free for memory_mb = {}: ordinary pages are taken (allow_fewer)",
            config.dpdk.memory_mb
        );
    }
    let pages = if eal.has_huge_pages() { "huge pages" } else { "ordinary pages (reserve huge pages for full speed)" };
    tracing::info!("DPDK is up on {} MiB of {pages}", config.dpdk.memory_mb);
    Ok(eal)
}

/// Room for the longest frame of any port.
pub(crate) fn data_room(config: &Config) -> usize {
    let longest = config.ports.iter().filter_map(|p| p.mtu.given()).map(|mtu| usize::from(mtu) + 64).max();
    longest.unwrap_or(0).max(DATA_ROOM)
}

impl Prepared {
    /// The ports as the kernel's view of the network is read for them.
    pub(crate) fn kernel_ports(&self, config: &Config) -> Vec<kernel::Port> {
        let twin = |id: u16| self.taps.iter().find(|(port, _)| port.0 == id).map(|(_, tap)| tap.index());
        let port = |(id, (port, settings)): (u16, (&Arc<Port>, &PortConfig))| kernel::Port {
            info: PortInfo { name: settings.name.clone(), mac: port.mac(), mtu: port.mtu(), twin: twin(id).is_some() },
            twin: twin(id),
            behind: kernel::interface_behind(&settings.device),
        };
        (0..).zip(self.ports.iter().zip(&config.ports)).map(port).collect()
    }

    /// Names of the twins in the kernel.
    pub(crate) fn twin_names(&self) -> Vec<String> {
        self.taps.iter().map(|(_, tap)| tap.name().to_owned()).collect()
    }

    /// What the ports say of themselves, whenever asked.
    pub(crate) fn views(&self, config: &Config, links: Links) -> Ports {
        let (ports, settings, reports) = (self.ports.clone(), config.ports.clone(), self.reports.clone());
        let (queues, strays, absences) = (self.workers, self.strays.clone(), self.devices.absences());
        Box::new(move || {
            let one = |(index, ((port, settings), report)): (usize, ((&Arc<Port>, &PortConfig), &SteeringReport))| {
                let [handed_over, astray] = Strays::of_port(&strays, index);
                PortView {
                    name: settings.name.clone(),
                    device: settings.device.clone(),
                    mac: port.mac().to_string(),
                    mtu: port.mtu(),
                    queues,
                    up: links.is_up(index),
                    link_losses: links.losses(index),
                    removals: port.removals(),
                    gone: absences.get(index).map(Absence::reason).unwrap_or_default(),
                    twin: settings.twin_name().unwrap_or_default().to_owned(),
                    steering: report.clone(),
                    handed_over,
                    astray,
                    counters: port.counters(),
                }
            };
            ports.iter().zip(&settings).zip(&reports).enumerate().map(one).collect()
        })
    }

    /// Whose clients are whose.
    pub(crate) fn steering(&self) -> &Steering {
        &self.steering
    }

    /// Starts the workers, each with its tables, which have rules and all that they are to have.
    pub(crate) fn start(
        self,
        config: &Config,
        cores: &Cores,
        mailboxes: Vec<Mailbox>,
        directors: Vec<Director>,
        clock: SystemClock,
    ) -> anyhow::Result<DataPlane> {
        let steering = self.steering;
        let workers = usize::from(self.workers);
        let board = Arc::new(LoadBoard::new(workers, config.director.destinations as usize));
        let (asker, questions) = mpsc::channel(QUESTIONS);
        let (twin, ends) = Twin::start(self.taps, Source(self.frames.of_worker(0)), workers, LINE)?;
        let mesh = Handoff::mesh(workers, LINE).into_iter().zip(self.strays);
        let mesh = mesh.map(|(handoff, strays)| handoff.counting(strays));
        let ends = ends.into_iter().zip(mesh).zip(lanes(self.queues, workers));
        say_memory(&config.director.limits(), workers);
        let mut threads = Vec::new();
        let workers = (0..).map(WorkerId).zip(mailboxes).zip(directors);
        for (((id, mailbox), director), ((twin, handoff), queues)) in workers.zip(ends) {
            let parts = Parts {
                id,
                io: DpdkIo::new(queues, self.frames.of_worker(usize::from(id.0))),
                director,
                limits: config.director.limits(),
                mailbox,
                handoff,
                twin,
                resolver: resolver(asker.clone()),
                board: Arc::clone(&board),
                burst: usize::from(config.director.burst),
                idle: match config.director.idle {
                    Idle::Spin => worker::Idle::Spin,
                    Idle::Sleep => worker::Idle::Sleep,
                },
            };
            threads.push(spawn(id, cores.worker(usize::from(id.0)), parts, clock)?);
        }
        Ok(DataPlane {
            twin,
            threads,
            clock,
            questions,
            steering,
            ports: self.ports,
            devices: self.devices,
            frames: self.frames,
        })
    }
}

/// The queues by worker instead of by port.
fn lanes(ports: Vec<Vec<Queue>>, workers: usize) -> Vec<Vec<Queue>> {
    let mut lanes: Vec<Vec<Queue>> = (0..workers).map(|_| Vec::new()).collect();
    for queues in ports {
        lanes.iter_mut().zip(queues).for_each(|(lane, queue)| lane.push(queue));
    }
    lanes
}

fn resolver(asker: mpsc::Sender<Question>) -> worker::Resolver {
    Box::new(move |port, neighbour| asker.try_send((port, neighbour)).is_ok())
}

fn spawn(
    id: WorkerId,
    core: Option<CoreId>,
    parts: Parts<DpdkIo, TwinEnd<Mbuf>>,
    clock: SystemClock,
) -> anyhow::Result<JoinHandle<Option<Director>>> {
    let body = move || {
        if core.is_some_and(|core| !core_affinity::set_for_current(core)) {
            tracing::warn!("worker {} could not be pinned to its core", id.0);
        }
        match register_thread() {
            Ok(_registered) => {
                let mut worker = Worker::new(parts, clock);
                worker.run();
                Some(worker.into_director())
            }
            Err(error) => {
                tracing::error!("worker {} does not run: {error}", id.0);
                None
            }
        }
    };
    std::thread::Builder::new().name(format!("worker-{}", id.0)).spawn(body).context("cannot start a worker thread")
}

/// Buffers for what the kernel sends.
struct Source(MbufPool);

impl FrameSource for Source {
    type Frame = Mbuf;

    fn allocate(&mut self) -> Option<Mbuf> {
        self.0.alloc()
    }
}

impl DataPlane {
    /// Waits for the workers, which have been told to stop, hands over what they have, and closes ports and twins.
    pub(crate) fn join(self, config: &DirectorConfig, health: Vec<Found>, steps: &mut Steps) {
        let mut directors = Vec::new();
        for thread in self.threads {
            match thread.join() {
                Ok(director) => directors.extend(director),
                Err(_) => tracing::error!("a worker has ended by a fault of the program"),
            }
        }
        steps.done("stopping the workers");
        handover::hand_over(config, health, &directors, self.clock);
        steps.done("handing over");
        drop(directors);
        steps.done("freeing the tables");
        drop(self.twin);
        steps.done("the twins");
        drop((self.ports, self.devices));
        steps.done("the ports");
        // A card's queues keep theirs until it is closed.
        let (available, count) = self.frames.available();
        tracing::info!("{available} of {count} frames are in their pool");
    }
}
