//! Bounds at the ends of the range: never NaN on finite inputs, infinite only where honest
//! arithmetic may come out with anything.

use half::{bf16, f16};
use reference::attention::{Delta, Forward, Gradients, Method, Options, Saved, backward, forward};
use reference::cases::Rng;
use reference::numbers::{Bounded, BoundedTensor, Element, Precision};

use crate::sample::Sample;

fn both<T: Element>(s: &Sample<T>, method: Method) -> (Forward, Gradients) {
    let precision = Precision::of(T::DTYPE);
    let out = forward(&s.view(), &s.options, precision, method).unwrap();
    let o: Vec<T> = out.o.values().map(T::from_f64).collect();
    let lse: Vec<f32> = out.lse.values().map(|x| x as f32).collect();
    let saved = Saved {
        lse: &lse,
        delta: Delta::From(&o),
    };
    let grad = backward(&s.view(), saved, &s.d_o, &s.options, precision, method).unwrap();
    (out, grad)
}

fn outputs((out, grad): &(Forward, Gradients)) -> [(&'static str, &BoundedTensor); 5] {
    [
        ("o", &out.o),
        ("lse", &out.lse),
        ("dq", &grad.dq),
        ("dk", &grad.dk),
        ("dv", &grad.dv),
    ]
}

/// Rows of mixed patterns; some samples also with every element at a magnitude of its own, up to
/// the ends of the type, and with absurd scales and caps.
fn extreme<T: Element>(rng: &mut Rng) -> Sample<T> {
    let mut s = Sample::<T>::draw(rng, 24, 12, true);
    let top = T::DTYPE.largest();
    let range = rng.choose(&[0.0, 0.0, 4.0, 12.0, 40.0]);
    for tensor in [&mut s.q, &mut s.k, &mut s.v, &mut s.d_o] {
        for x in tensor.iter_mut().filter(|_| range > 0.0) {
            let moved = x.to_f64() * 10f64.powf(rng.uniform(-range, range));
            *x = T::from_f64(moved.clamp(-top, top));
        }
    }
    if rng.chance(0.3) {
        s.options.scale = rng.choose(&[0.0, 1e-38, 1e-45, 1e4, 1e30, -3e38, -1e-20]);
    }
    if rng.chance(0.3) {
        s.options.softcap = Some(rng.choose(&[1e-45, 1e-30, 1e-3, 1e30, 3e38]));
    }
    s
}

fn bounds_are_numbers<T: Element>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let sample = extreme::<T>(&mut Rng::new(seed));
        for method in [Method::Tiled, Method::Plain] {
            for (name, tensor) in outputs(&both(&sample, method)) {
                for (i, item) in tensor.items().iter().enumerate() {
                    let right = item.bound >= 0.0 && !item.value.is_nan();
                    assert!(
                        right,
                        "{name}[{i}] {item:?} seed {seed} {method:?} {:?}",
                        sample.options
                    );
                }
            }
        }
    }
}

#[test]
fn no_bound_is_nan_on_finite_inputs() {
    bounds_are_numbers::<f32>(0..400);
    bounds_are_numbers::<f16>(0..400);
    bounds_are_numbers::<bf16>(0..400);
}

/// One query and one head of size 1: the scores are the keys.
fn scores(k: &[f32], v: &[f32], options: Options) -> Sample<f32> {
    let shape = [1, 1, 1, 1, k.len(), 1];
    let mut s = Sample::with_shape(&mut Rng::new(1), shape, options, false);
    (s.q, s.k, s.v) = (vec![1.0], k.to_vec(), v.to_vec());
    s.d_o = vec![1.0];
    s
}

/// The same value (up to the order of float64 sums) with a bound for at most three times the terms.
fn same_but_longer(a: Bounded, b: Bounded) {
    let near = (a.value - b.value).abs() <= 1e-14 * a.value.abs();
    let wider = 0.99 * a.bound <= b.bound && b.bound <= 3.0 * a.bound;
    assert!(near && wider, "{a:?} {b:?}");
}

/// A key whose score is −inf is no key: the same o, lse and gradients as without it, and bounds that
/// know only of a longer sum.
#[test]
fn scores_of_minus_infinity_carry_no_error() {
    let (k, v) = (
        [0.5f32, -1.0, 2.0, 1e4, 300.0],
        [3.0f32, -1.0, 7.0, 0.5, 2.0],
    );
    for keep in 1..=k.len() {
        let few = scores(&k[..keep], &v[..keep], Options::new(1.0));
        let (mut more_k, mut more_v) = (vec![f32::NEG_INFINITY], vec![9.0]);
        for at in 0..keep {
            more_k.extend([k[at], f32::NEG_INFINITY]);
            more_v.extend([v[at]; 2]);
        }
        let more = scores(&more_k, &more_v, Options::new(1.0));
        let (few, more) = (both(&few, Method::Tiled), both(&more, Method::Tiled));
        for (a, b) in [(&few.0.o, &more.0.o), (&few.0.lse, &more.0.lse)] {
            let (a, b) = (a.items()[0], b.items()[0]);
            same_but_longer(a, b);
        }
        for at in 0..keep {
            for (a, b) in [(&few.1.dk, &more.1.dk), (&few.1.dv, &more.1.dv)] {
                let (a, b) = (a.items()[at], b.items()[2 * at + 1]);
                same_but_longer(a, b);
                assert_eq!(more.1.dv.items()[2 * at].value, 0.0);
            }
        }
        // 0·(−inf): dq is NaN in any arithmetic.
        assert!(more.1.dq.items()[0].value.is_nan());
    }
    // Under a softcap an infinite product is ±c, exactly.
    let capped = scores(
        &[f32::NEG_INFINITY, f32::INFINITY, 0.0],
        &[1.0, 2.0, 4.0],
        Options::new(1.0).softcap(2.0),
    );
    let out = both(&capped, Method::Tiled).0;
    let weights = [-2.0, 2.0, 0.0].map(f64::exp);
    let expected = (weights[0] + 2.0 * weights[1] + 4.0) / (weights[0] + weights[1] + 1.0);
    let o = out.o.items()[0];
    // f64 against f64: a dozen roundings of 2⁻⁵³ of numbers below 4 stay below 1e-14. The bound is
    // that of f32 scores of size 2, tens of roundings of 2⁻²⁴: 1e-5 says that it is of use.
    assert!(
        (o.value - expected).abs() < 1e-14 && o.bound < 1e-5,
        "{o:?}"
    );
}

