//! Defences against floods (`update_defense_level` in `ip_vs_ctl.c`, `ip_vs_random_dropentry` in `ip_vs_conn.c`): half-open and idle
//! connections are ended at random (`drop_entry`), some of the packets that would start a connection are dropped (`drop_packet`), and
//! TCP has other states (`secure_tcp`). Mode 0 is off, 3 on; 1 and 2 are the same here, on while memory is scarce. Linux measures free
//! memory in pages; tables that are laid out whole at start measure the share of them that is free, in 65536ths.
//!
//! The randomness is a generator of the director's own, so that the same packets and rules give the same end.

use crate::conn::table::Table;
use crate::conn::{ConnFlags, ConnId, Connection};
use crate::director::family::Family;
use crate::director::{Core, Lane};
use crate::family::Address;
use crate::hash::mum;
use crate::proto::State;
use crate::settings::Settings;
use crate::stats::Event;
use crate::time::{self, HZ, Tick};
use crate::wire::protocol;

/// A whole table, as `amemthresh` counts.
const WHOLE: u32 = 1 << 16;
/// Of so many entries one is looked at each second.
const SHARE: u32 = 32;
/// How long a connection must have been idle to be dropped although it is established.
const IDLE: u32 = 60 * HZ;
/// Connections of more packets than this are not dropped when idle.
const FEW_PACKETS: usize = 8;

/// How far the defences are up.
#[derive(Debug, Default)]
pub(super) struct Defence {
    /// `drop_entry`, `drop_packet` and `secure_tcp` as they last were.
    modes: [u8; 3],
    /// When to look next; at once if it has not been looked yet.
    due: Option<Tick>,
    /// Looks at the edges of the kernel's timer wheel.
    edges: bool,
    scarce: bool,
    /// One of so many new connections is dropped; 0 for none.
    rate: i32,
    /// New connections until the next is dropped.
    countdown: i32,
    drops_entries: bool,
    /// TCP's states are those of `secure_tcp`.
    pub(super) secure: bool,
    /// Looks at entries that are owed: IPv4 and IPv6.
    looks: [u32; 2],
    /// Until when there may be flows that a full table had no room for.
    spilled: Option<Tick>,
    random: u64,
    /// Idle connections of so many packets until the next one is dropped.
    idle: [u8; FEW_PACKETS + 1],
}

