//! The director: `pollvsd --config FILE`, or with no argument the embedded default.

mod cores;
mod dataplane;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use pollvs::config::{Config, Sizes};
use pollvs::conn::Table;
use pollvs::control::{self, Applied, Control, Setup};
use pollvs::io::dpdk::MbufPool;
use pollvs::kernel::{Watcher, check_sysctls};
use pollvs::network::Network;
use pollvs::verdict::PortId;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use cores::Cores;
use dataplane::{DataPlane, Question};

/// How often the destinations in use are told to the part that keeps their neighbours resolved.
const REFRESH: Duration = Duration::from_secs(1);
/// How often the devices are asked whether they have a link: what watches the twin learns of a lost one within this time.
const LINKS: Duration = Duration::from_millis(100);

/// Forwards packets to real servers as IPVS does, on DPDK ports.
#[derive(Parser, Debug)]
#[command(name = "pollvsd", version = env!("POLLVS_VERSION"))]
struct Args {
    /// Configuration file; without one the embedded default is used.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Says what the configuration would start (ports, queues, memory), and starts nothing.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    check: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("POLLVS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let outcome = match &args.check {
        Some(file) => check(file),
        None => run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &std::path::Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let bytes = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let (v4, v6) = (|n| bytes(Table::<u32>::bytes_for(n)), |n| bytes(Table::<u128>::bytes_for(n)));
    let frames = |n| MbufPool::memory(n, dataplane::data_room(&config));
    let sizes = Sizes { connections: &v4, connections6: &v6, templates: &v4, templates6: &v6, frames: &frames };
    print!("{}", config.check_report(&sizes));
    Cores::assign(&config.director).map(drop)
}

fn run(args: &Args) -> anyhow::Result<()> {
    let config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::embedded(),
    };
    let cores = Cores::assign(&config.director)?;
    if let Some(remark) = cores.settle_control() {
        tracing::info!("{remark}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(direct(config, args.config.clone(), &cores));
    // Nothing that is still under way on the control side may hold up the end.
    runtime.shutdown_background();
    outcome
}

/// Brings everything up, forwards until it is told to stop, and takes everything down.
async fn direct(config: Config, config_path: Option<PathBuf>, cores: &Cores) -> anyhow::Result<()> {
    // First of all, so that a second director ends before it touches a device; clients wait for their greeting meanwhile.
    let server = control::server::Server::bind(&config.director.socket)?;
    let prepared = dataplane::prepare(&config)?;
    let mut watcher = Watcher::new(prepared.kernel_ports(&config)).context("cannot read the kernel's network")?;
    assign(&mut watcher, &config)?;
    let twins = prepared.twin_names();
    check_sysctls(&twins.iter().map(String::as_str).collect::<Vec<_>>()).iter().for_each(|w| tracing::warn!("{w}"));
    let (workers, mailboxes) = dataplane::mailboxes(&config, cores);
    let setup = Setup {
        config: config.clone(),
        config_path,
        network: watcher.read().context("cannot read the kernel's network")?,
        workers: workers.clone(),
        ports: prepared.views(&config),
    };
    let (control, snapshot) = Control::new(setup)?;
    let mut plane = prepared.start(&config, cores, mailboxes, &snapshot)?;
    drop(snapshot);
    tracing::info!("forwarding; control socket {}", config.director.socket.display());
    sd_notify::notify(false, &[sd_notify::NotifyState::Ready]).unwrap_or_else(|e| tracing::debug!("no systemd: {e}"));
    let outcome = tokio::select! {
        () = server.run(&control) => Ok(()),
        () = control.keep_house() => Ok(()),
        () = follow(&control, &mut watcher, &mut plane) => Ok(()),
        outcome = signals(&control, config.director.drain_secs) => outcome,
        () = control.stopped() => Ok(()),
    };
    let _ = workers.ask_all(pollvs::mailbox::Command::Stop).await;
    plane.join();
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
            _ = links.tick() => plane.links().for_each(|(port, up)| watcher.device_link(port, up)),
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

/// SIGHUP reloads; SIGTERM drains and stops, a second one and SIGINT stop at once.
async fn signals(control: &Control, drain_secs: u32) -> anyhow::Result<()> {
    let (mut hangup, mut term) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = hangup.recv() => match control.reload().await {
                Ok(applied) => report(&applied),
                Err(failure) => tracing::error!("not reloaded, nothing has changed: {failure}"),
            },
            _ = term.recv() => break,
            _ = interrupt.recv() => return Ok(()),
        }
    }
    if drain_secs > 0 {
        tracing::info!("draining for up to {drain_secs} s");
    }
    tokio::select! {
        () = control.shut_down(drain_secs) => {}
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn report(applied: &Applied) {
    tracing::info!("reloaded, {} changes", applied.changes.len());
    applied.changes.iter().for_each(|change| tracing::info!("{change}"));
    applied.restart.iter().for_each(|key| tracing::warn!("{key} has changed too, and takes effect at the next start"));
}
