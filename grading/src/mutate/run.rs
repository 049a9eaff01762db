//! Making mutants and letting the checks at them.

use super::baseline::{Baseline, Passed, machine, measure, verdict};
use super::known::Known;
use super::module::{File, Place, split};
use super::operators::{Change, Kind, changes};
use super::report::{Fate, MutantReport, MutationReport, TaskLines};
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
    /// Which mutants.
    pub seed: u64,
    /// How much they are asked, and from which seed, until one is found: a round begins with what
    /// the rounds before left over.
    pub rounds: Vec<(Budget, u64)>,
    /// The checkout.
    pub root: PathBuf,
    /// What is known of mutants that nothing finds.
    pub known: Known,
    /// Mutants tried at once.
    pub jobs: usize,
    /// Mutants of an earlier report: these and no others.
    pub again: Option<Vec<MutantReport>>,
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
        let known = Known::parse(&text).map_err(|error| MutateError::Explained {
            file,
            error: Box::new(error),
        })?;
        let tasks = task::all().iter().filter(|task| task.builtin.is_some());
        Ok(Options {
            tasks: tasks.cloned().collect(),
            count,
            seed,
            rounds: vec![
                (Budget::Quick, seed),
                (Budget::Full, seed.wrapping_add(1)),
                (Budget::Full, seed.wrapping_add(2)),
            ],
            root: root.to_owned(),
            known,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            again: None,
        })
    }
}

/// A check that launches a kernel, the task it is of, and the round in which it is asked.
type Killer<'a> = (usize, &'a Baseline<'a>, &'a Passed<'a>);

/// A change of one line of one kernel.
struct Mutant<'a> {
    task: &'a str,
    file: &'a File<'a>,
    kernel: usize,
    /// Of the file, counted from one.
    line: usize,
    from: &'a str,
    next: &'a str,
    change: Change,
    /// The line of Rust that it comes from.
    source: String,
    killers: Arc<Vec<Killer<'a>>>,
}

impl Mutant<'_> {
    fn is(&self, named: &MutantReport) -> bool {
        self.file.kernels[self.kernel].name == named.kernel
            && (self.line, self.from) == (named.line, &*named.from)
            && self.change.to == named.to
    }
}

/// The PTX files of our kernels for the machine's target.
fn read(folder: &Path) -> Result<Vec<String>, MutateError> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |error| MutateError::File { file, error }
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.to_string_lossy().ends_with(".sm_80.ptx") {
            paths.push(path);
        }
    }
    paths.sort();
    let text = |path: PathBuf| fs::read_to_string(&path).map_err(failed(&path));
    paths.into_iter().map(text).collect()
}

/// The sources' lines, read when they are asked for.
struct Sources<'a> {
    root: &'a Path,
    texts: BTreeMap<String, Vec<String>>,
}

impl Sources<'_> {
    /// `kernels-gpu/src/topk/scan.rs: the line`: what does not change when lines above it do.
    fn line(&mut self, file: &File<'_>, place: Option<Place>) -> String {
        let sources = file.sources();
        let named = place.and_then(|place| Some((*sources.get(&place.file)?, place.line)));
        let Some((name, line)) = named else {
            return String::new();
        };
        let lines = self.texts.entry(name.to_owned()).or_insert_with(|| {
            let text = fs::read_to_string(self.root.join(name)).unwrap_or_default();
            text.lines().map(|line| line.trim().to_owned()).collect()
        });
        let text = lines.get((line as usize).wrapping_sub(1));
        format!("{name}: {}", text.map_or("", String::as_str))
    }
}

/// What the device layer and the standard library have in common: a kernel's own line, the one
/// that calls them, says more.
fn is_own(file: &File<'_>, place: Place) -> bool {
    let sources = file.sources();
    let name = sources.get(&place.file).copied().unwrap_or_default();
    place.line > 0 && name.starts_with("kernels-gpu/src/") && !name.contains("/device/")
}

