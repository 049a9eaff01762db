//! Scores and the exponential of them, with their errors.

use super::Options;
use crate::numbers::lanes::{InLanes, largest};
use crate::numbers::{Bounded, DType, Precision};

/// Turns raw dot products q·k into scores.
///
/// ```text
/// r = Σ_d q_d·k_d                 |r̂ − r| ≤ γ(D + 2)·Σ|q_d||k_d| + D·η
///                                 (two for k read from int8 or int4)
/// x = scale·r                     three roundings: the product, and a scale that was multiplied
///                                 by log₂e beforehand (the rounded constant and their product)
/// s = x, or c·tanh(x/c)           |ŝ − s| ≤ c·(tanh at x ± δx) + c·ε_tanh + 2u|s|
/// ```
///
/// tanh may be made of one exponential, `1 − 2/(e^{2t}+1)`: absolute error at most half that of the
/// exponential (relative 4u, and its argument's `3·2|t|u`, damped by `sech² t`, so `|t|sech² t < ½`)
/// plus a division: `ε_tanh = 2u + 3u + 4u`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scoring {
    scale: f64,
    cap: Option<f64>,
    /// γ(D + 2).
    dot: f64,
    /// D·η.
    underflow: f64,
    unit: f64,
    eta: f64,
    /// Largest f32.
    overflow: f64,
}

/// A score and, under a softcap, the derivative ds/dx.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub(crate) score: Bounded,
    pub(crate) slope: Bounded,
}

impl Scoring {
    pub(crate) fn new(options: &Options, head_size: usize, precision: Precision) -> Self {
        Self {
            scale: f64::from(options.scale),
            cap: options.softcap.map(f64::from),
            dot: precision.gamma(head_size + 2),
            underflow: head_size as f64 * precision.underflow(),
            unit: precision.unit(),
            eta: precision.underflow(),
            overflow: DType::F32.largest(),
        }
    }

    /// The score of a raw dot product `raw`, where `size = Σ|q_d||k_d|`.
    pub(crate) fn score(&self, raw: f64, size: f64) -> Bounded {
        let x = self.scaled(raw, size);
        match self.cap {
            None => x,
            Some(cap) => cap_score(x, cap, self.unit),
        }
    }

    /// The score and its derivative with respect to the scaled product.
    pub(crate) fn score_and_slope(&self, raw: f64, size: f64) -> Score {
        let score = self.score(raw, size);
        let slope = match self.cap {
            None => Bounded::exact(1.0),
            Some(cap) => {
                // 1 − t² with t = s/c: 2|t|Δt + Δt², two roundings.
                let t = score.scale(1.0 / cap);
                let error = (2.0 * t.value.abs() + t.bound) * t.bound + 2.0 * self.unit;
                Bounded::new(1.0 - t.value * t.value, error)
            }
        };
        Score { score, slope }
    }

    #[inline(always)]
    fn scaled(&self, raw: f64, size: f64) -> Bounded {
        let value = self.scale * raw;
        let raw_error = self.dot * size + self.underflow;
        let known = self.scale.abs() * raw_error + 3.0 * self.unit * value.abs() + self.eta;
        let known = if value.is_finite() { known } else { 0.0 };
        let overflows = size * self.scale.abs().max(1.0) >= self.overflow;
        Bounded::new(value, if overflows { f64::INFINITY } else { known })
    }
}

/// The scores of many, and their errors.
pub(crate) struct Scores<'a> {
    pub(crate) scoring: &'a Scoring,
    /// q·k and Σ|q||k|.
    pub(crate) dots: [&'a [f64]; 2],
    pub(crate) to: [&'a mut [f64]; 2],
}

impl InLanes for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [raw, size] = self.dots;
        let [score, error] = self.to;
        let dots = raw.iter().zip(size);
        let scores = score.iter_mut().zip(error);
        match self.scoring.cap {
            None => {
                for ((&raw, &size), (score, error)) in dots.zip(scores) {
                    let x = self.scoring.scaled(raw, size);
                    (*score, *error) = (x.value, x.bound);
                }
            }
            Some(_) => {
                for ((&raw, &size), (score, error)) in dots.zip(scores) {
                    let x = self.scoring.score(raw, size);
                    (*score, *error) = (x.value, x.bound);
                }
            }
        }
    }
}

fn cap_score(x: Bounded, cap: f64, unit: f64) -> Bounded {
    let t = (x.value / cap).tanh();
    if x.bound.is_infinite() {
        // The product may be inf − inf.
        return Bounded::new(cap * t, f64::INFINITY);
    }
    // tanh is monotone: its error is that at an end of the argument's interval.
    let up = ((x.value + x.bound) / cap).tanh() - t;
    let down = t - ((x.value - x.bound) / cap).tanh();
    let value = cap * t;
    Bounded::new(
        value,
        cap * (up.max(down) + 9.0 * unit) + 2.0 * unit * value.abs(),
    )
}

