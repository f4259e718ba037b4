//! Counting: packets and bytes of a destination, its active and inactive connections, thresholds; and the state of a connection, which
//! decides between the two (`ip_vs_bind_dest`, `set_tcp_state`).

use crate::app::Apps;
use crate::conn::{ConnFlags, ConnId, Connection};
use crate::destination::{DestId, Destination};
use crate::director::family::Family;
use crate::director::sweep::Walk;
use crate::director::{Lane, Limits, Packet, Shared};
use crate::proto::segment;
use crate::proto::{Direction, State, TimeoutTable};
use crate::scheduler::Load;
use crate::service::ServiceId;
use crate::stats::{Counters, Event, Line, Traffic};
use crate::time::{HZ, Tick};
use crate::verdict::WorkerId;

/// A bucket of tokens for the ICMP errors that the director makes, as the kernel limits its own (`icmp_msgs_per_sec`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    tokens: u32,
    filled: Tick,
}

/// Errors that may leave at once after a pause.
const ICMP_BURST: u32 = 50;

impl Bucket {
    /// Takes a token; `per_second` 0 means that there is no limit.
    pub(super) fn take(&mut self, now: Tick, per_second: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        let passed = now.0.wrapping_sub(self.filled.0).min(HZ);
        let gained = passed * per_second.min(u32::MAX / HZ) / HZ;
        if gained > 0 {
            self.tokens = (self.tokens + gained).min(ICMP_BURST);
            self.filled = now;
        }
        let granted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        granted
    }
}

impl Shared {
    pub(super) fn new(limits: &Limits, worker: WorkerId, workers: u16) -> Self {
        let destinations = limits.destinations as usize;
        Self {
            loads: Vec::with_capacity(destinations),
            traffic: Vec::with_capacity(destinations),
            lent: Vec::with_capacity(destinations),
            owners: Vec::with_capacity(destinations),
            learnt: Vec::with_capacity(destinations),
            schedulers: Default::default(),
            timeouts: TimeoutTable::default(),
            counters: Counters::default(),
            ident: 0,
            serial: 0,
            apps: Apps::new(limits.ftp, limits.calls),
            defence: Default::default(),
            walks: [Walk::DONE; 2],
            near: [0; 2],
            sweeps_after: 0,
            removals: 0,
            endings: 0,
            announcer: Default::default(),
            turn: None,
            tracking: None,
            routes: None,
            icmp: Bucket { tokens: ICMP_BURST, filled: Tick(0) },
            worker,
            workers,
        }
    }
}

