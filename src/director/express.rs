//! The common packet's way: IPv4 without options, TCP or UDP, off the wire, of a connection that it leaves in the state it is in, out of
//! a port that is ready. The other files of the director judge everything; this one does the same for these packets, in a few dozen
//! instructions and none of them twice. It changes nothing before it is sure, and gives up on whatever asks for a second thought.
//!
//! Conditions follow one another instead of being joined: each nearly always holds, and a branch that is foreseen costs nothing. What a
//! stage finds in the headers it does not write down: they are nearer than any note of them would be.

use crate::burst::{Burst, Kind, Mark, Slot, Source};
use crate::conn::{ConnFlags, ConnId, Connection};
use crate::director::path_mtu::Learnt;
use crate::director::{Core, Director, Shared};
use crate::forward::{ETHERNET, tun};
use crate::frame::Frame;
use crate::packet::End;
use crate::proto::segment::Segment;
use crate::proto::{State, TimeoutTable, tcp as flag};
use crate::ready::Ready;
use crate::snapshot::Snapshot;
use crate::stats::Event;
use crate::steering::Steering;
use crate::time::Tick;
use crate::verdict::{Origin, PortId, WorkerId};
use crate::wire::{checksum, ethernet, ipv4, protocol, tcp, udp};

/// Where the transport header begins.
const L4: usize = ETHERNET + ipv4::HEADER_LEN;
/// Ethernet, IPv4 and TCP without options. A frame off a wire is never shorter, whatever it carries (IEEE 802.3 pads to 60 bytes).
const HEAD: usize = L4 + tcp::HEADER_LEN;
/// Ethertype, and IPv4's version and header length, of a packet without options, with the type of service behind them shifted out.
const PLAIN: u32 = ((ethernet::ethertype::IPV4 as u32) << 8 | 0x45) << 8;
/// "More fragments" and the offset.
const FRAGMENT: u16 = 0x3fff;
/// Where the fields stand.
const LENGTH: usize = ETHERNET + 2;
const FRAGMENTS: usize = ETHERNET + 6;
const TTL: usize = ETHERNET + 8;
const PROTOCOL: usize = ETHERNET + 9;
const ADDRESSES: usize = ETHERNET + 12;
const DST: usize = ETHERNET + 16;
const TCP_FLAGS: usize = L4 + 13;
/// A MAC that no frame is to: the address that is compared has 16 bits less.
const NOBODY: u64 = 1;
/// Of a connection these ask for a second thought.
const CARE: ConnFlags = ConnFlags::LOCAL
    .with(ConnFlags::BYPASS)
    .with(ConnFlags::TEMPLATE)
    .with(ConnFlags::ONE_PACKET)
    .with(ConnFlags::NO_CPORT)
    .with(ConnFlags::RETIRED)
    .with(ConnFlags::HELPED);

type Head = [u8; HEAD];

/// Stage 1 for the common packets of a burst: what each is, and where its connection would be, which is then on its way. What is left as
/// [`Kind::Unseen`] is to be looked at closely; returns whether there is any.
pub(super) fn look<F: Frame>(director: &Director, burst: &mut Burst<F>) -> bool {
    let Director { core, snapshot, steering, .. } = director;
    // With no service of IPv4 every packet of it is the kernel's.
    let macs = if snapshot.rules.is_empty(false) { &[][..] } else { &snapshot.macs };
    let (vips, connections) = (snapshot.rules.vips4(), &core.v4.connections);
    // A mark may make any address virtual.
    let marked = snapshot.rules.has_mark_services::<u32>();
    let count = burst.count();
    let Burst { frames, sources, marks, .. } = burst;
    let (mut left, mut before, mut mac) = (false, Source::NONE, NOBODY);
    for ((frame, source), mark) in frames[..count].iter().zip(&sources[..count]).zip(&mut marks[..count]) {
        if before != *source {
            before = *source;
            let wire = source.origin() == Origin::Wire;
            mac = macs.get(usize::from(source.port().0)).filter(|_| wire).map_or(NOBODY, |mac| number(*mac));
        }
        let whole = frame.as_ref().filter(|frame| frame.largest_fragment().is_none());
        let Some((head, protocol)) = whole.and_then(|frame| read(frame.bytes(), mac)) else {
            (mark.kind, left) = (Kind::Unseen, true);
            continue;
        };
        let (address, port);
        (address, port, mark.kind) = if vips.contains(word(head, DST)) {
            (word(head, ADDRESSES), half(head, L4), Kind::PlainRequest4)
        } else if marked {
            (mark.kind, left) = (Kind::Unseen, true);
            continue;
        } else {
            (word(head, DST), half(head, L4 + 2), Kind::PlainReply4)
        };
        mark.hash = connections.hash(protocol, address, port);
        connections.prefetch(mark.hash);
    }
    if steering.workers() > 1 {
        left |= leave_others(burst, steering, core.shared.worker);
    }
    left
}

