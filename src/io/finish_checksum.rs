//! Finishes the TCP and UDP checksums that a sender left to its device. A frame from a virtual interface (veth, tap) never
//! passes a device: its checksum field may still hold the bare sum of the pseudo-header, which is what Linux puts there for
//! hardware to complete (CHECKSUM_PARTIAL, Documentation/networking/checksum-offloads.rst). Forwarded so, rewritten
//! incrementally or not, the frame would be dropped at its end. Checksums: RFC 1071, 9293 section 3.1, 768, 8200 section 8.1.
//!
//! A device tells by a flag whether a checksum is finished, but DPDK's drivers do not hand the flag on, so the field itself is
//! the witness. A finished checksum may equal the pseudo-header's sum by chance; then finishing yields the same value again
//! and changes nothing. A checksum that is wrong otherwise stays as it is: the receiver is to see that it is wrong.

use std::ops::Range;

use crate::wire::checksum::{Sum, udp_on_wire};
use crate::wire::ethernet::{self, ethertype};
use crate::wire::{ipv4, ipv6, protocol};

/// Finishes the TCP or UDP checksum of an Ethernet frame (IPv4 or IPv6, with or without a VLAN tag) when it is unfinished, and
/// tells whether it was. Everything else stays as it is: fragments, other protocols, a frame shorter than its IP length.
pub fn finish_checksum(frame: &mut [u8]) -> bool {
    finish(frame).is_some()
}

