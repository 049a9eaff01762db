//! `touchstone new`.

use super::{USAGE, task_names, unknown};
use clap::{Args, ValueEnum};
use grading::new::{Language, next_step, write};
use grading::task;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct NewArguments {
    /// The task
    task: String,
    /// How it is submitted
    #[arg(long, value_enum)]
    lane: LaneName,
    /// What it is written in; python for the process lane and PTX by hand for the ptx lane, if left
    /// out
    #[arg(long, value_enum)]
    lang: Option<LanguageName>,
    /// The new folder; `my-TASK`, if left out
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LaneName {
    Rust,
    Ptx,
    Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LanguageName {
    Python,
    C,
    Cuda,
    Triton,
}

pub(crate) fn new(arguments: &NewArguments) -> ExitCode {
    let Some(task) = task::named(&arguments.task) else {
        return unknown("task", &arguments.task, &task_names());
    };
    let language = match (arguments.lane, arguments.lang) {
        (LaneName::Rust, None) => Language::Rust,
        (LaneName::Process, None | Some(LanguageName::Python)) => Language::Python,
        (LaneName::Process, Some(LanguageName::C)) => Language::C,
        (LaneName::Ptx, None) => Language::Ptx,
        (LaneName::Ptx, Some(LanguageName::Cuda)) => Language::Cuda,
        (LaneName::Ptx, Some(LanguageName::Triton)) => Language::Triton,
        (lane, Some(language)) => {
            eprintln!(
                "touchstone: the lane {lane:?} has no skeleton in {language:?}; process: python, c; \
                 ptx: cuda, triton, or none for PTX by hand; rust: none"
            );
            return ExitCode::from(USAGE);
        }
    };
    let default = || PathBuf::from(format!("my-{}", arguments.task));
    let folder = arguments.folder.clone().unwrap_or_else(default);
    match write(task, language, &folder) {
        Ok(()) => {
            println!(
                "a submission in {language} is in {}; grade it:",
                folder.display()
            );
            println!("    {}", next_step(task, language, &folder));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("touchstone: {error}");
            ExitCode::from(USAGE)
        }
    }
}
