//! Float64 oracles: for every output element the value and a derived bound on the error a right
//! implementation may make.
//!
//! Read [`numbers`] first: it says what a bound is and where it comes from. Then any family: each
//! module opens with its formula, its conventions and its rules for odd values.
#![forbid(unsafe_code)]

pub mod attention;
pub mod beam;
pub mod cases;
pub mod decision;
pub mod error;
pub mod layernorm;
pub mod lm;
pub mod numbers;
pub mod paged_kv;
pub mod softmax_topk;
pub mod tensor;
pub mod ternary;
pub mod tree;
pub mod tree_attention;

pub use error::{Error, Result};
pub use tensor::View;
