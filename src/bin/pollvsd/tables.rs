//! The workers' tables. They are made on the workers' own cores, and so in memory near them, while DPDK starts and ports are opened, since
//! the memory of a million entries takes its time: every page of it is touched, or packets would wait for pages later.

use std::fs;
use std::thread::JoinHandle;

use anyhow::Context;
use core_affinity::CoreId;
use pollvs::config::Config;
use pollvs::director::{Director, Limits};
use pollvs::io::dpdk::huge::{HugeAllocator, LARGE};
use pollvs::steering::Steering;
use pollvs::verdict::WorkerId;

use crate::cores::Cores;

/// All that is large is on huge pages, where the kernel has them.
#[global_allocator]
static ALLOCATOR: HugeAllocator = HugeAllocator;

/// Tables that are being made.
pub(crate) struct Tables {
    /// What keys their hashes.
    pub(crate) seed: u64,
    limits: Limits,
    /// By worker.
    threads: Vec<Making>,
}

/// The core of a worker, and the thread that makes its tables there, if one could be started.
type Making = (Option<CoreId>, std::io::Result<JoinHandle<Director>>);

impl Tables {
    /// Begins to make those of as many workers as the configuration asks for.
    pub(crate) fn begin(config: &Config, cores: &Cores) -> Self {
        let seed = config.director.seed.given().unwrap_or_else(rand::random);
        let limits = config.director.limits();
        let one = |id: u16| {
            let core = cores.worker(usize::from(id));
            (core, make(id, core, limits, seed))
        };
        let threads = (0..config.director.workers).map(one).collect();
        Self { seed, limits, threads }
    }

    /// Those of so many workers, as many as were asked for or fewer, who own the clients that `steering` says.
    pub(crate) fn finish(self, workers: u16, steering: &Steering) -> anyhow::Result<Vec<Director>> {
        let Self { seed, limits, threads } = self;
        let made = |(id, (core, thread)): (u16, Making)| {
            // There may be room for a thread by now.
            let thread = thread.or_else(|_| make(id, core, limits, seed));
            let director = thread.context("cannot start a thread for the tables of a worker")?.join();
            let director = director.ok().context("making the tables of a worker has failed")?;
            Ok(director.steered(steering.clone()))
        };
        let mut all = (0..).zip(threads);
        let directors = all.by_ref().take(workers.into()).map(made).collect::<anyhow::Result<Vec<_>>>()?;
        // Nobody waits for those that are not needed.
        drop(all);
        say_pages(limits.memory_bytes().saturating_mul(directors.len()));
        Ok(directors)
    }
}

fn make(id: u16, core: Option<CoreId>, limits: Limits, seed: u64) -> std::io::Result<JoinHandle<Director>> {
    let body = move || {
        core.map(core_affinity::set_for_current);
        Director::new(&limits, seed, WorkerId(id), Steering::default())
    };
    std::thread::Builder::new().name(format!("tables-{id}")).spawn(body)
}

/// Says on which pages the tables are, so many bytes in all.
fn say_pages(bytes: usize) {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let setting = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    match pages(bytes, huge_bytes(&rollup), &setting) {
        Some((true, words)) => tracing::info!("{words}"),
        Some((false, words)) => tracing::warn!("{words}"),
        None => {}
    }
}

/// What of a process is on transparent huge pages, from `/proc/PID/smaps_rollup`; `None` where the kernel does not say.
fn huge_bytes(rollup: &str) -> Option<usize> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok().map(|kib| kib << 10)
}

/// What to say, and whether it is as it should be. Small tables are on ordinary pages, and no worse for it.
fn pages(bytes: usize, huge: Option<usize>, setting: &str) -> Option<(bool, String)> {
    let huge = huge.filter(|_| bytes >= LARGE)?;
    let mib = |bytes: usize| bytes.div_ceil(1 << 20);
    if huge.saturating_mul(2) >= bytes {
        return Some((true, format!("{} of the tables' {} MiB are on huge pages", mib(huge.min(bytes)), mib(bytes))));
    }
    let why = if setting.contains("[never]") {
        "allow them: echo madvise >/sys/kernel/mm/transparent_hugepage/enabled"
    } else {
        "memory is in pieces: start pollvsd early after boot, or echo 1 >/proc/sys/vm/compact_memory before"
    };
    let words = format!(
        "only {} of the tables' {} MiB are on huge pages, so look-ups take longer; {why}",
        mib(huge),
        mib(bytes)
    );
    Some((false, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tables_are_on_is_said() {
        const MIB: usize = 1 << 20;
        let said = |bytes, huge, setting| pages(bytes, huge, setting);
        assert_eq!(said(MIB, Some(0), "always"), None, "too small to matter");
        assert_eq!(said(400 * MIB, None, ""), None, "the kernel does not say");
        let good = said(400 * MIB, Some(390 * MIB), "always [madvise] never").unwrap();
        assert_eq!(good, (true, "390 of the tables' 400 MiB are on huge pages".to_owned()));
        let (fine, words) = said(400 * MIB, Some(0), "always madvise [never]").unwrap();
        assert!(!fine && words.contains("only 0 of the tables' 400 MiB") && words.contains("echo madvise"), "{words}");
        let (fine, words) = said(400 * MIB, Some(100 * MIB), "always [madvise] never").unwrap();
        assert!(!fine && words.contains("compact_memory"), "{words}");
    }

    #[test]
    fn the_kernels_account_is_read() {
        let rollup =
            "55-7f ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nAnonHugePages:      4096 kB\nShmemPmdMapped: 0 kB\n";
        assert_eq!(huge_bytes(rollup), Some(4 << 20));
        assert_eq!(huge_bytes("Rss: 9 kB\n"), None);
    }
}
