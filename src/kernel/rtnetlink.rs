//! The kernel's routing socket (rtnetlink(7)): requests with their answers, multicast events, and what both say turned into the terms
//! of [`super::view`]. Messages are taken apart by netlink-packet-route.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, Socket, SocketAddr, TokioSocket};
use nix::errno::Errno;

use super::view::{Assigned, Event, KernelPolicy, KernelRoute, Key, Link, Neighbour, Reach, RouteKind, Table, View};
use crate::addr::MacAddr;

/// Bytes of one datagram; the kernel sends no larger ones to a reader of this size.
const DATAGRAM: usize = 1 << 16;
/// Receive buffer asked for, in bytes; the kernel gives at most `net.core.rmem_max`.
const RECEIVE_BUFFER: i32 = 1 << 22;
/// How often a dump that was overtaken by a change is begun anew.
const ATTEMPTS: usize = 4;
/// `RT_TABLE_LOCAL`.
const TABLE_LOCAL: u32 = 255;
/// `RT_TABLE_MAIN`.
const TABLE_MAIN: u32 = 254;
/// `RTNLGRP_*` of links, neighbours, addresses, routes and rules of both families, and next-hop objects (linux/rtnetlink.h).
const GROUPS: [u32; 9] = [1, 3, 5, 7, 8, 9, 11, 19, 32];
/// `RTM_NEWROUTE`, `RTM_DELROUTE`, `RTM_NEWRULE`, `RTM_DELRULE`, `RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP`: whatever they say, the routes are read anew.
const ROUTE_EVENTS: [u16; 6] = [24, 25, 32, 33, 104, 105];

/// MTU of an interface in the network namespace of the calling thread; `None` if there is none of that name. (`/sys/class/net` is
/// that of the namespace in which `/sys` was mounted, which may be another.)
pub fn interface_mtu(name: &str) -> Option<u32> {
    Requests::open().and_then(|mut requests| requests.mtu(name)).ok().flatten()
}

/// A socket that asks and waits for the answer. The kernel answers while the request is being sent, so that waiting costs no more
/// than reading; it may be done on the control thread.
pub(super) struct Requests {
    socket: Socket,
    sequence: u32,
}

impl Requests {
    /// Opens the socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Everything: links, addresses, routes, neighbours.
    pub(super) fn view(&mut self) -> io::Result<View> {
        let mut view = View::default();
        let whole = [
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
        ];
        for request in whole {
            let answers = self.dump(&request)?;
            for event in answers.into_iter().filter_map(event) {
                view.apply(event);
            }
        }
        self.replace_routes(&mut view)?;
        Ok(view)
    }

    /// MTU of the interface of this name; `None` if there is none.
    fn mtu(&mut self, name: &str) -> io::Result<Option<u32>> {
        let answers = self.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(named(&answers, name).map(|message| link(message).mtu))
    }

    /// Reads the rules of policy routing and the routes. Returns true when they differ from those before.
    pub(super) fn replace_routes(&mut self, view: &mut View) -> io::Result<bool> {
        let policies = self.policies()?;
        let mut routes = self.routes()?;
        routes.retain(|r| match r.table {
            Table::Other(table) => policies.iter().any(|p| p.table == table),
            Table::Local | Table::Main => true,
        });
        let changed = view.replace_policies(policies);
        Ok(view.replace_routes(routes) || changed)
    }

