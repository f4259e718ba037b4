//! Capture files (draft-ietf-opsawg-pcap: micro- and nanoseconds, both byte orders), and a device that plays one and
//! writes what is sent into another.

use crate::addr::MacAddr;
use crate::burst::Burst;
use crate::frame::Frame;
use crate::io::PacketIo;
use crate::io::memory::VecFrame;
use crate::time::Instant;
use crate::verdict::{Origin, PortId};
use crate::wire::ethernet;
use pcap_file::pcap::{PcapHeader, PcapParser, PcapWriter, RawPcapPacket};
use pcap_file::{DataLink, Endianness, TsResolution};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;

/// Longest frame that a written file allows, in bytes; what tcpdump writes.
const SNAP_LENGTH: u32 = 262_144;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Why a capture file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The file does not begin as a capture file does.
    #[error("this is no pcap file (pcapng is not read): {0}")]
    Header(#[source] pcap_file::PcapError),
    /// The frames are not Ethernet's.
    #[error("the frames are of link type {}, and only those of Ethernet (1) are read", u32::from(*.0))]
    LinkType(DataLink),
    /// The file ends inside a record.
    #[error("the file ends inside record {0}")]
    Cut(usize),
    /// A record's time is not one that the file can hold.
    #[error("the time {0} ns is beyond what a pcap file can hold (the year 2106)")]
    Time(u64),
    /// The file cannot be written.
    #[error("cannot write the pcap file: {0}")]
    Write(#[source] io::Error),
}

/// A frame and when it was captured, in nanoseconds since the file's zero (1970 in most).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// The frame from its destination MAC on, as much of it as was captured.
    pub frame: Vec<u8>,
}

/// Reads all records of a file, in its order.
///
/// # Errors
/// [`PcapError`], with the number of the record counted from 1.
pub fn read(file: &[u8]) -> Result<Vec<Record>, PcapError> {
    let (mut rest, parser) = PcapParser::new(file).map_err(PcapError::Header)?;
    let header = parser.header();
    if header.datalink != DataLink::ETHERNET {
        return Err(PcapError::LinkType(header.datalink));
    }
    let mut records = Vec::new();
    while !rest.is_empty() {
        // Raw, since the parser otherwise refuses frames that are longer than what was captured of them.
        let (after, packet) = parser.next_raw_packet(rest).map_err(|_| PcapError::Cut(records.len() + 1))?;
        records.push(Record { at: time_of(&packet, header.ts_resolution), frame: packet.data.into_owned() });
        rest = after;
    }
    Ok(records)
}

fn time_of(packet: &RawPcapPacket<'_>, resolution: TsResolution) -> Instant {
    let nanos = match resolution {
        TsResolution::MicroSecond => 1000,
        TsResolution::NanoSecond => 1,
    };
    Instant(u64::from(packet.ts_sec) * NANOS_PER_SECOND + u64::from(packet.ts_frac) * nanos)
}

/// Writes a file with nanoseconds, little-endian.
#[derive(Debug)]
pub struct Writer<W: io::Write>(PcapWriter<W>);

impl<W: io::Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// [`PcapError::Write`].
    pub fn new(writer: W) -> Result<Self, PcapError> {
        let header = PcapHeader {
            snaplen: SNAP_LENGTH,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        PcapWriter::with_header(writer, header).map(Self).map_err(write_error)
    }

    /// Writes one record.
    ///
    /// # Errors
    /// [`PcapError::Write`], and [`PcapError::Time`] for a time that the format cannot hold.
    pub fn write(&mut self, at: Instant, frame: &[u8]) -> Result<(), PcapError> {
        let ts_sec = u32::try_from(at.0 / NANOS_PER_SECOND).map_err(|_| PcapError::Time(at.0))?;
        let length = u32::try_from(frame.len()).map_err(|error| PcapError::Write(io::Error::other(error)))?;
        let ts_frac = (at.0 % NANOS_PER_SECOND) as u32;
        let packet = RawPcapPacket { ts_sec, ts_frac, incl_len: length, orig_len: length, data: Cow::Borrowed(frame) };
        self.0.write_raw_packet(&packet).map(|_| ()).map_err(write_error)
    }

    /// Ends the file and gives the writer back.
    pub fn into_inner(self) -> W {
        self.0.into_writer()
    }
}

fn write_error(error: pcap_file::PcapError) -> PcapError {
    PcapError::Write(match error {
        pcap_file::PcapError::IoError(error) => error,
        other => io::Error::other(other),
    })
}

