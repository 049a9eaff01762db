//! Honest implementations in f32 and 16 bits, to hold the bounds against: every one must pass every
//! case, and error ÷ bound must not be vanishingly small.
//!
//! `cargo run --release -p reference --example calibrate` runs the campaign; a small fixed sample
//! runs as a test. An honest implementation is written from the formula in f32 arithmetic and shares
//! nothing with the oracle but the inputs.

#![allow(
    unreachable_pub,
    reason = "a module of an example and of a test, which export nothing"
)]

pub mod arithmetic;
mod beam;
mod layernorm;
pub mod report;
mod softmax_topk;
mod ternary;
mod tree;

use rayon::prelude::*;
pub use report::Report;

/// One case of a family under every honest style.
pub type Trial = fn(u64, &mut Report);

/// The families, by name.
pub const FAMILIES: [(&str, Trial); 11] = [
    ("layernorm-f32", layernorm::trial::<f32>),
    ("layernorm-f16", layernorm::trial::<half::f16>),
    ("layernorm-bf16", layernorm::trial::<half::bf16>),
    ("softmax-topk-f32", softmax_topk::trial::<f32>),
    ("softmax-topk-bf16", softmax_topk::trial::<half::bf16>),
    ("beam-step-f32", beam::trial::<f32>),
    ("beam-step-bf16", beam::trial::<half::bf16>),
    ("ternary-f32", ternary::trial::<f32>),
    ("ternary-f16", ternary::trial::<half::f16>),
    ("ternary-bf16", ternary::trial::<half::bf16>),
    ("tree-sampling-f32", tree::trial::<f32>),
];

/// Runs cases `first..first+count` of a family in parallel.
pub fn campaign(trial: Trial, first: u64, count: u64) -> Report {
    (first..first + count)
        .into_par_iter()
        .fold(Report::default, |mut report, seed| {
            trial(seed, &mut report);
            report.cases += 1;
            report
        })
        .reduce(Report::default, Report::merged)
}
