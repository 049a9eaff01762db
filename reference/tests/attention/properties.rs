//! The properties of TASKS' attention families, on the oracle; and bad input.

use proptest::prelude::*;
use reference::View;
use reference::attention::{
    Batch, Delta, Forward, Gradients, Method, Options, Saved, Window, backward, forward,
};
use reference::cases::strategy::rng;
use reference::cases::{Rng, normal};
use reference::numbers::{BoundedTensor, DType, Precision};

use crate::sample::{Sample, draw_options, sees};

const F32: Precision = Precision {
    accumulate: reference::numbers::Accumulate::Nearest,
    weights: DType::F32,
    exponential: reference::numbers::Exponential::Approximate,
    output: DType::F32,
};

fn run(sample: &Sample<f32>) -> Forward {
    forward(&sample.view(), &sample.options, F32, Method::Tiled).unwrap()
}

/// Backward at the sample's own lse and o, rounded to f32 as a kernel would save them.
fn gradients(sample: &Sample<f32>) -> Gradients {
    let out = run(sample);
    let lse: Vec<f32> = out.lse.values().map(|x| x as f32).collect();
    let o: Vec<f32> = out.o.values().map(|x| x as f32).collect();
    let saved = Saved {
        lse: &lse,
        delta: Delta::From(&o),
    };
    backward(
        &sample.view(),
        saved,
        &sample.d_o,
        &sample.options,
        F32,
        Method::Tiled,
    )
    .unwrap()
}

fn draw(rng: &mut Rng) -> Sample<f32> {
    Sample::draw(rng, 20, 8, false)
}

