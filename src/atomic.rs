//! The atomics of what threads tell each other: the standard library's. `tests/loom` puts loom's in their place.

pub use std::sync::atomic::{AtomicU64, Ordering};
