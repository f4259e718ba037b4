//! Checks that the rules name run, and what they find is in force on every worker.

use super::*;
use crate::control::health::view::CheckView;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Runs the director's checks beside `work`.
async fn checked<T>(control: &Control, work: impl Future<Output = T>) -> T {
    tokio::select! {
        () = control.check_health() => panic!("it never returns"),
        result = work => result,
    }
}

async fn within(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let come = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), come).await.expect(what);
}

async fn views(control: &Control) -> Vec<CheckView> {
    let mut all = Vec::new();
    for line in lines(control, r#"{"request":"checks"}"#).await {
        let Reply::Checks { checks, .. } = line else { panic!("{line:?}") };
        all.extend(checks);
    }
    all
}

/// A service with these destinations, checked every tenth of a second.
async fn service(control: &Control, destinations: &[SocketAddr]) {
    done(control, SERVICE).await;
    for address in destinations {
        let text = format!(
            r#"{{"request":"add_destination","service":"tcp:192.0.2.10:80","destination":{{"address":"{address}","method":"nat","weight":5}}}}"#
        );
        done(control, &text).await;
    }
}

fn set_check(check: &str) -> String {
    format!(r#"{{"request":"set_check","service":"tcp:192.0.2.10:80","check":{check}}}"#)
}

const FAST: &str = r#"{"type":"tcp","interval":0.1,"timeout":0.1,"fall":2}"#;

#[tokio::test]
async fn a_server_that_goes_loses_its_weight_and_gets_it_back() {
    let fake = Fake::new(2);
    let (stays, goes) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let addresses = [goes.local_addr().unwrap(), stays.local_addr().unwrap()];
    service(&fake.control, &addresses).await;
    checked(&fake.control, async {
        done(&fake.control, &set_check(FAST)).await;
        let all_up = async || views(&fake.control).await.iter().all(|v| v.up && v.checks > 0);
        within("both are checked", all_up).await;
        drop(goes);
        within("it is out", async || fake.weights() == [[5, 0], [5, 0]]).await;
        let view = views(&fake.control).await.remove(1);
        assert_eq!((view.up, view.failed >= 2), (false, true), "{view:?}");
        assert_eq!(view.last.map(|l| (l.good, l.text)), Some((false, "connection refused".to_owned())));
        let stats = services(&fake.control).await.remove(0).destinations.remove(1);
        assert_eq!(stats.reason, "connection refused");
        let back = TcpListener::bind(addresses[0]).await.unwrap();
        within("it is back", async || fake.weights() == [[5, 5], [5, 5]]).await;
        drop(back);
        within("it is out again", async || fake.weights() == [[5, 0], [5, 0]]).await;
        // What nobody checks counts as up.
        done(&fake.control, r#"{"request":"remove_check","service":"tcp:192.0.2.10:80"}"#).await;
        within("it is checked no more", async || fake.weights() == [[5, 5], [5, 5]]).await;
        assert_eq!(views(&fake.control).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_check_is_refused_and_those_that_run_go_on() {
    let fake = Fake::new(1);
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    service(&fake.control, &[server.local_addr().unwrap()]).await;
    checked(&fake.control, async {
        done(&fake.control, &set_check(FAST)).await;
        within("it is checked", async || views(&fake.control).await[0].checks > 0).await;
        assert_eq!(code(&fake.control, &set_check(r#"{"type":"tcp","fall":0}"#)).await, ErrorCode::InvalidArgument);
        let apply = r#"{"request":"apply","rules":"[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.10\"\nport = 80\ncheck = { type = \"ping\" }"}"#;
        assert_eq!(code(&fake.control, apply).await, ErrorCode::BadRules);
        let before = views(&fake.control).await.remove(0);
        within("it goes on", async || views(&fake.control).await[0].checks > before.checks + 2).await;
        let after = views(&fake.control).await.remove(0);
        assert_eq!((before.check, after.up), (after.check, true));
    })
    .await;
}

#[tokio::test]
async fn checks_are_kept_saved_and_applied() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.director.state = folder.path().join("state.json");
    let start = || Fake::with(config.clone(), None, 1).unwrap();
    let own = r#"{"request":"set_check","service":"tcp:192.0.2.10:80","destination":"198.51.100.11:80","check":{"interval":0.5}}"#;
    let fake = start();
    service(&fake.control, &["198.51.100.11:80".parse().unwrap()]).await;
    done(&fake.control, &set_check(r#"{"type":"http","headers":{"a":"b"},"status":[200,"300-302"]}"#)).await;
    done(&fake.control, own).await;
    let before = views(&fake.control).await;
    assert_eq!(serde_json::to_value(before[0].check.interval).unwrap(), 0.5);
    drop(fake);
    let fake = start();
    assert_eq!(views(&fake.control).await, before);
    let Reply::Rules { rules } = ask(&fake.control, r#"{"request":"save"}"#).await else { panic!() };
    let apply = serde_json::to_string(&Request::Apply { rules, name: "saved".into() }).unwrap();
    assert!(matches!(ask(&fake.control, &apply).await, Reply::Applied { changes, .. } if changes.is_empty()));
    done(&fake.control, r#"{"request":"flush"}"#).await;
    ask(&fake.control, &apply).await;
    assert_eq!(views(&fake.control).await, before);
}

/// Real connections to a thousand addresses, among them a server that never answers, beside a control that answers all the time.
#[tokio::test]
async fn a_thousand_checks_at_once_hold_nobody_up() {
    let fake = Fake::new(1);
    let (server, mute) =
        (TcpListener::bind("0.0.0.0:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = server.local_addr().unwrap().port();
    let mut addresses: Vec<_> =
        (0..1000_u16).map(|n| SocketAddr::from(([127, 1, (n / 250) as u8, (n % 250) as u8 + 1], port))).collect();
    addresses.push(mute.local_addr().unwrap());
    service(&fake.control, &addresses).await;
    let serve = async {
        loop {
            let (mut stream, _) = server.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 256];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            });
        }
    };
    let look = async {
        done(&fake.control, &set_check(r#"{"type":"http","interval":1,"timeout":1,"fall":1}"#)).await;
        let mut slowest = Duration::ZERO;
        within("all are checked twice, and the mute one is out", async || {
            let begun = Instant::now();
            ask(&fake.control, r#"{"request":"status"}"#).await;
            slowest = slowest.max(begun.elapsed());
            let all = views(&fake.control).await;
            all.iter().all(|v| v.checks > 1) && all.iter().filter(|v| !v.up).count() == 1
        })
        .await;
        println!("the slowest answer meanwhile took {slowest:?}");
    };
    tokio::select! {
        () = serve => {}
        () = checked(&fake.control, look) => {}
    }
    drop(mute);
}

#[tokio::test]
async fn a_listing_of_many_checks_is_several_lines() {
    let fake = Fake::new(1);
    let addresses: Vec<_> = (1..=600).map(|port| SocketAddr::from(([198, 51, 100, 11], port))).collect();
    service(&fake.control, &addresses).await;
    done(&fake.control, &set_check(FAST)).await;
    let all = lines(&fake.control, r#"{"request":"checks","service":"tcp:192.0.2.10:80"}"#).await;
    assert_eq!(all.iter().map(Reply::has_more).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(views(&fake.control).await.len(), 600);
    assert_eq!(code(&fake.control, r#"{"request":"checks","service":"mark:7"}"#).await, ErrorCode::NoSuchService);
}
