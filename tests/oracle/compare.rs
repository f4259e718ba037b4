//! `compare SCENARIO...`: replays each scenario and compares the results with what the Linux kernel did (`SCENARIO/expected`), by the
//! rules of the parity tests. Exit status 1 when any differs.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../parity/compare.rs"]
mod compare;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Differing lines that are shown of one scenario.
const SHOWN: usize = 12;

fn main() -> ExitCode {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let all = compare::scenarios(&folders);
    for (folder, differences) in all.iter().filter(|(_, differences)| !differences.is_empty()) {
        println!("{} differs:\n    {}", folder.display(), differences[..differences.len().min(SHOWN)].join("\n    "));
    }
    let frames: usize = folders.iter().map(|folder| frames(folder)).sum();
    let equal = all.iter().filter(|(_, differences)| differences.is_empty()).count();
    println!("{equal} of {} scenarios equal, {frames} packets", all.len());
    if equal == all.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Frames that a recorded scenario injects.
fn frames(scenario: &Path) -> usize {
    let trace = fs::read_to_string(scenario.join("expected/trace.txt")).unwrap_or_default();
    trace.lines().filter(|line| line.starts_with('#')).count()
}
