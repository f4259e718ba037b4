//! The persistence engine sip (`ip_vs_pe_sip.c`): the templates of its services are known by the Call-ID too, and a server may begin a
//! flow itself, which then gets template and connection as if the client had begun (`ip_vs_new_conn_out`).

use crate::app::sip;
use crate::conn::{ConnFlags, ConnId, Connection};
use crate::director::family::Family;
use crate::director::schedule::{Choice, reason};
use crate::director::supersede::requests_of;
use crate::director::{Lane, Packet};
use crate::forward;
use crate::frame::Frame;
use crate::service::{Service, ServiceKey};
use crate::stats::DropReason;
use crate::verdict::{Origin, Verdict};
use crate::wire::{protocol, udp};

/// The Call-ID that a service wants of a packet; empty for a service that wants none.
pub(super) fn call_id<'f, A: Family, F: Frame>(
    frame: &'f mut F,
    packet: &Packet<A>,
    service: &Service,
) -> Result<&'f [u8], DropReason> {
    if service.engine.is_none() || service.persistence.is_none() {
        return Ok(&[]);
    }
    if packet.at.protocol == protocol::UDP {
        frame.flatten();
    }
    let message = frame.bytes().get(packet.at.l4 + udp::HEADER_LEN..packet.at.end).unwrap_or_default();
    let id = if packet.at.protocol == protocol::UDP { sip::call_id(message) } else { None };
    id.ok_or(DropReason::NoCallId)
}

impl<A: Family> Lane<'_, A> {
    /// Lets a server begin a flow, if its service has an engine that allows that.
    #[cold]
    pub(super) fn originate<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Option<Verdict> {
        let (service, dest) = self.snapshot.rules.caller(packet.src.ip(), packet.sport)?;
        let ServiceKey::Address { address, port: vport, .. } = service.key else { return None };
        // A service of all ports does not say by which one the client knows it, nor a server of all ports who it is.
        if vport == 0 || packet.sport == 0 {
            return None;
        }
        let lives = packet.origin == Origin::Wire && A::ttl(frame.bytes(), packet.at.l3) > 1;
        if !lives || !self.fits(frame, packet, &A::hop(self.snapshot, packet.dst)) {
            return None;
        }
        let vaddr = A::from_ip(address)?;
        let flow = Packet { src: packet.dst, sport: packet.dport, dst: vaddr, dport: vport, ..*packet };
        let call = call_id(frame, packet, service).ok()?;
        let template = match service.persistence {
            Some(persistence) => self.template_to(&flow, vport, persistence, call, dest, packet.sport),
            None => Default::default(),
        };
        let mut connection = self.connection(&flow, &Choice { dest, template, dport: packet.sport });
        if service.flags.one_packet {
            connection.flags.insert(ConnFlags::ONE_PACKET);
        }
        Some(self.begin(frame, packet, connection, dest.upper))
    }

    /// Enters the connection of a server's first packet and sends that. If the client has a connection already, with another server,
    /// its packets go to this one from now on.
    fn begin<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        mut connection: Connection<A>,
        upper: u32,
    ) -> Verdict {
        let Connection { vaddr, vport, dest, template, flags, .. } = connection;
        self.supersede(packet.hash, &mut connection);
        let requests = requests_of(&connection);
        let older = self.tables.connections.request(packet.hash, ConnId::NONE, &requests);
        let id = match self.tables.connections.insert(packet.hash, connection, packet.now) {
            Ok(id) => id,
            Err(full) => {
                self.give_back(&connection);
                return Verdict::Drop(reason(full));
            }
        };
        if let Some(older) = older {
            self.replace(packet.hash, older, &requests);
        }
        self.count_connection(dest);
        self.bind(dest, upper, template);
        let verdict = forward::verdict(self.translate(frame, packet, id, vaddr, vport));
        if flags.contains(ConnFlags::ONE_PACKET) {
            self.end(id);
        }
        verdict
    }
}
