//! The attributes of a service (`IPVS_SVC_ATTR_*`), as both sides send them.

use std::borrow::Cow;

use super::attribute::{Attributes, Kind, Malformed, Writer};
use super::stats::Stats;

const AF: usize = 1;
const PROTOCOL: usize = 2;
const ADDRESS: usize = 3;
const PORT: usize = 4;
const MARK: usize = 5;
const SCHEDULER: usize = 6;
const FLAGS: usize = 7;
const TIMEOUT: usize = 8;
const NETMASK: usize = 9;
const STATS: usize = 10;
const ENGINE: usize = 11;
const STATS64: usize = 12;

const KINDS: [Kind; 13] = [
    Kind::Ignored,
    Kind::Number(2),
    Kind::Number(2),
    Kind::Bytes(16),
    Kind::Number(2),
    Kind::Number(4),
    Kind::Name(15),
    Kind::Bytes(8),
    Kind::Number(4),
    Kind::Number(4),
    Kind::Nest,
    Kind::Name(16),
    Kind::Nest,
];

/// Flags, and which of them are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flags {
    pub(super) flags: u32,
    pub(super) mask: u32,
}

impl Flags {
    fn parse(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { flags: u32::from_ne_bytes([a, b, c, d]), mask: u32::from_ne_bytes([e, f, g, h]) }
    }

    fn bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.mask.to_ne_bytes());
        bytes
    }

    /// The flags that these make of others.
    pub(super) fn over(self, old: u32) -> u32 {
        (old & !self.mask) | (self.flags & self.mask)
    }
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct ServiceAttributes {
    pub(super) af: Option<u16>,
    pub(super) protocol: Option<u16>,
    /// IPv4 in the first four bytes.
    pub(super) address: Option<[u8; 16]>,
    pub(super) port: Option<u16>,
    pub(super) mark: Option<u32>,
    pub(super) scheduler: Option<Cow<'static, str>>,
    pub(super) engine: Option<Cow<'static, str>>,
    pub(super) flags: Option<Flags>,
    /// Seconds.
    pub(super) timeout: Option<u32>,
    /// As it stands in the message: an IPv4 mask big-endian, an IPv6 prefix length native.
    pub(super) netmask: Option<[u8; 4]>,
    pub(super) stats: Option<Stats>,
}

impl ServiceAttributes {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let a = Attributes::parse(bytes, &KINDS)?;
        Ok(Self {
            af: a.u16(AF),
            protocol: a.u16(PROTOCOL),
            address: a.padded(ADDRESS),
            port: a.port(PORT),
            mark: a.u32(MARK),
            scheduler: a.name(SCHEDULER).map(Cow::Owned),
            engine: a.name(ENGINE).map(Cow::Owned),
            flags: a.padded(FLAGS).map(Flags::parse),
            timeout: a.u32(TIMEOUT),
            netmask: a.padded(NETMASK),
            stats: Stats::parse(a.bytes(STATS), a.bytes(STATS64)),
        })
    }

    /// In the kernel's order.
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u16(AF, self.af);
        w.u32(MARK, self.mark);
        w.u16(PROTOCOL, self.protocol);
        w.put_some(ADDRESS, self.address);
        w.port(PORT, self.port);
        w.name(SCHEDULER, self.scheduler.as_deref());
        w.name(ENGINE, self.engine.as_deref());
        w.put_some(FLAGS, self.flags.map(Flags::bytes));
        w.u32(TIMEOUT, self.timeout);
        w.put_some(NETMASK, self.netmask);
        if let Some(stats) = &self.stats {
            stats.write(w, STATS, STATS64);
        }
    }
}
