//! Each probe against servers that behave and servers that do not, on the loopback interface.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{RData, Record};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::*;
use crate::control::health::plan::{Place, Subject};
use crate::control::health::spec::CheckSpec;
use crate::destination::{Method, Tunnel};

/// Longer than any good probe takes on a busy machine, shorter than anybody wants to wait for the others.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time-out of probes that are to run into it.
const SHORT: f64 = 0.3;

/// The plan for a check of the server at that address.
fn plan(json: &str, at: SocketAddr) -> Plan {
    let spec: CheckSpec = serde_json::from_str(json).unwrap();
    let service = "tcp:192.0.2.10:80".parse().unwrap();
    let place = Place { at, method: Method::Nat, tunnel: Tunnel::default() };
    Plan::new(&spec, Subject { service: &service, destination: Some(place) }).unwrap()
}

/// Probes as the engine does.
async fn probe(plan: &Plan) -> Outcome {
    let begun = Instant::now();
    let probes = Probes::default();
    let outcome = tokio::time::timeout(plan.timeout, probes.probe(plan)).await.unwrap_or_else(|_| plan.timed_out());
    assert!(begun.elapsed() < plan.timeout + PATIENCE, "{:?}", begun.elapsed());
    outcome
}

/// A check's keys, its time-out among them, as JSON.
fn spec(timeout: f64, keys: &str) -> String {
    format!(r#"{{"interval":600,"timeout":{timeout},{keys}}}"#)
}

/// A TCP server that does `serve` with every client.
async fn server<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    at
}