impl<A: Family> Lane<'_, A> {
    /// Counts the packet and moves the connection's state and timer on.
    #[inline(always)]
    pub(super) fn advance(&mut self, id: ConnId, packet: &Packet<A>, direction: Direction) {
        let Some(connection) = self.tables.connections.get_mut(id) else { return };
        let available = self.snapshot.path(connection.dest).available;
        if available && let Some(Line(traffic)) = self.shared.traffic.get_mut(connection.dest.index()) {
            count(traffic, direction, packet.length);
        }
        connection.packets = connection.packets.wrapping_add(u32::from(direction != Direction::Output));
        let direction = sides(connection, direction);
        let (before, template) = (connection.state, connection.template);
        let after = segment::next(before, direction, packet.segment, self.shared.defence.secure);
        let timeout = self.shared.timeouts.ticks(after);
        let earlier = timeout < connection.timeout;
        (connection.timeout, connection.expires) = (timeout, packet.now.plus(timeout));
        if earlier {
            self.tables.connections.rearm(id, packet.now);
        }
        if before != after {
            self.changed(id, after);
        }
        if template.is_some() && segment::assures(packet.segment, direction, after) {
            self.assure(id, template);
        }
    }

    /// What the first packet, a client's, makes of a connection that is about to be entered: counted, with state and time-out.
    #[inline(always)]
    pub(super) fn set_out(&self, connection: &mut Connection<A>, packet: &Packet<A>) {
        let direction = sides(connection, Direction::Input);
        let state = segment::next(connection.state, direction, packet.segment, self.shared.defence.secure);
        let timeout = self.shared.timeouts.ticks(state);
        (connection.state, connection.packets) = (state, 1);
        (connection.timeout, connection.expires) = (timeout, packet.now.plus(timeout));
        if state.is_active() {
            connection.flags.remove(ConnFlags::INACTIVE);
        }
    }

    /// Counts a connection that a service has scheduled, entered by now with these flags, and its first packet, if one is to be counted, of
    /// this length.
    #[inline(always)]
    pub(super) fn count_begun(
        &mut self,
        service: ServiceId,
        dest: &Destination,
        flags: ConnFlags,
        length: Option<u16>,
    ) {
        if let Some(Line(traffic)) = self.shared.traffic.get_mut(dest.id.index()) {
            traffic.connections += 1;
            if let Some(length) = length {
                count(traffic, Direction::Input, length);
            }
        }
        if dest.service != service {
            self.count_lent(dest.id);
        }
        self.shared.event(Event::Created);
        self.count_bound(dest, flags);
    }

    /// The state changed: is the connection active now, or no longer?
    #[inline(never)]
    fn changed(&mut self, id: ConnId, after: State) {
        let Some(connection) = self.tables.connections.get_mut(id) else { return };
        connection.state = after;
        let active = after.is_active();
        // Counted as what it was told as, once it is bound.
        if connection.dest == DestId::NONE {
            return;
        }
        if active != connection.flags.contains(ConnFlags::INACTIVE) {
            return;
        }
        let dest = connection.dest;
        connection.flags = if active {
            connection.flags.without(ConnFlags::INACTIVE)
        } else {
            connection.flags.with(ConnFlags::INACTIVE)
        };
        self.load_mut(dest, |load| {
            let (from, to) =
                if active { (&mut load.inactive, &mut load.active) } else { (&mut load.active, &mut load.inactive) };
            *from = from.saturating_sub(1);
            *to += 1;
        });
    }

    /// The first packet may assure the template of a new connection.
    #[inline]
    pub(super) fn assure_first(&mut self, id: ConnId, connection: &Connection<A>, packet: &Packet<A>) {
        let template = connection.template;
        if template.is_some() && segment::assures(packet.segment, Direction::Input, connection.state) {
            self.assure(id, template);
        }
    }

    /// A template is assured once a connection of it is established (TCP) or answered (others).
    fn assure(&mut self, id: ConnId, template: ConnId) {
        // Remembered in the connection, so that not every packet need look at its template.
        let told = self.tables.connections.get_mut(id).is_none_or(|connection| {
            let told = connection.flags.contains(ConnFlags::ASSURED);
            connection.flags.insert(ConnFlags::ASSURED);
            told
        });
        if told {
            return;
        }
        if let Some(template) = self.tables.templates.get_mut(template) {
            template.flags.insert(ConnFlags::ASSURED);
        }
    }

    /// Counts a connection scheduled.
    #[inline]
    pub(super) fn count_connection(&mut self, dest: DestId) {
        if let Some(Line(traffic)) = self.shared.traffic.get_mut(dest.index()) {
            traffic.connections += 1;
        }
    }

    /// Counts a connection scheduled by a service, perhaps to a destination of another.
    pub(super) fn count_scheduled(&mut self, service: ServiceId, dest: &Destination) {
        self.count_connection(dest.id);
        if dest.service != service {
            self.count_lent(dest.id);
        }
    }

    /// Counts a connection scheduled by another service than the destination's own.
    #[cold]
    fn count_lent(&mut self, dest: DestId) {
        if let Some(lent) = self.shared.lent.get_mut(dest.index()) {
            *lent += 1;
        }
    }

    /// Counts a client's packet that no connection remembers.
    pub(super) fn count_in(&mut self, dest: DestId, length: u16) {
        if let Some(traffic) = self.traffic_of(dest) {
            traffic.in_packets += 1;
            traffic.in_bytes += u64::from(length);
        }
    }

    /// Counts an answer of the director's own, in bytes from the IP header on, as the server's.
    pub(super) fn count_out(&mut self, dest: DestId, length: usize) {
        if let Some(traffic) = self.traffic_of(dest) {
            traffic.out_packets += 1;
            traffic.out_bytes += length as u64;
        }
    }

    /// The counters of a destination, unless it was removed.
    #[inline]
    fn traffic_of(&mut self, dest: DestId) -> Option<&mut Traffic> {
        let Line(traffic) = self.shared.traffic.get_mut(dest.index()).filter(|_| self.snapshot.path(dest).available)?;
        Some(traffic)
    }

    #[inline]
    pub(super) fn load_mut(&mut self, dest: DestId, change: impl FnOnce(&mut Load)) {
        if let Some(load) = self.shared.loads.get_mut(dest.index()) {
            change(load);
        }
    }

    /// Counts a new connection at its destination, inactive as all are at first, and at what controls it.
    pub(super) fn bind(&mut self, dest: DestId, upper: u32, template: ConnId) {
        self.shared.event(Event::Created);
        self.load_mut(dest, |load| {
            load.inactive += 1;
            load.burden(upper);
        });
        self.count_controlled(template);
    }

    /// Counts a new connection at what controls it.
    pub(super) fn count_controlled(&mut self, template: ConnId) {
        if let Some(controller) = self.controller(template) {
            controller.controlled += 1;
        }
    }

    /// The template or connection that controls a connection.
    pub(super) fn controller(&mut self, template: ConnId) -> Option<&mut Connection<A>> {
        match template.controlling_connection() {
            Some(control) => self.tables.connections.get_mut(control),
            None => self.tables.templates.get_mut(template),
        }
    }

    /// Takes a connection that has ended out of the counts.
    pub(super) fn unbind(&mut self, connection: &Connection<A>) {
        self.shared.event(Event::Expired);
        let (upper, lower) = self.snapshot.rules.destination(connection.dest).map_or((0, 0), |d| (d.upper, d.lower));
        let inactive = connection.flags.contains(ConnFlags::INACTIVE);
        self.load_mut(connection.dest, |load| {
            let count = if inactive { &mut load.inactive } else { &mut load.active };
            *count = count.saturating_sub(1);
            load.relieve(upper, lower);
        });
        if let Some(controller) = self.controller(connection.template) {
            controller.controlled = controller.controlled.saturating_sub(1);
        }
        self.shared.apps.ftp.give_back(connection.side);
        self.tables.portless -= u32::from(connection.flags.contains(ConnFlags::NO_CPORT));
    }
}

/// Counts a packet of a destination.
#[inline]
fn count(traffic: &mut Traffic, direction: Direction, length: u16) {
    let (packets, bytes) = match direction {
        Direction::Output => (&mut traffic.out_packets, &mut traffic.out_bytes),
        _ => (&mut traffic.in_packets, &mut traffic.in_bytes),
    };
    *packets += 1;
    *bytes += u64::from(length);
}

/// Which table of states holds: while no server packet has been seen (always so for DR and TUN), the client's alone decide.
#[inline]
fn sides<A>(connection: &mut Connection<A>, direction: Direction) -> Direction {
    if !connection.flags.contains(ConnFlags::NO_OUTPUT) {
        return direction;
    }
    match direction {
        Direction::Output => {
            connection.flags.remove(ConnFlags::NO_OUTPUT);
            direction
        }
        _ => Direction::InputOnly,
    }
}
