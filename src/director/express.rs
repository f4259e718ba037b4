//! The common packet's way: IPv4 without options, TCP or UDP, off the wire, of a connection that it leaves in the state it is in, out of
//! a port that is ready. The other files of the director judge everything; this one does the same for these packets, in a few dozen
//! instructions and none of them twice. It changes nothing before it is sure, and gives up on whatever asks for a second thought.
//!
//! Conditions follow one another instead of being joined: each nearly always holds, and a branch that is foreseen costs nothing.

use crate::burst::{Burst, Kind, Meta, Slot};
use crate::conn::{ConnFlags, Connection, Table};
use crate::director::path_mtu::Learnt;
use crate::director::{Core, Director, Shared};
use crate::forward::{ETHERNET, tun};
use crate::frame::Frame;
use crate::network::AddressSet;
use crate::packet::End;
use crate::proto::TimeoutTable;
use crate::proto::segment::Segment;
use crate::ready::Ready;
use crate::snapshot::Snapshot;
use crate::stats::Event;
use crate::steering::Steering;
use crate::time::Tick;
use crate::verdict::{Origin, PortId, Verdict, WorkerId};
use crate::wire::{checksum, ethernet, ipv4, protocol, tcp, udp};

/// Where the transport header begins.
const L4: usize = ETHERNET + ipv4::HEADER_LEN;
/// Ethernet, IPv4 and TCP without options. A frame off a wire is never shorter, whatever it carries (IEEE 802.3 pads to 60 bytes).
const HEAD: usize = L4 + tcp::HEADER_LEN;
/// Ethertype, and IPv4's version and header length, of a packet without options.
const PLAIN: u64 = (ethernet::ethertype::IPV4 as u64) << 8 | 0x45;
/// "More fragments" and the offset, in the eight bytes that begin with them.
const FRAGMENT: u64 = 0x3fff << 48;
/// Where the TTL stands.
const TTL: usize = ETHERNET + 8;
/// Of a connection these ask for a second thought.
const CARE: ConnFlags = ConnFlags::LOCAL
    .with(ConnFlags::BYPASS)
    .with(ConnFlags::TEMPLATE)
    .with(ConnFlags::ONE_PACKET)
    .with(ConnFlags::NO_CPORT)
    .with(ConnFlags::RETIRED)
    .with(ConnFlags::HELPED);

type Head = [u8; HEAD];

/// Stage 1 for the common packets of a burst: what each is, whose it is, and where its connection would be. What is left as
/// [`Kind::Unseen`] is to be looked at closely; returns whether there is any.
pub(super) fn look<F: Frame>(director: &Director, burst: &mut Burst<F>) -> bool {
    let Director { core, snapshot, steering, .. } = director;
    // With no service of IPv4 every packet of it is the kernel's.
    let macs = if snapshot.rules.is_empty(false) { &[][..] } else { &snapshot.macs };
    let (vips, connections) = (snapshot.rules.vips4(), &core.v4.connections);
    // A mark may make any address virtual.
    let marked = snapshot.rules.has_mark_services::<u32>();
    let mut left = false;
    for Slot { frame, meta, port, origin, .. } in burst.slots_mut() {
        let Some(frame) = frame else { continue };
        let whole = *origin == Origin::Wire && frame.largest_fragment().is_none();
        let mac = macs.get(usize::from(port.0)).filter(|_| whole);
        let seen = mac
            .is_some_and(|mac| read(frame.bytes(), *mac, meta) && find(frame.bytes(), vips, connections, meta))
            && !(marked && meta.kind == Kind::PlainReply4);
        if !seen {
            meta.kind = Kind::Unseen;
            left = true;
        }
    }
    if steering.workers() > 1 {
        left |= leave_others(burst, steering, core.shared.worker);
    }
    left
}

