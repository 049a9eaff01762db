//! One test for every check of every task, by its name: `softmax-topk::trap::all-equal`.
//!
//! Our own kernels are graded, or what `TOUCHSTONE_SUBMISSION` names. `TOUCHSTONE_SEED` repeats a
//! run; without it the seed is fresh, and stands in the message of what fails.

use grading::builtin::Place;
use grading::grade::{Live, Options, Paint, Source, render_check, run_check, source};
use grading::task::{self, Budget, Check, Task};
use grading::verdict::Verdict;
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::Arc;

fn main() {
    let arguments = Arguments::from_args();
    let name = std::env::var("TOUCHSTONE_SUBMISSION").unwrap_or_else(|_| "builtin".to_owned());
    let submission: Arc<dyn Source> = match source(&name, Place::Vm) {
        Ok(source) => source.into(),
        Err(error) => {
            eprintln!("TOUCHSTONE_SUBMISSION: {error}");
            std::process::exit(2);
        }
    };
    let mut options = Options::new(&name, Budget::Quick);
    if let Ok(seed) = std::env::var("TOUCHSTONE_SEED") {
        match seed.parse() {
            Ok(seed) => options.seed = seed,
            Err(_) => {
                eprintln!("TOUCHSTONE_SEED is {seed}, not a number");
                std::process::exit(2);
            }
        }
    }
    let claimed = |task: &Task, check: &Check| {
        // What cannot be opened fails in every test, with its own words.
        submission.open().map_or(true, |open| {
            let mut ops = task.ops_of(check).into_iter();
            ops.all(|op| open.supports(task.spec.name, op))
        })
    };
    let mut trials = Vec::new();
    for task in task::all() {
        for check in &task.checks {
            let (task, path) = (task.clone(), check.path());
            let ignored = !claimed(&task, check);
            let full = format!("{}::{path}", task.spec.name);
            let (submission, options) = (submission.clone(), options.clone());
            let trial = Trial::test(full, move || run(&task, &path, &*submission, &options));
            // Seen as ignored, not as passed.
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(task: &Task, path: &str, source: &dyn Source, options: &Options) -> Result<(), Failed> {
    let check = task.check(path).ok_or("the check is gone")?;
    let report = run_check(task, check, &mut Live::new(source), options);
    let decides = check.kind.decides() || !matches!(report.verdict, Verdict::Wrong(_));
    match &report.verdict {
        Verdict::Pass | Verdict::Unsupported(_) | Verdict::NotAttempted(_) => Ok(()),
        _ if !decides => Ok(()),
        _ => {
            let text = render_check(&report, Paint::plain());
            Err(format!("seed {}\n{text}", options.seed).into())
        }
    }
}