fn finish(frame: &mut [u8]) -> Option<()> {
    let Transport { protocol, place, pseudo } = locate(frame)?;
    let field = match protocol {
        protocol::TCP => 16..18,
        protocol::UDP => 6..8,
        _ => return None,
    };
    let segment = frame.get_mut(place)?;
    if *segment.get(field.clone())? != pseudo.fold().to_be_bytes() {
        return None;
    }
    // The field holds the pseudo-header's part of the sum already. A sum of zero is written in its other form, as Linux does:
    // in UDP zero means that there is no checksum.
    let checksum = udp_on_wire(Sum::new().bytes(segment).checksum());
    segment.get_mut(field)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// A transport segment that is not a fragment.
struct Transport {
    protocol: u8,
    /// Where it is in the frame.
    place: Range<usize>,
    pseudo: Sum,
}

fn locate(frame: &[u8]) -> Option<Transport> {
    let ethernet = ethernet::Packet::new_checked(frame).ok()?;
    let start = ethernet.payload_offset();
    match ethernet.ethertype() {
        ethertype::IPV4 => locate_ipv4(ethernet.payload(), start),
        ethertype::IPV6 => locate_ipv6(ethernet.payload(), start),
        _ => None,
    }
}

fn locate_ipv4(packet: &[u8], start: usize) -> Option<Transport> {
    let packet = ipv4::Packet::new_checked(packet).ok().filter(|packet| !packet.is_fragment())?;
    let length = packet.payload().len();
    let begin = start + packet.header_len();
    let pseudo = packet.pseudo_header(u16::try_from(length).ok()?);
    Some(Transport { protocol: packet.protocol(), place: begin..begin + length, pseudo })
}

fn locate_ipv6(packet: &[u8], start: usize) -> Option<Transport> {
    let packet = ipv6::Packet::new_checked(packet).ok()?;
    let upper = packet.upper().ok().filter(|upper| upper.fragment.is_none())?;
    let length = packet.total_len().checked_sub(upper.offset)?;
    let begin = start + upper.offset;
    let pseudo = packet.pseudo_header(upper.protocol, u32::try_from(length).ok()?);
    Some(Transport { protocol: upper.protocol, place: begin..begin + length, pseudo })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protocol::{TCP, UDP};
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Ip {
        V4 { options: usize },
        V6 { extensions: usize },
    }

    /// Where the segment starts, and a frame whose checksum field is zero.
    fn frame(ip: Ip, vlans: usize, protocol: u8, addresses: [u8; 32], payload: &[u8]) -> (usize, Vec<u8>) {
        let mut frame = vec![2; 12];
        for _ in 0..vlans {
            frame.extend([0x81, 0, 0, 7]);
        }
        let header = if protocol == TCP { 20 } else { 8 };
        let length = header + payload.len();
        match ip {
            Ip::V4 { options } => {
                let words = 5 + options;
                let total = ((words * 4 + length) as u16).to_be_bytes();
                frame.extend([0x08, 0, 0x40 | words as u8, 0, total[0], total[1], 0, 1, 0x40, 0, 64, protocol, 0, 0]);
                frame.extend(&addresses[..8]);
                frame.extend(vec![1; options * 4]);
            }
            Ip::V6 { extensions } => {
                let total = ((extensions * 8 + length) as u16).to_be_bytes();
                let next = |left| if left > 0 { 60 } else { protocol };
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, total[0], total[1], next(extensions), 64]);
                frame.extend(&addresses);
                (0..extensions).rev().for_each(|left| frame.extend([next(left), 0, 1, 4, 0, 0, 0, 0]));
            }
        }
        let start = frame.len();
        frame.extend(vec![0x11; header]);
        let field = start + field_of(protocol);
        frame[field..field + 2].fill(0);
        frame.extend(payload);
        (start, frame)
    }

    fn field_of(protocol: u8) -> usize {
        if protocol == TCP { 16 } else { 6 }
    }

    /// The definition, slowly: the pseudo-header written out (RFC 793, RFC 8200), all bytes added, carries brought round.
    fn slow_sum(ip: Ip, protocol: u8, addresses: &[u8; 32], segment: &[u8]) -> u16 {
        let mut bytes = match ip {
            Ip::V4 { .. } => addresses[..8].to_vec(),
            Ip::V6 { .. } => addresses.to_vec(),
        };
        bytes.extend((segment.len() as u32).to_be_bytes());
        bytes.extend([0, 0, 0, protocol]);
        bytes.extend(segment);
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        let mut total: u16 = 0;
        for pair in bytes.chunks(2) {
            let (sum, carry) = total.overflowing_add(u16::from_be_bytes([pair[0], pair[1]]));
            total = sum + u16::from(carry);
        }
        total
    }

    /// A frame, where its segment and its checksum are, and what an unfinished and a finished checksum would be.
    #[derive(Clone, Debug)]
    struct Case {
        frame: Vec<u8>,
        start: usize,
        field: usize,
        unfinished: u16,
        finished: u16,
    }

    impl Case {
        fn new(ip: Ip, vlans: usize, protocol: u8, addresses: [u8; 32], payload: &[u8]) -> Self {
            let (start, frame) = frame(ip, vlans, protocol, addresses, payload);
            let segment = &frame[start..];
            let unfinished = slow_sum(ip, protocol, &addresses, &vec![0; segment.len()]);
            let finished = match !slow_sum(ip, protocol, &addresses, segment) {
                0 => 0xffff,
                other => other,
            };
            Self { start, field: start + field_of(protocol), frame, unfinished, finished }
        }

        fn with(&self, checksum: u16) -> Vec<u8> {
            let mut frame = self.frame.clone();
            frame[self.field..self.field + 2].copy_from_slice(&checksum.to_be_bytes());
            frame
        }
    }

    fn case() -> impl Strategy<Value = Case> {
        let ip = prop_oneof![
            (0..3usize).prop_map(|options| Ip::V4 { options }),
            (0..3usize).prop_map(|extensions| Ip::V6 { extensions })
        ];
        let payload = prop::collection::vec(any::<u8>(), 0..100);
        (ip, 0..2usize, prop_oneof![Just(TCP), Just(UDP)], any::<[u8; 32]>(), payload)
            .prop_map(|(ip, vlans, protocol, addresses, payload)| Case::new(ip, vlans, protocol, addresses, &payload))
    }

    proptest! {
        #[test]
        fn an_unfinished_checksum_becomes_the_right_one(case in case(), padding in 0..20usize) {
            let padded = |mut frame: Vec<u8>| { frame.extend(vec![9; padding]); frame };
            let mut frame = padded(case.with(case.unfinished));
            prop_assert!(finish_checksum(&mut frame));
            prop_assert_eq!(frame, padded(case.with(case.finished)));
        }

        #[test]
        fn every_other_checksum_stays(case in case(), checksum: u16) {
            prop_assume!(checksum != case.unfinished);
            let mut frame = case.with(checksum);
            prop_assert!(!finish_checksum(&mut frame));
            prop_assert_eq!(frame, case.with(checksum));
        }

        #[test]
        fn a_cut_frame_stays(case in case(), cut in 1..8usize) {
            let mut frame = case.with(case.unfinished);
            frame.truncate(frame.len() - cut);
            let before = frame.clone();
            prop_assert!(!finish_checksum(&mut frame));
            prop_assert_eq!(frame, before);
        }

        #[test]
        fn garbage_never_panics(case in case(), changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..12), length: prop::sample::Index) {
            let mut frame = case.with(case.unfinished);
            for (at, byte) in changes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            frame.truncate(length.index(frame.len() + 1));
            finish_checksum(&mut frame);
        }

        #[test]
        fn a_finished_checksum_stays(case in case()) {
            prop_assume!(case.finished != case.unfinished);
            let mut frame = case.with(case.finished);
            prop_assert!(!finish_checksum(&mut frame));
            prop_assert_eq!(frame, case.with(case.finished));
        }

        #[test]
        fn a_finished_checksum_that_looks_unfinished_is_not_harmed(mut case in case()) {
            // Adding (finished - unfinished) to any word of the segment, here the source port, takes as much off the finished
            // checksum, which makes the two equal.
            let port = u16::from_be_bytes([case.frame[case.start], case.frame[case.start + 1]]);
            let port = Sum::new().word(port).word(case.finished).word(!case.unfinished).fold();
            case.frame[case.start..case.start + 2].copy_from_slice(&port.to_be_bytes());
            let right = case.with(case.unfinished);
            let mut frame = right.clone();
            prop_assert!(finish_checksum(&mut frame));
            prop_assert_eq!(frame, right);
        }
    }

    #[test]
    fn fragments_and_other_protocols_stay() {
        let case = Case::new(Ip::V4 { options: 0 }, 0, UDP, [7; 32], b"payload");
        let changes: [(&str, usize, u8); 5] = [
            ("first fragment", 20, 0x20),
            ("later fragment", 21, 1),
            ("ICMP", 23, 1),
            ("IP version", 14, 0x65),
            ("ARP", 13, 6),
        ];
        for (what, at, byte) in changes {
            let mut frame = case.with(case.unfinished);
            frame[at] = byte;
            let before = frame.clone();
            assert!(!finish_checksum(&mut frame), "{what}");
            assert_eq!(frame, before, "{what}");
        }
        let case = Case::new(Ip::V6 { extensions: 1 }, 0, UDP, [7; 32], b"payload");
        for (what, at, byte) in [("fragment header", 20, 44), ("ESP", 20, 50), ("IP version", 14, 0x40)] {
            let mut frame = case.with(case.unfinished);
            frame[at] = byte;
            assert!(!finish_checksum(&mut frame), "{what}");
        }
    }

    #[test]
    fn udp_without_a_checksum_stays_so() {
        let case = Case::new(Ip::V4 { options: 0 }, 0, UDP, [7; 32], b"payload");
        let mut frame = case.with(0);
        assert!(!finish_checksum(&mut frame));
        assert_eq!(frame, case.with(0));
    }
}
