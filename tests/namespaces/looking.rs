//! Looking closely at live traffic: why a client gets its server, what became of packets, and what came and went.
use super::testbed::TestBed;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use pollvs::wire::show;

const POLLVS: &str = env!("CARGO_BIN_EXE_pollvs");
const RULES: [&str; 3] = [
    "-A -t 192.0.2.10:80 -s rr -p 300",
    "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m",
];

/// Starts `pollvs WORDS` that shows packets, and waits until it has begun.
fn begin(bed: &TestBed, words: &[&str]) -> Child {
    let socket = bed.folder().join("control.sock");
    let mut command = Command::new(POLLVS);
    command.arg("--socket").arg(socket).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(1, child.stderr.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("until Ctrl-C"), "{first}");
    child
}

/// What it prints until it ends by itself.
fn finish(mut child: Child) -> String {
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(child.wait().unwrap().success(), "{out}");
    out
}

fn ask(bed: &TestBed) -> String {
    bed.run("client", &["curl", "-sS", "--max-time", "5", "--interface", "192.0.2.100", "http://192.0.2.10/"])
}

/// Port, direction and packet of each frame of a capture.
fn frames(file: &Path) -> Vec<(String, u32, String)> {
    let (mut names, mut frames) = (Vec::new(), Vec::new());
    let mut reader = PcapNgReader::new(std::fs::File::open(file).unwrap()).unwrap();
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(port) => names.push(format!("{:?}", port.options[0])),
            Block::EnhancedPacket(frame) => {
                let way = frame.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Flags(way) => Some(*way),
                    _ => None,
                });
                let packet = show::frame(&frame.data, show::Ident::Shown);
                frames.push((names[frame.interface_id as usize].clone(), way.unwrap(), packet));
            }
            other => panic!("{other:?}"),
        }
    }
    frames
}

#[test]
fn a_capture_has_both_sides_of_a_connection() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&RULES);
    let file = bed.folder().join("capture.pcapng");
    let words = ["capture", "host", "192.0.2.100", "and", "tcp", "-o", file.to_str().unwrap(), "--count", "4"];
    let capture = begin(&bed, &words);
    let mut second = Command::new(POLLVS);
    let second = second.arg("--socket").arg(bed.folder().join("control.sock")).args(["trace", "tcp"]).output().unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("there is one at a time"), "{second:?}");
    ask(&bed);
    let said = finish(capture);
    assert!(said.contains("4 frames captured, 0 lost"), "{said}");
    let frames = frames(&file);
    let is = |at: usize, port: &str, way: u32, packet: &str| {
        let (name, direction, text) = &frames[at];
        assert!(name.contains(port) && *direction == way && text.contains(packet), "{frames:?}");
    };
    is(0, "\"outside\"", 1, "IP 192.0.2.100 > 192.0.2.10 ");
    is(1, "\"inside\"", 2, "IP 192.0.2.100 > 198.51.100.1");
    is(2, "\"inside\"", 1, " > 192.0.2.100 ");
    is(3, "\"outside\"", 2, "IP 192.0.2.10 > 192.0.2.100 ");
}

#[test]
fn a_trace_and_why_say_what_happens_to_a_client() {
    let Some(bed) = TestBed::with_workers(1) else { return };
    bed.rules(&RULES);
    let why = || bed.pollvs(&["why", "192.0.2.100", "192.0.2.10:80"]);
    let before = why();
    assert!(before.contains("by       the scheduler, rr") && before.contains("has no template yet"), "{before}");
    let trace = begin(&bed, &["trace", "host", "192.0.2.100", "and", "port", "80", "--count", "2"]);
    let answered = ask(&bed);
    let said = finish(trace);
    let server = if answered == "rs1\n" { "198.51.100.11:8080" } else { "198.51.100.12:8080" };
    assert!(before.contains(server), "{before}{answered}");
    for step in ["received by outside", "service tcp:192.0.2.10:80", &format!("scheduler: {server}"), "sent by inside"]
    {
        assert!(said.contains(step), "{step}\n{said}");
    }
    let after = why();
    assert!(after.contains("by       its template") && after.contains(server), "{after}");
    assert!(bed.pollvs(&["why", "192.0.2.100", "192.0.2.10:81"]).contains("left to the kernel"));
}
