//! A device in memory, for tests and replay: frames are pushed into its ports, and taken out of them once the director
//! has sent them. Handles of one device are cheap to clone and may be on other threads, as the two ends of a cable.

use crate::burst::Burst;
use crate::frame::Frame;
use crate::io::{PacketIo, PortCounters};
use crate::verdict::{Origin, PortId};
use crossbeam_queue::SegQueue;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room in front of a new frame in bytes, as much as a DPDK buffer has.
pub const HEADROOM: usize = 128;
/// Most bytes of a frame, unless it is longer from the start.
pub const DATA_ROOM: usize = 2048;

/// What bytes are that a frame's contract leaves undefined: not zero, so that a test notices who relies on them.
const UNDEFINED: u8 = 0xa5;

/// A frame in a vector.
#[derive(Clone)]
pub struct VecFrame {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    hash: Option<u32>,
}

impl VecFrame {
    /// Returns a copy of `bytes` with room in front and behind.
    pub fn new(bytes: &[u8]) -> Self {
        let mut buffer = vec![UNDEFINED; HEADROOM + bytes.len().max(DATA_ROOM)];
        let end = HEADROOM + bytes.len();
        buffer[HEADROOM..end].copy_from_slice(bytes);
        Self { buffer, start: HEADROOM, end, hash: None }
    }

    /// With a hash of the packet, as a device writes it.
    #[must_use]
    pub fn hashed(self, hash: u32) -> Self {
        Self { hash: Some(hash), ..self }
    }
}

impl Frame for VecFrame {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    fn prepend(&mut self, n: usize) -> bool {
        let Some(start) = self.start.checked_sub(n) else { return false };
        self.buffer[start..self.start].fill(UNDEFINED);
        self.start = start;
        true
    }

    fn trim_front(&mut self, n: usize) -> bool {
        let is_long_enough = n <= self.end - self.start;
        if is_long_enough {
            self.start += n;
        }
        is_long_enough
    }

    fn resize(&mut self, len: usize) -> bool {
        let Some(end) = self.start.checked_add(len).filter(|end| *end <= self.buffer.len()) else { return false };
        if end > self.end {
            self.buffer[self.end..end].fill(UNDEFINED);
        }
        self.end = end;
        true
    }

    fn rss_hash(&self) -> Option<u32> {
        self.hash
    }
}

impl PartialEq for VecFrame {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for VecFrame {}

impl From<&[u8]> for VecFrame {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl From<Vec<u8>> for VecFrame {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(&bytes)
    }
}

impl fmt::Debug for VecFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::wire::show::frame(self.bytes(), crate::wire::show::Ident::Shown))
    }
}

/// The queues of one port, and what went through them.
#[derive(Debug, Default)]
struct Port {
    inbound: SegQueue<(VecFrame, Origin)>,
    outbound: SegQueue<VecFrame>,
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    tx_full: AtomicU64,
}

/// A device of some ports in memory.
///
/// ```
/// use pollvs::burst::Burst;
/// use pollvs::io::{PacketIo, memory::MemoryIo};
/// use pollvs::verdict::PortId;
///
/// let mut device = MemoryIo::new(2);
/// device.push(PortId(0), vec![0; 60]);
/// let mut burst = Burst::default();
/// assert_eq!(device.receive(&mut burst), 1);
/// let (frame, _, _) = burst.take(0).unwrap();
/// device.transmit(PortId(1), frame);
/// device.flush();
/// assert_eq!(device.take(PortId(1)).len(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct MemoryIo {
    ports: Arc<[Port]>,
    /// Frames in line for each port, not sent yet.
    line: Vec<(PortId, VecFrame)>,
    /// The port that is asked first at the next receive.
    next: usize,
    outbound_limit: usize,
    /// Blank frames that it still gives, shared with its clones.
    blanks: Arc<AtomicU64>,
}

impl MemoryIo {
    /// Returns a device of `ports` ports with empty queues.
    pub fn new(ports: usize) -> Self {
        let ports = (0..ports).map(|_| Port::default()).collect();
        let blanks = Arc::new(AtomicU64::new(u64::MAX));
        Self { ports, line: Vec::new(), next: 0, outbound_limit: usize::MAX, blanks }
    }

