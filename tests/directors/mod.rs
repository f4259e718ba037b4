//! Two directors that synchronise in earnest: control, workers in threads on devices in memory, and UDP and TCP over the loopback.
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pollvs::config::Config;
use pollvs::control::reply::Reply;
use pollvs::control::request::Request;
use pollvs::control::sync::SyncView;
use pollvs::control::{Answer, Control, Setup};
use pollvs::director::Director;
use pollvs::handoff::Handoff;
use pollvs::io::memory::{MemoryIo, VecFrame};
use pollvs::load_board::LoadBoard;
use pollvs::mailbox::{Command, Workers, mailbox};
use pollvs::stats::Event;
use pollvs::steering::{Prefixes, Steering};
use pollvs::sync::{Builder, Entry, Flags, Version};
use pollvs::verdict::WorkerId;
use pollvs::wire::sample::{Sample, at, tcp};
use pollvs::worker::{Idle, NoTwin, Parts, SystemClock, Worker};
use tokio::task::JoinHandle as Task;
use tokio::time::{Instant, sleep};

use crate::world::{INSIDE, INSIDE_MAC, OUTSIDE, ROOMY, network, server_mac};

const RULES: &str = r#"
[director]
state = ""
workers = 2
[vs]
sync_threshold = [0, 1]
[[service]]
protocol = "tcp"
address = "192.0.2.10"
port = 80
scheduler = "rr"
persistent = 60
[[service.destination]]
address = "198.51.100.11:80"
method = "nat"
[[service.destination]]
address = "198.51.100.12:80"
method = "nat"
"#;

/// A port of the test's own, so that tests that run beside this one are not heard.
fn port(number: u16) -> u16 {
    let process = u16::try_from(std::process::id() % 700).unwrap();
    20_000 + 16 * process + number
}

/// A director.
struct Host {
    control: Control,
    workers: Workers,
    devices: Vec<MemoryIo>,
    threads: Vec<JoinHandle<()>>,
    synchronisation: Task<()>,
}

impl Host {
    /// With these lines added to the configuration.
    async fn start(addition: &str) -> Self {
        let config = Config::parse("test", &format!("{RULES}\n{addition}")).unwrap();
        let count = config.director.workers;
        let steering = Steering::new(count, 7, Prefixes::default(), 5);
        let (handles, mailboxes): (Vec<_>, Vec<_>) = (0..count).map(|id| mailbox(WorkerId(id), None)).unzip();
        let workers = Workers::new(handles);
        let setup = Setup {
            config,
            config_path: None,
            network: Arc::new(network()),
            workers: workers.clone(),
            ports: Box::new(Vec::new),
        };
        let (control, snapshot) = Control::new(setup).unwrap();
        let board = Arc::new(LoadBoard::new(count.into(), 64));
        let devices: Vec<MemoryIo> = (0..count).map(|_| MemoryIo::new(2)).collect();
        let ends = mailboxes.into_iter().zip(Handoff::mesh(count.into(), 64)).zip(&devices);
        let threads = (0..count).map(WorkerId).zip(ends).map(|(id, ((mailbox, handoff), io))| {
            let mut director = Director::new(&ROOMY, 7, id, steering.clone());
            director.apply(Arc::clone(&snapshot));
            let parts = Parts {
                id,
                io: io.clone(),
                director,
                limits: ROOMY,
                mailbox,
                handoff,
                twin: NoTwin,
                resolver: Box::new(|_, _| true),
                board: Arc::clone(&board),
                burst: 32,
                idle: Idle::Sleep,
            };
            std::thread::spawn(move || Worker::new(parts, SystemClock::default()).run())
        });
        let threads = threads.collect();
        let running = control.clone();
        let synchronisation = tokio::spawn(async move { running.synchronise(steering).await });
        Self { control, workers, devices, threads, synchronisation }
    }

    async fn ask(&self, json: &str) -> Reply {
        match self.control.handle(Request::parse(json.as_bytes()).unwrap()).await {
            Answer::One(reply) => *reply,
            other => panic!("{json}: {other:?}"),
        }
    }

