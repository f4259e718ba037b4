//! The whole director: whatever frames come, each gets a verdict, no table holds more than its room, and once everything has timed
//! out nothing is left behind.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pollvs::addr::MacAddr;
use pollvs::burst::Burst;
use pollvs::config::Config;
use pollvs::control::store::{self, Store};
use pollvs::destination::DestId;
use pollvs::director::{Director, Limits};
use pollvs::forward::cut::Pieces;
use pollvs::fragments::Fragments;
use pollvs::frame::Frame;
use pollvs::io::memory::VecFrame;
use pollvs::network::{FamilyNetwork, Network, PortInfo, Route, Target};
use pollvs::snapshot::Snapshot;
use pollvs::steering::Steering;
use pollvs::time::Instant;
use pollvs::verdict::{Origin, PortId, Verdict, WorkerId};

/// Every forwarding method and kind of service, on the addresses of the recordings.
const RULES: &str = include_str!("process.toml");
const LIMITS: Limits =
    Limits { connections: 8, connections6: 4, templates: 4, templates6: 4, destinations: 64, ftp: 64, calls: 64 };
/// Longer than any time-out here, and than a template is held for its connections.
const A_DAY: Duration = Duration::from_secs(86_400);

/// Takes `data` as frames, each behind three bytes: a step of time and a port, and the frame's length.
pub fn fuzz_one(data: &[u8]) {
    let mut director = Director::new(&LIMITS, 1, WorkerId(0), Steering::default());
    director.apply(snapshot());
    let mut fragments = Fragments::new(1);
    let mut now = Instant(1);
    let mut rest = data;
    while let Some((&[head, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]) & 0x7ff).min(after.len());
        let (frame, after) = after.split_at(length);
        now = now + Duration::from_millis(u64::from(head >> 2) * 250);
        one(&mut director, &mut fragments, frame, PortId(u16::from(head & 1)), origin(head), now);
        rest = after;
    }
    nothing_is_left(&mut director, now);
}

/// Takes `data` as one frame.
pub fn fuzz_frame(data: &[u8]) {
    let mut whole = vec![0];
    whole.extend(u16::try_from(data.len().min(0x7ff)).unwrap_or(0).to_be_bytes());
    whole.extend(data);
    fuzz_one(&whole);
}

fn origin(head: u8) -> Origin {
    if head & 2 == 0 { Origin::Wire } else { Origin::Twin }
}

fn one(
    director: &mut Director,
    fragments: &mut Fragments<VecFrame>,
    frame: &[u8],
    port: PortId,
    origin: Origin,
    now: Instant,
) {
    let mut burst = Burst::default();
    assert!(burst.push(VecFrame::new(frame), port, origin).is_ok());
    director.process(&mut burst, now);
    assert_ne!(burst.verdict(0), Verdict::Pending);
    match burst.take(0) {
        Some((out, Verdict::Transmit(port), _)) => {
            assert!(port.0 < 2 && out.bytes().len() <= frame.len().max(1280) + 100);
        }
        Some((kept, Verdict::Reassemble, _)) => reassemble(director, fragments, kept, port, origin, now),
        _ => {}
    }
    give_up(director, fragments, now);
    director.expire(now, 4);
    let [v4, v6, templates4, templates6] = director.used();
    assert!(v4 <= LIMITS.connections && v6 <= LIMITS.connections6);
    assert!(templates4 <= LIMITS.templates && templates6 <= LIMITS.templates6);
}

