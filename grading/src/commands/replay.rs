//! `touchstone replay`.

use super::{DeviceName, refuse, task_names, unknown};
use clap::Args;
use grading::grade::{self, Live, Paint};
use grading::task::{self, Dims};
use grading::verdict::Verdict;
use std::io::IsTerminal;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct ReplayArguments {
    /// The submission, as for `grade`
    submission: String,
    /// The check: softmax-topk::trap::all-equal
    #[arg(long)]
    check: String,
    /// The seed of the case
    #[arg(long, value_name = "N")]
    seed: u64,
    /// The sizes of the case: R=2,V=5
    #[arg(long, default_value = "")]
    dims: Dims,
    /// What kernels run on
    #[arg(long, value_enum, default_value_t)]
    device: DeviceName,
}

pub(crate) fn replay(arguments: &ReplayArguments) -> ExitCode {
    let source = match grade::source(&arguments.submission, arguments.device.place()) {
        Ok(source) => source,
        Err(error) => return refuse(&error.into()),
    };
    let (name, path) = arguments
        .check
        .split_once("::")
        .unwrap_or((&arguments.check, ""));
    let Some(task) = task::named(name) else {
        return unknown("task", name, &task_names());
    };
    let Some(check) = task.check(path) else {
        let known: Vec<String> = task.checks.iter().map(|c| c.path()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return unknown("check", path, &known);
    };
    let mut live = Live::new(&*source);
    let (dims, seed) = (&arguments.dims, arguments.seed);
    let report = grade::replay(task, check, &mut live, dims, seed, &arguments.submission);
    let paint = Paint::of(std::io::stdout().is_terminal());
    print!("{}", grade::render_check(&report, paint));
    ExitCode::from(match report.verdict {
        Verdict::Pass => 0,
        Verdict::Grader(_) => crate::EX_SOFTWARE,
        Verdict::NotAttempted(_) | Verdict::Unsupported(_) => 3,
        _ => 1,
    })
}
