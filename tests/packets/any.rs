//! What holds for any frame: no panic, exactly one verdict, every drop counted once; and for any whole packet, right checksums.
use super::world;
use crate::world::{Fate, INSIDE, INSIDE_MAC, OUTSIDE, World, server_mac};
use pollvs::stats::Event;
use pollvs::verdict::{Origin, PortId};
use pollvs::wire::protocol;
use pollvs::wire::sample::{DIRECTOR, ROUTER, Sample, at, icmp, ip, sctp, tcp, udp};
use proptest::prelude::*;

type Arrival = (PortId, Origin, Vec<u8>);

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![4 => Just(Origin::Wire), 1 => Just(Origin::Twin)]
}

/// Bytes without sense behind an Ethernet header with some.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let ethertype = prop_oneof![Just([8, 0]), Just([0x86, 0xdd]), any::<[u8; 2]>()];
    let first = prop_oneof![Just(None), Just(Some(0x45)), Just(Some(0x60))];
    (prop::collection::vec(any::<u8>(), 0..200), ethertype, first, any::<bool>()).prop_map(
        |(mut bytes, ethertype, first, ours)| {
            let header = [&DIRECTOR.0[..], &ROUTER.0, &ethertype].concat();
            if ours && bytes.len() >= 15 {
                bytes[..14].copy_from_slice(&header);
                bytes[14] = first.unwrap_or(bytes[14]);
            }
            bytes
        },
    )
}

fn address(v6: bool, client: bool) -> impl Strategy<Value = &'static str> {
    let all: &'static [&'static str] = match (v6, client) {
        (false, true) => &["203.0.113.5", "203.0.113.6", "198.51.100.11", "198.51.100.14", "192.0.2.10"],
        (false, false) => &["192.0.2.10", "192.0.2.11", "203.0.113.5", "192.0.2.1"],
        (true, true) => &["2001:db8:3::5", "2001:db8:2::11", "2001:db8:2::13"],
        (true, false) => &["2001:db8:1::10", "2001:db8:3::5"],
    };
    prop::sample::select(all)
}

fn port() -> impl Strategy<Value = u16> {
    prop::sample::select(&[80_u16, 81, 82, 83, 99, 53, 5353, 8080, 1000, 1001, 20, 0][..])
}

/// A whole packet between addresses and ports that mean something to the world.
fn sensible() -> impl Strategy<Value = Sample> {
    let ends = any::<bool>().prop_flat_map(|v6| (address(v6, true), address(v6, false)));
    let flags = prop::sample::select(&["S", "SA", "A", "PA", "FA", "R", "RA", "SF", ""][..]);
    let sizes = (0_usize..64, 0_usize..3, prop_oneof![Just(64_u8), Just(1), any::<u8>()], any::<bool>());
    (ends, port(), port(), 0_u8..4, flags, sizes, any::<u8>()).prop_map(
        |((src, dst), sport, dport, kind, flags, (data, options, ttl, df), fill)| {
            let end = |ip: &str, port| std::net::SocketAddr::new(ip.parse().unwrap(), port);
            let (src, dst) = (end(src, sport), end(dst, dport));
            let sample = match kind {
                0 => tcp(src, dst).letters(flags).options(&vec![1; options * 4]),
                1 => udp(src, dst),
                2 => sctp(src, dst).chunk(fill % 15, 0, &[fill; 4]),
                _ => icmp(src.ip(), dst.ip(), fill, 0),
            };
            let sample = if kind == 2 { sample } else { sample.data(vec![fill; data]) };
            let sample = if src.is_ipv4() && options == 2 { sample.ip_options(&[1; 4]) } else { sample };
            sample.ttl(ttl).dont_fragment(df)
        },
    )
}

