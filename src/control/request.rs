//! What a client of the control socket may ask: one JSON object a line, `{"request": "add_service", ...}`. Documented with an
//! example for each in `docs/control.md`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::control::daemon::{DaemonSpec, Role};
use crate::control::health::spec::CheckSpec;
use crate::control::standing::Policy;
use crate::control::standing::drain::{Templates, Whom};
use crate::control::why::End;
use crate::destination::{Method, Tunnel};
use crate::netmask::Netmask;
use crate::service::{Protocol, ServiceKey};

/// One request, one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The director at a glance. Reply: `status`.
    Status {},
    /// The services with their destinations, traffic and rates. Reply: `services`, several until `more` is false.
    Services {
        /// Only this one; unknown: `no_such_service`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
    },
    /// The connections. Reply: `connections`, several until `more` is false.
    Connections(Filter),
    /// The persistence templates. Reply: `connections`, several until `more` is false.
    Templates(Filter),
    /// The workers. Reply: `workers`.
    Workers {},
    /// The ports. Reply: `ports`.
    Ports {},
    /// Drop reasons and events of all workers. Reply: `counters`.
    Counters {},
    /// The next hop of each destination. Reply: `next_hops`.
    NextHops {},
    /// What happens from now on. Reply: `done`, and then `event` after `event` until the client goes or says something.
    Events {},
    /// Which destination a client would get, and by what; nothing is changed by asking. Reply: `why`.
    Why {
        /// The client, such as `203.0.113.5:40312`; without a port it is about a new connection.
        client: End,
        /// The virtual address and port; without a port 0.
        r#virtual: End,
        /// Its protocol; TCP if not given.
        #[serde(default = "tcp")]
        protocol: Protocol,
    },
    /// What ports receive and send, from now on. Reply: `frames`, several until `more` is false; the first is empty.
    Capture {
        /// Which packets: `host 203.0.113.5 and tcp port 80`; empty for all.
        #[serde(default)]
        filter: String,
        /// At most so many bytes of each; 0 for 9216.
        #[serde(default)]
        snaplen: u32,
        /// As many frames; 0 for no end.
        #[serde(default)]
        count: u64,
        /// For so long; 0 for no end.
        #[serde(default)]
        seconds: u32,
    },
    /// What becomes of packets, and why, from now on. Reply: `trace`, several until `more` is false; the first is empty.
    Trace {
        /// Which packets, as they come in.
        #[serde(default)]
        filter: String,
        /// As many packets; 0 for no end.
        #[serde(default)]
        count: u64,
        /// For so long; 0 for no end.
        #[serde(default)]
        seconds: u32,
    },
    /// Adds a service. Reply: `done`.
    AddService(ServiceSpec),
    /// Changes a service's scheduler, persistence and flags. Reply: `done`.
    EditService(ServiceSpec),
    /// Removes a service and its destinations. Reply: `done`.
    DeleteService {
        /// Which.
        service: ServiceKey,
    },
    /// Sets anew what is done as the destinations of a service come and go. Reply: `done`.
    SetPolicy {
        /// Which service.
        service: ServiceKey,
        /// What is to be done; what is not given is as it is without any.
        policy: Policy,
    },
    /// Checks the destinations of a service, or one of them in another way. Reply: `done`.
    SetCheck {
        /// Which service.
        service: ServiceKey,
        /// Only this destination: what its check says holds before that of the service.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        destination: Option<SocketAddr>,
        /// How.
        check: Box<CheckSpec>,
    },
    /// Takes a check away. Reply: `done`.
    RemoveCheck {
        /// Of which service.
        service: ServiceKey,
        /// Only that of this destination.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        destination: Option<SocketAddr>,
    },
    /// The checks and what they find. Reply: `checks`, several until `more` is false.
    Checks {
        /// Only of this service; unknown: `no_such_service`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
    },
    /// Adds a destination to a service. Reply: `done`.
    AddDestination {
        /// Which service.
        service: ServiceKey,
        /// The new destination.
        destination: DestinationSpec,
    },
    /// Changes a destination's weight, method, tunnel and thresholds. Reply: `done`.
    EditDestination {
        /// Which service.
        service: ServiceKey,
        /// The destination as it shall be.
        destination: DestinationSpec,
    },
    /// Removes a destination. Reply: `done`.
    DeleteDestination {
        /// Which service.
        service: ServiceKey,
        /// Address and port of the destination.
        address: SocketAddr,
    },
    /// Gives destinations nothing new, so that what they have may end. Reply: `done`.
    Drain {
        /// Address and port, or the address alone for all ports.
        destination: Whom,
        /// Only in this service; in all that have it if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
        /// What becomes of their templates.
        #[serde(default)]
        templates: Templates,
        /// Are they to be removed when nothing is left, or when the time is over?
        #[serde(default = "removal")]
        remove: bool,
        /// After so long the time is over; never if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_secs: Option<u32>,
        /// The same as a moment, in seconds since 1970, instead: what is persisted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
    },
    /// Gives destinations that are drained new connections again. Reply: `done`.
    Undrain {
        /// Address and port, or the address alone for all ports.
        destination: Whom,
        /// Only in this service; in all that have it if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
    },
    /// The destinations that are drained, and what they still have. Reply: `drains`.
    Drains {
        /// Also the oldest connection of each, for which the tables are walked.
        #[serde(default)]
        oldest: bool,
    },
    /// Removes every service. Reply: `done`.
    Flush {},
    /// Ends every connection and template. Reply: `done`.
    FlushConnections {},
    /// Sets the statistics shown to zero. Reply: `done`.
    Zero {
        /// Only of this service.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
    },
    /// The time-outs. Reply: `timeouts`.
    Timeouts {},
    /// Changes time-outs, in seconds; 0 or nothing leaves one as it is. Reply: `done`.
    SetTimeouts {
        /// TCP ESTABLISHED.
        #[serde(default)]
        tcp: u32,
        /// TCP FIN_WAIT.
        #[serde(default)]
        tcp_fin: u32,
        /// UDP.
        #[serde(default)]
        udp: u32,
    },
    /// The switches of behaviour (`net.ipv4.vs.*`). Reply: `settings`.
    Settings {},
    /// Changes one switch by its sysctl name. Reply: `done`.
    SetSetting {
        /// Such as `conn_reuse_mode`.
        name: String,
        /// Its value.
        value: SettingValue,
    },
    /// The synchronisation daemons. Reply: `daemons`.
    Daemons {},
    /// Starts a synchronisation daemon. Reply: `done`.
    StartDaemon(DaemonSpec),
    /// Stops a synchronisation daemon. Reply: `done`.
    StopDaemon {
        /// Which.
        role: Role,
    },
    /// How far the synchronisation of directors is. Reply: `sync`.
    Sync {},
    /// The rules that set firewall marks. Reply: `marks`.
    Marks {},
    /// Adds a mark rule. Reply: `done`.
    AddMark {
        /// Of which chain.
        family: MarkFamily,
        /// The rule in iptables' syntax, such as `-d 192.0.2.10 -p tcp --dport 80 -j MARK --set-mark 1`.
        rule: String,
        /// Where it is to stand, from 1 on; at the end if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<u32>,
    },
    /// Puts a mark rule in the place of another. Reply: `done`.
    ReplaceMark {
        /// Of which chain.
        family: MarkFamily,
        /// The rule in iptables' syntax.
        rule: String,
        /// The place, from 1 on.
        position: u32,
    },
    /// Removes the mark rule of one place. Reply: `done`.
    DeleteMark {
        /// Of which chain.
        family: MarkFamily,
        /// The place, from 1 on.
        position: u32,
    },
    /// Removes every mark rule. Reply: `done`.
    FlushMarks {
        /// Only of this chain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        family: Option<MarkFamily>,
    },
    /// The rules as TOML, as `apply` takes them. Reply: `rules`.
    Save {},
    /// Replaces the rules by those of a TOML text, changing only what differs; all or nothing. Reply: `applied`.
    Apply {
        /// The text.
        rules: String,
        /// Where it is from, for messages.
        #[serde(default)]
        name: String,
    },
    /// Reads the configuration file again, as SIGHUP does. Reply: `applied`.
    Reload {},
    /// Stops the director. Reply: `done`.
    Shutdown {
        /// Let connections end for so many seconds first, scheduling no new ones.
        #[serde(default)]
        drain_secs: u32,
    },
}

