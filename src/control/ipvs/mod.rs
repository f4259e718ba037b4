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
pub mod server;
mod service;
mod stats;
mod timeouts;
mod translate;
