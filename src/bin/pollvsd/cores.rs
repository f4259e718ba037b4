//! Which core does what: workers on the cores that the configuration names, or the last ones; control on one that no worker has, as long
//! as there is one.

use anyhow::bail;
use core_affinity::CoreId;
use pollvs::config::DirectorConfig;

/// Cores by their tasks.
pub(crate) struct Cores {
    workers: Vec<CoreId>,
    control: Option<CoreId>,
    /// How many workers there are to be.
    wanted: usize,
}

impl Cores {
    /// Assigns the cores that this process may use.
    pub(crate) fn assign(config: &DirectorConfig) -> anyhow::Result<Self> {
        Self::among(config, &core_affinity::get_core_ids().unwrap_or_default())
    }

    fn among(config: &DirectorConfig, usable: &[CoreId]) -> anyhow::Result<Self> {
        let workers = usize::from(config.workers);
        let count = workers;
        let wanted: Vec<CoreId> = config.cpus.iter().map(|cpu| CoreId { id: *cpu as usize }).collect();
        if let Some(missing) = wanted.iter().find(|core| !usable.contains(core)) {
            bail!(
                "director.cpus names core {}, which this process may not use; it may use {:?}",
                missing.id,
                ids(usable)
            );
        }
        if usable.len() < workers && !config.allow_fewer {
            bail!(
                "director.workers = {workers}, and this process may use {} cores; write workers = {}, or allow_fewer = true",
                usable.len(),
                usable.len().max(1)
            );
        }
        let from_the_end = || usable.iter().rev().take(workers).rev().copied().collect();
        let workers = if wanted.is_empty() { from_the_end() } else { wanted };
        let free = || usable.iter().copied().find(|core| !workers.contains(core));
        let control = config.control_cpu.given().map(|cpu| CoreId { id: cpu as usize }).or_else(free);
        Ok(Self { workers, control, wanted: count })
    }

    /// The core of a worker; several share one when there are fewer.
    pub(crate) fn worker(&self, index: usize) -> Option<CoreId> {
        self.workers.get(index % self.workers.len().max(1)).copied()
    }

    /// What there is to say when workers share cores.
    pub(crate) fn shared(&self) -> Option<String> {
        let (cores, workers) = (self.workers.len(), self.wanted);
        (cores < workers).then(|| format!("{cores} cores for {workers} workers: some share one (allow_fewer)"))
    }

    /// Keeps this thread, and those that it starts, off the workers' cores. Returns what there is to say about it.
    pub(crate) fn settle_control(&self) -> Option<String> {
        match self.control {
            Some(core) if core_affinity::set_for_current(core) => None,
            Some(core) => Some(format!("the control thread could not be pinned to core {}", core.id)),
            None => Some("every core has a worker; the control thread shares one with them".to_owned()),
        }
    }
}

fn ids(cores: &[CoreId]) -> Vec<usize> {
    cores.iter().map(|core| core.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(n: usize) -> Vec<CoreId> {
        (0..n).map(|id| CoreId { id }).collect()
    }

    fn config(workers: u16, cpus: &[u32], allow_fewer: bool) -> DirectorConfig {
        DirectorConfig { workers, cpus: cpus.to_vec(), allow_fewer, ..DirectorConfig::default() }
    }

    #[test]
    fn control_stays_off_the_workers_cores_while_there_is_another() {
        let assigned = Cores::among(&config(3, &[], false), &cores(4)).unwrap();
        assert_eq!(ids(&assigned.workers), [1, 2, 3]);
        assert_eq!(assigned.control, Some(CoreId { id: 0 }));
        assert_eq!(Cores::among(&config(2, &[], false), &cores(2)).unwrap().control, None);
    }

    #[test]
    fn too_few_cores_are_refused_with_the_line_to_write() {
        let error = Cores::among(&config(3, &[], false), &cores(2)).err().unwrap().to_string();
        assert!(error.contains("write workers = 2"), "{error}");
        let shared = Cores::among(&config(3, &[], true), &cores(2)).unwrap();
        assert_eq!(shared.worker(2), shared.worker(0));
        assert_eq!(shared.shared().as_deref(), Some("2 cores for 3 workers: some share one (allow_fewer)"));
        assert_eq!(Cores::among(&config(2, &[], false), &cores(2)).unwrap().shared(), None);
    }

    #[test]
    fn a_core_that_is_not_ours_is_named() {
        let error = Cores::among(&config(1, &[9], false), &cores(2)).err().unwrap().to_string();
        assert!(error.contains("core 9"), "{error}");
    }
}
