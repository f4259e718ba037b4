//! Ways to an address by a next hop of one's choice, even where the address is this machine's own: how a real server that holds the
//! virtual address is asked by that address (ip-rule(8), `fib_rules.c`). What a socket with a certain mark sends is routed by a table of
//! its own, to a neighbour or into a tunnel ([`super::tunnel`]); for that the rule of the table `local`, which the kernel has before all
//! others, is moved behind the rules that are made here, as Linux `Documentation/networking/vrf.rst` has it. All is undone when this is
//! dropped; what a director that died has left is removed by the next.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use nix::errno::Errno;

use super::rtnetlink::{Requests, family};
use super::tunnel::{self, End, Tunnels};
use crate::destination::Tunnel;

/// Marks and tables of detours: this, and a number from 1 on.
const BASE: u32 = 0x706f_0000;
/// Detours at most: every packet that the kernel routes passes their rules.
const MOST: u16 = 4095;
/// Priority of their rules, and that of the rule of the table `local` after them.
const OURS: u32 = 5;
const LOCAL: u32 = 10;
/// Of a socket that sends nothing.
const ANY_PORT: u16 = 9;
/// `RT_TABLE_LOCAL`.
const TABLE_LOCAL: u32 = 255;

/// A way to an address by a neighbour that holds it, too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Way {
    /// The address.
    pub address: IpAddr,
    /// The neighbour; or, with a tunnel, its end.
    pub by: IpAddr,
    /// The tunnel through which it is reached, whose outer addresses are of the family of `by`.
    pub tunnel: Option<Tunnel>,
}

/// The detours that there are.
pub struct Detours {
    requests: Requests,
    numbers: HashMap<Way, u16>,
    /// None before the first is needed.
    tunnels: Option<Tunnels>,
    /// Of IPv4 and IPv6: the rule of the table `local` was moved.
    moved: [bool; 2],
}

impl std::fmt::Debug for Detours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detours").field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

impl Detours {
    /// None so far, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says when the routing socket cannot be opened, or what was left cannot be removed.
    pub fn open() -> io::Result<Self> {
        let requests = Requests::open()?;
        let mut detours = Self { requests, numbers: HashMap::new(), tunnels: None, moved: [false; 2] };
        for v6 in [false, true] {
            detours.remove_left(v6)?;
        }
        Ok(detours)
    }

    /// The mark for sockets whose packets are to take that way. Its route is set again every time: the kernel forgets those of an
    /// interface that goes down, and the director's own address may have changed.
    ///
    /// # Errors
    /// What the kernel says; `by` is no neighbour, most likely.
    pub fn mark(&mut self, way: Way) -> io::Result<u32> {
        let known = self.numbers.get(&way).copied();
        let number = known.or_else(|| self.free()).ok_or_else(|| io::Error::other("there are too many such checks"))?;
        let mark = mark(number);
        let route = match way.tunnel {
            None => by_neighbour(way, source(way.by)?, mark),
            Some(tunnel) => self.by_tunnel(way, tunnel, number)?,
        };
        self.requests.call(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE)?;
        if known.is_none() {
            self.lead(way.address.is_ipv6(), mark)?;
            self.numbers.insert(way, number);
        }
        Ok(mark)
    }

    /// Keeps those ways, and takes the others away.
    pub fn keep(&mut self, ways: &HashSet<Way>) {
        let gone: Vec<_> = self.numbers.extract_if(|way, _| !ways.contains(way)).collect();
        for v6 in [false, true] {
            let of_family = |(way, number): &(Way, u16)| (way.address.is_ipv6() == v6).then_some(mark(*number));
            let marks: Vec<u32> = gone.iter().filter_map(of_family).collect();
            let last = !self.numbers.keys().any(|way| way.address.is_ipv6() == v6);
            let taken = if last && self.moved[usize::from(v6)] {
                self.moved[usize::from(v6)] = false;
                self.undo(v6, &marks)
            } else {
                marks.iter().try_for_each(|mark| self.take_away(v6, *mark))
            };
            if let Err(error) = taken {
                tracing::warn!("rules of policy routing are left behind (ip rule, priority {OURS}): {error}");
            }
        }
        if let Some(tunnels) = self.tunnels.take() {
            gone.iter().for_each(|(_, number)| tunnels.remove(*number));
            self.tunnels = Some(tunnels).filter(|tunnels| !tunnels.is_empty());
        }
    }

    fn free(&self) -> Option<u16> {
        let taken: HashSet<u16> = self.numbers.values().copied().collect();
        (1..=MOST).find(|number| !taken.contains(number))
    }

    /// The route into a tunnel, which is made.
    fn by_tunnel(&mut self, Way { address, by, .. }: Way, tunnel: Tunnel, number: u16) -> io::Result<RouteMessage> {
        let from = source(by)?;
        let tunnels = match self.tunnels.take() {
            Some(tunnels) => tunnels,
            None => Tunnels::open()?,
        };
        let tunnels = self.tunnels.insert(tunnels);
        tunnels.set(number, End { from, to: by, tunnel });
        let (gateway, mac) = tunnel::neighbour(number, address.is_ipv6());
        let interface = tunnels.interface();
        self.requests.add_neighbour((interface, gateway), mac)?;
        let mut route = route(address, gateway, mark(number));
        route.header.flags = RouteFlags::Onlink;
        route.attributes.push(RouteAttribute::Oif(interface));
        // What the server answers comes back by no tunnel, to the address that it knows the director by.
        if from.is_ipv6() == address.is_ipv6() {
            route.attributes.push(RouteAttribute::PrefSource(in_route(from)));
        }
        Ok(route)
    }

