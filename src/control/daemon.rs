//! The synchronisation daemons that are to run: one master and one backup at most, as `ipvsadm --start-daemon` wants them
//! (`ip_vs_sync.c`): kept, listed and persisted. [`super::sync`] runs them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::control::reply::{ErrorCode, Failure};
use crate::control::store::Store;

/// Group, port and TTL of messages unless given.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 81);
const PORT: u16 = 8848;
/// Bytes of IP and UDP headers.
const HEADERS4: u32 = 28;
const HEADERS6: u32 = 48;
/// MTU that a master reckons with, and the least that a backup does.
const MTU: u32 = 1500;
/// The longest datagram.
const LONGEST: u32 = 65_535;

/// What a daemon does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends what changes.
    Master,
    /// Takes what a master sends.
    Backup,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Backup => "backup",
        })
    }
}

/// A synchronisation daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonSpec {
    /// What it does.
    pub role: Role,
    /// Interface of the multicast.
    pub interface: String,
    /// Which group of directors; a backup with 0 takes those of all.
    #[serde(default)]
    pub syncid: u8,
    /// Largest message in bytes; what fits the interface unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maxlen: Option<u16>,
    /// Multicast group.
    #[serde(default = "group")]
    pub group: IpAddr,
    /// UDP port.
    #[serde(default = "port")]
    pub port: u16,
    /// TTL of the messages.
    #[serde(default = "ttl")]
    pub ttl: u8,
}

/// The group unless given.
pub fn group() -> IpAddr {
    GROUP.into()
}

/// The port unless given.
pub fn port() -> u16 {
    PORT
}

/// The TTL unless given.
pub fn ttl() -> u8 {
    1
}

impl DaemonSpec {
    /// With the message length that comes of what was asked for, on an interface of this MTU.
    #[must_use]
    pub fn settled(&self, mtu: u32) -> Self {
        let headers = if self.group.is_ipv6() { HEADERS6 } else { HEADERS4 };
        let (mtu, least) = match self.role {
            Role::Master => (MTU, 1),
            Role::Backup => (mtu.clamp(MTU, LONGEST), 1024),
        };
        let asked = self.maxlen.filter(|length| *length != 0).map(u32::from);
        let length = asked.map_or(mtu - headers, |length| length.clamp(least, LONGEST - headers));
        Self { maxlen: u16::try_from(length).ok(), ..self.clone() }
    }
}

impl Store {
    /// The daemons, the master first.
    pub fn daemons(&self) -> &[DaemonSpec] {
        &self.daemons
    }

    /// Starts a daemon on an interface of this MTU; `None` if there is no such interface. The order of the refusals is the kernel's.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidArgument`], [`ErrorCode::NoSuchInterface`], [`ErrorCode::DaemonRuns`].
    pub fn start_daemon(&mut self, spec: &DaemonSpec, mtu: Option<u32>) -> Result<(), Failure> {
        if !spec.group.is_multicast() {
            return Err(Failure::new(ErrorCode::InvalidArgument, format!("{} is no multicast group", spec.group)));
        }
        if self.has_mixed_families() {
            let text =
                "a destination is of another family than its service, which messages cannot carry; delete it first";
            return Err(Failure::new(ErrorCode::InvalidArgument, text));
        }
        let missing = || format!("there is no interface {:?}", spec.interface);
        let mtu = mtu.ok_or_else(|| Failure::new(ErrorCode::NoSuchInterface, missing()))?;
        if self.daemons.iter().any(|d| d.role == spec.role) {
            let text = format!("a {} of the synchronisation runs already; stop it first", spec.role);
            return Err(Failure::new(ErrorCode::DaemonRuns, text));
        }
        self.daemons.push(spec.settled(mtu));
        self.daemons.sort_by_key(|d| d.role);
        self.tick();
        Ok(())
    }

    /// Stops a daemon.
    ///
    /// # Errors
    /// [`ErrorCode::NoDaemon`].
    pub fn stop_daemon(&mut self, role: Role) -> Result<(), Failure> {
        let before = self.daemons.len();
        self.daemons.retain(|d| d.role != role);
        if self.daemons.len() == before {
            return Err(Failure::new(ErrorCode::NoDaemon, format!("no {role} of the synchronisation runs")));
        }
        self.tick();
        Ok(())
    }

