//! The common packet's way: no IP options nor extension headers, TCP or UDP, off the wire, of a connection that it leaves in the state it is
//! in, out of a port that is ready. The other files of the director judge everything; this one does the same for these packets, in a
//! few dozen instructions and none of them twice. It changes nothing before it is sure, and gives up on whatever asks for a second thought.
//!
//! Conditions follow one another instead of being joined: each nearly always holds, and a branch that is foreseen costs nothing. What a
//! stage finds in the headers it does not write down: they are nearer than any note of them would be.

mod plain;
mod tunnel;

use crate::burst::{Burst, Kind, Mark, Marks, Meta, Slot};
use crate::conn::{ConnFlags, ConnId, Connection, Table};
use crate::director::path_mtu::Learnt;
use crate::director::{Core, Director, Lane, Shared, aside};
use crate::forward::ETHERNET;
use crate::frame::Frame;
use crate::network::AddressSet;
use crate::packet::End;
use crate::proto::segment::Segment;
use crate::proto::{State, TimeoutTable, tcp as flag};
use crate::ready::Ends6;
use crate::snapshot::Snapshot;
use crate::stats::{Event, Line};
use crate::steering::{Role, Steering};
use crate::time::Tick;
use crate::verdict::{Origin, PortId, WorkerId};
use crate::wire::{checksum, protocol, tcp, udp};

use plain::{Mould, Plain, half, put, word};

/// The protocols, as constants that a type may have.
const TCP: u8 = protocol::TCP;
const UDP: u8 = protocol::UDP;
/// Of a connection these ask for a second thought.
const CARE: ConnFlags = ConnFlags::LOCAL
    .with(ConnFlags::BYPASS)
    .with(ConnFlags::TEMPLATE)
    .with(ConnFlags::ONE_PACKET)
    .with(ConnFlags::NO_CPORT)
    .with(ConnFlags::RETIRED)
    .with(ConnFlags::HELPED);

/// What tells whose packets of a family are.
#[derive(Clone, Copy)]
struct Eyes<'a, A> {
    /// With no service of the family every packet of it is the kernel's, and with no virtual address for the general way.
    serves: bool,
    /// A mark may make any address virtual.
    marked: bool,
    vips: &'a AddressSet<A>,
    /// The virtual address that a packet was to lately, which is asked about first: most are to the same.
    vip: A,
    connections: &'a Table<A>,
}

impl<'a, A: Plain> Eyes<'a, A> {
    fn new(director: &'a Director) -> Self {
        let rules = &director.snapshot.rules;
        let vips = A::vips(rules);
        let vip = vips.any();
        Self {
            serves: !rules.is_empty(A::V6) && vip.is_some(),
            marked: rules.has_mark_services::<A>(),
            vips,
            vip: vip.unwrap_or_default(),
            connections: &A::tables(&director.core).connections,
        }
    }

    /// What a segment of an open connection looks like that came to that MAC, as [`Snapshot::macs`] has it.
    fn mould(&self, mac: Option<u64>) -> Option<Mould> {
        mac.filter(|_| self.serves).map(|mac| A::MOULD.to(number(mac)))
    }

    /// Says what a segment of an open connection is, and has where its connection would be fetched. False when it is none.
    #[inline(always)]
    fn see_segment(&self, last: &mut A, mould: &Mould, bytes: &[u8], mark: &mut Mark) -> bool {
        let Some(head) = start(bytes, A::HEAD) else { return false };
        let end = ETHERNET + A::length(head);
        let open = head[A::L4 + plain::FLAGS] & plain::DECIDING == flag::ACK;
        if !mould.fits(head) || !open || end < A::HEAD || end > bytes.len() || !A::has_intact_header(head) {
            return false;
        }
        mark.settled = protocol::TCP;
        self.place(head, protocol::TCP, last, mark)
    }

    /// Says what any packet is. False when it is not of the common kind, or not sound.
    #[inline(always)]
    fn see(&self, mould: &Option<Mould>, bytes: &[u8], mark: &mut Mark) -> bool {
        let Some(mould) = mould else { return false };
        let Some((head, protocol)) = read::<A>(bytes, mould) else { return false };
        let settled = protocol == protocol::UDP || head[A::L4 + plain::FLAGS] & plain::DECIDING == flag::ACK;
        mark.settled = if settled { protocol } else { 0 };
        self.place(head, protocol, &mut A::default(), mark)
    }

