//! Ways out that need no more thought: out of which port, with which MACs, up to which length. Worked out when a snapshot is made, a
//! few bytes each, for the common packet's way through the director.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::destination::Tunnel;
use crate::family::Address;
use crate::network::{FamilyNetwork, Hop, PortInfo, Target};
use crate::verdict::PortId;
use crate::wire::{ipv4, ipv6};

/// A way out, or none: no packet fits one whose MTU is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(align(32))]
pub struct Ready {
    /// Both MACs as they stand in a frame: the next hop's, then the port's.
    pub macs: [u8; 12],
    /// The port.
    pub port: PortId,
    /// Longest IP packet in bytes.
    pub mtu: u16,
    /// Longest packet that fits an IP-in-IP tunnel this way, in bytes: of IPv4 in IPv4, and of IPv6 in IPv6. One of them is 0.
    pub inner_mtu: [u16; 2],
    /// The ends of a tunnel over IPv4: the director's address and the real server's. Those over IPv6 have no room here.
    pub ends: [u32; 2],
}

/// The ends of a tunnel over IPv6, likewise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(32))]
pub struct Ends6(pub [Ipv6Addr; 2]);

impl Ends6 {
    /// Of no tunnel.
    pub const NONE: Self = Self([Ipv6Addr::UNSPECIFIED; 2]);

    /// The ends of the tunnel that [`Ready::through`] is told of.
    pub fn new(from: Option<IpAddr>, to: Option<IpAddr>) -> Self {
        match (from, to) {
            (Some(IpAddr::V6(from)), Some(IpAddr::V6(to))) => Self([from, to]),
            _ => Self::NONE,
        }
    }
}

impl Ready {
    /// The way by this hop, if its neighbour is known.
    pub fn new(hop: &Hop) -> Self {
        let Hop::Resolved { port, to, from, mtu } = *hop else { return Self::default() };
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&to.0);
        macs[6..].copy_from_slice(&from.0);
        Self { macs, port, mtu, ..Self::default() }
    }

    /// The same, and through a tunnel between these addresses, if it is one of IP in IP. One of IPv6 that is too narrow takes nothing.
    #[must_use]
    pub fn through(self, tunnel: Tunnel, from: Option<IpAddr>, to: IpAddr) -> Self {
        const HEADER: u16 = ipv6::HEADER_LEN as u16;
        const LEAST: u16 = ipv6::LEAST_MTU + HEADER;
        match (tunnel, from, to) {
            (Tunnel::Ipip, Some(IpAddr::V4(from)), IpAddr::V4(to)) => {
                let inner_mtu = self.mtu.saturating_sub(ipv4::HEADER_LEN as u16);
                Self { inner_mtu: [inner_mtu, 0], ends: [from.to_bits(), to.to_bits()], ..self }
            }
            (Tunnel::Ipip, Some(IpAddr::V6(_)), IpAddr::V6(_)) if self.mtu >= LEAST => {
                Self { inner_mtu: [0, self.mtu - HEADER], ..self }
            }
            _ => self,
        }
    }
}

/// The ways to every address that lies behind a router, as disjoint intervals in order.
#[derive(Clone, Debug, Default)]
pub struct Ways<A> {
    starts: Arc<[A]>,
    /// Where the next interval starts; the last of all addresses for the last.
    ends: Arc<[A]>,
    ready: Arc<[Ready]>,
}

impl<A: Address> Ways<A> {
    /// Works out the ways of one family. None leads to the director's own addresses, nor to those on a link of its own, each of which
    /// has a MAC of its own.
    pub fn new(network: &FamilyNetwork<A>, ports: &[PortInfo]) -> Self {
        let around = network.local.iter().flat_map(|own| [own, own.next()]);
        let mut starts: Vec<A> = network.fib.starts().chain(around).chain([A::default()]).collect();
        starts.sort_unstable();
        starts.dedup();
        let behind_router = |start: &A| match network.fib.lookup(*start) {
            Some(Target::Via { gateway: Some(_), .. }) => Ready::new(&network.hop(ports, *start)),
            _ => Ready::default(),
        };
        let ready = starts.iter().map(behind_router).collect();
        let ends = starts.iter().skip(1).copied().chain([A::MAX]).collect();
        Self { starts: starts.into(), ends, ready }
    }

    /// The way to an address. That which the last address had, `near`, is tried first: most clients are behind one router.
    #[inline]
    pub fn to_near(&self, near: &mut u32, address: A) -> Option<&Ready> {
        let at = *near as usize;
        if self.starts.get(at).is_some_and(|start| *start <= address)
            && self.ends.get(at).is_some_and(|end| address < *end)
        {
            return self.ready.get(at);
        }
        let after = self.starts.partition_point(|start| *start <= address);
        *near = after.saturating_sub(1) as u32;
        self.to(address)
    }

