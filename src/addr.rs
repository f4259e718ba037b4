//! Link-layer addresses: 48-bit MAC addresses as IEEE 802 defines them, written as six pairs of hexadecimal digits.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A MAC address. In text, and in configuration and control messages, `02:00:00:00:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddr(pub [u8; 6]);

/// A text is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address: write six pairs of hexadecimal digits, as in 02:00:00:00:00:01")]
pub struct ParseMacError(String);

impl MacAddr {
    /// All stations on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The address of nobody.
    pub const ZERO: Self = Self([0; 6]);

    /// Tells whether the address is a group's, the broadcast address included.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Tells whether one station may have the address.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| ParseMacError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<[u8; 6]> {
    let mut octets = [0; 6];
    let mut pairs = text.split(':');
    for octet in &mut octets {
        let pair =
            pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(octets)
}

impl From<MacAddr> for String {
    fn from(addr: MacAddr) -> Self {
        addr.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn capitals_are_read_and_small_letters_written() {
        assert_eq!("02:00:00:AB:cd:0F".parse::<MacAddr>().unwrap().to_string(), "02:00:00:ab:cd:0f");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_text() {
        let texts =
            ["", "02", "02:00:00:00:00", "02:00:00:00:00:01:", "2:0:0:0:0:1", "02:00:00:00:00:0g", "+2:00:00:00:00:01"];
        for text in texts {
            let error = text.parse::<MacAddr>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}` is not")), "{error}");
        }
    }

    #[test]
    fn groups_and_nobody_are_not_unicast() {
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_unicast());
        assert!(MacAddr::BROADCAST.is_multicast());
        assert!(!MacAddr::ZERO.is_unicast() && !MacAddr::ZERO.is_multicast());
    }

    proptest! {
        #[test]
        fn every_address_survives_text_and_json(octets: [u8; 6]) {
            let addr = MacAddr(octets);
            prop_assert_eq!(addr.to_string().parse::<MacAddr>(), Ok(addr));
            let json = serde_json::to_string(&addr).unwrap();
            prop_assert_eq!(&json, &format!("\"{addr}\""));
            prop_assert_eq!(serde_json::from_str::<MacAddr>(&json).unwrap(), addr);
        }
    }
}
