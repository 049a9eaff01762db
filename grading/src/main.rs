//! The `touchstone` command.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use grading::doctor;
use std::path::Path;
use std::process::ExitCode;

/// Our own fault, by sysexits.
const EX_SOFTWARE: u8 = 70;

#[derive(Parser)]
#[command(
    name = "touchstone",
    version,
    about = "Tests GPU kernels against float64 oracles"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what this machine has of what the project can use, and how to get the rest
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Doctor { json } => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let target = root.parent().unwrap_or(root).join("target");
            let report = doctor::Report::examine(&target);
            if !json {
                print!("{report}");
                return ExitCode::SUCCESS;
            }
            match serde_json::to_string_pretty(&report) {
                Ok(text) => {
                    println!("{text}");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("touchstone: the report cannot be written as JSON: {error}");
                    ExitCode::from(EX_SOFTWARE)
                }
            }
        }
    }
}
