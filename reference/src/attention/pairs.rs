//! P and dX of pairs of a query and a key, as weights of the sums that are the gradients. The
//! mathematics stands in [`super::backward`].

use std::ops::Range;

use super::Options;
use super::scores::{MAX_LOG, Scores, Scoring, exponent_error};
use super::softmax::{NEAR, exp_m1_near, raised};
use super::weighted::WeightRow;
use crate::numbers::lanes::{InLanes, exp, sum, wide};
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
    /// q·k, Σ|q||k|, do·v and Σ|do||v|.
    pub(crate) dots: [&'a [f64]; 4],
    pub(crate) lse: &'a [f64],
    /// D and its error.
    pub(crate) delta: [&'a [f64]; 2],
}

impl Run<'_> {
    fn len(&self) -> usize {
        self.lse.len()
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self {
            dots: self.dots.map(|dots| &dots[range.clone()]),
            lse: &self.lse[range.clone()],
            delta: self.delta.map(|delta| &delta[range.clone()]),
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

/// Numbers of a chunk.
pub(crate) struct Lanes {
    log: [f64; CHUNK],
    eta: [f64; CHUNK],
    p: [f64; CHUNK],
    p_error: [f64; CHUNK],
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            log: [0.0; CHUNK],
            eta: [0.0; CHUNK],
            p: [0.0; CHUNK],
            p_error: [0.0; CHUNK],
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
}

impl Constants {
    pub(crate) fn new(options: &Options, head_size: usize, p: Precision) -> Self {
        Self {
            scoring: Scoring::new(options, head_size, p),
            unit: p.unit(),
            eta: p.underflow(),
            dot: p.gamma(head_size + 2),
            dot_underflow: head_size as f64 * p.underflow(),
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
                let weigh = |[values, errors]: [&[f64; CHUNK]; 2], to: &mut Target<'_>| {
                    wide(Weigh {
                        c: self,
                        from: [&values[..n], &errors[..n]],
                        gamma,
                        limits: to.limits,
                        row: to.row.part(chunk.clone()),
                    });
                };
                weigh([&lanes.log, &lanes.eta], dx);
                if let Some(p) = &mut p {
                    weigh([&lanes.p, &lanes.p_error], p);
                }
                continue;
            }
            for b in 0..n {
                let delta = Bounded::new(run.delta[0][b], run.delta[1][b]);
                let pair = self.pair(run.lse[b], delta, run.dots.map(|dots| dots[b]));
                dx.row.set(start + b, self.weigh(pair.dx, gamma, dx.limits));
                if let Some(p) = &mut p {
                    p.row.set(start + b, self.weigh(pair.p, gamma, p.limits));
                }
            }
        }
    }
}

/// [`Constants::pair`] of a whole chunk, where no score is capped, large or uncertain: whether that
/// is so. Then P stands in `p`, dS in `log` and `eta`.
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
        let [qk, qk_size, do_v, do_v_size] = run.dots;
        let (log, eta) = (&mut lanes.log[..n], &mut lanes.eta[..n]);
        let (p, p_error) = (&mut lanes.p[..n], &mut lanes.p_error[..n]);
        Scores {
            scoring: &c.scoring,
            dots: [qk, qk_size],
            to: [&mut *log, &mut *eta],
        }
        .call();
        let marks = run.lse.iter().zip(&mut *p);
        for ((log, eta), (&lse, far)) in log.iter_mut().zip(&mut *eta).zip(marks) {
            *eta = exponent_error(Bounded::new(*log, *eta), lse, c.unit);
            *log -= lse;
            // Not if either is NaN.
            let near = (*eta < NEAR) & (*log + *eta < MAX_LOG);
            *far = if near { 0.0 } else { 1.0 };
        }
        if sum(p) > 0.0 {
            return false;
        }
        let weights = p.iter_mut().zip(&mut *p_error);
        for ((log, eta), (p, error)) in log.iter().zip(&*eta).zip(weights) {
            *p = exp(*log);
            *error = *p * exp_m1_near(*eta) + c.eta;
        }
        let weights = p.iter().zip(&*p_error);
        let products = do_v.iter().zip(do_v_size);
        let deltas = run.delta[0].iter().zip(run.delta[1]);
        let out = log.iter_mut().zip(eta);
        for (((p, error), (do_v, size)), ((delta, delta_error), (ds, ds_error))) in
            weights.zip(products).zip(deltas.zip(out))
        {
            let delta = Bounded::new(*delta, *delta_error);
            let x = c.gradient(Bounded::new(*p, *error), delta, *do_v, *size);
            (*ds, *ds_error) = (x.value, x.bound);
        }
        true
    }
}

/// [`Constants::weigh`] of many.
struct Weigh<'a> {
    c: &'a Constants,
    /// Values and errors.
    from: [&'a [f64]; 2],
    gamma: f64,
    limits: Limits,
    row: WeightRow<'a>,
}

impl InLanes for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (c, gamma, limits) = (self.c, self.gamma, self.limits);
        let [values, errors] = self.from;
        self.row.value.copy_from_slice(values);
        for ((&x, &error), to) in values.iter().zip(errors).zip(self.row.error) {
            [_, *to, _] = c.weigh(Bounded::new(x, error), gamma, limits);
        }
        for ((&x, &error), to) in values.iter().zip(errors).zip(self.row.rounding) {
            [_, _, *to] = c.weigh(Bounded::new(x, error), gamma, limits);
        }
    }
}
