//! Products with packed weights, their gradients, and the embedding.

use super::Packed;
use crate::error::{Error, Result};
use crate::numbers::{Bounded, BoundedTensor, Element, Precision, matmul};
use crate::tensor::{View, nonzero};

/// `y[M,N] = x[M,K]·Ŵᵀ`.
pub fn forward<T: Element>(
    x: View<'_, T, 2>,
    weights: &Packed,
    precision: Precision,
) -> Result<BoundedTensor> {
    let ([m, k], [n, _]) = (x.shape(), weights.shape());
    nonzero("M", m)?;
    x.expect_shape([m, weights.shape()[1]], "K of the packed weights")?;
    let x = read(&x)?;
    let product = |f: &dyn Fn(f64, i8) -> f64| {
        let w: Vec<f64> = weights.weights(f).collect();
        move |x: &[f64]| matmul::by_transposed(x, &w, [m, n, k])
    };
    finish("y", [m, n], k, &x, precision, product)
}

/// `dx[M,K] = dy[M,N]·Ŵ`.
pub fn input_gradient<T: Element>(
    dy: View<'_, T, 2>,
    weights: &Packed,
    precision: Precision,
) -> Result<BoundedTensor> {
    let ([m, _], [n, k]) = (dy.shape(), weights.shape());
    nonzero("M", m)?;
    dy.expect_shape([m, n], "N of the packed weights")?;
    let dy = read(&dy)?;
    let product = |f: &dyn Fn(f64, i8) -> f64| {
        let w: Vec<f64> = weights.weights(f).collect();
        move |dy: &[f64]| matmul::plain(dy, &w, [m, k, n])
    };
    finish("dx", [m, k], n, &dy, precision, product)
}

/// Value, size and shift of a product with packed weights (see the module's head): each is the
/// same product, of other functions of scale and sign.
fn finish<P: Fn(&[f64]) -> Vec<f64>>(
    output: &'static str,
    shape: [usize; 2],
    terms: usize,
    left: &[f64],
    precision: Precision,
    product: impl Fn(&dyn Fn(f64, i8) -> f64) -> P,
) -> Result<BoundedTensor> {
    let magnitudes: Vec<f64> = left.iter().map(|x| x.abs()).collect();
    let value = product(&|d, t| d * f64::from(t))(left);
    let size = product(&|d, t| d * (f64::from(t) + 2.0))(&magnitudes);
    let shift = product(&|d, t| (precision.weights.round(d) - d) * f64::from(t))(left);
    let gamma = precision.gamma(terms);
    let underflow = terms as f64 * precision.underflow();
    let items = value
        .iter()
        .zip(&size)
        .zip(&shift)
        .map(|((&value, &size), &shift)| {
            let sum = Bounded::new(value, gamma * size + shift.abs() + underflow);
            precision.store(precision.in_range(sum, size))
        })
        .collect();
    BoundedTensor::new(output, &shape, items)
}

/// `dW[N,K] = dyᵀ·x`, straight through the quantiser.
pub fn weight_gradient<T: Element>(
    dy: View<'_, T, 2>,
    x: View<'_, T, 2>,
    precision: Precision,
) -> Result<BoundedTensor> {
    let ([m, n], [_, k]) = (dy.shape(), x.shape());
    nonzero("M", m)?;
    nonzero("N", n)?;
    nonzero("K", k)?;
    x.expect_shape([m, k], "M of `dy`")?;
    let (dy, x) = (read(&dy)?, read(&x)?);
    let magnitude = |v: &[f64]| v.iter().map(|x| x.abs()).collect::<Vec<f64>>();
    let value = matmul::of_transposed(&dy, &x, [n, k, m]);
    let size = matmul::of_transposed(&magnitude(&dy), &magnitude(&x), [n, k, m]);
    let underflow = m as f64 * precision.underflow();
    let gamma = precision.gamma(m);
    let items = value
        .iter()
        .zip(&size)
        .map(|(&value, &size)| {
            let sum = Bounded::new(value, gamma * size + underflow);
            precision.store(precision.in_range(sum, size))
        })
        .collect();
    BoundedTensor::new("dW", &[n, k], items)
}

/// Rows of Ŵ by token, `[tokens, K]`: exact but for the output type.
pub fn embed(tokens: &[i32], weights: &Packed, precision: Precision) -> Result<BoundedTensor> {
    let [n, k] = weights.shape();
    let table = weights.unpack();
    let mut items = Vec::with_capacity(tokens.len() * k);
    for (index, &token) in tokens.iter().enumerate() {
        let row = usize::try_from(token).ok().filter(|&row| row < n);
        let row = row.ok_or_else(|| Error::entry("tokens", index, token, format!("in 0..{n}")))?;
        let weights = &table[row * k..(row + 1) * k];
        items.extend(weights.iter().map(|&w| precision.store(Bounded::exact(w))));
    }
    BoundedTensor::new("rows", &[tokens.len(), k], items)
}

fn read<T: Element>(view: &View<'_, T, 2>) -> Result<Vec<f64>> {
    let data: Vec<f64> = view.data().iter().map(|x| x.to_f64()).collect();
    match data.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(Error::entry(view.name(), index, data[index], "finite")),
        None => Ok(data),
    }
}
