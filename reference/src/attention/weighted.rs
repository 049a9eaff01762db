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
//! The roundings of different numbers are taken as independent and of mean zero; those of (nearly)
//! equal numbers are the same rounding, so keys are put in groups g by the leading bits of their
//! weight, an eighth of the distance between neighbouring 16-bit numbers apart. By Cauchy and
//! Schwarz `(Σ_{j∈g} r_j|y_j|)² ≤ R_g·Σ_{j∈g} r_j y_j²`, `R_g = Σ_{j∈g} r_j`, so that
//! `T ≤ λ·√(Σ_j r_j·R_{g(j)}·y_j²)`, which is a matrix product.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Slice, Zip};

use super::spare;
use crate::numbers::{DType, LAMBDA};

/// A matrix of vectors to be summed, one per row, with what bounds need of it.
pub(crate) struct Vectors {
    /// The vectors.
    pub(crate) value: Array2<f64>,
    /// Their magnitudes, for rounding errors; at least `|value|`.
    pub(crate) size: Array2<f64>,
    /// `size²`, where weights may be rounded.
    square: Option<Array2<f64>>,
}

impl Vectors {
    pub(crate) fn new(value: Array2<f64>, size: Option<Array2<f64>>, rounded: bool) -> Self {
        let size = size.unwrap_or_else(|| value.mapv(f64::abs));
        let square = rounded.then(|| size.mapv(|x| x * x));
        Self {
            value,
            size,
            square,
        }
    }

    /// Whether every component is a finite number.
    pub(crate) fn all_finite(&self) -> bool {
        self.value.iter().all(|x| x.is_finite())
    }
}

/// The weights of a tile: `rows × keys`.
pub(crate) struct Weights {
    /// x.
    pub(crate) value: Array2<f64>,
    /// e.
    pub(crate) error: Array2<f64>,
    /// r, where weights may be rounded to 16 bits.
    pub(crate) rounding: Option<Array2<f64>>,
}

/// One row of [`Weights`].
pub(crate) struct WeightRow<'a> {
    value: &'a mut [f64],
    error: &'a mut [f64],
    rounding: &'a mut [f64],
}

impl WeightRow<'_> {
    /// Sets one weight, its error and its rounding.
    pub(crate) fn set(&mut self, key: usize, [value, error, rounding]: [f64; 3]) {
        self.value[key] = value;
        self.error[key] = error;
        if let Some(to) = self.rounding.get_mut(key) {
            *to = rounding;
        }
    }
}

impl Weights {
    pub(crate) fn zeros(rows: usize, keys: usize, rounded: bool) -> Self {
        let zeros = || spare::zeros(rows, keys);
        Self {
            value: zeros(),
            error: zeros(),
            rounding: rounded.then(zeros),
        }
    }

