//! `tree-verify`.

mod attention;
mod checks;
mod honest;
mod honest_attention;
mod kernels;
mod mistakes;
mod needles;
mod oracle;
mod sampling;
mod spec;
mod traps;
mod walks;

use super::{Cost, Oracle, Task, Way};
use crate::submission::{Call, Failure, Named};

pub(super) const TASK: &str = "tree-verify";

/// The task.
pub fn task() -> Task {
    let mut checks = checks::checks();
    checks.extend(traps::traps());
    Task {
        spec: &spec::SPEC,
        checks,
        oracle: right,
        place,
        cost,
        example: walks::example,
        mistakes: mistakes::MISTAKES,
        honest: plain,
        builtin: Some(kernels::call),
    }
}

fn right(call: &Call) -> Result<Box<dyn Oracle>, String> {
    match call.op {
        "attention" => attention::oracle(call),
        _ => oracle::oracle(call),
    }
}

fn plain(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    match call.op {
        "attention" => honest_attention::honest(call, way),
        _ => honest::honest(call, way),
    }
}

fn place(call: &Call, output: &str, index: &[usize]) -> String {
    let starts = walks::integers(call, "starts").unwrap_or_default();
    let item = |at: usize| {
        let ends = starts.iter().skip(1);
        let item = ends.take_while(|end| **end as usize <= at).count();
        let first = starts.get(item).copied().unwrap_or(0) as usize;
        (item, at.saturating_sub(first))
    };
    match (output, index) {
        ("count" | "bonus", [item]) => format!("{output} of item {item}"),
        ("node" | "accepted" | "slot", [at]) => {
            let (item, step) = item(*at);
            format!("{output} of item {item}, step {step}")
        }
        (_, [at, rest @ ..]) => {
            let (item, node) = item(*at);
            let rest: String = rest.iter().map(|c| format!(", {c}")).collect();
            format!("{output} of item {item}, node {node}{rest}")
        }
        _ => format!("{output} at {index:?}"),
    }
}

fn cost(call: &Call) -> Cost {
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(0);
    match call.op {
        "attention" => attention::cost(call),
        // A walk reads the rows of its path; the least it can read is a row an item.
        "accept" | "sample" => Cost {
            bytes: 4 * (3 * size("T") + 3 * size("B")) + 2 * size("B") * size("V"),
            flops: 0,
            workspace: 16 * (size("T") + size("B")) + 4 * size("B") * size("V"),
        },
        _ => Cost {
            bytes: call.compulsory_bytes(),
            flops: 0,
            workspace: 16 * size("T"),
        },
    }
}