/// A MAC as the first eight bytes of a frame to it are read, but for the last two.
#[inline]
const fn number(mac: u64) -> u64 {
    (mac << 16).swap_bytes()
}

/// Reads the headers: they, and the protocol. None when the packet is not of the common kind, not sound, or not to that MAC
/// ([`number`]).
#[inline(always)]
fn read(bytes: &[u8], mac: u64) -> Option<(&Head, u8)> {
    let head = bytes.first_chunk::<HEAD>()?;
    let protocol = head[PROTOCOL];
    let least = match protocol {
        protocol::TCP => ipv4::HEADER_LEN + tcp::HEADER_LEN,
        protocol::UDP => ipv4::HEADER_LEN + udp::HEADER_LEN,
        _ => return None,
    };
    let length = usize::from(half(head, LENGTH));
    let to = head.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let common = to & 0xffff_ffff_ffff == mac
        && word(head, 12) & 0xffff_ff00 == PLAIN
        && half(head, FRAGMENTS) & FRAGMENT == 0
        && length >= least
        && length <= bytes.len() - ETHERNET
        && head[ETHERNET..].first_chunk().is_some_and(checksum::is_intact_header);
    common.then_some((head, protocol))
}

/// Writes down what the general way wants to know of a packet.
pub(super) fn complete<F: Frame>(slot: &mut Slot<'_, F>) {
    let Slot { frame: Some(frame), mark, meta, .. } = slot else { return };
    (meta.kind, meta.hash, meta.candidate) = (mark.kind, mark.hash, mark.candidate);
    let (Kind::PlainRequest4 | Kind::PlainReply4, Some(head)) = (mark.kind, frame.bytes().first_chunk::<HEAD>()) else {
        return;
    };
    (meta.sport, meta.dport) = (half(head, L4), half(head, L4 + 2));
    (meta.length, meta.l4, meta.protocol) = (half(head, LENGTH), L4 as u16, head[PROTOCOL]);
    meta.segment = if meta.protocol == protocol::UDP { Segment::Udp } else { Segment::Tcp(head[TCP_FLAGS]) };
}

/// Leaves other workers' clients to be handed over. Returns whether there is any.
#[inline(never)]
fn leave_others<F: Frame>(burst: &mut Burst<F>, steering: &Steering, worker: WorkerId) -> bool {
    let mut left = false;
    let count = burst.count();
    for (frame, mark) in burst.frames[..count].iter().zip(&mut burst.marks) {
        let Some(head) = frame.as_ref().and_then(|frame| frame.bytes().first_chunk()) else { continue };
        let client = match mark.kind {
            Kind::PlainRequest4 => word(head, ADDRESSES),
            Kind::PlainReply4 => word(head, DST),
            _ => continue,
        };
        if steering.owner4(client) != worker {
            (mark.kind, left) = (Kind::Unseen, true);
        }
    }
    left
}

/// Leaves every packet of a burst to be looked at closely.
pub(super) fn leave<F: Frame>(burst: &mut Burst<F>) -> bool {
    burst.marks_mut().iter_mut().for_each(|mark| mark.kind = Kind::Unseen);
    true
}