/// A device that plays a capture at the times in it, and writes what is sent, with the time of the device's clock. The
/// clock stands still but for [`advance`](Self::advance) and [`set_now`](Self::set_now).
#[derive(Debug)]
pub struct PcapIo<W: io::Write> {
    records: VecDeque<Record>,
    ports: Vec<MacAddr>,
    now: Instant,
    line: Vec<VecFrame>,
    writer: Writer<W>,
    failure: Option<PcapError>,
}

impl<W: io::Write> PcapIo<W> {
    /// Returns a device that plays `records`, which are in the order of their times, and writes to `writer`. A frame
    /// comes in by the port that has its destination address, or else by the first port.
    ///
    /// # Errors
    /// [`PcapError::Write`].
    pub fn new(records: Vec<Record>, ports: Vec<MacAddr>, writer: W) -> Result<Self, PcapError> {
        let writer = Writer::new(writer)?;
        Ok(Self { records: records.into(), ports, now: Instant(0), line: Vec::new(), writer, failure: None })
    }

    /// Returns when the next frame comes in.
    pub fn next_at(&self) -> Option<Instant> {
        self.records.front().map(|record| record.at)
    }

    /// Sets the clock: frames up to `now` can be received.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Sets the clock to the next frame's time, if that is later, and returns the clock; `None` when none is left.
    pub fn advance(&mut self) -> Option<Instant> {
        self.now = self.now.max(self.next_at()?);
        Some(self.now)
    }

    /// Ends the written file and gives the writer back.
    ///
    /// # Errors
    /// The first failure to write, if there was one.
    pub fn finish(mut self) -> Result<W, PcapError> {
        self.flush();
        self.failure.map_or(Ok(self.writer.into_inner()), Err)
    }

    fn port_of(&self, frame: &[u8]) -> PortId {
        let dst = ethernet::Packet::new_checked(frame).map(|frame| frame.dst());
        let index = self.ports.iter().position(|mac| Ok(*mac) == dst);
        PortId(index.unwrap_or_default() as u16)
    }
}

impl<W: io::Write> PacketIo for PcapIo<W> {
    type Frame = VecFrame;

    fn receive(&mut self, burst: &mut Burst<VecFrame>) -> usize {
        let mut received = 0;
        while burst.room() > 0
            && self.next_at().is_some_and(|at| at <= self.now)
            && let Some(record) = self.records.pop_front()
        {
            let port = self.port_of(&record.frame);
            received += usize::from(burst.push(record.frame.into(), port, Origin::Wire).is_ok());
        }
        received
    }

    fn transmit(&mut self, _port: PortId, frame: VecFrame) {
        self.line.push(frame);
    }

    fn blank(&mut self) -> Option<VecFrame> {
        Some(VecFrame::new(&[]))
    }

