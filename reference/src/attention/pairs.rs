//! P and dX of pairs of a query and a key, as weights of the sums that are the gradients. The
//! mathematics stands in [`super::backward`].

use std::ops::Range;

use super::Options;
use super::scores::{MAX_LOG, Scores, Scoring, exponent_error};
use super::softmax::{NEAR, exp_m1_near, raised};
use super::weighted::WeightRow;
use crate::numbers::lanes::{InLanes, exp, largest, wide};
use crate::numbers::upward::{Upward, above};
use crate::numbers::{Bounded, Precision};

/// P and dX of one pair.
pub(crate) struct Pair {
    pub(crate) p: Bounded,
    pub(crate) dx: Bounded,
}

/// Between these a weight is rounded to 16 bits by its unit roundoff.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    normal: f64,
    overflow: f64,
}

/// One query with many keys, or one key with many queries.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    /// q·k and do·v.
    pub(crate) dots: [&'a [f64]; 2],
    /// Σ|q||k| and Σ|do||v|, as float32 made them.
    pub(crate) sizes: [&'a [f32]; 2],
    pub(crate) lse: &'a [f64],
    /// D and its error.
    pub(crate) delta: &'a [f64],
    pub(crate) delta_error: &'a [f32],
}

impl Run<'_> {
    fn len(&self) -> usize {
        self.lse.len()
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self {
            dots: self.dots.map(|dots| &dots[range.clone()]),
            sizes: self.sizes.map(|sizes| &sizes[range.clone()]),
            lse: &self.lse[range.clone()],
            delta: &self.delta[range.clone()],
            delta_error: &self.delta_error[range],
        }
    }
}

/// Where the weights of a run go, and how they are rounded there.
pub(crate) struct Target<'a> {
    pub(crate) row: WeightRow<'a>,
    pub(crate) limits: Limits,
}

/// Pairs that are worked on together: what they need stays in the first-level cache.
const CHUNK: usize = 256;

/// Numbers of a chunk: what float64 makes, and in float32 what bounds need of it.
pub(crate) struct Lanes {
    /// s, then s − lse, then dS.
    log: [f64; CHUNK],
    p: [f64; CHUNK],
    /// Error of s, then η.
    eta: [f32; CHUNK],
    /// Error of P.
    p_error: [f32; CHUNK],
    /// |s| + |lse|, then P.
    size: [f32; CHUNK],
    /// |dP − D|, then the error of dS.
    ds_error: [f32; CHUNK],
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            log: [0.0; CHUNK],
            p: [0.0; CHUNK],
            eta: [0.0; CHUNK],
            p_error: [0.0; CHUNK],
            size: [0.0; CHUNK],
            ds_error: [0.0; CHUNK],
        }
    }
}

/// Numbers of the precision that every pair needs.
pub(crate) struct Constants {
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
    /// γ(D + 2) of what float32 made of a size, and D·η with what it may have lost.
    singles: [f32; 2],
}

impl Constants {
    pub(crate) fn new(options: &Options, head_size: usize, p: Precision) -> Self {
        let scoring = Scoring::new(options, head_size, p);
        let dot = p.gamma(head_size + 2);
        let dot_underflow = head_size as f64 * p.underflow();
        // `size` is linear: what it makes of zero, and by how much it grows.
        let lost = scoring.size(0.0);
        let factor = scoring.size(1.0) - lost;
        Self {
            scoring,
            unit: p.unit(),
            eta: p.underflow(),
            dot,
            dot_underflow,
            singles: [above(dot * factor), above(dot_underflow + dot * lost)],
            weight_unit: p.weights.unit_roundoff(),
            weight_normal: p.weights.smallest_normal(),
            weight_overflow: p.weights.overflow_threshold(),
            capped: options.softcap.is_some(),
        }
    }

    /// One f32 rounding.
    #[inline(always)]
    fn round(&self, x: Bounded) -> Bounded {
        x.widen(self.unit * x.magnitude() + self.eta)
    }

    /// dS of a pair.
    #[inline(always)]
    fn gradient(&self, p: Bounded, delta: Bounded, do_v: f64, do_v_size: f64) -> Bounded {
        let dp = Bounded::new(do_v, self.dot * do_v_size + self.dot_underflow);
        self.round(p * self.round(dp - delta))
    }

    /// P and dX from the four dot products of a pair.
    pub(crate) fn pair(
        &self,
        lse: f64,
        delta: Bounded,
        [qk, qk_size, do_v, do_v_size]: [f64; 4],
    ) -> Pair {
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
        let ds = self.gradient(p, delta, do_v, do_v_size);
        let dx = if self.capped {
            self.round(ds * score.slope)
        } else {
            ds
        };
        Pair { p, dx }
    }

    /// The 16-bit range, for a weight that may be multiplied by `scale` before it is rounded.
    pub(crate) fn limits(&self, scale: f64) -> Limits {
        Limits {
            normal: self.weight_normal * (1.0 / scale).max(1.0),
            overflow: self.weight_overflow / scale.max(1.0),
        }
    }

    /// Weight, its error in a sum with this γ, and its rounding to 16 bits.
    #[inline(always)]
    pub(crate) fn weigh(&self, x: Bounded, gamma: f64, limits: Limits) -> [f64; 3] {
        let size = x.magnitude();
        let rounding = self.weight_unit * size.max(limits.normal);
        let rounding = if size >= limits.overflow {
            f64::INFINITY
        } else {
            rounding
        };
        [x.value, x.bound + gamma * size + self.eta, rounding]
    }

