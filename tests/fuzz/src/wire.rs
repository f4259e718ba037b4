//! Wire formats: no parser panics on any bytes, what is parsed can be emitted and parsed again, and rewriting keeps
//! right checksums right and wrong ones wrong.

use pollvs::addr::MacAddr;
use pollvs::wire::checksum::{Delta, Sum};
use pollvs::wire::show::{self, Ident};
use pollvs::wire::{arp, ethernet, gre, gue, icmpv4, icmpv6, ipv4, ipv6, ports, protocol, sctp, tcp, udp};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Takes `data` as a frame, and as a packet of every protocol.
pub fn fuzz_one(data: &[u8]) {
    assert!(!show::frame(data, Ident::Shown).is_empty());
    if let Ok(frame) = ethernet::Packet::new_checked(data) {
        assert!(frame.payload_offset() + frame.payload().len() == data.len());
        let repr = ethernet::Repr::parse(&frame);
        let mut bytes = vec![0; repr.header_len()];
        repr.emit(&mut ethernet::Packet::new_unchecked(&mut bytes));
        // A tag inside a tag is the inner packet's matter.
        if repr.ethertype != ethernet::ethertype::VLAN {
            assert_eq!(ethernet::Packet::new_checked(&bytes).map(|frame| ethernet::Repr::parse(&frame)), Ok(repr));
        }
        ip(frame.payload());
    }
    ip(data);
    transports(data);
    tunnels(data);
    rewrite_ethernet(data);
}

fn ip(bytes: &[u8]) {
    if let Ok(packet) = ipv4::Packet::new_quoted(bytes) {
        let _ = (packet.options(), packet.is_fragment(), packet.tos());
        transports(packet.payload());
        tunnels(packet.payload());
    }
    if let Ok(packet) = ipv4::Packet::new_checked(bytes) {
        assert_eq!(packet.header_len() + packet.payload().len(), usize::from(packet.total_len()));
        ipv4_round_trip(packet);
        rewrite_ipv4(bytes.to_vec());
    }
    if let Ok(packet) = ipv6::Packet::new_checked(bytes) {
        if let Ok(upper) = packet.upper() {
            assert!(upper.offset <= packet.total_len());
            transports(&bytes[upper.offset..packet.total_len()]);
        }
        let repr = ipv6::Repr::parse(&packet);
        let mut bytes = bytes.to_vec();
        repr.emit(&mut ipv6::Packet::new_unchecked(&mut bytes));
        assert_eq!(ipv6::Packet::new_checked(&bytes).map(|packet| ipv6::Repr::parse(&packet)), Ok(repr));
        rewrite_ipv6(bytes);
    }
}

fn ipv4_round_trip(packet: ipv4::Packet<&[u8]>) {
    let repr = ipv4::Repr::parse(&packet);
    let mut bytes = vec![0; repr.header_len() + usize::from(repr.payload_len)];
    repr.emit(&mut ipv4::Packet::new_unchecked(&mut bytes));
    let emitted = ipv4::Packet::new_checked(&bytes).expect("what is emitted is a packet");
    assert!(emitted.is_intact());
    assert_eq!(ipv4::Repr::parse(&emitted), repr);
}

/// Rewrites addresses, ports and time to live as a director does.
fn rewrite_ipv4(mut bytes: Vec<u8>) {
    let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
    let was_intact = (packet.is_intact(), transport_is_intact(&packet));
    packet.decrement_ttl();
    let addresses = packet.set_src(Ipv4Addr::new(203, 0, 113, 5)).and(packet.set_dst(Ipv4Addr::new(198, 51, 100, 11)));
    let protocol = packet.protocol();
    rewrite_transport(protocol, packet.payload_mut(), addresses);
    assert_eq!((packet.is_intact(), transport_is_intact(&packet)), was_intact);
}

fn transport_is_intact(packet: &ipv4::Packet<&mut [u8]>) -> Option<bool> {
    let payload = packet.payload();
    let pseudo = packet.pseudo_header(payload.len() as u16);
    match packet.protocol() {
        protocol::TCP => tcp::Packet::new_quoted(payload).ok().map(|segment| segment.is_intact(pseudo)),
        protocol::UDP => udp::Packet::new_checked(payload).ok().map(|datagram| datagram.is_intact(pseudo)),
        _ => None,
    }
}

fn rewrite_transport(protocol: u8, payload: &mut [u8], addresses: Delta) {
    if let (protocol::TCP, Ok(mut segment)) = (protocol, tcp::Packet::new_quoted(&mut *payload)) {
        let changed = segment.set_src_port(80).and(segment.set_dst_port(1000)).and(segment.set_seq(7)).and(addresses);
        segment.update_checksum(changed);
    }
    if let (protocol::UDP, Ok(mut datagram)) = (protocol, udp::Packet::new_checked(payload)) {
        let changed = datagram.set_src_port(53).and(datagram.set_dst_port(1000)).and(addresses);
        datagram.update_checksum(changed);
    }
}

