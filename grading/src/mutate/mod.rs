//! The grader graded: small mistakes in the PTX of our own kernels, each of which it must find.
//!
//! Only lines that the checks execute are changed: what no check runs, no check can judge, and how
//! much that is, is reported beside the kill rate. A mutant is killed by the first check that does
//! not pass. One that passes everything either computes the same (it is *equivalent*, and
//! `grading/mutants.toml` says why), or shows what the checks miss.

mod baseline;
mod known;
pub mod module;
pub mod operators;
mod report;
mod run;

pub use known::{Entry, Known};
pub use report::{Fate, MutantReport, MutationReport};
pub use run::{MutateError, Options, run};
