//! Scores, probabilities and log-sum-exp of each row, with their bounds.

use rayon::prelude::*;

use crate::decision;
use crate::error::{Error, Result};
use crate::numbers::{Bounded, Element, LAMBDA, Precision, Tally};
use crate::tensor::{View, nonzero};

/// How many entries each row is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Ks<'a> {
    /// The same for all rows.
    Uniform(usize),
    /// One per row.
    PerRow(&'a [usize]),
}

/// Inputs of [`topk`].
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, T> {
    /// `[R, V]`.
    pub logits: View<'a, T, 2>,
    /// How many entries to return.
    pub k: Ks<'a>,
    /// T > 0, finite.
    pub temperature: f32,
    /// `[R, V]`: `true` is masked, as if the logit were −∞.
    pub mask: Option<View<'a, bool, 2>>,
}

/// The oracle of all rows.
#[derive(Clone, Debug)]
pub struct TopK {
    /// One per row.
    pub rows: Vec<RowOracle>,
    /// Largest K: the width of the outputs.
    pub width: usize,
}

/// One row: what is right in it.
#[derive(Clone, Debug)]
pub struct RowOracle {
    /// K of this row.
    pub k: usize,
    /// Log-sum-exp of the scaled logits, as stored in f32; NaN for an odd row, −∞ for a row of −∞.
    pub lse: Bounded,
    pub(super) logits: Vec<f64>,
    pub(super) scores: Vec<Bounded>,
    /// Maximum score.
    max: Bounded,
    /// Sum of the exponentials; `None` when a NaN or +∞ spoils the row.
    sum: Option<Bounded>,
    precision: Precision,
}

/// Softmax and the K best of every row.
pub fn topk<T: Element>(input: &Input<'_, T>, precision: Precision) -> Result<TopK> {
    let [rows, vocabulary] = input.logits.shape();
    nonzero("R", rows)?;
    nonzero("V", vocabulary)?;
    let temperature = f64::from(input.temperature);
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(Error::argument(
            "temperature",
            temperature,
            "finite and above zero",
        ));
    }
    if let Some(mask) = &input.mask {
        mask.expect_shape([rows, vocabulary], "as `logits`")?;
    }
    let ks = match input.k {
        Ks::Uniform(k) => vec![k; rows],
        Ks::PerRow(ks) => {
            View::new("K", ks, [rows])?;
            ks.to_vec()
        }
    };
    if let Some(row) = ks.iter().position(|&k| k == 0 || k > vocabulary) {
        return Err(Error::entry(
            "K",
            row,
            ks[row],
            format!("1 to V = {vocabulary}"),
        ));
    }
    let row = |(r, &k): (usize, &usize)| {
        let mut logits: Vec<f64> = input.logits.row(&[r]).iter().map(|x| x.to_f64()).collect();
        if let Some(mask) = &input.mask {
            for (logit, &masked) in logits.iter_mut().zip(mask.row(&[r])) {
                if masked {
                    *logit = f64::NEG_INFINITY;
                }
            }
        }
        RowOracle::new(logits, k, temperature, precision)
    };
    let width = ks.iter().copied().max().unwrap_or(0);
    Ok(TopK {
        rows: ks.par_iter().enumerate().map(row).collect(),
        width,
    })
}

