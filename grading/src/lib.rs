//! Tasks, lanes, verdicts and reports, and the `touchstone` command over them.
//!
//! [`task`] holds the tasks as data and says how to add one; [`submission`] is what is graded,
//! whatever [`lane`] it came by; [`grade`] runs the checks and makes the report. [`builtin`] is our
//! own kernels as a submission. [`assert_graded`] makes a test of a crate's own.
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
