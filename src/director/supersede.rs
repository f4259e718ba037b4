//! Two virtual addresses may lead one client's address and port to the same real server's (under NAT). A reply cannot tell which is
//! meant; the kernel finds the connection that was made last, since its hash chains grow at the head. So here: the newest gets the
//! replies, and when it ends the newest of the others does. It is the same with the packets of a client whose connection was replaced
//! by a new one and has not ended yet, or to whom another server made a call.

use crate::conn::{ConnFlags, ConnId, Connection, ReplyKey, RequestKey};
use crate::destination::DestId;
use crate::director::Lane;
use crate::director::family::Family;

impl<A: Family> Lane<'_, A> {
    /// Gives the replies of an older connection, if there is one, to this new one. To be called before it is inserted.
    pub(super) fn supersede(&mut self, hash: u64, new: &mut Connection<A>) {
        self.number(new);
        if !new.flags.contains(ConnFlags::NAT) {
            return;
        }
        let key = replies_to(new);
        let older = self.tables.connections.find(hash, |c| key.matches(c));
        if let Some(older) = older.and_then(|id| self.tables.connections.get_mut(id)) {
            older.flags.insert(ConnFlags::SUPERSEDED);
            new.flags.insert(ConnFlags::SUPERSEDES);
        }
    }

    /// Gives a new connection its serial number.
    #[inline]
    pub(super) fn number(&mut self, new: &mut Connection<A>) {
        self.shared.serial = self.shared.serial.wrapping_add(1);
        new.extra = self.shared.serial;
    }

    /// Gives the packets of a client to the connection that was just made in the place of an old one.
    pub(super) fn replace(&mut self, hash: u64, old: ConnId, key: &RequestKey<A>) {
        if let Some(old) = self.tables.connections.get_mut(old) {
            old.flags.insert(ConnFlags::RETIRED);
        }
        let new = self.tables.connections.request(hash, ConnId::NONE, key);
        if let Some(new) = new.and_then(|id| self.tables.connections.get_mut(id)) {
            new.flags.insert(ConnFlags::SUPERSEDES);
        }
    }

    /// The destination, if it is still there, of the connection under DR or TUN that the client's one under NAT replaces.
    pub(super) fn replaced(&self, hash: u64, key: &RequestKey<A>) -> Option<DestId> {
        let is_old = |c: &Connection<A>| {
            let freed = Connection { flags: c.flags.without(ConnFlags::RETIRED), ..*c };
            !c.flags.contains(ConnFlags::NAT) && key.matches(&freed)
        };
        let old = self.tables.connections.find(hash, is_old).and_then(|id| self.tables.connections.get(id))?;
        Some(old.dest).filter(|dest| self.snapshot.paths.get(dest.index()).is_some_and(|path| path.available))
    }

    /// Gives what a connection that has ended had taken back to the newest of those that it had taken it from.
    pub(super) fn give_back(&mut self, ended: &Connection<A>) {
        if !ended.flags.contains(ConnFlags::SUPERSEDES) {
            return;
        }
        let (replies, requests) = (replies_to(ended), requests_of(ended));
        let hash = self.tables.connections.hash(ended.protocol, ended.caddr, ended.cport);
        if !ended.flags.contains(ConnFlags::SUPERSEDED) {
            self.free(hash, ConnFlags::SUPERSEDED, |c| replies.matches(c));
        }
        if !ended.flags.contains(ConnFlags::RETIRED) {
            self.free(hash, ConnFlags::RETIRED, |c| requests.matches(c));
        }
    }

    /// Takes the flag off the newest of the connections that only the flag keeps from matching.
    fn free(&mut self, hash: u64, flag: ConnFlags, matches: impl Fn(&Connection<A>) -> bool) {
        let waits = |c: &Connection<A>| {
            let freed = Connection { flags: c.flags.without(flag), ..*c };
            c.flags.contains(flag) && matches(&freed)
        };
        let mut newest: Option<u32> = None;
        self.tables.connections.find(hash, |c| {
            if waits(c) && newest.is_none_or(|serial| c.is_later_than(serial)) {
                newest = Some(c.extra);
            }
            false
        });
        let heir = newest.and_then(|serial| self.tables.connections.find(hash, |c| waits(c) && c.extra == serial));
        if let Some(heir) = heir.and_then(|id| self.tables.connections.get_mut(id)) {
            heir.flags.remove(flag);
        }
    }
}

fn replies_to<A: Copy>(c: &Connection<A>) -> ReplyKey<A> {
    ReplyKey { protocol: c.protocol, caddr: c.caddr, cport: c.cport, daddr: c.daddr, dport: c.dport }
}

pub(super) fn requests_of<A: Copy>(c: &Connection<A>) -> RequestKey<A> {
    RequestKey { protocol: c.protocol, caddr: c.caddr, cport: c.cport, vaddr: c.vaddr, vport: c.vport }
}
