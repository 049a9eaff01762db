//! What the unchanged kernels do under the checks: who passes, which lines run, how long it takes.

use crate::builtin::Builtin;
use crate::task::{Budget, Check, Session, Stop, Task};
use crate::verdict::Verdict;
use kernels_host::Vm;
use reference::cases::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Device memory of the machine that mutants run on.
const MEMORY: u64 = 1 << 30;

/// Draws before a check has no case.
const DRAWS: u64 = 16;

/// A check that the unchanged kernels pass.
pub(super) struct Passed<'a> {
    pub(super) check: &'a Check,
    /// The kernels that it launches.
    pub(super) kernels: BTreeSet<String>,
    pub(super) took: Duration,
}

/// A task under its checks.
pub(super) struct Baseline<'a> {
    pub(super) task: &'a Task,
    /// How much was asked, and from which seed.
    pub(super) asked: (Budget, u64),
    /// The quick ones first.
    pub(super) passed: Vec<Passed<'a>>,
    /// Checks that our kernels do not pass, or do not answer: they cannot kill.
    pub(super) left_out: Vec<String>,
    /// Lines of each kernel's PTX file that ran.
    pub(super) lines: BTreeMap<String, BTreeSet<u32>>,
    /// Instructions of the longest launch of each kernel.
    pub(super) steps: BTreeMap<String, u64>,
}

/// A machine for our own kernels.
pub(super) fn machine(max_steps: u64, counters: bool) -> (Arc<Vm>, simt::Options) {
    let options = simt::Options {
        counters,
        max_steps,
        ..simt::Options::default()
    };
    (Vm::with_options(MEMORY, options.clone()), options)
}

/// The verdict of one check's cases, without shrinking and without a diagnosis.
pub(super) fn verdict(
    task: &Task,
    check: &Check,
    submission: &mut Builtin,
    (budget, seed): (Budget, u64),
) -> Verdict {
    let cases = budget.pick(check.cases.0, check.cases.1).max(1);
    for case in 0..cases {
        let rng = Rng::new(seed).fork(case as u64);
        let dims = (check.draw)(&mut rng.fork(0), budget);
        for draw in 0..DRAWS {
            let mut session = Session::new(task, submission, false);
            match (check.run)(&mut session, &dims, &mut rng.fork(1 + draw)) {
                Ok(()) => break,
                Err(Stop::NoMargin(_)) => {}
                Err(Stop::Verdict(verdict)) => return *verdict,
                Err(Stop::Unfit) => break,
            }
        }
    }
    Verdict::Pass
}

/// Runs every check of a task once.
pub(super) fn measure(task: &Task, asked: (Budget, u64)) -> Baseline<'_> {
    let (vm, options) = machine(1_000_000_000, true);
    let (mut builtin, seen) = Builtin::watched(vm, options);
    let mut baseline = Baseline {
        task,
        asked,
        passed: Vec::new(),
        left_out: Vec::new(),
        lines: BTreeMap::new(),
        steps: BTreeMap::new(),
    };
    for check in &task.checks {
        let started = Instant::now();
        let verdict = verdict(task, check, &mut builtin, asked);
        let took = started.elapsed();
        let launches = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        if !matches!(verdict, Verdict::Pass) {
            baseline.left_out.push(check.path());
            continue;
        }
        let mut kernels = BTreeSet::new();
        for launched in launches {
            kernels.insert(launched.entry.clone());
            let steps = baseline.steps.entry(launched.entry.clone()).or_default();
            *steps = launched.report.steps.max(*steps);
            let lines = baseline.lines.entry(launched.entry).or_default();
            let counters = launched.report.counters.into_iter();
            lines.extend(counters.flat_map(|c| c.lines).map(|line| line.line));
        }
        baseline.passed.push(Passed {
            check,
            kernels,
            took,
        });
    }
    baseline.passed.sort_by_key(|passed| passed.took);
    baseline
}
