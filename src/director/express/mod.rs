//! The common packet's way: no IP options nor extension headers, TCP or UDP, off the wire, of a connection that it leaves in the state it is
//! in, out of a port that is ready. The other files of the director judge everything; this one does the same for these packets, in a
//! few dozen instructions and none of them twice. It changes nothing before it is sure, and gives up on whatever asks for a second thought.
//!
//! Conditions follow one another instead of being joined: each nearly always holds, and a branch that is foreseen costs nothing. What a
//! stage finds in the headers it does not write down: they are nearer than any note of them would be.

mod look;
mod plain;
mod row;
mod tunnel;

use crate::burst::{Burst, Kind, Marks, Meta, Slot};
use crate::conn::ConnFlags;
use crate::director::Core;
use crate::frame::Frame;
use crate::proto::segment::Segment;
use crate::snapshot::Snapshot;
use crate::time::Tick;
use crate::wire::protocol;

pub(super) use look::look;
use plain::{Plain, half};
use row::{Reply, Request, row};

/// The protocols, as constants that a type may have.
const TCP: u8 = protocol::TCP;
const UDP: u8 = protocol::UDP;
/// The forwarding methods, likewise.
const DIRECT: u16 = ConnFlags::DR.0;
const MASQUERADE: u16 = ConnFlags::NAT.0;
const TUNNEL: u16 = ConnFlags::TUN.0;
const METHOD: u16 = DIRECT | MASQUERADE | TUNNEL;
/// Of a connection these ask for a second thought.
const CARE: ConnFlags = ConnFlags::LOCAL
    .with(ConnFlags::BYPASS)
    .with(ConnFlags::TEMPLATE)
    .with(ConnFlags::ONE_PACKET)
    .with(ConnFlags::NO_CPORT)
    .with(ConnFlags::RETIRED)
    .with(ConnFlags::HELPED);

/// Writes down what the general way wants to know of a packet.
pub(super) fn complete<F: Frame>(slot: &mut Slot<'_, F>) {
    let Slot { frame: Some(frame), mark, meta, .. } = slot else { return };
    (meta.kind, meta.hash, meta.candidate) = (mark.kind, mark.hash, mark.candidate);
    match mark.kind {
        Kind::PlainRequest4 | Kind::PlainReply4 => complete_as::<u32>(frame.bytes(), meta),
        Kind::PlainRequest6 | Kind::PlainReply6 => complete_as::<u128>(frame.bytes(), meta),
        _ => {}
    }
}

fn complete_as<A: Plain>(bytes: &[u8], meta: &mut Meta) {
    let Some(head) = bytes.get(..A::HEAD) else { return };
    (meta.sport, meta.dport) = (half(head, A::L4), half(head, A::L4 + 2));
    (meta.length, meta.l4, meta.protocol) = (A::length(head) as u16, A::L4 as u16, head[A::PROTOCOL]);
    meta.segment = if meta.protocol == protocol::UDP { Segment::Udp } else { Segment::Tcp(head[A::L4 + plain::FLAGS]) };
}

/// Leaves every packet of a burst to be looked at closely.
pub(super) fn leave<F: Frame>(burst: &mut Burst<F>) -> bool {
    burst.marks_mut().iter_mut().for_each(|mark| mark.note(Kind::Unseen, 0));
    true
}

/// Stage 3 for the packets from number `at` on, as long as each is a common one; and stage 2 for those of the same numbers of another burst.
/// Returns the number of the first with which nothing was done, because it needs a second thought or there is none. With `TELLS` a
/// master of the synchronisation runs.
#[inline(always)]
pub(super) fn judge<F: Frame, const TELLS: bool>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut Marks,
    decided: &mut Burst<F>,
    mut at: usize,
    now: Tick,
) -> usize {
    // Packets of one way come in a row, and each way has a loop of its own: with fewer things to keep in registers.
    while at < decided.count() {
        let before = at;
        let mark = decided.marks[at];
        at = match (mark.kind, mark.settled) {
            (Kind::PlainRequest4, TCP) => to_servers::<F, u32, TCP, TELLS>(core, snapshot, sought, decided, at, now),
            (Kind::PlainRequest4, UDP) => to_servers::<F, u32, UDP, TELLS>(core, snapshot, sought, decided, at, now),
            (Kind::PlainReply4, TCP) => row::<F, u32, Reply<TCP>>(core, snapshot, sought, decided, at, now),
            (Kind::PlainReply4, UDP) => row::<F, u32, Reply<UDP>>(core, snapshot, sought, decided, at, now),
            (Kind::PlainRequest6, TCP) => to_servers::<F, u128, TCP, TELLS>(core, snapshot, sought, decided, at, now),
            (Kind::PlainRequest6, UDP) => to_servers::<F, u128, UDP, TELLS>(core, snapshot, sought, decided, at, now),
            (Kind::PlainReply6, TCP) => row::<F, u128, Reply<TCP>>(core, snapshot, sought, decided, at, now),
            (Kind::PlainReply6, UDP) => row::<F, u128, Reply<UDP>>(core, snapshot, sought, decided, at, now),
            _ => return at,
        };
        if at == before {
            return at;
        }
    }
    at
}

/// Clients' packets of protocol `P` from number `at` on, as long as they go the way of the first.
#[inline(always)]
fn to_servers<F: Frame, A: Plain, const P: u8, const TELLS: bool>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut Marks,
    decided: &mut Burst<F>,
    at: usize,
    now: Tick,
) -> usize {
    let candidate = A::tables(core).connections.entry(decided.marks[at].candidate);
    match candidate.map_or(0, |connection| connection.flags.0 & METHOD) {
        DIRECT => row::<F, A, Request<P, DIRECT, TELLS>>(core, snapshot, sought, decided, at, now),
        MASQUERADE => row::<F, A, Request<P, MASQUERADE, TELLS>>(core, snapshot, sought, decided, at, now),
        TUNNEL => row::<F, A, Request<P, TUNNEL, TELLS>>(core, snapshot, sought, decided, at, now),
        _ => at,
    }
}
