//! The wire's state shown on the twin: a port whose device has no link, or whose device takes its frames from a kernel interface that
//! has none, leaves its twin without carrier. So whoever watches the twin (keepalived, a routing daemon) sees what the card itself
//! would show. Pure: what to change is told, and done by the watcher.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::net::if_::if_nametoindex;

use super::view::{Port, View};
use crate::verdict::PortId;

/// The kernel interface that a DPDK device takes its frames from (DPDK's guides of af_packet and af_xdp: argument `iface`).
pub fn interface_behind(device: &str) -> Option<u32> {
    let mut arguments = device.split(',');
    let driver = arguments.next()?;
    let by_kernel = driver.starts_with("net_af_packet") || driver.starts_with("net_af_xdp");
    let name = arguments.find_map(|argument| argument.strip_prefix("iface=")).filter(|_| by_kernel)?;
    if_nametoindex(name).ok()
}

/// What is known of one port.
#[derive(Clone, Copy, Debug)]
struct Wire {
    device_up: bool,
    shown: bool,
}

/// Whether a port has a link, for whoever wants to know.
#[derive(Debug)]
struct State {
    up: AtomicBool,
    losses: AtomicU64,
}

/// The links of all ports; clones are the same.
#[derive(Clone, Debug)]
pub struct Links(Arc<[State]>);

impl Links {
    fn new(ports: usize) -> Self {
        Self((0..ports).map(|_| State { up: AtomicBool::new(true), losses: AtomicU64::new(0) }).collect())
    }

    /// Has the port a link: its device, and the kernel's interface behind that?
    pub fn is_up(&self, port: usize) -> bool {
        self.0.get(port).is_some_and(|state| state.up.load(Ordering::Relaxed))
    }

    /// How often it has lost it.
    pub fn losses(&self, port: usize) -> u64 {
        self.0.get(port).map_or(0, |state| state.losses.load(Ordering::Relaxed))
    }

    fn set(&self, port: usize, up: bool) {
        if let Some(state) = self.0.get(port)
            && state.up.swap(up, Ordering::Relaxed)
            && !up
        {
            state.losses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The wires of all ports.
#[derive(Debug)]
pub(super) struct Wires {
    wires: Vec<Wire>,
    links: Links,
}

impl Wires {
    /// All up: a twin has carrier as soon as somebody holds it.
    pub(super) fn new(ports: usize) -> Self {
        Self { wires: vec![Wire { device_up: true, shown: true }; ports], links: Links::new(ports) }
    }

    /// What is known of them, now and later.
    pub(super) fn links(&self) -> Links {
        self.links.clone()
    }

    /// Notes whether a port's device has a link. Returns true when that is new.
    pub(super) fn device(&mut self, port: PortId, up: bool) -> bool {
        let wire = self.wires.get_mut(usize::from(port.0));
        wire.is_some_and(|wire| std::mem::replace(&mut wire.device_up, up) != up)
    }

    /// The twins whose carrier is to change, and what it is to be; from then on it counts as changed.
    pub(super) fn changes(&mut self, view: &View, ports: &[Port]) -> Vec<(u32, bool)> {
        let links = &self.links;
        let change = |(index, (wire, port)): (usize, (&mut Wire, &Port))| {
            let up = wire.device_up && port.behind.is_none_or(|interface| view.has_carrier(interface));
            links.set(index, up);
            (std::mem::replace(&mut wire.shown, up) != up).then_some((port.twin?, up))
        };
        self.wires.iter_mut().zip(ports).enumerate().filter_map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::MacAddr;
    use crate::kernel::view::{Event, Link};
    use crate::network::PortInfo;

    const BEHIND: u32 = 2;

    fn port(twin: Option<u32>, behind: Option<u32>) -> Port {
        let info = PortInfo { name: "p".into(), mac: MacAddr([2; 6]), mtu: 1500, twin: twin.is_some() };
        Port { info, twin, behind }
    }

    fn link(up: bool, carrier: bool) -> Event {
        Event::Link(BEHIND, Link { mac: MacAddr::default(), mtu: 1500, up, carrier })
    }

    #[test]
    fn a_twin_has_carrier_while_the_device_and_the_interface_behind_it_have() {
        let ports = [port(Some(5), None), port(Some(6), Some(BEHIND)), port(None, None)];
        let (mut wires, mut view) = (Wires::new(3), View::default());
        view.apply(link(true, true));
        assert_eq!(wires.changes(&view, &ports), []);
        assert!(wires.device(PortId(0), false) && !wires.device(PortId(0), false));
        assert!(wires.device(PortId(2), false), "of no consequence: it has no twin");
        assert_eq!(wires.changes(&view, &ports), [(5, false)]);
        assert_eq!(wires.changes(&view, &ports), [], "once");
        for (event, expected) in [
            (link(true, false), vec![(6, false)]),
            (link(false, true), vec![]),
            (link(true, true), vec![(6, true)]),
            (Event::LinkGone(BEHIND), vec![(6, false)]),
        ] {
            view.apply(event);
            assert_eq!(wires.changes(&view, &ports), expected);
        }
        assert!(wires.device(PortId(0), true));
        assert_eq!(wires.changes(&view, &ports), [(5, true)]);
        assert!(!wires.device(PortId(9), false), "there is no such port");
        let links = wires.links();
        assert_eq!(
            [0, 1, 2, 9].map(|port| (links.is_up(port), links.losses(port))),
            [(true, 1), (false, 2), (false, 1), (false, 0)]
        );
    }

    #[test]
    fn the_interface_behind_a_device_is_named_in_its_arguments() {
        let lo = if_nametoindex("lo").unwrap();
        for (device, expected) in [
            ("net_af_packet0,iface=lo", Some(lo)),
            ("net_af_xdp0,start_queue=0,iface=lo", Some(lo)),
            ("net_af_packet0,iface=is-not-there", None),
            ("net_tap0,iface=lo", None),
            ("0000:01:00.0", None),
            ("", None),
        ] {
            assert_eq!(interface_behind(device), expected, "{device}");
        }
    }
}
