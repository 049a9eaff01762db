//! What rounding weights to 16 bits does to a sum `Σ_j x_j·y_j`, where `|ρ_j| ≤ r_j`:
//!
//! ```text
//! T = the smaller of the certain Σ_j r_j|y_j| and the probable λ·√(Σ_g (Σ_{j∈g} r_j|y_j|)²)
//! ```
//!
//! The roundings of different numbers are taken as independent and of mean zero; those of (nearly)
//! equal numbers are the same rounding, so keys are put in groups g by the leading bits of their
//! weight, an eighth of the distance between neighbouring 16-bit numbers apart. By Cauchy and
//! Schwarz `(Σ_{j∈g} r_j|y_j|)² ≤ R_g·Σ_{j∈g} r_j y_j²`, `R_g = Σ_{j∈g} r_j`, so that
//! `T ≤ λ·√(Σ_j r_j·R_{g(j)}·y_j²)`, which is a matrix product. Over no more than λ² terms the certain
//! bound is the smaller one: `(Σ r_j|y_j|)² ≤ n·Σ r_j²y_j²`.

use ndarray::{Array2, ArrayView1};

use super::weighted::line_mut;
use crate::numbers::gemm::Panels;
use crate::numbers::lanes::{InLanes, largest, wide};
use crate::numbers::upward::above;
use crate::numbers::{DType, LAMBDA};

/// λ²: over so many terms the certain bound is the smaller one.
pub(crate) const CERTAIN: usize = (LAMBDA * LAMBDA) as usize;

/// `(size/scale)²`, each column by a power of two that is at least its largest number: in the range of
/// float32.
pub(crate) struct Squares {
    pub(crate) panels: Panels<f32>,
    pub(crate) scale: Vec<f64>,
}

impl Squares {
    pub(crate) fn new(sizes: &Array2<f64>) -> Self {
        let top = |column: ArrayView1<'_, f64>| column.iter().copied().fold(0.0, f64::max);
        let columns = sizes.columns().into_iter();
        let scale: Vec<f64> = columns.map(|column| scale_of(top(column))).collect();
        let mut squares = sizes.clone();
        for mut row in squares.rows_mut() {
            let both = row.iter_mut().zip(&scale);
            both.for_each(|(x, scale)| *x = (*x / scale) * (*x / scale));
        }
        Self {
            panels: Panels::new(squares.view(), above),
            scale,
        }
    }
}

/// The least power of two above a size; 1 for zero and infinity.
fn scale_of(x: f64) -> f64 {
    let exponent = x.to_bits() >> 52;
    match x == 0.0 || x.is_infinite() {
        true => 1.0,
        false => f64::from_bits((exponent + 1) << 52),
    }
}

/// T of one sum, term by term: pairs of `r_j` and `|y_j|`.
pub(crate) fn rounding_of(terms: &[(f64, f64)], format: DType) -> f64 {
    let certain: f64 = terms.iter().map(|(r, y)| r * y).sum();
    if terms.len() <= CERTAIN {
        return certain;
    }
    let roundings: Vec<f32> = terms.iter().map(|&(r, _)| above(r)).collect();
    let mut groups = Groups::new(terms.len(), format);
    groups.add(&roundings, 1.0);
    let squares = terms.iter().zip(groups.totals_of(&roundings));
    let squares: f64 = squares.map(|((r, y), total)| r * total * y * y).sum();
    certain.min(LAMBDA * squares.sqrt())
}

/// Every row's `r_j` becomes `r_j·R_{g(j)}/c²`, c a power of two that is at least its largest number:
/// all c. Of a product that float32 does not have no more than the smallest number is lost, as in
/// [`crate::numbers::upward`], since no square is above 1.
pub(crate) fn times_group_totals(rounding: &mut Array2<f32>, format: DType) -> Vec<f64> {
    let mut groups = Groups::new(rounding.ncols(), format);
    let rows = 0..rounding.nrows();
    let scaled = |at: usize| {
        let row = line_mut(rounding, at);
        let scale = scale_of(f64::from(wide(Largest(row))));
        groups.add(row, 1.0 / scale);
        groups.multiply(row, 1.0 / scale);
        scale
    };
    rows.map(scaled).collect()
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
            drop_bits: 23 - (explicit + 3),
            slots: Vec::new(),
        }
    }

    /// Totals of `x·factor`.
    fn add(&mut self, row: &[f32], factor: f64) {
        self.slots.resize(row.len(), 0);
        wide(AssignSlots {
            row,
            slots: &mut self.slots,
            drop: self.drop_bits,
            keep: 32 - self.totals.len().trailing_zeros(),
        });
        self.totals.fill(0.0);
        for (&slot, &x) in self.slots.iter().zip(row) {
            self.totals[slot as usize] += f64::from(x) * factor;
        }
    }

    /// The total of each one's group.
    fn totals_of(&self, row: &[f32]) -> impl Iterator<Item = f64> {
        self.slots[..row.len()]
            .iter()
            .map(|&slot| self.totals[slot as usize])
    }

    /// `x_j·factor·Σ_{i in the group of j} x_i·factor` for x_j.
    fn multiply(&self, row: &mut [f32], factor: f64) {
        for (x, &slot) in row.iter_mut().zip(&self.slots) {
            *x = (f64::from(*x) * factor * self.totals[slot as usize]) as f32;
        }
    }
}

