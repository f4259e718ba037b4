//! Time-outs at the top of a message (`IPVS_CMD_ATTR_TIMEOUT_*`), and what `GET_INFO` tells.

use super::attribute::{Attributes, Writer};

const TCP: usize = 4;
const TCP_FIN: usize = 5;
const UDP: usize = 6;

const INFO_VERSION: usize = 1;
const INFO_SIZE: usize = 2;
/// Version 1.2.1 of IPVS.
const IPVS_VERSION: u32 = 0x01_02_01;
/// Rows of the connection table that the kernel would have. ipvsadm prints it; nothing here is of that size.
const TABLE_SIZE: u32 = 4096;

/// Time-outs in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct TimeoutAttributes {
    pub(super) tcp: Option<u32>,
    pub(super) tcp_fin: Option<u32>,
    pub(super) udp: Option<u32>,
}

impl TimeoutAttributes {
    /// Those of a message.
    pub(super) fn of<const N: usize>(top: &Attributes<'_, N>) -> Self {
        Self { tcp: top.u32(TCP), tcp_fin: top.u32(TCP_FIN), udp: top.u32(UDP) }
    }

    /// Writes those that there are.
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u32(TCP, self.tcp);
        w.u32(TCP_FIN, self.tcp_fin);
        w.u32(UDP, self.udp);
    }
}

/// What `GET_INFO` tells.
pub(super) fn write_info(w: &mut Writer<'_>) {
    w.u32(INFO_VERSION, Some(IPVS_VERSION));
    w.u32(INFO_SIZE, Some(TABLE_SIZE));
}