/// A server that says this and then closes, or does not close.
async fn saying(what: &'static str, closes: bool) -> SocketAddr {
    server(move |mut stream| async move {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(what.as_bytes()).await;
        if !closes {
            std::future::pending::<()>().await;
        }
    })
    .await
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn says(outcome: &Outcome) -> (bool, &str) {
    match outcome {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    }
}

#[tokio::test]
async fn tcp_sees_who_listens_and_what_is_answered() {
    let (echo, mute) = (saying("220 ready\r\n", false).await, saying("", false).await);
    let (closer, flood) = (saying("421 bye", true).await, endless("").await);
    let send = r#""type":"tcp","send":"x","expect":"220""#;
    for (at, keys, timeout, good, text) in [
        (echo, r#""type":"tcp""#, 10.0, true, "connected"),
        (nobody().await, r#""type":"tcp""#, 10.0, false, "connection refused"),
        (echo, send, 10.0, true, "answered as expected"),
        (closer, send, 10.0, false, "the answer does not hold what is expected: \"421 bye\""),
        (mute, send, SHORT, false, "no answer within 300 ms"),
        (flood, send, 10.0, false, "the answer does not hold what is expected: "),
    ] {
        let outcome = probe(&plan(&spec(timeout, keys), at)).await;
        let (is_good, said) = says(&outcome);
        assert!(is_good == good && said.starts_with(text), "{keys}: {outcome:?}");
    }
}

/// A server that never stops sending.
async fn endless(head: &'static str) -> SocketAddr {
    server(move |mut stream| async move {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await
}

/// One that sends a byte every now and then.
async fn trickling(what: &'static str) -> SocketAddr {
    server(move |mut stream| async move {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        for byte in what.bytes().chain(std::iter::repeat(b'x')) {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn http_is_judged_by_status_headers_and_body() {
    let at = saying(
        "HTTP/1.1 200 OK\r\nServer: real/1\r\nX-State: a\r\nX-State: ready\r\nContent-Length: 12\r\n\r\nI am healthy",
        false,
    )
    .await;
    let gone = saying("HTTP/1.1 503 Gone\r\nContent-Length: 0\r\n\r\n", false).await;
    for (at, keys, good, text) in [
        (at, "", true, "status 200"),
        (at, r#","status":["200-299"]"#, true, "status 200"),
        (at, r#","status":[404,"300-399"]"#, false, "status 200"),
        (gone, "", false, "status 503"),
        (gone, r#","status":[503]"#, true, "status 503"),
        (at, r#","headers":{"x-state":"read"}"#, true, "status 200"),
        (at, r#","headers":{"x-state":"gone"}"#, false, "status 200, but no header x-state that holds \"gone\""),
        (at, r#","headers":{"x-none":""}"#, false, "status 200, but no header x-none that holds \"\""),
        (at, r#","body":"healthy""#, true, "status 200, body as expected"),
        (at, r#","body_regex":"^I am .*y$""#, true, "status 200, body as expected"),
        (at, r#","body":"sick""#, false, "status 200, but the body does not hold what is expected: \"I am healthy\""),
        (
            at,
            r#","body":"I am","body_regex":"sick""#,
            false,
            "status 200, but the body does not hold what is expected: \"I am healthy\"",
        ),
    ] {
        let outcome = probe(&plan(&spec(10.0, &format!(r#""type":"http"{keys}"#)), at)).await;
        assert_eq!(says(&outcome), (good, text), "{keys}");
    }
}

#[tokio::test]
async fn http_asks_for_what_is_wanted() {
    let at = server(|mut stream| async move {
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let text = String::from_utf8_lossy(&request[..length]).to_ascii_lowercase();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let keys =
        r#""type":"http","method":"POST","path":"/a?b=c","host":"www.example.org","request_headers":{"X-Probe":"1"}"#;
    for line in
        ["^post /a\\\\?b=c http/1.1\\r\\n", "host: www.example.org\\r\\n", "x-probe: 1\\r\\n", "agent: pollvs\\r\\n"]
    {
        let outcome = probe(&plan(&spec(10.0, &format!(r#"{keys},"body_regex":"{line}""#)), at)).await;
        assert!(outcome.is_ok(), "{line}: {outcome:?}");
    }
}

#[tokio::test]
async fn hostile_http_servers_are_given_up() {
    let body = r#""type":"http","body":"needle""#;
    let huge = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
    for (at, keys, timeout, text) in [
        (saying("", false).await, r#""type":"http""#, SHORT, "no answer within 300 ms"),
        (saying("", true).await, r#""type":"http""#, 10.0, "the connection was closed before the answer was whole"),
        (saying("HTTP/1.1 20", true).await, r#""type":"http""#, 10.0, "the connection was closed before"),
        (saying("SSH-2.0-x\r\n\r\n", false).await, r#""type":"http""#, 10.0, "no HTTP answer: "),
        (trickling("HTTP/1.1 200 OK\r\nX-A: ").await, r#""type":"http""#, SHORT, "no answer within 300 ms"),
        (trickling("HTTP/1.1 200 OK\r\n\r\n").await, body, 1.0, "no answer within 1000 ms"),
        (endless("HTTP/1.1 200 OK\r\nX-A: ").await, r#""type":"http""#, 10.0, "no HTTP answer: "),
        (endless("HTTP/1.1 200 OK\r\n\r\n").await, body, 10.0, "status 200, but the body does not hold"),
        (endless(huge).await, body, 10.0, "status 200, but the body does not hold"),
    ] {
        let outcome = probe(&plan(&spec(timeout, keys), at)).await;
        assert!(matches!(&outcome, Err(said) if said.starts_with(text)), "{text}: {outcome:?}");
    }
}

/// A web server with TLS and a certificate for `real.example.org`; the authority is written to the file.
async fn secured(ca_file: &std::path::Path) -> SocketAddr {
    let certified = rcgen::generate_simple_self_signed(vec!["real.example.org".to_owned()]).unwrap();
    std::fs::write(ca_file, certified.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

#[tokio::test]
async fn https_verifies_the_certificate_if_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (folder.path().join("ca.pem"), folder.path().join("other.pem"));
    let at = secured(&ca).await;
    secured(&other).await;
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let file = |path: &std::path::Path| format!(r#""verify":true,"ca_file":"{}""#, path.display());
    let named = r#""tls_name":"real.example.org","#;
    for (keys, good, text) in [
        (r#""body":"secret""#.to_owned(), true, "status 200, body as expected"),
        (format!("{named}{}", file(&ca)), true, "status 200"),
        (file(&ca), false, "TLS: invalid peer certificate: certificate not valid for name"),
        (format!("{named}{}", file(&other)), false, "TLS: invalid peer certificate: "),
        (format!("{named}{}", file(&empty)), false, "ca_file "),
        (format!("{named}{}", file(&folder.path().join("none"))), false, "ca_file "),
    ] {
        let outcome = probe(&plan(&spec(10.0, &format!(r#""type":"https",{keys}"#)), at)).await;
        let (is_good, said) = says(&outcome);
        assert!(is_good == good && said.starts_with(text), "{keys}: {outcome:?}");
    }
}

#[tokio::test]
async fn tls_that_is_none_is_given_up() {
    let mute = server(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let plain = saying("HTTP/1.1 400 Bad Request\r\n\r\n", false).await;
    let https = r#""type":"https""#;
    let outcome = probe(&plan(&spec(SHORT, https), mute)).await;
    assert_eq!(says(&outcome), (false, "no answer within 300 ms"));
    let outcome = probe(&plan(&spec(10.0, https), plain)).await;
    assert!(matches!(&outcome, Err(said) if said.starts_with("TLS: ")), "{outcome:?}");
    let outcome = probe(&plan(&spec(10.0, https), saying("", true).await)).await;
    assert!(matches!(&outcome, Err(said) if said.starts_with("TLS: ")), "{outcome:?}");
}

/// A UDP server that answers each datagram with what `answer` makes of it.
async fn datagrams(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = answer(&buffer[..length]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    at
}

#[tokio::test]
async fn udp_takes_silence_for_good_unless_an_answer_is_expected() {
    let (echo, mute) = (datagrams(|d| Some(d.to_vec())).await, datagrams(|_| None).await);
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (at, keys, timeout, good, text) in [
        (echo, r#""send":"hex:00ff""#, 10.0, true, "answered"),
        (mute, r#""send":"x""#, SHORT, true, "not refused"),
        (closed, r#""send":"x""#, 10.0, false, "connection refused"),
        (echo, r#""send":"hex:00ff","expect":"hex:ff""#, 10.0, true, "answered as expected"),
        (echo, r#""send":"abc","expect":"abd""#, 10.0, false, "the answer does not hold what is expected: \"abc\""),
        (mute, r#""send":"x","expect":"x""#, SHORT, false, "no answer within 300 ms"),
    ] {
        let outcome = probe(&plan(&spec(timeout, &format!(r#""type":"udp",{keys}"#)), at)).await;
        assert_eq!(says(&outcome), (good, text), "{keys}");
    }
}

/// The answer of a name server that knows www.example.org; noise comes first.
fn named(question: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let query = asked.queries().first()?.clone();
    let mut answer = Message::new();
    answer.set_id(asked.id()).set_message_type(MessageType::Response).add_query(query.clone());
    if query.name().to_ascii() == "www.example.org." {
        let data = RData::A(std::net::Ipv4Addr::new(192, 0, 2, 80).into());
        answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
    } else {
        answer.set_response_code(ResponseCode::NXDomain);
    }
    answer.to_vec().ok()
}

#[tokio::test]
async fn dns_is_judged_by_code_and_records() {
    let at = datagrams(named).await;
    let forger = datagrams(|question| {
        let mut answer = named(question)?;
        answer[0] ^= 1;
        Some(answer)
    })
    .await;
    let junk = datagrams(|_| Some(b"junk".to_vec())).await;
    for (at, keys, timeout, good, text) in [
        (at, r#""name":"www.example.org""#, 10.0, true, "A 192.0.2.80"),
        (at, r#""name":"www.example.org","answer":"192.0.2.80""#, 10.0, true, "A 192.0.2.80"),
        (
            at,
            r#""name":"www.example.org","answer":"192.0.2.81""#,
            10.0,
            false,
            "no record A 192.0.2.81 in the answer, but [\"192.0.2.80\"]",
        ),
        (at, r#""name":"www.example.org","record":"aaaa""#, 10.0, false, "no record AAAA in the answer"),
        (at, r#""name":"nosuch.example.org""#, 10.0, false, "non-existent domain"),
        (forger, r#""name":"www.example.org""#, SHORT, false, "no answer within 300 ms"),
        (junk, r#""name":"www.example.org""#, SHORT, false, "no answer within 300 ms"),
    ] {
        let outcome = probe(&plan(&spec(timeout, &format!(r#""type":"dns",{keys}"#)), at)).await;
        assert_eq!(says(&outcome), (good, text), "{keys}");
    }
}

#[tokio::test]
async fn dns_by_tcp_is_asked_in_the_same_way() {
    let at = server(|mut stream| async move {
        let length = stream.read_u16().await.unwrap();
        let mut question = vec![0; length.into()];
        stream.read_exact(&mut question).await.unwrap();
        let answer = named(&question).unwrap();
        stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    })
    .await;
    let keys = r#""type":"dns","transport":"tcp","name":"www.example.org""#;
    assert_eq!(says(&probe(&plan(&spec(10.0, keys), at)).await), (true, "A 192.0.2.80"));
    let short = saying("\0\u{4}ab", true).await;
    let outcome = probe(&plan(&spec(10.0, keys), short)).await;
    assert!(matches!(&outcome, Err(said) if said.starts_with("connected, then ")), "{outcome:?}");
}

/// Runs a shell script as a check.
async fn script(timeout: f64, text: &str) -> Outcome {
    let at = "198.51.100.11:8080".parse().unwrap();
    let command = serde_json::to_string(&["/bin/sh", "-c", text]).unwrap();
    probe(&plan(&spec(timeout, &format!(r#""type":"command","command":{command}"#)), at)).await
}

#[tokio::test]
async fn a_program_is_judged_by_its_exit_status() {
    for (text, good, says_) in [
        ("exit 0", true, "exit status 0"),
        ("echo fine", true, "exit status 0, \"fine\""),
        ("echo out; echo no such disk >&2; exit 3", false, "exit status 3, \"no such disk\""),
        ("test $POLLVS_VIP:$POLLVS_VPORT = 192.0.2.10:80", true, "exit status 0"),
        ("test $POLLVS_ADDRESS:$POLLVS_PORT = 198.51.100.11:8080", true, "exit status 0"),
        ("kill -9 $$", false, "signal: 9 (SIGKILL)"),
        // Nobody waits for what a child in the background holds open.
        ("sleep 1000 & echo started", true, "exit status 0, \"started\""),
        ("exec >&- 2>&-; exit 2", false, "exit status 2"),
    ] {
        assert_eq!(says(&script(10.0, text).await), (good, says_), "{text}");
    }
    let flood = script(10.0, "head -c 10000000 /dev/zero | tr '\\0' x; exit 1").await;
    assert!(matches!(&flood, Err(said) if said.len() < 100 && said.ends_with("...\"")), "{flood:?}");
    let missing = probe(&plan(&spec(10.0, r#""type":"command","command":["/nonexistent"]"#), nobody().await)).await;
    assert_eq!(says(&missing), (false, "/nonexistent: no such file or directory"));
}

#[tokio::test]
async fn a_program_gets_none_of_the_directors_descriptors() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let file = tempfile::tempfile().unwrap();
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    // The last one is the folder that is listed.
    assert_eq!(says(&script(10.0, "ls -m /proc/self/fd").await), (true, "exit status 0, \"0, 1, 2, 3\""));
}

#[tokio::test]
async fn a_program_that_does_not_end_is_killed_with_all_that_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    // It ignores what is asked of it, and so do its children.
    let text = format!(
        "trap '' TERM INT; for i in 1 2; do (trap '' TERM; echo $$ >> {0}; exec sleep 987654) & echo $! >> {0}; done; wait",
        file.display()
    );
    let outcome = script(1.0, &text).await;
    assert_eq!(says(&outcome), (false, "not finished after 1000 ms; killed"));
    let pids = std::fs::read_to_string(&file).unwrap();
    assert!(pids.lines().count() >= 2, "{pids}");
    let begun = Instant::now();
    let lives = |pid: &str| {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    while pids.lines().any(lives) {
        assert!(begun.elapsed() < PATIENCE, "still there: {pids}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn icmp_sees_who_answers() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: sockets for ICMP need root");
        return;
    }
    let (us, nobody) = ("127.0.0.1:0".parse().unwrap(), "240.0.0.1:0".parse().unwrap());
    let icmp = r#""type":"icmp""#;
    assert_eq!(says(&probe(&plan(&spec(10.0, icmp), us)).await), (true, "answered"));
    let outcome = probe(&plan(&spec(SHORT, icmp), nobody)).await;
    assert!(outcome.is_err(), "{outcome:?}");
    // Many at a time share a socket, and each gets its own answer.
    let probes = Probes::default();
    let plan = plan(&spec(10.0, icmp), us);
    let all: Vec<_> = (0..50).map(|_| probes.probe(&plan)).collect();
    for one in all {
        assert_eq!(one.await, Ok("answered".to_owned()));
    }
}
