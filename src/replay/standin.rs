//! A stand-in for the kernel's own stack behind the twin, for recordings only (live, the kernel itself does this): it answers echo, refuses
//! what no socket waits for (RST, ICMP port unreachable), forwards plain IP, and resolves neighbours. RFC 792, 826, 1122, 1812, 4443
//! and 4861, with Linux's defaults where these leave a choice.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::MacAddr;
use crate::fragments::{self, Datagram};
use crate::frame::Frame;
use crate::network::{Hop, Network, Target};
use crate::replay::build;
use crate::replay::machine::BOOT;
use crate::time::{self, HZ, Instant, Tick};
use crate::verdict::{Cut, PortId};
use crate::wire::ethernet::{self, ethertype};
use crate::wire::tcp::{self, TcpFlags};
use crate::wire::{arp, icmpv4, icmpv6, ipv4, ipv4_options, ipv6, protocol, udp};

/// Time from one question for a neighbour to the next, in ticks: a second, as late as the kernel's timer wheel has it.
const RETRANSMIT: u32 = HZ;
/// Questions for a neighbour before it is given up.
const QUESTIONS: u32 = 3;
/// Packets that wait for one neighbour.
const WAITING: usize = 101;
/// IP header and ICMP error in all, in bytes.
const MOST_V4: usize = 576;
/// IPv6 header and ICMPv6 error in all, in bytes.
const MOST_V6: usize = 1280;

/// The bits of the type of service that are for congestion (RFC 3168).
const ECN: u8 = 3;

/// What the stack does about something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Sends a frame out of a port.
    Send(PortId, Vec<u8>),
    /// Now knows a neighbour's MAC.
    Learn(PortId, IpAddr, MacAddr),
}

/// Packets for a neighbour that is being asked for.
#[derive(Debug)]
struct Query {
    port: PortId,
    neighbour: IpAddr,
    asked: u32,
    again: Tick,
    packets: Vec<Vec<u8>>,
}

/// The stack.
#[derive(Debug, Default)]
pub(crate) struct StandIn {
    ident: u16,
    queries: Vec<Query>,
}

/// What one call of the stack works on.
struct Work<'a> {
    stack: &'a mut StandIn,
    network: &'a Network,
    now: Instant,
    acts: Vec<Act>,
}

impl StandIn {
    /// Takes a frame that was passed to the kernel.
    pub(crate) fn receive(&mut self, frame: &[u8], port: PortId, network: &Network, now: Instant) -> Vec<Act> {
        let mut work = Work { stack: self, network, now, acts: Vec::new() };
        work.frame(frame, port);
        work.acts
    }

    /// Takes a datagram that was put together: forwards it as `ip_fragment` and `ip6_fragment` would, or keeps it. One that was put together
    /// to be tracked may have DF.
    pub(crate) fn receive_whole(
        &mut self,
        whole: &Datagram,
        port: PortId,
        network: &Network,
        tracked: bool,
        now: Instant,
    ) -> Vec<Act> {
        let packet = whole.bytes().get(ethernet::HEADER_LEN..).unwrap_or_default();
        let largest = whole.largest_fragment().unwrap_or_default();
        let mut work = Work { stack: self, network, now, acts: Vec::new() };
        match packet.first().map(|byte| byte >> 4) {
            Some(6) => work.whole6(whole, packet, largest, port),
            _ => work.whole4(whole, packet, (largest, tracked), port),
        }
        work.acts
    }

    /// Takes a frame that waits for a neighbour.
    pub(crate) fn hold(
        &mut self,
        frame: &[u8],
        port: PortId,
        neighbour: IpAddr,
        network: &Network,
        now: Instant,
    ) -> Vec<Act> {
        let mut work = Work { stack: self, network, now, acts: Vec::new() };
        work.wait(frame.to_vec(), port, neighbour);
        work.acts
    }

