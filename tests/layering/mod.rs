//! Dependencies run one way. The core (the director and all it stands on) has no thread, socket, clock, file, log or DPDK; what is
//! further down in [`LAYERS`] may use what is further up, and never the other way round.
mod source;

use std::fs;
use std::path::Path;

use source::Source;

/// The core, each layer standing on those before it.
const LAYERS: &[&[&str]] = &[
    &["time", "addr", "hash", "netmask", "family", "prefetch", "shelf", "counted", "place"],
    &["wire"],
    &["stats", "verdict", "frame", "packet"],
    &["destination", "service", "settings", "network", "mark", "ready"],
    &["snapshot"],
    &["scheduler"],
    &["proto"],
    &["conn"],
    &["app"],
    &["sync"],
    &["burst"],
    &["forward"],
    &["fragments"],
    &["steering"],
    &["director"],
];
/// What stands on the core, in the same way.
const ABOVE: &[&[&str]] = &[
    &["atomic"],
    &["burst_meter", "handoff", "hold", "tap", "mailbox", "load_board"],
    &["io"],
    &["worker"],
    &["kernel"],
    &["control", "config"],
    &["cli", "replay"],
    &["lib", "bin"],
];
/// Crates that the core may use: they neither do I/O nor keep time.
const PURE: &[&str] = &["serde", "rustc_hash", "wide", "bytemuck", "thiserror", "crc32c", "sha1", "hmac", "sha2"];
/// Of the standard library, what the core may not use.
const IMPURE: &[&str] = &[
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::os",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::Condvar",
    "std::sync::mpsc",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
];
/// Macros that write where the core has nothing to write to.
const LOUD: &[&str] = &["print", "println", "eprint", "eprintln", "dbg", "trace", "debug", "info", "warn", "error"];
/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &["src/io/dpdk/", "src/prefetch.rs"];
/// Who may speak of DPDK.
const DPDK: &[&str] = &["src/io/dpdk/", "src/bin/pollvsd/", "src/bin/pollvsd.rs"];

/// Is the path that of `parent`, or of something in it?
fn within(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn place(layers: &[&[&str]], module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&module))
}

/// How far from the bottom a module stands, the core first.
fn height(module: &str) -> Option<usize> {
    place(LAYERS, module).or_else(|| place(ABOVE, module).map(|at| LAYERS.len() + at))
}

/// What is wrong with a file, a line each. `crates` are those of the manifest.
fn faults(source: &Source, crates: &[String]) -> Vec<String> {
    let top = source.top();
    let Some(own) = height(top) else { return vec![format!("{top} stands in no layer")] };
    let core = own < LAYERS.len();
    let mut faults = Vec::new();
    for path in source.paths() {
        let mut names = path.split("::");
        let (root, module) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        if root == "crate" && height(module).is_some_and(|other| other > own) {
            faults.push(format!("{top} is below {module}"));
        }
        let foreign = crates.iter().any(|name| name == root);
        if core && foreign && !PURE.contains(&root) {
            faults.push(format!("the core does not use {root}"));
        }
        if core && IMPURE.iter().any(|impure| within(&path, impure)) {
            faults.push(format!("the core does not use {path}"));
        }
        let dpdk = root == "dpdk_sys" || within(&path, "crate::io::dpdk");
        if dpdk && !DPDK.iter().any(|place| source.path.starts_with(place)) && source.path != "src/io/mod.rs" {
            faults.push(format!("{path}: DPDK is at the edge"));
        }
    }
    if core {
        let loud = source.macros().into_iter().filter(|name| LOUD.contains(name));
        faults.extend(loud.map(|name| format!("the core does not call {name}!")));
    }
    if source.is_unsafe() && !UNSAFE.iter().any(|place| source.path.starts_with(place)) {
        faults.push("unsafe has no place here".to_owned());
    }
    faults.sort();
    faults.dedup();
    faults
}

