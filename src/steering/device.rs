//! What a device can do to bring a client's packets to the client's worker, and what comes of asking it. Pure: the DPDK edge asks and
//! tells, here is decided. DPDK 22.11, `rte_eth_dev_info` and `rte_eth_rss_conf`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Key, Steering};

/// What arrives by a port, and so where the client's address stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Requests: the client is the source.
    #[default]
    Outside,
    /// Servers' replies to be translated: the client is the destination.
    Inside,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "outside",
            Self::Inside => "inside",
        })
    }
}

/// What a device says that it can do of receive side scaling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rss {
    /// Queues, receive and transmit.
    pub queues: u16,
    /// Bytes of a key; 0 when it does not say.
    pub key: usize,
    /// Entries of its RETA; 0 when it has none that can be set.
    pub redirection: usize,
    /// It hashes IPv4, with TCP and UDP or without.
    pub v4: bool,
    /// It hashes IPv6.
    pub v6: bool,
}

/// Bytes of a key that reach to the end of what is hashed of a packet, IPv6 with ports, as most devices have; it is taken for a device
/// that names no length (`rte_eth_rss_conf`: "40-byte hash key").
const USUAL_KEY: usize = 40;
/// The smallest RETA that spreads clients well enough over a handful of workers.
const SMALLEST: usize = 64;

/// Why a device does not bring clients to their workers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unable {
    /// It does not hash addresses.
    NoHash,
    /// Its key is not ours to choose, or shorter than what is hashed: so many bytes.
    NoKey(usize),
    /// Its RETA has so many entries, which is no use.
    Redirection(usize),
    /// A step that it can do by its own account failed: which, and the device's reason.
    Failed(&'static str, String),
    /// It accepted a step and did something else: which.
    Differs(&'static str),
}

impl fmt::Display for Unable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHash => f.write_str("the device offers no hash of addresses"),
            Self::NoKey(bytes) => write!(f, "the device's hash key has {bytes} bytes, too few for IPv6 with ports"),
            Self::Redirection(0) => f.write_str("the device has no table of queues (RETA) to set"),
            Self::Redirection(size) => {
                write!(
                    f,
                    "the device's table of queues (RETA) has {size} entries, no power of two of {SMALLEST} or more"
                )
            }
            Self::Failed(step, reason) => write!(f, "{step} failed: {reason}"),
            Self::Differs(step) => write!(f, "{step} was accepted, and the device then said otherwise"),
        }
    }
}

impl Rss {
    /// Bits of the hash that index the RETA.
    ///
    /// # Errors
    /// Why the device cannot steer by a key of ours.
    pub fn bits(&self) -> Result<u8, Unable> {
        if !self.v4 && !self.v6 {
            return Err(Unable::NoHash);
        }
        if self.key_bytes() < USUAL_KEY {
            return Err(Unable::NoKey(self.key));
        }
        if self.redirection < SMALLEST || !self.redirection.is_power_of_two() {
            return Err(Unable::Redirection(self.redirection));
        }
        Ok(u8::try_from(self.redirection.ilog2()).unwrap_or(u8::MAX))
    }

    fn key_bytes(&self) -> usize {
        if self.key == 0 { USUAL_KEY } else { self.key }
    }

    /// What the device of a port is to be told.
    ///
    /// # Errors
    /// Why it cannot steer by a key of ours.
    pub fn plan(&self, steering: &Steering, role: Role) -> Result<Plan, Unable> {
        self.bits()?;
        let key = match role {
            Role::Outside => steering.outside_key(),
            Role::Inside => steering.inside_key(),
        };
        let redirection = steering.redirection(self.redirection).ok_or(Unable::Redirection(self.redirection))?;
        Ok(Plan { key: fitted(key, self.key_bytes()), redirection })
    }
}

/// A key as long as the device wants it; nothing is hashed by what is behind ours.
fn fitted(key: &Key, bytes: usize) -> Vec<u8> {
    key.iter().copied().chain(std::iter::repeat(0)).take(bytes).collect()
}

/// What a device is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The key of its hash.
    pub key: Vec<u8>,
    /// The queue by each entry of the RETA.
    pub redirection: Vec<u16>,
}

