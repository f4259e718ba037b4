//! Which destination a client's next packet would go to, and by what, with nothing changed by asking: the same steps as those of a
//! packet (`request`, `schedule`, `persist`), each only looked at.

use std::net::IpAddr;

use crate::conn::{ConnFlags, ConnId, RequestKey};
use crate::destination::DestId;
use crate::director::family::Family;
use crate::director::{Director, Lane, Packet};
use crate::forward::{ETHERNET, Offsets};
use crate::network::Hop;
use crate::proto::State;
use crate::proto::segment::Segment;
use crate::scheduler::Candidates;
use crate::service::{Protocol, Service, ServiceId};
use crate::time::{Instant, Tick};
use crate::verdict::{Origin, PortId, WorkerId};

/// FTP's control port.
const FTP: u16 = 21;

/// A client, and where its packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// IP protocol.
    pub protocol: u8,
    /// Client.
    pub client: IpAddr,
    /// Its port; without one it is about a new connection.
    pub cport: Option<u16>,
    /// Virtual address.
    pub vip: IpAddr,
    /// Virtual port.
    pub vport: u16,
}

/// By what a packet would find its destination, or why it would not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The client is another worker's: ask that one.
    OtherWorker,
    /// The connection that it belongs to.
    Connection,
    /// The client's template.
    Template,
    /// The scheduler.
    Scheduler,
    /// Past every destination (`cache_bypass`).
    Bypass,
    /// The two addresses are of two families.
    Families,
    /// No service: the packet is the kernel's.
    NoService,
    /// No client can have this address: the packet is the kernel's.
    NoClient,
    /// A data connection that no template leads: the packet is the kernel's.
    DataOfFtp,
    /// The destination of its connection was removed: dropped.
    DestinationGone,
    /// No destination can be had: refused.
    NoDestination,
}

/// What else there is to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remark {
    /// There is a connection in this state; a packet that opens one ends it and is scheduled anew.
    OpensAnew(State),
    /// There is a connection, whose destination was removed: it ends, and the packet is scheduled anew.
    LostConnection(DestId),
    /// There is a template that is not followed, for its destination was removed or gets no clients.
    LostTemplate(DestId),
    /// It was told of by another director, and goes to the address that it came with: these rules have no destination there.
    Unbound,
    /// Templates of the service are known by a Call-ID too, and none was given.
    CallId,
    /// A new template is made.
    NewTemplate,
    /// The defence `drop_packet` drops some of the packets that open connections.
    Defended,
}

/// The answer of one worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// Whose client it is.
    pub owner: WorkerId,
    /// By what.
    pub by: By,
    /// Firewall mark of the packet.
    pub mark: u32,
    /// The service, if one was asked.
    pub service: Option<ServiceId>,
    /// The destination, if any.
    pub dest: Option<DestId>,
    /// State and ticks left of the connection, or of the template.
    pub entry: Option<(State, u32)>,
    /// What else there is to say, in order.
    pub remarks: [Option<Remark>; 4],
}

impl Explanation {
    fn new(owner: WorkerId, by: By) -> Self {
        Self { owner, by, mark: 0, service: None, dest: None, entry: None, remarks: [None; 4] }
    }

    fn remark(&mut self, remark: Remark) {
        if let Some(free) = self.remarks.iter_mut().find(|place| place.is_none()) {
            *free = Some(remark);
        }
    }

    fn to(mut self, by: By, dest: DestId) -> Self {
        (self.by, self.dest) = (by, Some(dest));
        self
    }

    fn ends(mut self, by: By) -> Self {
        self.by = by;
        self
    }
}

impl Director {
    /// Which destination the client would get, and by what. A worker answers for its own clients only.
    pub fn why(&mut self, question: &Question, now: Instant) -> Explanation {
        let owner = self.steering.owner(question.client);
        if owner != self.core.shared.worker {
            return Explanation::new(owner, By::OtherWorker);
        }
        let (core, snapshot, now) = (&mut self.core, &*self.snapshot, now.tick());
        let v4 = u32::lane(core, snapshot).why(question, owner, now);
        let either = v4.or_else(|| u128::lane(core, snapshot).why(question, owner, now));
        either.unwrap_or(Explanation::new(owner, By::Families))
    }
}

