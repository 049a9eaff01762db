//! Sums of vectors under weights that carry errors: `Σ_j x_j·y_j`, for a tile of rows at once.
//!
//! ```text
//! |Σ x̂_j y_j − Σ x_j y_j| ≤ Σ_j e_j|y_j|  +  T
//!
//! e_j   error of the weight plus γ(n) of its size (the accumulation)
//! T     the rounding of the weights to 16 bits, |ρ_j| ≤ r_j:
//!       the smaller of the certain Σ_j r_j|y_j| and the probable λ·√(Σ_g (Σ_{j∈g} r_j|y_j|)²)
//! ```
//!
//! T is derived in [`super::roundings`].
//!
//! Values are float64, bounds float32 ([`crate::numbers::upward`]).

use std::ops::Range;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Slice};

use super::roundings::{CERTAIN, Squares, times_group_totals};
use crate::numbers::gemm::{self, Panels};
use crate::numbers::lane::Number;
use crate::numbers::spare;
use crate::numbers::upward::{Upward, above};
use crate::numbers::{DType, LAMBDA};

/// Vectors, one per row, with what bounds need of them.
pub(crate) struct Vectors {
    /// The vectors.
    pub(crate) value: Array2<f64>,
    /// Their magnitudes, for rounding errors; at least `|value|`.
    pub(crate) size: Array2<f64>,
}

impl Vectors {
    pub(crate) fn new(value: Array2<f64>, size: Option<Array2<f64>>) -> Self {
        let size = size.unwrap_or_else(|| value.mapv(f64::abs));
        Self { value, size }
    }

    /// Whether every component is a finite number.
    pub(crate) fn all_finite(&self) -> bool {
        self.value.iter().all(|x| x.is_finite())
    }
}

/// Vectors to be multiplied with, packed for it.
pub(crate) struct Dots {
    value: Panels<f64>,
    size: Panels<f32>,
}

impl Dots {
    pub(crate) fn new(vectors: &Vectors) -> Self {
        Self {
            value: Panels::new(vectors.value.t(), f64::from),
            size: Panels::new(vectors.size.t(), above),
        }
    }

    /// `Σ_d a_d·b_d` and, for an [`Upward`], `Σ_d |a_d||b_d|` of rows `tile` of `a` with those vectors
    /// `span`, which must be [`aligned`].
    pub(crate) fn with(
        &self,
        a: &Vectors,
        tile: Range<usize>,
        span: Range<usize>,
    ) -> (Array2<f64>, Array2<f32>) {
        let depth = 0..a.value.ncols();
        let sizes = rows(&a.size, tile.clone()).mapv(above);
        (
            product(
                rows(&a.value, tile),
                &self.value,
                depth.clone(),
                span.clone(),
            ),
            product(sizes.view(), &self.size, depth, span),
        )
    }
}

/// `span` from the panel in which it begins, of either kind.
pub(crate) fn aligned(span: Range<usize>) -> Range<usize> {
    span.start - span.start % f32::WIDTH..span.end
}

/// Vectors to be summed, packed for it.
pub(crate) struct Summands {
    value: Panels<f64>,
    size: Panels<f32>,
    /// Where weights may be rounded.
    square: Option<Squares>,
}

impl Summands {
    pub(crate) fn new(vectors: &Vectors, rounded: bool) -> Self {
        Self {
            value: Panels::new(vectors.value.view(), f64::from),
            size: Panels::new(vectors.size.view(), above),
            square: rounded.then(|| Squares::new(&vectors.size)),
        }
    }
}

/// The weights of a tile: `rows × keys`.
pub(crate) struct Weights {
    /// x.
    pub(crate) value: Array2<f64>,
    /// e.
    pub(crate) error: Array2<f32>,
    /// r, where weights may be rounded to 16 bits.
    pub(crate) rounding: Option<Array2<f32>>,
}

/// One row of [`Weights`], or a part of it.
pub(crate) struct WeightRow<'a> {
    pub(crate) value: &'a mut [f64],
    pub(crate) error: &'a mut [f32],
    /// Empty where weights are not rounded.
    pub(crate) rounding: &'a mut [f32],
}

impl<'a> WeightRow<'a> {
    pub(crate) fn into_part(self, keys: Range<usize>) -> WeightRow<'a> {
        WeightRow {
            value: &mut self.value[keys.clone()],
            error: &mut self.error[keys.clone()],
            rounding: match self.rounding.is_empty() {
                true => &mut [],
                false => &mut self.rounding[keys],
            },
        }
    }

    pub(crate) fn part(&mut self, keys: Range<usize>) -> WeightRow<'_> {
        let whole = WeightRow {
            value: self.value,
            error: self.error,
            rounding: self.rounding,
        };
        whole.into_part(keys)
    }

    /// No weight.
    pub(crate) fn clear(self) {
        self.value.fill(0.0);
        self.error.fill(0.0);
        self.rounding.fill(0.0);
    }

    /// Sets one weight, its error and its rounding.
    pub(crate) fn set(&mut self, key: usize, [value, error, rounding]: [f64; 3]) {
        self.value[key] = value;
        self.error[key] = above(error);
        if let Some(to) = self.rounding.get_mut(key) {
            *to = above(rounding);
        }
    }
}

