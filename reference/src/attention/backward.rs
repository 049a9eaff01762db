//! The backward pass of one KV head and the query heads that share it.
//!
//! ```text
//! s_ij, P_ij = exp(s_ij − lse_i)          η_ij as in `scores`, with lse for the maximum
//! D_i  = Σ_d do_id·o_id  (or given)       γ(D)·Σ|do||o|
//! dP   = do_i·v_j                         γ(D)·Σ|do||v|
//! dS   = P∘(dP − D)                       ΔP·|dP − D| + P⁺·(ΔdP + ΔD + u…) + u…
//! dX   = dS∘(1 − tanh²)                   with a softcap; else dX = dS
//!
//! dq_i = scale·Σ_j dX_ij·k_j
//! dk_j = scale·Σ_i dX_ij·q_i              over all queries of all heads of the group
//! dv_j = Σ_i P_ij·do_i
//! ```
//!
//! The last three are sums of vectors under weights with errors (`weighted`): weight error, plus
//! γ(n) of the weight for a sum over n pairs, plus the rounding of P and dX to 16 bits. dX may be
//! rounded before or after it is multiplied by `scale`, which matters below f16's normal numbers.
//! Where a score's error is so large that P may overflow, or a number that may be rounded to 16 bits
//! may overflow there, the element is undecided: its bound is infinite.
//! Over the heads of a group the rounding terms add up linearly: equal heads make equal roundings.

use std::ops::Range;

use ndarray::{Array2, ArrayView1};

use super::Options;
use super::options::{Mask, span_of};
use super::scores::{MAX_LOG, Scoring, exponent_error};
use super::softmax::raised;
use super::spare;
use super::weighted::{
    Vectors, Weights, dot, finite_dot, line, may_overflow, product, rounding_of, rows,
};
use crate::numbers::{Bounded, DType, Precision};

/// One query head: its tensors and what the forward pass saved.
pub(crate) struct QueryHead<'a> {
    pub(crate) q: &'a Vectors,
    pub(crate) d_o: &'a Vectors,
    /// One per query.
    pub(crate) lse: Vec<f64>,
    /// D, one per query.
    pub(crate) delta: Vec<Bounded>,
}

/// One KV head and its group.
pub(crate) struct Group<'a> {
    pub(crate) heads: Vec<QueryHead<'a>>,
    pub(crate) k: &'a Vectors,
    pub(crate) v: &'a Vectors,
    pub(crate) mask: &'a dyn Mask,
    pub(crate) queries: usize,
    pub(crate) options: &'a Options,
    pub(crate) precision: Precision,
}

/// P and dX of one pair of query and key.
struct Pair {
    p: Bounded,
    dx: Bounded,
}

/// The four dot products of pairs, `a × b`.
struct Products {
    qk: Array2<f64>,
    qk_size: Array2<f64>,
    do_v: Array2<f64>,
    do_v_size: Array2<f64>,
}

impl Products {
    /// `(q, do)` of some rows against `(k, v)` of others, or the other way round.
    fn new(
        a: (&Vectors, &Vectors),
        ra: Range<usize>,
        b: (&Vectors, &Vectors),
        rb: Range<usize>,
    ) -> Self {
        let times = |x: &Array2<f64>, y: &Array2<f64>| {
            product(rows(x, ra.clone()), rows(y, rb.clone()).reversed_axes())
        };
        Self {
            qk: times(&a.0.value, &b.0.value),
            qk_size: times(&a.0.size, &b.0.size),
            do_v: times(&a.1.value, &b.1.value),
            do_v_size: times(&a.1.size, &b.1.size),
        }
    }

    /// Keeps the memory for the next tile.
    fn keep(self) {
        [self.qk, self.qk_size, self.do_v, self.do_v_size]
            .into_iter()
            .for_each(spare::keep);
    }

    /// Row `a` of each.
    fn lines(&self, a: usize) -> [&[f64]; 4] {
        [&self.qk, &self.qk_size, &self.do_v, &self.do_v_size].map(|matrix| line(matrix, a))
    }
}

/// Between these a weight is rounded to 16 bits by its unit roundoff.
#[derive(Clone, Copy)]
struct Limits {
    normal: f64,
    overflow: f64,
}

/// Numbers of the precision that every pair needs.
struct Constants {
    scoring: Scoring,
    unit: f64,
    eta: f64,
    /// γ(D + 2) and D·η.
    dot: f64,
    dot_underflow: f64,
    /// Of the type that weights may be rounded to.
    weight_unit: f64,
    weight_normal: f64,
    weight_overflow: f64,
    capped: bool,
}