/// Reads the headers. False when the packet is not of the common kind, or not sound.
#[inline(always)]
fn read(bytes: &[u8], mac: u64, meta: &mut Meta) -> bool {
    let Some(head) = bytes.first_chunk::<HEAD>() else { return false };
    // Ethertype, version and header length, type of service, length, identification.
    let opening = long(head, 12);
    // Fragment, TTL, protocol, checksum and half of the source.
    let middle = long(head, 20);
    if long(head, 0) >> 16 != mac || opening >> 40 != PLAIN || middle & FRAGMENT != 0 {
        return false;
    }
    let (protocol, length) = ((middle >> 32) as u8, (opening >> 16) as u16);
    let datagram = protocol == protocol::UDP;
    let least = ipv4::HEADER_LEN + if datagram { udp::HEADER_LEN } else { tcp::HEADER_LEN };
    let whole = (least..=bytes.len() - ETHERNET).contains(&usize::from(length));
    if !whole || !(datagram || protocol == protocol::TCP) || !is_intact(head) {
        return false;
    }
    let ports = word(head, L4);
    (meta.sport, meta.dport) = ((ports >> 16) as u16, ports as u16);
    (meta.length, meta.l4, meta.protocol) = (length, L4 as u16, protocol);
    meta.segment = if datagram { Segment::Udp } else { Segment::Tcp(head[L4 + 13]) };
    true
}

/// Finds out which side the packet comes from, and where its connection would be, whose bucket is then on its way.
#[inline(always)]
fn find(bytes: &[u8], vips: &AddressSet<u32>, connections: &Table<u32>, meta: &mut Meta) -> bool {
    let Some(head) = bytes.first_chunk::<HEAD>() else { return false };
    let dst = word(head, 30);
    let (client, cport);
    (client, cport, meta.kind) = if vips.contains(dst) {
        (word(head, 26), meta.sport, Kind::PlainRequest4)
    } else {
        (dst, meta.dport, Kind::PlainReply4)
    };
    meta.hash = connections.hash(meta.protocol, client, cport);
    connections.prefetch(meta.hash);
    true
}

/// Is the header intact? See [`checksum::is_intact_header`].
#[inline(always)]
fn is_intact(head: &Head) -> bool {
    head[ETHERNET..].first_chunk().is_some_and(checksum::is_intact_header)
}

/// Leaves other workers' clients to be handed over. Returns whether there is any.
#[inline(never)]
fn leave_others<F: Frame>(burst: &mut Burst<F>, steering: &Steering, worker: WorkerId) -> bool {
    let mut left = false;
    for Slot { frame, meta, .. } in burst.slots_mut() {
        let Some(head) = frame.as_ref().and_then(|frame| frame.bytes().first_chunk()) else { continue };
        let client = match meta.kind {
            Kind::PlainRequest4 => word(head, 26),
            Kind::PlainReply4 => word(head, 30),
            _ => continue,
        };
        if steering.owner4(client) != worker {
            meta.kind = Kind::Unseen;
            left = true;
        }
    }
    left
}

/// Leaves every packet of a burst to be looked at closely.
pub(super) fn leave<F: Frame>(burst: &mut Burst<F>) -> bool {
    burst.slots_mut().for_each(|slot| slot.meta.kind = Kind::Unseen);
    true
}

/// Stage 3 for one packet. False when it needs a second thought, and nothing was done. With `TELLS` a master of the synchronisation
/// runs.
#[inline(always)]
pub(super) fn judge<F: Frame, const TELLS: bool>(
    core: &mut Core,
    snapshot: &Snapshot,
    slot: &mut Slot<F>,
    now: Tick,
) -> bool {
    let Slot { frame: Some(frame), meta, verdict, .. } = slot else { return false };
    let port = match meta.kind {
        Kind::PlainRequest4 => request::<F, TELLS>(core, snapshot, frame, meta, now),
        Kind::PlainReply4 => reply(core, snapshot, frame, meta, now),
        _ => None,
    };
    let Some(port) = port else { return false };
    *verdict = Verdict::Transmit(port);
    true
}

