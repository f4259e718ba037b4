//! Health checks of real servers (`docs/health.md`): what is to be checked ([`spec`], [`plan`]), when ([`pace`]), by what ([`probe`]), and
//! what comes of it ([`machine`]). They run on control's thread, a task for each destination, and wait for nobody but their own server;
//! what they find is told to whoever puts it in force.

pub mod board;
pub mod engine;
pub mod machine;
pub mod pace;
pub mod plan;
pub mod probe;
pub mod rules;
mod run;
pub mod spec;
pub mod value;
pub mod view;

#[cfg(test)]
mod tests;
