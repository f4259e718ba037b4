//! Frames that are wrong, or unusual, in one way each.
use super::world;
use crate::world::{Fate, OUTSIDE};
use pollvs::addr::MacAddr;
use pollvs::stats::{DropReason, Event};
use pollvs::verdict::Origin;
use pollvs::wire::protocol;
use pollvs::wire::sample::{DIRECTOR, ROUTER, Sample, at, icmp, ip, tcp, udp};

const CLIENT: &str = "203.0.113.5:1000";
const VIP: &str = "192.0.2.10:80";
const CLIENT6: &str = "[2001:db8:3::5]:1000";
const VIP6: &str = "[2001:db8:1::10]:80";

fn syn() -> Sample {
    tcp(at(CLIENT), at(VIP))
}

fn syn6() -> Sample {
    tcp(at(CLIENT6), at(VIP6))
}

/// What becomes of a frame: the name of the drop reason, `kernel`, or `server`.
fn judged(frame: &[u8]) -> String {
    let mut world = world();
    let fate = world.frame(OUTSIDE, Origin::Wire, frame.to_vec());
    match fate {
        Fate::Up(OUTSIDE, bytes) => {
            assert_eq!(bytes, frame, "what is the kernel's is not touched");
            "kernel".to_owned()
        }
        Fate::Dropped(reason) => {
            assert_eq!(world.dropped(reason), 1);
            assert_eq!(world.director.counters().drops.iter().sum::<u64>(), 1);
            reason.name().to_owned()
        }
        Fate::Out(..) if fate.to_string().starts_with("server ") => "server".to_owned(),
        other => other.to_string(),
    }
}

