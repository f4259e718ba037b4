//! `-S` and `-L`, as iptables prints them; `-L` leaves the interface out, as it does there without `-v`.

use std::fmt::Write as _;

use crate::cli::ipvsadm::names::Names;
use crate::mark::{Bits, Masked, Match, Range, Rule, Side, Sign, Target, protocol_name};
use crate::service::Protocol;

/// The chains of the table, of which only the first has rules.
const CHAINS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// How `-L` shows rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style<'a> {
    /// Names of ports; none for numbers (`-n`).
    pub(super) names: Option<&'a Names>,
    /// Is each rule's number before it?
    pub(super) numbers: bool,
    /// Only the rule of this number.
    pub(super) only: Option<u32>,
}

fn numbered(rules: &[Rule], only: Option<u32>) -> impl Iterator<Item = (u32, &Rule)> {
    (1..).zip(rules).filter(move |(number, _)| only.is_none_or(|only| only == *number))
}

fn chains(chain: Option<&str>) -> impl Iterator<Item = &'static str> {
    CHAINS.into_iter().filter(move |name| chain.is_none_or(|chain| chain == *name))
}

/// The rules as commands.
pub(super) fn save(rules: &[Rule], chain: Option<&str>, only: Option<u32>) -> String {
    let mut text = String::new();
    if only.is_none() {
        text.extend(chains(chain).map(|name| format!("-P {name} ACCEPT\n")));
    }
    if chain.is_none_or(|chain| chain == CHAINS[0]) {
        let line = |rule: &Rule| format!("-A {} {rule}", CHAINS[0]).trim_end().to_owned() + "\n";
        text.extend(numbered(rules, only).map(|(_, rule)| line(rule)));
    }
    text
}

/// The rules as a table.
pub(super) fn list(rules: &[Rule], chain: Option<&str>, style: Style<'_>) -> String {
    let mut text = String::new();
    for (index, name) in chains(chain).enumerate() {
        if style.only.is_none() {
            text += if index > 0 { "\n" } else { "" };
            let number = if style.numbers { "num  " } else { "" };
            let _ = writeln!(text, "Chain {name} (policy ACCEPT)");
            let _ = writeln!(text, "{number}target     prot opt source               destination         ");
        }
        let rules = if name == CHAINS[0] { rules } else { &[] };
        text.extend(numbered(rules, style.only).map(|(number, rule)| line(number, rule, style)));
    }
    text
}

fn line(number: u32, rule: &Rule, style: Style<'_>) -> String {
    let number = if style.numbers { format!("{number:<4} ") } else { String::new() };
    let target = match rule.target {
        Target::Mark(_) => "MARK",
        Target::Accept => "ACCEPT",
        Target::Return => "RETURN",
        Target::None => "",
    };
    let not = if rule.protocol.is_some_and(|p| p.not) { '!' } else { ' ' };
    let protocol = match rule.protocol.map(|p| p.value) {
        None if style.names.is_some() => "all".to_owned(),
        None => "0".to_owned(),
        Some(number) if style.names.is_none() => number.to_string(),
        Some(number) => protocol_name(number).map_or_else(|| number.to_string(), str::to_owned),
    };
    let (source, destination) = (address(rule, rule.source, style), address(rule, rule.destination, style));
    let mut text = format!("{number}{target:<9} {not}{protocol:<5}-- {source} {destination} ");
    rule.matches.iter().for_each(|matching| text += &shown(matching, rule, style));
    if let Target::Mark(bits) = rule.target {
        text += &effect(bits);
    }
    text + "\n"
}

fn address(rule: &Rule, address: Option<Sign<Masked>>, style: Style<'_>) -> String {
    let any = match (style.names, rule.v6) {
        (Some(_), _) => "anywhere",
        (None, false) => "0.0.0.0/0",
        (None, true) => "::/0",
    };
    let text = address.map_or_else(|| any.to_owned(), |a| if_one(a.value));
    format!("{}{text:<19}", if address.is_some_and(|a| a.not) { "!" } else { " " })
}

/// The mask of a single address is not shown.
fn if_one(masked: Masked) -> String {
    let text = masked.to_string();
    let full = if masked.address.is_ipv4() { "/32" } else { "/128" };
    text.strip_suffix(full).map_or(text.clone(), str::to_owned)
}

fn shown(matching: &Match, rule: &Rule, style: Style<'_>) -> String {
    let name = |port: u16| {
        let protocol = rule.protocol.and_then(|p| Protocol::from_number(p.value));
        let name = style.names.zip(protocol).and_then(|(names, protocol)| names.name(protocol, port));
        name.map_or_else(|| port.to_string(), str::to_owned)
    };
    let range = |r: &Range| match r {
        r if r.first == r.last => name(r.first),
        r => format!("{}:{}", name(r.first), name(r.last)),
    };
    let not = |not: bool| if not { "!" } else { "" };
    let apart = |not: bool| if not { " !" } else { "" };
    let one = |what: &str, ports: &Option<Sign<Range>>| {
        let several = |r: Range| if r.first == r.last { "" } else { "s" };
        ports.as_ref().map(|p| format!(" {what}{}:{}{}", several(p.value), not(p.not), range(&p.value)))
    };
    match matching {
        Match::Transport { protocol, source, destination } => {
            let ports = [one("spt", source), one("dpt", destination)];
            format!(
                " {}{}",
                protocol_name(*protocol).unwrap_or_default(),
                ports.into_iter().flatten().collect::<String>()
            )
        }
        Match::Multiport { side, ranges } => {
            let side = match side {
                Side::Source => "sports",
                Side::Destination => "dports",
                Side::Both => "ports",
            };
            let ports: Vec<_> = ranges.value.iter().map(range).collect();
            format!(" multiport {side} {}{}", apart(ranges.not), ports.join(","))
        }
        Match::Mark(bits) => format!(" mark match{} {}", apart(bits.not), bits.value),
        Match::Comment(text) => format!(" /* {text} */"),
    }
}

fn effect(bits: Bits) -> String {
    let Bits { value, mask } = bits;
    match bits {
        Bits { value: 0, .. } => format!(" MARK and {:#x}", !mask),
        _ if value == mask => format!(" MARK or {value:#x}"),
        Bits { mask: 0, .. } => format!(" MARK xor {value:#x}"),
        Bits { mask: u32::MAX, .. } => format!(" MARK set {value:#x}"),
        _ => format!(" MARK xset {value:#x}/{mask:#x}"),
    }
}
