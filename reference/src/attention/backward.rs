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
use super::pairs::{Constants, Lanes, Run, Target};
use super::roundings::rounding_of;
use super::weighted::{
    Dots, Summands, Vectors, WeightRow, Weights, aligned, dot, finite_dot, line, may_overflow,
};
use crate::numbers::spare;
use crate::numbers::upward::above;
use crate::numbers::{Bounded, DType, Precision};

/// One query head: its tensors and what the forward pass saved.
pub(crate) struct QueryHead<'a> {
    pub(crate) q: &'a Vectors,
    pub(crate) d_o: &'a Vectors,
    /// One per query.
    pub(crate) lse: Vec<f64>,
    /// D, one per query.
    pub(crate) delta: Vec<f64>,
    /// The errors of D.
    pub(crate) delta_error: Vec<f32>,
}

impl QueryHead<'_> {
    fn delta(&self, i: usize) -> Bounded {
        Bounded::new(self.delta[i], f64::from(self.delta_error[i]))
    }
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

/// What the tiles of a group multiply with and sum.
pub(crate) struct Packed {
    k: Dots,
    v: Dots,
    k_sum: Summands,
    heads: Vec<PackedHead>,
    /// What each query sees.
    seen: Vec<Vec<Range<usize>>>,
}

struct PackedHead {
    q: Dots,
    d_o: Dots,
    q_sum: Summands,
    d_o_sum: Summands,
}

