//! `make demo` itself: it succeeds, and it leaves nothing behind.
use super::testbed::{signal, turn, within};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[test]
fn the_demo_succeeds_and_leaves_nothing_behind() {
    let Some(_turn) = turn() else { return };
    let demo = start();
    let id = demo.id();
    let output = demo.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains(" 0 failed, in "), "{out}");
    assert_eq!(left_behind(id), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let Some(_turn) = turn() else { return };
    let demo = start();
    let id = demo.id();
    assert!(within(Duration::from_secs(10), || left_behind(id).iter().any(|name| name.ends_with("-rs3"))));
    assert!(signal("TERM", id));
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(left_behind(id), Vec::<String>::new());
}

fn start() -> Child {
    Command::new("bash")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/demo.sh"))
        .env("POLLVSD", env!("CARGO_BIN_EXE_pollvsd"))
        .env("POLLVS", env!("CARGO_BIN_EXE_pollvs"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The namespaces of a demo, and DPDK's run-time folders and temporary folders that carry its name.
fn left_behind(id: u32) -> Vec<String> {
    let prefix = format!("pollvs-{id}-");
    let folders = ["/run/netns".into(), "/run/dpdk".into(), std::env::temp_dir()];
    let folders = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let names = folders.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&prefix)).collect()
}