    /// Lets each port hold at most `limit` frames that nobody has taken; more are dropped and counted as `tx_full`.
    pub fn with_outbound_limit(self, limit: usize) -> Self {
        Self { outbound_limit: limit, ..self }
    }

    /// Lets the device and its clones give so many blank frames and no more.
    pub fn set_blanks(&self, count: u64) {
        self.blanks.store(count, Ordering::Relaxed);
    }

    /// Puts a frame on the wire towards `port`.
    ///
    /// # Panics
    /// When there is no such port.
    pub fn push(&self, port: PortId, frame: impl Into<VecFrame>) {
        self.push_from(port, Origin::Wire, frame);
    }

    /// Puts a frame from `origin` into `port`.
    ///
    /// # Panics
    /// When there is no such port.
    pub fn push_from(&self, port: PortId, origin: Origin, frame: impl Into<VecFrame>) {
        self.ports[usize::from(port.0)].inbound.push((frame.into(), origin));
    }

    /// Takes all frames that were sent out of `port`, in their order.
    ///
    /// # Panics
    /// When there is no such port.
    pub fn take(&self, port: PortId) -> Vec<VecFrame> {
        let outbound = &self.ports[usize::from(port.0)].outbound;
        std::iter::from_fn(|| outbound.pop()).collect()
    }

    /// Returns the counters of `port`.
    ///
    /// # Panics
    /// When there is no such port.
    pub fn counters(&self, port: PortId) -> PortCounters {
        let port = &self.ports[usize::from(port.0)];
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PortCounters {
            rx_packets: read(&port.rx_packets),
            rx_bytes: read(&port.rx_bytes),
            tx_packets: read(&port.tx_packets),
            tx_bytes: read(&port.tx_bytes),
            tx_full: read(&port.tx_full),
            ..PortCounters::default()
        }
    }
}

impl PacketIo for MemoryIo {
    type Frame = VecFrame;

    fn receive(&mut self, burst: &mut Burst<VecFrame>) -> usize {
        let first = self.next;
        self.next = (first + 1) % self.ports.len().max(1);
        let order = (first..self.ports.len()).chain(0..first);
        order.map(|index| self.ports[index].receive(PortId(index as u16), burst)).sum()
    }

    fn transmit(&mut self, port: PortId, frame: VecFrame) {
        self.line.push((port, frame));
    }

    fn blank(&mut self) -> Option<VecFrame> {
        let left = self.blanks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.is_ok().then(|| VecFrame::new(&[]))
    }

    fn flush(&mut self) {
        for (id, frame) in self.line.drain(..) {
            if let Some(port) = self.ports.get(usize::from(id.0)) {
                port.send(frame, self.outbound_limit);
            }
        }
    }
}

impl Port {
    fn receive(&self, id: PortId, burst: &mut Burst<VecFrame>) -> usize {
        let mut received = 0;
        while burst.room() > 0
            && let Some((frame, origin)) = self.inbound.pop()
        {
            count(&self.rx_packets, &self.rx_bytes, &frame);
            received += usize::from(burst.push(frame, id, origin).is_ok());
        }
        received
    }

