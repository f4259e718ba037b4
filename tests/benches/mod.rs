//! What the benches stand on: the packets that they make, the picture that they draw, and the record of instructions.

#[path = "../../benches/forwarding/draw.rs"]
mod draw;
#[allow(dead_code, reason = "some of it is for benches alone")]
#[path = "../../benches/traffic/generator.rs"]
mod generator;
#[path = "../../benches/traffic/mix.rs"]
mod mix;
#[allow(dead_code, reason = "some of it is for benches alone")]
#[path = "../../benches/forwarding/report.rs"]
mod report;

mod instructions;
mod packets;
mod picture;
mod traffic;