impl Defence {
    /// Has the second passed after which the level is looked at again?
    #[inline]
    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.due.is_none_or(|due| due.reached(now))
    }

    /// Looks when a kernel would that started then.
    pub(super) fn set_edges(&mut self, boot: Tick) {
        (self.edges, self.due) = (true, Some(time::fires(boot.plus(HZ), HZ)));
    }

    /// Puts the next look off by a second.
    fn put_off(&mut self, now: Tick) {
        let mut due = now.plus(HZ);
        if self.edges
            && let Some(last) = self.due
        {
            due = last;
            while due.reached(now) {
                due = time::fires(due.plus(HZ), HZ);
            }
        }
        self.due = Some(due);
    }

    /// Is memory scarce, as it was last seen?
    pub(super) fn is_scarce(&self) -> bool {
        self.scarce
    }

    /// May there be flows that a full table had no room for?
    #[inline]
    pub(super) fn has_spilled(&mut self, now: Tick) -> bool {
        self.spilled = self.spilled.filter(|until| !until.reached(now));
        self.spilled.is_some()
    }

    /// There may be such flows until then.
    pub(super) fn spill_until(&mut self, until: Tick) {
        self.spilled = Some(until);
    }

    /// Are some of the packets that would start connections dropped?
    pub(super) fn is_up(&self) -> bool {
        self.rate != 0
    }

    /// May a packet be dropped that would start a connection?
    #[inline]
    pub(super) fn may_drop(&self) -> bool {
        self.rate != 0
    }

    /// Is a packet that would start a connection to be dropped?
    #[inline]
    pub(super) fn drops(&mut self) -> bool {
        self.may_drop() && self.counts_down()
    }

    #[cold]
    fn counts_down(&mut self) -> bool {
        self.countdown = self.countdown.saturating_sub(1);
        let drops = self.countdown <= 0;
        if drops {
            self.countdown = self.rate;
        }
        drops
    }

    /// Have the modes changed?
    fn is_told_otherwise(&self, settings: &Settings) -> bool {
        self.modes != modes(settings)
    }

    /// Puts the defences up or down. `available` in 65536ths of a table.
    fn level(&mut self, settings: &Settings, available: u32) {
        self.modes = modes(settings);
        let available = i32::try_from(available).unwrap_or(i32::MAX);
        let threshold = settings.amemthresh;
        self.scarce = available < threshold;
        let is_up = |mode: u8| mode == 3 || (mode > 0 && self.scarce);
        self.drops_entries = is_up(settings.drop_entry);
        self.secure = is_up(settings.secure_tcp);
        self.rate = match settings.drop_packet {
            3 => settings.am_droprate,
            1 | 2 if self.scarce => {
                // The scarcer, the closer to every packet.
                self.countdown = threshold / (threshold - available);
                self.countdown
            }
            _ => 0,
        };
    }

    /// A number below `bound`, each as likely as the others.
    fn below(&mut self, bound: u32) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = mum(self.random ^ 0xa076_1d64_78bd_642f, self.random ^ 0xe703_7ed1_a0b4_28db);
        u32::try_from(((mixed >> 32) * u64::from(bound)) >> 32).unwrap_or(0)
    }

    /// Is an idle connection of so few packets to be dropped? Of those of n packets every n-th.
    fn drops_idle<A>(&mut self, connection: &Connection<A>, now: Tick) -> bool {
        // Left of its time-out since the last packet.
        if connection.expires.since(now).saturating_add(IDLE) > connection.timeout {
            return false;
        }
        let packets = connection.packets as usize;
        let Some(countdown) = self.idle.get_mut(packets).filter(|_| packets > 0) else { return false };
        *countdown = countdown.saturating_sub(1);
        let drops = *countdown == 0;
        if drops {
            *countdown = u8::try_from(packets).unwrap_or(u8::MAX);
        }
        drops
    }

    fn drops_entry<A>(&mut self, connection: &Connection<A>, now: Tick) -> bool {
        if connection.controlled > 0 || connection.flags.contains(ConnFlags::RETIRED) {
            return false;
        }
        match (connection.protocol, connection.state) {
            (_, State::SynRecv | State::SynAck | State::SctpInit1 | State::SctpInit) => true,
            (_, State::Established | State::SctpEstablished) => self.drops_idle(connection, now),
            (protocol::TCP | protocol::SCTP, _) => false,
            _ => self.drops_idle(connection, now),
        }
    }
}

fn modes(settings: &Settings) -> [u8; 3] {
    [settings.drop_entry, settings.drop_packet, settings.secure_tcp]
}

/// The free share of a table, in 65536ths.
fn free<A: Address>(table: &Table<A>) -> u32 {
    let (room, used) = (u64::from(table.capacity()), u64::from(table.len()));
    let share = ((room - used.min(room)) * u64::from(WHOLE)).checked_div(room);
    u32::try_from(share.unwrap_or(u64::from(WHOLE))).unwrap_or(WHOLE)
}

impl Core {
    fn available(&self) -> u32 {
        free(&self.v4.connections).min(free(&self.v6.connections))
    }

    /// Takes changed modes at once, as the kernel does when they are written.
    pub(super) fn told(&mut self, settings: &Settings) {
        if self.shared.defence.is_told_otherwise(settings) {
            let available = self.available();
            self.shared.defence.level(settings, available);
        }
    }

    /// What is done every second.
    #[cold]
    pub(super) fn watch(&mut self, settings: &Settings, now: Tick) {
        let available = self.available();
        let looks = [self.v4.connections.reach(), self.v6.connections.reach()].map(|n| n.div_ceil(SHARE));
        let defence = &mut self.shared.defence;
        defence.put_off(now);
        defence.level(settings, available);
        defence.looks = if defence.drops_entries { looks } else { [0; 2] };
    }
}