struct Largest<'a>(&'a [f32]);

impl InLanes for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        largest(self.0).max(0.0)
    }
}

/// Fibonacci hashing of the leading bits: multiply by 2³²/golden ratio, keep the top ones.
struct AssignSlots<'a> {
    row: &'a [f32],
    slots: &'a mut [u32],
    drop: u32,
    keep: u32,
}

impl InLanes for AssignSlots<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (x, slot) in self.row.iter().zip(self.slots) {
            *slot = (x.to_bits() >> self.drop).wrapping_mul(0x9e37_79b9) >> self.keep;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::weighted::{Summands, Vectors, Weights};
    use crate::numbers::independent;

    fn bound_of(roundings: &[f64], format: DType) -> f64 {
        let n = roundings.len();
        let mut weights = Weights::unset(1, n, true);
        let mut row = weights.row_mut(0);
        row.part(0..n).clear();
        row.rounding
            .iter_mut()
            .zip(roundings)
            .for_each(|(to, &r)| *to = above(r));
        let ones = Summands::new(&Vectors::new(Array2::ones((n, 1)), None), true);
        weights.sum(&ones, 0, n, format)[1][[0, 0]]
    }

    #[test]
    fn equal_weights_share_one_rounding_and_different_ones_do_not() {
        // Far beyond λ² = 70.5 terms, where the probable bound is the smaller one. One group of 0.01·1000
        // stays whole, whatever the group's slot.
        let n = 1000;
        let equal = bound_of(&vec![0.01; n], DType::Bf16);
        // Float32 sums are raised by their own rounding factor: far less than a thousandth here, where
        // sharing no group would give a tenth.
        assert!(
            (equal - 10.0).abs() < 1e-2,
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
        assert!((0.75..0.75001).contains(&bound_of(&[0.5, 0.25], DType::F16)));
    }

    #[test]
    fn scales_are_the_powers_of_two_above() {
        assert_eq!([0.75, 1.0, 3.0, 4.0].map(scale_of), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!([0.0, f64::INFINITY].map(scale_of), [1.0, 1.0]);
    }

    /// Terms and sums far outside the range of float32's squares.
    #[test]
    fn tiny_and_huge_numbers_keep_their_bound() {
        for (r, y) in [(1e-35, 1e-37), (1e35, 1e37), (1e-30, 1e30)] {
            let terms: Vec<(f64, f64)> = (0..300).map(|i| (r * 1.011f64.powi(i), y)).collect();
            let vectors = Vectors::new(Array2::from_elem((300, 1), y), None);
            let mut weights = Weights::unset(1, 300, true);
            weights.row_mut(0).clear();
            for (at, &(r, _)) in terms.iter().enumerate() {
                weights.row_mut(0).set(at, [0.0, 0.0, r]);
            }
            let [_, bound] = weights.sum(&Summands::new(&vectors, true), 0, 300, DType::Bf16);
            let plain = rounding_of(&terms, DType::Bf16);
            let certain: f64 = terms.iter().map(|(r, y)| r * y).sum();
            assert!(plain < 0.9 * certain);
            if plain < 1e-60 {
                // Products of subnormals: nothing but what float32 could lose.
                assert!((0.0..300.0 * 2f64.powi(-148)).contains(&bound[[0, 0]]));
            } else if plain > 1e60 {
                assert!(bound[[0, 0]] >= plain * (1.0 - 1e-6));
            } else {
                // 300 terms raised for float32: at most 300 units of 2⁻²⁴, twice, and a square root.
                assert!((bound[[0, 0]] / plain - 1.0).abs() < 1e-4);
            }
        }
    }
}
