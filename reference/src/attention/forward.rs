//! The forward pass of one head: plainly, a row at a time, and in tiles by matrix products.
//!
//! With `w_j = p_j/l` and weights that are off by `p̂_j = p_j·e^{±η_j}` (scores and exponential,
//! see [`super::scores`]), whatever the signs,
//!
//! ```text
//! ô − o = Σ_j ŵ_j(v_j − o) = Σ_j w_j(e^{±η_j} − 1)(v_j − o) / Σ_k w_k e^{±η_k}
//!
//! |ô − o| ≤ Σ_j h_j|v_j − o|                        h_j = w_j(e^{η_j} − 1) / Σ_k w_k e^{−η_k}
//!         ≤ h_t|v_t − o| + Σ_{j≠t} h_j(|v_j − c| + |o − c|)
//!         + Σ_j γ(n + R)·w⁺_j|v_j|                  the sum over n keys with R corrections
//!         + T(r_j = u_P·w⁺_j, v_j)                  P rounded to 16 bits (see `roundings`)
//!         + (e^x − 1)·(|o| + above)                 x = γ(n + R) + 8u + 3u|lse|: l's own sum, the
//!                                                   division; a merge of parts by
//!                                                   exp(lse_part − lse), each lse rounded
//! ```
//!
//! for any c (we take the median of each component: errors of scores do not move a constant V) and
//! any key t (the one of the largest weight: where it has nearly all of it, o is v_t and h_t counts for
//! nothing). ô is a convex combination too: the first line is never more than `max_j|v_j − c| + |o − c|`,
//! and where errors of scores decide which key wins `h_j = w⁺_j`, the weight itself. No bound at all
//! (infinite) where a weight, or the sum under the weights, may overflow f32 on the way. A score of −inf has the weight 0 in any arithmetic and no error.
//! `w⁺_j = w_j e^{η_j} / Σ_k w_k e^{−η_k}` is the largest a weight may come out. l is the sum of the
//! weights before they are rounded.
//!
//! ```text
//! lse = m + ln l     |Δ| ≤ ln Σ_j w_j e^{η_j} + γ(n + R) + ln's own + 7u(|m| + |ln l|)
//! ```
//!
//! (products with log₂e and ln 2, the addition, and a merge by stored lse).

use std::ops::Range;

use ndarray::Array2;

use super::Options;
use super::near::{Divided, Line, Scratch};
use super::options::{Mask, span_of};
use super::roundings::rounding_of;
use super::scores::Scoring;
use super::softmax::{Row, Summary};
use super::weighted::{
    Dots, Summands, Vectors, Weights, aligned, dot, finite_dot, line_mut, may_overflow, product,
};
use crate::numbers::gemm::Panels;
use crate::numbers::lanes::{InLanes, wide};
use crate::numbers::spare;
use crate::numbers::upward::{Upward, above};
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

/// What the tiles of all query heads of one KV head multiply with.
pub(crate) struct Packed {
    k: Dots,
    v: Summands,
    /// `|v − c|`.
    distance: Panels<f32>,
}

impl Packed {
    pub(crate) fn new(k: &Vectors, v: &Vectors, center: &[f64], precision: Precision) -> Self {
        let mut distance = v.value.clone();
        for mut v in distance.rows_mut() {
            let pairs = v.iter_mut().zip(center);
            pairs.for_each(|(v, c)| *v = (*v - c).abs());
        }
        Self {
            k: Dots::new(k),
            v: Summands::new(v, precision.weights != DType::F32),
            distance: Panels::new(distance.view(), above),
        }
    }
}

/// Result of some query rows of one head.
pub(crate) struct Rows {
    /// Row-major, `rows × D`.
    pub(crate) o: Vec<Bounded>,
    pub(crate) lse: Vec<Bounded>,
}

