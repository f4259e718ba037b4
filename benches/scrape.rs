//! What a scrape of the metrics costs with ten thousand destinations, and how long other requests wait meanwhile: pollvsd with its rules
//! alone, 1,000 services of 10 destinations, scraped by HTTP again and again while another client asks for the time-outs without pause.
//!
//! `cargo bench --no-default-features --bench scrape [-- SCRAPES]`; writes `target/bench/scrape.json`. Without `--bench`, as under
//! `cargo test`, it only shows that it runs. CPU time is the kernel's account of the threads, which the load of the machine changes little.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may stop")]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pollvs::control::client::Client;
use pollvs::control::request::Request;
use serde::Serialize;

const SERVICES: u32 = 1_000;
const DESTINATIONS: u32 = 10;
/// A page is served for a second before another is made.
const PAUSE: Duration = Duration::from_millis(1_100);

/// The result.
#[derive(Serialize)]
struct Outcome {
    scrapes: usize,
    page_bytes: usize,
    /// The middle one and the longest, from the request to the end of the page.
    wall_ms: [f64; 2],
    /// A scrape, by the control thread and by all threads together.
    control_cpu_ms: f64,
    all_cpu_ms: f64,
    /// The longest time that another client waited: while pages were made, and while none was.
    longest_wait_ms: [f64; 2],
    load_before: String,
}

struct Director {
    child: Child,
    folder: tempfile::TempDir,
    metrics: SocketAddr,
}

impl Director {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = folder.path().join("pollvsd.toml");
        std::fs::write(&config, format!("[metrics]\nlisten = \"{metrics}\"\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollvsd"));
        command.args(["--no-dataplane", "--state-dir"]).arg(folder.path()).arg("--config").arg(config);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let director = Self { child, folder, metrics };
        while Client::connect(&director.socket()).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        director
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("control.sock")
    }

    /// Nanoseconds of CPU time so far: of the control thread, and of all.
    fn cpu(&self) -> [u64; 2] {
        let tasks = format!("/proc/{}/task", self.child.id());
        let of = |task: &Path| {
            let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
        };
        let all = std::fs::read_dir(&tasks).unwrap().map(|task| of(&task.unwrap().path())).sum();
        [of(&Path::new(&tasks).join(self.child.id().to_string())), all]
    }

    fn scrape(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rules(services: u32) -> String {
    let mut rules = String::new();
    for s in 0..services {
        let port = 1000 + s;
        write!(rules, "[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.10\"\nport = {port}\n").unwrap();
        for d in 0..DESTINATIONS {
            write!(rules, "[[service.destination]]\naddress = \"10.{}.{}.{d}:80\"\n", s >> 8, s & 255).unwrap();
        }
    }
    rules
}

/// Milliseconds of the longest answer while `busy` is so, and while it is not, until `over`.
fn ask_on(socket: &Path, busy: &AtomicBool, over: &AtomicBool) -> [f64; 2] {
    let mut client = Client::connect(socket).unwrap();
    let mut longest = [Duration::ZERO; 2];
    while !over.load(Ordering::Relaxed) {
        let (begun, before) = (Instant::now(), busy.load(Ordering::Relaxed));
        client.each(&Request::Timeouts {}, |_| Ok(())).unwrap();
        let calm = !before && !busy.load(Ordering::Relaxed);
        longest[usize::from(calm)] = longest[usize::from(calm)].max(begun.elapsed());
        std::thread::sleep(Duration::from_micros(200));
    }
    longest.map(|wait| wait.as_secs_f64() * 1e3)
}

fn measure(services: u32, scrapes: usize) -> Outcome {
    let load_before = std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned();
    let director = Director::start();
    let apply = Request::Apply { rules: rules(services), name: String::new() };
    Client::connect(&director.socket()).unwrap().each(&apply, |_| Ok(())).unwrap();
    let (busy, over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| ask_on(&director.socket(), &busy, &over));
        director.scrape();
        let (mut walls, mut cpu, mut page_bytes) = (Vec::new(), [0; 2], 0);
        for _ in 0..scrapes {
            std::thread::sleep(PAUSE);
            let (before, begun) = (director.cpu(), Instant::now());
            busy.store(true, Ordering::Relaxed);
            let page = director.scrape();
            busy.store(false, Ordering::Relaxed);
            walls.push(begun.elapsed().as_secs_f64() * 1e3);
            for ((sum, before), after) in cpu.iter_mut().zip(before).zip(director.cpu()) {
                *sum += after - before;
            }
            let shown = page.lines().filter(|l| l.starts_with("pollvs_destination_weight{")).count();
            assert_eq!(shown, (services * DESTINATIONS) as usize);
            page_bytes = page.len();
        }
        over.store(true, Ordering::Relaxed);
        walls.sort_by(f64::total_cmp);
        #[allow(clippy::cast_precision_loss, reason = "milliseconds")]
        let [control_cpu_ms, all_cpu_ms] = cpu.map(|nanos| nanos as f64 / 1e6 / scrapes as f64);
        Outcome {
            scrapes,
            page_bytes,
            wall_ms: [walls[scrapes / 2], walls[scrapes - 1]],
            control_cpu_ms,
            all_cpu_ms,
            longest_wait_ms: asker.join().unwrap(),
            load_before,
        }
    })
}

fn main() {
    let mut words = std::env::args().skip(1);
    if !std::env::args().any(|word| word == "--bench") {
        measure(3, 1);
        return;
    }
    let scrapes = words.find_map(|word| word.parse().ok()).unwrap_or(20);
    let outcome = measure(SERVICES, scrapes);
    let text = serde_json::to_string_pretty(&outcome).unwrap();
    println!("{text}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("scrape.json"), text + "\n").unwrap();
}
