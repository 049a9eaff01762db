//! Making mutants and letting the checks at them.

use super::baseline::{Baseline, machine, measure, verdict};
use super::module::{File, split};
use super::operators::{Change, Kind, changes};
use super::report::{Explained, Fate, MutantReport, MutationReport, TaskLines};
use crate::builtin::Builtin;
use crate::task::{self, Budget, Task};
use crate::verdict::Verdict;
use reference::cases::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A mutant that loops is stopped after so many times the steps of the unchanged kernel.
const PATIENCE: u64 = 20;

/// What to mutate.
#[derive(Clone)]
pub struct Options {
    /// The tasks whose kernels are changed.
    pub tasks: Vec<Arc<Task>>,
    /// How many mutants, all tasks together.
    pub count: usize,
    /// Which mutants, and the cases they are asked.
    pub seed: u64,
    /// How much they are asked.
    pub budget: Budget,
    /// The folder with the PTX files.
    pub ptx: PathBuf,
    /// Mutants known to be equivalent.
    pub explained: Vec<Explained>,
    /// Mutants tried at once.
    pub jobs: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum MutateError {
    /// A PTX file.
    #[error("{}: {error}; run from a checkout, or `cargo xtask ptx` first", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The list of equivalent mutants.
    #[error("{}: {error}", file.display())]
    Explained {
        /// The list.
        file: PathBuf,
        /// Why.
        error: Box<toml::de::Error>,
    },
    /// No check of our kernels passes.
    #[error("{task}: our own kernels pass no check, so that nothing can be said of their mutants")]
    NothingPasses {
        /// The task.
        task: String,
    },
}

impl Options {
    /// All tasks' kernels of a checkout.
    ///
    /// # Errors
    /// When the list of equivalent mutants cannot be read.
    pub fn of_checkout(root: &Path, count: usize, seed: u64) -> Result<Options, MutateError> {
        let file = root.join("grading/mutants.toml");
        let text = fs::read_to_string(&file).map_err(|error| MutateError::File {
            file: file.clone(),
            error,
        })?;
        let explained = Explained::list(&text).map_err(|error| MutateError::Explained {
            file,
            error: Box::new(error),
        })?;
        let tasks = task::all().iter().filter(|task| task.builtin.is_some());
        Ok(Options {
            tasks: tasks.cloned().collect(),
            count,
            seed,
            budget: Budget::Quick,
            ptx: root.join("kernels-gpu/ptx"),
            explained,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

/// A change of one line of one kernel.
struct Mutant<'a> {
    baseline: &'a Baseline<'a>,
    file: &'a File<'a>,
    kernel: usize,
    /// Of the file, counted from one.
    line: usize,
    from: &'a str,
    change: Change,
}

/// Makes mutants and lets the checks at them.
///
/// # Errors
/// When a PTX file is not there, or our own kernels pass nothing.
pub fn run(
    options: &Options,
    tell: &(dyn Fn(usize, usize, &MutantReport) + Sync),
) -> Result<MutationReport, MutateError> {
    let mut texts = Vec::new();
    for task in &options.tasks {
        let file = options.ptx.join(format!("{}.sm_80.ptx", task.spec.name));
        match fs::read_to_string(&file) {
            Ok(text) => texts.push(text),
            Err(error) => return Err(MutateError::File { file, error }),
        }
    }
    let files: Vec<File<'_>> = texts.iter().map(|text| split(text)).collect();
    let baselines: Vec<Baseline<'_>> = options
        .tasks
        .iter()
        .map(|task| measure(task, (options.budget, options.seed)))
        .collect();
    for baseline in &baselines {
        if baseline.passed.is_empty() {
            let task = baseline.task.spec.name.to_owned();
            return Err(MutateError::NothingPasses { task });
        }
    }
    let mut lines = Vec::new();
    let mut groups: BTreeMap<(usize, Kind), Vec<Mutant<'_>>> = BTreeMap::new();
    for (t, (file, baseline)) in files.iter().zip(&baselines).enumerate() {
        let (mut all, mut covered) = (0, 0);
        for (k, kernel) in file.kernels.iter().enumerate() {
            let none = BTreeSet::new();
            let ran = baseline.lines.get(kernel.name).unwrap_or(&none);
            for (at, from) in kernel.text.lines().enumerate() {
                let line = kernel.line + at + 1;
                let changes = changes(from);
                all += usize::from(!changes.is_empty());
                if !u32::try_from(line).is_ok_and(|line| ran.contains(&line)) {
                    continue;
                }
                covered += usize::from(!changes.is_empty());
                for change in changes {
                    groups.entry((t, change.kind)).or_default().push(Mutant {
                        baseline,
                        file,
                        kernel: k,
                        line,
                        from: from.trim(),
                        change,
                    });
                }
            }
        }
        lines.push(TaskLines {
            task: baseline.task.spec.name.to_owned(),
            lines: all,
            covered,
            left_out: baseline.left_out.clone(),
        });
    }
    let chosen = choose(groups, options.count, options.seed);
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, MutantReport)>> = Mutex::default();
    let wanted = options.count;
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let tried = done.lock().unwrap_or_else(PoisonError::into_inner);
                    let valid = tried
                        .iter()
                        .filter(|(_, m)| m.fate != Fate::Invalid)
                        .count();
                    drop(tried);
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutant) = chosen.get(at).filter(|_| valid < wanted) else {
                        break;
                    };
                    let report = fate(mutant, options);
                    tell(valid, wanted, &report);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((at, report));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    Ok(MutationReport {
        seed: options.seed,
        lines,
        mutants: done.into_iter().map(|(_, mutant)| mutant).collect(),
    })
}

/// Takes from each task and kind of mistake in turn, at random within; more than are wanted, as
/// some will not assemble.
fn choose(
    groups: BTreeMap<(usize, Kind), Vec<Mutant<'_>>>,
    count: usize,
    seed: u64,
) -> Vec<Mutant<'_>> {
    let mut groups: Vec<Vec<Mutant<'_>>> = groups.into_values().collect();
    let mut rng = Rng::new(seed).fork(0x6d75);
    for group in &mut groups {
        rng.shuffle(group);
    }
    // Begun anywhere, so that a small sample is not always of the same tasks.
    rng.shuffle(&mut groups);
    let mut chosen = Vec::new();
    while chosen.len() < 2 * count && groups.iter().any(|group| !group.is_empty()) {
        chosen.extend(groups.iter_mut().filter_map(Vec::pop));
    }
    chosen
}

/// What becomes of a mutant.
fn fate(mutant: &Mutant<'_>, options: &Options) -> MutantReport {
    let kernel = &mutant.file.kernels[mutant.kernel];
    let baseline = mutant.baseline;
    let report = |fate, by: Option<(String, &Verdict)>| MutantReport {
        task: baseline.task.spec.name.to_owned(),
        kernel: kernel.name.to_owned(),
        line: mutant.line,
        kind: mutant.change.kind,
        from: mutant.from.to_owned(),
        to: mutant.change.to.clone(),
        fate,
        check: by.as_ref().map(|(check, _)| check.clone()),
        verdict: by.map(|(_, verdict)| verdict.name().to_owned()),
        equivalent: None,
    };
    let at = mutant.line - kernel.line - 1;
    let text: Vec<&str> = kernel
        .text
        .lines()
        .enumerate()
        .map(|(i, line)| {
            if i == at {
                mutant.change.to.as_str()
            } else {
                line
            }
        })
        .collect();
    let Ok(module) = simt::compile(&mutant.file.module(&text.join("\n"))) else {
        return report(Fate::Invalid, None);
    };
    if module.program(kernel.name).is_none() {
        return report(Fate::Invalid, None);
    }
    let usual = baseline.steps.get(kernel.name).copied().unwrap_or(0);
    let most = baseline.steps.values().copied().max().unwrap_or(0);
    let steps = usual
        .saturating_mul(PATIENCE)
        .max(most)
        .saturating_add(100_000);
    let vm = machine(steps, false);
    if vm.substitute(&module).is_err() {
        return report(Fate::Invalid, None);
    }
    let mut builtin = Builtin::on(vm);
    for passed in &baseline.passed {
        if !passed.kernels.contains(kernel.name) {
            continue;
        }
        let verdict = verdict(
            baseline.task,
            passed.check,
            &mut builtin,
            (options.budget, options.seed),
        );
        if !matches!(verdict, Verdict::Pass) {
            return report(Fate::Killed, Some((passed.check.path(), &verdict)));
        }
    }
    let mut survived = report(Fate::Survived, None);
    let known = options.explained.iter().find(|known| known.is(&survived));
    survived.equivalent = known.map(|known| known.because.clone());
    survived
}
