//! What is done to a packet on its way out: one file a forwarding method, and the last step that they share, the Ethernet
//! header (`ip_vs_xmit.c` in the kernel).

pub mod answer;
pub mod cut;
pub mod nat;
pub mod quote;
pub mod splice;
pub mod tun;

use crate::addr::MacAddr;
use crate::frame::Frame;
use crate::network::Hop;
use crate::stats::DropReason;
use crate::verdict::{Cut, PortId, Verdict};

/// Length of an Ethernet header in bytes.
pub const ETHERNET: usize = 14;

/// Where the headers of a packet are, in bytes from the start of its frame.
#[derive(Clone, Copy, Debug)]
pub struct Offsets {
    /// IP header.
    pub l3: usize,
    /// Transport header.
    pub l4: usize,
    /// End of the IP packet; Ethernet's padding may follow.
    pub end: usize,
    /// Transport protocol.
    pub protocol: u8,
}

/// The port that a frame leaves by, ready; or any other verdict.
pub type Exit = Result<PortId, Verdict>;

/// The verdict of an exit.
#[inline]
pub fn verdict(exit: Exit) -> Verdict {
    exit.map_or_else(|verdict| verdict, Verdict::Transmit)
}

/// The verdict of an exit by which the packet leaves in fragments.
pub fn in_pieces(exit: Exit, cut: Cut) -> Verdict {
    match exit {
        Ok(port) => Verdict::Fragment(port, None, cut),
        Err(Verdict::Hold(port, neighbour)) => Verdict::Fragment(port, Some(neighbour), cut),
        Err(other) => other,
    }
}

/// Puts the MACs of the next hop on the frame and says where it goes; this alone is direct routing (DR).
#[inline]
pub fn send<F: Frame>(frame: &mut F, hop: &Hop) -> Exit {
    match *hop {
        Hop::Resolved { port, to, from, .. } => {
            address(frame, to, from);
            Ok(port)
        }
        Hop::Unresolved { port, neighbour, from, .. } => {
            address(frame, MacAddr::default(), from);
            Err(Verdict::Hold(port, neighbour))
        }
        Hop::Local | Hop::Kernel | Hop::Unreachable => Err(Verdict::Drop(DropReason::NoRoute)),
    }
}

/// Writes both MACs.
#[inline(always)]
pub fn address<F: Frame>(frame: &mut F, to: MacAddr, from: MacAddr) {
    if let Some(header) = frame.bytes_mut().first_chunk_mut::<12>() {
        let (dst, src) = header.split_at_mut(6);
        dst.copy_from_slice(&to.0);
        src.copy_from_slice(&from.0);
    }
}

/// The MTU of a way out in bytes, if it is one.
#[inline]
pub fn mtu(hop: &Hop) -> Option<u16> {
    match hop {
        Hop::Resolved { mtu, .. } | Hop::Unresolved { mtu, .. } => Some(*mtu),
        Hop::Local | Hop::Kernel | Hop::Unreachable => None,
    }
}
