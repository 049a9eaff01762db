//! LayerNorm and RMSNorm, forward statistics and backward.
//!
//! ```text
//! forward    μ = mean(x)   σ² = mean((x − μ)²)   ρ = 1/√(σ² + ε)      (rstd)
//!            x̂ = (x − μ)·ρ                        y = x̂·γ + β
//! backward   g  = dy·γ
//!            c₁ = mean(g)                c₂ = mean(g·x̂)
//!            dx = ρ·(g − c₁ − x̂·c₂) (+ residual)
//!            dγ = Σ_rows dy·x̂            dβ = Σ_rows dy
//! RMSNorm    μ = 0 throughout, c₁ = 0, no dβ; ρ = 1/√(mean(x²) + ε)
//! ```
//!
//! Conventions. `x`, `dy`, `gamma`, `residual` are in the input type; `mean` and `rstd` are the
//! f32 numbers the forward pass saved, and *inputs*: the oracle takes them as exact, so an error
//! of the forward pass is not charged to the backward pass. ε enters through `rstd` only. Without
//! gamma, γ = 1; dγ and dβ are then what an affine of ones would get. dx is in the output type,
//! dγ, dβ and the statistics are f32. `x̂` is formed by subtracting first: `x·ρ − μ·ρ` loses
//! `|μ|/σ` units and is outside the bound when the offset is large.
//!
//! Odd values. NaN in x, dy, gamma, mean or rstd makes NaN of every output that depends on it.
//! Infinities are refused, since whether they give ∞ or NaN depends on the order of the sums.
//! −0 and +0 are the same answer.

mod backward;
mod forward;
#[cfg(test)]
mod tests;

pub use backward::{Backward, Gradients, backward};
pub use forward::{Forward, Normalised, forward};

use crate::error::{Error, Result};
use crate::numbers::Element;
use crate::tensor::View;

/// Which of the two normalisations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Mean subtracted.
    Layer,
    /// Root mean square: no mean.
    Rms,
}

/// Finite numbers and NaN have a defined result; infinities do not.
fn refuse_infinities<T: Element, const N: usize>(view: &View<'_, T, N>) -> Result<()> {
    match view.data().iter().position(|x| x.to_f64().is_infinite()) {
        Some(index) => Err(Error::entry(
            view.name(),
            index,
            "infinite",
            "finite or NaN",
        )),
        None => Ok(()),
    }
}
