//! Tunnels for what this machine's own kernel sends: how a real server behind a tunnel is asked by the virtual address. The kernel need
//! know nothing of tunnels: it sends by a TAP of its own, on which every tunnel is a made-up neighbour, and what arrives there is
//! encapsulated as the data path does it and sent on by a raw socket (raw(7)), as any packet of the director's own.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

use super::tap::Tap;
use crate::addr::MacAddr;
use crate::destination::Tunnel;
use crate::forward::{ETHERNET, Offsets, tun};
use crate::frame::Frame;
use crate::io::memory::VecFrame;
use crate::wire::{ethernet, ipv4, ipv6};

/// Name of the TAP.
const NAME: &str = "pollvs-checks";
/// Its MTU in bytes: the longest outer headers (IPv6, UDP, GUE: 52 bytes) still fit into 1500.
const MTU: u16 = 1400;
/// The TAP's own MAC, and what those of its neighbours begin with.
const MAC: MacAddr = MacAddr([0x02, 0x70, 0x6f, 0, 0, 0]);
/// `IPPROTO_RAW`: the IP header is the sender's own.
const RAW: i32 = 255;
/// Tokens of the TAP and of the waker.
const READABLE: Token = Token(0);
const WAKE: Token = Token(1);
/// The first of the source ports of GUE.
const PORTS: u16 = 0xc000;

/// Where the packets to one neighbour go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct End {
    /// The director's address.
    pub(super) from: IpAddr,
    /// The real server.
    pub(super) to: IpAddr,
    /// The encapsulation.
    pub(super) tunnel: Tunnel,
}

type Ends = Arc<Mutex<HashMap<u16, End>>>;

/// The TAP, the tunnels behind it, and the thread that carries between them. All go when this is dropped.
#[derive(Debug)]
pub(super) struct Tunnels {
    ends: Ends,
    interface: u32,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            // It does not panic; and there is nothing to be done here if it did.
            let _ = thread.join();
        }
    }
}

