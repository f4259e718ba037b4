//! Comparing two results file by file. What a boot of the kernel makes random is masked, times may differ by a second: the rules by
//! which the recordings themselves are compared with a second run of the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use regex::{Captures, Regex};

/// The files that are compared.
const FILES: [&str; 11] = [
    "trace.txt",
    "rules.txt",
    "connections.txt",
    "stats.txt",
    "persistent.txt",
    "thresholds.txt",
    "save.txt",
    "timeout.txt",
    "proc_ip_vs.txt",
    "proc_ip_vs_conn.txt",
    "setup.log",
];

/// Most seconds by which two times may differ.
const TOLERANCE: f64 = 1.001;

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// The identification of packets that the director makes itself.
static OWN_IDENT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"( -> .*?\bIP \S+ > \S+ ttl=\d+ tos=\S+ id=)\d+( len=\d+[^|]*\| (?:IPIP|ICMP|TCP \d+ > \d+ RA?\b|GRE|UDP \d+ > (?:6080|8848)|proto (?:1|4|47) fragment))",
    )
});
/// The identification of IPv6 fragments, which the director chooses anew as the kernel does; it is in what the line tells of them.
static FRAGMENT_V6: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^( +\d+\.\d+ \S+ -> .*? \| proto 44 data\[\d+\])=\S+"));
/// The same of the fragments that it cuts of a tunnel of GUE or of IPv6, which look like anybody's: they are from its own address.
static OWN_FRAGMENT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"( -> .*?\bIP 198\.51\.100\.1 > \S+ ttl=\d+ tos=\S+ id=)\d+( len=\d+[^|]*\| proto (?:17|41) fragment)")
});
/// The same, and the checksum around it, of fragments that are too short to be shown but as bytes.
static OWN_SHORT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"( -> short frame [0-9a-f]{36})[0-9a-f]{4}([0-9a-f]{8})[0-9a-f]{4}(c6336401)"));
/// The source port of a tunnel.
static OWN_PORT: LazyLock<Regex> = LazyLock::new(|| pattern(r"UDP \d+ > (6080|8848)"));
/// A thirty-second of the memory that is free at start.
static MEMORY: LazyLock<Regex> = LazyLock::new(|| pattern(r"sync_qlen_max = \d+"));
/// When something happened.
static MOMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)^(#\d+ |   |\$ )(\d+\.\d+)"));
/// The time left to a connection, in a listing.
static LEFT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^((?:  \| )?(?:TCP|UDP|SCTP|IP|AH|ESP) +)(\d\d):(\d\d) "));
/// The same in `/proc/net/ip_vs_conn`.
static LEFT_PROC: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m) +(\d+)((?: sip \S+)? *)$"));
/// The same where a step shows it.
static LEFT_STEP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?m)^(  \| (?:TCP|UDP|SCTP|IP|AH|ESP) +[0-9A-Fa-f:\[].* [A-Z_-]+) +(\d+)((?: sip \S+)? *)$")
});
/// A line of a listing whose order is that of a random hash, the time masked.
static ENTRY: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:  \| )?(?:TCP|UDP|SCTP|IP|AH|ESP) .*MM:SS"));
/// The beginning of a service.
static SERVICE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Z]+  "));

/// A text without what is random, and the times that were in it.
struct Plain {
    lines: Vec<String>,
    times: Vec<f64>,
}

impl Plain {
    fn of(name: &str, text: &str) -> Self {
        let mut times = Vec::new();
        let mut text = text.to_owned();
        if name == "trace.txt" {
            text = OWN_IDENT.replace_all(&text, "$1*$2").into_owned();
            text = FRAGMENT_V6.replace_all(&text, "$1").into_owned();
            text = OWN_FRAGMENT.replace_all(&text, "$1*$2").into_owned();
            text = OWN_SHORT.replace_all(&text, "$1*$2*$3").into_owned();
            text = MEMORY.replace_all(&text, "sync_qlen_max = *").into_owned();
            text = OWN_PORT.replace_all(&text, "UDP * > $1").into_owned();
            text = taken(&MOMENT, &text, &mut times, |c| (c[2].parse().unwrap(), format!("{}T", &c[1])));
        }
        if name == "trace.txt" || name == "connections.txt" {
            let minutes = |c: &Captures<'_>| 60.0 * c[2].parse::<f64>().unwrap() + c[3].parse::<f64>().unwrap();
            text = taken(&LEFT, &text, &mut times, |c| (minutes(c), format!("{}MM:SS ", &c[1])));
        }
        if name == "trace.txt" {
            text =
                taken(&LEFT_STEP, &text, &mut times, |c| (c[2].parse().unwrap(), format!("{} MM:SS{}", &c[1], &c[3])));
        }
        if name == "proc_ip_vs_conn.txt" {
            text = taken(&LEFT_PROC, &text, &mut times, |c| (c[1].parse().unwrap(), format!(" T{}", &c[2])));
        }
        let lines = text.lines().filter(|l| name != "setup.log" || !l.starts_with('+')).map(str::to_owned).collect();
        let lines = if name == "proc_ip_vs.txt" { sorted_services(lines) } else { lines };
        times.sort_by(f64::total_cmp);
        Self { lines: sorted_entries(lines), times }
    }
}

