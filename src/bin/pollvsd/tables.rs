//! The workers' tables. They are made on the workers' own cores while DPDK starts and ports are opened, since the memory of a million
//! entries takes its time.

use std::thread::JoinHandle;

use core_affinity::CoreId;
use pollvs::config::Config;
use pollvs::director::Director;
use pollvs::steering::Steering;
use pollvs::verdict::WorkerId;

use crate::cores::Cores;

/// Tables that are being made.
pub(crate) struct Tables {
    /// What keys their hashes.
    pub(crate) seed: u64,
    threads: Vec<JoinHandle<Director>>,
}

impl Tables {
    /// Begins to make those of as many workers as the configuration asks for.
    pub(crate) fn begin(config: &Config, cores: &Cores) -> Self {
        let seed = config.director.seed.given().unwrap_or_else(rand::random);
        let limits = config.director.limits();
        let make = |id: u16, core: Option<CoreId>| {
            let body = move || {
                core.map(core_affinity::set_for_current);
                Director::new(&limits, seed, WorkerId(id), Steering::default())
            };
            std::thread::Builder::new().name(format!("tables-{id}")).spawn(body)
        };
        let threads = (0..config.director.workers).map(|id| make(id, cores.worker(usize::from(id))));
        // Without a thread they are made in the end.
        Self { seed, threads: threads.filter_map(Result::ok).collect() }
    }

    /// Those of so many workers, who own the clients that `steering` says.
    pub(crate) fn finish(self, config: &Config, workers: u16, steering: &Steering) -> Vec<Director> {
        let made: Vec<Director> = self.threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
        if made.len() == usize::from(workers) {
            return made.into_iter().map(|director| director.steered(steering.clone())).collect();
        }
        drop(made);
        (0..workers)
            .map(|id| Director::new(&config.director.limits(), self.seed, WorkerId(id), steering.clone()))
            .collect()
    }
}