impl<A: Family> Lane<'_, A> {
    /// `None` for addresses of another family.
    fn why(&self, question: &Question, owner: WorkerId, now: Tick) -> Option<Explanation> {
        let packet = self.imagined(question, now)?;
        let mut explained = Explanation::new(owner, By::NoService);
        if question.cport.is_some()
            && let Some(id) = self.connection_of(&packet)
            && self.why_by_connection(id, &packet, &mut explained)
        {
            return Some(explained);
        }
        Some(self.why_anew(&packet, explained))
    }

    /// The packet that opens a connection. It comes in where the way to the client goes out.
    fn imagined(&self, question: &Question, now: Tick) -> Option<Packet<A>> {
        let (src, dst) = (A::from_ip(question.client)?, A::from_ip(question.vip)?);
        let port = match A::hop(self.snapshot, src) {
            Hop::Resolved { port, .. } | Hop::Unresolved { port, .. } => port,
            _ => PortId(0),
        };
        let sport = question.cport.unwrap_or_default();
        let hash = self.tables.connections.hash(question.protocol, src, sport);
        let at = Offsets { l3: ETHERNET, l4: ETHERNET, end: ETHERNET, protocol: question.protocol };
        Some(Packet {
            src,
            dst,
            sport,
            dport: question.vport,
            at,
            segment: Segment::Other,
            hash,
            candidate: ConnId::NONE,
            length: 0,
            port,
            origin: Origin::Wire,
            now,
        })
    }

    fn connection_of(&self, packet: &Packet<A>) -> Option<ConnId> {
        let Packet { src: caddr, dst: vaddr, sport: cport, dport: vport, .. } = *packet;
        let key = RequestKey { protocol: packet.at.protocol, caddr, cport, vaddr, vport };
        self.tables.connections.request(packet.hash, ConnId::NONE, &key)
    }

    /// Says that the packet belongs to its connection; false when it would not for long.
    fn why_by_connection(&self, id: ConnId, packet: &Packet<A>, explained: &mut Explanation) -> bool {
        let Some(connection) = self.tables.connections.get(id) else { return false };
        let bypass = connection.flags.contains(ConnFlags::BYPASS);
        if self.is_unbound(id) {
            explained.entry = Some((connection.state, connection.expires.since(packet.now)));
            explained.by = By::Connection;
            explained.remark(Remark::Unbound);
            return true;
        }
        let bound = self.lacked_by(id).map_or(connection.dest, |dest| dest.id);
        if !bypass && !self.snapshot.path(bound).available && self.snapshot.rules.settings.expire_nodest_conn {
            explained.remark(Remark::LostConnection(bound));
            return false;
        }
        let dest = self.snapshot.rules.destination(bound);
        explained.service = dest.map(|dest| dest.service);
        explained.entry = Some((connection.state, connection.expires.since(packet.now)));
        explained.dest = dest.map(|dest| dest.id);
        explained.by = match (bypass, self.snapshot.path(bound).available) {
            (true, _) => By::Bypass,
            (false, true) => By::Connection,
            (false, false) => By::DestinationGone,
        };
        if self.starts_over(id) {
            explained.remark(Remark::OpensAnew(connection.state));
        }
        true
    }

    /// How a packet of no connection would find a destination.
    fn why_anew(&self, packet: &Packet<A>, mut explained: Explanation) -> Explanation {
        explained.mark = self.mark(packet);
        let service = Protocol::from_number(packet.at.protocol).and_then(|protocol| {
            self.snapshot.rules.service_of(explained.mark, protocol, packet.dst.ip(), packet.dport)
        });
        let Some(service) = service else { return explained.ends(By::NoService) };
        explained.service = Some(service.id);
        if self.is_martian(packet) {
            return explained.ends(By::NoClient);
        }
        if self.shared.defence.is_up() {
            explained.remark(Remark::Defended);
        }
        let of_data = service.key.port() == FTP && packet.dport != FTP;
        if of_data && service.persistence.is_none() {
            return explained.ends(By::DataOfFtp);
        }
        if let Some(found) = self.why_by_template(packet, service, &mut explained) {
            return explained.to(By::Template, found);
        }
        match self.foretell(service, packet) {
            Some(dest) => explained.to(By::Scheduler, dest),
            None if self.is_bypassed(packet, service) => explained.ends(By::Bypass),
            None if of_data => explained.ends(By::DataOfFtp),
            None => explained.ends(By::NoDestination),
        }
    }

    /// Where the client's template leads, if it has one that is followed.
    fn why_by_template(&self, packet: &Packet<A>, service: &Service, explained: &mut Explanation) -> Option<DestId> {
        let persistence = service.persistence?;
        if service.engine.is_some() {
            explained.remark(Remark::CallId);
            return None;
        }
        let Some(id) = self.template_by(packet, service, persistence, &[]) else {
            explained.remark(Remark::NewTemplate);
            return None;
        };
        let template = self.tables.templates.get(id)?;
        let bound = self.lacked_by_template(id).map_or(template.dest, |dest| dest.id);
        let Some(dest) = self.keeps_clients(bound) else {
            explained.remark(Remark::LostTemplate(bound));
            return None;
        };
        explained.entry = Some((template.state, template.expires.since(packet.now)));
        Some(dest.id)
    }

    /// What the service's scheduler would choose.
    fn foretell(&self, service: &Service, packet: &Packet<A>) -> Option<DestId> {
        let scheduler = self.shared.schedulers.peek(service)?;
        let candidates = Candidates::of(service, &self.snapshot.rules, &self.shared.loads);
        scheduler.peek(&candidates, &packet.flow(), packet.now)
    }
}
