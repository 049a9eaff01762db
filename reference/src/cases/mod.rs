//! Inputs worth testing with: a seeded generator, tensors that mix scales, and the check that a
//! case can tell right from wrong.
//!
//! Everything here is a function of a seed, so a failure is replayed from one number.

pub mod attention;
mod attention_shape;
pub mod beam;
mod build;
pub mod layernorm;
mod mix;
mod null_margin;
pub mod paged_append;
pub mod paged_kv;
mod rng;
pub mod softmax_topk;
#[cfg(any(test, feature = "proptest"))]
pub mod strategy;
pub mod ternary;
pub mod tree;
pub mod tree_attention;
pub mod tree_sampling;

pub use build::{Case, build};
pub use mix::{Pattern, mixed, mixed_row, mixed_up_to, normal};
pub use null_margin::{NoMargin, WrongAnswer, lower_precision, null_margin, usual_wrong_answers};
pub use rng::Rng;
