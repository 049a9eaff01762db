//! The forward pass of one head: plainly, a row at a time, and in tiles by matrix products.
//!
//! With `w_j = p_j/l` and weights that are off by `p̂_j = p_j·e^{±η_j}` (scores and exponential,
//! see [`super::scores`]), whatever the signs,
//!
//! ```text
//! ô − o = Σ_j ŵ_j(v_j − o) = Σ_j w_j(e^{±η_j} − 1)(v_j − o) / Σ_k w_k e^{±η_k}
//!
//! |ô − o| ≤ Σ_j h_j|v_j − c| + |o − c|·Σ_j h_j      h_j = w_j(e^{η_j} − 1) / Σ_k w_k e^{−η_k}
//!         + Σ_j γ(n + R)·w⁺_j|v_j|                  the sum over n keys with R corrections
//!         + T(r_j = u_P·w⁺_j, v_j)                  P rounded to 16 bits (see `weighted`)
//!         + (γ(n + R) + 8u + 3u|lse|)·(|o| + above) l's own sum, the division; a merge of parts
//!                                                   by exp(lse_part − lse), each lse rounded
//! ```
//!
//! for any c (we take the median of each component: errors of scores do not move a constant V). The
//! first line is never more than `max_j|v_j − c| + |o − c|`, since ô is a convex combination too; that
//! is what counts for a row whose scores are so large that their errors decide which key wins.
//! `w⁺_j = w_j e^{η_j} / Σ_k w_k e^{−η_k}` is the largest a weight may come out. l is the sum of the
//! weights before they are rounded.
//!
//! ```text
//! lse = m + ln l     |Δ| ≤ ln Σ_j w_j e^{η_j} + γ(n + R) + ln's own + 7u(|m| + |ln l|)
//! ```
//!
//! (products with log₂e and ln 2, the addition, and a merge by stored lse).

use std::ops::Range;

use ndarray::{Array2, ArrayViewMut1};

use super::Options;
use super::options::{Mask, span_of};
use super::scores::{CORRECTION_UNITS, MAX_LOG, Scoring, corrections_after, exponent_error};
use super::weighted::{Vectors, Weights, product, rounding_of, rows};
use crate::numbers::{Bounded, DType, Precision};

/// Everything one head of one sequence computes with.
pub(crate) struct Head<'a> {
    pub(crate) q: &'a Vectors,
    pub(crate) k: &'a Vectors,
    pub(crate) v: &'a Vectors,
    /// Per component, a number near most of `v`.
    pub(crate) center: &'a [f64],
    pub(crate) mask: &'a dyn Mask,
    /// A learned logit that takes part in the softmax and carries no value.
    pub(crate) sink: Option<f64>,
    pub(crate) options: &'a Options,
    pub(crate) precision: Precision,
}

/// Result of some query rows of one head.
pub(crate) struct Rows {
    /// Row-major, `rows × D`.
    pub(crate) o: Vec<Bounded>,
    pub(crate) lse: Vec<Bounded>,
}

/// The softmax of one row: weights and errors of the keys it sees, ready to be summed.
struct RowWeights {
    lse: Bounded,
    /// Σ h_j, the sink's share included.
    moved: f64,
    /// The sink's share alone.
    sink_moved: f64,
    /// γ(n + R) + 8u + 3u|lse|.
    relative: f64,
    reach: Reach,
}

/// How far the analysis of a row's scores reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The bound above.
    Errors,
    /// Errors decide which key wins: o is some convex combination.
    Hull,
    /// A weight may overflow f32 when its tile is read (`s·c − m_t·c` comes out large and positive
    /// where it should be zero, for scores beyond 10⁸): anything may come out.
    Nothing,
}

/// Per-row views into the tile's matrices.
struct RowOut<'a> {
    value: ArrayViewMut1<'a, f64>,
    error: ArrayViewMut1<'a, f64>,
    moved: ArrayViewMut1<'a, f64>,
    rounding: Option<ArrayViewMut1<'a, f64>>,
}