    /// Sends the packets that waited for a neighbour which is now known.
    pub(crate) fn resolved(&mut self, port: PortId, neighbour: IpAddr, mac: MacAddr) -> Vec<Act> {
        let (mut done, rest) = std::mem::take(&mut self.queries)
            .into_iter()
            .partition::<Vec<_>, _>(|q| (q.port, q.neighbour) == (port, neighbour));
        self.queries = rest;
        let packets = done.iter_mut().flat_map(|q| q.packets.drain(..));
        packets
            .map(|mut frame| {
                frame[..6].copy_from_slice(&mac.0);
                Act::Send(port, frame)
            })
            .collect()
    }

    /// Does what is due: asks again, gives up.
    pub(crate) fn tick(&mut self, network: &Network, now: Instant) -> Vec<Act> {
        if !self.queries.iter().any(|q| q.again.reached(now.tick())) {
            return Vec::new();
        }
        let (due, rest): (Vec<_>, _) =
            std::mem::take(&mut self.queries).into_iter().partition(|q| q.again.reached(now.tick()));
        self.queries = rest;
        let mut work = Work { stack: self, network, now, acts: Vec::new() };
        // Timers of one tick go off in the reverse of the order that they were set in.
        for query in due.into_iter().rev() {
            work.ask_again(query);
        }
        work.acts
    }

    fn next_ident(&mut self) -> u16 {
        self.ident = self.ident.wrapping_add(1);
        self.ident
    }
}

