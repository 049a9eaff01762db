//! Values: tiles and plain formula against whole matrices, gradients against finite differences.

use half::{bf16, f16};
use proptest::prelude::*;
use reference::attention::{Delta, Gradients, Method, Options, Saved, backward, forward};
use reference::cases::Rng;
use reference::cases::strategy::rng;
use reference::numbers::{BoundedTensor, DType, Element, Precision};

use crate::sample::Sample;

/// Largest `|a − b|` relative to the largest `|b|`.
pub(crate) fn distance(a: impl IntoIterator<Item = f64>, b: &[f64]) -> f64 {
    let top = b
        .iter()
        .filter(|x| x.is_finite())
        .fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let apart = |x: f64, y: f64| if x == y { 0.0 } else { (x - y).abs() };
    let pairs = a.into_iter().zip(b);
    pairs.map(|(x, &y)| apart(x, y)).fold(0.0, f64::max) / top
}

fn close(got: &BoundedTensor, expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let off = distance(got.values(), expected);
    assert!(off <= 1e-12, "{what} is off by {off:e}");
}

/// Bounds of both methods are the same formula, in tiles by way of float32: never below the plain one's
/// (but for its own float64), and above it by no more than the roundings that were allowed for, of sums
/// over N keys and D components and of the formulas around them, 2⁻²³ each and fewer than 1000 here; and
/// by 0.01 where the softmax takes simpler bounds of numbers that are that near 1. Below the smallest
/// number of float32 a term may be that number.
///
/// From λ² = 70 keys on the bound of 16-bit roundings puts nearly equal weights in groups. Tiles group
/// them before they are divided, the plain formula after: two that were one group may be two, or two
/// one, which makes a factor of √2 either way.
fn same_bounds(tiled: &BoundedTensor, plain: &BoundedTensor, grouped: bool, what: &str) {
    for (i, (tiled, plain)) in tiled.items().iter().zip(plain.items()).enumerate() {
        let group = if grouped { 2f64.sqrt() } else { 1.0 };
        let low = plain.bound * (1.0 - 1e-9) / group;
        let high =
            plain.bound * (1.0 + 1000.0 * 2f64.powi(-23) + 0.01) * group + 1000.0 * 2f64.powi(-149);
        let same = tiled.bound == plain.bound || (low..=high).contains(&tiled.bound);
        assert!(same, "{what}[{i}]: {tiled:?} {plain:?}");
    }
}

/// o and lse of all heads, naively, in the order of the tensors.
fn naive_forward<T: Element>(sample: &Sample<T>) -> (Vec<f64>, Vec<f64>) {
    let (mut o, mut lse) = (Vec::new(), Vec::new());
    for b in 0..sample.batch {
        for h in 0..sample.hq {
            let out = sample.head(b, h).0.forward();
            o.extend(out.o);
            lse.extend(out.lse);
        }
    }
    (o, lse)
}

fn check_forward<T: Element>(sample: &Sample<T>) {
    let (o, lse) = naive_forward(sample);
    let precision = Precision::of(T::DTYPE);
    let tiled = forward(&sample.view(), &sample.options, precision, Method::Tiled).unwrap();
    let plain = forward(&sample.view(), &sample.options, precision, Method::Plain).unwrap();
    for (name, method) in [("tiled", &tiled), ("plain", &plain)] {
        close(&method.o, &o, &format!("{name} o"));
        close(&method.lse, &lse, &format!("{name} lse"));
    }
    let grouped = T::DTYPE != DType::F32 && sample.nk > 70;
    same_bounds(&tiled.o, &plain.o, grouped, "o");
    same_bounds(&tiled.lse, &plain.lse, false, "lse");
}

/// The oracle's gradients at the exact lse and D of the inputs.
fn gradients<T: Element>(sample: &Sample<T>, method: Method) -> Gradients {
    let (o, lse) = naive_forward(sample);
    let products: Vec<f64> = o
        .iter()
        .zip(&sample.d_o)
        .map(|(o, g)| o * g.to_f64())
        .collect();
    let delta: Vec<f64> = products
        .chunks(sample.d)
        .map(|row| row.iter().sum())
        .collect();
    let saved = Saved {
        lse: &lse,
        delta: Delta::Given(&delta),
    };
    let precision = Precision::of(T::DTYPE);
    backward(
        &sample.view(),
        saved,
        &sample.d_o,
        &sample.options,
        precision,
        method,
    )
    .unwrap()
}

fn naive_backward<T: Element>(sample: &Sample<T>) -> [Vec<f64>; 3] {
    let kv = sample.batch * sample.hkv * sample.nk * sample.d;
    let (mut dq, mut dk, mut dv) = (Vec::new(), vec![0.0; kv], vec![0.0; kv]);
    let per_head = sample.nk * sample.d;
    for b in 0..sample.batch {
        for h in 0..sample.hq {
            let (head, d_o) = sample.head(b, h);
            let g = head.backward(&d_o);
            dq.extend(g.dq);
            let at = (b * sample.hkv + h / (sample.hq / sample.hkv)) * per_head;
            for i in 0..per_head {
                dk[at + i] += g.dk[i];
                dv[at + i] += g.dv[i];
            }
        }
    }
    [dq, dk, dv]
}

