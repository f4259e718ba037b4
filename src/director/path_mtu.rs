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
    /// What the way took when a packet last went it, in bytes, as long as none has since this was learnt; else 0.
    before: u16,
}

impl Learnt {
    /// The MTU in bytes and the seconds for which it is still believed, if it is.
    pub(super) fn believed(&self, now: Tick) -> Option<(u16, u32)> {
        (self.mtu != 0 && !self.until.reached(now)).then(|| (self.mtu, self.until.since(now) / HZ))
    }

    /// What the way takes whose next hop takes so much, in bytes.
    fn lower(&self, hop: u16, now: Tick) -> u16 {
        self.believed(now).map_or(hop, |(mtu, _)| hop.min(mtu))
    }

    /// Was nothing ever learnt?
    #[inline(always)]
    pub(super) fn is_nothing(&self) -> bool {
        self.mtu == 0
    }
}

impl Shared {
    /// Remembers what a router said of a way whose next hop takes `hop` bytes. Returns what it took when a packet last went it: the kernel
    /// holds on to the route of that until the next packet.
    pub(super) fn learn_mtu(&mut self, dest: DestId, hop: u16, mtu: u16, now: Tick) -> u16 {
        let Some(learnt) = self.learnt.get_mut(dest.index()) else { return hop };
        let before = if learnt.before == 0 { learnt.lower(hop, now) } else { learnt.before };
        *learnt = Learnt { mtu: mtu.max(LEAST), until: now.plus(BELIEVED), before };
        before
    }
}

impl<A: Family> Lane<'_, A> {
    /// What the way to a destination takes, given what its next hop does, in bytes.
    #[inline]
    pub(super) fn tunnel_mtu(&mut self, dest: Option<DestId>, hop: u16, now: Tick) -> u16 {
        match dest.and_then(|dest| self.shared.learnt.get_mut(dest.index())) {
            Some(learnt) if learnt.mtu != 0 => {
                learnt.before = 0;
                learnt.lower(hop, now)
            }
            _ => hop,
        }
    }
}
