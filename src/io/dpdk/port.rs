//! Ports: a network device, from its name in the configuration to its queues. DPDK 22.11, "Poll Mode Driver" and the guides of
//! the drivers.

mod again;
mod device;
mod error;
mod removal;
mod rss;

use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use dpdk_sys::rte_eth_dev_info;

use again::Ledger;
pub(super) use device::Device;
pub use error::PortError;

use super::queue::{Queue, QueueCounters};
use super::{Eal, MbufPool};
use crate::addr::MacAddr;
use crate::io::PortCounters;
use crate::steering::{Plan, Rss, Unable};

/// How to open a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortSettings {
    /// The device: a PCI address (`0000:01:00.0`), or a virtual device with its arguments (`net_af_packet0,iface=eth1`).
    pub device: String,
    /// Receive queues, and as many transmit queues: one of each for every worker.
    pub queues: u16,
    /// Frames that a receive queue holds, as near as the device comes.
    pub rx_descriptors: u16,
    /// Frames that a transmit queue holds, as near as the device comes.
    pub tx_descriptors: u16,
    /// Largest IP packet in bytes; the device's own unless set.
    pub mtu: Option<u16>,
    /// Takes frames for any MAC address.
    pub promiscuous: bool,
    /// Finishes TCP and UDP checksums that senders left to a device. Unless set, on for the devices that the kernel stands
    /// behind, which no hardware has completed them for.
    pub verify_checksums: Option<bool>,
}

impl PortSettings {
    /// The usual settings for a device, with one queue.
    pub fn new(device: impl Into<String>) -> Self {
        Self {
            device: device.into(),
            queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: None,
            promiscuous: false,
            verify_checksums: None,
        }
    }

    /// Is it a PCI device? Then [`super::EalOptions::pci`] must name it.
    pub fn is_pci(&self) -> bool {
        device::is_pci(&self.device)
    }
}

/// An open port. It closes when it and all its queues are dropped.
#[derive(Debug)]
pub struct Port {
    device: Arc<Device>,
    settings: PortSettings,
    plan: Option<Plan>,
    /// By queue.
    pools: Vec<MbufPool>,
    driver: String,
    mac: MacAddr,
    mtu: u16,
    counters: Vec<Arc<QueueCounters>>,
    /// Has it said back what it was told?
    steered: Result<bool, Unable>,
    /// Held while the device is closed and opened.
    turn: Mutex<()>,
    ledger: Mutex<Ledger>,
    removals: AtomicU64,
}

/// A device that was found, and does nothing yet.
pub struct Found {
    device: Device,
    info: rte_eth_dev_info,
    settings: PortSettings,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Found {
    /// Finds the device, and makes it when it is virtual.
    ///
    /// # Errors
    /// When there is no such device or no driver for it, and when it is open already.
    pub fn new(_: &Eal, settings: &PortSettings) -> Result<Self, PortError> {
        let (device, info) = find(settings)?;
        Ok(Self { device, info, settings: settings.clone() })
    }

    /// What it can do to spread packets over queues.
    pub fn rss(&self) -> Rss {
        rss::capability(&self.info)
    }

    /// Sets up its queues and starts it. What a queue receives goes into buffers of its own of `pools`, which are not none;
    /// the last serves all queues that are left. Each queue goes to the thread that polls it. Given
    /// a plan, it is asked to steer by it; that it cannot is told by [`Port::steered`] and otherwise of no consequence.
    ///
    /// # Errors
    /// When it cannot do what is asked.
    pub fn open(self, pools: &[MbufPool], plan: Option<&Plan>) -> Result<(Port, Vec<Queue>), PortError> {
        let Self { mut device, info, settings } = self;
        let Started { mtu, steered } = start(&mut device, &info, &settings, pools, plan)?;
        let driver = driver_name(&info);
        device.set_verify_checksums(settings.verify_checksums.unwrap_or_else(|| leaves_checksums(&driver)));
        let mac = device.mac()?;
        let device = Arc::new(device);
        let counters: Vec<Arc<QueueCounters>> = (0..settings.queues).map(|_| Arc::default()).collect();
        let queue = |(index, counters): (u16, &Arc<QueueCounters>)| {
            // SAFETY: the queue is set up; nobody else has this device open (see `Device::find`), and each index occurs once.
            unsafe { Queue::new(device.clone(), index, counters.clone()) }
        };
        let queues = (0..settings.queues).zip(&counters).map(queue).collect();
        let port = Port {
            device,
            settings,
            plan: plan.cloned(),
            pools: pools.to_vec(),
            driver,
            mac,
            mtu,
            counters,
            steered,
            turn: Mutex::default(),
            ledger: Mutex::default(),
            removals: AtomicU64::default(),
        };
        Ok((port, queues))
    }
}

/// Finds a device, and makes it when it is virtual.
fn find(settings: &PortSettings) -> Result<(Device, rte_eth_dev_info), PortError> {
    let device = Device::find(settings)?;
    let info = device.info()?;
    device.watch(&info);
    Ok((device, info))
}

/// What has come of starting a device.
struct Started {
    mtu: u16,
    /// Has it said back what it was told?
    steered: Result<bool, Unable>,
}

/// Sets up a device's queues and starts it.
fn start(
    device: &mut Device,
    info: &rte_eth_dev_info,
    settings: &PortSettings,
    pools: &[MbufPool],
    plan: Option<&Plan>,
) -> Result<Started, PortError> {
    check_queues(settings, info)?;
    let mtu = choose_mtu(settings, device.mtu()?, info, pools)?;
    let configured = device.configure_steered(settings.queues, mtu, info, plan)?;
    device.set_up_queues(settings, pools)?;
    if settings.promiscuous {
        device.enable_promiscuous()?;
    }
    // Neighbour discovery, VRRP and other directors' synchronisation come by multicast.
    device.enable_multicast()?;
    device.start()?;
    let steered = match plan {
        Some(plan) => configured.and_then(|()| device.steer(plan, info)),
        None => Err(Unable::Redirection(0)),
    };
    Ok(Started { mtu, steered })
}

impl Port {
    /// Has it taken the plan that it was opened with?
    ///
    /// # Errors
    /// Why not.
    pub fn steered(&self) -> Result<(), &Unable> {
        self.steered.as_ref().map(|_| ())
    }

