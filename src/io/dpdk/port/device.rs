//! The calls on one of DPDK's devices, from finding it to closing it.

use std::mem::zeroed;
use std::ptr;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use dpdk_sys::{rte_eth_conf, rte_eth_dev_info};

use super::removal::presence;
use super::{PortError, PortSettings};
use crate::addr::MacAddr;
use crate::io::PortCounters;
use crate::io::dpdk::{MbufPool, c_string, reason};

/// Held while the list of devices changes, which DPDK does not do from two threads at once.
static BUS: Mutex<()> = Mutex::new(());

/// The devices that are open, a bit each: a queue has one owner only because nobody opens a device twice.
static OPEN: AtomicU64 = AtomicU64::new(0);
const _: () = assert!(dpdk_sys::RTE_MAX_ETHPORTS <= 64);

/// Number of a device that is closed.
const NONE: u16 = u16::MAX;

/// A device of DPDK's, found and claimed; stopped, closed and, when virtual, removed at the end. One that was removed may be closed before,
/// while no queue calls it, and then stand for the one that has come in its place.
#[derive(Debug)]
pub(in crate::io::dpdk) struct Device {
    /// As configured.
    name: String,
    /// [`NONE`] while it is closed.
    id: AtomicU16,
    /// The kernel interface that it stands on; 0 for none.
    interface: AtomicU32,
    verify_checksums: bool,
}

impl Device {
    /// Finds a device, and makes it when it is virtual.
    pub(super) fn find(settings: &PortSettings) -> Result<Self, PortError> {
        let _bus = BUS.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &settings.device;
        let bare = name.split(',').next().unwrap_or(name);
        if is_pci(name) {
            // Those that were there at the start DPDK has found then; one that has come since is looked for.
            let look = || presence(name).is_ok().then(|| make(name).ok()).flatten().and_then(|()| id_of(bare));
            let found = id_of(bare).or_else(look);
            return Self::claim(name, found.ok_or_else(|| PortError::pci(name))?);
        }
        if id_of(bare).is_some() {
            return Err(PortError::InUse { device: name.clone() });
        }
        // Some bus takes an empty name for a device of its own that is not there.
        if bare.is_empty() {
            return Err(PortError::NoDriver { device: name.clone() });
        }
        make(&with_queues(name, settings.queues)).map_err(|errno| match errno.abs() {
            EFAULT | ENOENT => PortError::NoDriver { device: name.clone() },
            EEXIST => PortError::InUse { device: name.clone() },
            errno => PortError::probe(name, reason(errno)),
        })?;
        let id = id_of(bare).ok_or_else(|| PortError::probe(name, "its driver made no port".into()))?;
        Self::claim(name, id)
    }