/// Makes mutants and lets the checks at them.
///
/// # Errors
/// When a PTX file is not there, or our own kernels pass nothing.
pub fn run(
    options: &Options,
    tell: &(dyn Fn(usize, usize, &MutantReport) + Sync),
) -> Result<MutationReport, MutateError> {
    let texts = read(&options.root.join("kernels-gpu/ptx"))?;
    let files: Vec<File<'_>> = texts.iter().map(|text| split(text)).collect();
    let baselines = baselines(options);
    for baseline in &baselines {
        if baseline.passed.is_empty() {
            let task = baseline.task.spec.name.to_owned();
            return Err(MutateError::NothingPasses { task });
        }
    }
    let (lines, groups) = mutants(options, &files, &baselines);
    let (chosen, wanted) = match &options.again {
        None => (choose(groups, options.count, options.seed), options.count),
        Some(named) => {
            let mut all: Vec<Mutant<'_>> = groups.into_values().flatten().collect();
            all.retain(|mutant| named.iter().any(|named| mutant.is(named)));
            let wanted = all.len();
            (all, wanted)
        }
    };
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, MutantReport)>> = Mutex::default();
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

/// What the unchanged kernels do, round by round and task by task, on the cores there are.
fn baselines(options: &Options) -> Vec<Baseline<'_>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Baseline<'_>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let round = options.rounds.get(at / options.tasks.len().max(1));
                    let Some(asked) = round else {
                        break;
                    };
                    let task = &options.tasks[at % options.tasks.len()];
                    let baseline = measure(task, *asked);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((at, baseline));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, baseline)| baseline).collect()
}

/// The mutants of one task and one kind of mistake.
type Groups<'a> = BTreeMap<(usize, Kind), Vec<Mutant<'a>>>;

/// Every change of every line that a check runs. A kernel that checks of several tasks launch is
/// the first one's, and all of them may kill its mutants.
fn mutants<'a>(
    options: &'a Options,
    files: &'a [File<'a>],
    baselines: &'a [Baseline<'a>],
) -> (Vec<TaskLines>, Groups<'a>) {
    let mut sources = Sources {
        root: &options.root,
        texts: BTreeMap::new(),
    };
    let mut groups = Groups::new();
    let tasks = options.tasks.len();
    let mut lines: Vec<TaskLines> = baselines[..tasks]
        .iter()
        .map(|baseline| TaskLines {
            task: baseline.task.spec.name.to_owned(),
            lines: 0,
            covered: 0,
            left_out: BTreeSet::new(),
        })
        .collect();
    for (at, baseline) in baselines.iter().enumerate() {
        let left_out = baseline.left_out.iter().cloned();
        lines[at % tasks].left_out.extend(left_out);
    }
    for file in files {
        for (k, kernel) in file.kernels.iter().enumerate() {
            let runs = |b: &Baseline<'_>| b.lines.contains_key(kernel.name);
            let mut all = baselines
                .iter()
                .enumerate()
                .filter(|(_, b)| runs(b))
                .peekable();
            let Some(t) = all.peek().map(|(at, _)| at % tasks) else {
                continue;
            };
            let mut ran: BTreeSet<u32> = BTreeSet::new();
            let mut killers: Vec<Killer<'_>> = Vec::new();
            for (at, baseline) in all {
                ran.extend(&baseline.lines[kernel.name]);
                let launched = |p: &&Passed<'_>| p.kernels.contains(kernel.name);
                let passed = baseline.passed.iter().filter(launched);
                killers.extend(passed.map(|passed| (at / tasks, baseline, passed)));
            }
            killers.sort_by_key(|(round, _, passed)| (*round, passed.took));
            let killers = Arc::new(killers);
            let mut own = None;
            let all_lines: Vec<_> = kernel.lines().collect();
            let says = |text: &&str| !text.is_empty() && !text.starts_with(".loc");
            for (at, &(line, from, place)) in all_lines.iter().enumerate() {
                own = place.filter(|place| is_own(file, *place)).or(own);
                let changes = changes(from);
                let changed = usize::from(!changes.is_empty());
                let mut rest = all_lines[at + 1..].iter().map(|(_, text, _)| text.trim());
                let next = rest.find(says).unwrap_or_default();
                lines[t].lines += changed;
                if !u32::try_from(line).is_ok_and(|line| ran.contains(&line)) {
                    continue;
                }
                lines[t].covered += changed;
                for change in changes {
                    groups.entry((t, change.kind)).or_default().push(Mutant {
                        task: baselines[t].task.spec.name,
                        file,
                        kernel: k,
                        line,
                        from: from.trim(),
                        next,
                        change,
                        source: sources.line(file, own.or(place)),
                        killers: Arc::clone(&killers),
                    });
                }
            }
        }
    }
    (lines, groups)
}