/// The value of a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SettingValue {
    /// A number; 0 and 1 for off and on.
    Number(i64),
    /// Off or on.
    Switch(bool),
    /// Two numbers (`sync_threshold`).
    Pair([i64; 2]),
}

impl FromStr for SettingValue {
    type Err = String;

    /// As sysctl takes it: a number, or two with blanks or a comma between.
    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        let numbers: Option<Vec<i64>> = words.map(|word| word.parse().ok()).collect();
        match (numbers.as_deref(), text) {
            (Some(&[number]), _) => Ok(Self::Number(number)),
            (Some(&[first, second]), _) => Ok(Self::Pair([first, second])),
            (_, "true" | "false") => Ok(Self::Switch(text == "true")),
            _ => Err(format!("{text:?} is no number")),
        }
    }
}

/// Which of the two chains of mark rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkFamily {
    /// That of iptables.
    Ipv4,
    /// That of ip6tables.
    Ipv6,
}

impl MarkFamily {
    /// IPv6?
    pub fn v6(self) -> bool {
        self == Self::Ipv6
    }
}

/// Which connections to list. Everything given must fit.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Of this service (its protocol, virtual address and port).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKey>,
    /// Of this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// On this real server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// At most so many; 0 for all.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

fn is_zero(limit: &u64) -> bool {
    *limit == 0
}

