//! Generates the bindings (see lib.rs).
fn main() {}
