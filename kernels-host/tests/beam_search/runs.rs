//! Whole runs from a model that is the same for the oracle and the kernels.

use crate::steps::rules as kernels_rules;
use half::bf16;
use kernels_host::beam_search::{BeamSearch, Hypothesis, Model, Turn};
use kernels_host::softmax_topk::Logit;
use kernels_host::{Buffer, Device, Error, Vm};
use proptest::prelude::*;
use reference::beam::Rules;
use reference::lm::{HashModel, Model as _, exhaustive, greedy};
use reference::numbers::{DType, Element, Precision};
use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Arc;

/// Rows of inactive beams hold NaN: whoever reads them is found out.
struct OnDevice<'a, T> {
    model: &'a HashModel,
    device: Arc<dyn Device>,
    steps: usize,
    dtype: PhantomData<T>,
}

impl<T: Logit + Element> Model<T> for OnDevice<'_, T> {
    type Error = Error;

    fn vocabulary(&self) -> usize {
        self.model.vocabulary()
    }

    fn logits(&mut self, turn: &Turn<'_>) -> Result<Buffer<T>, Error> {
        assert_eq!(turn.step(), self.steps);
        self.steps += 1;
        let mut logits = Vec::new();
        for item in 0..turn.items() {
            for beam in 0..turn.beams() {
                let row = if turn.is_active(item, beam) {
                    self.model.logits(&turn.history(item, beam))
                } else {
                    vec![f32::NAN; self.model.vocabulary()]
                };
                logits.extend(row.iter().map(|x| T::from_f64(f64::from(*x))));
            }
        }
        Buffer::from_slice(&self.device, &logits)
    }
}

fn search<T: Logit + Element>(
    model: &HashModel,
    prompts: &[&[i32]],
    rules: &Rules,
) -> (Vec<Vec<Hypothesis>>, usize) {
    let device: Arc<dyn Device> = Vm::new();
    let search = BeamSearch::new(&device, kernels_rules(rules)).expect("good rules");
    let mut on_device = OnDevice::<T> {
        model,
        device,
        steps: 0,
        dtype: PhantomData,
    };
    let found = search.run(&mut on_device, prompts).expect("it runs");
    (found, on_device.steps)
}

const PROMPTS: [&[i32]; 3] = [&[1], &[0, 3, 2, 2, 1, 0, 3], &[2, 1]];

/// Against the oracle's run, where its bounds decide each step. Returns how many items that were.
fn agree<T: Logit + Element>(model: &HashModel, rules: &Rules) -> usize {
    let precision = Precision::scalar(DType::F32);
    let expected = reference::beam::run(model, &PROMPTS, rules, precision).expect("good rules");
    let (found, steps) = search::<T>(model, &PROMPTS, rules);
    let mut decided = 0;
    for (item, (found, expected)) in found.iter().zip(&expected).enumerate() {
        if expected.undecided.is_some() {
            continue;
        }
        decided += 1;
        assert!(steps >= expected.steps, "item {item}: {steps} steps");
        assert_eq!(
            found.len(),
            expected.hypotheses.len(),
            "item {item}, {rules:?}"
        );
        for (rank, (found, expected)) in found.iter().zip(&expected.hypotheses).enumerate() {
            let place = format!("item {item}, rank {rank}, {rules:?}");
            assert_eq!(found.tokens, expected.tokens, "{place}");
            assert_eq!(found.length, expected.length, "{place}");
            assert_eq!(found.finished, expected.finished, "{place}");
            assert!(expected.acc.admits(f64::from(found.acc)), "{place}");
            assert!(expected.score.admits(f64::from(found.score)), "{place}");
        }
    }
    decided
}

fn alpha() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0_f32), Just(0.6), Just(1.0), Just(-0.7)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn runs_agree_with_the_oracle(
        seed in any::<u64>().no_shrink(), alpha in alpha(), beams in 1_usize..5,
        min_length in 0_usize..3, count_eos in any::<bool>(), early_stop in any::<bool>(),
        ties in any::<bool>(),
    ) {
        let levels = if ties { 129 } else { (1 << 20) + 1 };
        let model = HashModel::new(seed, 12).with_levels(levels).with_forbidden(0.1);
        let rules = Rules {
            alpha, min_length, count_eos, early_stop, max_new_tokens: 6, eos: vec![4, 7],
            n_best: beams.div_ceil(2), ..Rules::new(beams, 4)
        };
        if ties {
            agree::<bf16>(&model, &rules);
        } else {
            agree::<f32>(&model, &rules);
        }
    }

    #[test]
    fn one_beam_is_greedy_decoding(seed in any::<u64>().no_shrink(), alpha in alpha()) {
        let model = HashModel::new(seed, 9);
        let rules = Rules { alpha, max_new_tokens: 7, ..Rules::new(1, 4) };
        let (found, _) = search::<f32>(&model, &PROMPTS, &rules);
        for (found, prompt) in found.iter().zip(PROMPTS) {
            prop_assert_eq!(&found[0].tokens, &greedy(&model, prompt, 7, &HashSet::from([4])));
        }
    }
}

