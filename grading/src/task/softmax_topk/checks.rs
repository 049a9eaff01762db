//! Values, odd values, properties and levels.

use super::cases::{Logits, drawn, ordinary};
use crate::submission::Call;
use crate::task::common::{self, Judged, Ordinary};
use crate::task::{Budget, Check, Dims, Kind, Session, Stop, fixed};
use crate::verdict::Verdict;
use half::{bf16, f16};
use reference::cases::Rng;
use reference::numbers::Bounded;

/// Sizes of an ordinary case.
fn draw(rng: &mut Rng, budget: Budget) -> Dims {
    let vocabulary = rng.choose(&[5, 31, 64, 127, 256, 1025, 2600, budget.pick(512, 9000)]);
    let k = rng.between(1, 32.min(vocabulary));
    Dims::of([
        ("R", rng.between(1, budget.pick(3, 6)) as u64),
        ("V", vocabulary as u64),
        ("K", k as u64),
    ])
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = common::checks(Ordinary {
        draw,
        make: ordinary,
        counted: |_, _| Dims::of([("R", 4), ("V", 4096), ("K", 8)]),
    });
    checks.push(
        Check::new(
            Kind::Values,
            "f32",
            "index, prob and lse of f32 logits of mixed scales and patterns",
            draw,
            |session, dims, rng| {
                let call = ordinary(dims, rng).ok_or(Stop::Unfit)?;
                session.judge_values(&call).map(drop)
            },
        )
        .cases(10, 30),
    );
    checks.extend(levels());
    checks.extend(odd());
    checks.extend(super::needles::checks());
    checks.extend(properties());
    checks
}

