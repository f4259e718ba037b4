//! The director: `pollvsd --config FILE`, or with no argument the embedded default; with `--no-dataplane` its rules alone.

#[cfg(feature = "dpdk")]
mod announcing;
#[cfg(feature = "dpdk")]
mod cores;
#[cfg(feature = "dpdk")]
mod dataplane;
#[cfg(feature = "dpdk")]
mod devices;
#[cfg(feature = "dpdk")]
mod forwarding;
#[cfg(feature = "dpdk")]
mod frames;
#[cfg(feature = "dpdk")]
mod handover;
mod log;
#[cfg(feature = "dpdk")]
mod nodes;
#[cfg(feature = "dpdk")]
mod ports;
mod rules_only;
mod service;
#[cfg(feature = "dpdk")]
mod steps;
#[cfg(feature = "dpdk")]
mod tables;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use pollvs::config::Config;

/// Forwards packets to real servers as IPVS does, on DPDK ports.
#[derive(Parser, Debug)]
#[command(name = "pollvsd", version = env!("POLLVS_VERSION"))]
struct Args {
    /// Configuration file; without one the embedded default is used.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Takes and keeps rules, and forwards nothing: no DPDK, no port.
    #[arg(long)]
    no_dataplane: bool,
    /// Folder of the sockets (control.sock, ipvs.sock) and the state file (state.json), instead of what the configuration says.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Says what the configuration would start (ports, queues, memory), and starts nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "no_dataplane", "state_dir"])]
    check: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    log::start();
    let outcome = match &args.check {
        Some(file) => check(file),
        None => run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::embedded(),
    };
    if let Some(folder) = &args.state_dir {
        keep_in(&mut config, folder);
    }
    if args.no_dataplane { rules_only::run(config, args.config) } else { forward(config, args.config) }
}

/// Puts sockets and state file in one folder.
fn keep_in(config: &mut Config, folder: &Path) {
    let director = &mut config.director;
    director.socket = folder.join("control.sock");
    director.ipvs_socket = "ipvs.sock".into();
    director.state = folder.join("state.json");
}

#[cfg(feature = "dpdk")]
use forwarding::{check, run as forward};

#[cfg(not(feature = "dpdk"))]
const NO_DPDK: &str = "this pollvsd was built without DPDK and forwards nothing; start it with --no-dataplane";

#[cfg(not(feature = "dpdk"))]
fn forward(_: Config, _: Option<PathBuf>) -> anyhow::Result<()> {
    anyhow::bail!(NO_DPDK)
}

#[cfg(not(feature = "dpdk"))]
fn check(_: &Path) -> anyhow::Result<()> {
    anyhow::bail!(NO_DPDK)
}
