//! The common packet's way: no IP options nor extension headers, TCP or UDP, off the wire, of a connection that it leaves in the state it is
//! in, out of a port that is ready. The other files of the director judge everything; this one does the same for these packets, in a
//! few dozen instructions and none of them twice. It changes nothing before it is sure, and gives up on whatever asks for a second thought.
//!
//! Conditions follow one another instead of being joined: each nearly always holds, and a branch that is foreseen costs nothing. What a
//! stage finds in the headers it does not write down: they are nearer than any note of them would be.

mod plain;

use crate::burst::{Burst, Kind, Mark, Meta, Slot, Source};
use crate::conn::{ConnFlags, ConnId, Connection, Table};
use crate::director::path_mtu::Learnt;
use crate::director::{Core, Director, Lane, Shared};
use crate::forward::{ETHERNET, tun};
use crate::frame::Frame;
use crate::network::AddressSet;
use crate::packet::End;
use crate::proto::segment::Segment;
use crate::proto::{State, TimeoutTable, tcp as flag};
use crate::ready::Ready;
use crate::snapshot::Snapshot;
use crate::stats::Event;
use crate::steering::{Role, Steering};
use crate::time::Tick;
use crate::verdict::{Origin, PortId, WorkerId};
use crate::wire::{ethernet, ipv4, protocol, tcp, udp};

use plain::{Plain, half, take_hop, word};

/// Offset of the flags in a TCP header.
const TCP_FLAGS: usize = 13;
/// A MAC that no frame is to: of the number that it is compared with the upper 16 bits are clear.
const NOBODY: u64 = u64::MAX;
/// Of a connection these ask for a second thought.
const CARE: ConnFlags = ConnFlags::LOCAL
    .with(ConnFlags::BYPASS)
    .with(ConnFlags::TEMPLATE)
    .with(ConnFlags::ONE_PACKET)
    .with(ConnFlags::NO_CPORT)
    .with(ConnFlags::RETIRED)
    .with(ConnFlags::HELPED);

/// What tells whose packets of a family are.
struct Eyes<'a, A> {
    /// With no service of the family every packet of it is the kernel's.
    serves: bool,
    /// A mark may make any address virtual.
    marked: bool,
    vips: &'a AddressSet<A>,
    connections: &'a Table<A>,
}

impl<'a, A: Plain> Eyes<'a, A> {
    fn new(director: &'a Director) -> Self {
        let rules = &director.snapshot.rules;
        Self {
            serves: !rules.is_empty(A::V6),
            marked: rules.has_mark_services::<A>(),
            vips: A::vips(rules),
            connections: &A::tables(&director.core).connections,
        }
    }

    /// Says what a frame to that MAC is ([`number`]), and has where its connection would be fetched. False when it is not of the common
    /// kind, or not sound.
    #[inline(always)]
    fn see(&self, bytes: &[u8], mac: u64, mark: &mut Mark) -> bool {
        let Some((head, protocol)) = read::<A>(bytes, mac) else { return false };
        let (address, port);
        (address, port, mark.kind) = if self.vips.contains(A::address(head, A::DST)) {
            (A::address(head, A::SRC), half(head, A::L4), A::REQUEST)
        } else if self.marked {
            return false;
        } else {
            (A::address(head, A::DST), half(head, A::L4 + 2), A::REPLY)
        };
        mark.hash = self.connections.hash(protocol, address, port);
        self.connections.prefetch(mark.hash);
        true
    }
}

/// Stage 1 for the common packets of a burst: what each is, and where its connection would be, which is then on its way. What is left as
/// [`Kind::Unseen`] is to be looked at closely; returns whether there is any.
pub(super) fn look<F: Frame>(director: &Director, burst: &mut Burst<F>) -> bool {
    let Director { core, snapshot, steering, .. } = director;
    let (v4, v6) = (Eyes::<u32>::new(director), Eyes::<u128>::new(director));
    let count = burst.count();
    let Burst { frames, sources, marks, .. } = burst;
    let (mut left, mut before, mut mac4, mut mac6) = (false, Source::NONE, NOBODY, NOBODY);
    for ((frame, source), mark) in frames[..count].iter().zip(&sources[..count]).zip(&mut marks[..count]) {
        if before != *source {
            before = *source;
            let known = snapshot.macs.get(usize::from(source.port().0)).map_or(NOBODY, |mac| number(*mac));
            let mac = if source.origin() == Origin::Wire { known } else { NOBODY };
            (mac4, mac6) = (if v4.serves { mac } else { NOBODY }, if v6.serves { mac } else { NOBODY });
        }
        let whole = frame.as_ref().filter(|frame| frame.largest_fragment().is_none());
        let seen = whole.is_some_and(|frame| {
            let bytes = frame.bytes();
            v4.see(bytes, mac4, mark) || apart(&v6, bytes, mac6, mark)
        });
        if !seen {
            (mark.kind, left) = (Kind::Unseen, true);
        }
    }
    if steering.workers() > 1 {
        left |= leave_others(burst, steering, core.shared.worker);
    }
    left
}

