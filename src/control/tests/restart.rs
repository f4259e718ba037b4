//! What is there after an end, asked for or not.

use super::*;
use crate::control::health::board::Found;
use crate::control::standing::Standing;
use std::path::Path;

const FILE: &str = "[[service]]\nprotocol = \"tcp\"\naddress = \"192.0.2.20\"\nport = 80\n";

fn start(folder: &Path, text: &str) -> Result<Fake, StartError> {
    let file = folder.join("director.toml");
    let text = format!("[director]\nstate = \"{}\"\n{text}", folder.join("state.json").display());
    std::fs::write(&file, text).unwrap();
    Fake::with(Config::load(&file).unwrap(), Some(file), 1)
}

/// A request about IPv4's mark rules.
fn mark(verb: &str, rest: &str) -> String {
    format!(r#"{{"request":"{verb}_mark","family":"ipv4",{rest}}}"#)
}

async fn words(fake: &Fake) -> Vec<String> {
    services(&fake.control).await.iter().map(|s| key::word(&s.service)).collect()
}

#[tokio::test]
async fn rules_are_back_before_the_first_packet() {
    let folder = tempfile::tempdir().unwrap();
    let fake = start(folder.path(), "").unwrap();
    done(&fake.control, SERVICE).await;
    for (last, weight) in [(11, 3), (12, 4)] {
        done(&fake.control, &destination("add_destination", last, weight)).await;
    }
    drop(fake);
    assert_eq!(start(folder.path(), "").unwrap().weights(), [[4, 3]]);
}

#[tokio::test]
async fn what_checks_had_found_holds_from_the_first_packet_on() {
    let folder = tempfile::tempdir().unwrap();
    let check = "[service.check]\ntype = \"tcp\"\ninterval = 3600\n";
    let servers = ["11", "12", "13"].map(|last| {
        let method = "method = \"nat\"\nweight = 3\n";
        format!("[[service.destination]]\naddress = \"198.51.100.{last}:80\"\n{method}")
    });
    let unchecked = "[[service]]\nmark = 7\n[[service.destination]]\naddress = \"198.51.100.11:0\"\n";
    let file = folder.path().join("director.toml");
    std::fs::write(&file, format!("[director]\nstate = \"\"\n{FILE}{check}{}{unchecked}", servers.concat())).unwrap();
    let found = |service: &str, address: &str, down: Option<&str>| Found {
        service: service.parse().unwrap(),
        address: address.parse().unwrap(),
        down: down.map(str::to_owned),
        since_ms: 60_000,
    };
    let service = "tcp:192.0.2.20:80";
    let all = [
        found(service, "198.51.100.11:80", Some("no answer")),
        found(service, "198.51.100.12:80", None),
        // Nobody checks the one, and nobody has the other.
        found("mark:7", "198.51.100.11:0", Some("no answer")),
        found(service, "198.51.100.99:80", Some("no answer")),
    ];
    let fake = Fake::inheriting(Config::load(&file).unwrap(), Some(file), 1, &all).unwrap();
    assert_eq!(fake.weights().concat().iter().filter(|weight| **weight == 0).count(), 1);
    let services = services(&fake.control).await;
    let of = |place: usize, last: u8| {
        let d =
            services[place].destinations.iter().find(|d| d.address.ip() == IpAddr::from([198, 51, 100, last])).unwrap();
        (d.standing, d.weight, d.reason.as_str())
    };
    let place = services.iter().position(|s| s.service == service.parse().unwrap()).unwrap();
    assert_eq!(of(place, 11), (Standing::Down, 0, "no answer"));
    assert_eq!([of(place, 12), of(place, 13)], [(Standing::Up, 3, ""), (Standing::Unknown, 3, "")]);
    assert_eq!(of(1 - place, 11).0, Standing::Unknown);
    let left = fake.control.findings();
    assert_eq!(left.iter().map(|one| one.down.as_deref()).collect::<Vec<_>>(), [Some("no answer"), None]);
    assert!(left[0].since_ms >= 60_000, "{left:?}");
    // The checks go on from there: what is down is said to be down, for the same reason.
    let mut listener = fake.control.listen();
    let checking = fake.control.check_health();
    assert!(tokio::time::timeout(Duration::from_millis(300), checking).await.is_err());
    let nothing = tokio::time::timeout(Duration::from_millis(10), listener.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert_eq!(fake.control.health().row(&(all[0].service, all[0].address)).map(|row| row.up), Some(false));
}

#[tokio::test]
async fn what_is_drained_is_drained_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let fake = start(folder.path(), "").unwrap();
    done(&fake.control, SERVICE).await;
    for last in [11, 12] {
        done(&fake.control, &destination("add_destination", last, 3)).await;
    }
    done(&fake.control, r#"{"request":"drain","destination":"198.51.100.11:80","timeout_secs":3600}"#).await;
    drop(fake);
    let again = start(folder.path(), "").unwrap();
    assert_eq!(again.weights(), [[3, 0]]);
    done(&again.control, r#"{"request":"undrain","destination":"198.51.100.11:80"}"#).await;
    assert_eq!(again.weights(), [[3, 3]]);
}

#[tokio::test]
async fn every_kind_of_change_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let fake = start(folder.path(), FILE).unwrap();
    let changes = [
        SERVICE.to_owned(),
        destination("add_destination", 11, 3),
        destination("add_destination", 12, 4),
        destination("edit_destination", 11, 9),
        r#"{"request":"delete_destination","service":"tcp:192.0.2.10:80","address":"198.51.100.12:80"}"#.into(),
        r#"{"request":"edit_service","service":"tcp:192.0.2.10:80","scheduler":"sh","flags":["sh-port"]}"#.into(),
        r#"{"request":"set_policy","service":"tcp:192.0.2.10:80","policy":{"on_fail":"remove","slow_start_secs":7}}"#
            .into(),
        r#"{"request":"delete_service","service":"tcp:192.0.2.20:80"}"#.into(),
        r#"{"request":"drain","destination":"198.51.100.11","templates":"drop","timeout_secs":3600}"#.into(),
        r#"{"request":"set_timeouts","udp":7}"#.into(),
        r#"{"request":"set_setting","name":"sloppy_tcp","value":1}"#.into(),
        r#"{"request":"start_daemon","role":"backup","interface":"lo","maxlen":1}"#.into(),
        r#"{"request":"start_daemon","role":"master","interface":"lo","syncid":7}"#.into(),
        r#"{"request":"stop_daemon","role":"backup"}"#.into(),
        mark("add", r#""rule":"-d 192.0.2.10 -p tcp --dport 80 -j MARK --set-mark 7""#),
        mark("add", r#""rule":"-d 192.0.2.11 -j MARK --set-mark 8","position":1"#),
        mark("replace", r#""rule":"-i eth0 -j MARK --or-mark 1","position":2"#),
        mark("delete", r#""position":1"#),
        r#"{"request":"undrain","destination":"198.51.100.11:80"}"#.into(),
        r#"{"request":"drain","destination":"198.51.100.11","service":"tcp:192.0.2.10:80","remove":true}"#.into(),
        r#"{"request":"apply","rules":"[[service]]\nmark = 3\n"}"#.into(),
        mark("add", r#""rule":"-j MARK --set-mark 3""#),
        r#"{"request":"flush_marks"}"#.into(),
        SERVICE.to_owned(),
        r#"{"request":"flush"}"#.into(),
    ];
    for change in changes {
        let reply = ask(&fake.control, &change).await;
        assert!(matches!(reply, Reply::Done {} | Reply::Applied { .. }), "{change}: {reply:?}");
        let now = fake.control.inner.lock().await.store.rule_set();
        // As after a kill: nothing is written at the end. The start writes, so it gets a copy.
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(folder.path().join("state.json"), copy.path().join("state.json")).unwrap();
        let again = start(copy.path(), FILE).unwrap();
        assert_eq!(again.control.inner.lock().await.store.rule_set(), now, "after {change}");
    }
}

#[tokio::test]
async fn what_changed_in_the_file_meanwhile_changes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let fake = start(folder.path(), FILE).unwrap();
    done(&fake.control, SERVICE).await;
    drop(fake);
    let fake = start(folder.path(), &FILE.replace("80", "81")).unwrap();
    assert_eq!(words(&fake).await, ["tcp:192.0.2.10:80", "tcp:192.0.2.20:81"]);
}

#[tokio::test]
async fn a_reload_applies_what_changed_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let fake = start(folder.path(), FILE).unwrap();
    done(&fake.control, SERVICE).await;
    let state = folder.path().join("state.json");
    let new = format!("[director]\nworkers = 2\nstate = \"{}\"\n{}", state.display(), FILE.replace("80", "81"));
    let file = folder.path().join("director.toml");
    std::fs::write(&file, new).unwrap();
    let applied = fake.control.reload().await.unwrap();
    assert_eq!(applied.changes, ["service tcp:192.0.2.20:80 removed", "service tcp:192.0.2.20:81 added"]);
    assert_eq!(applied.restart, ["director.workers differs; restart the director to apply it"]);
    assert_eq!(words(&fake).await, ["tcp:192.0.2.10:80", "tcp:192.0.2.20:81"]);

    std::fs::write(&file, "[vs]\nnosuch = 1\n").unwrap();
    let failure = fake.control.reload().await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::BadRules);
    assert!(failure.message.contains("director.toml:2: vs.nosuch"), "{failure}");
    assert_eq!(words(&fake).await.len(), 2);
}

#[tokio::test]
async fn mark_rules_are_the_files_when_it_changed_them_and_else_the_operators() {
    const OWN: &str = "-p udp -j MARK --set-mark 9";
    let marks = |rule: &str| format!("[marks]\nipv4 = [\"{rule}\"]\n");
    let folder = tempfile::tempdir().unwrap();
    let fake = start(folder.path(), &marks("-p tcp -j MARK --set-mark 7")).unwrap();
    done(&fake.control, &mark("add", &format!(r#""rule":"{OWN}""#))).await;
    drop(fake);
    let fake = start(folder.path(), &marks("-p tcp -j MARK --set-mark 7")).unwrap();
    assert_eq!(
        rules(&fake).await,
        ["-p tcp -j MARK --set-xmark 0x7/0xffffffff", "-p udp -j MARK --set-xmark 0x9/0xffffffff"]
    );
    let state = folder.path().join("state.json");
    let new = format!("[director]\nstate = \"{}\"\n{}", state.display(), marks("-p tcp -j MARK --set-mark 8"));
    std::fs::write(folder.path().join("director.toml"), new).unwrap();
    fake.control.reload().await.unwrap();
    assert_eq!(rules(&fake).await, ["-p tcp -j MARK --set-xmark 0x8/0xffffffff"]);
}

async fn rules(fake: &Fake) -> Vec<String> {
    match ask(&fake.control, r#"{"request":"marks"}"#).await {
        Reply::Marks(marks) => marks.ipv4.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_damaged_state_file_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.json"), "{\"version\":1").unwrap();
    let error = start(folder.path(), "").err().unwrap().to_string();
    assert!(error.contains("state.json") && error.contains("move it away"), "{error}");
}

#[tokio::test]
async fn a_change_that_cannot_be_kept_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("sub");
    std::fs::create_dir(&inside).unwrap();
    let fake = start(&inside, "").unwrap();
    std::fs::remove_dir_all(&inside).unwrap();
    assert_eq!(code(&fake.control, SERVICE).await, ErrorCode::NotPersisted);
    assert!(words(&fake).await.is_empty());
}

#[tokio::test]
async fn what_is_saved_can_be_applied() {
    let (from, to) = (Fake::new(1), Fake::new(1));
    done(&from.control, SERVICE).await;
    done(&from.control, &destination("add_destination", 11, 3)).await;
    done(&from.control, &destination("add_destination", 12, 4)).await;
    let Reply::Rules { rules } = ask(&from.control, r#"{"request":"save"}"#).await else { panic!() };
    let apply = serde_json::to_string(&Request::Apply { rules, name: "saved".into() }).unwrap();
    ask(&to.control, &apply).await;
    assert_eq!(to.weights(), [[4, 3]]);
    assert!(matches!(ask(&to.control, &apply).await, Reply::Applied { changes, .. } if changes.is_empty()));
}
