//! The store of fragments alone: whatever comes, it holds no more than its room, what it gives is a packet, and time empties it.

use std::time::Duration;

use pollvs::fragments::{Fragments, MOST_FRAMES};
use pollvs::frame::Frame;
use pollvs::io::memory::VecFrame;
use pollvs::stats::{Counters, DropReason, Event};
use pollvs::time::Instant;
use pollvs::verdict::{Cut, Origin};
use pollvs::wire::{ipv4, ipv6};

/// Takes `data` as fragments of a few datagrams, six bytes each: family and datagram, offset, length, what follows, a step of time.
pub fn fuzz_one(data: &[u8]) {
    let (mut store, mut counters, mut now) = (Fragments::new(1), Counters::default(), Instant(1));
    let (mut taken, mut late) = (0, Vec::new());
    for bytes in data.as_chunks::<6>().0 {
        now = now + Duration::from_millis(u64::from(bytes[5]) * 20);
        let frame = fragment(bytes);
        taken += 1;
        if let Some(datagram) = store.take(VecFrame::new(&frame), Origin::Wire, now, &mut counters) {
            whole(datagram.bytes(), datagram.parts(Cut::AsItCame));
            store.give_back(datagram);
        }
        store.expire(now, &mut counters, &mut late);
    }
    store.expire(now + Duration::from_secs(61), &mut counters, &mut late);
    assert!(store.is_empty() && late.len() <= taken);
    let held = counters.events[Event::FragmentsHeld as usize];
    let count = |reason| counters.drops[reason as usize];
    assert!(held as usize <= taken && count(DropReason::FragmentTimeout) <= held);
    assert!(count(DropReason::FragmentsFull) == 0 || taken > MOST_FRAMES / 8);
}

fn whole(frame: &[u8], parts: &[u16]) {
    let carried: usize = parts.iter().map(|part| usize::from(*part)).sum();
    let packet = &frame[14..];
    if packet[0] >> 4 == 6 {
        let ip = ipv6::Packet::new_checked(packet).expect("a whole packet");
        assert_eq!((ip.total_len(), carried), (packet.len(), packet.len() - ipv6::HEADER_LEN));
    } else {
        let ip = ipv4::Packet::new_checked(packet).expect("a whole packet");
        assert!(ip.is_intact() && !ip.is_fragment());
        assert_eq!((usize::from(ip.total_len()), carried), (packet.len(), packet.len() - ip.header_len()));
    }
}

fn fragment(&[which, high, low, length, flags, _]: &[u8; 6]) -> Vec<u8> {
    let offset = u16::from_be_bytes([high, low]) & 0x1fff;
    let payload = vec![which; usize::from(length) * if flags & 0x10 == 0 { 8 } else { 1 }];
    let (v6, more) = (which & 1 == 1, flags & 1 == 1);
    let mut frame = vec![2; 12];
    if v6 {
        frame.extend([0x86, 0xdd]);
        let fragment = ipv6::Fragment { offset: offset << 3, more, ident: u32::from(which >> 1) };
        let (src, dst) = ([0x20; 16].into(), [0x21; 16].into());
        let payload_len = payload.len() as u16 + 8;
        let repr = ipv6::Repr {
            src,
            dst,
            next_header: 44,
            payload_len,
            hop_limit: 9,
            traffic_class: flags >> 6,
            flow_label: 0,
        };
        let mut header = [0; ipv6::HEADER_LEN];
        repr.emit(&mut ipv6::Packet::new_unchecked(&mut header[..]));
        frame.extend(header.iter().chain(&fragment.to_bytes(17)));
    } else {
        frame.extend([8, 0]);
        let repr = ipv4::Repr {
            src: [192, 0, 2, 9].into(),
            dst: [192, 0, 2, 10].into(),
            protocol: 17,
            payload_len: payload.len() as u16,
            ttl: 9,
            tos: flags >> 6,
            ident: u16::from(which >> 1),
            dont_fragment: flags & 2 != 0,
            more_fragments: more,
            fragment_offset: offset << 3,
        };
        let mut header = [0; ipv4::HEADER_LEN];
        repr.emit(&mut ipv4::Packet::new_unchecked(&mut header[..]));
        frame.extend(header);
    }
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    #[test]
    fn mutated_fragments_keep_the_store_sound() {
        super::super::seeds::mutate(&super::super::seeds::fragments(), 3000, super::fuzz_one);
    }
}
