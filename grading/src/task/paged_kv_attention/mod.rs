//! `paged-kv-attention`.

mod append;
mod cases;
mod checks;
pub(super) mod combined;
mod honest;
mod honest_append;
pub(super) mod kernels;
mod mistakes;
pub(super) mod pages;
mod spec;
mod traps;
mod traps_append;

use super::{Oracle, Task};
use crate::submission::{Call, Failure, Named};
use crate::task::{Cost, Way};

/// The task.
pub fn task() -> Task {
    let mut checks = checks::checks();
    checks.extend(traps::traps());
    checks.extend(traps_append::traps());
    Task {
        spec: &spec::SPEC,
        checks,
        oracle,
        place,
        cost,
        example: cases::example,
        mistakes: mistakes::MISTAKES,
        honest,
        builtin: Some(kernels::call),
    }
}

fn oracle(call: &Call) -> Result<Box<dyn Oracle>, String> {
    match call.op {
        "append" => append::oracle(call),
        _ => cases::oracle(call),
    }
}

fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    match call.op {
        "append" => honest_append::honest(call, way),
        _ => honest::honest(call, way),
    }
}

fn place(call: &Call, output: &str, index: &[usize]) -> String {
    match (call.op, index) {
        ("append", [page, slot, head, rest @ ..]) => {
            let rest = rest.iter().map(|c| format!(", byte or component {c}"));
            let rest: String = rest.collect();
            format!("{output} of page {page}, token {slot}, head {head}{rest}")
        }
        (_, [row, head, rest @ ..]) => {
            let what = match call.op {
                "decode" => "sequence",
                _ => "query",
            };
            let rest: String = rest.iter().map(|c| format!(", component {c}")).collect();
            format!("{output} of {what} {row}, head {head}{rest}")
        }
        _ => format!("{output} at {index:?}"),
    }
}

fn cost(call: &Call) -> Cost {
    match call.op {
        "append" => append::cost(call),
        _ => cases::cost(call),
    }
}