fn check_backward<T: Element>(sample: &Sample<T>) {
    let tiled = gradients(sample, Method::Tiled);
    let plain = gradients(sample, Method::Plain);
    let [dq, dk, dv] = naive_backward(sample);
    for (name, a, b, naive) in [
        ("dq", &tiled.dq, &plain.dq, dq),
        ("dk", &tiled.dk, &plain.dk, dk),
        ("dv", &tiled.dv, &plain.dv, dv),
    ] {
        let plain: Vec<f64> = b.values().collect();
        close(a, &plain, name);
        let grouped = T::DTYPE != DType::F32 && sample.nk.max(sample.nq) > 70;
        same_bounds(a, b, grouped, name);
        let off = distance(plain, &naive);
        assert!(off < 1e-12, "{name} is off by {off:e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn forward_equals_whole_matrices(mut rng in rng()) {
        check_forward(&Sample::<f32>::draw(&mut rng, 40, 12, false));
        check_forward(&Sample::<f16>::draw(&mut rng, 40, 12, false));
        check_forward(&Sample::<bf16>::draw(&mut rng, 12, 40, false));
    }

    #[test]
    fn backward_equals_the_full_jacobian(mut rng in rng()) {
        check_backward(&Sample::<f32>::draw(&mut rng, 25, 10, false));
        check_backward(&Sample::<f16>::draw(&mut rng, 25, 10, false));
        check_backward(&Sample::<bf16>::draw(&mut rng, 10, 25, false));
    }
}

/// Several tiles in both directions, every one of them partial at the end.
#[test]
fn many_tiles_equal_whole_matrices() {
    let options = Options::new(0.4).causal().softcap(20.0);
    for (nq, nk) in [(130, 200), (200, 130), (65, 64)] {
        let sample =
            Sample::<f16>::with_shape(&mut Rng::new(1), [1, 4, 2, nq, nk, 7], options, false);
        check_forward(&sample);
        check_backward(&sample);
    }
}

/// The naive gradient, which the oracle is compared with above, is itself the slope of the loss:
/// every element of every input, by central differences. Step h = 10⁻⁵: the truncation error
/// h²·f‴/6 and the rounding error ε·f/h are both near 10⁻¹⁰.
#[test]
fn naive_gradients_are_slopes() {
    let mut rng = Rng::new(9);
    for _ in 0..40 {
        let sample = Sample::<f32>::draw(&mut rng, 7, 5, false);
        let (head, d_o) = sample.head(0, 0);
        let g = head.backward(&d_o);
        let h = 1e-5;
        let slope = |move_by: &dyn Fn(&mut crate::naive::Head, f64)| {
            let at = |step: f64| {
                let mut head = head.clone();
                move_by(&mut head, step);
                head.loss(&d_o)
            };
            (at(h) - at(-h)) / (2.0 * h)
        };
        let tolerance = 1e-7;
        for i in 0..head.q.len() {
            let slope = slope(&|head, step| head.q[i] += step);
            assert!(
                (slope - g.dq[i]).abs() < tolerance,
                "dq[{i}] {} {slope}",
                g.dq[i]
            );
        }
        for i in 0..head.k.len() {
            let dk = slope(&|head, step| head.k[i] += step);
            assert!((dk - g.dk[i]).abs() < tolerance, "dk[{i}] {} {dk}", g.dk[i]);
            let dv = slope(&|head, step| head.v[i] += step);
            assert!((dv - g.dv[i]).abs() < tolerance, "dv[{i}] {} {dv}", g.dv[i]);
        }
    }
}

/// The oracle's gradient against finite differences of the *oracle's own* loss would share its
/// mistakes; against the naive loss it does not. Every element, GQA and all options.
#[test]
fn gradients_are_slopes_of_the_naive_loss() {
    let mut rng = Rng::new(10);
    for _ in 0..25 {
        let sample = Sample::<f32>::draw(&mut rng, 6, 4, false);
        let g = gradients(&sample, Method::Tiled);
        let loss = |sample: &Sample<f64Like>| -> f64 { sample.loss() };
        let wide = Sample::<f64Like>::widen(&sample);
        let h = 1e-5;
        for (name, tensor, pick) in [("dq", &g.dq, 0usize), ("dk", &g.dk, 1), ("dv", &g.dv, 2)] {
            for (i, expected) in tensor.values().enumerate() {
                let at = |step: f64| {
                    let mut moved = wide.clone();
                    let target = match pick {
                        0 => &mut moved.q,
                        1 => &mut moved.k,
                        _ => &mut moved.v,
                    };
                    target[i].0 += step;
                    loss(&moved)
                };
                let slope = (at(h) - at(-h)) / (2.0 * h);
                // f32 lse and D, as above.
                let size = 1.0 + expected.abs();
                assert!(
                    (slope - expected).abs() < 3e-6 * size,
                    "{name}[{i}] {expected} {slope}"
                );
            }
        }
    }
}

/// A float64 element, so that a sample can be moved by less than an f32 step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(non_camel_case_types, reason = "stands where f32, f16 and bf16 stand")]
struct f64Like(f64);

impl Element for f64Like {
    const DTYPE: DType = DType::F32;
    fn to_f64(self) -> f64 {
        self.0
    }
    fn from_f64(x: f64) -> Self {
        Self(x)
    }
}

impl Sample<f64Like> {
    fn widen(sample: &Sample<f32>) -> Self {
        let wide = |x: &[f32]| x.iter().map(|&x| f64Like(f64::from(x))).collect();
        let Sample {
            batch,
            hq,
            hkv,
            nq,
            nk,
            d,
            options,
            ..
        } = *sample;
        Self {
            batch,
            hq,
            hkv,
            nq,
            nk,
            d,
            options,
            q: wide(&sample.q),
            k: wide(&sample.k),
            v: wide(&sample.v),
            d_o: wide(&sample.d_o),
        }
    }

    fn loss(&self) -> f64 {
        let heads = (0..self.batch).flat_map(|b| (0..self.hq).map(move |h| (b, h)));
        heads
            .map(|(b, h)| {
                let (head, d_o) = self.head(b, h);
                head.loss(&d_o)
            })
            .sum()
    }
}