    /// Has it taken the plan, and said its key and its table of queues back as they were told? Then the hashes that it writes beside
    /// packets are those of our key.
    pub fn is_proven(&self) -> bool {
        self.steered == Ok(true)
    }

    /// [`Found::new`] and [`Found::open`].
    ///
    /// # Errors
    /// When there is no such device or no driver for it, when it is open already, and when it cannot do what is asked.
    pub fn open(eal: &Eal, settings: &PortSettings, pool: &MbufPool) -> Result<(Self, Vec<Queue>), PortError> {
        Found::new(eal, settings)?.open(std::slice::from_ref(pool), None)
    }

    /// How many queues it has, of each kind.
    pub fn queues(&self) -> usize {
        self.counters.len()
    }

    /// The name of DPDK's driver, as in `net_af_packet`.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The device's own address.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Largest IP packet in bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Are unfinished checksums finished on receipt?
    pub fn verifies_checksums(&self) -> bool {
        self.device.verify_checksums()
    }

    /// Is the link up? Not while the device is not there.
    pub fn link_is_up(&self) -> bool {
        let Ok(_turn) = self.turn.try_lock() else { return false };
        self.device.is_open() && self.device.link_is_up()
    }

    /// What the device and its queues have counted since it was first opened.
    pub fn counters(&self) -> PortCounters {
        let mut counters = self.device_counters();
        for queue in &self.counters {
            counters.rx_multi_segment += queue.rx_multi_segment.load(Relaxed);
            counters.checksums_finished += queue.checksums_finished.load(Relaxed);
            counters.tx_full += queue.tx_full.load(Relaxed);
            counters.tx_removed += queue.tx_removed.load(Relaxed);
        }
        counters
    }
}

fn check_queues(settings: &PortSettings, info: &rte_eth_dev_info) -> Result<(), PortError> {
    let most = info.max_rx_queues.min(info.max_tx_queues);
    if (1..=most).contains(&settings.queues) {
        return Ok(());
    }
    Err(PortError::Queues { device: settings.device.clone(), asked: settings.queues, most })
}

/// Ethernet header, two VLAN tags and checksum: what a frame has beside the IP packet.
const FRAME_OVERHEAD: usize = 14 + 8 + 4;

fn choose_mtu(
    settings: &PortSettings,
    own: u16,
    info: &rte_eth_dev_info,
    pools: &[MbufPool],
) -> Result<u16, PortError> {
    let mtu = settings.mtu.unwrap_or(own);
    let device = || settings.device.clone();
    if settings.mtu.is_some() && !(info.min_mtu..=info.max_mtu).contains(&mtu) {
        return Err(PortError::Mtu { device: device(), asked: mtu, least: info.min_mtu, most: info.max_mtu });
    }
    let needed = usize::from(mtu) + FRAME_OVERHEAD;
    let room = pools.iter().map(MbufPool::data_room).min().unwrap_or(0);
    if needed > room {
        return Err(PortError::BufferTooSmall { device: device(), mtu, needed, room });
    }
    Ok(mtu)
}

fn driver_name(info: &rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: the name is a static NUL-terminated string of the driver.
    unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
}

/// Does the device hand over frames from a kernel or a guest, whose checksums no hardware has finished?
fn leaves_checksums(driver: &str) -> bool {
    ["net_af_packet", "net_af_xdp", "net_tap", "net_virtio", "net_vhost"].iter().any(|name| driver.starts_with(name))
}
