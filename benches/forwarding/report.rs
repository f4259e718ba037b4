//! The results: a line each on the terminal, and all in `target/bench/forwarding.json`.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::draw::picture;

/// One line of the result.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) family: u8,
    pub(crate) flows: u32,
    pub(crate) workers: u8,
    pub(crate) burst: usize,
    pub(crate) source: String,
    /// Median of the rounds, nanoseconds a packet.
    pub(crate) ns: f64,
    /// The same less the MAC swap of the same source, family and run.
    pub(crate) net_ns: f64,
    pub(crate) mpps: f64,
    pub(crate) min_ns: f64,
    pub(crate) max_ns: f64,
    pub(crate) rounds: usize,
}

pub(crate) fn print_title() {
    println!(
        "{:<10} {:>6} {:>9} {:>5} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "case", "family", "flows", "burst", "source", "ns", "net", "Mpps", "min", "max"
    );
}

impl Row {
    pub(crate) fn print(&self) {
        let Self { case, family, flows, burst, source, ns, net_ns, mpps, min_ns, max_ns, .. } = self;
        println!(
            "{case:<10} {family:>6} {flows:>9} {burst:>5} {source:>6} {ns:>8.1} {net_ns:>8.1} {mpps:>8.1} {min_ns:>8.1} {max_ns:>8.1}"
        );
    }
}

/// The middle one.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench")
}

/// Writes all of them, and draws them.
pub(crate) fn write(rows: &[Row]) {
    fs::create_dir_all(folder()).unwrap();
    fs::write(folder().join("forwarding.json"), serde_json::to_string_pretty(rows).unwrap()).unwrap();
    fs::write(folder().join("forwarding.svg"), picture(rows)).unwrap();
}

/// Those of the last run.
pub(crate) fn read() -> Vec<Row> {
    let path = folder().join("forwarding.json");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}; make bench first", path.display()));
    serde_json::from_str(&text).unwrap()
}
