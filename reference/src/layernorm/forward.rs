//! Forward: the statistics that backward reads, and y.

use super::{Norm, refuse_infinities};
use crate::error::{Error, Result};
use crate::numbers::{Bounded, BoundedTensor, Element, Precision};
use crate::tensor::{View, nonzero};

/// Inputs of [`forward`].
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a, T> {
    /// `[R, D]`.
    pub x: View<'a, T, 2>,
    /// `[D]`; ones when absent.
    pub gamma: Option<View<'a, T, 1>>,
    /// `[D]`; zeros when absent.
    pub beta: Option<View<'a, T, 1>>,
    /// ε > 0, finite: without it a constant row has no rstd.
    pub eps: f32,
    /// LayerNorm or RMSNorm.
    pub norm: Norm,
}

/// Outputs of [`forward`].
#[derive(Clone, Debug)]
pub struct Normalised {
    /// `[R, D]` in the output type.
    pub y: BoundedTensor,
    /// `[R]` f32; absent for RMSNorm.
    pub mean: Option<BoundedTensor>,
    /// `[R]` f32.
    pub rstd: BoundedTensor,
}

/// y, mean and rstd of every row.
pub fn forward<T: Element>(input: &Forward<'_, T>, precision: Precision) -> Result<Normalised> {
    let [rows, width] = input.x.shape();
    nonzero("R", rows)?;
    nonzero("D", width)?;
    if !(input.eps > 0.0 && input.eps.is_finite()) {
        return Err(Error::argument("eps", input.eps, "finite and above zero"));
    }
    refuse_infinities(&input.x)?;
    for affine in [&input.gamma, &input.beta].into_iter().flatten() {
        affine.expect_shape([width], "the width of `x`")?;
        refuse_infinities(affine)?;
    }
    let (mut y, mut mean, mut rstd) = (Vec::new(), Vec::new(), Vec::new());
    for r in 0..rows {
        let x: Vec<f64> = input.x.row(&[r]).iter().map(|x| x.to_f64()).collect();
        let (mu, rho) = statistics(&x, f64::from(input.eps), input.norm, precision);
        for (i, &x) in x.iter().enumerate() {
            let coefficient = |v: &Option<View<'_, T, 1>>, default| {
                Bounded::exact(v.as_ref().map_or(default, |v| v.data()[i].to_f64()))
            };
            let centred = precision.round(Bounded::exact(x) - mu);
            let xhat = precision.round(centred * rho);
            let scaled = precision.round(xhat * coefficient(&input.gamma, 1.0));
            let shifted = precision.round(scaled + coefficient(&input.beta, 0.0));
            y.push(precision.store(shifted));
        }
        mean.push(precision.store_statistic(mu));
        rstd.push(precision.store_statistic(rho));
    }
    let mean = match input.norm {
        Norm::Layer => Some(BoundedTensor::new("mean", &[rows], mean)?),
        Norm::Rms => None,
    };
    Ok(Normalised {
        y: BoundedTensor::new("y", &[rows, width], y)?,
        mean,
        rstd: BoundedTensor::new("rstd", &[rows], rstd)?,
    })
}

/// μ and ρ of one row.
///
/// μ errs by Δμ = γ(D)·mean|x|. For σ² the error of the mean enters squared, since
/// `mean((x−μ−Δμ)²) = σ² + Δμ²` exactly: every dᵢ = xᵢ−μ carries the same Δμ and Σdᵢ = 0. So
/// `Δσ² ≤ Δμ² + (γ(D)+3u)·mean((|d|+Δμ)²)`: two roundings of each dᵢ (the difference, squared:
/// 2u) and one of the square; plus ε, its sum, and the reciprocal root.
fn statistics(x: &[f64], eps: f64, norm: Norm, precision: Precision) -> (Bounded, Bounded) {
    let n = x.len() as f64;
    let mu = match norm {
        Norm::Rms => Bounded::exact(0.0),
        Norm::Layer => {
            let total = precision.sum(x.iter().map(|&x| Bounded::exact(x)));
            precision.round_special(total / Bounded::exact(n))
        }
    };
    let variance = x.iter().map(|x| (x - mu.value).powi(2)).sum::<f64>() / n;
    let largest = x
        .iter()
        .map(|x| ((x - mu.value).abs() + mu.bound).powi(2))
        .sum::<f64>()
        / n;
    let roundings = precision.gamma(x.len()) + 3.0 * precision.unit();
    let underflow = n * precision.underflow();
    let variance = Bounded::new(
        variance,
        mu.bound * mu.bound + roundings * largest + underflow,
    );
    let variance = precision.round_special(variance);
    (
        mu,
        precision.round_special(precision.round(variance + Bounded::exact(eps)).rsqrt()),
    )
}
