//! What the kernel keeps under `net.ipv4.vs.*` and `ipvsadm --set`: the switches of behaviour and the time-outs, under the same
//! names and with the kernel's defaults.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

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

/// The sysctls of `net.ipv4.vs` that are supported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A SYN on a closing connection: bit 0 schedules it anew, bit 1 widens that to FIN_WAIT of DR and TUN; 0 reuses the entry.
    pub conn_reuse_mode: u8,
    /// A connection whose destination was removed expires at its next packet, which is then treated as new.
    pub expire_nodest_conn: bool,
    /// A template whose destination is quiesced is not followed: a new pick is made.
    pub expire_quiescent_template: bool,
    /// Any TCP packet but RST starts a connection.
    pub sloppy_tcp: bool,
    /// An unknown packet from a real server is answered with ICMP port unreachable.
    pub nat_icmp_send: bool,
    /// TUN obeys DF and answers "fragmentation needed".
    pub pmtu_disc: bool,
    /// A mark's packet without a usable destination goes to its own address.
    pub cache_bypass: bool,
    /// ICMP errors of unknown connections are scheduled.
    pub schedule_icmp: bool,
    /// ICMP errors that the director makes in a second, on each worker; 0 for any number.
    pub icmp_msgs_per_sec: u32,
    /// Seconds after its last use at which an address of lblc is forgotten.
    pub lblc_expiration: u32,
    /// The same for lblcr; also the seconds after which a set that did not change shrinks.
    pub lblcr_expiration: u32,
    /// Time-outs.
    pub timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            conn_reuse_mode: 1,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            sloppy_tcp: false,
            nat_icmp_send: false,
            pmtu_disc: true,
            cache_bypass: false,
            schedule_icmp: false,
            icmp_msgs_per_sec: 1000,
            lblc_expiration: 86_400,
            lblcr_expiration: 86_400,
            timeouts: Timeouts::default(),
        }
    }
}
