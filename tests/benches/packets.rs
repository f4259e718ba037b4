//! Packets made from a template are those that are made the slow way, and their flows come in no order.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pollvs::addr::MacAddr;
use pollvs::frame::Frame as _;
use pollvs::io::memory::VecFrame;
use pollvs::wire::sample::{Sample, at, tcp, udp};

use super::generator::{Family, Generator, Packets, ROUTER_MAC, SERVER_MAC, Scatter};

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const KINDS: [Packets; 4] = [Packets::Requests("S"), Packets::Requests("A"), Packets::Replies, Packets::Datagrams];

fn client(family: Family, flow: u32) -> SocketAddr {
    let ip: IpAddr = match family {
        Family::V4 => Ipv4Addr::from_bits(0x0a00_0000 + flow / 16).into(),
        Family::V6 => Ipv6Addr::from_bits(0x2001_0db8_000a << 80 | u128::from(flow / 16)).into(),
    };
    SocketAddr::new(ip, 1024 + (flow % 16) as u16)
}

/// A packet made the slow way.
fn sample(packets: Packets, family: Family, flow: u32) -> Vec<u8> {
    let own = |v4, v6| at(if family == Family::V4 { v4 } else { v6 });
    let (vip, server) = (own("192.0.2.10:80", "[2001:db8::10]:80"), own("198.51.100.11:80", "[2001:db8:b::11]:80"));
    let client = client(family, flow);
    let sample: Sample = match packets {
        Packets::Requests(flags) => tcp(client, vip).letters(flags).macs(ROUTER_MAC, OWN),
        Packets::Replies => tcp(server, client).letters("A").macs(SERVER_MAC, OWN),
        Packets::Datagrams => udp(client, vip).macs(ROUTER_MAC, OWN),
    };
    let room = 60_usize.saturating_sub(sample.frame().len());
    sample.data(vec![0; room]).frame()
}

#[test]
fn a_packet_from_the_template_is_the_one_made_the_slow_way() {
    for packets in KINDS {
        for family in Family::BOTH {
            let generator = Generator::new(packets, family, 1 << 24, OWN);
            // As it comes back: as it left, through a tunnel, or as another kind of packet.
            let mut frame = VecFrame::new(&[0xa5; 33]);
            // Many flows, those of the highest and lowest numbers among them: checksums have corners.
            for flow in (0..1 << 24).step_by(9973).chain((1 << 24) - 2000..1 << 24) {
                generator.write_flow(&mut frame, flow);
                assert!(frame.bytes() == sample(packets, family, flow), "{packets:?} {family:?} {flow}");
            }
        }
    }
}

#[test]
fn a_frame_that_came_through_a_tunnel_loses_its_outer_header_and_no_headroom() {
    for (family, outer) in [(Family::V4, 20), (Family::V6, 40)] {
        let generator = Generator::new(Packets::Requests("A"), family, 16, OWN).behind(outer);
        let mut frame = VecFrame::new(&[]);
        for flow in 0..16 {
            generator.write_flow(&mut frame, flow);
            assert_eq!(frame.bytes(), sample(Packets::Requests("A"), family, flow));
            assert!(frame.prepend(outer), "there is room in front, each time");
        }
    }
}

#[test]
fn every_flow_has_its_turn_before_any_has_its_second() {
    for bits in (0..=16).chain([20, 24]) {
        let scatter = Scatter::new(bits);
        let mut seen = vec![false; 1 << bits];
        for n in 0..1 << bits {
            assert!(!std::mem::replace(&mut seen[scatter.of(n) as usize], true), "{n} of 2^{bits}");
        }
        assert_eq!(scatter.of(1 << bits), scatter.of(0), "2^{bits} come round");
    }
}

/// A prefetcher follows steps that repeat, and lines that lie side by side.
#[test]
fn flows_come_in_an_order_that_no_prefetcher_guesses() {
    for bits in [10, 14, 17, 20, 22, 24] {
        let scatter = Scatter::new(bits);
        let (mut steps, mut near) = (HashMap::new(), 0);
        let count = 1 << bits.min(16);
        for n in 0..count {
            let step = i64::from(scatter.of(n + 1)) - i64::from(scatter.of(n));
            *steps.entry(step).or_insert(0) += 1;
            near += u32::from(step.abs() <= 2);
        }
        let most = steps.values().max().copied().unwrap_or(0);
        assert!(most <= count / 16, "2^{bits}: {most} steps of {count} are alike");
        assert!(near <= count / 100, "2^{bits}: {near} steps of {count} lead to a neighbour");
        // Nor does the order repeat itself at some distance, as in pages that are walked in turn.
        for distance in [2, 4, 8, 16, 32, 64] {
            let steps: HashSet<_> = (0..1024).map(|n| scatter.of(n + distance).wrapping_sub(scatter.of(n))).collect();
            assert!(steps.len() > 16, "2^{bits}: every {distance}th lies in a row");
        }
    }
}