    #[inline(always)]
    fn place(&self, head: &[u8], protocol: u8, last: &mut A, mark: &mut Mark) -> bool {
        let (address, port);
        (address, port, mark.kind) = if A::is_to(head, self.vip) || self.is_virtual(A::address(head, A::DST), last) {
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

    #[inline(always)]
    fn is_virtual(&self, address: A, last: &mut A) -> bool {
        let is = self.vips.contains(address);
        if is {
            *last = address;
        }
        is
    }
}

/// Stage 1 for the common packets of a burst: what each is, and where its connection would be, which is then on its way. What is left as
/// [`Kind::Unseen`] is to be looked at closely; returns whether there is any.
pub(super) fn look<F: Frame>(director: &Director, burst: &mut Burst<F>) -> bool {
    let Director { core, snapshot, steering, .. } = director;
    let mut v4 = Eyes::<u32>::new(director);
    let (mut at, mut left) = (0, false);
    while at < burst.count() {
        let (source, end) = (burst.sources[at], burst.end_of_run(at));
        let mac = snapshot.macs.get(usize::from(source.port().0)).copied();
        let mac = mac.filter(|_| source.origin() == Origin::Wire);
        let (frames, marks) = (&burst.frames[at..end], &mut burst.marks[at..end]);
        let mould = v4.mould(mac);
        let seen = segments(&mut v4, &mould, frames, marks, 0);
        if seen < frames.len() {
            left |= look_on(director, &mut v4, frames, marks, seen, mac);
        }
        at = end;
    }
    if steering.workers() > 1 {
        left |= leave_others(burst, steering, core.shared.worker);
    }
    left
}

/// The same for the frames of one source from number `at` on, of which that is no segment of IPv4: those of a kind in a row, each kind in
/// a loop of its own.
#[inline(never)]
fn look_on<F: Frame>(
    director: &Director,
    v4: &mut Eyes<'_, u32>,
    frames: &[Option<F>],
    marks: &mut [Mark],
    mut at: usize,
    mac: Option<u64>,
) -> bool {
    let mut v6 = Eyes::<u128>::new(director);
    let moulds = (v4.mould(mac), v6.mould(mac));
    let mut left = false;
    while at < frames.len() {
        let before = at;
        at = segments(&mut v6, &moulds.1, frames, marks, at);
        if at == before {
            at = others((v4, &v6), &moulds, frames, marks, at, &mut left);
        }
        at = segments(v4, &moulds.0, frames, marks, at);
    }
    left
}

/// The segments of open connections from number `at` on, as long as all are of the family.
#[inline(never)]
fn segments<F: Frame, A: Plain>(
    eyes: &mut Eyes<'_, A>,
    mould: &Option<Mould>,
    frames: &[Option<F>],
    marks: &mut [Mark],
    mut at: usize,
) -> usize {
    // Where the mould is not known at compile time it is compared by instructions that take 32 bytes.
    let (Some(mould), own) = (mould.map(aside), *eyes) else { return at };
    let last = &mut eyes.vip;
    while let (Some(Some(frame)), Some(mark)) = (frames.get(at), marks.get_mut(at)) {
        if frame.largest_fragment().is_some() || !own.see_segment(last, &mould, frame.bytes(), mark) {
            break;
        }
        at += 1;
    }
    at
}

/// What else there is from number `at` on, until the next segment of an open connection.
#[inline(never)]
fn others<F: Frame>(
    (v4, v6): (&Eyes<'_, u32>, &Eyes<'_, u128>),
    moulds: &(Option<Mould>, Option<Mould>),
    frames: &[Option<F>],
    marks: &mut [Mark],
    mut at: usize,
    left: &mut bool,
) -> usize {
    while let (Some(frame), Some(mark)) = (frames.get(at), marks.get_mut(at)) {
        let bytes = frame.as_ref().filter(|frame| frame.largest_fragment().is_none()).map(Frame::bytes);
        if !bytes.is_some_and(|bytes| v4.see(&moulds.0, bytes, mark) || v6.see(&moulds.1, bytes, mark)) {
            (mark.kind, *left) = (Kind::Unseen, true);
        }
        at += 1;
        if mark.kind != Kind::Unseen && mark.settled == protocol::TCP {
            break;
        }
    }
    at
}

/// The first `length` bytes. Asked like this, of a pointer that is never null nobody asks whether it is.
#[inline(always)]
fn start(bytes: &[u8], length: usize) -> Option<&[u8]> {
    if bytes.len() < length {
        return None;
    }
    Some(&bytes[..length])
}

/// A MAC as the first eight bytes of a frame to it are read, but for the last two.
#[inline]
const fn number(mac: u64) -> u64 {
    (mac << 16).swap_bytes()
}

/// Reads the headers: they, and the protocol. None when the packet is not of the common kind, not sound, or not to the MAC of the mould.
#[inline(always)]
fn read<'a, A: Plain>(bytes: &'a [u8], mould: &Mould) -> Option<(&'a [u8], u8)> {
    let head = start(bytes, A::HEAD)?;
    let protocol = head[A::PROTOCOL];
    let least = match protocol {
        protocol::TCP => A::L4 + tcp::HEADER_LEN,
        protocol::UDP => A::L4 + udp::HEADER_LEN,
        _ => return None,
    };
    let end = ETHERNET + A::length(head);
    let common =
        mould.is_to(head) && end >= least && end <= bytes.len() && A::is_plain(head) && A::has_intact_header(head);
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
    meta.segment = if meta.protocol == protocol::UDP { Segment::Udp } else { Segment::Tcp(head[A::L4 + plain::FLAGS]) };
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
            (Kind::PlainRequest4, TCP) => requests::<F, u32, TCP, TELLS>(core, snapshot, sought, decided, at, now),
            (Kind::PlainRequest4, UDP) => requests::<F, u32, UDP, TELLS>(core, snapshot, sought, decided, at, now),
            (Kind::PlainReply4, TCP) => row::<F, u32, Reply<TCP>>(core, snapshot, sought, decided, at, now),
            (Kind::PlainReply4, UDP) => row::<F, u32, Reply<UDP>>(core, snapshot, sought, decided, at, now),
            (Kind::PlainRequest6, TCP) => requests::<F, u128, TCP, TELLS>(core, snapshot, sought, decided, at, now),
            (Kind::PlainRequest6, UDP) => requests::<F, u128, UDP, TELLS>(core, snapshot, sought, decided, at, now),
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
fn requests<F: Frame, A: Plain, const P: u8, const TELLS: bool>(
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

/// The forwarding methods, likewise.
const DIRECT: u16 = ConnFlags::DR.0;
const MASQUERADE: u16 = ConnFlags::NAT.0;
const TUNNEL: u16 = ConnFlags::TUN.0;
const METHOD: u16 = DIRECT | MASQUERADE | TUNNEL;

/// What packets in a row have in common.
trait Way<A: Plain> {
    /// What they are.
    const KIND: Kind;
    /// Of which protocol.
    const PROTOCOL: u8;
    /// As what they count.
    const EVENT: Event;

    /// Rewrites one of them; the port that it leaves by, or None, and no change, when it is not of the common kind.
    fn forward<F: Frame>(lane: Lane<'_, A>, frame: &mut F, candidate: ConnId, now: Tick) -> Option<PortId>;
}

/// The packets from number `from` on, as long as all go that way.
#[inline(never)]
fn row<F: Frame, A: Plain, W: Way<A>>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut Marks,
    decided: &mut Burst<F>,
    from: usize,
    now: Tick,
) -> usize {
    let count = decided.count();
    let Burst { frames, marks, .. } = decided;
    let mut at = from;
    while at < count {
        let (frame, mark) = (&mut frames[at], &mut marks[at]);
        if mark.sort() != Mark::sort_of(W::KIND, W::PROTOCOL) {
            break;
        }
        let Some(frame) = frame else { break };
        let Some(port) = W::forward(A::lane(core, snapshot), frame, mark.candidate, now) else { break };
        mark.way = port.0;
        core.seek(&mut sought[at]);
        at += 1;
    }
    core.shared.counters.events[W::EVENT as usize] += (at - from) as u64;
    at
}

/// Clients' packets of protocol `P` to servers by one method.
struct Request<const P: u8, const METHOD: u16, const TELLS: bool>;

impl<A: Plain, const P: u8, const BY: u16, const TELLS: bool> Way<A> for Request<P, BY, TELLS> {
    const KIND: Kind = A::REQUEST;
    const PROTOCOL: u8 = P;
    const EVENT: Event = Event::Request;

    #[inline(always)]
    fn forward<F: Frame>(lane: Lane<'_, A>, frame: &mut F, candidate: ConnId, now: Tick) -> Option<PortId> {
        let Lane { tables, shared: Shared { traffic, learnt, timeouts, ident, announcer, .. }, snapshot } = lane;
        let connection = tables.connections.entry_mut(candidate)?;
        let bytes = frame.bytes_mut();
        let available = bytes.len();
        if available < A::HEAD {
            return None;
        }
        let head = &mut bytes[..A::HEAD];
        if !A::is_between(head, connection.caddr, connection.vaddr)
            || ports(connection.cport, connection.vport) != word(head, A::L4)
        {
            return None;
        }
        let timeout = keeps::<A, P>(connection, timeouts, CARE.0 | METHOD, BY)?;
        // One whose packet may have to be told of goes the general way.
        if TELLS && (connection.template.is_some() || announcer.pace.may_tell(connection.packets.wrapping_add(1))) {
            return None;
        }
        let ready = snapshot.ready.get(connection.dest.index())?;
        let Line(traffic) = traffic.get_mut(connection.dest.index())?;
        let length = A::length(head);
        let mtu = if BY == TUNNEL { ready.inner_mtu[usize::from(A::V6)] } else { ready.mtu };
        if length > usize::from(mtu) || head[A::HOPS] <= 1 {
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
            let usual = learnt.get(connection.dest.index()).is_some_and(Learnt::is_nothing);
            let ends6 = if A::V6 { snapshot.ends6.get(connection.dest.index())? } else { &Ends6::NONE };
            // The outer header is as long as the packet's own.
            if !usual || !frame.prepend(A::L4 - ETHERNET) {
                return None;
            }
            tunnel::enter::<A>(frame.bytes_mut(), ready, ends6, ident);
            trim(frame, available + A::L4 - ETHERNET, A::L4 + length);
        } else {
            if BY == DIRECT {
                A::take_hop(head);
            }
            put(head, 0, ready.macs);
            trim(frame, available, ETHERNET + length);
        }
        connection.packets = connection.packets.wrapping_add(1);
        connection.expires = now.plus(timeout);
        traffic.in_packets += 1;
        traffic.in_bytes += length as u64;
        Some(ready.port)
    }
}

/// Servers' packets of protocol `P` to clients, whose connections are masqueraded.
struct Reply<const P: u8>;

impl<A: Plain, const P: u8> Way<A> for Reply<P> {
    const KIND: Kind = A::REPLY;
    const PROTOCOL: u8 = P;
    const EVENT: Event = Event::Reply;

    #[inline(always)]
    fn forward<F: Frame>(lane: Lane<'_, A>, frame: &mut F, candidate: ConnId, now: Tick) -> Option<PortId> {
        const FLAGS: u16 = CARE.with(ConnFlags::SUPERSEDED).with(ConnFlags::NO_OUTPUT).0 | METHOD;
        let Lane { tables, shared: Shared { traffic, timeouts, near, .. }, snapshot } = lane;
        let connection = tables.connections.entry_mut(candidate)?;
        let bytes = frame.bytes_mut();
        let available = bytes.len();
        if available < A::HEAD {
            return None;
        }
        let head = &mut bytes[..A::HEAD];
        if !A::is_between(head, connection.daddr, connection.caddr)
            || ports(connection.dport, connection.cport) != word(head, A::L4)
            || lacks_checksum::<A, P>(head)
            || !is_assured(connection)
        {
            return None;
        }
        let timeout = keeps::<A, P>(connection, timeouts, FLAGS, MASQUERADE)?;
        // A server that is out of service counts no more.
        let in_service = snapshot.ready.get(connection.dest.index())?.mtu != 0;
        let ready = A::ways(snapshot).to_near(&mut near[usize::from(A::V6)], connection.caddr)?;
        let Line(traffic) = traffic.get_mut(connection.dest.index())?;
        let length = A::length(head);
        if !in_service || length > usize::from(ready.mtu) || head[A::HOPS] <= 1 {
            return None;
        }
        connection.expires = now.plus(timeout);
        traffic.out_packets += 1;
        traffic.out_bytes += length as u64;
        let (old, new) = ((connection.daddr, connection.dport), (connection.vaddr, connection.vport));
        rewrite::<A, P>(head, End::Source, old, new);
        put(head, 0, ready.macs);
        trim(frame, available, ETHERNET + length);
        Some(ready.port)
    }
}

/// Two ports as they follow one another in a header, to be compared at once.
#[inline(always)]
fn ports(src: u16, dst: u16) -> u32 {
    u32::from(src) << 16 | u32::from(dst)
}

/// The time-out of a connection whose state a settled packet of protocol `P` leaves as it is (what [`Segment::keeps`] says, once more),
/// and its template as sure of it; in ticks. None if it does not, or if of these flags others are set. A datagram of a client's makes no
/// template sure.
#[inline(always)]
fn keeps<A: Plain, const P: u8>(
    connection: &Connection<A>,
    timeouts: &TimeoutTable,
    of: u16,
    flags: u16,
) -> Option<u32> {
    let state = if P == UDP { State::Udp } else { State::Established };
    // The first two are neighbours in memory, and are compared at once.
    let told = u16::from_le_bytes([connection.protocol, connection.state as u8]);
    if told != u16::from_le_bytes([P, state as u8]) || connection.flags.0 & of != flags {
        return None;
    }
    let timeout = timeouts.ticks(state);
    (connection.timeout == timeout && (P == UDP || is_assured(connection))).then_some(timeout)
}

/// Does its template, if any, know already that it is established or answered?
#[inline(always)]
fn is_assured<A>(connection: &Connection<A>) -> bool {
    !connection.template.is_some() || connection.flags.contains(ConnFlags::ASSURED)
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

/// Cuts padding off, behind the `end` of the packet.
#[inline(always)]
fn trim<F: Frame>(frame: &mut F, available: usize, end: usize) {
    if available != end {
        frame.resize(end);
    }
}