fn levels() -> Vec<Check> {
    let level = |name, level, says, draw, make: fn(&Dims, &mut Rng) -> Option<Call>| {
        Check::judged(Kind::Level, name, says, draw, make).at(level)
    };
    type Draw = fn(&mut Rng, Budget) -> Dims;
    let large_k: [Draw; 2] = [
        |rng, _| Dims::of([("R", 2), ("V", rng.between(600, 1500) as u64), ("K", 200)]),
        |rng, _| Dims::of([("R", 1), ("V", rng.between(1500, 3000) as u64), ("K", 1000)]),
    ];
    vec![
        level("f16", "16-bit", "logits in f16", draw as Draw, drawn::<f16>).cases(4, 8),
        level("bf16", "16-bit", "logits in bf16", draw, drawn::<bf16>).cases(4, 8),
        level(
            "odd-16-bit",
            "16-bit",
            "NaN, +inf and −inf in rows of f16 and bf16",
            |rng, _| Dims::of([("R", 3), ("V", rng.choose(&[131, 1500])), ("K", 5)]),
            |dims, rng| {
                let odd = rng.choose(&[f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
                let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
                let mut logits: Vec<f32> = reference::cases::normal(rng, rows * vocabulary, 2.0);
                logits[rng.below(vocabulary)] = odd;
                let k = dims.get("K").min(vocabulary);
                Some(match rng.chance(0.5) {
                    true => {
                        let logits: Vec<f16> = logits.into_iter().map(f16::from_f32).collect();
                        Logits::new(rows, &logits, k).call()
                    }
                    false => {
                        let logits: Vec<bf16> = logits.into_iter().map(bf16::from_f32).collect();
                        Logits::new(rows, &logits, k).call()
                    }
                })
            },
        )
        .cases(4, 12),
        level(
            "small-integers",
            "16-bit",
            "zeros of both signs and ties everywhere, in f16 and bf16",
            |rng, _| {
                let (vocabulary, k) = rng.choose(&[(131, 9), (1500, 32), (3000, 32)]);
                Dims::of([("R", 2), ("V", vocabulary), ("K", k)])
            },
            |dims, rng| {
                let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
                let most = rng.choose(&[0, 0, 2]);
                let logits: Vec<f32> = (0..rows * vocabulary)
                    .map(|_| match rng.below(12) {
                        0 => -0.0,
                        1 => most as f32,
                        n => -(n as f32 / 2.0).floor(),
                    })
                    .collect();
                let k = dims.get("K").min(vocabulary);
                Some(match rng.below(3) {
                    0 => {
                        let logits: Vec<f16> = logits.into_iter().map(f16::from_f32).collect();
                        Logits::new(rows, &logits, k).call()
                    }
                    1 => {
                        let logits: Vec<bf16> = logits.into_iter().map(bf16::from_f32).collect();
                        Logits::new(rows, &logits, k).call()
                    }
                    _ => Logits::new(rows, &logits, k).call(),
                })
            },
        )
        .cases(4, 12),
        level(
            "k-1024-rising",
            "k-1024",
            "rows that rise, so that each part is better than all before it, K of 1000",
            |rng, _| Dims::of([("R", 1), ("V", rng.between(5000, 9000) as u64), ("K", 1000)]),
            |dims, rng| {
                let vocabulary = dims.get("V");
                let logits: Vec<f32> = (0..vocabulary)
                    .map(|i| 10.0 * i as f32 / vocabulary as f32 + 0.01 * rng.normal() as f32)
                    .collect();
                let k = dims.get("K").min(vocabulary);
                Some(match rng.below(3) {
                    0 => {
                        let logits: Vec<f16> = logits.into_iter().map(f16::from_f32).collect();
                        Logits::new(1, &logits, k).call()
                    }
                    1 => {
                        let logits: Vec<bf16> = logits.into_iter().map(bf16::from_f32).collect();
                        Logits::new(1, &logits, k).call()
                    }
                    _ => Logits::new(1, &logits, k).call(),
                })
            },
        )
        .cases(2, 4),
        level("k-256", "k-256", "K of 200", large_k[0], ordinary).cases(2, 4),
        level("k-1024", "k-1024", "K of 1000", large_k[1], ordinary).cases(1, 3),
        level(
            "long-rows",
            "long-rows",
            "rows longer than 16 bits count, with the greatest anywhere",
            |rng, budget| {
                let longest = budget.pick(70_000, 262_144);
                let vocabulary = rng.between(longest * 9 / 10, longest) as u64;
                Dims::of([("R", 1), ("V", vocabulary), ("K", 16)])
            },
            drawn::<bf16>,
        )
        .cases(1, 1),
        level(
            "per-row-k",
            "per-row-k",
            "each row has a K of its own; ranks from there on hold index −1 and prob 0",
            draw,
            |dims, rng| {
                let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
                let k = dims.get("K").min(vocabulary);
                let logits: Vec<f32> = reference::cases::mixed(rng, rows, vocabulary);
                let row_k = (0..rows).map(|_| rng.between(1, k) as i32).collect();
                let draft = Logits::new(rows, &logits, k);
                Some(
                    Logits {
                        row_k: Some(row_k),
                        ..draft
                    }
                    .call(),
                )
            },
        )
        .cases(2, 4),
        level("mask", "mask", "masked logits count as −inf", draw, |dims, rng| {
            let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
            let logits: Vec<f32> = reference::cases::mixed(rng, rows, vocabulary);
            let mask = (0..rows * vocabulary)
                .map(|i| u8::from(i % vocabulary > 0 && rng.chance(0.3)) * 7)
                .collect();
            let draft = Logits::new(rows, &logits, dims.get("K").min(vocabulary));
            Some(
                Logits {
                    mask: Some(mask),
                    ..draft
                }
                .call(),
            )
        })
        .cases(2, 4),
        Check::new(
            Kind::Level,
            "one-read",
            "the logits are read exactly once: fewer bytes move than two readings of them (counted)",
            fixed([("R", 2), ("V", 8192), ("K", 4)]),
            |session, dims, rng| {
                let call = ordinary(dims, rng).ok_or(Stop::Unfit)?;
                session.call(&call)?;
                let Some((counted, _)) = session.figures.counted else {
                    let why = "this lane does not count what is done";
                    return Err(Verdict::NotAttempted(why.into()).into());
                };
                let logits = call.input("logits").map_or(0, |x| x.bytes().len() as u64);
                if counted.bytes_moved >= 2 * logits {
                    // What a submission does not reach is a level it does not have.
                    let why = format!(
                        "{} bytes moved; the logits have {logits}",
                        counted.bytes_moved
                    );
                    return Err(Verdict::Unsupported(why.into()).into());
                }
                Ok(())
            },
        )
        .at("one-read")
        .cases(1, 1),
    ]
}

/// A row of that many ordinary logits with some replaced.
fn spoilt(dims: &Dims, rng: &mut Rng, values: &[f32]) -> Option<Call> {
    let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
    let mut logits: Vec<f32> = reference::cases::normal(rng, rows * vocabulary, 2.0);
    for row in logits.chunks_mut(vocabulary).step_by(2) {
        for value in values {
            row[rng.below(vocabulary)] = *value;
        }
    }
    Some(Logits::new(rows, &logits, dims.get("K").min(vocabulary)).call())
}

fn odd() -> Vec<Check> {
    let odd = |name, says, values: &'static [f32]| {
        Check::judged(
            Kind::Odd,
            name,
            says,
            fixed([("R", 3), ("V", 131), ("K", 5)]),
            move |dims: &Dims, rng: &mut Rng| spoilt(dims, rng, values),
        )
        .cases(1, 2)
    };
    vec![
        odd(
            "nan-row",
            "a NaN makes its row's prob and lse NaN and its indices −1, and no other row's",
            &[f32::NAN],
        ),
        odd("infinite-row", "+inf counts as NaN does", &[f32::INFINITY]),
        odd(
            "nan-and-minus-infinity",
            "a NaN is found beside −inf",
            &[f32::NEG_INFINITY, -f32::NAN],
        ),
        Check::new(
            Kind::Odd,
            "all-minus-infinity",
            "a row of −inf has prob 0, lse −inf, index 0…K−1",
            fixed([("R", 3), ("V", 131), ("K", 5)]),
            |session, dims, rng| {
                let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
                let mut logits: Vec<f32> = reference::cases::normal(rng, rows * vocabulary, 2.0);
                logits[..vocabulary].fill(f32::NEG_INFINITY);
                let call = Logits::new(rows, &logits, dims.get("K").min(vocabulary)).call();
                session.without_margin().judge(&call).map(drop)
            },
        ),
        Check::judged(
            Kind::Odd,
            "few-numbers",
            "−inf has probability 0 and is ranked behind every number, by lower index",
            fixed([("R", 2), ("V", 97), ("K", 9)]),
            |dims, rng| {
                let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
                let mut logits = vec![f32::NEG_INFINITY; rows * vocabulary];
                for row in logits.chunks_mut(vocabulary) {
                    for _ in 0..3 {
                        row[rng.below(vocabulary)] = rng.normal() as f32;
                    }
                }
                Some(Logits::new(rows, &logits, dims.get("K").min(vocabulary)).call())
            },
        ),
        Check::new(
            Kind::Odd,
            "k-above-v",
            "K above V is refused",
            fixed([("V", 7)]),
            |session, dims, rng| {
                let vocabulary = dims.get("V");
                let logits: Vec<f32> = reference::cases::normal(rng, vocabulary, 1.0);
                let call = Logits::new(1, &logits, vocabulary + 1).call();
                session.refused(&call, "K above V")
            },
        ),
    ]
}

fn properties() -> Vec<Check> {
    vec![
        Check::new(
            Kind::Property,
            "shift",
            "a constant added to a row changes its lse by it and nothing else",
            fixed([("R", 2), ("V", 300), ("K", 12)]),
            |session, dims, rng| {
                let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
                let k = dims.get("K").min(vocabulary);
                // Multiples of 1/8: sums with 64 are exact.
                let logits: Vec<f32> = (0..rows * vocabulary)
                    .map(|_| rng.below(64) as f32 / 8.0)
                    .collect();
                let moved: Vec<f32> = logits.iter().map(|x| x + 64.0).collect();
                let here = session.judge(&Logits::new(rows, &logits, k).call())?;
                let prob = Judged::of(session, &here, "prob");
                let there = session.judge(&Logits::new(rows, &moved, k).call())?;
                if here[1] != there[1] {
                    let why = "indices changed when 64 was added to every logit";
                    return Err(Verdict::wrong(why).into());
                }
                prob.agrees(
                    &Judged::of(session, &there, "prob"),
                    "prob of shifted logits",
                )
            },
        ),
        Check::new(
            Kind::Property,
            "permutation",
            "permuting a row permutes its indices",
            fixed([("V", 257), ("K", 17)]),
            permutation,
        ),
        Check::new(
            Kind::Property,
            "sums-to-one",
            "with K = V the probabilities are all of the softmax and sum to 1 within their bounds",
            fixed([("R", 2), ("V", 40)]),
            |session, dims, rng| {
                let dims = dims.clone().with("K", dims.get("V") as u64);
                let call = ordinary(&dims, rng).ok_or(Stop::Unfit)?;
                let outputs = session.judge(&call)?;
                let vocabulary = dims.get("V");
                let elements = session.judged("prob").chunks(vocabulary);
                let rows = outputs[0].tensor.to_f64();
                for (row, (prob, elements)) in rows.chunks(vocabulary).zip(elements).enumerate() {
                    let sum: f64 = prob.iter().sum();
                    let bound = elements.iter().map(|e| e.expected.bound).sum();
                    if !Bounded::new(1.0, bound).admits(sum) {
                        let why = format!("the probabilities of row {row} sum to {sum}");
                        return Err(Verdict::wrong(why).into());
                    }
                }
                Ok(())
            },
        ),
    ]
}

fn permutation(session: &mut Session<'_>, dims: &Dims, rng: &mut Rng) -> Result<(), Stop> {
    let vocabulary = dims.get("V");
    let k = dims.get("K").min(vocabulary);
    // Distinct logits, so that the order is the only right one.
    let mut order: Vec<usize> = (0..vocabulary).collect();
    rng.shuffle(&mut order);
    let logits: Vec<f32> = order.iter().map(|i| *i as f32 / 16.0).collect();
    let mut to: Vec<usize> = (0..vocabulary).collect();
    rng.shuffle(&mut to);
    let mut moved = vec![0.0_f32; vocabulary];
    for (from, to) in to.iter().enumerate() {
        moved[*to] = logits[from];
    }
    let index = |outputs: Vec<crate::submission::Named>| -> Vec<i32> {
        outputs[1].tensor.to_vec().unwrap_or_default()
    };
    let here = index(session.judge(&Logits::new(1, &logits, k).call())?);
    let there = index(session.judge(&Logits::new(1, &moved, k).call())?);
    for (rank, (a, b)) in here.iter().zip(&there).enumerate() {
        if to.get(*a as usize) != Some(&(*b as usize)) {
            let why = format!("rank {rank}: index {a} moved to another place than its logit, {b}");
            return Err(Verdict::wrong(why).into());
        }
    }
    Ok(())
}
