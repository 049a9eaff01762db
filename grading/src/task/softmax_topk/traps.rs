//! The traps: what the sentence says is what goes wrong in whoever falls in.

use super::cases::Logits;
use crate::task::{Check, Dims, Kind, fixed};
use half::bf16;
use reference::cases::{Rng, normal};

/// One row of f32, made element by element.
fn row(
    name: &'static str,
    says: &'static str,
    sizes: [(&'static str, u64); 2],
    make: impl Fn(usize, usize, &mut Rng) -> f32 + Send + Sync + 'static,
) -> Check {
    Check::judged(Kind::Trap, name, says, fixed(sizes), move |dims, rng| {
        let vocabulary = dims.get("V");
        let logits: Vec<f32> = (0..vocabulary).map(|i| make(i, vocabulary, rng)).collect();
        Some(Logits::new(1, &logits, dims.get("K").min(vocabulary)).call())
    })
    .cases(1, 2)
}

pub(super) fn traps() -> Vec<Check> {
    let mut traps = shapes_of_rows();
    traps.extend(ties());
    traps.extend(numbers());
    traps
}

fn shapes_of_rows() -> Vec<Check> {
    vec![
        row(
            "ascending-rows",
            "the maximum changes at every step, and the sum is not rescaled",
            [("V", 233), ("K", 8)],
            |i, _, rng| 0.37 * i as f32 + rng.uniform(0.0, 0.3) as f32,
        ),
        row(
            "descending-rows",
            "the first logit is the maximum, and later candidates are missed",
            [("V", 233), ("K", 8)],
            |i, v, rng| 0.01 * (v - i) as f32 + rng.uniform(0.0, 0.009) as f32,
        ),
        row(
            "rescale-direction",
            "the maximum climbs by more than 100 within a tile: exp(m_new − m_old) overflows",
            [("V", 256), ("K", 4)],
            |i, _, rng| 7.0 * i as f32 + rng.uniform(0.0, 1.0) as f32,
        ),
        row(
            "maximum-last",
            "the maximum is the last logit, which the loop does not reach",
            [("V", 200), ("K", 3)],
            |i, v, rng| match i + 1 == v {
                true => 6.0,
                false => rng.normal() as f32,
            },
        ),
        row(
            "late-outlier",
            "one late logit is so large that all before it must be rescaled to almost nothing",
            [("V", 500), ("K", 5)],
            |i, v, rng| match i + 3 == v {
                true => 200.0,
                false => rng.normal() as f32,
            },
        ),
        Check::judged(
            Kind::Trap,
            "one-logit",
            "a row of one logit: lse is that logit",
            fixed([("R", 3)]),
            |dims, rng| {
                let logits: Vec<f32> = (0..dims.get("R"))
                    .map(|_| rng.uniform(1.0, 9.0) as f32)
                    .collect();
                Some(Logits::new(logits.len(), &logits, 1).call())
            },
        ),
        row(
            "prime-vocabulary",
            "V is a multiple of no vector, and the best logits stand in what is left over",
            [("V", 251), ("K", 6)],
            |i, v, rng| {
                let tail = if i >= v / 4 * 4 { 5.0 } else { 0.0 };
                tail + rng.normal() as f32
            },
        ),
        Check::judged(
            Kind::Trap,
            "k-equals-v",
            "every logit is returned",
            fixed([("R", 2), ("V", 29)]),
            |dims, rng| {
                let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
                let logits: Vec<f32> = normal(rng, rows * vocabulary, 2.0);
                Some(Logits::new(rows, &logits, vocabulary).call())
            },
        ),
        Check::judged(
            Kind::Trap,
            "chunk-drops-candidate",
            "all of the K best stand next to each other: a chunk must keep K candidates",
            fixed([("V", 640), ("K", 16)]),
            |dims, rng| {
                let vocabulary = dims.get("V");
                let k = dims.get("K").min(vocabulary);
                let mut logits: Vec<f32> = normal(rng, vocabulary, 1.0);
                let chunk = rng.below((vocabulary / 64).max(1)) * 64;
                let end = (chunk + k).min(vocabulary);
                for logit in &mut logits[chunk..end] {
                    *logit = 8.0 + rng.uniform(0.0, 1.0) as f32;
                }
                Some(Logits::new(1, &logits, k).call())
            },
        ),
    ]
}

fn ties() -> Vec<Check> {
    vec![
        row(
            "all-equal",
            "all logits are equal: the first K are the best",
            [("V", 300), ("K", 7)],
            |_, _, _| 0.25,
        ),
        Check::judged(
            Kind::Trap,
            "ties-across-threads",
            "bf16 logits with hundreds of exact ties, read by different threads",
            fixed([("V", 700), ("K", 24)]),
            |dims, rng| {
                let vocabulary = dims.get("V");
                let levels = [1.0, 1.0, 0.992_187_5, 0.5, -3.0].map(bf16::from_f32);
                let logits: Vec<bf16> = (0..vocabulary).map(|_| rng.choose(&levels)).collect();
                Some(Logits::new(1, &logits, dims.get("K").min(vocabulary)).call())
            },
        ),
        Check::judged(
            Kind::Trap,
            "duplicate-indices",
            "the greatest value stands in several places, each to be returned once",
            fixed([("V", 180), ("K", 6)]),
            |dims, rng| {
                let vocabulary = dims.get("V");
                let k = dims.get("K").min(vocabulary);
                let mut logits: Vec<f32> = normal(rng, vocabulary, 1.0);
                for _ in 0..3 * k {
                    logits[rng.below(vocabulary)] = 4.5;
                }
                logits[0] = 4.5;
                Some(Logits::new(1, &logits, k).call())
            },
        ),
    ]
}

fn numbers() -> Vec<Check> {
    vec![
        row(
            "logits-of-ten-thousand",
            "logits of ±10⁴: exp overflows without the maximum, and lse has lost three digits",
            [("V", 256), ("K", 8)],
            |i, _, rng| match i % 8 {
                // Several contenders, so that the probabilities are not 0 and 1.
                3 => 9_990.0 + rng.uniform(0.0, 3.0) as f32,
                _ => rng.uniform(-1e4, 9e3) as f32,
            },
        ),
        row(
            "nan-above-infinity",
            "NaN and +inf in one row: a radix order puts one of them first and returns it",
            [("V", 150), ("K", 4)],
            |i, _, rng| match i {
                40 => f32::NAN,
                90 => f32::INFINITY,
                _ => rng.normal() as f32,
            },
        ),
        row(
            "full-softmax",
            "flat rows: the K best hold a small share, and are not to be renormalised",
            [("V", 400), ("K", 5)],
            |_, _, rng| 0.1 * rng.normal() as f32,
        ),
        Check::judged(
            Kind::Trap,
            "temperature-in-lse",
            "at another temperature, scores, maximum and lse are those of the scaled logits",
            fixed([("R", 2), ("V", 100), ("K", 5)]),
            |dims, rng| {
                let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
                let logits: Vec<f32> = (0..rows * vocabulary)
                    .map(|_| 3.0 + rng.normal() as f32)
                    .collect();
                let draft = Logits::new(rows, &logits, dims.get("K").min(vocabulary));
                let temperature = rng.choose(&[0.25, 0.7, 2.5]);
                Some(
                    Logits {
                        temperature,
                        ..draft
                    }
                    .call(),
                )
            },
        ),
        Check::judged(
            Kind::Trap,
            "long-flat-row",
            "thousands of terms near 1: a sum in 16 bits stops growing",
            fixed([("V", 3000), ("K", 3)]),
            |dims: &Dims, rng| {
                let vocabulary = dims.get("V");
                let logits: Vec<bf16> = (0..vocabulary)
                    .map(|_| bf16::from_f32(rng.uniform(-0.5, 0.5) as f32))
                    .collect();
                Some(Logits::new(1, &logits, dims.get("K").min(vocabulary)).call())
            },
        )
        .at("16-bit"),
        Check::judged(
            Kind::Trap,
            "masked-garbage",
            "what is masked may hold NaN and +inf",
            fixed([("R", 2), ("V", 190), ("K", 9)]),
            |dims, rng| {
                let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
                let mut logits: Vec<f32> = normal(rng, rows * vocabulary, 1.0);
                let mut mask = vec![0_u8; logits.len()];
                for (i, (logit, mask)) in logits.iter_mut().zip(&mut mask).enumerate() {
                    if i % vocabulary > 0 && rng.chance(0.4) {
                        *mask = 1 + rng.below(255) as u8;
                        *logit = rng.choose(&[f32::NAN, f32::INFINITY, 1e30]);
                    }
                }
                // One at least, however small the row.
                if vocabulary > 1 {
                    (logits[1], mask[1]) = (f32::NAN, 1);
                }
                let draft = Logits::new(rows, &logits, dims.get("K").min(vocabulary));
                Some(
                    Logits {
                        mask: Some(mask),
                        ..draft
                    }
                    .call(),
                )
            },
        )
        .at("mask"),
    ]
}
