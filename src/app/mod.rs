//! Application helpers: what a balancer must know of protocols that name addresses inside their data (`ip_vs_app.c`). FTP's control
//! connection announces data connections. Parsing is apart from state, and the state lies in a bounded table beside the
//! connections, laid out whole at start, in which a connection's `side` is its place.

pub mod ftp;
pub mod sequence;
pub mod slab;

use sequence::Sequences;
use slab::Slab;

/// The state of the helpers.
#[derive(Debug)]
pub struct Apps {
    /// FTP control connections that have asked for a passive data connection, by [`crate::conn::Connection::side`].
    pub ftp: Slab<ftp::Control>,
}

impl Apps {
    /// Room for so many FTP control connections that have asked for passive data connections.
    pub fn new(ftp: u32) -> Self {
        Self { ftp: Slab::new(ftp) }
    }

    /// Bytes that the state takes.
    pub fn bytes_for(ftp: u32) -> usize {
        Slab::<ftp::Control>::bytes_for(ftp)
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