    /// The weights dX of a run of pairs and, where asked for, P.
    pub(crate) fn weigh_run(
        &self,
        lanes: &mut Lanes,
        run: &Run<'_>,
        gamma: f64,
        dx: &mut Target<'_>,
        mut p: Option<&mut Target<'_>>,
    ) {
        for start in (0..run.len()).step_by(CHUNK) {
            let chunk = start..run.len().min(start + CHUNK);
            let run = run.part(chunk.clone());
            let n = run.len();
            let near = Near {
                c: self,
                run,
                lanes,
            };
            if wide(near) {
                let weigh = |values: &[f64; CHUNK], errors: &[f32; CHUNK], to: &mut Target<'_>| {
                    wide(Weigh {
                        c: self,
                        values: &values[..n],
                        errors: &errors[..n],
                        gamma,
                        limits: to.limits,
                        row: to.row.part(chunk.clone()),
                    });
                };
                weigh(&lanes.log, &lanes.ds_error, dx);
                if let Some(p) = &mut p {
                    weigh(&lanes.p, &lanes.p_error, p);
                }
                continue;
            }
            for b in 0..n {
                let delta = Bounded::new(run.delta[b], f64::from(run.delta_error[b]));
                let [qk, do_v] = run.dots.map(|dots| dots[b]);
                let [qk_size, do_v_size] = run.sizes.map(|sizes| self.scoring.size(sizes[b]));
                let pair = self.pair(run.lse[b], delta, [qk, qk_size, do_v, do_v_size]);
                dx.row.set(start + b, self.weigh(pair.dx, gamma, dx.limits));
                if let Some(p) = &mut p {
                    p.row.set(start + b, self.weigh(pair.p, gamma, p.limits));
                }
            }
        }
    }
}

/// [`Constants::pair`] of a whole chunk, where no score is capped, large or uncertain: whether that
/// is so. Then P stands in `p`, dS in `log`, their errors in `p_error` and `ds_error`. Errors are
/// float32 from numbers no smaller than they should be ([`crate::numbers::upward`]).
struct Near<'a> {
    c: &'a Constants,
    run: Run<'a>,
    lanes: &'a mut Lanes,
}

impl InLanes for Near<'_> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        let Self { c, run, lanes } = self;
        if c.capped {
            return false;
        }
        let n = run.len();
        let (log, p) = (&mut lanes.log[..n], &mut lanes.p[..n]);
        let (eta, p_error) = (&mut lanes.eta[..n], &mut lanes.p_error[..n]);
        let (size, ds_error) = (&mut lanes.size[..n], &mut lanes.ds_error[..n]);
        let [u, tiny] = [c.unit, c.eta].map(|x| x as f32);

        log.copy_from_slice(run.dots[0]);
        eta.copy_from_slice(run.sizes[0]);
        Scores {
            scoring: &c.scoring,
            score: &mut *log,
            error: &mut *eta,
        }
        .call();
        for ((log, size), &lse) in log.iter_mut().zip(&mut *size).zip(run.lse) {
            *size = (log.abs() + lse.abs()) as f32;
            *log -= lse;
        }
        for (eta, &size) in eta.iter_mut().zip(&*size) {
            // As `exponent_error`.
            *eta += u * (7.0 * size + 6.0);
        }
        // NaN is passed over by `largest`: only an infinite lse makes one, from a query without keys.
        let known = run.lse.iter().all(|lse| lse.is_finite());
        if !(known && f64::from(largest(eta)) < NEAR && largest(log) < MAX_LOG - NEAR) {
            return false;
        }
        let [do_v, delta] = [run.dots[1], run.delta];
        for i in 0..n {
            p[i] = exp(log[i]);
            let ds = do_v[i] - delta[i];
            log[i] = p[i] * ds;
            ds_error[i] = ds.abs() as f32;
            size[i] = p[i] as f32;
        }
        let [dot, underflow] = c.singles;
        for i in 0..n {
            p_error[i] = size[i] * exp_m1_near(eta[i]) + tiny;
            // `gradient`: dP, its difference from D rounded, the product with P rounded.
            let ds = ds_error[i];
            let error = dot * run.sizes[1][i] + (underflow + run.delta_error[i]);
            let error = error + (u * (ds + error) + tiny);
            let error = size[i] * error + p_error[i] * (ds + error);
            ds_error[i] = error + (u * (size[i] * ds + error) + tiny);
        }
        true
    }
}

/// [`Constants::weigh`] of many.
struct Weigh<'a> {
    c: &'a Constants,
    values: &'a [f64],
    errors: &'a [f32],
    gamma: f64,
    limits: Limits,
    row: WeightRow<'a>,
}

impl InLanes for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (c, gamma) = (self.c, above(self.gamma));
        let [tiny, unit] = [c.eta, c.weight_unit].map(|x| x as f32);
        let normal = above(self.limits.normal);
        // Sizes may have lost their roundings.
        let overflow = (self.limits.overflow / Upward::sum(0).of(1.0)) as f32;
        self.row.value.copy_from_slice(self.values);
        let from = self.values.iter().zip(self.errors);
        for ((&x, &error), to) in from.clone().zip(self.row.error) {
            *to = error + (gamma * (x.abs() as f32 + error) + tiny);
        }
        for ((&x, &error), to) in from.zip(self.row.rounding) {
            let size = x.abs() as f32 + error;
            let rounded = unit * if size > normal { size } else { normal };
            *to = if size >= overflow {
                f32::INFINITY
            } else {
                rounded
            };
        }
    }
}