    /// Starts a daemon on the loopback, at a port of the test's own.
    async fn daemon(&self, role: &str, port: u16) {
        let json = format!(r#"{{"request":"start_daemon","role":"{role}","interface":"lo","syncid":5,"port":{port}}}"#);
        assert_eq!(self.ask(&json).await, Reply::Done {}, "{role}");
    }

    async fn view(&self) -> SyncView {
        match self.ask(r#"{"request":"sync"}"#).await {
            Reply::Sync(view) => view,
            other => panic!("{other:?}"),
        }
    }

    async fn counted(&self, name: &str) -> u64 {
        let view = self.view().await;
        view.counters.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no counter {name}")).count
    }

    async fn event(&self, event: Event) -> u64 {
        let reports = self.workers.ask_all(Command::Report).await.unwrap();
        reports.iter().map(|r| r.counters.events[event as usize]).sum()
    }

    /// Connections and templates.
    async fn held(&self) -> (u64, u64) {
        let reports = self.workers.ask_all(Command::Report).await.unwrap();
        (reports.iter().map(|r| r.connections).sum(), reports.iter().map(|r| r.templates).sum())
    }

    /// A client's frame, received by any worker.
    fn client(&self, sample: &Sample) {
        self.devices[0].push(OUTSIDE, &sample.frame()[..]);
    }

    fn server(&self, sample: &Sample) {
        self.devices[0].push(INSIDE, &sample.clone().macs(server_mac(11), INSIDE_MAC).frame()[..]);
    }

    /// The servers that frames went to.
    fn servers(&self) -> Vec<u8> {
        use pollvs::frame::Frame as _;
        let frames = |io: &MemoryIo| io.take(INSIDE).iter().map(|f: &VecFrame| f.bytes()[5]).collect::<Vec<_>>();
        self.devices.iter().flat_map(frames).collect()
    }

    /// Opens a connection of each of these clients.
    async fn open(&self, hosts: std::ops::Range<u8>) {
        for host in hosts.clone() {
            let client = format!("203.0.113.{host}:1000");
            self.client(&tcp(at(&client), at("192.0.2.10:80")));
            self.client(&tcp(at(&client), at("192.0.2.10:80")).letters("A"));
        }
        let all = hosts.len() as u64;
        until("they are open", async || self.held().await == (all, all)).await;
    }

    async fn end(self) {
        self.synchronisation.abort();
        self.workers.ask_all(Command::Stop).await.unwrap();
        self.threads.into_iter().for_each(|t| t.join().unwrap());
    }
}

/// Waits until something is so.
async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so().await {
        assert!(Instant::now() < end, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn stray(port: u16) -> (std::net::UdpSocket, (&'static str, u16)) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let raw = socket2::SockRef::from(&socket);
    raw.set_multicast_if_v4(&std::net::Ipv4Addr::LOCALHOST).unwrap();
    raw.bind_device(Some(b"lo")).unwrap();
    (socket, ("224.0.0.81", port))
}

fn entry() -> Entry {
    Entry {
        client: "203.0.113.200".parse().unwrap(),
        vip: "192.0.2.10".parse().unwrap(),
        dest: "198.51.100.11".parse().unwrap(),
        cport: 1,
        vport: 80,
        dport: 80,
        protocol: 6,
        state: pollvs::proto::State::Established,
        flags: Flags(0),
        mark: 0,
        timeout_secs: 900,
        sequences: None,
        engine: None,
        call: pollvs::app::sip::CallId::NONE,
    }
}

fn told(syncid: u8) -> Vec<u8> {
    let mut builder = Builder::new(Version::V1, syncid, 1472);
    builder.push(&entry()).unwrap();
    builder.finish()
}

#[tokio::test]
async fn a_backup_learns_what_happens_and_goes_on_with_it() {
    let (a, b) = (Host::start("").await, Host::start("").await);
    b.daemon("backup", port(0)).await;
    a.daemon("master", port(0)).await;
    until("the backup has asked", async || b.view().await.ready).await;
    a.open(1..9).await;
    until("it has learnt", async || b.held().await == (8, 8)).await;
    let (ours, theirs) = (a.servers(), b.servers());
    assert_eq!((ours.len(), theirs.len()), (16, 0));
    for host in 1..9 {
        b.client(&tcp(at(&format!("203.0.113.{host}:1000")), at("192.0.2.10:80")).letters("A"));
    }
    until("the packets have left", async || b.event(Event::Request).await == 8).await;
    let mut servers = b.servers();
    servers.sort_unstable();
    assert_eq!(servers, [[11; 4], [12; 4]].concat());
    b.server(&tcp(at("198.51.100.11:80"), at("203.0.113.1:1000")).letters("A"));
    assert_eq!(b.event(Event::Created).await, 8);
    assert_eq!((b.event(Event::SyncNoRoom).await, a.event(Event::SyncLost).await), (0, 0));
    assert!(a.counted("sent_messages").await > 0 && b.counted("received").await > 0);
    a.end().await;
    b.end().await;
}

#[tokio::test]
async fn a_director_that_joins_is_told_everything_before_it_is_ready_and_signed_if_there_is_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "a key of more than sixteen bytes\n").unwrap();
    let signed = format!("[sync]\nkey_file = {:?}\ntransfer_per_second = 40\n", file.display().to_string());
    for (addition, at) in [("[sync]\ntransfer_per_second = 40\n", port(2)), (signed.as_str(), port(4))] {
        let a = Host::start(addition).await;
        a.open(1..41).await;
        a.daemon("master", at).await;
        let b = Host::start(addition).await;
        assert!(b.view().await.ready, "no backup runs");
        b.daemon("backup", at).await;
        until("it is not ready while it is told", async || {
            let view = b.view().await;
            !view.ready && (1..100).contains(&view.percent)
        })
        .await;
        until("it was told everything", async || b.view().await.percent == 100).await;
        assert_eq!((b.held().await, b.view().await.ready), ((40, 40), true));
        assert_eq!((a.counted("transfers_given").await, b.counted("transfers_taken").await), (1, 1));
        a.open(1..42).await;
        until("it hears what happens since", async || b.held().await == (41, 41)).await;
        a.end().await;
        b.end().await;
    }
}

#[tokio::test]
async fn what_is_not_to_be_believed_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "a key of more than sixteen bytes").unwrap();
    let strict = Host::start("[sync]\nsources = [\"192.0.2.0/24\"]").await;
    let signed = Host::start(&format!("[sync]\nkey_file = {:?}", file.display().to_string())).await;
    let open = Host::start("").await;
    for (host, at) in [(&strict, port(6)), (&signed, port(7)), (&open, port(8))] {
        host.daemon("backup", at).await;
    }
    let (socket, _) = stray(0);
    let bad: [(&Host, u16, Vec<u8>, &str); 6] = [
        (&strict, port(6), told(5), "foreign"),
        (&signed, port(7), told(5), "unsigned"),
        (&open, port(8), told(6), "other_group"),
        (&open, port(8), told(5)[..40].to_vec(), "malformed"),
        (&open, port(8), vec![], "malformed"),
        (&open, port(8), [&told(5)[..9], &[99], &told(5)[10..]].concat(), "bad_entry"),
    ];
    for (host, at, message, counter) in bad {
        let before = host.counted(counter).await;
        until(counter, async || {
            socket.send_to(&message, ("224.0.0.81", at)).unwrap();
            host.counted(counter).await > before
        })
        .await;
        assert_eq!(host.held().await, (0, 0), "{counter}");
    }
    let (far, _) = stray(0);
    far.set_multicast_ttl_v4(9).unwrap();
    until("far_away", async || {
        far.send_to(&told(5), ("224.0.0.81", port(8))).unwrap();
        open.counted("far_away").await > 0
    })
    .await;
    until("a good one is taken", async || {
        socket.send_to(&told(5), ("224.0.0.81", port(8))).unwrap();
        open.held().await == (1, 0)
    })
    .await;
    assert_eq!(
        open.counted("received_entries").await,
        1 + open.counted("bad_entry").await + open.event(Event::SyncAccepted).await - 1
    );
    for host in [strict, signed, open] {
        host.end().await;
    }
}

