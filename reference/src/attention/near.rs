//! The softmax of a row in place, in two passes, where every error of a score is small: what nearly all
//! rows are. The mathematics stands in [`super::forward`], the plain formula in [`super::softmax`].
//!
//! Weights are not divided: with `p_j = exp(s_j − m)`, `l = Σ p_j` and `x_j = e^{η_j} − 1`
//!
//! ```text
//! w_j = p_j/l      h_j = p_j·x_j/b      w⁺_j = p_j·(1 + x_j)/b      b = l − Σ p_j·x_j
//! ```
//!
//! where b is no more than `Σ p_j e^{−η_j}`, since `e^{−η} ≥ 2 − e^η`. A row's sums are divided by l or
//! b once. All that only bounds an error is float32, as [`crate::numbers::upward`] says: η has relative
//! condition below 1.01 in x (η < 0.01), and what the series leaves out is less than a rounding.

use std::ops::Range;

use super::scores::{
    Block, CORRECTION_UNITS, Corrections, MAX_LOG, Scores, Scoring, corrections_after,
    exponent_error,
};
use super::softmax::{NEAR, Summary, Totals, excess, exp_m1_near};
use crate::numbers::lanes::{InLanes, exp, largest, lowest, sum, wide};
use crate::numbers::upward::{TINY, Upward, above};
use crate::numbers::{Bounded, Precision};

/// One row of a tile, over all columns.
pub(crate) struct Line<'a> {
    /// q·k, then scores, then p.
    pub(crate) value: &'a mut [f64],
    /// Σ|q||k|, then errors of scores, then `γ·w⁺` and underflow.
    pub(crate) error: &'a mut [f32],
    /// h.
    pub(crate) moved: &'a mut [f32],
    /// Bound on the rounding of w to 16 bits; empty where there is none.
    pub(crate) rounding: &'a mut [f32],
}

/// What a row of weights is to be divided by, and what its components of o share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Divided {
    pub(crate) summary: Summary,
    /// 1/l, for the weights.
    pub(crate) value: f64,
    /// 1/b, for `error`, `moved` and `rounding`.
    pub(crate) bound: f64,
    /// The column of the largest score, which is taken out of `moved`, and its h, divided.
    pub(crate) largest: Option<(usize, f64)>,
}

/// Room for a row.
#[derive(Default)]
pub(crate) struct Scratch {
    blocks: Vec<Block>,
    later: Vec<f32>,
}

/// The largest among a row's scores, their magnitudes and errors.
#[derive(Clone, Copy)]
pub(crate) struct Peaks {
    score: f64,
    size: f64,
    error: f32,
}

impl Line<'_> {
    /// Turns dot products into scores and their errors in the columns `seen`.
    pub(crate) fn score(
        &mut self,
        scoring: &Scoring,
        seen: impl Iterator<Item = Range<usize>>,
        scratch: &mut Scratch,
    ) -> Peaks {
        scratch.blocks.clear();
        scratch.blocks.extend(seen.flat_map(Block::split));
        wide(ScoreLine {
            scoring,
            blocks: &mut scratch.blocks,
            line: self,
        })
    }

    /// Turns scores into weights; nothing where an error is too large for this. All columns outside
    /// the scored ones become zero.
    pub(crate) fn weigh(
        &mut self,
        peaks: Peaks,
        sink: Option<f64>,
        precision: Precision,
        scratch: &mut Scratch,
    ) -> Option<Divided> {
        let u = precision.unit();
        let sink = sink.filter(|&z| z != f64::NEG_INFINITY);
        let top = peaks.score.max(sink.unwrap_or(f64::NEG_INFINITY));
        scratch.later.resize(self.value.len(), 0.0);
        let Corrections {
            most,
            first_of_largest,
        } = corrections_after(self.value, &scratch.blocks, &mut scratch.later);
        let later = CORRECTION_UNITS * u * most;
        let largest_size = peaks.size + f64::from(peaks.error);
        let worst = exponent_error(Bounded::new(largest_size, f64::from(peaks.error)), top, u);
        let sink_eta = sink.map_or(0.0, |z| exponent_error(Bounded::exact(z), top, u));
        let sink_size = sink.map_or(0.0, f64::abs);
        let excess = excess(largest_size.max(sink_size), most, u);
        // Not if anything is NaN.
        let near = worst + later < NEAR && sink_eta + later < NEAR && excess < MAX_LOG;
        let largest = first_of_largest.filter(|_| near)?;

        let keys = scratch.blocks.iter().map(|block| block.keys.len()).sum();
        let accumulate = precision.gamma(keys + most as usize + 2);
        let sums = wide(WeighLine {
            line: self,
            scratch,
            constants: Constants {
                top,
                reference: above(u * (7.0 * top.abs() + 6.0)),
                size: above(7.0 * u),
                later: above(CORRECTION_UNITS * u),
                accumulate: above(accumulate),
                weight_unit: precision.weights.unit_roundoff() as f32,
                weight_normal: precision.weights.smallest_normal() as f32,
            },
            largest,
        });
        let upward = Upward::sum(keys);
        let [apart, rest] = [sums.apart, sums.rest].map(|x| upward.of(x));
        let sink = sink.map_or([0.0; 2], |z| {
            let weight = (z - top).exp();
            [weight, weight * (sink_eta + later).exp_m1()]
        });
        let l = sums.l + sink[0];
        let moved = apart + rest + sink[1];
        let [value, bound] = [1.0 / l, 1.0 / (l - moved)];
        let summary = Totals {
            top,
            l,
            keys,
            accumulate,
            log_moved: (moved * value).ln_1p(),
            moved: rest * bound,
            sink_moved: sink[1] * bound,
            excess,
        }
        .summary(precision);
        self.clear_between(scratch.blocks.iter().map(|block| block.keys.clone()));
        Some(Divided {
            summary,
            value,
            bound,
            largest: Some((largest, apart * bound)),
        })
    }

    /// Zeros outside the ranges `seen`.
    pub(crate) fn clear_between(&mut self, seen: impl Iterator<Item = Range<usize>>) {
        let mut from = 0;
        let end = self.value.len();
        for seen in seen.chain(std::iter::once(end..end)) {
            if from < seen.start {
                let gap = from..seen.start;
                self.value[gap.clone()].fill(0.0);
                self.error[gap.clone()].fill(0.0);
                self.moved[gap.clone()].fill(0.0);
                if !self.rounding.is_empty() {
                    self.rounding[gap].fill(0.0);
                }
            }
            from = seen.end;
        }
    }
}

