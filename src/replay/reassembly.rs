//! Where the kernel puts together the fragments of what is no connection's. What is for itself it takes whole. What it forwards it puts
//! together only because IPVS is in it: datagrams of IPv4 whose protocol IPVS knows, as long as IPv4 has a service (`ip_vs_out_hook`,
//! `ip_vs_forward_icmp`), and every datagram of IPv6 once that has had one (`nf_defrag_ipv6_enable`, which nothing takes back).

use std::net::IpAddr;

use crate::fragments::{self, Datagram, Fragments};
use crate::io::memory::VecFrame;
use crate::network::{Hop, Network};
use crate::snapshot::Rules;
use crate::stats::Counters;
use crate::time::Instant;
use crate::verdict::Origin;
use crate::wire::{ethernet, ipv4, ipv6, protocol};

/// The fragments that the stack holds.
#[derive(Debug)]
pub(super) struct Reassembly {
    held: Fragments<VecFrame>,
    /// IPv6 has had a service, or a destination.
    v6: bool,
}

impl Reassembly {
    /// Nothing held.
    pub(super) fn new(seed: u64) -> Self {
        Self { held: Fragments::new(seed).with_kernel_timers(), v6: false }
    }

    /// The rules are these now.
    pub(super) fn rules_changed(&mut self, rules: &Rules, mut destinations: impl Iterator<Item = IpAddr>) {
        self.v6 |= !rules.is_empty(true) || destinations.any(|address| address.is_ipv6());
    }

    /// Is that a fragment that the stack keeps until its datagram is whole?
    pub(super) fn wants(&self, frame: &[u8], rules: &Rules, network: &Network) -> bool {
        let packet = frame.get(ethernet::HEADER_LEN..).unwrap_or_default();
        if !fragments::is_fragment(frame) {
            return false;
        }
        if let Ok(ip) = ipv6::Packet::new_checked(packet) {
            return self.v6 || network.hop(ip.dst().into()) == Hop::Local;
        }
        ipv4::Packet::new_checked(packet).is_ok_and(|ip| wants4(&ip, rules, network))
    }

    /// Is that a fragment that no others can join?
    pub(super) fn leaves(&mut self, frame: &VecFrame) -> bool {
        self.held.leaves(frame, Origin::Wire, &mut Counters::default())
    }

    /// Keeps a fragment. Returns its datagram when it is whole now, to be given back.
    pub(super) fn take(&mut self, frame: VecFrame, now: Instant) -> Option<Datagram> {
        self.held.take(frame, Origin::Wire, now, &mut Counters::default())
    }

    /// Takes back what [`Reassembly::take`] gave.
    pub(super) fn give_back(&mut self, datagram: Datagram) {
        self.held.give_back(datagram);
    }

    /// Gives up what has waited too long; the first fragments go to `late`.
    pub(super) fn expire(&mut self, now: Instant, late: &mut Vec<VecFrame>) {
        self.held.expire(now, &mut Counters::default(), late);
    }
}

/// What is to be forwarded must first pass for itself: its TTL, and its length if it has DF; unless connections are tracked.
fn wants4(ip: &ipv4::Packet<&[u8]>, rules: &Rules, network: &Network) -> bool {
    let mtu = match network.hop(ip.dst().into()) {
        Hop::Local => return true,
        Hop::Resolved { mtu, .. } | Hop::Unresolved { mtu, .. } => mtu,
        Hop::Kernel | Hop::Unreachable => return false,
    };
    let known = matches!(ip.protocol(), protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMP);
    if rules.tracks() {
        return true;
    }
    !rules.is_empty(false) && known && ip.ttl() > 1 && (ip.total_len() <= mtu || !ip.dont_fragment())
}
