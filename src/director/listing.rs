//! Reading the tables for people, a bounded piece at a time.

use std::net::IpAddr;

use crate::app::sip::CallId;
use crate::conn::{ConnFlags, Connection};
use crate::destination::DestId;
use crate::director::Director;
use crate::director::family::Family;
use crate::proto::State;
use crate::time::Instant;

/// Which table to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// IPv6?
    pub v6: bool,
    /// Templates, or connections?
    pub templates: bool,
}

/// One connection or template as people see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionInfo {
    /// IP protocol number.
    pub protocol: u8,
    /// Client.
    pub caddr: IpAddr,
    /// Client's port; 0 of a template.
    pub cport: u16,
    /// Virtual address.
    pub vaddr: IpAddr,
    /// Virtual port.
    pub vport: u16,
    /// Destination.
    pub daddr: IpAddr,
    /// Destination's port.
    pub dport: u16,
    /// Name of the state, as `ipvsadm -Lcn` prints it.
    pub state: &'static str,
    /// Ticks of 10 ms until it expires.
    pub expires: u32,
    /// Its flags.
    pub flags: ConnFlags,
    /// Its destination.
    pub destination: DestId,
    /// Client packets seen.
    pub packets: u32,
    /// Of a template: the connections that it controls.
    pub controlled: u32,
    /// Of a template that the persistence engine sip made: the Call-ID.
    pub call_id: CallId,
    /// Was it taken over from another director?
    pub received: bool,
    /// Of a connection: the lower, the older; numbers wrap.
    pub serial: u32,
}

impl Director {
    /// Calls `show` for up to `max` entries from `cursor` on. Returns where to go on, or `None` at the end.
    pub fn list(
        &self,
        which: Listing,
        cursor: u32,
        max: usize,
        now: Instant,
        show: impl FnMut(ConnectionInfo),
    ) -> Option<u32> {
        if which.v6 {
            self.list_of::<u128>(which.templates, cursor, max, now, show)
        } else {
            self.list_of::<u32>(which.templates, cursor, max, now, show)
        }
    }

    fn list_of<A: Family>(
        &self,
        templates: bool,
        cursor: u32,
        max: usize,
        now: Instant,
        mut show: impl FnMut(ConnectionInfo),
    ) -> Option<u32> {
        let tables = A::tables(&self.core);
        let table = if templates { &tables.templates } else { &tables.connections };
        let (entries, next) = table.scan(cursor, max);
        let memos = if templates { &tables.told_templates } else { &tables.told };
        entries.for_each(|(id, entry)| show(self.info(entry, memos.get(id).received, now)));
        next
    }

    fn info<A: Family>(&self, entry: &Connection<A>, received: bool, now: Instant) -> ConnectionInfo {
        let template = entry.flags.contains(ConnFlags::TEMPLATE);
        // A tunnel's end may be of the other family, which the entry has no room for.
        let of_family = entry.daddr != A::default();
        let other = || self.snapshot.rules.destination(entry.dest).map(|d| d.address);
        let daddr = if of_family { None } else { other() }.unwrap_or_else(|| entry.daddr.ip());
        ConnectionInfo {
            protocol: entry.protocol,
            caddr: entry.caddr.ip(),
            cport: entry.cport,
            vaddr: entry.vaddr.ip(),
            vport: entry.vport,
            daddr,
            dport: entry.dport,
            state: shown(entry).name(),
            expires: entry.expires.since(now.tick()),
            flags: entry.flags,
            destination: entry.dest,
            packets: entry.packets,
            controlled: entry.controlled,
            received,
            serial: entry.extra,
            call_id: if template {
                self.core.shared.apps.calls.get(entry.side).copied().unwrap_or_default()
            } else {
                CallId::NONE
            },
        }
    }
}

/// What the state column shows: a template is assured or nothing.
fn shown<A>(entry: &Connection<A>) -> State {
    match (entry.flags.contains(ConnFlags::TEMPLATE), entry.flags.contains(ConnFlags::ASSURED)) {
        (true, true) => State::Assured,
        _ => entry.state,
    }
}
