//! The data path neither allocates nor frees: `process` and `expire` are measured for every way that a packet can go.
mod changing;
mod memory;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use pollvs::burst::Burst;
use pollvs::director::{Director, Limits};
use pollvs::handoff::Handoff;
use pollvs::io::PacketIo;
use pollvs::io::memory::VecFrame;
use pollvs::load_board::LoadBoard;
use pollvs::mailbox::{Command, WorkerHandle};
use pollvs::steering::{Prefixes, Steering};
use pollvs::tap::{Line, Subject, Tap};
use pollvs::time::Instant;
use pollvs::verdict::Origin::Wire;
use pollvs::verdict::{PortId, WorkerId};
use pollvs::wire::protocol;
use pollvs::wire::sample::{Sample, at, icmp, ip, tcp, udp};
use pollvs::worker::{Clock, Idle, NoTwin, Parts, Worker};

use crate::world::{Control, Fate, INSIDE, INSIDE_MAC, OUTSIDE, ROOMY, World, fate, server_mac};

/// Judges the frames, which come in by the port that their MAC says, in bursts; nothing may be allocated or freed meanwhile.
fn quietly(world: &mut World, samples: &[Sample]) -> Vec<Fate> {
    let mut fates = Vec::new();
    for chunk in samples.chunks(32) {
        let mut burst = Burst::default();
        for sample in chunk {
            let frame = sample.frame();
            let port = if frame[..6] == INSIDE_MAC.0 { INSIDE } else { OUTSIDE };
            burst.push(VecFrame::new(&frame), port, Wire).unwrap();
        }
        let director = &mut world.director;
        let info = measure(|| {
            director.process(&mut burst, world.now);
            director.expire(world.now, 64);
        });
        assert_eq!(info, AllocationInfo::default());
        fates.extend((0..chunk.len()).map(|index| fate(burst.take(index).unwrap())));
    }
    fates
}

fn all(fates: &[Fate], start: &str) {
    assert!(!fates.is_empty());
    fates.iter().for_each(|fate| assert!(fate.to_string().starts_with(start), "{fate}, not {start}"));
}

/// A service of that method in both families, with what more is said of it.
fn service(method: &str, more: &str) -> World {
    World::new(&[
        &format!("-A -t 192.0.2.10:80 -s wlc {more}"),
        &format!("-a -t 192.0.2.10:80 -r 198.51.100.11:80 {method}"),
        &format!("-A -t [2001:db8:1::10]:80 -s rr {more}"),
        &format!("-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 {method}"),
        &format!("-A -u 192.0.2.10:53 -s sh {more}"),
        &format!("-a -u 192.0.2.10:53 -r 198.51.100.11:53 {method}"),
    ])
}

/// Packets of clients to all of its services.
fn requests(flags: &str) -> Vec<Sample> {
    let v4 = |port: u16| tcp(at(&format!("203.0.113.5:{port}")), at("192.0.2.10:80")).letters(flags);
    let v6 = |port: u16| tcp(at(&format!("[2001:db8:3::5]:{port}")), at("[2001:db8:1::10]:80")).letters(flags);
    let datagram = |port: u16| udp(at(&format!("203.0.113.5:{port}")), at("192.0.2.10:53")).data(*b"query");
    (1000..1040).flat_map(|port| [v4(port), v6(port), datagram(port)]).collect()
}

fn replies(flags: &str) -> Vec<Sample> {
    let v4 = |port: u16| tcp(at("198.51.100.11:80"), at(&format!("203.0.113.5:{port}")));
    let v6 = |port: u16| tcp(at("[2001:db8:2::11]:80"), at(&format!("[2001:db8:3::5]:{port}")));
    let inside = |sample: Sample| sample.letters(flags).macs(server_mac(11), INSIDE_MAC);
    (1000..1040).flat_map(|port| [v4(port), v6(port)]).map(inside).collect()
}

