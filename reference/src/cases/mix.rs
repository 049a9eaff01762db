//! Rows of every kind side by side in one tensor, so that a submission cannot recognise a stress
//! case by its magnitude.

use super::Rng;
use crate::numbers::Element;

/// What one row looks like. All but [`Pattern::Subnormal`] are multiplied by the row's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Standard normal.
    Normal,
    /// One value throughout.
    Constant,
    /// Four distinct values: exact ties everywhere.
    Ties,
    /// A few leaders within some units in the last place of each other, the rest below.
    Clustered,
    /// Normal, with one value 50 times as large in the last eighth.
    LateOutlier,
    /// Normal around an offset of 10⁴ standard deviations.
    Offset,
    /// Rising throughout: a running maximum changes at every step.
    Ascending,
    /// Falling throughout.
    Descending,
    /// Subnormal numbers of the type, and zeros of both signs.
    Subnormal,
    /// Normal with many −0.
    NegativeZeros,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Normal,
        Self::Constant,
        Self::Ties,
        Self::Clustered,
        Self::LateOutlier,
        Self::Offset,
        Self::Ascending,
        Self::Descending,
        Self::Subnormal,
        Self::NegativeZeros,
    ];
}

/// The mean of [`Pattern::Offset`], in standard deviations.
const OFFSET: f64 = 1e4;

/// The scales that rows of one tensor mix.
const SCALES: [f64; 3] = [1e-3, 1.0, 1e3];

/// One row of `columns` elements following `pattern` at `scale`, rounded to the type (and kept
/// within half its range, so that f16 has no infinities by accident).
pub fn mixed_row<T: Element>(
    rng: &mut Rng,
    pattern: Pattern,
    scale: f64,
    columns: usize,
) -> Vec<T> {
    let limit = 0.5 * T::DTYPE.largest();
    let tiny = T::DTYPE.smallest_subnormal();
    let levels = [rng.normal(), rng.normal(), rng.normal(), rng.normal()];
    let outlier = columns - 1 - rng.below((columns / 8).max(1).min(columns.max(1)));
    let slope = rng.uniform(0.5, 2.0) / columns.max(1) as f64;
    (0..columns)
        .map(|i| {
            let x = match pattern {
                Pattern::Normal => rng.normal(),
                Pattern::Constant => levels[0],
                Pattern::Ties => rng.choose(&levels),
                Pattern::Clustered if rng.chance(0.25) => {
                    let ulp = 2.0 * T::DTYPE.unit_roundoff();
                    4.0 * (1.0 - ulp * rng.below(4) as f64)
                }
                Pattern::Clustered => rng.normal().min(3.0),
                Pattern::LateOutlier if i == outlier => 50.0 * (1.0 + levels[0].abs()),
                Pattern::LateOutlier => rng.normal(),
                Pattern::Offset => OFFSET * levels[0].signum() + rng.normal(),
                Pattern::Ascending => 4.0 * slope * i as f64 - 2.0,
                Pattern::Descending => 2.0 - 4.0 * slope * i as f64,
                Pattern::Subnormal => {
                    return T::from_f64(-tiny * (rng.below(17) as f64 - 8.0));
                }
                Pattern::NegativeZeros if rng.chance(0.5) => -0.0,
                Pattern::NegativeZeros => rng.normal(),
            };
            T::from_f64((x * scale).clamp(-limit, limit))
        })
        .collect()
}

/// `rows × columns` elements; every row has a pattern and a scale of its own.
pub fn mixed<T: Element>(rng: &mut Rng, rows: usize, columns: usize) -> Vec<T> {
    mixed_up_to(rng, rows, columns, f64::INFINITY)
}

/// [`mixed`], with no scale, and no pattern at its scale, larger than `top`: for operands whose
/// products must stay where a right answer exists.
pub fn mixed_up_to<T: Element>(rng: &mut Rng, rows: usize, columns: usize, top: f64) -> Vec<T> {
    let mut data = Vec::with_capacity(rows * columns);
    if columns == 0 {
        return data;
    }
    let scales: Vec<f64> = SCALES.into_iter().filter(|&scale| scale <= top).collect();
    for _ in 0..rows {
        let pattern = rng.choose(&Pattern::ALL);
        let scale = rng.choose(&scales);
        let pattern = match pattern {
            Pattern::Offset if OFFSET * scale > top => Pattern::Normal,
            other => other,
        };
        data.extend(mixed_row::<T>(rng, pattern, scale, columns));
    }
    data
}

/// `n` normal elements times `scale`.
pub fn normal<T: Element>(rng: &mut Rng, n: usize, scale: f64) -> Vec<T> {
    (0..n).map(|_| T::from_f64(rng.normal() * scale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    fn check<T: Element>() {
        let mut rng = Rng::new(11);
        let data = mixed::<T>(&mut rng, 200, 64);
        let values: Vec<f64> = data.iter().map(|x| x.to_f64()).collect();
        assert!(values.iter().all(|x| x.is_finite()));
        assert!(values.iter().any(|&x| x == 0.0 && x.is_sign_negative()));
        assert!(
            values
                .iter()
                .any(|&x| x != 0.0 && x.abs() < T::DTYPE.smallest_normal())
        );
        assert!(values.iter().any(|&x| x.abs() > 1e3));
        assert!(values.iter().any(|&x| x.abs() > 1e-4 && x.abs() < 1e-2));
        let constant = values
            .chunks(64)
            .filter(|row| row.iter().all(|x| *x == row[0]))
            .count();
        assert!(constant > 0);
        let again = mixed::<T>(&mut Rng::new(11), 200, 64);
        assert!(
            data.iter()
                .zip(&again)
                .all(|(a, b)| a.to_f64().to_bits() == b.to_f64().to_bits())
        );
    }

    #[test]
    fn tensors_mix_scales_ties_subnormals_and_negative_zero() {
        check::<f32>();
        check::<f16>();
        check::<bf16>();
    }

    #[test]
    fn the_outlier_comes_late_and_alone() {
        for columns in [1usize, 2, 7, 64, 1000] {
            let row = mixed_row::<f32>(&mut Rng::new(5), Pattern::LateOutlier, 1.0, columns);
            let large: Vec<_> = (0..columns).filter(|&i| row[i] >= 50.0).collect();
            assert_eq!(large.len(), 1);
            assert!(large[0] >= columns - (columns / 8).max(1));
        }
    }

    #[test]
    fn ascending_rows_ascend() {
        let row = mixed_row::<f32>(&mut Rng::new(5), Pattern::Ascending, 1e3, 300);
        assert!(row.windows(2).all(|w| w[0] < w[1]));
    }
}