    fn send(&self, frame: VecFrame, limit: usize) {
        if self.outbound.len() >= limit {
            self.tx_full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        count(&self.tx_packets, &self.tx_bytes, &frame);
        self.outbound.push(frame);
    }
}

fn count(packets: &AtomicU64, bytes: &AtomicU64, frame: &VecFrame) {
    packets.fetch_add(1, Ordering::Relaxed);
    bytes.fetch_add(frame.bytes().len() as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_has_the_headroom_of_a_buffer_and_no_more() {
        let mut frame = VecFrame::new(&[1, 2, 3]);
        assert!(frame.prepend(HEADROOM));
        assert!(!frame.prepend(1));
        assert_eq!(frame.bytes().len(), HEADROOM + 3);
        assert!(frame.trim_front(HEADROOM + 1));
        assert_eq!(frame.bytes(), [2, 3]);
        assert!(!frame.trim_front(3));
        assert_eq!(frame.bytes(), [2, 3]);
    }

    #[test]
    fn new_bytes_are_not_zero() {
        let mut frame = VecFrame::new(&[0; 8]);
        assert!(frame.resize(4) && frame.resize(8) && frame.prepend(2));
        assert_eq!(frame.bytes(), [UNDEFINED, UNDEFINED, 0, 0, 0, 0, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED]);
    }

    #[test]
    fn a_frame_grows_to_its_data_room() {
        let mut frame = VecFrame::new(&[7; 10]);
        assert!(frame.resize(DATA_ROOM));
        assert!(!frame.resize(DATA_ROOM + 1) && !frame.resize(usize::MAX));
        assert_eq!(frame.bytes().len(), DATA_ROOM);
        assert_eq!(VecFrame::new(&[7; 9000]).bytes(), [7; 9000]);
    }

    #[test]
    fn a_full_burst_leaves_frames_for_the_next() {
        let mut device = MemoryIo::new(1);
        (0..5).for_each(|n| device.push(PortId(0), vec![n]));
        let mut burst = Burst::with_limit(3);
        assert_eq!(device.receive(&mut burst), 3);
        assert_eq!(device.receive(&mut burst), 0);
        burst.clear();
        assert_eq!(device.receive(&mut burst), 2);
        assert_eq!(burst.take(1).unwrap().0.bytes(), [4]);
        assert_eq!(device.counters(PortId(0)).rx_packets, 5);
    }

    #[test]
    fn ports_take_turns_to_be_first() {
        let mut device = MemoryIo::new(3);
        for port in 0..3 {
            (0..3).for_each(|_| device.push(PortId(port), vec![0]));
        }
        let mut first = || {
            let mut burst = Burst::with_limit(1);
            device.receive(&mut burst);
            burst.take(0).unwrap().2
        };
        assert_eq!([first(), first(), first(), first()], [PortId(0), PortId(1), PortId(2), PortId(0)]);
    }

    #[test]
    fn frames_leave_at_a_flush_and_drop_when_nobody_takes_them() {
        let mut device = MemoryIo::new(2).with_outbound_limit(2);
        let other_end = device.clone();
        (0..3).for_each(|n| device.transmit(PortId(1), VecFrame::new(&[n, n])));
        assert!(other_end.take(PortId(1)).is_empty());
        device.flush();
        assert_eq!(other_end.take(PortId(1)), [VecFrame::new(&[0, 0]), VecFrame::new(&[1, 1])]);
        let expected = PortCounters { tx_packets: 2, tx_bytes: 4, tx_full: 1, ..PortCounters::default() };
        assert_eq!(device.counters(PortId(1)), expected);
        assert_eq!(device.counters(PortId(0)), PortCounters::default());
    }

    #[test]
    fn frames_of_the_twin_say_so() {
        let mut device = MemoryIo::new(1);
        device.push_from(PortId(0), Origin::Twin, vec![0]);
        let mut burst = Burst::default();
        device.receive(&mut burst);
        assert_eq!(burst.origin(0), Origin::Twin);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Prepend(usize),
        Trim(usize),
        Resize(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..160).prop_map(Step::Prepend),
            (0usize..160).prop_map(Step::Trim),
            (0usize..2300).prop_map(Step::Resize),
        ]
    }

    proptest! {
        /// The model: a plain vector, and how much room there is before and behind.
        #[test]
        fn a_frame_is_a_vector_with_room(steps in proptest::collection::vec(any_step(), 0..20)) {
            let bytes: Vec<u8> = (0..100).collect();
            let (mut frame, mut model, mut front) = (VecFrame::new(&bytes), bytes, HEADROOM);
            for step in steps {
                match step {
                    Step::Prepend(n) => {
                        let fits = n <= front;
                        prop_assert_eq!(frame.prepend(n), fits);
                        if fits {
                            front -= n;
                            model.splice(0..0, vec![UNDEFINED; n]);
                        }
                    }
                    Step::Trim(n) => {
                        let fits = n <= model.len();
                        prop_assert_eq!(frame.trim_front(n), fits);
                        if fits {
                            front += n;
                            model.drain(..n);
                        }
                    }
                    Step::Resize(n) => {
                        let fits = front + n <= HEADROOM + DATA_ROOM;
                        prop_assert_eq!(frame.resize(n), fits);
                        if fits {
                            model.resize(n, UNDEFINED);
                        }
                    }
                }
                prop_assert_eq!(frame.bytes(), &model[..]);
            }
        }
    }
}
