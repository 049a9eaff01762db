//! Random attention problems of every kind.

use reference::View;
use reference::attention::{Batch, Options, Window};
use reference::cases::{Rng, mixed, normal};
use reference::numbers::{DType, Element};

/// A dense problem that owns its tensors.
#[derive(Clone, Debug)]
pub(crate) struct Case<T> {
    pub(crate) kind: Kind,
    pub(crate) batch: usize,
    pub(crate) hq: usize,
    pub(crate) hkv: usize,
    pub(crate) nq: usize,
    pub(crate) nk: usize,
    pub(crate) d: usize,
    pub(crate) q: Vec<T>,
    pub(crate) k: Vec<T>,
    pub(crate) v: Vec<T>,
    pub(crate) d_o: Vec<T>,
    pub(crate) options: Options,
}

/// What the data is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Standard normal throughout.
    Normal,
    /// V and do of mixed scales and patterns, scores of normal size.
    MixedValues,
    /// Everything of mixed scales and patterns.
    MixedAll,
    /// Scores up to ±10⁴.
    LargeScores,
    /// Scores that climb by more than 100 per tile of 16 keys.
    Climbing,
    /// A few distinct keys and values: exact ties among the weights.
    Ties,
    /// All keys equal, V constant.
    Constant,
    /// V far from zero against its spread.
    OffsetValues,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Normal,
        Self::MixedValues,
        Self::MixedAll,
        Self::LargeScores,
        Self::Climbing,
        Self::Ties,
        Self::Constant,
        Self::OffsetValues,
    ];
}

