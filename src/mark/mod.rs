//! Firewall marks: the rules that set them, in iptables' terms (`iptables -t mangle -A PREROUTING ... -j MARK`, iptables-extensions(8)),
//! and the mark of a packet by them. A data path past the kernel never meets netfilter, so it has a classifier of its own.
//!
//! [`Rule`] is one rule as it is typed and shown; [`Marks`] is the chain of each family, ready to be walked.

mod chain;
mod parse;
mod show;

use std::net::IpAddr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::family::Address;

pub use chain::{Chain, Entrances, Fragment, Header};
pub use parse::{Ports, RuleError, parse, protocol_name};

/// The most rules of one family.
pub const MOST_RULES: usize = 4096;

/// Something that a rule asks for, or asks not to be (`!`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sign<T> {
    /// Written after a `!`.
    pub not: bool,
    /// What is asked for.
    pub value: T,
}

/// An address and the mask under which it is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Masked {
    /// The address, with nothing outside the mask.
    pub address: IpAddr,
    /// The mask, of the same family; it need not be a prefix.
    pub mask: IpAddr,
}

/// The name of an interface; with `+` at its end, of all that begin so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface(pub String);

impl Interface {
    /// Does an interface of that name match?
    pub fn matches(&self, name: &str) -> bool {
        self.0.strip_suffix('+').map_or(self.0 == name, |start| name.starts_with(start))
    }
}

/// Ports from the first to the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl Range {
    /// Is the port among them?
    #[inline]
    pub fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// Which port of a packet is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The source's.
    Source,
    /// The destination's.
    Destination,
    /// Either.
    Both,
}

/// A match module with its options (`-m`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Match {
    /// `tcp`, `udp` or `sctp`: the protocol's own.
    Transport {
        /// Protocol number, of which the rule is.
        protocol: u8,
        /// `--sport`.
        source: Option<Sign<Range>>,
        /// `--dport`.
        destination: Option<Sign<Range>>,
    },
    /// `multiport`.
    Multiport {
        /// `--sports`, `--dports` or `--ports`.
        side: Side,
        /// At most 15, a range counting for two.
        ranges: Sign<Vec<Range>>,
    },
    /// `mark`: what rules before this one have set.
    Mark(Sign<Bits>),
    /// `comment`: for people.
    Comment(String),
}

/// A value under a mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bits {
    /// The value.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// What becomes of a packet that matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// `MARK`: the bits of the mask are cleared, then those of the value flipped (`--set-xmark`); the walk goes on.
    Mark(Bits),
    /// `ACCEPT`: the mark stays as it is.
    Accept,
    /// `RETURN`: in a chain that nobody calls, the same.
    Return,
    /// No `-j`: nothing; the walk goes on.
    None,
}

/// One rule of the chain PREROUTING.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Of ip6tables?
    pub v6: bool,
    /// `-s`.
    pub source: Option<Sign<Masked>>,
    /// `-d`.
    pub destination: Option<Sign<Masked>>,
    /// `-i`: the port that the packet came in by.
    pub interface: Option<Sign<Interface>>,
    /// `-p`: a protocol number.
    pub protocol: Option<Sign<u8>>,
    /// `-m`, in order.
    pub matches: Vec<Match>,
    /// `-j`.
    pub target: Target,
}

/// The rules of both families, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MarkRules {
    /// Of iptables.
    pub ipv4: Vec<Rule>,
    /// Of ip6tables.
    pub ipv6: Vec<Rule>,
}

impl MarkRules {
    /// The rules of a family.
    pub fn of(&self, v6: bool) -> &[Rule] {
        if v6 { &self.ipv6 } else { &self.ipv4 }
    }

    /// The rules of a family, to be changed.
    pub fn of_mut(&mut self, v6: bool) -> &mut Vec<Rule> {
        if v6 { &mut self.ipv6 } else { &mut self.ipv4 }
    }

    /// No rule at all?
    pub fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }
}

/// As text, a rule a string.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ipv4: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ipv6: Vec<String>,
}

impl Serialize for MarkRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = |rules: &[Rule]| rules.iter().map(ToString::to_string).collect();
        Texts { ipv4: texts(&self.ipv4), ipv6: texts(&self.ipv6) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MarkRules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Texts { ipv4, ipv6 } = Texts::deserialize(deserializer)?;
        let rules = |texts: Vec<String>, v6| {
            let rule = |text: &String| {
                Rule::from_text(v6, text).map_err(|error| D::Error::custom(format!("the mark rule {text:?}: {error}")))
            };
            texts.iter().map(rule).collect::<Result<_, _>>()
        };
        Ok(Self { ipv4: rules(ipv4, false)?, ipv6: rules(ipv6, true)? })
    }
}

/// The chains of both families, made ready once for all workers.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    v4: Chain<u32>,
    v6: Chain<u128>,
    interfaces: Vec<Interface>,
}

impl Marks {
    /// Makes the rules ready.
    pub fn new(rules: &MarkRules) -> Arc<Self> {
        let mut interfaces = Vec::new();
        let v4 = Chain::new(&rules.ipv4, &mut interfaces);
        let v6 = Chain::new(&rules.ipv6, &mut interfaces);
        Arc::new(Self { v4, v6, interfaces })
    }

    /// The chain of IPv4.
    #[inline]
    pub fn v4(&self) -> &Chain<u32> {
        &self.v4
    }

    /// The chain of IPv6.
    #[inline]
    pub fn v6(&self) -> &Chain<u128> {
        &self.v6
    }

    /// Is there a rule of that family that sets marks?
    pub fn sets(&self, v6: bool) -> bool {
        if v6 { self.v6.sets() } else { self.v4.sets() }
    }

    /// Which ports each interface of the rules means, given the ports' names in order.
    pub fn entrances<'a>(&self, ports: impl Iterator<Item = &'a str> + Clone) -> Entrances {
        Entrances::new(&self.interfaces, ports)
    }
}

/// An address as one of the family's integers; of the other family it does not occur in a rule that was parsed.
fn bits<A: Address>(address: IpAddr) -> A {
    A::from_ip(address).unwrap_or_default()
}

#[cfg(test)]
mod tests;
