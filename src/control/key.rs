//! A virtual service as one word, in the protocol and on the command line: `tcp:192.0.2.10:80`, `udp:[2001:db8::1]:53`, `mark:7`,
//! `mark6:7` (an IPv6 mark); `ip_47:192.0.2.10:0` for a protocol that is not balanced.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::service::{Protocol, ServiceKey};

/// A word that names no virtual service.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} names no virtual service; write tcp:192.0.2.10:80, udp:[2001:db8::1]:53, sctp:..., mark:7 or mark6:7 (IPv6)"
)]
pub struct BadKey(String);

/// The word for a service; what [`FromStr`] reads.
pub fn word(key: &ServiceKey) -> String {
    match key {
        ServiceKey::Address { protocol, address, port } => {
            let protocol = protocol.to_string().to_ascii_lowercase();
            format!("{protocol}:{}", SocketAddr::new(*address, *port))
        }
        ServiceKey::Mark { mark, v6: false } => format!("mark:{mark}"),
        ServiceKey::Mark { mark, v6: true } => format!("mark6:{mark}"),
    }
}

impl FromStr for ServiceKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        parse(text).ok_or_else(|| BadKey(text.chars().take(80).collect()))
    }
}

fn parse(text: &str) -> Option<ServiceKey> {
    let (kind, rest) = text.split_once(':')?;
    match kind.to_ascii_lowercase().as_str() {
        "tcp" => address(Protocol::Tcp, rest),
        "udp" => address(Protocol::Udp, rest),
        "sctp" => address(Protocol::Sctp, rest),
        "mark" => mark(rest, false),
        "mark6" => mark(rest, true),
        other => {
            let number: u8 = other.strip_prefix("ip_")?.parse().ok()?;
            address(Protocol::any(number), rest)
        }
    }
}

fn address(protocol: Protocol, text: &str) -> Option<ServiceKey> {
    let (address, port) = endpoint(text)?;
    Some(ServiceKey::Address { protocol, address, port })
}

fn mark(text: &str, v6: bool) -> Option<ServiceKey> {
    text.parse().ok().filter(|mark| *mark != 0).map(|mark| ServiceKey::Mark { mark, v6 })
}

/// An address with its port, without an IPv6 zone (which would silently be lost).
pub(crate) fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let endpoint: SocketAddr = if text.contains('%') { return None } else { text.parse().ok()? };
    Some((endpoint.ip(), endpoint.port()))
}

impl Serialize for ServiceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&word(self))
    }
}

impl<'de> Deserialize<'de> for ServiceKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for text in [
            "tcp:192.0.2.10:80",
            "udp:[2001:db8::1]:53",
            "sctp:192.0.2.1:0",
            "mark:7",
            "mark6:4294967295",
            "ip_47:192.0.2.1:0",
        ] {
            assert_eq!(word(&text.parse::<ServiceKey>().unwrap()), text);
        }
        assert_eq!(word(&"TCP:192.0.2.10:80".parse::<ServiceKey>().unwrap()), "tcp:192.0.2.10:80");
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "tcp",
            "tcp:",
            "tcp:192.0.2.10",
            "tcp:300.0.0.1:80",
            "tcp:192.0.2.10:65536",
            "icmp:192.0.2.1:1",
            "mark:0",
        ] {
            assert!(text.parse::<ServiceKey>().is_err(), "{text}");
        }
        assert!("tcp:[fe80::1%2]:80".parse::<ServiceKey>().is_err());
    }
}
