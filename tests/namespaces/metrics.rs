//! The metrics of a director that forwards, by the real Prometheus beside it.
use super::testbed::TestBed;
use crate::seeing::{prometheus, there_are};

#[test]
fn prometheus_sees_the_requests_that_are_forwarded() {
    if !there_are(&["prometheus", "promtool"]) {
        return;
    }
    let Some(bed) = TestBed::configured(2, "[metrics]\nlisten = \"127.0.0.1:9731\"\n") else { return };
    bed.rules(&["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m"]);
    // ab opens up to four connections more: when the last request is answered, those of its fellows are under way.
    bed.run("client", &["ab", "-q", "-n", "500", "-c", "5", "http://192.0.2.10/metrics"]);
    let inside = |words: &[&str]| bed.inside("director", words);
    let server = prometheus::Prometheus::start("127.0.0.1:9731", inside);
    let asked = |expression: &str| server.query(expression, inside);
    asked("pollvs_service_connections_total{service=\"tcp:192.0.2.10:80\"} >= 500");
    asked("pollvs_destination_connections_total{destination=\"198.51.100.11:8080\"} >= 500");
    asked("pollvs_destination_usable == 1 and pollvs_destination_reachable == 1");
    // What workers count at once, and what control hears of every two seconds.
    asked("sum(pollvs_events_total{event=\"connections_created\"}) == sum(pollvs_service_connections_total) < 505");
    asked("count(pollvs_worker_up == 1) == 2");
    asked("count(pollvs_port_up == 1) == 2");
    asked("sum(pollvs_worker_burst_seconds_count) > 1000 and sum(pollvs_worker_burst_seconds_sum) > 0");
    asked(
        "min(pollvs_worker_burst_seconds{quantile=\"1\"} >= on (worker) pollvs_worker_burst_seconds{quantile=\"0.5\"}) > 0",
    );
    asked("sum(pollvs_worker_burst_frames_sum) >= sum(pollvs_worker_burst_frames_count)");
    let page = bed.run("director", &["curl", "-sf", "http://127.0.0.1:9731/metrics"]);
    assert_eq!(prometheus::lint(&page), "");
}
