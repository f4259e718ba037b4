//! The DPDK edge: the environment (`eal`), frame buffers (`mbuf`), ports and their queues (`port`, `queue`). All of pollvs that
//! calls DPDK is here; what leaves this module is safe to use. DPDK 22.11, Programmer's Guide: Environment Abstraction
//! Layer, Mbuf Library, Poll Mode Driver.
//!
//! The order of a start: [`Eal::start`], an [`MbufPool`], [`Port::open`] for each device, then a [`DpdkIo`] for each worker from
//! one [`Queue`] of every port. Each worker's thread calls [`register_thread`] once, after pinning itself.
#![allow(unsafe_code)]

mod eal;
mod gate;
pub mod huge;
mod mbuf;
mod port;
mod queue;
pub mod ring;

pub use eal::{Eal, EalError, EalOptions, HugePages, RegisteredThread, register_thread};
pub use mbuf::{Mbuf, MbufPool, PoolError};
pub use port::{Found, Port, PortError, PortSettings};
pub use queue::{DpdkIo, Queue};

use std::ffi::{CStr, CString};

/// What an error number of DPDK's means, in words. Functions return it negative or leave it in `rte_errno`.
fn reason(errno: i32) -> String {
    // SAFETY: rte_strerror returns a NUL-terminated string for any number, in a buffer of the calling thread.
    let words = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno.abs())) };
    words.to_string_lossy().into_owned()
}

/// The reason of the last failure in this thread.
fn last_errno() -> i32 {
    // SAFETY: reads a thread-local variable.
    unsafe { dpdk_sys::dpdk_errno() }
}

/// Text for DPDK. Nothing behind a NUL would reach it.
fn c_string(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}