/// Relative error, as an exponent, of a weight `exp(s − r)` where the score s has the error
/// `score.bound` and `reference` stands for r: the running maximum m, or the saved lse.
///
/// The weight is made in base 2 as `ex2(s·c − r·c)`, `c = log₂e`. Let m_t be the maximum when the
/// key's tile is read, later replaced by m, `s ≤ m_t ≤ m`, or `m_t = m = lse`:
///
/// ```text
/// product s·c, product m_t·c                        u|s| + u·max(|s|,|m|)
/// difference s − m_t, corrections m_t − m … (they   2u|m − s|
///   telescope; product and difference each)
/// merging parts by their stored lse                 3u·max(|s|,|m|)
/// ```
///
/// together at most `7u(|s| + |m|)`; then `4u` of ex2 and `2u` of rounding.
#[inline(always)]
pub(crate) fn exponent_error(score: Bounded, reference: f64, unit: f64) -> f64 {
    score.bound + unit * (7.0 * (score.value.abs() + reference.abs()) + 6.0)
}

/// An exponential of this may overflow f32 (`ln 2¹²⁸ = 88.7…`).
pub(crate) const MAX_LOG: f64 = 88.0;

/// Error of one correction `exp(m_old − m_new)` beyond its argument's: ex2 and two products.
pub(crate) const CORRECTION_UNITS: f64 = 6.0;

/// For each key, how many times its weight may be rescaled after it was added: the later records
/// of the running maximum, whichever end the keys are read from, and a merge of parts as a tree.
#[inline(always)]
pub(crate) fn corrections_after(scores: &[f64], counts: &mut [f64]) {
    let merges = 1.0 + (scores.len().max(1) as f64).log2();
    counts.fill(merges);
    // Forward: all keys up to and including a record, after the one before it.
    let records = records_of(scores, false);
    for (passed, pair) in records.windows(2).enumerate() {
        counts[pair[0]..pair[1]].fill(merges + (records.len() - 1 - passed) as f64);
    }
    // Backward, in mirror image; a key keeps the larger number.
    let records = records_of(scores, true);
    for (passed, pair) in records.windows(2).enumerate() {
        let later = merges + (records.len() - 1 - passed) as f64;
        for count in &mut counts[pair[1] + 1..=pair[0]] {
            *count = count.max(later);
        }
    }
}

/// Where the running maximum rises, reading from the front or from the back.
#[inline(always)]
fn records_of(scores: &[f64], from_back: bool) -> Vec<usize> {
    // Most blocks hold no record, which their maximum tells.
    const BLOCK: usize = 64;
    let n = scores.len();
    let mut records = Vec::new();
    let mut maximum = f64::NEG_INFINITY;
    for passed in (0..n).step_by(BLOCK) {
        let block = match from_back {
            true => n - n.min(passed + BLOCK)..n - passed,
            false => passed..n.min(passed + BLOCK),
        };
        if largest(&scores[block.clone()]) > maximum {
            for step in 0..block.len() {
                let at = match from_back {
                    true => block.end - 1 - step,
                    false => block.start + step,
                };
                if scores[at] > maximum {
                    maximum = scores[at];
                    records.push(at);
                }
            }
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_are_the_later_records_from_the_worse_end() {
        let mut counts = [0.0; 4];
        corrections_after(&[1.0, 3.0, 2.0, 4.0], &mut counts);
        // Forward records: 1, 3, 4. Backward: 4 only. Two levels of merging and one more.
        assert_eq!(counts, [5.0, 4.0, 4.0, 3.0]);
        corrections_after(&[4.0, 2.0, 3.0, 1.0], &mut counts);
        assert_eq!(counts, [3.0, 4.0, 4.0, 5.0]);
    }

    #[test]
    fn a_capped_score_is_off_by_what_tanh_does_to_the_product() {
        let precision = Precision::of(DType::F32);
        let options = Options::new(0.5).softcap(2.0);
        let scoring = Scoring::new(&options, 64, precision);
        // Saturated: a large product with a large error still gives ±c.
        let score = scoring.score(1e4, 1e6);
        // Values are f64: a few of its roundings of numbers near 1 are below 1e-12.
        assert!((score.value - 2.0).abs() < 1e-12 && score.bound < 4e-6);
        // Near zero tanh is the identity.
        let plain = Scoring::new(&Options::new(0.5), 64, precision).score(1e-3, 1.0);
        let capped = scoring.score(1e-3, 1.0);
        assert!((capped.bound - plain.bound - 18.0 * precision.unit()).abs() < 1e-8);
    }

    #[test]
    fn the_slope_is_the_derivative_of_the_score() {
        let options = Options::new(0.7).softcap(3.0);
        let scoring = Scoring::new(&options, 1, Precision::of(DType::F32));
        for raw in [-9.0, -1.0, 0.0, 0.3, 5.0] {
            let h = 1e-5;
            let up = scoring.score(raw + h, 0.0).value;
            let down = scoring.score(raw - h, 0.0).value;
            let slope = scoring.score_and_slope(raw, 0.0).slope.value;
            // A central difference: h² of truncation and 2⁻⁵²/h of cancellation stay below 1e-9.
            assert!(((up - down) / (2.0 * h * f64::from(0.7f32)) - slope).abs() < 1e-9);
        }
    }
}
