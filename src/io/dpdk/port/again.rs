//! A port whose device was removed: closed once its queues stand aside, and opened again when the device is back. All on the control side,
//! and slow; the threads that poll the queues only look at their gates. DPDK 22.11, "Hotplug" of the Programmer's Guide.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::{Port, PortError, PortSettings, Unable, find, removal, start};
use crate::io::PortCounters;

/// What devices before this one have counted, and this one when it was last asked.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    before: PortCounters,
    last: PortCounters,
}

impl Ledger {
    fn sum(&self) -> PortCounters {
        let mut sum = self.before;
        sum += self.last;
        sum
    }

    fn close(&mut self) {
        *self = Self { before: self.sum(), last: PortCounters::default() };
    }
}

impl Port {
    /// Is its device there no more? It still counts as open until [`Port::close`].
    pub fn is_removed(&self) -> bool {
        let Ok(_turn) = self.turn.try_lock() else { return false };
        self.device.is_open() && self.device.is_removed()
    }

    /// What a bus tells when the device is pulled out; for tests.
    pub(in crate::io::dpdk) fn pretend_removal(&self) {
        self.device.pretend_removal();
    }

    /// How often its device was removed.
    pub fn removals(&self) -> u64 {
        self.removals.load(Relaxed)
    }

    /// Counts a removal, and tells the threads that poll its queues to leave the device alone: they receive nothing, and drop and count what
    /// they are to send.
    pub fn leave(&self) {
        self.removals.fetch_add(1, Relaxed);
        self.counters.iter().for_each(|queue| queue.gate.close());
    }

    /// Closes the device that was left. Returns false when some queue may still call it: then this is to be asked again. Takes its time.
    pub fn close(&self) -> bool {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_left() {
            return false;
        }
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = self.device.counters() {
            ledger.last = now;
        }
        ledger.close();
        drop(ledger);
        // SAFETY: all queues stand aside until `reopen` lets them in.
        unsafe { self.device.close() };
        true
    }

    /// Finds the device again and starts it as it was: with the same settings, plan and MAC address. Takes its time.
    ///
    /// # Errors
    /// When it is not there, cannot be started, or is not what it was; then it is closed as before. [`PortError::Busy`] when it was not
    /// closed.
    pub fn reopen(&self) -> Result<(), PortError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.device.is_open() || !self.is_left() {
            return Err(PortError::Busy { device: self.settings.device.clone() });
        }
        removal::presence(&self.settings.device)?;
        let (mut device, info) = find(&self.settings)?;
        device.set_mac(self.mac)?;
        let settings = PortSettings { mtu: Some(self.mtu), ..self.settings.clone() };
        let started = start(&mut device, &info, &settings, &self.pools, self.plan.as_ref())?;
        self.steers_as_before(started.steered)?;
        // SAFETY: all queues stand aside, and it was started with the same number of them.
        unsafe { self.device.become_other(device) };
        self.counters.iter().for_each(|queue| queue.gate.open());
        Ok(())
    }

    /// Whoever trusts that the device brings clients to their owners cannot be told otherwise.
    fn steers_as_before(&self, now: Result<bool, Unable>) -> Result<(), PortError> {
        match now {
            Ok(false) if self.is_proven() => {
                let reason = "it does not say its key and its table of queues any more".to_owned();
                Err(PortError::SteersNoMore { device: self.settings.device.clone(), reason })
            }
            Err(unable) if self.steered.is_ok() => {
                Err(PortError::SteersNoMore { device: self.settings.device.clone(), reason: unable.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Do all its queues stand aside?
    fn is_left(&self) -> bool {
        self.counters.iter().all(|queue| queue.gate.is_aside())
    }

    /// What the devices have counted.
    pub(super) fn device_counters(&self) -> PortCounters {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        // While the device is closed and opened it is not asked.
        if let Ok(_turn) = self.turn.try_lock()
            && self.device.is_open()
            && let Some(now) = self.device.counters()
        {
            ledger.last = now;
        }
        ledger.sum()
    }
}
