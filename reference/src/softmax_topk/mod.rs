//! Softmax and the K most probable entries of each row.
//!
//! ```text
//! sᵢ = xᵢ/T   (masked: −∞)       m = max sᵢ       l = Σ exp(sᵢ − m)
//! lse = m + ln l                  pᵢ = exp(sᵢ − m)/l
//! index = the K best by logit, exact ties by lower index;  prob = p of those
//! ```
//!
//! Conventions. Probabilities are of the full softmax, not renormalised over the K. Order is that
//! of the logits: exact at T = 1; at other temperatures distinct logits may become equal once
//! scaled, so the order is right within the bound of s; equal logits keep their index order
//! always. −0 and +0 are equal logits. With a K per row, ranks from K on hold index −1, prob 0.
//! lse is f32; prob is in the output type.
//!
//! Odd values. A NaN or +∞ (not masked) makes prob and lse of its row NaN and its indices −1. A
//! row of −∞ only: prob 0, lse −∞, indices 0…K−1. A −∞ among numbers: probability exactly 0,
//! ranked after every number, by lower index. K > V is an error.
//!
//! Bounds, with u = 2⁻²⁴, for any order and for one pass with a running maximum:
//!
//! * sᵢ: exact at T = 1. Otherwise a reciprocal and a product, `4u·|sᵢ|`;
//! * aᵢ = sᵢ − m: the errors of both, and `u·|aᵢ|`. `p` is formed from aᵢ, never from s − lse:
//!   at logits of 10⁴ the f32 lse has lost three digits;
//! * eᵢ = exp(aᵢ): see [`Precision::exp`](crate::numbers::Precision::exp);
//! * l: `γ(V)`, and the rescalings of a running maximum (see `rescalings`);
//! * pᵢ: the quotient; lse: the logarithm, the sum with m, and `u·|m|` for `exp2(x·c − m·c)`
//!   forms, whose rounded m·c is a shift common to all terms: it leaves p alone, not lse. Beside a
//!   *running* maximum that shift differs from term to term and is not granted: there subtract
//!   before multiplying.

mod answer;
mod oracle;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Wrong};
pub use oracle::{Input, Ks, RowOracle, TopK, topk};
