//! The mix is what it says: one packet of ten opens a connection, all others are of connections that are open.

use std::collections::HashMap;

use pollvs::addr::MacAddr;
use pollvs::frame::Frame as _;
use pollvs::io::memory::VecFrame;

use super::generator::Family;
use super::mix::{Mix, OPENS_EVERY};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The client, address and port, and the flags of a packet of IPv4.
fn read(frame: &VecFrame) -> ([u8; 6], u8) {
    let bytes = frame.bytes();
    let mut client = [0; 6];
    client[..4].copy_from_slice(&bytes[26..30]);
    client[4..].copy_from_slice(&bytes[34..36]);
    (client, bytes[47])
}

#[test]
fn a_connection_is_opened_then_used_all_its_life_and_then_left_alone() {
    const FLOWS: u32 = 1024;
    let mut mix = Mix::new(Family::V4, FLOWS, MacAddr::ZERO);
    let mut frame = VecFrame::new(&[]);
    // The number of each client's opening, and of its last packet.
    let (mut opened, mut used) = (HashMap::new(), HashMap::new());
    for number in 0..Mix::opened_first(FLOWS) {
        for (established, flags) in [(false, SYN), (true, ACK)] {
            mix.first(number, &mut frame, established);
            let (client, found) = read(&frame);
            assert_eq!(found, flags);
            opened.insert(client, 0);
            used.insert(client, 0);
        }
    }
    assert_eq!(opened.len() as u32, Mix::opened_first(FLOWS), "each is a client of its own");
    let life = FLOWS * OPENS_EVERY;
    for packet in 0..20 * life {
        mix.write(std::iter::once(&mut frame));
        let (client, flags) = read(&frame);
        if flags == SYN {
            assert!(packet.is_multiple_of(OPENS_EVERY));
            let last = used.insert(client, packet);
            assert!(last.is_none_or(|last| packet - last > life), "the client's last connection is long left alone");
            opened.insert(client, packet);
        } else {
            let begun = opened[&client];
            assert!(packet - begun <= life + life / 8, "open for {} packets of {life}", packet - begun);
            let last = used.insert(client, packet).expect("opened before");
            assert!(packet - last <= life / 3, "never idle for a third of its life");
        }
    }
}
