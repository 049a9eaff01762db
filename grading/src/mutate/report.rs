//! What became of the mutants.

use super::operators::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
pub struct MutantReport {
    /// The task whose kernel was changed.
    pub task: String,
    /// The kernel.
    pub kernel: String,
    /// The line of the PTX file.
    pub line: usize,
    /// The kind of mistake.
    pub kind: Kind,
    /// The line as it was.
    pub from: String,
    /// As it became; empty when it was left out.
    pub to: String,
    /// What became of it.
    pub fate: Fate,
    /// The check that killed it.
    pub check: Option<String>,
    /// That check's verdict.
    pub verdict: Option<String>,
    /// Why it computes the same, when that is known.
    pub equivalent: Option<String>,
}

/// A mutant that computes the same as the unchanged kernel, or does not matter, and why.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// The kernel.
    pub kernel: String,
    /// The line as it was. A rebuilt kernel may have other registers: the entry then fits no more.
    pub from: String,
    /// As it became.
    pub to: String,
    /// Why nobody can tell.
    pub because: String,
}

impl Explained {
    /// The entries of a list.
    ///
    /// # Errors
    /// When it is none.
    pub fn list(text: &str) -> Result<Vec<Explained>, toml::de::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct List {
            #[serde(default)]
            mutant: Vec<Explained>,
        }
        toml::from_str::<List>(text).map(|list| list.mutant)
    }

    pub(super) fn is(&self, mutant: &MutantReport) -> bool {
        self.kernel == mutant.kernel && self.from == mutant.from && self.to == mutant.to
    }
}

/// How much of a task's kernels the checks run.
#[derive(Clone, Debug, Serialize)]
pub struct TaskLines {
    /// The task.
    pub task: String,
    /// Lines that could be changed.
    pub lines: usize,
    /// Those that the checks run.
    pub covered: usize,
    /// Checks that our kernels do not pass or do not answer: they cannot kill.
    pub left_out: Vec<String>,
}

/// What became of all mutants.
#[derive(Clone, Debug, Serialize)]
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
        let equivalent = self.count(|m| m.equivalent.is_some());
        let invalid = self.count(|m| m.fate == Fate::Invalid);
        writeln!(
            f,
            "\n{} judged, {:.1}% killed; {equivalent} more are known to be equivalent, {invalid} did \
             not assemble",
            self.judged(),
            100.0 * self.kill_rate()
        )?;
        let mut by: BTreeMap<&str, usize> = BTreeMap::new();
        for verdict in self.mutants.iter().filter_map(|m| m.verdict.as_deref()) {
            *by.entry(verdict).or_default() += 1;
        }
        let by: Vec<String> = by
            .iter()
            .map(|(verdict, n)| format!("{n} {verdict}"))
            .collect();
        writeln!(f, "killed by verdict: {}", by.join(", "))?;
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
                    l.left_out.join(", ")
                )?;
            }
        }
        let mut survivors = self.survivors().peekable();
        if survivors.peek().is_some() {
            writeln!(f, "\nsurvivors")?;
        }
        for m in survivors {
            writeln!(f, "  {} line {} ({})", m.kernel, m.line, m.kind)?;
            writeln!(f, "    - {}", m.from)?;
            writeln!(
                f,
                "    + {}",
                if m.to.is_empty() { "(left out)" } else { &m.to }
            )?;
        }
        Ok(())
    }
}