/// What bounds one component of o besides the softmax.
struct Component {
    value: f64,
    /// Accumulation and rounding of the weights.
    summed: f64,
    /// Σ h_j|v_j − c|.
    moved: f64,
    /// max_j|v_j − c|.
    farthest: f64,
    center: f64,
}

impl Head<'_> {
    fn size(&self) -> usize {
        self.v.value.ncols()
    }

    fn scoring(&self) -> Scoring {
        Scoring::new(self.options, self.q.value.ncols(), self.precision)
    }

    /// All of the tile's rows, by matrix products. Needs finite inputs.
    pub(crate) fn tiled(&self, tile: Range<usize>) -> Rows {
        let span = span_of(self.mask, tile.clone());
        let rounded = self.precision.weights != DType::F32;
        let q = rows(&self.q.value, tile.clone());
        let q_size = rows(&self.q.size, tile.clone());
        let raw = product(q, rows(&self.k.value, span.clone()).reversed_axes());
        let size = product(q_size, rows(&self.k.size, span.clone()).reversed_axes());

        let scoring = self.scoring();
        let mut weights = Weights::zeros(tile.len(), span.len(), rounded);
        let mut moved = Array2::zeros((tile.len(), span.len()));
        let mut scratch = Scratch::default();
        let mut softmax = Vec::with_capacity(tile.len());
        for (at, row) in tile.clone().enumerate() {
            scratch.clear();
            for (column, key) in span.clone().enumerate() {
                if self.mask.sees(row, key) {
                    let score = scoring.score(raw[[at, column]], size[[at, column]]);
                    scratch.push(column, score);
                }
            }
            softmax.push(self.softmax(
                &mut scratch,
                RowOut {
                    value: weights.value.row_mut(at),
                    error: weights.error.row_mut(at),
                    moved: moved.row_mut(at),
                    rounding: weights.rounding.as_mut().map(|r| r.row_mut(at)),
                },
            ));
        }

        let (o, summed) = weights.sum(self.v, span.start, self.precision.weights);
        let mut distance = rows(&self.v.value, span).to_owned();
        for mut v in distance.rows_mut() {
            v.iter_mut()
                .zip(self.center)
                .for_each(|(v, c)| *v = (*v - c).abs());
        }
        let moved = product(moved.view(), distance.view());
        let farthest: Vec<f64> = distance
            .columns()
            .into_iter()
            .map(|c| c.fold(0.0, |m, &x| f64::max(m, x)))
            .collect();

        let mut out = Rows {
            o: Vec::with_capacity(o.len()),
            lse: Vec::with_capacity(tile.len()),
        };
        for (at, row) in softmax.iter().enumerate() {
            for d in 0..self.size() {
                let component = Component {
                    value: o[[at, d]],
                    summed: summed[[at, d]],
                    moved: moved[[at, d]],
                    farthest: farthest[d],
                    center: self.center[d],
                };
                out.o.push(self.finish(row, &component));
            }
            out.lse.push(self.precision.store_statistic(row.lse));
        }
        out
    }

    /// One row, following the formula term by term over the keys it sees and no others.
    pub(crate) fn plain(&self, row: usize) -> Rows {
        let scoring = self.scoring();
        let (q, q_size) = (self.q.value.row(row), self.q.size.row(row));
        let seen: Vec<usize> = self
            .mask
            .span(row)
            .filter(|&key| self.mask.sees(row, key))
            .collect();
        let mut scratch = Scratch::default();
        for (at, &key) in seen.iter().enumerate() {
            let (mut raw, mut size) = (0.0, 0.0);
            for d in 0..q.len() {
                raw += q[d] * self.k.value[[key, d]];
                size += q_size[d] * self.k.size[[key, d]];
            }
            scratch.push(at, scoring.score(raw, size));
        }
        let rounded = self.precision.weights != DType::F32;
        let mut weights = Weights::zeros(1, seen.len(), rounded);
        let mut moved = Array2::zeros((1, seen.len()));
        let softmax = self.softmax(
            &mut scratch,
            RowOut {
                value: weights.value.row_mut(0),
                error: weights.error.row_mut(0),
                moved: moved.row_mut(0),
                rounding: weights.rounding.as_mut().map(|r| r.row_mut(0)),
            },
        );
        let mut o = Vec::with_capacity(self.size());
        for d in 0..self.size() {
            let mut sum = Component {
                value: 0.0,
                summed: 0.0,
                moved: 0.0,
                farthest: 0.0,
                center: self.center[d],
            };
            let mut roundings = Vec::new();
            for (at, &key) in seen.iter().enumerate() {
                let (v, v_size) = (self.v.value[[key, d]], self.v.size[[key, d]]);
                let distance = (v - sum.center).abs();
                sum.value += weights.value[[0, at]] * v;
                sum.summed += weights.error[[0, at]] * v_size;
                sum.moved += moved[[0, at]] * distance;
                sum.farthest = sum.farthest.max(distance);
                if let Some(r) = &weights.rounding {
                    roundings.push((r[[0, at]], v_size));
                }
            }
            sum.summed += rounding_of(&roundings, self.precision.weights);
            o.push(self.finish(&softmax, &sum));
        }
        Rows {
            o,
            lse: vec![self.precision.store_statistic(softmax.lse)],
        }
    }

    /// From the scores of one row to its weights.
    fn softmax(&self, row: &mut Scratch, mut out: RowOut<'_>) -> RowWeights {
        let p = self.precision;
        let u = p.unit();
        let n = row.values.len();
        let empty = RowWeights {
            lse: Bounded::exact(f64::NEG_INFINITY),
            moved: 0.0,
            sink_moved: 0.0,
            relative: 0.0,
            reach: Reach::Errors,
        };
        // `max` of f64 skips NaN; a NaN score comes back through the weights below.
        let start = self.sink.unwrap_or(f64::NEG_INFINITY);
        let m = row.values.iter().fold(start, |m, &s| m.max(s));
        let has_nan = row.values.iter().any(|s| s.is_nan());
        if m == f64::NEG_INFINITY && !has_nan {
            return empty;
        }
        row.after.resize(n, 0.0);
        corrections_after(&row.values, &mut row.after);
        let most = row.after.iter().fold(0.0, |a, &b| f64::max(a, b));

        // ln of the weights before division by l, and η.
        let mut l = 0.0;
        for at in 0..n {
            let score = Bounded::new(row.values[at], row.bounds[at]);
            row.values[at] = score.value - m;
            row.bounds[at] = exponent_error(score, m, u) + CORRECTION_UNITS * u * row.after[at];
            l += row.values[at].exp();
        }
        let sink = self.sink.map(|z| {
            let eta = exponent_error(Bounded::exact(z), m, u) + CORRECTION_UNITS * u * most;
            (z - m, eta)
        });
        l += sink.map_or(0.0, |(log, _)| log.exp());
        if !l.is_finite() {
            // NaN or +inf among the scores: everything the row touches is NaN.
            for &column in &row.columns {
                out.value[column] = f64::NAN;
            }
            return RowWeights {
                lse: Bounded::exact(f64::NAN),
                ..empty
            };
        }

        // In logarithms, so that no large error times a small weight is lost.
        let log_l = l.ln();
        let with_sink = || {
            let keys = row.values.iter().copied().zip(row.bounds.iter().copied());
            keys.chain(sink).map(|(log, eta)| (log - log_l, eta))
        };
        let log_least = with_sink()
            .map(|(log, eta)| (log - eta).exp())
            .sum::<f64>()
            .ln();
        let log_moved = log_sum_exp_above_one(with_sink());
        let accumulate = p.gamma(n + most as usize + 2);
        let lost = p.underflow() / l;
        // w⁺ and h of one weight.
        let largest = |log: f64, eta: f64| (log - log_l + eta - log_least).exp();
        let may_overflow = with_sink().any(|(_, eta)| eta >= MAX_LOG);
        let mut reach = if may_overflow {
            Reach::Nothing
        } else {
            Reach::Errors
        };
        let mut total = 0.0;
        let mut moved_by = |log: f64, eta: f64| {
            let largest = largest(log, eta);
            // Up to e a bound on a weight still means something.
            if reach == Reach::Errors && (largest.is_nan() || largest > std::f64::consts::E) {
                reach = Reach::Hull;
            }
            let moved = -(-eta).exp_m1() * largest.min(std::f64::consts::E);
            total += moved;
            moved
        };
        let sink_moved = sink.map_or(0.0, |(log, eta)| moved_by(log, eta));
        for at in 0..n {
            let (log, eta) = (row.values[at], row.bounds[at]);
            let column = row.columns[at];
            let most = largest(log, eta).min(1.0);
            out.value[column] = (log - log_l).exp();
            out.moved[column] = moved_by(log, eta);
            out.error[column] = accumulate * most + lost;
            if let Some(rounding) = &mut out.rounding {
                let normal = p.weights.smallest_normal() / l;
                rounding[column] = p.weights.unit_roundoff() * most.max(normal);
            }
        }

        let ln_l = p.ln(Bounded::new(l, l * accumulate + n as f64 * p.underflow()));
        let lse = Bounded::new(m + ln_l.value, ln_l.bound + log_moved)
            .widen(7.0 * u * (m.abs() + ln_l.value.abs()));
        let lse = match reach {
            Reach::Nothing => Bounded::new(lse.value, f64::INFINITY),
            _ => lse,
        };
        RowWeights {
            lse,
            moved: total,
            sink_moved,
            relative: accumulate + u * (8.0 + 3.0 * (m + log_l).abs()),
            reach,
        }
    }

    /// The terms that need o itself, and the rounding of the output.
    fn finish(&self, row: &RowWeights, sum: &Component) -> Bounded {
        if !sum.value.is_finite() {
            return Bounded::exact(sum.value);
        }
        let off_center = (sum.value - sum.center).abs();
        let sink = if self.sink.is_some() {
            sum.center.abs()
        } else {
            0.0
        };
        let hull = sum.farthest.max(sink) + off_center;
        let moved = sum.moved + off_center * row.moved + sum.center.abs() * row.sink_moved;
        let moved = match row.reach {
            Reach::Errors => moved.min(hull),
            Reach::Hull => hull,
            Reach::Nothing => f64::INFINITY,
        };
        let o = Bounded::new(sum.value, moved + sum.summed);
        self.precision.store(o.widen(row.relative * o.magnitude()))
    }
}

