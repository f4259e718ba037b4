//! Stage 1: is the packet sound, is it for a virtual service, whose is it. The order is the kernel's (`ip_rcv`, then the local-in or
//! forward hook): a header that contradicts itself is dropped, what is not ours goes to the kernel untouched.

use crate::burst::{Kind, Meta, Slot};
use crate::director::family::Family;
use crate::director::request::transport_header;
use crate::director::{Director, Tables, aside};
use crate::fragments;
use crate::frame::Frame;
use crate::mark::{Fragment, Header};
use crate::proto::segment::Segment;
use crate::stats::{DropReason, Event};
use crate::verdict::{Origin, PortId, Verdict};
use crate::wire::{WireError, ethernet, icmpv6, ipv4, ipv4_options, ipv6, protocol, sctp, tcp, udp};

/// Offset of the IP header: frames with a VLAN tag are the kernel's.
pub(super) const L3: usize = crate::forward::ETHERNET;

/// What the first look at a packet gave.
enum Seen {
    /// A transport header, and perhaps a service of ours; what it is and its hash are still open.
    Flow(Meta),
    /// An ICMP message.
    Message(Meta),
    /// A packet of AH or ESP.
    Ipsec(Meta),
    /// Not ours, sound or not: the kernel's.
    Kernel,
    /// Broken.
    Broken(DropReason),
    /// A fragment; its protocol, and where what it carries begins.
    Fragment(Meta),
}

impl Director {
    /// Parses one packet of a burst that has not been seen yet.
    #[inline]
    pub(super) fn parse_one<F: Frame>(&mut self, slot: Slot<'_, F>) {
        let Slot { frame: Some(frame), mark, meta, verdict, port, origin } = slot else { return };
        if mark.kind != Kind::Unseen {
            return;
        }
        match self.identify(frame.bytes(), port, origin, meta, frame.is_alone()) {
            Ok(()) => (mark.kind, mark.hash) = (meta.kind, meta.hash),
            // A hash of 0 does no harm where none is asked for.
            Err(given) => (mark.kind, mark.hash, *verdict) = (Kind::Done, 0, given),
        }
    }

    /// Finds out what the packet is; its verdict when there is nothing to look up.
    #[inline(always)]
    fn identify(
        &mut self,
        bytes: &[u8],
        port: PortId,
        origin: Origin,
        meta: &mut Meta,
        alone: bool,
    ) -> Result<(), Verdict> {
        let Some(header) = bytes.first_chunk::<L3>() else { return Err(Verdict::Drop(DropReason::Truncated)) };
        if origin == Origin::Wire && !self.is_to_port(header, port) {
            aside(self.not_for_us(header, port))?;
        }
        match u16::from_be_bytes([header[12], header[13]]) {
            ethernet::ethertype::IPV4 => {
                self.classify::<u32>(look4(bytes), bytes, port, origin, [Kind::Request4, Kind::Reply4], meta)
            }
            ethernet::ethertype::IPV6 if alone => aside(self.identify_alone(bytes, port, origin, meta)),
            ethernet::ethertype::IPV6 => aside(self.identify6(bytes, port, origin, meta)),
            _ => Err(self.core.shared.kernels(&self.snapshot, port, origin)),
        }
    }

    #[inline(never)]
    fn identify6(&mut self, bytes: &[u8], port: PortId, origin: Origin, meta: &mut Meta) -> Result<(), Verdict> {
        self.classify::<u128>(look6(bytes), bytes, port, origin, [Kind::Request6, Kind::Reply6], meta)
    }

    /// A fragment of IPv6 that no others can join goes as it is, if it is the first and has the ports. No service is there for one that
    /// has not the whole transport header.
    #[cold]
    fn identify_alone(&mut self, bytes: &[u8], port: PortId, origin: Origin, meta: &mut Meta) -> Result<(), Verdict> {
        let seen = look_alone(bytes);
        let portless = matches!(seen, Seen::Kernel) && self.is_portless(bytes);
        let dead = portless || matches!(seen, Seen::Flow(_)) && self.is_dead_stub(bytes);
        if dead && !self.snapshot.rules.is_empty(true) {
            return Err(Verdict::Drop(DropReason::FragmentBad));
        }
        self.classify::<u128>(seen, bytes, port, origin, [Kind::Request6, Kind::Reply6], meta)
    }

    /// Has a first fragment to a virtual address not even the ports?
    fn is_portless(&self, bytes: &[u8]) -> bool {
        let (_, dst) = <u128 as crate::packet::Header>::addresses(bytes, L3);
        u128::is_vip(&self.snapshot, dst) && fragments::is_stub(bytes.get(L3..).unwrap_or_default())
    }

