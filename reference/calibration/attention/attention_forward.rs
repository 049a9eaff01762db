//! Forward attention as kernels do it: tiles of keys, a running maximum, rescaling.

use reference::numbers::{DType, Element};

use super::attention_cases::Case;
use super::orders::{Arithmetic, Exp};

/// One way of computing attention in f32.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) arithmetic: Arithmetic,
    /// Keys per tile.
    pub(crate) tile: usize,
    /// Last tile first.
    pub(crate) backwards: bool,
    pub(crate) exp: Exp,
    pub(crate) fold: Fold,
    /// Weights are rounded to this before they meet v.
    pub(crate) weights: DType,
    /// Parts whose results are merged by their lse.
    pub(crate) parts: usize,
    pub(crate) mistake: Mistake,
}

/// Where the scale goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Onto each score, natural exponential.
    Score,
    /// Onto q before the product.
    Query,
    /// Onto each score together with log₂e; maximum and exponential in base 2.
    Base2,
    /// The maximum is kept unscaled: `ex2(fma(r, c, −m·c))`.
    Base2Late,
}

/// What a wrong implementation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// Correction `exp(m_new − m_old)`.
    CorrectionInverted,
    /// No correction at all.
    NoCorrection,
    ScaleTwice,
    ScaleForgotten,
    /// Head h reads KV head `h mod Hkv`.
    HeadsMixed,
    /// lse in base 2.
    LseBase2,
    /// The first tile of keys is left out.
    TileMissing,
    /// Causal aligned top-left.
    TopLeft,
    /// Keys beyond the last whole tile are left out.
    RemainderMissing,
    /// Parts are averaged instead of weighted by lse.
    PartsAveraged,
}

pub(crate) struct Output {
    pub(crate) o: Vec<f64>,
    pub(crate) lse: Vec<f64>,
}

/// What one pass over some keys leaves behind.
struct Partial {
    o: Vec<f32>,
    /// Natural.
    lse: f32,
}

impl Recipe {
    pub(crate) fn forward<T: Element>(&mut self, case: &Case<T>) -> Output {
        let mut out = Output {
            o: Vec::new(),
            lse: Vec::new(),
        };
        for b in 0..case.batch {
            for h in 0..case.hq {
                let kv = match self.mistake {
                    Mistake::HeadsMixed => h % case.hkv,
                    _ => h / (case.hq / case.hkv),
                };
                let k = case.rows(&case.k, b * case.hkv + kv, case.nk);
                let v = case.rows(&case.v, b * case.hkv + kv, case.nk);
                let q = case.rows(&case.q, b * case.hq + h, case.nq);
                for (i, q) in q.iter().enumerate() {
                    let row = self.row(case, i, q, &k, &v);
                    let unit = match self.mistake {
                        Mistake::LseBase2 => std::f32::consts::LOG2_E,
                        _ => 1.0,
                    };
                    out.o
                        .extend(row.o.iter().map(|&x| T::from_f64(x.into()).to_f64()));
                    out.lse.push((row.lse * unit).into());
                }
            }
        }
        out
    }

    fn row<T: Element>(
        &mut self,
        case: &Case<T>,
        i: usize,
        q: &[f32],
        k: &[Vec<f32>],
        v: &[Vec<f32>],
    ) -> Partial {
        let top_left = self.mistake == Mistake::TopLeft;
        let mut keys: Vec<usize> = (0..case.nk)
            .filter(|&j| case.sees(i, j, top_left))
            .collect();
        match self.mistake {
            Mistake::TileMissing if keys.len() > self.tile => drop(keys.drain(..self.tile)),
            Mistake::RemainderMissing => keys.truncate(keys.len() / self.tile * self.tile),
            _ => {}
        }
        if self.backwards {
            keys.reverse();
        }
        let per_part = keys.len().div_ceil(self.parts).max(1);
        let parts: Vec<Partial> = keys
            .chunks(per_part)
            .map(|keys| self.pass(case, q, keys, k, v))
            .collect();
        self.merge(parts, case.d)
    }

