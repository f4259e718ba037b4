//! The gate of `make count`: it fails on growth, and on nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;

const HEAD: &str = "rustc = \"rustc 1.95.0 (59807616e 2026-04-14)\"\ndpdk = \"22.11.11\"\nlibc = \"glibc 2.36\"\n";

/// Compares a record with a count. Returns whether it passes and what it says.
fn compare(record: &str, counted: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/count-instructions.sh");
    let files = [file("record.toml", record), file("counted.toml", counted)];
    let output = Command::new(script).arg("compare").args(files).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

fn counts(macswap: f64, dr: f64) -> String {
    format!("# A comment.\n{HEAD}\n[instructions]\nmacswap-ipv4 = {macswap:.2}\ndr-ipv4 = {dr:.2}\n")
}

#[test]
fn the_record_of_the_repository_passes_itself_and_fails_when_doctored() {
    let record = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.toml")).unwrap();
    let (passes, said) = compare(&record, &record);
    assert!(passes, "{said}");
    let cases: Vec<_> = record.lines().filter(|line| line.contains("-ipv")).collect();
    assert!(cases.len() >= 6, "{record}");
    for line in cases {
        let (name, count) = line.split_once(" = ").unwrap();
        let doctored = record.replace(line, &format!("{name} = {:.2}", count.parse::<f64>().unwrap() * 0.95));
        let (passes, said) = compare(&doctored, &record);
        assert!(!passes && said.contains("TOO MANY") && said.contains("+5.2"), "{said}");
        assert!(said.lines().any(|line| line.starts_with(name) && line.ends_with("TOO MANY")), "{said}");
    }
}

#[test]
fn three_percent_pass_and_more_does_not() {
    assert!(compare(&counts(100.0, 200.0), &counts(103.0, 206.0)).0);
    let (passes, said) = compare(&counts(100.0, 200.0), &counts(100.0, 206.2));
    assert!(!passes, "{said}");
    assert!(said.contains("dr-ipv4") && said.contains("+3.10 %") && said.contains("make count RECORD=1"), "{said}");
}

#[test]
fn fewer_pass_and_are_told_of() {
    let (passes, said) = compare(&counts(100.0, 200.0), &counts(100.0, 190.0));
    assert!(passes && said.contains("fewer"), "{said}");
}

#[test]
fn a_case_that_one_of_them_lacks_fails() {
    let short = counts(100.0, 200.0).replace("dr-ipv4 = 200.00\n", "");
    assert!(!compare(&counts(100.0, 200.0), &short).0);
    assert!(!compare(&short, &counts(100.0, 200.0)).0);
}

#[test]
fn another_compiler_is_told_of_and_nothing_compared() {
    let other = counts(500.0, 900.0).replace("1.95.0", "1.96.0");
    let (passes, said) = compare(&counts(100.0, 200.0), &other);
    assert!(passes && said.contains("not compared") && said.contains("1.95.0") && said.contains("1.96.0"), "{said}");
}
