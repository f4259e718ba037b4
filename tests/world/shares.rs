//! Eight workers together give each destination what one alone does: schedulers start staggered, and least-connection ones and thresholds
//! see what the others published a few milliseconds ago. Workers are run in turn, clients belong to whom steering says, and time passes.
use std::net::Ipv4Addr;
use std::time::Duration;

use pollvs::burst::Burst;
use pollvs::director::{Director, Limits};
use pollvs::io::memory::VecFrame;
use pollvs::load_board::LoadBoard;
use pollvs::steering::{Prefixes, Steering};
use pollvs::time::Instant;
use pollvs::verdict::{Origin, Verdict, WorkerId};
use pollvs::wire::checksum::Sum;
use pollvs::wire::sample::{at, tcp};

use super::{Control, INSIDE, OUTSIDE};

const WORKERS: u16 = 8;
const CONNECTIONS: u32 = 100_000;
/// Connections between two exchanges, 4 ms: 25,000 a second.
const BETWEEN: u32 = 100;
/// Packets of a connection that is open, and of one that is reset after.
const OPEN: [u8; 2] = [SYN, ACK];
const SHORT: [u8; 3] = [SYN, ACK, RST];
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Workers with the same rules in force.
struct Crew {
    control: Control,
    directors: Vec<Director>,
    board: LoadBoard,
    steering: Steering,
    now: Instant,
    template: Vec<u8>,
    sum: Sum,
}

impl Crew {
    fn new(workers: u16, scheduler: &str, destinations: &[(u8, &str)]) -> Self {
        let limits = Limits {
            connections: 1 << 17,
            connections6: 16,
            templates: 16,
            templates6: 16,
            destinations: 64,
            ftp: 16,
            calls: 16,
        };
        let mut control = Control::default();
        control.ipvsadm(&format!("-A -t 192.0.2.10:80 -s {scheduler}"));
        for (last, more) in destinations {
            control.ipvsadm(&format!("-a -t 192.0.2.10:80 -r 198.51.100.{last}:80 -g {more}"));
        }
        let steering = Steering::new(workers, 7, Prefixes::default(), 5);
        let director = |index| Director::new(&limits, 7, WorkerId(index), steering.clone());
        let mut template = tcp(at("0.0.0.0:1000"), at("192.0.2.10:80")).frame();
        template[24..26].fill(0);
        let sum = Sum::new().bytes(&template[14..34]);
        let board = LoadBoard::new(usize::from(workers), 64);
        let directors = (0..workers).map(director).collect();
        let mut crew = Self { control, directors, board, steering, now: Instant(1_000_000_000), template, sum };
        crew.apply();
        crew
    }

    fn apply(&mut self) {
        let snapshot = self.control.snapshot();
        self.directors.iter_mut().for_each(|director| drop(director.apply(snapshot.clone())));
    }

    fn frame(&self, client: u32, flags: u8) -> VecFrame {
        let mut bytes = self.template.clone();
        bytes[26..30].copy_from_slice(&client.to_be_bytes());
        bytes[24..26].copy_from_slice(&self.sum.long(client).checksum().to_be_bytes());
        bytes[47] = flags;
        VecFrame::new(&bytes)
    }

    /// One client's packets, to whom it belongs to. Returns the last byte of the server's address, unless it was refused.
    fn client(&mut self, n: u32, packets: &[u8]) -> Option<u8> {
        // Scattered, but each another.
        let client = 0x0b00_0000 | (n.wrapping_mul(0x9e37_79b1) >> 8);
        let mut burst = Burst::default();
        for flags in packets {
            burst.push(self.frame(client, *flags), OUTSIDE, Origin::Wire).unwrap();
        }
        let owner = self.steering.owner(Ipv4Addr::from_bits(client).into());
        self.directors[usize::from(owner.0)].process(&mut burst, self.now);
        let (frame, verdict, _) = burst.take(0).unwrap();
        (verdict == Verdict::Transmit(INSIDE)).then(|| pollvs::frame::Frame::bytes(&frame)[5])
    }

    /// A share of time passes: what is due ends, and loads are told.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for (index, director) in (0..).zip(&mut self.directors) {
            while director.expire(self.now, 1024) == 1024 {}
            while !self.board.exchange(WorkerId(index), director) {}
        }
    }

    /// So many connections, a tenth of them short. Returns how many each server got, by the last byte of its address.
    fn open(&mut self, connections: u32) -> Vec<u32> {
        let mut got = vec![0; 32];
        for n in 0..connections {
            let packets = if is_short(n) { &SHORT[..] } else { &OPEN[..] };
            if let Some(server) = self.client(n, packets) {
                got[usize::from(server)] += 1;
            }
            if n % BETWEEN == BETWEEN - 1 {
                self.pass(Duration::from_millis(4));
            }
        }
        got
    }
}

