//! The program `pollvs` against a director that is made up: exit status, output, environment.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const HELLO: &str = r#"{"reply":"hello","protocol":1,"version":"0.0.0"}"#;

/// Answers each request of each client with these lines.
struct Director {
    folder: tempfile::TempDir,
}

impl Director {
    fn new(hello: &'static str, answer: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let _ = writeln!(stream.get_mut(), "{hello}");
                let mut line = String::new();
                while stream.read_line(&mut line).unwrap_or(0) > 0 {
                    let _ = writeln!(stream.get_mut(), "{answer}");
                    line.clear();
                }
            }
        });
        Self { folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn pollvs(&self, words: &[&str]) -> Output {
        pollvs().arg("--socket").arg(self.socket()).args(words).output().unwrap()
    }
}

fn pollvs() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollvs"));
    command.env_remove("POLLVS_SOCKET").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn done_is_0_and_silent() {
    let director = Director::new(HELLO, r#"{"reply":"done"}"#);
    let output = director.pollvs(&["flush"]);
    assert_eq!((output.status.code(), text(&output.stdout), text(&output.stderr)), (Some(0), "", ""));
}

#[test]
fn refused_is_1_with_the_directors_words() {
    let director =
        Director::new(HELLO, r#"{"reply":"error","code":"no_such_service","message":"there is no service mark:7"}"#);
    let output = director.pollvs(&["services", "mark:7"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("", "pollvs: there is no service mark:7\n"));
}

#[test]
fn unreachable_is_1_and_says_where() {
    let output = pollvs().args(["status", "--socket", "/nonexistent/s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("pollvs: pollvsd cannot be reached at /nonexistent/s: "));
}

#[test]
fn a_wrong_command_line_is_2() {
    for words in [&["dance"][..], &[], &["services", "nonsense"]] {
        assert_eq!(pollvs().args(words).output().unwrap().status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn a_director_of_another_protocol_is_refused() {
    let director = Director::new(r#"{"reply":"hello","protocol":2,"version":"9.0.0"}"#, "");
    let output = director.pollvs(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("it speaks protocol 2, this program 1"));
}

#[test]
fn json_is_the_answer_as_it_is() {
    let answer = r#"{"reply":"timeouts","tcp":1,"tcp_fin":2,"udp":3}"#;
    let director = Director::new(HELLO, answer);
    assert_eq!(text(&director.pollvs(&["--json", "timeouts"]).stdout), format!("{answer}\n"));
    assert_eq!(text(&director.pollvs(&["timeouts"]).stdout), "tcp      1\ntcp_fin  2\nudp      3\n");
}

#[test]
fn the_socket_may_be_named_by_the_environment() {
    let director = Director::new(HELLO, r#"{"reply":"done"}"#);
    let output = pollvs().env("POLLVS_SOCKET", director.socket()).arg("flush").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let director = Director::new(
        HELLO,
        "{\"reply\":\"connections\",\"connections\":[],\"more\":true}\n{\"reply\":\"connections\",\"connections\":[],\"more\":false}",
    );
    let mut child =
        pollvs().arg("--socket").arg(director.socket()).arg("connections").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn called_by_ipvsadms_names_it_is_ipvsadm() {
    let director = Director::new(HELLO, r#"{"reply":"timeouts","tcp":900,"tcp_fin":120,"udp":300}"#);
    let link = director.folder.path().join("ipvsadm");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pollvs"), &link).unwrap();
    let words = ["-L", "--timeout"];
    let output = Command::new(link).args(words).env("POLLVS_SOCKET", director.socket()).output().unwrap();
    assert_eq!(text(&output.stdout), "Timeout (tcp tcpfin udp): 900 120 300\n");
    assert_eq!(
        text(&director.pollvs(&["ipvsadm", "-L", "--timeout"]).stdout),
        "Timeout (tcp tcpfin udp): 900 120 300\n"
    );
}