impl Weights {
    /// Weights that are all to be set, or cleared.
    pub(crate) fn unset(rows: usize, keys: usize, rounded: bool) -> Self {
        Self::over(spare::any(rows, keys), spare::any(rows, keys), rounded)
    }

    /// The same in matrices that are there.
    pub(crate) fn over(value: Array2<f64>, error: Array2<f32>, rounded: bool) -> Self {
        let rounding = rounded.then(|| spare::any(value.nrows(), value.ncols()));
        Self {
            value,
            error,
            rounding,
        }
    }

    /// Keeps the memory for the next tile.
    pub(crate) fn keep(self) {
        spare::keep(self.value);
        spare::keep(self.error);
        self.rounding.into_iter().for_each(spare::keep);
    }

    /// The weights, errors and roundings of one row; the last empty where there are none.
    pub(crate) fn row_mut(&mut self, row: usize) -> WeightRow<'_> {
        WeightRow {
            value: line_mut(&mut self.value, row),
            error: line_mut(&mut self.error, row),
            rounding: match &mut self.rounding {
                Some(rounding) => line_mut(rounding, row),
                None => &mut [],
            },
        }
    }

    /// Sums and their bounds, `rows × D` each, over the vectors `first..`, of which no row uses more than
    /// `most`. Uses the roundings up.
    pub(crate) fn sum(
        &mut self,
        vectors: &Summands,
        first: usize,
        most: usize,
        format: DType,
    ) -> [Array2<f64>; 2] {
        let keys = first..first + self.value.ncols();
        let upward = Upward::sum(keys.len());
        let over = |weights: &Array2<f32>, panels: &Panels<f32>| {
            product(weights.view(), panels, keys.clone(), 0..panels.columns())
        };
        let columns = 0..vectors.value.columns();
        let value = product(self.value.view(), &vectors.value, keys.clone(), columns);
        let error = over(&self.error, &vectors.size);
        let mut bound = spare::any(error.nrows(), error.ncols());
        bound.zip_mut_with(&error, |bound, &error| *bound = upward.of(error));
        spare::keep(error);
        if let (Some(rounding), Some(square)) = (&mut self.rounding, &vectors.square) {
            let certain = over(rounding, &vectors.size);
            if most <= CERTAIN {
                bound.zip_mut_with(&certain, |bound, &certain| *bound += upward.of(certain));
            } else {
                let scales = times_group_totals(rounding, format);
                let squares = over(rounding, &square.panels);
                for (row, of_row) in scales.into_iter().enumerate() {
                    for (d, of_column) in square.scale.iter().enumerate() {
                        let squares = upward.of(squares[[row, d]]);
                        let probable = LAMBDA * squares.sqrt() * of_row * of_column;
                        bound[[row, d]] += upward.of(certain[[row, d]]).min(probable);
                    }
                }
                spare::keep(squares);
            }
            spare::keep(certain);
        }
        [value, bound]
    }
}

/// Whether terms of a sum, and so some partial sum, may be beyond f32, judged by the sum's bound,
/// which is at least u times their total size.
pub(crate) fn may_overflow(bound: f64) -> bool {
    let limit = DType::F32.unit_roundoff() * DType::F32.largest();
    bound.is_nan() || bound >= limit
}

/// `Σ a_d·b_d`.
pub(crate) fn dot(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The same of the finite products alone.
pub(crate) fn finite_dot(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| a * b);
    products.filter(|x| x.is_finite()).sum()
}

/// Rows `range` of `matrix`.
pub(crate) fn rows<N>(matrix: &Array2<N>, range: Range<usize>) -> ArrayView2<'_, N> {
    matrix.slice_axis(Axis(0), Slice::from(range))
}

/// Row `at` of a matrix made here, and so in standard layout.
pub(crate) fn line<N>(matrix: &Array2<N>, at: usize) -> &[N] {
    let columns = matrix.ncols();
    let all = matrix.as_slice().unwrap_or_default();
    &all[at * columns..(at + 1) * columns]
}

/// The same, to be written.
pub(crate) fn line_mut<N>(matrix: &mut Array2<N>, at: usize) -> &mut [N] {
    let columns = matrix.ncols();
    let all = matrix.as_slice_mut().unwrap_or_default();
    &mut all[at * columns..(at + 1) * columns]
}

/// `a·b` of some lines and columns of b.
pub(crate) fn product<N: Number>(
    a: ArrayView2<'_, N>,
    b: &Panels<N>,
    depth: Range<usize>,
    columns: Range<usize>,
) -> Array2<N> {
    let mut out = spare::any(a.nrows(), columns.len());
    if let Some(out) = out.as_slice_mut() {
        gemm::product(a, b, depth, columns, out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_starts_at_the_key_it_is_told() {
        let mut weights = Weights::unset(1, 2, false);
        weights.row_mut(0).set(0, [1.0, 0.0, 0.0]);
        weights.row_mut(0).set(1, [10.0, 1.0, 0.0]);
        let y = Array2::from_shape_vec((4, 1), vec![7.0, 7.0, 2.0, -3.0]).unwrap();
        let vectors = Summands::new(&Vectors::new(y, None), false);
        let [value, bound] = weights.sum(&vectors, 2, 2, DType::F32);
        assert_eq!(value[[0, 0]], -28.0);
        assert!((3.0..3.0 * (1.0 + 1e-5)).contains(&bound[[0, 0]]));
    }
}
