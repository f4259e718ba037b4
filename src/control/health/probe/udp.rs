//! A datagram. Where an answer is expected, it must come and hold what is expected; otherwise any answer is good, silence is good, and
//! only a refusal by ICMP is bad.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::net::UdpSocket;

use super::super::plan::Exchange;
use super::{Outcome, excerpt, holds, words};

/// The longest datagram.
const LONGEST: usize = 65_535;

pub(super) async fn probe(exchange: &Exchange) -> Outcome {
    let any: IpAddr = if exchange.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(|e| words(&e))?;
    // Connected, so that nobody else's answer counts, and a refusal is told.
    socket.connect(exchange.to).await.map_err(|e| words(&e))?;
    socket.send(&exchange.send).await.map_err(|e| words(&e))?;
    let mut answer = vec![0; LONGEST];
    let length = socket.recv(&mut answer).await.map_err(|e| words(&e))?;
    match &exchange.expect {
        None => Ok("answered".to_owned()),
        Some(expected) if holds(&answer[..length], expected) => Ok("answered as expected".to_owned()),
        Some(_) => Err(format!("the answer does not hold what is expected: {}", excerpt(&answer[..length]))),
    }
}