    /// One pass over some keys, tile by tile.
    fn pass<T: Element>(
        &mut self,
        case: &Case<T>,
        q: &[f32],
        keys: &[usize],
        k: &[Vec<f32>],
        v: &[Vec<f32>],
    ) -> Partial {
        let log2e = std::f32::consts::LOG2_E;
        let scale = match self.mistake {
            Mistake::ScaleTwice => case.options.scale * case.options.scale,
            Mistake::ScaleForgotten => 1.0,
            _ => case.options.scale,
        };
        // A cap acts on the scaled score, so nothing can be folded past it.
        let fold = match (case.options.softcap, self.fold) {
            (Some(_), Fold::Base2Late) => Fold::Base2,
            (_, fold) => fold,
        };
        let scaled_q: Vec<f32> = q.iter().map(|x| x * scale).collect();
        let (mut m, mut l) = (f32::NEG_INFINITY, 0.0f32);
        let mut acc = vec![0.0f32; case.d];
        for tile in keys.chunks(self.tile) {
            let scores: Vec<f32> = tile
                .iter()
                .map(|&j| {
                    let x = match fold {
                        Fold::Query => self.arithmetic.dot(0.0, &scaled_q, &k[j]),
                        _ => self.arithmetic.dot(0.0, q, &k[j]),
                    };
                    match (case.options.softcap, fold) {
                        (Some(cap), Fold::Query) => self.cap(x, cap),
                        (Some(cap), Fold::Score) => self.cap(x * scale, cap),
                        (Some(cap), _) => self.cap(x * scale, cap) * log2e,
                        (None, Fold::Query | Fold::Base2Late) => x,
                        (None, Fold::Score) => x * scale,
                        (None, Fold::Base2) => x * (scale * log2e),
                    }
                })
                .collect();
            // Unscaled scores of a negative scale have their maximum at the least of them.
            let flip = fold == Fold::Base2Late && scale < 0.0;
            let sign = if flip { -1.0 } else { 1.0 };
            let m_new = scores.iter().fold(m, |m, &s| m.max(sign * s));
            if m_new == f32::NEG_INFINITY {
                continue;
            }
            let c = scale * log2e * sign;
            let weight = |s: f32| match fold {
                Fold::Score | Fold::Query => self.exp.exp(s - m_new),
                Fold::Base2 => self.exp.exp2(s - m_new),
                Fold::Base2Late => self.exp.exp2((sign * s).mul_add(c, -(m_new * c))),
            };
            let difference = match self.mistake {
                Mistake::CorrectionInverted if m > f32::NEG_INFINITY => m_new - m,
                _ => m - m_new,
            };
            let correction = match fold {
                _ if self.mistake == Mistake::NoCorrection => 1.0,
                Fold::Score | Fold::Query => self.exp.exp(difference),
                Fold::Base2 => self.exp.exp2(difference),
                Fold::Base2Late => self.exp.exp2(difference * c),
            };
            let weights: Vec<f32> = scores.iter().map(|&s| weight(s)).collect();
            l = self.arithmetic.sum(l * correction, &weights);
            let rounded: Vec<f32> = weights
                .iter()
                .map(|&p| self.weights.round(p.into()) as f32)
                .collect();
            for (d, acc) in acc.iter_mut().enumerate() {
                let column: Vec<f32> = tile.iter().map(|&j| v[j][d]).collect();
                *acc = self.arithmetic.dot(*acc * correction, &rounded, &column);
            }
            m = m_new;
        }
        if m == f32::NEG_INFINITY {
            return Partial {
                o: acc,
                lse: f32::NEG_INFINITY,
            };
        }
        let lse = match fold {
            Fold::Score | Fold::Query => m + l.ln(),
            Fold::Base2 => (m + l.log2()) * std::f32::consts::LN_2,
            Fold::Base2Late => m * (scale * scale.signum()) + l.ln(),
        };
        let inverse = 1.0 / l;
        Partial {
            o: acc.iter().map(|x| x * inverse).collect(),
            lse,
        }
    }

    fn cap(&self, x: f32, cap: f32) -> f32 {
        match self.exp {
            Exp::Library => cap * (x / cap).tanh(),
            // 1 − 2/(e^{2t} + 1)
            Exp::Approximate => cap * (1.0 - 2.0 / (self.exp.exp(2.0 * (x / cap)) + 1.0)),
        }
    }

    /// `Σ exp(lse_i − lse)·o_i`.
    fn merge(&mut self, parts: Vec<Partial>, d: usize) -> Partial {
        let top = parts
            .iter()
            .fold(f32::NEG_INFINITY, |m, part| m.max(part.lse));
        if parts.len() == 1 || top == f32::NEG_INFINITY {
            let nothing = Partial {
                o: vec![0.0; d],
                lse: f32::NEG_INFINITY,
            };
            return parts.into_iter().next().unwrap_or(nothing);
        }
        let shares: Vec<f32> = parts
            .iter()
            .map(|part| self.exp.exp(part.lse - top))
            .collect();
        let total = self.arithmetic.sum(0.0, &shares);
        let lse = top + total.ln();
        let weights: Vec<f32> = match self.mistake {
            Mistake::PartsAveraged => vec![1.0 / parts.len() as f32; parts.len()],
            _ => parts
                .iter()
                .map(|part| self.exp.exp(part.lse - lse))
                .collect(),
        };
        let o = (0..d).map(|c| {
            let column: Vec<f32> = parts.iter().map(|part| part.o[c]).collect();
            self.arithmetic.dot(0.0, &weights, &column)
        });
        Partial {
            o: o.collect(),
            lse,
        }
    }
}