fn rewrite_ipv6(mut bytes: Vec<u8>) {
    let mut packet = ipv6::Packet::new_unchecked(&mut bytes[..]);
    packet.decrement_hop_limit();
    let length = packet.payload().len() as u32;
    let is_intact = |packet: &ipv6::Packet<&mut [u8]>| {
        let pseudo = packet.pseudo_header(protocol::ICMPV6, length);
        icmpv6::Packet::new_checked(packet.payload()).ok().map(|message| message.is_intact(pseudo))
    };
    let was_intact = is_intact(&packet);
    let changed =
        packet.set_src(Ipv6Addr::LOCALHOST).and(packet.set_dst(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
    if let Ok(mut message) = icmpv6::Packet::new_checked(packet.payload_mut()) {
        message.update_checksum(changed);
    }
    assert_eq!(is_intact(&packet), was_intact);
}

fn transports(bytes: &[u8]) {
    if let Ok(ports) = ports::Packet::new_checked(bytes) {
        let _ = (ports.src_port(), ports.dst_port());
    }
    if let Ok(segment) = tcp::Packet::new_checked(bytes) {
        assert_eq!(tcp::HEADER_LEN + segment.options().len() + segment.payload().len(), bytes.len());
        assert!(tcp::Options(segment.options()).count() <= 20);
        let _ = (segment.mss(), segment.is_intact(Sum::new()));
        let repr = tcp::Repr::parse(&segment);
        let mut emitted = vec![0; repr.header_len()];
        repr.emit(&mut tcp::Packet::new_unchecked(&mut emitted));
        assert_eq!(tcp::Packet::new_checked(&emitted).map(|segment| tcp::Repr::parse(&segment)), Ok(repr));
    }
    if let Ok(datagram) = udp::Packet::new_checked(bytes) {
        assert_eq!(datagram.payload().len(), bytes.len() - udp::HEADER_LEN);
    }
    if let Ok(packet) = sctp::Packet::new_checked(bytes) {
        let values: usize = packet.chunks().map(|chunk| 4 + chunk.value.len()).sum();
        assert!(values <= bytes.len() - sctp::HEADER_LEN);
        let mut filled = sctp::Packet::new_unchecked(bytes.to_vec());
        filled.fill_checksum();
        assert!(filled.is_intact());
    }
    if let Ok(message) = icmpv4::Packet::new_checked(bytes) {
        let mut emitted = bytes.to_vec();
        icmpv4::Repr::parse(&message).emit(&mut icmpv4::Packet::new_unchecked(&mut emitted));
        assert!(icmpv4::Packet::new_checked(&emitted).is_ok_and(|emitted| emitted.is_intact()));
        let _ = message.quoted().map(|quoted| ipv4::Packet::new_quoted(quoted).is_ok());
    }
    if let Ok(message) = icmpv6::Packet::new_checked(bytes) {
        let _ = message.quoted().map(|quoted| ipv6::Packet::new_quoted(quoted).map(|packet| packet.upper()));
    }
}

fn tunnels(bytes: &[u8]) {
    if let Ok(packet) = gre::Packet::new_checked(bytes) {
        assert_eq!(packet.header_len() + packet.payload().len(), bytes.len());
        let mut filled = gre::Packet::new_unchecked(bytes.to_vec());
        filled.fill_checksum();
        assert!(filled.is_intact());
    }
    if let Ok(packet) = gue::Packet::new_checked(bytes) {
        assert_eq!(packet.header_len() + packet.payload().len(), bytes.len());
        let _ = packet.remote_checksum();
    }
    if let Ok(message) = arp::Packet::new_checked(bytes) {
        let repr = arp::Repr::parse(&message);
        let mut emitted = [0; arp::LEN];
        repr.emit(&mut arp::Packet::new_unchecked(&mut emitted));
        assert_eq!(emitted[..], bytes[..arp::LEN]);
    }
}

fn rewrite_ethernet(data: &[u8]) {
    let mut bytes = data.to_vec();
    if let Ok(mut frame) = ethernet::Packet::new_checked(&mut bytes[..]) {
        let ethertype = frame.ethertype();
        frame.set_dst(MacAddr::BROADCAST);
        frame.set_src(MacAddr::ZERO);
        frame.set_ethertype(ethertype);
        frame.payload_mut().reverse();
        assert_eq!((frame.dst(), frame.src()), (MacAddr::BROADCAST, MacAddr::ZERO));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn mutated_frames_keep_the_promises() {
        super::super::seeds::mutate(&super::super::seeds::frames(), 1000, super::fuzz_one);
    }
}
