//! Random batches, and the heads of one as the naive formulas want them.

use reference::View;
use reference::attention::{Batch, Options, Window};
use reference::cases::{Rng, mixed, normal};
use reference::numbers::Element;

use crate::naive::Head;

/// A dense batch that owns its data.
#[derive(Clone, Debug)]
pub(crate) struct Sample<T> {
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

impl<T: Element> Sample<T> {
    /// Shapes and options from `rng`; data normal, or of mixed scales.
    pub(crate) fn draw(rng: &mut Rng, longest: usize, widest: usize, mix: bool) -> Self {
        let group = rng.between(1, 3);
        let (batch, hkv) = (rng.between(1, 2), rng.between(1, 2));
        let (nq, nk) = (rng.between(1, longest), rng.between(1, longest));
        let d = rng.between(1, widest);
        let options = draw_options(rng, d);
        Self::with_shape(rng, [batch, hkv * group, hkv, nq, nk, d], options, mix)
    }

    pub(crate) fn with_shape(
        rng: &mut Rng,
        shape: [usize; 6],
        options: Options,
        mix: bool,
    ) -> Self {
        let [batch, hq, hkv, nq, nk, d] = shape;
        let mut tensor = |rows: usize| match mix {
            true => mixed::<T>(rng, rows, d),
            false => normal::<T>(rng, rows * d, 1.0),
        };
        let (q, k) = (tensor(batch * hq * nq), tensor(batch * hkv * nk));
        let (v, d_o) = (tensor(batch * hkv * nk), tensor(batch * hq * nq));
        Self {
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
        let Self {
            batch,
            hq,
            hkv,
            nq,
            nk,
            d,
            ..
        } = *self;
        Batch::dense(
            View::new("q", &self.q, [batch, hq, nq, d]).unwrap(),
            View::new("k", &self.k, [batch, hkv, nk, d]).unwrap(),
            View::new("v", &self.v, [batch, hkv, nk, d]).unwrap(),
        )
        .unwrap()
    }

    /// Head `h` of item `b`, and its part of `d_o`.
    pub(crate) fn head(&self, b: usize, h: usize) -> (Head, Vec<f64>) {
        let Self {
            hq,
            hkv,
            nq,
            nk,
            d,
            options,
            ..
        } = *self;
        let take = |x: &[T], head: usize, rows: usize| -> Vec<f64> {
            x[head * rows * d..(head + 1) * rows * d]
                .iter()
                .map(|x| x.to_f64())
                .collect()
        };
        let kv = b * hkv + h / (hq / hkv);
        let head = Head {
            n: nq,
            m: nk,
            d,
            q: take(&self.q, b * hq + h, nq),
            k: take(&self.k, kv, nk),
            v: take(&self.v, kv, nk),
            scale: f64::from(options.scale),
            cap: options.softcap.map(f64::from),
            seen: (0..nq)
                .map(|i| (0..nk).map(|j| sees(&options, nq, nk, i, j)).collect())
                .collect(),
        };
        (head, take(&self.d_o, b * hq + h, nq))
    }
}

/// The options' rule for one pair, in words: positions are counted from the end.
pub(crate) fn sees(options: &Options, nq: usize, nk: usize, i: usize, j: usize) -> bool {
    let from_end = (nq - i) as i64 - (nk - j) as i64; // 0 on the diagonal, > 0: key is in the future
    let (future, past) = (from_end.max(0), (-from_end).max(0));
    if options.causal && future > 0 {
        return false;
    }
    options.window.is_none_or(|w| {
        let inside =
            w.left.is_none_or(|l| past <= l as i64) && w.right.is_none_or(|r| future <= r as i64);
        inside || j < w.sinks
    })
}

pub(crate) fn draw_options(rng: &mut Rng, d: usize) -> Options {
    let scale = rng.choose(&[1.0 / (d as f32).sqrt(), 1.0, 0.3, -0.5]);
    Options {
        scale,
        causal: rng.chance(0.5),
        window: match rng.below(4) {
            0 => Some(Window::last(rng.between(1, 5))),
            1 => Some(Window {
                left: rng.chance(0.5).then(|| rng.below(6)),
                right: rng.chance(0.5).then(|| rng.below(6)),
                sinks: rng.below(3),
            }),
            _ => None,
        },
        softcap: rng.chance(0.3).then(|| rng.choose(&[0.5, 5.0, 30.0])),
    }
}