/// Takes from each task and kind of mistake in turn, at random within; more than are wanted, as
/// some will not assemble.
fn choose(
    mut groups: BTreeMap<(usize, Kind), Vec<Mutant<'_>>>,
    count: usize,
    seed: u64,
) -> Vec<Mutant<'_>> {
    let mut rng = Rng::new(seed).fork(0x6d75);
    // Each group from a seed of its own: which mutants of a task are tried does not depend on which
    // other tasks are.
    for ((_, kind), group) in &mut groups {
        let name = group.first().map_or("", |mutant| mutant.task);
        let of_group = name.bytes().chain(kind.name().bytes());
        let label = of_group.fold(0, |label: u64, byte| {
            label.wrapping_mul(257).wrapping_add(u64::from(byte))
        });
        rng.fork(label).shuffle(group);
    }
    let mut groups: Vec<Vec<Mutant<'_>>> = groups.into_values().collect();
    // Begun anywhere, so that a small sample is not always of the same tasks.
    rng.shuffle(&mut groups);
    let mut chosen = Vec::new();
    while chosen.len() < 2 * count && groups.iter().any(|group| !group.is_empty()) {
        chosen.extend(groups.iter_mut().filter_map(Vec::pop));
    }
    chosen
}

/// The module in which one line of one kernel is changed, if it is one.
fn compiled(mutant: &Mutant<'_>) -> Option<simt::Validated> {
    let kernel = &mutant.file.kernels[mutant.kernel];
    let text: Vec<&str> = kernel
        .lines()
        .map(|(number, line, _)| match number == mutant.line {
            true => mutant.change.to.as_str(),
            false => line,
        })
        .collect();
    let module = simt::compile(&mutant.file.module(&text.join("\n"))).ok()?;
    module.program(kernel.name).is_some().then_some(module)
}

/// What becomes of a mutant.
fn fate(mutant: &Mutant<'_>, options: &Options) -> MutantReport {
    let kernel = &mutant.file.kernels[mutant.kernel];
    let report = |fate, by: Option<(usize, String, &Verdict)>| MutantReport {
        task: mutant.task.to_owned(),
        kernel: kernel.name.to_owned(),
        line: mutant.line,
        source: mutant.source.clone(),
        kind: mutant.change.kind,
        from: mutant.from.to_owned(),
        to: mutant.change.to.clone(),
        next: mutant.next.to_owned(),
        fate,
        round: by.as_ref().map(|(round, ..)| *round),
        check: by.as_ref().map(|(_, check, _)| check.clone()),
        verdict: by.map(|(.., verdict)| verdict.name().to_owned()),
        equivalent: None,
        explained: None,
    };
    let Some(module) = compiled(mutant) else {
        return report(Fate::Invalid, None);
    };
    let steps = mutant.killers.iter().flat_map(|(_, b, _)| {
        let usual = b.steps.get(kernel.name).copied().unwrap_or(0);
        let most = b.steps.values().copied().max().unwrap_or(0);
        [usual.saturating_mul(PATIENCE), most]
    });
    let (vm, machine) = machine(steps.max().unwrap_or(0).saturating_add(100_000), false);
    if vm.substitute(&module).is_err() {
        return report(Fate::Invalid, None);
    }
    let mut builtin = Builtin::on(vm, machine);
    let mut judged = report(Fate::Survived, None);
    for (round, baseline, passed) in &*mutant.killers {
        let verdict = verdict(baseline.task, passed.check, &mut builtin, baseline.asked);
        if !matches!(verdict, Verdict::Pass) {
            let check = format!("{}::{}", baseline.task.spec.name, passed.check.path());
            judged = report(Fate::Killed, Some((*round, check, &verdict)));
            break;
        }
    }
    options.known.note(&mut judged);
    judged
}
