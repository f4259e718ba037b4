//! Two virtual addresses may lead one client's address and port to the same real server's (under NAT). A reply cannot tell which is
//! meant; the kernel finds the connection that was made last, since its hash chains grow at the head. So here: the newest gets the
//! replies, and when it ends the newest of the others does.

use crate::conn::{ConnFlags, Connection, ReplyKey};
use crate::director::Lane;
use crate::director::family::Family;

impl<A: Family> Lane<'_, A> {
    /// Gives the replies of an older connection, if there is one, to this new one. To be called before it is inserted.
    pub(super) fn supersede(&mut self, hash: u64, new: &mut Connection<A>) {
        self.shared.serial = self.shared.serial.wrapping_add(1);
        new.extra = self.shared.serial;
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

    /// Gives the replies of a connection that has ended back to the newest of those that it superseded.
    pub(super) fn give_back(&mut self, ended: &Connection<A>) {
        let had_replies = ended.flags.contains(ConnFlags::SUPERSEDES) && !ended.flags.contains(ConnFlags::SUPERSEDED);
        if !had_replies {
            return;
        }
        let key = replies_to(ended);
        let hash = self.tables.connections.hash(ended.protocol, ended.caddr, ended.cport);
        let waits = |c: &Connection<A>| {
            let freed = Connection { flags: c.flags.without(ConnFlags::SUPERSEDED), ..*c };
            c.flags.contains(ConnFlags::SUPERSEDED) && key.matches(&freed)
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
            heir.flags.remove(ConnFlags::SUPERSEDED);
        }
    }
}

fn replies_to<A: Copy>(c: &Connection<A>) -> ReplyKey<A> {
    ReplyKey { protocol: c.protocol, caddr: c.caddr, cport: c.cport, daddr: c.daddr, dport: c.dport }
}