/// The frame with these bytes, from the IP header on, changed; the IPv4 header's checksum is made right again.
fn with(sample: &Sample, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = sample.frame();
    changes.iter().for_each(|(at, value)| frame[14 + at] = *value);
    if frame[14] >> 4 == 4 {
        frame[24..26].fill(0);
        let header = 14 + usize::from(frame[14] & 15) * 4;
        let sum = pollvs::wire::checksum::Sum::new().bytes(&frame[14..header.max(34).min(frame.len())]).checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

#[test]
fn a_frame_cut_short_is_dropped_wherever_it_is_cut() {
    for sample in [syn(), syn6(), udp(at(CLIENT), at("192.0.2.10:53"))] {
        let whole = sample.frame();
        assert_eq!(judged(&whole), "server");
        for length in 0..whole.len() {
            assert_eq!(judged(&whole[..length]), "truncated", "{length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn headers_that_contradict_themselves_are_dropped() {
    type Odd = (&'static str, Sample, &'static [(usize, u8)], &'static str);
    let table: [Odd; 13] = [
        ("version 5", syn(), &[(0, 0x55)], "bad_header"),
        ("version 6 in a frame of IPv4", syn(), &[(0, 0x65)], "bad_header"),
        ("version 4 in a frame of IPv6", syn6(), &[(0, 0x40)], "bad_header"),
        ("a header of 16 bytes", syn(), &[(0, 0x44)], "bad_header"),
        ("a header longer than the packet", syn(), &[(0, 0x4f)], "bad_header"),
        ("a length shorter than the header", syn(), &[(3, 19)], "truncated"),
        ("a length of zero", syn(), &[(3, 0)], "truncated"),
        ("a length longer than the frame", syn(), &[(3, 41)], "truncated"),
        ("a length that cuts the TCP header", syn(), &[(3, 39)], "truncated"),
        ("a length that cuts the ports", syn(), &[(3, 22)], "truncated"),
        ("a length longer than the frame, IPv6", syn6(), &[(5, 21)], "truncated"),
        ("a length that cuts the TCP header, IPv6", syn6(), &[(5, 19)], "truncated"),
        ("a datagram shorter than its header", udp(at(CLIENT), at("192.0.2.10:53")), &[(3, 27)], "truncated"),
    ];
    for (what, sample, changes, expected) in table {
        assert_eq!(judged(&with(&sample, changes)), expected, "{what}");
    }
    assert_eq!(judged(&syn().bad_header_checksum().frame()), "bad_ip_checksum");
}

#[test]
fn what_is_whole_but_unusual_is_served() {
    let routing = [0, 0, 0, 0, 0, 0];
    let table = [
        ("a wrong TCP checksum", syn().bad_checksum()),
        ("a wrong UDP checksum", udp(at(CLIENT), at("192.0.2.10:53")).bad_checksum()),
        ("no UDP checksum", udp(at(CLIENT), at("192.0.2.10:53")).no_checksum()),
        ("IP options", syn().ip_options(&[0x94, 4, 0, 0])),
        ("40 bytes of IP options", syn().ip_options(&[1; 40])),
        ("TCP options", syn().options(&[2, 4, 5, 0xb4, 1, 1, 4, 2])),
        ("SYN and ACK", syn().letters("SA")),
        ("SYN and FIN", syn().letters("SF")),
        ("data with the SYN", syn().data([1; 99])),
        ("port 0 of the client", tcp(at("203.0.113.5:0"), at(VIP))),
        ("hop-by-hop options", syn6().extension(protocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])),
        ("destination options", syn6().extension(protocol::DESTINATION_OPTIONS, &[1, 12])),
        ("a routing header", syn6().extension(protocol::ROUTING, &routing)),
        (
            "a chain of extensions",
            syn6().extension(protocol::HOP_BY_HOP, &[1, 4]).extension(protocol::DESTINATION_OPTIONS, &[1, 12]),
        ),
        ("a flow label", syn6().flow_label(0xfffff)),
    ];
    for (what, sample) in table {
        assert_eq!(judged(&sample.frame()), "server", "{what}");
    }
}

#[test]
fn what_is_nobodys_service_is_the_kernels() {
    let (client, vip, vip6) = (at(CLIENT).ip(), at(VIP).ip(), at(VIP6).ip());
    let arp = [&MacAddr::BROADCAST.0[..], &ROUTER.0, &[8, 6], &[0; 46]].concat();
    let lldp = [&[1, 0x80, 0xc2, 0, 0, 0x0e][..], &ROUTER.0, &[0x88, 0xcc], &[0; 46]].concat();
    let length = [&DIRECTOR.0[..], &ROUTER.0, &[0, 46], &[0; 46]].concat();
    let table = [
        ("ARP", arp),
        ("LLDP", lldp),
        ("an 802.3 length instead of a type", length),
        ("a VLAN tag", syn().vlan(7).frame()),
        ("a multicast MAC", syn().macs(ROUTER, MacAddr([1, 0, 0x5e, 0, 0, 1])).frame()),
        ("the broadcast MAC", syn().macs(ROUTER, MacAddr::BROADCAST).frame()),
        ("ESP", ip(client, vip, protocol::ESP).data([0; 32]).frame()),
        ("AH", ip(client, vip, protocol::AH).data([0; 32]).frame()),
        ("GRE", ip(client, vip, protocol::GRE).data([0; 8]).frame()),
        ("protocol 255 without data", ip(client, vip, 255).frame()),
        ("an echo", icmp(client, vip, 8, 0).frame()),
        ("an ICMP message of no type", icmp(client, vip, 200, 9).frame()),
        ("an ICMP header cut short", ip(client, vip, protocol::ICMP).data([8, 0, 0]).frame()),
        ("a neighbour solicitation", icmp(at(CLIENT6).ip(), vip6, 135, 0).data([0; 16]).frame()),
        ("nothing after the IPv6 header", ip(at(CLIENT6).ip(), vip6, protocol::NO_NEXT_HEADER).frame()),
        ("UDP to a port of TCP", udp(at(CLIENT), at(VIP)).frame()),
        ("no flags", syn().letters("").frame()),
        ("a reset", syn().letters("R").frame()),
        ("a SYN with a reset", syn().letters("SR").frame()),
    ];
    for (what, frame) in table {
        assert_eq!(judged(&frame), "kernel", "{what}");
    }
}

#[test]
fn a_frame_for_another_station_is_dropped() {
    assert_eq!(judged(&syn().macs(ROUTER, MacAddr([2, 0, 0, 0, 0, 9])).frame()), "not_for_us");
    assert_eq!(judged(&syn().macs(ROUTER, crate::world::INSIDE_MAC).frame()), "not_for_us", "the other port's");
}

#[test]
fn fragments_of_a_service_are_kept_and_others_are_the_kernels() {
    let datagram = |to: &str| udp(at(CLIENT), at(to)).data([7; 100]);
    let datagram6 = |to: &str| udp(at(CLIENT6), at(to)).data([7; 100]);
    for frames in [datagram("192.0.2.10:53").fragments(48), datagram6("[2001:db8:1::10]:53").fragments(48)] {
        assert_eq!(frames.len(), 3);
        assert!(frames.iter().all(|frame| judged(frame) == "kept"));
    }
    for frames in [datagram("192.0.2.1:53").fragments(48), datagram6("[2001:db8:1::1]:53").fragments(48)] {
        assert!(frames.iter().all(|frame| judged(frame) == "kernel"));
    }
    let mut world = world();
    world.frame(OUTSIDE, Origin::Wire, datagram("192.0.2.1:53").fragments(48).remove(1));
    assert_eq!(world.event(Event::FragmentsPassed), 1);
}

#[test]
fn an_extension_that_runs_past_the_packet_is_dropped() {
    let sample = syn6().extension(protocol::DESTINATION_OPTIONS, &[1, 12]);
    assert_eq!(judged(&with(&sample, &[(41, 200)])), "truncated");
}

#[test]
fn ip_options_and_extensions_survive_translation() {
    let mut world = world();
    let line = world.client(&syn().ip_options(&[0x94, 4, 0, 0])).to_string();
    assert!(line.contains("opts=94040000 | TCP 1000 > 8080 S") && !line.contains("BAD"), "{line}");
    let sample = syn6().extension(protocol::DESTINATION_OPTIONS, &[1, 12]);
    let fate = world.client(&sample);
    let (sent, left) = (sample.frame(), fate.bytes());
    assert_eq!(left[54..64], sent[54..64]);
    assert_eq!(left[64..66], 8080_u16.to_be_bytes());
}

#[test]
fn a_port_that_is_not_configured_is_no_fault() {
    let mut world = world();
    let fate = world.frame(pollvs::verdict::PortId(77), Origin::Wire, syn().letters("A").frame());
    assert_eq!(fate, Fate::Dropped(DropReason::TwinOff));
}
