//! The values of options: addresses, protocols, ports, marks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::family::Address;
use crate::mark::parse::{Outcome, RuleError, refuse};
use crate::mark::{Bits, Interface, Masked, Range};

/// Protocols by name, as they are shown.
const PROTOCOLS: [(&str, u8); 11] = [
    ("tcp", 6),
    ("udp", 17),
    ("sctp", 132),
    ("icmp", 1),
    ("ipv6-icmp", 58),
    ("esp", 50),
    ("ah", 51),
    ("gre", 47),
    ("dccp", 33),
    ("udplite", 136),
    ("ipv6-mh", 135),
];
/// Other names.
const ALIASES: [(&str, u8); 3] = [("icmpv6", 58), ("mh", 135), ("all", 0)];
/// Protocols that have a match module of their own here.
pub(super) const TRANSPORTS: [u8; 3] = [6, 17, 132];
/// Bytes of an interface's name, the final zero among them.
const IFNAMSIZ: usize = 16;

/// Gives the number of a port that is told by name.
pub(super) type Named<'a> = &'a dyn Fn(&str) -> Option<u16>;

/// The name of a protocol, as rules show it; none of those that are shown by number.
pub fn protocol_name(number: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

/// A protocol by name or number; 0 for all.
pub(super) fn protocol(text: &str) -> Outcome<u8> {
    let lower = text.to_ascii_lowercase();
    let named = || PROTOCOLS.iter().chain(&ALIASES).find(|(name, _)| *name == lower).map(|(_, number)| *number);
    let unknown = || RuleError(format!("unknown protocol \"{text}\" specified"));
    lower.parse().ok().or_else(named).ok_or_else(unknown)
}

/// The name of an interface.
pub(super) fn interface(text: &str) -> Outcome<Interface> {
    if text.is_empty() {
        return refuse("Empty interface is likely to be undesired");
    }
    if text.len() >= IFNAMSIZ {
        return refuse(format!("interface name `{text}' must be shorter than IFNAMSIZ ({})", IFNAMSIZ - 1));
    }
    if text.contains(|c: char| !c.is_ascii_graphic() || matches!(c, '/' | '"' | '\'' | '\\')) {
        return refuse(format!("Invalid interface name `{text}'"));
    }
    Ok(Interface(text.to_owned()))
}

/// An address with its mask as prefix length or as an address; one address without.
pub(super) fn masked(text: &str, v6: bool) -> Outcome<Masked> {
    let (address, mask) = text.split_once('/').map_or((text, None), |(address, mask)| (address, Some(mask)));
    let unknown = || RuleError(format!("host/network `{address}' not found"));
    let of_family = |address: &IpAddr| address.is_ipv6() == v6;
    let address: IpAddr = address.parse().ok().filter(of_family).ok_or_else(unknown)?;
    let mask = match mask {
        None => prefix_mask(v6, 128),
        Some(text) => {
            let prefix = text.parse().ok().filter(|p: &u8| *p <= if v6 { 128 } else { 32 });
            let mask = prefix.map(|p| prefix_mask(v6, p)).or_else(|| text.parse().ok().filter(of_family));
            mask.ok_or_else(|| RuleError(format!("invalid mask `{text}' specified")))?
        }
    };
    Ok(Masked { address: under(address, mask), mask })
}

fn prefix_mask(v6: bool, prefix: u8) -> IpAddr {
    if v6 { u128::MAX.masked(prefix.min(128)).ip() } else { u32::MAX.masked(prefix.min(32)).ip() }
}

fn under(address: IpAddr, mask: IpAddr) -> IpAddr {
    match (address, mask) {
        (IpAddr::V4(a), IpAddr::V4(m)) => Ipv4Addr::from_bits(a.to_bits() & m.to_bits()).into(),
        (IpAddr::V6(a), IpAddr::V6(m)) => Ipv6Addr::from_bits(a.to_bits() & m.to_bits()).into(),
        _ => address,
    }
}

/// `PORT`, `PORT:PORT`, `:PORT` or `PORT:`.
pub(super) fn range(text: &str, ports: Named<'_>) -> Outcome<Range> {
    let Some((first, last)) = text.split_once(':') else {
        let port = port(text, ports)?;
        return Ok(Range { first: port, last: port });
    };
    let or = |text: &str, open| if text.is_empty() { Ok(open) } else { port(text, ports) };
    Ok(Range { first: or(first, 0)?, last: or(last, u16::MAX)? })
}

fn port(text: &str, ports: Named<'_>) -> Outcome<u16> {
    let known = number(text).map_or_else(|| ports(text), |n| u16::try_from(n).ok());
    known.ok_or_else(|| RuleError(format!("invalid port/service `{text}' specified")))
}

/// A number as C writes it: decimal, `0x` hexadecimal, `0` octal.
fn number(text: &str) -> Option<u32> {
    let digits = |text: &str, base| {
        let plain = text.starts_with(|c: char| c.is_ascii_hexdigit());
        if plain { u32::from_str_radix(text, base).ok() } else { None }
    };
    match (text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")), text.strip_prefix('0')) {
        (Some(hex), _) => digits(hex, 16),
        (None, Some(octal)) if !octal.is_empty() => digits(octal, 8),
        _ => digits(text, 10),
    }
}

/// What is said of two options that exclude each other, by their full names.
pub(super) fn not_both(module: &str, first: &str, second: &str) -> String {
    if first == second {
        return format!("{module}: option \"{first}\" can only be used once.");
    }
    format!("{module}: option \"{first}\" cannot be used together with \"{second}\".")
}

/// `VALUE` or `VALUE/MASK`.
pub(super) fn bits(module: &str, option: &str, text: &str) -> Outcome<Bits> {
    let (value, mask) = text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)));
    let wrong = || RuleError(format!("{module}: bad integer value for option \"{option}\", or out of range."));
    let mask = mask.map_or(Some(u32::MAX), number);
    Ok(Bits { value: number(value).ok_or_else(wrong)?, mask: mask.ok_or_else(wrong)? })
}

/// What an option of MARK does to a mark: the bits that are cleared, and those that are flipped then.
pub(super) fn change(module: &str, option: &str, text: &str) -> Outcome<Bits> {
    if !matches!(option, "--set-mark" | "--set-xmark") && text.contains('/') {
        return refuse(format!("{module}: bad value for option \"{option}\", or out of range (0-4294967295)."));
    }
    let Bits { value, mask } = bits(module, option, text)?;
    Ok(match option {
        "--set-mark" => Bits { value, mask: mask | value },
        "--or-mark" => Bits { value, mask: value },
        "--and-mark" => Bits { value: 0, mask: !value },
        "--xor-mark" => Bits { value, mask: 0 },
        _ => Bits { value, mask },
    })
}
