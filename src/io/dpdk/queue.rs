//! One receive and one transmit queue of a port, for one thread, and [`DpdkIo`]: a worker's queues of all ports. DPDK 22.11,
//! "Poll Mode Driver".

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::gate::Gate;
use super::port::Device;
use super::{Mbuf, MbufPool};
use crate::burst::{BURST, Burst};
use crate::frame::Frame;
use crate::io::PacketIo;
use crate::io::finish_checksum::finish_checksum;
use crate::verdict::PortId;

/// What no device counts, for one queue. All are rare events, or come from slow devices.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct QueueCounters {
    pub(super) rx_multi_segment: AtomicU64,
    pub(super) checksums_finished: AtomicU64,
    pub(super) tx_full: AtomicU64,
    pub(super) tx_removed: AtomicU64,
    /// Closed while the device is not there.
    pub(super) gate: Gate,
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
        let Self { device, index, counters, .. } = self;
        if !counters.gate.is_open() {
            return 0;
        }
        let before = burst.len();
        burst.fill(port, |free| {
            // SAFETY: the queue is set up and only ours; an `Option<Mbuf>` is a pointer and nothing else, and there is room for as many.
            // The device gives away a buffer for each pointer that it writes. What is overwritten is empty.
            let count =
                unsafe { dpdk_sys::dpdk_rx_burst(device.id(), *index, free.as_mut_ptr().cast(), free.len() as u16) };
            let Some(frames) = free.get_mut(..count.into()) else { return 0 };
            if frames.iter().fold(true, |single, frame| single & frame.as_ref().is_some_and(Mbuf::is_single)) {
                return frames.len();
            }
            counters.rx_multi_segment.fetch_add(refuse(frames) as u64, Relaxed);
            frames.iter().take_while(|frame| frame.is_some()).count()
        });
        if self.device.verify_checksums() {
            self.finish_checksums(burst, before);
        }
        burst.len() - before
    }

    /// Finishes what the sender left to its device, of the frames from number `first` on.
    #[cold]
    fn finish_checksums(&self, burst: &mut Burst<Mbuf>, first: usize) {
        let finished =
            burst.frames_mut().skip(first).filter_map(|frame| finish_checksum(frame.bytes_mut()).then_some(()));
        self.counters.checksums_finished.fetch_add(finished.count() as u64, Relaxed);
    }

    /// Puts a frame in line, and sends the line when it is full.
    #[inline]
    pub fn transmit(&mut self, frame: Mbuf) {
        if self.line.len() == BURST {
            self.flush();
        }
        self.line.push(frame);
    }

    /// Sends frames at once, behind those in line; none of them is left. What the device does not take is dropped and counted.
    #[inline]
    pub fn transmit_all(&mut self, frames: &mut [Option<Mbuf>]) {
        self.flush();
        if !frames.iter().fold(true, |all, frame| all & frame.is_some()) {
            return frames.iter_mut().filter_map(Option::take).for_each(|frame| self.transmit(frame));
        }
        if !self.counters.gate.is_open() {
            self.counters.tx_removed.fetch_add(frames.len() as u64, Relaxed);
            return frames.iter_mut().for_each(|frame| *frame = None);
        }
        let count = frames.len();
        // SAFETY: the queue is set up and only ours; every `Option<Mbuf>` is the pointer to a buffer and nothing else.
        let sent =
            unsafe { dpdk_sys::dpdk_tx_burst(self.device.id(), self.index, frames.as_mut_ptr().cast(), count as u16) };
        let (sent, unsent) = frames.split_at_mut(usize::from(sent).min(count));
        // SAFETY: they are the device's now and are forgotten here, not dropped; all bits zero are no frame.
        unsafe { ptr::write_bytes(sent.as_mut_ptr(), 0, sent.len()) };
        if !unsent.is_empty() {
            self.counters.tx_full.fetch_add(unsent.len() as u64, Relaxed);
            unsent.iter_mut().for_each(|frame| *frame = None);
        }
    }

    /// Sends the line. What the device does not take is dropped and counted.
    #[inline]
    pub fn flush(&mut self) {
        let count = self.line.len();
        if count == 0 {
            return;
        }
        if !self.counters.gate.is_open() {
            self.counters.tx_removed.fetch_add(count as u64, Relaxed);
            return self.line.clear();
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

/// Drops the frames of more than one segment, moves the others up, and says how many those were.
#[cold]
fn refuse(frames: &mut [Option<Mbuf>]) -> usize {
    let mut kept = 0;
    for at in 0..frames.len() {
        match frames[at].take() {
            Some(frame) if frame.is_single() => {
                frames[kept] = Some(frame);
                kept += 1;
            }
            _ => {}
        }
    }
    frames.len() - kept
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

    #[inline]
    fn transmit_all(&mut self, port: PortId, burst: &mut Burst<Mbuf>) {
        burst.give_all(|frames| {
            if let Some(queue) = self.queues.get_mut(usize::from(port.0)) {
                queue.transmit_all(frames);
            }
        });
    }

    fn blank(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }

    #[inline]
    fn flush(&mut self) {
        self.queues.iter_mut().for_each(Queue::flush);
    }
}