    /// Keeps the memory for the next tile.
    pub(crate) fn keep(self) {
        [self.value, self.error]
            .into_iter()
            .chain(self.rounding)
            .for_each(spare::keep);
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

    /// Sums and their bounds, `rows × D` each, over the keys `first..` of `vectors`.
    pub(crate) fn sum(
        &self,
        vectors: &Vectors,
        first: usize,
        format: DType,
    ) -> (Array2<f64>, Array2<f64>) {
        let keys = first..first + self.value.ncols();
        let value = product(self.value.view(), rows(&vectors.value, keys.clone()));
        let mut bound = product(self.error.view(), rows(&vectors.size, keys.clone()));
        if let (Some(rounding), Some(square)) = (&self.rounding, &vectors.square) {
            let certain = product(rounding.view(), rows(&vectors.size, keys.clone()));
            let grouped = with_group_totals(rounding, format);
            let squares = product(grouped.view(), rows(square, keys));
            Zip::from(&mut bound).and(&certain).and(&squares).for_each(
                |bound, &certain, &squares| {
                    *bound += certain.min(LAMBDA * squares.sqrt());
                },
            );
        }
        (value, bound)
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
pub(crate) fn rows(matrix: &Array2<f64>, range: Range<usize>) -> ArrayView2<'_, f64> {
    matrix.slice_axis(Axis(0), Slice::from(range))
}

/// Row `at` of a matrix made here, and so in standard layout.
pub(crate) fn line(matrix: &Array2<f64>, at: usize) -> &[f64] {
    let columns = matrix.ncols();
    let all = matrix.as_slice().unwrap_or_default();
    &all[at * columns..(at + 1) * columns]
}

/// The same, to be written.
pub(crate) fn line_mut(matrix: &mut Array2<f64>, at: usize) -> &mut [f64] {
    let columns = matrix.ncols();
    let all = matrix.as_slice_mut().unwrap_or_default();
    &mut all[at * columns..(at + 1) * columns]
}

/// `a·b`.
pub(crate) fn product(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut out = spare::any(a.nrows(), b.ncols());
    general_mat_mul(1.0, &a, &b, 0.0, &mut out);
    out
}

/// T of one sum, term by term: pairs of `r_j` and `|y_j|`.
pub(crate) fn rounding_of(terms: &[(f64, f64)], format: DType) -> f64 {
    let mut groups = Groups::new(terms.len(), format);
    terms.iter().for_each(|&(r, _)| groups.add(r));
    let certain: f64 = terms.iter().map(|(r, y)| r * y).sum();
    let squares: f64 = terms
        .iter()
        .map(|(r, y)| r * groups.total(*r) * y * y)
        .sum();
    certain.min(LAMBDA * squares.sqrt())
}

/// `r_j·R_{g(j)}` for every row.
fn with_group_totals(rounding: &Array2<f64>, format: DType) -> Array2<f64> {
    let mut groups = Groups::new(rounding.ncols(), format);
    let mut out = spare::any(rounding.nrows(), rounding.ncols());
    for at in 0..rounding.nrows() {
        let row = line(rounding, at);
        groups.clear();
        row.iter().for_each(|&r| groups.add(r));
        let to = line_mut(&mut out, at).iter_mut().zip(row);
        to.for_each(|(to, &r)| *to = r * groups.total(r));
    }
    out
}

/// Totals of (nearly) equal numbers. Two groups may share a slot, which only widens a bound.
pub(crate) struct Groups {
    totals: Vec<f64>,
    drop_bits: u32,
}

impl Groups {
    pub(crate) fn new(members: usize, format: DType) -> Self {
        // Three bits beyond the format's explicit significand: an eighth of its spacing.
        let explicit = format.significand_bits() as u32 - 1;
        Self {
            totals: vec![0.0; (2 * members).next_power_of_two().clamp(16, 1 << 13)],
            drop_bits: 52 - (explicit + 3),
        }
    }

    fn slot(&self, x: f64) -> usize {
        // Fibonacci hashing: multiply by 2⁶⁴/golden ratio, keep the leading bits.
        let key = (x.abs().to_bits() >> self.drop_bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (key >> (64 - self.totals.len().trailing_zeros())) as usize
    }

    pub(crate) fn clear(&mut self) {
        self.totals.fill(0.0);
    }

    pub(crate) fn add(&mut self, x: f64) {
        let slot = self.slot(x);
        self.totals[slot] += x;
    }

    pub(crate) fn total(&self, x: f64) -> f64 {
        self.totals[self.slot(x)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::independent;

    fn bound_of(roundings: &[f64], format: DType) -> f64 {
        let n = roundings.len();
        let mut weights = Weights::zeros(1, n, true);
        let row = Array2::from_shape_vec((1, n), roundings.to_vec()).unwrap();
        weights.rounding = Some(row);
        let ones = Vectors::new(Array2::ones((n, 1)), None, true);
        weights.sum(&ones, 0, format).1[[0, 0]]
    }

    #[test]
    fn equal_weights_share_one_rounding_and_different_ones_do_not() {
        // Far beyond λ² = 70.5 terms, where the probable bound is the smaller one. One group of 0.01·1000
        // stays whole, whatever the group's slot.
        let n = 1000;
        let equal = bound_of(&vec![0.01; n], DType::Bf16);
        assert!(
            (equal - 10.0).abs() < 1e-9,
            "equal roundings add up: {equal}"
        );
        // Steps of 1.1 %, ten times the 2⁻¹⁰ within which bf16's numbers count as equal: no two share a
        // group but by a shared slot.
        let spread: Vec<f64> = (0..n).map(|i| 0.01 * 1.011f64.powi(i as i32)).collect();
        let free = independent(spread.iter().copied());
        let got = bound_of(&spread, DType::Bf16);
        // Slots that happen to be shared widen the bound, never narrow it: 1000 groups in 2048 slots
        // share theirs with half another on average, and a group of two has √2 times the bound.
        assert!(
            got >= free * (1.0 - 1e-12) && got < 2f64.sqrt() * free,
            "{got} {free}"
        );
    }

    #[test]
    fn few_weights_get_the_certain_bound() {
        assert!((bound_of(&[0.5, 0.25], DType::F16) - 0.75).abs() < 1e-15);
    }

    #[test]
    fn a_sum_starts_at_the_key_it_is_told() {
        let mut weights = Weights::zeros(1, 2, false);
        weights.value[[0, 0]] = 1.0;
        weights.value[[0, 1]] = 10.0;
        weights.error[[0, 1]] = 1.0;
        let y = Array2::from_shape_vec((4, 1), vec![7.0, 7.0, 2.0, -3.0]).unwrap();
        let (value, bound) = weights.sum(&Vectors::new(y, None, false), 2, DType::F32);
        assert_eq!((value[[0, 0]], bound[[0, 0]]), (-28.0, 3.0));
    }
}
