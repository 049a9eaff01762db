//! `touchstone grade`.

use super::{DeviceName, refuse, task_names, unknown};
use clap::Args;
use grading::grade::{self, Event, Journal, Options, Paint};
use grading::submission::OpenOptions;
use grading::task::{self, Budget};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct GradeArguments {
    /// `builtin`: our own kernels; `plain[:ORDER]`: the plain f32 implementations; `mistake:NAME`:
    /// one of the known mistakes; else the folder or file of a manifest
    submission: String,
    /// Only this task; may be repeated
    #[arg(long = "task", value_name = "T")]
    tasks: Vec<String>,
    /// What kernels run on
    #[arg(long, value_enum, default_value_t)]
    device: DeviceName,
    /// A minute for all tasks (the default)
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// More cases, larger ones
    #[arg(long)]
    full: bool,
    /// The seed that cases are drawn from; without one it is random, and printed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the report to a file; one that is unfinished is taken up again
    #[arg(long, value_name = "F")]
    json: Option<PathBuf>,
    /// Refuse to grade programs when the kernel refuses a layer of their sandbox (exit code 4)
    #[arg(long)]
    require_sandbox: bool,
    /// Tasks graded at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

pub(crate) fn grade(arguments: &GradeArguments) -> ExitCode {
    let place = arguments.device.place();
    let isolation = OpenOptions {
        require_sandbox: arguments.require_sandbox,
        // The seed of a run that is taken up again stands in its report.
        hidden: report_folder(arguments.json.as_deref(), Path::new(&arguments.submission))
            .into_iter()
            .collect(),
        ..OpenOptions::default()
    };
    let source = match grade::source_with(&arguments.submission, place, isolation) {
        Ok(source) => source,
        Err(error) => return refuse(&error.into()),
    };
    let budget = match arguments.full {
        true => Budget::Full,
        false => Budget::Quick,
    };
    let mut options = Options::new(&arguments.submission, budget);
    if !arguments.tasks.is_empty() {
        options.tasks.clear();
        for name in &arguments.tasks {
            match task::named(name) {
                Some(task) => options.tasks.push(task.clone()),
                None => return unknown("task", name, &task_names()),
            }
        }
    }
    let mut journal = match &arguments.json {
        Some(path) => Journal::at(path),
        None => Journal::none(),
    };
    if let Some(seed) = arguments.seed {
        options.seed = seed;
        // An unfinished report of another seed is of another run.
        if journal.seed().is_some_and(|before| before != seed) {
            journal.forget();
        }
    }
    if let Some(jobs) = arguments.jobs {
        options.jobs = jobs.into();
    }
    options.device = match arguments.device {
        DeviceName::Vm => "the PTX machine".to_owned(),
        DeviceName::Cuda => "the first GPU".to_owned(),
    };
    let bar = bar(&options);
    let tell = |event: Event<'_>| match event {
        Event::Begun(..) => bar.tick(),
        Event::Checked(task, check) => {
            bar.set_message(format!("{task}::{}", check.name));
            bar.inc(1);
        }
        Event::Done(task) => bar.println(format!(
            "{} {}",
            task.grade.letter.as_deref().unwrap_or("-"),
            task.task
        )),
    };
    let graded = grade::grade(&*source, &options, &mut journal, &tell);
    bar.finish_and_clear();
    match graded {
        Ok(report) => {
            let paint = Paint::of(std::io::stdout().is_terminal());
            print!("{}", grade::render(&report, paint));
            ExitCode::from(report.exit_code())
        }
        Err(error) => refuse(&error),
    }
}

/// The folder of the report, which holds the seed of a run that is taken up again. One that programs
/// need to be able to see cannot be hidden.
fn report_folder(report: Option<&Path>, submission: &Path) -> Option<PathBuf> {
    let folder = report?.parent()?.canonicalize().ok()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut needed: Vec<PathBuf> = std::env::split_paths(&path).collect();
    needed.extend([std::env::temp_dir(), submission.to_owned()]);
    let is_needed = |path: &PathBuf| {
        let path = path.canonicalize();
        path.is_ok_and(|path| path.starts_with(&folder))
    };
    (!needed.iter().any(is_needed)).then_some(folder)
}

/// Hidden when stderr is no terminal.
fn bar(options: &Options) -> ProgressBar {
    let checks = options.tasks.iter().map(|task| task.checks.len() as u64);
    let bar = ProgressBar::with_draw_target(Some(checks.sum()), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
