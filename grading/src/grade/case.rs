//! Running one check: drawing its cases, and making the first that fails as small as it gets.

use super::report::{CheckReport, CountReport, FigureReport};
use super::{Options, Source};
use crate::lane::process::SandboxReport;
use crate::submission::Submission;
use crate::task::{Check, Dims, Figures, Session, Stop, Task};
use crate::verdict::Verdict;
use reference::cases::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Draws before a check that finds no case with a margin is our own bug.
const DRAWS: u64 = 16;

/// What shrinking may cost: runs, and time.
const SHRINK_RUNS: usize = 40;
const SHRINK_TIME: Duration = Duration::from_secs(20);

/// A submission that is open, and is opened again after it fell.
pub struct Live<'a> {
    source: &'a dyn Source,
    open: Option<Box<dyn Submission>>,
    sandbox: Option<SandboxReport>,
}

impl<'a> Live<'a> {
    /// Not open yet.
    pub fn new(source: &'a dyn Source) -> Live<'a> {
        Live {
            source,
            open: None,
            sandbox: None,
        }
    }

    /// What confined its programs: of the calls so far, the report with the most refusals.
    pub fn sandbox(&self) -> Option<&SandboxReport> {
        self.sandbox.as_ref()
    }

    fn note_sandbox(&mut self) {
        let seen = self.open.as_ref().and_then(|open| open.sandbox());
        let refused = |report: &SandboxReport| report.refused().count();
        match (seen, &self.sandbox) {
            (Some(seen), Some(known)) if refused(seen) <= refused(known) => {}
            (Some(seen), _) => self.sandbox = Some(seen.clone()),
            (None, _) => {}
        }
    }

    fn get(&mut self) -> Result<&mut dyn Submission, Verdict> {
        if self.open.is_none() {
            let opened = self.source.open();
            let failed = |why: super::OpenError| Verdict::Crash(why.to_string().into());
            self.open = Some(opened.map_err(failed)?);
        }
        match &mut self.open {
            Some(open) => Ok(&mut **open),
            None => Err(Verdict::Grader(
                "a submission that was just opened is gone".into(),
            )),
        }
    }
}

/// One case: its verdict, and what was measured.
fn run_case(
    task: &Task,
    check: &Check,
    live: &mut Live<'_>,
    dims: &Dims,
    seed: u64,
    diagnose: bool,
) -> (Verdict, Figures) {
    let mut last = String::new();
    for draw in 0..DRAWS {
        let submission = match live.get() {
            Ok(submission) => submission,
            Err(verdict) => return (verdict, Figures::default()),
        };
        let mut session = Session::new(task, submission, diagnose);
        let mut rng = Rng::new(seed).fork(draw);
        // A submission's panic was caught where it was called: this one is ours.
        let run = AssertUnwindSafe(|| (check.run)(&mut session, dims, &mut rng));
        let outcome = catch_unwind(run).unwrap_or_else(|_| {
            let why = format!("{} panicked at {dims}", check.path());
            Err(Verdict::Grader(why.into()).into())
        });
        let figures = session.figures;
        live.note_sandbox();
        let verdict = match outcome {
            Ok(()) => Verdict::Pass,
            Err(Stop::Verdict(verdict)) => *verdict,
            Err(Stop::NoMargin(why)) => {
                last = why.to_string();
                continue;
            }
            Err(Stop::Unfit) => {
                let why = format!("sizes {dims} do not fit {}", check.path());
                return (Verdict::Grader(why.into()), figures);
            }
        };
        if fell(&verdict) {
            live.open = None;
        }
        return (verdict, figures);
    }
    let why = format!("no case with a margin in {DRAWS} draws: {last}");
    (Verdict::Grader(why.into()), Figures::default())
}

/// Whether there may be nobody left to ask.
fn fell(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Crash(_) | Verdict::Timeout(_) | Verdict::Malformed(_) | Verdict::Limit(_)
    )
}

/// Runs a check: its cases until one fails, and that one made smaller.
pub fn run_check(
    task: &Task,
    check: &Check,
    live: &mut Live<'_>,
    options: &Options,
) -> CheckReport {
    let report = |verdict, cases, seed, dims: &Dims, figures| CheckReport {
        name: check.path(),
        kind: check.kind.name().to_owned(),
        level: check.level.to_owned(),
        says: check.says.to_owned(),
        verdict,
        cases,
        seed,
        dims: dims.to_string(),
        shrunk_from: None,
        replay: None,
        figures: figure(figures),
    };
    let nothing = Dims::default();
    let missing = match live.get() {
        Err(verdict) => return report(verdict, 0, options.seed, &nothing, Figures::default()),
        Ok(submission) => task
            .ops_of(check)
            .into_iter()
            .find(|op| !submission.supports(task.spec.name, op)),
    };
    if let Some(op) = missing {
        let verdict = Verdict::NotAttempted(format!("`{op}` is not claimed").into());
        return report(verdict, 0, options.seed, &nothing, Figures::default());
    }
    let mut total = Figures::default();
    let mut last = (options.seed, nothing);
    let cases = options.budget.pick(check.cases.0, check.cases.1).max(1);
    for case in 0..cases {
        let rng = Rng::new(options.seed)
            .fork(label(task, check))
            .fork(case as u64);
        let dims = (check.draw)(&mut rng.fork(0), options.budget);
        // Of 53 bits, which every reader of JSON keeps.
        let seed = rng.fork(1).bits() >> 11;
        let (verdict, figures) = run_case(task, check, live, &dims, seed, false);
        add(&mut total, figures);
        if matches!(verdict, Verdict::Pass) {
            last = (seed, dims);
            continue;
        }
        let small = if verdict.is_bad() {
            shrink(task, check, live, &dims, seed, &verdict)
        } else {
            dims.clone()
        };
        let bad = verdict.is_bad();
        let verdict = match verdict {
            Verdict::Wrong(_) => diagnosed(task, check, live, (&dims, &small), seed, verdict),
            other => other,
        };
        return CheckReport {
            shrunk_from: (small != dims).then(|| dims.to_string()),
            replay: bad.then(|| command(task, check, options, seed, &small)),
            ..report(verdict, case + 1, seed, &small, total)
        };
    }
    report(Verdict::Pass, cases, last.0, &last.1, total)
}