    /// The rules of both families that look at the mark alone, in their order.
    fn policies(&mut self) -> io::Result<Vec<KernelPolicy>> {
        let mut policies = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RuleMessage::default();
            request.header.family = family;
            let answers = self.dump(&RouteNetlinkMessage::GetRule(request))?;
            policies.extend(answers.into_iter().filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRule(message) => policy(&message),
                _ => None,
            }));
        }
        Ok(policies)
    }

    /// The routes of both families.
    fn routes(&mut self) -> io::Result<Vec<KernelRoute>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let answers = self.dump(&RouteNetlinkMessage::GetRoute(request))?;
            routes.extend(answers.into_iter().filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(message) => route(&message),
                _ => None,
            }));
        }
        Ok(routes)
    }

    /// Asks the kernel to resolve a neighbour, or to confirm one that is stale, as if a packet had been sent to it.
    pub(super) fn probe(&mut self, key: Key) -> io::Result<()> {
        let mut message = neighbour_message(key);
        message.header.state = NeighbourState::None;
        message.header.flags = NeighbourFlags::Use;
        self.call(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE)
    }

    /// Makes a neighbour known for good.
    pub(super) fn add_neighbour(&mut self, key: Key, mac: MacAddr) -> io::Result<()> {
        let mut message = neighbour_message(key);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.into()));
        self.call(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Puts an address on an interface; it is no error when it is there.
    pub(super) fn assign(&mut self, interface: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let message = address_message(interface, address, prefix);
        match self.call(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE) {
            Err(e) if e.raw_os_error() == Some(Errno::EEXIST as i32) => Ok(()),
            result => result,
        }
    }

    /// The index of an interface; `None` if there is none of that name.
    pub(super) fn index(&mut self, name: &str) -> io::Result<Option<u32>> {
        let answers = self.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(named(&answers, name).map(|message| message.header.index))
    }

    /// The addresses of an interface that bear a mark ([`Requests::assign_marked`]).
    pub(super) fn marked(&mut self, interface: u32, mark: u8) -> io::Result<Vec<IpAddr>> {
        let answers = self.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let of_mark = |message: &AddressMessage| message.attributes.contains(&protocol(mark));
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(m) if m.header.index == interface && of_mark(m) => assigned(m),
                _ => None,
            })
            .map(|assigned| assigned.address)
            .collect())
    }

    /// Puts an address with nothing around it on an interface, with a mark (`IFA_PROTO`, kept since Linux 5.18) that tells it from those
    /// of others. Returns false when it is there already.
    pub(super) fn assign_marked(&mut self, interface: u32, address: IpAddr, mark: u8) -> io::Result<bool> {
        let mut message = lone(interface, address);
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(protocol(mark));
        match self.call(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE) {
            Err(e) if e.raw_os_error() == Some(Errno::EEXIST as i32) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Takes such an address away; it is no error when it is not there.
    pub(super) fn take_away(&mut self, interface: u32, address: IpAddr) -> io::Result<()> {
        match self.call(RouteNetlinkMessage::DelAddress(lone(interface, address)), 0) {
            Err(e) if e.raw_os_error() == Some(Errno::EADDRNOTAVAIL as i32) => Ok(()),
            result => result,
        }
    }

    /// Gives an interface carrier, or takes it. The kernel lets that be done to a TAP since Linux 5.0.
    pub(super) fn set_carrier(&mut self, interface: u32, up: bool) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = interface;
        message.attributes.push(LinkAttribute::Carrier(up.into()));
        self.call(RouteNetlinkMessage::SetLink(message), 0)
    }

    pub(super) fn call(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(request, flags | NLM_F_ACK)?;
        self.answers(&mut Vec::new()).map(drop)
    }

    pub(super) fn dump(&mut self, request: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut answers = Vec::new();
        for _ in 0..ATTEMPTS {
            answers.clear();
            self.send(request.clone(), NLM_F_DUMP)?;
            if self.answers(&mut answers)? {
                break;
            }
        }
        // A change that overtakes every attempt is also told as an event, after which it is read again.
        Ok(answers)
    }

    fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// Reads to the end of the answer. Returns false when a change has overtaken a dump.
    fn answers(&mut self, into: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
        let mut consistent = true;
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            let (_, from) = self.socket.recv_from(&mut datagram, 0)?;
            if !is_kernel(&from) {
                continue;
            }
            for (header, bytes) in messages(&datagram) {
                if header.sequence_number != self.sequence {
                    continue;
                }
                consistent &= header.flags & NLM_F_DUMP_INTR == 0;
                match parse(header, bytes) {
                    Some(NetlinkPayload::InnerMessage(answer)) => into.push(answer),
                    Some(NetlinkPayload::Error(e)) if e.code.is_some() => return Err(e.to_io()),
                    Some(NetlinkPayload::Error(_) | NetlinkPayload::Done(_)) => return Ok(consistent),
                    _ => {}
                }
            }
        }
    }
}

/// Opens a socket that is told every change, in the network namespace of the calling thread.
pub(super) fn subscribe() -> io::Result<TokioSocket> {
    let mut events = TokioSocket::new(NETLINK_ROUTE)?;
    let socket = events.socket_mut();
    socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
    socket.bind_auto()?;
    GROUPS.iter().try_for_each(|&group| socket.add_membership(group))?;
    Ok(events)
}