/// `ln Σ w_j e^{η_j}` from pairs of ln w and η, exact where it is near zero.
fn log_sum_exp_above_one(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let top = pairs
        .clone()
        .map(|(log, eta)| log + eta)
        .fold(f64::NEG_INFINITY, f64::max);
    if top < 1.0 {
        // ln(1 + Σ w(e^η − 1))
        return pairs
            .map(|(log, eta)| log.exp() * eta.exp_m1())
            .sum::<f64>()
            .ln_1p();
    }
    top + pairs
        .map(|(log, eta)| (log + eta - top).exp())
        .sum::<f64>()
        .ln()
}

/// The keys that one row sees: their column in the tile, and numbers about them.
#[derive(Default)]
struct Scratch {
    columns: Vec<usize>,
    /// Scores, then weights.
    values: Vec<f64>,
    /// Errors of the scores, then η.
    bounds: Vec<f64>,
    /// Corrections after the key.
    after: Vec<f64>,
}

impl Scratch {
    fn clear(&mut self) {
        self.columns.clear();
        self.values.clear();
        self.bounds.clear();
    }

    fn push(&mut self, column: usize, score: Bounded) {
        self.columns.push(column);
        self.values.push(score.value);
        self.bounds.push(score.bound);
    }
}

/// A number near most of each column of `v`: the median of the finite ones.
pub(crate) fn column_medians(v: &Array2<f64>) -> Vec<f64> {
    v.columns()
        .into_iter()
        .map(|column| {
            let mut finite: Vec<f64> = column.iter().copied().filter(|x| x.is_finite()).collect();
            if finite.is_empty() {
                return 0.0;
            }
            let middle = finite.len() / 2;
            *finite.select_nth_unstable_by(middle, f64::total_cmp).1
        })
        .collect()
}
