//! The twin and the watcher against a real kernel, each test in a network namespace of its own thread (gone with the thread). They
//! need root and /dev/net/tun; without, they say so and pass.

use std::future::Future;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::addr::MacAddr;
use crate::frame::{Frame, FrameSource};
use crate::io::memory::VecFrame;
use crate::network::{Hop, Network, PortInfo};
use crate::verdict::PortId;
use crate::worker::TwinLink;

const PORT: PortId = PortId(0);
const TWIN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const OWN: [u8; 4] = [192, 0, 2, 1];
const OTHER: [u8; 4] = [192, 0, 2, 9];
const SECONDS: Duration = Duration::from_secs(5);

/// A pool that counts down.
struct Pool(usize);

impl FrameSource for Pool {
    type Frame = VecFrame;
    fn allocate(&mut self) -> Option<VecFrame> {
        self.0 = self.0.checked_sub(1)?;
        Some(VecFrame::new(&[]))
    }
}

/// Runs a test in a fresh network namespace.
fn in_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) if std::path::Path::new("/dev/net/tun").exists() => test(),
            Ok(()) => eprintln!("skipped: there is no /dev/net/tun"),
            Err(error) => eprintln!("skipped: a network namespace needs root ({error})"),
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// What ip(8) prints.
fn shown(arguments: &str) -> String {
    String::from_utf8(Command::new("ip").args(arguments.split(' ')).output().unwrap().stdout).unwrap()
}

/// Runs many commands of ip(8) at once.
fn ip_batch(lines: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut ip.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success());
}

struct World {
    twin: Twin,
    end: TwinEnd<VecFrame>,
    ports: Vec<Port>,
}

/// One port whose twin is called twin0.
fn world(pool: usize, depth: usize) -> World {
    let tap = Tap::create("twin0", TWIN, 1500, false).unwrap();
    let info = PortInfo { name: "outside".into(), mac: TWIN, mtu: 1500, twin: true };
    let ports = vec![Port { info, twin: Some(tap.index()), behind: None }];
    let (twin, mut ends) = Twin::start(vec![(PORT, tap)], Pool(pool), 1, depth).unwrap();
    World { twin, end: ends.remove(0), ports }
}

impl World {
    fn inject(&mut self, frame: Vec<u8>) {
        assert!(self.end.pass(PORT, VecFrame::new(&frame)).is_ok());
        self.end.flush();
    }