/// Of ten connections about one, in no pattern that a scheduler could fall in with.
fn is_short(n: u32) -> bool {
    n.wrapping_mul(0x85eb_ca6b).rotate_left(13).wrapping_mul(0xc2b2_ae35) >> 16 < 6554
}

/// Holds what eight workers give against what one gives.
fn compare(scheduler: &str, destinations: &[(u8, &str)], connections: u32) {
    let [one, eight] = [1, WORKERS].map(|workers| Crew::new(workers, scheduler, destinations).open(connections));
    assert_eq!(one.iter().sum::<u32>(), connections);
    assert_eq!(eight.iter().sum::<u32>(), connections);
    for (last, _) in destinations {
        let [one, eight] = [&one, &eight].map(|got| f64::from(got[usize::from(*last)]));
        let off = (eight - one).abs() / one * 100.0;
        assert!(off <= 3.0, "{scheduler}: server {last} got {eight} of eight workers, {one} of one, {off:.2} % off");
    }
}

#[test]
fn a_worker_tells_its_loads_in_pieces_that_are_as_small_with_many_destinations() {
    let mut crew = Crew::new(1, "rr", &[]);
    (0..1000).for_each(|n| {
        let server = Ipv4Addr::from_bits(0x0a01_0000 + n);
        crew.control.ipvsadm(&format!("-a -t 192.0.2.10:80 -r {server}:80 -g"));
    });
    crew.apply();
    for (workers, pieces) in [(1, 1), (2, 8), (8, 32), (16, 63)] {
        let board = LoadBoard::new(workers, 1000);
        let director = &mut crew.directors[0];
        let mut round = || 1 + (0..).take_while(|_| !board.exchange(WorkerId(0), director)).count();
        assert_eq!([round(), round()], [pieces; 2], "{workers} workers");
    }
}

const EVEN: [(u8, &str); 5] = [(11, ""), (12, ""), (13, ""), (14, ""), (15, "")];
const WEIGHTED: [(u8, &str); 5] = [(11, "-w 1"), (12, "-w 2"), (13, "-w 3"), (14, "-w 10"), (15, "-w 4")];

#[test]
fn rr_of_eight_workers_is_as_even_as_of_one() {
    compare("rr", &EVEN, CONNECTIONS);
}

#[test]
fn wrr_of_eight_workers_is_as_even_as_of_one() {
    compare("wrr", &WEIGHTED, CONNECTIONS);
}

#[test]
fn lc_of_eight_workers_is_as_even_as_of_one() {
    compare("lc", &EVEN, CONNECTIONS);
}

#[test]
fn wlc_of_eight_workers_is_as_even_as_of_one() {
    compare("wlc", &WEIGHTED, CONNECTIONS);
}

#[test]
fn sed_of_eight_workers_is_as_even_as_of_one() {
    compare("sed", &WEIGHTED, CONNECTIONS / 2);
}

#[test]
fn nq_of_eight_workers_is_as_even_as_of_one() {
    compare("nq", &WEIGHTED, CONNECTIONS / 2);
}

#[test]
fn a_threshold_holds_for_all_workers_together_and_is_lifted_for_all() {
    let destinations = [(11, "-x 2000 -y 1000"), (12, "")];
    let mut crew = Crew::new(WORKERS, "rr", &destinations);
    let mut last = 0;
    for n in 0..20_000 {
        if crew.client(n, &OPEN) == Some(11) {
            last = n;
        }
        if n % BETWEEN == BETWEEN - 1 {
            crew.pass(Duration::from_millis(4));
        }
    }
    let held = |crew: &Crew| crew.directors.iter().map(|d| d.load(pollvs::destination::DestId(0)).active).sum::<u32>();
    let reached = held(&crew);
    assert!((2000..=2060).contains(&reached), "{reached} of 2000");
    assert!(last < 5_000, "refused for good after {last}");
    // All of them end, also those of workers that have none of their own any more; then every worker may use it again.
    crew.pass(Duration::from_secs(901));
    crew.pass(Duration::from_millis(4));
    assert_eq!(held(&crew), 0);
    for worker in 0..usize::from(WORKERS) {
        assert!(!crew.directors[worker].load(pollvs::destination::DestId(0)).overloaded, "worker {worker}");
    }
    (30_000..31_000).for_each(|n| assert!(crew.client(n, &OPEN).is_some()));
    assert!((480..520).contains(&held(&crew)), "{}", held(&crew));
}