#[tokio::test]
async fn a_master_that_stops_tells_what_it_has_not_told_yet() {
    let (a, b) = (Host::start("").await, Host::start("").await);
    b.daemon("backup", port(12)).await;
    a.daemon("master", port(12)).await;
    until("the backup has asked", async || b.view().await.ready).await;
    a.open(1..3).await;
    let began = Instant::now();
    a.control.take_leave().await;
    until("it has learnt", async || b.held().await == (2, 2)).await;
    assert!(began.elapsed() < Duration::from_millis(1500), "a message would be two seconds old");
    b.control.take_leave().await;
    a.end().await;
    b.end().await;
}

#[tokio::test]
async fn nobody_to_learn_from_is_no_reason_to_wait_for_ever_and_a_daemon_that_stops_is_gone() {
    let host = Host::start("").await;
    host.daemon("backup", port(10)).await;
    assert!(!host.view().await.ready);
    until("nobody answers", async || host.view().await.ready).await;
    assert!(host.view().await.state.starts_with("no director"));
    host.ask(r#"{"request":"stop_daemon","role":"backup"}"#).await;
    until("the daemon is gone", async || host.view().await.state == "no backup runs").await;
    let missing = host.ask(r#"{"request":"start_daemon","role":"backup","interface":"nosuch0"}"#).await;
    assert!(matches!(&missing, Reply::Error(failure) if failure.message.contains("nosuch0")), "{missing:?}");
    host.end().await;
}

#[test]
fn a_key_that_cannot_be_used_is_a_reason_not_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "too short").unwrap();
    for (path, words) in [(file.as_path(), "16 bytes"), (&folder.path().join("none"), "No such file")] {
        let text = format!("[director]\nstate = \"\"\n[sync]\nkey_file = {:?}", path.display().to_string());
        let setup = Setup {
            config: Config::parse("test", &text).unwrap(),
            config_path: None,
            network: Arc::default(),
            workers: Workers::default(),
            ports: Box::new(Vec::new),
        };
        let error = Control::new(setup).map(drop).unwrap_err().to_string();
        assert!(error.contains("sync.key_file") && error.contains(words), "{error}");
    }
}
