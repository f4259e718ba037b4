//! AH and ESP (`ip_vs_proto_ah_esp.c`): they have no ports, so they go where the key exchange of the same two hosts goes, the connection
//! of UDP port 500 with port 500. They start no connection, and move no state; the connection's timer starts again.

use crate::burst::{Kind, Meta};
use crate::conn::{ConnFlags, ConnId, ReplyKey, RequestKey};
use crate::director::family::Family;
use crate::director::{Director, Lane, Packet};
use crate::forward;
use crate::frame::Frame;
use crate::mark::Header;
use crate::stats::Event;
use crate::time::Tick;
use crate::verdict::{Origin, PortId, Verdict};
use crate::wire::protocol;

use super::parse::L3;

/// Port of the key exchange (RFC 7296).
const ISAKMP: u16 = 500;

impl Director {
    /// Stage 1 for a packet of AH or ESP: where would the connection of its key exchange be?
    #[cold]
    pub(super) fn ipsec<A: Family>(
        &mut self,
        bytes: &[u8],
        packet: Meta,
        port: PortId,
        origin: Origin,
        meta: &mut Meta,
    ) -> Result<(), Verdict> {
        if self.snapshot.rules.is_empty(A::V6) {
            return Err(self.core.shared.kernels(&self.snapshot, port, origin));
        }
        let (src, dst) = A::addresses(bytes, L3);
        let header = || Header { src, dst, protocol: packet.protocol, sport: 0, dport: 0, port };
        let from_client = A::is_vip(&self.snapshot, dst) || self.is_by_mark(header, origin);
        let client = if from_client { src } else { dst };
        self.elsewhere(client)?;
        let hash = A::tables(&self.core).connections.hash(protocol::UDP, client, ISAKMP);
        *meta = Meta { kind: if A::V6 { Kind::Ipsec6 } else { Kind::Ipsec4 }, hash, ..packet };
        Ok(())
    }
}

impl<A: Family> Lane<'_, A> {
    /// Judges a packet of AH or ESP.
    #[cold]
    #[inline(never)]
    pub(super) fn ipsec<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        if A::is_vip(self.snapshot, packet.dst) || self.is_by_mark(packet) {
            self.protected_request(frame, packet)
        } else {
            self.protected_reply(frame, packet)
        }
    }

    fn protected_request<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        let key =
            RequestKey { protocol: protocol::UDP, caddr: packet.src, cport: ISAKMP, vaddr: packet.dst, vport: ISAKMP };
        let found = self.tables.connections.find(packet.hash, |connection| key.matches(connection));
        let Some((id, connection)) = found.and_then(|id| Some((id, self.tables.connections.get(id)?))) else {
            self.shared.event(Event::NoConnection);
            return self.shared.kernels(self.snapshot, packet.port, packet.origin);
        };
        let (timeout, bound) = (connection.timeout, self.bound(connection));
        let verdict = forward::verdict(self.known(frame, packet, id, &bound));
        self.keep_timeout(id, timeout, packet.now);
        verdict
    }

    fn protected_reply<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        let key =
            ReplyKey { protocol: protocol::UDP, caddr: packet.dst, cport: ISAKMP, daddr: packet.src, dport: ISAKMP };
        let found = self.tables.connections.find(packet.hash, |connection| key.matches(connection));
        let Some((id, connection)) = found.and_then(|id| Some((id, self.tables.connections.get(id)?))) else {
            return self.shared.kernels(self.snapshot, packet.port, packet.origin);
        };
        let (timeout, vaddr) = (connection.timeout, connection.vaddr);
        let verdict = forward::verdict(self.translate(frame, packet, id, vaddr, ISAKMP));
        self.keep_timeout(id, timeout, packet.now);
        verdict
    }

    /// The time-out stays what the last datagram made it, whatever `ipvsadm --set` has said since.
    fn keep_timeout(&mut self, id: ConnId, timeout: u32, now: Tick) {
        let changed =
            |c: &&mut crate::conn::Connection<A>| c.timeout != timeout && !c.flags.contains(ConnFlags::RETIRED);
        let Some(connection) = self.tables.connections.get_mut(id).filter(changed) else { return };
        (connection.timeout, connection.expires) = (timeout, now.plus(timeout));
        self.tables.connections.rearm(id, now);
    }
}