impl Group<'_> {
    fn constants(&self) -> Constants {
        Constants::new(self.options, self.k.value.ncols(), self.precision)
    }

    pub(crate) fn pack(&self) -> Packed {
        let sum = |vectors: &Vectors| Summands::new(vectors, self.rounded());
        let head = |head: &QueryHead<'_>| PackedHead {
            q: Dots::new(head.q),
            d_o: Dots::new(head.d_o),
            q_sum: sum(head.q),
            d_o_sum: sum(head.d_o),
        };
        Packed {
            k: Dots::new(self.k),
            v: Dots::new(self.v),
            k_sum: sum(self.k),
            heads: self.heads.iter().map(head).collect(),
            seen: (0..self.queries).map(|i| self.mask.ranges(i)).collect(),
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
    pub(crate) fn dq_tiled(
        &self,
        packed: &Packed,
        head: usize,
        tile: Range<usize>,
    ) -> Vec<Bounded> {
        let head = &self.heads[head];
        let seen = &packed.seen[tile.clone()];
        let span = aligned(span_of(seen));
        let (qk, qk_size) = packed.k.with(head.q, tile.clone(), span.clone());
        let (do_v, do_v_size) = packed.v.with(head.d_o, tile.clone(), span.clone());
        let (dots, sizes) = ([qk, do_v], [qk_size, do_v_size]);
        let c = self.constants();
        let limits = c.limits(self.scale());
        let mut dx = Weights::unset(tile.len(), span.len(), self.rounded());
        let mut lanes = Lanes::default();
        let mut of_query = [(); 2].map(|()| vec![0.0; span.len()]);
        let mut delta_error = vec![0.0; span.len()];
        let mut most = 0;
        for (a, (i, ranges)) in tile.zip(seen).enumerate() {
            let count = ranges.iter().map(Range::len).sum();
            most = most.max(count);
            let gamma = self.precision.gamma(count);
            let delta = head.delta(i);
            let [of_lse, of_delta] = &mut of_query;
            of_lse.fill(head.lse[i]);
            of_delta.fill(delta.value);
            delta_error.fill(above(delta.bound));
            let columns = || {
                let column = |r: &Range<usize>| r.start - span.start..r.end - span.start;
                ranges.iter().map(column)
            };
            clear_between(columns(), dx.row_mut(a));
            for columns in columns() {
                let [lse, delta] = of_query.each_ref().map(|of| &of[columns.clone()]);
                let run = Run {
                    dots: dots.each_ref().map(|dots| &line(dots, a)[columns.clone()]),
                    sizes: sizes
                        .each_ref()
                        .map(|sizes| &line(sizes, a)[columns.clone()]),
                    lse,
                    delta,
                    delta_error: &delta_error[columns.clone()],
                };
                let row = dx.row_mut(a).into_part(columns);
                c.weigh_run(&mut lanes, &run, gamma, &mut Target { row, limits }, None);
            }
        }
        let [value, bound] = dx.sum(&packed.k_sum, span.start, most, self.precision.weights);
        dots.into_iter().for_each(spare::keep);
        sizes.into_iter().for_each(spare::keep);
        dx.keep();
        let both = value.iter().zip(&bound);
        both.map(|(&x, &e)| self.finish_scaled(x, e)).collect()
    }

    /// dk and dv of a tile of keys, `keys × D` each. Needs finite inputs.
    pub(crate) fn dkv_tiled(&self, packed: &Packed, tile: Range<usize>) -> [Vec<Bounded>; 2] {
        let runs = runs_of(&packed.seen, tile.clone());
        let queries = aligned(span_of(&runs));
        let c = self.constants();
        let (scale, one) = (c.limits(self.scale()), c.limits(1.0));
        let shape = (tile.len(), self.k.value.ncols());
        let mut totals = [(); 4].map(|()| Array2::<f64>::zeros(shape));
        let mut lanes = Lanes::default();
        for (head, of_head) in self.heads.iter().zip(&packed.heads) {
            let (qk, qk_size) = of_head.q.with(self.k, tile.clone(), queries.clone());
            let (do_v, do_v_size) = of_head.d_o.with(self.v, tile.clone(), queries.clone());
            let (dots, sizes) = ([qk, do_v], [qk_size, do_v_size]);
            let mut dx = Weights::unset(tile.len(), queries.len(), self.rounded());
            let mut p = Weights::unset(tile.len(), queries.len(), self.rounded());
            let mut most = 0;
            for (a, runs) in runs.iter().enumerate() {
                let count: usize = runs.iter().map(Range::len).sum();
                most = most.max(count);
                let gamma = self.precision.gamma(count * self.heads.len());
                let columns = || {
                    let column = |r: &Range<usize>| r.start - queries.start..r.end - queries.start;
                    runs.iter().map(column)
                };
                clear_between(columns(), dx.row_mut(a));
                clear_between(columns(), p.row_mut(a));
                for (run, columns) in runs.iter().zip(columns()) {
                    let of_run = Run {
                        dots: dots.each_ref().map(|dots| &line(dots, a)[columns.clone()]),
                        sizes: sizes
                            .each_ref()
                            .map(|sizes| &line(sizes, a)[columns.clone()]),
                        lse: &head.lse[run.clone()],
                        delta: &head.delta[run.clone()],
                        delta_error: &head.delta_error[run.clone()],
                    };
                    let mut to_dx = Target {
                        row: dx.row_mut(a).into_part(columns.clone()),
                        limits: scale,
                    };
                    let mut to_p = Target {
                        row: p.row_mut(a).into_part(columns),
                        limits: one,
                    };
                    c.weigh_run(&mut lanes, &of_run, gamma, &mut to_dx, Some(&mut to_p));
                }
            }
            let format = self.precision.weights;
            let [dk, dk_bound] = dx.sum(&of_head.q_sum, queries.start, most, format);
            let [dv, dv_bound] = p.sum(&of_head.d_o_sum, queries.start, most, format);
            dots.into_iter().for_each(spare::keep);
            sizes.into_iter().for_each(spare::keep);
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
        [dk.collect(), dv.collect()]
    }

    /// dq of a tile, pair by pair.
    pub(crate) fn dq_plainly(&self, head: usize, tile: Range<usize>) -> Vec<Bounded> {
        let head = &self.heads[head];
        tile.flat_map(|i| self.dq_plain(head, i)).collect()
    }

    /// dk and dv of a tile, pair by pair.
    pub(crate) fn dkv_plainly(&self, tile: Range<usize>) -> [Vec<Bounded>; 2] {
        let mut both = [Vec::new(), Vec::new()];
        for j in tile {
            let (dk, dv) = self.dkv_plain(j);
            both[0].extend(dk);
            both[1].extend(dv);
        }
        both
    }

    /// dq of one query, pair by pair.
    fn dq_plain(&self, head: &QueryHead<'_>, i: usize) -> Vec<Bounded> {
        let seen: Vec<usize> = self.mask.ranges(i).into_iter().flatten().collect();
        let (c, gamma) = (self.constants(), self.precision.gamma(seen.len()));
        let mut sum = PlainSum::new(self.k.value.ncols());
        for &j in &seen {
            let pair = c.pair(head.lse[i], head.delta(i), self.dots(head, i, j));
            let weight = c.weigh(pair.dx, gamma, c.limits(self.scale()));
            sum.add(weight, self.k.value.row(j), self.k.size.row(j));
        }
        let (value, bound) = sum.finish(self.precision);
        let both = value.into_iter().zip(bound);
        both.map(|(x, e)| self.finish_scaled(x, e)).collect()
    }

    /// dk and dv of one key, pair by pair.
    fn dkv_plain(&self, j: usize) -> (Vec<Bounded>, Vec<Bounded>) {
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
                let pair = c.pair(head.lse[i], head.delta(i), self.dots(head, i, j));
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
            h.q.all_finite()
                && h.d_o.all_finite()
                && h.delta.iter().all(|x| x.is_finite())
                && h.delta_error.iter().all(|x| x.is_finite())
                && h.lse
                    .iter()
                    .all(|&lse| lse.is_finite() || lse == f64::NEG_INFINITY)
        };
        self.k.all_finite() && self.v.all_finite() && self.heads.iter().all(head_finite)
    }
}

