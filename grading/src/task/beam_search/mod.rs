//! `beam-search`.

mod builtin;
mod cases;
mod checks;
mod honest;
mod needles;
mod oracle;
mod run;
mod spec;
mod traps;

use super::Task;

/// The task.
pub fn task() -> Task {
    let mut checks = checks::checks();
    checks.extend(traps::traps());
    checks.extend(run::checks());
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
