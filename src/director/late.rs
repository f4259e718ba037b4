//! What the director says about packets that it kept for a while: fragments whose others did not come, packets whose next hop did not
//! answer. It has forgotten all of them but the frame.

use crate::director::family::Family;
use crate::director::parse::L3;
use crate::director::{Director, Lane};
use crate::forward::answer::{self, Fault};
use crate::forward::{self, Offsets};
use crate::frame::Frame;
use crate::network::Hop;
use crate::stats::Event;
use crate::time::{Instant, Tick};
use crate::verdict::PortId;
use crate::wire::{icmpv4, icmpv6};

impl Director {
    /// Makes the first fragment of a datagram that did not become whole an error to its sender (RFC 792, RFC 4443: time exceeded, code 1),
    /// as the kernel behind the twin would send it. Returns the port that it would leave by; `None` when nobody is told.
    pub fn timed_out<F: Frame>(&mut self, frame: &mut F, now: Instant) -> Option<PortId> {
        let (core, snapshot) = (&mut self.core, &*self.snapshot);
        if is_v6(frame) {
            u128::lane(core, snapshot).timed_out(frame, now.tick())
        } else {
            u32::lane(core, snapshot).timed_out(frame, now.tick())
        }
    }

    /// The same for a packet that was to leave by `port` and is ready but for its next hop, which did not answer.
    pub fn unreachable<F: Frame>(&mut self, frame: &mut F, port: PortId, now: Instant) -> Option<PortId> {
        let (core, snapshot) = (&mut self.core, &*self.snapshot);
        if is_v6(frame) {
            u128::lane(core, snapshot).unreachable(frame, port, now.tick())
        } else {
            u32::lane(core, snapshot).unreachable(frame, port, now.tick())
        }
    }
}

fn is_v6<F: Frame>(frame: &F) -> bool {
    frame.bytes().get(L3).is_some_and(|byte| byte >> 4 == 6)
}

impl<A: Family> Lane<'_, A> {
    fn timed_out<F: Frame>(&mut self, frame: &mut F, now: Tick) -> Option<PortId> {
        let (src, dst) = A::addresses(frame.bytes(), L3);
        let Hop::Resolved { port, .. } = A::hop(self.snapshot, src) else { return None };
        let local = A::is_vip(self.snapshot, dst) || A::network(self.snapshot).is_local(dst);
        // What is put together for tracking is nobody's matter but its receiver's.
        let tracked = !A::V6 && self.snapshot.rules.tracks();
        if tracked && !local {
            return None;
        }
        let from = if local { dst } else { A::network(self.snapshot).source(src)? };
        // The kernel forwards what is to be forwarded before it puts it together, but in IPv6 after.
        if !local && !A::V6 {
            A::decrement_ttl(frame.bytes_mut(), L3);
        }
        let kind = if A::V6 { icmpv6::kind::TIME_EXCEEDED } else { icmpv4::kind::TIME_EXCEEDED };
        self.tell(frame, Fault::Told(kind, 1), from, now)?;
        Some(port)
    }

    fn unreachable<F: Frame>(&mut self, frame: &mut F, port: PortId, now: Tick) -> Option<PortId> {
        let (src, dst) = A::addresses(frame.bytes(), L3);
        // IPv6 speaks as the address that the packet is to, if it has it: the virtual one of direct routing (`icmp6_send`).
        let as_asked = A::V6 && (A::is_vip(self.snapshot, dst) || A::network(self.snapshot).is_local(dst));
        let (from, port) = match A::hop(self.snapshot, src) {
            // A tunnel's own packet: what is said of it comes to the director, which tells the client.
            Hop::Local => (src, port),
            Hop::Resolved { port, .. } if as_asked => (dst, port),
            Hop::Resolved { port, .. } => (A::network(self.snapshot).source(src)?, port),
            Hop::Unresolved { .. } | Hop::Kernel | Hop::Unreachable => return None,
        };
        self.tell(frame, Fault::HostUnreachable, from, now)?;
        Some(port)
    }

    /// Turns the packet into an error about it, if the limit on such errors allows one more. Nothing is said about the later fragments of
    /// a packet, nor about an error.
    fn tell<F: Frame>(&mut self, frame: &mut F, fault: Fault, from: A, now: Tick) -> Option<()> {
        let (protocol, at) = A::transport(frame.bytes(), L3)?;
        let is_error = protocol == A::ICMP && A::is_error(*frame.bytes().get(at)?);
        let limit = self.snapshot.rules.settings.icmp_msgs_per_sec;
        if is_error || !self.shared.icmp.take(now, limit) {
            return None;
        }
        let hop = A::hop(self.snapshot, A::addresses(frame.bytes(), L3).0);
        let at = Offsets { l3: L3, l4: L3, end: frame.bytes().len(), protocol };
        answer::turn_into(frame, &at, fault, from)?;
        if hop != Hop::Local {
            forward::send(frame, &hop).ok()?;
        }
        self.shared.event(Event::IcmpSent);
        Some(())
    }
}
