//! What the way of a tunnel was found to take: a router's "fragmentation needed" about a tunnel's packet lowers it for ten minutes (RFC
//! 1191, section 6.3, and the kernel's `ip_rt_update_pmtu`).

use crate::destination::DestId;
use crate::director::family::Family;
use crate::director::{Lane, Shared};
use crate::time::{HZ, Tick};

/// How long it is believed.
const BELIEVED: u32 = 600 * HZ;
/// The least that is believed, so that nobody can make packets tiny (`net.ipv4.route.min_pmtu`).
const LEAST: u16 = 552;

/// What the way to one destination takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Learnt {
    /// In bytes; 0 when nothing was learnt.
    mtu: u16,
    until: Tick,
}

impl Learnt {
    /// The MTU in bytes and the seconds for which it is still believed, if it is.
    pub(super) fn believed(&self, now: Tick) -> Option<(u16, u32)> {
        (self.mtu != 0 && !self.until.reached(now)).then(|| (self.mtu, self.until.since(now) / HZ))
    }

    /// Was nothing ever learnt?
    #[inline(always)]
    pub(super) fn is_nothing(&self) -> bool {
        self.mtu == 0
    }
}

impl Shared {
    /// Remembers what a router said.
    pub(super) fn learn_mtu(&mut self, dest: DestId, mtu: u16, now: Tick) {
        if let Some(learnt) = self.learnt.get_mut(dest.index()) {
            *learnt = Learnt { mtu: mtu.max(LEAST), until: now.plus(BELIEVED) };
        }
    }
}

impl<A: Family> Lane<'_, A> {
    /// What the way to a destination takes, given what its next hop does, in bytes.
    #[inline]
    pub(super) fn tunnel_mtu(&self, dest: Option<DestId>, hop: u16, now: Tick) -> u16 {
        match dest.and_then(|dest| self.shared.learnt.get(dest.index())) {
            Some(learnt) if learnt.mtu != 0 && !learnt.until.reached(now) => hop.min(learnt.mtu),
            _ => hop,
        }
    }
}
