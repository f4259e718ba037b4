//! What can be wrong with a port, for people.

use std::fs;
use std::path::Path;

/// Why a port cannot be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PortError {
    /// No driver knows the name.
    #[error(
        "no driver for `{device}`: a device is a PCI address (0000:01:00.0) or begins with its driver's name (net_af_packet0, \
         net_tap0), and each driver is a Debian package (librte-net-af-packet23, librte-net-tap23)"
    )]
    NoDriver {
        /// As configured.
        device: String,
    },
    /// There is no such PCI device, or the kernel has it.
    #[error("{0}")]
    Pci(String),
    /// The driver refused it.
    #[error("`{device}` does not open: {reason}{hint}")]
    Probe {
        /// As configured.
        device: String,
        /// DPDK's reason.
        reason: String,
        /// What to look at, with a separator in front; empty when there is nothing to say.
        hint: String,
    },
    /// It is open already.
    #[error("`{device}` is open already; each port needs a device of its own (net_af_packet0, net_af_packet1)")]
    InUse {
        /// As configured.
        device: String,
    },
    /// More queues than it has.
    #[error(
        "`{device}` has {most} queues and {asked} are asked for, one for each worker; use as many workers as queues"
    )]
    Queues {
        /// As configured.
        device: String,
        /// Queues asked for.
        asked: u16,
        /// Queues that it has.
        most: u16,
    },
    /// An MTU that it cannot have.
    #[error("`{device}` takes an MTU from {least} to {most}, and {asked} is asked for")]
    Mtu {
        /// As configured.
        device: String,
        /// Asked for, in bytes.
        asked: u16,
        /// Smallest, in bytes.
        least: u16,
        /// Largest, in bytes.
        most: u16,
    },
    /// The pool's buffers do not hold its frames.
    #[error("`{device}` with an MTU of {mtu} has frames of up to {needed} bytes, and buffers have room for {room}")]
    BufferTooSmall {
        /// As configured.
        device: String,
        /// In bytes.
        mtu: u16,
        /// Bytes of the largest frame.
        needed: usize,
        /// Bytes in a buffer.
        room: usize,
    },
    /// What it is made of is not there.
    #[error("`{device}`: there is no {what}")]
    Absent {
        /// As configured.
        device: String,
        /// What is missing.
        what: String,
    },
    /// One that was removed has come back and does not steer any more.
    #[error(
        "`{device}` has come back and does not steer as before ({reason}); restart pollvsd, which then does without"
    )]
    SteersNoMore {
        /// As configured.
        device: String,
        /// Why.
        reason: String,
    },
    /// Queues still call it, or it is open.
    #[error("`{device}` is in use")]
    Busy {
        /// As configured.
        device: String,
    },
    /// A step of the set-up failed.
    #[error("`{device}`: {step} failed: {reason}")]
    Step {
        /// As configured.
        device: String,
        /// What was being done.
        step: &'static str,
        /// DPDK's reason.
        reason: String,
    },
}

impl PortError {
    /// Why DPDK does not see a PCI device, by what the kernel says of it.
    pub(super) fn pci(device: &str) -> Self {
        let address = super::device::pci_address(device).unwrap_or_else(|| device.to_owned());
        let folder = Path::new("/sys/bus/pci/devices").join(&address);
        if !folder.exists() {
            return Self::Pci(format!("there is no PCI device {address}; `lspci -D` lists them"));
        }
        let driver = fs::read_link(folder.join("driver")).ok();
        let driver = driver.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
        Self::Pci(match driver.as_deref() {
            Some("vfio-pci" | "igb_uio" | "uio_pci_generic") => {
                format!("no DPDK driver takes the PCI device {address}; is its package (librte-net-...) installed?")
            }
            Some(kernel) => format!(
                "the kernel's driver {kernel} has the PCI device {address}; bind it to vfio-pci \
                 (`dpdk-devbind.py --bind=vfio-pci {address}`) and see that its librte-net-... package is installed"
            ),
            None => format!(
                "the PCI device {address} has no driver; bind it to vfio-pci (`dpdk-devbind.py --bind=vfio-pci {address}`)"
            ),
        })
    }

    pub(super) fn probe(device: &str, reason: String) -> Self {
        let interface = super::device::argument(device, "iface");
        let hint = interface.map(|name| {
            format!("; is there an interface {name} in this network namespace, and may this process open it (root)?")
        });
        Self::Probe { device: device.into(), reason, hint: hint.unwrap_or_default() }
    }
}
