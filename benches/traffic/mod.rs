//! What the benches send through a director: frames in a DPDK ring that loops back, which an in-core generator makes the next packet of
//! the next flow whenever they come in, and the network that they go through.

use std::net::Ipv4Addr;

use pollvs::addr::MacAddr;
use pollvs::burst::Burst;
use pollvs::director::Director;
use pollvs::frame::Frame;
use pollvs::io::PacketIo;
use pollvs::io::dpdk::{DpdkIo, Eal, Mbuf, MbufPool, Port, ring};
use pollvs::network::{FamilyNetwork, Network, PortInfo, Route, Target};
use pollvs::time::Instant;
use pollvs::verdict::{Origin, PortId, Verdict};
use pollvs::wire::checksum::Sum;
use pollvs::wire::sample::{at, tcp};

/// The virtual address.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 11]);
const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
/// Frames in the ring.
const IN_FLIGHT: usize = 256;

/// Bytes of a generated packet.
const LENGTH: usize = 54;

/// Makes packets: the headers of one TCP segment, with the client of flow after flow.
pub(crate) struct Generator {
    template: [u8; LENGTH],
    /// Sum of the IP header without its client address and checksum.
    header_sum: Sum,
    /// Offsets of the client's address and port.
    client: (usize, usize),
    bits: u32,
    /// The number of the next packet.
    pub(crate) next: u32,
}

impl Generator {
    /// Of clients' packets to the virtual address.
    pub(crate) fn requests(flows: u32, flags: &str, own: MacAddr) -> Self {
        let sample = tcp(at("10.0.0.0:0"), at("192.0.2.10:80")).letters(flags);
        Self::new(flows, &sample.macs(ROUTER_MAC, own).frame(), (26, 34))
    }

    /// Of the server's packets to clients.
    pub(crate) fn replies(flows: u32, own: MacAddr) -> Self {
        let sample = tcp(at("198.51.100.11:80"), at("10.0.0.0:0")).letters("A");
        Self::new(flows, &sample.macs(SERVER_MAC, own).frame(), (30, 36))
    }

    fn new(flows: u32, frame: &[u8], client: (usize, usize)) -> Self {
        let mut template: [u8; LENGTH] = frame[..LENGTH].try_into().unwrap();
        template[24..26].fill(0);
        template[client.0..client.0 + 4].fill(0);
        let header_sum = Sum::new().bytes(&template[14..34]);
        Self { template, header_sum, client, bits: flows.trailing_zeros(), next: 0 }
    }

    /// A bijection of the flows' numbers that scatters neighbours (xor-shifts and an odd product).
    #[inline]
    fn scatter(&self, n: u32) -> u32 {
        let mask = (1_u64 << self.bits) - 1;
        let half = self.bits.div_ceil(2).max(1);
        let mut x = u64::from(n) & mask;
        x ^= x >> half;
        x = x.wrapping_mul(0x9e37_79b1) & mask;
        x ^= x >> half;
        x as u32
    }

    #[inline]
    fn write(&mut self, frame: &mut impl Frame) {
        let flow = self.scatter(self.next);
        self.next = self.next.wrapping_add(1);
        self.write_flow(frame, flow);
    }

    #[inline]
    fn write_flow(&self, frame: &mut impl Frame, flow: u32) {
        // A tunnel's header, or padding, of the last time round.
        frame.trim_front(frame.bytes().len().saturating_sub(LENGTH));
        let Some(bytes) = frame.bytes_mut().first_chunk_mut::<LENGTH>() else { return };
        *bytes = self.template;
        let client = 0x0a00_0000 | flow >> 4;
        let port = 1024 + (flow & 15) as u16;
        let (address_at, port_at) = self.client;
        bytes[address_at..address_at + 4].copy_from_slice(&client.to_be_bytes());
        bytes[port_at..port_at + 2].copy_from_slice(&port.to_be_bytes());
        bytes[24..26].copy_from_slice(&self.header_sum.long(client).checksum().to_be_bytes());
    }

    /// Lets a director see the packet of each flow once.
    pub(crate) fn establish(&self, director: &mut Director, pool: &MbufPool) {
        let (mut burst, flows) = (Burst::default(), 1 << self.bits);
        for first in (0..flows).step_by(32) {
            for flow in first..flows.min(first + 32) {
                let mut frame = pool.frame(&[0; 60]).unwrap();
                self.write_flow(&mut frame, flow);
                assert!(burst.push(frame, PortId(0), Origin::Wire).is_ok());
            }
            director.process(&mut burst, Instant(0));
            assert_eq!(burst.verdict(0), Verdict::Transmit(PortId(0)));
            burst.clear();
        }
    }

    /// Makes each frame of a burst the next packet.
    #[inline]
    pub(crate) fn generate(&mut self, burst: &mut Burst<Mbuf>) {
        burst.frames_mut().for_each(|frame| self.write(frame));
    }
}

/// Clients behind a router, and the servers' network, both by the one port.
pub(crate) fn network(mac: MacAddr) -> Network {
    let via = |gateway| Target::Via { port: PortId(0), gateway, source: Some(0xc633_6401), mtu: 0 };
    let routes = vec![
        Route { network: 0, prefix: 0, metric: 0, target: via(Some(0xcb00_71fe)) },
        Route { network: 0xc633_6400, prefix: 24, metric: 0, target: via(None) },
    ];
    let neighbours = [(PortId(0), 0xc633_640b, SERVER_MAC), (PortId(0), 0xcb00_71fe, ROUTER_MAC)];
    Network {
        ports: vec![PortInfo { name: "ring".into(), mac, mtu: 1500, twin: false }],
        v4: FamilyNetwork::new([VIP.to_bits()], routes, neighbours),
        ..Network::default()
    }
}

/// A ring with its frames in it.
pub(crate) fn fill_ring(eal: &Eal, pool: &MbufPool, number: usize) -> (DpdkIo, MacAddr) {
    let (port, queues): (Port, _) = ring::open(eal, number, 1, pool).unwrap();
    let mut io = DpdkIo::new(queues, *pool);
    for _ in 0..IN_FLIGHT {
        io.transmit(PortId(0), pool.frame(&[0; 60]).unwrap());
    }
    io.flush();
    (io, port.mac())
}