impl Constants {
    /// One f32 rounding.
    fn round(&self, x: Bounded) -> Bounded {
        x.widen(self.unit * x.magnitude() + self.eta)
    }

    /// P and dX from the four dot products of a pair.
    fn pair(&self, lse: f64, delta: Bounded, [qk, qk_size, do_v, do_v_size]: [f64; 4]) -> Pair {
        if lse == f64::NEG_INFINITY {
            let zero = Bounded::exact(0.0);
            return Pair { p: zero, dx: zero };
        }
        let score = self.scoring.score_and_slope(qk, qk_size);
        let eta = match score.score.value {
            // Its weight is zero in any arithmetic.
            f64::NEG_INFINITY => score.score.bound,
            _ => exponent_error(score.score, lse, self.unit),
        };
        let log_weight = score.score.value - lse;
        let unknown_score = !score.score.value.is_nan() && eta == f64::INFINITY;
        if unknown_score || score.score.value.is_finite() && log_weight + eta >= MAX_LOG {
            let unknown = Bounded::new(0.0, f64::INFINITY);
            return Pair {
                p: unknown,
                dx: unknown,
            };
        }
        let weight = log_weight.exp();
        let p = Bounded::new(weight, raised(log_weight, eta) + self.eta);
        let dp = Bounded::new(do_v, self.dot * do_v_size + self.dot_underflow);
        let ds = self.round(p * self.round(dp - delta));
        let dx = if self.capped {
            self.round(ds * score.slope)
        } else {
            ds
        };
        Pair { p, dx }
    }

    /// The 16-bit range, for a weight that may be multiplied by `scale` before it is rounded.
    fn limits(&self, scale: f64) -> Limits {
        Limits {
            normal: self.weight_normal * (1.0 / scale).max(1.0),
            overflow: self.weight_overflow / scale.max(1.0),
        }
    }

    /// Weight, its error in a sum with this γ, and its rounding to 16 bits.
    fn weigh(&self, x: Bounded, gamma: f64, limits: Limits) -> [f64; 3] {
        let size = x.magnitude();
        let rounding = if size >= limits.overflow {
            f64::INFINITY
        } else {
            self.weight_unit * size.max(limits.normal)
        };
        [x.value, x.bound + gamma * size + self.eta, rounding]
    }
}

