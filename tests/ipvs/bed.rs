//! A network namespace with pollvsd in it, and the programs that drive it through the preload library.
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const POLLVSD: &str = env!("CARGO_BIN_EXE_pollvsd");
/// Programs of the distribution that the tests run.
const PROGRAMS: [&str; 5] = ["ipvsadm", "keepalived", "ldirectord", "unshare", "nsenter"];

/// Loopback alone.
pub(super) const LOOPBACK: &str = "ip link set lo up; ip address replace ::1/128 dev lo";
/// Loopback and two interfaces with the addresses of the oracle's.
pub(super) const INTERFACES: &str = "ip link set lo up; ip link add eth0 type veth peer name eth1; \
    ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.1/24 dev eth0; ip address add 198.51.100.1/24 dev eth1";

/// Where programs are looked for: also where those of root are, which not everybody's PATH names.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Why the tests cannot run here, or should not, if that is so.
fn obstacle(required: bool) -> Option<String> {
    let found = |program: &str| path().split(':').any(|folder| Path::new(folder).join(program).exists());
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Some("network namespaces need root".to_owned());
    }
    if let Some(program) = PROGRAMS.into_iter().find(|program| !found(program)) {
        return Some(format!("there is no {program}"));
    }
    let elsewhere = cfg!(not(feature = "dpdk")) && !required;
    elsewhere.then(|| "they run with the feature dpdk, as all tests in namespaces".to_owned())
}

/// The preload library, which Cargo has built beside the test.
pub(super) fn library() -> PathBuf {
    let library = std::env::current_exe().unwrap().with_file_name("libpollvs_ipvs.so");
    assert!(library.exists(), "{} is not built", library.display());
    library
}

/// Something that runs until the value is dropped.
#[derive(Debug)]
pub(super) struct Running(pub(super) Child);