/// Stage 3 for the packets from number `at` on, as long as each is a common one; and stage 2 for those of the same numbers of another burst.
/// Returns the number of the first with which nothing was done, because it needs a second thought or there is none. With `TELLS` a
/// master of the synchronisation runs.
#[inline(always)]
pub(super) fn judge<F: Frame, const TELLS: bool>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut [Mark],
    decided: &mut Burst<F>,
    mut at: usize,
    now: Tick,
) -> usize {
    // Packets of one way come in a row, and each way has a loop of its own: with fewer things to keep in registers.
    while at < decided.count() {
        let before = at;
        at = match (decided.marks[at].kind, method(core, decided.marks[at].candidate)) {
            (Kind::PlainRequest4, DIRECT) => requests::<F, DIRECT, TELLS>(core, snapshot, sought, decided, at, now),
            (Kind::PlainRequest4, MASQUERADE) => {
                requests::<F, MASQUERADE, TELLS>(core, snapshot, sought, decided, at, now)
            }
            (Kind::PlainRequest4, TUNNEL) => requests::<F, TUNNEL, TELLS>(core, snapshot, sought, decided, at, now),
            (Kind::PlainReply4, MASQUERADE) => replies(core, snapshot, sought, decided, at, now),
            _ => return at,
        };
        if at == before {
            return at;
        }
    }
    at
}

/// The forwarding methods, as constants that a function may have.
const DIRECT: u16 = ConnFlags::DR.0;
const MASQUERADE: u16 = ConnFlags::NAT.0;
const TUNNEL: u16 = ConnFlags::TUN.0;
const METHOD: u16 = DIRECT | MASQUERADE | TUNNEL;

/// The method of the connection that the packet may belong to; 0 for none.
#[inline(always)]
fn method(core: &Core, candidate: ConnId) -> u16 {
    core.v4.connections.entry(candidate).map_or(0, |connection| connection.flags.0 & METHOD)
}

/// The packets of clients from number `from` on, as long as their connections are of that method.
#[inline(never)]
fn requests<F: Frame, const OF: u16, const TELLS: bool>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut [Mark],
    decided: &mut Burst<F>,
    from: usize,
    now: Tick,
) -> usize {
    let mut at = from;
    for (frame, mark) in packets(decided, from) {
        let (Some(frame), Kind::PlainRequest4) = (frame, mark.kind) else { break };
        let port = request::<F, OF, TELLS>(core, snapshot, frame, mark.candidate, now);
        let Some(port) = port else { break };
        mark.way = port.0;
        if let Some(mark) = sought.get_mut(at) {
            core.seek(mark);
        }
        at += 1;
    }
    core.shared.counters.events[Event::Request as usize] += (at - from) as u64;
    at
}

/// The packets of servers from number `from` on.
#[inline(never)]
fn replies<F: Frame>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut [Mark],
    decided: &mut Burst<F>,
    from: usize,
    now: Tick,
) -> usize {
    let mut at = from;
    for (frame, mark) in packets(decided, from) {
        let (Some(frame), Kind::PlainReply4) = (frame, mark.kind) else { break };
        let Some(port) = reply(core, snapshot, frame, mark.candidate, now) else { break };
        mark.way = port.0;
        if let Some(mark) = sought.get_mut(at) {
            core.seek(mark);
        }
        at += 1;
    }
    core.shared.counters.events[Event::Reply as usize] += (at - from) as u64;
    at
}

/// The packets of a burst from number `from` on, with what is known of them.
#[inline(always)]
fn packets<F>(burst: &mut Burst<F>, from: usize) -> impl Iterator<Item = (&mut Option<F>, &mut Mark)> {
    let count = burst.count();
    let range = from.min(count)..count;
    burst.frames[range.clone()].iter_mut().zip(&mut burst.marks[range])
}

