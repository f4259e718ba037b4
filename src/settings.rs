//! What the kernel keeps under `net.ipv4.vs.*` and `ipvsadm --set`: the switches of behaviour and the time-outs, under the same
//! names, with the kernel's defaults and the kernel's ranges (`docs/sysctl.md` tells what each does).

use std::fmt;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::time::HZ;

/// The time-outs that `ipvsadm --set TCP TCPFIN UDP` changes, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP ESTABLISHED.
    #[serde(deserialize_with = "seconds")]
    pub tcp: u32,
    /// TCP FIN_WAIT.
    #[serde(deserialize_with = "seconds")]
    pub tcp_fin: u32,
    /// UDP.
    #[serde(deserialize_with = "seconds")]
    pub udp: u32,
}

/// The longest time-out: ipvsadm's limit, 31 days.
pub const MAX_TIMEOUT_SECS: u32 = 31 * 86_400;

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let seconds = i64::deserialize(deserializer)?;
    let fits = u32::try_from(seconds).ok().filter(|s| (1..=MAX_TIMEOUT_SECS).contains(s));
    fits.ok_or_else(|| D::Error::custom(format!("{seconds} s cannot be; give 1 to {MAX_TIMEOUT_SECS}")))
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { tcp: 900, tcp_fin: 120, udp: 300 }
    }
}

/// The longest time of a sysctl in seconds: the kernel counts it in jiffies, in a signed word.
const MAX_SYSCTL_SECS: i64 = i32::MAX as i64 / HZ as i64;

/// The sysctls of `net.ipv4.vs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// In mode 3 of `drop_packet`: every packet of so many that would start a connection is dropped.
    pub am_droprate: i32,
    /// With a smaller share of a connection table free, in 65536ths, memory counts as scarce.
    pub amemthresh: i32,
    /// A backup of the synchronisation schedules nothing of its own.
    #[serde(deserialize_with = "switch")]
    pub backup_only: bool,
    /// A mark's packet without a usable destination goes to its own address.
    #[serde(deserialize_with = "switch")]
    pub cache_bypass: bool,
    /// A SYN on a closing connection: bit 0 schedules it anew, bit 1 widens that to FIN_WAIT of DR and TUN; 0 reuses the entry.
    pub conn_reuse_mode: i32,
    /// Connections are tracked as the FTP helper needs them.
    #[serde(deserialize_with = "switch")]
    pub conntrack: bool,
    /// Kept.
    pub debug_level: i32,
    /// Defence: half-open connections are dropped at random.
    #[serde(deserialize_with = "mode")]
    pub drop_entry: u8,
    /// Defence: packets that would start a connection are dropped.
    #[serde(deserialize_with = "mode")]
    pub drop_packet: u8,
    /// A connection whose destination was removed expires at its next packet, which is then treated as new.
    #[serde(deserialize_with = "switch")]
    pub expire_nodest_conn: bool,
    /// A template whose destination is quiesced is not followed: a new pick is made.
    #[serde(deserialize_with = "switch")]
    pub expire_quiescent_template: bool,
    /// Packets that the director's own stack takes out of a tunnel are left to it: they never come by again.
    #[serde(deserialize_with = "switch")]
    pub ignore_tunneled: bool,
    /// Seconds after its last use at which an address of lblc is forgotten.
    #[serde(deserialize_with = "sysctl_seconds")]
    pub lblc_expiration: i32,
    /// The same for lblcr; also the seconds after which a set that did not change shrinks.
    #[serde(deserialize_with = "sysctl_seconds")]
    pub lblcr_expiration: i32,
    /// An unknown packet from a real server is answered with ICMP port unreachable.
    #[serde(deserialize_with = "switch")]
    pub nat_icmp_send: bool,
    /// TUN obeys DF and answers "fragmentation needed".
    #[serde(deserialize_with = "switch")]
    pub pmtu_disc: bool,
    /// Rates are estimated, and counters copied for listings.
    #[serde(deserialize_with = "switch")]
    pub run_estimation: bool,
    /// ICMP errors of unknown connections are scheduled.
    #[serde(deserialize_with = "switch")]
    pub schedule_icmp: bool,
    /// Defence: other states and shorter time-outs for TCP.
    #[serde(deserialize_with = "mode")]
    pub secure_tcp: u8,
    /// Any SCTP packet but ABORT starts a connection.
    #[serde(deserialize_with = "switch")]
    pub sloppy_sctp: bool,
    /// Any TCP packet but RST starts a connection.
    #[serde(deserialize_with = "switch")]
    pub sloppy_tcp: bool,
    /// Translated replies are routed again, by the virtual address.
    #[serde(deserialize_with = "switch")]
    pub snat_reroute: bool,
    /// Synchronisation: only templates.
    pub sync_persist_mode: i32,
    /// Synchronisation: threads and ports, a power of two.
    #[serde(deserialize_with = "power_of_two")]
    pub sync_ports: i32,
    /// Synchronisation: messages that wait to be sent.
    #[serde(deserialize_with = "queue")]
    pub sync_qlen_max: u64,
    /// Synchronisation: seconds between messages about an unchanged connection.
    #[serde(deserialize_with = "sysctl_seconds")]
    pub sync_refresh_period: i32,
    /// Synchronisation: repetitions of a message.
    #[serde(deserialize_with = "retries")]
    pub sync_retries: u8,
    /// Synchronisation: size of the socket's buffer; 0 for the system's.
    pub sync_sock_size: i32,
    /// Synchronisation: packets before the first message, and between two.
    #[serde(deserialize_with = "threshold")]
    pub sync_threshold: [i32; 2],
    /// Synchronisation: version of the format.
    #[serde(deserialize_with = "version")]
    pub sync_version: u8,
    /// ICMP errors that the director makes in a second, on each worker; 0 for any number.
    pub icmp_msgs_per_sec: u32,
    /// Time-outs.
    pub timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            am_droprate: 10,
            amemthresh: 1024,
            backup_only: false,
            cache_bypass: false,
            conn_reuse_mode: 1,
            conntrack: false,
            debug_level: 0,
            drop_entry: 0,
            drop_packet: 0,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            ignore_tunneled: false,
            lblc_expiration: 86_400,
            lblcr_expiration: 86_400,
            nat_icmp_send: false,
            pmtu_disc: true,
            run_estimation: true,
            schedule_icmp: false,
            secure_tcp: 0,
            sloppy_sctp: false,
            sloppy_tcp: false,
            snat_reroute: true,
            sync_persist_mode: 0,
            sync_ports: 1,
            sync_qlen_max: 1024,
            sync_refresh_period: 0,
            sync_retries: 0,
            sync_sock_size: 0,
            sync_threshold: [3, 50],
            sync_version: 1,
            icmp_msgs_per_sec: 1000,
            timeouts: Timeouts::default(),
        }
    }
}