struct ScoreLine<'a, 'b> {
    scoring: &'a Scoring,
    blocks: &'a mut [Block],
    line: &'a mut Line<'b>,
}

impl InLanes for ScoreLine<'_, '_> {
    type Output = Peaks;

    #[inline(always)]
    fn call(self) -> Peaks {
        let mut peaks = Peaks {
            score: f64::NEG_INFINITY,
            size: 0.0,
            error: 0.0,
        };
        for block in self.blocks {
            let score = &mut self.line.value[block.keys.clone()];
            let error = &mut self.line.error[block.keys.clone()];
            Scores {
                scoring: self.scoring,
                score: &mut *score,
                error: &mut *error,
            }
            .call();
            block.top = largest(score);
            let least = lowest(score);
            peaks.score = peaks.score.max(block.top);
            peaks.size = peaks.size.max(block.top.abs()).max(least.abs());
            peaks.error = peaks.error.max(largest(error));
        }
        peaks
    }
}

/// What every key of a row is weighed with.
struct Constants {
    top: f64,
    /// `u·(7|m| + 6)`, 7u, and what each correction adds to η.
    reference: f32,
    size: f32,
    later: f32,
    accumulate: f32,
    weight_unit: f32,
    weight_normal: f32,
}

struct WeighLine<'a, 'b> {
    line: &'a mut Line<'b>,
    scratch: &'a Scratch,
    constants: Constants,
    /// The column whose h is set apart.
    largest: usize,
}

/// Sums over a row: p; `p·x` of the largest score's key; and of the others.
struct Sums {
    l: f64,
    apart: f32,
    rest: f32,
}

impl InLanes for WeighLine<'_, '_> {
    type Output = Sums;