/// Who brings a port's packets to their clients' workers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SteeredBy {
    /// There is one worker.
    #[default]
    Nobody,
    /// The device, by a key of ours.
    Device,
    /// Workers hand over what another one owns.
    Software,
}

/// Which steering is in force on a port, and why.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SteeringReport {
    /// What arrives there.
    pub role: Role,
    /// Who steers.
    pub by: SteeredBy,
    /// The same in a sentence.
    pub text: String,
}

impl SteeringReport {
    /// Of a port whose device has taken the plan, or has not.
    pub fn new(role: Role, workers: u16, rss: &Rss, outcome: Result<(), &Unable>) -> Self {
        let report = |by, text| Self { role, by, text };
        match outcome {
            _ if workers <= 1 => report(SteeredBy::Nobody, "there is one worker, and nothing to steer".to_owned()),
            Ok(()) => {
                let by = match role {
                    Role::Outside => "the source (outside)",
                    Role::Inside => "the destination (inside)",
                };
                let mut text =
                    format!("the device steers by {by}, with our key and its RETA of {} entries", rss.redirection);
                let missing = match (rss.v4, rss.v6 && role == Role::Outside) {
                    (true, true) => "",
                    (true, false) => "; IPv6 is handed over between workers",
                    (false, _) => "; IPv4 is handed over between workers",
                };
                text.push_str(missing);
                report(SteeredBy::Device, text)
            }
            Err(unable) => {
                let text = format!("workers hand over to each other what another one owns: {unable}");
                report(SteeredBy::Software, text)
            }
        }
    }

    /// What the device has promised, if it steers; `proven` when it has said its key and its RETA back.
    pub fn promise(&self, rss: &Rss, proven: bool) -> Option<Promise> {
        let v6 = rss.v6 && self.role == Role::Outside;
        (self.by == SteeredBy::Device).then_some(Promise { role: self.role, v4: rss.v4, v6, proven })
    }
}

/// Which packets of a port its device brings to their client's worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Promise {
    /// Where the client's address stands.
    pub role: Role,
    /// Those of IPv4.
    pub v4: bool,
    /// Those of IPv6.
    pub v6: bool,
    /// The device has said its key and its RETA back as they were told, so that the hashes which it writes are to be trusted.
    pub proven: bool,
}

impl Promise {
    /// Is the hash that the device has written beside a packet that of its client alone? One of the family, whose client stands on the side
    /// that `role` says.
    #[inline]
    pub fn covers(self, role: Role, v6: bool) -> bool {
        self.proven && self.role == role && if v6 { self.v6 } else { self.v4 }
    }

