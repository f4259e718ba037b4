//! The integration tests, one program: a module a subject.
#![allow(clippy::unwrap_used, missing_docs)]

mod namespaces;
