//! Counters of the data path. Drop reasons and events come from one list each: name, text, counter.

use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($(#[$meta:meta])* $list:ident, $enum:ident { $($variant:ident $name:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum $enum {
            $(#[doc = $text] $variant,)*
        }

        impl $enum {
            /// Every member, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name under which programs find the counter.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One line for people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        /// One counter for each member.
        pub type $list = [u64; $enum::ALL.len()];
    };
}

counters! {
    /// Why a packet was dropped.
    DropCounters, DropReason {
        Truncated "truncated" "the frame ends before its headers or its IP length do",
        BadHeader "bad_header" "an IP or transport header contradicts itself (version, header length, total length)",
        BadIpChecksum "bad_ip_checksum" "the IPv4 header checksum is wrong",
        BadIcmpChecksum "bad_icmp_checksum" "an ICMP error about a connection has a wrong checksum",
        BadTcpChecksum "bad_tcp_checksum" "a segment that an application helper was to read has a wrong checksum",
        NoCallId "no_call_id" "for a service with the persistence engine sip, and no SIP message",
        HelpersFull "helpers_full" "no room for what an application helper must remember",
        FragmentBad "fragment_bad" "fragments of one datagram contradict each other (overlap, length, congestion marks)",
        FragmentDuplicate "fragment_duplicate" "a fragment of which all is here already",
        FragmentTimeout "fragment_timeout" "the other fragments did not come in time; the sender was told (ICMP time exceeded) if the first did",
        FragmentsFull "fragments_full" "too many fragments of one source, or of all, and this was of the oldest datagram",
        NoDestination "no_destination" "no destination of the service is usable; the client was told (ICMP port unreachable)",
        UnknownReply "unknown_reply" "a real server's packet of no connection; the server was told (ICMP port unreachable)",
        Defended "defended" "would have started a connection, dropped by the defence drop_packet",
        DestinationGone "destination_gone" "the destination of the connection was removed",
        TableFull "table_full" "the connection table is full",
        ChainFull "chain_full" "one client address and port has too many connections",
        TtlExceeded "ttl_exceeded" "the TTL ran out; the client was told (ICMP time exceeded)",
        TooBig "too_big" "longer than the path's MTU with DF set; the sender was told (ICMP fragmentation needed)",
        NoRoute "no_route" "no route to the destination; the sender was told (ICMP host unreachable)",
        Unresolved "unresolved" "the next hop's MAC is not known and the hold queue is full",
        ResolveFailed "resolve_failed" "held for a next hop that did not answer",
        NoRoom "no_room" "no room in the buffer for an outer header",
        NoBuffer "no_buffer" "no buffer left for a fragment",
        NotForUs "not_for_us" "addressed to another station's MAC",
        HandoffFull "handoff_full" "the ring to the client's worker is full",
        TwinFull "twin_full" "the ring to the kernel twin is full",
        TwinOff "twin_off" "not for a service of ours, and the port has no twin",
        NoReplyRoom "no_reply_room" "an answer of the director's own did not fit the buffer",
        Aborted "aborted" "received but not judged; a fault of the program",
    }
}

counters! {
    /// What else the director counts.
    EventCounters, Event {
        Received "received" "frames received",
        FromTwin "from_twin" "frames from the kernel twin",
        FromHandoff "from_handoff" "frames from other workers",
        Transmitted "transmitted" "frames transmitted",
        Passed "passed" "frames given to the kernel twin",
        HandedOff "handed_off" "frames given to the client's worker",
        Held "held" "frames held for a next hop that is being resolved",
        FragmentsHeld "fragments_held" "fragments kept until their datagram is whole",
        Reassembled "reassembled" "datagrams put together from fragments",
        Fragmented "fragmented" "packets sent in fragments",
        Request "request" "client packets forwarded",
        Reply "reply" "server packets translated (NAT)",
        Created "connections_created" "connections made",
        Expired "connections_expired" "connections ended",
        TemplateCreated "templates_created" "persistence templates made",
        TemplateExpired "templates_expired" "persistence templates ended",
        EntryDropped "connections_dropped" "connections ended by the defence drop_entry",
        Reused "connections_reused" "SYNs that ended an old connection and were scheduled anew",
        Unremembered "unremembered" "client packets forwarded without a connection, there being no room for one and no need",
        IcmpSent "icmp_sent" "ICMP errors made by the director",
        IcmpRelayed "icmp_relayed" "ICMP errors that belong to a connection, relayed",
        FragmentsPassed "fragments_passed" "fragments that are no service's, left to the kernel",
        SyncTold "sync_told" "connections and templates that other directors were to be told of",
        SyncLost "sync_lost" "the same, lost because there was no room for what is to be told",
        SyncAccepted "sync_accepted" "connections and templates taken over from another director",
        SyncNoRoom "sync_no_room" "the same, lost because a table was full",
        NoService "no_service" "packets to a virtual address that are no service's, left to the kernel",
        NoConnection "no_connection" "packets to a service that start no connection, left to the kernel",
    }
}

/// Counters of one destination on one worker. Packets and bytes from the IP header on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets from the server (NAT only).
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes from the server.
    pub out_bytes: u64,
}

/// A value in a cache line of its own, where it is found by a shift.
#[repr(align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Line<T>(pub T);

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, rhs: Self) {
        self.connections += rhs.connections;
        self.in_packets += rhs.in_packets;
        self.out_packets += rhs.out_packets;
        self.in_bytes += rhs.in_bytes;
        self.out_bytes += rhs.out_bytes;
    }
}

/// Counters of one worker's core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters {
    /// By [`DropReason`].
    pub drops: DropCounters,
    /// By [`Event`].
    pub events: EventCounters,
}

impl Default for Counters {
    fn default() -> Self {
        Self { drops: [0; DropReason::ALL.len()], events: [0; Event::ALL.len()] }
    }
}

impl Counters {
    /// Counts one packet dropped.
    #[inline]
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Counts one event.
    #[inline]
    pub fn event(&mut self, event: Event) {
        self.events[event as usize] += 1;
    }

    /// Adds another worker's counters.
    pub fn add(&mut self, other: &Self) {
        self.drops.iter_mut().zip(other.drops).for_each(|(a, b)| *a += b);
        self.events.iter_mut().zip(other.events).for_each(|(a, b)| *a += b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_indices_fit() {
        let names: HashSet<_> =
            DropReason::ALL.iter().map(|r| r.name()).chain(Event::ALL.iter().map(|e| e.name())).collect();
        assert_eq!(names.len(), DropReason::ALL.len() + Event::ALL.len());
        for (i, r) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*r as usize, i);
        }
    }
}
