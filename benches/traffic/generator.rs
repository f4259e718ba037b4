//! Makes packets in place, in a few dozen instructions each: the frame is copied from a template, the client is put in, and the checksums
//! are worked out from the template's sum. Flows come in an order that no prefetcher guesses, given by a bijection, so that a run can be
//! repeated. Knows no device.

use std::net::{Ipv4Addr, SocketAddr};

use pollvs::addr::MacAddr;
use pollvs::frame::Frame;
use pollvs::wire::checksum::Sum;
use pollvs::wire::sample::{Sample, at, tcp, udp};

/// MAC of the router that the clients are behind.
pub(crate) const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
/// MAC of the real server.
pub(crate) const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 11]);
/// The shortest frame of a wire, without its checksum (IEEE 802.3).
const SHORTEST: usize = 60;
/// Ethernet and IP headers.
const HEADERS: [usize; 2] = [14 + 20, 14 + 40];
/// Of these bits of a flow's number the client's port is made, of the others its address.
const PORT_BITS: u32 = 4;
const FIRST_PORT: u32 = 1024;
/// The network of the clients of IPv4.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);

/// The address of a flow's client of IPv4.
pub(crate) fn client(flow: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(CLIENTS.to_bits() | flow >> PORT_BITS)
}

/// The version of IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// 4 or 6.
    pub(crate) fn number(self) -> u8 {
        if self == Self::V4 { 4 } else { 6 }
    }

    fn pick<T>(self, [v4, v6]: [T; 2]) -> T {
        if self == Self::V4 { v4 } else { v6 }
    }
}

/// What kind of packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packets {
    /// A client's segments with these flags to the virtual address.
    Requests(&'static str),
    /// The server's acknowledgements to clients.
    Replies,
    /// A client's datagrams to the virtual address.
    Datagrams,
}

impl Packets {
    /// One of them, of the client of address and port 0, filled up to the shortest frame.
    fn sample(self, family: Family, own: MacAddr) -> Sample {
        let client = family.pick([SocketAddr::from((CLIENTS, 0)), at("[2001:db8:a::]:0")]);
        let vip = at(family.pick(["192.0.2.10:80", "[2001:db8::10]:80"]));
        let server = at(family.pick(["198.51.100.11:80", "[2001:db8:b::11]:80"]));
        let sample = match self {
            Self::Requests(flags) => tcp(client, vip).letters(flags).macs(ROUTER_MAC, own),
            Self::Replies => tcp(server, client).letters("A").macs(SERVER_MAC, own),
            Self::Datagrams => udp(client, vip).macs(ROUTER_MAC, own),
        };
        let room = SHORTEST.saturating_sub(sample.frame().len());
        sample.data(vec![0; room])
    }

    /// What each of them is written by.
    fn writer(self, family: Family, own: MacAddr) -> Writer {
        let frame = self.sample(family, own).frame();
        match (self, family) {
            (Self::Requests(_), Family::V4) => Writer::Request4(Template::new(&frame)),
            (Self::Replies, Family::V4) => Writer::Reply4(Template::new(&frame)),
            (Self::Datagrams, Family::V4) => Writer::Datagram4(Template::new(&frame)),
            (Self::Requests(_), Family::V6) => Writer::Request6(Template::new(&frame)),
            (Self::Replies, Family::V6) => Writer::Reply6(Template::new(&frame)),
            (Self::Datagrams, Family::V6) => Writer::Datagram6(Template::new(&frame)),
        }
    }
}

/// Frames of `LENGTH` bytes that differ in the last four bytes of the client's address at `CLIENT`, in its port at `PORT`, and in the
/// checksums, of which that of the transport header stands at `CHECKSUM`.
#[derive(Clone, Debug)]
struct Template<const LENGTH: usize, const CLIENT: usize, const PORT: usize, const CHECKSUM: usize> {
    frame: [u8; LENGTH],
    /// The client's network, whose host bits are 0.
    network: u32,
    /// Folded sum of the IPv4 header without its checksum and the client's address.
    header: u32,
    /// Folded sum of pseudo header, transport header and data, likewise, with the first port.
    transport: u32,
}

/// Where the checksum stands in IPv4's header.
const HEADER_CHECKSUM: usize = 14 + 10;

