//! The handing over of connections, templates and the findings of checks from one process of a director to the next (`docs/restart.md`):
//! when the workers have stopped all go to a file, and the next process takes them over before its first packet.
//!
//! The file is one line that names it and its version, one line of JSON ([`Head`]), and then blocks: a length of four bytes, big-endian,
//! a kind, and as many bytes. A block `W` begins the tables of another worker, `E` has entries ([`crate::sync::Block`]), controllers
//! before what they control, and `Z` is the last and says how many entries there were. The CRC32C of all that is behind it.

mod read;
mod write;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::health::board::Found;
use crate::destination::DestId;
use crate::director::Listing;
use crate::service::ServiceKey;
use crate::snapshot::Rules;
use crate::sync::KeptError;

pub use read::{Left, TakenOver, open, read, restore};
pub use write::{save, write};

/// What a file begins with, before its version.
const NAME: &str = "pollvs connections ";
/// Version of the format.
const VERSION: &str = "2";
/// Kinds of blocks.
const WORKER: u8 = b'W';
const ENTRIES: u8 = b'E';
const END: u8 = b'Z';
/// In the order in which a worker's tables are handed over.
const TABLES: [Listing; 4] = [
    Listing { v6: false, templates: true },
    Listing { v6: true, templates: true },
    Listing { v6: false, templates: false },
    Listing { v6: true, templates: false },
];

/// What is said of a file's entries as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    stopped: Moment,
    /// What checks have found.
    health: Vec<Found>,
    /// The destinations that entries name by number.
    destinations: Vec<Bound>,
}

/// What is left beside connections and templates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaving {
    /// When the workers have stopped.
    pub stopped: Moment,
    /// What checks have found.
    pub health: Vec<Found>,
}

impl From<Moment> for Leaving {
    fn from(stopped: Moment) -> Self {
        Self { stopped, health: Vec::new() }
    }
}

/// A destination that may have connections.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    number: u32,
    service: ServiceKey,
    address: SocketAddr,
}

/// A point in time as two processes can compare it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Which start of the machine it is of.
    pub boot: String,
    /// Milliseconds of the monotonic clock, which is the machine's.
    pub millis: u64,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn now() -> io::Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
        let millis = Duration::from(now).as_millis();
        Ok(Self { boot, millis: u64::try_from(millis).unwrap_or(u64::MAX) })
    }
}

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// What it holds cannot be used.
    #[error("{path} is not used: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: Unusable,
    },
}

/// Why what was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its end is missing, or the system fails.
    #[error("it cannot be read to its end: {0}")]
    Broken(#[from] io::Error),
    /// Something else.
    #[error("it is no list of connections")]
    Foreign,
    /// Another format.
    #[error("it is of version {0}, this program knows {VERSION}")]
    Version(String),
    /// Written differently from what is read.
    #[error("its checksum is wrong")]
    Checksum,
    /// The machine has been started since.
    #[error("it is from before the machine was started, and its times mean nothing any more")]
    Boot,
    /// The line about the entries.
    #[error("what it says of its entries cannot be read: {0}")]
    Head(#[from] serde_json::Error),
    /// Entries.
    #[error("its entries cannot be read: {0}")]
    Entries(#[from] KeptError),
    /// Blocks that do not follow each other.
    #[error("its blocks are not as they should be")]
    Blocks,
}

impl HandoverError {
    fn unreadable(path: &Path, reason: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), reason }
    }

    fn refused(path: &Path, reason: Unusable) -> Self {
        Self::Refused { path: path.to_owned(), reason }
    }
}

/// The destinations of these rules, those that were removed too.
fn bound(rules: &Rules) -> Vec<Bound> {
    let of = |d: &std::sync::Arc<crate::destination::Destination>| Bound {
        number: d.id.0,
        service: d.of,
        address: SocketAddr::new(d.address, d.port),
    };
    rules.destinations.iter().map(of).collect()
}

/// The destination that these rules have in the place of one.
fn found(rules: &Rules, Bound { service, address, .. }: &Bound) -> Option<DestId> {
    let is_it =
        |d: &&std::sync::Arc<crate::destination::Destination>| (d.address, d.port) == (address.ip(), address.port());
    rules.find(service)?.destinations.iter().find(is_it).map(|d| d.id)
}
