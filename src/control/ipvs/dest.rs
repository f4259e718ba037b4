//! The attributes of a destination (`IPVS_DEST_ATTR_*`), as both sides send them.

use super::attribute::{Attributes, Kind, Malformed, Writer};
use super::stats::Stats;

const ADDRESS: usize = 1;
const PORT: usize = 2;
const METHOD: usize = 3;
const WEIGHT: usize = 4;
const UPPER: usize = 5;
const LOWER: usize = 6;
const ACTIVE: usize = 7;
const INACTIVE: usize = 8;
const PERSISTENT: usize = 9;
const STATS: usize = 10;
const AF: usize = 11;
const STATS64: usize = 12;
const TUNNEL_TYPE: usize = 13;
const TUNNEL_PORT: usize = 14;
const TUNNEL_FLAGS: usize = 15;

const KINDS: [Kind; 16] = [
    Kind::Ignored,
    Kind::Bytes(16),
    Kind::Number(2),
    Kind::Number(4),
    Kind::Number(4),
    Kind::Number(4),
    Kind::Number(4),
    Kind::Number(4),
    Kind::Number(4),
    Kind::Number(4),
    Kind::Nest,
    Kind::Number(2),
    Kind::Nest,
    Kind::Number(1),
    Kind::Number(2),
    Kind::Number(2),
];

/// A destination.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct DestAttributes {
    /// IPv4 in the first four bytes.
    pub(super) address: Option<[u8; 16]>,
    pub(super) port: Option<u16>,
    pub(super) method: Option<u32>,
    /// Signed in the kernel.
    pub(super) weight: Option<u32>,
    pub(super) tunnel_type: Option<u8>,
    pub(super) tunnel_port: Option<u16>,
    pub(super) tunnel_flags: Option<u16>,
    pub(super) upper: Option<u32>,
    pub(super) lower: Option<u32>,
    pub(super) active: Option<u32>,
    pub(super) inactive: Option<u32>,
    pub(super) persistent: Option<u32>,
    /// The service's unless given.
    pub(super) af: Option<u16>,
    pub(super) stats: Option<Stats>,
}

impl DestAttributes {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let a = Attributes::parse(bytes, &KINDS)?;
        Ok(Self {
            address: a.padded(ADDRESS),
            port: a.port(PORT),
            method: a.u32(METHOD),
            weight: a.u32(WEIGHT),
            tunnel_type: a.u8(TUNNEL_TYPE),
            tunnel_port: a.port(TUNNEL_PORT),
            tunnel_flags: a.u16(TUNNEL_FLAGS),
            upper: a.u32(UPPER),
            lower: a.u32(LOWER),
            active: a.u32(ACTIVE),
            inactive: a.u32(INACTIVE),
            persistent: a.u32(PERSISTENT),
            af: a.u16(AF),
            stats: Stats::parse(a.bytes(STATS), a.bytes(STATS64)),
        })
    }

    /// In the kernel's order.
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.put_some(ADDRESS, self.address);
        w.port(PORT, self.port);
        w.u32(METHOD, self.method);
        w.u32(WEIGHT, self.weight);
        w.u8(TUNNEL_TYPE, self.tunnel_type);
        w.port(TUNNEL_PORT, self.tunnel_port);
        w.u16(TUNNEL_FLAGS, self.tunnel_flags);
        w.u32(UPPER, self.upper);
        w.u32(LOWER, self.lower);
        w.u32(ACTIVE, self.active);
        w.u32(INACTIVE, self.inactive);
        w.u32(PERSISTENT, self.persistent);
        w.u16(AF, self.af);
        if let Some(stats) = &self.stats {
            stats.write(w, STATS, STATS64);
        }
    }
}