/// [`Eyes::see`] by a call, so that a loop has registers for the other family.
#[inline(never)]
fn apart<A: Plain>(eyes: &Eyes<'_, A>, bytes: &[u8], mac: u64, mark: &mut Mark) -> bool {
    eyes.see(bytes, mac, mark)
}

/// A MAC as the first eight bytes of a frame to it are read, but for the last two.
#[inline]
const fn number(mac: u64) -> u64 {
    (mac << 16).swap_bytes()
}

/// Reads the headers: they, and the protocol. None when the packet is not of the common kind, not sound, or not to that MAC.
#[inline(always)]
fn read<A: Plain>(bytes: &[u8], mac: u64) -> Option<(&[u8], u8)> {
    let head = bytes.get(..A::HEAD)?;
    let protocol = head[A::PROTOCOL];
    let least = match protocol {
        protocol::TCP => A::L4 + tcp::HEADER_LEN,
        protocol::UDP => A::L4 + udp::HEADER_LEN,
        _ => return None,
    };
    let end = ETHERNET + A::length(head);
    let to = head.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let common = to & 0xffff_ffff_ffff == mac && end >= least && end <= bytes.len() && A::is_plain(head);
    common.then_some((head, protocol))
}

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
    meta.segment = if meta.protocol == protocol::UDP { Segment::Udp } else { Segment::Tcp(head[A::L4 + TCP_FLAGS]) };
}

/// Leaves other workers' clients to be handed over. Returns whether there is any.
#[inline(never)]
fn leave_others<F: Frame>(burst: &mut Burst<F>, steering: &Steering, worker: WorkerId) -> bool {
    let mut left = false;
    let count = burst.count();
    for ((frame, source), mark) in burst.frames[..count].iter().zip(&burst.sources).zip(&mut burst.marks) {
        let Some(frame) = frame else { continue };
        let at = |offset| frame.bytes().get(offset..).unwrap_or_default();
        let told = |role, v6| steering.owner_by_device(source.port(), role, v6, frame.rss_hash());
        let owner = match mark.kind {
            Kind::PlainRequest4 => told(Role::Outside, false).or_else(|| owner4(steering, at(u32::SRC))),
            Kind::PlainReply4 => told(Role::Inside, false).or_else(|| owner4(steering, at(u32::DST))),
            Kind::PlainRequest6 => told(Role::Outside, true).or_else(|| owner6(steering, at(u128::SRC))),
            Kind::PlainReply6 => told(Role::Inside, true).or_else(|| owner6(steering, at(u128::DST))),
            _ => continue,
        };
        if owner != Some(worker) {
            (mark.kind, left) = (Kind::Unseen, true);
        }
    }
    left
}

/// The owner of the IPv4 client whose address the bytes begin with.
#[inline]
fn owner4(steering: &Steering, bytes: &[u8]) -> Option<WorkerId> {
    bytes.first_chunk().map(|address| steering.owner4(u32::from_be_bytes(*address)))
}

