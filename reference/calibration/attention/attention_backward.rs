//! Backward attention as kernels do it: P from the saved lse, D from the saved o, sums over tiles.

use reference::numbers::{DType, Element};

use super::attention_cases::Case;
use super::orders::{Arithmetic, Exp};

/// One way of computing the gradients in f32.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) arithmetic: Arithmetic,
    pub(crate) exp: Exp,
    /// P and dS are rounded to this before they meet q, k and do.
    pub(crate) weights: DType,
    /// dS is multiplied by the scale before it is rounded, not after the sum.
    pub(crate) scale_first: bool,
    /// Queries of one head are added up in tiles of this many, tile after tile.
    pub(crate) tile: usize,
    pub(crate) mistake: Mistake,
}

/// What a wrong implementation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// D is left out: dS = P∘dP.
    NoDelta,
    /// rowsum(P∘dP) per tile of keys instead of D.
    DeltaPerTile,
    /// dk and dv of the last tile of queries only.
    Overwritten,
    ScaleMissingOnDq,
    ScaleMissingOnDk,
    ScaleTwice,
    /// lse taken as base 2.
    LseBase2,
    /// dk and dv of the first head of each group only.
    GroupNotSummed,
    /// The derivative of the softcap is left out.
    NoCapSlope,
}

pub(crate) struct Gradients {
    pub(crate) dq: Vec<f64>,
    pub(crate) dk: Vec<f64>,
    pub(crate) dv: Vec<f64>,
}

/// P and dX of one head, `[nq][nk]`, zero where nothing is seen.
struct Matrices {
    p: Vec<Vec<f32>>,
    dx: Vec<Vec<f32>>,
}

/// Rows of one query head.
struct HeadRows<'a> {
    q: &'a [Vec<f32>],
    d_o: &'a [Vec<f32>],
    o: &'a [Vec<f32>],
    lse: &'a [f32],
}

impl Recipe {
    pub(crate) fn backward<T: Element>(
        &mut self,
        case: &Case<T>,
        o: &[T],
        lse: &[f32],
    ) -> Gradients {
        let group = case.hq / case.hkv;
        let mut g = Gradients {
            dq: Vec::new(),
            dk: Vec::new(),
            dv: Vec::new(),
        };
        let store = |x: f32| T::from_f64(x.into()).to_f64();
        for b in 0..case.batch {
            for kv in 0..case.hkv {
                let k = case.rows(&case.k, b * case.hkv + kv, case.nk);
                let v = case.rows(&case.v, b * case.hkv + kv, case.nk);
                let mut dk = vec![vec![0.0f32; case.d]; case.nk];
                let mut dv = dk.clone();
                for in_group in 0..group {
                    let head = b * case.hq + kv * group + in_group;
                    let q = case.rows(&case.q, head, case.nq);
                    let d_o = case.rows(&case.d_o, head, case.nq);
                    let o = case.rows(o, head, case.nq);
                    let lse = &lse[head * case.nq..(head + 1) * case.nq];
                    let m = self.matrices(
                        case,
                        &HeadRows {
                            q: &q,
                            d_o: &d_o,
                            o: &o,
                            lse,
                        },
                        (&k, &v),
                    );
                    g.dq.extend(self.dq(case, &m, &k).into_iter().map(store));
                    if self.mistake == Mistake::GroupNotSummed && in_group > 0 {
                        continue;
                    }
                    self.add_columns(case, &m.dx, &q, &mut dk);
                    self.add_columns(case, &m.p, &d_o, &mut dv);
                }
                let after = match (self.scale_first, self.mistake) {
                    (true, _) | (_, Mistake::ScaleMissingOnDk) => 1.0,
                    (false, Mistake::ScaleTwice) => case.options.scale * case.options.scale,
                    (false, _) => case.options.scale,
                };
                g.dk.extend(dk.iter().flatten().map(|&x| store(x * after)));
                g.dv.extend(dv.iter().flatten().map(|&x| store(x)));
            }
        }
        g
    }

