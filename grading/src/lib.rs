//! Tasks, lanes, verdicts and reports, and the `touchstone` command over them.
//!
//! What is here so far is [`doctor`]: what this machine has of what the project can use. Nothing is
//! graded yet.
#![forbid(unsafe_code)]

pub mod doctor;
pub mod lane;
pub mod npy;
pub mod run;
pub mod submission;
pub mod tensor;