impl RowOracle {
    /// The oracle of one row of logits (−∞ where masked), `1 ≤ k ≤ logits.len()`.
    pub(crate) fn new(logits: Vec<f64>, k: usize, temperature: f64, precision: Precision) -> Self {
        let scores: Vec<Bounded> = logits
            .iter()
            .map(|&x| scaled(x, temperature, precision))
            .collect();
        let odd = |value| Self {
            k,
            lse: Bounded::exact(value),
            logits: logits.clone(),
            scores: scores.clone(),
            max: Bounded::exact(value),
            sum: None,
            precision,
        };
        if logits.iter().any(|x| x.is_nan() || *x == f64::INFINITY) {
            return odd(f64::NAN);
        }
        let max = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(s.value));
        if max == f64::NEG_INFINITY {
            return odd(max);
        }
        let max_bound = scores
            .iter()
            .filter(|s| s.value == max)
            .map(|s| s.bound)
            .next();
        let max = Bounded::new(max, max_bound.unwrap_or(0.0));
        let terms: Tally = scores
            .iter()
            .map(|&s| exponential(s, max, precision))
            .collect();
        let relative = rescaling(&logits, precision);
        let sum = precision.sum_of(&terms).widen(terms.size * relative);
        let shift = precision.unit() * max.value.abs();
        let lse = precision.round(max + precision.ln(sum)).widen(shift);
        let lse = precision.store_statistic(lse);
        Self {
            k,
            lse,
            logits,
            scores,
            max,
            sum: Some(sum),
            precision,
        }
    }

    /// Number of logits.
    pub fn vocabulary(&self) -> usize {
        self.logits.len()
    }

    /// Whether a NaN or +∞ spoils the row.
    pub fn is_odd(&self) -> bool {
        self.lse.value.is_nan()
    }

    /// Probability of entry `index`, as stored in the output type.
    pub fn probability(&self, index: usize) -> Bounded {
        match self.sum {
            None if self.is_odd() => Bounded::exact(f64::NAN),
            None => Bounded::exact(0.0),
            Some(sum) => {
                let term = exponential(self.scores[index], self.max, self.precision);
                if term == Bounded::exact(0.0) {
                    return term;
                }
                self.precision
                    .store(self.precision.round_special(term / sum))
            }
        }
    }

    /// The canonical indices: −1 throughout for an odd row.
    pub fn index(&self) -> Vec<i32> {
        if self.is_odd() {
            return vec![-1; self.k];
        }
        let exact: Vec<_> = self.logits.iter().map(|&x| Bounded::exact(x)).collect();
        decision::rank(&exact, self.k)
            .into_iter()
            .map(|i| i as i32)
            .collect()
    }
}

/// sᵢ = xᵢ/T: exact at T = 1, else a reciprocal and a product or one division.
fn scaled(x: f64, temperature: f64, precision: Precision) -> Bounded {
    let score = Bounded::exact(x / temperature);
    if temperature == 1.0 || !score.value.is_finite() {
        score
    } else {
        precision.round_special(score)
    }
}

/// exp(s − m), exactly 0 for −∞.
fn exponential(score: Bounded, max: Bounded, precision: Precision) -> Bounded {
    if score.value == f64::NEG_INFINITY {
        return Bounded::exact(0.0);
    }
    precision.exp(precision.round(score - max))
}

/// Relative error of l from a running maximum: each time it rises from m to m', the sum so far is
/// multiplied by exp(m − m').
///
/// The arguments of all these add up to at most max − sᵢ, whose share `3u·|aᵢ|` the direct
/// exponential's bound already holds; what each adds is 4u of the function and u of the product.
/// How often can the maximum rise? Whatever subsequence of the row a thread reads, and in whichever
/// direction, its successive maxima are a monotone subsequence of the row: there are at most as
/// many as in the longest one. Merging partial sums in a tree adds ⌈log₂V⌉.
fn rescaling(logits: &[f64], precision: Precision) -> f64 {
    let rising = longest_rising(logits.iter().copied());
    let falling = longest_rising(logits.iter().rev().copied());
    let merges = logits.len().next_power_of_two().ilog2() as usize;
    let n = (rising.max(falling) - 1 + merges) as f64;
    5.0 * precision.unit() * f64::min(n, LAMBDA * n.sqrt())
}

/// Length of the longest strictly rising subsequence (patience sorting).
fn longest_rising(values: impl Iterator<Item = f64>) -> usize {
    // piles[k]: the least last value of a rising subsequence of length k + 1.
    let mut piles: Vec<f64> = Vec::new();
    for value in values {
        let pile = piles.partition_point(|&top| top < value);
        match piles.get_mut(pile) {
            Some(top) => *top = value,
            None => piles.push(value),
        }
    }
    piles.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_rising_subsequences() {
        for (values, length) in [
            (&[1.0, 2.0, 3.0][..], 3),
            (&[3.0, 2.0, 1.0], 1),
            (&[1.0, 1.0, 1.0], 1),
            (&[3.0, 1.0, 2.0, 5.0, 4.0, 6.0], 4),
            (&[f64::NEG_INFINITY, 0.0], 2),
        ] {
            assert_eq!(longest_rising(values.iter().copied()), length, "{values:?}");
        }
    }
}