impl Group<'_> {
    fn constants(&self) -> Constants {
        let (p, d) = (self.precision, self.k.value.ncols());
        Constants {
            scoring: Scoring::new(self.options, d, p),
            unit: p.unit(),
            eta: p.underflow(),
            dot: p.gamma(d + 2),
            dot_underflow: d as f64 * p.underflow(),
            weight_unit: p.weights.unit_roundoff(),
            weight_normal: p.weights.smallest_normal(),
            weight_overflow: p.weights.overflow_threshold(),
            capped: self.options.softcap.is_some(),
        }
    }

    fn rounded(&self) -> bool {
        self.precision.weights != DType::F32
    }

    fn scale(&self) -> f64 {
        f64::from(self.options.scale).abs()
    }

    fn finish_scaled(&self, value: f64, bound: f64) -> Bounded {
        if !value.is_finite() {
            return Bounded::exact(value);
        }
        let p = self.precision;
        let sum = decided(value, bound);
        if sum.bound.is_infinite() {
            // Also under a scale of 0: ∞·0 is NaN.
            return sum;
        }
        p.store(p.round(sum.scale(f64::from(self.options.scale))))
    }

    fn finish(&self, value: f64, bound: f64) -> Bounded {
        if !value.is_finite() {
            return Bounded::exact(value);
        }
        self.precision.store(decided(value, bound))
    }

    /// dq of a tile of queries of one head, `rows × D`. Needs finite inputs.
    pub(crate) fn dq_tiled(&self, head: &QueryHead<'_>, tile: Range<usize>) -> Vec<Bounded> {
        let ranges: Vec<_> = tile.clone().map(|i| self.mask.ranges(i)).collect();
        let span = span_of(&ranges);
        let (queries, keys) = ((head.q, head.d_o), (self.k, self.v));
        let dots = Products::new(queries, tile.clone(), keys, span.clone());
        let c = self.constants();
        let scale = c.limits(self.scale());
        let mut dx = Weights::zeros(tile.len(), span.len(), self.rounded());
        for (a, (i, ranges)) in tile.clone().zip(&ranges).enumerate() {
            let gamma = self.precision.gamma(ranges.iter().map(Range::len).sum());
            let [qk, qk_size, do_v, do_v_size] = dots.lines(a);
            let mut to = dx.row_mut(a);
            for b in ranges
                .iter()
                .flat_map(|r| r.start - span.start..r.end - span.start)
            {
                let dots = [qk[b], qk_size[b], do_v[b], do_v_size[b]];
                let pair = c.pair(head.lse[i], head.delta[i], dots);
                to.set(b, c.weigh(pair.dx, gamma, scale));
            }
        }
        let (value, bound) = dx.sum(self.k, span.start, self.precision.weights);
        dots.keep();
        dx.keep();
        let both = value.iter().zip(&bound);
        both.map(|(&x, &e)| self.finish_scaled(x, e)).collect()
    }

    /// dk and dv of a tile of keys, `keys × D` each. Needs finite inputs.
    pub(crate) fn dkv_tiled(&self, tile: Range<usize>) -> (Vec<Bounded>, Vec<Bounded>) {
        let in_tile = |i: usize| {
            let ranges = self.mask.ranges(i).into_iter();
            let cut = |r: Range<usize>| r.start.max(tile.start)..r.end.min(tile.end);
            ranges
                .map(cut)
                .filter(|r| !r.is_empty())
                .collect::<Vec<_>>()
        };
        let seen: Vec<Vec<Range<usize>>> = (0..self.queries).map(in_tile).collect();
        let first = seen
            .iter()
            .position(|ranges| !ranges.is_empty())
            .unwrap_or(0);
        let end = seen
            .iter()
            .rposition(|ranges| !ranges.is_empty())
            .map_or(first, |i| i + 1);
        let queries = first..end;
        // `sees[a·queries + b]`: whether query b sees key a.
        let mut sees = vec![false; tile.len() * queries.len()];
        for (b, i) in queries.clone().enumerate() {
            for j in seen[i].iter().cloned().flatten() {
                sees[(j - tile.start) * queries.len() + b] = true;
            }
        }
        let c = self.constants();
        let (scale, one) = (c.limits(self.scale()), c.limits(1.0));
        let shape = (tile.len(), self.k.value.ncols());
        let mut totals = [(); 4].map(|()| Array2::<f64>::zeros(shape));
        for head in &self.heads {
            let (keys, of_head) = ((self.k, self.v), (head.q, head.d_o));
            let dots = Products::new(keys, tile.clone(), of_head, queries.clone());
            let mut dx = Weights::zeros(tile.len(), queries.len(), self.rounded());
            let mut p = Weights::zeros(tile.len(), queries.len(), self.rounded());
            for (a, sees) in sees.chunks(queries.len().max(1)).enumerate() {
                let count = sees.iter().filter(|&&sees| sees).count();
                let gamma = self.precision.gamma(count * self.heads.len());
                let [qk, qk_size, do_v, do_v_size] = dots.lines(a);
                let (mut dx, mut p) = (dx.row_mut(a), p.row_mut(a));
                for (b, i) in queries.clone().enumerate().filter(|(b, _)| sees[*b]) {
                    let dots = [qk[b], qk_size[b], do_v[b], do_v_size[b]];
                    let pair = c.pair(head.lse[i], head.delta[i], dots);
                    dx.set(b, c.weigh(pair.dx, gamma, scale));
                    p.set(b, c.weigh(pair.p, gamma, one));
                }
            }
            let (dk, dk_bound) = dx.sum(head.q, queries.start, self.precision.weights);
            let (dv, dv_bound) = p.sum(head.d_o, queries.start, self.precision.weights);
            dots.keep();
            [dx, p].into_iter().for_each(Weights::keep);
            for (total, part) in totals.iter_mut().zip([dk, dk_bound, dv, dv_bound]) {
                *total += &part;
                spare::keep(part);
            }
        }
        let [dk, dk_bound, dv, dv_bound] = totals;
        let dk = dk
            .iter()
            .zip(&dk_bound)
            .map(|(&x, &e)| self.finish_scaled(x, e));
        let dv = dv.iter().zip(&dv_bound).map(|(&x, &e)| self.finish(x, e));
        (dk.collect(), dv.collect())
    }

    /// dq of one query, pair by pair.
    pub(crate) fn dq_plain(&self, head: &QueryHead<'_>, i: usize) -> Vec<Bounded> {
        let seen: Vec<usize> = self.mask.ranges(i).into_iter().flatten().collect();
        let (c, gamma) = (self.constants(), self.precision.gamma(seen.len()));
        let mut sum = PlainSum::new(self.k.value.ncols());
        for &j in &seen {
            let pair = c.pair(head.lse[i], head.delta[i], self.dots(head, i, j));
            let weight = c.weigh(pair.dx, gamma, c.limits(self.scale()));
            sum.add(weight, self.k.value.row(j), self.k.size.row(j));
        }
        let (value, bound) = sum.finish(self.precision);
        let both = value.into_iter().zip(bound);
        both.map(|(x, e)| self.finish_scaled(x, e)).collect()
    }

    /// dk and dv of one key, pair by pair.
    pub(crate) fn dkv_plain(&self, j: usize) -> (Vec<Bounded>, Vec<Bounded>) {
        let sees = |i: &usize| self.mask.ranges(*i).iter().any(|range| range.contains(&j));
        let seen: Vec<usize> = (0..self.queries).filter(sees).collect();
        let (c, gamma) = (
            self.constants(),
            self.precision.gamma(seen.len() * self.heads.len()),
        );
        let d = self.k.value.ncols();
        let mut totals = [(); 4].map(|()| vec![0.0; d]);
        for head in &self.heads {
            let (mut dk, mut dv) = (PlainSum::new(d), PlainSum::new(d));
            for &i in &seen {
                let pair = c.pair(head.lse[i], head.delta[i], self.dots(head, i, j));
                let dx = c.weigh(pair.dx, gamma, c.limits(self.scale()));
                dk.add(dx, head.q.value.row(i), head.q.size.row(i));
                let p = c.weigh(pair.p, gamma, c.limits(1.0));
                dv.add(p, head.d_o.value.row(i), head.d_o.size.row(i));
            }
            let (dk, dk_bound) = dk.finish(self.precision);
            let (dv, dv_bound) = dv.finish(self.precision);
            for (total, part) in totals.iter_mut().zip([dk, dk_bound, dv, dv_bound]) {
                total.iter_mut().zip(part).for_each(|(t, x)| *t += x);
            }
        }
        let [dk, dk_bound, dv, dv_bound] = totals;
        let dk = dk
            .into_iter()
            .zip(dk_bound)
            .map(|(x, e)| self.finish_scaled(x, e));
        let dv = dv.into_iter().zip(dv_bound).map(|(x, e)| self.finish(x, e));
        (dk.collect(), dv.collect())
    }

    fn dots(&self, head: &QueryHead<'_>, i: usize, j: usize) -> [f64; 4] {
        [
            dot(head.q.value.row(i), self.k.value.row(j)),
            finite_dot(head.q.size.row(i), self.k.size.row(j)),
            dot(head.d_o.value.row(i), self.v.value.row(j)),
            finite_dot(head.d_o.size.row(i), self.v.size.row(j)),
        ]
    }

    /// Whether everything the tiles multiply is a finite number.
    pub(crate) fn all_finite(&self) -> bool {
        let head_finite = |h: &QueryHead<'_>| {
            let delta = |d: &Bounded| d.value.is_finite() && d.bound.is_finite();
            h.q.all_finite()
                && h.d_o.all_finite()
                && h.delta.iter().all(delta)
                && h.lse
                    .iter()
                    .all(|&lse| lse.is_finite() || lse == f64::NEG_INFINITY)
        };
        self.k.all_finite() && self.v.all_finite() && self.heads.iter().all(head_finite)
    }
}

