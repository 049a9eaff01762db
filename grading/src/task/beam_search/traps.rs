//! The traps: what the sentence says is what goes wrong in whoever falls in.

use super::cases::Step;
use crate::task::{Check, Dims, Kind, fixed};
use reference::cases::Rng;

type Make = fn(Step<f32>, &Dims, &mut Rng) -> Option<Step<f32>>;

/// A trap on a step with normal logits.
fn trap(
    name: &'static str,
    says: &'static str,
    sizes: [(&'static str, u64); 3],
    make: Make,
) -> Check {
    Check::judged(Kind::Trap, name, says, fixed(sizes), move |dims, rng| {
        let step = Step::normal(rng, dims, 2.0);
        Some(make(step, dims, rng)?.call())
    })
    .cases(1, 3)
}

pub(super) fn traps() -> Vec<Check> {
    let mut traps = pools();
    traps.extend(scores());
    traps.extend(endings());
    traps
}

const SIZES: [(&str, u64); 3] = [("B", 2), ("K", 4), ("V", 37)];

fn pools() -> Vec<Check> {
    vec![
        trap(
            "finished-stay-in-the-pool",
            "a beam finished at −3 competes with unfinished ones at −5 and stays",
            SIZES,
            |mut step, dims, _| {
                let beams = dims.get("K");
                step.rules.eos = vec![0];
                for (at, acc) in step.acc.iter_mut().enumerate() {
                    *acc = if at % beams == 0 { -3.0 } else { -5.0 };
                    step.finished[at] = u8::from(at % beams == 0);
                }
                Some(step)
            },
        ),
        trap(
            "finished-are-frozen",
            "a finished beam is kept with the sum and length it has",
            SIZES,
            |mut step, dims, _| {
                for at in (0..step.acc.len()).step_by(dims.get("K")) {
                    step.finished[at] = 1;
                    step.acc[at] = -0.5;
                }
                Some(step)
            },
        ),
        trap(
            "step-zero",
            "at step 0 there is one beam; expanding K copies of it keeps K equal beams",
            SIZES,
            |mut step, dims, _| {
                let beams = dims.get("K");
                step.length.fill(0);
                for (at, acc) in step.acc.iter_mut().enumerate() {
                    *acc = if at % beams == 0 {
                        0.0
                    } else {
                        f32::NEG_INFINITY
                    };
                }
                (beams > 1).then_some(step)
            },
        ),
        trap(
            "forbidden-tokens",
            "nearly all tokens are −inf or NaN: fewer than K continuations are left, and the rest of \
             the ranks is empty",
            [("B", 2), ("K", 4), ("V", 12)],
            |mut step, dims, rng| {
                for beam in 0..step.acc.len() {
                    let kept = rng.below(dims.get("V"));
                    for (token, logit) in step.row(beam).iter_mut().enumerate() {
                        if token != kept || beam % dims.get("K") > 1 {
                            *logit = rng.choose(&[f32::NEG_INFINITY, f32::NAN]);
                        }
                    }
                }
                (dims.get("K") > 2 && dims.get("V") > 1).then_some(step)
            },
        ),
        trap(
            "items-do-not-mix",
            "items with very different sums: each continues its own",
            [("B", 3), ("K", 3), ("V", 20)],
            |mut step, dims, _| {
                for (at, acc) in step.acc.iter_mut().enumerate() {
                    *acc -= 10.0 * (at / dims.get("K")) as f32;
                }
                (dims.get("B") > 1).then_some(step)
            },
        ),
        trap(
            "ties-by-parent-first",
            "two beams with the same sum and the same row: every score is tied across parents",
            // Rows that begin alike: where they do not, a sum may be cut in another way.
            [("B", 2), ("K", 4), ("V", 24)],
            |mut step, dims, rng| {
                let beams = dims.get("K");
                for item in 0..dims.get("B") {
                    let levels = [1.0_f32, 1.0, 0.5];
                    let row: Vec<f32> = (0..dims.get("V")).map(|_| rng.choose(&levels)).collect();
                    for beam in 0..beams {
                        step.row(item * beams + beam).copy_from_slice(&row);
                        step.acc[item * beams + beam] = -2.0;
                    }
                }
                Some(step)
            },
        ),
    ]
}

fn scores() -> Vec<Check> {
    vec![
        trap(
            "logits-are-no-log-probabilities",
            "rows of different lse: raw logits rank them wrongly and sum to too much",
            SIZES,
            |mut step, _, rng| {
                for beam in 0..step.acc.len() {
                    let shift = rng.uniform(-8.0, 8.0) as f32;
                    step.row(beam).iter_mut().for_each(|logit| *logit += shift);
                }
                Some(step)
            },
        ),
        trap(
            "the-longer-eos-wins",
            "two finished beams at alpha 0.6: −2.4 over 12 tokens beats −2 over 4",
            SIZES,
            |mut step, dims, _| {
                step.rules.alpha = 0.6;
                for at in (0..step.acc.len()).step_by(dims.get("K")) {
                    for (beam, acc, length) in [(0, -2.0, 4), (1, -2.4, 12)] {
                        step.acc[at + beam] = acc;
                        step.length[at + beam] = length;
                        step.finished[at + beam] = 1;
                    }
                }
                Some(step)
            },
        )
        .at("penalty"),
        trap(
            "raw-sum-is-kept",
            "at alpha 1 and length 9 the score is a ninth of the sum: it must not become the sum",
            SIZES,
            |mut step, _, _| {
                step.rules.alpha = 1.0;
                step.length.fill(8);
                Some(step)
            },
        )
        .at("penalty"),
        trap(
            "negative-alpha",
            "at alpha −0.5 longer beams score lower: sums are divided by length^alpha all the same",
            SIZES,
            |mut step, _, rng| {
                step.rules.alpha = -0.5;
                step.length
                    .iter_mut()
                    .for_each(|length| *length = rng.between(2, 20) as i32);
                Some(step)
            },
        )
        .at("penalty"),
    ]
}

fn endings() -> Vec<Check> {
    vec![
        trap(
            "all-candidates-end",
            "every likely token is an EOS: the K best all end, and all are kept",
            SIZES,
            |mut step, dims, _| {
                let ending = dims.get("V").min(2 * dims.get("K"));
                step.rules.eos = (0..ending as i32).collect();
                for beam in 0..step.acc.len() {
                    step.row(beam)[..ending].iter_mut().for_each(|logit| *logit += 12.0);
                }
                Some(step)
            },
        )
        .at("eos-set"),
        trap(
            "eos-does-not-count",
            "with count_eos off a beam that ends keeps its length, which its score shows",
            SIZES,
            |mut step, _, _| {
                step.rules.eos = vec![1];
                step.rules.count_eos = false;
                step.rules.alpha = 1.0;
                for beam in 0..step.acc.len() {
                    step.row(beam).get_mut(1).into_iter().for_each(|logit| *logit = 9.0);
                }
                (step.vocabulary > 1).then_some(step)
            },
        )
        .at("eos-set"),
        trap(
            "eos-crowd",
            "K+1 uncounted EOS tokens are the likeliest, but at alpha 1 a longer continuation beats \
             them: it is among the 2K best of its beam, and not among the K best",
            [("B", 1), ("K", 3), ("V", 30)],
            |mut step, dims, rng| {
                let beams = dims.get("K");
                step.rules.eos = (0..=beams as i32).collect();
                step.rules.count_eos = false;
                step.rules.alpha = 1.0;
                // One beam, short: a token more halves the penalised loss.
                for (at, acc) in step.acc.iter_mut().enumerate() {
                    *acc = if at % beams == 0 { -4.0 } else { f32::NEG_INFINITY };
                    step.length[at] = 1;
                }
                for beam in 0..step.acc.len() {
                    for (token, logit) in step.row(beam).iter_mut().enumerate() {
                        let likely = if token <= beams { 6.0 } else { -6.0 };
                        *logit = likely + 0.1 * rng.normal() as f32;
                    }
                    if let Some(logit) = step.row(beam).get_mut(beams + 1) {
                        *logit = 5.0;
                    }
                }
                (dims.get("V") > beams + 1).then_some(step)
            },
        )
        .at("eos-set"),
        trap(
            "no-eos-before-min-length",
            "the likeliest token is an EOS, and the beams are too short to end",
            SIZES,
            |mut step, _, _| {
                step.rules.eos = vec![0];
                step.rules.min_length = 6;
                for beam in 0..step.acc.len() {
                    step.row(beam)[0] = 10.0;
                }
                (step.vocabulary > 1).then_some(step)
            },
        )
        .at("min-length"),
        trap(
            "disallowed-eos-keeps-its-share",
            "an EOS that is not allowed holds half of the probability, and keeps it",
            SIZES,
            |mut step, _, _| {
                step.rules.eos = vec![0];
                step.rules.min_length = 6;
                for beam in 0..step.acc.len() {
                    let row = step.row(beam);
                    let rest: f32 = row[1..].iter().map(|x| x.exp()).sum();
                    row[0] = rest.ln();
                }
                (step.vocabulary > 1).then_some(step)
            },
        )
        .at("min-length"),
    ]
}
