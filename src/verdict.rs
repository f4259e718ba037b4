//! What becomes of a packet.

use std::net::IpAddr;

pub use crate::place::{Origin, PortId, WorkerId};
use crate::stats::DropReason;

/// How a packet is cut into fragments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Into fragments of at most so many bytes, from their IP header on.
    AtMost(u16),
    /// As the fragments were cut that it was put together from, DF and all.
    AsItCame,
    /// As the fragments were cut, as the kernel does it that has put them together to forward them: where what is in front of it now, or
    /// what has changed, lets one be longer than so many bytes, or end between units, all are of at most so many.
    Listed(u16),
    /// The same for what the kernel has put together for itself, and so has joined the first fragments into one.
    Joined(u16),
}

/// The director's decision about one frame, which it has rewritten as needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// Not judged yet.
    #[default]
    Pending,
    /// Out of this port, as it is.
    Transmit(PortId),
    /// Out of this port in fragments; to that neighbour, if it is not resolved.
    Fragment(PortId, Option<IpAddr>, Cut),
    /// A fragment: to be kept until its datagram is whole, which is then judged.
    Reassemble,
    /// To the kernel through the twin of this port: not for a service of ours, or for the director itself.
    Pass(PortId),
    /// To the worker that owns the client.
    Handoff(WorkerId),
    /// Ready but for its destination MAC: this neighbour is not resolved.
    Hold(PortId, IpAddr),
    /// Gone, and counted.
    Drop(DropReason),
}