/// Rows at 10³ against rows at 10⁻³, scores of ±10⁴ and ±10⁶ side by side: all decided, forward and
/// backward, and so tightly that a neighbour's answer would not pass.
#[test]
fn large_and_mixed_scores_are_decided() {
    for top in [1e4f32, 1e6] {
        let k: Vec<f32> = (0..60)
            .map(|i| {
                let sign = if i % 3 == 0 { -1.0 } else { 1.0 };
                sign * [top, 1.0, 1e-3, 0.0, 1e3][i % 5] * (1.0 - i as f32 / 100.0)
            })
            .collect();
        let v: Vec<f32> = (0..60)
            .map(|i| [1e3, 1.0, -1e-3][i % 3] * (1.0 + i as f32 / 60.0))
            .collect();
        let answer = both(&scores(&k, &v, Options::new(1.0)), Method::Tiled);
        for (name, tensor) in outputs(&answer) {
            assert!(tensor.items().iter().all(|x| x.bound.is_finite()), "{name}");
        }
        let best = (0..60).max_by(|&a, &b| k[a].total_cmp(&k[b])).unwrap();
        let (o, lse) = (answer.0.o.items()[0], answer.0.lse.items()[0]);
        assert_eq!(o.value as f32, v[best]);
        // Of o 3u|lse| for merging by lse, relative; of lse 6u for the score and 7u each for s, m and lse.
        let unit = 2f64.powi(-24) * f64::from(top);
        assert!(o.bound < 4.0 * unit * o.value.abs(), "{o:?}");
        assert!(lse.bound < 28.0 * unit, "{lse:?}");
    }
}

/// Attention of one query in f32 as fast kernels do it: one tile, the maximum kept unscaled, weights
/// `2^(fma(r, c, −m·c))`.
fn fast(s: &[f32], v: &[f32]) -> (f32, f32) {
    let c = std::f32::consts::LOG2_E;
    let m = s.iter().fold(f32::NEG_INFINITY, |m, &s| m.max(s));
    let p: Vec<f32> = s.iter().map(|s| s.mul_add(c, -(m * c)).exp2()).collect();
    let l: f32 = p.iter().sum();
    let o: f32 = p.iter().zip(v).map(|(p, v)| p * v).sum();
    (o / l, m + l.ln())
}

/// Scores so large that an honest kernel comes out with NaN have an infinite bound, and so do those
/// down to a seventh of them, since not every product of `scores` is rounded by this one.
#[test]
fn bounds_are_infinite_where_honest_arithmetic_overflows() {
    let v = [1.0, 2.0];
    let (mut overflowed, mut decided) = (0, 0);
    for step in 0..4000 {
        let top = 1e6 * 10f32.powf(step as f32 / 800.0);
        let k = [top, 0.5 * top];
        let out = both(&scores(&k, &v, Options::new(1.0)), Method::Tiled).0;
        let (o, lse) = (out.o.items()[0], out.lse.items()[0]);
        let (got_o, got_lse) = fast(&k, &v);
        if o.bound.is_finite() {
            decided += 1;
            assert!(
                o.admits(got_o.into()) && lse.admits(got_lse.into()),
                "{top}"
            );
        }
        if !got_o.is_finite() {
            overflowed += 1;
            assert!(o.bound.is_infinite() && lse.bound.is_infinite(), "{top}");
        }
        // 14u·|s| = 88 is reached at 1.05·10⁸, a little before for the score's own error.
        assert!(o.bound.is_finite() || top > 1.04e8, "{top} {o:?}");
        assert!(o.bound.is_infinite() || top < 1.06e8, "{top} {o:?}");
    }
    assert!(overflowed > 100 && decided > 1000, "{overflowed} {decided}");

    // A product beyond f32 is undecided even under a softcap: inf − inf on the way.
    let shape = [1, 1, 1, 1, 1, 2];
    let options = Options::new(1.0).softcap(1.0);
    let mut s = Sample::<f32>::with_shape(&mut Rng::new(1), shape, options, false);
    (s.q, s.k) = (vec![1e30, 1e30], vec![1e30, -1e30]);
    assert!(both(&s, Method::Tiled).0.lse.items()[0].bound.is_infinite());
    s.k = vec![1e8, -1e8];
    let lse = both(&s, Method::Tiled).0.lse.items()[0];
    assert!(lse.bound < 3.0, "anything between ±c, {lse:?}");
}
