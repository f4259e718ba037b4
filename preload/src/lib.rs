//! `libpollvs_ipvs.so`, for `LD_PRELOAD`: programs that speak to the kernel's IPVS (ipvsadm, keepalived, ldirectord) speak to
//! pollvsd, and notice nothing. `docs/drop-in.md` says how it is used.
//!
//! A generic-netlink socket stays the kernel's until the program sends the first message about IPVS. Then a connection to
//! pollvsd, which answers with the kernel's own messages, takes its place under the same descriptor ([`netlink`]): other netlink
//! sockets of the process are not touched, and what was done to this one before stays true. `/proc/net/ip_vs*` is opened at
//! pollvsd as well ([`texts`]).
//!
//! A kernel never hangs up. So a director that ends is never seen as an end of file or as an error of the socket, with which
//! programs do not reckon (keepalived 2.2.7 spins on the first and takes the second for success): the library connects again,
//! waits for a director that restarts, sends the request again, and where all that fails it answers in the kernel's own form, an
//! NLMSG_ERROR.
//!
//! What is pure (messages, what is owed, names, settings) stands in files without `unsafe`, with their tests.
//! No function here allocates or takes a lock for a descriptor that has nothing to do with IPVS.

mod director;
mod errno;
#[cfg_attr(test, allow(dead_code, reason = "in the tests nothing finds them by name"))]
mod hooks;
mod message;
mod netlink;
mod next;
mod owed;
mod parts;
mod proc_path;
mod say;
mod settings;
mod socket;
mod strict;
mod table;
mod texts;
