//! Stage 1: is the packet sound, is it for a virtual service, whose is it. The order is the kernel's (`ip_rcv`, then the local-in or
//! forward hook): a header that contradicts itself is dropped, what is not ours goes to the kernel untouched.

use crate::burst::{Burst, Kind, Meta};
use crate::director::family::Family;
use crate::director::{Director, Tables};
use crate::frame::Frame;
use crate::snapshot::Snapshot;
use crate::stats::{DropReason, Event};
use crate::verdict::{Origin, PortId, Verdict};
use crate::wire::{WireError, ethernet, ipv4, ipv6, protocol};

/// Offset of the IP header: frames with a VLAN tag are the kernel's.
pub(super) const L3: usize = crate::forward::ETHERNET;

/// What the first look at a packet gave.
enum Seen {
    /// Ports, and perhaps a service of ours: source, destination, and where the headers are.
    Flow(Meta, u16, u16),
    /// An ICMP message.
    Message(Meta),
    /// Not ours, sound or not: the kernel's.
    Kernel,
    /// Broken.
    Broken(DropReason),
    /// A fragment.
    Fragment,
}

impl Director {
    /// Parses one packet of a burst.
    #[inline]
    pub(super) fn parse_one<F: Frame>(&mut self, burst: &mut Burst<F>, index: usize) {
        let (port, origin) = (burst.ports[index], burst.origins[index]);
        let Some(frame) = burst.frames[index].as_ref() else { return };
        let bytes = frame.bytes();
        let judged = self.not_for_us(bytes, port, origin);
        let (meta, verdict) = match (judged, ethertype(bytes)) {
            (Some(verdict), _) => (Meta::default(), verdict),
            (None, ethernet::ethertype::IPV4) => {
                self.family(look4(bytes), bytes, port, origin, [Kind::Request4, Kind::Reply4])
            }
            (None, ethernet::ethertype::IPV6) => self.family6(bytes, port, origin),
            (None, _) => (Meta::default(), self.core.shared.kernels(&self.snapshot, port, origin)),
        };
        burst.metas[index] = meta;
        burst.verdicts[index] = verdict;
    }

    fn family6(&mut self, bytes: &[u8], port: PortId, origin: Origin) -> (Meta, Verdict) {
        let seen = look6(bytes);
        let kinds = [Kind::Request6, Kind::Reply6];
        self.classify::<u128>(seen, bytes, port, origin, kinds)
    }

    #[inline]
    fn family(&mut self, seen: Seen, bytes: &[u8], port: PortId, origin: Origin, kinds: [Kind; 2]) -> (Meta, Verdict) {
        self.classify::<u32>(seen, bytes, port, origin, kinds)
    }

    #[inline]
    fn classify<A: Family>(
        &mut self,
        seen: Seen,
        bytes: &[u8],
        port: PortId,
        origin: Origin,
        [request, reply]: [Kind; 2],
    ) -> (Meta, Verdict) {
        let kernel = self.core.shared.kernels(&self.snapshot, port, origin);
        let (mut meta, sport, dport) = match seen {
            Seen::Flow(meta, sport, dport) => (meta, sport, dport),
            Seen::Message(meta) => return self.message::<A>(bytes, meta, kernel),
            Seen::Kernel => return (Meta::default(), kernel),
            Seen::Broken(reason) => return (Meta::default(), Verdict::Drop(reason)),
            Seen::Fragment => return (Meta::default(), self.fragment::<A>(bytes, kernel)),
        };
        if self.snapshot.rules.is_empty() {
            return (Meta::default(), kernel);
        }
        let (src, dst) = A::addresses(bytes, L3);
        let from_client = A::is_vip(&self.snapshot, dst);
        let (client, cport) = if from_client { (src, sport) } else { (dst, dport) };
        if let Some(owner) = self.elsewhere(client) {
            return (Meta::default(), owner);
        }
        meta.kind = if from_client { request } else { reply };
        let Tables { connections, .. } = A::tables(&self.core);
        meta.hash = connections.hash(meta.protocol, client, cport);
        connections.prefetch(meta.hash);
        (meta, Verdict::Pending)
    }

    /// The verdict for a client of another worker.
    #[inline]
    pub(super) fn elsewhere<A: Family>(&self, client: A) -> Option<Verdict> {
        if self.steering.workers() <= 1 {
            return None;
        }
        let owner = self.steering.owner(client.ip());
        (owner != self.core.shared.worker).then_some(Verdict::Handoff(owner))
    }