/// Every source file of the package that is not for tests only.
fn sources(folder: &Path, path: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let inner = format!("{path}/{name}");
        if matches!(name.as_str(), "tests" | "tests.rs") {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            sources(&entry.path(), &inner, found);
        } else if name.ends_with(".rs") {
            found.push(Source::new(&inner, &fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// The crates that the package depends on, as code names them.
fn crates() -> Vec<String> {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().map(|name| name.replace('-', "_")).collect()
}

#[test]
fn every_file_keeps_to_its_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, crates) = (Vec::new(), crates());
    sources(&root.join("src"), "src", &mut found);
    assert!(found.len() > 80, "only {} files", found.len());
    let wrong: Vec<_> = found
        .iter()
        .flat_map(|source| faults(source, &crates).into_iter().map(|fault| format!("{}: {fault}", source.path)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_that_is_listed_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for module in LAYERS.iter().chain(ABOVE).copied().flatten() {
        let (file, folder) = (root.join(format!("{module}.rs")), root.join(module));
        assert!(file.is_file() || folder.is_dir(), "there is no {module}");
    }
}

#[test]
fn a_planted_fault_is_found() {
    let table = [
        ("src/wire/tcp.rs", "use crate::director::Director;", "wire is below director"),
        ("src/wire/tcp.rs", "fn f() { super::super::conn::g() }", "wire is below conn"),
        ("src/director/mod.rs", "use crate::worker::Worker;", "director is below worker"),
        ("src/director/mod.rs", "use crate::{burst::Burst, mailbox};", "director is below mailbox"),
        ("src/hash.rs", "use crate::wire::tcp;", "hash is below wire"),
        ("src/forward/nat.rs", "fn f() { crate::io::memory::g() }", "forward is below io"),
        ("src/worker.rs", "use crate::control::store;", "worker is below control"),
        ("src/conn/table.rs", "use crossbeam_channel::bounded;", "the core does not use crossbeam_channel"),
        ("src/stats.rs", "fn f() { tracing::info!(\"x\") }", "the core does not call info!"),
        ("src/stats.rs", "fn f() { println!(\"x\") }", "the core does not call println!"),
        (
            "src/time.rs",
            "fn f() { let t = std::time::Instant::now(); }",
            "the core does not use std::time::Instant::now",
        ),
        ("src/time.rs", "use std::time::{Duration, SystemTime};", "the core does not use std::time::SystemTime"),
        ("src/network.rs", "use std::net::{IpAddr, UdpSocket};", "the core does not use std::net::UdpSocket"),
        ("src/proto/tcp.rs", "use std::thread;", "the core does not use std::thread"),
        ("src/snapshot.rs", "use std::sync::{Arc, Mutex};", "the core does not use std::sync::Mutex"),
        ("src/frame.rs", "use tokio::sync::oneshot;", "the core does not use tokio"),
        ("src/steering.rs", "fn f() { std::fs::read(\"x\"); }", "the core does not use std::fs::read"),
        ("src/control/mod.rs", "use crate::io::dpdk::Port;", "crate::io::dpdk::Port: DPDK is at the edge"),
        ("src/io/memory.rs", "fn f() { dpdk_sys::rte_eal_init() }", "dpdk_sys::rte_eal_init: DPDK is at the edge"),
        ("src/conn/table.rs", "fn f() { unsafe { g() } }", "unsafe has no place here"),
        ("src/novelty.rs", "fn f() {}", "novelty stands in no layer"),
    ];
    for (path, text, expected) in table {
        let found = faults(&Source::new(path, text), &crates());
        assert!(found.contains(&expected.to_owned()), "{path}: {text}: {found:?}");
    }
}

#[test]
fn what_is_allowed_is_not_found_fault_with() {
    let table = [
        ("src/director/mod.rs", "use crate::{burst::Burst, conn::Table}; use std::sync::Arc; use std::net::IpAddr;"),
        ("src/time.rs", "use std::time::Duration; use serde::Serialize;"),
        ("src/worker.rs", "use crate::{director::Director, io::PacketIo}; fn f() { std::thread::sleep(x) }"),
        ("src/io/dpdk/mbuf.rs", "fn f() { unsafe { dpdk_sys::g() } }"),
        ("src/conn/table.rs", "#[cfg(test)] mod tests { use crate::worker; fn f() { println!(\"x\") } }"),
        ("src/stats.rs", "// println!(\"x\"), unsafe, std::thread\nfn f() -> bool { a != b }"),
    ];
    for (path, text) in table {
        assert_eq!(faults(&Source::new(path, text), &crates()), [""; 0], "{path}: {text}");
    }
}
