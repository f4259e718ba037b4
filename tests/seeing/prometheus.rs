//! The endpoint and the alerts, by Prometheus and promtool themselves.
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::director::{Director, free_address};
use super::{repository, succeeds, there_are};

/// Alerts, their tests and the example, in a folder as they would be.
fn example() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config/prometheus/pollvs.rules.yml", "config/prometheus/prometheus.yml", "tests/seeing/alerts.yml"] {
        let source = repository(file);
        std::fs::copy(&source, folder.path().join(source.file_name().unwrap())).unwrap();
    }
    folder
}

#[test]
fn the_example_is_accepted_and_every_alert_does_what_it_is_for() {
    if !there_are(&["promtool"]) {
        return;
    }
    let folder = example();
    for words in [["check", "config", "prometheus.yml"], ["test", "rules", "alerts.yml"]] {
        let said = succeeds(Command::new("promtool").current_dir(&folder).args(words));
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn every_alert_is_tested_both_ways() {
    let rules = std::fs::read_to_string(repository("config/prometheus/pollvs.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(repository("tests/seeing/alerts.yml")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let silent = tests.matches(&format!("alertname: {alert} }}")).count();
        let raised = tests.matches(&format!("alertname: {alert}\n        exp_alerts:")).count();
        assert_eq!((silent, raised), (1, 1), "{alert}");
    }
}

/// What promtool finds wrong with a page; nothing if it is as it should be.
pub(crate) fn lint(page: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A Prometheus that runs until the value is dropped, scraping a target every second by the example's configuration.
pub(crate) struct Prometheus {
    address: SocketAddr,
    child: Child,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it; `command` runs words where the target is to be reached.
    pub(crate) fn start(target: &str, command: impl Fn(&[&str]) -> Command) -> Self {
        let folder = example();
        let config = folder.path().join("prometheus.yml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("127.0.0.1:9731", target).replace("15s", "1s")).unwrap();
        let address = free_address();
        let argument = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let words = [
            "prometheus",
            &argument("config.file", &config),
            &argument("storage.tsdb.path", &folder.path().join("data")),
            &format!("--web.listen-address={address}"),
        ];
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command(&words).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { address, child, folder }
    }

    /// Asks until something is answered; `command` as with `start`.
    pub(crate) fn query(&self, expression: &str, command: impl Fn(&[&str]) -> Command) -> String {
        let server = format!("http://{}", self.address);
        let begun = Instant::now();
        loop {
            let output = command(&["promtool", "query", "instant", &server, expression]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && !said.trim().is_empty() {
                return said;
            }
            if begun.elapsed() > Duration::from_secs(30) {
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                panic!("{expression}: {said}{errors}\nPrometheus says:\n{}", self.words());
            }
            sleep(Duration::from_millis(100));
        }
    }

    fn words(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plainly(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

#[test]
fn prometheus_scrapes_the_director_and_answers() {
    if !there_are(&["prometheus", "promtool", "curl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let director = Director::start(folder.path());
    director.pollvs("service add tcp:192.0.2.10:80 -s rr");
    director.pollvs("destination add tcp:192.0.2.10:80 198.51.100.11:80 -w 7");
    let page = succeeds(Command::new("curl").arg("-sf").arg(format!("http://{}/metrics", director.metrics)));
    assert_eq!(lint(&page), "");
    let prometheus = Prometheus::start(&director.metrics.to_string(), plainly);
    let weight = prometheus.query("pollvs_destination_weight", plainly);
    assert!(weight.contains("destination=\"198.51.100.11:80\"") && weight.contains("=> 7 @"), "{weight}");
    // Nothing has a way to the destination, and the alert's expression says so to the real Prometheus too.
    let alerts = prometheus.query("ALERTS{alertname=\"PollvsNoDestinationUp\"}", plainly);
    assert!(alerts.contains("service=\"tcp:192.0.2.10:80\""), "{alerts}");
}