/// What bounds one component of o besides the softmax.
struct Component {
    value: f64,
    /// Accumulation and rounding of the weights.
    summed: f64,
    /// Σ h_j|v_j − c|, t apart.
    moved: f64,
    /// h_t and v_t.
    largest: Option<(f64, f64)>,
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
    pub(crate) fn tiled(&self, packed: &Packed, tile: Range<usize>) -> Rows {
        let ranges: Vec<_> = tile.clone().map(|row| self.mask.ranges(row)).collect();
        let seen = span_of(&ranges);
        let span = aligned(seen.clone());
        let (raw, size) = packed.k.with(self.q, tile.clone(), span.clone());
        let rounded = self.precision.weights != DType::F32;
        let scoring = self.scoring();
        let mut weights = Weights::over(raw, size, rounded);
        let mut moved = spare::any(tile.len(), span.len());
        let mut scratch = Scratch::default();
        let mut row = Row::default();
        let mut all_divided = Vec::with_capacity(tile.len());
        for (at, ranges) in ranges.iter().enumerate() {
            let column = |r: &Range<usize>| r.start - span.start..r.end - span.start;
            let columns = ranges.iter().map(column);
            let of_row = weights.row_mut(at);
            let mut line = Line {
                value: of_row.value,
                error: of_row.error,
                moved: line_mut(&mut moved, at),
                rounding: of_row.rounding,
            };
            let peaks = line.score(&scoring, columns.clone(), &mut scratch);
            let divided = line.weigh(peaks, self.sink, self.precision, &mut scratch);
            all_divided.push(divided.unwrap_or_else(|| {
                let divided = self.far(&mut line, columns.clone(), &mut row);
                line.clear_between(columns);
                divided
            }));
        }

        let most = ranges
            .iter()
            .map(|ranges| ranges.iter().map(Range::len).sum());
        let most = most.max().unwrap_or(0);
        let [o, summed] = weights.sum(&packed.v, span.start, most, self.precision.weights);
        let upward = Upward::sum(span.len());
        let first = span.start;
        let moved_by = product(moved.view(), &packed.distance, span, 0..self.size());
        weights.keep();
        spare::keep(moved);
        let farthest = self.farthest(seen);

        let mut out = Rows {
            o: Vec::with_capacity(o.len()),
            lse: Vec::with_capacity(tile.len()),
        };
        for (at, divided) in all_divided.iter().enumerate() {
            for d in 0..self.size() {
                let component = Component {
                    value: o[[at, d]] * divided.value,
                    summed: summed[[at, d]] * divided.bound,
                    moved: upward.of(moved_by[[at, d]]) * divided.bound,
                    largest: divided
                        .largest
                        .map(|(column, h)| (h, self.v.value[[first + column, d]])),
                    farthest: farthest[d],
                    center: self.center[d],
                };
                out.o.push(self.finish(&divided.summary, &component));
            }
            let lse = divided.summary.lse;
            out.lse.push(self.precision.store_statistic(lse));
        }
        [o, summed].into_iter().for_each(spare::keep);
        spare::keep(moved_by);
        out
    }

    /// The weights of a row with large errors, by the plain formula.
    fn far(
        &self,
        line: &mut Line<'_>,
        columns: impl Iterator<Item = Range<usize>> + Clone,
        row: &mut Row,
    ) -> Divided {
        row.clear();
        for range in columns.clone() {
            row.extend(&line.value[range.clone()], &line.error[range]);
        }
        let mut summary = row.softmax(self.sink, self.precision);
        let largest = row.set_apart_largest(&mut summary);
        for (at, column) in columns.clone().flatten().enumerate() {
            line.value[column] = row.value[at];
            line.error[column] = above(row.error[at]);
            line.moved[column] = above(row.moved[at]);
            if let Some(&rounding) = row.rounding.get(at) {
                line.rounding[column] = above(rounding);
            }
        }
        let column = |at: usize| columns.flatten().nth(at);
        Divided {
            summary,
            value: 1.0,
            bound: 1.0,
            largest: largest.and_then(|(at, h)| Some((column(at)?, h))),
        }
    }

