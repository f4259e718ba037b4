//! Masquerade: destination rewritten towards the server, source rewritten towards the client, checksums changed by what the
//! rewrite changes (RFC 1624), so that a checksum that was wrong stays wrong. A UDP checksum of zero is computed, as the kernel
//! does; SCTP's CRC cannot be updated and is computed anew.

use crate::forward::Offsets;
use crate::packet::{End, Header};
use crate::wire::checksum::Delta;
use crate::wire::{protocol, sctp, tcp, udp};

/// Rewrites address and port of one end.
#[inline]
pub fn rewrite<A: Header>(bytes: &mut [u8], at: Offsets, end: End, address: A, port: u16) {
    let delta = A::rewrite_address(bytes, at.l3, end, address);
    transport::<A>(bytes, at, end, port, delta);
}

/// Rewrites a port and the checksum over it.
#[inline]
fn transport<A: Header>(bytes: &mut [u8], at: Offsets, end: End, port: u16, delta: Delta) {
    let Some(segment) = bytes.get_mut(at.l4..at.end) else { return };
    match at.protocol {
        protocol::TCP => {
            let mut tcp = tcp::Packet::new_unchecked(segment);
            let port = if end == End::Source { tcp.set_src_port(port) } else { tcp.set_dst_port(port) };
            tcp.update_checksum(delta.and(port));
        }
        protocol::UDP => datagram::<A>(bytes, at, end, port, delta),
        protocol::SCTP => {
            let mut sctp = sctp::Packet::new_unchecked(segment);
            if end == End::Source {
                sctp.set_src_port(port)
            } else {
                sctp.set_dst_port(port)
            }
            sctp.fill_checksum();
        }
        _ => {}
    }
}

fn datagram<A: Header>(bytes: &mut [u8], at: Offsets, end: End, port: u16, delta: Delta) {
    let Some(segment) = bytes.get_mut(at.l4..at.end) else { return };
    let mut udp = udp::Packet::new_unchecked(segment);
    let port = if end == End::Source { udp.set_src_port(port) } else { udp.set_dst_port(port) };
    if udp.has_checksum() {
        udp.update_checksum(delta.and(port));
    } else {
        compute::<A>(bytes, at);
    }
}

/// Computes the checksum of a datagram that has none.
fn compute<A: Header>(bytes: &mut [u8], at: Offsets) {
    let length = at.end.saturating_sub(at.l4);
    let pseudo = A::pseudo_header(bytes, at.l3, protocol::UDP, length);
    let Some(segment) = bytes.get_mut(at.l4..at.end) else { return };
    udp::Packet::new_unchecked(segment).fill_checksum(pseudo);
}
