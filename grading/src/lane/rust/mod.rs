//! The lane of Rust code: a typed trait for each task, linked and called in this process.
//!
//! Each task has a module here with its inputs and outputs as structs, a trait, and a marker
//! `Task` that names it. Implement the trait and hand a value to [`Typed`], and a crate has its
//! own graded test: a dev-dependency and three lines.
//!
//! ```
//! use grading::lane::rust::{Typed, softmax_topk};
//! use grading::submission::Failure;
//!
//! struct Mine;
//!
//! impl softmax_topk::SoftmaxTopk for Mine {
//!     fn softmax_topk(
//!         &mut self,
//!         inputs: &softmax_topk::Inputs<'_>,
//!     ) -> Result<softmax_topk::Outputs, Failure> {
//!         if inputs.k > inputs.v {
//!             return Err(Failure::Unsupported("K above V".into()));
//!         }
//!         let mut outputs = softmax_topk::Outputs::default();
//!         let logits = inputs.logits.to_f32();
//!         for (r, row) in logits.chunks(inputs.v).enumerate() {
//!             let masked = |i: usize| inputs.mask.as_ref().is_some_and(|m| m[r * inputs.v + i] != 0);
//!             let x: Vec<f32> = (0..row.len())
//!                 .map(|i| if masked(i) { f32::NEG_INFINITY } else { row[i] })
//!                 .collect();
//!             let odd = x.iter().any(|x| x.is_nan() || *x == f32::INFINITY);
//!             let scaled: Vec<f32> = x.iter().map(|x| x / inputs.temperature).collect();
//!             let top = scaled.iter().copied().fold(f32::NEG_INFINITY, f32::max);
//!             let base = if top == f32::NEG_INFINITY { 0.0 } else { top };
//!             // In blocks: one long chain of additions gathers their roundings.
//!             let sum: f32 = scaled
//!                 .chunks(64)
//!                 .map(|block| block.iter().map(|s| (s - base).exp()).sum::<f32>())
//!                 .sum();
//!             let mut order: Vec<usize> = (0..x.len()).collect();
//!             // −0 becomes +0: they are equal, and of equal logits the first comes first.
//!             order.sort_by(|a, b| (x[*b] + 0.0).total_cmp(&(x[*a] + 0.0)));
//!             let kept = inputs.row_k.as_ref().map_or(inputs.k, |k| k[r] as usize);
//!             for rank in 0..inputs.k {
//!                 let (prob, index) = match rank {
//!                     _ if rank >= kept => (0.0, -1),
//!                     _ if odd => (f32::NAN, -1),
//!                     _ if sum == 0.0 => (0.0, order[rank] as i32),
//!                     _ => ((scaled[order[rank]] - base).exp() / sum, order[rank] as i32),
//!                 };
//!                 outputs.prob.push(prob);
//!                 outputs.index.push(index);
//!             }
//!             outputs.lse.push(match odd {
//!                 true => f32::NAN,
//!                 false if sum == 0.0 => f32::NEG_INFINITY,
//!                 false => base + sum.ln(),
//!             });
//!         }
//!         Ok(outputs)
//!     }
//! }
//!
//! // In a crate of its own: #[test] fn graded() {
//! grading::assert_graded(|| Box::new(Typed::new("mine").with(softmax_topk::Task, Mine)));
//! ```
//!
//! An operation whose method is left as it is refuses its calls: they are graded `unsupported`.
//!
//! # What *trusted* means
//!
//! Code of this lane runs in the grader's own process, as a test's own code does. Nothing stands
//! between the two: it could read the grader's memory, call the oracle (which is linked beside
//! it), end the process or never return. The verdict therefore guards against mistakes, not
//! against intent. A crate that grades itself has no reason to deceive itself; code that comes
//! from somebody else belongs into the [`process`](super::process) or the [`ptx`](super::ptx)
//! lane, which keep oracle, expected values and seeds away from it.
//!
//! What does not need isolation holds here as well. Inputs are handed out read-only. Seeds are
//! fresh for each run, and data for each call: constants, copied inputs, answers remembered by
//! shape or by a part of the input, work that is done only for the first calls, kernels for one
//! shape, candidates that only Gaussian data fits, and a lower precision than was asked for are
//! found as in the other lanes. Names, types and lengths are held against the contract, a panic
//! is a `crash`, an answer that comes late a `timeout` (after it came). Time is taken around the
//! call, by the lane. `grading/tests/trusted.rs` has a sample of each.

pub mod beam_search;
mod field;
pub mod flash_attention_backward;
pub mod flash_attention_forward;
pub mod layernorm_backward;
mod macros;
mod output;
pub mod paged_kv_attention;
mod set;
pub mod softmax_topk;
pub mod ternary_matmul;
pub mod tree_verify;

pub use field::{Asked, Elements, Field, Floats, View};
pub use output::{Numbers, Output};
pub use set::{Answers, Typed};