/// Were most runs left aside as undecided, agreement would say little.
#[test]
fn most_runs_are_decided() {
    let decided = |seed| {
        let model = HashModel::new(seed, 12).with_levels((1 << 20) + 1);
        agree::<f32>(
            &model,
            &Rules {
                max_new_tokens: 5,
                ..Rules::new(3, 4)
            },
        )
    };
    assert!((0..4).map(decided).sum::<usize>() >= 9);
}

#[test]
fn wide_beams_search_exhaustively() {
    let model = HashModel::new(5, 3).with_levels((1 << 20) + 1);
    let rules = Rules {
        max_new_tokens: 3,
        n_best: 4,
        alpha: 0.8,
        ..Rules::new(27, 1)
    };
    let (found, _) = search::<f32>(&model, &PROMPTS, &rules);
    for (found, prompt) in found.iter().zip(PROMPTS) {
        let mut all: Vec<(f64, Vec<i32>)> = exhaustive(&model, prompt, 3, &HashSet::from([1]))
            .into_iter()
            .map(|c| {
                (
                    c.log_probability / (c.tokens.len() as f64).powf(0.8),
                    c.tokens,
                )
            })
            .collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let expected: Vec<_> = all.into_iter().take(4).map(|(_, tokens)| tokens).collect();
        let found: Vec<_> = found.iter().map(|h| h.tokens.clone()).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn early_stop_saves_steps_and_changes_nothing() {
    let mut saved = 0;
    for seed in 0..6 {
        let model = HashModel::new(seed, 6).with_levels((1 << 20) + 1);
        for alpha in [-0.5, 0.0, 0.9] {
            let full = Rules {
                alpha,
                n_best: 1,
                max_new_tokens: 9,
                ..Rules::new(3, 0)
            };
            let early = Rules {
                early_stop: true,
                ..full.clone()
            };
            let (expected, steps) = search::<f32>(&model, &PROMPTS, &full);
            let (found, fewer) = search::<f32>(&model, &PROMPTS, &early);
            assert_eq!(found, expected, "seed {seed}, alpha {alpha}");
            saved += steps - fewer;
        }
    }
    assert!(saved > 0);
}

#[test]
fn nothing_to_do_is_done() {
    let model = HashModel::new(1, 6);
    assert!(search::<f32>(&model, &[], &Rules::new(2, 0)).0.is_empty());
    let rules = Rules {
        max_new_tokens: 0,
        ..Rules::new(2, 0)
    };
    let (found, steps) = search::<f32>(&model, &[&[], &[3]], &rules);
    assert_eq!(steps, 0);
    assert!(
        found
            .iter()
            .all(|item| item.len() == 1 && item[0].tokens.is_empty())
    );
}

/// The prompt is no part of the length: after prompts of different lengths with the same last token
/// a model that sees only that token gives the same hypotheses and scores.
#[test]
fn a_prompt_does_not_count_in_the_length() {
    struct LastToken(Arc<dyn Device>);
    impl Model<f32> for LastToken {
        type Error = Error;
        fn vocabulary(&self) -> usize {
            7
        }
        fn logits(&mut self, turn: &Turn<'_>) -> Result<Buffer<f32>, Error> {
            let mut logits = Vec::new();
            for item in 0..turn.items() {
                for beam in 0..turn.beams() {
                    let history = turn.history(item, beam);
                    let last = *history.last().expect("prompts have tokens") as usize;
                    logits.extend((0..7).map(|token| ((last * 5 + token * 3) % 7) as f32 * 0.5));
                }
            }
            Buffer::from_slice(&self.0, &logits)
        }
    }
    let device: Arc<dyn Device> = Vm::new();
    for alpha in [0.6, 2.0, -0.5] {
        let rules = kernels_host::beam_search::Rules {
            alpha,
            max_new_tokens: 6,
            ..kernels_host::beam_search::Rules::new(3, 0)
        };
        let search = BeamSearch::new(&device, rules).expect("good rules");
        let long = vec![2; 50];
        let found = search
            .run(&mut LastToken(device.clone()), &[&[2], &long, &[5, 2]])
            .expect("it runs");
        assert!(!found[0].is_empty());
        assert_eq!(found[0], found[1], "alpha {alpha}");
        assert_eq!(found[0], found[2], "alpha {alpha}");
    }
}
