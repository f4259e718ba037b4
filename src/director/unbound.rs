//! A connection that another director has told of and for which these rules have no destination stays unbound, and is handled all the
//! same: its packets go to the address that it came with, by the method that it came with, and count for nobody (`ip_vs_proc_conn`;
//! `__ip_vs_get_out_rt` without a destination). The kernel sends none into a tunnel, since how that is made is the destination's to say.

use crate::conn::{ConnFlags, ConnId, Connection};
use crate::destination::DestId;
use crate::director::family::Family;
use crate::director::request::Bound;
use crate::director::{Lane, Packet};
use crate::forward;
use crate::frame::Frame;
use crate::network::Hop;
use crate::snapshot::Path;
use crate::stats::DropReason;
use crate::verdict::Verdict;

impl<A: Family> Lane<'_, A> {
    /// Is it one?
    pub(super) fn is_unbound(&self, id: ConnId) -> bool {
        let lacks = |c: &Connection<A>| c.dest == DestId::NONE && !c.flags.contains(ConnFlags::BYPASS);
        self.tables.connections.get(id).is_some_and(lacks) && self.tables.told.get(id).received
    }

    /// Sends a client's packet of such a connection on.
    pub(super) fn unbound<F: Frame>(&mut self, frame: &mut F, packet: &Packet<A>, id: ConnId) -> Verdict {
        let Some(&connection) = self.tables.connections.get(id) else { return Verdict::Drop(DropReason::Aborted) };
        let path = self.way_of(id, &connection);
        if connection.flags.contains(ConnFlags::TUN) && forward::mtu(&path.hop).is_some() {
            self.note(id, packet);
            return Verdict::Drop(DropReason::DestinationGone);
        }
        let bound = Bound { path: &path, ..self.bound(&connection) };
        forward::verdict(self.known(frame, packet, id, &bound))
    }

    /// How a connection's packets get to its destination, or to where it says itself.
    pub(super) fn way_of(&self, id: ConnId, connection: &Connection<A>) -> Path {
        if !self.is_unbound(id) {
            return *self.snapshot.path(connection.dest);
        }
        let is_local = connection.flags.contains(ConnFlags::LOCAL);
        let hop = if is_local { Hop::Local } else { A::hop(self.snapshot, connection.daddr) };
        Path { hop, address: Some(connection.daddr.ip()), available: true, ..Path::default() }
    }
}
