//! Sampled walks: given random numbers, every step of which the bounds decide.

use super::checks::accepting;
use super::needles::{Spoilt, extreme, needles};
use super::oracle::is_decided;
use super::walks::{Draft, Sampling};
use crate::submission::Call;
use crate::task::{Budget, Check, Dims, Kind};
use crate::tensor::DType;
use reference::cases::Rng;

/// Sizes of sampled walks: of few threads and of all.
fn sampling(rng: &mut Rng, _: Budget) -> Dims {
    let sizes = [
        (12, 24),
        (12, 24),
        (40, 300),
        (12, 1500),
        (300, 24),
        (900, 9),
    ];
    let (nodes, vocabulary) = rng.choose(&sizes);
    Dims::of([("B", 2), ("N", nodes), ("V", vocabulary)])
}

/// The same, and of trees that are wider than a block.
fn wide_sampling(rng: &mut Rng, budget: Budget) -> Dims {
    let (nodes, vocabulary) = rng.choose(&[(300, 24), (900, 9)]);
    match rng.chance(0.6) {
        true => sampling(rng, budget),
        false => Dims::of([("B", 1), ("N", nodes), ("V", vocabulary)]),
    }
}

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::judged(
            Kind::Level,
            "sampling",
            "the sampled walk of given random numbers",
            wide_sampling,
            |dims, rng| sampled(dims, rng, true),
        )
        .at("sampling")
        .ops(&["sample"])
        .cases(6, 30),
        Check::judged(
            Kind::Level,
            "sampling-certain-draft",
            "a draft that was certain of each child",
            sampling,
            |dims, rng| sampled(dims, rng, false),
        )
        .at("sampling")
        .ops(&["sample"])
        .cases(4, 24),
        Check::judged(
            Kind::Level,
            "sampling-16-bit",
            "logits in f16 and bf16, with a draft or a certain one",
            sampling,
            |dims, rng| {
                let dtype = rng.choose(&[DType::F16, DType::Bf16]);
                let with_draft = rng.chance(0.5);
                sampled_as(dims, rng, with_draft, |draft, _| draft.dtype = dtype)
            },
        )
        .at("sampling")
        .ops(&["sample"])
        .cases(6, 30),
        Check::judged(
            Kind::Level,
            "sampling-odd-logits",
            "the same walk through rows with NaN and −inf, and with one finite number, in any type",
            sampling,
            |dims, rng| {
                let dtype = rng.choose(&[DType::F32, DType::F16, DType::Bf16]);
                let with_draft = rng.chance(0.5);
                sampled_as(dims, rng, with_draft, |draft, rng| {
                    draft.dtype = dtype;
                    spoil_rows(draft, rng);
                })
            },
        )
        .at("sampling")
        .ops(&["sample"])
        .cases(4, 20),
        Check::judged(
            Kind::Level,
            "sampling-stops",
            "tokens that end a sampled text, and the slots of its nodes, in any type",
            sampling,
            |dims, rng| {
                let dtype = rng.choose(&[DType::F32, DType::F16, DType::Bf16]);
                sampled_as(dims, rng, true, |draft, rng| {
                    draft.dtype = dtype;
                    draft.with_slots = true;
                    let count = draft.vocabulary.min(20) / 3;
                    draft.stop = (0..count)
                        .map(|_| rng.below(draft.vocabulary) as i32)
                        .collect();
                })
            },
        )
        .at("stop-tokens")
        .ops(&["sample"])
        .cases(3, 15),
    ]
}

/// Some numbers of the rows NaN or −inf; of some rows all but one, which is extreme.
fn spoil_rows(draft: &mut Draft, rng: &mut Rng) {
    let (vocabulary, dtype) = (draft.vocabulary, draft.dtype);
    for row in (draft.items.iter_mut()).flat_map(|item| item.logits.chunks_mut(vocabulary)) {
        if rng.chance(0.2) {
            row.copy_from_slice(&extreme(rng, vocabulary, dtype).0);
            continue;
        }
        for logit in row {
            if rng.chance(0.2) {
                *logit = rng.choose(&[f64::NAN, -f64::NAN, f64::NEG_INFINITY]);
            }
        }
    }
}

/// A number in [0, 1) that f32 holds.
fn unit(rng: &mut Rng) -> f32 {
    rng.below(1 << 24) as f32 / (1 << 24) as f32
}

/// A distribution.
fn distribution(rng: &mut Rng, vocabulary: usize) -> Vec<f32> {
    let weights: Vec<f64> = (0..vocabulary)
        .map(|_| (2.0 * rng.normal()).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| (w / sum) as f32).collect()
}

/// A call of sampling whose every step the bounds decide.
fn sampled(dims: &Dims, rng: &mut Rng, with_draft: bool) -> Option<Call> {
    sampled_as(dims, rng, with_draft, |_, _| ())
}

/// The same, changed before its random numbers are drawn. What is changed fits temperatures from 1 on.
fn sampled_as(
    dims: &Dims,
    rng: &mut Rng,
    with_draft: bool,
    change: impl Fn(&mut Draft, &mut Rng),
) -> Option<Call> {
    (0..20).find_map(|_| decided(dims, rng, with_draft, &change))
}

/// One whose tree and logits are drawn once.
fn decided(
    dims: &Dims,
    rng: &mut Rng,
    with_draft: bool,
    change: &impl Fn(&mut Draft, &mut Rng),
) -> Option<Call> {
    let mut base = accepting(dims, rng);
    if with_draft && dims.get("N") > 100 {
        // The children of a node stand far from it, and from each other.
        let size = [dims.get("N"), base.vocabulary, 20];
        let items = base.items.iter_mut();
        items.for_each(|item| *item = needles(rng, size, Spoilt::NOT));
    }
    let rows: usize = base.items.iter().map(|item| 1 + item.token.len()).sum();
    let nodes = rows - base.items.len();
    for item in &mut base.items {
        item.logits.iter_mut().for_each(|x| *x = rng.normal() * 2.0);
    }
    change(&mut base, rng);
    // Half of the greatest number is one too.
    let extremes = (base.items.iter()).any(|item| item.logits.iter().any(|x| x.abs() > 1e30));
    for _ in 0..10 {
        let draft = with_draft.then(|| {
            let each = (0..rows).map(|_| distribution(rng, base.vocabulary));
            each.collect::<Vec<_>>().concat()
        });
        base.sampling = Some(Sampling {
            temperature: match extremes {
                true => rng.choose(&[1.0, 2.0]),
                false => rng.choose(&[0.5, 1.0, 2.0]),
            },
            draft,
            uniform: (0..nodes).map(|_| unit(rng)).collect(),
            bonus_uniform: base.items.iter().map(|_| unit(rng)).collect(),
        });
        let call = base.call();
        if is_decided(&call) {
            return Some(call);
        }
    }
    None
}
