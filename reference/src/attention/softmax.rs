//! The softmax of one row: from scores with errors to weights with errors. The mathematics stands
//! in [`super::forward`].

use std::ops::{Add, Div, Mul};

use super::scores::{Block, CORRECTION_UNITS, MAX_LOG, corrections_after, exponent_error};
use crate::numbers::lanes::{InLanes, exp, largest, sum, wide};
use crate::numbers::{Bounded, DType, Precision};

/// The keys that one row sees, in order, and numbers about each.
#[derive(Default)]
pub(crate) struct Row {
    /// Scores and their errors: the input.
    score: Vec<f64>,
    score_error: Vec<f64>,
    /// w.
    pub(crate) value: Vec<f64>,
    /// Error of the accumulation: γ·w⁺ and underflow.
    pub(crate) error: Vec<f64>,
    /// h.
    pub(crate) moved: Vec<f64>,
    /// Bound on the rounding of w to 16 bits; empty where there is none.
    pub(crate) rounding: Vec<f64>,
    /// Corrections after the key, then η.
    eta: Vec<f64>,
}

/// What a row's components of o share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) lse: Bounded,
    /// Σ h_j over the keys.
    pub(crate) moved: f64,
    /// h of the sink.
    pub(crate) sink_moved: f64,
    /// `exp(γ(n + R) + 8u + 3u|lse|) − 1`.
    pub(crate) relative: f64,
    /// Whether anything can be said: not when a score may overflow f32, or a weight when its tile is
    /// read (see [`excess`]).
    pub(crate) decided: bool,
    /// The most that the sum of the weights before division may come out.
    pub(crate) l: f64,
}

/// Sums over the weights and the sink.
pub(crate) struct Totals {
    /// m, the largest score.
    pub(crate) top: f64,
    /// l, the sum of the `exp(s − m)`, and over how many keys.
    pub(crate) l: f64,
    pub(crate) keys: usize,
    /// γ(n + R).
    pub(crate) accumulate: f64,
    /// ln Σ w_j e^{η_j}.
    pub(crate) log_moved: f64,
    /// Σ h_j over the keys.
    pub(crate) moved: f64,
    /// h of the sink.
    pub(crate) sink_moved: f64,
    /// See [`excess`].
    pub(crate) excess: f64,
}

impl Totals {
    pub(crate) fn summary(self, p: Precision) -> Summary {
        let (l, u, decided) = (self.l, p.unit(), self.excess < MAX_LOG);
        let error = l * self.accumulate + self.keys as f64 * p.underflow();
        let ln_l = p.ln(Bounded::new(l, error));
        let lse = Bounded::new(self.top + ln_l.value, ln_l.bound + self.log_moved)
            .widen(7.0 * u * (self.top.abs() + ln_l.value.abs()));
        Summary {
            lse: match decided {
                true => lse,
                false => Bounded::new(lse.value, f64::INFINITY),
            },
            moved: self.moved,
            sink_moved: self.sink_moved,
            relative: exp_m1(self.accumulate + u * (8.0 + 3.0 * lse.value.abs())),
            decided,
            l: l * self.excess.exp(),
        }
    }
}

/// How far above 1, as an exponent, a weight may come out while its tile is read.
///
/// It is `ex2(ŝ·c − m̂_t·c)` with `ŝ ≤ m̂_t` as *computed*, so the error of ŝ, which may be much
/// larger, does not count: only what the exponential's own argument loses, the part of
/// [`exponent_error`] that is relative to the magnitude of ŝ ≈ m̂_t, whichever the tile, and the
/// corrections. `largest` is the largest magnitude that a computed score may have. From [`MAX_LOG`] on
/// (scores beyond 10⁸, or such as may overflow themselves) the weight may be +inf where it should be 1.
pub(crate) fn excess(largest: f64, corrections: f64, unit: f64) -> f64 {
    exponent_error(Bounded::exact(largest), largest, unit) + CORRECTION_UNITS * unit * corrections
}

/// Below this the series of [`exp_m1_near`] does.
pub(crate) const NEAR: f64 = 0.01;

