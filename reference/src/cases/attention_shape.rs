//! Shapes and options of attention cases, and the scores that its heads are made to have.

use super::{Rng, mixed_up_to, normal};
use crate::attention::{Layout, Options, Window};
use crate::numbers::{DType, Element};

/// How sequences lie in the tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// All alike: q `[B, Hq, Nq, D]`, k and v `[B, Hkv, Nk, D]`.
    Dense {
        /// B.
        batch: usize,
        /// Nq.
        queries: usize,
        /// Nk.
        keys: usize,
    },
    /// End to end: q `[Tq, Hq, D]`, k and v `[Tk, Hkv, D]`, sequence s at `cu[s]..cu[s+1]`.
    Packed {
        /// Where the queries of each sequence start, and the end of the last.
        cu_q: Vec<i32>,
        /// The same of the keys.
        cu_k: Vec<i32>,
    },
}

/// Sizes of an attention problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub lengths: Lengths,
    /// Hq, a multiple of Hkv.
    pub query_heads: usize,
    /// Hkv.
    pub kv_heads: usize,
    /// D.
    pub head_size: usize,
}

impl Shape {
    /// Small sizes of every kind: Nq and Nk equal or not, not multiples of any tile, more queries than
    /// keys (rows that see nothing under `causal`), sequences without queries or keys.
    pub fn draw(rng: &mut Rng) -> Self {
        let kv_heads = rng.between(1, 2);
        let length = |rng: &mut Rng| rng.choose(&[1, 2, 7, 16, 17, 33, 64, 65, 97, 130]);
        let lengths = match rng.chance(0.4) {
            true => {
                let sequences = rng.between(1, 4);
                let mut cu = || {
                    let mut ends = vec![0];
                    for s in 0..sequences {
                        let length = match rng.chance(0.15) {
                            true => 0,
                            false => rng.between(1, 50) as i32,
                        };
                        ends.push(ends[s] + length);
                    }
                    ends
                };
                let (cu_q, cu_k) = (cu(), cu());
                Lengths::Packed { cu_q, cu_k }
            }
            false => {
                let keys = length(rng);
                let queries = match rng.chance(0.4) {
                    true => keys,
                    false => length(rng),
                };
                let batch = rng.between(1, 2);
                Lengths::Dense {
                    batch,
                    queries,
                    keys,
                }
            }
        };
        Self {
            lengths,
            query_heads: kv_heads * rng.between(1, 3),
            kv_heads,
            head_size: rng.choose(&[32, 32, 64, 64, 64, 96, 128, 128, 256]),
        }
    }

    /// Sequences: B, or as many as are packed.
    pub fn sequences(&self) -> usize {
        match &self.lengths {
            Lengths::Dense { batch, .. } => *batch,
            Lengths::Packed { cu_q, .. } => cu_q.len().saturating_sub(1),
        }
    }

    pub(crate) fn queries(&self) -> Layout {
        match &self.lengths {
            Lengths::Dense { batch, queries, .. } => {
                Layout::dense(*batch, self.query_heads, *queries)
            }
            Lengths::Packed { cu_q, .. } => Layout::packed(&ends(cu_q), self.query_heads),
        }
    }

    pub(crate) fn keys(&self) -> Layout {
        match &self.lengths {
            Lengths::Dense { batch, keys, .. } => Layout::dense(*batch, self.kv_heads, *keys),
            Lengths::Packed { cu_k, .. } => Layout::packed(&ends(cu_k), self.kv_heads),
        }
    }
}

fn ends(cu: &[i32]) -> Vec<usize> {
    cu.iter().map(|&end| end.max(0) as usize).collect()
}

/// Options of every kind and combination: scale, causal, window, softcap.
pub(crate) fn draw_options(rng: &mut Rng, head_size: usize) -> Options {
    let usual = 1.0 / (head_size as f32).sqrt();
    Options {
        scale: rng.choose(&[usual, usual, usual, 0.1]),
        causal: rng.chance(0.5),
        window: match rng.below(8) {
            0 => Some(Window::last(rng.between(1, 40))),
            1 => Some(Window {
                left: rng.chance(0.7).then(|| rng.below(40)),
                right: rng.chance(0.7).then(|| rng.below(40)),
                sinks: 0,
            }),
            _ => None,
        },
        softcap: rng.chance(0.25).then(|| rng.choose(&[5.0, 15.0, 50.0])),
    }
}

