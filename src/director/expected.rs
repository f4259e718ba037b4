//! Connections that a helper expects: entered before their first packet, controlled by the connection that announced them, listed as
//! LISTEN. The client's port may not be known yet; its first packet tells (`ip_vs_conn_fill_cport`).

use crate::conn::{ConnFlags, ConnId, Connection};
use crate::director::family::Family;
use crate::director::request::request_key;
use crate::director::schedule::reason;
use crate::director::{Lane, Packet};
use crate::frame::Frame;
use crate::proto::State;
use crate::stats::DropReason;
use crate::time::Tick;
use crate::verdict::Verdict;

impl<A: Family> Lane<'_, A> {
    /// Enters the connection that `control` announces, made of `like`, or makes the one there is wait again. Returns its virtual
    /// address and port.
    pub(super) fn expect(
        &mut self,
        control: ConnId,
        like: Connection<A>,
        is_there: impl Fn(&Connection<A>) -> bool,
        now: Tick,
    ) -> Result<(A, u16), DropReason> {
        let hash = self.tables.connections.hash(like.protocol, like.caddr, like.cport);
        let timeout = self.shared.timeouts.ticks(State::Listen);
        if let Some(id) = self.newest(hash, is_there) {
            let Some(waiting) = self.tables.connections.get_mut(id) else { return Err(DropReason::Aborted) };
            (waiting.state, waiting.timeout, waiting.expires) = (State::Listen, timeout, now.plus(timeout));
            let end = (waiting.vaddr, waiting.vport);
            self.tables.connections.rearm(id, now);
            return Ok(end);
        }
        let kept = ConnFlags::METHOD | ConnFlags::NO_CPORT;
        let mut new = Connection {
            state: State::Listen,
            flags: ConnFlags(like.flags.0 & kept.0) | ConnFlags::INACTIVE,
            side: 0,
            expires: now.plus(timeout),
            timeout,
            template: control.as_controller(),
            controlled: 0,
            packets: 0,
            ..like
        };
        self.supersede(hash, &mut new);
        if let Err(full) = self.tables.connections.insert(hash, new, now) {
            self.give_back(&new);
            return Err(reason(full));
        }
        let upper = self.snapshot.rules.destination(new.dest).map_or(0, |d| d.upper);
        self.bind(new.dest, upper, new.template);
        self.tables.portless += u32::from(new.flags.contains(ConnFlags::NO_CPORT));
        Ok((new.vaddr, new.vport))
    }

    /// The connection that was made last of those that match: as in the kernel, whose hash chains grow at the head.
    fn newest(&self, hash: u64, matches: impl Fn(&Connection<A>) -> bool) -> Option<ConnId> {
        let mut newest: Option<u32> = None;
        let connections = &self.tables.connections;
        connections.find(hash, |c| {
            if matches(c) && newest.is_none_or(|serial| c.is_later_than(serial)) {
                newest = Some(c.extra);
            }
            false
        });
        connections.find(hash, |c| matches(c) && Some(c.extra) == newest)
    }

    /// Judges a packet of no known connection: perhaps one was expected, from any port of the client.
    #[cold]
    pub(super) fn first<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>) -> Verdict {
        let expected = if self.tables.portless == 0 { None } else { self.expected(packet) };
        let Some(id) = expected else { return self.unknown(frame, packet) };
        let Some(&connection) = self.tables.connections.get(id) else { return Verdict::Drop(DropReason::Aborted) };
        let bound = self.bound(&connection);
        let stays = (bound.path.available || self.is_unbound(id)) && !(packet.segment.opens() && self.starts_over(id));
        if stays && let Err(reason) = self.fill_port(id, connection, packet) {
            return Verdict::Drop(reason);
        }
        crate::forward::verdict(self.known(frame, packet, id, &bound))
    }

    /// The connection that waits for a packet like this.
    fn expected(&self, packet: &Packet<A>) -> Option<ConnId> {
        let key = crate::conn::RequestKey { cport: 0, ..request_key(packet) };
        let hash = self.tables.connections.hash(key.protocol, key.caddr, 0);
        self.newest(hash, |c| c.flags.contains(ConnFlags::NO_CPORT) && key.matches(c))
    }

    /// The client's port is known now.
    fn fill_port(&mut self, id: ConnId, mut known: Connection<A>, packet: &Packet<A>) -> Result<(), DropReason> {
        known.cport = packet.sport;
        known.flags.remove(ConnFlags::NO_CPORT);
        self.supersede(packet.hash, &mut known);
        match self.tables.connections.rekey(id, |c| *c = known) {
            Ok(()) => {
                self.tables.portless -= 1;
                Ok(())
            }
            Err(full) => {
                self.give_back(&known);
                Err(reason(full))
            }
        }
    }
}
