//! A transcript: command lines, each with all that it printed and its exit code, as `transcript.sh` writes it.
use std::fmt::Write as _;

/// One command and what came of it.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    command: &'a str,
    lines: Vec<&'a str>,
}

fn entries(transcript: &str) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in transcript.lines() {
        match (line.strip_prefix("$ "), entries.last_mut()) {
            (Some(command), _) => entries.push(Entry { command, lines: Vec::new() }),
            (None, Some(entry)) => entry.lines.push(line),
            (None, None) => panic!("{line:?} before the first command"),
        }
    }
    for entry in &mut entries {
        // The kernel's hash order, which is not the same from one boot to the next.
        if entry.command.contains("--nosort") {
            entry.lines.sort_unstable();
        }
    }
    entries
}

/// The commands of a transcript, a line each.
pub(super) fn commands(transcript: &str) -> String {
    transcript.lines().filter_map(|line| line.strip_prefix("$ ")).flat_map(|command| [command, "\n"]).collect()
}

/// What differs, for people; empty where nothing does.
pub(super) fn differences(kernel: &str, ours: &str) -> String {
    let (kernel, ours) = (entries(kernel), entries(ours));
    let mut text = String::new();
    if kernel.len() != ours.len() {
        let _ = writeln!(text, "{} commands instead of {}", ours.len(), kernel.len());
    }
    for (kernel, ours) in kernel.iter().zip(&ours).filter(|(kernel, ours)| kernel != ours) {
        let _ = writeln!(text, "$ {}\nkernel:\n{}\npollvs:", kernel.command, kernel.lines.join("\n"));
        let _ = writeln!(text, "{}\n", ours.lines.join("\n"));
    }
    text
}

#[test]
fn a_difference_is_told() {
    let kernel = "$ a\nx\ny\nrc=0\n$ b --nosort\n1\n2\nrc=0\n";
    assert_eq!(differences(kernel, kernel), "");
    assert_eq!(differences(kernel, &kernel.replace("1\n2", "2\n1")), "");
    assert!(differences(kernel, &kernel.replace("x\ny", "y\nx")).contains("$ a\n"));
    assert!(differences(kernel, &kernel.replace("1\n2", "1\n3")).contains("$ b"));
    assert!(differences(kernel, "$ a\nx\ny\nrc=0\n").contains("1 commands instead of 2"));
    assert_eq!(commands(kernel), "a\nb --nosort\n");
}
