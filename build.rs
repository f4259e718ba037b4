//! Gives the program its version (`POLLVS_VERSION`): what git describes, else the package's. Runs again only when HEAD moves. With
//! the feature `static`, also links DPDK's archives into the programs that forward packets, and not into the client.
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=POLLVS_VERSION");
    for path in head_files() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let package = env!("CARGO_PKG_VERSION");
    let version = std::env::var("POLLVS_VERSION")
        .ok()
        .or_else(|| git(&["describe", "--tags", "--match", "v*"]).map(|tag| tag.trim_start_matches('v').to_owned()))
        .or_else(|| git(&["rev-parse", "--short", "HEAD"]).map(|commit| format!("{package}+{commit}")))
        .unwrap_or_else(|| package.to_owned());
    println!("cargo::rustc-env=POLLVS_VERSION={version}");
    for argument in std::env::var("DEP_DPDK_LINK_ARGUMENTS").unwrap_or_default().split_whitespace() {
        for target in ["bin=pollvsd", "tests"] {
            println!("cargo::rustc-link-arg-{target}={argument}");
        }
    }
}

/// The files that change when HEAD moves: HEAD itself and the branch it names, loose or packed.
fn head_files() -> Vec<PathBuf> {
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    let names = ["HEAD".to_owned(), "packed-refs".to_owned()].into_iter().chain(branch);
    let paths = names.filter_map(|name| git(&["rev-parse", "--git-path", &name])).map(PathBuf::from);
    // cargo runs the script every time when it watches a file that is not there.
    paths.filter(|path| path.exists()).collect()
}

/// One line of git's output; nothing outside a clone (an unpacked archive inside someone else's repository is none).
fn git(arguments: &[&str]) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
