//! The wire of the bench: a ring that loops back, whose frames are made the next packets as they come in. It takes the time of each burst from
//! its receipt until its last frame is sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant as Wall;

use pollvs::burst::{BURST, Burst};
use pollvs::frame::Frame;
use pollvs::io::PacketIo;
use pollvs::io::dpdk::{DpdkIo, Mbuf, MbufPool};
use pollvs::verdict::{Origin, PortId};
use pollvs::wire::checksum::Sum;

use crate::bursts::Stopwatch;
use crate::rig;
use crate::traffic::Generator;
use crate::{Phase, Shared};

/// Frames that may be out of the ring without having been dropped: a burst in each stage.
const MOST_UNDER_WAY: usize = 3 * BURST;
/// Of the packets of a flood one in two is of an established connection; the others are SYNs of so many sources, each in its turn.
const FORGED: u32 = 1 << 27;

/// The ring, whose frames are the next packets when they come in, and the times of the bursts.
pub(crate) struct Wire {
    io: DpdkIo,
    pool: MbufPool,
    generator: Generator,
    /// Sources that have been forged.
    forged: u32,
    shared: Arc<Shared>,
    stopwatch: Stopwatch,
    /// Bursts under way: when each came and in which phase, and how many packets of established connections in it have not been sent.
    under_way: VecDeque<(Wall, usize, usize)>,
    /// Frames out of the ring and not back, whether under way or dropped.
    owed: usize,
}

impl Wire {
    /// A ring whose first packet of each of the generator's flows is to come.
    pub(crate) fn new(
        io: DpdkIo,
        pool: MbufPool,
        generator: Generator,
        shared: Arc<Shared>,
        stopwatch: Stopwatch,
    ) -> Self {
        Self { io, pool, generator, forged: 0, shared, stopwatch, under_way: VecDeque::with_capacity(16), owed: 0 }
    }

    /// Makes every second packet a SYN of another source. Frames that were dropped are made up for, so that the flood does not end with
    /// them. Returns the packets of established connections.
    fn flood(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        while burst.room() > 0 && self.owed > MOST_UNDER_WAY {
            let Some(frame) = self.pool.frame(&[]) else { break };
            assert!(burst.push(frame, PortId(0), Origin::Wire).is_ok());
        }
        self.generator.generate(burst);
        for frame in burst.frames_mut().skip(1).step_by(2) {
            self.forged = self.forged.wrapping_add(1) % FORGED;
            forge(frame, self.forged);
        }
        let forged = burst.len() / 2;
        rig::count(&self.shared.forged, forged as u64);
        burst.len() - forged
    }
}

/// Offsets in a frame of IPv4 and TCP.
const IP: usize = 14;
const CHECKSUM: usize = IP + 10;
const SOURCE: usize = IP + 12;
const TCP: usize = IP + 20;
const FLAGS: usize = TCP + 13;
const SYN: u8 = 2;

/// Makes a packet the SYN of a source that no established connection has.
fn forge(frame: &mut Mbuf, n: u32) {
    let bytes = frame.bytes_mut();
    bytes[SOURCE..SOURCE + 4].copy_from_slice(&(0x2000_0000 | n).to_be_bytes());
    bytes[FLAGS] = SYN;
    bytes[CHECKSUM..CHECKSUM + 2].fill(0);
    let checksum = Sum::new().bytes(&bytes[IP..TCP]).checksum();
    bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
}

impl PacketIo for Wire {
    type Frame = Mbuf;

    fn receive(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let phase = self.shared.phase();
        if phase == Phase::Over as usize {
            return 0;
        }
        let now = self.stopwatch.receive(phase);
        self.owed += self.io.receive(burst);
        let established = if phase == Phase::Flood as usize {
            self.flood(burst)
        } else {
            self.generator.generate(burst);
            burst.len()
        };
        if established > 0 {
            rig::count(&self.shared.came, established as u64);
            self.under_way.push_back((now, phase, established));
        }
        burst.len()
    }

    fn transmit(&mut self, port: PortId, frame: Mbuf) {
        let forged = frame.bytes()[FLAGS] == SYN;
        self.io.transmit(port, frame);
        self.owed = self.owed.saturating_sub(1);
        if forged {
            return;
        }
        let Some((came, phase, left)) = self.under_way.front_mut() else { return };
        *left -= 1;
        if *left == 0 {
            self.stopwatch.record(*phase, *came);
            self.under_way.pop_front();
        }
        rig::count(&self.shared.sent, 1);
    }

    fn blank(&mut self) -> Option<Mbuf> {
        self.io.blank()
    }

    fn flush(&mut self) {
        self.io.flush();
    }
}
