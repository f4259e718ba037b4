//! Views of protocol headers, one protocol a file and all of one shape: a `Packet` over bytes, made by `new_checked`, whose
//! accessors never panic afterwards; a `Repr` of the fields that matter where packets are built. Only [`sample`] and
//! [`show`], which are for tests and people, allocate.

pub mod arp;
mod bytes;
pub mod checksum;
pub mod ethernet;
pub mod gre;
pub mod gue;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv4_options;
pub mod ipv6;
pub mod ports;
pub mod sample;
pub mod sctp;
pub mod show;
pub mod tcp;
pub mod udp;

/// Why bytes are not a packet of the protocol that they were taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WireError {
    /// There are fewer bytes than the header has.
    #[error("shorter than its header")]
    Truncated,
    /// The version field is another protocol's.
    #[error("the version field is another protocol's")]
    Version,
    /// The header's own length is less than its minimum or more than there are bytes.
    #[error("the header length field is less than the minimum or more than the packet")]
    HeaderLength,
    /// The packet's length is less than its header or more than there are bytes.
    #[error("the packet length field is less than the header or more than the packet")]
    PacketLength,
    /// A field has a value that this protocol does not define.
    #[error("a field has a value that the protocol does not define")]
    Unsupported,
}

/// Protocol numbers of IPv4's protocol and IPv6's next header field (IANA).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
    /// IPsec encapsulating security payload.
    pub const ESP: u8 = 50;
    /// IPsec authentication header.
    pub const AH: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6: nothing follows.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
}