    /// The way that [`Ways::to_near`] tries first.
    #[inline]
    pub fn near(&self, near: u32) -> Option<&Ready> {
        self.ready.get(near as usize)
    }

    /// The way to an address.
    #[inline]
    pub fn to(&self, address: A) -> Option<&Ready> {
        let after = self.starts.partition_point(|start| *start <= address);
        self.ready.get(after.wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::MacAddr;
    use crate::network::Route;
    use proptest::prelude::*;

    const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn ports() -> [PortInfo; 1] {
        [PortInfo { name: "p".into(), mac: MacAddr([2; 6]), mtu: 1500, twin: true }]
    }

    fn via(gateway: Option<u32>) -> Target<u32> {
        Target::Via { port: PortId(0), gateway, source: None, mtu: 0 }
    }

    proptest! {
        #[test]
        fn a_ready_way_is_the_way_and_behind_a_router(
            routes in prop::collection::vec((0_u32..16, 0_u8..=32, prop::option::of(1_u32..4)), 0..12),
            own in prop::collection::vec(0_u32..16, 0..4),
            probes in prop::collection::vec((0_u32..16, 0_u32..4), 32),
        ) {
            let routes: Vec<_> = routes.into_iter()
                .map(|(n, prefix, gateway)| Route { network: n << 28, prefix, metric: 0, target: via(gateway) })
                .collect();
            let own: Vec<_> = own.into_iter().map(|n| n << 28 | 1).collect();
            let network = FamilyNetwork::new(own, routes, [(PortId(0), 1, ROUTER), (PortId(0), 2, ROUTER)]);
            let ways = Ways::new(&network, &ports());
            let mut near = 0;
            for (high, low) in probes {
                let address = high << 28 | low;
                let hop = network.hop(&ports(), address);
                let routed = matches!(network.fib.lookup(address), Some(Target::Via { gateway: Some(_), .. }));
                let expected = if routed { Ready::new(&hop) } else { Ready::default() };
                prop_assert_eq!(ways.to(address), Some(&expected));
                prop_assert_eq!(ways.to_near(&mut near, address), Some(&expected));
            }
        }
    }

    #[test]
    fn a_way_is_as_short_as_it_was() {
        assert_eq!((size_of::<Ready>(), size_of::<Ends6>()), (32, 32));
    }

    #[test]
    fn only_a_tunnel_of_ip_in_ip_is_ready() {
        let hop = Hop::Resolved { port: PortId(3), to: ROUTER, from: MacAddr([2; 6]), mtu: 1500 };
        let [from, to] = [IpAddr::from([198, 51, 100, 1]), IpAddr::from([198, 51, 100, 11])];
        let ready = Ready::new(&hop).through(Tunnel::Ipip, Some(from), to);
        assert_eq!((ready.mtu, ready.inner_mtu, ready.ends), (1500, [1480, 0], [0xc633_6401, 0xc633_640b]));
        assert_eq!(Ready::new(&hop).through(Tunnel::Gre { checksum: false }, Some(from), to).inner_mtu, [0; 2]);
        assert_eq!(Ready::new(&hop).through(Tunnel::Ipip, None, to).inner_mtu, [0; 2]);
        assert_eq!(Ready::new(&Hop::Unreachable).through(Tunnel::Ipip, Some(from), to).inner_mtu, [0; 2]);
    }

    #[test]
    fn a_tunnel_over_ipv6_is_ready_for_ipv6_if_it_is_not_too_narrow() {
        let takes = |mtu, tunnel, from| {
            let hop = Hop::Resolved { port: PortId(3), to: ROUTER, from: MacAddr([2; 6]), mtu };
            Ready::new(&hop).through(tunnel, from, IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x14])).inner_mtu
        };
        let from = Some(IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, 1]));
        assert_eq!(takes(1500, Tunnel::Ipip, from), [0, 1460]);
        assert_eq!(takes(1320, Tunnel::Ipip, from), [0, 1280]);
        assert_eq!(takes(1319, Tunnel::Ipip, from), [0; 2]);
        assert_eq!(takes(1500, Tunnel::Gre { checksum: false }, from), [0; 2]);
        assert_eq!(takes(1500, Tunnel::Ipip, None), [0; 2]);
        assert_eq!(takes(1500, Tunnel::Ipip, Some(IpAddr::from([198, 51, 100, 1]))), [0; 2]);
    }
}