/// A client's packet to its server.
#[inline(always)]
fn request<F: Frame, const OF: u16, const TELLS: bool>(
    core: &mut Core,
    snapshot: &Snapshot,
    frame: &mut F,
    candidate: ConnId,
    now: Tick,
) -> Option<PortId> {
    let Core { v4, shared: Shared { traffic, learnt, timeouts, ident, announcer, .. }, .. } = core;
    let connection = v4.connections.entry_mut(candidate)?;
    let bytes = frame.bytes_mut();
    let available = bytes.len();
    let head: &mut Head = bytes.first_chunk_mut()?;
    if pair(connection.caddr, connection.vaddr) != long(head, ADDRESSES)
        || ports(connection.cport, connection.vport) != word(head, L4)
    {
        return None;
    }
    let timeout = keeps(connection, head, timeouts, CARE.0 | METHOD, OF)?;
    // One whose packet may have to be told of goes the general way.
    if TELLS && (connection.template.is_some() || announcer.pace.may_tell(connection.packets.wrapping_add(1))) {
        return None;
    }
    let ready = snapshot.ready.get(connection.dest.index())?;
    let traffic = traffic.get_mut(connection.dest.index())?;
    let length = half(head, LENGTH);
    let mtu = if OF == TUNNEL { ready.inner_mtu } else { ready.mtu };
    if length > mtu || head[TTL] <= 1 {
        return None;
    }
    if OF == MASQUERADE {
        if lacks_checksum(head) {
            return None;
        }
        rewrite(head, End::Destination, connection.daddr, connection.dport);
    }
    if OF == TUNNEL {
        let usual = learnt.get(connection.dest.index()).is_some_and(Learnt::is_nothing);
        if !usual || !frame.prepend(ipv4::HEADER_LEN) {
            return None;
        }
        send_through(frame.bytes_mut().first_chunk_mut()?, ready, ident);
        trim(frame, available + ipv4::HEADER_LEN, L4, length);
    } else {
        send(head, ready);
        trim(frame, available, ETHERNET, length);
    }
    connection.packets = connection.packets.wrapping_add(1);
    connection.expires = now.plus(timeout);
    traffic.in_packets += 1;
    traffic.in_bytes += u64::from(length);
    Some(ready.port)
}

/// A server's packet to its client, whose connection is masqueraded.
#[inline(always)]
fn reply<F: Frame>(
    core: &mut Core,
    snapshot: &Snapshot,
    frame: &mut F,
    candidate: ConnId,
    now: Tick,
) -> Option<PortId> {
    const FLAGS: u16 = CARE.with(ConnFlags::SUPERSEDED).with(ConnFlags::NO_OUTPUT).0 | METHOD;
    let Core { v4, shared: Shared { traffic, timeouts, .. }, .. } = core;
    let connection = v4.connections.entry_mut(candidate)?;
    let bytes = frame.bytes_mut();
    let available = bytes.len();
    let head: &mut Head = bytes.first_chunk_mut()?;
    if pair(connection.daddr, connection.caddr) != long(head, ADDRESSES)
        || ports(connection.dport, connection.cport) != word(head, L4)
        || lacks_checksum(head)
        || !is_assured(connection)
    {
        return None;
    }
    let timeout = keeps(connection, head, timeouts, FLAGS, MASQUERADE)?;
    // A server that is out of service counts no more.
    let in_service = snapshot.ready.get(connection.dest.index())?.mtu != 0;
    let ready = snapshot.ways4.to(connection.caddr)?;
    let traffic = traffic.get_mut(connection.dest.index())?;
    let length = half(head, LENGTH);
    if !in_service || length > ready.mtu || head[TTL] <= 1 {
        return None;
    }
    connection.expires = now.plus(timeout);
    traffic.out_packets += 1;
    traffic.out_bytes += u64::from(length);
    rewrite(head, End::Source, connection.vaddr, connection.vport);
    send(head, ready);
    trim(frame, available, ETHERNET, length);
    Some(ready.port)
}

/// Two addresses as they follow one another in a header, to be compared at once.
#[inline(always)]
fn pair(src: u32, dst: u32) -> u64 {
    u64::from(src) << 32 | u64::from(dst)
}

/// Two ports as they follow one another in a header, to be compared at once.
#[inline(always)]
fn ports(src: u16, dst: u16) -> u32 {
    u32::from(src) << 16 | u32::from(dst)
}

/// The time-out of a connection whose state the packet leaves as it is (what [`Segment::keeps`] says, once more), and its template as sure of
/// it; in ticks. None if it does not, or if of these flags others are set. A datagram of a client's makes no template sure.
#[inline(always)]
fn keeps(connection: &Connection<u32>, head: &Head, timeouts: &TimeoutTable, of: u16, flags: u16) -> Option<u32> {
    const DECIDING: u8 = flag::FIN | flag::SYN | flag::RST | flag::ACK;
    let class =
        u32::from(connection.flags.0) << 16 | u32::from(connection.state as u8) << 8 | u32::from(connection.protocol);
    let is = |protocol: u8, state: State| {
        let timeout = timeouts.ticks(state);
        let same = class & (u32::from(of) << 16 | 0xffff)
            == u32::from(flags) << 16 | u32::from(state as u8) << 8 | u32::from(protocol);
        (same && connection.timeout == timeout).then_some(timeout)
    };
    if head[PROTOCOL] == protocol::UDP {
        return is(protocol::UDP, State::Udp);
    }
    if head[TCP_FLAGS] & DECIDING != flag::ACK || !is_assured(connection) {
        return None;
    }
    is(protocol::TCP, State::Established)
}

