//! pollvs: the Linux Virtual Server (LVS/IPVS) rebuilt as a poll-mode forwarder.
//!
//! The core (the director and all it stands on) is pure: packets in, verdicts out, time passed in. DPDK, threads, sockets and clocks
//! live above it.

pub mod addr;
pub mod app;
pub mod atomic;
pub mod burst;
pub mod burst_meter;
pub mod cli;
pub mod config;
pub mod conn;
pub mod control;
pub mod counted;
pub mod destination;
pub mod director;
pub mod family;
pub mod forward;
pub mod fragments;
pub mod frame;
pub mod handoff;
pub mod hash;
pub mod hold;
pub mod io;
pub mod kernel;
pub mod load_board;
pub mod mailbox;
pub mod mark;
pub mod netmask;
pub mod network;
pub mod packet;
mod place;
pub mod prefetch;
pub mod proto;
pub mod ready;
pub mod replay;
pub mod scheduler;
pub mod service;
pub mod settings;
pub mod shelf;
pub mod snapshot;
pub mod stats;
pub mod steering;
pub mod sync;
pub mod tap;
pub mod time;
pub mod verdict;
pub mod wire;
pub mod worker;
