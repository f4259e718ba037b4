//! Application helpers: what a balancer must know of protocols that name addresses inside their data or belong together by a name in
//! it (`ip_vs_app.c`, `ip_vs_pe.c`). FTP's control connection announces data connections, SIP's messages carry a Call-ID. Parsing is
//! apart from state, and the state lies in bounded tables beside the connections, laid out whole at start, in which the `side` of a
//! connection or template is its place.

pub mod ftp;
pub mod sequence;
pub mod sip;
pub mod slab;

use sequence::Sequences;
use slab::Slab;

/// The state of the helpers.
#[derive(Debug)]
pub struct Apps {
    /// FTP control connections that have asked for a passive data connection, by [`crate::conn::Connection::side`].
    pub ftp: Slab<ftp::Control>,
    /// Call-IDs of templates, by `side` too.
    pub calls: Slab<sip::CallId>,
}

impl Apps {
    /// Room for so many FTP control connections that have asked for passive data connections, and so many Call-IDs.
    pub fn new(ftp: u32, calls: u32) -> Self {
        Self { ftp: Slab::new(ftp), calls: Slab::new(calls) }
    }

    /// Bytes that the state takes.
    pub fn bytes_for(ftp: u32, calls: u32) -> usize {
        Slab::<ftp::Control>::bytes_for(ftp) + Slab::<sip::CallId>::bytes_for(calls)
    }

    /// What a connection's helper has shifted, by the connection's `side`; nothing for 0.
    pub fn sequences(&self, side: u16) -> Sequences {
        self.ftp.get(side).map(|control| control.sequences).unwrap_or_default()
    }

    /// Sets what is shifted, for a connection that another director had before. Returns the connection's `side` from now on; `None`
    /// when there is no room.
    pub fn set_sequences(&mut self, side: u16, sequences: Sequences) -> Option<u16> {
        let side = if side == 0 { self.ftp.take()? } else { side };
        self.ftp.get_mut(side)?.sequences = sequences;
        Some(side)
    }
}