/// What the scores of one KV head's queries are like. Heads of one tensor differ, so that a stress
/// case cannot be recognised by its magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    /// Rows of q and k at scales and patterns of their own.
    Mixed,
    /// Standard normal.
    Normal,
    /// A maximum that climbs by 10 a key, more than 100 in any tile of 16.
    Climbing,
    /// The maximum first, then down as steeply.
    Falling,
    /// Up to ±10⁴.
    Large,
    /// Few distinct keys: exact ties of scores, of maxima too.
    Tied,
}

/// q and k of all heads.
pub(crate) fn queries_and_keys<T: Element>(
    rng: &mut Rng,
    queries: &Layout,
    keys: &Layout,
    d: usize,
    scale: f32,
) -> (Vec<T>, Vec<T>) {
    let mut q = normal::<T>(rng, queries.rows() * d, 1.0);
    let mut k = normal::<T>(rng, keys.rows() * d, 1.0);
    let group = queries.heads() / keys.heads().max(1);
    for sequence in 0..queries.sequences() {
        for kv in 0..keys.heads() {
            let heads = kv * group..(kv + 1) * group;
            let (nq, nk) = (queries.length(sequence), keys.length(sequence));
            let of_q = heads.flat_map(|head| (0..nq).map(move |i| (head, i)));
            let q_rows: Vec<usize> = of_q.map(|(h, i)| queries.row(sequence, h, i)).collect();
            let k_rows: Vec<usize> = (0..nk).map(|j| keys.row(sequence, kv, j)).collect();
            shape_scores(rng, (&mut q, &q_rows), (&mut k, &k_rows), d, scale);
        }
    }
    (q, k)
}

/// Rewrites the rows of one KV head and its queries.
fn shape_scores<T: Element>(
    rng: &mut Rng,
    (q, q_rows): (&mut [T], &[usize]),
    (k, k_rows): (&mut [T], &[usize]),
    d: usize,
    scale: f32,
) {
    let scores = rng.choose(&[
        Scores::Mixed,
        Scores::Mixed,
        Scores::Normal,
        Scores::Climbing,
        Scores::Falling,
        Scores::Large,
        Scores::Tied,
    ]);
    let row = |at: usize| at * d..(at + 1) * d;
    let enlarge = |x: &mut [T], factor: f64| {
        x.iter_mut()
            .for_each(|x| *x = T::from_f64(x.to_f64() * factor));
    };
    match scores {
        Scores::Normal => {}
        Scores::Mixed => {
            // Rows at 10³ on one side only: products of two such leave what f32 can decide.
            let (top_q, top_k) = rng.choose(&[(1e3, 1.0), (1.0, 1e3), (1.0, 1.0)]);
            for &at in q_rows {
                q[row(at)].copy_from_slice(&mixed_up_to(rng, 1, d, top_q));
            }
            for &at in k_rows {
                k[row(at)].copy_from_slice(&mixed_up_to(rng, 1, d, top_k));
            }
        }
        Scores::Climbing | Scores::Falling => {
            let q0 = 16.0;
            let step = 10.0 / (q0 * f64::from(scale));
            let limit = 0.5 * DType::F16.largest();
            for &at in q_rows {
                q[at * d] = T::from_f64(q0);
            }
            for (j, &at) in k_rows.iter().enumerate() {
                let from_low = match scores {
                    Scores::Climbing => j,
                    _ => k_rows.len() - j,
                };
                k[at * d] = T::from_f64((step * from_low as f64).clamp(-limit, limit));
            }
        }
        Scores::Large => {
            // 10⁴/√D a product of two components: sums of D of them are ±10⁴ and more.
            let factor = (1e4 / (f64::from(scale).abs() * (d as f64).sqrt())).sqrt();
            q_rows
                .iter()
                .for_each(|&at| enlarge(&mut q[row(at)], factor));
            k_rows
                .iter()
                .for_each(|&at| enlarge(&mut k[row(at)], factor));
        }
        Scores::Tied => {
            let distinct = rng.between(1, 4).min(k_rows.len());
            for &at in k_rows.iter().skip(distinct) {
                let from = k_rows[rng.below(distinct)];
                k.copy_within(row(from), at * d);
            }
        }
    }
}