#[test]
fn telling_other_directors_of_connections_allocates_nothing() {
    let mut world = service("-m", "-p 60");
    world.ipvsadm("--start-daemon master --mcast-interface lo");
    world.sysctl(|s| s.sync_threshold = [0, 1]);
    world.director.take_told(Vec::with_capacity(300));
    for flags in ["S", "A", "PA", "FA"] {
        all(&quietly(&mut world, &requests(flags)), "server 11: ");
    }
    let told = world.director.take_told(Vec::new());
    assert_eq!((told.len(), told.capacity()), (300, 300), "full, and not grown");
}

#[test]
fn new_established_and_closing_connections_of_every_method_allocate_nothing() {
    for method in ["-m", "-g", "-i"] {
        let mut world = service(method, "");
        for flags in ["S", "A", "PA", "FA"] {
            all(&quietly(&mut world, &requests(flags)), "server 11: ");
            if method == "-m" {
                all(&quietly(&mut world, &replies(if flags == "S" { "SA" } else { flags })), "router: ");
            }
        }
        assert_eq!(world.director.used(), [80, 40, 0, 0]);
        all(&quietly(&mut world, &requests("S")), "server 11: ");
    }
}

#[test]
fn persistent_connections_allocate_nothing() {
    let mut world = service("-m", "-p 60");
    all(&quietly(&mut world, &requests("S")), "server 11: ");
    all(&quietly(&mut world, &requests("A")), "server 11: ");
    assert_eq!(world.director.used(), [80, 40, 2, 1]);
}

#[test]
fn every_scheduler_picks_without_allocating() {
    for scheduler in pollvs::service::SchedulerName::ALL {
        let name = scheduler.name();
        let mut world = World::new(&[
            &format!("-A -t 192.0.2.10:80 -s {name}"),
            "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 3",
            "-a -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 100",
            "-a -t 192.0.2.10:80 -r 198.51.100.13:80 -m -w 1",
        ]);
        // The destination-caching schedulers remember a virtual address at its first connection.
        world.client(&tcp(at("203.0.113.9:9"), at("192.0.2.10:80")));
        let syn = |n: u16| tcp(at(&format!("203.0.{}.5:{n}", n % 256)), at("192.0.2.10:80"));
        let fates = quietly(&mut world, &(1000..1064).map(syn).collect::<Vec<_>>());
        // An error to the client where nobody is picked, as long as the limit on errors lets it.
        let picks = *scheduler != pollvs::service::SchedulerName::None;
        let fits = |fate: &Fate| matches!(fate, Fate::Out(..)) || !picks && matches!(fate, Fate::Dropped(_));
        assert!(fates.iter().all(fits), "{name}: {:?}", fates[0]);
    }
}

#[test]
fn the_end_of_connections_and_templates_allocates_and_frees_nothing() {
    let mut world = service("-m", "-p 60");
    quietly(&mut world, &requests("S"));
    for _ in 0..600 {
        world.now = world.now + Duration::from_secs(1);
        let director = &mut world.director;
        let info = measure(|| while director.expire(world.now, 64) == 64 {});
        assert_eq!(info, AllocationInfo::default());
    }
    assert_eq!(world.director.used(), [0; 4]);
    all(&quietly(&mut world, &requests("S")), "server 11: ");
}

