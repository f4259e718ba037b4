//! What the fuzz targets start from, and seeded mutations of it for `cargo test`.

use pollvs::control::handover;
use pollvs::director::{Director, Limits, Listing};
use pollvs::io::pcap::{self, Writer};
use pollvs::steering::Steering;
use pollvs::sync::{Block, Message};
use pollvs::time::Instant;
use pollvs::verdict::WorkerId;

/// Returns the recorded frames that the tests of the wire formats use.
pub fn frames() -> Vec<Vec<u8>> {
    include_str!("../../wire/recorded.txt").lines().skip(1).step_by(2).map(unhex).collect()
}

/// Returns a small capture file.
pub fn captures() -> Vec<Vec<u8>> {
    let mut writer = Writer::new(Vec::new()).expect("a vector takes all that is written");
    for (at, frame) in (0..).zip(frames().iter().take(3)) {
        writer.write(Instant(at), frame).expect("a vector takes all that is written");
    }
    vec![writer.into_inner()]
}

/// Returns the recorded frames as input of the `process` target: each alone, and all as one conversation.
pub fn conversations() -> Vec<Vec<u8>> {
    let framed = |frame: &Vec<u8>| {
        // The recordings' director has port 1 behind the MAC that ends in 2.
        let port = u8::from(frame.get(5) == Some(&2));
        let length = u16::try_from(frame.len()).unwrap_or(0x7ff).to_be_bytes();
        [&[port, length[0], length[1]], &frame[..]].concat()
    };
    let each: Vec<Vec<u8>> = frames().iter().map(framed).collect();
    let all = each.concat();
    let recorded = recordings().into_iter().map(|frames| frames.iter().flat_map(framed).collect());
    each.into_iter().chain([all]).chain(recorded).collect()
}

/// The frames of the recordings of FTP and SIP.
fn recordings() -> Vec<Vec<Vec<u8>>> {
    let captures = [
        &include_bytes!("../../parity/scenarios/ftp/input.pcap")[..],
        include_bytes!("../../parity/scenarios/ftp-two-answers/input.pcap"),
        include_bytes!("../../parity/scenarios/ftp-data-ends/input.pcap"),
        include_bytes!("../../parity/scenarios/sip-out/input.pcap"),
    ];
    let frames =
        |capture| pcap::read(capture).expect("a recording is a capture").into_iter().map(|r| r.frame).collect();
    captures.into_iter().map(frames).collect()
}

/// Returns what ends say in FTP and SIP.
pub fn talk() -> Vec<Vec<u8>> {
    let lines = [
        "PASV\r\n",
        "EPSV 1\r\n",
        "PORT 203,0,113,5,4,4\r\n",
        "EPRT |2|2001:db8::5|2000|\r\n",
        "227 Entering Passive Mode (198,51,100,11,156,64).\r\n",
        "229 Entering Extended Passive Mode (|1|198.51.100.11|40003|)\r\n",
        "INVITE sip:b@x SIP/2.0\r\nCall-ID: a@x\r\ni:\r\n b@x\r\n\r\n",
    ];
    lines.map(|line| line.as_bytes().to_vec()).to_vec()
}

/// Returns small scenarios as input of the `replay` target: lines of rules, a zero byte, and the recorded frames.
pub fn scenarios() -> Vec<Vec<u8>> {
    let rules = include_str!("scenarios.txt").split("\n\n");
    let conversation: Vec<u8> = conversations().into_iter().take(frames().len()).flatten().collect();
    rules.map(|lines| [lines.trim().as_bytes(), &[0], &conversation].concat()).collect()
}

/// Returns fragments for the `fragments` target: two datagrams of three, in order and not, and one of each family.
pub fn fragments() -> Vec<Vec<u8>> {
    let v4 = [[0, 0, 0, 8, 1, 0], [0, 0, 8, 8, 1, 0], [0, 0, 16, 3, 0, 1]].concat();
    let v6 = [[1, 0, 8, 8, 1, 0], [1, 0, 0, 8, 1, 0], [1, 0, 16, 5, 0x10, 1]].concat();
    let both = [&v4[..6], &v6[..6], &[0, 0, 4, 8, 1, 0], &v4[6..], &v6[6..]].concat();
    vec![v4, v6, both]
}