impl<A: Family> Lane<'_, A> {
    /// Looks at the entries that `drop_entry` owes a look, each at random, and ends those that it drops.
    #[cold]
    pub(super) fn thin_out(&mut self, now: Tick, budget: &mut u32) {
        let family = usize::from(A::V6);
        while *budget > 0 && self.shared.defence.looks[family] > 0 {
            self.shared.defence.looks[family] -= 1;
            *budget -= 1;
            // Beyond the reach, too, so that the share is the same of few entries.
            let bound = self.tables.connections.reach().div_ceil(SHARE) * SHARE;
            let id = ConnId(self.shared.defence.below(bound));
            let Some(connection) = self.tables.connections.get(id) else { continue };
            // What controls others stays for them.
            if connection.controlled == 0 && self.shared.defence.drops_entry(connection, now) {
                let controller = connection.template;
                self.end(id);
                self.drop_controller(controller);
                self.shared.event(Event::EntryDropped);
            }
        }
    }

    /// Ends what controlled a dropped connection, unless others hold on to it, or it is a template that has proved itself.
    fn drop_controller(&mut self, id: ConnId) {
        if let Some(control) = id.controlling_connection() {
            return self.end_idle(control);
        }
        let idle = |t: &&Connection<A>| t.controlled == 0 && !t.flags.contains(ConnFlags::ASSURED);
        if self.tables.templates.get(id).filter(idle).is_some() {
            self.forget(id);
        }
    }

    /// Are looks owed?
    #[inline]
    pub(super) fn owes_looks(&self) -> bool {
        self.shared.defence.looks[usize::from(A::V6)] > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defence(settings: &Settings, available: u32) -> Defence {
        let mut defence = Defence::default();
        defence.level(settings, available);
        defence
    }

    fn dropped(defence: &mut Defence, packets: u32) -> Vec<u32> {
        (0..packets).filter(|_| defence.drops()).collect()
    }

    #[test]
    fn modes_1_and_2_are_up_while_memory_is_scarce() {
        for (mode, available, up) in [(0, 0, false), (1, 1023, true), (1, 1024, false), (2, 0, true), (2, 9999, false)]
        {
            let settings = Settings { drop_entry: mode, drop_packet: mode, secure_tcp: mode, ..Settings::default() };
            let defence = defence(&settings, available);
            assert_eq!((defence.drops_entries, defence.secure, defence.rate != 0), (up, up, up), "{mode} {available}");
        }
        let always = Settings { drop_entry: 3, drop_packet: 3, secure_tcp: 3, ..Settings::default() };
        let defence = defence(&always, WHOLE);
        assert!(defence.drops_entries && defence.secure && defence.rate == 10);
    }

    #[test]
    fn the_scarcer_memory_is_the_more_packets_are_dropped() {
        let settings = Settings { drop_packet: 1, ..Settings::default() };
        for (available, rate) in [(1023, 1024), (1000, 42), (512, 2), (511, 1), (0, 1)] {
            let mut defence = defence(&settings, available);
            assert_eq!(dropped(&mut defence, 2048).len(), 2048 / rate, "{available}");
        }
    }

    #[test]
    fn in_mode_3_the_first_is_dropped_and_then_every_so_many() {
        let settings = Settings { drop_packet: 3, am_droprate: 3, ..Settings::default() };
        assert_eq!(dropped(&mut defence(&settings, 0), 8), [0, 3, 6]);
        let odd = Settings { am_droprate: -1, ..settings };
        assert_eq!(dropped(&mut defence(&odd, 0), 3), [0, 1, 2]);
    }

    #[test]
    fn of_idle_connections_of_n_packets_every_nth_is_dropped() {
        let now = Tick(100_000);
        let idle = |packets, seconds: u32| Connection::<u32> {
            packets,
            timeout: 90_000,
            expires: now.plus(90_000 - seconds * HZ),
            ..Connection::default()
        };
        for packets in 1..=8 {
            let mut defence = Defence::default();
            let dropped: Vec<u32> = (0..24).filter(|_| defence.drops_idle(&idle(packets, 60), now)).collect();
            let expected: Vec<u32> = (0..24).step_by(packets as usize).collect();
            assert_eq!(dropped, expected, "{packets} packets");
        }
        let mut defence = Defence::default();
        for (packets, seconds) in [(0, 800), (9, 800), (1, 59)] {
            assert!(!defence.drops_idle(&idle(packets, seconds), now), "{packets} packets, {seconds} s");
        }
    }
}
