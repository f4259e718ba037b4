//! The synchronisation in a replay: what a master has to tell leaves when the kernel's thread would send it, and what comes to a
//! backup's group is taken.

use std::net::IpAddr;

use crate::addr::MacAddr;
use crate::control::daemon::{DaemonSpec, Role};
use crate::replay::build;
use crate::replay::machine::Machine;
use crate::sync::sender::ports;
use crate::sync::{Message, Sender, Setup};
use crate::time::{HZ, Tick, fires};
use crate::verdict::PortId;
use crate::wire::{ethernet, ipv4, ipv6, protocol, udp};

/// What may be told between two moments.
const ROOM: usize = 4096;
/// The port that messages are sent from.
const SOURCE: u16 = 49_152;
/// Ticks from the first message in line to the thread's being woken (`IPVS_SYNC_SEND_DELAY`).
const HURRY: u32 = HZ / 50;

/// The master's thread.
#[derive(Debug)]
pub(super) struct Master {
    spec: DaemonSpec,
    sender: Sender,
    /// When it looks next, once a second (`IPVS_SYNC_CHECK_PERIOD`).
    looks: Tick,
    /// When it is woken before.
    woken: Option<Tick>,
}

/// A datagram's destination, its port and what it carries.
fn datagram(frame: &[u8]) -> Option<(IpAddr, u16, &[u8])> {
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let (to, transport) = if packet.first()? >> 4 == 6 {
        let ip = ipv6::Packet::new_quoted(packet).ok().filter(|_| packet.get(6) == Some(&protocol::UDP))?;
        (ip.dst().into(), packet.get(ipv6::HEADER_LEN..)?)
    } else {
        let ip = ipv4::Packet::new_checked(packet).ok().filter(|ip| ip.protocol() == protocol::UDP)?;
        (ip.dst().into(), packet.get(ip.header_len()..usize::from(ip.total_len()))?)
    };
    let udp = udp::Packet::new_checked(transport).ok()?;
    let (port, length) = (udp.dst_port(), usize::from(udp.length()));
    Some((to, port, transport.get(udp::HEADER_LEN..length)?))
}

impl Machine {
    /// Starts or stops the master's thread as the rules have it, and lets it go on by the sysctls in force.
    pub(super) fn master_changed(&mut self) {
        let now = self.now.tick();
        let spec = self.store.daemons().iter().find(|d| d.role == Role::Master).cloned();
        let Some(spec) = spec else {
            self.master = None;
            return;
        };
        let setup = Setup::new(&self.store.settings(), spec.syncid, spec.maxlen.unwrap_or(0));
        match &mut self.master {
            Some(master) if master.spec == spec => master.sender.set_up(setup),
            master => {
                let looks = fires(now.plus(HZ), HZ);
                *master = Some(Master { spec, sender: Sender::new(setup), looks, woken: None });
            }
        }
        drop(self.director.take_told(Vec::with_capacity(ROOM)));
    }

    /// Puts what is to be told into messages.
    pub(super) fn gather(&mut self) {
        let now = self.now.tick();
        let Some(master) = &mut self.master else { return };
        let told = self.director.take_told(Vec::with_capacity(ROOM));
        told.iter().for_each(|entry| master.sender.push(entry, now));
        if master.sender.is_waiting() && master.woken.is_none() {
            master.woken = Some(fires(now.plus(HURRY), HURRY));
        }
    }

    /// Lets the master's thread send what is due: what waits in line, and what is two seconds old.
    pub(super) fn send_messages(&mut self) {
        self.gather();
        let now = self.now.tick();
        let Some(master) = &mut self.master else { return };
        if !master.looks.reached(now) && !master.woken.is_some_and(|at| at.reached(now)) {
            return;
        }
        (master.looks, master.woken) = (fires(now.plus(HZ), HZ), None);
        master.sender.age(now);
        let messages: Vec<_> = std::iter::from_fn(|| master.sender.take()).collect();
        let spec = master.spec.clone();
        for (thread, message) in messages {
            let Some((port, frame)) = self.multicast(&spec, spec.port.saturating_add(thread), &message) else { return };
            self.sent.push((port, frame));
        }
    }

    /// A message in a frame; `None` on an interface that is no port.
    fn multicast(&mut self, spec: &DaemonSpec, to: u16, message: &[u8]) -> Option<(PortId, Vec<u8>)> {
        let (port, mac, from) = self.topology.multicasts(&spec.interface, spec.group.is_ipv6())?;
        let header =
            udp::Repr { src_port: SOURCE, dst_port: to, length: u16::try_from(message.len() + udp::HEADER_LEN).ok()? };
        let mut datagram = vec![0; udp::HEADER_LEN];
        header.emit(&mut udp::Packet::new_unchecked(&mut datagram[..]));
        datagram.extend_from_slice(message);
        let ident = self.director.next_ident();
        let (group, packet) = match (from, spec.group) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let ident = ident as u16;
                let v4 = build::V4 { src, dst, protocol: protocol::UDP, tos: 0, ident, df: false };
                let [_, b, c, d] = dst.octets();
                (MacAddr([1, 0, 0x5e, b & 0x7f, c, d]), v4.datagram(spec.ttl, &mut datagram))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let [.., a, b, c, d] = dst.octets();
                (MacAddr([0x33, 0x33, a, b, c, d]), build::datagram6(src, dst, spec.ttl, &mut datagram))
            }
            _ => return None,
        };
        Some((port, build::ethernet(group, mac, &packet)))
    }

    /// Takes what a frame that came by a port tells, if a backup listens there.
    pub(super) fn hear(&mut self, frame: &[u8], port: PortId) {
        let name = self.topology.name(port);
        let backup = self.store.daemons().iter().find(|d| d.role == Role::Backup && d.interface == name);
        let Some((spec, (to, at, message))) = backup.zip(datagram(frame)) else { return };
        if to != spec.group || at.wrapping_sub(spec.port) >= ports(&self.store.settings()) {
            return;
        }
        let Ok(message) = Message::read(message) else { return };
        if spec.syncid != 0 && message.syncid() != spec.syncid {
            return;
        }
        for entry in message.entries().flatten() {
            self.director.accept(&entry, self.now);
        }
    }
}
