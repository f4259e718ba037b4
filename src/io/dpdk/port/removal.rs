//! How a device tells that it was removed. A driver may say so (`RTE_ETH_EVENT_INTR_RMV`, where it offers that), its bus (a card that is bound
//! to vfio-pci, when the kernel wants it back: `RTE_DEV_EVENT_REMOVE`), the driver when it is asked (`rte_eth_dev_is_removed`); of one that
//! stands on a kernel interface (net_af_packet, net_af_xdp, net_tap) that interface is gone.

use std::ffi::{c_char, c_int, c_void};
use std::fs;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys::{
    DPDK_TELLS_REMOVAL, RTE_DEV_EVENT_REMOVE, RTE_ETH_EVENT_INTR_RMV, rte_dev_event_type, rte_eth_dev_info,
    rte_eth_event_type,
};
use nix::net::if_::{if_indextoname, if_nametoindex};

use super::device::{argument, pci_address};
use super::{Device, PortError};

/// The devices that were told of, a bit each.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// From DPDK's interrupt thread.
unsafe extern "C" fn by_driver(port: u16, event: rte_eth_event_type, _: *mut c_void, _: *mut c_void) -> c_int {
    if event == RTE_ETH_EVENT_INTR_RMV {
        tell(port.into());
    }
    0
}

/// From DPDK's interrupt thread. The argument is the device's number.
unsafe extern "C" fn by_bus(_: *const c_char, event: rte_dev_event_type, device: *mut c_void) {
    if event == RTE_DEV_EVENT_REMOVE {
        tell(device.addr());
    }
}

fn tell(device: usize) {
    TOLD.fetch_or(1_u64.checked_shl(device as u32).unwrap_or_default(), Ordering::Relaxed);
}

impl Device {
    /// Has it told when it is removed.
    pub(super) fn hear_of_removal(&self, info: &rte_eth_dev_info) {
        TOLD.fetch_and(!(1 << self.id()), Ordering::Relaxed);
        let argument = ptr::without_provenance_mut(self.id().into());
        // SAFETY: the functions are there as long as the process, and take any argument. That a driver or a bus tells nothing is no
        // failure: the device is asked as well.
        unsafe {
            if info.dev_flags.as_ref().is_some_and(|flags| flags & DPDK_TELLS_REMOVAL != 0) {
                dpdk_sys::rte_eth_dev_callback_register(self.id(), RTE_ETH_EVENT_INTR_RMV, Some(by_driver), argument);
            }
            if !info.device.is_null() {
                let name = dpdk_sys::rte_dev_name(info.device);
                dpdk_sys::rte_dev_event_callback_register(name, Some(by_bus), argument);
            }
        }
    }

    /// The opposite, before it is closed.
    pub(super) fn hear_no_more(&self, info: &rte_eth_dev_info) {
        let argument = ptr::without_provenance_mut(self.id().into());
        // SAFETY: as when they were registered; of those that were not nothing is undone.
        unsafe {
            dpdk_sys::rte_eth_dev_callback_unregister(self.id(), RTE_ETH_EVENT_INTR_RMV, Some(by_driver), argument);
            if !info.device.is_null() {
                let name = dpdk_sys::rte_dev_name(info.device);
                dpdk_sys::rte_dev_event_callback_unregister(name, Some(by_bus), argument);
            }
        }
    }

    /// Is it there no more?
    pub(super) fn is_removed(&self) -> bool {
        let told = TOLD.load(Ordering::Relaxed) & 1 << self.id() != 0;
        // SAFETY: no condition.
        told || unsafe { dpdk_sys::rte_eth_dev_is_removed(self.id()) } == 1 || self.stands_on_nothing()
    }

    /// The kernel interface is gone, though there may be another one of its name.
    fn stands_on_nothing(&self) -> bool {
        let interface = self.interface();
        // nix 0.31 gives an empty name for an index of no interface.
        interface != 0 && if_indextoname(interface).map_or(true, |name| name.is_empty())
    }

    /// What a bus tells when the device is pulled out; for tests.
    pub(in crate::io::dpdk) fn pretend_removal(&self) {
        let Ok(info) = self.info() else { return };
        if !info.device.is_null() {
            // SAFETY: the device is open, so its name is set.
            unsafe {
                dpdk_sys::rte_dev_event_callback_process(dpdk_sys::rte_dev_name(info.device), RTE_DEV_EVENT_REMOVE);
            }
        }
    }
}

/// Is what a device is made of there? To be asked before it is opened again: drivers that find nothing say so at length.
pub(super) fn presence(device: &str) -> Result<(), PortError> {
    let absent = |what| Err(PortError::Absent { device: device.to_owned(), what });
    if let Some(address) = pci_address(device) {
        let there = fs::exists(Path::new("/sys/bus/pci/devices").join(&address)).unwrap_or(false);
        return if there { Ok(()) } else { absent(format!("PCI device {address}")) };
    }
    // The interface that net_tap's `iface` names is its own to make.
    match argument(device, "iface").filter(|_| !device.starts_with("net_tap")) {
        Some(name) if if_nametoindex(name).is_err() => absent(format!("interface {name} in this network namespace")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let missing = |device: &str| presence(device).err().map(|error| error.to_string());
        assert_eq!(missing("net_af_packet0,iface=lo"), None);
        assert_eq!(missing("net_tap0,iface=is-not-there"), None);
        assert_eq!(missing("net_ring0"), None);
        let words = missing("net_af_packet0,iface=is-not-there").unwrap();
        assert!(words.contains("there is no interface is-not-there in this network namespace"), "{words}");
        let words = missing("ff:1f.7").unwrap();
        assert!(words.contains("there is no PCI device 0000:ff:1f.7"), "{words}");
    }
}