/// A client's packet to its server.
#[inline(always)]
fn request<F: Frame, const TELLS: bool>(
    core: &mut Core,
    snapshot: &Snapshot,
    frame: &mut F,
    meta: &Meta,
    now: Tick,
) -> Option<PortId> {
    let Core { v4, shared: Shared { traffic, learnt, timeouts, counters, ident, announcer, .. }, .. } = core;
    let connection = v4.connections.entry_mut(meta.candidate)?;
    let bytes = frame.bytes_mut();
    let padded = bytes.len() > ETHERNET + usize::from(meta.length);
    let head: &mut Head = bytes.first_chunk_mut()?;
    if pair(connection.caddr, connection.vaddr) != long(head, 26)
        || ports(connection.cport, connection.vport) != ports(meta.sport, meta.dport)
        || !is_settled(connection, meta, timeouts)
        || (meta.segment != Segment::Udp && !is_assured(connection))
    {
        return None;
    }
    // One whose packet may have to be told of goes the general way.
    let next = connection.packets.wrapping_add(1);
    if TELLS && (connection.template.is_some() || announcer.pace.may_tell(next)) {
        return None;
    }
    let ready = snapshot.ready.get(connection.dest.index())?;
    let traffic = traffic.get_mut(connection.dest.index())?;
    let tunnelled = connection.flags.intersects(ConnFlags::TUN);
    let mtu = if tunnelled { ready.inner_mtu } else { ready.mtu };
    if meta.length > mtu || head[TTL] <= 1 {
        return None;
    }
    if connection.flags.intersects(ConnFlags::NAT) {
        if lacks_checksum(head, meta.segment) {
            return None;
        }
        rewrite(head, meta.segment, End::Destination, connection.daddr, connection.dport);
    } else if tunnelled {
        let usual = learnt.get(connection.dest.index()).is_some_and(Learnt::is_nothing);
        if !usual || !frame.prepend(ipv4::HEADER_LEN) {
            return None;
        }
    }
    connection.packets = next;
    connection.expires = now.plus(connection.timeout);
    traffic.in_packets += 1;
    traffic.in_bytes += u64::from(meta.length);
    counters.event(Event::Request);
    if tunnelled {
        return Some(send_through(frame, ready, meta.length, padded, ident));
    }
    Some(send(frame, ready, meta.length, padded))
}

/// A server's packet to its client, whose connection is masqueraded.
#[inline(always)]
fn reply<F: Frame>(core: &mut Core, snapshot: &Snapshot, frame: &mut F, meta: &Meta, now: Tick) -> Option<PortId> {
    const FLAGS: ConnFlags = ConnFlags::NAT.with(ConnFlags::SUPERSEDED).with(ConnFlags::NO_OUTPUT);
    let Core { v4, shared: Shared { traffic, timeouts, counters, .. }, .. } = core;
    let connection = v4.connections.entry_mut(meta.candidate)?;
    let bytes = frame.bytes_mut();
    let padded = bytes.len() > ETHERNET + usize::from(meta.length);
    let head: &mut Head = bytes.first_chunk_mut()?;
    let client = word(head, 30);
    if pair(connection.daddr, connection.caddr) != long(head, 26)
        || ports(connection.cport, connection.dport) != ports(meta.dport, meta.sport)
        || connection.flags.0 & FLAGS.0 != ConnFlags::NAT.0
        || !is_settled(connection, meta, timeouts)
        || !is_assured(connection)
        || lacks_checksum(head, meta.segment)
    {
        return None;
    }
    // A server that is out of service counts no more.
    let in_service = snapshot.ready.get(connection.dest.index())?.mtu != 0;
    let ready = snapshot.ways4.to(client)?;
    let traffic = traffic.get_mut(connection.dest.index())?;
    if !in_service || meta.length > ready.mtu || head[TTL] <= 1 {
        return None;
    }
    connection.expires = now.plus(connection.timeout);
    traffic.out_packets += 1;
    traffic.out_bytes += u64::from(meta.length);
    counters.event(Event::Reply);
    rewrite(head, meta.segment, End::Source, connection.vaddr, connection.vport);
    Some(send(frame, ready, meta.length, padded))
}