/// Takes the times that a pattern finds out of a text.
fn taken(regex: &Regex, text: &str, times: &mut Vec<f64>, of: impl Fn(&Captures<'_>) -> (f64, String)) -> String {
    let replacement = |captures: &Captures<'_>| {
        let (time, text) = of(captures);
        times.push(time);
        text
    };
    regex.replace_all(text, replacement).into_owned()
}

/// Services stand in the order of a hash with a random key; their destinations stay with them.
fn sorted_services(lines: Vec<String>) -> Vec<String> {
    let mut groups: Vec<Vec<String>> = vec![Vec::new()];
    for line in lines {
        if SERVICE.is_match(&line) {
            groups.push(Vec::new());
        }
        groups.last_mut().unwrap().push(line);
    }
    groups[1..].sort();
    groups.concat()
}

/// The times left decide the order of sorted connections: without them it is another.
fn sorted_entries(lines: Vec<String>) -> Vec<String> {
    let mut sorted = Vec::new();
    let mut block: Vec<String> = Vec::new();
    for line in lines {
        if ENTRY.is_match(&line) {
            block.push(line);
            continue;
        }
        block.sort();
        sorted.append(&mut block);
        sorted.push(line);
    }
    block.sort();
    sorted.append(&mut block);
    sorted
}

