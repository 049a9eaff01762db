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

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Slice};

use super::spare;
use crate::numbers::gemm::{self, Panels, WIDTH};
use crate::numbers::lanes::{InLanes, wide};
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
    value: Panels,
    size: Panels,
}

impl Dots {
    pub(crate) fn new(vectors: &Vectors) -> Self {
        Self {
            value: Panels::new(vectors.value.t()),
            size: Panels::new(vectors.size.t()),
        }
    }

    /// `Σ_d a_d·b_d` and `Σ_d |a_d||b_d|` of rows `tile` of `a` with those vectors `span`, which must
    /// be [`aligned`].
    pub(crate) fn with(
        &self,
        a: &Vectors,
        tile: Range<usize>,
        span: Range<usize>,
    ) -> [Array2<f64>; 2] {
        let depth = 0..a.value.ncols();
        let times = |a: &Array2<f64>, b: &Panels| {
            product(rows(a, tile.clone()), b, depth.clone(), span.clone())
        };
        [times(&a.value, &self.value), times(&a.size, &self.size)]
    }
}

/// `span` from the panel in which it begins.
pub(crate) fn aligned(span: Range<usize>) -> Range<usize> {
    span.start - span.start % WIDTH..span.end
}

/// Vectors to be summed, packed for it.
pub(crate) struct Summands {
    value: Panels,
    size: Panels,
    /// `size²`, where weights may be rounded.
    square: Option<Panels>,
}

impl Summands {
    pub(crate) fn new(vectors: &Vectors, rounded: bool) -> Self {
        let square = || Panels::new(vectors.size.mapv(|x| x * x).view());
        Self {
            value: Panels::new(vectors.value.view()),
            size: Panels::new(vectors.size.view()),
            square: rounded.then(square),
        }
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

/// One row of [`Weights`], or a part of it.
pub(crate) struct WeightRow<'a> {
    pub(crate) value: &'a mut [f64],
    pub(crate) error: &'a mut [f64],
    /// Empty where weights are not rounded.
    pub(crate) rounding: &'a mut [f64],
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
        self.error[key] = error;
        if let Some(to) = self.rounding.get_mut(key) {
            *to = rounding;
        }
    }
}

impl Weights {
    /// Weights that are all to be set, or cleared.
    pub(crate) fn unset(rows: usize, keys: usize, rounded: bool) -> Self {
        let any = || spare::any(rows, keys);
        Self {
            value: any(),
            error: any(),
            rounding: rounded.then(any),
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

    /// Sums and their bounds, `rows × D` each, over the vectors `first..`. Uses the roundings up.
    pub(crate) fn sum(
        &mut self,
        vectors: &Summands,
        first: usize,
        format: DType,
    ) -> [Array2<f64>; 2] {
        let keys = first..first + self.value.ncols();
        let over = |weights: &Array2<f64>, panels: &Panels| {
            product(weights.view(), panels, keys.clone(), 0..panels.columns())
        };
        let value = over(&self.value, &vectors.value);
        let mut bound = over(&self.error, &vectors.size);
        if let (Some(rounding), Some(square)) = (&mut self.rounding, &vectors.square) {
            let certain = over(rounding, &vectors.size);
            times_group_totals(rounding, format);
            let squares = over(rounding, square);
            let parts = certain.iter().zip(&squares);
            bound
                .iter_mut()
                .zip(parts)
                .for_each(|(bound, (certain, squares))| {
                    *bound += certain.min(LAMBDA * squares.sqrt());
                });
            [certain, squares].into_iter().for_each(spare::keep);
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

/// `a·b` of some lines and columns of b.
pub(crate) fn product(
    a: ArrayView2<'_, f64>,
    b: &Panels,
    depth: Range<usize>,
    columns: Range<usize>,
) -> Array2<f64> {
    let mut out = spare::any(a.nrows(), columns.len());
    if let Some(out) = out.as_slice_mut() {
        gemm::product(a, b, depth, columns, out);
    }
    out
}

/// T of one sum, term by term: pairs of `r_j` and `|y_j|`.
pub(crate) fn rounding_of(terms: &[(f64, f64)], format: DType) -> f64 {
    let mut grouped: Vec<f64> = terms.iter().map(|&(r, _)| r).collect();
    Groups::new(terms.len(), format).multiply(&mut grouped);
    let certain: f64 = terms.iter().map(|(r, y)| r * y).sum();
    let squares = terms.iter().zip(&grouped).map(|((_, y), r)| r * y * y);
    certain.min(LAMBDA * squares.sum::<f64>().sqrt())
}

/// Every row's `r_j` becomes `r_j·R_{g(j)}`.
fn times_group_totals(rounding: &mut Array2<f64>, format: DType) {
    let mut groups = Groups::new(rounding.ncols(), format);
    for at in 0..rounding.nrows() {
        groups.multiply(line_mut(rounding, at));
    }
}

/// Totals of (nearly) equal numbers. Two groups may share a slot, which only widens a bound.
struct Groups {
    totals: Vec<f64>,
    drop_bits: u32,
    /// Of the row at hand.
    slots: Vec<u32>,
}

impl Groups {
    fn new(members: usize, format: DType) -> Self {
        // Three bits beyond the format's explicit significand: an eighth of its spacing.
        let explicit = format.significand_bits() as u32 - 1;
        Self {
            totals: vec![0.0; (2 * members).next_power_of_two().clamp(16, 1 << 13)],
            drop_bits: 52 - (explicit + 3),
            slots: Vec::new(),
        }
    }

    /// `x_j·Σ_{i in the group of j} x_i` for x_j.
    fn multiply(&mut self, row: &mut [f64]) {
        self.slots.clear();
        self.slots.resize(row.len(), 0);
        wide(AssignSlots {
            row,
            slots: &mut self.slots,
            drop: self.drop_bits,
            keep: 64 - self.totals.len().trailing_zeros(),
        });
        self.totals.fill(0.0);
        for (&slot, x) in self.slots.iter().zip(&*row) {
            self.totals[slot as usize] += x;
        }
        for (&slot, x) in self.slots.iter().zip(row) {
            *x *= self.totals[slot as usize];
        }
    }
}

/// Fibonacci hashing of the leading bits: multiply by 2⁶⁴/golden ratio, keep the top ones.
struct AssignSlots<'a> {
    row: &'a [f64],
    slots: &'a mut [u32],
    drop: u32,
    keep: u32,
}

impl InLanes for AssignSlots<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (x, slot) in self.row.iter().zip(self.slots) {
            let key = (x.abs().to_bits() >> self.drop).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *slot = (key >> self.keep) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::independent;

    fn bound_of(roundings: &[f64], format: DType) -> f64 {
        let n = roundings.len();
        let mut weights = Weights::unset(1, n, true);
        let mut row = weights.row_mut(0);
        row.part(0..n).clear();
        row.rounding.copy_from_slice(roundings);
        let ones = Summands::new(&Vectors::new(Array2::ones((n, 1)), None), true);
        weights.sum(&ones, 0, format)[1][[0, 0]]
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
        let mut weights = Weights::unset(1, 2, false);
        weights.row_mut(0).set(0, [1.0, 0.0, 0.0]);
        weights.row_mut(0).set(1, [10.0, 1.0, 0.0]);
        let y = Array2::from_shape_vec((4, 1), vec![7.0, 7.0, 2.0, -3.0]).unwrap();
        let vectors = Summands::new(&Vectors::new(y, None), false);
        let [value, bound] = weights.sum(&vectors, 2, DType::F32);
        assert_eq!((value[[0, 0]], bound[[0, 0]]), (-28.0, 3.0));
    }
}
