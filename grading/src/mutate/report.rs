//! What became of the mutants.

use super::operators::Kind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// A check did not pass.
    Killed,
    /// All checks passed.
    Survived,
    /// It does not assemble, and was not counted.
    Invalid,
}

/// A mutant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MutantReport {
    /// The task whose kernel was changed.
    pub task: String,
    /// The kernel.
    pub kernel: String,
    /// The line of the PTX file.
    pub line: usize,
    /// The file and the line of Rust that it comes from.
    pub source: String,
    /// The kind of mistake.
    pub kind: Kind,
    /// The line as it was.
    pub from: String,
    /// As it became; empty when it was left out.
    pub to: String,
    /// The next instruction, or what stands in its place: a label, a bracket.
    #[serde(default)]
    pub next: String,
    /// What became of it.
    pub fate: Fate,
    /// The round that killed it, counted from 0: what `grade --quick` asks, then what `--full`
    /// asks from other seeds.
    pub round: Option<usize>,
    /// The check that killed it.
    pub check: Option<String>,
    /// That check's verdict.
    pub verdict: Option<String>,
    /// Why it computes the same, when that is known. A mutant that is killed all the same refutes
    /// it.
    pub equivalent: Option<String>,
    /// Why nothing finds it although it is not the same, when that is known.
    pub explained: Option<String>,
}

/// How much of a task's kernels the checks run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskLines {
    /// The task.
    pub task: String,
    /// Lines that could be changed.
    pub lines: usize,
    /// Those that the checks run.
    pub covered: usize,
    /// Checks that our kernels do not pass or do not answer: they cannot kill.
    pub left_out: BTreeSet<String>,
}

/// What became of all mutants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MutationReport {
    /// The seed.
    pub seed: u64,
    /// The tasks.
    pub lines: Vec<TaskLines>,
    /// The mutants.
    pub mutants: Vec<MutantReport>,
}

impl MutationReport {
    fn count(&self, is: impl Fn(&MutantReport) -> bool) -> usize {
        self.mutants.iter().filter(|mutant| is(mutant)).count()
    }

    /// Mutants that passed every check and are not known to be equivalent.
    pub fn survivors(&self) -> impl Iterator<Item = &MutantReport> {
        self.mutants
            .iter()
            .filter(|mutant| mutant.fate == Fate::Survived && mutant.equivalent.is_none())
    }

    /// Mutants that were killed although the list calls them equivalent: the list is wrong.
    pub fn refuted(&self) -> impl Iterator<Item = &MutantReport> {
        self.mutants
            .iter()
            .filter(|mutant| mutant.fate == Fate::Killed && mutant.equivalent.is_some())
    }

    /// Mutants that were tried and are not known to be equivalent.
    pub fn judged(&self) -> usize {
        self.count(|m| m.fate == Fate::Killed) + self.survivors().count()
    }

    /// Killed of those.
    pub fn kill_rate(&self) -> f64 {
        let killed = self.count(|m| m.fate == Fate::Killed);
        killed as f64 / self.judged().max(1) as f64
    }
}

impl fmt::Display for MutationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks: Vec<&str> = self.lines.iter().map(|l| l.task.as_str()).collect();
        writeln!(
            f,
            "killed of judged, by kind of mistake and task (seed {})\n",
            self.seed
        )?;
        write!(f, "{:12}", "")?;
        for task in &tasks {
            write!(f, " {task:>24}")?;
        }
        writeln!(f, " {:>12}", "all")?;
        let cell = |task: Option<&str>, kind: Option<Kind>| {
            let of = |m: &MutantReport| {
                task.is_none_or(|task| m.task == task) && kind.is_none_or(|kind| m.kind == kind)
            };
            let killed = self.count(|m| of(m) && m.fate == Fate::Killed);
            let survived = self.survivors().filter(|m| of(m)).count();
            format!("{killed}/{}", killed + survived)
        };
        for kind in Kind::ALL.into_iter().map(Some).chain([None]) {
            write!(f, "{:12}", kind.map_or("all", Kind::name))?;
            for task in &tasks {
                write!(f, " {:>24}", cell(Some(task), kind))?;
            }
            writeln!(f, " {:>12}", cell(None, kind))?;
        }
        let equivalent = self.count(|m| m.fate == Fate::Survived && m.equivalent.is_some());
        let invalid = self.count(|m| m.fate == Fate::Invalid);
        writeln!(
            f,
            "\n{} judged, {:.1}% killed; {equivalent} more are known to be equivalent, {invalid} did \
             not assemble",
            self.judged(),
            100.0 * self.kill_rate()
        )?;
        let mut by: BTreeMap<String, usize> = BTreeMap::new();
        for round in self.mutants.iter().filter_map(|m| m.round) {
            *by.entry(format!("round {}", round + 1)).or_default() += 1;
        }
        writeln!(f, "killed by round: {}", counted(&by))?;
        by.clear();
        for verdict in self.mutants.iter().filter_map(|m| m.verdict.as_ref()) {
            *by.entry(verdict.clone()).or_default() += 1;
        }
        writeln!(f, "killed by verdict: {}", counted(&by))?;
        for l in &self.lines {
            writeln!(
                f,
                "{}: the checks run {} of {} lines that can be changed",
                l.task, l.covered, l.lines
            )?;
            if !l.left_out.is_empty() {
                writeln!(
                    f,
                    "    not passed by the unchanged kernels: {}",
                    Vec::from_iter(l.left_out.iter().map(String::as_str)).join(", ")
                )?;
            }
        }
        let listed = |f: &mut fmt::Formatter<'_>, title: &str, all: Vec<&MutantReport>| {
            if !all.is_empty() {
                writeln!(f, "\n{title}")?;
            }
            all.into_iter().try_for_each(|m| m.show(f))
        };
        let equivalent = |m: &&MutantReport| m.fate == Fate::Survived && m.equivalent.is_some();
        listed(f, "survivors", self.survivors().collect())?;
        let known = self.mutants.iter().filter(equivalent).collect();
        listed(f, "equivalent", known)?;
        let refuted = self.refuted().collect();
        listed(
            f,
            "called equivalent by grading/mutants.toml, and killed",
            refuted,
        )
    }
}

fn counted(by: &BTreeMap<String, usize>) -> String {
    let each: Vec<String> = by.iter().map(|(name, n)| format!("{n} {name}")).collect();
    each.join(", ")
}

impl MutantReport {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {} line {} ({})", self.kernel, self.line, self.kind)?;
        writeln!(f, "      {}", self.source)?;
        writeln!(f, "    - {}", self.from)?;
        let to = if self.to.is_empty() {
            "(left out)"
        } else {
            &self.to
        };
        writeln!(f, "    + {to}")?;
        if let Some(check) = &self.check {
            writeln!(f, "      killed by {check}")?;
        }
        match self.equivalent.as_ref().or(self.explained.as_ref()) {
            Some(because) => writeln!(f, "      {because}"),
            None => Ok(()),
        }
    }
}
