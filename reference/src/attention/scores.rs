//! Scores and the exponential of them, with their errors.

use std::ops::Range;

use super::Options;
use crate::numbers::lanes::{InLanes, largest};
use crate::numbers::upward::{Upward, above};
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
    /// From Σ|q_d||k_d| summed in float32 to a size.
    upward: Upward,
    single: Single,
}

/// `|ŝ − x| ≤ size·Σ|q||k| + 3u|x| + constant` in float32, unless Σ|q||k| is from `overflow` on.
#[derive(Clone, Copy, Debug)]
struct Single {
    size: f32,
    value: f32,
    constant: f32,
    overflow: f32,
}

/// A score and, under a softcap, the derivative ds/dx.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub(crate) score: Bounded,
    pub(crate) slope: Bounded,
}

impl Scoring {
    pub(crate) fn new(options: &Options, head_size: usize, precision: Precision) -> Self {
        let scale = f64::from(options.scale);
        let (unit, eta) = (precision.unit(), precision.underflow());
        let dot = precision.gamma(head_size + 2);
        let underflow = head_size as f64 * eta;
        let upward = Upward::sum(head_size);
        let overflow = DType::F32.largest();
        // `upward.of` is linear: what it makes of zero, and by how much it grows.
        let lost = upward.of(0.0);
        let factor = upward.of(1.0) - lost;
        let single = Single {
            size: above(scale.abs() * dot * factor),
            value: above(3.0 * unit),
            constant: above(scale.abs() * (dot * lost + underflow) + eta),
            overflow: (overflow / scale.abs().max(1.0) / factor) as f32,
        };
        Self {
            scale,
            cap: options.softcap.map(f64::from),
            dot,
            underflow,
            unit,
            eta,
            overflow,
            upward,
            single,
        }
    }

    /// Σ|q||k| from what float32 made of it.
    pub(crate) fn size(&self, computed: f32) -> f64 {
        self.upward.of(computed)
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

/// The scores of many and their errors, in the places of q·k and Σ|q||k|.
pub(crate) struct Scores<'a> {
    pub(crate) scoring: &'a Scoring,
    pub(crate) score: &'a mut [f64],
    pub(crate) error: &'a mut [f32],
}

impl InLanes for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let both = self.score.iter_mut().zip(self.error);
        if self.scoring.cap.is_some() {
            for (score, error) in both {
                let x = self.scoring.score(*score, self.scoring.size(*error));
                (*score, *error) = (x.value, above(x.bound));
            }
            return;
        }
        let (scale, c) = (self.scoring.scale, self.scoring.single);
        for (score, error) in both {
            *score *= scale;
            let known = c.size * *error + (c.value * score.abs() as f32 + c.constant);
            *error = if *error >= c.overflow {
                f32::INFINITY
            } else {
                known
            };
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

/// Some keys in a row, as they stand in it, and their largest score.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) keys: Range<usize>,
    pub(crate) top: f64,
}

impl Block {
    /// Most keys of a block.
    pub(crate) const KEYS: usize = 64;

    /// `range` in blocks whose scores are not known yet.
    pub(crate) fn split(range: Range<usize>) -> impl Iterator<Item = Self> {
        range.clone().step_by(Self::KEYS).map(move |start| Self {
            keys: start..range.end.min(start + Self::KEYS),
            top: f64::NEG_INFINITY,
        })
    }

    /// All of a row.
    pub(crate) fn of(scores: &[f64]) -> Vec<Self> {
        let mut blocks: Vec<_> = Self::split(0..scores.len()).collect();
        for block in &mut blocks {
            block.top = largest(&scores[block.keys.clone()]);
        }
        blocks
    }
}

/// How often weights may be rescaled.
pub(crate) struct Corrections {
    /// The most of any key.
    pub(crate) most: f64,
    /// The first key of the largest score; none where no score is above −∞.
    pub(crate) first_of_largest: Option<usize>,
}

/// For each key, how many times its weight may be rescaled after it was added: the later records
/// of the running maximum, whichever end the keys are read from, and a merge of parts as a tree.
pub(crate) fn corrections_after<N: Copy + PartialOrd + From<f32>>(
    scores: &[f64],
    blocks: &[Block],
    counts: &mut [N],
) -> Corrections {
    let n: usize = blocks.iter().map(|block| block.keys.len()).sum();
    let merges = 1.0 + (n.max(1) as f64).log2();
    let count = |records: usize| N::from(above(merges + records as f64));
    counts.fill(count(0));
    // Forward: all keys up to and including a record, after the one before it.
    let forward = records_of(scores, blocks.iter(), false);
    for (passed, pair) in forward.windows(2).enumerate() {
        counts[pair[0]..pair[1]].fill(count(forward.len() - 1 - passed));
    }
    // Backward, in mirror image; a key keeps the larger number.
    let backward = records_of(scores, blocks.iter().rev(), true);
    for (passed, pair) in backward.windows(2).enumerate() {
        let later = count(backward.len() - 1 - passed);
        for count in &mut counts[pair[1] + 1..=pair[0]] {
            *count = if later > *count { later } else { *count };
        }
    }
    let records = forward.len().max(backward.len());
    Corrections {
        most: merges + records.saturating_sub(1) as f64,
        first_of_largest: forward.last().copied(),
    }
}

/// Where the running maximum rises, reading from the front or from the back. Most blocks hold no
/// record, which their maximum tells.
fn records_of<'a>(
    scores: &[f64],
    blocks: impl Iterator<Item = &'a Block>,
    from_back: bool,
) -> Vec<usize> {
    let mut records = Vec::new();
    let mut maximum = f64::NEG_INFINITY;
    for block in blocks {
        if block.top > maximum {
            for step in 0..block.keys.len() {
                let at = match from_back {
                    true => block.keys.end - 1 - step,
                    false => block.keys.start + step,
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
        let mut of = |scores: [f64; 4]| {
            let all = corrections_after(&scores, &Block::of(&scores), &mut counts);
            assert_eq!(
                (all.most, all.first_of_largest),
                (5.0, scores.iter().position(|&s| s == 4.0))
            );
            counts
        };
        // Forward records: 1, 3, 4. Backward: 4 only. Two levels of merging and one more.
        assert_eq!(of([1.0, 3.0, 2.0, 4.0]), [5.0, 4.0, 4.0, 3.0]);
        assert_eq!(of([4.0, 2.0, 3.0, 1.0]), [3.0, 4.0, 4.0, 5.0]);
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