/// A service as somebody wants it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// What it is found by.
    pub service: ServiceKey,
    /// Name of the scheduler; `wlc` if not given.
    #[serde(default = "default_scheduler")]
    pub scheduler: String,
    /// Persistence, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<PersistenceSpec>,
    /// Name of the persistence engine, if any: `sip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pe: Option<String>,
    /// Every datagram is scheduled by itself.
    #[serde(default)]
    pub one_packet: bool,
    /// Flags of the scheduler.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<SchedulerFlag>,
}

fn default_scheduler() -> String {
    "wlc".to_owned()
}

/// Persistence as somebody wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersistenceSpec {
    /// Life of a template in seconds.
    pub timeout_secs: u32,
    /// Bits of the client's address that a template keeps; those of one client if not given.
    #[serde(rename = "prefix", default, skip_serializing_if = "Option::is_none")]
    pub netmask: Option<Netmask>,
}

/// A flag of a scheduler; its meaning is the scheduler's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum SchedulerFlag {
    /// `sh-fallback`, `mh-fallback`: another destination when the hashed one is unusable.
    #[serde(rename = "flag-1", alias = "sh-fallback", alias = "mh-fallback")]
    Flag1,
    /// `sh-port`, `mh-port`: the client's port is hashed too.
    #[serde(rename = "flag-2", alias = "sh-port", alias = "mh-port")]
    Flag2,
    /// Without a meaning so far.
    #[serde(rename = "flag-3")]
    Flag3,
}

/// A destination as somebody wants it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestinationSpec {
    /// Address and port of the real server. DR and TUN take the service's port whatever is said here, as the kernel has it.
    pub address: SocketAddr,
    /// Forwarding method; `dr` if not given.
    #[serde(default)]
    pub method: Method,
    /// Share of new connections; 1 if not given, 0 quiesces.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Encapsulation of `tun`.
    #[serde(default)]
    pub tunnel: Tunnel,
    /// Upper connection threshold; 0 for none.
    #[serde(default)]
    pub upper: u32,
    /// Lower connection threshold; 0 for three quarters of the upper.
    #[serde(default)]
    pub lower: u32,
}

impl DestinationSpec {
    /// With the service's port where only NAT could map another: ipvsadm, too, gives DR and TUN that of the service.
    #[must_use]
    pub fn fitted(mut self, key: &ServiceKey) -> Self {
        if self.method != Method::Nat && matches!(key, ServiceKey::Address { .. }) {
            self.address.set_port(key.port());
        }
        self
    }
}

fn tcp() -> Protocol {
    Protocol::Tcp
}

fn removal() -> bool {
    true
}

fn default_weight() -> u32 {
    1
}

impl Request {
    /// As it is taken from people and from programs that were written for this protocol, in this second since 1970.
    #[must_use]
    pub fn fitted(self, now: u64) -> Self {
        match self {
            Self::Drain { destination, service, templates, remove, timeout_secs: Some(secs), .. } => {
                let until = Some(now + u64::from(secs));
                Self::Drain { destination, service, templates, remove, timeout_secs: None, until }
            }
            Self::AddDestination { service, destination } => {
                Self::AddDestination { service, destination: destination.fitted(&service) }
            }
            Self::EditDestination { service, destination } => {
                Self::EditDestination { service, destination: destination.fitted(&service) }
            }
            other => other,
        }
    }

    /// Reads one line. Never panics, whatever the line is.
    ///
    /// # Errors
    /// What is wrong with the line, in words for people.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|e| format!("not a request: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dr_and_tun_take_the_port_of_the_service_but_not_of_a_mark() {
        let fitted = |service: &str, method: &str| {
            let line = format!(
                r#"{{"request":"add_destination","service":"{service}","destination":{{"address":"198.51.100.12:8080","method":"{method}"}}}}"#
            );
            match Request::parse(line.as_bytes()).unwrap().fitted(0) {
                Request::AddDestination { destination, .. } => destination.address.port(),
                other => panic!("{other:?}"),
            }
        };
        for (service, method, port) in [
            ("tcp:192.0.2.10:80", "nat", 8080),
            ("tcp:192.0.2.10:80", "dr", 80),
            ("tcp:192.0.2.10:80", "tun", 80),
            ("mark:5", "dr", 8080),
        ] {
            assert_eq!(fitted(service, method), port, "{service} {method}");
        }
    }
}
