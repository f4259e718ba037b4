//! A port whose every queue receives what it sends (DPDK's net_ring driver): a device that costs almost nothing, for benches and
//! tests.

use super::{Eal, MbufPool, Port, PortError, PortSettings, Queue};

/// Frames that a queue holds; more are refused.
pub const CAPACITY: usize = 1023;

/// Has a bus tell that a port's device was pulled out.
pub fn pull(port: &Port) {
    port.pretend_removal();
}

/// Opens self-loop number `number` with `queues` queues, at most 16.
///
/// # Errors
/// As [`Port::open`].
pub fn open(eal: &Eal, number: usize, queues: u16, pool: &MbufPool) -> Result<(Port, Vec<Queue>), PortError> {
    let settings = PortSettings { queues, ..PortSettings::new(format!("net_ring{number}")) };
    Port::open(eal, &settings, pool)
}
