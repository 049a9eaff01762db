//! `ternary-matmul`.

mod builtin;
mod cases;
mod checks;
mod honest;
mod needles;
mod oracle;
mod spec;
mod traps;

use super::Task;

/// The task.
pub fn task() -> Task {
    let mut checks = checks::checks();
    checks.extend(traps::traps());
    Task {
        spec: &spec::SPEC,
        checks,
        oracle: oracle::oracle,
        place: cases::place,
        cost: cases::cost,
        example: cases::example,
        mistakes: honest::MISTAKES,
        honest: honest::honest,
        builtin: Some(builtin::call),
    }
}