    fn claim(name: &str, id: u16) -> Result<Self, PortError> {
        let bit = 1 << id;
        if OPEN.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
            return Err(PortError::InUse { device: name.into() });
        }
        Ok(Self { name: name.into(), id: id.into(), interface: AtomicU32::new(0), verify_checksums: false })
    }

    /// Takes note of what it stands on, and has it tell when it is removed.
    pub(super) fn watch(&self, info: &rte_eth_dev_info) {
        self.interface.store(info.if_index, Ordering::Relaxed);
        self.hear_of_removal(info);
    }

    #[inline]
    pub(in crate::io::dpdk) fn id(&self) -> u16 {
        // A queue calls the device only when its gate is open, and by then the number is set.
        self.id.load(Ordering::Relaxed)
    }

    pub(super) fn is_open(&self) -> bool {
        self.id() != NONE
    }

    /// The kernel interface that it stood on when it was found; 0 for none.
    pub(super) fn interface(&self) -> u32 {
        self.interface.load(Ordering::Relaxed)
    }

    /// Stops and closes it, and has its bus forget it, so that it can be found again.
    ///
    /// # Safety
    /// No queue calls it until it is open again.
    pub(super) unsafe fn close(&self) {
        // SAFETY: as promised.
        unsafe { self.take_down(true) }
    }

    /// Stands for another one, which is open, from now on.
    ///
    /// # Safety
    /// No queue calls this one, which is closed, and the other one has as many queues.
    pub(super) unsafe fn become_other(&self, other: Self) {
        self.interface.store(other.interface(), Ordering::Relaxed);
        self.id.store(other.id.swap(NONE, Ordering::Relaxed), Ordering::Relaxed);
    }

    #[inline]
    pub(in crate::io::dpdk) fn verify_checksums(&self) -> bool {
        self.verify_checksums
    }

    pub(super) fn set_verify_checksums(&mut self, on: bool) {
        self.verify_checksums = on;
    }

    pub(super) fn info(&self) -> Result<rte_eth_dev_info, PortError> {
        // SAFETY: a structure of numbers and pointers, filled in by the call.
        let mut info = unsafe { zeroed() };
        // SAFETY: `info` is writable.
        self.check("asking what it can do", unsafe { dpdk_sys::rte_eth_dev_info_get(self.id(), &mut info) })?;
        Ok(info)
    }

    /// The MTU that it has now.
    pub(super) fn mtu(&self) -> Result<u16, PortError> {
        const ETHERNET: u16 = 1500;
        let mut mtu = 0;
        // SAFETY: `mtu` is writable.
        self.check("asking its MTU", unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.id(), &mut mtu) })?;
        Ok(if mtu == 0 { ETHERNET } else { mtu })
    }

    pub(super) fn configure(&self, queues: u16, configuration: &rte_eth_conf) -> Result<(), PortError> {
        // SAFETY: the configuration outlives the call, which copies it; its key is static.
        let result = unsafe { dpdk_sys::rte_eth_dev_configure(self.id(), queues, queues, configuration) };
        self.check("configuring", result)
    }

    pub(super) fn set_up_queues(&self, settings: &PortSettings, pools: &[MbufPool]) -> Result<(), PortError> {
        let (mut rx, mut tx) = (settings.rx_descriptors, settings.tx_descriptors);
        // SAFETY: both numbers are writable.
        let result = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id(), &mut rx, &mut tx) };
        self.check("sizing its queues", result)?;
        // SAFETY: no condition. A device of no socket gives -1, which the set-up takes for "any".
        let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(self.id()) }.cast_unsigned();
        for (queue, pool) in (0..settings.queues).zip(by_queue(pools)) {
            // SAFETY: the device is configured with so many queues and stopped; no configuration means the driver's own, and
            // the pool lives as long as the process.
            let (received, sent) = unsafe {
                (
                    dpdk_sys::rte_eth_rx_queue_setup(self.id(), queue, rx, socket, ptr::null(), pool.as_ptr()),
                    dpdk_sys::rte_eth_tx_queue_setup(self.id(), queue, tx, socket, ptr::null()),
                )
            };
            self.check("setting up a receive queue", received)?;
            self.check("setting up a transmit queue", sent)?;
        }
        Ok(())
    }

    pub(super) fn enable_promiscuous(&self) -> Result<(), PortError> {
        // SAFETY: no condition.
        self.check("switching to promiscuous mode", unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.id()) })
    }

    /// Has the device take the frames for all multicast addresses. One that cannot be told so (a kernel interface, say) is left as it is.
    pub(super) fn enable_multicast(&self) -> Result<(), PortError> {
        // SAFETY: no condition.
        match unsafe { dpdk_sys::rte_eth_allmulticast_enable(self.id()) } {
            result if result == -ENOTSUP => Ok(()),
            result => self.check("switching to taking multicast", result),
        }
    }

    pub(super) fn start(&self) -> Result<(), PortError> {
        // SAFETY: configured, and its queues are set up.
        self.check("starting", unsafe { dpdk_sys::rte_eth_dev_start(self.id()) })
    }

    /// Gives it the address that it is to have.
    pub(super) fn set_mac(&self, mac: MacAddr) -> Result<(), PortError> {
        if self.mac()? == mac {
            return Ok(());
        }
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: mac.0 };
        // SAFETY: `address` outlives the call, which copies it.
        let result = unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(self.id(), &mut address) };
        self.check("giving it the MAC address that it had", result)
    }

    pub(super) fn mac(&self) -> Result<MacAddr, PortError> {
        // SAFETY: bytes, filled in by the call.
        let mut address: dpdk_sys::rte_ether_addr = unsafe { zeroed() };
        // SAFETY: `address` is writable.
        self.check("asking its MAC address", unsafe { dpdk_sys::rte_eth_macaddr_get(self.id(), &mut address) })?;
        Ok(MacAddr(address.addr_bytes))
    }

    /// A device that cannot tell has one.
    pub(super) fn link_is_up(&self) -> bool {
        // SAFETY: numbers, filled in by the call.
        let mut link: dpdk_sys::rte_eth_link = unsafe { zeroed() };
        // SAFETY: `link` is writable.
        let result = unsafe { dpdk_sys::rte_eth_link_get_nowait(self.id(), &mut link) };
        result != 0 || u32::from(link.link_status()) == dpdk_sys::RTE_ETH_LINK_UP
    }

    /// `None` when it does not say.
    pub(super) fn counters(&self) -> Option<PortCounters> {
        // SAFETY: numbers, filled in by the call.
        let mut stats: dpdk_sys::rte_eth_stats = unsafe { zeroed() };
        // SAFETY: `stats` is writable.
        let result = unsafe { dpdk_sys::rte_eth_stats_get(self.id(), &mut stats) };
        (result == 0).then_some(PortCounters {
            rx_packets: stats.ipackets,
            rx_bytes: stats.ibytes,
            tx_packets: stats.opackets,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            rx_no_buffer: stats.rx_nombuf,
            tx_errors: stats.oerrors,
            ..PortCounters::default()
        })
    }

    fn check(&self, step: &'static str, result: i32) -> Result<(), PortError> {
        if result >= 0 {
            return Ok(());
        }
        Err(PortError::Step { device: self.name.clone(), step, reason: reason(result) })
    }
}

