//! Connections: the entry that binds one client flow to a destination (the kernel's `struct ip_vs_conn`), the table that finds
//! it in both directions, and the wheel that expires it. Templates of persistence are entries of a second table.

pub mod edges;
pub mod table;
pub mod timer;

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

pub use table::{InsertError, Table};
use timer::{Link, Timed};

use crate::destination::DestId;
use crate::family::Address;
use crate::proto::State;
use crate::time::Tick;

/// Index of a connection in its table, good until it is removed; another connection may then get it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

impl ConnId {
    /// No connection.
    pub const NONE: Self = Self(u32::MAX);
    /// Set in the id of a controller that is itself a connection, not a template. No table has so many entries.
    const CONNECTION: u32 = 1 << 31;

    /// The index as a `usize`.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// This connection's id as a [`Connection::template`]: no template has it.
    pub fn as_controller(self) -> Self {
        Self(self.0 | Self::CONNECTION)
    }

    /// Of a [`Connection::template`]: the connection that it is, when it is no template.
    pub fn controlling_connection(self) -> Option<Self> {
        (self.is_some() && self.0 & Self::CONNECTION != 0).then_some(Self(self.0 & !Self::CONNECTION))
    }

    /// Returns false for [`ConnId::NONE`].
    #[inline]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

impl Default for ConnId {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_some() { write!(f, "ConnId({})", self.0) } else { f.write_str("ConnId::NONE") }
    }
}

/// What is so about a connection, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnFlags(pub u16);

impl ConnFlags {
    /// Forwarded by rewriting addresses (masquerade); the only method whose replies come back through the director.
    pub const NAT: Self = Self(1);
    /// Forwarded by direct routing.
    pub const DR: Self = Self(1 << 1);
    /// Forwarded through a tunnel.
    pub const TUN: Self = Self(1 << 2);
    /// Delivered to the director itself.
    pub const LOCAL: Self = Self(1 << 3);
    /// Sent on to the address the client asked for, past every destination.
    pub const BYPASS: Self = Self(1 << 4);
    /// All of the bits that say how packets are forwarded.
    pub const METHOD: Self = Self(0b1_1111);
    /// Counted as inactive at its destination.
    pub const INACTIVE: Self = Self(1 << 5);
    /// A template of persistence, not a connection.
    pub const TEMPLATE: Self = Self(1 << 6);
    /// A packet of the server has been seen.
    pub const SEEN_OUTPUT: Self = Self(1 << 7);
    /// Its state was judged by the client's packets alone (the kernel's NOOUTPUT, "input only").
    pub const NO_OUTPUT: Self = Self(1 << 8);
    /// Lives for one packet (one-packet scheduling).
    pub const ONE_PACKET: Self = Self(1 << 9);
    /// A template one of whose connections was established; a connection whose template knows that of it, or that has none.
    pub const ASSURED: Self = Self(1 << 10);
    /// The client's port is not known yet (FTP data).
    pub const NO_CPORT: Self = Self(1 << 11);
    /// Another connection gets the replies: it has the same client and real server by another virtual address, and is newer.
    pub const SUPERSEDED: Self = Self(1 << 12);
    /// Took the replies or the client's packets of an older connection.
    pub const SUPERSEDES: Self = Self(1 << 13);
    /// Another connection, newer and with the same client and virtual address, gets the client's packets. If it is a reuse, this
    /// one ends at the next tick, unless the server says something before.
    pub const RETIRED: Self = Self(1 << 14);
    /// An application helper reads its data (an FTP control connection).
    pub const HELPED: Self = Self(1 << 15);

    /// Returns true when all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns true when a bit of `other` is set.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These flags with the bits of `other` set.
    #[inline]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags with the bits of `other` cleared.
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Sets the bits of `other`.
    #[inline]
    pub fn insert(&mut self, other: Self) {
        *self = self.with(other);
    }

    /// Clears the bits of `other`.
    #[inline]
    pub fn remove(&mut self, other: Self) {
        *self = self.without(other);
    }
}

impl BitOr for ConnFlags {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        self.with(rhs)
    }
}

impl BitOrAssign for ConnFlags {
    fn bitor_assign(&mut self, rhs: Self) {
        self.insert(rhs);
    }
}

impl fmt::Debug for ConnFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(ConnFlags, &str); 16] = [
            (ConnFlags::NAT, "NAT"),
            (ConnFlags::DR, "DR"),
            (ConnFlags::TUN, "TUN"),
            (ConnFlags::LOCAL, "LOCAL"),
            (ConnFlags::BYPASS, "BYPASS"),
            (ConnFlags::INACTIVE, "INACTIVE"),
            (ConnFlags::TEMPLATE, "TEMPLATE"),
            (ConnFlags::SEEN_OUTPUT, "SEEN_OUTPUT"),
            (ConnFlags::NO_OUTPUT, "NO_OUTPUT"),
            (ConnFlags::ONE_PACKET, "ONE_PACKET"),
            (ConnFlags::ASSURED, "ASSURED"),
            (ConnFlags::NO_CPORT, "NO_CPORT"),
            (ConnFlags::SUPERSEDED, "SUPERSEDED"),
            (ConnFlags::SUPERSEDES, "SUPERSEDES"),
            (ConnFlags::RETIRED, "RETIRED"),
            (ConnFlags::HELPED, "HELPED"),
        ];
        let set = NAMES.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, name)| name);
        f.debug_set().entries(set).finish()
    }
}

