//! The bursts of all workers as control hears of them, every two seconds: sums since the start, and times of late. Pure: fed with logs.

use crate::burst_meter::{BurstLog, BurstSums};
use crate::control::reply::BurstView;

/// Logs that are kept together: those of ten seconds.
const TOGETHER: u32 = 5;

/// What is known of one worker's bursts.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    total: BurstSums,
    /// The logs of the last ten seconds or less.
    now: BurstLog,
    /// Those of the ten seconds before.
    before: BurstLog,
    logs: u32,
}

impl Recent {
    fn hear(&mut self, log: &BurstLog) {
        if self.logs == TOGETHER {
            self.before = std::mem::take(&mut self.now);
            self.logs = 0;
        }
        self.logs += 1;
        self.now.add(log);
        self.total += log.sums();
    }

    /// All since the start.
    pub fn total(&self) -> BurstSums {
        self.total
    }

    /// The times of the last ten to twenty seconds.
    pub fn view(&self) -> BurstView {
        let mut both = self.before.clone();
        both.add(&self.now);
        let [p50_ns, p90_ns, p99_ns, p999_ns, max_ns] = [0.5, 0.9, 0.99, 0.999, 1.0].map(|share| both.quantile(share));
        BurstView { p50_ns, p90_ns, p99_ns, p999_ns, max_ns }
    }
}

/// What is known of all workers' bursts.
#[derive(Clone, Debug, Default)]
pub struct Bursts {
    workers: Vec<Recent>,
}

impl Bursts {
    /// Takes the log of one worker.
    pub fn hear(&mut self, worker: usize, log: &BurstLog) {
        if self.workers.len() <= worker {
            self.workers.resize_with(worker + 1, Recent::default);
        }
        self.workers[worker].hear(log);
    }

    /// One worker's; `None` before the first log.
    pub fn worker(&self, worker: usize) -> Option<&Recent> {
        self.workers.get(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(frames: usize, nanos: u64) -> BurstLog {
        let mut log = BurstLog::default();
        log.record(frames, nanos);
        log
    }

    #[test]
    fn sums_last_and_times_are_of_late() {
        let mut bursts = Bursts::default();
        assert!(bursts.worker(1).is_none());
        bursts.hear(1, &log(3, 1_000_000));
        assert!(bursts.worker(1).unwrap().view().max_ns >= 1_000_000);
        (0..2 * TOGETHER).for_each(|_| bursts.hear(1, &log(1, 1000)));
        let worker = bursts.worker(1).unwrap();
        assert_eq!((worker.total().frames, worker.total().nanos), (13, 1_010_000));
        assert!((980..=1020).contains(&worker.view().max_ns), "{:?}", worker.view());
        assert_eq!(bursts.worker(0).unwrap().view(), BurstView::default());
    }
}