#[test]
fn what_the_helpers_read_and_rewrite_allocates_nothing() {
    let mut world = World::new(&[
        "-A -t 192.0.2.10:21 -s rr",
        "-a -t 192.0.2.10:21 -r 198.51.100.11:21 -m",
        "-A -u 192.0.2.10:5060 -s rr -p 60 --pe sip",
        "-a -u 192.0.2.10:5060 -r 198.51.100.11:5060 -m",
    ]);
    let (client, vip, server) = (at("203.0.113.5:1000"), at("192.0.2.10:21"), at("198.51.100.11:21"));
    let said = |letters: &str, data: &str| tcp(client, vip).letters(letters).data(data.as_bytes());
    let answered = |letters: &str, data: &str| {
        tcp(server, client).letters(letters).data(data.as_bytes()).macs(server_mac(11), INSIDE_MAC)
    };
    let call = |n: u16| {
        let message = format!("INVITE sip:b@x SIP/2.0\r\nCall-ID: {n}@x\r\n\r\n");
        udp(at(&format!("203.0.113.5:{n}")), at("192.0.2.10:5060")).data(message.into_bytes())
    };
    let called = udp(at("198.51.100.11:5060"), at("203.0.113.7:5060"))
        .data(*b"X\r\ni: s@x\r\n")
        .macs(server_mac(11), INSIDE_MAC);
    let samples = [
        said("S", ""),
        answered("SA", ""),
        said("A", ""),
        said("PA", "PASV\r\n"),
        answered("PA", "227 Entering Passive Mode (198,51,100,11,156,64).\r\n"),
        tcp(at("203.0.113.5:1001"), at("192.0.2.10:40000")),
        said("PA", "PORT 203,0,113,5,4,4\r\n"),
        said("A", ""),
        call(1),
        call(2),
        called,
    ];
    let fates = quietly(&mut world, &samples);
    assert!(fates.iter().all(|fate| matches!(fate, Fate::Out(..))), "{fates:?}");
    assert_eq!(world.connections().len(), 6);
    for _ in 0..600 {
        world.now = world.now + Duration::from_secs(1);
        assert_eq!(measure(|| while world.director.expire(world.now, 64) == 64 {}), AllocationInfo::default());
    }
}

#[test]
fn what_is_refused_allocates_nothing() {
    let mut world = service("-m", "");
    let vip = at("192.0.2.10:80");
    let samples = [
        (tcp(at("203.0.113.5:1"), vip).ttl(1), "router: IP 192.0.2.10 > 203.0.113.5 ttl=64"),
        (tcp(at("203.0.113.5:1"), vip).data([0; 1480]), "router: IP 192.0.2.10 > 203.0.113.5 ttl=64"),
        (tcp(at("203.0.113.5:1"), vip).bad_header_checksum(), "bad_ip_checksum"),
        (tcp(at("203.0.113.5:2"), vip).letters("A"), "kernel 0"),
        (icmp(at("203.0.113.5:2").ip(), vip.ip(), 8, 0), "kernel 0"),
        (udp(at("203.0.113.5:2"), at("192.0.2.1:53")), "kernel 0"),
    ];
    for (sample, start) in samples {
        all(&quietly(&mut world, &[sample]), start);
    }
    world.ipvsadm("-e -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 0");
    all(&quietly(&mut world, &[tcp(at("203.0.113.5:3"), vip)]), "router: IP 192.0.2.10 > 203.0.113.5 ttl=64");
    world.ipvsadm("-d -t 192.0.2.10:80 -r 198.51.100.11:80");
    all(&quietly(&mut world, &[tcp(at("203.0.113.5:1"), vip).letters("A")]), "destination_gone");
    let fragment = udp(at("203.0.113.5:2"), at("192.0.2.10:53")).data([0; 64]).dont_fragment(false);
    let bytes = fragment.fragments(32).remove(1);
    let info = {
        let mut burst = Burst::default();
        burst.push(VecFrame::new(&bytes), OUTSIDE, Wire).unwrap();
        measure(|| world.director.process(&mut burst, world.now))
    };
    assert_eq!(info, AllocationInfo::default());
}

#[test]
fn errors_that_belong_to_a_connection_allocate_nothing() {
    let (client, vip, server) = (at("203.0.113.5:1000"), at("192.0.2.10:80"), at("198.51.100.11:80"));
    for method in ["-m", "-g", "-i"] {
        let mut world = service(method, "");
        quietly(&mut world, &requests("S"));
        let error = |from: &str, to, quote: Sample| icmp(at(from).ip(), to, 3, 4).data(quote.packet());
        let about_reply = error("198.18.9.9:0", vip.ip(), tcp(vip, client));
        all(&quietly(&mut world, &[about_reply]), "server 11: ");
        let about_request = error("198.51.100.11:0", client.ip(), tcp(client, server)).macs(server_mac(11), INSIDE_MAC);
        all(&quietly(&mut world, &[about_request]), if method == "-m" { "router: " } else { "kernel 1" });
        let inner = tcp(client, vip).packet();
        let outer = ip(at("198.51.100.1:0").ip(), server.ip(), protocol::IPIP).data(inner);
        let about_tunnel = error("198.51.100.2:0", at("198.51.100.1:0").ip(), outer).macs(server_mac(11), INSIDE_MAC);
        all(&quietly(&mut world, &[about_tunnel]), if method == "-i" { "router: " } else { "kernel 1" });
    }
}

