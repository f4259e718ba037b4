//! The director without its data path (`--no-dataplane`): rules are taken, checked, kept and listed, and nothing is forwarded. For
//! trying rules, and for tests.

use std::path::PathBuf;
use std::sync::Arc;

use pollvs::config::Config;
use pollvs::control::{Control, Setup};
use pollvs::mailbox::Workers;

use crate::service::{Sockets, serve};

/// Runs until it is told to stop.
pub(crate) fn run(config: Config, config_path: Option<PathBuf>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(keep(config, config_path));
    runtime.shutdown_background();
    outcome
}

async fn keep(config: Config, config_path: Option<PathBuf>) -> anyhow::Result<()> {
    let sockets = Sockets::open(&config)?;
    let setup = Setup {
        config: config.clone(),
        config_path,
        network: Arc::default(),
        workers: Workers::default(),
        ports: Box::new(Vec::new),
    };
    let (control, _) = Control::new(setup)?;
    tracing::info!("rules only, nothing is forwarded; control socket {}", config.director.socket.display());
    let outcome = serve(&control, &sockets, &config.director).await;
    tracing::info!("stopped");
    outcome
}
