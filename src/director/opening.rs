//! The first packet of a flow of the common kind (see `express`): of TCP or UDP, to a service of that very address and port, without
//! persistence, which picks a destination under masquerade or direct routing that is ready. The general way (`schedule`) judges every
//! first packet; this one does the same for these without asking anything twice, and gives up on whatever asks for a second thought
//! before it has changed anything.

use crate::burst::{Burst, Kind, Mark, Slot};
use crate::conn::ConnId;
use crate::conn::table::Vacancy;
use crate::destination::{Destination, Method};
use crate::director::family::Family;
use crate::director::request::trim;
use crate::director::schedule::{Choice, FTP, FTP_DATA};
use crate::director::{Core, Lane, Packet, Shared, aside};
use crate::forward::answer::Fault;
use crate::forward::{ETHERNET, Exit, Offsets, nat};
use crate::frame::Frame;
use crate::packet::End;
use crate::proto::segment::Segment;
use crate::ready::Ready;
use crate::service::{Protocol, Service, ServiceKey};
use crate::snapshot::Snapshot;
use crate::stats::{DropReason, Event};
use crate::time::Tick;
use crate::verdict::{Origin, PortId};
use crate::wire::{ipv4, ipv6, protocol, udp};

/// Finds services; that of the last packet at once.
struct Services<'n, A> {
    snapshot: &'n Snapshot,
    /// Virtual address, port and protocol of the last one.
    last: Option<((A, u16, u8), &'n Service)>,
}

impl<'n, A: Family> Services<'n, A> {
    /// The service of the packet's own address and port, if it remembers no clients, and does remember connections.
    #[inline(always)]
    fn of(&mut self, packet: &Packet<A>) -> Option<&'n Service> {
        let place = (packet.dst, packet.dport, packet.at.protocol);
        match self.last {
            Some((last, service)) if last == place => Some(service),
            _ => {
                let service = self.find(packet)?;
                self.last = Some((place, service));
                Some(service)
            }
        }
    }

    #[inline(always)]
    fn find(&self, packet: &Packet<A>) -> Option<&'n Service> {
        let datagram = packet.at.protocol == protocol::UDP;
        let protocol = if datagram { Protocol::Udp } else { Protocol::Tcp };
        let key = ServiceKey::Address { protocol, address: packet.dst.ip(), port: packet.dport };
        let service = self.snapshot.rules.find(&key)?;
        let forgets = service.flags.one_packet && datagram;
        (service.persistence.is_none() && !forgets).then_some(service)
    }
}

/// Stage 3 for the packets from number `at` on, as long as each begins a flow of the common kind; and stage 2 for those of the same numbers
/// of another burst. Returns the number of the first with which nothing was done.
#[inline(always)]
pub(super) fn open<F: Frame>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut [Mark],
    decided: &mut Burst<F>,
    at: usize,
    now: Tick,
) -> usize {
    match decided.marks.get(at).filter(|mark| !mark.candidate.is_some()).map(|mark| mark.kind) {
        Some(Kind::PlainRequest4) => open_all::<F, u32>(core, snapshot, sought, decided, at, now),
        Some(Kind::PlainRequest6) => open_all::<F, u128>(core, snapshot, sought, decided, at, now),
        _ => at,
    }
}

#[inline(never)]
fn open_all<F: Frame, A: Family>(
    core: &mut Core,
    snapshot: &Snapshot,
    sought: &mut [Mark],
    decided: &mut Burst<F>,
    from: usize,
    now: Tick,
) -> usize {
    let kind = if A::V6 { Kind::PlainRequest6 } else { Kind::PlainRequest4 };
    let (mut at, mut services) = (from, Services { snapshot, last: None });
    if !A::lane(core, snapshot).opens_plainly() {
        return at;
    }
    while let Some(slot) = decided.slot_mut(at) {
        let Slot { frame: Some(frame), mark, verdict, port, .. } = slot else { break };
        if mark.kind != kind || mark.candidate.is_some() {
            break;
        }
        match A::lane(core, snapshot).begin_flow(frame, mark.hash, port, now, &mut services) {
            Some(Ok(port)) => mark.way = port.0,
            Some(Err(given)) => *verdict = core.shared.settle(given),
            None => break,
        }
        if let Some(mark) = sought.get_mut(at) {
            core.seek(mark);
        }
        at += 1;
    }
    at
}

impl<'s, A: Family> Lane<'s, A> {
    /// Is nothing about that most first packets have nothing to do with: marks, expected connections, others to be told, a defence?
    fn opens_plainly(&self) -> bool {
        let Shared { announcer, routes, defence, .. } = &*self.shared;
        let asked = announcer.on || routes.is_some() || defence.may_drop();
        !asked && self.tables.portless == 0 && !self.snapshot.rules.has_mark_services::<A>()
    }

