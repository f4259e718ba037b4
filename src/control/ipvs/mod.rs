//! The netlink interface of the kernel's IPVS (`include/uapi/linux/ip_vs.h`) on a unix socket, for the programs that were written for
//! the kernel: ipvsadm, keepalived. `docs/ipvs.md` tells what differs.

mod attribute;
mod command;
mod daemon;
mod dest;
mod errno;
mod family;
mod handle;
mod message;
mod proc;
pub mod server;
mod service;
mod stats;
mod timeouts;
mod translate;

#[cfg(test)]
mod tests;

use crate::control::Control;

impl Control {
    /// Answers a datagram of a client that may do everything: what a client of the socket receives, datagram by datagram. Never
    /// panics, whatever the bytes are.
    pub async fn answer_datagram(&self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.answer_datagram_as(datagram, true).await
    }

    /// The same of a client that may nothing, unless `allowed`.
    pub(super) async fn answer_datagram_as(&self, datagram: &[u8], allowed: bool) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for request in message::Request::all(datagram) {
            let mut answers = self.ipvs(request, allowed).await;
            all.extend(std::iter::from_fn(|| answers.next()));
        }
        all
    }
}

/// Are the attributes of every message of a datagram read again as they were, after they have been written? For tests of the codec.
pub fn reads_back(datagram: &[u8]) -> bool {
    message::Request::all(datagram).filter_map(|request| request.command()).all(|(_, attributes)| {
        let Ok(body) = command::Body::parse(attributes) else { return true };
        let mut written = Vec::new();
        body.write(&mut attribute::Writer(&mut written));
        command::Body::parse(&written).as_ref() == Ok(&body.without_malformed())
    })
}