/// `e^x − 1` for 0 ≤ x < [`NEAR`], in float64 or float32; a bound needs no more than the ten digits
/// that the series has.
#[inline(always)]
pub(crate) fn exp_m1_near<N>(x: N) -> N
where
    N: Copy + From<f32> + Add<Output = N> + Mul<Output = N> + Div<Output = N>,
{
    let [one, two, three, four] = [1.0, 2.0, 3.0, 4.0].map(N::from);
    x * (one + x * (one / two) * (one + x * (one / three) * (one + x * (one / four))))
}

/// `e^x − 1` for x ≥ 0.
fn exp_m1(x: f64) -> f64 {
    if x < NEAR { exp_m1_near(x) } else { x.exp_m1() }
}

/// `e^{log}·(e^η − 1)`, however large η and small `e^log`.
pub(crate) fn raised(log: f64, eta: f64) -> f64 {
    if eta < NEAR {
        log.exp() * exp_m1_near(eta)
    } else {
        (log + eta).exp() * -(-eta).exp_m1()
    }
}

impl Row {
    pub(crate) fn clear(&mut self) {
        self.score.clear();
        self.score_error.clear();
    }

    pub(crate) fn push(&mut self, score: Bounded) {
        self.score.push(score.value);
        self.score_error.push(score.bound);
    }

    /// Adds keys by their scores and the errors of these.
    pub(crate) fn extend(&mut self, scores: &[f64], errors: &[f32]) {
        self.score.extend_from_slice(scores);
        self.score_error
            .extend(errors.iter().map(|&x| f64::from(x)));
    }

    /// Fills `value`, `error`, `moved` and `rounding` from the scores. `sink` is a score without a
    /// value.
    pub(crate) fn softmax(&mut self, sink: Option<f64>, p: Precision) -> Summary {
        wide(Softmax { row: self, sink, p })
    }

    #[inline(always)]
    fn softmax_in_lanes(&mut self, sink: Option<f64>, p: Precision) -> Summary {
        let (n, u) = (self.score.len(), p.unit());
        let rounded = p.weights != DType::F32;
        for numbers in [
            &mut self.value,
            &mut self.error,
            &mut self.moved,
            &mut self.eta,
        ] {
            numbers.resize(n, 0.0);
        }
        self.rounding.resize(if rounded { n } else { 0 }, 0.0);
        let nothing = |lse: f64| Summary {
            lse: Bounded::exact(lse),
            moved: 0.0,
            sink_moved: 0.0,
            relative: 0.0,
            decided: true,
            l: 0.0,
        };

        let sink = sink.filter(|&z| z != f64::NEG_INFINITY);
        // A NaN score is skipped here and comes back through the sum below.
        let m = largest(&self.score).max(sink.unwrap_or(f64::NEG_INFINITY));
        if m == f64::NEG_INFINITY && !self.score.iter().any(|s| s.is_nan()) {
            self.fill(0.0);
            return nothing(f64::NEG_INFINITY);
        }
        let blocks = Block::of(&self.score);
        let most = corrections_after(&self.score, &blocks, &mut self.eta).most;
        let scores = self.score.iter().zip(&self.score_error);
        let weights = self.value.iter_mut().zip(&mut self.eta);
        for ((&score, &error), (weight, eta)) in scores.zip(weights) {
            *weight = exp(score - m);
            let later = CORRECTION_UNITS * u * *eta;
            let known = exponent_error(Bounded::new(score, error), m, u) + later;
            // A score of −∞ has the weight zero in any arithmetic.
            *eta = if score == f64::NEG_INFINITY {
                0.0
            } else {
                known
            };
        }
        let mut l = sum(&self.value);
        let mut largest_eta = largest(&self.eta).max(0.0);
        let sink = sink.map(|z| {
            let eta = exponent_error(Bounded::exact(z), m, u) + CORRECTION_UNITS * u * most;
            (z - m, eta)
        });
        if let Some((log, eta)) = sink {
            l += log.exp();
            largest_eta = largest_eta.max(eta);
        }
        if !l.is_finite() {
            // NaN or +inf among the scores: everything the row touches is NaN.
            self.fill(0.0);
            self.value.fill(f64::NAN);
            return nothing(f64::NAN);
        }

        let accumulate = p.gamma(n + most as usize + 2);
        let excess = excess(self.largest_computed(sink.map(|(log, _)| log + m)), most, u);
        let [log_moved, moved, sink_moved] = if largest_eta < 0.5 {
            self.weights_near(sink, l, largest_eta)
        } else {
            self.weights_far(sink, l, m)
        };
        // `error` holds w⁺ so far.
        let (lost, normal) = (p.underflow() / l, p.weights.smallest_normal() / l);
        let unit = p.weights.unit_roundoff();
        for (rounding, &largest) in self.rounding.iter_mut().zip(&self.error) {
            *rounding = unit * largest.max(normal);
        }
        self.error
            .iter_mut()
            .for_each(|x| *x = accumulate * *x + lost);

        Totals {
            top: m,
            l,
            keys: n,
            accumulate,
            log_moved,
            moved,
            sink_moved,
            excess,
        }
        .summary(p)
    }

