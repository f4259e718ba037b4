//! Changes reach every worker, or nobody.

use super::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test]
async fn a_change_is_in_force_on_every_worker_when_it_is_answered() {
    let fake = Fake::new(3);
    done(&fake.control, SERVICE).await;
    for (step, want) in [("add_destination", 3), ("edit_destination", 7), ("edit_destination", 0)] {
        done(&fake.control, &destination(step, 11, want)).await;
        assert_eq!(fake.weights(), vec![vec![want]; 3]);
    }
    done(&fake.control, r#"{"request":"flush"}"#).await;
    assert_eq!(fake.weights(), vec![Vec::<u32>::new(); 3]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_change_that_a_worker_does_not_take_is_taken_back() {
    let fake = Fake::new(2);
    done(&fake.control, SERVICE).await;
    done(&fake.control, &destination("add_destination", 11, 1)).await;
    fake.knobs[1].silent.store(true, Ordering::Relaxed);
    assert_eq!(code(&fake.control, &destination("edit_destination", 11, 9)).await, ErrorCode::WorkerSilent);
    fake.knobs[1].silent.store(false, Ordering::Relaxed);
    assert_eq!(services(&fake.control).await[0].destinations[0].weight, 1);
    assert_eq!(fake.weights(), [[1], [1]]);
}

#[tokio::test]
async fn refusals_have_codes() {
    let fake = Fake::new(1);
    done(&fake.control, SERVICE).await;
    for (text, want) in [
        (SERVICE, ErrorCode::ServiceExists),
        (r#"{"request":"delete_service","service":"tcp:192.0.2.10:81"}"#, ErrorCode::NoSuchService),
        (r#"{"request":"services","service":"tcp:192.0.2.10:81"}"#, ErrorCode::NoSuchService),
        (r#"{"request":"zero","service":"tcp:192.0.2.10:81"}"#, ErrorCode::NoSuchService),
        (&destination("edit_destination", 11, 1), ErrorCode::NoSuchDestination),
        (r#"{"request":"set_setting","name":"nosuch","value":1}"#, ErrorCode::UnknownSetting),
        (r#"{"request":"set_timeouts","tcp":99999999}"#, ErrorCode::OutOfRange),
        (r#"{"request":"apply","rules":"[[service]]"}"#, ErrorCode::BadRules),
        (r#"{"request":"reload"}"#, ErrorCode::Unsupported),
    ] {
        assert_eq!(code(&fake.control, text).await, want, "{text}");
    }
}

#[tokio::test]
async fn time_outs_that_are_0_stay() {
    let fake = Fake::new(1);
    done(&fake.control, r#"{"request":"set_timeouts","tcp":60,"tcp_fin":0,"udp":5}"#).await;
    done(&fake.control, r#"{"request":"set_setting","name":"sloppy_tcp","value":1}"#).await;
    let settings = settings(&fake.control).await;
    let t = settings.timeouts;
    assert_eq!((t.tcp, t.tcp_fin, t.udp, settings.sloppy_tcp), (60, 120, 5, true));
    assert!(fake.knobs[0].snapshot.lock().unwrap().rules.settings.sloppy_tcp);
}

#[tokio::test]
async fn counters_of_all_workers_are_summed_and_zeroed() {
    let fake = Fake::new(2);
    done(&fake.control, SERVICE).await;
    done(&fake.control, &destination("add_destination", 11, 1)).await;
    for knobs in &fake.knobs {
        knobs.packets.store(21, Ordering::Relaxed);
        knobs.active.store(2, Ordering::Relaxed);
    }
    let view = services(&fake.control).await.remove(0);
    assert_eq!((view.traffic.in_packets, view.destinations[0].traffic.in_packets), (42, 42));
    assert_eq!(view.destinations[0].active, 4);
    done(&fake.control, r#"{"request":"zero"}"#).await;
    assert_eq!(services(&fake.control).await[0].traffic.in_packets, 0);
}

#[tokio::test]
async fn a_removed_destination_is_forgotten_two_minutes_after_nothing_refers_to_it() {
    let fake = Fake::new(2);
    done(&fake.control, SERVICE).await;
    done(&fake.control, &destination("add_destination", 11, 1)).await;
    fake.knobs[1].active.store(1, Ordering::Relaxed);
    let delete = r#"{"request":"delete_destination","service":"tcp:192.0.2.10:80","address":"198.51.100.11:80"}"#;
    done(&fake.control, delete).await;
    let known = || fake.knobs[0].snapshot.lock().unwrap().rules.destinations.iter().count();
    for (active, left) in [(1, 1), (0, 1), (0, 1), (0, 0)] {
        fake.knobs[1].active.store(active, Ordering::Relaxed);
        let mut inner = fake.control.inner.lock().await;
        inner.emptied = inner.emptied.checked_sub(trash::INTERVAL).unwrap();
        inner.tick().await.unwrap();
        assert_eq!(known(), left);
    }
}

#[tokio::test]
async fn a_listing_of_connections_pages_through_all_workers() {
    let fake = Fake::new(2);
    fake.knobs[0].connections.store(1000, Ordering::Relaxed);
    fake.knobs[1].connections.store(500, Ordering::Relaxed);
    let counts = |lines: Vec<Reply>| -> Vec<usize> {
        let count = |line| match line {
            Reply::Connections { connections, .. } => connections.len(),
            other => panic!("{other:?}"),
        };
        lines.into_iter().map(count).collect()
    };
    let all = counts(lines(&fake.control, r#"{"request":"connections"}"#).await);
    assert!(all.len() > 4 && all.iter().sum::<usize>() == 1350, "{all:?}");
    for (filter, want) in [
        (r#""limit":300"#, 300),
        (r#""client":"203.0.113.6""#, 0),
        (r#""destination":"198.51.100.11","client":"203.0.113.5""#, 1350),
        (r#""service":"tcp:192.0.2.10:80","limit":5"#, 5),
        (r#""service":"udp:192.0.2.10:80""#, 0),
    ] {
        let text = format!(r#"{{"request":"connections",{filter}}}"#);
        assert_eq!(counts(lines(&fake.control, &text).await).iter().sum::<usize>(), want, "{filter}");
    }
    assert_eq!(counts(lines(&fake.control, r#"{"request":"templates"}"#).await), [0]);
}

#[tokio::test]
async fn a_long_list_of_services_comes_in_lines() {
    let fake = Fake::new(1);
    let services =
        (1..=600).map(|port| format!("[[service]]\nprotocol = \"udp\"\naddress = \"192.0.2.1\"\nport = {port}\n"));
    let text = serde_json::to_string(&Request::Apply { rules: services.collect(), name: String::new() }).unwrap();
    assert!(matches!(ask(&fake.control, &text).await, Reply::Applied { changes, .. } if changes.len() == 600));
    let all = lines(&fake.control, r#"{"request":"services"}"#).await;
    let more: Vec<_> = all.iter().map(|l| matches!(l, Reply::Services { more: true, .. })).collect();
    assert_eq!(more, [true, true, false]);
    assert_eq!(super::services(&fake.control).await.len(), 600);
}

#[tokio::test]
async fn the_status_names_what_is_wrong() {
    let fake = Fake::new(2);
    done(&fake.control, SERVICE).await;
    done(&fake.control, &destination("add_destination", 11, 1)).await;
    for last in 12..16 {
        done(&fake.control, &destination("add_destination", last, 1)).await;
    }
    fake.knobs[1].silent.store(true, Ordering::Relaxed);
    let Reply::Status(status) = ask(&fake.control, r#"{"request":"status"}"#).await else { panic!() };
    assert_eq!((status.workers, status.services, status.destinations), (2, 1, 5));
    assert_eq!(
        status.warnings,
        [
            "worker 1 does not answer; if this lasts, restart the director",
            "there is no route to 198.51.100.15, 198.51.100.14, 198.51.100.13 and 2 more"
        ]
    );
}

#[tokio::test]
async fn the_status_names_what_is_accepted_without_effect() {
    let fake = Fake::new(1);
    let unset = "mark6:7 gets no packets: no rule sets marks of its family";
    for (rules, warnings) in [
        ("[vs]\ncache_bypass = true", vec![]),
        ("[vs]\n[[service]]\nmark6 = 7\n[marks]\nipv4 = [\"-j MARK --set-mark 7\"]", vec![unset]),
        ("[vs]\n[[service]]\nmark6 = 7\n[marks]\nipv6 = [\"-j MARK --set-mark 7\"]", vec![]),
    ] {
        let text = serde_json::to_string(&Request::Apply { rules: rules.to_owned(), name: String::new() }).unwrap();
        assert!(matches!(ask(&fake.control, &text).await, Reply::Applied { .. }));
        let Reply::Status(status) = ask(&fake.control, r#"{"request":"status"}"#).await else { panic!() };
        assert_eq!(status.warnings, warnings, "{rules}");
    }
}

#[tokio::test]
async fn mark_rules_stand_where_they_are_put() {
    let fake = Fake::new(2);
    let rule = |n: u32| format!("-j MARK --set-xmark {n:#x}/0xffffffff");
    for line in [
        r#"{"request":"add_mark","family":"ipv4","rule":"-j MARK --set-mark 1"}"#,
        r#"{"request":"add_mark","family":"ipv4","rule":"-j MARK --set-mark 2","position":1}"#,
        r#"{"request":"add_mark","family":"ipv4","rule":"-j MARK --set-mark 3","position":3}"#,
        r#"{"request":"add_mark","family":"ipv6","rule":"-j MARK --set-mark 4"}"#,
        r#"{"request":"replace_mark","family":"ipv4","rule":"-j MARK --set-mark 5","position":2}"#,
        r#"{"request":"delete_mark","family":"ipv4","position":1}"#,
    ] {
        done(&fake.control, line).await;
    }
    let marks = async || match ask(&fake.control, r#"{"request":"marks"}"#).await {
        Reply::Marks(rules) => [rules.ipv4, rules.ipv6].map(|r| r.iter().map(ToString::to_string).collect::<Vec<_>>()),
        other => panic!("{other:?}"),
    };
    assert_eq!(marks().await, [vec![rule(5), rule(3)], vec![rule(4)]]);
    for (line, want) in [
        (r#"{"request":"add_mark","family":"ipv4","rule":"-p nosuch"}"#, ErrorCode::InvalidArgument),
        (r#"{"request":"add_mark","family":"ipv4","rule":"-p tcp","position":4}"#, ErrorCode::NoSuchRule),
        (r#"{"request":"add_mark","family":"ipv4","rule":"-p tcp","position":0}"#, ErrorCode::NoSuchRule),
        (r#"{"request":"replace_mark","family":"ipv4","rule":"-p tcp","position":3}"#, ErrorCode::NoSuchRule),
        (r#"{"request":"delete_mark","family":"ipv6","position":2}"#, ErrorCode::NoSuchRule),
    ] {
        assert_eq!(code(&fake.control, line).await, want, "{line}");
    }
    done(&fake.control, r#"{"request":"flush_marks","family":"ipv4"}"#).await;
    assert_eq!(marks().await, [vec![], vec![rule(4)]]);
    done(&fake.control, r#"{"request":"flush_marks"}"#).await;
    assert_eq!(marks().await, [vec![], vec![] as Vec<String>]);
}

#[tokio::test]
async fn a_drain_schedules_nothing_new_and_ends_with_the_last_connection() {
    let fake = Fake::new(2);
    done(&fake.control, SERVICE).await;
    done(&fake.control, &destination("add_destination", 11, 5)).await;
    fake.knobs[0].connections.store(3, Ordering::Relaxed);
    done(&fake.control, r#"{"request":"shutdown","drain_secs":60}"#).await;
    let stopped = tokio::time::timeout(Duration::from_millis(300), fake.control.stopped());
    assert!(stopped.await.is_err(), "stopped with connections");
    assert_eq!(fake.weights(), [[0], [0]]);
    assert_eq!(services(&fake.control).await[0].destinations[0].weight, 5);
    assert_eq!(code(&fake.control, &destination("edit_destination", 11, 9)).await, ErrorCode::Stopping);
    fake.knobs[0].connections.store(0, Ordering::Relaxed);
    tokio::time::timeout(Duration::from_secs(5), fake.control.stopped()).await.unwrap();
}
