//! Devices: two calls on bursts, after ixy's. What a frame is belongs to the device; what becomes of it to the core.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod finish_checksum;
pub mod memory;
pub mod pcap;

use serde::{Deserialize, Serialize};

use crate::burst::Burst;
use crate::frame::Frame;
use crate::verdict::PortId;

/// The packet edge of one worker: its queues of every port.
pub trait PacketIo {
    /// The device's buffer.
    type Frame: Frame + Send + 'static;

    /// Receives into the burst's free room, from this worker's queues in turn. Returns how many frames came.
    fn receive(&mut self, burst: &mut Burst<Self::Frame>) -> usize;

    /// Puts a frame in line for `port`; it leaves when the line is full or at [`PacketIo::flush`].
    fn transmit(&mut self, port: PortId, frame: Self::Frame);

    /// Puts all frames of a burst in line for `port`, and empties it.
    #[inline]
    fn transmit_all(&mut self, port: PortId, burst: &mut Burst<Self::Frame>) {
        burst.give_away(|frame, _, _, _| self.transmit(port, frame));
    }

    /// A frame of length 0 for a fragment; `None` when there is no buffer left.
    fn blank(&mut self) -> Option<Self::Frame>;

    /// Sends what is in line. What the device does not take is dropped and counted.
    fn flush(&mut self);
}

/// Counters of one port, all queues together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PortCounters {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the device dropped because nobody fetched them.
    pub rx_missed: u64,
    /// Frames received with an error.
    pub rx_errors: u64,
    /// Frames lost because the buffer pool was empty.
    pub rx_no_buffer: u64,
    /// Frames in more than one segment, refused.
    pub rx_multi_segment: u64,
    /// Unfinished checksums that were finished in software.
    pub checksums_finished: u64,
    /// Frames dropped because the transmit queue was full.
    pub tx_full: u64,
    /// Frames that the device failed to send.
    pub tx_errors: u64,
    /// Frames dropped because the device was removed.
    #[serde(default)]
    pub tx_removed: u64,
}

impl std::ops::AddAssign for PortCounters {
    fn add_assign(&mut self, other: Self) {
        self.rx_packets += other.rx_packets;
        self.rx_bytes += other.rx_bytes;
        self.tx_packets += other.tx_packets;
        self.tx_bytes += other.tx_bytes;
        self.rx_missed += other.rx_missed;
        self.rx_errors += other.rx_errors;
        self.rx_no_buffer += other.rx_no_buffer;
        self.rx_multi_segment += other.rx_multi_segment;
        self.checksums_finished += other.checksums_finished;
        self.tx_full += other.tx_full;
        self.tx_errors += other.tx_errors;
        self.tx_removed += other.tx_removed;
    }
}
