//! The netmask of a persistent service: the bits of a client's address that its template keeps. A prefix length, or, for IPv4, any mask:
//! also one with holes, as the kernel takes it. Written as a number, or as a mask in dots.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which bits of a client's address a template keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Netmask {
    /// So many leading bits: 32 or 128 for one client.
    Prefix(u8),
    /// Those that are set; the mask has a hole.
    Holes(Ipv4Addr),
}

impl Netmask {
    /// Of one client by itself.
    pub const fn full(v6: bool) -> Self {
        Self::Prefix(if v6 { 128 } else { 32 })
    }

    /// A mask of IPv4.
    pub fn of(mask: Ipv4Addr) -> Self {
        let bits = mask.to_bits();
        match u8::try_from(bits.leading_ones()) {
            Ok(prefix) if bits.leading_ones() == bits.count_ones() => Self::Prefix(prefix),
            _ => Self::Holes(mask),
        }
    }

    /// The leading bits that it keeps without a hole: clients of one template have at least these in common.
    pub fn leading(self) -> u8 {
        match self {
            Self::Prefix(prefix) => prefix,
            Self::Holes(mask) => u8::try_from(mask.to_bits().leading_ones()).unwrap_or(32),
        }
    }

    /// As a mask of IPv4.
    pub fn bits4(self) -> u32 {
        match self {
            Self::Prefix(prefix) => u32::MAX.checked_shl(u32::from(32 - prefix.min(32))).unwrap_or(0),
            Self::Holes(mask) => mask.to_bits(),
        }
    }
}

impl fmt::Display for Netmask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => write!(f, "{prefix}"),
            Self::Holes(mask) => write!(f, "{mask}"),
        }
    }
}

/// Neither a prefix length nor a mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("neither a prefix length such as 24 nor a mask such as 255.255.255.0")]
pub struct NetmaskError;

impl FromStr for Netmask {
    type Err = NetmaskError;

    fn from_str(text: &str) -> Result<Self, NetmaskError> {
        let prefix = text.parse().ok().filter(|prefix| *prefix <= 128).map(Self::Prefix);
        prefix.or_else(|| text.parse().ok().map(Self::of)).ok_or(NetmaskError)
    }
}

impl Serialize for Netmask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Prefix(prefix) => serializer.serialize_u8(*prefix),
            Self::Holes(mask) => serializer.collect_str(mask),
        }
    }
}

impl<'de> Deserialize<'de> for Netmask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NetmaskVisitor)
    }
}

struct NetmaskVisitor;

impl Visitor<'_> for NetmaskVisitor {
    type Value = Netmask;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prefix length such as 24, or a mask such as \"255.255.255.0\"")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Netmask, E> {
        let wrong = || E::invalid_value(Unexpected::Signed(number), &self);
        u8::try_from(number).ok().filter(|n| *n <= 128).map(Netmask::Prefix).ok_or_else(wrong)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Netmask, E> {
        let wrong = || E::invalid_value(Unexpected::Unsigned(number), &self);
        u8::try_from(number).ok().filter(|n| *n <= 128).map(Netmask::Prefix).ok_or_else(wrong)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Netmask, E> {
        text.parse().map(Netmask::of).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_prefix_unless_it_has_holes() {
        for (mask, prefix) in [("0.0.0.0", 0), ("128.0.0.0", 1), ("255.255.255.0", 24), ("255.255.255.255", 32)] {
            let netmask: Netmask = mask.parse().expect("it is a mask");
            assert_eq!((netmask, netmask.leading()), (Netmask::Prefix(prefix), prefix), "{mask}");
            assert_eq!(Ipv4Addr::from_bits(netmask.bits4()).to_string(), mask);
        }
        for (mask, leading) in [("255.0.255.0", 8), ("0.0.0.255", 0), ("255.255.255.253", 30)] {
            let netmask: Netmask = mask.parse().expect("it is a mask");
            assert_eq!((netmask.to_string().as_str(), netmask.leading()), (mask, leading));
        }
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in ["0", "24", "128", "\"255.0.255.0\""] {
            let netmask: Netmask = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&netmask).expect("it has a form"), text);
        }
        for text in ["-1", "129", "\"24\"", "\"255.0\"", "\"64::\"", "null", "[]"] {
            serde_json::from_str::<Netmask>(text).expect_err(text);
        }
        assert_eq!("64".parse(), Ok(Netmask::Prefix(64)));
        for text in ["", "129", "/24", "255.255.255", "::"] {
            assert_eq!(text.parse::<Netmask>(), Err(NetmaskError), "{text}");
        }
    }
}
