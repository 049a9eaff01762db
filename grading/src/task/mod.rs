//! The tasks, as data: what is asked, what is right, what is checked, which mistakes are known.
//!
//! # Adding a task
//!
//! A task is a folder here, and a line in [`all`]:
//!
//! * `spec.rs`: a [`Spec`], the contract that `touchstone explain` prints. Calls are held against
//!   it in tests, so a port that is named but never sent, or sent but not named, is found.
//! * `cases.rs`: functions that make a [`Call`] (a [`Draft`] puts one together) from [`Dims`]
//!   and a random generator, and the [`Oracle`] that judges answers to it by `reference`'s bounds
//!   ([`BoundedOutputs`] where all outputs are floats). Inputs come from `reference::cases` where
//!   it has them.
//! * `checks.rs` and `traps.rs`: the list of [`Check`]s. [`common::checks`] gives those that every
//!   task has; [`Check::judged`] is one call and its oracle; [`Check::new`] makes as many calls as
//!   it likes through [`Session`], which enforces the contract around each. A trap's sentence says
//!   what goes wrong in whoever falls into it.
//! * `honest.rs`: the plain f32 implementation with its [`Mistake`]s. Each trap needs a mistake
//!   that names it in `caught_by`, and must catch it for every seed; things that look like
//!   mistakes and are right are [`Mistake::near`] and must pass everything. At least 12 together.
//! * `builtin.rs`: our kernels, on a [`Bench`].
//!
//! `cargo test -p grading --test graders` then holds all of that against each other by discovery:
//! a trap without a mistake, a mistake that its trap does not catch, a near miss or an honest
//! order that fails, a call that breaks the contract. `cargo test -p grading --test grade
//! TASK` grades our kernels.
//!
//! A check draws sizes that are small: the PTX machine runs them. `cases` says how many are drawn,
//! quick and full; all eight tasks together have a minute on two cores.

mod attention;
pub mod beam_search;
mod bounded;
pub mod check;
pub mod common;
mod diagnosis;
mod dims;
mod draft;
mod explain;
pub mod flash_attention_backward;
pub mod flash_attention_forward;
pub mod honest;
pub mod layernorm_backward;
pub mod oracle;
pub mod paged_kv_attention;
mod session;
pub mod softmax_topk;
mod spec;
mod spread;
pub mod ternary_matmul;
pub mod tree_verify;

pub use bounded::{BoundedOutputs, dtype};
pub use check::{Budget, Check, Kind, Outcome, Stop, fixed};
pub use dims::{Dims, NotDims};
pub use draft::Draft;
pub use explain::explain;
pub use honest::{Honest, Mistake, Order, Way};
pub use oracle::{Element, Judged, JudgedOutput, NoMargin, Oracle, coordinates};
pub use session::{Figures, Session};
pub use spec::{Cost, CostModel, Level, Op, Parameter, Port, Size, Spec};

use crate::builtin::Bench;
use crate::submission::{Answer, Call, Failure, Named};
use std::sync::{Arc, LazyLock};

/// Our kernels for a task.
pub type Kernels = fn(&Bench, &Call) -> Result<Answer, Failure>;

/// A task.
pub struct Task {
    /// The contract.
    pub spec: &'static Spec,
    /// What is checked.
    pub checks: Vec<Check>,
    /// What is right for a call.
    pub oracle: fn(&Call) -> Result<Box<dyn Oracle>, String>,
    /// Where an element is, in the task's words: `row 3, rank 1 of K=5`.
    pub place: fn(&Call, output: &str, index: &[usize]) -> String,
    /// What a call costs at least.
    pub cost: fn(&Call) -> Cost,
    /// A small call to explain the contract with.
    pub example: fn() -> Call,
    /// The mistakes that are known.
    pub mistakes: &'static [Mistake],
    /// The plain implementation.
    pub honest: fn(&Call, &Way) -> Result<Vec<Named>, Failure>,
    /// Our kernels.
    pub builtin: Option<Kernels>,
}

impl Task {
    /// The check of that path: `trap::all-equal`.
    pub fn check(&self, path: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.path() == path)
    }

    /// Operations a check asks; a check that names none asks the first.
    pub fn ops_of(&self, check: &Check) -> Vec<&'static str> {
        match check.ops.is_empty() {
            true => self
                .spec
                .ops
                .first()
                .map(|op| op.name)
                .into_iter()
                .collect(),
            false => check.ops.clone(),
        }
    }
}

/// All tasks, in the order of the contract.
pub fn all() -> &'static [Arc<Task>] {
    static TASKS: LazyLock<Vec<Arc<Task>>> = LazyLock::new(|| {
        [
            layernorm_backward::task(),
            softmax_topk::task(),
            paged_kv_attention::task(),
            flash_attention_forward::task(),
            beam_search::task(),
            flash_attention_backward::task(),
            tree_verify::task(),
            ternary_matmul::task(),
        ]
        .map(Arc::new)
        .into()
    });
    &TASKS
}

/// The task of that name.
pub fn named(name: &str) -> Option<&'static Arc<Task>> {
    all().iter().find(|task| task.spec.name == name)
}