/// The owner of the IPv6 client whose address the bytes begin with.
#[inline]
fn owner6(steering: &Steering, bytes: &[u8]) -> Option<WorkerId> {
    bytes.first_chunk().map(|address| steering.owner6(u128::from_be_bytes(*address)))
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
        let mark = decided.marks[at];
        at = match (mark.kind, method(core, mark)) {
            (Kind::PlainRequest4, DIRECT) => {
                requests::<F, u32, DIRECT, TELLS>(core, snapshot, sought, decided, at, now)
            }
            (Kind::PlainRequest4, MASQUERADE) => {
                requests::<F, u32, MASQUERADE, TELLS>(core, snapshot, sought, decided, at, now)
            }
            (Kind::PlainRequest4, TUNNEL) => {
                requests::<F, u32, TUNNEL, TELLS>(core, snapshot, sought, decided, at, now)
            }
            (Kind::PlainReply4, MASQUERADE) => replies::<F, u32>(core, snapshot, sought, decided, at, now),
            (Kind::PlainRequest6, DIRECT) => {
                requests::<F, u128, DIRECT, TELLS>(core, snapshot, sought, decided, at, now)
            }
            (Kind::PlainRequest6, MASQUERADE) => {
                requests::<F, u128, MASQUERADE, TELLS>(core, snapshot, sought, decided, at, now)
            }
            (Kind::PlainReply6, MASQUERADE) => replies::<F, u128>(core, snapshot, sought, decided, at, now),
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
fn method(core: &Core, mark: Mark) -> u16 {
    let flags = if mark.kind.is_v6() {
        core.v6.connections.entry(mark.candidate).map(|connection| connection.flags)
    } else {
        core.v4.connections.entry(mark.candidate).map(|connection| connection.flags)
    };
    flags.map_or(0, |flags| flags.0 & METHOD)
}

/// The packets of clients from number `from` on, as long as their connections are of that method.
#[inline(never)]
fn requests<F: Frame, A: Plain, const OF: u16, const TELLS: bool>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut [Mark],
    decided: &mut Burst<F>,
    from: usize,
    now: Tick,
) -> usize {
    let mut at = from;
    for (frame, mark) in packets(decided, from) {
        let Some(frame) = frame.as_mut().filter(|_| mark.kind == A::REQUEST) else { break };
        let port = request::<F, A, OF, TELLS>(A::lane(core, snapshot), frame, mark.candidate, now);
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
fn replies<F: Frame, A: Plain>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut [Mark],
    decided: &mut Burst<F>,
    from: usize,
    now: Tick,
) -> usize {
    let mut at = from;
    for (frame, mark) in packets(decided, from) {
        let Some(frame) = frame.as_mut().filter(|_| mark.kind == A::REPLY) else { break };
        let Some(port) = reply::<F, A>(A::lane(core, snapshot), frame, mark.candidate, now) else { break };
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
fn request<F: Frame, A: Plain, const OF: u16, const TELLS: bool>(
    lane: Lane<'_, A>,
    frame: &mut F,
    candidate: ConnId,
    now: Tick,
) -> Option<PortId> {
    let Lane { tables, shared: Shared { traffic, learnt, timeouts, ident, announcer, .. }, snapshot } = lane;
    let connection = tables.connections.entry_mut(candidate)?;
    let bytes = frame.bytes_mut();
    let available = bytes.len();
    let head = bytes.get_mut(..A::HEAD)?;
    if !A::is_between(head, connection.caddr, connection.vaddr)
        || ports(connection.cport, connection.vport) != word(head, A::L4)
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
    let length = A::length(head);
    let mtu = if OF == TUNNEL { ready.inner_mtu } else { ready.mtu };
    if length > usize::from(mtu) || head[A::HOPS] <= 1 {
        return None;
    }
    if OF == MASQUERADE {
        if lacks_checksum::<A>(head) {
            return None;
        }
        rewrite(head, End::Destination, connection.daddr, connection.dport);
    }
    if OF == TUNNEL {
        let usual = learnt.get(connection.dest.index()).is_some_and(Learnt::is_nothing);
        if !usual || !frame.prepend(ipv4::HEADER_LEN) {
            return None;
        }
        send_through(frame.bytes_mut(), ready, ident);
        trim(frame, available + ipv4::HEADER_LEN, ETHERNET + ipv4::HEADER_LEN + length);
    } else {
        send::<A>(head, ready);
        trim(frame, available, ETHERNET + length);
    }
    connection.packets = connection.packets.wrapping_add(1);
    connection.expires = now.plus(timeout);
    traffic.in_packets += 1;
    traffic.in_bytes += length as u64;
    Some(ready.port)
}

/// A server's packet to its client, whose connection is masqueraded.
#[inline(always)]
fn reply<F: Frame, A: Plain>(lane: Lane<'_, A>, frame: &mut F, candidate: ConnId, now: Tick) -> Option<PortId> {
    const FLAGS: u16 = CARE.with(ConnFlags::SUPERSEDED).with(ConnFlags::NO_OUTPUT).0 | METHOD;
    let Lane { tables, shared: Shared { traffic, timeouts, .. }, snapshot } = lane;
    let connection = tables.connections.entry_mut(candidate)?;
    let bytes = frame.bytes_mut();
    let available = bytes.len();
    let head = bytes.get_mut(..A::HEAD)?;
    if !A::is_between(head, connection.daddr, connection.caddr)
        || ports(connection.dport, connection.cport) != word(head, A::L4)
        || lacks_checksum::<A>(head)
        || !is_assured(connection)
    {
        return None;
    }
    let timeout = keeps(connection, head, timeouts, FLAGS, MASQUERADE)?;
    // A server that is out of service counts no more.
    let in_service = snapshot.ready.get(connection.dest.index())?.mtu != 0;
    let ready = A::ways(snapshot).to(connection.caddr)?;
    let traffic = traffic.get_mut(connection.dest.index())?;
    let length = A::length(head);
    if !in_service || length > usize::from(ready.mtu) || head[A::HOPS] <= 1 {
        return None;
    }
    connection.expires = now.plus(timeout);
    traffic.out_packets += 1;
    traffic.out_bytes += length as u64;
    rewrite(head, End::Source, connection.vaddr, connection.vport);
    send::<A>(head, ready);
    trim(frame, available, ETHERNET + length);
    Some(ready.port)
}

/// Two ports as they follow one another in a header, to be compared at once.
#[inline(always)]
fn ports(src: u16, dst: u16) -> u32 {
    u32::from(src) << 16 | u32::from(dst)
}

/// The time-out of a connection whose state the packet leaves as it is (what [`Segment::keeps`] says, once more), and its template as sure of
/// it; in ticks. None if it does not, or if of these flags others are set. A datagram of a client's makes no template sure.
#[inline(always)]
fn keeps<A: Plain>(
    connection: &Connection<A>,
    head: &[u8],
    timeouts: &TimeoutTable,
    of: u16,
    flags: u16,
) -> Option<u32> {
    const DECIDING: u8 = flag::FIN | flag::SYN | flag::RST | flag::ACK;
    let is = |protocol: u8, state: State| {
        let timeout = timeouts.ticks(state);
        let same = connection.protocol == protocol && connection.state == state && connection.timeout == timeout;
        same.then_some(timeout)
    };
    if connection.flags.0 & of != flags {
        return None;
    }
    if head[A::PROTOCOL] == protocol::UDP {
        return is(protocol::UDP, State::Udp);
    }
    if head[A::L4 + TCP_FLAGS] & DECIDING != flag::ACK || !is_assured(connection) {
        return None;
    }
    is(protocol::TCP, State::Established)
}

/// Does its template, if any, know already that it is established or answered?
#[inline(always)]
fn is_assured<A>(connection: &Connection<A>) -> bool {
    !connection.template.is_some() || connection.flags.contains(ConnFlags::ASSURED)
}

/// Is it a datagram without a checksum, for which masquerade computes one?
#[inline(always)]
fn lacks_checksum<A: Plain>(head: &[u8]) -> bool {
    head[A::PROTOCOL] == protocol::UDP && !udp::Packet::new_unchecked(&head[A::L4..]).has_checksum()
}

/// Masquerade (see [`crate::forward::nat`]): an end's address and port, and the checksums.
#[inline(always)]
fn rewrite<A: Plain>(head: &mut [u8], end: End, address: A, port: u16) {
    let delta = A::replace(head, end, address);
    let (datagram, transport) = (head[A::PROTOCOL] == protocol::UDP, &mut head[A::L4..A::HEAD]);
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

/// The last step: one hop less to live, and the MACs.
#[inline(always)]
fn send<A: Plain>(head: &mut [u8], ready: &Ready) {
    A::take_hop(head);
    head[..12].copy_from_slice(&ready.macs);
}

/// The same through a tunnel of IPv4 in IPv4, for whose header there is room in front.
#[inline(always)]
fn send_through(bytes: &mut [u8], ready: &Ready, last: &mut u32) {
    const INNER: usize = ETHERNET + ipv4::HEADER_LEN;
    let ident = || {
        *last = last.wrapping_add(1);
        *last as u16
    };
    let Some(head) = bytes.first_chunk_mut::<{ INNER + ipv4::HEADER_LEN }>() else { return };
    let (outer, inner) = head.split_at_mut(INNER);
    let header = inner.first_chunk_mut().map_or([0; ipv4::HEADER_LEN], |inner: &mut [u8; ipv4::HEADER_LEN]| {
        take_hop(inner);
        tun::ipip_header(inner, ident, ready.ends)
    });
    outer[..12].copy_from_slice(&ready.macs);
    outer[12..ETHERNET].copy_from_slice(&ethernet::ethertype::IPV4.to_be_bytes());
    outer[ETHERNET..].copy_from_slice(&header);
}

/// Cuts padding off, behind the `end` of the packet.
#[inline(always)]
fn trim<F: Frame>(frame: &mut F, available: usize, end: usize) {
    if available != end {
        frame.resize(end);
    }
}