/// Waits for the next datagram of events.
///
/// # Errors
/// `ENOBUFS` when the socket overran: events are lost, and all has to be read anew.
pub(super) async fn events(socket: &TokioSocket) -> io::Result<Vec<Event>> {
    let mut datagram = Vec::with_capacity(DATAGRAM);
    let from = socket.recv_from(&mut datagram).await?;
    if !is_kernel(&from) {
        return Ok(Vec::new());
    }
    let told = |(header, bytes): (NetlinkHeader, &[u8])| {
        if ROUTE_EVENTS.contains(&header.message_type) {
            return Some(Event::RoutesChanged);
        }
        match parse(header, bytes)? {
            NetlinkPayload::InnerMessage(message) => event(message),
            _ => None,
        }
    };
    Ok(messages(&datagram).filter_map(told).collect())
}

/// What other processes say is not believed.
fn is_kernel(from: &SocketAddr) -> bool {
    from.port_number() == 0
}

/// The messages in a datagram, each with its header.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = (NetlinkHeader, &[u8])> {
    std::iter::from_fn(move || {
        let buffer = NetlinkBuffer::new_checked(&rest).ok()?;
        let mut header = NetlinkHeader::default();
        header.length = buffer.length();
        header.message_type = buffer.message_type();
        header.flags = buffer.flags();
        header.sequence_number = buffer.sequence_number();
        let length = usize::try_from(buffer.length()).ok()?;
        let message = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((header, message))
    })
}

fn parse(header: NetlinkHeader, bytes: &[u8]) -> Option<NetlinkPayload<RouteNetlinkMessage>> {
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) {
        Ok(message) => Some(message.payload),
        Err(error) => {
            tracing::debug!(kind = header.message_type, %error, "a message of the kernel's is not understood");
            None
        }
    }
}

/// The link of that name in what was dumped.
fn named<'a>(answers: &'a [RouteNetlinkMessage], name: &str) -> Option<&'a LinkMessage> {
    let mut links = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(message) if is_whole(message) => Some(message),
        _ => None,
    });
    links.find(|message| message.attributes.iter().any(|a| matches!(a, LinkAttribute::IfName(n) if n == name)))
}

fn neighbour_message((interface, address): Key) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = interface;
    let address = match address {
        IpAddr::V4(a) => NeighbourAddress::Inet(a),
        IpAddr::V6(a) => NeighbourAddress::Inet6(a),
    };
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}

fn address_message(interface: u32, address: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.index = interface;
    message.header.prefix_len = prefix;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}

/// An address that is a network of its own.
fn lone(interface: u32, address: IpAddr) -> AddressMessage {
    address_message(interface, address, if address.is_ipv4() { 32 } else { 128 })
}

fn protocol(mark: u8) -> AddressAttribute {
    AddressAttribute::Protocol(AddressProtocol::Other(mark))
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// What a message tells, as an event.
fn event(message: RouteNetlinkMessage) -> Option<Event> {
    match message {
        RouteNetlinkMessage::NewLink(m) if is_whole(&m) => Some(Event::Link(m.header.index, link(&m))),
        RouteNetlinkMessage::DelLink(m) if is_whole(&m) => Some(Event::LinkGone(m.header.index)),
        RouteNetlinkMessage::NewAddress(m) => assigned(&m).map(Event::Address),
        RouteNetlinkMessage::DelAddress(m) => {
            assigned(&m).map(|a| Event::AddressGone(a.interface, a.address, a.prefix))
        }
        RouteNetlinkMessage::NewNeighbour(m) => neighbour(&m).map(|(key, neighbour)| Event::Neighbour(key, neighbour)),
        RouteNetlinkMessage::DelNeighbour(m) => neighbour(&m).map(|(key, _)| Event::NeighbourGone(key)),
        _ => None,
    }
}

/// Is it about the interface itself? A bridge sends messages of its own family about its ports, which say nothing of the link.
fn is_whole(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let (up, carrier) = (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::LowerUp));
    let mut link = Link { mac: MacAddr::default(), mtu: 0, up, carrier };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => link.mac = mac(bytes).unwrap_or_default(),
            _ => {}
        }
    }
    link
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    bytes.try_into().ok().map(MacAddr)
}