/// Zeros before, between and behind the columns of a row that are in use.
fn clear_between(columns: impl Iterator<Item = Range<usize>>, mut row: WeightRow<'_>) {
    let mut from = 0;
    for range in columns {
        row.part(from..range.start).clear();
        from = range.end;
    }
    let end = row.value.len();
    row.part(from..end).clear();
}

/// For each key of `tile`, the runs of queries that see it, where query i sees the keys `seen[i]`.
fn runs_of(seen: &[Vec<Range<usize>>], tile: Range<usize>) -> Vec<Vec<Range<usize>>> {
    let mut runs = vec![Vec::new(); tile.len()];
    let mut since: Vec<Option<usize>> = vec![None; tile.len()];
    let (mut now, mut before) = (Vec::new(), Vec::new());
    let end = [Vec::new()];
    for (i, ranges) in seen.iter().chain(&end).enumerate() {
        let cut = |r: &Range<usize>| r.start.max(tile.start)..r.end.min(tile.end);
        now.clear();
        now.extend(ranges.iter().map(cut).filter(|r| !r.is_empty()));
        // Seldom does a query see other keys of a tile than the one before it.
        if now == before {
            continue;
        }
        for (key, since) in tile.clone().zip(&mut since) {
            match (*since, now.iter().any(|range| range.contains(&key))) {
                (None, true) => *since = Some(i),
                (Some(first), false) => {
                    runs[key - tile.start].push(first..i);
                    *since = None;
                }
                _ => {}
            }
        }
        std::mem::swap(&mut now, &mut before);
    }
    runs
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_queries_that_see_a_key() {
        let seen = [
            &[(0, 3)][..],
            &[(0, 3)],
            &[(1, 2), (4, 9)],
            &[],
            &[(2, 5)],
            &[(2, 5)],
        ]
        .map(|ranges| {
            ranges
                .iter()
                .map(|&(start, end)| start..end)
                .collect::<Vec<_>>()
        });
        let tile = 1..6;
        let runs = runs_of(&seen, tile.clone());
        for (key, runs) in tile.zip(&runs) {
            let sees = |i: &usize| seen[*i].iter().any(|range| range.contains(&key));
            let expected: Vec<usize> = (0..seen.len()).filter(sees).collect();
            let got: Vec<usize> = runs.iter().cloned().flatten().collect();
            assert_eq!(got, expected, "{key}");
            assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
