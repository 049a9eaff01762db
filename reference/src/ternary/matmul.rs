//! Products with packed weights, their gradients, and the embedding.

use super::{GROUP, Packed};
use crate::error::{Error, Result};
use crate::numbers::{Bounded, BoundedTensor, Element, Precision, matmul, partial_sums};
use crate::tensor::{View, nonzero};

/// `y[M,N] = x[M,K]·Ŵᵀ`.
pub fn forward<T: Element>(
    x: View<'_, T, 2>,
    weights: &Packed,
    precision: Precision,
) -> Result<BoundedTensor> {
    let ([m, _], [n, k]) = (x.shape(), weights.shape());
    nonzero("M", m)?;
    x.expect_shape([m, k], "K of the packed weights")?;
    let x = read(&x)?;
    let groups = k / GROUP;
    let scales = scales(weights);
    finish(
        "y",
        [m, n],
        k,
        &x,
        weights,
        precision,
        Products {
            full: &|x, w| matmul::by_transposed(x, w, [m, n, k]),
            scaled: &|x| {
                let sums: Vec<f64> = x.chunks(GROUP).map(|group| group.iter().sum()).collect();
                matmul::by_transposed(&sums, &scales, [m, n, groups])
            },
        },
    )
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
    let groups = k / GROUP;
    let scales = scales(weights);
    finish(
        "dx",
        [m, k],
        n,
        &dy,
        weights,
        precision,
        Products {
            full: &|dy, w| matmul::plain(dy, w, [m, k, n]),
            scaled: &|dy| {
                let sums = matmul::plain(dy, &scales, [m, groups, n]);
                sums.into_iter().flat_map(|sum| [sum; GROUP]).collect()
            },
        },
    )
}

/// A product of the left factor with a matrix of weights.
type Full<'a> = &'a dyn Fn(&[f64], &[f64]) -> Vec<f64>;

/// A product of the left factor with the scales.
type Scaled<'a> = &'a dyn Fn(&[f64]) -> Vec<f64>;

/// A product's two forms: with a matrix of K weights per row, and with the scales alone, as if every
/// sign were +1.
struct Products<'a> {
    full: Full<'a>,
    scaled: Scaled<'a>,
}

/// Value and bound of a product with packed weights, `terms` to a sum (see the module's head).
///
/// With y the value, `o = Σ x·d`, `B = Σ|x|·d` and `A = Σ|x|·d·code = Σ|x|·d·t + B`, the sum of
/// codes is `y + o`, so partial sums are at most `(A + |y+o|)/2` and `(B + |o|)/2`; of a direct sum
/// `(B + |y|)/2`. Products, the scaling of a group and the difference add 3u·B.
fn finish(
    output: &'static str,
    shape: [usize; 2],
    terms: usize,
    left: &[f64],
    weights: &Packed,
    precision: Precision,
    product: Products<'_>,
) -> Result<BoundedTensor> {
    let magnitudes: Vec<f64> = left.iter().map(|x| x.abs()).collect();
    let dense = weights.unpack();
    let value = (product.full)(left, &dense);
    let signed = (product.full)(&magnitudes, &dense);
    let offset = (product.scaled)(left);
    let size = (product.scaled)(&magnitudes);
    let rounded: Vec<f64> = weights
        .weights(|d, t| (precision.weights.round(d) - d) * f64::from(t))
        .collect();
    let shift = match rounded.iter().any(|&w| w != 0.0) {
        true => (product.full)(left, &rounded),
        false => vec![0.0; value.len()],
    };
    let gamma = precision.gamma(terms);
    let underflow = terms as f64 * precision.underflow();
    let items = (0..value.len())
        .map(|i| {
            let (y, o, b) = (value[i], offset[i], size[i]);
            let codes = 0.5 * (signed[i] + b + (y + o).abs());
            let partial = f64::max(codes.hypot(0.5 * (b + o.abs())), 0.5 * (b + y.abs()));
            let rounding = gamma * partial + 3.0 * precision.unit() * b;
            let sum = Bounded::new(y, rounding + shift[i].abs() + underflow);
            precision.store(precision.in_range(sum, signed[i] + b))
        })
        .collect();
    BoundedTensor::new(output, &shape, items)
}

fn scales(weights: &Packed) -> Vec<f64> {
    weights.scales().iter().map(|d| d.to_f64()).collect()
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
            let partial = partial_sums(size, Bounded::exact(value));
            let rounding = gamma * partial + precision.unit() * size;
            let sum = Bounded::new(value, rounding + underflow);
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