fn assert_near(a: &BoundedTensor, b: &BoundedTensor, tolerance: f64) {
    for (i, (a, b)) in a.values().zip(b.values()).enumerate() {
        let near = a == b || (a - b).abs() <= tolerance * b.abs().max(1.0);
        assert!(near, "[{i}] {a} {b}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    /// o lies between the least and the largest v it sees; a constant V comes back, and no error
    /// of a score moves it: the bound is that of adding up f32 numbers and merging parts.
    #[test]
    fn o_is_a_convex_combination(mut rng in rng()) {
        let mut sample = draw(&mut rng);
        let out = run(&sample);
        let Sample { batch, hq, hkv, nq, nk, d, ref options, .. } = sample;
        for b in 0..batch {
            for h in 0..hq {
                for i in 0..nq {
                    for c in 0..d {
                        let kv = b * hkv + h / (hq / hkv);
                        let seen: Vec<f64> = (0..nk)
                            .filter(|&j| sees(options, nq, nk, i, j))
                            .map(|j| f64::from(sample.v[(kv * nk + j) * d + c]))
                            .collect();
                        let low = seen.iter().copied().reduce(f64::min).unwrap_or(0.0);
                        let high = seen.iter().copied().reduce(f64::max).unwrap_or(0.0);
                        let o = out.o.items()[((b * hq + h) * nq + i) * d + c].value;
                        prop_assert!(low - 1e-12 <= o && o <= high + 1e-12);
                    }
                }
            }
        }
        sample.v.fill(3.25);
        sample.q.iter_mut().for_each(|x| *x *= 100.0);
        let out = run(&sample);
        for (row, lse) in out.lse.values().enumerate() {
            for o in &out.o.items()[row * d..(row + 1) * d] {
                prop_assert!(o.value == 0.0 || (o.value - 3.25).abs() < 1e-12);
                // Scores in the hundreds; were their errors to count, this would be 10⁻³ and more.
                let roundings = 100.0 + if lse.is_finite() { 4.0 * lse.abs() } else { 0.0 };
                prop_assert!(o.bound < 3.25 * roundings * 2f64.powi(-24), "{:?}", o);
            }
        }
    }

    /// NaN where no query looks changes no bit of any value or gradient.
    #[test]
    fn what_is_not_seen_is_not_read(mut rng in rng()) {
        let mut sample = draw(&mut rng);
        let (out, grad) = (run(&sample), gradients(&sample));
        let Sample { nq, nk, d, ref options, .. } = sample;
        let unseen: Vec<usize> =
            (0..nk).filter(|&j| !(0..nq).any(|i| sees(options, nq, nk, i, j))).collect();
        for head in 0..sample.batch * sample.hkv {
            for &j in &unseen {
                let row = (head * nk + j) * d..(head * nk + j + 1) * d;
                sample.k[row.clone()].fill(f32::NAN);
                sample.v[row].fill(f32::NAN);
            }
        }
        let (poisoned, poisoned_grad) = (run(&sample), gradients(&sample));
        assert_near(&poisoned.o, &out.o, 1e-13);
        assert_near(&poisoned.lse, &out.lse, 1e-13);
        assert_near(&poisoned_grad.dq, &grad.dq, 1e-13);
        assert_near(&poisoned_grad.dk, &grad.dk, 1e-13);
        assert_near(&poisoned_grad.dv, &grad.dv, 1e-13);
    }

    /// Row i of a causal pass ignores everything behind it: NaN there reaches only later rows.
    #[test]
    fn causal_rows_ignore_the_future(mut rng in rng()) {
        let n = rng.between(2, 70);
        let options = Options::new(0.5).causal();
        let mut sample = Sample::<f32>::with_shape(&mut rng, [1, 2, 1, n, n, 4], options, false);
        let clean = run(&sample);
        let cut = rng.between(1, n - 1);
        sample.k[cut * 4..].fill(f32::NAN);
        sample.v[cut * 4..].fill(f32::NAN);
        let poisoned = run(&sample);
        for (row, (clean, got)) in clean.lse.values().zip(poisoned.lse.values()).enumerate() {
            let i = row % n;
            let near = (clean - got).abs() < 1e-12;
            prop_assert!(if i < cut { near } else { got.is_nan() }, "{} {}", i, got);
            for c in 0..4 {
                prop_assert_eq!(poisoned.o.items()[row * 4 + c].value.is_nan(), i >= cut);
            }
        }
    }

    /// Attention over two halves of the keys, merged by lse, is attention over all of them.
    #[test]
    fn parts_merge_by_lse(mut rng in rng()) {
        let mut sample = draw(&mut rng);
        sample.options.causal = false;
        sample.options.window = None;
        let whole = run(&sample);
        let cut = rng.below(sample.nk + 1);
        let part = |keep: std::ops::Range<usize>| {
            let mut part = sample.clone();
            let (nk, d) = (sample.nk, sample.d);
            let cut_rows = |x: &[f32]| -> Vec<f32> {
                let heads = x.chunks(nk * d);
                heads.flat_map(|head| &head[keep.start * d..keep.end * d]).copied().collect()
            };
            (part.k, part.v, part.nk) = (cut_rows(&sample.k), cut_rows(&sample.v), keep.len());
            run(&part)
        };
        let (a, b) = (part(0..cut), part(cut..sample.nk));
        for row in 0..whole.lse.len() {
            let lse = |part: &Forward| part.lse.items()[row].value;
            let top = lse(&a).max(lse(&b));
            let merged = top + ((lse(&a) - top).exp() + (lse(&b) - top).exp()).ln();
            prop_assert!((merged - lse(&whole)).abs() < 1e-11);
            for at in row * sample.d..(row + 1) * sample.d {
                let o = |part: &Forward| part.o.items()[at].value;
                let sum = (lse(&a) - merged).exp() * o(&a) + (lse(&b) - merged).exp() * o(&b);
                prop_assert!((sum - o(&whole)).abs() < 1e-11);
            }
        }
    }

    /// A direction of k orthogonal to every q moves nothing.
    #[test]
    fn directions_orthogonal_to_q_do_not_matter(mut rng in rng()) {
        let mut sample = draw(&mut rng);
        let d = sample.d;
        sample.q.chunks_mut(d).for_each(|q| q[d - 1] = 0.0);
        let before = run(&sample);
        sample.k.chunks_mut(d).for_each(|k| k[d - 1] += 1000.0);
        let after = run(&sample);
        prop_assert!(before.o.values().eq(after.o.values()));
        prop_assert!(before.lse.values().eq(after.lse.values()));
    }

    /// Heads and batch items know nothing of each other.
    #[test]
    fn heads_are_independent(mut rng in rng()) {
        let mut sample = draw(&mut rng);
        let (out, grad) = (run(&sample), gradients(&sample));
        let kept = rng.below(sample.batch * sample.hkv);
        let (kv_len, group) = (sample.nk * sample.d, sample.hq / sample.hkv);
        let q_len = group * sample.nq * sample.d;
        for other in (0..sample.batch * sample.hkv).filter(|&head| head != kept) {
            sample.k[other * kv_len..(other + 1) * kv_len].fill(f32::NAN);
            sample.q[other * q_len..(other + 1) * q_len].fill(7.0);
        }
        let (after, after_grad) = (run(&sample), gradients(&sample));
        let same = |a: &BoundedTensor, b: &BoundedTensor, len: usize| {
            let range = kept * len..(kept + 1) * len;
            a.items()[range.clone()] == b.items()[range]
        };
        prop_assert!(same(&out.o, &after.o, q_len));
        prop_assert!(same(&grad.dq, &after_grad.dq, q_len));
        prop_assert!(same(&grad.dk, &after_grad.dk, kv_len));
        prop_assert!(same(&grad.dv, &after_grad.dv, kv_len));
    }

    /// Σ_j dS_ij = 0: dq does not change when one vector is added to every k (scores of a row all
    /// move alike). Exact lse and D, in dyadic numbers so that k + c is exact.
    #[test]
    fn a_constant_added_to_every_key_leaves_dq(mut rng in rng()) {
        let mut sample = draw(&mut rng);
        sample.options.softcap = None;
        sample.k.iter_mut().for_each(|x| *x = (*x * 64.0).round() / 64.0);
        let before = exact_gradients(&sample);
        sample.k.chunks_mut(sample.d).for_each(|k| k.iter_mut().for_each(|x| *x += 2.0));
        let after = exact_gradients(&sample);
        assert_near(&after.dq, &before.dq, 1e-11);
        assert_near(&after.dv, &before.dv, 1e-11);
    }

    /// dv is linear in do, at the same P.
    #[test]
    fn dv_is_linear_in_do(mut rng in rng()) {
        let mut sample = draw(&mut rng);
        let one = gradients(&sample).dv;
        sample.d_o.iter_mut().for_each(|x| *x *= -4.0);
        for (a, b) in gradients(&sample).dv.values().zip(one.values()) {
            prop_assert!((a + 4.0 * b).abs() < 1e-12 * (1.0 + a.abs()));
        }
    }

    /// A query that sees nothing: o = 0, lse = −inf, no gradient, no NaN.
    #[test]
    fn empty_rows_are_zero(mut rng in rng()) {
        let sample = draw(&mut rng);
        let (out, grad) = (run(&sample), gradients(&sample));
        let Sample { nq, nk, d, ref options, .. } = sample;
        for row in 0..out.lse.len() {
            let i = row % nq;
            if (0..nk).any(|j| sees(options, nq, nk, i, j)) {
                continue;
            }
            prop_assert_eq!(out.lse.items()[row].value, f64::NEG_INFINITY);
            for at in row * d..(row + 1) * d {
                prop_assert_eq!(out.o.items()[at].value, 0.0);
                prop_assert_eq!(grad.dq.items()[at].value, 0.0);
            }
        }
        let all = [&grad.dq, &grad.dk, &grad.dv];
        prop_assert!(all.iter().all(|g| g.values().all(f64::is_finite)));
    }

    /// Sequences end to end are the sequences one by one, for values and gradients.
    #[test]
    fn packed_sequences_are_sequences(mut rng in rng()) {
        let (hkv, group, d) = (rng.between(1, 2), rng.between(1, 2), rng.between(1, 5));
        let hq = hkv * group;
        let options = draw_options(&mut rng, d);
        let samples: Vec<Sample<f32>> = (0..3)
            .map(|_| {
                let (nq, nk) = (rng.between(1, 9), rng.between(1, 9));
                Sample::with_shape(&mut rng, [1, hq, hkv, nq, nk, d], options, false)
            })
            .collect();
        // [H, N, D] to [N, H, D].
        let turn = |x: &[f32], heads: usize, n: usize| -> Vec<f32> {
            let row = |i: usize, h: usize| &x[(h * n + i) * d..(h * n + i + 1) * d];
            (0..n).flat_map(|i| (0..heads).flat_map(move |h| row(i, h))).copied().collect()
        };
        let (mut q, mut k, mut v, mut d_o) = (vec![], vec![], vec![], vec![]);
        let (mut cu_q, mut cu_k) = (vec![0], vec![0]);
        for s in &samples {
            q.extend(turn(&s.q, hq, s.nq));
            d_o.extend(turn(&s.d_o, hq, s.nq));
            k.extend(turn(&s.k, hkv, s.nk));
            v.extend(turn(&s.v, hkv, s.nk));
            cu_q.push(cu_q[cu_q.len() - 1] + s.nq as i32);
            cu_k.push(cu_k[cu_k.len() - 1] + s.nk as i32);
        }
        let (tq, tk) = (cu_q[3] as usize, cu_k[3] as usize);
        let batch = Batch::packed(
            View::new("q", &q, [tq, hq, d]).unwrap(),
            View::new("k", &k, [tk, hkv, d]).unwrap(),
            View::new("v", &v, [tk, hkv, d]).unwrap(),
            &cu_q,
            &cu_k,
        )
        .unwrap();
        let out = forward(&batch, &options, F32, Method::Tiled).unwrap();
        let lse: Vec<f32> = out.lse.values().map(|x| x as f32).collect();
        let o: Vec<f32> = out.o.values().map(|x| x as f32).collect();
        let saved = Saved { lse: &lse, delta: Delta::From(&o) };
        let grad = backward(&batch, saved, &d_o, &options, F32, Method::Tiled).unwrap();

        let flat = |x: &BoundedTensor| x.values().map(|x| x as f32).collect::<Vec<_>>();
        let (mut o, mut dq, mut dk) = (vec![], vec![], vec![]);
        for s in &samples {
            o.extend(turn(&flat(&run(s).o), hq, s.nq));
            let g = gradients(s);
            dq.extend(turn(&flat(&g.dq), hq, s.nq));
            dk.extend(turn(&flat(&g.dk), hkv, s.nk));
        }
        prop_assert_eq!(flat(&out.o), o);
        prop_assert_eq!(flat(&grad.dq), dq);
        prop_assert_eq!(flat(&grad.dk), dk);
    }
}

/// Backward at the exact lse and D.
fn exact_gradients(sample: &Sample<f32>) -> Gradients {
    let (mut lse, mut delta) = (Vec::new(), Vec::new());
    for b in 0..sample.batch {
        for h in 0..sample.hq {
            let (head, d_o) = sample.head(b, h);
            let out = head.forward();
            let products: Vec<f64> = out.o.iter().zip(&d_o).map(|(o, g)| o * g).collect();
            delta.extend(products.chunks(sample.d).map(|row| row.iter().sum::<f64>()));
            lse.extend(out.lse);
        }
    }
    let saved = Saved {
        lse: &lse,
        delta: Delta::Given(&delta),
    };
    backward(
        &sample.view(),
        saved,
        &sample.d_o,
        &sample.options,
        F32,
        Method::Tiled,
    )
    .unwrap()
}

#[test]
fn odd_values_follow_the_rules() {
    let options = Options::new(1.0);
    let sample = |k: [f32; 3], v: [f32; 3]| {
        let mut s = Sample::<f32>::with_shape(&mut Rng::new(1), [1, 1, 1, 1, 3, 1], options, false);
        (s.q, s.k, s.v) = (vec![1.0], k.to_vec(), v.to_vec());
        let out = run(&s);
        (out.o.items()[0].value, out.lse.items()[0].value)
    };
    let (o, lse) = sample([0.0, f32::NAN, 0.0], [1.0; 3]);
    assert!(o.is_nan() && lse.is_nan());
    let (o, lse) = sample([0.0, f32::INFINITY, 0.0], [1.0; 3]);
    assert!(o.is_nan() && lse.is_nan());
    let (o, lse) = sample([0.0, f32::NEG_INFINITY, 0.0], [1.0, 5.0, 2.0]);
    assert_eq!((o, lse), (1.5, 2f64.ln()));
    let (o, lse) = sample([f32::NEG_INFINITY; 3], [1.0; 3]);
    assert_eq!((o, lse), (0.0, f64::NEG_INFINITY));
    let (o, lse) = sample([0.0; 3], [1.0, f32::NAN, 2.0]);
    assert!(o.is_nan() && (lse - 3f64.ln()).abs() < 1e-15);
}

/// Sums that pass beyond f32 on the way have no bound; their neighbours keep theirs.
#[test]
fn overflow_on_the_way_is_undecided() {
    let options = Options::new(1.0);
    let mut s = Sample::<f32>::with_shape(&mut Rng::new(1), [1, 1, 1, 2, 4, 1], options, false);
    (s.q, s.k) = (vec![1.0, 1e30], vec![0.0, 0.0, 0.0, 1.0]);
    s.v = vec![3e38, 1.0, 3e38, 1.0];
    let out = run(&s);
    assert!(out.o.items()[0].bound.is_infinite());
    s.v = vec![1e36, 1.0, 1e36, 1.0];
    let out = run(&s);
    assert!(out.o.items()[0].bound.is_finite() && out.lse.items()[0].bound.is_finite());
    assert!(out.o.items()[1].bound.is_infinite() && out.lse.items()[1].bound.is_infinite());
}

#[test]
fn bad_input_is_an_error_that_names_the_argument() {
    let x = normal::<f32>(&mut Rng::new(1), 48, 1.0);
    let view =
        |name, shape: [usize; 4]| View::new(name, &x[..shape.iter().product()], shape).unwrap();
    let about = |q: [usize; 4], k: [usize; 4], v: [usize; 4]| {
        Batch::dense(view("q", q), view("k", k), view("v", v))
            .unwrap_err()
            .about()
    };
    assert_eq!(about([1, 2, 3, 4], [1, 2, 3, 2], [1, 2, 3, 2]), "k");
    assert_eq!(about([1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 2, 4]), "v");
    assert_eq!(about([1, 3, 2, 4], [1, 2, 3, 4], [1, 2, 3, 4]), "k");
    assert_eq!(about([1, 3, 2, 4], [1, 0, 3, 4], [1, 0, 3, 4]), "k");
    assert_eq!(about([1, 3, 0, 4], [1, 3, 3, 4], [1, 3, 3, 4]), "q");
    assert_eq!(about([1, 2, 3, 0], [1, 2, 3, 0], [1, 2, 3, 0]), "q");

    let packed = |cu_q: &[i32], cu_k: &[i32]| {
        let q = View::new("q", &x[..12], [3, 2, 2]).unwrap();
        let k = View::new("k", &x[..16], [4, 2, 2]).unwrap();
        Batch::packed(q, k, k, cu_q, cu_k)
            .map(|_| ())
            .map_err(|error| error.about())
    };
    assert_eq!(packed(&[0, 1, 3], &[0, 0, 4]), Ok(()));
    assert_eq!(packed(&[0, 1, 2], &[0, 0, 4]), Err("cu_q"));
    assert_eq!(packed(&[1, 3], &[0, 4]), Err("cu_q"));
    assert_eq!(packed(&[0, 3], &[0, 5, 4]), Err("cu_k"));
    assert_eq!(packed(&[0, 3], &[0, 1, 4]), Err("cu_k"));
    assert_eq!(packed(&[], &[]), Err("cu_q"));

    let sample = Sample::<f32>::draw(&mut Rng::new(2), 4, 4, false);
    let with = |options: Options| {
        forward(&sample.view(), &options, F32, Method::Tiled)
            .unwrap_err()
            .about()
    };
    assert_eq!(with(Options::new(f32::NAN)), "scale");
    assert_eq!(with(Options::new(1.0).softcap(0.0)), "softcap");
    let none: [f32; 0] = [];
    let rows = sample.batch * sample.hq * sample.nq;
    let lse = vec![0f32; rows];
    let refused = |lse: &[f32], delta, d_o: &[f32]| {
        let saved = Saved { lse, delta };
        let options = Options::new(1.0).window(Window::last(2));
        backward(&sample.view(), saved, d_o, &options, F32, Method::Tiled)
            .unwrap_err()
            .about()
    };
    assert_eq!(refused(&none, Delta::Given(&lse), &sample.d_o), "lse");
    assert_eq!(refused(&lse, Delta::Given(&none), &sample.d_o), "delta");
    assert_eq!(refused(&lse, Delta::From(&none), &sample.d_o), "o");
    assert_eq!(refused(&lse, Delta::Given(&lse), &none), "do");
}
