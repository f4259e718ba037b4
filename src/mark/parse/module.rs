//! Match modules as they are being read: their options come one by one, and some are required.

use crate::mark::parse::value::Named;
use crate::mark::parse::{Outcome, Ports, refuse, value};
use crate::mark::{Bits, Match, Range, Side, Sign};

/// Ports that `multiport` takes, a range counting for two.
const MOST_PORTS: usize = 15;
/// Bytes of a comment, the final zero among them.
const MOST_COMMENT: usize = 256;
/// Protocols whose ports `multiport` knows.
const WITH_PORTS: [u8; 5] = [6, 17, 136, 132, 33];

/// A module that `-m`, or the protocol, has loaded.
pub(super) enum Module {
    Transport { protocol: u8, source: Option<Sign<Range>>, destination: Option<Sign<Range>> },
    Multiport(Option<(Side, Sign<Vec<Range>>)>),
    Mark(Option<Sign<Bits>>),
    Comment(Option<String>),
}

/// Puts a value where none may be yet.
fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Outcome<()> {
    let full = match name {
        "--sport" => "--source-port",
        "--dport" => "--destination-port",
        name => name,
    };
    match slot.replace(value) {
        Some(_) => refuse(format!("Only one `{full}' allowed")),
        None => Ok(()),
    }
}

impl Module {
    pub(super) fn of_name(name: &str) -> Option<Self> {
        match name {
            "multiport" => Some(Self::Multiport(None)),
            "mark" => Some(Self::Mark(None)),
            "comment" => Some(Self::Comment(None)),
            _ => {
                let protocol = value::protocol(name).ok().filter(|p| value::TRANSPORTS.contains(p));
                protocol.filter(|p| value::protocol_name(*p) == Some(name)).map(Self::of_protocol)
            }
        }
    }

    pub(super) fn of_protocol(protocol: u8) -> Self {
        Self::Transport { protocol, source: None, destination: None }
    }

    /// Has it an option of that name?
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Transport { .. } => matches!(name, "--sport" | "--dport"),
            Self::Multiport(_) => matches!(name, "--sports" | "--dports" | "--ports"),
            Self::Mark(_) => name == "--mark",
            Self::Comment(_) => name == "--comment",
        }
    }

    /// Takes an option that it has.
    pub(super) fn take(
        &mut self,
        name: &str,
        not: bool,
        argument: &str,
        protocol: Option<Sign<u8>>,
        ports: Ports<'_>,
    ) -> Outcome<()> {
        let ports = |name: &str| ports(name, protocol.map_or(0, |p| p.value));
        match self {
            Self::Transport { source, destination, .. } => {
                let value = value::range(argument, &ports)?;
                if value.first > value.last {
                    return refuse("invalid portrange (min > max)");
                }
                once(if name == "--sport" { source } else { destination }, Sign { not, value }, name)
            }
            Self::Multiport(options) => {
                if !protocol.is_some_and(|p| !p.not && WITH_PORTS.contains(&p.value)) {
                    return refuse("multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'");
                }
                let ranges = Sign { not, value: list(argument, &ports)? };
                match options.replace((side(name), ranges)) {
                    Some((first, _)) => refuse(value::not_both("multiport", full(side(name)), full(first))),
                    None => Ok(()),
                }
            }
            Self::Mark(bits) => once(bits, Sign { not, value: value::bits("mark", name, argument)? }, name),
            Self::Comment(_) if not => refuse(format!("option \"{name}\" cannot be inverted.")),
            Self::Comment(_) if argument.len() >= MOST_COMMENT => {
                refuse(format!("COMMENT must be shorter than {MOST_COMMENT} characters"))
            }
            Self::Comment(_) if argument.contains(char::is_control) => refuse("COMMENT must be one line of text"),
            Self::Comment(text) => once(text, argument.to_owned(), name),
        }
    }

    /// The module with all its options.
    pub(super) fn finish(self, of_rule: Option<Sign<u8>>) -> Outcome<Match> {
        match self {
            Self::Transport { protocol, source, destination } => {
                if of_rule == Some(Sign { not: false, value: protocol }) {
                    return Ok(Match::Transport { protocol, source, destination });
                }
                let name = value::protocol_name(protocol).unwrap_or_default();
                refuse(format!("the match `{name}' needs `-p {name}'"))
            }
            Self::Multiport(Some((side, ranges))) => Ok(Match::Multiport { side, ranges }),
            Self::Multiport(None) => refuse("multiport expection an option"),
            Self::Mark(Some(bits)) => Ok(Match::Mark(bits)),
            Self::Mark(None) => refuse("mark: option \"--mark\" must be specified"),
            Self::Comment(Some(text)) => Ok(Match::Comment(text)),
            Self::Comment(None) => refuse("comment: option \"--comment\" must be specified"),
        }
    }
}

fn side(name: &str) -> Side {
    match name {
        "--sports" => Side::Source,
        "--dports" => Side::Destination,
        _ => Side::Both,
    }
}

/// The full name of the option.
fn full(side: Side) -> &'static str {
    match side {
        Side::Source => "--source-ports",
        Side::Destination => "--destination-ports",
        Side::Both => "--ports",
    }
}

fn list(text: &str, ports: Named<'_>) -> Outcome<Vec<Range>> {
    if text.split([',', ':']).count() > MOST_PORTS {
        return refuse("too many ports specified");
    }
    let range = |part: &str| match value::range(part, ports)? {
        range if part.contains(':') && range.first >= range.last => refuse("invalid portrange specified"),
        range => Ok(range),
    };
    text.split(',').map(range).collect()
}