/// One client flow bound to a destination, or one template. A cache line for IPv4, two for IPv6.
///
/// While it is in a [`Table`] it is found by `protocol`, `caddr` and `cport` (a template by `protocol`, `caddr`, `vaddr` and `extra`):
/// change these with [`Table::rekey`] only.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection<A> {
    /// Virtual address. As they lie here source and destination of either direction are two neighbours, to be compared at once.
    pub vaddr: A,
    /// Client address; of a template, the client's network.
    pub caddr: A,
    /// Destination address.
    pub daddr: A,
    /// Virtual port. What holds for the addresses holds for the ports.
    pub vport: u16,
    /// Client port.
    pub cport: u16,
    /// Destination port.
    pub dport: u16,
    /// Its entry in a side table of the application helpers; 0 for none.
    pub side: u16,
    /// IP protocol. It and the two that follow are compared at once, too.
    pub protocol: u8,
    /// State of the protocol's table.
    pub state: State,
    /// What is so about it.
    pub flags: ConnFlags,
    /// When it expires. Moving it later costs nothing; after moving it earlier call [`Table::rearm`].
    pub expires: Tick,
    /// Ticks of 10 ms that it is given with each packet.
    pub timeout: u32,
    /// Its destination.
    pub dest: DestId,
    /// The template that controls it, or the FTP control connection ([`ConnId::as_controller`]).
    pub template: ConnId,
    /// Connections that it controls.
    pub controlled: u32,
    /// Packets of the client seen.
    pub packets: u32,
    /// Serial number of a connection, by the director; of a template the hash of its name ([`Table::name_hash`]), 0 for none.
    pub extra: u32,
    /// Its place in the timer wheel; the table's own, leave it at its default.
    pub link: Link,
}

const _: () = assert!(size_of::<Connection<u32>>() == 64, "an IPv4 connection is one cache line");
const _: () = assert!(size_of::<Connection<u128>>() <= 128, "an IPv6 connection is at most two cache lines");

impl<A> Connection<A> {
    /// Was it made after the connection of that serial number? The director keeps the number in `extra`; numbers wrap.
    pub fn is_later_than(&self, serial: u32) -> bool {
        self.extra.wrapping_sub(serial) < u32::MAX / 2
    }
}

impl<A> Timed for Connection<A> {
    #[inline]
    fn link(&self) -> Link {
        self.link
    }

    #[inline]
    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    #[inline]
    fn expires(&self) -> Tick {
        self.expires
    }

    #[inline]
    fn timeout(&self) -> u32 {
        self.timeout
    }
}

/// What a client's packet says about its connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RequestKey<A> {
    /// IP protocol.
    pub protocol: u8,
    /// Client address: the source.
    pub caddr: A,
    /// Client port.
    pub cport: u16,
    /// Virtual address: the destination.
    pub vaddr: A,
    /// Virtual port.
    pub vport: u16,
}

impl<A: Address> RequestKey<A> {
    /// Returns true when `connection` is the one that this packet belongs to.
    #[inline]
    pub fn matches(&self, connection: &Connection<A>) -> bool {
        (self.caddr == connection.caddr)
            & (self.vaddr == connection.vaddr)
            & (self.cport == connection.cport)
            & (self.vport == connection.vport)
            & (self.protocol == connection.protocol)
            & !connection.flags.contains(ConnFlags::RETIRED)
    }
}

/// What a server's packet says about its connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ReplyKey<A> {
    /// IP protocol.
    pub protocol: u8,
    /// Client address: the destination.
    pub caddr: A,
    /// Client port.
    pub cport: u16,
    /// Destination's address: the source.
    pub daddr: A,
    /// Destination's port.
    pub dport: u16,
}

impl<A: Address> ReplyKey<A> {
    /// Of these only NAT is set where replies belong.
    const FLAGS: ConnFlags = ConnFlags::NAT.with(ConnFlags::SUPERSEDED);
    /// Of these only NAT is set where replies go the common way.
    const COMMON: ConnFlags = Self::FLAGS.with(ConnFlags::HELPED);

    /// Returns true when `connection` is the one that this packet belongs to: replies are those of NAT only.
    #[inline]
    pub fn matches(&self, connection: &Connection<A>) -> bool {
        self.matches_by(connection, Self::FLAGS)
    }

    /// The same, but for connections whose data a helper reads: these take a way of their own.
    #[inline]
    pub fn matches_common(&self, connection: &Connection<A>) -> bool {
        self.matches_by(connection, Self::COMMON)
    }

    #[inline(always)]
    fn matches_by(&self, connection: &Connection<A>, flags: ConnFlags) -> bool {
        (self.caddr == connection.caddr)
            & (self.daddr == connection.daddr)
            & (self.cport == connection.cport)
            & (self.dport == connection.dport)
            & (self.protocol == connection.protocol)
            & (connection.flags.0 & flags.0 == ConnFlags::NAT.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_by_name() {
        let flags = ConnFlags::NAT | ConnFlags::INACTIVE;
        assert_eq!(format!("{flags:?}"), "{\"NAT\", \"INACTIVE\"}");
        assert!(flags.contains(ConnFlags::NAT) && !flags.contains(ConnFlags::NAT | ConnFlags::DR));
        assert!(flags.intersects(ConnFlags::METHOD));
        assert_eq!(flags.without(ConnFlags::METHOD), ConnFlags::INACTIVE);
    }

    #[test]
    fn an_entry_is_as_many_lines_as_promised() {
        assert_eq!((size_of::<Connection<u32>>(), align_of::<Connection<u32>>()), (64, 64));
        assert_eq!((size_of::<Connection<u128>>(), align_of::<Connection<u128>>()), (128, 64));
    }
}
