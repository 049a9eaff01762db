//! Values, odd values and levels.

use super::cases::{Real, Step, basic, mixed, ordinary};
use crate::submission::Call;
use crate::task::common::{self, Ordinary};
use crate::task::{Budget, Check, Dims, Kind, Stop, fixed};
use half::{bf16, f16};
use reference::cases::Rng;

pub(super) fn draw(rng: &mut Rng, budget: Budget) -> Dims {
    Dims::of([
        ("B", rng.between(1, 3) as u64),
        ("K", rng.choose(&[1, 2, 3, 4, 5, budget.pick(9, 20)])),
        (
            "V",
            rng.choose(&[2, 7, 33, 100, 1300, budget.pick(257, 5000)]),
        ),
    ])
}

type Make = fn(&Dims, &mut Rng) -> Option<Call>;

pub(super) fn checks() -> Vec<Check> {
    let mut checks = common::checks(Ordinary {
        draw,
        make: ordinary,
        counted: |_, _| Dims::of([("B", 2), ("K", 4), ("V", 4096)]),
    });
    checks.push(
        Check::new(
            Kind::Values,
            "f32",
            "parents, tokens, sums and scores of a step at alpha 0",
            draw,
            |session, dims, rng| {
                let call = ordinary(dims, rng).ok_or(Stop::Unfit)?;
                session.judge(&call).map(drop)
            },
        )
        .cases(8, 24),
    );
    let level = |name, level, says, make: Make| {
        Check::judged(Kind::Level, name, says, draw, make)
            .at(level)
            .cases(3, 8)
    };
    checks.extend([
        level("f16", "16-bit", "logits in f16", |dims, rng| {
            Some(basic::<f16>(dims, rng).call())
        }),
        level("bf16", "16-bit", "logits in bf16", |dims, rng| {
            Some(basic::<bf16>(dims, rng).call())
        }),
        level(
            "alpha",
            "penalty",
            "any alpha, of either sign",
            |dims, rng| {
                let mut step = basic::<f32>(dims, rng);
                step.rules.alpha = rng.choose(&[0.6, 1.0, -0.5, 2.0]);
                Some(step.call())
            },
        ),
        level(
            "eos-set",
            "eos-set",
            "several EOS tokens, counted or not",
            |dims, rng| {
                let mut step = basic::<f32>(dims, rng);
                let vocabulary = step.vocabulary;
                step.rules.eos = (0..3).map(|_| rng.below(vocabulary) as i32).collect();
                step.rules.count_eos = rng.chance(0.5);
                Some(step.call())
            },
        ),
        level(
            "min-length",
            "min-length",
            "EOS is not allowed before a length",
            |dims, rng| {
                let mut step = basic::<f32>(dims, rng);
                step.rules.eos = vec![rng.below(step.vocabulary) as i32];
                step.rules.min_length = rng.between(3, 12);
                Some(step.call())
            },
        ),
        level(
            "everything",
            "eos-set",
            "all options at once",
            |dims, rng| Some(mixed::<f32>(dims, rng).call()),
        ),
        level(
            "everything-16-bit",
            "16-bit",
            "all options at once, in f16 and bf16, with forbidden tokens",
            |dims, rng| {
                fn spoilt<T: Real>(mut step: Step<T>, rng: &mut Rng) -> Call {
                    let odd = [f64::NAN, f64::NEG_INFINITY];
                    for logit in &mut step.logits {
                        if rng.chance(0.1) {
                            *logit = T::from_f64(rng.choose(&odd));
                        }
                    }
                    step.call()
                }
                Some(match rng.chance(0.5) {
                    true => spoilt(mixed::<f16>(dims, rng), rng),
                    false => spoilt(mixed::<bf16>(dims, rng), rng),
                })
            },
        )
        .cases(6, 16),
        level(
            "ties",
            "16-bit",
            "logits that are small integers, so that many tie, in any type",
            |dims, rng| {
                fn tied<T: Real>(mut step: Step<T>, rng: &mut Rng) -> Call {
                    for logit in &mut step.logits {
                        *logit = T::from_f64(rng.below(6) as f64 - 3.0);
                    }
                    step.call()
                }
                Some(match rng.below(3) {
                    0 => tied(basic::<f32>(dims, rng), rng),
                    1 => tied(basic::<f16>(dims, rng), rng),
                    _ => tied(basic::<bf16>(dims, rng), rng),
                })
            },
        )
        .cases(6, 16),
        Check::judged(
            Kind::Level,
            "many-beams",
            "dozens of beams of an item",
            |rng, _| {
                let beams = rng.choose(&[40, 64]);
                Dims::of([("B", 1), ("K", beams), ("V", rng.choose(&[60, 150, 700]))])
            },
            |dims, rng| {
                Some(match rng.below(3) {
                    0 => basic::<f32>(dims, rng).call(),
                    1 => basic::<f16>(dims, rng).call(),
                    _ => basic::<bf16>(dims, rng).call(),
                })
            },
        )
        .at("large")
        .cases(2, 6),
        Check::judged(
            Kind::Level,
            "k-above-v",
            "more beams than tokens",
            fixed([("B", 2), ("K", 9), ("V", 4)]),
            ordinary,
        )
        .at("large"),
        Check::judged(
            Kind::Level,
            "large-vocabulary",
            "tens of thousands of tokens",
            |rng, budget| {
                let largest = budget.pick(30_000, 150_000);
                let vocabulary = rng.between(largest * 9 / 10, largest) as u64;
                Dims::of([("B", 1), ("K", 2), ("V", vocabulary)])
            },
            |dims, rng| {
                let step = Step::<f32>::normal(rng, dims, 3.0);
                Some(step.call())
            },
        )
        .at("large")
        .cases(1, 1),
    ]);
    checks.extend(super::needles::checks());
    checks.extend(odd());
    checks
}

