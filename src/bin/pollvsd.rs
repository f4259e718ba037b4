//! The director.
fn main() {}