    /// The next frame of the kernel's that `wanted` takes; others (router solicitations, say) are passed over.
    fn expect<T>(&mut self, wanted: impl Fn(&[u8]) -> Option<T>) -> T {
        let until = Instant::now() + SECONDS;
        while Instant::now() < until {
            match self.end.receive() {
                Some((PORT, frame)) => {
                    if let Some(found) = wanted(frame.bytes()) {
                        return found;
                    }
                }
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        panic!("the kernel sends no such frame");
    }

    fn counters(&self) -> TwinCounters {
        self.twin.counters()[0].1
    }

    /// Waits until the counters are as they should be.
    fn await_counters(&self, wanted: impl Fn(TwinCounters) -> bool) {
        let until = Instant::now() + SECONDS;
        while !wanted(self.counters()) {
            assert!(Instant::now() < until, "{:?}", self.counters());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The next network that `wanted` takes.
async fn until(watcher: &mut Watcher, wanted: impl Fn(&Network) -> bool) {
    let found = async {
        while !wanted(&watcher.network()) {
            watcher.next_network().await;
        }
    };
    if tokio::time::timeout(SECONDS, found).await.is_err() {
        panic!("the network is never so: {:#?}", watcher.network());
    }
}

fn hop(network: &Network, address: &str) -> Hop {
    network.hop(address.parse().unwrap())
}

fn resolved(to: MacAddr, mtu: u16) -> Hop {
    Hop::Resolved { port: PORT, to, from: TWIN, mtu }
}

fn unresolved(neighbour: &str, mtu: u16) -> Hop {
    Hop::Unresolved { port: PORT, neighbour: neighbour.parse().unwrap(), from: TWIN, mtu }
}

/// An ARP packet (RFC 826) from the peer.
fn arp(operation: u8, to: MacAddr, target: MacAddr, target_ip: [u8; 4]) -> Vec<u8> {
    let head = [&to.0[..], &PEER.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    [&head[..], &PEER.0, &OTHER, &target.0, &target_ip].concat()
}

/// Sender and target of an ARP packet of that operation.
fn parse_arp(frame: &[u8], operation: u8) -> Option<(Vec<u8>, Vec<u8>)> {
    let arp = frame.get(12..)?.strip_prefix(&[8, 6, 0, 1, 8, 0, 6, 4, 0, operation])?;
    Some((arp.get(..10)?.to_vec(), arp.get(10..20)?.to_vec()))
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(*p.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// An ICMP echo request (RFC 792) of the peer's.
fn echo_request(payload: usize) -> Vec<u8> {
    let mut icmp = [&[8, 0, 0, 0, 0, 7, 0, 1][..], &vec![0x5a; payload]].concat();
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let total = (20 + icmp.len() as u16).to_be_bytes();
    let mut header = [&[0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, 1, 0, 0][..], &OTHER, &OWN].concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&TWIN.0[..], &PEER.0, &[8, 0], &header, &icmp].concat()
}

#[test]
fn the_kernel_answers_arp_and_ping_by_the_twin() {
    in_namespace(|| {
        let mut world = world(1000, 64);
        ip("addr add 192.0.2.1/24 dev twin0");
        world.inject(arp(1, MacAddr([0xff; 6]), MacAddr::default(), OWN));
        let (sender, target) = world.expect(|frame| parse_arp(frame, 2));
        assert_eq!(sender, [&TWIN.0[..], &OWN].concat());
        assert_eq!(target, [&PEER.0[..], &OTHER].concat());

        world.inject(echo_request(1000));
        let reply = world.expect(|frame| (frame.get(23) == Some(&1)).then(|| frame.to_vec()));
        assert_eq!(reply[..12], [PEER.0, TWIN.0].concat());
        assert_eq!(reply[34], 0, "an echo reply");
        assert_eq!((checksum(&reply[14..34]), checksum(&reply[34..])), (0, 0), "with finished checksums");
        assert_eq!(world.counters().to_kernel, 2);
        assert_eq!(world.counters().write_errors, 0);
    });
}

#[test]
fn the_network_follows_the_operators_commands() {
    in_namespace(|| {
        let world = world(1000, 64);
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            assert_eq!(hop(&watcher.network(), "192.0.2.9"), Hop::Unreachable);
            watcher.assign(PORT, OWN.into(), 24).unwrap();
            watcher.assign(PORT, OWN.into(), 24).unwrap();
            let network = watcher.read().unwrap();
            assert_eq!(hop(&network, "192.0.2.9"), unresolved("192.0.2.9", 1500));
            assert_eq!(hop(&network, "192.0.2.1"), Hop::Local);

            ip("addr add 203.0.113.5/32 dev twin0");
            until(&mut watcher, |n| hop(n, "203.0.113.5") == Hop::Local).await;

            ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev twin0");
            until(&mut watcher, |n| hop(n, "192.0.2.9") == resolved(PEER, 1500)).await;

            ip("route add 198.51.100.0/24 via 192.0.2.9 mtu 1400");
            until(&mut watcher, |n| hop(n, "198.51.100.77") == resolved(PEER, 1400)).await;
            let source = watcher.network().v4.source(u32::from_be_bytes([198, 51, 100, 77]));
            assert_eq!(source, Some(u32::from_be_bytes(OWN)));

            ip("route add blackhole 198.51.100.64/26");
            until(&mut watcher, |n| hop(n, "198.51.100.77") == Hop::Unreachable).await;
            assert_eq!(hop(&watcher.network(), "198.51.100.1"), resolved(PEER, 1400));

            ip("link set twin0 mtu 1300");
            until(&mut watcher, |n| hop(n, "198.51.100.1") == resolved(PEER, 1300)).await;

            ip("neigh replace 192.0.2.9 lladdr 02:00:00:00:00:0a dev twin0");
            until(&mut watcher, |n| hop(n, "192.0.2.9") == resolved(MacAddr([2, 0, 0, 0, 0, 10]), 1300)).await;

            ip("link set twin0 down");
            until(&mut watcher, |n| hop(n, "192.0.2.9") == Hop::Unreachable).await;
            assert_eq!(hop(&watcher.network(), "203.0.113.5"), Hop::Local, "as in the kernel");
            ip("link set twin0 up");
            until(&mut watcher, |n| hop(n, "192.0.2.9") == unresolved("192.0.2.9", 1300)).await;
            assert_eq!(hop(&watcher.network(), "203.0.113.5"), Hop::Local);

            ip("addr del 192.0.2.1/24 dev twin0");
            until(&mut watcher, |n| hop(n, "192.0.2.9") == Hop::Unreachable).await;
        });
    });
}

#[test]
fn policy_routing_of_marks_is_followed() {
    in_namespace(|| {
        let world = world(1000, 64);
        ip("link set lo up");
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            let far = u32::from_be_bytes([198, 18, 0, 1]);
            let local = |n: &Network, mark| n.v4.is_local_by_policy(far, mark);
            ip("rule add fwmark 0x7/0xff lookup 100");
            ip("rule add from 203.0.113.0/24 fwmark 8 lookup 100");
            ip("route add local default dev lo table 100");
            until(&mut watcher, |n| local(n, 0x107)).await;
            assert!(!local(&watcher.network(), 8), "a rule that also looks at the source is not followed");
            assert_eq!(hop(&watcher.network(), "198.18.0.1"), Hop::Unreachable, "others are not led by the table");
            ip("-6 rule add fwmark 9 lookup 101");
            ip("-6 route add local default dev lo table 101");
            until(&mut watcher, |n| n.v6.is_local_by_policy(0x2001_0db8 << 96, 9)).await;
            ip("rule del fwmark 0x7/0xff lookup 100");
            until(&mut watcher, |n| !local(n, 7)).await;
        });
    });
}

#[test]
fn ipv6_is_followed_as_well() {
    in_namespace(|| {
        let world = world(1000, 64);
        ip("link set lo up");
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            ip("-6 addr add 2001:db8::1/64 dev twin0 nodad");
            ip("-6 route add default via fe80::9 dev twin0");
            until(&mut watcher, |n| hop(n, "2001:db8:1::5") == unresolved("fe80::9", 1500)).await;
            ip("-6 neigh add fe80::9 lladdr 02:00:00:00:00:09 dev twin0");
            until(&mut watcher, |n| hop(n, "2001:db8:1::5") == resolved(PEER, 1500)).await;
            // The kernel makes the local route of an IPv6 address in its own time.
            until(&mut watcher, |n| hop(n, "2001:db8::1") == Hop::Local).await;
            let network = watcher.network();
            assert_eq!(hop(&network, "2001:db8::5"), unresolved("2001:db8::5", 1500));
            let far: std::net::Ipv6Addr = "2001:db8:1::5".parse().unwrap();
            let own: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
            assert_eq!(network.v6.source(far.to_bits()), Some(own.to_bits()));
        });
    });
}

#[test]
fn a_multipath_route_that_loses_its_first_hop_goes_by_the_second() {
    in_namespace(|| {
        let world = world(1000, 64);
        let _other = Tap::create("other", PEER, 1500, false).unwrap();
        ip("addr add 198.18.0.1/24 dev other");
        ip("addr add 192.0.2.1/24 dev twin0");
        ip("route add default nexthop via 198.18.0.2 nexthop via 192.0.2.9");
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            assert_eq!(hop(&watcher.network(), "203.0.113.1"), Hop::Kernel);
            assert_eq!(hop(&watcher.network(), "198.18.0.1"), Hop::Local);
            ip("link set other down");
            until(&mut watcher, |n| hop(n, "203.0.113.1") == unresolved("192.0.2.9", 1500)).await;
        });
    });
}

