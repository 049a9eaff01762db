//! What a run found, as data: everything that a later comparison of many submissions needs.

use crate::lane::process::SandboxReport;
use crate::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// The version of this format; `grading/schema/report.json` describes it.
pub const SCHEMA: u32 = 1;

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of this format.
    pub schema: u32,
    /// What was graded.
    pub submission: String,
    /// The version of the grader.
    pub version: String,
    /// The version of the rubric.
    pub rubric: u32,
    /// The seed that all cases were drawn from.
    pub seed: u64,
    /// `quick` or `full`.
    pub budget: String,
    /// Where it was run.
    pub machine: Machine,
    /// Whether every task that was asked for is in it; a run that was stopped is not.
    pub complete: bool,
    /// The tasks.
    pub tasks: Vec<TaskReport>,
    /// The grade of all of them.
    pub overall: Overall,
}

/// A machine.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Machine {
    /// `linux`.
    pub os: String,
    /// `x86_64`.
    pub arch: String,
    /// Cores that could be used.
    pub cores: usize,
    /// What kernels ran on.
    pub device: String,
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskReport {
    /// Its name.
    pub task: String,
    /// Every check, in the order they are listed.
    pub checks: Vec<CheckReport>,
    /// The levels.
    pub levels: Vec<LevelReport>,
    /// The grade.
    pub grade: Grade,
    /// What confined the programs that answered, where any did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxReport>,
    /// Seconds it took.
    pub seconds: f64,
}

/// A check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckReport {
    /// `trap::all-equal`.
    pub name: String,
    /// `trap`.
    pub kind: String,
    /// The level it belongs to.
    pub level: String,
    /// What must hold.
    pub says: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Cases that were tried.
    pub cases: usize,
    /// The seed of the case that failed, or of the last.
    pub seed: u64,
    /// Its sizes, the smallest that still fail.
    pub dims: String,
    /// The sizes that first failed, where they were shrunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk_from: Option<String>,
    /// The command that repeats the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// What was measured.
    pub figures: FigureReport,
}

/// What a check measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FigureReport {
    /// Calls that were answered.
    pub calls: u64,
    /// Seconds that the submission says they took.
    pub seconds: f64,
    /// Elements judged.
    pub elements: u64,
    /// Those that are exactly right.
    pub exact: u64,
    /// Error ÷ bound below which 99% of the inexact elements lie.
    pub p99: Option<f64>,
    /// The greatest error ÷ bound (the upper end of its bucket).
    pub worst: Option<f64>,
    /// What the machine counted.
    pub counted: Option<CountReport>,
}

/// What the machine counted, against what the call costs at least.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CountReport {
    /// Bytes moved in whole sectors.
    pub bytes_moved: u64,
    /// Bytes that must be moved.
    pub bytes_compulsory: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Those of the plain algorithm; 0 where they are not what it costs.
    pub flops_plain: u64,
    /// Scratch memory.
    pub workspace: u64,
    /// Scratch memory that is allowed.
    pub workspace_allowed: u64,
}

/// A capability level.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LevelReport {
    /// Its name.
    pub name: String,
    /// `reached`, `not reached`, `not claimed`, `not counted`.
    pub state: String,
}

/// A grade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// Whether everything that is a matter of right and wrong is right; `None` when nothing was
    /// asked.
    pub passed: Option<bool>,
    /// A to E, F for a failure; nothing when nothing was asked.
    pub letter: Option<String>,
    /// Of 100.
    pub points: f64,
    /// The evidence for every point that was lost.
    pub lost: Vec<Lost>,
}

/// Points that were lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// What for: `levels`, `precision`, …
    pub criterion: String,
    /// How many.
    pub points: f64,
    /// Why.
    pub evidence: String,
}

/// The grade of all tasks together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overall {
    /// Tasks that passed.
    pub passed: usize,
    /// Tasks that failed.
    pub failed: usize,
    /// Tasks that were not attempted.
    pub not_attempted: usize,
    /// The letter of the mean of the points; F when a task failed.
    pub letter: Option<String>,
    /// The mean of the points of the tasks that were graded.
    pub points: f64,
}

impl TaskReport {
    /// Whether the grader itself failed somewhere.
    pub fn is_broken(&self) -> bool {
        let broken = |check: &CheckReport| matches!(check.verdict, Verdict::Grader(_));
        self.checks.iter().any(broken)
    }
}

impl Report {
    /// The exit code: 0 all pass, 1 something is wrong, 3 nothing was graded, 70 our own bug.
    pub fn exit_code(&self) -> u8 {
        if self.tasks.iter().any(TaskReport::is_broken) {
            70
        } else if self.overall.failed > 0 {
            1
        } else if self.overall.passed == 0 {
            3
        } else {
            0
        }
    }
}
