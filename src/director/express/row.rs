//! Stage 3 of the common packet's way: packets that go one way in a row, each held against its connection, rewritten and counted.

use super::plain::{Plain, half, put, word};
use super::{CARE, DIRECT, MASQUERADE, METHOD, TUNNEL, UDP, tunnel};
use crate::burst::{Burst, Kind, Mark, Marks};
use crate::conn::{ConnFlags, ConnId, Connection};
use crate::director::announce::Announcer;
use crate::director::path_mtu::Learnt;
use crate::director::{Core, Shared};
use crate::forward::ETHERNET;
use crate::frame::Frame;
use crate::packet::End;
use crate::proto::State;
use crate::ready::{Ends6, Ready, Ways};
use crate::snapshot::Snapshot;
use crate::stats::{Event, Line, Traffic};
use crate::time::Tick;
use crate::verdict::PortId;
use crate::wire::{checksum, tcp, udp};

/// What packets in a row have in common.
pub(super) trait Way<A: Plain> {
    /// What they are.
    const KIND: Kind;
    /// Of which protocol.
    const PROTOCOL: u8;
    /// As what they count.
    const EVENT: Event;

    /// The port that one of them is likely to leave by: a guess.
    fn likely(means: &Means<'_, A>, candidate: ConnId) -> PortId;
    /// Rewrites one of them; the way that it leaves by, or None, and no change, when it is not of the common kind.
    fn forward<'a, F: Frame>(means: &mut Means<'a, A>, frame: &mut F, candidate: ConnId) -> Option<&'a Ready>;
}

/// What the packets of a row are forwarded with, all at hand.
pub(super) struct Means<'a, A> {
    entries: &'a mut [Connection<A>],
    /// Of destinations, and as many ways to them.
    traffic: &'a mut [Line<Traffic>],
    ready: &'a [Ready],
    /// Ticks that each gives its connection, and when that expires then.
    timeout: u32,
    expires: Tick,
    ways: &'a Ways<A>,
    near: &'a mut u32,
    learnt: &'a [Learnt],
    ends6: &'a [Ends6],
    ident: &'a mut u32,
    announcer: &'a Announcer,
}

/// The packets from number `from` on, as long as all go that way.
#[inline(never)]
pub(super) fn row<F: Frame, A: Plain, W: Way<A>>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut Marks,
    decided: &mut Burst<F>,
    from: usize,
    now: Tick,
) -> usize {
    let (tables, others, shared) = A::parted(core);
    let (index, entries) = tables.connections.parted();
    if index.is_empty() {
        return from;
    }
    let Shared { traffic, learnt, timeouts, ident, near, announcer, counters, .. } = shared;
    let destinations = traffic.len().min(snapshot.ready.len());
    let timeout = timeouts.ticks(state_of(W::PROTOCOL));
    let mut means = Means {
        entries,
        traffic: &mut traffic[..destinations],
        ready: &snapshot.ready[..destinations],
        timeout,
        expires: now.plus(timeout),
        ways: A::ways(snapshot),
        near: &mut near[usize::from(A::V6)],
        learnt,
        ends6: &snapshot.ends6,
        ident,
        announcer,
    };
    let count = decided.count();
    let (mut at, mut more) = (from, true);
    while more && at < count {
        more = false;
        // Those from `begun` on leave by one port.
        let (begun, way) = (at, W::likely(&means, decided.marks[at].candidate));
        let run = decided.frames[at..count].iter_mut().zip(&mut decided.marks[at..count]).zip(&mut sought[at..count]);
        for ((frame, mark), next) in run {
            if mark.sort() != Mark::sort_of(W::KIND, W::PROTOCOL) {
                break;
            }
            let Some(frame) = frame else { break };
            let Some(ready) = W::forward(&mut means, frame, mark.candidate) else { break };
            next.candidate = if next.kind.is_v6() == A::V6 {
                index.candidate(&next.hash, means.entries)
            } else {
                others.connections.candidate(next.hash)
            };
            if ready.port != way {
                (mark.way, more) = (ready.port.0, true);
                break;
            }
            at += 1;
        }
        decided.send(begun, at, way.0);
        at += usize::from(more);
    }
    counters.events[W::EVENT as usize] += (at - from) as u64;
    at
}