/// The verdict of the smallest case, with the diagnosis of the one that failed first: in a case of a
/// few elements many mistakes look alike.
fn diagnosed(
    task: &Task,
    check: &Check,
    live: &mut Live<'_>,
    (dims, small): (&Dims, &Dims),
    seed: u64,
    first: Verdict,
) -> Verdict {
    let (whole, _) = run_case(task, check, live, dims, seed, true);
    let shrunk = match small == dims {
        true => whole.clone(),
        false => run_case(task, check, live, small, seed, false).0,
    };
    // What does not fail again when it is asked again is still a failure.
    match (shrunk, whole) {
        (Verdict::Wrong(mut wrong), Verdict::Wrong(whole)) => {
            wrong.diagnosis = whole.diagnosis;
            Verdict::Wrong(wrong)
        }
        (shrunk, _) if shrunk.is_bad() => shrunk,
        _ => first,
    }
}

/// Repeats one case of a check.
pub fn replay(
    task: &Task,
    check: &Check,
    live: &mut Live<'_>,
    dims: &Dims,
    seed: u64,
    name: &str,
) -> CheckReport {
    let (verdict, figures) = run_case(task, check, live, dims, seed, true);
    let replay = format!(
        "touchstone replay {name} --check {}::{} --seed {seed} --dims {dims}",
        task.spec.name,
        check.path()
    );
    CheckReport {
        name: check.path(),
        kind: check.kind.name().to_owned(),
        level: check.level.to_owned(),
        says: check.says.to_owned(),
        replay: verdict.is_bad().then_some(replay),
        verdict,
        cases: 1,
        seed,
        dims: dims.to_string(),
        shrunk_from: None,
        figures: figure(figures),
    }
}

fn command(task: &Task, check: &Check, options: &Options, seed: u64, dims: &Dims) -> String {
    let sizes = match dims.to_string() {
        none if none.is_empty() => String::new(),
        sizes => format!(" --dims {sizes}"),
    };
    format!(
        "touchstone replay {} --check {}::{} --seed {seed}{sizes}",
        options.name,
        task.spec.name,
        check.path()
    )
}

/// Halves one size after the other as long as the verdict stays of its kind.
fn shrink(
    task: &Task,
    check: &Check,
    live: &mut Live<'_>,
    dims: &Dims,
    seed: u64,
    verdict: &Verdict,
) -> Dims {
    let started = Instant::now();
    let mut small = dims.clone();
    let mut runs = 0;
    loop {
        let mut smaller = None;
        for (name, size) in small.iter().filter(|(_, size)| *size > 1) {
            // Half, or one less where half no longer fails.
            for size in [size / 2, size - 1] {
                if runs >= SHRINK_RUNS || started.elapsed() > SHRINK_TIME {
                    return small.clone();
                }
                runs += 1;
                let tried = small.clone().with(name, size);
                let (seen, _) = run_case(task, check, live, &tried, seed, false);
                if seen.name() == verdict.name() {
                    smaller = Some(tried);
                    break;
                }
            }
            if smaller.is_some() {
                break;
            }
        }
        match smaller {
            Some(tried) => small = tried,
            None => return small,
        }
    }
}

/// The stream of a check: FNV-1a of its full name, so that another check does not move it.
fn label(task: &Task, check: &Check) -> u64 {
    let name = format!("{}::{}", task.spec.name, check.path());
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn add(total: &mut Figures, figures: Figures) {
    total.calls += figures.calls;
    total.elapsed += figures.elapsed;
    total.histogram.merge(&figures.histogram);
    total.counted = figures.counted.or(total.counted);
}

fn figure(figures: Figures) -> FigureReport {
    let histogram = &figures.histogram;
    let finite = |x: f64| x.is_finite().then_some(x);
    FigureReport {
        calls: figures.calls,
        seconds: figures.elapsed.as_secs_f64(),
        elements: histogram.total(),
        exact: histogram.exact,
        p99: histogram.quantile(0.99).and_then(finite),
        worst: histogram.quantile(1.0).and_then(finite),
        counted: figures.counted.map(|(counted, cost)| CountReport {
            bytes_moved: counted.bytes_moved,
            bytes_compulsory: cost.bytes,
            flops: counted.flops,
            flops_plain: cost.flops,
            workspace: counted.workspace,
            workspace_allowed: cost.workspace,
        }),
    }
}
