//! Receive side scaling: by which key a device hashes addresses, and which queue each hash goes to. DPDK 22.11, `rte_eth_rss_conf` and
//! `rte_eth_dev_rss_reta_update`.

use std::ptr;
use std::sync::{Mutex, PoisonError};

use dpdk_sys::{
    DPDK_RSS_ANY_V4, DPDK_RSS_ANY_V6, DPDK_RSS_FLOWS_V4, DPDK_RSS_FLOWS_V6, DPDK_RSS_IP, DPDK_RSS_SCTP, DPDK_RSS_TCP,
    DPDK_RSS_UDP, DPDK_RSS_V4, DPDK_RSS_V6, DPDK_TELLS_REMOVAL, DPDK_WRITES_HASH, RTE_ETH_MQ_RX_RSS, rte_eth_conf,
    rte_eth_dev_info, rte_eth_rss_conf, rte_eth_rss_reta_entry64,
};

use super::{Device, PortError};
use crate::io::dpdk::reason;
use crate::steering::{Plan, Rss, Unable};

/// Keys that devices were told, kept for good: a device that comes back again and again is told the same.
static KEYS: Mutex<Vec<&'static [u8]>> = Mutex::new(Vec::new());

fn kept(key: &[u8]) -> &'static [u8] {
    let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = keys.iter().find(|known| **known == key) {
        return known;
    }
    let new: &'static [u8] = key.to_vec().leak();
    keys.push(new);
    new
}

/// What a device says that it can do.
pub(super) fn capability(info: &rte_eth_dev_info) -> Rss {
    let offered = info.flow_type_rss_offloads;
    let hashes = |any: u64, flows: u64| offered & any == any || offered & flows == flows;
    Rss {
        queues: info.max_rx_queues.min(info.max_tx_queues),
        key: info.hash_key_size.into(),
        redirection: info.reta_size.into(),
        v4: hashes(DPDK_RSS_ANY_V4, DPDK_RSS_FLOWS_V4),
        v6: hashes(DPDK_RSS_ANY_V6, DPDK_RSS_FLOWS_V6),
    }
}

impl Device {
    /// Configures the device with the plan's key; without a plan, or when it refuses the key, with one by which a flow stays together. The
    /// inner result is whether it has taken the key.
    pub(super) fn configure_steered(
        &self,
        queues: u16,
        mtu: u16,
        info: &rte_eth_dev_info,
        plan: Option<&Plan>,
    ) -> Result<Result<(), Unable>, PortError> {
        let plain = || self.configure(queues, &configuration(queues, mtu, info, None));
        let Some(plan) = plan else { return plain().map(Ok) };
        // DPDK keeps the pointer, and drivers read the key again when the device starts.
        let key = kept(&plan.key);
        match self.configure(queues, &configuration(queues, mtu, info, Some(key))) {
            Ok(()) => Ok(Ok(())),
            Err(PortError::Step { reason, .. }) => plain().map(|()| Err(Unable::Failed("configuring our key", reason))),
            Err(error) => Err(error),
        }
    }

    /// Has the started device steer by the plan. Returns whether it has said both key and table back as they were told.
    pub(super) fn steer(&self, plan: &Plan, info: &rte_eth_dev_info) -> Result<bool, Unable> {
        let key = self.set_key(plan, steered(info))?;
        let table = self.set_redirection(&plan.redirection)?;
        Ok(key && table)
    }

    /// Some drivers take the key when they are configured, others only later; which, the device is asked.
    fn set_key(&self, plan: &Plan, kinds: u64) -> Result<bool, Unable> {
        const STEP: &str = "setting our hash key";
        if self.key_is(&plan.key) == Some(true) {
            return Ok(true);
        }
        let mut conf = rss_conf(&plan.key, kinds);
        // SAFETY: the key outlives the call, which only reads it.
        let result = unsafe { dpdk_sys::rte_eth_dev_rss_hash_update(self.id(), &mut conf) };
        if result < 0 {
            return Err(Unable::Failed(STEP, reason(result)));
        }
        match self.key_is(&plan.key) {
            Some(false) => Err(Unable::Differs(STEP)),
            said => Ok(said.is_some()),
        }
    }

