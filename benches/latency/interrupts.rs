//! How often a core was interrupted, and by what (`/proc/interrupts`).

use std::fs;
use std::ops::{AddAssign, Sub};

use serde::Serialize;

/// Interrupts of one core.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Interrupts {
    /// Of its timer.
    pub(crate) ticks: u64,
    /// Asked for by another core that took memory away from the process: the translation must be forgotten.
    pub(crate) shootdowns: u64,
    /// Other calls of the kernel from core to core.
    pub(crate) calls: u64,
    /// Asked for by another core that woke a thread.
    pub(crate) wakings: u64,
    /// Of devices, and the rest.
    pub(crate) others: u64,
}

impl Interrupts {
    /// So far, of the core of that number.
    pub(crate) fn of(core: usize) -> Self {
        let text = fs::read_to_string("/proc/interrupts").unwrap_or_default();
        let mut lines = text.lines();
        // Cores that are off line have no column.
        let name = format!("CPU{core}");
        let column = lines.next().and_then(|head| head.split_whitespace().position(|cpu| cpu == name));
        let mut all = Self::default();
        for line in lines {
            let mut words = line.split_whitespace();
            let kind = words.next().unwrap_or_default();
            let count = column.and_then(|column| words.nth(column)).and_then(|word| word.parse().ok()).unwrap_or(0);
            all.add(kind.trim_end_matches(':'), count);
        }
        // x86 counts a shootdown among the calls, too.
        all.calls = all.calls.saturating_sub(all.shootdowns);
        all
    }

    fn add(&mut self, kind: &str, count: u64) {
        let counter = match kind {
            "LOC" => &mut self.ticks,
            "TLB" => &mut self.shootdowns,
            "CAL" => &mut self.calls,
            "RES" => &mut self.wakings,
            _ => &mut self.others,
        };
        *counter += count;
    }
}

impl Sub for Interrupts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            ticks: self.ticks.saturating_sub(before.ticks),
            shootdowns: self.shootdowns.saturating_sub(before.shootdowns),
            calls: self.calls.saturating_sub(before.calls),
            wakings: self.wakings.saturating_sub(before.wakings),
            others: self.others.saturating_sub(before.others),
        }
    }
}

impl AddAssign for Interrupts {
    fn add_assign(&mut self, more: Self) {
        self.ticks += more.ticks;
        self.shootdowns += more.shootdowns;
        self.calls += more.calls;
        self.wakings += more.wakings;
        self.others += more.others;
    }
}
