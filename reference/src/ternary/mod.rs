//! Ternary weights: formats, quantisation, and products straight from packed weights.
//!
//! ```text
//! Ŵ[n,k] = d[n,g]·t[n,k]     g = ⌊k/128⌋    t ∈ {−1, 0, +1}     d an f16 scale ≥ 0
//! quantise   d = f16(mean |W|) over the group;  t = clamp(round_half_even(W/d), −1, 1)
//!            d = 0 → t = 0
//! forward    y = x·Ŵᵀ        [M,N]
//! dx         dx = dy·Ŵ       [M,K]
//! dW         dW = dyᵀ·x      [N,K]   straight through: identity, no clip, d a constant
//! embed      rows of Ŵ by token
//! ```
//!
//! Conventions. Weights are `[N, K]` row-major, groups of 128 run along K, K is a multiple of
//! 128. W/d is divided by the scale *after* it was rounded to f16, and exact halves go to even:
//! `|W/d| = ½` is 0. `quantise` of its own result is not the identity (the mean of `d·t` is less
//! than d): [`pack_exact`] packs weights that are ternary already.
//!
//! Packings, per row and group, in this order of bytes (see [`Packing`]):
//!
//! ```text
//! two-bit  { f16 d; u8 qs[32] }   code[j] = (qs[j/4] >> 2(j%4)) & 3      34 bytes, 2.125 bit
//! base-3   { f16 d; u8 qs[26] }   code[j] = (qs[j/5] / 3^(j%5)) mod 3    28 bytes, 1.75 bit
//! weight = (code − 1)·d;  code 3 and bytes above 242 are reserved; the two digits that the last
//! base-3 byte has no weights for are 0
//! ```
//!
//! Odd values. Weights, activations and gradients must be finite: whether 0·NaN is NaN depends on
//! whether a kernel skips zero codes, so no answer would be right. A group whose mean rounds above
//! the largest f16 is refused.
//!
//! Bounds. Products `±x·d` are exact up to one rounding (of the scaled partial sum or of the
//! product), sums run over K terms in any order: γ(K) times the largest partial sum. Kernels may sum
//! codes, `Σ x·d·code − Σ x·d`, whose two sums are rounded independently: both partial sums enter, by
//! the root of their squares. Where the precision lets weights be rounded to a 16-bit type that d
//! does not fit (bf16), the exact shift this makes,
//! `|Σ x·(round(Ŵ) − Ŵ)|`, is added.

mod format;
mod matmul;
mod quantise;
#[cfg(test)]
mod tests;

pub use format::{GROUP, Packed, Packing};
pub use matmul::{embed, forward, input_gradient, weight_gradient};
pub use quantise::{Misquantised, check_quantised, pack_exact, quantise_absmean};
