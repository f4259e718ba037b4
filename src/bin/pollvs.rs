//! The control client.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pollvs::replay;

/// Controls the pollvs director.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the director on a recorded scenario, with a virtual clock.
    Replay(replay::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Replay(arguments) => match replay::replay(&arguments.scenario, &arguments.out) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("pollvs: {error}");
                ExitCode::from(2)
            }
        },
    }
}