/// Returns the messages of the synchronisation that the kernel was given, and those that it sent.
pub fn messages() -> Vec<Vec<u8>> {
    let captures = [
        &include_bytes!("../../parity/scenarios/sync-backup/input.pcap")[..],
        include_bytes!("../../parity/scenarios/sync-backup-v0/input.pcap"),
        include_bytes!("../../parity/scenarios/sync-master-sip/expected/output.pcap"),
        include_bytes!("../../parity/scenarios/sync-master-ipv6/expected/output.pcap"),
    ];
    let frames = |capture| pcap::read(capture).expect("a recording is a capture").into_iter().map(|r| r.frame);
    let multicast = |frame: &Vec<u8>| frame.starts_with(&[1, 0, 0x5e]);
    captures.into_iter().flat_map(frames).filter(multicast).map(|f| f.get(42..).unwrap_or_default().to_vec()).collect()
}

/// Returns what a director hands over that has been told those messages, whole and a block of it.
pub fn handed_over() -> Vec<Vec<u8>> {
    let limits =
        Limits { connections: 64, connections6: 64, templates: 64, templates6: 64, destinations: 4, ftp: 4, calls: 4 };
    let mut director = Director::new(&limits, 7, WorkerId(0), Steering::default());
    for message in messages() {
        let Ok(message) = Message::read(&message) else { continue };
        message.entries().flatten().for_each(|entry| _ = director.accept(&entry, Instant(0)));
    }
    let mut whole = Vec::new();
    let directors = std::slice::from_ref(&director);
    handover::write(&mut whole, super::handover::moment(), directors, Instant(0)).expect("memory can be written");
    let mut block = Block::default();
    director.keep(Listing::default(), 0, 64, Instant(0), |kept| _ = block.push(&kept));
    vec![whole, block.finish()]
}

/// Returns the lines of the protocol's documentation.
pub fn requests() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../docs/control.md").lines();
    lines.filter(|line| line.starts_with('{')).map(|line| line.as_bytes().to_vec()).collect()
}

/// Returns mark rules of every kind.
pub fn marks() -> Vec<Vec<u8>> {
    let rules = [
        "-d 192.0.2.10/32 ! -s 10.0.0.0/255.0.255.0 -i eth+ -p tcp -m tcp --sport 1:2 ! --dport 80 -j MARK --set-xmark 0x7/0xff",
        "-p udp -m multiport ! --ports 53,1000:2000 -m mark ! --mark 0x1/0xf -m comment --comment \"two 'words\" -j RETURN",
        "-d 2001:db8::/64 -p icmpv6 -j MARK --or-mark 010",
    ];
    rules.into_iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Returns the configurations that are shipped, and the one that the director is fuzzed with.
pub fn configurations() -> Vec<Vec<u8>> {
    let shipped = [include_str!("../../../config/director.toml"), include_str!("../../../config/minimal.toml")];
    shipped.into_iter().chain([include_str!("process.toml")]).map(|text| text.as_bytes().to_vec()).collect()
}

/// Returns datagrams to the netlink-compatible socket, each a recorded request; the first two make a service with a destination.
pub fn datagrams() -> Vec<Vec<u8>> {
    let lines = include_str!("../../ipvs/golden/raw.requests").lines().skip(1);
    let all: Vec<_> = lines.map(datagram).collect();
    let made = [" NEW_SERVICE ", " NEW_DEST "].map(|name| all.iter().find(|(n, _)| *n == name.trim()).cloned());
    made.into_iter().flatten().chain(all.clone()).map(|(_, bytes)| bytes).collect()
}

fn datagram(line: &str) -> (String, Vec<u8>) {
    let mut words = line.split('|').map(str::trim);
    let mut word = || words.next().unwrap_or_default();
    let (name, command, flags) = (word().to_owned(), word(), word());
    let flags = u16::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(0) | 5;
    let (version, body) = (word(), unhex(word()));
    let number = |text: &str| text.parse().unwrap_or(0);
    let mut bytes = u32::try_from(20 + body.len()).unwrap_or(20).to_ne_bytes().to_vec();
    bytes.extend(0x4956_u16.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([number(command), number(version), 0, 0]);
    bytes.extend(body);
    (name, bytes)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Calls `fuzz_one` with every seed and with `rounds` mutations of each, the same at every run.
pub fn mutate(seeds: &[Vec<u8>], rounds: usize, fuzz_one: impl Fn(&[u8])) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in seeds {
        fuzz_one(seed);
        for _ in 0..rounds {
            fuzz_one(&random.mutated(seed));
        }
    }
}

/// xorshift64 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn mutated(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            // Most of what a parser decides by is in front.
            let reach = if self.below(4) == 0 { bytes.len() } else { bytes.len().min(64) };
            let at = self.below(reach);
            let value = [0, 0xff, 1 << self.below(8), self.below(256)][self.below(4)] as u8;
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, value),
                2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value),
            }
        }
        bytes
    }
}
