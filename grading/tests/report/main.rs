//! The report: text, JSON against its schema, resuming, exit codes.

mod exit_codes;
#[path = "../support/mod.rs"]
mod json_schema;
mod schema;
mod text;

use grading::grade::{HonestSource, Journal, Options, Report, Source, grade};
use grading::submission::{Answer, Call, Failure, Submission};
use grading::task::{self, Budget, Order, Way};

fn options(task: &str, seed: u64) -> Options {
    Options {
        seed,
        tasks: vec![task::named(task).expect("a task").clone()],
        ..Options::new("plain", Budget::Quick)
    }
}

/// A report without what differs from run to run and from machine to machine.
fn report(source: &dyn Source, options: &Options) -> Report {
    let report = grade(source, options, &mut Journal::none(), &|_| ());
    let mut report = report.expect("a source that opens");
    report.machine.cores = 2;
    for task in &mut report.tasks {
        task.seconds = 0.0;
    }
    report
}

fn plain() -> HonestSource {
    HonestSource(Way::right(Order::Forward))
}

fn mistaken(mistake: &str) -> HonestSource {
    let known = task::all().iter().flat_map(|task| task.mistakes);
    let mut found = known.filter(|known| known.name == mistake);
    HonestSource(found.next().expect("a known mistake").way())
}

/// Always the same failure, or nothing claimed.
struct Failing(Option<Failure>);

impl Submission for Failing {
    fn name(&self) -> String {
        "failing".into()
    }

    fn supports(&self, _task: &str, _op: &str) -> bool {
        self.0.is_some()
    }

    fn call(&mut self, _call: &Call) -> Result<Answer, Failure> {
        Err(self
            .0
            .clone()
            .unwrap_or(Failure::Unsupported("nothing".into())))
    }
}

fn failing(failure: Option<Failure>) -> impl Fn() -> Box<dyn Submission> + Send + Sync {
    move || Box::new(Failing(failure.clone()))
}