    /// Has a fragment of IPv6 to the director itself, and to no virtual address, only a part of the transport header? IPVS drops it there.
    fn is_dead_stub(&self, bytes: &[u8]) -> bool {
        let (_, dst) = <u128 as crate::packet::Header>::addresses(bytes, L3);
        fragments::is_stub(bytes.get(L3..).unwrap_or_default())
            && !u128::is_vip(&self.snapshot, dst)
            && self.snapshot.network.v6.is_local(dst)
    }

    #[inline(always)]
    fn classify<A: Family>(
        &mut self,
        seen: Seen,
        bytes: &[u8],
        port: PortId,
        origin: Origin,
        [request, reply]: [Kind; 2],
        meta: &mut Meta,
    ) -> Result<(), Verdict> {
        let flow = match seen {
            Seen::Flow(flow) if !self.snapshot.rules.is_empty(A::V6) => flow,
            Seen::Message(message) => return aside(self.message::<A>(bytes, message, port, origin, meta)),
            Seen::Ipsec(packet) => return aside(self.ipsec::<A>(bytes, packet, port, origin, meta)),
            Seen::Flow(_) | Seen::Kernel => return Err(self.core.shared.kernels(&self.snapshot, port, origin)),
            Seen::Broken(reason) => return Err(Verdict::Drop(reason)),
            Seen::Fragment(fragment) => return aside(self.fragment::<A>(bytes, fragment, port, origin, meta)),
        };
        let (src, dst) = A::addresses(bytes, L3);
        let Meta { protocol, sport, dport, .. } = flow;
        let header = || Header { src, dst, protocol, sport, dport, port };
        if origin == Origin::Twin && self.is_led_past::<A>(dst) {
            return Err(self.core.shared.kernels(&self.snapshot, port, origin));
        }
        let from_client = A::is_vip(&self.snapshot, dst) || self.is_by_mark(header, origin);
        let (client, cport) = if from_client { (src, flow.sport) } else { (dst, flow.dport) };
        self.elsewhere(client)?;
        let Tables { connections, .. } = A::tables(&self.core);
        let hash = connections.hash(flow.protocol, client, cport);
        connections.prefetch(hash);
        *meta = Meta { hash, kind: if from_client { request } else { reply }, ..flow };
        Ok(())
    }

    /// Is that a virtual address which the kernel holds itself? What it sends there all the same was led past its own stack by a rule of
    /// policy routing: a check of a real server by the address that this holds, too.
    #[cold]
    fn is_led_past<A: Family>(&self, dst: A) -> bool {
        A::network(&self.snapshot).local.contains(dst) && A::is_vip(&self.snapshot, dst)
    }

    /// The verdict for a client of another worker.
    #[inline]
    pub(super) fn elsewhere<A: Family>(&self, client: A) -> Result<(), Verdict> {
        if self.steering.workers() <= 1 {
            return Ok(());
        }
        let owner = self.steering.owner(client.ip());
        if owner == self.core.shared.worker { Ok(()) } else { Err(Verdict::Handoff(owner)) }
    }

    /// A fragment has no ports to go by. Those to a virtual address, those of a masqueraded server, and those of ICMP, which may be errors
    /// about either, are kept until their datagram is whole; the rest is left to the kernel. What IPsec protects is forwarded in its
    /// fragments, which need no ports (`dont_defrag`).
    #[cold]
    fn fragment<A: Family>(
        &mut self,
        bytes: &[u8],
        fragment: Meta,
        port: PortId,
        origin: Origin,
        meta: &mut Meta,
    ) -> Result<(), Verdict> {
        let (protocol, (src, dst)) = (fragment.protocol, A::addresses(bytes, L3));
        let (ports, ipsec) = (has_ports(protocol), matches!(protocol, protocol::AH | protocol::ESP));
        let error = protocol == A::ICMP && origin == Origin::Wire;
        if origin == Origin::Wire
            && !A::V6
            && !self.snapshot.rules.tracks()
            && self.is_refused::<A>(bytes, &fragment, port)
        {
            return Err(Verdict::Drop(DropReason::FragmentBad));
        }
        let ours = !self.snapshot.rules.is_empty(A::V6) && (ports || ipsec || error);
        // A rule for marks that names ports does not match a fragment.
        let header = || Header { src, dst, protocol, sport: 0, dport: 0, port };
        let request = ours
            && (A::is_vip(&self.snapshot, dst)
                || error && A::network(&self.snapshot).is_local(dst)
                || self.is_by_mark(header, origin));
        if ours && ipsec && !A::V6 && !request {
            return self.ipsec::<A>(bytes, fragment, port, origin, meta);
        }
        let reply = ours
            && (error || self.snapshot.rules.is_masqueraded(src.ip()))
            && self.passes_whole::<A>(bytes, dst, origin);
        if !request && !reply {
            if ours && ports && A::V6 && self.is_dead_stub(bytes) {
                return Err(Verdict::Drop(DropReason::FragmentBad));
            }
            self.core.shared.event(Event::FragmentsPassed);
            return Err(self.core.shared.kernels(&self.snapshot, port, origin));
        }
        let client = if request { src } else { dst };
        self.elsewhere(client)?;
        Err(Verdict::Reassemble)
    }

