//! The director with its data path: brings everything up, forwards until it is told to stop, and takes everything down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pollvs::config::{Config, Sizes};
use pollvs::control::{Control, Setup};
use pollvs::director::table_bytes;
use pollvs::io::dpdk::MbufPool;
use pollvs::kernel::{Watcher, check_sysctls};
use pollvs::network::Network;
use pollvs::verdict::PortId;
use pollvs::worker::SystemClock;

use crate::announcing::Announcing;
use crate::cores::Cores;
use crate::dataplane::{self, DataPlane, Question};
use crate::handover;
use crate::nodes;
use crate::service::{Sockets, serve};
use crate::steps::Steps;
use crate::tables::Tables;

/// How often the destinations in use are told to the part that keeps their neighbours resolved.
const REFRESH: Duration = Duration::from_secs(1);
/// How often the devices are asked whether they are there and have a link: what watches the twin learns of a lost one within this time.
const LINKS: Duration = Duration::from_millis(100);

/// Says what a configuration would start.
pub(crate) fn check(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let bytes = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let (v4, v6) = (|n| bytes(table_bytes::<u32>(n)), |n| bytes(table_bytes::<u128>(n)));
    let frames = |n| MbufPool::memory(n, dataplane::data_room(&config));
    let sizes = Sizes { connections: &v4, connections6: &v6, templates: &v4, templates6: &v6, frames: &frames };
    print!("{}", config.check_report(&sizes));
    if let Some(warning) = Announcing::new(&config.announce.interface)?.missing()? {
        println!("warning   {warning}");
    }
    let cores = Cores::assign(&config.director)?;
    nodes::pools(&config, &cores).said().iter().for_each(|line| println!("pool      {line}"));
    cores.shared().into_iter().chain(nodes::remarks(&config, &cores)).for_each(|remark| println!("warning   {remark}"));
    Ok(())
}

/// Runs until it is told to stop.
pub(crate) fn run(config: Config, config_path: Option<PathBuf>) -> anyhow::Result<()> {
    let cores = Cores::assign(&config.director)?;
    if let Some(remark) = cores.settle_control() {
        tracing::info!("{remark}");
    }
    cores.shared().into_iter().chain(nodes::remarks(&config, &cores)).for_each(|remark| tracing::warn!("{remark}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(direct(config, config_path, &cores));
    // Nothing that is still under way on the control side may hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn direct(config: Config, config_path: Option<PathBuf>, cores: &Cores) -> anyhow::Result<()> {
    let mut steps = Steps::begin("start");
    let sockets = Sockets::open(&config)?;
    let tables = Tables::begin(&config, cores);
    let left = handover::open(&config.director);
    let prepared = dataplane::prepare(&config, cores, tables.seed, &mut steps)?;
    let mut watcher = Watcher::new(prepared.kernel_ports(&config)).context("cannot read the kernel's network")?;
    assign(&mut watcher, &config)?;
    let twins = prepared.twin_names();
    check_sysctls(&twins.iter().map(String::as_str).collect::<Vec<_>>()).iter().for_each(|w| tracing::warn!("{w}"));
    steps.done("the network");
    let (workers, mailboxes) = dataplane::mailboxes(prepared.workers, cores);
    let setup = Setup {
        config: config.clone(),
        config_path,
        network: watcher.read().context("cannot read the kernel's network")?,
        workers: workers.clone(),
        ports: prepared.views(&config, watcher.links()),
    };
    let mut announcing = Announcing::new(&config.announce.interface).context("cannot open the kernel's network")?;
    let (control, snapshot) = Control::inheriting(setup, left.as_ref().map_or(&[], |left| left.health()))?;
    steps.done("the rules");
    let mut directors = tables.finish(prepared.workers, prepared.steering())?;
    directors.iter_mut().for_each(|director| drop(director.apply(snapshot.clone())));
    drop(snapshot);
    steps.done("the tables");
    let clock = SystemClock::default();
    handover::take_over(left, &mut directors, prepared.steering(), clock);
    steps.done("taking over");
    let mut plane = prepared.start(&config, cores, mailboxes, directors, clock)?;
    steps.done("the workers");
    let steering = plane.steering.clone();
    tracing::info!("forwarding; control socket {}", config.director.socket.display());
    let outcome = tokio::select! {
        outcome = serve(&control, &sockets, &config.director) => outcome,
        () = control.synchronise(steering) => Ok(()),
        () = follow(&control, &mut watcher, &mut plane) => Ok(()),
        () = announcing.follow(&control) => Ok(()),
    };
    announcing.withdraw(&control).await;
    control.take_leave().await;
    let mut steps = Steps::begin("end");
    let _ = workers.ask_all(pollvs::mailbox::Command::Stop).await;
    plane.join(&config.director, control.findings(), &mut steps);
    tracing::info!("stopped");
    outcome
}

/// Puts the addresses of the configuration on the twins.
fn assign(watcher: &mut Watcher, config: &Config) -> anyhow::Result<()> {
    for (id, port) in (0..).map(PortId).zip(&config.ports) {
        for cidr in &port.addresses {
            watcher
                .assign(id, cidr.address, cidr.prefix)
                .with_context(|| format!("cannot put {cidr} on the twin of port {:?}", port.name))?;
        }
    }
    Ok(())
}

/// Carries the kernel's network to the workers, and their questions to the kernel. Never returns.
async fn follow(control: &Control, watcher: &mut Watcher, plane: &mut DataPlane) {
    let mut refresh = tokio::time::interval(REFRESH);
    let mut links = tokio::time::interval(LINKS);
    loop {
        tokio::select! {
            network = watcher.next_network() => publish(control, network).await,
            question = plane.questions.recv() => ask(watcher, question),
            _ = links.tick() => plane.devices.look(control, watcher).await,
            _ = refresh.tick() => watcher.keep_fresh(control.destination_addresses().await),
        }
    }
}

async fn publish(control: &Control, network: Arc<Network>) {
    if let Err(silent) = control.set_network(network).await {
        tracing::error!("{silent}");
    }
}

fn ask(watcher: &mut Watcher, question: Option<Question>) {
    if let Some((port, neighbour)) = question {
        watcher.resolve(port, neighbour);
    }
}