#[test]
fn a_full_table_allocates_nothing() {
    let small = Limits { connections: 16, connections6: 16, templates: 2, templates6: 2, ..ROOMY };
    let mut world =
        World::with(&small, &["-A -t 192.0.2.10:80 -s rr -p 60", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"]);
    let syn = |n: u16| tcp(at(&format!("203.0.{}.5:{n}", n % 200)), at("192.0.2.10:80"));
    let fates = quietly(&mut world, &(1000..1200).map(syn).collect::<Vec<_>>());
    all(&fates[16..], "table_full");
    all(&fates[..16], "server 11: ");
}

/// A device that neither allocates nor frees: what comes in was made before, what goes out is kept.
struct Still {
    inbound: Vec<VecFrame>,
    outbound: Vec<VecFrame>,
    blanks: Vec<VecFrame>,
}

impl PacketIo for Still {
    type Frame = VecFrame;

    fn receive(&mut self, burst: &mut Burst<VecFrame>) -> usize {
        let before = burst.len();
        while burst.room() > 0
            && let Some(frame) = self.inbound.pop()
        {
            burst.push(frame, OUTSIDE, Wire).unwrap();
        }
        burst.len() - before
    }

    fn transmit(&mut self, _port: PortId, frame: VecFrame) {
        self.outbound.push(frame);
    }

    fn blank(&mut self) -> Option<VecFrame> {
        self.blanks.pop()
    }

    fn flush(&mut self) {}
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Instant {
        Instant(43_200_000_000_000)
    }
}

#[test]
fn a_workers_turn_allocates_nothing() {
    let mut control = Control::default();
    for line in ["-A -t 192.0.2.10:80 -s rr", "-a -t 192.0.2.10:80 -r 198.51.100.11:80 -m"] {
        control.ipvsadm(line);
    }
    let steering = Steering::new(2, 7, Prefixes::default(), 5);
    let syn = |n: u32| tcp((IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + n)), 1000), at("192.0.2.10:80"));
    let inbound = (0..500).rev().map(|n| VecFrame::new(&syn(n).frame())).collect();
    let mut director = Director::new(&ROOMY, 7, WorkerId(0), steering.clone());
    director.apply(control.snapshot());
    let (_handle, mailbox) = pollvs::mailbox::mailbox(WorkerId(0), None);
    let [mine, mut other] = <[Handoff<VecFrame>; 2]>::try_from(Handoff::mesh(2, 1024)).unwrap();
    let parts = Parts {
        id: WorkerId(0),
        io: Still { inbound, outbound: Vec::with_capacity(1000), blanks: Vec::new() },
        director,
        limits: ROOMY,
        mailbox,
        handoff: mine,
        twin: NoTwin,
        resolver: Box::new(|_, _| true),
        board: Arc::new(LoadBoard::new(2, 64)),
        burst: 32,
        idle: Idle::Spin,
    };
    let mut worker = Worker::new(parts, Noon);
    assert_eq!(measure(|| while worker.turn() {}), AllocationInfo::default());
    let handed = std::iter::from_fn(|| other.receive()).count();
    let foreign = (0..500).filter(|n| steering.owner4(0x0b00_0000 + n) != WorkerId(0)).count();
    assert!(handed == foreign && (100..400).contains(&handed), "{handed} of {foreign}");
}