/// Two addresses as they follow one another in a header, to be compared at once.
#[inline(always)]
fn pair(src: u32, dst: u32) -> u64 {
    u64::from(src) << 32 | u64::from(dst)
}

/// Two ports, to be compared at once.
#[inline(always)]
fn ports(first: u16, second: u16) -> u32 {
    u32::from(second) << 16 | u32::from(first)
}

/// Does the packet leave the connection's state as it is, and the timer as long?
#[inline(always)]
fn is_settled(connection: &Connection<u32>, meta: &Meta, timeouts: &TimeoutTable) -> bool {
    connection.protocol == meta.protocol
        && meta.segment.keeps() == Some(connection.state)
        && connection.timeout == timeouts.ticks(connection.state)
        && !connection.flags.intersects(CARE)
}

/// Does its template, if any, know already that it is established or answered?
#[inline(always)]
fn is_assured(connection: &Connection<u32>) -> bool {
    !connection.template.is_some() || connection.flags.contains(ConnFlags::ASSURED)
}

/// Is it a datagram without a checksum, for which masquerade computes one?
#[inline(always)]
fn lacks_checksum(head: &Head, segment: Segment) -> bool {
    segment == Segment::Udp && !udp::Packet::new_unchecked(&head[L4..]).has_checksum()
}

/// Masquerade (see [`crate::forward::nat`]): an end's address and port, and the checksums.
#[inline(always)]
fn rewrite(head: &mut Head, segment: Segment, end: End, address: u32, port: u16) {
    let (header, transport) = head[ETHERNET..].split_at_mut(ipv4::HEADER_LEN);
    let mut ip = ipv4::Packet::new_unchecked(header);
    let delta = match end {
        End::Source => ip.set_src(address.into()),
        End::Destination => ip.set_dst(address.into()),
    };
    if segment == Segment::Udp {
        let mut udp = udp::Packet::new_unchecked(transport);
        let port = if end == End::Source { udp.set_src_port(port) } else { udp.set_dst_port(port) };
        udp.update_checksum(delta.and(port));
    } else {
        let mut tcp = tcp::Packet::new_unchecked(transport);
        let port = if end == End::Source { tcp.set_src_port(port) } else { tcp.set_dst_port(port) };
        tcp.update_checksum(delta.and(port));
    }
}

/// The last step: one hop less to live, the MACs, and no padding.
#[inline(always)]
fn send<F: Frame>(frame: &mut F, ready: &Ready, length: u16, padded: bool) -> PortId {
    if let Some(head) = frame.bytes_mut().first_chunk_mut::<HEAD>() {
        ipv4::Packet::new_unchecked(&mut head[ETHERNET..L4]).decrement_ttl();
        head[..12].copy_from_slice(&ready.macs);
    }
    if padded {
        frame.resize(ETHERNET + usize::from(length));
    }
    ready.port
}

/// The same through a tunnel, for which there is room in front.
#[inline(always)]
fn send_through<F: Frame>(frame: &mut F, ready: &Ready, length: u16, padded: bool, last: &mut u32) -> PortId {
    let ident = || {
        *last = last.wrapping_add(1);
        *last as u16
    };
    if let Some(head) = frame.bytes_mut().first_chunk_mut::<HEAD>() {
        let (outer, inner) = head.split_at_mut(L4);
        let inner = inner.first_chunk_mut();
        let header = inner.map_or([0; ipv4::HEADER_LEN], |inner| {
            ipv4::Packet::new_unchecked(&mut *inner).decrement_ttl();
            tun::ipip_header(inner, ident, ready.ends)
        });
        outer[..12].copy_from_slice(&ready.macs);
        outer[12..ETHERNET].copy_from_slice(&ethernet::ethertype::IPV4.to_be_bytes());
        outer[ETHERNET..].copy_from_slice(&header);
    }
    if padded {
        frame.resize(L4 + usize::from(length));
    }
    ready.port
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
