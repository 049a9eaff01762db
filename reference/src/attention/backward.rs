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
use super::weighted::{Vectors, Weights, product, rounding_of, rows};
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

    fn at(&self, a: usize, b: usize) -> [f64; 4] {
        let at = [a, b];
        [
            self.qk[at],
            self.qk_size[at],
            self.do_v[at],
            self.do_v_size[at],
        ]
    }
}

impl Group<'_> {
    fn scoring(&self) -> Scoring {
        Scoring::new(self.options, self.k.value.ncols(), self.precision)
    }

    fn rounded(&self) -> bool {
        self.precision.weights != DType::F32
    }

    fn pair(&self, scoring: &Scoring, head: &QueryHead<'_>, i: usize, dots: [f64; 4]) -> Pair {
        let p = self.precision;
        let [qk, qk_size, do_v, do_v_size] = dots;
        let lse = head.lse[i];
        if lse == f64::NEG_INFINITY {
            let zero = Bounded::exact(0.0);
            return Pair { p: zero, dx: zero };
        }
        let score = scoring.score_and_slope(qk, qk_size);
        let eta = exponent_error(score.score, lse, p.unit());
        let log_weight = score.score.value - lse;
        if score.score.value.is_finite() && log_weight + eta >= MAX_LOG {
            let unknown = Bounded::new(0.0, f64::INFINITY);
            return Pair {
                p: unknown,
                dx: unknown,
            };
        }
        let weight = log_weight.exp();
        let weight = Bounded::new(weight, weight * eta.exp_m1() + p.underflow());

        let d = self.v.value.ncols();
        let dot_error = p.gamma(d) * do_v_size + d as f64 * p.underflow();
        let dp = Bounded::new(do_v, dot_error);
        let ds = p.round(weight * p.round(dp - head.delta[i]));
        let dx = match self.options.softcap {
            None => ds,
            Some(_) => p.round(ds * score.slope),
        };
        Pair { p: weight, dx }
    }

    /// Weight, its error in a sum of `n`, and its rounding to 16 bits, which may come after a
    /// multiplication by `scale`.
    fn weigh(&self, x: Bounded, n: usize, scale: f64) -> [f64; 3] {
        let size = x.magnitude();
        let p = self.precision;
        let overflows = size * scale.max(1.0) >= p.weights.overflow_threshold();
        let normal = p.weights.smallest_normal() * (1.0 / scale).max(1.0);
        let rounding = if overflows {
            f64::INFINITY
        } else {
            p.weights.unit_roundoff() * size.max(normal)
        };
        [
            x.value,
            x.bound + p.gamma(n) * size + p.underflow(),
            rounding,
        ]
    }

    fn scale(&self) -> f64 {
        f64::from(self.options.scale).abs()
    }

    fn finish_scaled(&self, value: f64, bound: f64) -> Bounded {
        if !value.is_finite() {
            return Bounded::exact(value);
        }
        let p = self.precision;
        let scaled = decided(value, bound).scale(f64::from(self.options.scale));
        p.store(p.round(scaled))
    }

    fn finish(&self, value: f64, bound: f64) -> Bounded {
        if !value.is_finite() {
            return Bounded::exact(value);
        }
        self.precision.store(decided(value, bound))
    }

    /// dq of a tile of queries of one head, `rows × D`. Needs finite inputs.
    pub(crate) fn dq_tiled(&self, head: &QueryHead<'_>, tile: Range<usize>) -> Vec<Bounded> {
        let span = span_of(self.mask, tile.clone());
        let dots = Products::new(
            (head.q, head.d_o),
            tile.clone(),
            (self.k, self.v),
            span.clone(),
        );
        let scoring = self.scoring();
        let scale = self.scale();
        let mut dx = Weights::zeros(tile.len(), span.len(), self.rounded());
        for (a, i) in tile.clone().enumerate() {
            let seen = span.clone().filter(|&j| self.mask.sees(i, j)).count();
            for (b, j) in span.clone().enumerate() {
                if self.mask.sees(i, j) {
                    let pair = self.pair(&scoring, head, i, dots.at(a, b));
                    dx.set(a, b, self.weigh(pair.dx, seen, scale));
                }
            }
        }
        let (value, bound) = dx.sum(self.k, span.start, self.precision.weights);
        let both = value.iter().zip(&bound);
        both.map(|(&x, &e)| self.finish_scaled(x, e)).collect()
    }

    /// dk and dv of a tile of keys, `keys × D` each. Needs finite inputs.
    pub(crate) fn dkv_tiled(&self, tile: Range<usize>) -> (Vec<Bounded>, Vec<Bounded>) {
        let sees_tile = |i: usize| {
            let span = self.mask.span(i);
            span.start < tile.end && tile.start < span.end
        };
        let first = (0..self.queries).find(|&i| sees_tile(i)).unwrap_or(0);
        let end = (first..self.queries)
            .rev()
            .find(|&i| sees_tile(i))
            .map_or(first, |i| i + 1);
        let queries = first..end;
        let counts: Vec<usize> = tile
            .clone()
            .map(|j| queries.clone().filter(|&i| self.mask.sees(i, j)).count() * self.heads.len())
            .collect();
        let scoring = self.scoring();
        let scale = self.scale();
        let shape = (tile.len(), self.k.value.ncols());
        let mut totals = [(); 4].map(|()| Array2::<f64>::zeros(shape));
        for head in &self.heads {
            let dots = Products::new(
                (self.k, self.v),
                tile.clone(),
                (head.q, head.d_o),
                queries.clone(),
            );
            let mut dx = Weights::zeros(tile.len(), queries.len(), self.rounded());
            let mut p = Weights::zeros(tile.len(), queries.len(), self.rounded());
            for (a, j) in tile.clone().enumerate() {
                for (b, i) in queries.clone().enumerate() {
                    if self.mask.sees(i, j) {
                        let pair = self.pair(&scoring, head, i, dots.at(a, b));
                        dx.set(a, b, self.weigh(pair.dx, counts[a], scale));
                        p.set(a, b, self.weigh(pair.p, counts[a], 1.0));
                    }
                }
            }
            let (dk, dk_bound) = dx.sum(head.q, queries.start, self.precision.weights);
            let (dv, dv_bound) = p.sum(head.d_o, queries.start, self.precision.weights);
            for (total, part) in totals.iter_mut().zip([dk, dk_bound, dv, dv_bound]) {
                *total += &part;
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
        let seen: Vec<usize> = self
            .mask
            .span(i)
            .filter(|&j| self.mask.sees(i, j))
            .collect();
        let scoring = self.scoring();
        let mut sum = PlainSum::new(self.k.value.ncols());
        for &j in &seen {
            let pair = self.pair(&scoring, head, i, self.dots(head, i, j));
            let weight = self.weigh(pair.dx, seen.len(), self.scale());
            sum.add(weight, self.k.value.row(j), self.k.size.row(j));
        }
        let (value, bound) = sum.finish(self.precision);
        let both = value.into_iter().zip(bound);
        both.map(|(x, e)| self.finish_scaled(x, e)).collect()
    }

    /// dk and dv of one key, pair by pair.
    pub(crate) fn dkv_plain(&self, j: usize) -> (Vec<Bounded>, Vec<Bounded>) {
        let seen: Vec<usize> = (0..self.queries)
            .filter(|&i| self.mask.span(i).contains(&j) && self.mask.sees(i, j))
            .collect();
        let n = seen.len() * self.heads.len();
        let scoring = self.scoring();
        let d = self.k.value.ncols();
        let mut totals = [(); 4].map(|()| vec![0.0; d]);
        for head in &self.heads {
            let (mut dk, mut dv) = (PlainSum::new(d), PlainSum::new(d));
            for &i in &seen {
                let pair = self.pair(&scoring, head, i, self.dots(head, i, j));
                let dx = self.weigh(pair.dx, n, self.scale());
                dk.add(dx, head.q.value.row(i), head.q.size.row(i));
                let p = self.weigh(pair.p, n, 1.0);
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
        let dot = |a: &Array2<f64>, b: &Array2<f64>| {
            let (a, b) = (a.row(i), b.row(j));
            a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>()
        };
        [
            dot(&head.q.value, &self.k.value),
            dot(&head.q.size, &self.k.size),
            dot(&head.d_o.value, &self.v.value),
            dot(&head.d_o.size, &self.v.size),
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

/// A sum whose bound came out NaN (an unknown weight times zero) is unknown.
fn decided(value: f64, bound: f64) -> Bounded {
    Bounded::new(value, if bound.is_nan() { f64::INFINITY } else { bound })
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
