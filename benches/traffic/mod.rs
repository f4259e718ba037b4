//! What the benches send through a director: frames in a DPDK ring that loops back, which an in-core generator makes the next packet of
//! the next flow whenever they come in, and the network that they go through.

pub(crate) mod generator;
pub(crate) mod mix;

use std::net::{Ipv4Addr, Ipv6Addr};

use pollvs::addr::MacAddr;
use pollvs::burst::{BURST, Burst};
use pollvs::director::Director;
use pollvs::io::PacketIo;
use pollvs::io::dpdk::{DpdkIo, Eal, Mbuf, MbufPool, Port, ring};
use pollvs::network::{FamilyNetwork, Network, PortInfo, Route, Target};
use pollvs::time::Instant;
use pollvs::verdict::{Origin, PortId, Verdict};

pub(crate) use generator::Generator;
use generator::{ROUTER_MAC, SERVER_MAC};

/// The virtual address.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// That of IPv6.
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// The real server.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);
/// That of IPv6.
pub(crate) const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x11);
/// The director in the server's network, the source of tunnels.
const OWN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1);
/// The clients' router.
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0xfe);
/// Frames in the ring.
pub(crate) const IN_FLIGHT: usize = 256;

impl Generator {
    /// Lets a director see the packet of each flow once.
    pub(crate) fn establish(&self, director: &mut Director, pool: &MbufPool) {
        self.establish_some(director, pool, 0..self.flows());
    }

    /// The same of some flows.
    pub(crate) fn establish_some(&self, director: &mut Director, pool: &MbufPool, flows: impl Iterator<Item = u32>) {
        let (mut burst, mut flows) = (Burst::default(), flows.peekable());
        while flows.peek().is_some() {
            let some = flows.by_ref().take(BURST);
            present(director, pool, &mut burst, some.map(|flow| move |frame: &mut Mbuf| self.write_flow(frame, flow)));
        }
    }

    /// Makes each frame of a burst the next packet.
    #[inline]
    pub(crate) fn generate(&mut self, burst: &mut Burst<Mbuf>) {
        self.write(burst.frames_mut());
    }
}

/// Lets a director see packets, which it is to forward.
pub(crate) fn present<W: FnOnce(&mut Mbuf)>(
    director: &mut Director,
    pool: &MbufPool,
    burst: &mut Burst<Mbuf>,
    packets: impl Iterator<Item = W>,
) {
    for write in packets {
        let mut frame = pool.frame(&[]).unwrap();
        write(&mut frame);
        assert!(burst.push(frame, PortId(0), Origin::Wire).is_ok());
    }
    director.process(burst, Instant(0));
    assert_eq!(burst.verdict(0), Verdict::Transmit(PortId(0)));
    burst.clear();
}

/// Clients behind a router, and the servers' network, both by the one port.
pub(crate) fn network(mac: MacAddr) -> Network {
    let v4 = |gateway| Target::Via { port: PortId(0), gateway, source: Some(OWN.to_bits()), mtu: 0 };
    let v6 = |gateway| Target::Via { port: PortId(0), gateway, source: Some(OWN6.to_bits()), mtu: 0 };
    let routes4 = vec![
        Route { network: 0, prefix: 0, metric: 0, target: v4(Some(ROUTER.to_bits())) },
        Route { network: SERVER.to_bits(), prefix: 24, metric: 0, target: v4(None) },
    ];
    let routes6 = vec![
        Route { network: 0, prefix: 0, metric: 0, target: v6(Some(ROUTER6.to_bits())) },
        Route { network: SERVER6.to_bits(), prefix: 64, metric: 0, target: v6(None) },
    ];
    let port = PortId(0);
    let neighbours4 = [(port, SERVER.to_bits(), SERVER_MAC), (port, ROUTER.to_bits(), ROUTER_MAC)];
    let neighbours6 = [(port, SERVER6.to_bits(), SERVER_MAC), (port, ROUTER6.to_bits(), ROUTER_MAC)];
    Network {
        ports: vec![PortInfo { name: "ring".into(), mac, mtu: 1500, twin: false }],
        v4: FamilyNetwork::new([VIP.to_bits()], routes4, neighbours4),
        v6: FamilyNetwork::new([VIP6.to_bits()], routes6, neighbours6),
    }
}

/// A ring with its frames in it.
pub(crate) fn fill_ring(eal: &Eal, pool: &MbufPool, number: usize) -> (DpdkIo, MacAddr) {
    let (port, queues): (Port, _) = ring::open(eal, number, 1, pool).unwrap();
    let mut io = DpdkIo::new(queues, *pool);
    for _ in 0..IN_FLIGHT {
        io.transmit(PortId(0), pool.frame(&[]).unwrap());
    }
    io.flush();
    (io, port.mac())
}
