//! A capture as a file: pcapng (draft-ietf-opsawg-pcapng), an interface for each port, every frame marked as received or sent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};

use crate::control::reply::FrameView;
use crate::control::watching::unhex;

/// Times are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// Flags of a frame: its direction.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A file being written.
pub(super) struct Capture<W: Write> {
    file: PcapNgWriter<W>,
    /// The number of each port's interface.
    interfaces: HashMap<String, u32>,
    /// Frames written.
    pub(super) frames: u64,
}

impl<W: Write> Capture<W> {
    pub(super) fn new(to: W) -> io::Result<Self> {
        Ok(Self { file: PcapNgWriter::new(to).map_err(io::Error::other)?, interfaces: HashMap::new(), frames: 0 })
    }

    /// Writes frames, and has them in the file.
    pub(super) fn write(&mut self, frames: &[FrameView]) -> io::Result<()> {
        frames.iter().try_for_each(|frame| self.one(frame))?;
        self.file.get_mut().flush()
    }

    fn one(&mut self, frame: &FrameView) -> io::Result<()> {
        let interface_id = self.interface(&frame.port)?;
        let data = unhex(&frame.data).ok_or_else(|| io::Error::other("a frame is not hexadecimal"))?;
        let direction = if frame.out { OUTBOUND } else { INBOUND };
        self.frames += 1;
        self.put(EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(frame.at_nanos),
            original_len: frame.length,
            data: Cow::Owned(data),
            options: vec![EnhancedPacketOption::Flags(direction)],
        })
    }

    /// The number of a port's interface, which is made when the port is seen first.
    fn interface(&mut self, port: &str) -> io::Result<u32> {
        if let Some(number) = self.interfaces.get(port) {
            return Ok(*number);
        }
        let name = InterfaceDescriptionOption::IfName(Cow::Owned(port.to_owned()));
        let options = vec![name, InterfaceDescriptionOption::IfTsResol(NANOSECONDS)];
        self.put(InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options })?;
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(port.to_owned(), number);
        Ok(number)
    }

    fn put<'b>(&mut self, block: impl pcap_file::pcapng::PcapNgBlock<'b>) -> io::Result<()> {
        self.file.write_pcapng_block(block).map(drop).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::{Block, PcapNgReader};

    #[test]
    fn a_file_has_each_port_once_and_each_frame_with_its_way() {
        let view = |port: &str, out, data: &str| FrameView {
            worker: 0,
            at_nanos: 1_700_000_000_123_456_789,
            port: port.into(),
            out,
            length: 60,
            data: data.into(),
        };
        let mut file = Vec::new();
        let mut capture = Capture::new(&mut file).unwrap();
        capture.write(&[view("outside", false, "0102"), view("inside", true, "03")]).unwrap();
        capture.write(&[view("outside", true, "04")]).unwrap();
        assert!(capture.write(&[view("outside", true, "x")]).is_err());
        assert_eq!(capture.frames, 3);
        let mut reader = PcapNgReader::new(&file[..]).unwrap();
        let (mut names, mut frames) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::InterfaceDescription(b) => names.push(format!("{:?}", b.options[0])),
                Block::EnhancedPacket(b) => {
                    assert_eq!(b.timestamp, Duration::from_nanos(1_700_000_000_123_456_789));
                    assert_eq!(b.original_len, 60);
                    frames.push((b.interface_id, b.data.to_vec(), b.options[0].clone().into_owned()));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(names, ["IfName(\"outside\")", "IfName(\"inside\")"]);
        let flags = EnhancedPacketOption::Flags;
        assert_eq!(frames, [(0, vec![1, 2], flags(1)), (1, vec![3], flags(2)), (0, vec![4], flags(2))]);
    }
}