    /// Has what bears the mark routed by the table of that number.
    fn lead(&mut self, v6: bool, mark: u32) -> io::Result<()> {
        self.move_local(v6)?;
        self.requests.call(RouteNetlinkMessage::NewRule(rule(v6, mark)), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Puts the rule of the table `local` behind ours. There is one at every moment.
    fn move_local(&mut self, v6: bool) -> io::Result<()> {
        if std::mem::replace(&mut self.moved[usize::from(v6)], true) {
            return Ok(());
        }
        self.add_local(v6, LOCAL)?;
        self.delete(local(v6, 0))
    }

    fn add_local(&mut self, v6: bool, priority: u32) -> io::Result<()> {
        let added = self.requests.call(RouteNetlinkMessage::NewRule(local(v6, priority)), NLM_F_CREATE | NLM_F_EXCL);
        but_for(added, Errno::EEXIST)
    }

    fn delete(&mut self, rule: RuleMessage) -> io::Result<()> {
        but_for(self.requests.call(RouteNetlinkMessage::DelRule(rule), 0), Errno::ENOENT)
    }

    /// Removes the rules and tables of a director that died, and puts the rule of the table `local` back.
    fn remove_left(&mut self, v6: bool) -> io::Result<()> {
        let mut request = RuleMessage::default();
        request.header.family = family_of(v6);
        let answers = match self.requests.dump(&RouteNetlinkMessage::GetRule(request)) {
            // A kernel without policy routing, or without IPv6, has none.
            Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => return Ok(()),
            answers => answers?,
        };
        let marks = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRule(rule) => mark_of(rule),
            _ => None,
        });
        let marks: Vec<u32> = marks.collect();
        let has_moved = answers.iter().any(|answer| match answer {
            RouteNetlinkMessage::NewRule(rule) => is_moved_local(rule),
            _ => false,
        });
        if has_moved || !marks.is_empty() {
            self.undo(v6, &marks)?;
        }
        Ok(())
    }

    fn undo(&mut self, v6: bool, marks: &[u32]) -> io::Result<()> {
        self.add_local(v6, 0)?;
        marks.iter().try_for_each(|mark| self.take_away(v6, *mark))?;
        self.delete(local(v6, LOCAL))
    }

    fn take_away(&mut self, v6: bool, mark: u32) -> io::Result<()> {
        self.delete(rule(v6, mark))?;
        self.flush(v6, mark)
    }

    /// Removes the one route of a table.
    fn flush(&mut self, v6: bool, mark: u32) -> io::Result<()> {
        let mut request = RouteMessage::default();
        request.header.address_family = family_of(v6);
        let of_table = |route: &RouteMessage| route.attributes.contains(&RouteAttribute::Table(mark));
        for answer in self.requests.dump(&RouteNetlinkMessage::GetRoute(request))? {
            match answer {
                RouteNetlinkMessage::NewRoute(route) if of_table(&route) => {
                    but_for(self.requests.call(RouteNetlinkMessage::DelRoute(route), 0), Errno::ESRCH)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Detours {
    fn drop(&mut self) {
        self.keep(&HashSet::new());
    }
}

/// The address that the director has towards another; nothing is sent.
fn source(to: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((unspecified(to.is_ipv6()), 0))?;
    socket.connect((to, ANY_PORT))?;
    Ok(socket.local_addr()?.ip())
}

fn unspecified(v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

fn mark(number: u16) -> u32 {
    BASE | u32::from(number)
}

fn but_for(outcome: io::Result<()>, harmless: Errno) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(harmless as i32) => Ok(()),
        outcome => outcome,
    }
}

fn family_of(v6: bool) -> netlink_packet_route::AddressFamily {
    family(unspecified(v6))
}

fn to_table(v6: bool, table: u32, priority: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family_of(v6);
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(priority));
    message.attributes.push(RuleAttribute::Table(table));
    message
}

fn local(v6: bool, priority: u32) -> RuleMessage {
    to_table(v6, TABLE_LOCAL, priority)
}

fn rule(v6: bool, mark: u32) -> RuleMessage {
    let mut message = to_table(v6, mark, OURS);
    message.attributes.push(RuleAttribute::FwMark(mark));
    message
}

/// The mark of a rule that is one of ours.
fn mark_of(rule: &RuleMessage) -> Option<u32> {
    let has = |attribute| rule.attributes.contains(&attribute);
    let mark = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::FwMark(mark) if (BASE + 1..=self::mark(MOST)).contains(mark) => Some(*mark),
        _ => None,
    })?;
    (has(RuleAttribute::Priority(OURS)) && has(RuleAttribute::Table(mark))).then_some(mark)
}

fn is_moved_local(rule: &RuleMessage) -> bool {
    let has = |attribute| rule.attributes.contains(&attribute);
    let marked = rule.attributes.iter().any(|a| matches!(a, RuleAttribute::FwMark(_)));
    !marked && has(RuleAttribute::Priority(LOCAL)) && has(RuleAttribute::Table(TABLE_LOCAL))
}

/// The route to a neighbour. The address that it knows the director by is named: of its own the kernel would take in IPv6 the very
/// address that is asked for, which it prefers to all others (RFC 6724, section 5, rule 1).
fn by_neighbour(Way { address, by, .. }: Way, from: IpAddr, table: u32) -> RouteMessage {
    let mut message = route(address, by, table);
    message.attributes.push(RouteAttribute::PrefSource(in_route(from)));
    message
}

fn route(address: IpAddr, by: IpAddr, table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = if address.is_ipv6() { 128 } else { 32 };
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Destination(in_route(address)));
    message.attributes.push(RouteAttribute::Gateway(in_route(by)));
    message.attributes.push(RouteAttribute::Table(table));
    message
}

fn in_route(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}
