//! What the benches stand on: the packets that they make, and the picture that they draw.

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

mod packets;
mod picture;
mod traffic;