    /// Was a frame, which has come to another worker than `owner`, to be brought to that one by the device? Not one whose client stands
    /// elsewhere: a reply that came in by an outside port, say, or an ICMP error.
    pub fn is_broken_by(self, steering: &Steering, frame: &[u8], owner: crate::verdict::WorkerId) -> bool {
        /// Of source and destination in an Ethernet frame, without tags.
        const PLACES: [[usize; 2]; 2] = [[26, 30], [22, 38]];
        let kind = frame.get(12..14).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        let v6 = kind == Some(crate::wire::ethernet::ethertype::IPV6);
        let v4 = kind == Some(crate::wire::ethernet::ethertype::IPV4);
        let place = PLACES[usize::from(v6)][usize::from(self.role == Role::Inside)];
        let bytes = frame.get(place..).unwrap_or_default();
        let should = match (bytes.first_chunk(), bytes.first_chunk()) {
            (Some(client), _) if v4 && self.v4 => steering.owner4(u32::from_be_bytes(*client)),
            (_, Some(client)) if v6 && self.v6 => steering.owner6(u128::from_be_bytes(*client)),
            _ => return false,
        };
        should == owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::Prefixes;
    use crate::verdict::WorkerId;
    use crate::wire::sample::{at, tcp};

    const CARD: Rss = Rss { queues: 16, key: 52, redirection: 512, v4: true, v6: true };

    #[test]
    fn what_a_device_lacks_is_said() {
        let table = [
            (CARD, Ok(9)),
            (Rss { key: 0, redirection: 128, ..CARD }, Ok(7)),
            (Rss { v4: false, v6: false, ..CARD }, Err("the device offers no hash of addresses")),
            (Rss { key: 16, ..CARD }, Err("the device's hash key has 16 bytes, too few for IPv6 with ports")),
            (Rss { redirection: 0, ..CARD }, Err("the device has no table of queues (RETA) to set")),
            (
                Rss { redirection: 48, ..CARD },
                Err("the device's table of queues (RETA) has 48 entries, no power of two of 64 or more"),
            ),
        ];
        for (rss, expected) in table {
            assert_eq!(rss.bits().map_err(|unable| unable.to_string()), expected.map_err(str::to_owned), "{rss:?}");
        }
    }

    #[test]
    fn a_plan_has_the_keys_and_the_table_in_the_devices_sizes() {
        let steering = Steering::new(4, 7, Prefixes::default(), 3);
        let outside = Rss { key: 40, redirection: 128, ..CARD }.plan(&steering, Role::Outside).unwrap();
        assert_eq!((outside.key.as_slice(), outside.redirection.len()), (&steering.outside_key()[..40], 128));
        let inside = Rss { key: 64, ..CARD }.plan(&steering, Role::Inside).unwrap();
        assert_eq!((&inside.key[..52], &inside.key[52..]), (&steering.inside_key()[..], &[0; 12][..]));
        assert!((0..512).all(|entry| inside.redirection[entry] == outside.redirection[entry % 128]));
        let small = Rss { redirection: 64, ..CARD }.plan(&steering, Role::Outside);
        assert_eq!(small, Err(Unable::Redirection(64)), "the steering was made for larger ones");
    }

    #[test]
    fn a_report_says_who_steers_and_why() {
        let said = |role, workers, rss: &Rss, outcome: Result<(), &Unable>| {
            let report = SteeringReport::new(role, workers, rss, outcome);
            (report.by, report.text)
        };
        let v4_only = Rss { v6: false, ..CARD };
        let table = [
            (said(Role::Outside, 1, &CARD, Ok(())), SteeredBy::Nobody, "there is one worker, and nothing to steer"),
            (
                said(Role::Outside, 2, &CARD, Ok(())),
                SteeredBy::Device,
                "the device steers by the source (outside), with our key and its RETA of 512 entries",
            ),
            (
                said(Role::Inside, 2, &v4_only, Ok(())),
                SteeredBy::Device,
                "the device steers by the destination (inside), with our key and its RETA of 512 entries; IPv6 is handed over between \
                 workers",
            ),
            (
                said(Role::Inside, 2, &CARD, Err(&Unable::Failed("setting the key", "Operation not supported".into()))),
                SteeredBy::Software,
                "workers hand over to each other what another one owns: setting the key failed: Operation not supported",
            ),
        ];
        for ((by, text), expected, words) in table {
            assert_eq!((by, text.as_str()), (expected, words));
        }
    }

    #[test]
    fn a_promise_is_broken_by_what_the_device_was_to_steer_only() {
        let steering = Steering::new(4, 7, Prefixes::default(), 3);
        let client = at("203.0.113.5:1000");
        let owner = steering.owner(client.ip());
        let request = tcp(client, at("192.0.2.10:80")).frame();
        let reply = tcp(at("198.51.100.11:80"), client).frame();
        let frame = |frame: &[u8], role| {
            Promise { role, v4: true, v6: false, proven: false }.is_broken_by(&steering, frame, owner)
        };
        assert!(frame(&request, Role::Outside) && frame(&reply, Role::Inside));
        let other = |n: u16| (0..4).map(WorkerId).filter(|w| *w != owner).nth(n.into()).unwrap();
        let elsewhere = Promise { role: Role::Outside, v4: true, v6: false, proven: false };
        assert!(!elsewhere.is_broken_by(&steering, &request, other(0)), "its owner is found elsewhere in it");
        let client6 = at("[2001:db8:3::7]:1000");
        let request6 = tcp(client6, at("[2001:db8:1::10]:80")).frame();
        let owner6 = steering.owner(client6.ip());
        assert!(!elsewhere.is_broken_by(&steering, &request6, owner6), "IPv6 was not promised");
        assert!(Promise { v6: true, ..elsewhere }.is_broken_by(&steering, &request6, owner6));
        assert!((0..60).all(|n| !Promise { v6: true, ..elsewhere }.is_broken_by(
            &steering,
            &request6[..n.min(37)],
            owner6
        )));
    }
}