    /// Does a rule for marks drop a fragment of IPv4, which it cannot read? Those of IPv6 it sees put together.
    fn is_refused<A: Family>(&self, bytes: &[u8], fragment: &Meta, port: PortId) -> bool {
        let Ok(ip) = ipv4::Packet::new_checked(bytes.get(L3..).unwrap_or_default()) else { return false };
        let (src, dst) = A::addresses(bytes, L3);
        let ports = ip.payload().first_chunk().filter(|_| ip.fragment_offset() == 0);
        let [sport, dport] =
            ports.map_or([0; 2], |&[a, b, c, d]| [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
        let header = Header { src, dst, protocol: fragment.protocol, sport, dport, port };
        let length = u16::try_from(ip.payload().len()).unwrap_or(u16::MAX);
        self.snapshot.mark_of_fragment(&header, Fragment { offset: ip.fragment_offset(), length }).is_none()
    }

    /// Would the kernel forward this fragment? What is to be said about one that it would not is said by the kernel behind the twin, and
    /// what it sends from there has been seen, but for its own.
    fn passes_whole<A: Family>(&self, bytes: &[u8], dst: A, origin: Origin) -> bool {
        let mtu = crate::forward::mtu(&A::hop(&self.snapshot, dst)).unwrap_or(u16::MAX);
        let fits = bytes.len() - L3 <= usize::from(mtu);
        if origin == Origin::Twin {
            return A::network(&self.snapshot).local.contains(A::addresses(bytes, L3).0);
        }
        A::ttl(bytes, L3) > 1 && (A::V6 || self.snapshot.rules.tracks() || fits || !A::dont_fragment(bytes, L3))
    }

    /// Is the port's own MAC on the frame?
    #[inline(always)]
    fn is_to_port(&self, header: &[u8; L3], port: PortId) -> bool {
        let port = self.snapshot.network.ports.get(usize::from(port.0));
        port.is_some_and(|port| header[..6] == port.mac.0)
    }

    /// The verdict for a frame that another station's MAC, or a group's, is on; none for one of a port that is not known.
    #[cold]
    fn not_for_us(&self, header: &[u8; L3], port: PortId) -> Result<(), Verdict> {
        let Some(info) = self.snapshot.network.ports.get(usize::from(port.0)) else { return Ok(()) };
        Err(match (header[0] & 1 == 1, info.twin) {
            (true, true) => Verdict::Pass(port),
            (true, false) => Verdict::Drop(DropReason::TwinOff),
            (false, _) => Verdict::Drop(DropReason::NotForUs),
        })
    }
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
}

/// A fragment; `header` and `length` in bytes from the IP header on.
#[cold]
fn fragment(protocol: u8, header: usize, length: usize) -> Seen {
    match (u16::try_from(L3 + header), u16::try_from(length)) {
        (Ok(l4), Ok(length)) => Seen::Fragment(Meta { l4, length, protocol, ..Meta::NONE }),
        _ => Seen::Kernel,
    }
}

/// First byte of an IPv4 header without options.
const PLAIN: u8 = 4 << 4 | (ipv4::HEADER_LEN / 4) as u8;

/// Looks at an IPv4 packet.
#[inline(always)]
fn look4(bytes: &[u8]) -> Seen {
    let packet = bytes.get(L3..).unwrap_or_default();
    match packet.first_chunk() {
        Some(header) if header[0] == PLAIN => look4_plain(bytes, ipv4::Packet::new_unchecked(header), packet.len()),
        _ => aside(look4_optioned(bytes, packet)),
    }
}

/// Looks at an IPv4 packet whose header has no options, as nearly all have none.
#[inline(always)]
fn look4_plain(bytes: &[u8], ip: ipv4::Packet<&[u8; ipv4::HEADER_LEN]>, available: usize) -> Seen {
    let length = usize::from(ip.total_len());
    if !(ipv4::HEADER_LEN..=available).contains(&length) {
        return Seen::Broken(DropReason::Truncated);
    }
    judge4(bytes, ip, ipv4::HEADER_LEN)
}

/// Looks at an IPv4 packet that has options or is none.
#[cold]
fn look4_optioned(bytes: &[u8], packet: &[u8]) -> Seen {
    match ipv4::Packet::new_checked(packet) {
        // Whether a sender may prescribe the way is the kernel's to decide, and what is wrong its to answer.
        Ok(ip) if ip.is_intact() && ipv4_options::source_routed(ip.options()) != Ok(false) => Seen::Kernel,
        Ok(ip) => judge4(bytes, ip, ip.header_len()),
        Err(error) => Seen::Broken(broken(error)),
    }
}

#[inline(always)]
fn judge4<T: AsRef<[u8]>>(bytes: &[u8], ip: ipv4::Packet<T>, header: usize) -> Seen {
    if !ip.is_intact() {
        return Seen::Broken(DropReason::BadIpChecksum);
    }
    if ip.is_fragment() {
        return aside(fragment(ip.protocol(), header, usize::from(ip.total_len())));
    }
    transport(bytes, ip.protocol(), header, usize::from(ip.total_len()))
}

/// Looks at an IPv6 packet.
#[inline]
fn look6(bytes: &[u8]) -> Seen {
    let ip = match ipv6::Packet::new_checked(bytes.get(L3..).unwrap_or_default()) {
        Ok(ip) => ip,
        Err(error) => return Seen::Broken(broken(error)),
    };
    match ip.upper() {
        Ok(upper) if upper.fragment.is_some() => fragment(upper.protocol, upper.offset, ip.total_len()),
        Ok(upper) => transport(bytes, upper.protocol, upper.offset, ip.total_len()),
        Err(error) => Seen::Broken(broken(error)),
    }
}

/// Looks at a fragment of IPv6 that is judged as it is. As the kernel reads it: a later one has no ports, but is an error of ICMPv6 if it
/// is of that protocol, and such errors do not come in fragments.
#[cold]
fn look_alone(bytes: &[u8]) -> Seen {
    let Seen::Fragment(fragment) = look6(bytes) else { return look6(bytes) };
    let payload = bytes.get(usize::from(fragment.l4)..).unwrap_or_default();
    let upper = ipv6::Packet::new_checked(bytes.get(L3..).unwrap_or_default()).and_then(|ip| ip.upper());
    let later = upper.is_ok_and(|upper| upper.is_later_fragment());
    match fragment.protocol {
        protocol::ICMPV6 if later || payload.first().is_none_or(|kind| kind & icmpv6::kind::INFORMATIONAL == 0) => {
            Seen::Broken(DropReason::FragmentBad)
        }
        protocol::AH | protocol::ESP => Seen::Ipsec(fragment),
        _ if later || !has_ports(fragment.protocol) => Seen::Kernel,
        _ => first_alone(bytes, fragment, payload),
    }
}

fn first_alone(bytes: &[u8], fragment: Meta, payload: &[u8]) -> Seen {
    let Some(&[s0, s1, d0, d1]) = payload.first_chunk() else { return Seen::Kernel };
    if payload.len() < transport_header(fragment.protocol) {
        let (sport, dport) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        return Seen::Flow(Meta { sport, dport, ..fragment });
    }
    transport(bytes, fragment.protocol, usize::from(fragment.l4) - L3, fragment.length.into())
}

fn broken(error: WireError) -> DropReason {
    match error {
        WireError::Truncated | WireError::PacketLength => DropReason::Truncated,
        WireError::Version | WireError::HeaderLength | WireError::Unsupported => DropReason::BadHeader,
    }
}

/// Looks whether it is an ICMP message, or IPsec; `header` and `length` in bytes from the IP header on.
#[cold]
fn message(protocol: u8, header: usize, length: usize) -> Seen {
    let offsets = (u16::try_from(L3 + header), u16::try_from(length));
    match (protocol, offsets) {
        (protocol::ICMP | protocol::ICMPV6, (Ok(l4), Ok(length_16))) if length >= header + 8 => {
            Seen::Message(Meta { l4, length: length_16, protocol, ..Meta::NONE })
        }
        (protocol::AH | protocol::ESP, (Ok(l4), Ok(length))) => {
            Seen::Ipsec(Meta { l4, length, protocol, ..Meta::NONE })
        }
        _ => Seen::Kernel,
    }
}

/// Looks at the transport header; `header` and `length` in bytes from the IP header on.
#[inline(always)]
fn transport(bytes: &[u8], protocol: u8, header: usize, length: usize) -> Seen {
    let payload = bytes.get(L3 + header..L3 + length).unwrap_or_default();
    let segment = Segment::read(protocol, payload);
    let least = match segment {
        Segment::Tcp(_) => tcp::HEADER_LEN,
        Segment::Udp => udp::HEADER_LEN,
        Segment::Sctp(_) | Segment::SctpAborted => sctp::HEADER_LEN,
        Segment::Other => return aside(message(protocol, header, length)),
    };
    let (Some(ports), true) = (payload.first_chunk::<4>(), payload.len() >= least) else {
        return Seen::Broken(DropReason::Truncated);
    };
    let [sport, dport] = [u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])];
    let (Ok(l4), Ok(length)) = (u16::try_from(L3 + header), u16::try_from(length)) else { return Seen::Kernel };
    Seen::Flow(Meta { l4, length, protocol, segment, sport, dport, ..Meta::NONE })
}
