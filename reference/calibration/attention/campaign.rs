//! One case of the attention campaign: every honest order must pass, every mistake must not.

use half::{bf16, f16};
use reference::attention::{Delta, Forward, Gradients, Method, Saved, backward, forward};
use reference::cases::{Rng, null_margin, usual_wrong_answers};
use reference::numbers::{BoundedTensor, DType, Element, Precision};

use super::attention_backward as bwd;
use super::attention_cases::{Case, weight_types};
use super::attention_forward as fwd;
use super::orders::{Arithmetic, Exp, Order};
use super::tally::Tally;

/// Honest implementations, all orders, of one random case.
pub(crate) fn honest_case(seed: u64, tally: &mut Tally) {
    let mut rng = Rng::new(seed);
    match rng.below(3) {
        0 => honest::<f32>(&mut rng, seed, tally),
        1 => honest::<f16>(&mut rng, seed, tally),
        _ => honest::<bf16>(&mut rng, seed, tally),
    }
    tally.cases += 1;
}

/// Every mistake, on one case in which it must show.
pub(crate) fn wrong_case(seed: u64, tally: &mut Tally) {
    let mut rng = Rng::new(seed);
    match rng.below(3) {
        0 => wrong::<f32>(&mut rng, seed, tally),
        1 => wrong::<f16>(&mut rng, seed, tally),
        _ => wrong::<bf16>(&mut rng, seed, tally),
    }
    tally.cases += 1;
}

fn orders<T: Element>() -> &'static [Order] {
    match T::DTYPE {
        DType::F32 => &Order::NEAREST,
        _ => &Order::SIXTEEN_BIT,
    }
}

/// Expected outputs, and o and lse as a forward pass saves them.
struct Expected<T> {
    forward: Forward,
    gradients: Gradients,
    o: Vec<T>,
    lse: Vec<f32>,
}

fn expect<T: Element>(case: &Case<T>) -> Expected<T> {
    let precision = Precision::of(T::DTYPE);
    let batch = case.view();
    let forward =
        forward(&batch, &case.options, precision, Method::Tiled).expect("a case as drawn");
    let o: Vec<T> = forward.o.values().map(T::from_f64).collect();
    let lse: Vec<f32> = forward.lse.values().map(|x| x as f32).collect();
    let saved = Saved {
        lse: &lse,
        delta: Delta::From(&o),
    };
    let gradients = backward(
        &batch,
        saved,
        &case.d_o,
        &case.options,
        precision,
        Method::Tiled,
    )
    .expect("a case as drawn");
    Expected {
        forward,
        gradients,
        o,
        lse,
    }
}

fn arithmetic(rng: &mut Rng, order: Order) -> Arithmetic {
    Arithmetic {
        order,
        fma: rng.chance(0.5),
        rng: rng.fork(7),
    }
}

fn honest<T: Element>(rng: &mut Rng, seed: u64, tally: &mut Tally) {
    let case = Case::<T>::draw(rng);
    let expected = expect(&case);
    let exps = [Exp::Library, Exp::Approximate];
    for &order in orders::<T>() {
        let mut recipe = fwd::Recipe {
            arithmetic: arithmetic(rng, order),
            tile: rng.choose(&[1, 4, 16, 64, 1000]),
            backwards: rng.chance(0.3),
            exp: rng.choose(&exps),
            fold: rng.choose(&[
                fwd::Fold::Score,
                fwd::Fold::Query,
                fwd::Fold::Base2,
                fwd::Fold::Base2Late,
            ]),
            weights: rng.choose(&weight_types(T::DTYPE)),
            parts: rng.choose(&[1, 1, 3]),
            mistake: fwd::Mistake::None,
        };
        let out = recipe.forward(&case);
        let about = format!("seed {seed} {:?} {:?}", case.kind, order);
        let key = |output: &str| format!("{output} {} {}", T::DTYPE.name(), order_name(order));
        tally.honest(&key("o"), &about, &expected.forward.o, &out.o);
        tally.honest(&key("lse"), &about, &expected.forward.lse, &out.lse);

        let mut recipe = bwd::Recipe {
            arithmetic: arithmetic(rng, order),
            exp: rng.choose(&exps),
            weights: rng.choose(&weight_types(T::DTYPE)),
            scale_first: rng.chance(0.5),
            tile: rng.choose(&[1, 4, 16]),
            mistake: bwd::Mistake::None,
        };
        let g = recipe.backward(&case, &expected.o, &expected.lse);
        tally.honest(&key("dq"), &about, &expected.gradients.dq, &g.dq);
        tally.honest(&key("dk"), &about, &expected.gradients.dk, &g.dk);
        tally.honest(&key("dv"), &about, &expected.gradients.dv, &g.dv);
    }
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::Sequential => "sequential",
        Order::Reversed => "reversed",
        Order::Pairwise => "pairwise",
        Order::Lanes(_) => "lanes",
        Order::RandomTree => "random tree",
        Order::TensorCore(_) => "tensor core",
    }
}

