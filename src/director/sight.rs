//! What the director sees in one packet that is looked at closely (`pollvs trace`), between the stages: what it is, and what it would
//! go by. Nothing is changed by looking.

use std::net::{IpAddr, SocketAddr};

use crate::burst::{Burst, Kind, Slot};
use crate::conn::ReplyKey;
use crate::director::family::Family;
use crate::director::why::{Explanation, Question};
use crate::director::{Core, Director, Packet, express};
use crate::frame::Frame;
use crate::proto::State;
use crate::time::{Instant, Tick};

/// What is seen in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// Judged by its headers alone: not for a service, another worker's, broken.
    Headers,
    /// A client's, and by what it would find its destination.
    Request(Question, Explanation),
    /// A server's, perhaps: of a connection with this virtual end and in this state.
    Reply(Option<(SocketAddr, State)>),
    /// An ICMP error, perhaps about a connection.
    Error,
    /// Protected by IPsec.
    Ipsec,
}

impl Director {
    /// Looks at the one packet of a burst that has been through the first two stages.
    pub fn sight<F: Frame>(&mut self, burst: &mut Burst<F>, now: Instant) -> Sight {
        let Some(mut slot) = burst.slot_mut(0) else { return Sight::Headers };
        express::complete(&mut slot);
        let Slot { frame: Some(frame), meta, port, origin, .. } = slot else { return Sight::Headers };
        match meta.kind {
            Kind::Done | Kind::Unseen => Sight::Headers,
            Kind::Request4 | Kind::PlainRequest4 => {
                let packet = Packet::<u32>::read(frame.bytes(), meta, port, origin, now.tick());
                self.request_seen(question(&packet), now)
            }
            Kind::Request6 | Kind::PlainRequest6 => {
                let packet = Packet::<u128>::read(frame.bytes(), meta, port, origin, now.tick());
                self.request_seen(question(&packet), now)
            }
            Kind::Reply4 | Kind::PlainReply4 => {
                let packet = Packet::<u32>::read(frame.bytes(), meta, port, origin, Tick(0));
                Sight::Reply(replies(&self.core, &packet))
            }
            Kind::Reply6 | Kind::PlainReply6 => {
                let packet = Packet::<u128>::read(frame.bytes(), meta, port, origin, Tick(0));
                Sight::Reply(replies(&self.core, &packet))
            }
            Kind::Icmp4 | Kind::Icmp6 => Sight::Error,
            Kind::Ipsec4 | Kind::Ipsec6 => Sight::Ipsec,
        }
    }
}

impl Director {
    fn request_seen(&mut self, question: Question, now: Instant) -> Sight {
        Sight::Request(question, self.why(&question, now))
    }
}

fn question<A: Family>(packet: &Packet<A>) -> Question {
    let (client, vip): (IpAddr, IpAddr) = (packet.src.ip(), packet.dst.ip());
    Question { protocol: packet.at.protocol, client, cport: Some(packet.sport), vip, vport: packet.dport }
}

/// The virtual end and the state of the connection that a server's packet belongs to.
fn replies<A: Family>(core: &Core, packet: &Packet<A>) -> Option<(SocketAddr, State)> {
    let Packet { dst: caddr, src: daddr, dport: cport, sport: dport, .. } = *packet;
    let key = ReplyKey { protocol: packet.at.protocol, caddr, cport, daddr, dport };
    let connections = &A::tables(core).connections;
    let connection = connections.get(connections.reply(packet.hash, packet.candidate, &key)?)?;
    Some((SocketAddr::new(connection.vaddr.ip(), connection.vport), connection.state))
}