impl Work<'_> {
    fn frame(&mut self, frame: &[u8], port: PortId) {
        let Ok(header) = ethernet::Packet::new_checked(frame) else { return };
        let ours = self.network.ports.get(usize::from(port.0)).is_some_and(|p| p.mac == header.dst());
        if !ours && header.dst().0[0] & 1 == 0 {
            return;
        }
        match header.ethertype() {
            ethertype::ARP => self.arp(header.payload(), port),
            ethertype::IPV4 => self.ipv4(header.payload()),
            ethertype::IPV6 => self.ipv6(header.payload(), port),
            _ => {}
        }
    }

    fn is_local(&self, address: IpAddr) -> bool {
        self.network.hop(address) == Hop::Local
    }

    /// Sends an IP packet to its destination.
    fn output(&mut self, packet: &[u8], dst: IpAddr) {
        let (port, neighbour, to, from, mtu) = match self.network.hop(dst) {
            Hop::Resolved { port, to, from, mtu } => (port, None, to, from, mtu),
            Hop::Unresolved { port, neighbour, from, mtu } => (port, Some(neighbour), MacAddr::default(), from, mtu),
            // To itself, where IPVS sees it.
            Hop::Local => {
                return self
                    .acts
                    .push(Act::Send(PortId(0), build::ethernet(MacAddr::default(), MacAddr::default(), packet)));
            }
            Hop::Kernel | Hop::Unreachable => return,
        };
        let whole = build::ethernet(to, from, packet);
        let fits = packet.len() <= usize::from(mtu);
        let ident = self.stack.next_ident().into();
        for frame in if fits { vec![whole] } else { build::fragments(&whole, Cut::AtMost(mtu), &[], ident) } {
            match neighbour {
                Some(neighbour) => self.wait(frame, port, neighbour),
                None => self.acts.push(Act::Send(port, frame)),
            }
        }
    }

    // Datagrams that were put together.

    fn whole4(&mut self, whole: &Datagram, bytes: &[u8], (largest, tracked): (u16, bool), port: PortId) {
        let Ok(packet) = ipv4::Packet::new_checked(bytes) else { return };
        let way = self.way(packet.dst().into()).filter(|_| packet.ttl() > 1);
        let Some(mtu) = way else { return self.frame(whole.bytes(), port) };
        if tracked && packet.dont_fragment() && packet.total_len() > mtu && largest > mtu {
            return self.frame(whole.bytes(), port);
        }
        let mut forwarded = whole.bytes().to_vec();
        ipv4::Packet::new_unchecked(&mut forwarded[ethernet::HEADER_LEN..]).decrement_ttl();
        if packet.dont_fragment() && !tracked {
            // However short it is: a datagram put together with DF is not to be cut again.
            return self.error4(&forwarded[ethernet::HEADER_LEN..], (3, 4), u32::from(mtu), None);
        }
        self.output_listed(&forwarded, whole, mtu.min(largest), packet.dst().into());
    }

    fn whole6(&mut self, whole: &Datagram, bytes: &[u8], largest: u16, port: PortId) {
        let Ok(packet) = ipv6::Packet::new_checked(bytes) else { return };
        let dst = packet.dst();
        let way = self.way(dst.into()).filter(|mtu| packet.hop_limit() > 1 && !dst.is_multicast() && largest <= *mtu);
        if way.is_none() || packet.total_len() <= usize::from(largest) {
            return self.frame(whole.bytes(), port);
        }
        let mut forwarded = whole.bytes().to_vec();
        ipv6::Packet::new_unchecked(&mut forwarded[ethernet::HEADER_LEN..]).decrement_hop_limit();
        self.output_listed(&forwarded, whole, largest.max(ipv6::LEAST_MTU), dst.into());
    }

    /// What the way to another takes, in bytes.
    fn way(&self, dst: IpAddr) -> Option<u16> {
        match self.network.hop(dst) {
            Hop::Resolved { mtu, .. } | Hop::Unresolved { mtu, .. } => Some(mtu),
            Hop::Local | Hop::Kernel | Hop::Unreachable => None,
        }
    }

    fn output_listed(&mut self, frame: &[u8], whole: &Datagram, most: u16, dst: IpAddr) {
        let (cut, ident) = (Cut::Listed(most), self.stack.next_ident());
        for piece in build::fragments(frame, cut, whole.parts(cut), ident.into()) {
            self.output(&piece[ethernet::HEADER_LEN..], dst);
        }
    }

    // Neighbours: ARP and neighbour discovery.

    fn wait(&mut self, frame: Vec<u8>, port: PortId, neighbour: IpAddr) {
        let query = self.stack.queries.iter_mut().find(|q| (q.port, q.neighbour) == (port, neighbour));
        if let Some(query) = query {
            if query.packets.len() < WAITING {
                query.packets.push(frame);
            }
            return;
        }
        self.ask(port, neighbour, &frame);
        let again = self.later();
        self.stack.queries.push(Query { port, neighbour, asked: 1, again, packets: vec![frame] });
    }

    /// When to ask again.
    fn later(&self) -> Tick {
        time::fires(self.now.tick().plus(RETRANSMIT), RETRANSMIT)
    }

    fn ask_again(&mut self, mut query: Query) {
        if query.asked < QUESTIONS {
            let first = query.packets.first().cloned().unwrap_or_default();
            self.ask(query.port, query.neighbour, &first);
            query.asked += 1;
            query.again = self.later();
            self.stack.queries.push(query);
            return;
        }
        for frame in query.packets {
            let packet = frame.get(ethernet::HEADER_LEN..).unwrap_or_default();
            match query.neighbour {
                IpAddr::V4(_) => self.error4(packet, (3, 1), 0, None),
                IpAddr::V6(_) => self.error6(packet, (1, 3), 0, None),
            }
        }
    }

    /// Asks for a neighbour, in the name of the address that the director has on that link; for IPv6 of the packet's own source, since the
    /// link has no address of its own: nobody is asked for a forwarded packet.
    fn ask(&mut self, port: PortId, neighbour: IpAddr, packet: &[u8]) {
        let Some(info) = self.network.ports.get(usize::from(port.0)) else { return };
        let frame = match neighbour {
            IpAddr::V4(to) => {
                let from = self.network.v4.source(to.to_bits()).or_else(|| self.on_link(port));
                from.map(|from| build::arp_request(info.mac, from.into(), to))
            }
            IpAddr::V6(to) => ipv6::Packet::new_quoted(packet.get(ethernet::HEADER_LEN..).unwrap_or_default())
                .ok()
                .map(|ip| ip.src())
                .filter(|from| self.is_local((*from).into()))
                .map(|from| build::neighbour_solicitation(info.mac, from, to)),
        };
        self.acts.extend(frame.map(|frame| Act::Send(port, frame)));
    }

    /// The director's address on a link.
    fn on_link(&self, port: PortId) -> Option<u32> {
        let fib = &self.network.v4.fib;
        fib.starts().find_map(|start| match fib.lookup(start) {
            Some(Target::Via { port: at, gateway: None, source, .. }) if *at == port => *source,
            _ => None,
        })
    }

    fn arp(&mut self, message: &[u8], port: PortId) {
        let Ok(message) = arp::Packet::new_checked(message) else { return };
        let known = self.stack.queries.iter().any(|q| q.neighbour == IpAddr::V4(message.sender_ip()));
        let for_us = self.is_local(message.target_ip().into());
        if known || (for_us && message.operation() == arp::operation::REQUEST) {
            self.acts.push(Act::Learn(port, message.sender_ip().into(), message.sender_mac()));
        }
        if for_us
            && message.operation() == arp::operation::REQUEST
            && let Some(info) = self.network.ports.get(usize::from(port.0))
        {
            let reply = build::arp_reply(info.mac, message.target_ip(), message.sender_mac(), message.sender_ip());
            self.acts.push(Act::Send(port, reply));
        }
    }

    // IPv4.

    fn ipv4(&mut self, bytes: &[u8]) {
        let Ok(packet) = ipv4::Packet::new_checked(bytes) else { return };
        if !packet.is_intact() {
            return;
        }
        let bytes = &bytes[..usize::from(packet.total_len())];
        match ipv4_options::source_routed(packet.options()) {
            Ok(false) => {}
            // Linux takes no prescribed ways (`accept_source_route`).
            Ok(true) => return,
            Err(wrong) => {
                let at = u32::try_from(ipv4::HEADER_LEN + wrong).unwrap_or_default();
                let src = Some(packet.dst()).filter(|own| self.is_local((*own).into()));
                return self.error4(bytes, (12, 0), at << 24, src);
            }
        }
        if self.is_local(packet.dst().into()) { self.local4(bytes) } else { self.forward4(bytes) }
    }

    fn local4(&mut self, bytes: &[u8]) {
        let packet = ipv4::Packet::new_unchecked(bytes);
        if packet.is_fragment() {
            return;
        }
        match packet.protocol() {
            protocol::ICMP => self.icmp4(&packet),
            protocol::TCP => self.refuse_tcp(packet.src().into(), packet.dst().into(), packet.tos(), packet.payload()),
            protocol::UDP => {
                let sound = udp::Packet::new_checked(packet.payload())
                    .is_ok_and(|u| !u.has_checksum() || u.is_intact(packet.pseudo_header(u.length())));
                if sound {
                    self.error4(bytes, (3, 3), 0, Some(packet.dst()));
                }
            }
            _ => self.error4(bytes, (3, 2), 0, Some(packet.dst())),
        }
    }

    fn icmp4(&mut self, packet: &ipv4::Packet<&[u8]>) {
        let Ok(message) = icmpv4::Packet::new_checked(packet.payload()) else { return };
        let (kind, code, payload) = match (message.kind(), message.payload()) {
            (icmpv4::kind::ECHO_REQUEST, data) => (icmpv4::kind::ECHO_REPLY, message.code(), data.to_vec()),
            // When it was sent, by the sender, and when it came and was answered.
            (icmpv4::kind::TIMESTAMP, [a, b, c, d, ..]) => {
                let now = self.since_midnight().to_be_bytes();
                (icmpv4::kind::TIMESTAMP_REPLY, 0, [[*a, *b, *c, *d], now, now].concat())
            }
            _ => return,
        };
        if !message.is_intact() {
            return;
        }
        let reply = build::icmp4(kind, code, message.rest(), &payload);
        let ident = self.stack.next_ident();
        let header = build::V4 {
            src: packet.dst(),
            dst: packet.src(),
            protocol: protocol::ICMP,
            tos: packet.tos(),
            ident,
            df: false,
        };
        self.output(&header.packet(&reply), packet.src().into());
    }

    /// Milliseconds; recordings begin at midnight.
    fn since_midnight(&self) -> u32 {
        u32::try_from((self.now.0 - BOOT.0) / 1_000_000).unwrap_or_default()
    }

    fn forward4(&mut self, bytes: &[u8]) {
        let packet = ipv4::Packet::new_unchecked(bytes);
        let dst = packet.dst();
        if packet.ttl() <= 1 {
            return self.error4(bytes, (11, 0), 0, None);
        }
        let mtu = match self.network.hop(dst.into()) {
            Hop::Resolved { mtu, .. } | Hop::Unresolved { mtu, .. } => mtu,
            Hop::Local | Hop::Kernel | Hop::Unreachable => return self.error4(bytes, (3, 1), 0, None),
        };
        let too_big = packet.total_len() > mtu;
        if too_big && packet.dont_fragment() {
            return self.error4(bytes, (3, 4), u32::from(mtu), None);
        }
        let mut forwarded = bytes.to_vec();
        ipv4::Packet::new_unchecked(&mut forwarded).decrement_ttl();
        self.output(&forwarded, dst.into());
    }

    /// Sends an ICMP error about a packet, from `src` or else from the address on the way back.
    fn error4(&mut self, bytes: &[u8], (kind, code): (u8, u8), rest: u32, src: Option<Ipv4Addr>) {
        let Ok(packet) = ipv4::Packet::new_quoted(bytes) else { return };
        let about_error = packet.protocol() == protocol::ICMP
            && icmpv4::Packet::new_checked(packet.payload()).is_ok_and(|m| m.is_error());
        if about_error || packet.fragment_offset() > 0 || packet.dst().is_multicast() || packet.dst().is_broadcast() {
            return;
        }
        let dst = packet.src();
        let Some(src) = src.or_else(|| self.network.v4.source(dst.to_bits()).map(Into::into)) else { return };
        let quoted = &bytes[..bytes.len().min(MOST_V4 - ipv4::HEADER_LEN - icmpv4::HEADER_LEN)];
        let message = build::icmp4(kind, code, rest.to_be_bytes(), quoted);
        let (ident, tos) = (self.stack.next_ident(), 0xc0 | packet.tos() & 0x1e);
        let header = build::V4 { src, dst, protocol: protocol::ICMP, tos, ident, df: false };
        self.output(&header.packet(&message), dst.into());
    }

    // IPv6.

    fn ipv6(&mut self, bytes: &[u8], port: PortId) {
        let Ok(packet) = ipv6::Packet::new_checked(bytes) else { return };
        let bytes = &bytes[..packet.total_len()];
        let dst = packet.dst();
        if dst.is_multicast() || self.is_local(dst.into()) { self.local6(bytes, port) } else { self.forward6(bytes) }
    }

    fn local6(&mut self, bytes: &[u8], port: PortId) {
        let packet = ipv6::Packet::new_unchecked(bytes);
        let Ok(upper) = packet.upper() else { return };
        let payload = &bytes[upper.offset.min(bytes.len())..];
        match upper.protocol {
            // One that no others can join, of itself or with a transport header of which a part is missing.
            _ if upper.fragment.is_some() && !packet.dst().is_multicast() => {
                let (code, pointer) = if fragments::is_stub(bytes) { (3, 0) } else { (0, 4) };
                self.error6(bytes, (4, code), pointer, Some(packet.dst()));
            }
            protocol::ICMPV6 => self.icmp6(&packet, payload, port),
            _ if packet.dst().is_multicast() => {}
            protocol::TCP => {
                self.refuse_tcp(packet.src().into(), packet.dst().into(), packet.traffic_class(), payload);
            }
            protocol::UDP => {
                let pseudo = |u: &udp::Packet<&[u8]>| packet.pseudo_header(protocol::UDP, u.length().into());
                if udp::Packet::new_checked(payload).is_ok_and(|u| u.is_intact(pseudo(&u))) {
                    self.error6(bytes, (1, 4), 0, Some(packet.dst()));
                }
            }
            _ => self.error6(bytes, (4, 1), 6, Some(packet.dst())),
        }
    }

    fn icmp6(&mut self, packet: &ipv6::Packet<&[u8]>, payload: &[u8], port: PortId) {
        let Ok(message) = icmpv6::Packet::new_checked(payload) else { return };
        match message.kind() {
            icmpv6::kind::ECHO_REQUEST => {
                let (src, dst) = (packet.dst(), packet.src());
                let reply = build::icmp6(
                    src,
                    dst,
                    (icmpv6::kind::ECHO_REPLY, message.code()),
                    message.rest(),
                    message.payload(),
                );
                self.output(&build::v6(src, dst, protocol::ICMPV6, 64, &reply), dst.into());
            }
            SOLICITATION | ADVERTISEMENT => self.discovery(packet, &message, port),
            _ => {}
        }
    }

    fn discovery(&mut self, packet: &ipv6::Packet<&[u8]>, message: &icmpv6::Packet<&[u8]>, port: PortId) {
        let Some((target, options)) = message.payload().split_first_chunk::<16>() else { return };
        let target = Ipv6Addr::from(*target);
        let mac = options.get(2..8).and_then(|m| m.first_chunk::<6>()).map(|m| MacAddr(*m));
        let who = if message.kind() == SOLICITATION { packet.src() } else { target };
        self.acts.extend(mac.map(|mac| Act::Learn(port, who.into(), mac)));
        let Some(info) = self.network.ports.get(usize::from(port.0)) else { return };
        if message.kind() == SOLICITATION && self.is_local(target.into()) {
            let to = mac.unwrap_or_default();
            self.acts.push(Act::Send(port, build::neighbour_advertisement(info.mac, target, to, packet.src())));
        }
    }

    fn forward6(&mut self, bytes: &[u8]) {
        let packet = ipv6::Packet::new_unchecked(bytes);
        let dst = packet.dst();
        if packet.hop_limit() <= 1 {
            return self.error6(bytes, (3, 0), 0, None);
        }
        let mtu = match self.network.hop(dst.into()) {
            Hop::Resolved { mtu, .. } | Hop::Unresolved { mtu, .. } => mtu,
            Hop::Local | Hop::Kernel | Hop::Unreachable => return self.error6(bytes, (1, 0), 0, None),
        };
        if bytes.len() > usize::from(mtu) {
            return self.error6(bytes, (2, 0), u32::from(mtu), None);
        }
        let mut forwarded = bytes.to_vec();
        ipv6::Packet::new_unchecked(&mut forwarded).decrement_hop_limit();
        self.output(&forwarded, dst.into());
    }

    fn error6(&mut self, bytes: &[u8], error: (u8, u8), rest: u32, src: Option<Ipv6Addr>) {
        let Ok(packet) = ipv6::Packet::new_quoted(bytes) else { return };
        let upper =
            packet.upper().ok().filter(|upper| upper.protocol == protocol::ICMPV6 && !upper.is_later_fragment());
        let message = upper.and_then(|upper| icmpv6::Packet::new_checked(bytes.get(upper.offset..)?).ok());
        let about_error = message.is_some_and(|message| message.is_error());
        if about_error || packet.dst().is_multicast() {
            return;
        }
        let dst = packet.src();
        // What was for an address of the director's own is answered by that, even when it was on its way to somebody else.
        let own = Some(packet.dst()).filter(|to| self.is_local((*to).into()));
        let on_way = || self.network.v6.source(dst.to_bits()).map(Into::into);
        let Some(src) = src.or(own).or_else(on_way) else { return };
        let quoted = &bytes[..bytes.len().min(MOST_V6 - ipv6::HEADER_LEN - icmpv6::HEADER_LEN)];
        let message = build::icmp6(src, dst, error, rest.to_be_bytes(), quoted);
        self.output(&build::v6(src, dst, protocol::ICMPV6, 64, &message), dst.into());
    }

    // TCP.

    /// Answers a segment that no socket waits for (RFC 9293, section 3.10.7.1), with its type of service but for ECN.
    fn refuse_tcp(&mut self, client: IpAddr, own: IpAddr, tos: u8, bytes: &[u8]) {
        let Ok(segment) = tcp::Packet::new_checked(bytes) else { return };
        let flags = segment.flags();
        if flags.contains(TcpFlags::RST) || !build::tcp_is_intact(client, own, bytes) {
            return;
        }
        let (seq, ack, answer) = if flags.contains(TcpFlags::ACK) {
            (segment.ack(), 0, "R")
        } else {
            let ends = u32::from(flags.contains(TcpFlags::SYN)) + u32::from(flags.contains(TcpFlags::FIN));
            let length = u32::try_from(segment.payload().len()).unwrap_or(0);
            (0, segment.seq().wrapping_add(ends).wrapping_add(length), "RA")
        };
        let flags = TcpFlags::from_letters(answer).unwrap_or(TcpFlags::RST);
        let reset = tcp::Repr {
            src_port: segment.dst_port(),
            dst_port: segment.src_port(),
            seq,
            ack,
            flags,
            window: 0,
            options_len: 0,
        };
        self.output(&build::tcp(own, client, tos & !ECN, &reset), client);
    }
}

