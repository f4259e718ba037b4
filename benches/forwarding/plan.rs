//! What is asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Parser, ValueEnum};

use crate::case::{Case, Origin};
use crate::traffic::generator::Family;

impl ValueEnum for Family {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::BOTH
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(if *self == Self::V4 { "4" } else { "6" }))
    }
}

/// Nanoseconds a packet through the whole director on one core. Writes target/bench/forwarding.json and draws target/bench/forwarding.svg.
#[derive(Parser)]
pub(crate) struct Plan {
    /// Cases; all but dr-told unless given.
    #[arg(long = "case", value_delimiter = ',')]
    pub(crate) cases: Vec<Case>,
    /// Versions of IP.
    #[arg(long = "family", value_delimiter = ',', default_value = "4,6")]
    pub(crate) families: Vec<Family>,
    /// Flows, powers of two. 16777216 take some GiB a case.
    #[arg(long, value_delimiter = ',', default_value = "1,1024,16384,1048576", value_parser = flows)]
    pub(crate) flows: Vec<u32>,
    /// Frames in a burst, at most 64.
    #[arg(long = "burst", value_delimiter = ',', default_value = "32,64", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) bursts: Vec<u8>,
    /// Where packets come from; recordings up to 8192 flows.
    #[arg(long = "source", value_delimiter = ',', default_value = "ring,pcap")]
    pub(crate) sources: Vec<Origin>,
    /// Rounds, in each of which everything is measured once, in turn.
    #[arg(long, default_value = "7", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Milliseconds of a round that go to one case.
    #[arg(long, default_value = "150")]
    window: u64,
    /// Memory for the tables of cases that are measured together, in MiB; three quarters of what is free unless given.
    #[arg(long)]
    memory: Option<usize>,
    /// Runs a fixed number of turns of one case with so many flows instead, for callgrind to count.
    #[arg(long, num_args = 2, value_names = ["CASE", "FLOWS"])]
    count: Vec<String>,
    /// Draws the results of the last run into this file instead.
    #[arg(long, value_name = "FILE")]
    pub(crate) draw: Option<PathBuf>,
    /// What Cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A number of flows.
fn flows(text: &str) -> Result<u32, String> {
    let flows: u32 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if flows.is_power_of_two() && flows <= 1 << 24 {
        return Ok(flows);
    }
    Err(format!("{flows} flows cannot be: give a power of two up to {}", 1 << 24))
}

impl Plan {
    pub(crate) fn new() -> Self {
        let mut plan = Self::parse();
        if plan.cases.is_empty() {
            plan.cases = Case::usual();
        }
        plan
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(self.window)
    }

    /// The case, family and flows to be counted.
    pub(crate) fn count(&self) -> Result<Option<(Case, Family, u32)>, String> {
        let [case, number] = &self.count[..] else { return Ok(None) };
        Ok(Some((Case::from_str(case, false)?, self.families[0], flows(number)?)))
    }

    /// Bytes for the tables of cases that are measured together.
    pub(crate) fn memory(&self) -> usize {
        self.memory.map_or_else(|| free_memory() / 4 * 3, |mib| mib << 20)
    }
}

/// Bytes that the kernel has to give.
fn free_memory() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(2 << 20) << 10
}
