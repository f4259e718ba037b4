//! Opens the ports: finds their devices, settles for how many workers these have queues, and has each device bring clients' packets to
//! the clients' workers as far as it can. What steers is said, port by port.

use std::sync::Arc;

use anyhow::{Context, bail};
use pollvs::config::{Config, PortConfig, VerifyChecksums};
use pollvs::control::client_prefixes;
use pollvs::io::dpdk::{Eal, Found, Port, PortSettings, Queue};
use pollvs::steering::{MAX_BITS, Steering, SteeringReport};

use crate::frames::Frames;

/// Ports that receive.
pub(crate) struct Opened {
    /// How many workers they have queues for.
    pub(crate) workers: u16,
    pub(crate) ports: Vec<Arc<Port>>,
    /// By port, then by worker.
    pub(crate) queues: Vec<Vec<Queue>>,
    /// Whose clients are whose.
    pub(crate) steering: Steering,
    /// By port.
    pub(crate) reports: Vec<SteeringReport>,
}

/// Opens all ports of the configuration.
pub(crate) fn open(eal: &Eal, config: &Config, frames: &Frames, seed: u64) -> anyhow::Result<Opened> {
    let (workers, found) = find(eal, config)?;
    // As many bits of the hash as the smallest table of queues has: with more that device could not tell owners apart.
    let bits = found.iter().filter_map(|device| device.rss().bits().ok()).min().unwrap_or(MAX_BITS);
    let steering = Steering::new(workers, bits, client_prefixes(config)?, seed);
    let (mut ports, mut queues, mut reports, mut promises) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, (device, port)) in found.into_iter().zip(&config.ports).enumerate() {
        let (rss, role) = (device.rss(), config.role(port));
        let plan = rss.plan(&steering, role);
        let wanted = plan.as_ref().ok().filter(|_| workers > 1);
        let (open, its_queues) = device.open(&frames.of_port(index), wanted).with_context(|| named(port))?;
        let outcome = plan.as_ref().map(|_| ()).and_then(|()| open.steered());
        let report = SteeringReport::new(role, workers, &rss, outcome);
        say(port, &open, &report);
        promises.push(report.promise(&rss, open.is_proven()));
        reports.push(report);
        ports.push(Arc::new(open));
        queues.push(its_queues);
    }
    Ok(Opened { workers, ports, queues, steering: steering.with_promises(promises), reports })
}

/// Finds all devices, each with a queue for every worker; fewer workers than asked for if the configuration allows it.
fn find(eal: &Eal, config: &Config) -> anyhow::Result<(u16, Vec<Found>)> {
    let mut workers = config.director.workers;
    loop {
        let one = |port| Found::new(eal, &settings(port, workers)).with_context(|| named(port));
        let found: Vec<Found> = config.ports.iter().map(one).collect::<anyhow::Result<_>>()?;
        let queues = |(device, port): (&Found, &PortConfig)| (device.rss().queues, named(port));
        let (least, port) = found.iter().zip(&config.ports).map(queues).min().context("there is no port")?;
        if least >= workers {
            return Ok((workers, found));
        }
        if least == 0 || !config.director.allow_fewer {
            bail!(
                "{port} has {least} queues for {workers} workers, which need one each on every port; write workers = {}, or \
                 allow_fewer = true, in [director]",
                least.max(1)
            );
        }
        tracing::warn!("{port} has {least} queues: {least} workers are started instead of {workers} (allow_fewer)");
        // Virtual devices are made anew, with as many queues as are polled.
        workers = least;
    }
}

fn named(port: &PortConfig) -> String {
    format!("port {:?}, device {:?}", port.name, port.device)
}

fn say(port: &PortConfig, open: &Port, report: &SteeringReport) {
    let finishing = if open.verifies_checksums() { ", checksums finished in software" } else { "" };
    let (mac, driver) = (open.mac(), open.driver());
    tracing::info!("port {}: {} ({driver}, MAC {mac}, {} queues{finishing})", port.name, port.device, open.queues());
    tracing::info!("port {}: steering: {}", port.name, report.text);
}

fn settings(port: &PortConfig, queues: u16) -> PortSettings {
    PortSettings {
        queues,
        rx_descriptors: port.rx_desc,
        tx_descriptors: port.tx_desc,
        mtu: port.mtu.given(),
        promiscuous: port.promiscuous,
        verify_checksums: match port.verify_checksums {
            VerifyChecksums::Auto => None,
            VerifyChecksums::On => Some(true),
            VerifyChecksums::Off => Some(false),
        },
        ..PortSettings::new(port.device.as_str())
    }
}
