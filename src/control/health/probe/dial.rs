//! Connections of probes, with a mark for policy routing where they take a way of their own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// A TCP connection.
pub(super) async fn tcp(to: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    set(&socket, mark)?;
    socket.connect(to).await
}

/// A socket for datagrams to one other, connected, so that nobody else's answers count and a refusal is told.
pub(super) async fn udp(to: SocketAddr, mark: Option<u32>) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    set(&socket, mark)?;
    socket.connect(to).await?;
    Ok(socket)
}

fn set(socket: &impl AsFd, mark: Option<u32>) -> io::Result<()> {
    mark.map_or(Ok(()), |mark| SockRef::from(socket).set_mark(mark))
}