impl<T: Element> Case<T> {
    /// A small case of a random kind, shape and options.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let kind = rng.choose(&Kind::ALL);
        // Long rows and wide heads cost most; one in twenty is enough of each.
        let long = |rng: &mut Rng| rng.chance(0.05);
        let d = if long(rng) {
            64
        } else {
            rng.choose(&[1, 3, 8, 16, 32])
        };
        let nk = if long(rng) {
            300
        } else {
            rng.choose(&[1, 7, 16, 33, 64, 100])
        };
        let nq = if long(rng) {
            17
        } else {
            rng.choose(&[1, 2, 5])
        };
        let hkv = rng.between(1, 2);
        let shape = [1, hkv * rng.between(1, 2), hkv, nq, nk, d];
        let options = draw_options(rng, d);
        Self::of_kind(rng, kind, shape, options)
    }

    /// A case that every mistake must show in: several heads, several tiles, scores that matter.
    pub(crate) fn telling(rng: &mut Rng) -> Self {
        let options = Options {
            scale: 0.25,
            causal: true,
            window: None,
            softcap: rng.chance(0.3).then_some(3.0),
        };
        let nq = rng.between(40, 60);
        let shape = [1, 4, 2, nq, nq + rng.between(20, 40), 16];
        Self::of_kind(rng, Kind::Normal, shape, options)
    }

    pub(crate) fn of_kind(rng: &mut Rng, kind: Kind, shape: [usize; 6], options: Options) -> Self {
        let [batch, hq, hkv, nq, nk, d] = shape;
        let (q_rows, k_rows) = (batch * hq * nq, batch * hkv * nk);
        let mut q = normal::<T>(rng, q_rows * d, 1.0);
        let mut k = normal::<T>(rng, k_rows * d, 1.0);
        let mut v = normal::<T>(rng, k_rows * d, 1.0);
        let mut d_o = normal::<T>(rng, q_rows * d, 1.0);
        let distinct = rng.between(1, 4);
        match kind {
            Kind::Normal => {}
            Kind::MixedValues => {
                v = mixed(rng, k_rows, d);
                d_o = mixed(rng, q_rows, d);
            }
            Kind::MixedAll => {
                (q, k) = (mixed(rng, q_rows, d), mixed(rng, k_rows, d));
                (v, d_o) = (mixed(rng, k_rows, d), mixed(rng, q_rows, d));
            }
            Kind::LargeScores => {
                let up = |x: &T| T::from_f64(x.to_f64() * 100.0);
                (q, k) = (q.iter().map(up).collect(), k.iter().map(up).collect());
            }
            Kind::Climbing => {
                // q·k·scale = ±10·j in the first component, noise in the others.
                q.chunks_mut(d).for_each(|q| q[0] = T::from_f64(16.0));
                let step = 10.0 / (16.0 * f64::from(options.scale));
                for (row, k) in k.chunks_mut(d).enumerate() {
                    k[0] = T::from_f64((step * (row % nk) as f64).clamp(-3e4, 3e4));
                }
            }
            Kind::Ties => {
                let repeat = |rng: &mut Rng, x: &mut Vec<T>, rows: usize| {
                    let from: Vec<usize> =
                        (0..rows).map(|_| rng.below(distinct.min(rows))).collect();
                    let row = |r: &usize| x[r * d..(r + 1) * d].to_vec();
                    *x = from.iter().flat_map(row).collect();
                };
                repeat(rng, &mut k, k_rows);
                repeat(rng, &mut v, k_rows);
            }
            Kind::Constant => {
                let (first_k, first_v) = (k[..d].to_vec(), v[..d].to_vec());
                k.chunks_mut(d)
                    .for_each(|row| row.copy_from_slice(&first_k));
                v.chunks_mut(d)
                    .for_each(|row| row.copy_from_slice(&first_v));
            }
            Kind::OffsetValues => {
                v.iter_mut()
                    .for_each(|x| *x = T::from_f64(x.to_f64() + 1000.0));
            }
        }
        Self {
            kind,
            batch,
            hq,
            hkv,
            nq,
            nk,
            d,
            q,
            k,
            v,
            d_o,
            options,
        }
    }

    pub(crate) fn view(&self) -> Batch<'_, T> {
        let tensor = |name, data, heads, rows| {
            View::new(name, data, [self.batch, heads, rows, self.d]).expect("sizes as drawn")
        };
        Batch::dense(
            tensor("q", &self.q, self.hq, self.nq),
            tensor("k", &self.k, self.hkv, self.nk),
            tensor("v", &self.v, self.hkv, self.nk),
        )
        .expect("shapes as drawn")
    }

    /// Rows of head number `head` of a tensor with `rows` per head, in f32.
    pub(crate) fn rows(&self, x: &[T], head: usize, rows: usize) -> Vec<Vec<f32>> {
        let range = head * rows * self.d..(head + 1) * rows * self.d;
        let wide = |row: &[T]| row.iter().map(|x| x.to_f64() as f32).collect();
        x[range].chunks(self.d).map(wide).collect()
    }

    /// Whether query i sees key j; `top_left` aligns wrongly.
    pub(crate) fn sees(&self, i: usize, j: usize, top_left: bool) -> bool {
        let shift = if top_left {
            0
        } else {
            self.nk as i64 - self.nq as i64
        };
        let ahead = j as i64 - (i as i64 + shift);
        if self.options.causal && ahead > 0 {
            return false;
        }
        self.options.window.is_none_or(|window| {
            let left = window.left.is_none_or(|left| -ahead <= left as i64);
            let right = window.right.is_none_or(|right| ahead <= right as i64);
            left && right || j < window.sinks
        })
    }
}

fn draw_options(rng: &mut Rng, d: usize) -> Options {
    Options {
        scale: rng.choose(&[1.0 / (d as f32).sqrt(), 1.0 / (d as f32).sqrt(), 0.5, -0.3]),
        causal: rng.chance(0.4),
        window: rng
            .chance(0.25)
            .then(|| Window::last(rng.between(1, 40)).with_sinks(rng.below(3))),
        softcap: rng.chance(0.2).then(|| rng.choose(&[1.0, 15.0, 50.0])),
    }
}

/// Types of the weights that a kernel for this input may keep.
pub(crate) fn weight_types(input: DType) -> Vec<DType> {
    match input {
        DType::F32 => vec![DType::F32],
        other => vec![DType::F32, other],
    }
}
