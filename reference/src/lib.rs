//! Float64 oracles: for every output element the value and a derived bound on the error a right
//! implementation may make.
//!
//! Read [`numbers`] first: it says what a bound is and where it comes from. Then any family: each
//! module opens with its formula, its conventions and its rules for odd values.
//!
//! ```
//! use reference::View;
//! use reference::numbers::{DType, Precision};
//! use reference::softmax_topk::{Input, Ks, topk};
//!
//! let logits = [0.5f32, 2.25, 1.0];
//! let logits = View::new("logits", &logits, [1, 3])?;
//! let input = Input { logits, k: Ks::Uniform(1), temperature: 1.0, mask: None };
//! let row = &topk(&input, Precision::scalar(DType::F32))?.rows[0];
//! assert_eq!(row.index(), [1]);
//! let exact = 1.0 / ((0.5f64 - 2.25).exp() + 1.0 + (1.0f64 - 2.25).exp());
//! assert!(row.probability(1).admits(exact) && !row.probability(1).admits(exact + 1e-5));
//! # Ok::<(), reference::Error>(())
//! ```
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
