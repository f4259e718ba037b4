//! What checks report reaches every worker, and no rule.

use super::*;
use crate::control::standing::{Health, Standing};
use crate::service::ServiceKey;

fn key() -> ServiceKey {
    "tcp:192.0.2.10:80".parse().unwrap()
}

fn down() -> Health {
    Health::Down { reason: "connection refused".into() }
}

async fn report(fake: &Fake, last: u8, health: Health) {
    fake.control.report_health(key(), ([198, 51, 100, last], 80).into(), health).await.unwrap();
}

async fn two_destinations(workers: u16) -> Fake {
    let fake = Fake::new(workers);
    done(&fake.control, SERVICE).await;
    for last in [11, 12] {
        done(&fake.control, &destination("add_destination", last, 3)).await;
    }
    fake
}

#[tokio::test]
async fn a_report_is_in_force_on_every_worker_when_it_is_taken() {
    let fake = two_destinations(3).await;
    report(&fake, 11, down()).await;
    assert_eq!(fake.weights(), vec![vec![3, 0]; 3]);
    let view = services(&fake.control).await[0].destinations[1].clone();
    assert_eq!((view.weight, view.configured_weight, view.standing), (0, 3, Standing::Down));
    assert_eq!((view.reason.as_str(), view.removed), ("connection refused", false));
    report(&fake, 11, Health::Up).await;
    assert_eq!(fake.weights(), vec![vec![3, 3]; 3]);
    assert_eq!(services(&fake.control).await[0].destinations[1].standing, Standing::Up);
}