    fn matrices<T: Element>(
        &mut self,
        case: &Case<T>,
        head: &HeadRows<'_>,
        (k, v): (&[Vec<f32>], &[Vec<f32>]),
    ) -> Matrices {
        let HeadRows { q, d_o, o, lse } = head;
        let scale = case.options.scale;
        let zero = || vec![vec![0.0f32; case.nk]; case.nq];
        let (mut p, mut dx) = (zero(), zero());
        let round = |x: f32| self.weights.round(x.into()) as f32;
        for i in 0..case.nq {
            let delta = self.arithmetic.dot(0.0, &d_o[i], &o[i]);
            let seen: Vec<usize> = (0..case.nk).filter(|&j| case.sees(i, j, false)).collect();
            let mut pairs = Vec::new();
            for &j in &seen {
                let x = self.arithmetic.dot(0.0, &q[i], &k[j]) * scale;
                let (s, slope) = match case.options.softcap {
                    None => (x, 1.0),
                    Some(cap) => {
                        let t = (x / cap).tanh();
                        (cap * t, 1.0 - t * t)
                    }
                };
                let lse = match self.mistake {
                    Mistake::LseBase2 => lse[i] / std::f32::consts::LOG2_E,
                    _ => lse[i],
                };
                let weight = match self.exp {
                    Exp::Library => (s - lse).exp(),
                    Exp::Approximate => {
                        let c = std::f32::consts::LOG2_E;
                        self.exp.exp2(s.mul_add(c, -(lse * c)))
                    }
                };
                let dp = self.arithmetic.dot(0.0, &d_o[i], &v[j]);
                pairs.push((j, weight, dp, slope));
            }
            for tile in pairs.chunks(self.tile) {
                let delta = match self.mistake {
                    Mistake::NoDelta => 0.0,
                    Mistake::DeltaPerTile => tile.iter().map(|&(_, p, dp, _)| p * dp).sum(),
                    _ => delta,
                };
                for &(j, weight, dp, slope) in tile {
                    let slope = match self.mistake {
                        Mistake::NoCapSlope => 1.0,
                        _ => slope,
                    };
                    let before = if self.scale_first { scale } else { 1.0 };
                    p[i][j] = round(weight);
                    dx[i][j] = round(weight * (dp - delta) * slope * before);
                }
            }
        }
        Matrices { p, dx }
    }

    fn dq<T: Element>(&mut self, case: &Case<T>, m: &Matrices, k: &[Vec<f32>]) -> Vec<f32> {
        let after = match (self.scale_first, self.mistake) {
            (true, _) | (_, Mistake::ScaleMissingOnDq) => 1.0,
            (false, Mistake::ScaleTwice) => case.options.scale * case.options.scale,
            (false, _) => case.options.scale,
        };
        let mut out = Vec::with_capacity(case.nq * case.d);
        for row in &m.dx {
            for d in 0..case.d {
                let column: Vec<f32> = k.iter().map(|k| k[d]).collect();
                out.push(self.arithmetic.dot(0.0, row, &column) * after);
            }
        }
        out
    }

    /// `to_j += Σ_i x_ij·y_i`, a tile of queries at a time.
    fn add_columns<T: Element>(
        &mut self,
        case: &Case<T>,
        x: &[Vec<f32>],
        y: &[Vec<f32>],
        to: &mut [Vec<f32>],
    ) {
        for (j, to) in to.iter_mut().enumerate() {
            for (d, to) in to.iter_mut().enumerate() {
                for tile in (0..case.nq).step_by(self.tile) {
                    let rows = tile..(tile + self.tile).min(case.nq);
                    let weights: Vec<f32> = rows.clone().map(|i| x[i][j]).collect();
                    let column: Vec<f32> = rows.map(|i| y[i][d]).collect();
                    let start = match self.mistake {
                        Mistake::Overwritten => 0.0,
                        _ => *to,
                    };
                    *to = self.arithmetic.dot(start, &weights, &column);
                }
            }
        }
    }
}
