//! Raw requests (`golden/raw.requests`) on the socket, and the transcript of a kernel 6.1 (`golden/raw.kernel`). The recorded kernel
//! puts an empty attribute before numbers of 64 bits that would be unaligned (`*_ATTR_PAD`), which kernels of common machines do not:
//! it is taken out of the transcript, with its four bytes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use pollvs::config::Config;
use pollvs::control::ipvs::server::Server;
use pollvs::control::{Control, Setup};
use pollvs::mailbox::Workers;
use regex::Regex;
use tokio_seqpacket::UnixSeqpacket;

const FAMILY: u16 = 0x4956;
const CONTROLLER: u16 = 0x10;
const REQUEST_AND_ACK: u16 = 5;
const PORT: u32 = 4711;

fn control() -> Control {
    let mut config = Config::default();
    config.director.state = "".into();
    let setup = Setup {
        config,
        config_path: None,
        network: Arc::default(),
        workers: Workers::default(),
        ports: Box::new(Vec::new),
    };
    Control::new(setup).unwrap().0
}

struct Client {
    socket: UnixSeqpacket,
    sequence: u32,
    transcript: String,
}

impl Client {
    async fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let received = tokio::time::timeout(Duration::from_secs(10), self.socket.recv(&mut buffer)).await;
        buffer.truncate(received.expect("an answer").unwrap().bytes_read());
        buffer
    }

    async fn send(&mut self, kind: u16, flags: u16, command: u8, version: u8, body: &[u8]) {
        self.sequence += 1;
        let mut bytes = u32::try_from(20 + body.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST_AND_ACK | flags).to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend(PORT.to_ne_bytes());
        bytes.extend([command, version, 0, 0]);
        bytes.extend(body);
        self.socket.send(&bytes).await.unwrap();
    }

    /// The first of the 34: the family itself.
    async fn family(&mut self) {
        self.send(CONTROLLER, 0, 3, 1, &[&[9, 0, 2, 0][..], b"IPVS\0\0\0\0"].concat()).await;
        let answer = self.receive().await;
        let length = number(&answer, 0, 4);
        let _ = writeln!(self.transcript, "## CTRL GETFAMILY: genl {}", hex(&answer[16..20]));
        for (kind, value) in attributes(&answer[20..length]) {
            let shown = match kind {
                1 => hex(b"<id>"),
                _ if value.len() + 4 < 40 => hex(value),
                _ => "...".to_owned(),
            };
            let _ = writeln!(self.transcript, "    attr {kind} len {} {shown}", value.len() + 4);
            if kind == 6 {
                for (place, operation) in attributes(value) {
                    let (id, flags) = (number(operation, 4, 4), number(operation, 12, 4));
                    let _ = writeln!(self.transcript, "       op {place} cmd {id} flags {flags:#x}");
                }
            }
        }
        let then = self.receive().await;
        let then = (number(&then, 0, 4), number(&then, 4, 2), number(&then, 6, 2));
        let _ = writeln!(self.transcript, "    leftover {}\n    then {then:?}", answer.len() - length);
    }

    /// One request, and all messages up to an outcome or the end of a dump.
    async fn ask(&mut self, name: &str, flags: u16, command: u8, version: u8, body: &[u8]) {
        self.send(FAMILY, flags, command, version, body).await;
        let _ = writeln!(self.transcript, "## {name}");
        let mut over = false;
        while !over {
            let datagram = self.receive().await;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let (message, after) = rest.split_at(number(rest, 0, 4).next_multiple_of(4).min(rest.len()));
                over |= self.show(message);
                rest = after;
            }
        }
    }

    /// Writes a message down; true for one after which nothing comes.
    fn show(&mut self, message: &[u8]) -> bool {
        let (length, kind, flags) = (number(message, 0, 4), number(message, 4, 2), number(message, 6, 2));
        let sequence = number(message, 8, 4) - self.sequence as usize;
        let port = if number(message, 12, 4) == PORT as usize { "True" } else { "False" };
        let code = || i32::from_ne_bytes(message[16..20].try_into().unwrap());
        let (name, end) = match kind {
            2 => ("ERROR", format!("err {}", code())),
            3 => ("DONE", format!(" {}", code())),
            _ => ("IPVS", " ".to_owned()),
        };
        let out = &mut self.transcript;
        let _ = writeln!(out, "    len {length} type {name} flags {flags:#x} seq {sequence} pid-ok {port} {end}");
        if name == "IPVS" {
            let _ = writeln!(out, "      genl {}", hex(&message[16..20]));
            tree(out, &message[20..length], 8, true);
        }
        name != "IPVS"
    }
}