/// The state in which a connection of that protocol stays.
#[inline(always)]
const fn state_of(protocol: u8) -> State {
    if protocol == UDP { State::Udp } else { State::Established }
}

/// Clients' packets of protocol `P` to servers by one method.
pub(super) struct Request<const P: u8, const METHOD: u16, const TELLS: bool>;

impl<const P: u8, const BY: u16, const TELLS: bool> Request<P, BY, TELLS> {
    /// A client's datagram makes no template sure.
    const SURE: u16 = if P == UDP { 0 } else { ConnFlags::ASSURED.0 };
    /// Of these flags of a connection those that are to be set.
    const FLAGS: u16 = CARE.0 | METHOD | Self::SURE;
    const FLAGS_SET: u16 = BY | Self::SURE;
}

impl<A: Plain, const P: u8, const BY: u16, const TELLS: bool> Way<A> for Request<P, BY, TELLS> {
    const KIND: Kind = A::REQUEST;
    const PROTOCOL: u8 = P;
    const EVENT: Event = Event::Request;

    #[inline(always)]
    fn likely(means: &Means<'_, A>, candidate: ConnId) -> PortId {
        let connection = means.entries.get(candidate.index());
        let ready = connection.and_then(|connection| means.ready.get(connection.dest.index()));
        ready.map(|ready| ready.port).unwrap_or_default()
    }

    #[inline(always)]
    fn forward<'a, F: Frame>(means: &mut Means<'a, A>, frame: &mut F, candidate: ConnId) -> Option<&'a Ready> {
        let connection = means.entries.get_mut(candidate.index())?;
        let bytes = frame.bytes_mut();
        let available = bytes.len();
        if available < A::HEAD {
            return None;
        }
        let head = &mut bytes[..A::HEAD];
        if !A::is_between(head, connection.caddr, connection.vaddr)
            || ports(connection.cport, connection.vport) != word(head, A::L4)
            || !keeps::<A, P>(connection, Self::FLAGS, Self::FLAGS_SET)
            || connection.timeout != means.timeout
        {
            return None;
        }
        // One whose packet may have to be told of goes the general way.
        let may_tell = |next| connection.template.is_some() || means.announcer.pace.may_tell(next);
        if TELLS && may_tell(connection.packets.wrapping_add(1)) {
            return None;
        }
        let dest = connection.dest.index();
        let ready = means.ready.get(dest)?;
        let Line(traffic) = means.traffic.get_mut(dest)?;
        let length = length::<A, P>(head, available)?;
        let mtu = if BY == TUNNEL { ready.inner_mtu[usize::from(A::V6)] } else { ready.mtu };
        if length > mtu || head[A::HOPS] <= 1 {
            return None;
        }
        if BY == MASQUERADE {
            if lacks_checksum::<A, P>(head) {
                return None;
            }
            let (old, new) = ((connection.vaddr, connection.vport), (connection.daddr, connection.dport));
            rewrite::<A, P>(head, End::Destination, old, new);
        }
        if BY == TUNNEL {
            let usual = means.learnt.get(dest).is_some_and(Learnt::is_nothing);
            let ends6 = if A::V6 { means.ends6.get(dest)? } else { &Ends6::NONE };
            // The outer header is as long as the packet's own.
            if !usual || !frame.prepend(A::L4 - ETHERNET) {
                return None;
            }
            tunnel::enter::<A>(frame.bytes_mut(), ready, ends6, means.ident);
            trim::<F, P>(frame, available + A::L4 - ETHERNET, A::L4 + usize::from(length));
        } else {
            if BY == DIRECT {
                A::take_hop(head);
            }
            put(head, 0, ready.macs);
            trim::<F, P>(frame, available, ETHERNET + usize::from(length));
        }
        connection.packets = connection.packets.wrapping_add(1);
        connection.expires = means.expires;
        traffic.in_packets += 1;
        traffic.in_bytes += u64::from(length);
        Some(ready)
    }
}

/// Servers' packets of protocol `P` to clients, whose connections are masqueraded.
pub(super) struct Reply<const P: u8>;

impl<A: Plain, const P: u8> Way<A> for Reply<P> {
    const KIND: Kind = A::REPLY;
    const PROTOCOL: u8 = P;
    const EVENT: Event = Event::Reply;

