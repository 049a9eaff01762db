//! What a kernel costs: counted exactly on any machine, and how far that is from the floor.
//!
//! * [`shape`]: the shapes that are measured, by name; [`call`]: calls of them;
//! * [`ready`]: a rung of ours with a call's tensors on a device;
//! * [`Figures`]: the kernels of one call together, from the PTX machine's counters;
//! * [`assembled`] and [`occupancy`]: registers and shared memory from ptxas, and how many warps
//!   fit on a multiprocessor;
//! * [`count`]: a rung, or somebody's submission, run once on the machine: a [`Profile`];
//! * [`formula`]: what the simplest rungs do, in closed form, for the counts to be held against;
//! * [`table`], [`page`] and [`plot`]: it as text, as a page, and the roofline as a picture;
//! * [`measure`], [`timing`] and [`judge`]: times on a device, every timed output held against the oracle;
//! * [`results`] and [`charts`]: the file that all of that is written to, and what is drawn of it.

pub mod assembled;
pub mod call;
pub mod charts;
pub mod count;
pub mod figures;
pub mod formula;
pub mod judge;
pub mod measure;
mod numbers;
pub mod occupancy;
pub mod page;
pub mod plot;
pub mod ready;
pub mod results;
pub mod shape;
pub mod table;
pub mod timing;

pub use count::{Profile, RungProfile};
pub use figures::Figures;
pub use shape::{Scale, Shape};

use crate::submission::Failure;

/// Why something is not measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Sizes that no call has.
    #[error("{0}")]
    Size(String),
    /// A type that kernels do not take.
    #[error("there are no kernels for {0}; there are for f32, f16 and bf16")]
    Dtype(String),
    /// A rung that the family does not have.
    #[error("there is no rung `{rung}` for this call; there are {known}")]
    Rung {
        /// What was asked for.
        rung: String,
        /// What there is.
        known: String,
    },
    /// It did not run to its end.
    #[error("{0}")]
    Failed(#[from] Failure),
}

impl ProfileError {
    /// 1 the program, 2 usage, 3 unsupported, 4 a limit, 70 our own fault.
    pub fn exit_code(&self) -> u8 {
        match self {
            ProfileError::Size(_) | ProfileError::Dtype(_) | ProfileError::Rung { .. } => 2,
            ProfileError::Failed(failure) => match failure {
                Failure::Unsupported(_) => 3,
                Failure::Limit(_) | Failure::Timeout(_) => 4,
                Failure::Grader(_) => 70,
                Failure::Fault(_)
                | Failure::Crash(_)
                | Failure::Malformed(_)
                | Failure::Cheat(_) => 1,
            },
        }
    }
}