    fn fill(&mut self, x: f64) {
        for numbers in [
            &mut self.value,
            &mut self.error,
            &mut self.moved,
            &mut self.rounding,
        ] {
            numbers.fill(x);
        }
    }

    /// Takes the key of the largest score out of `moved`; returns it and its h.
    pub(crate) fn set_apart_largest(&mut self, summary: &mut Summary) -> Option<(usize, f64)> {
        wide(SetApart { row: self, summary })
    }

    #[inline(always)]
    fn set_apart_in_lanes(&mut self, summary: &mut Summary) -> Option<(usize, f64)> {
        let top = largest(&self.score);
        let at = self.score.iter().position(|&score| score == top)?;
        let moved = std::mem::replace(&mut self.moved[at], 0.0);
        summary.moved = sum(&self.moved);
        Some((at, moved))
    }

    /// The largest magnitude that a score may come out with.
    #[inline(always)]
    fn largest_computed(&mut self, sink: Option<f64>) -> f64 {
        // `moved` is not in use yet.
        let scores = self.score.iter().zip(&self.score_error);
        for ((&score, &error), computed) in scores.zip(&mut self.moved) {
            let none = score == f64::NEG_INFINITY && error == 0.0;
            *computed = if none { 0.0 } else { score.abs() + error };
        }
        largest(&self.moved).max(sink.map_or(0.0, f64::abs))
    }

    /// w, w⁺ and h where every η is small; the logarithm and the sums of [`Totals`].
    #[inline(always)]
    fn weights_near(&mut self, sink: Option<(f64, f64)>, l: f64, largest_eta: f64) -> [f64; 3] {
        let etas = self.eta.iter().zip(&mut self.moved);
        if largest_eta < NEAR {
            for (&eta, x) in etas {
                *x = exp_m1_near(eta);
            }
        } else {
            for (&eta, x) in etas {
                *x = exp_m1(eta);
            }
        }
        let bounds = self.error.iter_mut().zip(&mut self.moved);
        for (&weight, (least, moved)) in self.value.iter().zip(bounds) {
            let x = *moved;
            *least = weight / (1.0 + x);
            *moved = weight * x;
        }
        let (mut least, keys_moved) = (sum::<f64>(&self.error), sum::<f64>(&self.moved));
        let mut moved = keys_moved;
        let sink = sink.map(|(log, eta)| (log.exp(), exp_m1(eta)));
        if let Some((weight, x)) = sink {
            least += weight / (1.0 + x);
            moved += weight * x;
        }
        let (inverse, scale) = (1.0 / l, 1.0 / least);
        let bounds = self.error.iter_mut().zip(&mut self.moved);
        for (weight, (largest, moved)) in self.value.iter_mut().zip(bounds) {
            *largest = ((*weight + *moved) * scale).min(1.0);
            *moved *= scale;
            *weight *= inverse;
        }
        [
            (moved * inverse).ln_1p(),
            keys_moved * scale,
            sink.map_or(0.0, |(weight, x)| weight * x * scale),
        ]
    }

