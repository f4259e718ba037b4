//! The bodies of the fuzz targets, each a function of any bytes that panics when a promise is broken; and the seeds.

pub mod app;
pub mod control;
pub mod fragments;
pub mod handover;
pub mod netlink;
pub mod pcap;
pub mod process;
pub mod replay;
pub mod seeds;
pub mod sync;
pub mod wire;
