//! A datagram put together: a frame of its own kind, with room for the longest packet, to be judged like any other. A store has one and
//! lends it out.

use crate::forward::ETHERNET;
use crate::fragments::piece::Piece;
use crate::frame::Frame;
use crate::verdict::{Cut, Verdict};
use crate::wire::{ipv4, ipv6, protocol};

/// Room in front for an outer header, in bytes; as much as a DPDK buffer has.
const HEADROOM: usize = 128;
/// Ethernet's header and the longest IPv6 packet.
const LONGEST: usize = ETHERNET + ipv6::HEADER_LEN + u16::MAX as usize;

/// A datagram of several fragments.
#[derive(Debug)]
pub struct Datagram {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Length of the largest fragment.
    largest: u16,
    /// What each fragment carried, in bytes.
    parts: Vec<u16>,
    /// It may have been changed since.
    changed: bool,
    /// The kernel would not know any more where its fragments began and ended.
    flat: bool,
}

impl Datagram {
    /// Empty, for up to `parts` fragments.
    pub(super) fn new(parts: usize) -> Self {
        let buffer = vec![0; HEADROOM + LONGEST].into_boxed_slice();
        Self {
            buffer,
            start: HEADROOM,
            end: HEADROOM,
            largest: 0,
            parts: Vec::with_capacity(parts),
            changed: false,
            flat: false,
        }
    }

    /// Begins anew with the header of the first fragment.
    pub(super) fn begin(&mut self, frame: &[u8], piece: &Piece, largest: u16) {
        (self.start, self.end, self.largest) = (HEADROOM, HEADROOM, largest);
        (self.changed, self.flat) = (false, false);
        self.parts.clear();
        self.append(frame.get(..piece.header).unwrap_or_default());
    }

    /// Adds what the next fragment carries. False when there is no room.
    pub(super) fn add(&mut self, payload: &[u8]) -> bool {
        let room = self.parts.len() < self.parts.capacity() && self.append(payload);
        if room {
            self.parts.push(u16::try_from(payload.len()).unwrap_or(u16::MAX));
        }
        room
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.buffer.get_mut(self.end..self.end + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }

    /// Makes its header that of the whole. False when it is longer than a packet can be.
    pub(super) fn finish(&mut self, first: &Piece, ecn: u8, dont_fragment: bool) -> bool {
        let packet = self.buffer.get_mut(self.start + ETHERNET..self.end).unwrap_or_default();
        if first.key.v6 { finish_v6(packet, first, ecn) } else { finish_v4(packet, ecn, dont_fragment) }
    }

    /// The verdict to be carried out, given the director's: what leaves unchanged leaves as it came.
    pub fn unless_unchanged(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Transmit(port) if !self.changed => Verdict::Fragment(port, None, Cut::AsItCame),
            other => other,
        }
    }

    /// What each of its fragments carried, in bytes, in their order, as far as that matters when it is cut so.
    pub fn parts(&self, cut: Cut) -> &[u16] {
        match cut {
            Cut::AtMost(_) => &[],
            Cut::Listed(_) | Cut::Joined(_) if self.flat => &[],
            _ => &self.parts,
        }
    }
}

fn finish_v4(packet: &mut [u8], ecn: u8, dont_fragment: bool) -> bool {
    let Ok(length) = u16::try_from(packet.len()) else { return false };
    let mut ip = ipv4::Packet::new_unchecked(packet);
    ip.set_tos(ip.tos() | ecn);
    ip.set_dont_fragment(dont_fragment);
    ip.set_fragment(0, false);
    ip.set_total_len(length);
    ip.fill_checksum();
    true
}

fn finish_v6(packet: &mut [u8], first: &Piece, ecn: u8) -> bool {
    const CLASS_LOW: usize = 1;
    let Ok(length) = u16::try_from(packet.len().saturating_sub(ipv6::HEADER_LEN)) else { return false };
    let Some(field) = next_header(packet) else { return false };
    if let Some(next) = packet.get_mut(field) {
        *next = first.protocol;
    }
    if let Some(class) = packet.get_mut(CLASS_LOW) {
        *class |= ecn << 4;
    }
    ipv6::Packet::new_unchecked(packet).set_payload_len(length);
    true
}

/// Where the header before the fragment header, which is gone, named it.
fn next_header(packet: &[u8]) -> Option<usize> {
    const NEXT_HEADER: usize = 6;
    let (mut field, mut at) = (NEXT_HEADER, ipv6::HEADER_LEN);
    while *packet.get(field)? != protocol::FRAGMENT {
        (field, at) = (at, at + (usize::from(*packet.get(at + 1)?) + 1) * 8);
    }
    Some(field)
}

impl Frame for Datagram {
    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.changed = true;
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    fn prepend(&mut self, n: usize) -> bool {
        let room = self.start.checked_sub(n);
        self.start = room.unwrap_or(self.start);
        room.is_some()
    }

    fn trim_front(&mut self, n: usize) -> bool {
        let is_long_enough = n <= self.end - self.start;
        if is_long_enough {
            self.start += n;
        }
        is_long_enough
    }

    fn resize(&mut self, len: usize) -> bool {
        let end = self.start.checked_add(len).filter(|end| *end <= self.buffer.len());
        self.end = end.unwrap_or(self.end);
        end.is_some()
    }

    fn largest_fragment(&self) -> Option<u16> {
        Some(self.largest)
    }

    fn pull(&mut self, bytes: usize) {
        while let [first, second, ..] = self.parts.as_mut_slice() {
            let missing = bytes.saturating_sub(usize::from(*first));
            let taken = u16::try_from(missing).unwrap_or(u16::MAX).min(*second);
            if taken == 0 {
                return;
            }
            (*first, *second) = (first.saturating_add(taken), *second - taken);
            if *second == 0 {
                self.parts.remove(1);
            }
        }
    }

    fn flatten(&mut self) {
        self.flat = true;
    }
}