/// Replays scenarios on two threads: how each differs from what the kernel did; nothing when it does not.
pub(super) fn scenarios(folders: &[PathBuf]) -> Vec<(PathBuf, Vec<String>)> {
    let (line, done) = (Mutex::new(folders.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(folder) = line.lock().unwrap().next() else { return };
                    let differences = differences(folder);
                    done.lock().unwrap().push((folder.clone(), differences));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort();
    done
}

fn differences(scenario: &Path) -> Vec<String> {
    let expected = scenario.join("expected");
    match pollvs::replay::results(scenario) {
        Ok(files) => {
            let listed = FILES.iter().flat_map(|name| file_differences(name, &expected, &files));
            listed.chain(fragment_differences(&expected, &files)).collect()
        }
        Err(error) => vec![error.to_string()],
    }
}

/// The fragments of IPv6, byte for byte but for their identification: the trace tells only how long they are.
fn fragment_differences(expected: &Path, files: &[(&'static str, Vec<u8>)]) -> Vec<String> {
    let Some((_, ours)) = files.iter().find(|(name, _)| *name == "output.pcap") else { return Vec::new() };
    let kernels = fragments_of_v6(&fs::read(expected.join("output.pcap")).unwrap());
    let ours = fragments_of_v6(ours);
    let places = kernels.iter().zip(&ours).enumerate().filter(|(_, (kernel, ours))| kernel != ours);
    places
        .map(|(n, (kernel, ours))| format!("fragment {n} kernel: {kernel}\n    fragment {n} pollvs: {ours}"))
        .collect()
}

/// Every fragment of IPv6 in a capture, as text, without its identification, and without the source port of a tunnel of GUE and the
/// checksum that depends on it.
fn fragments_of_v6(capture: &[u8]) -> Vec<String> {
    const ETHERTYPE: std::ops::Range<usize> = 12..14;
    const NEXT_HEADER: usize = 20;
    const IDENTIFICATION: std::ops::Range<usize> = 58..62;
    const SOURCE_PORT: std::ops::Range<usize> = 62..64;
    const DESTINATION_PORT: std::ops::Range<usize> = 64..66;
    const CHECKSUM: std::ops::Range<usize> = 68..70;
    const GUE: [u8; 2] = 6080_u16.to_be_bytes();
    let records = pollvs::io::pcap::read(capture).unwrap();
    let frames = records.into_iter().map(|record| record.frame);
    let mut fragments = Vec::new();
    for mut frame in frames.filter(|f| f.get(ETHERTYPE) == Some(&[0x86, 0xdd]) && f.get(NEXT_HEADER) == Some(&44)) {
        frame[IDENTIFICATION].fill(0);
        if frame.get(DESTINATION_PORT) == Some(&GUE) {
            frame[SOURCE_PORT].fill(0);
            frame[CHECKSUM].fill(0);
        }
        fragments.push(frame.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    fragments
}

fn file_differences(name: &str, expected: &Path, files: &[(&'static str, Vec<u8>)]) -> Vec<String> {
    let kernel = fs::read_to_string(expected.join(name)).unwrap();
    let Some((_, ours)) = files.iter().find(|(n, _)| *n == name) else { return vec![format!("{name} is missing")] };
    let (kernel, ours) = (Plain::of(name, &kernel), Plain::of(name, &String::from_utf8_lossy(ours)));
    if kernel.lines != ours.lines {
        return line_differences(name, &kernel.lines, &ours.lines);
    }
    let mut pairs = kernel.times.iter().zip(&ours.times);
    let worst = pairs.find(|(a, b)| (**a - **b).abs() > TOLERANCE);
    worst.map(|(a, b)| format!("{name}: times differ: {a}, {b}")).into_iter().collect()
}

fn line_differences(name: &str, kernel: &[String], ours: &[String]) -> Vec<String> {
    let longest = kernel.len().max(ours.len());
    let pair = |i: usize| (kernel.get(i), ours.get(i));
    let differing = (0..longest).map(pair).filter(|(a, b)| a != b);
    let show = |line: Option<&String>| line.map_or("(nothing)", String::as_str).to_owned();
    differing
        .flat_map(|(a, b)| [format!("{name} kernel: {}", show(a)), format!("{name} pollvs: {}", show(b))])
        .collect()
}

#[test]
fn only_what_is_random_is_masked() {
    let line = "   0.002 eth0 -> a>b IP 192.0.2.10 > 203.0.113.5 ttl=64 tos=0x00 id=77 len=40 DF | TCP 80 > 1001 S seq=0 ack=1";
    let plain = |text: &str| Plain::of("trace.txt", text).lines.join("\n");
    assert_eq!(plain(line), line.replacen("0.002", "T", 1));
    assert_eq!(
        plain(&line.replace(" S ", " RA ")),
        line.replace(" S ", " RA ").replacen("0.002", "T", 1).replace("id=77", "id=*")
    );
    for (from, to) in [("ttl=64", "ttl=63"), ("a>b", "a>c"), ("seq=0", "seq=1"), ("eth0", "eth1")] {
        assert_ne!(plain(line), plain(&line.replace(from, to)), "{from}");
    }
}

#[test]
fn the_time_of_a_template_is_masked_and_its_call_is_not() {
    let line = "UDP CB007106 0000 C000020B 01BB C6336412 01BB NONE            100 sip b@x";
    for (name, line) in [("proc_ip_vs_conn.txt", line.to_owned()), ("trace.txt", format!("  | {line}"))] {
        let plain = |text: &str| Plain::of(name, text);
        assert_eq!(plain(&line).times, [100.0], "{name}");
        assert_eq!(plain(&line).lines, plain(&line.replace("100", " 99")).lines, "{name}");
        assert_ne!(plain(&line).lines, plain(&line.replace("b@x", "a@x")).lines, "{name}");
    }
}

#[test]
fn entries_are_compared_without_order_and_times_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let head = "IPVS connection entries\n";
    let one = "TCP 00:59  SYN_RECV    203.0.113.5:1000   192.0.2.10:80      198.51.100.13:80\n";
    let two = "TCP 00:58  SYN_RECV    203.0.113.5:1001   192.0.2.10:80      198.51.100.13:80\n";
    fs::write(folder.path().join("connections.txt"), format!("{head}{one}{two}")).unwrap();
    let against =
        |text: String| file_differences("connections.txt", folder.path(), &[("connections.txt", text.into_bytes())]);
    assert_eq!(against(format!("{head}{two}{one}")), Vec::<String>::new());
    assert!(!against(format!("{head}{}{two}", one.replace("00:59", "00:50"))).is_empty());
    assert!(!against(format!("{head}{one}")).is_empty());
    assert!(!against(format!("{head}{}{two}", one.replace("13:80", "12:80"))).is_empty());
}