    /// `None` when the device does not say.
    fn key_is(&self, key: &[u8]) -> Option<bool> {
        // As long as any device's key may be.
        let mut there = [0_u8; 256];
        let mut conf = rte_eth_rss_conf { rss_key: there.as_mut_ptr(), rss_key_len: key.len() as u8, rss_hf: 0 };
        // SAFETY: room for a key of any length that a `u8` counts.
        let result = unsafe { dpdk_sys::rte_eth_dev_rss_hash_conf_get(self.id(), &mut conf) };
        (result == 0).then(|| there.starts_with(key))
    }

    fn set_redirection(&self, redirection: &[u16]) -> Result<bool, Unable> {
        const STEP: &str = "setting the table of queues (RETA)";
        let mut table = groups(redirection);
        let size = redirection.len() as u16;
        // SAFETY: so many entries are in the table.
        let result = unsafe { dpdk_sys::rte_eth_dev_rss_reta_update(self.id(), table.as_mut_ptr(), size) };
        if result < 0 {
            return Err(Unable::Failed(STEP, reason(result)));
        }
        let mut there = groups(&vec![u16::MAX; redirection.len()]);
        // SAFETY: room for so many entries.
        let asked = unsafe { dpdk_sys::rte_eth_dev_rss_reta_query(self.id(), there.as_mut_ptr(), size) };
        let same = there.iter().zip(&table).all(|(is, wanted)| is.reta == wanted.reta);
        if asked == 0 && !same { Err(Unable::Differs(STEP)) } else { Ok(asked == 0) }
    }
}

/// A RETA as DPDK takes it, all entries marked. Its size is a multiple of a group's.
fn groups(redirection: &[u16]) -> Vec<rte_eth_rss_reta_entry64> {
    let group = |queues: &[u16; 64]| rte_eth_rss_reta_entry64 { mask: u64::MAX, reta: *queues };
    redirection.as_chunks().0.iter().map(group).collect()
}

/// Kinds of packets that are hashed by our key.
fn steered(info: &rte_eth_dev_info) -> u64 {
    info.flow_type_rss_offloads & (DPDK_RSS_V4 | DPDK_RSS_V6)
}

/// DPDK only reads the key.
fn rss_conf(key: &[u8], kinds: u64) -> rte_eth_rss_conf {
    let rss_key = if key.is_empty() { ptr::null_mut() } else { key.as_ptr().cast_mut() };
    rte_eth_rss_conf { rss_key, rss_key_len: key.len() as u8, rss_hf: kinds }
}

/// With our key, or one by which a flow stays together.
fn configuration(queues: u16, mtu: u16, info: &rte_eth_dev_info, ours: Option<&'static [u8]>) -> rte_eth_conf {
    // SAFETY: all zeroes is the plain configuration of DPDK's examples.
    let mut configuration: rte_eth_conf = unsafe { std::mem::zeroed() };
    configuration.rxmode.mtu = mtu.into();
    // SAFETY: the flags of a driver are static.
    if unsafe { info.dev_flags.as_ref() }.is_some_and(|flags| flags & DPDK_TELLS_REMOVAL != 0) {
        configuration.intr_conf.set_rmv(1);
    }
    let spread = info.flow_type_rss_offloads & (DPDK_RSS_IP | DPDK_RSS_TCP | DPDK_RSS_UDP | DPDK_RSS_SCTP);
    let (key, kinds) = match ours {
        Some(key) => (key, steered(info)),
        None => (&symmetric_key()[..info.hash_key_size.into()], spread),
    };
    if ours.is_some() {
        configuration.rxmode.offloads |= info.rx_offload_capa & DPDK_WRITES_HASH;
    }
    if queues > 1 && kinds != 0 {
        configuration.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        configuration.rx_adv_conf.rss_conf = rss_conf(key, kinds);
    }
    configuration
}

/// Bytes of the key that make the hash of a packet and of its answer the same.
const SYMMETRIC: [u8; 2] = [0x6d, 0x5a];

/// As long as any device's key may be.
fn symmetric_key() -> &'static [u8; 256] {
    static KEY: [u8; 256] = {
        let mut key = [0; 256];
        let mut at = 0;
        while at < key.len() {
            key[at] = SYMMETRIC[at % 2];
            at += 1;
        }
        key
    };
    &KEY
}
