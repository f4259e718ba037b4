//! Packets of the stand-in's own, built from their fields.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::MacAddr;
use crate::forward::cut::Pieces;
use crate::frame::Frame;
use crate::io::memory::VecFrame;
use crate::verdict::Cut;
use crate::wire::checksum::{self, Sum};
use crate::wire::ethernet::ethertype;
use crate::wire::tcp::Repr as Tcp;
use crate::wire::{arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, protocol, tcp, udp};

const BROADCAST: MacAddr = MacAddr([0xff; 6]);

fn framed(dst: MacAddr, src: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN];
    let header = ethernet::Repr { dst, src, vlan: None, ethertype };
    header.emit(&mut ethernet::Packet::new_unchecked(&mut frame[..]));
    frame.extend_from_slice(payload);
    frame
}

/// An IP packet of either version in a frame.
pub(super) fn ethernet(dst: MacAddr, src: MacAddr, packet: &[u8]) -> Vec<u8> {
    let v6 = packet.first().is_some_and(|b| b >> 4 == 6);
    framed(dst, src, if v6 { ethertype::IPV6 } else { ethertype::IPV4 }, packet)
}

/// The header of an IPv4 packet from the director itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct V4 {
    pub(super) src: Ipv4Addr,
    pub(super) dst: Ipv4Addr,
    pub(super) protocol: u8,
    pub(super) tos: u8,
    pub(super) ident: u16,
    pub(super) df: bool,
}

impl V4 {
    pub(super) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let &Self { src, dst, protocol, tos, ident, df } = self;
        let header = ipv4::Repr {
            src,
            dst,
            protocol,
            payload_len: length(payload),
            ttl: 64,
            tos,
            ident,
            dont_fragment: df,
            more_fragments: false,
            fragment_offset: 0,
        };
        let mut packet = vec![0; ipv4::HEADER_LEN];
        header.emit(&mut ipv4::Packet::new_unchecked(&mut packet[..]));
        packet.extend_from_slice(payload);
        packet
    }
}

impl V4 {
    /// A datagram of UDP, its checksum filled in, of another TTL than the usual one.
    pub(super) fn datagram(&self, ttl: u8, datagram: &mut [u8]) -> Vec<u8> {
        let size = length(datagram);
        let mut udp = udp::Packet::new_unchecked(&mut *datagram);
        udp.fill_checksum(checksum::pseudo_ipv4(self.src, self.dst, protocol::UDP, size));
        let mut packet = self.packet(datagram);
        let mut header = ipv4::Packet::new_unchecked(&mut packet[..]);
        header.set_ttl(ttl);
        header.fill_checksum();
        packet
    }
}

/// The same over IPv6.
pub(super) fn datagram6(src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8, datagram: &mut [u8]) -> Vec<u8> {
    let size = length(datagram);
    let mut udp = udp::Packet::new_unchecked(&mut *datagram);
    udp.fill_checksum(checksum::pseudo_ipv6(src, dst, protocol::UDP, size.into()));
    v6(src, dst, protocol::UDP, hop_limit, datagram)
}

fn length(payload: &[u8]) -> u16 {
    u16::try_from(payload.len()).unwrap_or(u16::MAX)
}

/// An IPv6 packet.
pub(super) fn v6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    v6_of_class(0, src, dst, (next_header, hop_limit), payload)
}

fn v6_of_class(
    traffic_class: u8,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    (next_header, hop_limit): (u8, u8),
    payload: &[u8],
) -> Vec<u8> {
    let payload_len = length(payload);
    let header = ipv6::Repr { src, dst, next_header, payload_len, hop_limit, traffic_class, flow_label: 0 };
    let mut packet = vec![0; ipv6::HEADER_LEN];
    header.emit(&mut ipv6::Packet::new_unchecked(&mut packet[..]));
    packet.extend_from_slice(payload);
    packet
}

/// An ICMP message.
pub(super) fn icmp4(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; icmpv4::HEADER_LEN];
    message.extend_from_slice(payload);
    icmpv4::Repr { kind, code, rest }.emit(&mut icmpv4::Packet::new_unchecked(&mut message[..]));
    message
}

/// An ICMPv6 message.
pub(super) fn icmp6(src: Ipv6Addr, dst: Ipv6Addr, (kind, code): (u8, u8), rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; icmpv6::HEADER_LEN];
    message.extend_from_slice(payload);
    let pseudo = checksum::pseudo_ipv6(src, dst, protocol::ICMPV6, u32::from(length(&message)));
    icmpv6::Repr { kind, code, rest }.emit(&mut icmpv6::Packet::new_unchecked(&mut message[..]), pseudo);
    message
}