#[test]
fn a_neighbour_is_resolved_when_asked_for() {
    in_namespace(|| {
        let mut world = world(1000, 64);
        ip("addr add 192.0.2.1/24 dev twin0");
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            watcher.resolve(PORT, OTHER.into());
            let (sender, target) = world.expect(|frame| parse_arp(frame, 1));
            assert_eq!(sender, [&TWIN.0[..], &OWN].concat());
            assert_eq!(target[6..], OTHER);
            world.inject(arp(2, TWIN, TWIN, OWN));
            until(&mut watcher, |n| hop(n, "192.0.2.9") == resolved(PEER, 1500)).await;
        });
    });
}

#[test]
fn a_next_hop_in_use_is_resolved_ahead_and_again_when_it_is_lost() {
    in_namespace(|| {
        let mut world = world(1000, 64);
        ip("addr add 192.0.2.1/24 dev twin0");
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            watcher.keep_fresh(vec![OTHER.into()]);
            world.expect(|frame| parse_arp(frame, 1));
            world.inject(arp(2, TWIN, TWIN, OWN));
            until(&mut watcher, |n| hop(n, "192.0.2.9") == resolved(PEER, 1500)).await;
            ip("neigh del 192.0.2.9 dev twin0");
            until(&mut watcher, |n| hop(n, "192.0.2.9") == unresolved("192.0.2.9", 1500)).await;
            // The pause since the first question passes, and the watcher asks anew.
            let _ = tokio::time::timeout(Duration::from_millis(700), watcher.next_network()).await;
            world.expect(|frame| parse_arp(frame, 1));
            world.inject(arp(2, TWIN, TWIN, OWN));
            until(&mut watcher, |n| hop(n, "192.0.2.9") == resolved(PEER, 1500)).await;
        });
    });
}