fn assigned(message: &AddressMessage) -> Option<Assigned> {
    let header = &message.header;
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(a) => local = Some(*a),
            AddressAttribute::Address(a) => address = Some(*a),
            _ => {}
        }
    }
    // On a point-to-point link the attribute "address" is the peer's.
    let address = local.or(address)?;
    let unfit = match address {
        IpAddr::V4(_) => AddressHeaderFlags::Secondary,
        IpAddr::V6(_) => AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed | AddressHeaderFlags::Deprecated,
    };
    let source = !header.flags.intersects(unfit) && header.scope != AddressScope::Host;
    Some(Assigned { interface: header.index, address, prefix: header.prefix_len, source })
}

fn neighbour(message: &NeighbourMessage) -> Option<(Key, Neighbour)> {
    let header = &message.header;
    // A proxied address is one that the kernel answers for, no neighbour; and a bridge's forwarding entries come the same way.
    let other = header.flags.contains(NeighbourFlags::Proxy);
    if other || !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return None;
    }
    let (mut address, mut hardware) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => address = Some(IpAddr::V4(*a)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => address = Some(IpAddr::V6(*a)),
            NeighbourAttribute::LinkLayerAddress(bytes) => hardware = mac(bytes),
            _ => {}
        }
    }
    Some(((header.ifindex, address?), Neighbour { reach: reach(header.state), mac: hardware }))
}

fn reach(state: NeighbourState) -> Reach {
    match state {
        NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe => Reach::Known,
        NeighbourState::Stale => Reach::Stale,
        NeighbourState::Permanent | NeighbourState::Noarp => Reach::Fixed,
        _ => Reach::Unknown,
    }
}

/// A route of the tables that are followed. Left out are clones of the route cache, routes for one TOS or one source network, and
/// those that are dead because their interface is down.
fn route(message: &RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    if header.flags.intersects(RouteFlags::Cloned | RouteFlags::Dead)
        || header.tos != 0
        || header.source_prefix_length != 0
    {
        return None;
    }
    let mut table = u32::from(header.table);
    let mut route = KernelRoute {
        table: Table::Main,
        network: unspecified,
        prefix: header.destination_prefix_length,
        metric: 0,
        kind: RouteKind::Kernel,
        source: None,
        mtu: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(t) => table = *t,
            RouteAttribute::Destination(a) => route.network = ip(a)?,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::PrefSource(a) => route.source = ip(a),
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            _ => {}
        }
    }
    route.table = followed(table);
    route.kind = kind(header.kind, route.table, &message.attributes)?;
    Some(route)
}

fn followed(table: u32) -> Table {
    match table {
        TABLE_LOCAL => Table::Local,
        TABLE_MAIN => Table::Main,
        other => Table::Other(other),
    }
}

/// A rule of policy routing that looks at the mark and nothing else; none of another kind.
fn policy(message: &RuleMessage) -> Option<KernelPolicy> {
    let header = &message.header;
    let narrowed = header.dst_len != 0 || header.src_len != 0 || header.tos != 0;
    if header.action != RuleAction::ToTable || narrowed || header.flags.contains(RuleFlags::Invert) {
        return None;
    }
    let (mut mark, mut mask, mut table) = (None, u32::MAX, u32::from(header.table));
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Table(value) => table = *value,
            RuleAttribute::Priority(_)
            | RuleAttribute::Protocol(_)
            | RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::SuppressIfGroup(u32::MAX)
            | RuleAttribute::L3MDev(false)
            | RuleAttribute::Other(_) => {}
            _ => return None,
        }
    }
    Some(KernelPolicy { v6: header.family == AddressFamily::Inet6, mark: mark?, mask, table })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

fn mtu(metrics: &[RouteMetric]) -> u32 {
    let mtu = |m: &RouteMetric| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None };
    metrics.iter().find_map(mtu).unwrap_or(0)
}

fn kind(kind: RouteType, table: Table, attributes: &[RouteAttribute]) -> Option<RouteKind> {
    match kind {
        RouteType::Unicast => Some(unicast(attributes)),
        RouteType::Local | RouteType::Anycast => Some(RouteKind::Local),
        // After the main table comes only the default one, which nobody fills.
        RouteType::Throw if table != Table::Main => None,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => {
            Some(RouteKind::Unreachable)
        }
        _ => Some(RouteKind::Kernel),
    }
}

