//! ICMP echo (RFC 792, RFC 4443), by surge-ping. One socket for each family serves all probes.

use std::io;
use std::net::IpAddr;

use socket2::Type;
use surge_ping::{Client, Config, ICMP, PingIdentifier, PingSequence};
use tokio::sync::OnceCell;

use super::{Outcome, words};

/// What is sent along.
const PAYLOAD: [u8; 24] = *b"pollvs health check echo";

/// The sockets.
#[derive(Default)]
pub(super) struct Echoes {
    v4: OnceCell<Client>,
    v6: OnceCell<Client>,
}

impl std::fmt::Debug for Echoes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Echoes")
    }
}

impl Echoes {
    pub(super) async fn probe(&self, address: IpAddr) -> Outcome {
        let (cell, kind) = if address.is_ipv4() { (&self.v4, ICMP::V4) } else { (&self.v6, ICMP::V6) };
        let client = cell.get_or_try_init(|| async move { open(kind) }).await;
        let client = client.map_err(|e| format!("no socket for ICMP: {}", words(&e)))?;
        // The answer is known by these; two probes of one address at a time must not have the same.
        let mut pinger = client.pinger(address, PingIdentifier(rand::random())).await;
        pinger.timeout(super::super::plan::LONGEST_TIMEOUT);
        match pinger.ping(PingSequence(rand::random()), &PAYLOAD).await {
            Ok(_) => Ok("answered".to_owned()),
            Err(surge_ping::SurgeError::IOError(e)) => Err(words(&e)),
            Err(e) => Err(e.to_string()),
        }
    }
}

fn open(kind: ICMP) -> io::Result<Client> {
    // A raw socket: one for datagrams gives all probes one identifier.
    Client::new(&Config::builder().kind(kind).sock_type_hint(Type::RAW).build())
}