#[test]
fn a_neighbour_that_the_operator_fixed_stays_fixed() {
    in_namespace(|| {
        let world = world(1000, 64);
        ip("addr add 192.0.2.1/24 dev twin0");
        ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev twin0 nud permanent");
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            watcher.keep_fresh(vec![OTHER.into()]);
            watcher.resolve(PORT, OTHER.into());
        });
        let shown = shown("neigh show dev twin0");
        assert!(shown.contains("192.0.2.9 lladdr 02:00:00:00:00:09 PERMANENT"), "{shown}");
    });
}

#[test]
fn changes_that_overrun_the_socket_are_not_lost() {
    in_namespace(|| {
        let world = world(1000, 64);
        ip("addr add 192.0.2.1/24 dev twin0");
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            // Nothing reads the socket meanwhile, and it has not room for all these.
            let line = |i: u32| {
                format!("neigh replace 192.0.2.{} lladdr 02:00:00:00:00:{:02x} dev twin0\n", 2 + i % 250, i / 250)
            };
            ip_batch(&(0..250 * 100).map(line).collect::<String>());
            ip_batch("neigh del 192.0.2.100 dev twin0\n");
            let last = MacAddr([2, 0, 0, 0, 0, 99]);
            until(&mut watcher, |n| {
                hop(n, "192.0.2.251") == resolved(last, 1500)
                    && hop(n, "192.0.2.100") == unresolved("192.0.2.100", 1500)
                    && n.v4.neighbours.values().all(|mac| *mac == last)
            })
            .await;
            assert!(watcher.overruns() > 0);
        });
    });
}

#[test]
fn a_name_is_taken_once_and_free_when_the_twin_is_gone() {
    in_namespace(|| {
        let first = world(10, 8);
        let error = Tap::create("twin0", TWIN, 1500, false).unwrap_err();
        assert!(matches!(error, TapError::Taken(_)), "{error}");
        drop(first);
        assert!(Tap::create("twin0", TWIN, 9000, false).is_ok());
    });
}