/// A datagram put together is judged, and leaves in pieces that carry all of it.
fn reassemble(
    director: &mut Director,
    fragments: &mut Fragments<VecFrame>,
    frame: VecFrame,
    port: PortId,
    origin: Origin,
    now: Instant,
) {
    let Some(datagram) = fragments.take(frame, origin, now, director.counters_mut()) else { return };
    let mut burst = Burst::with_limit(1);
    assert!(burst.push(datagram, port, origin).is_ok());
    director.process(&mut burst, now);
    let Some((datagram, verdict, _)) = burst.take(0) else { panic!("a burst keeps what it is given") };
    assert!(!matches!(verdict, Verdict::Pending | Verdict::Reassemble));
    if let Verdict::Fragment(_, _, cut) = datagram.unless_unchanged(verdict) {
        let mut pieces = Pieces::new(datagram.bytes(), cut, datagram.parts(cut), 1).expect("it is a packet");
        let mut count = 0;
        while !pieces.is_done() {
            assert!(pieces.write(&mut VecFrame::new(&[])));
            count += 1;
            assert!(count <= 9000, "pieces have no end");
        }
    }
    fragments.give_back(datagram);
}

fn give_up(director: &mut Director, fragments: &mut Fragments<VecFrame>, now: Instant) {
    let mut late = Vec::new();
    fragments.expire(now, director.counters_mut(), &mut late);
    for mut frame in late {
        if let Some(port) = director.timed_out(&mut frame, now) {
            assert!(port.0 < 2 && frame.bytes().len() <= 1294);
        }
    }
}

fn nothing_is_left(director: &mut Director, mut now: Instant) {
    for _ in 0..3 {
        now = now + A_DAY;
        director.expire(now, u32::MAX);
    }
    assert_eq!(director.used(), [0; 4]);
    for id in (0..director.destinations()).map(DestId) {
        let load = director.load(id);
        assert_eq!((load.active, load.inactive, load.persistent), (0, 0, 0), "destination {id:?}");
    }
}

fn snapshot() -> Arc<Snapshot> {
    static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(read_rules);
    Arc::clone(&SNAPSHOT)
}

fn read_rules() -> Arc<Snapshot> {
    let config = Config::parse("process.toml", RULES).expect("the rules are right");
    let mut store = Store::new(store::Limits { services: 64, destinations: 64 });
    store.apply(&config.rules).expect("the rules go together");
    Arc::new(Snapshot::new(1, store.rules(), Arc::new(network())))
}

fn network() -> Network {
    let port =
        |name: &str, last| PortInfo { name: name.into(), mac: MacAddr([2, 0, 0, 0, 0, last]), mtu: 1500, twin: true };
    let v4 = |text: &str| text.parse::<std::net::Ipv4Addr>().expect("an address").to_bits();
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").to_bits();
    Network {
        ports: vec![port("outside", 1), port("inside", 2)],
        v4: family(v4("192.0.2.1"), v4("192.0.2.254"), v4("198.51.100.0"), 24, v4("198.51.100.11")),
        v6: family(v6("2001:db8:1::1"), v6("2001:db8:1::254"), v6("2001:db8:2::"), 64, v6("2001:db8:2::11")),
    }
}

fn family<A: pollvs::family::Address>(own: A, gateway: A, inside: A, prefix: u8, server: A) -> FamilyNetwork<A> {
    let via = |port, gateway| Target::Via { port: PortId(port), gateway, source: Some(own), mtu: 0 };
    let routes = vec![
        Route { network: A::default(), prefix: 0, metric: 0, target: via(0, Some(gateway)) },
        Route { network: inside, prefix, metric: 0, target: via(1, None) },
    ];
    let neighbour = |port, address, last| (PortId(port), address, MacAddr([2, 0, 0, 0, 1, last]));
    FamilyNetwork::new([own], routes, [neighbour(0, gateway, 0xfe), neighbour(1, server, 11)])
}

#[cfg(test)]
mod tests {
    #[test]
    fn mutated_conversations_get_verdicts_and_leave_nothing() {
        super::super::seeds::mutate(&super::super::seeds::conversations(), 50, super::fuzz_one);
    }

    #[test]
    fn mutated_frames_get_verdicts() {
        super::super::seeds::mutate(&super::super::seeds::frames(), 50, super::fuzz_frame);
    }
}
