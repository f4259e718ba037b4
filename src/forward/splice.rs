//! Replacing a piece of a segment's data by another, perhaps of another length: the frame grows or shrinks at its end, the IP length
//! and the checksums are made right. The sequence numbers are the caller's matter.

use std::ops::Range;

use crate::forward::Offsets;
use crate::frame::Frame;
use crate::packet::Header;
use crate::wire::tcp;

/// Replaces the bytes of a TCP segment at `range`, which counts from the frame's start, and returns where the headers then are. `None`,
/// and no change, when the buffer or the IP length have no room. The frame must end where its IP packet does.
pub fn replace<A: Header, F: Frame>(frame: &mut F, at: &Offsets, range: Range<usize>, with: &[u8]) -> Option<Offsets> {
    let tail = range.end..at.end;
    let moved = range.start + with.len();
    let end = moved + tail.len();
    let length = u16::try_from(end - at.l3).ok()?;
    if range.is_empty() || end > at.end && !frame.resize(end) {
        return None;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(tail, moved);
    bytes.get_mut(range.start..moved)?.copy_from_slice(with);
    A::set_length(bytes, at.l3, length);
    frame.resize(end);
    let at = Offsets { end, ..*at };
    let pseudo = A::pseudo_header(frame.bytes(), at.l3, at.protocol, end - at.l4);
    tcp::Packet::new_unchecked(frame.bytes_mut().get_mut(at.l4..end)?).fill_checksum(pseudo);
    Some(at)
}
