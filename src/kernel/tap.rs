//! One TAP interface, the kernel's end of a port (Linux `Documentation/networking/tuntap.rst`). No offload is offered on it, so that
//! the kernel hands over whole frames with finished checksums. A kept one outlives the process that holds it, without carrier until
//! the next holds it: addresses and routes stay, and whoever watches the interface (keepalived) sees a link that went and came back
//! instead of an interface that is another one. Any other goes when its descriptor is closed, with the process at the latest.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::addr::MacAddr;

/// Longest name of an interface, in bytes (`IFNAMSIZ` less the terminating zero).
const LONGEST_NAME: usize = 15;

/// Why a twin could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// Longer than the kernel takes.
    #[error("twin {0:?}: the name has {len} bytes, an interface's has at most {LONGEST_NAME}; choose a shorter one", len = .0.len())]
    NameTooLong(String),
    /// The kernel takes no such name.
    #[error("twin {0:?}: not a name for an interface (empty, '.', '..', or with '/', ':', '%' or white space)")]
    BadName(String),
    /// There is such an interface, and it cannot be this one's.
    #[error(
        "twin {0:?}: an interface of that name exists already, and it is no TAP that was kept for pollvsd (keep_twin), or another \
         program holds it; name another, or remove it with `ip link delete {0}`"
    )]
    Taken(String),
    /// No TUN/TAP driver.
    #[error(
        "twin {name:?}: cannot open /dev/net/tun ({source}); load it with `modprobe tun`, or pass the device into the container"
    )]
    NoDriver {
        /// The twin.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not allowed.
    #[error("twin {0:?}: not permitted; pollvsd needs the capability CAP_NET_ADMIN to make it")]
    NotPermitted(String),
    /// A property that the kernel refused.
    #[error("twin {name:?}: cannot set its {what}: {source}")]
    Refused {
        /// The twin.
        name: String,
        /// The property.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// An open TAP interface.
pub struct Tap {
    device: SyncDevice,
    name: String,
    index: u32,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("name", &self.name).field("index", &self.index).finish_non_exhaustive()
    }
}

impl Tap {
    /// Makes an interface of that name, MAC and MTU (bytes of IP packet) and brings it up. One to `keep` stays when this is dropped,
    /// and is taken hold of when it is there and nobody holds it.
    ///
    /// # Errors
    /// What is in the way, and what to do about it.
    pub fn create(name: &str, mac: MacAddr, mtu: u16, keep: bool) -> Result<Self, TapError> {
        check_name(name)?;
        // What was kept once stays for good, which is not what is asked for.
        if !keep && if_nametoindex(name).is_ok() {
            return Err(TapError::Taken(name.to_owned()));
        }
        let builder = DeviceBuilder::new().name(name).layer(Layer::L2).inherit_enable_state();
        let device = builder.build_sync().map_err(|e| not_made(name, e))?;
        let refused = |what| move |source| TapError::Refused { name: name.to_owned(), what, source };
        if keep {
            device.persist().map_err(refused("persistence"))?;
        }
        device.set_mac_address(mac.0).map_err(refused("MAC address"))?;
        device.set_mtu(mtu).map_err(refused("MTU"))?;
        device.set_nonblocking(true).map_err(refused("non-blocking mode"))?;
        device.enabled(true).map_err(refused("state to up"))?;
        let index = if_nametoindex(name).map_err(io::Error::from).map_err(refused("index"))?;
        Ok(Self { device, name: name.to_owned(), index })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its interface index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Reads one frame. Returns its length in bytes.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.device.recv(buffer)
    }

    /// Gives one frame to the kernel.
    pub(super) fn write(&self, frame: &[u8]) -> io::Result<()> {
        self.device.send(frame).map(drop)
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

/// The kernel's own rule (`dev_valid_name`), and no `%`, which would make a pattern of the name.
fn check_name(name: &str) -> Result<(), TapError> {
    let odd = |c: char| c.is_whitespace() || matches!(c, '/' | ':' | '%' | '\0');
    if name.is_empty() || name == "." || name == ".." || name.contains(odd) {
        return Err(TapError::BadName(name.to_owned()));
    }
    if name.len() > LONGEST_NAME {
        return Err(TapError::NameTooLong(name.to_owned()));
    }
    Ok(())
}

fn not_made(name: &str, source: io::Error) -> TapError {
    let name = name.to_owned();
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => TapError::NotPermitted(name),
        Some(Errno::EBUSY | Errno::EEXIST | Errno::EINVAL) => TapError::Taken(name),
        Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => TapError::NoDriver { name, source },
        _ => TapError::Refused { name, what: "TAP mode", source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_kernel_would_refuse_is_refused_with_the_reason() {
        for (name, says) in [
            ("", "not a name"),
            ("..", "not a name"),
            ("a b", "not a name"),
            ("twin%d", "not a name"),
            ("sixteen-bytes-xx", "16 bytes"),
        ] {
            let error = Tap::create(name, MacAddr([2, 0, 0, 0, 0, 1]), 1500, false).unwrap_err().to_string();
            assert!(error.contains(says), "{name:?}: {error}");
        }
        assert!(check_name("fifteen-bytes-x").is_ok());
    }

    #[test]
    fn an_error_of_the_kernel_becomes_advice() {
        for (errno, says) in [
            (Errno::EPERM, "CAP_NET_ADMIN"),
            (Errno::EBUSY, "exists already"),
            (Errno::ENOENT, "modprobe tun"),
            (Errno::EMFILE, "TAP mode"),
        ] {
            let error = not_made("twin0", errno.into()).to_string();
            assert!(error.contains(says) && error.contains("twin0"), "{error}");
        }
    }
}