/// What keepalived or the operator put on the twin must be there when pollvsd is back, whatever it died of.
#[test]
fn a_kept_twin_outlives_its_holder_with_its_addresses_and_without_carrier() {
    in_namespace(|| {
        let first = Tap::create("twin0", TWIN, 1500, true).unwrap();
        ip("addr add 192.0.2.1/24 dev twin0");
        ip("route add 198.51.100.0/24 via 192.0.2.9");
        let error = Tap::create("twin0", TWIN, 1500, true).unwrap_err();
        assert!(matches!(error, TapError::Taken(_)), "two hold one twin: {error}");
        let index = first.index();
        drop(first);
        assert!(shown("link show twin0").contains("NO-CARRIER"));
        let second = Tap::create("twin0", PEER, 1400, true).unwrap();
        assert_eq!(second.index(), index);
        let link = shown("link show twin0");
        assert!(link.contains("LOWER_UP") && link.contains("mtu 1400") && link.contains(&PEER.to_string()), "{link}");
        assert!(shown("addr show twin0").contains("192.0.2.1/24") && shown("route").contains("198.51.100.0/24"));
    });
}

#[test]
fn a_twin_shows_the_carrier_of_its_wire() {
    in_namespace(|| {
        let mut world = world(1000, 64);
        ip("link add card type veth peer name cable");
        ip("link set card up");
        ip("link set cable up");
        world.ports[0].behind = interface_behind("net_af_packet0,iface=card");
        let carrier = || shown("link show twin0").contains("LOWER_UP");
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            for (command, expected) in
                [("link set cable down", false), ("link set cable up", true), ("link del card", false)]
            {
                assert_eq!(carrier(), !expected, "before {command}");
                ip(command);
                let changed = async {
                    while carrier() != expected {
                        let _ = tokio::time::timeout(Duration::from_millis(20), watcher.next_network()).await;
                    }
                };
                assert!(tokio::time::timeout(SECONDS, changed).await.is_ok(), "not after {command}");
            }
        });
    });
}

#[test]
fn a_twin_shows_the_link_of_its_device() {
    in_namespace(|| {
        let world = world(1000, 64);
        block_on(async {
            let mut watcher = Watcher::new(world.ports.clone()).unwrap();
            watcher.device_link(PORT, false);
            assert!(shown("link show twin0").contains("NO-CARRIER"));
            watcher.device_link(PORT, true);
            assert!(shown("link show twin0").contains("LOWER_UP"));
        });
    });
}

#[test]
fn an_interface_that_is_no_tap_is_left_alone() {
    in_namespace(|| {
        ip("link add twin0 type veth peer name other");
        let error = Tap::create("twin0", TWIN, 1500, true).unwrap_err();
        assert!(matches!(error, TapError::Taken(_)), "{error}");
    });
}

#[test]
fn frames_that_find_no_room_are_counted_and_the_thread_goes_on() {
    in_namespace(|| {
        let mut world = world(20, 4);
        ip("addr add 192.0.2.1/24 dev twin0");
        ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev twin0");
        // The kernel answers each; nobody fetches the answers, four of which have room; in the end the pool is empty.
        for _ in 0..40 {
            while world.end.pass(PORT, VecFrame::new(&echo_request(10))).is_err() {
                world.end.flush();
            }
            world.end.flush();
        }
        world.await_counters(|c| c.to_kernel == 40 && c.from_kernel == 4 && c.no_buffer > 0);
        let counters = world.counters();
        assert!(counters.full > 0 && counters.full + 4 == 20, "{counters:?}");
    });
}