fn tcp_pseudo(src: IpAddr, dst: IpAddr, bytes: &[u8]) -> Sum {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => checksum::pseudo_ipv4(src, dst, protocol::TCP, length(bytes)),
        (IpAddr::V6(src), IpAddr::V6(dst)) => checksum::pseudo_ipv6(src, dst, protocol::TCP, u32::from(length(bytes))),
        _ => Sum::new(),
    }
}

/// Is the checksum of a TCP segment right?
pub(super) fn tcp_is_intact(src: IpAddr, dst: IpAddr, bytes: &[u8]) -> bool {
    tcp::Packet::new_checked(bytes).is_ok_and(|t| t.is_intact(tcp_pseudo(src, dst, bytes)))
}

/// A TCP segment without payload, in an IP packet.
pub(super) fn tcp(src: IpAddr, dst: IpAddr, tos: u8, segment: &Tcp) -> Vec<u8> {
    let mut bytes = vec![0; tcp::HEADER_LEN];
    let mut packet = tcp::Packet::new_unchecked(&mut bytes[..]);
    segment.emit(&mut packet);
    packet.fill_checksum(tcp_pseudo(src, dst, &[0; tcp::HEADER_LEN]));
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            V4 { src, dst, protocol: protocol::TCP, tos, ident: 0, df: true }.packet(&bytes)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => v6_of_class(tos, src, dst, (protocol::TCP, 64), &bytes),
        _ => bytes,
    }
}

fn arp(dst: MacAddr, message: &arp::Repr) -> Vec<u8> {
    let mut bytes = vec![0; arp::LEN];
    message.emit(&mut arp::Packet::new_unchecked(&mut bytes[..]));
    framed(dst, message.sender_mac, ethertype::ARP, &bytes)
}

/// Who has `target_ip`?
pub(super) fn arp_request(sender_mac: MacAddr, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Vec<u8> {
    let (operation, target_mac) = (arp::operation::REQUEST, MacAddr::default());
    arp(BROADCAST, &arp::Repr { operation, sender_mac, sender_ip, target_mac, target_ip })
}

/// `sender_ip` is at `sender_mac`.
pub(super) fn arp_reply(sender_mac: MacAddr, sender_ip: Ipv4Addr, target_mac: MacAddr, target_ip: Ipv4Addr) -> Vec<u8> {
    let operation = arp::operation::REPLY;
    arp(target_mac, &arp::Repr { operation, sender_mac, sender_ip, target_mac, target_ip })
}

/// Target and link-layer address, as both messages of neighbour discovery carry them.
fn discovery(target: Ipv6Addr, option: u8, mac: MacAddr) -> Vec<u8> {
    let mut payload = target.octets().to_vec();
    payload.extend_from_slice(&[option, 1]);
    payload.extend_from_slice(&mac.0);
    payload
}

/// Who has `target`? (RFC 4861, section 4.3)
pub(super) fn neighbour_solicitation(mac: MacAddr, src: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let [x, y, z] = [a, b, c];
    let group =
        Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | u128::from(u32::from_be_bytes([0, x, y, z])));
    let message = icmp6(src, group, (135, 0), [0; 4], &discovery(target, 1, mac));
    ethernet(MacAddr([0x33, 0x33, 0xff, a, b, c]), mac, &v6(src, group, protocol::ICMPV6, 255, &message))
}

/// `target` is at `mac`. (RFC 4861, section 4.4: router, solicited, override)
pub(super) fn neighbour_advertisement(mac: MacAddr, target: Ipv6Addr, to: MacAddr, dst: Ipv6Addr) -> Vec<u8> {
    let message = icmp6(target, dst, (136, 0), [0xe0, 0, 0, 0], &discovery(target, 2, mac));
    ethernet(to, mac, &v6(target, dst, protocol::ICMPV6, 255, &message))
}

/// The packet in a frame, in fragments.
pub(super) fn fragments(frame: &[u8], cut: Cut, parts: &[u16], ident: u32) -> Vec<Vec<u8>> {
    let Some(mut pieces) = Pieces::new(frame, cut, parts, ident) else { return Vec::new() };
    let mut fragments = Vec::new();
    while !pieces.is_done() {
        let mut piece = VecFrame::new(&[]);
        if !pieces.write(&mut piece) {
            break;
        }
        fragments.push(piece.bytes().to_vec());
    }
    fragments
}