impl Device {
    /// Stops and closes it, if it is open. With `forget` its bus forgets it: a virtual device's name is free again, and a card that was
    /// removed can be found when it is back.
    ///
    /// # Safety
    /// No queue calls it until it is open again.
    unsafe fn take_down(&self, forget: bool) {
        let _bus = BUS.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.id.load(Ordering::Relaxed);
        if id == NONE {
            return;
        }
        let info = self.info().ok();
        info.iter().for_each(|info| self.hear_no_more(info));
        // SAFETY: nobody calls the device.
        unsafe {
            dpdk_sys::rte_eth_dev_stop(id);
            dpdk_sys::rte_eth_dev_close(id);
            if let Some(info) = info.filter(|info| forget && !info.device.is_null()) {
                dpdk_sys::rte_dev_remove(info.device);
            }
        }
        self.id.store(NONE, Ordering::Relaxed);
        OPEN.fetch_and(!(1 << id), Ordering::AcqRel);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: all queues are gone, or this would not be dropped.
        unsafe { self.take_down(!is_pci(&self.name)) }
    }
}

const ENOENT: i32 = 2;
const EFAULT: i32 = 14;
const EEXIST: i32 = 17;
const ENOTSUP: i32 = 95;

/// The pool of each queue: the last one serves all that are left.
fn by_queue(pools: &[MbufPool]) -> impl Iterator<Item = &MbufPool> {
    pools.iter().chain(std::iter::repeat_with(|| pools.last()).map_while(|pool| pool))
}

/// Is it a PCI address, with or without its domain?
pub(super) fn is_pci(device: &str) -> bool {
    let address = device.split(',').next().unwrap_or_default();
    let hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some((address, function)) = address.rsplit_once('.') else { return false };
    (2..=3).contains(&address.split(':').count()) && address.split(':').all(hex) && hex(function)
}

/// A PCI device's address, with its domain; `None` for a virtual device.
pub(super) fn pci_address(device: &str) -> Option<String> {
    let address = device.split(',').next().filter(|_| is_pci(device))?;
    Some(if address.matches(':').count() == 1 { format!("0000:{address}") } else { address.to_owned() })
}

/// What a device is given under a name.
pub(super) fn argument<'a>(device: &'a str, name: &str) -> Option<&'a str> {
    device.split(',').skip(1).find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
}

/// The arguments by which virtual devices are told how many queues to make.
const QUEUE_ARGUMENTS: [(&str, &str); 4] = [
    ("net_af_packet", "qpairs"),
    ("net_af_xdp", "queue_count"),
    ("net_virtio_user", "queues"),
    ("net_vhost", "queues"),
];

/// The device's arguments, with the number of queues unless it is there already.
fn with_queues(device: &str, queues: u16) -> String {
    let argument = QUEUE_ARGUMENTS.iter().find(|(driver, _)| device.starts_with(driver)).map(|&(_, argument)| argument);
    match argument {
        Some(argument) if queues > 1 && !device.contains(&format!(",{argument}=")) => {
            format!("{device},{argument}={queues}")
        }
        _ => device.into(),
    }
}

/// Has a bus look for a device, or make a virtual one.
fn make(device: &str) -> Result<(), i32> {
    // SAFETY: a NUL-terminated string, copied.
    match unsafe { dpdk_sys::rte_dev_probe(c_string(device).as_ptr()) } {
        result if result < 0 => Err(result),
        _ => Ok(()),
    }
}

fn id_of(name: &str) -> Option<u16> {
    let mut id = 0;
    // SAFETY: a NUL-terminated string, and `id` is writable.
    let result = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(c_string(name).as_ptr(), &mut id) };
    (result == 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_told_from_virtual_devices() {
        for address in ["0000:01:00.0", "01:00.1", "0000:af:1f.7,arg=1"] {
            assert!(is_pci(address), "{address}");
        }
        for device in ["net_ring0", "net_af_packet0,iface=eth0.100", "", ".", "0000:01:00", "net:a.0", "a:b:c:d.0"] {
            assert!(!is_pci(device), "{device}");
        }
    }

    #[test]
    fn the_number_of_queues_is_added_where_the_driver_wants_it() {
        let table = [
            ("net_af_packet0,iface=a", 1, "net_af_packet0,iface=a"),
            ("net_af_packet0,iface=a", 4, "net_af_packet0,iface=a,qpairs=4"),
            ("net_af_packet0,qpairs=8,iface=a", 4, "net_af_packet0,qpairs=8,iface=a"),
            ("net_af_xdp0,iface=a", 2, "net_af_xdp0,iface=a,queue_count=2"),
            ("net_tap0", 2, "net_tap0"),
        ];
        for (device, queues, expected) in table {
            assert_eq!(with_queues(device, queues), expected);
        }
    }
}