#[test]
fn a_frame_too_long_for_the_buffers_is_counted() {
    in_namespace(|| {
        let world = world(1000, 64);
        ip("link set twin0 mtu 9000");
        ip("addr add 192.0.2.1/24 dev twin0");
        ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev twin0");
        // A TAP of 9000 bytes makes a frame of it that no buffer takes; a short one still passes.
        let socket = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.send_to(&[0; 5000], (IpAddr::from(OTHER), 9)).unwrap();
        world.await_counters(|c| c.no_buffer == 1);
        socket.send_to(&[0; 1000], (IpAddr::from(OTHER), 9)).unwrap();
        world.await_counters(|c| c.from_kernel > 0);
    });
}

#[test]
fn an_interface_is_that_of_the_namespace() {
    assert!(interface_mtu("lo").is_some());
    assert_eq!(interface_mtu("pollvs-own0"), None);
    in_namespace(|| {
        ip("link add pollvs-own0 mtu 1400 type veth peer name pollvs-own1");
        for (name, mtu) in [("pollvs-own0", Some(1400)), ("pollvs-own1", Some(1500)), ("", None), ("../net/lo", None)] {
            assert_eq!(interface_mtu(name), mtu, "{name:?}");
        }
    });
}

#[test]
fn a_twin_that_is_down_or_deleted_does_not_stop_the_thread() {
    in_namespace(|| {
        let mut world = world(1000, 64);
        ip("link set twin0 down");
        world.inject(echo_request(10));
        world.await_counters(|c| c.write_errors == 1);
        ip("link set twin0 up");
        world.inject(echo_request(10));
        world.await_counters(|c| c.to_kernel == 1);
        ip("link del twin0");
        world.inject(echo_request(10));
        world.await_counters(|c| c.write_errors == 2 && c.read_errors <= 1);
        drop(world);
    });
}

#[test]
fn announced_addresses_come_and_go_and_those_of_others_stay() {
    in_namespace(|| {
        let wanted = |addresses: &[&str]| addresses.iter().map(|a| a.parse().unwrap()).collect();
        let settle = |announcer: &mut Announcer, addresses: &[&str]| {
            let mut done = Announced::default();
            announcer.settle(&wanted(addresses), &mut done).map(|()| done)
        };
        let mut announcer = Announcer::new("vips").unwrap();
        assert_eq!(settle(&mut announcer, &[]).unwrap(), Announced::default());
        let missing = settle(&mut announcer, &["203.0.113.1"]).unwrap_err();
        assert!(missing.to_string().contains("ip link add vips type dummy"), "{missing}");
        ip("tuntap add vips mode tun");
        ip("link set vips up");
        ip("address add 203.0.113.9/32 dev vips");
        let first = settle(&mut announcer, &["203.0.113.1", "203.0.113.2", "2001:db8:1::10"]).unwrap();
        assert_eq!((first.added.len(), first.removed.len()), (3, 0));
        // One that was killed meanwhile finds its own again.
        let mut announcer = Announcer::new("vips").unwrap();
        let next = settle(&mut announcer, &["203.0.113.2", "203.0.113.3"]).unwrap();
        assert_eq!(next.added, ["203.0.113.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(next.removed.len(), 2, "{next:?}");
        let there = shown("-o address show dev vips scope global");
        let has = |address: &str| there.contains(&format!(" {address} "));
        assert!(has("203.0.113.2/32") && has("203.0.113.3/32") && has("203.0.113.9/32"), "{there}");
        assert!(!there.contains("203.0.113.1/") && !there.contains("2001:db8"), "{there}");
        // Somebody else's is not taken over, and what is done before the kernel refuses one is told all the same.
        let mut done = Announced::default();
        let refused = announcer.settle(&wanted(&["203.0.113.2", "203.0.113.4", "203.0.113.9", "ff02::1"]), &mut done);
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::AddrNotAvailable);
        let [third, fourth] = ["203.0.113.3", "203.0.113.4"].map(|a| a.parse::<IpAddr>().unwrap());
        assert_eq!(done, Announced { added: vec![fourth], removed: vec![third] });
        settle(&mut announcer, &[]).unwrap();
        let there = shown("-o address show dev vips scope global");
        assert!(there.contains("203.0.113.9/32") && there.lines().count() == 1, "{there}");
    });
}
