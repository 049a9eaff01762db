//! What a run reports, as text and as JSON.

use super::RunError;
use crate::tensor::Tensor;
use serde::Serialize;
use simt::check::Finding;
use simt::count::Counters;
use simt::{Fault, Report};
use std::fmt;
use std::path::Path;

/// A run.
#[derive(Debug, Serialize)]
pub(super) struct RunReport {
    /// The version of this format.
    pub(super) schema: u32,
    /// The kernel.
    pub(super) entry: String,
    /// Blocks.
    pub(super) grid: [u32; 3],
    /// Threads of a block.
    pub(super) block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub(super) shared: u32,
    /// The seed of the schedule that is reported: the last one, or the one that went wrong.
    pub(super) seed: u64,
    /// How many schedules were asked for.
    pub(super) schedules: u64,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// What it wrote.
    pub(super) outputs: Vec<Output>,
}

/// How a run ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// To its end.
    Ended {
        /// Instructions of all warps together.
        steps: u64,
        /// What was counted, if it was asked for.
        counters: Option<Box<Counters>>,
        /// What the checkers found.
        findings: Vec<Finding>,
    },
    /// Stopped by the machine.
    Fault(Fault),
}

impl Outcome {
    /// A run to its end.
    pub(super) fn of(report: Report) -> Outcome {
        Outcome::Ended {
            steps: report.steps,
            counters: report.counters.map(Box::new),
            findings: report.findings,
        }
    }
}

/// A tensor that was written.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Output {
    file: String,
    dtype: String,
    shape: Vec<usize>,
    /// Bytes that the kernel never wrote.
    unwritten: u64,
}

impl Output {
    pub(super) fn of(path: &Path, tensor: &Tensor, unwritten: u64) -> Output {
        Output {
            file: path.display().to_string(),
            dtype: tensor.dtype().name().into(),
            shape: tensor.shape().to_vec(),
            unwritten,
        }
    }
}

impl RunReport {
    /// Writes it as JSON.
    pub(super) fn write(&self, path: &Path) -> Result<(), RunError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| RunError::Usage(format!("the report is no JSON: {error}")))?;
        std::fs::write(path, text + "\n")
            .map_err(|error| RunError::Usage(format!("{}: {error}", path.display())))
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Ended {
                steps,
                counters,
                findings,
            } => {
                let how = match findings.iter().filter(|finding| !finding.benign).count() {
                    0 => "ran clean".to_owned(),
                    1 => "ran to its end, 1 finding".to_owned(),
                    many => format!("ran to its end, {many} findings"),
                };
                write!(f, "{}: {how}, {steps} warp instructions", self.entry)?;
                if self.schedules > 1 {
                    write!(f, " in the last of {} schedules", self.schedules)?;
                }
                writeln!(f)?;
                if let Some(counters) = counters {
                    write!(f, "{}", simt::count::text::text(counters))?;
                }
            }
            Outcome::Fault(fault) => writeln!(f, "{fault}")?,
        }
        for Output {
            file,
            dtype,
            shape,
            unwritten,
        } in &self.outputs
        {
            let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
            write!(f, "  {file}: {dtype} {}", sizes.join("x"))?;
            if *unwritten > 0 {
                write!(f, ", {unwritten} bytes of it never written")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