impl Settings {
    /// With each mode of defence that follows memory as the kernel shows it: 2 while memory is scarce, else 1.
    #[must_use]
    pub fn with_memory(mut self, scarce: bool) -> Self {
        for mode in [&mut self.drop_entry, &mut self.drop_packet, &mut self.secure_tcp] {
            if matches!(*mode, 1 | 2) {
                *mode = 1 + u8::from(scarce);
            }
        }
        self
    }
}

/// A switch: true and false, or a number as the kernel has it, where anything but 0 switches on.
fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    deserializer.deserialize_any(SwitchVisitor)
}

struct SwitchVisitor;

impl Visitor<'_> for SwitchVisitor {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false, or 1 or 0")
    }

    fn visit_bool<E>(self, on: bool) -> Result<bool, E> {
        Ok(on)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<bool, E> {
        i32::try_from(number).map(|n| n != 0).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<bool, E> {
        i32::try_from(number).map(|n| n != 0).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
}

/// A number of `least` to `most`.
fn within<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D, least: i64, most: i64) -> Result<T, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let fits = Some(number).filter(|n| (least..=most).contains(n)).and_then(|n| T::try_from(n).ok());
    fits.ok_or_else(|| D::Error::custom(format!("{number} cannot be; give {least} to {most}")))
}

/// When a defence is up: 0 never, 1 and 2 while memory is scarce, 3 always.
fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    within(deserializer, 0, 3)
}

fn retries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    within(deserializer, 0, 3)
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    within(deserializer, 0, 1)
}

/// Seconds, negative ones too: they are over at once, as 0 is.
fn sysctl_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    within(deserializer, -MAX_SYSCTL_SECS, MAX_SYSCTL_SECS)
}

fn queue<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, 0, i64::MAX)
}

fn power_of_two<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let number = i32::deserialize(deserializer)?;
    let power = u32::try_from(number).is_ok_and(u32::is_power_of_two);
    if power { Ok(number) } else { Err(D::Error::custom(format!("{number} cannot be; give 1, 2, 4, 8 and so on"))) }
}

fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[i32; 2], D::Error> {
    let [first, period] = <[i32; 2]>::deserialize(deserializer)?;
    let fits = first >= 0 && period >= 0 && (period == 0 || first < period);
    let text = || format!("[{first}, {period}] cannot be; the first is less than the second, or the second is 0");
    if fits { Ok([first, period]) } else { Err(D::Error::custom(text())) }
}