    /// The same in logarithms, so that no large error times a small weight is lost. Where errors
    /// decide which key wins (a weight may come out e times too large) h is the weight itself:
    /// `|ô − o| ≤ Σ ŵ_j|v_j − o|`, since the weights of both sum to 1.
    fn weights_far(&mut self, sink: Option<(f64, f64)>, l: f64, m: f64) -> [f64; 3] {
        let log_l = l.ln();
        let logs: Vec<f64> = self.score.iter().map(|s| s - m - log_l).collect();
        let sink = sink.map(|(log, eta)| (log - log_l, eta));
        let all = || {
            let keys = logs.iter().copied().zip(self.eta.iter().copied());
            keys.chain(sink)
        };
        let log_least = log_sum_exp(all().map(|(log, eta)| log - eta));
        let largest = |log: f64, eta: f64| match log {
            f64::NEG_INFINITY => 0.0,
            _ => (log + eta - log_least).exp(),
        };
        let contested = all().any(|(log, eta)| largest(log, eta) > std::f64::consts::E);
        let bounds = |(log, eta): (f64, f64)| {
            let largest = largest(log, eta);
            let moved = match contested {
                true => largest.min(1.0),
                false => -(-eta).exp_m1() * largest,
            };
            (largest.min(1.0), moved)
        };
        let mut sum = 0.0;
        for (at, log) in logs.iter().copied().enumerate() {
            self.value[at] = log.exp();
            (self.error[at], self.moved[at]) = bounds((log, self.eta[at]));
            sum += self.moved[at];
        }
        let sink_moved = sink.map_or(0.0, |sink| bounds(sink).1);
        [log_sum_exp_above_one(all()), sum, sink_moved]
    }
}

struct Softmax<'a> {
    row: &'a mut Row,
    sink: Option<f64>,
    p: Precision,
}

impl InLanes for Softmax<'_> {
    type Output = Summary;

    #[inline(always)]
    fn call(self) -> Summary {
        self.row.softmax_in_lanes(self.sink, self.p)
    }
}

struct SetApart<'a> {
    row: &'a mut Row,
    summary: &'a mut Summary,
}

impl InLanes for SetApart<'_> {
    type Output = Option<(usize, f64)>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        self.row.set_apart_in_lanes(self.summary)
    }
}

/// `ln Σ e^x`.
fn log_sum_exp(all: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = all.clone().fold(f64::NEG_INFINITY, f64::max);
    if top.is_infinite() {
        return top;
    }
    top + all.map(|x| (x - top).exp()).sum::<f64>().ln()
}

