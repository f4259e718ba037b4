//! What a director does once its rules are in force: it listens on its sockets and to signals.

use pollvs::config::{Config, DirectorConfig};
use pollvs::control::{Applied, Control, ipvs, metrics, server};
use tokio::signal::unix::{SignalKind, signal};

/// What is opened first of all, so that a second director ends before it touches a device; clients wait meanwhile.
pub(crate) struct Sockets {
    control: server::Server,
    metrics: Option<metrics::server::Server>,
}

impl Sockets {
    /// Opens the control socket, and that of the metrics if there is to be one.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let control = server::Server::bind(&config.director.socket)?;
        Ok(Self { control, metrics: metrics::server::Server::bind(&config.metrics.listen)? })
    }
}

/// Serves clients until somebody wants the end.
pub(crate) async fn serve(control: &Control, sockets: &Sockets, config: &DirectorConfig) -> anyhow::Result<()> {
    // Opened when the rules are back and in force, so that nobody who looks for it finds an empty director.
    let ipvs = config.ipvs_path().map(|path| ipvs::server::Server::bind(&path)).transpose()?;
    sd_notify::notify(false, &[sd_notify::NotifyState::Ready]).unwrap_or_else(|e| tracing::debug!("no systemd: {e}"));
    tokio::select! {
        () = sockets.control.run(control) => Ok(()),
        () = run_metrics(sockets.metrics.as_ref(), control) => Ok(()),
        () = control.keep_house() => Ok(()),
        () = control.check_health() => Ok(()),
        () = run_ipvs(ipvs, control) => Ok(()),
        outcome = signals(control, config.drain_secs) => outcome,
        () = control.stopped() => Ok(()),
    }
}

async fn run_metrics(server: Option<&metrics::server::Server>, control: &Control) {
    match server {
        Some(server) => server.run(control).await,
        None => std::future::pending().await,
    }
}

async fn run_ipvs(server: Option<ipvs::server::Server>, control: &Control) {
    match server {
        Some(mut server) => server.run(control).await,
        None => std::future::pending().await,
    }
}

/// SIGHUP reloads; SIGTERM drains and stops, a second one and SIGINT stop at once.
async fn signals(control: &Control, drain_secs: u32) -> anyhow::Result<()> {
    let (mut hangup, mut term) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            // What goes wrong is told in the log as the event that it is.
            _ = hangup.recv() => if let Ok(applied) = control.reload().await {
                report(&applied);
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
    applied.changes.iter().for_each(|change| tracing::info!("{change}"));
    applied.restart.iter().for_each(|key| tracing::warn!("{key} has changed too, and takes effect at the next start"));
}