impl<const LENGTH: usize, const CLIENT: usize, const PORT: usize, const CHECKSUM: usize>
    Template<LENGTH, CLIENT, PORT, CHECKSUM>
{
    /// Has the client's address a place in an IPv4 header?
    const V4: bool = CLIENT < HEADERS[0];
    /// Has the checksum its place in a UDP header? There 0 means that there is none, and stands for itself as 0xffff (RFC 768).
    const DATAGRAM: bool = CHECKSUM == HEADERS[!Self::V4 as usize] + 6;

    fn new(sample: &[u8]) -> Self {
        let frame: [u8; LENGTH] = sample.try_into().expect("a sample of that length");
        let network = u32::from_be_bytes(frame[CLIENT..CLIENT + 4].try_into().expect("four bytes"));
        // A checksum is the complement of the sum of all else.
        let sum_at = |frame: &[u8], at: usize| Sum::new().word(!u16::from_be_bytes([frame[at], frame[at + 1]]));
        let without_client = |sum: Sum| sum.long(!network).fold().into();
        let header = if Self::V4 { without_client(sum_at(&frame, HEADER_CHECKSUM)) } else { 0 };
        let transport = without_client(sum_at(&frame, CHECKSUM)) + FIRST_PORT;
        Self { frame, network, header, transport }
    }

    /// Makes the frame the packet of a flow. `front`: bytes that a director puts in front of it.
    #[inline(always)]
    fn write(&self, frame: &mut impl Frame, flow: u32, front: usize) {
        if frame.bytes().len() != LENGTH {
            fit(frame, LENGTH, front);
        }
        let Some(bytes) = frame.bytes_mut().first_chunk_mut::<LENGTH>() else { return };
        let client = self.network | flow >> PORT_BITS;
        let port = flow & ((1 << PORT_BITS) - 1);
        *bytes = self.frame;
        bytes[CLIENT..CLIENT + 4].copy_from_slice(&client.to_be_bytes());
        bytes[PORT..PORT + 2].copy_from_slice(&((FIRST_PORT + port) as u16).to_be_bytes());
        if Self::V4 {
            let checksum = checksum(self.header + client);
            bytes[HEADER_CHECKSUM..HEADER_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        let checksum = checksum(self.transport + client + port);
        let checksum = if Self::DATAGRAM && checksum == 0 { 0xffff } else { checksum };
        bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The checksum of 32 bits that have been summed up, both halves folded at once: the carry of the lower goes into the upper.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    !((sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16)
}

/// Takes off what the director has put in front, or lets the frame have the length of another kind of packet.
#[inline(never)]
fn fit(frame: &mut impl Frame, length: usize, front: usize) {
    if frame.bytes().len() == length + front {
        frame.trim_front(front);
    } else {
        frame.resize(length);
    }
}

/// A template of each layout.
#[derive(Clone, Debug)]
enum Writer {
    Request4(Template<60, 26, 34, 50>),
    Reply4(Template<60, 30, 36, 50>),
    Datagram4(Template<60, 26, 34, 40>),
    Request6(Template<74, 34, 54, 70>),
    Reply6(Template<74, 50, 56, 70>),
    Datagram6(Template<62, 34, 54, 60>),
}

impl Writer {
    /// Makes the frames the packets of the flows.
    #[inline(always)]
    fn write_all<'a, F: Frame + 'a>(
        &self,
        frames: impl Iterator<Item = &'a mut F>,
        mut flow: impl FnMut() -> u32,
        front: usize,
    ) {
        match self {
            Self::Request4(template) => frames.for_each(|frame| template.write(frame, flow(), front)),
            Self::Reply4(template) => frames.for_each(|frame| template.write(frame, flow(), front)),
            Self::Datagram4(template) => frames.for_each(|frame| template.write(frame, flow(), front)),
            Self::Request6(template) => frames.for_each(|frame| template.write(frame, flow(), front)),
            Self::Reply6(template) => frames.for_each(|frame| template.write(frame, flow(), front)),
            Self::Datagram6(template) => frames.for_each(|frame| template.write(frame, flow(), front)),
        }
    }
}

/// A bijection of the numbers below a power of two that scatters neighbours: an odd product between two xor-shifts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scatter {
    mask: u32,
    shift: u32,
}

impl Scatter {
    /// Of `1 << bits` numbers, at most 2^31.
    pub(crate) fn new(bits: u32) -> Self {
        Self { mask: (1 << bits) - 1, shift: bits.div_ceil(2).max(1) }
    }

    #[inline(always)]
    pub(crate) fn of(self, n: u32) -> u32 {
        let x = n & self.mask;
        let x = (x ^ x >> self.shift).wrapping_mul(0x9e37_79b1) & self.mask;
        x ^ x >> self.shift
    }
}

/// Makes packets of flow after flow.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    writer: Writer,
    scatter: Scatter,
    flows: u32,
    front: usize,
    /// The number of the next packet.
    pub(crate) next: u32,
}

impl Generator {
    /// Of one kind of packets of so many flows, a power of two.
    pub(crate) fn new(packets: Packets, family: Family, flows: u32, own: MacAddr) -> Self {
        assert!(flows.is_power_of_two(), "flows are a power of two, not {flows}");
        let (writer, scatter) = (packets.writer(family, own), Scatter::new(flows.trailing_zeros()));
        Self { writer, scatter, flows, front: 0, next: 0 }
    }

    /// The same for frames that come back with so many bytes in front: a tunnel's header.
    pub(crate) fn behind(self, front: usize) -> Self {
        Self { front, ..self }
    }

    /// Of clients' segments to the virtual address.
    pub(crate) fn requests(flows: u32, flags: &'static str, own: MacAddr) -> Self {
        Self::new(Packets::Requests(flags), Family::V4, flows, own)
    }

    /// How many flows there are.
    pub(crate) fn flows(&self) -> u32 {
        self.flows
    }

    /// Makes a frame the packet of a flow.
    pub(crate) fn write_flow(&self, frame: &mut impl Frame, flow: u32) {
        self.write_flows(std::iter::once(frame), || flow);
    }

    /// Makes each frame a packet of the flow that is told for it.
    #[inline(always)]
    pub(crate) fn write_flows<'a, F: Frame + 'a>(
        &self,
        frames: impl Iterator<Item = &'a mut F>,
        flow: impl FnMut() -> u32,
    ) {
        self.writer.write_all(frames, flow, self.front);
    }

    /// Makes each frame the next packet.
    #[inline(always)]
    pub(crate) fn write<'a, F: Frame + 'a>(&mut self, frames: impl Iterator<Item = &'a mut F>) {
        let (mut next, scatter) = (self.next, self.scatter);
        let flow = || {
            let flow = scatter.of(next);
            next = next.wrapping_add(1);
            flow
        };
        self.write_flows(frames, flow);
        self.next = next;
    }
}