/// ICMPv6 type of a neighbour solicitation.
const SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
const ADVERTISEMENT: u8 = 136;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::replay::topology::Topology;
    use crate::wire::sample::{self, Sample, at};
    use crate::wire::show::{self, Ident};

    const OUTSIDE: PortId = PortId(0);

    /// What the stack sends for a packet that comes in at the outside port.
    fn answers(sample: &Sample) -> Vec<String> {
        let network = Topology::default().network_now();
        let acts = StandIn::default().receive(&sample.frame(), OUTSIDE, &network, Instant(0));
        acts.iter().map(|act| sent(act).1).collect()
    }

    fn sent(act: &Act) -> (PortId, String) {
        match act {
            Act::Send(port, frame) => (*port, show::frame(frame, Ident::Masked)),
            Act::Learn(port, neighbour, mac) => (*port, format!("learn {neighbour} {mac}")),
        }
    }

    fn client(flags: &str) -> Sample {
        sample::tcp(at("203.0.113.5:1000"), at("192.0.2.10:81")).letters(flags).seq(77).ack(88)
    }

    #[test]
    fn a_segment_without_a_socket_is_answered_with_a_reset() {
        let reset = |what: &str| {
            let macs = "02:00:00:00:00:01>02:00:00:00:00:fe";
            vec![format!(
                "{macs} IP 192.0.2.10 > 203.0.113.5 ttl=64 tos=0x00 id=* len=40 DF | TCP 81 > 1000 {what} win=0"
            )]
        };
        assert_eq!(answers(&client("S")), reset("RA seq=0 ack=78"));
        assert_eq!(answers(&client("SF").data(*b"four")), reset("RA seq=0 ack=83"));
        assert_eq!(answers(&client("A")), reset("R seq=88 ack=0"));
        assert_eq!(answers(&client("RA")), Vec::<String>::new());
        assert_eq!(answers(&client("S").bad_checksum()), Vec::<String>::new());
    }

    #[test]
    fn a_datagram_without_a_socket_is_answered_with_port_unreachable() {
        let datagram = sample::udp(at("203.0.113.5:1000"), at("192.0.2.10:54")).data(*b"x");
        let answer = answers(&datagram).concat();
        assert!(
            answer.contains("IP 192.0.2.10 > 203.0.113.5 ttl=64 tos=0xc0 id=* len=57 | ICMP type=3 code=3"),
            "{answer}"
        );
        let v6 = sample::udp(at("[2001:db8:ffff::5]:1000"), at("[2001:db8:1::10]:54"));
        let answer = answers(&v6).concat();
        assert!(
            answer.contains("IP6 2001:db8:1::10 > 2001:db8:ffff::5") && answer.contains("ICMP6 type=1 code=4"),
            "{answer}"
        );
    }

    #[test]
    fn what_is_for_others_is_forwarded_with_one_hop_less() {
        let packet = |ttl| sample::tcp(at("203.0.113.5:1000"), at("198.51.100.11:80")).letters("S").ttl(ttl);
        let forwarded = answers(&packet(9)).concat();
        assert!(
            forwarded.starts_with("02:00:00:00:00:02>02:00:00:00:01:0b IP 203.0.113.5 > 198.51.100.11 ttl=8"),
            "{forwarded}"
        );
        let expired = answers(&packet(1)).concat();
        assert!(expired.contains("IP 192.0.2.1 > 203.0.113.5") && expired.contains("ICMP type=11 code=0"), "{expired}");
    }

    #[test]
    fn an_unknown_neighbour_is_asked_for_three_times_and_then_given_up() {
        let network = Topology::default().network_now();
        let mut stack = StandIn::default();
        let to_nobody = sample::tcp(at("203.0.113.5:1000"), at("198.51.100.77:80")).letters("S");
        let asks = "02:00:00:00:00:02>ff:ff:ff:ff:ff:ff ARP who-has 198.51.100.77 tell 198.51.100.1";
        let mut told = stack.receive(&to_nobody.frame(), OUTSIDE, &network, Instant(0));
        for second in 1..6 {
            told.extend(stack.tick(&network, Instant(0) + Duration::from_millis(1040) * second));
        }
        let told: Vec<String> = told.iter().map(|act| sent(act).1).collect();
        assert_eq!(told[..3], [asks; 3]);
        assert!(told[3].contains("ICMP type=3 code=1") && told.len() == 4, "{told:?}");
    }

    #[test]
    fn a_neighbour_that_answers_gets_what_waited() {
        let network = Topology::default().network_now();
        let mut stack = StandIn::default();
        let to_new = sample::tcp(at("203.0.113.5:1000"), at("198.51.100.77:80")).letters("S");
        stack.receive(&to_new.frame(), OUTSIDE, &network, Instant(0));
        let mac = MacAddr([2, 0, 0, 0, 1, 0x4d]);
        let (from, to) = (Ipv4Addr::new(198, 51, 100, 77), Ipv4Addr::new(198, 51, 100, 1));
        let reply = build::arp_reply(mac, from, MacAddr([2, 0, 0, 0, 0, 2]), to);
        let acts = stack.receive(&reply, PortId(1), &network, Instant(0));
        assert_eq!(acts, [Act::Learn(PortId(1), from.into(), mac)]);
        let (port, frame) = sent(&stack.resolved(PortId(1), from.into(), mac)[0]);
        assert_eq!(port, PortId(1));
        assert!(
            frame.starts_with("02:00:00:00:00:02>02:00:00:00:01:4d IP 203.0.113.5 > 198.51.100.77 ttl=63"),
            "{frame}"
        );
        assert_eq!(stack.resolved(PortId(1), from.into(), mac), []);
    }
}