impl Running {
    /// Sends a signal by the shell's own `kill`.
    pub(super) fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let status = Command::new("bash").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Its exit code, once it has ended.
    pub(super) fn code(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The namespace lives as long as the process that holds it, which ends when its input does.
struct Namespace {
    holder: Running,
    _stdin: Option<ChildStdin>,
    /// Mounts of its own too?
    mounts: bool,
}

impl Namespace {
    fn new(network: &str, mounts: bool) -> Self {
        let script = format!("{network}\necho ready; exec cat");
        let mut command = Command::new("unshare");
        command
            .args(mounts.then_some("--mount"))
            .args(["--net", "sh", "-ec", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{network}");
        let stdin = child.stdin.take();
        Self { holder: Running(child), _stdin: stdin, mounts }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let of_holder = |kind: &str, file: &str| format!("--{kind}=/proc/{}/ns/{file}", self.holder.0.id());
        command.args(self.mounts.then(|| of_holder("mount", "mnt")));
        command.arg(of_holder("net", "net")).arg(program).stdin(Stdio::null());
        command.env("PATH", path());
        command
    }
}

/// pollvsd with its rules alone, and a folder for it and the programs.
pub(super) struct Bed {
    director: Option<Running>,
    namespace: Namespace,
    folder: tempfile::TempDir,
}

impl Bed {
    /// A namespace whose network is made by shell commands, and nothing in it; `None` where that is impossible.
    pub(super) fn empty(network: &str) -> Option<Self> {
        Self::with(|_| Namespace::new(network, false))
    }

    fn with(namespace: impl FnOnce(&Path) -> Namespace) -> Option<Self> {
        let required = std::env::var("POLLVS_NAMESPACE_TESTS").as_deref() == Ok("required");
        if let Some(reason) = obstacle(required) {
            assert!(!required, "{reason}");
            println!("skipped: {reason}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        Some(Self { director: None, namespace: namespace(folder.path()), folder })
    }

    /// A namespace with pollvsd in it whose files are on a disk of their own, of so many bytes. The test does not see them.
    pub(super) fn on_small_disk(bytes: u32) -> Option<Self> {
        let mount = |folder: &Path| format!("{LOOPBACK}; mount -t tmpfs -o size={bytes} none {}", folder.display());
        let mut bed = Self::with(|folder| Namespace::new(&mount(folder), true))?;
        bed.start_director();
        Some(bed)
    }

    /// The same with pollvsd in it.
    pub(super) fn new(network: &str) -> Option<Self> {
        let mut bed = Self::empty(network)?;
        bed.start_director();
        Some(bed)
    }

    /// Where pollvsd and the programs have their files.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder's name with one in it.
    pub(super) fn file(&self, name: &str) -> String {
        self.folder().join(name).to_str().unwrap().to_owned()
    }

    /// Starts pollvsd, and returns when it answers.
    pub(super) fn start_director(&mut self) {
        let log = File::options().append(true).create(true).open(self.folder().join("pollvsd.log")).unwrap();
        let mut command = self.namespace.command(POLLVSD);
        command.args(["--no-dataplane", "--state-dir"]).arg(self.folder());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.director = Some(Running(command.spawn().unwrap()));
        let answers = || self.run("ipvsadm", &["-Ln"]).status.success();
        assert!(within(Duration::from_secs(20), answers), "pollvsd does not answer; it says: {}", self.words());
    }

    /// Kills pollvsd with SIGKILL.
    pub(super) fn kill_director(&mut self) {
        drop(self.director.take());
    }

    /// What pollvsd says.
    pub(super) fn words(&self) -> String {
        std::fs::read_to_string(self.folder().join("pollvsd.log")).unwrap_or_default()
    }

    /// A program in the namespace as it is.
    pub(super) fn plain(&self, program: &str, words: &[&str]) -> Command {
        let mut command = self.namespace.command(program);
        command.args(words);
        command
    }

    /// A program in the namespace, with the library.
    pub(super) fn command(&self, program: &str, words: &[&str]) -> Command {
        // `env` is the one that has it, not `nsenter`.
        let mut command = self.namespace.command("env");
        command.arg(format!("LD_PRELOAD={}", library().display()));
        command.arg(format!("POLLVS_IPVS_SOCKET={}", self.file("ipvs.sock")));
        command.arg(program).args(words);
        command
    }

    /// Runs a program with the library to its end.
    pub(super) fn run(&self, program: &str, words: &[&str]) -> Output {
        self.command(program, words).output().unwrap()
    }

    /// What a program with the library prints; it must succeed.
    pub(super) fn printed(&self, program: &str, words: &[&str]) -> String {
        let output = self.run(program, words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {words:?}: {out}{err}");
        out.into_owned()
    }

    /// The services and destinations, without the three lines of titles.
    pub(super) fn rules(&self) -> String {
        self.printed("ipvsadm", &["-Ln"]).split_inclusive('\n').skip(3).collect()
    }

    /// A web server at an address of the loopback, port 8081; it answers when this returns.
    pub(super) fn web_server(&self, address: &str) -> Running {
        let folder = self.folder().join("www");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = self.plain("python3", &["-m", "http.server", "--bind", address, "8081"]);
        let server = command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Running(server);
        let url =
            if address.contains(':') { format!("http://[{address}]:8081/") } else { format!("http://{address}:8081/") };
        let answers = || self.plain("curl", &["-gs", "-o", "/dev/null", &url]).status().unwrap().success();
        assert!(within(Duration::from_secs(20), answers), "no answer from {url}");
        server
    }

    /// Writes a file into the folder from a text in which `@FOLDER@` stands for the folder.
    pub(super) fn write(&self, name: &str, text: &str) -> String {
        let file = self.file(name);
        std::fs::write(&file, text.replace("@FOLDER@", self.folder().to_str().unwrap())).unwrap();
        file
    }
}

/// Tries every few milliseconds until it succeeds; false when it never does.
pub(super) fn within(limit: Duration, mut succeeds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !succeeds() {
        if start.elapsed() > limit {
            return false;
        }
        sleep(Duration::from_millis(50));
    }
    true
}