/// `ln Σ w_j e^{η_j}` from pairs of ln w and η, exact where it is near zero.
fn log_sum_exp_above_one(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let raised_logs = || pairs.clone().map(|(log, eta)| log + eta);
    if raised_logs().fold(f64::NEG_INFINITY, f64::max) < 1.0 {
        // ln(1 + Σ w(e^η − 1))
        let moved = pairs.map(|(log, eta)| raised(log, eta));
        return moved.sum::<f64>().ln_1p();
    }
    log_sum_exp(raised_logs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(scores: &[(f64, f64)], sink: Option<f64>) -> (Row, Summary) {
        let mut row = Row::default();
        scores
            .iter()
            .for_each(|&(score, error)| row.push(Bounded::new(score, error)));
        let summary = row.softmax(sink, Precision::of(DType::Bf16));
        (row, summary)
    }

    /// Both ways of evaluating the same formula, on either side of where they meet (η of 0.5): 40 scores
    /// within ±3 whose errors rise from 0.3 to 0.46, just below, and a sink.
    #[test]
    fn near_and_far_agree() {
        let scores: Vec<(f64, f64)> = (0..40)
            .map(|i| ((f64::from(i) * 0.7).sin() * 3.0, 0.3 + 0.004 * f64::from(i)))
            .collect();
        let (near, a) = filled(&scores, Some(0.5));
        let mut far = Row::default();
        scores
            .iter()
            .for_each(|&(score, error)| far.push(Bounded::new(score, error)));
        let start = far.score.iter().fold(0.5, |m: f64, &s| m.max(s));
        far.softmax(Some(0.5), Precision::of(DType::Bf16));
        far.value = far.score.iter().map(|s| (s - start).exp()).collect();
        let l = far.value.iter().sum::<f64>() + (0.5 - start).exp();
        let sink = exponent_error(Bounded::exact(0.5), start, Precision::of(DType::F32).unit());
        let b = far.weights_far(Some((0.5 - start, sink)), l, start);
        // What differs beside float64 roundings: here the sink's error has no corrections. Of 6u each
        // and no more than 15, they are 90u = 5.4·10⁻⁶ of the sink's weight, which is e^0.5 in a sum of
        // more than a hundred.
        assert!((a.moved / b[1] - 1.0).abs() < 1e-6, "{} {}", a.moved, b[1]);
        for (x, y) in near.moved.iter().zip(&far.moved) {
            assert!((x / y - 1.0).abs() < 1e-6);
        }
        for (x, y) in near.value.iter().zip(&far.value) {
            assert!((x / y - 1.0).abs() < 1e-12);
        }
    }

    /// `|ô − o| ≤ Σ h_j|v_j − o|` for every choice of signs of the errors.
    #[test]
    fn o_moves_no_more_than_its_bound() {
        let scores = [(0.0, 0.2), (1.0, 0.1), (-2.0, 0.3), (0.5, 0.0)];
        let v = [3.0, -1.0, 7.0, 0.5];
        let (row, _) = filled(&scores, None);
        let o: f64 = row.value.iter().zip(v).map(|(w, v)| w * v).sum();
        let bound: f64 = row
            .moved
            .iter()
            .zip(v)
            .map(|(h, v)| h * (v - o).abs())
            .sum();
        let mut worst = 0.0;
        for signs in 0..16 {
            let sign = |i: usize| if signs >> i & 1 == 1 { 1.0 } else { -1.0 };
            let weight = |i: usize| f64::exp(scores[i].0 + sign(i) * scores[i].1);
            let total: f64 = (0..4).map(weight).sum();
            let moved: f64 = (0..4).map(|i| weight(i) * v[i] / total).sum();
            assert!((moved - o).abs() <= bound, "{signs}");
            worst = f64::max(worst, (moved - o).abs());
        }
        assert!(worst > 0.5 * bound, "{worst} {bound}");
    }

    #[test]
    fn the_series_has_ten_digits() {
        for x in [0.0, 1e-9, 1e-4, 0.00999f64] {
            assert!((exp_m1_near(x) - x.exp_m1()).abs() <= 2e-10 * x);
        }
    }

    #[test]
    fn hopeless_rows_say_so() {
        for scores in [[(2e8, 0.0), (1.0, 1.0)], [(0.0, f64::INFINITY), (1.0, 1.0)]] {
            let summary = filled(&scores, None).1;
            assert!(!summary.decided && summary.lse.bound.is_infinite());
        }
        // However large a score's error, computed scores are never above their own maximum.
        let (row, summary) = filled(&[(0.0, 100.0), (1.0, 1.0)], None);
        assert!(summary.decided && summary.lse.bound.is_finite());
        assert!(row.moved.iter().all(|h| (0.5..=1.0).contains(h)));
    }

    /// Errors of several units move weights between the leaders, and none to what is far below.
    #[test]
    fn contested_rows_are_decided_but_for_their_leaders() {
        let (mut row, mut summary) = filled(&[(1e6, 2.0), (1e6 - 1.0, 2.0), (0.0, 2.0)], None);
        assert_eq!(row.moved, [1.0, 1.0, 0.0]);
        assert_eq!(row.set_apart_largest(&mut summary), Some((0, 1.0)));
        assert_eq!((row.moved[0], summary.moved), (0.0, 1.0));
    }
}
