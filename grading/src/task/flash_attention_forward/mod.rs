//! `flash-attention-forward`.

mod builtin;
mod cases;
mod checks;
mod honest;
mod needles;
mod properties;
mod spec;
mod traps;

use super::Task;

#[cfg(test)]
pub(super) use cases::call;
pub(super) use cases::saved;

/// The task.
pub fn task() -> Task {
    let mut checks = checks::checks();
    checks.extend(needles::checks());
    checks.extend(properties::properties());
    checks.extend(traps::traps());
    Task {
        spec: &spec::SPEC,
        checks,
        oracle: cases::oracle,
        place: cases::place,
        cost: cases::cost,
        example: cases::example,
        mistakes: honest::MISTAKES,
        honest: honest::honest,
        builtin: Some(builtin::call),
    }
}
