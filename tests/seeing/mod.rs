//! What an operator looks at: the metrics by the eyes of the real Prometheus, the alerts, the dashboard, `pollvs top` in a real
//! terminal. Programs that are not there are told of, and the test is skipped; POLLVS_NAMESPACE_TESTS=required makes it fail.
mod dashboard;
mod director;
mod journal;
pub(crate) mod prometheus;
mod top;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Are these programs here? If not, says so.
pub(crate) fn there_are(programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let missing =
        programs.iter().find(|program| !path.split(':').any(|folder| Path::new(folder).join(program).exists()));
    let Some(program) = missing else { return true };
    assert_ne!(std::env::var("POLLVS_NAMESPACE_TESTS").as_deref(), Ok("required"), "there is no {program}");
    println!("skipped: there is no {program}");
    false
}

/// What a program prints, its errors too; it must succeed.
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{said}");
    said
}
