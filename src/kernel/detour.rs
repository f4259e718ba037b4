//! Ways to an address by a next hop of one's choice, even where the address is this machine's own: how a real server that holds the
//! virtual address is asked by that address (ip-rule(8), `fib_rules.c`). What a socket with a certain mark sends is routed by a table of
//! its own; for that the rule of the table `local`, which the kernel has before all others, is moved behind the rules that are made here,
//! as Linux `Documentation/networking/vrf.rst` has it. All is undone when this is dropped; what a director that died has left is
//! removed by the next.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use nix::errno::Errno;

use super::rtnetlink::{Requests, family};

/// Marks and tables of detours: this, and a number from 1 on.
const BASE: u32 = 0x706f_0000;
/// Detours at most: every packet that the kernel routes passes their rules.
const MOST: u32 = 4095;
/// Priority of their rules, and that of the rule of the table `local` after them.
const OURS: u32 = 5;
const LOCAL: u32 = 10;
/// `RT_TABLE_LOCAL`.
const TABLE_LOCAL: u32 = 255;

/// The detours that there are.
pub struct Detours {
    requests: Requests,
    marks: HashMap<(IpAddr, IpAddr), u32>,
    /// Of IPv4 and IPv6: the rule of the table `local` was moved.
    moved: [bool; 2],
}

impl std::fmt::Debug for Detours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detours").field("marks", &self.marks).finish_non_exhaustive()
    }
}

impl Detours {
    /// None so far, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says when the routing socket cannot be opened, or what was left cannot be removed.
    pub fn open() -> io::Result<Self> {
        let mut detours = Self { requests: Requests::open()?, marks: HashMap::new(), moved: [false; 2] };
        for v6 in [false, true] {
            detours.remove_left(v6)?;
        }
        Ok(detours)
    }

    /// The mark for sockets whose packets to `address` are to go to the neighbour `by`.
    ///
    /// # Errors
    /// What the kernel says; `by` is no neighbour, most likely.
    pub fn mark(&mut self, address: IpAddr, by: IpAddr) -> io::Result<u32> {
        if let Some(mark) = self.marks.get(&(address, by)) {
            return Ok(*mark);
        }
        let number = u32::try_from(self.marks.len() + 1).ok().filter(|n| *n <= MOST);
        let number = number.ok_or_else(|| io::Error::other(format!("there are {MOST} ways already")))?;
        let mark = BASE | number;
        self.requests.call(RouteNetlinkMessage::NewRoute(route(address, by, mark)), NLM_F_CREATE | NLM_F_REPLACE)?;
        self.move_local(address.is_ipv6())?;
        self.requests.call(RouteNetlinkMessage::NewRule(rule(address.is_ipv6(), mark)), NLM_F_CREATE | NLM_F_EXCL)?;
        self.marks.insert((address, by), mark);
        Ok(mark)
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
        for mark in marks {
            self.delete(rule(v6, *mark))?;
            self.flush(v6, *mark)?;
        }
        self.delete(local(v6, LOCAL))
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
        for v6 in [false, true] {
            let of_family = self.marks.iter().filter(|((address, _), _)| address.is_ipv6() == v6);
            let marks: Vec<u32> = of_family.map(|(_, mark)| *mark).collect();
            if self.moved[usize::from(v6)]
                && let Err(error) = self.undo(v6, &marks)
            {
                tracing::warn!(
                    "rules of policy routing are left behind (ip rule, priorities {OURS} and {LOCAL}): {error}"
                );
            }
        }
    }
}

fn but_for(outcome: io::Result<()>, harmless: Errno) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(harmless as i32) => Ok(()),
        outcome => outcome,
    }
}

fn family_of(v6: bool) -> netlink_packet_route::AddressFamily {
    family(if v6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() })
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
        RuleAttribute::FwMark(mark) if (BASE + 1..=BASE + MOST).contains(mark) => Some(*mark),
        _ => None,
    })?;
    (has(RuleAttribute::Priority(OURS)) && has(RuleAttribute::Table(mark))).then_some(mark)
}

fn is_moved_local(rule: &RuleMessage) -> bool {
    let has = |attribute| rule.attributes.contains(&attribute);
    let marked = rule.attributes.iter().any(|a| matches!(a, RuleAttribute::FwMark(_)));
    !marked && has(RuleAttribute::Priority(LOCAL)) && has(RuleAttribute::Table(TABLE_LOCAL))
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
