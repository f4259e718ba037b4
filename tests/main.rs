//! The integration tests, one program: a module a subject.
#![allow(clippy::unwrap_used, missing_docs)]

mod alloc;
mod benches;
mod control;
mod directors;
#[path = "fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a crate of its own as well")]
mod fuzz;
mod ipvs;
mod layering;
mod namespaces;
mod packets;
mod parity;
mod seeing;
mod world;