/// A worker with a service of long datagrams, its frames and blanks made before.
fn fed(inbound: Vec<Vec<u8>>, blanks: usize) -> (WorkerHandle, Worker<Still, NoTwin, Noon>) {
    let mut control = Control::default();
    for line in ["-A -u 192.0.2.10:53 -s rr", "-a -u 192.0.2.10:53 -r 198.51.100.11:53 -m"] {
        control.ipvsadm(line);
    }
    let steering = Steering::new(1, 7, Prefixes::default(), 5);
    let mut director = Director::new(&ROOMY, 7, WorkerId(0), steering);
    director.apply(control.snapshot());
    let (handle, mailbox) = pollvs::mailbox::mailbox(WorkerId(0), None);
    let [handoff] = <[Handoff<VecFrame>; 1]>::try_from(Handoff::mesh(1, 8)).unwrap();
    let inbound = inbound.iter().rev().map(|frame| VecFrame::new(frame)).collect();
    let blanks = (0..blanks).map(|_| VecFrame::new(&[])).collect();
    let parts = Parts {
        id: WorkerId(0),
        io: Still { inbound, outbound: Vec::with_capacity(8000), blanks },
        director,
        limits: ROOMY,
        mailbox,
        handoff,
        twin: NoTwin,
        resolver: Box::new(|_, _| true),
        board: Arc::new(LoadBoard::new(1, 64)),
        burst: 32,
        idle: Idle::Spin,
    };
    (handle, Worker::new(parts, Noon))
}

#[test]
fn fragments_are_put_together_and_made_without_allocating() {
    let datagram = |n: u32| {
        let client = (IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + n)), 1000);
        udp(client, at("192.0.2.10:53")).dont_fragment(false).ident(n).data([7; 4000])
    };
    // Whole, one fragment missing, longer than the way out, and too many of one source.
    let whole = (0..100).flat_map(|n| datagram(n).fragments(1480));
    let missing = (100..900).map(|n| datagram(n).fragments(1480).remove(0));
    let long = (1000..1100).map(|n| datagram(n).frame());
    let flood = (0..400).map(|n| datagram(2000).ident(n).fragments(1480).remove(1));
    let (_handle, mut worker) = fed(whole.chain(missing).chain(long).chain(flood).collect(), 700);
    // The frames of this test are vectors: those that are done with are freed.
    assert_eq!(measure(|| while worker.turn() {}).count_total, 0);
}

/// Gives the worker a tap, in the way in which control does.
fn give_tap(handle: &WorkerHandle, worker: &mut Worker<Still, NoTwin, Noon>, tap: Tap) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _within = runtime.enter();
    let mut asked = std::pin::pin!(handle.ask(|answer| Command::Tap(Some(tap), answer)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(asked.as_mut().poll(&mut context).is_pending());
    worker.turn();
    assert!(matches!(asked.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
}

/// Whether all packets are wanted, some, or none; and whether there are buffers for all or not.
#[test]
fn a_worker_with_a_tap_allocates_nothing() {
    let datagram = |n: u32| {
        let client = (IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + n % 500)), 1000);
        udp(client, at("192.0.2.10:53")).data(*b"query").frame()
    };
    for subject in [Subject::Frames, Subject::Fates] {
        for (filter, sights) in [("", 1000), ("host 11.0.0.7", 2), ("port 54", 0)] {
            // The same clients twice: new connections and established ones. Too much for the buffers comes last.
            let flood = if filter.is_empty() { 6000 } else { 0 };
            let (handle, mut worker) = fed((0..1000).chain(0..flood).map(datagram).collect(), 0);
            let line = Line::new(1);
            give_tap(&handle, &mut worker, Tap::new(Arc::new(filter.parse().unwrap()), subject, Arc::clone(&line)));
            assert_eq!(measure(|| while worker.turn() {}), AllocationInfo::default(), "{subject:?}, {filter:?}");
            let mut seen = 0;
            assert_eq!(measure(|| while line.next(|_| seen += 1) {}), AllocationInfo::default());
            let each = if subject == Subject::Frames { 2 } else { 1 };
            if flood == 0 {
                assert_eq!((seen, line.lost()), (sights * each, 0), "{subject:?}, {filter:?}");
            } else {
                assert!(line.lost() > 0 && seen + line.lost() == (sights + 6000) * each, "{seen}, {}", line.lost());
            }
        }
    }
}

#[test]
fn a_measurement_sees_an_allocation_and_a_release() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1_u32)))).count_total, 1);
    let kept = std::hint::black_box(Box::new(1_u32));
    assert_eq!(measure(|| drop(kept)).count_current, -1);
}