#[tokio::test]
async fn what_is_removed_is_shown_and_workers_do_not_know_it() {
    let fake = two_destinations(1).await;
    done(&fake.control, r#"{"request":"set_policy","service":"tcp:192.0.2.10:80","policy":{"on_fail":"remove"}}"#)
        .await;
    report(&fake, 11, down()).await;
    assert_eq!(fake.weights(), [[3]]);
    let view = services(&fake.control).await.remove(0);
    assert_eq!(view.destinations.iter().map(|d| d.removed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(view.in_force().count(), 1);
    let kernels = proc::services(&[view]);
    assert_eq!(kernels.matches("  -> C6").count(), 1, "{kernels}");
}

#[tokio::test]
async fn many_reports_are_put_in_force_together() {
    let fake = two_destinations(1).await;
    let version = || fake.knobs[0].snapshot.lock().unwrap().version;
    let before = version();
    // Both are told before the first is in force: whoever holds the rules meanwhile makes them wait.
    let held = fake.control.inner.lock().await;
    let told = tokio::join!(report(&fake, 11, down()), report(&fake, 12, down()), async { drop(held) });
    assert_eq!(told, ((), (), ()));
    assert_eq!((fake.weights(), version()), (vec![vec![0, 0]], before + 1));
    report(&fake, 11, down()).await;
    assert_eq!(version(), before + 1, "no news");
}

#[tokio::test]
async fn rules_are_saved_whatever_stands() {
    let fake = two_destinations(1).await;
    let saved = ask(&fake.control, r#"{"request":"save"}"#).await;
    report(&fake, 11, down()).await;
    assert_eq!(ask(&fake.control, r#"{"request":"save"}"#).await, saved);
}

#[tokio::test]
async fn those_who_watch_the_rules_are_told_of_changes_and_not_of_standing() {
    let fake = two_destinations(1).await;
    let mut rules = fake.control.watch_rules();
    let weights = |configured: &Configured| -> Vec<u32> {
        configured.services.iter().flat_map(|s| &s.destinations).map(|d| d.weight).collect()
    };
    assert_eq!(weights(&rules.borrow_and_update()), [3, 3]);
    report(&fake, 11, down()).await;
    assert!(!rules.has_changed().unwrap());
    done(&fake.control, &destination("edit_destination", 12, 7)).await;
    assert!(rules.has_changed().unwrap());
    assert_eq!(weights(&rules.borrow_and_update()), [7, 3]);
    assert_eq!(code(&fake.control, &destination("add_destination", 12, 7)).await, ErrorCode::DestinationExists);
    assert!(!rules.has_changed().unwrap());
}

#[tokio::test]
async fn what_happens_is_told_once() {
    let fake = two_destinations(1).await;
    let mut listener = fake.control.listen();
    let of = "destination 198.51.100.11:80 of tcp:192.0.2.10:80";
    for health in [Health::Up, down(), down(), Health::Up, Health::Up] {
        report(&fake, 11, health).await;
    }
    done(&fake.control, &destination("edit_destination", 11, 9)).await;
    assert_eq!(code(&fake.control, r#"{"request":"reload"}"#).await, ErrorCode::Unsupported);
    let want = [
        format!("{of} is up"),
        format!("{of} is down: connection refused"),
        format!("{of} is up"),
        format!("{of} was edited"),
        "the configuration was read again and refused, nothing has changed: the director runs on its embedded \
         configuration; start it with --config FILE to reload one"
            .to_owned(),
    ];
    for want in want {
        assert_eq!(listener.next().await.unwrap().event.to_string(), want);
    }
}

#[tokio::test]
async fn a_silent_worker_is_an_event() {
    let fake = Fake::new(2);
    let mut listener = fake.control.listen();
    fake.knobs[1].silent.store(true, std::sync::atomic::Ordering::Relaxed);
    fake.control.look().await;
    fake.knobs[1].silent.store(false, std::sync::atomic::Ordering::Relaxed);
    fake.control.look().await;
    for want in [Event::WorkerSilent { worker: 1 }, Event::WorkerBack { worker: 1 }] {
        assert_eq!(listener.next().await.unwrap().event, want);
    }
}

const DRAIN: &str = r#"{"request":"drain","destination":"198.51.100.11:80","remove":false}"#;

fn active(fake: &Fake, connections: u64) {
    fake.knobs.iter().for_each(|k| k.active.store(connections, std::sync::atomic::Ordering::Relaxed));
}

async fn drains(control: &Control) -> Vec<reply::DrainView> {
    match ask(control, r#"{"request":"drains","oldest":true}"#).await {
        Reply::Drains { drains } => drains,
        other => panic!("{other:?}"),
    }
}

async fn tick(fake: &Fake) {
    fake.control.inner.lock().await.tick().await.unwrap();
}

#[tokio::test]
async fn a_drain_is_over_when_nothing_is_left_and_stays_until_it_is_ended() {
    let fake = two_destinations(2).await;
    active(&fake, 2);
    done(&fake.control, DRAIN).await;
    let mut listener = fake.control.listen();
    assert_eq!(fake.weights(), vec![vec![3, 0]; 2]);
    assert_eq!(services(&fake.control).await[0].destinations[1].standing, Standing::Draining);
    tick(&fake).await;
    let view = drains(&fake.control).await.remove(0);
    assert_eq!((view.active, view.over, view.left_secs, view.remove), (4, false, None, false));
    active(&fake, 0);
    tick(&fake).await;
    tick(&fake).await;
    assert!(drains(&fake.control).await[0].over);
    done(&fake.control, r#"{"request":"undrain","destination":"198.51.100.11"}"#).await;
    assert_eq!(fake.weights(), vec![vec![3, 3]; 2]);
    assert_eq!(drains(&fake.control).await, []);
    let of = "destination 198.51.100.11:80 of tcp:192.0.2.10:80";
    for want in [format!("{of} is drained, 0 connections are left"), format!("{of} is not being drained any more")] {
        assert_eq!(listener.next().await.unwrap().event.to_string(), want);
    }
}

#[tokio::test]
async fn what_is_drained_is_removed_if_that_was_asked_for_and_in_time() {
    let fake = two_destinations(1).await;
    active(&fake, 5);
    let drain = |more: &str| format!(r#"{{"request":"drain","destination":"198.51.100.11:80"{more}}}"#);
    done(&fake.control, &drain(r#","timeout_secs":3600"#)).await;
    tick(&fake).await;
    let left = drains(&fake.control).await[0].left_secs.unwrap();
    assert!((3590..=3600).contains(&left), "{left}");
    done(&fake.control, &drain(r#","timeout_secs":0"#)).await;
    let mut listener = fake.control.listen();
    tick(&fake).await;
    assert_eq!(fake.weights(), [[3]]);
    assert_eq!(drains(&fake.control).await, []);
    assert_eq!(services(&fake.control).await[0].destinations.len(), 1);
    let of = "destination 198.51.100.11:80 of tcp:192.0.2.10:80";
    for want in [format!("{of} was removed"), format!("{of} is drained, 5 connections are left; it was removed")] {
        assert_eq!(listener.next().await.unwrap().event.to_string(), want);
    }
}

#[tokio::test]
async fn the_oldest_connection_of_what_is_drained_is_found() {
    let fake = two_destinations(2).await;
    fake.knobs.iter().for_each(|k| k.connections.store(500, std::sync::atomic::Ordering::Relaxed));
    done(&fake.control, DRAIN).await;
    assert_eq!(drains(&fake.control).await[0].oldest, None, "it has none by its own count");
    active(&fake, 1);
    let oldest = drains(&fake.control).await[0].oldest.clone().unwrap();
    assert_eq!((oldest.client.ip().to_string().as_str(), oldest.state.as_str()), ("203.0.113.5", "ESTABLISHED"));
}

#[tokio::test]
async fn a_wrong_drain_says_why_and_changes_nothing() {
    let fake = two_destinations(1).await;
    for (text, want) in [
        (r#"{"request":"drain","destination":"198.51.100.99"}"#, ErrorCode::NoSuchDestination),
        (r#"{"request":"drain","destination":"198.51.100.11:81"}"#, ErrorCode::NoSuchDestination),
        (r#"{"request":"drain","destination":"198.51.100.11","service":"mark:7"}"#, ErrorCode::NoSuchService),
        (r#"{"request":"undrain","destination":"198.51.100.11"}"#, ErrorCode::InvalidArgument),
        (r#"{"request":"undrain","destination":"198.51.100.99"}"#, ErrorCode::NoSuchDestination),
    ] {
        assert_eq!(code(&fake.control, text).await, want, "{text}");
    }
    assert_eq!(drains(&fake.control).await, []);
}

#[tokio::test]
async fn other_rules_that_are_applied_leave_a_drain_alone() {
    let fake = two_destinations(1).await;
    let Reply::Rules { rules } = ask(&fake.control, r#"{"request":"save"}"#).await else { panic!() };
    done(&fake.control, DRAIN).await;
    let apply = Request::Apply { rules, name: String::new() };
    let applied = ask(&fake.control, &serde_json::to_string(&apply).unwrap()).await;
    assert_eq!(applied, Reply::Applied { changes: vec![], restart: vec![] });
    assert_eq!(drains(&fake.control).await.len(), 1);
}
