//! Grading: every check of every task that a submission claims, and what came of it.

mod case;
mod journal;
mod render;
mod report;
mod rubric;
mod source;

pub use case::{Live, replay, run_check};
pub use journal::{Journal, JournalError};
pub use render::{Paint, render, render_check};
pub use report::{
    CheckReport, CountReport, FigureReport, Grade, LevelReport, Lost, Machine, Overall, Report,
    SCHEMA, TaskReport,
};
pub use rubric::TEXT as RUBRIC;
pub use source::{
    BuiltinSource, HonestSource, ManifestSource, OpenError, Source, source, source_with,
};

use crate::submission::Submission;
use crate::task::{self, Budget, Task};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What to grade, and how.
#[derive(Clone)]
pub struct Options {
    /// The tasks.
    pub tasks: Vec<Arc<Task>>,
    /// How much is asked.
    pub budget: Budget,
    /// The seed all cases are drawn from. Keep it from the submission until the run is over.
    pub seed: u64,
    /// Tasks graded at once.
    pub jobs: usize,
    /// What `touchstone replay` calls the submission.
    pub name: String,
    /// What kernels run on, for the report.
    pub device: String,
}

impl Options {
    /// All tasks, from a fresh seed.
    pub fn new(name: &str, budget: Budget) -> Options {
        Options {
            tasks: task::all().to_vec(),
            budget,
            seed: fresh_seed(),
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            name: name.to_owned(),
            device: "the PTX machine".to_owned(),
        }
    }
}

/// A seed that nobody can know beforehand, from the operating system; of 53 bits, which every reader
/// of JSON keeps.
pub fn fresh_seed() -> u64 {
    // Without it the hash maps' own randomness is as good.
    let bits = getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one("seed"));
    bits >> 11
}

/// What is told while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A task begins; it has so many checks.
    Begun(&'a str, usize),
    /// A check of a task is done.
    Checked(&'a str, &'a CheckReport),
    /// A task is done.
    Done(&'a TaskReport),
}

/// Grades a submission. Tasks that the journal already has are not graded again.
///
/// # Errors
/// When the submission cannot be opened, or the journal cannot be written.
pub fn grade(
    source: &dyn Source,
    options: &Options,
    journal: &mut Journal,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Report, GradeError> {
    let mut report = Report {
        schema: SCHEMA,
        submission: source.name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rubric: rubric::version(),
        seed: options.seed,
        budget: format!("{:?}", options.budget).to_lowercase(),
        machine: Machine {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            device: options.device.clone(),
        },
        complete: false,
        tasks: Vec::new(),
        overall: Overall::default(),
    };
    if let Some(seed) = journal.resume(&mut report) {
        report.seed = seed;
    }
    let options = Options {
        seed: report.seed,
        ..options.clone()
    };
    let known = |task: &&Arc<Task>| report.tasks.iter().any(|t| t.task == task.spec.name);
    let todo: Vec<&Arc<Task>> = options.tasks.iter().filter(|task| !known(task)).collect();
    // Opened here once, so that what cannot be opened is told before anything runs.
    drop(source.open()?);
    let next = AtomicUsize::new(0);
    let shared = Mutex::new((&mut report, journal, Ok(())));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, todo.len().max(1)) {
            scope.spawn(|| {
                while let Some(task) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = grade_task(source, task, &options, tell);
                    tell(Event::Done(&done));
                    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let (report, journal, result) = &mut *shared;
                    report.tasks.push(done);
                    sort(report, &options);
                    report.overall = rubric::overall(&report.tasks);
                    if result.is_ok() {
                        *result = journal.write(report);
                    }
                }
            });
        }
    });
    let (report, journal, result) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    result?;
    report.complete = true;
    report.overall = rubric::overall(&report.tasks);
    journal.write(report)?;
    Ok(report.clone())
}

fn sort(report: &mut Report, options: &Options) {
    let place = |name: &str| options.tasks.iter().position(|t| t.spec.name == name);
    report.tasks.sort_by_key(|task| place(&task.task));
}

/// Why nothing was graded.
#[derive(Debug, thiserror::Error)]
pub enum GradeError {
    /// The submission cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The report cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Grades a task.
pub fn grade_task(
    source: &dyn Source,
    task: &Task,
    options: &Options,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> TaskReport {
    let started = Instant::now();
    tell(Event::Begun(task.spec.name, task.checks.len()));
    let mut live = Live::new(source);
    let checks: Vec<CheckReport> = task
        .checks
        .iter()
        .map(|check| {
            let report = run_check(task, check, &mut live, options);
            tell(Event::Checked(task.spec.name, &report));
            report
        })
        .collect();
    let levels = rubric::levels(task, &checks);
    TaskReport {
        task: task.spec.name.to_owned(),
        grade: rubric::grade(&checks, &levels),
        checks,
        levels,
        sandbox: live.sandbox().cloned(),
        seconds: started.elapsed().as_secs_f64(),
    }
}

/// Grades a submission in full and panics with the report when anything that it claims is wrong:
/// three lines make a crate's own graded test.
///
/// ```no_run
/// # use grading::submission::{Answer, Call, Failure, Submission};
/// struct Mine;
///
/// impl Submission for Mine {
///     fn name(&self) -> String {
///         "mine".into()
///     }
///     fn supports(&self, task: &str, _op: &str) -> bool {
///         task == "softmax-topk"
///     }
///     fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
///         # let _ = call;
///         # Err(Failure::Unsupported("a sketch".into()))
///     }
/// }
///
/// grading::assert_graded(|| Box::new(Mine));
/// ```
///
/// # Panics
/// When anything is wrong, or nothing was graded.
pub fn assert_graded<F>(open: F)
where
    F: Fn() -> Box<dyn Submission> + Send + Sync,
{
    let options = Options::new("SUBMISSION", Budget::Full);
    let report = grade(&open, &options, &mut Journal::none(), &|_| ());
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    let text = render(&report, Paint::plain());
    assert!(report.exit_code() == 0, "\n{text}");
}
