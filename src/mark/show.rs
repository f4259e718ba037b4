//! Rules as iptables-save shows them: in its order, with its spelling, so that what is shown can be typed again.

use std::fmt::{self, Display, Formatter, Write as _};
use std::net::IpAddr;

use crate::mark::{Bits, Masked, Match, Range, Rule, Side, Sign, Target, protocol_name};

impl Display for Rule {
    /// The rule without the command and the chain, such as `-d 192.0.2.10/32 -p tcp -j MARK --set-xmark 0x1/0xffffffff`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut words = Words { to: f, begun: false };
        let address = |s: &Sign<Masked>| s.value.to_string();
        words.signed("-s", self.source.as_ref(), address)?;
        words.signed("-d", self.destination.as_ref(), address)?;
        words.signed("-i", self.interface.as_ref(), |s| s.value.0.clone())?;
        words.signed("-p", self.protocol.as_ref(), |s| protocol(s.value))?;
        self.matches.iter().try_for_each(|matching| words.matching(matching))?;
        match self.target {
            Target::Mark(Bits { value, mask }) => words.word(&format!("-j MARK --set-xmark {value:#x}/{mask:#x}")),
            Target::Accept => words.word("-j ACCEPT"),
            Target::Return => words.word("-j RETURN"),
            Target::None => Ok(()),
        }
    }
}

struct Words<'a, 'b> {
    to: &'a mut Formatter<'b>,
    begun: bool,
}

impl Words<'_, '_> {
    fn word(&mut self, word: &str) -> fmt::Result {
        if std::mem::replace(&mut self.begun, true) {
            self.to.write_char(' ')?;
        }
        self.to.write_str(word)
    }

    fn signed<T>(&mut self, option: &str, signed: Option<&Sign<T>>, show: impl Fn(&Sign<T>) -> String) -> fmt::Result {
        let Some(sign) = signed else { return Ok(()) };
        if sign.not {
            self.word("!")?;
        }
        self.word(option)?;
        self.word(&show(sign))
    }

    fn matching(&mut self, matching: &Match) -> fmt::Result {
        match matching {
            Match::Transport { protocol: number, source, destination } => {
                self.word(&format!("-m {}", protocol(*number)))?;
                self.signed("--sport", source.as_ref(), |s| s.value.to_string())?;
                self.signed("--dport", destination.as_ref(), |s| s.value.to_string())
            }
            Match::Multiport { side, ranges } => {
                self.word("-m multiport")?;
                let option = match side {
                    Side::Source => "--sports",
                    Side::Destination => "--dports",
                    Side::Both => "--ports",
                };
                let list = |s: &Sign<Vec<Range>>| s.value.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                self.signed(option, Some(ranges), list)
            }
            Match::Mark(bits) => {
                self.word("-m mark")?;
                self.signed("--mark", Some(bits), |s| s.value.to_string())
            }
            Match::Comment(text) => self.word(&format!("-m comment --comment {}", quoted(text))),
        }
    }
}

/// A number that has no name is shown as it is.
fn protocol(number: u8) -> String {
    protocol_name(number).map_or_else(|| number.to_string(), str::to_owned)
}

/// As iptables-save quotes: only what is not made of letters, digits and a few signs.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}:{}", self.first, self.last) }
    }
}

impl Display for Bits {
    /// The mask is left out when it is all ones.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.value)?;
        if self.mask == u32::MAX { Ok(()) } else { write!(f, "/{:#x}", self.mask) }
    }
}

impl Display for Masked {
    /// With the prefix length, or the mask itself when it is none.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (ones, zeros, bits) = match self.mask {
            IpAddr::V4(m) => (m.to_bits().leading_ones(), m.to_bits().trailing_zeros(), 32),
            IpAddr::V6(m) => (m.to_bits().leading_ones(), m.to_bits().trailing_zeros(), 128),
        };
        if ones + zeros >= bits {
            write!(f, "{}/{ones}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.mask)
        }
    }
}