impl Tunnels {
    /// Makes the TAP, and carries what the kernel sends there.
    ///
    /// # Errors
    /// When the TAP cannot be made, or the operating system gives no thread.
    pub(super) fn open() -> io::Result<Self> {
        let tap = Tap::create(NAME, MAC, MTU, false).map_err(io::Error::other)?;
        let (interface, ends, stop) = (tap.index(), Ends::default(), Arc::default());
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&tap.as_raw_fd()), READABLE, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let ferry = Ferry { tap, poll, ends: Arc::clone(&ends), stop: Arc::clone(&stop), raw: Raw::default() };
        let thread = std::thread::Builder::new().name("check-tunnels".to_owned()).spawn(move || ferry.run())?;
        Ok(Self { ends, interface, stop, waker, thread: Some(thread) })
    }

    /// Index of the TAP.
    pub(super) fn interface(&self) -> u32 {
        self.interface
    }

    /// Has what is sent to a neighbour go there.
    pub(super) fn set(&self, number: u16, end: End) {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).insert(number, end);
    }

    /// What is sent to that neighbour goes nowhere.
    pub(super) fn remove(&self, number: u16) {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Are there none?
    pub(super) fn is_empty(&self) -> bool {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// The neighbour of that number: an address of the family, link-local, for only the TAP knows it; and its MAC.
pub(super) fn neighbour(number: u16, v6: bool) -> (IpAddr, MacAddr) {
    let [high, low] = number.to_be_bytes();
    let address = match v6 {
        false => Ipv4Addr::new(169, 254, high, low).into(),
        true => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number).into(),
    };
    (address, MacAddr([MAC.0[0], MAC.0[1], MAC.0[2], 1, high, low]))
}

/// The number of the neighbour that a frame is for; none for what the kernel says to all.
fn number(frame: &[u8]) -> Option<u16> {
    match frame.first_chunk()? {
        &[a, b, c, 1, high, low] if [a, b, c] == MAC.0[..3] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// What the thread owns.
struct Ferry {
    tap: Tap,
    poll: Poll,
    ends: Ends,
    stop: Arc<AtomicBool>,
    raw: Raw,
}

impl Ferry {
    fn run(mut self) {
        let (mut events, mut buffer) = (Events::with_capacity(2), vec![0; usize::from(MTU) + ETHERNET]);
        while !self.stop.load(Ordering::Acquire) {
            match self.tap.read(&mut buffer) {
                Ok(length) => self.carry(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Interrupted by a signal, it is called again.
                    let _ = self.poll.poll(&mut events, None);
                }
                Err(error) => return tracing::error!("{NAME} was deleted, or does not work: {error}"),
            }
        }
    }

    fn carry(&mut self, frame: &[u8]) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let found = number(frame).and_then(|number| Some((number, *ends.get(&number)?)));
        drop(ends);
        let Some((number, end)) = found else { return };
        // A packet that is lost is sent again, or its check fails.
        if let Some(packet) = encapsulate(frame, number, end)
            && let Err(error) = self.raw.send(&packet, end.to)
        {
            tracing::debug!("a check through the tunnel to {}: {error}", end.to);
        }
    }
}

/// The frame's packet with its outer headers; none if it is no IP.
fn encapsulate(frame: &[u8], number: u16, End { from, to, tunnel }: End) -> Option<Vec<u8>> {
    let packet = frame.get(ETHERNET..)?;
    let (end, dont_fragment) = match u16::from_be_bytes([frame[12], frame[13]]) {
        ethernet::ethertype::IPV4 => {
            let ip = ipv4::Packet::new_checked(packet).ok()?;
            (ip.total_len().into(), ip.dont_fragment())
        }
        ethernet::ethertype::IPV6 => (ipv6::Packet::new_checked(packet).ok()?.total_len(), true),
        _ => return None,
    };
    let at = Offsets { l3: ETHERNET, l4: ETHERNET, end: ETHERNET + end, protocol: 0 };
    let outer = tun::Outer { from, to, tunnel, ident: 0, dont_fragment, source_port: PORTS | number };
    let mut frame = VecFrame::new(frame);
    tun::encapsulate(&mut frame, &at, &outer).then(|| frame.bytes()[ETHERNET..].to_vec())
}

/// Raw sockets of both families, each opened when it is needed.
#[derive(Default)]
struct Raw {
    v4: Option<Socket>,
    v6: Option<Socket>,
}

impl Raw {
    fn send(&mut self, packet: &[u8], to: IpAddr) -> io::Result<()> {
        let (socket, domain) = match to {
            IpAddr::V4(_) => (&mut self.v4, Domain::IPV4),
            IpAddr::V6(_) => (&mut self.v6, Domain::IPV6),
        };
        let socket = match socket {
            Some(socket) => socket,
            None => socket.insert(open(domain)?),
        };
        socket.send_to(packet, &SocketAddr::new(to, 0).into()).map(drop)
    }
}

fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sample::{at, tcp};

    fn frame(number: u16) -> Vec<u8> {
        let mut frame = tcp(at("198.51.100.1:40000"), at("192.0.2.10:80")).frame();
        frame[..6].copy_from_slice(&neighbour(number, false).1.0);
        frame
    }

    #[test]
    fn a_neighbours_mac_says_which_tunnel_is_meant() {
        for of in [1, 300, 4095] {
            assert_eq!(number(&frame(of)), Some(of));
            let [v4, v6] = [false, true].map(|v6| neighbour(of, v6));
            assert!(v4.0.is_ipv4() && v6.0.is_ipv6() && v4.1 == v6.1 && v4.1.is_unicast() && v4.1 != MAC);
        }
        assert_eq!([&[0xff; 60][..], &MAC.0, &[0x33; 60], &[]].map(number), [None; 4]);
    }

    #[test]
    fn what_is_sent_is_the_packet_in_the_outer_headers_of_the_data_path() {
        let (from, to) = (IpAddr::from([198, 51, 100, 1]), IpAddr::from([198, 51, 100, 11]));
        let frame = frame(7);
        for (tunnel, headers) in [
            (Tunnel::Ipip, 20),
            (Tunnel::Gre { checksum: true }, 28),
            (Tunnel::Gue { port: 6080, checksum: true, remote_checksum: false }, 32),
        ] {
            let sent = encapsulate(&frame, 7, End { from, to, tunnel }).unwrap();
            let outer = ipv4::Packet::new_checked(&sent[..]).unwrap();
            assert_eq!((outer.src(), outer.dst()), ([198, 51, 100, 1].into(), [198, 51, 100, 11].into()));
            assert!(outer.is_intact() && sent[headers..] == frame[ETHERNET..], "{tunnel:?}");
        }
        let end = End { from, to, tunnel: Tunnel::Ipip };
        let arp = [&frame[..12], &[8, 6], &frame[14..]].concat();
        for odd in [&arp[..], &frame[..20], &frame[..5], &[]] {
            assert_eq!(encapsulate(odd, 7, end), None);
        }
    }
}
