//! One receive and one transmit queue of a port, for one thread, and [`DpdkIo`]: a worker's queues of all ports. DPDK 22.11,
//! "Poll Mode Driver".

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dpdk_sys::rte_mbuf;

use super::port::Device;
use super::{Mbuf, MbufPool};
use crate::burst::{BURST, Burst, CAPACITY};
use crate::frame::Frame;
use crate::io::PacketIo;
use crate::io::finish_checksum::finish_checksum;
use crate::verdict::{Origin, PortId};

/// What no device counts, for one queue. All are rare events, or come from slow devices.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct QueueCounters {
    pub(super) rx_multi_segment: AtomicU64,
    pub(super) checksums_finished: AtomicU64,
    pub(super) tx_full: AtomicU64,
}

/// A pair of queues, owned by the thread that polls them. The port stays open until the last of its queues is dropped.
#[derive(Debug)]
pub struct Queue {
    device: Arc<Device>,
    index: u16,
    counters: Arc<QueueCounters>,
    /// Waiting to be sent, at most [`BURST`].
    line: Vec<Mbuf>,
}

impl Queue {
    /// # Safety
    /// No other `Queue` has the same device and index, and the device is set up for it.
    pub(super) unsafe fn new(device: Arc<Device>, index: u16, counters: Arc<QueueCounters>) -> Self {
        Self { device, index, counters, line: Vec::with_capacity(BURST) }
    }

    /// Receives into the burst's free room, as frames of `port`; returns how many.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst<Mbuf>, port: PortId) -> usize {
        let mut raw = [const { MaybeUninit::<*mut rte_mbuf>::uninit() }; CAPACITY];
        let room = burst.room().min(CAPACITY) as u16;
        // SAFETY: the queue is set up and only ours; there is room for `room` pointers.
        let count = unsafe { dpdk_sys::dpdk_rx_burst(self.device.id(), self.index, raw.as_mut_ptr().cast(), room) };
        let finish = self.device.verify_checksums();
        let before = burst.len();
        for slot in raw.iter().take(count.into()) {
            // SAFETY: the device wrote the first `count` pointers and gave the buffers away.
            let Some(mut frame) = (unsafe { Mbuf::from_raw(slot.assume_init()) }) else {
                self.counters.rx_multi_segment.fetch_add(1, Relaxed);
                continue;
            };
            if finish && finish_checksum(frame.bytes_mut()) {
                self.counters.checksums_finished.fetch_add(1, Relaxed);
            }
            drop(burst.push(frame, port, Origin::Wire));
        }
        burst.len() - before
    }

    /// Puts a frame in line, and sends the line when it is full.
    #[inline]
    pub fn transmit(&mut self, frame: Mbuf) {
        if self.line.len() == BURST {
            self.flush();
        }
        self.line.push(frame);
    }

    /// Sends the line. What the device does not take is dropped and counted.
    #[inline]
    pub fn flush(&mut self) {
        let count = self.line.len();
        if count == 0 {
            return;
        }
        let frames = self.line.as_mut_ptr();
        // SAFETY: the queue is set up and only ours; an `Mbuf` is a pointer to the buffer and nothing else.
        let sent = unsafe { dpdk_sys::dpdk_tx_burst(self.device.id(), self.index, frames.cast(), count as u16) };
        let sent = usize::from(sent).min(count);
        // SAFETY: the line forgets all frames; the device owns the first `sent` of them, the others are dropped here, once.
        unsafe {
            self.line.set_len(0);
            ptr::slice_from_raw_parts_mut(frames.add(sent), count - sent).drop_in_place();
        }
        if sent < count {
            self.counters.tx_full.fetch_add((count - sent) as u64, Relaxed);
        }
    }
}

/// The packet edge of one worker.
#[derive(Debug)]
pub struct DpdkIo {
    queues: Vec<Queue>,
    /// Where frames for fragments come from.
    pool: MbufPool,
    /// Polled first next time, so that a busy port does not starve the others.
    next: usize,
}

impl DpdkIo {
    /// Takes one queue of every port, in the order of the configuration ([`PortId`]), and the pool that fragments are made from.
    pub fn new(queues: Vec<Queue>, pool: MbufPool) -> Self {
        Self { queues, pool, next: 0 }
    }
}

impl PacketIo for DpdkIo {
    type Frame = Mbuf;

    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let first = self.next;
        self.next = if first + 1 < self.queues.len() { first + 1 } else { 0 };
        let mut received = 0;
        for turn in 0..self.queues.len() {
            let index = (first + turn) % self.queues.len();
            if burst.room() == 0 {
                break;
            }
            received += self.queues[index].receive(burst, PortId(index as u16));
        }
        received
    }

    #[inline]
    fn transmit(&mut self, port: PortId, frame: Mbuf) {
        if let Some(queue) = self.queues.get_mut(usize::from(port.0)) {
            queue.transmit(frame);
        }
    }

    fn blank(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }

    #[inline]
    fn flush(&mut self) {
        self.queues.iter_mut().for_each(Queue::flush);
    }
}