/// An ICMP error that quotes a packet that means something, or some of it, in a tunnel or not.
fn error() -> impl Strategy<Value = Sample> {
    let kind = prop::sample::select(&[(3_u8, 4_u8), (3, 1), (11, 0), (1, 4), (2, 0), (4, 0), (5, 1)][..]);
    let to = prop::sample::select(&["192.0.2.10", "198.51.100.1", "203.0.113.5"][..]);
    let to6 = prop::sample::select(&["2001:db8:1::10", "2001:db8:2::1", "2001:db8:3::5"][..]);
    (sensible(), kind, to, to6, any::<bool>(), any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(quote, (kind, code), to, to6, tunnelled, cut, whole)| {
            let packet = quote.packet();
            let v4 = packet[0] >> 4 == 4;
            let (from, to) = if v4 { ("198.18.9.9", to) } else { ("2001:db8:9::9", to6) };
            let (from, to): (std::net::IpAddr, std::net::IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let outer = |packet| {
                ip(at("198.51.100.1:0").ip(), at("198.51.100.13:0").ip(), protocol::IPIP).data(packet).packet()
            };
            let packet = if v4 && tunnelled { outer(packet) } else { packet };
            let most = if whole { packet.len() } else { cut.index(packet.len()) };
            icmp(from, to, kind, code).rest([0, 0, 3, 0]).data(&packet[..most])
        },
    )
}

/// A packet with some bytes changed, some cut off or some added.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (
        prop_oneof![3 => sensible(), 1 => error()],
        changes,
        prop_oneof![2 => Just(0_i32), 1 => -60..60_i32],
        any::<bool>(),
    )
        .prop_map(|(sample, changes, longer, mend)| {
            let mut frame = sample.frame();
            changes.iter().for_each(|(at, value)| *at.get_mut(&mut frame[12..]) = *value);
            let length = usize::try_from(i32::try_from(frame.len()).unwrap() + longer).unwrap_or(0);
            frame.resize(length, 0xee);
            if mend && frame.len() >= 34 {
                frame[24..26].fill(0);
                let sum = pollvs::wire::checksum::Sum::new().bytes(&frame[14..34]).checksum();
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            frame
        })
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let whole = prop_oneof![2 => sensible(), 1 => error()];
    let frame = prop_oneof![1 => noise(), 3 => mutated(), 3 => whole.prop_map(|s| s.frame())];
    prop::collection::vec((0_u16..3, origin(), frame), 1..32).prop_map(|frames| {
        let to = |(port, origin, mut frame): (u16, Origin, Vec<u8>)| {
            if port == 1 && frame.len() >= 6 && frame[..6] == DIRECTOR.0 {
                frame[..6].copy_from_slice(&INSIDE_MAC.0);
            }
            (PortId(port), origin, frame)
        };
        frames.into_iter().map(to).collect()
    })
}