    /// A fragment has no ports to go by. One for a service is dropped, the rest is left to the kernel.
    fn fragment<A: Family>(&mut self, bytes: &[u8], kernel: Verdict) -> Verdict {
        if A::is_vip(&self.snapshot, A::addresses(bytes, L3).1) {
            return Verdict::Drop(DropReason::Fragment);
        }
        self.core.shared.event(Event::FragmentsPassed);
        kernel
    }

    /// The verdict for a frame that is none, or off the wire with another station's or a group's MAC on it.
    #[inline]
    fn not_for_us(&self, bytes: &[u8], port: PortId, origin: Origin) -> Option<Verdict> {
        let Some(header) = bytes.first_chunk::<L3>() else { return Some(Verdict::Drop(DropReason::Truncated)) };
        if origin == Origin::Twin {
            return None;
        }
        let to = &header[..6];
        let info = self.snapshot.network.ports.get(usize::from(port.0))?;
        if to == info.mac.0 {
            return None;
        }
        let group = to[0] & 1 == 1;
        Some(if group { kernel(&self.snapshot, port) } else { Verdict::Drop(DropReason::NotForUs) })
    }
}

fn kernel(snapshot: &Snapshot, port: PortId) -> Verdict {
    let twin = snapshot.network.ports.get(usize::from(port.0)).is_some_and(|p| p.twin);
    if twin { Verdict::Pass(port) } else { Verdict::Drop(DropReason::TwinOff) }
}

#[inline]
fn ethertype(bytes: &[u8]) -> u16 {
    bytes.get(12..14).and_then(|b| b.first_chunk::<2>()).map_or(0, |b| u16::from_be_bytes(*b))
}

/// Looks at an IPv4 packet.
#[inline]
fn look4(bytes: &[u8]) -> Seen {
    let ip = match ipv4::Packet::new_checked(bytes.get(L3..).unwrap_or_default()) {
        Ok(ip) => ip,
        Err(error) => return Seen::Broken(broken(error)),
    };
    if !ip.is_intact() {
        return Seen::Broken(DropReason::BadIpChecksum);
    }
    if ip.is_fragment() {
        return Seen::Fragment;
    }
    transport(bytes, ip.protocol(), ip.header_len(), usize::from(ip.total_len()))
}

/// Looks at an IPv6 packet.
#[inline]
fn look6(bytes: &[u8]) -> Seen {
    let ip = match ipv6::Packet::new_checked(bytes.get(L3..).unwrap_or_default()) {
        Ok(ip) => ip,
        Err(error) => return Seen::Broken(broken(error)),
    };
    match ip.upper() {
        Ok(upper) if upper.fragment.is_some() => Seen::Fragment,
        Ok(upper) => transport(bytes, upper.protocol, upper.offset, ip.total_len()),
        Err(error) => Seen::Broken(broken(error)),
    }
}

fn broken(error: WireError) -> DropReason {
    match error {
        WireError::Truncated | WireError::PacketLength => DropReason::Truncated,
        WireError::Version | WireError::HeaderLength | WireError::Unsupported => DropReason::BadHeader,
    }
}

/// Looks whether it is an ICMP message; `header` and `length` in bytes from the IP header on.
#[cold]
fn message(protocol: u8, header: usize, length: usize) -> Seen {
    let offsets = (u16::try_from(L3 + header), u16::try_from(length));
    match (protocol, offsets) {
        (protocol::ICMP | protocol::ICMPV6, (Ok(l4), Ok(length_16))) if length >= header + 8 => {
            Seen::Message(Meta { l3: 14, l4, length: length_16, protocol, ..Meta::default() })
        }
        _ => Seen::Kernel,
    }
}

/// Looks at the transport header; `header` and `length` in bytes from the IP header on.
#[inline]
fn transport(bytes: &[u8], protocol: u8, header: usize, length: usize) -> Seen {
    let least = match protocol {
        protocol::TCP => 20,
        protocol::UDP => 8,
        protocol::SCTP => 12,
        _ => return message(protocol, header, length),
    };
    let l4 = L3 + header;
    let (Ok(l4_offset), Ok(length_16)) = (u16::try_from(l4), u16::try_from(length)) else { return Seen::Kernel };
    if length < header + least {
        return Seen::Broken(DropReason::Truncated);
    }
    let Some(ports) = bytes.get(l4..).and_then(|b| b.first_chunk::<4>()) else {
        return Seen::Broken(DropReason::Truncated);
    };
    let meta = Meta { l3: 14, l4: l4_offset, length: length_16, protocol, ..Meta::default() };
    Seen::Flow(meta, u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]]))
}