/// Does its template, if any, know already that it is established or answered?
#[inline(always)]
fn is_assured(connection: &Connection<u32>) -> bool {
    !connection.template.is_some() || connection.flags.contains(ConnFlags::ASSURED)
}

/// Is it a datagram without a checksum, for which masquerade computes one?
#[inline(always)]
fn lacks_checksum(head: &Head) -> bool {
    head[PROTOCOL] == protocol::UDP && !udp::Packet::new_unchecked(&head[L4..]).has_checksum()
}

/// Masquerade (see [`crate::forward::nat`]): an end's address and port, and the checksums.
#[inline(always)]
fn rewrite(head: &mut Head, end: End, address: u32, port: u16) {
    let datagram = head[PROTOCOL] == protocol::UDP;
    let (header, transport) = head[ETHERNET..].split_at_mut(ipv4::HEADER_LEN);
    let mut ip = ipv4::Packet::new_unchecked(header);
    let delta = match end {
        End::Source => ip.set_src(address.into()),
        End::Destination => ip.set_dst(address.into()),
    };
    if datagram {
        let mut udp = udp::Packet::new_unchecked(transport);
        let port = if end == End::Source { udp.set_src_port(port) } else { udp.set_dst_port(port) };
        udp.update_checksum(delta.and(port));
    } else {
        let mut tcp = tcp::Packet::new_unchecked(transport);
        let port = if end == End::Source { tcp.set_src_port(port) } else { tcp.set_dst_port(port) };
        tcp.update_checksum(delta.and(port));
    }
}

/// The last step: one hop less to live, of which there are two at least, and the MACs.
#[inline(always)]
fn send(head: &mut Head, ready: &Ready) {
    take_hop(&mut head[ETHERNET..L4]);
    head[..12].copy_from_slice(&ready.macs);
}

/// The same through a tunnel, for whose header there is room in front.
#[inline(always)]
fn send_through(head: &mut Head, ready: &Ready, last: &mut u32) {
    let ident = || {
        *last = last.wrapping_add(1);
        *last as u16
    };
    let (outer, inner) = head.split_at_mut(L4);
    let header = inner.first_chunk_mut().map_or([0; ipv4::HEADER_LEN], |inner: &mut [u8; ipv4::HEADER_LEN]| {
        take_hop(inner);
        tun::ipip_header(inner, ident, ready.ends)
    });
    outer[..12].copy_from_slice(&ready.macs);
    outer[12..ETHERNET].copy_from_slice(&ethernet::ethertype::IPV4.to_be_bytes());
    outer[ETHERNET..].copy_from_slice(&header);
}

/// Takes one from the time to live of a header that has it to spare ([`ipv4::Packet::decrement_ttl`]).
#[inline(always)]
fn take_hop(header: &mut [u8]) {
    const TTL: usize = 8;
    const CHECKSUM: usize = 10;
    let Some(header) = header.first_chunk_mut::<{ ipv4::HEADER_LEN }>() else { return };
    header[TTL] = header[TTL].wrapping_sub(1);
    let sum = u32::from(u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]])) + 0x0100;
    let sum = (sum + u32::from(sum >= 0xffff)) as u16;
    [header[CHECKSUM], header[CHECKSUM + 1]] = sum.to_be_bytes();
}

/// Cuts padding off: of so many bytes the IP packet begins at `l3`.
#[inline(always)]
fn trim<F: Frame>(frame: &mut F, available: usize, l3: usize, length: u16) {
    let end = l3 + usize::from(length);
    if available != end {
        frame.resize(end);
    }
}

/// The two bytes from `at` on, in network order.
#[inline(always)]
fn half(head: &Head, at: usize) -> u16 {
    head[at..].first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// The four bytes from `at` on, in network order.
#[inline(always)]
fn word(head: &Head, at: usize) -> u32 {
    head[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The eight bytes from `at` on, in network order.
#[inline(always)]
fn long(head: &Head, at: usize) -> u64 {
    head[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
