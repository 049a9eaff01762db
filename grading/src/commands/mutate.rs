//! `touchstone mutate`: what `cargo xtask mutate` runs.

use super::{USAGE, task_names, unknown};
use clap::Args;
use grading::mutate::{self, Fate, MutantReport, MutationReport, Options};
use grading::task::{self, Budget};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Goal for the mutants that are not known to be equivalent.
const GOAL: f64 = 0.97;

#[derive(Args, Debug)]
pub(crate) struct MutateArguments {
    /// How many mutants
    #[arg(long, default_value_t = 500)]
    count: usize,
    /// Which mutants, and which cases they are asked
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ask them only what `grade --quick` asks, instead of that and twice what `--full` asks
    #[arg(long)]
    quick: bool,
    /// Only the kernels of this task; may be repeated
    #[arg(long = "task", value_name = "T")]
    tasks: Vec<String>,
    /// In place of drawn mutants the survivors of an earlier run, from its `--json` file
    #[arg(long, value_name = "F")]
    again: Option<PathBuf>,
    /// Write every mutant and what became of it to a file
    #[arg(long, value_name = "F")]
    json: Option<PathBuf>,
}

pub(crate) fn mutate(arguments: &MutateArguments) -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = root.parent().unwrap_or(root);
    let options = Options::of_checkout(root, arguments.count, arguments.seed);
    let mut options = match options {
        Ok(options) => options,
        Err(error) => {
            eprintln!("touchstone: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if arguments.quick {
        options
            .rounds
            .retain(|(budget, _)| *budget == Budget::Quick);
    }
    if !arguments.tasks.is_empty() {
        options.tasks.clear();
        for name in &arguments.tasks {
            match task::named(name) {
                Some(task) => options.tasks.push(task.clone()),
                None => return unknown("task", name, &task_names()),
            }
        }
    }
    if let Some(path) = &arguments.again {
        let read = std::fs::read(path).map_err(|error| error.to_string());
        let report = read.and_then(|json| {
            serde_json::from_slice::<MutationReport>(&json).map_err(|error| error.to_string())
        });
        match report {
            Ok(report) => options.again = Some(report.survivors().cloned().collect()),
            Err(why) => {
                eprintln!("touchstone: {}: {why}", path.display());
                return ExitCode::from(USAGE);
            }
        }
    }
    let bar =
        ProgressBar::with_draw_target(Some(arguments.count as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    let tell = |valid: usize, _: usize, mutant: &MutantReport| {
        bar.set_position(valid as u64);
        if mutant.fate == Fate::Survived {
            bar.set_message(format!("survived: {} -> {}", mutant.from, mutant.to));
        }
    };
    let report = mutate::run(&options, &tell);
    bar.finish_and_clear();
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            eprintln!("touchstone: {error}");
            return ExitCode::from(USAGE);
        }
    };
    print!("{report}");
    if let Some(path) = &arguments.json {
        let written = serde_json::to_string_pretty(&report)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(path, text + "\n"));
        if let Err(error) = written {
            eprintln!("touchstone: {}: {error}", path.display());
            return ExitCode::from(USAGE);
        }
    }
    let refuted = report.refuted().count() > 0;
    ExitCode::from(u8::from(report.kill_rate() < GOAL || refuted))
}
