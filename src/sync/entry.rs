//! One connection or template as directors tell each other of it, whatever the version of the protocol (the kernel's
//! `struct ip_vs_sync_v4` and its kin).

use std::fmt;
use std::net::IpAddr;

use crate::app::sequence::Sequences;
use crate::app::sip::CallId;
use crate::proto::State;
use crate::service::Engine;
use crate::wire::protocol;

/// What is so about a connection, by the kernel's numbers (`IP_VS_CONN_F_*`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// The bits that say how packets are forwarded; 0 is NAT.
    pub const METHOD: Self = Self(7);
    /// Delivered to the director itself.
    pub const LOCAL: Self = Self(1);
    /// Through a tunnel.
    pub const TUN: Self = Self(2);
    /// By direct routing.
    pub const DR: Self = Self(3);
    /// Past every destination.
    pub const BYPASS: Self = Self(4);
    /// Made by the synchronisation.
    pub const SYNC: Self = Self(0x20);
    /// In the kernel's table: never told.
    pub const HASHED: Self = Self(0x40);
    /// No packet of the server has been seen.
    pub const NO_OUTPUT: Self = Self(0x80);
    /// Counted as inactive.
    pub const INACTIVE: Self = Self(0x100);
    /// Sequence numbers of the server are shifted.
    pub const OUT_SEQ: Self = Self(0x200);
    /// Sequence numbers of the client are shifted.
    pub const IN_SEQ: Self = Self(0x400);
    /// The client's port is not known yet.
    pub const NO_CPORT: Self = Self(0x800);
    /// A template of persistence.
    pub const TEMPLATE: Self = Self(0x1000);
    /// Lives for one packet.
    pub const ONE_PACKET: Self = Self(0x2000);
    /// Its packets are tracked (`NFCT`).
    pub const TRACKED: Self = Self(0x1_0000);
    /// Either of the two shifts.
    pub const SEQ: Self = Self(Self::OUT_SEQ.0 | Self::IN_SEQ.0);
    /// What a receiver takes over.
    pub const TAKEN: Self = Self(0x1f87);

    /// Is every bit of `other` set?
    #[inline]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is any bit of `other` set?
    #[inline]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// With the bits of `other`, if `so`.
    #[must_use]
    pub fn with(self, other: Self, so: bool) -> Self {
        if so { Self(self.0 | other.0) } else { self }
    }

    /// The bits that `other` has too.
    #[must_use]
    pub fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#x})", self.0)
    }
}

/// A connection or template.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Client; of a template, the client's network.
    pub client: IpAddr,
    /// Virtual address; of a mark's template, the mark in the first four bytes.
    pub vip: IpAddr,
    /// Destination.
    pub dest: IpAddr,
    /// Client's port; 0 of a template.
    pub cport: u16,
    /// Virtual port.
    pub vport: u16,
    /// Destination's port.
    pub dport: u16,
    /// IP protocol; 0 of a mark's template.
    pub protocol: u8,
    /// Its state.
    pub state: State,
    /// What else is so about it.
    pub flags: Flags,
    /// Firewall mark of its packets; version 0 does not tell it.
    pub mark: u32,
    /// Its time-out in seconds; 0 for the usual one of the state: version 0 does not tell it.
    pub timeout_secs: u32,
    /// What an application helper has shifted.
    pub sequences: Option<Sequences>,
    /// The persistence engine that made it; version 0 does not tell it.
    pub engine: Option<Engine>,
    /// The Call-ID by which that engine knows it; empty without one.
    pub call: CallId,
}

impl Entry {
    /// Is it a template?
    #[inline]
    pub fn is_template(&self) -> bool {
        self.flags.contains(Flags::TEMPLATE)
    }
}

/// Why an entry was not taken from a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// The message ends before the entry does.
    #[error("the message ends before its entries do")]
    Truncated,
    /// Its format is none that is known.
    #[error("an entry of version {0} is not known")]
    Version(u8),
    /// Neither IPv4 nor IPv6.
    #[error("an entry of type {0} is not known")]
    Type(u8),
    /// An option is cut off, or of a length that it cannot have.
    #[error("option {0} has a wrong length")]
    OptionLength(u8),
    /// An option twice.
    #[error("option {0} comes twice")]
    OptionTwice(u8),
    /// An option that must be understood and is not.
    #[error("option {0} is not known and must not be passed over")]
    UnknownOption(u8),
    /// A protocol that is not balanced.
    #[error("protocol {0} is not balanced")]
    Protocol(u8),
    /// A state that the protocol does not have.
    #[error("protocol {0} has no state {1}")]
    State(u8, u16),
    /// A persistence engine that is not known, or its data without its name.
    #[error("the persistence engine is not known")]
    Engine,
    /// What cannot be so together: a connection of one packet, a template without a client's port.
    #[error("the flags {0:#x} cannot be")]
    Flags(u32),
}

impl EntryError {
    /// Is what follows in the message lost too? It is when the entry itself cannot be made out.
    pub fn ends_message(self) -> bool {
        matches!(
            self,
            Self::Truncated | Self::Version(_) | Self::Type(_) | Self::OptionLength(_) | Self::OptionTwice(_)
        )
    }
}

/// Why a version cannot tell of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unencodable {
    /// Version 0 has no IPv6.
    #[error("version 0 of the protocol cannot tell of IPv6")]
    Version0,
    /// The addresses are of two families.
    #[error("addresses of two families cannot be told together")]
    MixedFamilies,
}

/// The state of that number; a template has two: none, and assured.
pub(super) fn state(flags: Flags, protocol: u8, number: u16) -> Result<State, EntryError> {
    let unknown = EntryError::State(protocol, number);
    if flags.contains(Flags::TEMPLATE) {
        return match number {
            0 => Ok(State::None),
            1 => Ok(State::Assured),
            _ => Err(unknown),
        };
    }
    if !matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return Err(EntryError::Protocol(protocol));
    }
    State::from_number(protocol, number).ok_or(unknown)
}

/// What a receiver takes over of the flags.
pub(super) fn taken(flags: u32) -> Result<Flags, EntryError> {
    let all = Flags(flags);
    let impossible = all.contains(Flags::ONE_PACKET) || all.contains(Flags(Flags::TEMPLATE.0 | Flags::NO_CPORT.0));
    if impossible { Err(EntryError::Flags(flags)) } else { Ok(all.only(Flags::TAKEN)) }
}
