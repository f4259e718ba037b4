//! The attributes of a synchronisation daemon (`IPVS_DAEMON_ATTR_*`), as both sides send them.

use super::attribute::{Attributes, Kind, Malformed, Writer};

const STATE: usize = 1;
const INTERFACE: usize = 2;
const SYNCID: usize = 3;
const MAXLEN: usize = 4;
const GROUP: usize = 5;
const GROUP6: usize = 6;
const PORT: usize = 7;
const TTL: usize = 8;

const KINDS: [Kind; 9] = [
    Kind::Ignored,
    Kind::Number(4),
    Kind::Name(15),
    Kind::Number(4),
    Kind::Number(2),
    Kind::Number(4),
    Kind::Long(16),
    Kind::Number(2),
    Kind::Number(1),
];

/// A daemon.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct DaemonAttributes {
    /// 1 master, 2 backup.
    pub(super) state: Option<u32>,
    pub(super) interface: Option<String>,
    pub(super) syncid: Option<u32>,
    pub(super) maxlen: Option<u16>,
    pub(super) port: Option<u16>,
    pub(super) ttl: Option<u8>,
    pub(super) group: Option<[u8; 4]>,
    pub(super) group6: Option<[u8; 16]>,
}

impl DaemonAttributes {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let a = Attributes::parse(bytes, &KINDS)?;
        Ok(Self {
            state: a.u32(STATE),
            interface: a.name(INTERFACE),
            syncid: a.u32(SYNCID),
            maxlen: a.u16(MAXLEN),
            // The one port that is not big-endian.
            port: a.u16(PORT),
            ttl: a.u8(TTL),
            group: a.padded(GROUP),
            group6: a.padded(GROUP6),
        })
    }

    /// In the kernel's order.
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u32(STATE, self.state);
        w.name(INTERFACE, self.interface.as_deref());
        w.u32(SYNCID, self.syncid);
        w.u16(MAXLEN, self.maxlen);
        w.u16(PORT, self.port);
        w.u8(TTL, self.ttl);
        w.put_some(GROUP6, self.group6);
        w.put_some(GROUP, self.group);
    }
}