    fn flush(&mut self) {
        for frame in self.line.drain(..) {
            let result = self.writer.write(self.now, frame.bytes());
            self.failure = self.failure.take().or(result.err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sample;
    use proptest::prelude::*;

    /// One frame of 2 bytes at 1.000005 s (or 1.000000005 s), by magic number and the byte order that it means.
    fn file(magic: u32, to_bytes: fn(u32) -> [u8; 4], link: u32) -> Vec<u8> {
        let version = if to_bytes(1) == 1u32.to_be_bytes() { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        let words = |words: &[u32]| words.iter().flat_map(|word| to_bytes(*word)).collect::<Vec<u8>>();
        [words(&[magic]), version.to_vec(), words(&[0, 0, 65535, link]), words(&[1, 5, 2, 1500]), vec![0xaa, 0xbb]]
            .concat()
    }

    #[test]
    fn both_resolutions_are_read_in_both_byte_orders() {
        for (magic, nanos) in [(0xa1b2_c3d4, 5000), (0xa1b2_3c4d, 5)] {
            for to_bytes in [u32::to_be_bytes, u32::to_le_bytes] {
                let expected = Record { at: Instant(1_000_000_000 + nanos), frame: vec![0xaa, 0xbb] };
                assert_eq!(read(&file(magic, to_bytes, 1)).unwrap(), [expected], "{magic:x}");
            }
        }
    }

    #[test]
    fn files_that_are_no_captures_of_ethernet_are_refused_with_the_reason() {
        let good = file(0xa1b2_c3d4, u32::to_le_bytes, 1);
        let error = |file: &[u8]| read(file).unwrap_err().to_string();
        assert!(error(b"\x0a\x0d\x0d\x0a, which is how a pcapng file begins").starts_with("this is no pcap file"));
        assert!(error(&[]).starts_with("this is no pcap file"));
        assert!(error(&good[..23]).starts_with("this is no pcap file"));
        assert_eq!(error(&good[..41]), "the file ends inside record 1");
        assert_eq!(error(&[&good[..], &[0; 15]].concat()), "the file ends inside record 2");
        let raw_ip = file(0xa1b2_c3d4, u32::to_le_bytes, 101);
        assert_eq!(error(&raw_ip), "the frames are of link type 101, and only those of Ethernet (1) are read");
        assert_eq!(read(&good[..24]).unwrap(), []);
    }

    #[test]
    fn a_file_is_written_as_the_recordings_are() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.write(Instant(2_000_000_003), &[0xaa]).unwrap();
        let expected = [
            &[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0][..],
            &[2, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0xaa],
        ];
        assert_eq!(writer.into_inner(), expected.concat());
    }

    #[test]
    fn a_time_beyond_the_format_is_an_error() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        assert!(matches!(writer.write(Instant(u64::MAX), &[]), Err(PcapError::Time(u64::MAX))));
    }

    fn two_ports() -> (Vec<Record>, Vec<MacAddr>) {
        let (a, b) = (sample::DIRECTOR, MacAddr([2, 0, 0, 0, 0, 2]));
        let frame =
            |to| sample::udp(sample::at("192.0.2.1:1"), sample::at("192.0.2.2:2")).macs(sample::ROUTER, to).frame();
        let records = [(5, b), (5, MacAddr::BROADCAST), (9, a)];
        (records.map(|(at, to)| Record { at: Instant(at), frame: frame(to) }).into(), vec![a, b])
    }

    #[test]
    fn frames_come_in_when_their_time_has_come_by_the_port_they_are_addressed_to() {
        let (records, ports) = two_ports();
        let mut device = PcapIo::new(records, ports, Vec::new()).unwrap();
        let mut burst = Burst::default();
        assert_eq!(device.receive(&mut burst), 0);
        assert_eq!(device.advance(), Some(Instant(5)));
        assert_eq!(device.receive(&mut burst), 2);
        let came_by: Vec<PortId> = (0..2).map(|index| burst.take(index).unwrap().2).collect();
        assert_eq!(came_by, [PortId(1), PortId(0)]);
        burst.clear();
        device.set_now(Instant(20));
        assert_eq!(device.advance(), Some(Instant(20)), "the clock does not go back");
        assert_eq!((device.receive(&mut burst), device.advance()), (1, None));
    }

    #[test]
    fn what_is_sent_is_written_with_the_time_of_the_clock() {
        let (records, ports) = two_ports();
        let mut device = PcapIo::new(records.clone(), ports, Vec::new()).unwrap();
        let mut burst = Burst::with_limit(1);
        while device.advance().is_some() {
            device.receive(&mut burst);
            let (frame, _, port) = burst.take(0).unwrap();
            device.transmit(port, frame);
            device.flush();
            burst.clear();
        }
        assert_eq!(read(&device.finish().unwrap()).unwrap(), records);
    }

    /// A disk that is full after so many bytes.
    struct Full(usize);

    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_at_the_end() {
        let mut device = PcapIo::new(Vec::new(), Vec::new(), Full(50)).unwrap();
        device.transmit(PortId(0), VecFrame::new(&[0; 60]));
        device.flush();
        let error = device.finish().map(|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot write the pcap file: {}", io::Error::from(io::ErrorKind::StorageFull))
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in proptest::collection::vec((0u64..4_000_000_000_000_000_000, any::<Vec<u8>>()), 0..5)) {
            let records: Vec<Record> = records.into_iter().map(|(at, frame)| Record { at: Instant(at), frame }).collect();
            let mut writer = Writer::new(Vec::new()).unwrap();
            records.iter().for_each(|record| writer.write(record.at, &record.frame).unwrap());
            prop_assert_eq!(read(&writer.into_inner()).unwrap(), records);
        }

        #[test]
        fn a_damaged_file_is_an_error_and_no_panic(at in 0usize..42, byte: u8) {
            let mut file = file(0xa1b2_c3d4, u32::to_le_bytes, 1);
            file[at] = byte;
            let _ = read(&file);
        }
    }
}