    #[inline(always)]
    fn call(self) -> Sums {
        let Self {
            line,
            scratch,
            constants: c,
            largest,
        } = self;
        let mut l = 0.0;
        let (mut sizes, mut weights) = ([0f32; Block::KEYS], [0f32; Block::KEYS]);
        for Block { keys, .. } in &scratch.blocks {
            let p = &mut line.value[keys.clone()];
            let n = p.len();
            let (sizes, weights) = (&mut sizes[..n], &mut weights[..n]);
            let singles = sizes.iter_mut().zip(&mut *weights);
            for (p, (size, weight)) in p.iter_mut().zip(singles) {
                *size = p.abs() as f32;
                *p = exp(*p - c.top);
                *weight = *p as f32;
            }
            l += sum(p);
            let later = &scratch.later[keys.clone()];
            let moved = &mut line.moved[keys.clone()];
            let error = &mut line.error[keys.clone()];
            for i in 0..n {
                let eta = error[i] + c.size * sizes[i] + (c.reference + c.later * later[i]);
                moved[i] = weights[i] * exp_m1_near(eta) + TINY;
                weights[i] += moved[i];
                error[i] = c.accumulate * weights[i] + TINY;
            }
            if !line.rounding.is_empty() {
                let rounding = &mut line.rounding[keys.clone()];
                for i in 0..n {
                    let most = weights[i];
                    let most = if most > c.weight_normal {
                        most
                    } else {
                        c.weight_normal
                    };
                    rounding[i] = c.weight_unit * most;
                }
            }
        }
        let apart = std::mem::take(&mut line.moved[largest]);
        let blocks = scratch.blocks.iter();
        let rest = blocks
            .map(|block| sum(&line.moved[block.keys.clone()]))
            .sum();
        Sums { l, apart, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::Options;
    use crate::attention::softmax::Row;
    use crate::cases::Rng;
    use crate::numbers::DType;
    use crate::numbers::upward::FORMULA;

    /// A row of `n` keys in two ranges, with errors of scores up to `error`, both ways.
    fn check(rng: &mut Rng, n: usize, sink: Option<f64>, spread: f64, dtype: DType) {
        let precision = Precision::of(dtype);
        let scoring = Scoring::new(&Options::new(1.0), 8, precision);
        let seen = [3..3 + n / 3, 3 + n / 3 + 5..n + 8];
        let columns = n + 10;
        let raw: Vec<f64> = (0..columns).map(|_| rng.uniform(-spread, spread)).collect();
        let size: Vec<f32> = raw.iter().map(|x| 2.0 * x.abs() as f32).collect();
        let (mut value, mut error) = (raw.clone(), size.clone());
        let mut moved = vec![f32::NAN; columns];
        let mut rounding = vec![f32::NAN; if dtype == DType::F32 { 0 } else { columns }];
        let mut line = Line {
            value: &mut value,
            error: &mut error,
            moved: &mut moved,
            rounding: &mut rounding,
        };
        let mut scratch = Scratch::default();
        let peaks = line.score(&scoring, seen.iter().cloned(), &mut scratch);
        let got = line.weigh(peaks, sink, precision, &mut scratch);
        let got = got.expect("errors are small");

        let mut row = Row::default();
        for at in seen.iter().cloned().flatten() {
            row.push(scoring.score(raw[at], f64::from(size[at])));
        }
        let mut summary = row.softmax(sink, precision);
        let largest = row.set_apart_largest(&mut summary).expect("keys");
        // Never less than in float64, and not more than its roundings and, between b and the sum that
        // it stands for, 2x² of x < 0.01; w⁺ is not cut off at 1, which it passes by no more than x.
        let upper = ((n + FORMULA) as f64 * 2f64.powi(-23)).exp() + 2e-4 + NEAR;
        let above = |got: f64, plain: f64, what: &str| {
            // 2⁻¹²⁶ stands for what is too small for float32, of each key; a few roundings of float64.
            let (low, high) = (
                plain * (1.0 - 1e-13),
                plain * upper + n as f64 * 2f64.powi(-125),
            );
            assert!((low..=high).contains(&got), "{what}: {got:e} {plain:e}");
        };
        let upward = Upward::sum(n);
        for (at, column) in seen.iter().cloned().flatten().enumerate() {
            let weight = value[column] * got.value;
            assert!((weight - row.value[at]).abs() <= 1e-14 * row.value[at]);
            let bound = |x: f32| upward.of(x) * got.bound;
            above(bound(error[column]), row.error[at], "error");
            if column != got.largest.expect("keys").0 {
                above(bound(moved[column]), row.moved[at], "moved");
            }
            if let Some(&plain) = row.rounding.get(at) {
                above(bound(rounding[column]), plain, "rounding");
            }
        }
        for column in [0, 2, 3 + n / 3, 7 + n / 3, n + 9] {
            assert_eq!(
                (value[column], error[column], moved[column]),
                (0.0, 0.0, 0.0)
            );
        }
        let (column, h) = got.largest.expect("keys");
        assert_eq!(
            raw[column],
            raw[seen.iter().cloned().flatten().nth(largest.0).expect("keys")]
        );
        above(h, largest.1, "largest");
        above(got.summary.moved, summary.moved, "sum");
        above(got.summary.sink_moved, summary.sink_moved, "sink");
        above(got.summary.lse.bound, summary.lse.bound, "lse");
        above(got.summary.relative, summary.relative, "relative");
        // Two float64 sums of the same terms: a few thousand roundings of 2⁻⁵³, of scores to `spread`.
        assert!((got.summary.lse.value - summary.lse.value).abs() < 1e-12 * spread.max(1.0));
    }

    #[test]
    fn rows_in_place_bound_the_plain_ones() {
        let mut rng = Rng::new(1);
        for n in [3, 63, 64, 200, 1000] {
            for sink in [None, Some(0.7), Some(f64::NEG_INFINITY)] {
                for dtype in [DType::F32, DType::F16, DType::Bf16] {
                    for spread in [1e-3, 1.0, 30.0, 1000.0] {
                        check(&mut rng, n, sink, spread, dtype);
                    }
                }
            }
        }
    }

    #[test]
    fn rows_with_large_errors_are_left_to_the_plain_formula() {
        let precision = Precision::of(DType::F32);
        let scoring = Scoring::new(&Options::new(1.0), 8, precision);
        for (score, size) in [(1e5, 1e5f32), (1.0, 1e6), (1.0, f32::INFINITY)] {
            let mut line = Line {
                value: &mut [0.0, score],
                error: &mut [0.0, size],
                moved: &mut [0.0; 2],
                rounding: &mut [],
            };
            let mut scratch = Scratch::default();
            let peaks = line.score(&scoring, std::iter::once(0..2), &mut scratch);
            let got = line.weigh(peaks, None, precision, &mut scratch);
            assert!(got.is_none(), "{score} {size}");
        }
    }
}
