//! The bodies of the fuzz targets, each a function of any bytes that panics when a promise is broken; and the seeds.

pub mod pcap;
pub mod seeds;
pub mod wire;