/// A sum that may overflow on the way is undecided, and so is one whose bound came out NaN (an
/// unknown weight times zero).
fn decided(value: f64, bound: f64) -> Bounded {
    let bound = if may_overflow(bound) {
        f64::INFINITY
    } else {
        bound
    };
    Bounded::new(value, bound)
}

/// `Σ x_j·y_j` and its bound, one term at a time.
struct PlainSum {
    value: Vec<f64>,
    bound: Vec<f64>,
    /// Per component, `(r_j, |y_j|)`.
    roundings: Vec<Vec<(f64, f64)>>,
}

impl PlainSum {
    fn new(d: usize) -> Self {
        Self {
            value: vec![0.0; d],
            bound: vec![0.0; d],
            roundings: vec![Vec::new(); d],
        }
    }

    fn add(&mut self, weight: [f64; 3], y: ArrayView1<'_, f64>, size: ArrayView1<'_, f64>) {
        let [x, error, rounding] = weight;
        for d in 0..y.len() {
            self.value[d] += x * y[d];
            self.bound[d] += error * size[d];
            self.roundings[d].push((rounding, size[d]));
        }
    }

    fn finish(mut self, precision: Precision) -> (Vec<f64>, Vec<f64>) {
        if precision.weights != DType::F32 {
            for (bound, terms) in self.bound.iter_mut().zip(&self.roundings) {
                *bound += rounding_of(terms, precision.weights);
            }
        }
        (self.value, self.bound)
    }
}