    #[inline(always)]
    fn likely(means: &Means<'_, A>, _: ConnId) -> PortId {
        means.ways.near(*means.near).map(|ready| ready.port).unwrap_or_default()
    }

    #[inline(always)]
    fn forward<'a, F: Frame>(means: &mut Means<'a, A>, frame: &mut F, candidate: ConnId) -> Option<&'a Ready> {
        const SURE: u16 = ConnFlags::ASSURED.0;
        const FLAGS: u16 = CARE.with(ConnFlags::SUPERSEDED).with(ConnFlags::NO_OUTPUT).0 | METHOD | SURE;
        let connection = means.entries.get_mut(candidate.index())?;
        let bytes = frame.bytes_mut();
        let available = bytes.len();
        if available < A::HEAD {
            return None;
        }
        let head = &mut bytes[..A::HEAD];
        if !A::is_between(head, connection.daddr, connection.caddr)
            || ports(connection.dport, connection.cport) != word(head, A::L4)
            || lacks_checksum::<A, P>(head)
            || !keeps::<A, P>(connection, FLAGS, MASQUERADE | SURE)
            || connection.timeout != means.timeout
        {
            return None;
        }
        let dest = connection.dest.index();
        // A server that is out of service counts no more.
        let in_service = means.ready.get(dest)?.mtu != 0;
        let ready = means.ways.to_near(means.near, connection.caddr)?;
        let Line(traffic) = means.traffic.get_mut(dest)?;
        let length = length::<A, P>(head, available)?;
        if !in_service || length > ready.mtu || head[A::HOPS] <= 1 {
            return None;
        }
        connection.expires = means.expires;
        traffic.out_packets += 1;
        traffic.out_bytes += u64::from(length);
        let (old, new) = ((connection.daddr, connection.dport), (connection.vaddr, connection.vport));
        rewrite::<A, P>(head, End::Source, old, new);
        put(head, 0, ready.macs);
        trim::<F, P>(frame, available, ETHERNET + usize::from(length));
        Some(ready)
    }
}

/// Two ports as they follow one another in a header, to be compared at once.
#[inline(always)]
fn ports(src: u16, dst: u16) -> u32 {
    u32::from(src) << 16 | u32::from(dst)
}

/// Does a settled packet of protocol `P` leave the connection's state as it is (what [`Segment::keeps`] says, once more), and are of these
/// flags those set and no others?
#[inline(always)]
fn keeps<A, const P: u8>(connection: &Connection<A>, of: u16, flags: u16) -> bool {
    // The first two are neighbours in memory, and are compared at once.
    let told = u16::from_le_bytes([connection.protocol, connection.state as u8]);
    told == u16::from_le_bytes([P, state_of(P) as u8]) && connection.flags.0 & of == flags
}

/// Is it a datagram without a checksum, for which masquerade computes one?
#[inline(always)]
fn lacks_checksum<A: Plain, const P: u8>(head: &[u8]) -> bool {
    P == UDP && half(head, A::L4 + udp::CHECKSUM) == 0
}

/// Masquerade (see [`crate::forward::nat`]): an end's address and port, one hop less to live, and the checksums.
#[inline(always)]
fn rewrite<A: Plain, const P: u8>(head: &mut [u8], end: End, old: (A, u16), new: (A, u16)) {
    let delta = A::redirect(head, end, old.0, new.0).u16(old.1, new.1);
    put(head, A::L4 + if end == End::Source { 0 } else { 2 }, new.1.to_be_bytes());
    let at = A::L4 + if P == UDP { udp::CHECKSUM } else { tcp::CHECKSUM };
    let checksum = half(head, at);
    let checksum = if P == UDP { checksum::udp_update(checksum, delta) } else { delta.apply(checksum) };
    put(head, at, checksum.to_be_bytes());
}

/// Length from the IP header on of a settled packet. A segment has no padding by now.
#[inline(always)]
fn length<A: Plain, const P: u8>(head: &[u8], available: usize) -> Option<u16> {
    u16::try_from(if P == UDP { A::length(head) } else { available - ETHERNET }).ok()
}

/// Cuts padding off, behind the `end` of a datagram.
#[inline(always)]
fn trim<F: Frame, const P: u8>(frame: &mut F, available: usize, end: usize) {
    if P == UDP && available != end {
        frame.resize(end);
    }
}