fn tree(out: &mut String, bytes: &[u8], indent: usize, top: bool) {
    for (kind, value) in attributes(bytes) {
        let length = value.len() + 4;
        let blank = " ".repeat(indent);
        if top && (1..=3).contains(&kind) && length > 8 {
            let _ = writeln!(out, "{blank} nest {kind} len {length}");
            tree(out, value, indent + 3, false);
        } else if !top && matches!(kind, 10 | 12) && length > 60 {
            let inside: Vec<_> = attributes(value).iter().map(|(k, v)| format!("{k}:{}", v.len() + 4)).collect();
            let _ = writeln!(out, "{blank} nest {kind} len {length} attrs {}", inside.join(" "));
        } else {
            let _ = writeln!(out, "{blank} attr {kind} len {length} {}", hex(value));
        }
    }
}

fn attributes(mut bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut all = Vec::new();
    while bytes.len() >= 4 {
        let length = number(bytes, 0, 2);
        all.push((number(bytes, 2, 2) & 0x3fff, &bytes[4..length]));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A recorded transcript as it would be without the empty attributes.
fn without_padding(transcript: &str) -> String {
    let length = Regex::new(r"len (\d+)").unwrap();
    let shorter = |line: &mut String, by: usize| {
        let old: usize = length.captures(line).unwrap()[1].parse().unwrap();
        *line = length.replace(line, format!("len {}", old - by)).into_owned();
    };
    let mut lines: Vec<String> = Vec::new();
    // Where the message and the nest around an attribute are.
    let (mut message, mut nest) = (0, 0);
    for line in transcript.lines() {
        let mut line = line.to_owned();
        let words = line.trim_start();
        let padding = 4 * line.matches(" 11:4").count();
        if words.starts_with("len ") {
            message = lines.len();
        } else if words.starts_with("nest ") && !words.contains("attrs") {
            nest = lines.len();
        }
        if padding > 0 {
            line = line.replace(" 11:4", "");
            shorter(&mut line, padding);
            shorter(&mut lines[message], padding);
            shorter(&mut lines[nest], padding);
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_transcript_without_padding_has_the_lengths_of_a_common_machine() {
    let text = without_padding(include_str!("golden/raw.kernel"));
    assert!(text.contains("len 320 type IPVS") && text.contains("len 356 type IPVS") && !text.contains("11:4"));
    assert!(text.contains("nest 10 len 92 ") && text.contains("nest 12 len 124 "));
}

#[tokio::test]
async fn every_raw_request_is_answered_as_by_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut server = Server::bind(&path).unwrap();
    let control = control();
    let task = tokio::spawn(async move { server.run(&control).await });
    let socket = UnixSeqpacket::connect(&path).await.unwrap();
    let mut client = Client { socket, sequence: 0, transcript: String::new() };
    client.family().await;
    let mut asked = 1;
    for line in include_str!("golden/raw.requests").lines().skip(1) {
        let words: Vec<_> = line.split('|').map(str::trim).collect();
        let [name, command, flags, version, body] = words[..] else { panic!("{line}") };
        let flags = u16::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap();
        client.ask(name, flags, command.parse().unwrap(), version.parse().unwrap(), &unhex(body)).await;
        asked += 1;
    }
    assert_eq!(asked, 34);
    let wanted = without_padding(include_str!("golden/raw.kernel"));
    for (number, (got, want)) in (1..).zip(client.transcript.lines().zip(wanted.lines())) {
        assert_eq!(got, want, "line {number}");
    }
    assert_eq!(client.transcript.lines().count(), wanted.lines().count());
    task.abort();
}