fn wrong<T: Element>(rng: &mut Rng, seed: u64, tally: &mut Tally) {
    let case = Case::<T>::telling(rng);
    let expected = expect(&case);
    let about = format!("seed {seed} {} {:?}", T::DTYPE.name(), case.options);
    margins(&case, &expected, &about, tally);
    use fwd::Mistake as F;
    for mistake in [
        F::CorrectionInverted,
        F::NoCorrection,
        F::ScaleTwice,
        F::ScaleForgotten,
        F::HeadsMixed,
        F::LseBase2,
        F::TileMissing,
        F::TopLeft,
        F::RemainderMissing,
        F::PartsAveraged,
    ] {
        let mut recipe = fwd::Recipe {
            arithmetic: arithmetic(rng, Order::Sequential),
            tile: 16,
            backwards: false,
            exp: Exp::Library,
            fold: fwd::Fold::Score,
            weights: T::DTYPE,
            parts: if mistake == F::PartsAveraged { 3 } else { 1 },
            mistake,
        };
        let out = recipe.forward(&case);
        let outputs = [
            (&expected.forward.o, &out.o[..]),
            (&expected.forward.lse, &out.lse[..]),
        ];
        tally.wrong(&format!("forward {mistake:?}"), &about, &outputs);
    }
    use bwd::Mistake as B;
    for mistake in [
        B::NoDelta,
        B::DeltaPerTile,
        B::Overwritten,
        B::ScaleMissingOnDq,
        B::ScaleMissingOnDk,
        B::ScaleTwice,
        B::LseBase2,
        B::GroupNotSummed,
        B::NoCapSlope,
    ] {
        if mistake == B::NoCapSlope && case.options.softcap.is_none() {
            continue;
        }
        let mut recipe = bwd::Recipe {
            arithmetic: arithmetic(rng, Order::Sequential),
            exp: Exp::Library,
            weights: T::DTYPE,
            scale_first: false,
            tile: 16,
            mistake,
        };
        let g = recipe.backward(&case, &expected.o, &expected.lse);
        let e = &expected.gradients;
        let outputs = [(&e.dq, &g.dq[..]), (&e.dk, &g.dk[..]), (&e.dv, &g.dv[..])];
        tally.wrong(&format!("backward {mistake:?}"), &about, &outputs);
    }
}

/// The usual wrong answers for each output.
fn margins<T: Element>(case: &Case<T>, expected: &Expected<T>, about: &str, tally: &mut Tally) {
    let e = &expected.gradients;
    let outputs: [(&'static str, &BoundedTensor, DType, &[T]); 5] = [
        ("o", &expected.forward.o, T::DTYPE, &case.v),
        ("lse", &expected.forward.lse, DType::F32, &case.q),
        ("dq", &e.dq, T::DTYPE, &case.q),
        ("dk", &e.dk, T::DTYPE, &case.k),
        ("dv", &e.dv, T::DTYPE, &case.v),
    ];
    for (name, expected, dtype, input) in outputs {
        let input = input.iter().map(|x| x.to_f64());
        let wrong = usual_wrong_answers(expected, dtype, input);
        *tally
            .wrong_tried
            .entry(format!("usual, {name}"))
            .or_default() += wrong.len() as u64;
        if let Err(error) = null_margin(name, expected, &wrong) {
            tally.wrong_passed.push(format!("{error}: {about}"));
        }
    }
}
