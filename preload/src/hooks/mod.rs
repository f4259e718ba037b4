//! The functions of the C library that the library takes the place of: each hands what is about IPVS to the inner modules, and
//! calls the C library's own for everything else. Nothing that goes wrong inside unwinds into a C program. They are found by their
//! names, which they do not have in the tests: there the C library's own are called.
#![allow(unreachable_pub, reason = "found by name, not by path")]
mod file;
mod program;
mod socket;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{next, settings, table};

/// What `act` gives; should it panic, `other`.
fn calmly<R>(other: R, act: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(other)
}

/// Run as the library is loaded: what may not be done later, in a signal handler or while other threads run.
extern "C" fn load() {
    calmly((), || {
        next::find_all();
        settings::get();
        table::watch_forks();
    });
}

// SAFETY: the section holds pointers to functions that are called as the library is loaded, and this is one.
#[used]
#[cfg_attr(not(test), unsafe(link_section = ".init_array"))]
static LOAD: extern "C" fn() = load;
