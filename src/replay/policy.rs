//! Rules of policy routing for marked packets, as `ip rule` changes them.

use crate::family::Address;
use crate::mark::Header;
use crate::network::{FamilyNetwork, Fib, Policy};
use crate::snapshot::{Marked, Snapshot};
use crate::verdict::PortId;
use crate::wire::ethernet::{self, ethertype};
use crate::wire::{ipv4, ipv6, protocol};

/// Where the kernel looks at the table main: rules of one's own come before it, each before those that there were.
const MAIN: u32 = 32766;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    v6: bool,
    preference: u32,
    mark: u32,
    mask: u32,
    table: u32,
}

/// The rules of both families.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies(Vec<Entry>);

impl Policies {
    /// Does what `ip rule ACTION WORDS...` does, for rules that look at the mark and nothing else.
    pub(super) fn change(&mut self, action: &str, words: &[&str], v6: bool) -> Result<(), String> {
        let rule = || format!("ip rule {action} {}", words.join(" "));
        let (mut bits, mut target, mut preference) = (None, None, None);
        let mut rest = words.iter();
        while let Some(key) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{}: {key} without a value", rule()))?;
            match *key {
                "fwmark" => bits = Some(mark(value).ok_or_else(|| format!("{}: {value} is no mark", rule()))?),
                "lookup" | "table" => target = number(value),
                "pref" | "priority" | "preference" => preference = number(value),
                _ => return Err(format!("{}: {key} is not supported", rule())),
            }
        }
        let (Some((mark, mask)), Some(table)) = (bits, target) else {
            return Err(format!("{}: only fwmark MARK lookup NUMBER is supported", rule()));
        };
        let first = self.0.iter().filter(|e| e.v6 == v6).map(|e| e.preference).min().unwrap_or(MAIN);
        let entry = Entry { v6, preference: preference.unwrap_or(first.saturating_sub(1)), mark, mask, table };
        match action {
            "add" => self.0.push(entry),
            "del" => self.0.retain(|e| (e.v6, e.mark, e.mask, e.table) != (v6, mark, mask, table)),
            _ => return Err(format!("{} is not supported", rule())),
        }
        self.0.sort_by_key(|e| e.preference);
        Ok(())
    }

    /// The rules of one family, each with its table.
    pub(super) fn of<A: Address>(&self, table: impl Fn(u32) -> Fib<A>) -> Vec<Policy<A>> {
        let policy = |e: &Entry| Policy { mask: e.mask, mark: e.mark & e.mask, table: table(e.table) };
        self.0.iter().filter(|e| e.v6 == A::V6).map(policy).collect()
    }
}

/// Is a frame for the director by the policy routing of its mark, and by nothing else?
pub(super) fn is_only_by_policy(snapshot: &Snapshot, frame: &[u8], port: PortId) -> bool {
    let Ok(ethernet) = ethernet::Packet::new_checked(frame) else { return false };
    let packet = ethernet.payload();
    match ethernet.ethertype() {
        ethertype::IPV4 => ipv4::Packet::new_checked(packet).is_ok_and(|ip| {
            let [sport, dport] = ports(ip.protocol(), ip.payload());
            let (src, dst) = (ip.src().to_bits(), ip.dst().to_bits());
            is_only(snapshot, &snapshot.network.v4, &Header { src, dst, protocol: ip.protocol(), sport, dport, port })
        }),
        ethertype::IPV6 => ipv6::Packet::new_checked(packet).is_ok_and(|ip| {
            let Ok(upper) = ip.upper() else { return false };
            let [sport, dport] = ports(upper.protocol, packet.get(upper.offset..).unwrap_or_default());
            let (src, dst) = (ip.src().to_bits(), ip.dst().to_bits());
            is_only(snapshot, &snapshot.network.v6, &Header { src, dst, protocol: upper.protocol, sport, dport, port })
        }),
        _ => false,
    }
}

fn is_only<A: Marked>(snapshot: &Snapshot, network: &FamilyNetwork<A>, header: &Header<A>) -> bool {
    !network.is_local(header.dst) && network.is_local_by_policy(header.dst, snapshot.mark(header))
}

fn ports(protocol: u8, payload: &[u8]) -> [u16; 2] {
    match (protocol, payload.first_chunk::<4>()) {
        (protocol::TCP | protocol::UDP | protocol::SCTP, Some([a, b, c, d])) => {
            [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])]
        }
        _ => [0, 0],
    }
}

/// The table that a route is put in; none for the usual ones.
pub(super) fn table(options: &[(&str, &str)]) -> Result<Option<u32>, String> {
    let Some((_, name)) = options.iter().find(|(key, _)| *key == "table") else { return Ok(None) };
    match *name {
        "main" | "254" | "local" | "255" => Ok(None),
        name => number(name).map(Some).ok_or_else(|| format!("{name} is no number of a table")),
    }
}

fn mark(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((mark, mask)) => Some((number(mark)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(lines: &[&str]) -> Result<Vec<u32>, String> {
        let mut policies = Policies::default();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            policies.change(words[0], &words[1..], false)?;
        }
        Ok(policies.of(|_| Fib::<u32>::default()).iter().map(|p| p.mark).collect())
    }

    #[test]
    fn a_new_rule_comes_before_the_others_unless_it_says_where() {
        let lines = ["add fwmark 1 lookup 100", "add fwmark 0x2 lookup 101", "add fwmark 3 pref 32765 table 7"];
        assert_eq!(order(&lines), Ok(vec![2, 1, 3]));
        assert_eq!(order(&["add fwmark 1 lookup 100", "del fwmark 1 lookup 100"]), Ok(vec![]));
    }

    #[test]
    fn rules_of_another_kind_are_refused() {
        for line in ["add from 10.0.0.1 lookup 5", "add fwmark x lookup 5", "add fwmark 1", "show fwmark 1 lookup 5"] {
            assert!(order(&[line]).is_err(), "{line}");
        }
    }
}
