//! A check as somebody wants it: one flat table of keys, the same in TOML and on the control socket. All keys may be left out here, as
//! a destination may change single keys of its service's check; [`super::plan`] says what is missing, and fills in what may be.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::{Bytes, Seconds, StatusRange};

/// How a destination is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// ICMP echo.
    Icmp,
    /// A TCP connection.
    Tcp,
    /// A datagram: an answer, or no refusal.
    Udp,
    /// An HTTP request.
    Http,
    /// The same over TLS.
    Https,
    /// A question to a name server.
    Dns,
    /// The exit status of a program.
    Command,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Http => "http",
            Self::Https => "https",
            Self::Dns => "dns",
            Self::Command => "command",
        })
    }
}

/// What a destination is taken for until checks have decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Up, as without a check.
    #[default]
    Up,
    /// Down: it gets nothing before it has answered.
    Down,
}

/// By which address a destination is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Its own.
    #[default]
    Server,
    /// The virtual one, which it holds (DR).
    Vip,
}

/// What a question to a name server travels by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A datagram.
    #[default]
    Udp,
    /// A connection.
    Tcp,
}

/// A check as somebody wants it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSpec {
    /// How it is checked.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Seconds from one check to the next; 5 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Seconds>,
    /// Seconds after which a check has failed; 2 unless given, at most the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// Failures in a row that take the destination out; 3 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
    /// Successes in a row that bring it back; 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    /// What it is taken for until checks have decided; `up` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// By which address it is checked; `server` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The address that is checked; the destination's unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port that is checked; the destination's unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `tcp`, `udp`: what is sent first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<Bytes>,
    /// `tcp`, `udp`: what the answer must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Bytes>,
    /// `http`, `https`: the method; `GET` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `http`, `https`: path and query; `/` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `http`, `https`: the Host header; address and port unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `http`, `https`: more headers of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<BTreeMap<String, String>>,
    /// `http`, `https`: statuses that are good; 200 to 399 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<StatusRange>>,
    /// `http`, `https`: headers that the answer must have, with what each must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// `http`, `https`: what the body must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// `http`, `https`: a regular expression that the body must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_regex: Option<String>,
    /// `https`: the server's name (SNI, certificate); that of `host` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_name: Option<String>,
    /// `https`: whether the server's certificate is verified; it is not unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// `https`: file of the authorities (PEM) that it is verified against; the system's unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// `dns`: the name that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `dns`: the type of record; `A` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// `dns`: a record that the answer must hold; any unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// `dns`: `udp` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// `command`: the program and its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
}

impl CheckSpec {
    /// What holds for a destination that has `self` of its own, in a service that has `base`: with a type, `self` stands alone;
    /// without one, it changes those keys that it names.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        if self.kind.is_some() {
            return self.clone();
        }
        let (mut all, own) = (base.members(), self.members());
        all.extend(own);
        serde_json::from_value(Value::Object(all)).expect("each member is one of a CheckSpec")
    }

    /// The keys that are given, with their values.
    pub(super) fn members(&self) -> serde_json::Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            _ => serde_json::Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_changes_single_keys_or_stands_alone() {
        let read = |json: &str| serde_json::from_str::<CheckSpec>(json).unwrap();
        let service = read(r#"{"type":"http","path":"/health","interval":2,"headers":{"a":"b"}}"#);
        for (own, both) in [
            ("{}", r#"{"type":"http","path":"/health","interval":2,"headers":{"a":"b"}}"#),
            (r#"{"path":"/","port":81}"#, r#"{"type":"http","path":"/","interval":2,"headers":{"a":"b"},"port":81}"#),
            (r#"{"type":"tcp"}"#, r#"{"type":"tcp"}"#),
        ] {
            assert_eq!(read(own).over(&service), read(both), "{own}");
        }
    }
}
