//! `make install` and `make uninstall`, below a folder: what they put in place works from there, and all of it goes.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bed::library;

/// A folder with the programs, as Cargo builds them for a release, and one to install below.
struct Machine {
    built: tempfile::TempDir,
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let (built, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let programs = [
            ("pollvsd", PathBuf::from(env!("CARGO_BIN_EXE_pollvsd"))),
            ("pollvs", PathBuf::from(env!("CARGO_BIN_EXE_pollvs"))),
            ("libpollvs_ipvs.so", library()),
        ];
        for (name, program) in programs {
            fs::copy(program, built.path().join(name)).unwrap();
        }
        Self { built, root }
    }

    /// Runs the script that the Makefile runs; what it says.
    fn script(&self, what: &str) -> String {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/install.sh"));
        command.args([what, "/opt/pollvs"]).arg(self.built.path()).env("DESTDIR", self.root.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Every file below a folder, with its mode.
fn files(folder: &Path, found: &mut Vec<(String, u32)>, root: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found, root);
        } else {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            found.push((path.strip_prefix(root).unwrap().display().to_string(), mode));
        }
    }
}

#[test]
fn what_is_installed_works_and_all_of_it_goes() {
    let machine = Machine::new();
    machine.script("install");
    let mut found = Vec::new();
    files(machine.root.path(), &mut found, machine.root.path());
    found.sort();
    let expected = [
        ("etc/pollvs/director.toml", 0o644),
        ("etc/systemd/system/keepalived.service.d/pollvs.conf", 0o644),
        ("etc/systemd/system/ldirectord.service.d/pollvs.conf", 0o644),
        ("etc/systemd/system/pollvsd.service", 0o644),
        ("opt/pollvs/lib/pollvs/libpollvs_ipvs.so", 0o644),
        ("opt/pollvs/sbin/pollvs", 0o755),
        ("opt/pollvs/sbin/pollvsd", 0o755),
        ("sbin/ipvsadm", 0o755),
    ];
    assert_eq!(found, expected.map(|(name, mode)| (name.to_owned(), mode)));
    let unit = machine.text("etc/systemd/system/pollvsd.service");
    assert!(unit.contains("ExecStart=/opt/pollvs/sbin/pollvsd --config /etc/pollvs/director.toml\n"), "{unit}");
    let preload = "LD_PRELOAD=/opt/pollvs/lib/pollvs/libpollvs_ipvs.so";
    for name in ["keepalived", "ldirectord"] {
        let unit = machine.text(&format!("etc/systemd/system/{name}.service.d/pollvs.conf"));
        assert!(unit.contains(&format!("Environment={preload}\nEnvironment=POLLVS_IPVS_STRICT=1\n")), "{unit}");
    }
    assert!(machine.text("sbin/ipvsadm").contains(preload));
    let version = Command::new(machine.path("opt/pollvs/sbin/pollvs")).arg("--version").output().unwrap();
    assert!(version.status.success());
    assert_eq!(machine.script("uninstall"), "");
    found.clear();
    files(machine.root.path(), &mut found, machine.root.path());
    assert_eq!(found, []);
    assert!(
        !machine.path("etc/systemd/system/keepalived.service.d").exists()
            && !machine.path("opt/pollvs/lib/pollvs").exists()
    );
}

#[test]
fn a_configuration_that_was_changed_is_kept() {
    let machine = Machine::new();
    machine.script("install");
    let config = machine.path("etc/pollvs/director.toml");
    fs::write(&config, "# changed\n").unwrap();
    assert!(machine.script("install").contains("Kept "));
    assert!(machine.script("uninstall").contains("which has been changed"));
    assert_eq!(fs::read_to_string(config).unwrap(), "# changed\n");
}