    /// Makes the daemons those of a saved state.
    pub(super) fn set_daemons(&mut self, daemons: &[DaemonSpec]) {
        if self.daemons != daemons {
            self.daemons = daemons.to_vec();
            self.tick();
        }
    }

    fn has_mixed_families(&self) -> bool {
        let mixed = |s: &&std::sync::Arc<crate::service::Service>| {
            s.destinations.iter().any(|d| d.address.is_ipv6() != s.key.v6())
        };
        self.services().iter().any(mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::Request;
    use crate::control::store::Limits;

    fn spec(json: &str) -> DaemonSpec {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_message_length_is_the_kernels() {
        let backup = r#"{"role":"backup","interface":"lo"#;
        for (json, mtu, length) in [
            (r#"{"role":"master","interface":"lo"}"#.to_owned(), 65_536, 1472),
            (r#"{"role":"master","interface":"lo","group":"ff02::81"}"#.to_owned(), 65_536, 1452),
            (r#"{"role":"master","interface":"lo","maxlen":1}"#.to_owned(), 1500, 1),
            (format!("{backup}\"}}"), 65_536, 65_507),
            (format!("{backup}\",\"group\":\"ff02::81\"}}"), 65_536, 65_487),
            (format!("{backup}\"}}"), 1400, 1472),
            (format!("{backup}\",\"maxlen\":2}}"), 1500, 1024),
            (format!("{backup}\",\"maxlen\":65535}}"), 1500, 65_507),
        ] {
            assert_eq!(spec(&json).settled(mtu).maxlen, Some(length), "{json} on {mtu}");
        }
    }

    #[test]
    fn refusals_come_in_the_kernels_order() {
        let mut store = Store::new(Limits::default());
        let master = spec(r#"{"role":"master","interface":"eth1"}"#);
        let code = |result: Result<(), Failure>| result.unwrap_err().code;
        store.start_daemon(&master, Some(1500)).unwrap();
        assert_eq!(code(store.start_daemon(&master, Some(1500))), ErrorCode::DaemonRuns);
        assert_eq!(code(store.start_daemon(&master, None)), ErrorCode::NoSuchInterface);
        let unicast = DaemonSpec { group: [192, 0, 2, 1].into(), ..master.clone() };
        assert_eq!(code(store.start_daemon(&unicast, None)), ErrorCode::InvalidArgument);
        assert_eq!(code(store.stop_daemon(Role::Backup)), ErrorCode::NoDaemon);
        store.stop_daemon(Role::Master).unwrap();
        assert_eq!(store.daemons(), []);
    }

    #[test]
    fn daemons_and_destinations_of_another_family_exclude_each_other() {
        let mut store = Store::new(Limits::default());
        let edit = |store: &mut Store, json: &str| store.edit(&Request::parse(json.as_bytes()).unwrap());
        let mixed = |verb: &str| {
            format!(
                r#"{{"request":"{verb}_destination","service":"tcp:192.0.2.1:80","destination":{{"address":"[2001:db8::7]:80","method":"tun"}}}}"#
            )
        };
        edit(&mut store, r#"{"request":"add_service","service":"tcp:192.0.2.1:80"}"#).unwrap();
        edit(&mut store, &mixed("add")).unwrap();
        let master = spec(r#"{"role":"master","interface":"lo"}"#);
        assert_eq!(store.start_daemon(&master, None).unwrap_err().code, ErrorCode::InvalidArgument);
        let gone = r#"{"request":"delete_destination","service":"tcp:192.0.2.1:80","address":"[2001:db8::7]:80"}"#;
        edit(&mut store, gone).unwrap();
        store.start_daemon(&master, Some(1500)).unwrap();
        for verb in ["add", "edit"] {
            assert_eq!(edit(&mut store, &mixed(verb)).unwrap_err().code, ErrorCode::InvalidArgument, "{verb}");
        }
    }
}