fn odd() -> Vec<Check> {
    vec![
        Check::judged(
            Kind::Odd,
            "nan-is-forbidden",
            "NaN logits have probability 0 and are never chosen",
            fixed([("B", 2), ("K", 3), ("V", 41)]),
            |dims, rng| {
                let mut step = Step::<f32>::normal(rng, dims, 2.0);
                for logit in &mut step.logits {
                    if rng.chance(0.3) {
                        *logit = rng.choose(&[f32::NAN, -f32::NAN]);
                    }
                }
                Some(step.call())
            },
        ),
        Check::judged(
            Kind::Odd,
            "beam-without-tokens",
            "a beam all of whose tokens are forbidden drops out, and the others go on",
            fixed([("B", 2), ("K", 3), ("V", 23)]),
            |dims, rng| {
                let mut step = Step::<f32>::normal(rng, dims, 2.0);
                for item in 0..dims.get("B") {
                    step.row(item * dims.get("K")).fill(f32::NEG_INFINITY);
                }
                (dims.get("K") > 1).then(|| step.call())
            },
        ),
        Check::new(
            Kind::Odd,
            "nothing-left",
            "an item without any continuation holds parent −1, token −1 and −inf in every rank",
            fixed([("B", 2), ("K", 3), ("V", 11)]),
            |session, dims, rng| {
                let mut step = Step::<f32>::normal(rng, dims, 2.0);
                for beam in 0..dims.get("K") {
                    step.row(beam).fill(f32::NEG_INFINITY);
                }
                session.without_margin().judge(&step.call()).map(drop)
            },
        ),
        Check::judged(
            Kind::Odd,
            "rows-that-are-not-read",
            "rows of finished and absent beams hold NaN and +inf, and change nothing",
            fixed([("B", 2), ("K", 4), ("V", 29)]),
            |dims, rng| {
                let mut step = Step::<f32>::normal(rng, dims, 2.0);
                for beam in 0..step.acc.len() {
                    match beam % dims.get("K") {
                        1 => step.finished[beam] = 1,
                        2 => step.acc[beam] = f32::NEG_INFINITY,
                        _ => continue,
                    }
                    let garbage = [f32::NAN, f32::INFINITY];
                    step.row(beam)
                        .iter_mut()
                        .for_each(|x| *x = rng.choose(&garbage));
                }
                (dims.get("K") > 2).then(|| step.call())
            },
        ),
    ]
}
