//! The connections, templates and findings of checks of the process before are taken over, and those of this one handed over at its end, if the
//! configuration wants that. Whatever goes wrong is said, and holds up neither start nor end.

use std::fs::File;
use std::time::Instant as Wall;

use anyhow::Context as _;
use pollvs::config::DirectorConfig;
use pollvs::control::handover::{self, Leaving, Left, Moment};
use pollvs::control::health::board::Found;
use pollvs::director::Director;
use pollvs::steering::Steering;
use pollvs::worker::{Clock, SystemClock};

/// What is said when nothing is taken over.
const NOTHING: &str = "no connections are taken over";

/// What the process before has left, if it has left anything that can be used.
pub(crate) fn open(config: &DirectorConfig) -> Option<Left<File>> {
    let path = config.handover_path()?;
    match now().and_then(|moment| Ok(handover::open(&path, &moment)?)) {
        Ok(left) => left,
        Err(error) => {
            tracing::warn!("{NOTHING}: {error:#}");
            None
        }
    }
}

/// Takes its connections and templates over, before the first packet.
pub(crate) fn take_over(left: Option<Left<File>>, directors: &mut [Director], steering: &Steering, clock: SystemClock) {
    let Some(left) = left else { return };
    let begun = Wall::now();
    match now().and_then(|moment| Ok(left.take_over(&moment, directors, steering, clock.now())?)) {
        Ok(taken) => {
            let lost =
                if taken.lost == 0 { String::new() } else { format!(", {} of them lost for want of room", taken.lost) };
            tracing::info!(
                "took over {} connections and templates{lost} in {} ms, {} ms after the process before had stopped forwarding",
                taken.entries,
                begun.elapsed().as_millis(),
                taken.age.as_millis()
            );
        }
        Err(error) => tracing::warn!("{NOTHING}: {error:#}"),
    }
}

fn now() -> anyhow::Result<Moment> {
    Moment::now().context("the time is not known")
}

/// Leaves everything to the next process. The workers have stopped.
pub(crate) fn hand_over(config: &DirectorConfig, health: Vec<Found>, directors: &[Director], clock: SystemClock) {
    let Some(path) = config.handover_path() else { return };
    let begun = Wall::now();
    match Moment::now().and_then(|stopped| handover::save(&path, Leaving { stopped, health }, directors, clock.now())) {
        Ok(0) => {}
        Ok(entries) => {
            let millis = begun.elapsed().as_millis();
            tracing::info!("handed over {entries} connections and templates in {millis} ms, in {}", path.display());
        }
        Err(error) => {
            tracing::warn!("connections end with this process: {} cannot be written: {error}", path.display())
        }
    }
}
