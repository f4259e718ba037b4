//! The socket, with clients that behave and clients that do not.

use super::*;
use crate::control::client::{Client, ClientError};
use crate::control::server::{LONGEST_LINE, Patience, Server, ServerError};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PATIENCE: Patience = Patience { line: Duration::from_millis(700), idle: Duration::from_secs(60) };

/// A served control socket.
struct Served {
    folder: tempfile::TempDir,
    fake: Fake,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new(2);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (control, path) = (fake.control.clone(), folder.path().join("s"));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(&path).unwrap().with_patience(PATIENCE);
                ready.send(()).unwrap();
                tokio::select! {
                    () = server.run(&control) => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self { folder, fake, stop: Some(stop), thread: Some(thread) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn client(&self) -> Client {
        Client::connect(&self.path()).unwrap()
    }

    /// A raw connection, its greeting read.
    fn raw(&self) -> BufReader<UnixStream> {
        let mut stream = BufReader::new(UnixStream::connect(self.path()).unwrap());
        stream.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(line(&mut stream).contains(r#""reply":"hello","protocol":1"#));
        stream
    }

    fn is_well(&self) {
        assert!(matches!(self.client().ask(&Request::Status {}), Ok(Reply::Status(_))));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn line(stream: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line
}

#[test]
fn the_socket_is_for_its_owner_alone_and_for_one_director() {
    let served = Served::new();
    let path = served.path();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(served.folder.path()).unwrap().count(), 1);
    assert!(matches!(Server::bind(&path), Err(ServerError::Taken { .. })));
    served.is_well();
}

#[tokio::test]
async fn a_dead_directors_socket_is_replaced_and_a_live_one_is_removed_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Server::bind(&path).unwrap());
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::write(&path, "precious").unwrap();
    let error = Server::bind(&path).unwrap_err().to_string();
    assert!(error.contains("there is something that is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn nonsense_is_answered_and_the_next_line_is_served() {
    let served = Served::new();
    let mut stream = served.raw();
    for nonsense in ["hello", "{}", "[]", r#"{"request":"dance"}"#, r#"{"request":"status","x":1}"#, "\u{0}\u{1}"] {
        writeln!(stream.get_mut(), "{nonsense}").unwrap();
        assert!(line(&mut stream).contains(r#""code":"bad_request""#), "{nonsense}");
    }
    stream.get_mut().write_all(b"\xff\xfe\n\n  \n{\"request\":\"timeouts\"}\n").unwrap();
    assert!(line(&mut stream).contains("bad_request"));
    assert!(line(&mut stream).contains(r#"{"reply":"timeouts","tcp":900"#));
}

#[test]
fn a_line_without_end_is_cut_off() {
    let served = Served::new();
    let mut stream = served.raw();
    let chunk = vec![b'x'; 65_536];
    let mut sent = 0;
    while sent < 4 * LONGEST_LINE && stream.get_mut().write_all(&chunk).is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 4 * LONGEST_LINE, "all of it was taken");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    served.is_well();
}

#[test]
fn half_a_line_is_cut_off_and_nobody_else_notices() {
    let served = Served::new();
    let mut stream = served.raw();
    stream.get_mut().write_all(b"{\"request\":").unwrap();
    served.is_well();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("cut off before the read times out");
    assert!(rest.is_empty());
    served.is_well();
}

#[test]
fn a_client_that_stops_reading_is_cut_off_and_nobody_else_notices() {
    let served = Served::new();
    served.fake.knobs[0].connections.store(1_000_000, Ordering::Relaxed);
    let mut stream = served.raw();
    writeln!(stream.get_mut(), r#"{{"request":"connections"}}"#).unwrap();
    served.is_well();
    std::thread::sleep(2 * PATIENCE.line);
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    assert!(read.is_ok() && rest.len() < 100_000_000, "{read:?} {}", rest.len());
    assert!(!rest.ends_with(b"\"more\":false}\n"));
    served.is_well();
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_listing_is_no_harm() {
    let served = Served::new();
    served.fake.knobs[0].connections.store(1_000_000, Ordering::Relaxed);
    for _ in 0..20 {
        let mut stream = served.raw();
        writeln!(stream.get_mut(), r#"{{"request":"connections"}}"#).unwrap();
        line(&mut stream);
    }
    served.is_well();
}

#[test]
fn many_clients_are_served_at_once() {
    let served = Served::new();
    let idle: Vec<_> = (0..100).map(|_| served.raw()).collect();
    let path = served.path();
    let work = move |n: u16| {
        let mut client = Client::connect(&path).unwrap();
        let service = |verb: &str| request(&format!(r#"{{"request":"{verb}","service":"tcp:192.0.2.{n}:80"}}"#));
        for _ in 0..10 {
            client.ask(&service("add_service")).unwrap();
            client.ask(&service("delete_service")).unwrap();
        }
        client.ask(&service("add_service")).unwrap();
    };
    let threads: Vec<_> = (1..=16)
        .map(|n| {
            std::thread::spawn({
                let work = work.clone();
                move || work(n)
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let Reply::Services { services, more: false } = served.client().ask(&Request::Services { service: None }).unwrap()
    else {
        panic!()
    };
    assert_eq!(services.len(), 16);
    drop(idle);
}

#[test]
fn the_client_joins_the_lines_of_a_listing() {
    let served = Served::new();
    served.fake.knobs[1].connections.store(2000, Ordering::Relaxed);
    let answer = served.client().ask(&Request::Connections(Default::default())).unwrap();
    assert!(matches!(answer, Reply::Connections { connections, more: false } if connections.len() == 1800));
}

#[test]
fn the_client_says_what_is_wrong() {
    let served = Served::new();
    let refused = served.client().ask(&request(r#"{"request":"delete_service","service":"mark:3"}"#));
    assert_eq!(refused.unwrap_err().to_string(), "there is no service mark:3");
    let nowhere = Client::connect(&served.folder.path().join("nosuch")).unwrap_err();
    assert!(
        matches!(nowhere, ClientError::Unreachable { .. }) && nowhere.to_string().contains("is it running"),
        "{nowhere}"
    );
}

#[test]
fn who_listens_hears_of_changes_until_he_speaks() {
    let served = Served::new();
    let mut listener = served.raw();
    writeln!(listener.get_mut(), r#"{{"request":"events"}}"#).unwrap();
    assert_eq!(line(&mut listener), "{\"reply\":\"done\"}\n");
    served.client().ask(&request(SERVICE)).unwrap();
    served.client().ask(&request(&destination("add_destination", 11, 1))).unwrap();
    let kind = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].clone();
    let mut heard = || kind(&line(&mut listener));
    assert_eq!([heard(), heard()], ["service_added", "destination_added"]);
    writeln!(listener.get_mut(), r#"{{"request":"timeouts"}}"#).unwrap();
    assert!(line(&mut listener).contains(r#"{"reply":"timeouts""#));
    served.client().ask(&request(r#"{"request":"flush"}"#)).unwrap();
    writeln!(listener.get_mut(), r#"{{"request":"timeouts"}}"#).unwrap();
    assert!(line(&mut listener).contains(r#"{"reply":"timeouts""#), "no more events");
}

#[test]
fn a_listener_that_does_not_read_loses_events_and_holds_up_nobody() {
    let served = Served::new();
    let mut slow = served.raw();
    writeln!(slow.get_mut(), r#"{{"request":"events"}}"#).unwrap();
    assert_eq!(line(&mut slow), "{\"reply\":\"done\"}\n");
    let events = served.fake.control.events.clone();
    let long = "x".repeat(1000);
    for n in 0..10_000 {
        events.tell(Event::ReloadFailed { reason: format!("{n} {long}") });
    }
    served.is_well();
    let mut lost = None;
    let mut heard = 0_u64;
    while lost.is_none() || heard + lost.unwrap_or(0) < 10_000 {
        let line: serde_json::Value = serde_json::from_str(&line(&mut slow)).unwrap();
        match line["kind"].as_str() {
            Some("lost") => lost = Some(lost.unwrap_or(0) + line["count"].as_u64().unwrap()),
            _ => heard += 1,
        }
    }
    assert_eq!(heard + lost.unwrap(), 10_000);
}