/// Gives the world a burst; every frame has one fate, and the counters say the same.
fn judge(world: &mut World, frames: Vec<Arrival>) -> Result<(), TestCaseError> {
    let count = |world: &World| {
        let counters = world.director.counters();
        (counters.drops.iter().sum::<u64>(), world.event(Event::IcmpSent))
    };
    let before = count(world);
    let fates = world.burst(frames);
    let after = count(world);
    let dropped = fates.iter().filter(|fate| matches!(fate, Fate::Dropped(_))).count() as u64;
    prop_assert_eq!(after.0 - before.0, dropped + after.1 - before.1);
    for fate in fates {
        if let Fate::Out(port, bytes) = fate {
            prop_assert!(port.0 < 3 && !bytes.is_empty());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_get_one_verdict_each(bursts in prop::collection::vec(arrivals(), 1..5), pauses in prop::collection::vec(0_u32..200, 5)) {
        let mut world = world();
        for (frames, pause) in bursts.into_iter().zip(pauses) {
            judge(&mut world, frames)?;
            world.now = world.now + std::time::Duration::from_secs(pause.into());
            world.expire();
        }
        world.sleep(2);
        world.now = world.now + std::time::Duration::from_secs(10_000);
        (0..70).for_each(|_| { world.now = world.now + std::time::Duration::from_secs(61); world.expire() });
        prop_assert_eq!(world.director.used(), [0; 4]);
        for service in world.control.store.services() {
            for dest in &service.destinations {
                prop_assert_eq!(world.director.load(dest.id), Default::default());
            }
        }
    }

    #[test]
    fn checksums_are_right_after_translation_there_and_back(sample in whole(), answer in prop::collection::vec(any::<u8>(), 0..100)) {
        let (sample, server) = sample;
        let mut world = world();
        let there = world.client(&sample);
        prop_assert!(matches!(there, Fate::Out(INSIDE, _)), "{}", there);
        intact(there.bytes())?;
        let client = source(&sample.frame());
        let reply = match sample.frame()[if client.is_ipv4() { 23 } else { 20 }] {
            protocol::TCP => tcp(at(server), client).letters("SA"),
            _ => udp(at(server), client),
        };
        let reply = reply.data(answer).macs(server_mac(1), INSIDE_MAC);
        let back = world.frame(INSIDE, Origin::Wire, reply.frame());
        prop_assert!(matches!(back, Fate::Out(OUTSIDE, _)), "{}", back);
        intact(back.bytes())?;
    }
}

/// A packet to one of the masquerading services, and the real server that it goes to.
fn whole() -> impl Strategy<Value = (Sample, &'static str)> {
    let v4 = (any::<u32>(), any::<u16>()).prop_filter("a host's address", |(ip, port)| {
        let outside = !matches!(ip >> 24, 0 | 10 | 127 | 192 | 198 | 224..);
        outside && *port != 20
    });
    let v4 = v4.prop_map(|(ip, port)| (std::net::Ipv4Addr::from_bits(ip).into(), port));
    let v6 = (any::<u64>(), any::<u16>()).prop_filter("not FTP's data port", |(_, port)| *port != 20);
    let v6 = v6.prop_map(|(ip, port)| {
        let ip = u128::from(ip) | 0x2001_0db8_0003_u128 << 80;
        (std::net::Ipv6Addr::from_bits(ip).into(), port)
    });
    let kind = prop_oneof![(v4, Just(true)), (v6, Just(false))];
    let rest =
        (any::<bool>(), prop::collection::vec(any::<u8>(), 0..100), any::<u32>(), 2_u8.., 0_u8..11, any::<bool>());
    (kind, rest).prop_map(|((client, v4), (is_tcp, data, seq, ttl, options, absent))| {
        let client: (std::net::IpAddr, u16) = client;
        let (vip, server) = match (v4, is_tcp) {
            (true, true) => ("192.0.2.10:80", "198.51.100.11:8080"),
            (true, false) => ("192.0.2.10:53", "198.51.100.14:5353"),
            (false, true) => ("[2001:db8:1::10]:80", "[2001:db8:2::11]:8080"),
            (false, false) => ("[2001:db8:1::10]:53", "[2001:db8:2::13]:53"),
        };
        let sample = if is_tcp { tcp(client, at(vip)).seq(seq) } else { udp(client, at(vip)) };
        let sample = if !is_tcp && absent && v4 { sample.no_checksum() } else { sample };
        let sample = if v4 { sample.ip_options(&vec![1; usize::from(options) * 4 / 5 * 4]) } else { sample };
        (sample.data(data).ttl(ttl), server)
    })
}

fn source(frame: &[u8]) -> std::net::SocketAddr {
    let (ip, l4): (std::net::IpAddr, usize) = if frame[12..14] == [8, 0] {
        (<[u8; 4]>::try_from(&frame[26..30]).unwrap().into(), 14 + usize::from(frame[14] & 15) * 4)
    } else {
        (<[u8; 16]>::try_from(&frame[22..38]).unwrap().into(), 54)
    };
    (ip, u16::from_be_bytes([frame[l4], frame[l4 + 1]])).into()
}

/// The slow and obvious Internet checksum (RFC 1071) over what is given, zero when intact.
fn slow(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Both checksums of a frame, computed in full.
fn intact(frame: &[u8]) -> Result<(), TestCaseError> {
    let ip = &frame[14..];
    let (protocol, addresses, l4) = if ip[0] >> 4 == 4 {
        let header = usize::from(ip[0] & 15) * 4;
        prop_assert_eq!(slow(&[&ip[..header]]), 0, "the IPv4 header");
        prop_assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len());
        (ip[9], &ip[12..20], header)
    } else {
        prop_assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])) + 40, ip.len());
        (ip[6], &ip[8..40], 40)
    };
    let segment = &ip[l4..];
    let length = u32::try_from(segment.len()).unwrap().to_be_bytes();
    prop_assert_eq!(slow(&[addresses, &length, &[0, 0, 0, protocol], segment]), 0, "the transport checksum");
    if protocol == protocol::UDP {
        prop_assert_ne!(&segment[6..8], &[0, 0], "zero would mean that there is none");
    }
    Ok(())
}

#[test]
fn no_datagrams_checksum_becomes_zero() {
    let mut world = world();
    let frames = |from: u16| {
        let query = move |n: u16| udp(at("203.0.113.5:1000"), at("192.0.2.10:53")).data((from + n).to_be_bytes());
        (0..32).map(move |n| (OUTSIDE, Origin::Wire, query(n).frame())).collect()
    };
    for from in (0..=u16::MAX).step_by(32) {
        for fate in world.burst(frames(from)) {
            let bytes = fate.bytes();
            assert_ne!(bytes[40..42], [0, 0]);
            assert_eq!(slow(&[&bytes[26..34], &[0, 17, 0, 10], &bytes[34..]]), 0);
        }
    }
}
