//! The metrics: what the page says, what is documented of it, and who gets it.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::burst_meter::{BurstSums, SIZES};
use crate::config::Listen;
use crate::control::daemon::{DaemonSpec, Role};
use crate::control::health::board::Row;
use crate::control::metrics::page::Family;
use crate::control::metrics::server::Server;
use crate::control::metrics::{Sample, WorkerSample, list};
use crate::control::reply::BurstView;
use crate::mailbox::WorkerReport;
use crate::stats::DropReason;

/// The samples of a page by name and labels.
fn value(page: &str, metric: &str) -> f64 {
    let found = page.lines().find_map(|l| l.strip_prefix(metric)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {metric} in {page}")).parse().unwrap()
}

/// Names of the families of a page.
fn names(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// A service whose sorry server is at work, because one of its two destinations is drained.
async fn below_quorum(fake: &Fake) {
    for text in [
        r#"{"request":"add_service","service":"tcp:192.0.2.11:80","scheduler":"rr"}"#,
        r#"{"request":"add_destination","service":"tcp:192.0.2.11:80","destination":{"address":"198.51.100.21:80","weight":2}}"#,
        r#"{"request":"add_destination","service":"tcp:192.0.2.11:80","destination":{"address":"198.51.100.22:80","weight":3}}"#,
        r#"{"request":"set_policy","service":"tcp:192.0.2.11:80","policy":{"quorum":3,"sorry":{"address":"198.51.100.9:80"}}}"#,
        r#"{"request":"drain","destination":"198.51.100.22:80","timeout_secs":3600}"#,
    ] {
        done(&fake.control, text).await;
    }
}

/// A director with something of everything.
async fn full() -> (Fake, Sample) {
    let fake = Fake::new(2);
    done(&fake.control, SERVICE).await;
    done(&fake.control, &destination("add_destination", 11, 1)).await;
    below_quorum(&fake).await;
    fake.knobs[0].active.store(4, Ordering::Relaxed);
    fake.knobs[0].packets.store(5, Ordering::Relaxed);
    fake.control.inner.lock().await.ask_totals().await.unwrap();
    done(&fake.control, r#"{"request":"zero"}"#).await;
    let mut sample = fake.control.sample().await;
    sample.ports.push(PortView { name: "outside".into(), up: true, ..PortView::default() });
    let spec = serde_json::from_str::<DaemonSpec>(r#"{"role":"backup","interface":"eth1"}"#).unwrap();
    assert_eq!(spec.role, Role::Backup);
    sample.sync.daemons.push(spec);
    let id = ("tcp:192.0.2.10:80".parse().unwrap(), "198.51.100.11:80".parse().unwrap());
    let latency = Duration::from_millis(250);
    let (up, since) = (true, Instant::now());
    sample.checks.push((id, Row { up, since, checks: 9, failed: 2, against: 0, last: None, latency }));
    (fake, sample)
}

#[tokio::test]
async fn the_page_has_the_families_that_are_listed_and_no_other() {
    let (_fake, sample) = full().await;
    let page = sample.text();
    assert_eq!(names(&page), list::ALL.iter().map(|f| f.name).collect());
}

#[test]
fn the_document_shows_every_family() {
    let row = |f: &Family| {
        let labels: Vec<_> = f.labels.iter().map(|l| format!("`{l}`")).collect();
        format!("| `{}` | {} | {} | {} |", f.name, f.kind.name(), labels.join(", "), f.help)
    };
    let document = include_str!("../../../docs/metrics.md");
    let shown: Vec<_> = document.lines().filter(|l| l.starts_with("| `pollvs_")).collect();
    assert_eq!(shown, list::ALL.iter().map(row).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_counted_is_shown_and_zero_changes_nothing_in_it() {
    let (_fake, mut sample) = full().await;
    let mut report = WorkerReport { turns: 7, ..WorkerReport::default() };
    report.counters.drop(DropReason::NoRoute);
    let mut sizes = [0; SIZES];
    (sizes[0], sizes[5], sizes[6]) = (3, 2, 1);
    sample.workers[1] = WorkerSample {
        worker: 1,
        report: Some(report),
        total: BurstSums { nanos: 1_500_000_000, frames: 131, sizes },
        bursts: BurstView { p50_ns: 250, max_ns: 2_000_000_000, ..BurstView::default() },
    };
    sample.workers[0].report = None;
    let page = sample.text();
    let of = "{service=\"tcp:192.0.2.10:80\",destination=\"198.51.100.11:80\"}";
    for (metric, want) in [
        ("pollvs_services", 2.0),
        ("pollvs_service_in_packets_total{service=\"tcp:192.0.2.10:80\"}", 5.0),
        (&format!("pollvs_destination_in_packets_total{of}"), 5.0),
        (&format!("pollvs_destination_weight{of}"), 1.0),
        (&format!("pollvs_destination_configured_weight{of}"), 1.0),
        (&format!("pollvs_destination_standing{}", of.replace('}', ",standing=\"unknown\"}")), 1.0),
        (&format!("pollvs_destination_usable{of}"), 0.0),
        (&format!("pollvs_check_up{of}"), 1.0),
        (&format!("pollvs_checks_total{of}"), 9.0),
        (&format!("pollvs_check_failures_total{of}"), 2.0),
        (&format!("pollvs_check_seconds{of}"), 0.25),
        ("pollvs_service_usable_destinations{service=\"tcp:192.0.2.10:80\"}", 0.0),
        ("pollvs_service_info{service=\"tcp:192.0.2.10:80\",scheduler=\"rr\"}", 1.0),
        ("pollvs_worker_up{worker=\"0\"}", 0.0),
        ("pollvs_worker_up{worker=\"1\"}", 1.0),
        ("pollvs_worker_turns_total{worker=\"1\"}", 7.0),
        ("pollvs_drops_total{worker=\"1\",reason=\"no_route\"}", 1.0),
        ("pollvs_events_total{worker=\"1\",event=\"received\"}", 0.0),
        ("pollvs_worker_burst_seconds{worker=\"1\",quantile=\"0.5\"}", 0.000_000_25),
        ("pollvs_worker_burst_seconds{worker=\"1\",quantile=\"1\"}", 2.0),
        ("pollvs_worker_burst_seconds_sum{worker=\"1\"}", 1.5),
        ("pollvs_worker_burst_seconds_count{worker=\"1\"}", 6.0),
        ("pollvs_worker_burst_frames_bucket{worker=\"1\",le=\"1\"}", 3.0),
        ("pollvs_worker_burst_frames_bucket{worker=\"1\",le=\"63\"}", 5.0),
        ("pollvs_worker_burst_frames_bucket{worker=\"1\",le=\"64\"}", 6.0),
        ("pollvs_worker_burst_frames_sum{worker=\"1\"}", 131.0),
        ("pollvs_port_up{port=\"outside\"}", 1.0),
        ("pollvs_sync_daemon{role=\"backup\"}", 1.0),
    ] {
        let shown = value(&page, metric);
        assert!((shown - want).abs() < 1e-12, "{metric} {shown}, not {want}");
    }
    assert!(!page.contains("pollvs_worker_turns_total{worker=\"0\"}"), "nothing is known of a silent worker");
}

#[tokio::test]
async fn quorum_sorry_server_and_drains_are_shown() {
    let (_fake, sample) = full().await;
    let page = sample.text();
    let (whole, below) = ("{service=\"tcp:192.0.2.10:80\"}", "{service=\"tcp:192.0.2.11:80\"}");
    let of = |address: &str| below.replace('}', &format!(",destination=\"{address}:80\"}}"));
    let (sorry, drained) = (of("198.51.100.9"), of("198.51.100.22"));
    for (metric, want) in [
        (format!("pollvs_service_up_destinations{whole}"), 1.0),
        (format!("pollvs_service_up_weight{whole}"), 1.0),
        (format!("pollvs_service_quorum_weight{whole}"), 1.0),
        (format!("pollvs_service_quorum{whole}"), 1.0),
        (format!("pollvs_service_destinations{below}"), 2.0),
        (format!("pollvs_service_up_destinations{below}"), 1.0),
        (format!("pollvs_service_up_weight{below}"), 2.0),
        (format!("pollvs_service_quorum_weight{below}"), 3.0),
        (format!("pollvs_service_quorum{below}"), 0.0),
        (format!("pollvs_sorry_server_on{sorry}"), 1.0),
        (format!("pollvs_sorry_server_reachable{sorry}"), 0.0),
        (format!("pollvs_sorry_server_active_connections{sorry}"), 4.0),
        (format!("pollvs_sorry_server_connections_total{sorry}"), 1.0),
        ("pollvs_drains".to_owned(), 1.0),
        (format!("pollvs_drain_over{drained}"), 0.0),
        (format!("pollvs_drain_connections{drained}"), 4.0),
    ] {
        let shown = value(&page, &metric);
        assert!((shown - want).abs() < 1e-12, "{metric} {shown}, not {want}");
    }
    let left = value(&page, &format!("pollvs_drain_left_seconds{drained}"));
    assert!((3500.0..=3600.0).contains(&left), "{left}");
    assert!(!page.contains(&format!("pollvs_sorry_server_on{whole}")), "that one has none");
}

/// A server on a port that the system chooses, and what is asked of it in a thread.
async fn with_server<T: Send + 'static>(control: &Control, ask: impl FnOnce(SocketAddr) -> T + Send + 'static) -> T {
    let server = Server::bind(&Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap().unwrap();
    let address = server.address().unwrap();
    tokio::select! {
        () = server.run(control) => unreachable!("it never returns"),
        said = tokio::task::spawn_blocking(move || ask(address)) => said.unwrap(),
    }
}

fn http(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[tokio::test]
async fn it_is_got_by_http_and_nothing_else_is() {
    let fake = Fake::new(1);
    with_server(&fake.control, |address| {
        for (request, status, end) in [
            ("GET /metrics", "200 OK", "\n"),
            ("HEAD /metrics", "200 OK", "\r\n\r\n"),
            ("GET /", "200 OK", "GET /metrics\n"),
            ("GET /etc/passwd", "404 Not Found", "GET /metrics\n"),
            ("POST /metrics", "405 Method Not Allowed", "GET /metrics\n"),
            ("nonsense", "400 Bad Request", "\r\n\r\n"),
        ] {
            let answer = http(TcpStream::connect(address).unwrap(), request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.ends_with(end),
                "{request}: {answer}"
            );
        }
        let answer = http(TcpStream::connect(address).unwrap(), "GET /metrics");
        assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("\npollvs_worker_up{worker=\"0\"} 1\n"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_shut_others_out_for_long() {
    let fake = Fake::new(1);
    let answer = with_server(&fake.control, |address| {
        // Fewer than there is room for; each holds a place until it has been waited for long enough.
        let mute: Vec<_> = (0..15).map(|_| TcpStream::connect(address).unwrap()).collect();
        let answer = http(TcpStream::connect(address).unwrap(), "GET /metrics");
        let mut rest = Vec::new();
        (&mute[0]).read_to_end(&mut rest).unwrap();
        answer
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_unix_socket_serves_too_and_goes_with_the_server() {
    let fake = Fake::new(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.sock");
    let server = Server::bind(&Listen::Unix(path.clone())).unwrap().unwrap();
    let client = path.clone();
    let ask = tokio::task::spawn_blocking(move || http(UnixStream::connect(client).unwrap(), "GET /metrics"));
    let answer = tokio::select! {
        () = server.run(&fake.control) => unreachable!("it never returns"),
        answer = ask => answer.unwrap(),
    };
    assert!(answer.contains("pollvs_build_info"), "{answer}");
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_refused_in_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (listen, want) in [
        (Listen::Tcp(address), "another program has that port"),
        (Listen::Tcp("192.0.2.1:9731".parse().unwrap()), "give an address of this host"),
        (Listen::Unix("/nonexistent/\0/s".into()), "check [metrics] listen"),
    ] {
        let error = Server::bind(&listen).unwrap_err().to_string();
        assert!(error.contains(want) && error.contains("[metrics] listen"), "{error}");
    }
    assert!(Server::bind(&Listen::Off).unwrap().is_none());
}

/// A thousand services with ten destinations each.
async fn many(fake: &Fake) {
    let mut rules = String::new();
    for s in 0..1_000_u32 {
        rules += &format!("[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.10\"\nport = {}\n", 1000 + s);
        for d in 0..10 {
            rules += &format!("[[service.destination]]\naddress = \"10.{}.{}.{d}:80\"\n", s >> 8, s & 255);
        }
    }
    let text = serde_json::json!({"request": "apply", "rules": rules}).to_string();
    assert!(matches!(ask(&fake.control, &text).await, Reply::Applied { .. }));
}

/// CPU time of this thread.
fn cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// What control itself does for a sample is a small part of it, whatever the machine does beside.
#[tokio::test]
async fn a_sample_of_many_destinations_takes_little_of_controls_thread() {
    let fake = Fake::new(1);
    many(&fake).await;
    fake.control.sample().await;
    let before = cpu();
    let sample = fake.control.sample().await;
    let by_control = cpu() - before;
    // The test's own thread does by itself what another does for control.
    let picture = fake.control.inner.lock().await.picture();
    let before = cpu();
    assert_eq!(picture.counted_views(), sample.services);
    let elsewhere = cpu() - before;
    assert!(by_control * 4 < elsewhere, "{by_control:?} on control's thread, {elsewhere:?} elsewhere");
}

/// The page is whole, and control answers while it is made.
#[tokio::test]
async fn many_destinations_hold_up_nobody() {
    let fake = Fake::new(1);
    many(&fake).await;
    let control = fake.control.clone();
    let page = with_server(&fake.control, |address| http(TcpStream::connect(address).unwrap(), "GET /metrics"));
    let answers = AtomicU64::new(0);
    let asks = async {
        loop {
            ask(&control, r#"{"request":"timeouts"}"#).await;
            answers.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let page = tokio::select! { page = page => page, () = asks => unreachable!("it asks on") };
    assert_eq!(page.lines().filter(|l| l.starts_with("pollvs_destination_weight{")).count(), 10_000);
    assert!(answers.into_inner() > 5, "control answers nothing until the page is done");
}
