//! What a bound is, and what it is made of.
//!
//! For each output element an oracle returns [`Bounded`]: the exact result of the formula on the
//! inputs as given (`value`, evaluated in float64), and how far a right implementation working in
//! a declared [`Precision`] may be from it (`bound`). An answer is right when
//! `|got − value| ≤ bound` ([`Bounded::admits`]); NaN and infinities have their own rule there.
//!
//! A bound is a rounding analysis, evaluated in float64 beside the value:
//!
//! * one operation: `fl(a∘b) = (a∘b)(1+δ) + η`, `|δ| ≤ u`, `|η|` the underflow of the format;
//! * errors already in the operands travel through the operation (the operators of [`Bounded`]);
//! * a sum of n terms in *any* order: γ(n), in the probabilistic form `λ√n·u` with the one
//!   confidence [`LAMBDA`] ([`Precision::gamma`]), times the largest partial sum there can be,
//!   `(Σ|xᵢ| + |Σxᵢ|)/2` ([`Precision::sum`]);
//! * fresh, independent roundings of n terms that are then summed: [`independent`].
//!
//! The float64 evaluation errs by `n·2⁻⁵³` where an implementation in f32 errs by `n·2⁻²⁴`; the
//! 29 bits between them are why the oracle's own rounding is not counted.

mod bounded;
mod compare;
mod confidence;
mod element;
pub(crate) mod gemm;
pub(crate) mod lane;
pub(crate) mod lanes;
pub mod matmul;
mod precision;
pub(crate) mod spare;
mod tally;
pub(crate) mod upward;

pub use bounded::{Bounded, BoundedTensor};
pub use compare::{Comparison, Failure, Histogram};
pub use confidence::{FAILURE, LAMBDA, OUTPUTS, independent};
pub use element::{DType, Element, round_to_bits};
pub(crate) use precision::partial_sums;
pub use precision::{Accumulate, Exponential, Precision};
pub use tally::Tally;
