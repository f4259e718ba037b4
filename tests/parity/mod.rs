//! Every recorded scenario, replayed, against what the Linux kernel did (`scenarios/*/expected`): the frames that went out, and the
//! tables at every step. [`DIFFERENT`] is the list of what is not equal yet; it must be true in both directions.

mod compare;

use std::fs;
use std::path::{Path, PathBuf};

/// Scenarios whose result differs from the kernel's, and why.
const DIFFERENT: &[(&str, &str)] = &[];

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/scenarios");
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn name(scenario: &Path) -> &str {
    scenario.file_name().unwrap().to_str().unwrap()
}

#[test]
fn replayed_scenarios_equal_the_kernels_recordings() {
    let replayed = compare::scenarios(&scenarios());
    assert!(!replayed.is_empty(), "there are no scenarios");
    let mut wrong = Vec::new();
    for (scenario, differences) in &replayed {
        let known = DIFFERENT.iter().find(|(known, _)| *known == name(scenario));
        match (known, differences.first()) {
            (None, Some(_)) => {
                wrong.push(format!(
                    "{} differs:\n    {}",
                    name(scenario),
                    differences[..differences.len().min(12)].join("\n    ")
                ));
            }
            (Some(_), None) => wrong.push(format!("{} is equal now: take it off the list", name(scenario))),
            _ => {}
        }
    }
    let equal = replayed.iter().filter(|(_, d)| d.is_empty()).count();
    println!("{equal} of {} scenarios equal", replayed.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
