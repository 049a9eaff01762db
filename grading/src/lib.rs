//! Tasks, lanes, verdicts and reports, and the `touchstone` command over them.
//!
//! What comes in, by which lane: [`submission`]; what is asked and what is right: [`task`]; what came of
//! it: [`grade`].
#![forbid(unsafe_code)]

pub mod builtin;
pub mod doctor;
pub mod grade;
pub mod lane;
pub mod mutate;
pub mod new;
pub mod npy;
pub mod profile;
pub mod run;
pub mod submission;
pub mod task;
pub mod tensor;
pub mod verdict;

pub use grade::assert_graded;
