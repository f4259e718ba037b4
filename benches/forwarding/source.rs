//! Where the packets come from and go to.

use std::fs::File;

use pollvs::addr::MacAddr;
use pollvs::frame::Frame as _;
use pollvs::io::dpdk::{DpdkIo, Eal, MbufPool, Port, PortSettings};
use pollvs::io::memory::VecFrame;
use pollvs::io::pcap::Writer;
use pollvs::time::Instant;

use crate::traffic::generator::{Family, Generator, Packets};
use crate::traffic::{IN_FLIGHT, fill_ring};

/// The MAC of ports that play recordings: they do not look at it.
const PLAYED_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// One source.
pub(crate) struct Source {
    pub(crate) io: DpdkIo,
    pub(crate) mac: MacAddr,
    /// Do its frames have to be made the next packets?
    pub(crate) loops: bool,
}

impl Source {
    /// A ring with its frames in it.
    pub(crate) fn ring(eal: &Eal, pool: &MbufPool, number: usize) -> Self {
        let (io, mac) = fill_ring(eal, pool, number);
        Self { io, mac, loops: true }
    }

    /// A port that plays a packet of every flow over and over and drops what is sent.
    pub(crate) fn recording(
        eal: &Eal,
        pool: &MbufPool,
        number: usize,
        (packets, family, flows): (Packets, Family, u32),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packets.pcap");
        let mut writer = Writer::new(File::create(&path).unwrap()).unwrap();
        let mut generator = Generator::new(packets, family, flows, PLAYED_MAC);
        for _ in 0..flows {
            let mut frame = VecFrame::new(&[]);
            generator.write(std::iter::once(&mut frame));
            writer.write(Instant(0), frame.bytes()).unwrap();
        }
        drop(writer);
        let device = format!("net_pcap{number},rx_pcap={},infinite_rx=1", path.display());
        let (_, queues): (Port, _) = Port::open(eal, &PortSettings::new(device), pool).unwrap();
        Self { io: DpdkIo::new(queues, *pool), mac: PLAYED_MAC, loops: false }
    }

    /// Frames that are under way, each to be put right after a measurement.
    pub(crate) fn in_flight(&self) -> usize {
        if self.loops { IN_FLIGHT } else { 0 }
    }
}
