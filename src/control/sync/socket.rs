//! The sockets of the daemons, as the kernel opens its own (`make_send_sock`, `make_receive_sock`): bound to one interface, own
//! messages not heard, TTL as it was asked for.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::link;
use crate::control::daemon::DaemonSpec;

/// Connections to a listener that may wait.
const BACKLOG: i32 = 8;

fn open(spec: &DaemonSpec, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let domain = if spec.group.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(spec.interface.as_bytes()))?;
    Ok(socket)
}

/// The group's address at a port, on the interface.
fn group(spec: &DaemonSpec, port: u16) -> io::Result<SocketAddr> {
    Ok(match spec.group {
        IpAddr::V4(group) => SocketAddr::from((group, port)),
        IpAddr::V6(group) => SocketAddrV6::new(group, port, 0, link::index(&spec.interface)?).into(),
    })
}

/// The interface's own address at a port.
fn own(spec: &DaemonSpec, port: u16) -> SocketAddr {
    match spec.group {
        IpAddr::V4(_) => (link::first4(&spec.interface), port).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

/// A socket that sends to the group from an address of the interface.
fn sender(spec: &DaemonSpec, size: i32) -> io::Result<Socket> {
    let socket = open(spec, Type::DGRAM, Protocol::UDP)?;
    if spec.group.is_ipv6() {
        socket.set_multicast_if_v6(link::index(&spec.interface)?)?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_hops_v6(spec.ttl.into())?;
    } else {
        socket.set_multicast_if_v4(&link::first4(&spec.interface))?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_multicast_ttl_v4(spec.ttl.into())?;
    }
    if let Some(size) = usize::try_from(size).ok().filter(|size| *size > 0) {
        socket.set_send_buffer_size(size)?;
    }
    socket.bind(&own(spec, 0).into())?;
    Ok(socket)
}

/// A master's socket for one of its ports.
///
/// # Errors
/// As the system has it.
pub(super) fn sending(spec: &DaemonSpec, port: u16, size: i32) -> io::Result<UdpSocket> {
    let socket = sender(spec, size)?;
    socket.connect(&group(spec, port)?.into())?;
    UdpSocket::from_std(socket.into())
}

/// A socket that asks the group and hears who answers.
///
/// # Errors
/// As the system has it.
pub(super) fn asking(spec: &DaemonSpec) -> io::Result<(UdpSocket, SocketAddr)> {
    let to = group(spec, spec.port)?;
    Ok((UdpSocket::from_std(sender(spec, 0)?.into())?, to))
}

/// A socket that hears the group at a port.
///
/// # Errors
/// As the system has it.
pub(super) fn receiving(spec: &DaemonSpec, port: u16, size: i32) -> io::Result<UdpSocket> {
    let socket = open(spec, Type::DGRAM, Protocol::UDP)?;
    let index = link::index(&spec.interface)?;
    socket.set_reuse_address(true)?;
    if let Some(size) = usize::try_from(size).ok().filter(|size| *size > 0) {
        socket.set_recv_buffer_size(size)?;
    }
    socket.bind(&SockAddr::from(group(spec, port)?))?;
    match spec.group {
        IpAddr::V4(group) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
        }
        IpAddr::V6(group) => {
            socket.join_multicast_v6(&group, index)?;
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
        }
    }
    UdpSocket::from_std(socket.into())
}

/// A master's listener for directors that join.
///
/// # Errors
/// As the system has it.
pub(super) fn listening(spec: &DaemonSpec) -> io::Result<TcpListener> {
    let socket = open(spec, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&own(spec, spec.port).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A connection to a master by the interface.
///
/// # Errors
/// As the system has it.
pub(super) async fn connect(spec: &DaemonSpec, mut to: SocketAddr) -> io::Result<TcpStream> {
    to.set_port(spec.port);
    let socket = open(spec, Type::STREAM, Protocol::TCP)?;
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) from: SocketAddr,
    /// TTL or hop limit that it arrived with.
    pub(super) ttl: u8,
}

/// Waits for a datagram.
///
/// # Errors
/// As the system has it.
pub(super) async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    socket.async_io(Interest::READABLE, || take(socket, buffer)).await
}

/// A datagram that is here already.
pub(super) fn try_receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<Received> {
    socket.try_io(Interest::READABLE, || take(socket, buffer)).ok()
}

fn take(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut space = nix::cmsg_space!(i32, i32);
    let got = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let ttl = |message| match message {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => u8::try_from(ttl).ok(),
        _ => None,
    };
    let ttl = got.cmsgs().into_iter().flatten().find_map(ttl).unwrap_or(0);
    let from = got.address.and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|a| SocketAddr::from((a.ip(), a.port())));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| SocketAddrV6::new(a.ip(), a.port(), 0, a.scope_id()).into()))
    });
    let from = from.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
    Ok(Received { length: got.bytes, from, ttl })
}