    /// Opens a connection for a client's packet and sends that. None, and nothing is changed, if the packet is not one of those meant here.
    #[inline(always)]
    fn begin_flow<'n: 's, F: Frame>(
        &mut self,
        frame: &mut F,
        hash: u64,
        port: PortId,
        now: Tick,
        services: &mut Services<'n, A>,
    ) -> Option<Exit> {
        let vacancy = self.tables.connections.vacancy(hash)?;
        let packet = Packet::plain(frame.bytes(), hash, port, now)?;
        if !self.may_begin(&packet) {
            return None;
        }
        let service = services.of(&packet)?;
        let Some(dest) = self.pick(service, &packet) else {
            let refused = self.refuse_unbound(frame, aside(packet), Fault::PortUnreachable, DropReason::NoDestination);
            return Some(Err(aside(refused)));
        };
        let dport = if dest.port == 0 { packet.dport } else { dest.port };
        let choice = Choice { dest, template: ConnId::NONE, dport };
        Some(match self.ready(frame, &packet, dest) {
            Some(ready) => Ok(self.open_ready(frame, &packet, service, &choice, (vacancy, ready))),
            None => Err(aside(self.open(frame, &aside(packet), service, &aside(choice)))),
        })
    }

    /// May a flow begin with the packet? Not the data connections of FTP, which its service may take too, nor its control connections,
    /// which a helper reads.
    #[inline(always)]
    fn may_begin(&self, packet: &Packet<A>) -> bool {
        packet.segment.starts(&self.snapshot.rules.settings)
            && packet.sport != FTP_DATA
            && packet.dport != FTP
            && !self.is_martian(packet)
    }

    /// The way to a destination that the packet may go at once, rewritten or not.
    #[inline(always)]
    fn ready<F: Frame>(&self, frame: &F, packet: &Packet<A>, dest: &Destination) -> Option<&'s Ready> {
        let ready = self.snapshot.ready.get(dest.id.index())?;
        let bytes = frame.bytes();
        let simple = match dest.method {
            Method::Dr => true,
            Method::Nat => has_checksum(bytes, packet.at),
            _ => false,
        };
        (simple && packet.length <= ready.mtu && A::ttl(bytes, ETHERNET) > 1).then_some(ready)
    }

    /// What [`Lane::open`] does, where nothing stands in the way.
    #[inline(always)]
    fn open_ready<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        service: &Service,
        choice: &Choice<'_>,
        (vacancy, ready): (Vacancy, &Ready),
    ) -> PortId {
        let mut connection = self.connection(packet, choice);
        self.number(&mut connection);
        self.set_out(&mut connection, packet);
        self.tables.connections.enter(vacancy, connection, packet.now);
        // A destination to which there is a way is in service.
        self.count_begun(service.id, choice.dest, connection.flags, Some(packet.length));
        self.shared.event(Event::Request);
        trim(frame, packet.at.end);
        let bytes = frame.bytes_mut();
        A::decrement_ttl(bytes, ETHERNET);
        if choice.dest.method == Method::Nat {
            nat::rewrite(bytes, packet.at, End::Destination, connection.daddr, connection.dport);
        }
        if let Some(macs) = bytes.first_chunk_mut() {
            *macs = ready.macs;
        }
        ready.port
    }
}

impl<A: Family> Packet<A> {
    /// Reads the headers of a packet of the common kind: TCP or UDP behind an IP header of the usual length.
    #[inline(always)]
    fn plain(bytes: &[u8], hash: u64, port: PortId, now: Tick) -> Option<Self> {
        const TCP_FLAGS: usize = 13;
        let l4 = ETHERNET + if A::V6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let head = bytes.get(..=l4 + TCP_FLAGS)?;
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (protocol, length) = if A::V6 {
            (head[ETHERNET + 6], half(ETHERNET + 4).wrapping_add(ipv6::HEADER_LEN as u16))
        } else {
            (head[ETHERNET + 9], half(ETHERNET + 2))
        };
        let (src, dst) = A::addresses(head, ETHERNET);
        let segment = if protocol == protocol::UDP { Segment::Udp } else { Segment::Tcp(head[l4 + TCP_FLAGS]) };
        let at = Offsets { l3: ETHERNET, l4, end: ETHERNET + usize::from(length), protocol };
        let (sport, dport) = (half(l4), half(l4 + 2));
        let (candidate, origin) = (ConnId::NONE, Origin::Wire);
        Some(Self { src, dst, sport, dport, at, segment, hash, candidate, length, port, origin, now })
    }
}

/// Has the packet a checksum that can follow what is rewritten? A datagram need not have one.
#[inline(always)]
fn has_checksum(bytes: &[u8], at: Offsets) -> bool {
    at.protocol != protocol::UDP || bytes.get(at.l4..).is_some_and(|udp| udp::Packet::new_unchecked(udp).has_checksum())
}