/// Of several next hops the first that lives is taken: flows are not spread over them.
fn unicast(attributes: &[RouteAttribute]) -> RouteKind {
    let first =
        attributes.iter().find_map(|a| if let RouteAttribute::MultiPath(hops) = a { living(hops) } else { None });
    let (mut interface, attributes) = match first {
        Some(hop) => (Some(hop.interface_index), hop.attributes.as_slice()),
        None => (None, attributes),
    };
    let (mut gateway, mut foreign) = (None, false);
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(a) => gateway = ip(a),
            // A gateway of the other family, an MPLS label, a tunnel.
            RouteAttribute::Via(_) | RouteAttribute::Encap(_) | RouteAttribute::NewDestination(_) => foreign = true,
            _ => {}
        }
    }
    RouteKind::Unicast { interface, gateway, foreign }
}

fn living(hops: &[RouteNextHop]) -> Option<&RouteNextHop> {
    hops.iter().find(|h| !h.flags.contains(RouteNextHopFlags::Dead)).or(hops.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: u8 = 254;

    fn message(table: u8, kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.table = table;
        message.header.kind = kind;
        message.header.destination_prefix_length = 24;
        message.attributes = attributes;
        message
    }

    fn address(last: u8) -> RouteAddress {
        RouteAddress::Inet([192, 0, 2, last].into())
    }

    fn next_hop(interface: u32, gateway: u8, dead: bool) -> RouteNextHop {
        let mut hop = RouteNextHop::default();
        hop.interface_index = interface;
        hop.attributes.push(RouteAttribute::Gateway(address(gateway)));
        hop.flags.set(RouteNextHopFlags::Dead, dead);
        hop
    }

    fn by(interface: Option<u32>, gateway: Option<u8>, foreign: bool) -> Option<RouteKind> {
        let gateway = gateway.map(|g| [192, 0, 2, g].into());
        Some(RouteKind::Unicast { interface, gateway, foreign })
    }

    #[test]
    fn each_type_of_route_is_understood() {
        let via = || vec![RouteAttribute::Oif(5), RouteAttribute::Gateway(address(9))];
        let foreign = vec![RouteAttribute::Oif(5), RouteAttribute::Via(Ipv6Addr::LOCALHOST.into())];
        let multipath = |dead| vec![RouteAttribute::MultiPath(vec![next_hop(5, 7, dead), next_hop(6, 8, false)])];
        for (at, (table, kind, attributes, expected)) in [
            (MAIN, RouteType::Unicast, vec![RouteAttribute::Oif(5)], by(Some(5), None, false)),
            (MAIN, RouteType::Unicast, via(), by(Some(5), Some(9), false)),
            (MAIN, RouteType::Unicast, foreign, by(Some(5), None, true)),
            (MAIN, RouteType::Unicast, multipath(false), by(Some(5), Some(7), false)),
            (MAIN, RouteType::Unicast, multipath(true), by(Some(6), Some(8), false)),
            (MAIN, RouteType::Unicast, vec![RouteAttribute::NhId(3)], by(None, None, false)),
            (MAIN, RouteType::BlackHole, vec![], Some(RouteKind::Unreachable)),
            (MAIN, RouteType::Unreachable, vec![], Some(RouteKind::Unreachable)),
            (MAIN, RouteType::Prohibit, vec![], Some(RouteKind::Unreachable)),
            (MAIN, RouteType::Throw, vec![], Some(RouteKind::Unreachable)),
            (255, RouteType::Throw, vec![], None),
            (255, RouteType::Local, vec![], Some(RouteKind::Local)),
            (255, RouteType::Anycast, vec![], Some(RouteKind::Local)),
            (255, RouteType::Broadcast, vec![], Some(RouteKind::Kernel)),
            (255, RouteType::Multicast, vec![], Some(RouteKind::Kernel)),
            (100, RouteType::Unicast, via(), by(Some(5), Some(9), false)),
            (100, RouteType::Throw, vec![], None),
            (252, RouteType::Unicast, vec![RouteAttribute::Table(1000)], by(None, None, false)),
            (252, RouteType::Local, vec![RouteAttribute::Table(255)], Some(RouteKind::Local)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(route(&message(table, kind, attributes)).map(|r| r.kind), expected, "case {at}");
        }
    }

    #[test]
    fn routes_that_the_kernel_uses_for_some_packets_only_are_left_out() {
        let plain = || message(MAIN, RouteType::Unicast, vec![RouteAttribute::Oif(5)]);
        assert!(route(&plain()).is_some());
        for spoil in [
            |m: &mut RouteMessage| m.header.tos = 8,
            |m: &mut RouteMessage| m.header.source_prefix_length = 64,
            |m: &mut RouteMessage| m.header.flags = RouteFlags::Cloned,
            |m: &mut RouteMessage| m.header.flags = RouteFlags::Dead,
            |m: &mut RouteMessage| m.header.address_family = AddressFamily::Mpls,
        ] {
            let mut message = plain();
            spoil(&mut message);
            assert_eq!(route(&message), None, "{message:?}");
        }
    }

    #[test]
    fn a_routes_attributes_are_taken() {
        let attributes = vec![
            RouteAttribute::Destination(address(0)),
            RouteAttribute::Priority(77),
            RouteAttribute::PrefSource(address(1)),
            RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(9), RouteMetric::Mtu(1400)]),
        ];
        let route = route(&message(MAIN, RouteType::Unicast, attributes)).unwrap();
        let own: IpAddr = [192, 0, 2, 1].into();
        assert_eq!(route.network, IpAddr::from([192, 0, 2, 0]));
        assert_eq!((route.prefix, route.metric, route.source, route.mtu), (24, 77, Some(own), 1400));
    }

    #[test]
    fn a_neighbours_state_says_whether_its_mac_is_good() {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet([192, 0, 2, 9].into())));
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 9]));
        for (state, expected) in [
            (NeighbourState::Reachable, true),
            (NeighbourState::Stale, true),
            (NeighbourState::Delay, true),
            (NeighbourState::Probe, true),
            (NeighbourState::Permanent, true),
            (NeighbourState::Noarp, true),
            (NeighbourState::Failed, false),
            (NeighbourState::Incomplete, false),
            (NeighbourState::None, false),
        ] {
            message.header.state = state;
            let (key, neighbour) = neighbour(&message).unwrap();
            assert_eq!(key, (0, [192, 0, 2, 9].into()));
            assert_eq!(neighbour.resolved().is_some(), expected, "{state}");
        }
        message.header.flags = NeighbourFlags::Proxy;
        assert_eq!(neighbour(&message), None);
    }

    #[test]
    fn a_source_is_an_address_that_the_kernel_chooses_by_itself() {
        let (v4, v6): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), Ipv6Addr::LOCALHOST.into());
        let none = AddressHeaderFlags::empty();
        for (address, flags, scope, expected) in [
            (v4, none, AddressScope::Universe, true),
            (v4, AddressHeaderFlags::Secondary, AddressScope::Universe, false),
            (v4, none, AddressScope::Host, false),
            (v6, none, AddressScope::Universe, true),
            (v6, AddressHeaderFlags::Permanent, AddressScope::Universe, true),
            (v6, AddressHeaderFlags::Tentative, AddressScope::Universe, false),
            (v6, AddressHeaderFlags::Dadfailed, AddressScope::Universe, false),
            (v6, AddressHeaderFlags::Deprecated, AddressScope::Universe, false),
        ] {
            let mut message = AddressMessage::default();
            message.header.flags = flags;
            message.header.scope = scope;
            message.attributes.push(AddressAttribute::Address(address));
            assert_eq!(assigned(&message).unwrap().source, expected, "{address} {flags:?} {scope:?}");
        }
    }

    #[test]
    fn the_local_address_of_a_point_to_point_link_is_not_the_peers() {
        let mut message = AddressMessage::default();
        message.attributes.push(AddressAttribute::Address([192, 0, 2, 2].into()));
        message.attributes.push(AddressAttribute::Local([192, 0, 2, 1].into()));
        assert_eq!(assigned(&message).unwrap().address, IpAddr::from([192, 0, 2, 1]));
    }

    #[test]
    fn a_cut_datagram_ends_the_reading() {
        let mut header = vec![0_u8; 16];
        header[0] = 20;
        let mut datagram = [&header[..], &[1, 2, 3, 4]].concat();
        assert_eq!(messages(&datagram).count(), 1);
        datagram.extend_from_slice(&header);
        assert_eq!(messages(&datagram).count(), 1, "the second claims four bytes more than there are");
        datagram[0] = 0;
        assert_eq!(messages(&datagram).count(), 0, "a length of nothing would never end");
    }
}
