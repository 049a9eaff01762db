//! Developer tasks: `cargo xtask ptx` builds the device code, `tidy` holds the workspace to what
//! ARCHITECTURE.md says, `readme` writes the README's table of times, `mutate` grades the grader, `bless` accepts new snapshots.
#![forbid(unsafe_code)]

mod ptx;
mod readme;
mod tidy;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build every kernel for every target into kernels-gpu/ptx/
    Ptx {
        /// Build and compare with what is checked in, and change nothing
        #[arg(long)]
        check: bool,
        /// Only this family
        #[arg(long)]
        family: Option<String>,
    },
    /// Check layering, file sizes, SAFETY comments, test discovery and the README's table
    Tidy,
    /// Write the README's table of times from the newest file in benches/results
    Readme {
        /// Say whether it is what it should be, and change nothing
        #[arg(long)]
        check: bool,
    },
    /// Make small mistakes in the kernels' PTX, and see which ones grading finds
    Mutate {
        /// Passed on: --quick, --count N, --seed N, --task T, --json F
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the tests and accept every snapshot as it is now
    Bless,
}

/// The workspace's root.
fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Ptx { check, family } => {
            ptx::run(&root(), check, family.as_deref()).map_err(|error| error.to_string())
        }
        Task::Tidy => tidy::run(&root()).and_then(|()| readme::run(&root(), true)),
        Task::Readme { check } => readme::run(&root(), check),
        Task::Mutate { arguments } => mutate(&arguments),
        Task::Bless => bless(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// A child, since this program must build where the kernels' PTX is stale, and `grading` must not.
fn mutate(arguments: &[String]) -> Result<(), String> {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--release", "--package", "grading", "--", "mutate"])
        .args(arguments)
        .current_dir(root())
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("too many mutants survived, or none were made".into())
    }
}

fn bless() -> Result<(), String> {
    let status = Command::new(env!("CARGO"))
        .args(["test", "--workspace"])
        .env("INSTA_UPDATE", "always")
        .current_dir(root())
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("some tests fail for other reasons".into())
    }
}