    /// `max_j |v_j − c|` of the keys `seen`, per component.
    fn farthest(&self, seen: Range<usize>) -> Vec<f64> {
        let d = self.size();
        let v = self.v.value.as_slice().unwrap_or_default();
        let mut farthest = vec![0.0; d];
        wide(Farthest {
            v: &v[seen.start * d..seen.end * d],
            center: self.center,
            farthest: &mut farthest,
        });
        farthest
    }

    /// All of the tile's rows, pair by pair.
    pub(crate) fn plainly(&self, tile: Range<usize>) -> Rows {
        let mut rows = Rows {
            o: Vec::new(),
            lse: Vec::new(),
        };
        for one in tile.map(|row| self.plain(row)) {
            rows.o.extend(one.o);
            rows.lse.extend(one.lse);
        }
        rows
    }

    /// One row, following the formula term by term over the keys it sees and no others.
    fn plain(&self, query: usize) -> Rows {
        let scoring = self.scoring();
        let (q, q_size) = (self.q.value.row(query), self.q.size.row(query));
        let seen: Vec<usize> = self.mask.ranges(query).into_iter().flatten().collect();
        let mut row = Row::default();
        for &key in &seen {
            let raw = dot(q, self.k.value.row(key));
            let size = finite_dot(q_size, self.k.size.row(key));
            row.push(scoring.score(raw, size));
        }
        let mut summary = row.softmax(self.sink, self.precision);
        let largest = row.set_apart_largest(&mut summary);
        let mut o = Vec::with_capacity(self.size());
        for d in 0..self.size() {
            let mut sum = Component {
                value: 0.0,
                summed: 0.0,
                moved: 0.0,
                largest: largest.map(|(at, h)| (h, self.v.value[[seen[at], d]])),
                farthest: 0.0,
                center: self.center[d],
            };
            let mut roundings = Vec::new();
            for (at, &key) in seen.iter().enumerate() {
                let (v, v_size) = (self.v.value[[key, d]], self.v.size[[key, d]]);
                let distance = (v - sum.center).abs();
                sum.value += row.value[at] * v;
                sum.summed += row.error[at] * v_size;
                sum.moved += row.moved[at] * distance;
                sum.farthest = sum.farthest.max(distance);
                if let Some(&rounding) = row.rounding.get(at) {
                    roundings.push((rounding, v_size));
                }
            }
            sum.summed += rounding_of(&roundings, self.precision.weights);
            o.push(self.finish(&summary, &sum));
        }
        Rows {
            o,
            lse: vec![self.precision.store_statistic(summary.lse)],
        }
    }

    /// The terms that need o itself, and the rounding of the output.
    fn finish(&self, row: &Summary, sum: &Component) -> Bounded {
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
        let largest = sum.largest.map_or(0.0, |(h, v)| h * (v - sum.value).abs());
        // A sink is a key whose v is zero.
        let sink_moved = row.sink_moved * sum.value.abs();
        let moved = sum.moved + off_center * row.moved + largest + sink_moved;
        // Undivided, the sum is l times as large.
        let moved = match row.decided && !may_overflow(row.l * sum.summed) {
            true => moved.min(hull),
            false => f64::INFINITY,
        };
        let o = Bounded::new(sum.value, moved + sum.summed);
        self.precision.store(o.widen(row.relative * o.magnitude()))
    }
}

struct Farthest<'a> {
    /// Row-major.
    v: &'a [f64],
    center: &'a [f64],
    farthest: &'a mut [f64],
}

impl InLanes for Farthest<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for v in self.v.chunks_exact(self.center.len()) {
            let pairs = v.iter().zip(self.center);
            for (farthest, (v, c)) in self.farthest.iter_mut().zip(pairs) {
                let distance = (v - c).abs();
                *farthest = if distance > *farthest {
                    distance
                } else {
                    *farthest
                };
            }
        }
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
