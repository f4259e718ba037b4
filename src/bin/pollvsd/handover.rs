//! The connections and templates of the process before are taken over, and those of this one handed over at its end, if the
//! configuration wants that. Whatever goes wrong is said, and holds up neither start nor end.

use std::time::Instant as Wall;

use pollvs::config::DirectorConfig;
use pollvs::control::handover::{self, Moment};
use pollvs::director::Director;
use pollvs::steering::Steering;
use pollvs::worker::{Clock, SystemClock};

/// Takes over what the process before has left, before the first packet.
pub(crate) fn take_over(config: &DirectorConfig, directors: &mut [Director], steering: &Steering, clock: SystemClock) {
    let Some(path) = config.handover_path() else { return };
    let begun = Wall::now();
    let taken = match Moment::now() {
        Ok(moment) => handover::restore(&path, &moment, directors, steering, clock.now()),
        Err(error) => return tracing::warn!("no connections are taken over: the time is not known: {error}"),
    };
    match taken {
        Ok(None) => {}
        Ok(Some(taken)) => {
            let lost =
                if taken.lost == 0 { String::new() } else { format!(", {} of them lost for want of room", taken.lost) };
            tracing::info!(
                "took over {} connections and templates{lost} in {} ms, {} ms after the process before had stopped forwarding",
                taken.entries,
                begun.elapsed().as_millis(),
                taken.age.as_millis()
            );
        }
        Err(error) => tracing::warn!("no connections are taken over: {error}"),
    }
}

/// Leaves everything to the next process. The workers have stopped.
pub(crate) fn hand_over(config: &DirectorConfig, directors: &[Director], clock: SystemClock) {
    let Some(path) = config.handover_path() else { return };
    let begun = Wall::now();
    match Moment::now().and_then(|stopped| handover::save(&path, stopped, directors, clock.now())) {
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
