//! A ring that loops back, as the device of a worker: its frames are the next packets when they come in.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use pollvs::burst::Burst;
use pollvs::io::PacketIo;
use pollvs::io::dpdk::{DpdkIo, Mbuf};
use pollvs::verdict::PortId;

use crate::traffic::Generator;

/// What makes packets.
pub(crate) trait Source {
    /// Makes each frame of a burst the next packet.
    fn fill(&mut self, burst: &mut Burst<Mbuf>);
}

impl Source for Generator {
    fn fill(&mut self, burst: &mut Burst<Mbuf>) {
        self.generate(burst);
    }
}

/// The device.
pub(crate) struct Wire<S> {
    io: DpdkIo,
    source: S,
    received: Arc<AtomicU64>,
}

impl<S> Wire<S> {
    /// That ring with those packets, and how many have come in.
    pub(crate) fn new(io: DpdkIo, source: S) -> (Self, Arc<AtomicU64>) {
        let received = Arc::<AtomicU64>::default();
        (Self { io, source, received: Arc::clone(&received) }, received)
    }
}

impl<S: Source> PacketIo for Wire<S> {
    type Frame = Mbuf;

    fn receive(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let count = self.io.receive(burst);
        self.source.fill(burst);
        super::count(&self.received, count as u64);
        count
    }

    fn transmit(&mut self, port: PortId, frame: Mbuf) {
        self.io.transmit(port, frame);
    }

    fn blank(&mut self) -> Option<Mbuf> {
        self.io.blank()
    }

    fn flush(&mut self) {
        self.io.flush();
    }
}
