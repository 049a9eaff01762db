//! Runs against exhaustive search and greedy decoding, steps against a sort of everything, the
//! rules one by one, and explanations.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::cases::beam::BeamStep;
use crate::cases::{Rng, strategy};
use crate::lm::{HashModel, Model, exhaustive, greedy};
use crate::numbers::DType;
use crate::tensor::View;

const FINE: usize = (1 << 20) + 1;

fn precision() -> Precision {
    Precision::scalar(DType::F32)
}

/// Every continuation there is, best first: search without a beam.
fn by_exhaustion(model: &impl Model, prompt: &[i32], rules: &Rules) -> Vec<(Vec<i32>, f64)> {
    let stop: HashSet<i32> = rules.eos.iter().copied().collect();
    let all = exhaustive(model, prompt, rules.max_new_tokens, &stop);
    let mut scored: Vec<(Vec<i32>, f64)> = all
        .into_iter()
        .filter(|c| !c.finished || c.tokens.len() > rules.min_length)
        .map(|c| {
            let uncounted = c.finished && !rules.count_eos;
            let length = (c.tokens.len() - usize::from(uncounted)).max(1) as f64;
            (
                c.tokens,
                c.log_probability / length.powf(f64::from(rules.alpha)),
            )
        })
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    scored
}

fn alpha() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0f32), Just(0.6), Just(1.0), Just(-0.5), -2.0f32..2.0]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With K ≥ V^steps nothing is ever dropped, so beam search is exhaustive search.
    #[test]
    fn wide_beams_search_exhaustively(
        seed in strategy::seed(),
        alpha in alpha(),
        (vocabulary, steps) in prop_oneof![Just((2, 4)), Just((3, 3)), Just((5, 2)), Just((4, 2))],
        min_length in 0usize..3,
        count_eos in any::<bool>(),
        early_stop in any::<bool>(),
    ) {
        let model = HashModel::new(seed, vocabulary).with_levels(FINE);
        let beams = vocabulary.pow(steps as u32);
        let n_best = 1 + seed as usize % 4;
        let rules = Rules {
            alpha, min_length, count_eos, early_stop, n_best, max_new_tokens: steps,
            ..Rules::new(beams, 1)
        };
        let expected = by_exhaustion(&model, &[0, 1], &rules);
        let got = run(&model, &[&[0, 1]], &rules, precision()).unwrap().remove(0);
        prop_assume!(got.undecided.is_none());
        prop_assert_eq!(got.hypotheses.len(), n_best.min(expected.len()));
        for (got, (tokens, score)) in got.hypotheses.iter().zip(expected) {
            prop_assert_eq!(&got.tokens, &tokens);
            prop_assert!((got.score.value - score).abs() <= 1e-12 * score.abs().max(1.0));
        }
    }

    #[test]
    fn one_beam_is_greedy_decoding(seed in strategy::seed(), alpha in alpha(), length in 0usize..12) {
        let model = HashModel::new(seed, 9).with_forbidden(0.2);
        let rules = Rules { alpha, max_new_tokens: length, ..Rules::new(1, 4) };
        let got = run(&model, &[&[7]], &rules, precision()).unwrap().remove(0);
        let expected = greedy(&model, &[7], length, &HashSet::from([4]));
        match got.hypotheses.first() {
            Some(best) => prop_assert_eq!(&best.tokens, &expected),
            // A beam that runs into a forbidden row drops out; greedy keeps what it has.
            None => prop_assert!(expected.len() < length),
        }
    }

    /// Early stopping changes when a search ends, never its results.
    #[test]
    fn early_stop_never_changes_the_results(
        seed in strategy::seed(), alpha in alpha(), count_eos in any::<bool>(), n_best in 1usize..3,
    ) {
        let model = HashModel::new(seed, 6).with_levels(FINE);
        let full = Rules {
            alpha, n_best, count_eos, eos: vec![0, 3], max_new_tokens: 7, ..Rules::new(4, 0)
        };
        let early = Rules { early_stop: true, ..full.clone() };
        let full = run(&model, &[&[1]], &full, precision()).unwrap().remove(0);
        let early = run(&model, &[&[1]], &early, precision()).unwrap().remove(0);
        prop_assert!(early.steps <= full.steps);
        prop_assert_eq!(early.hypotheses, full.hypotheses);
    }

    /// Items do not see each other: alone each has the pool it has in the batch.
    #[test]
    fn items_are_independent(case in strategy::case::<BeamStep<f32>>()) {
        let batch = case.oracle().unwrap();
        let beams = case.rules.beams;
        for item in 0..case.items {
            let part = |n: usize| item * n..(item + 1) * n;
            let alone = BeamStep {
                items: 1,
                logits: case.logits[part(beams * case.vocabulary)].to_vec(),
                acc: case.acc[part(beams)].to_vec(),
                length: case.length[part(beams)].to_vec(),
                finished: case.finished[part(beams)].to_vec(),
                ..case.clone()
            };
            let alone = alone.oracle().unwrap();
            prop_assert_eq!(alone.pools[0].candidates(), batch.pools[item].candidates());
        }
    }

    /// One step against every continuation of every beam, sorted.
    #[test]
    fn a_step_agrees_with_a_sort_of_everything(
        mut rng in strategy::rng(), alpha in alpha(), beams in 1usize..5, vocabulary in 1usize..30,
    ) {
        let rules = Rules { alpha, ..Rules::new(beams, 0) };
        let case = StepCase::random(&mut rng, 2, beams, vocabulary);
        let oracle = case.oracle(&rules);
        for item in 0..2 {
            let mut all = Vec::new();
            for b in (0..beams).map(|b| item * beams + b) {
                let (acc, length) = (f64::from(case.acc[b]), case.length[b]);
                let mut add = |token: i32, acc: f64, length: i32| {
                    let penalty = f64::from(length.max(1)).powf(f64::from(alpha));
                    all.push((acc / penalty, b % beams, token));
                };
                if case.finished[b] {
                    add(-1, acc, length);
                    continue;
                }
                let row: Vec<f64> =
                    case.logits[b * vocabulary..][..vocabulary].iter().map(|&x| x.into()).collect();
                let total: f64 = row.iter().filter(|x| x.is_finite()).map(|x| x.exp()).sum();
                for (token, x) in row.iter().enumerate().filter(|(_, x)| x.is_finite()) {
                    add(token as i32, acc + x - total.ln(), length + 1);
                }
            }
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
            let kept = oracle.pools[item].best(beams);
            prop_assert_eq!(kept.len(), beams.min(all.len()));
            for (kept, &(score, parent, token)) in kept.iter().zip(&all) {
                let near = |other: f64| (other - score).abs() <= 1e-12 * score.abs().max(1.0);
                prop_assert!(near(kept.score.value), "{kept:?} {score}");
                // Within a rounding of float64 two candidates may be ordered either way.
                let alone = all.iter().filter(|other| near(other.0)).count() == 1;
                let same = (kept.parent, kept.token.unwrap_or(-1)) == (parent, token);
                prop_assert!(same || !alone, "{kept:?} {parent} {token}");
            }
        }
    }
}

#[test]
fn early_stop_does_stop_early() {
    let stops_early = |seed| {
        let model = HashModel::new(seed, 6).with_levels(FINE);
        let rules = Rules {
            n_best: 1,
            max_new_tokens: 12,
            ..Rules::new(4, 0)
        };
        let steps = |early_stop| {
            let rules = Rules {
                early_stop,
                ..rules.clone()
            };
            run(&model, &[&[1]], &rules, precision()).unwrap()[0].steps
        };
        steps(true) < steps(false)
    };
    assert!((0..20).filter(|&seed| stops_early(seed)).count() > 5);
}

/// Owned inputs of a step.
struct StepCase {
    shape: [usize; 3],
    logits: Vec<f32>,
    acc: Vec<f32>,
    length: Vec<i32>,
    finished: Vec<bool>,
}

impl StepCase {
    fn random(rng: &mut Rng, items: usize, beams: usize, vocabulary: usize) -> Self {
        let n = items * beams;
        let logit = |rng: &mut Rng| match rng.below(10) {
            0 => f32::NAN,
            1 => f32::NEG_INFINITY,
            _ => (rng.normal() * 3.0) as f32,
        };
        Self {
            shape: [items, beams, vocabulary],
            logits: (0..n * vocabulary).map(|_| logit(rng)).collect(),
            acc: (0..n).map(|_| -(rng.uniform(0.0, 9.0) as f32)).collect(),
            length: (0..n).map(|_| rng.between(0, 6) as i32).collect(),
            finished: (0..n).map(|_| rng.chance(0.3)).collect(),
        }
    }

    /// One item with these sums, lengths and ends, all logits equal to the given row.
    fn of(beams: &[(f32, i32, bool)], row: &[f32]) -> Self {
        Self {
            shape: [1, beams.len(), row.len()],
            logits: row.repeat(beams.len()),
            acc: beams.iter().map(|b| b.0).collect(),
            length: beams.iter().map(|b| b.1).collect(),
            finished: beams.iter().map(|b| b.2).collect(),
        }
    }

    fn oracle(&self, rules: &Rules) -> Step {
        self.try_oracle(rules).unwrap()
    }

    fn try_oracle(&self, rules: &Rules) -> Result<Step> {
        let [items, beams, _] = self.shape;
        let input = StepInput {
            logits: View::new("logits", &self.logits, self.shape)?,
            acc: View::new("acc", &self.acc, [items, beams])?,
            length: View::new("length", &self.length, [items, beams])?,
            finished: View::new("finished", &self.finished, [items, beams])?,
        };
        step(&input, rules, precision())
    }

    /// Parents and tokens kept in item 0.
    fn kept(&self, rules: &Rules) -> Vec<(usize, i32)> {
        let kept = self.oracle(rules).pools[0].best(rules.beams);
        kept.iter()
            .map(|c| (c.parent, c.token.unwrap_or(-1)))
            .collect()
    }
}

/// Logits of probability ½, ¼, ¼.
const HALF: [f32; 3] = [std::f32::consts::LN_2, 0.0, 0.0];

#[test]
fn a_finished_beam_stays_in_the_pool() {
    let case = StepCase::of(&[(-3.0, 2, true), (-5.0, 2, false)], &HALF);
    assert_eq!(case.kept(&Rules::new(2, 2)), [(0, -1), (1, 0)]);
}

#[test]
fn of_two_finished_beams_the_longer_may_win() {
    let case = StepCase::of(&[(-3.0, 2, true), (-3.5, 5, true)], &HALF);
    assert_eq!(case.kept(&Rules::new(2, 2)), [(0, -1), (1, -1)]);
    let rules = Rules {
        alpha: 0.6,
        ..Rules::new(2, 2)
    };
    assert_eq!(case.kept(&rules), [(1, -1), (0, -1)]);
}

#[test]
fn step_zero_expands_one_beam_and_a_short_pool_stays_short() {
    let none = f32::NEG_INFINITY;
    let start = [
        (0.0, 0, false),
        (none, 0, false),
        (none, 0, false),
        (none, 0, false),
    ];
    let case = StepCase::of(&start, &[1.0, f32::NAN, 2.0, none]);
    assert_eq!(case.kept(&Rules::new(4, 9)), [(0, 2), (0, 0)]);
}

#[test]
fn exact_ties_go_to_the_lower_parent_then_the_lower_token() {
    let case = StepCase::of(&[(-1.0, 1, false), (-1.0, 1, false)], &[0.5; 3]);
    assert_eq!(case.kept(&Rules::new(2, 9)), [(0, 0), (0, 1)]);
}

#[test]
fn eos_waits_for_the_minimum_length_and_probabilities_stay_those_of_all_tokens() {
    let rules = Rules {
        min_length: 2,
        ..Rules::new(1, 0)
    };
    for (length, expected) in [(1, 1), (2, 0)] {
        let case = StepCase::of(&[(0.0, length, false)], &HALF);
        let kept = case.oracle(&rules).pools[0].best(1)[0];
        assert_eq!(kept.token, Some(expected));
        let probability = if expected == 0 { 0.5f64 } else { 0.25 };
        assert!((kept.beam.acc.value - probability.ln()).abs() < 1e-7);
    }
}

#[test]
fn eos_counts_in_the_length_unless_told_otherwise() {
    for (count_eos, length) in [(true, 4), (false, 3)] {
        let rules = Rules {
            count_eos,
            ..Rules::new(1, 0)
        };
        let kept = StepCase::of(&[(0.0, 3, false)], &HALF).oracle(&rules).pools[0].best(1)[0];
        assert_eq!((kept.beam.length, kept.beam.finished), (length, true));
    }
}

#[test]
fn only_the_2k_best_of_a_beam_enter_the_pool() {
    let row: Vec<f32> = (0..10).map(|i| i as f32 * 0.1).collect();
    let pool = StepCase::of(&[(0.0, 0, false)], &row).oracle(&Rules::new(1, 99));
    let tokens: Vec<_> = pool.pools[0].candidates().iter().map(|c| c.token).collect();
    assert_eq!(tokens, [Some(8), Some(9)]);
}

#[test]
fn a_run_reports_where_its_bounds_do_not_decide() {
    /// Two tokens a part in 10⁸ apart, neither equal.
    struct Near;
    impl Model for Near {
        fn vocabulary(&self) -> usize {
            2
        }
        fn logits(&self, history: &[i32]) -> Vec<f32> {
            if history.len() < 2 {
                vec![0.0, 1.0]
            } else {
                vec![0.0, 1e-8]
            }
        }
    }
    let rules = Rules {
        max_new_tokens: 3,
        ..Rules::new(1, 9)
    };
    let got = run(&Near, &[&[0]], &rules, precision()).unwrap().remove(0);
    assert_eq!(got.undecided.unwrap().step, 1);
}

/// The oracle's own answer of a one-item step, to be spoiled.
struct Answer {
    parent: Vec<i32>,
    token: Vec<i32>,
    acc: Vec<f32>,
    length: Vec<i32>,
    finished: Vec<bool>,
    score: Vec<f32>,
}

impl Answer {
    fn of(step: &Step, beams: usize) -> Self {
        let mut kept = step.pools[0]
            .best(beams)
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>();
        kept.resize(beams, None);
        let none = f32::NEG_INFINITY;
        Self {
            parent: kept
                .iter()
                .map(|c| c.map_or(-1, |c| c.parent as i32))
                .collect(),
            token: kept
                .iter()
                .map(|c| c.and_then(|c| c.token).unwrap_or(-1))
                .collect(),
            acc: kept
                .iter()
                .map(|c| c.map_or(none, |c| c.beam.acc.value as f32))
                .collect(),
            length: kept
                .iter()
                .map(|c| c.map_or(0, |c| c.beam.length as i32))
                .collect(),
            finished: kept
                .iter()
                .map(|c| c.is_some_and(|c| c.beam.finished))
                .collect(),
            score: kept
                .iter()
                .map(|c| c.map_or(none, |c| c.score.value as f32))
                .collect(),
        }
    }

    fn judge(&self, step: &Step) -> std::result::Result<(), Misstep> {
        let shape = [1, self.parent.len()];
        let kept = Kept {
            parent: View::new("parent", &self.parent, shape).unwrap(),
            token: View::new("token", &self.token, shape).unwrap(),
            acc: View::new("acc", &self.acc, shape).unwrap(),
            length: View::new("length", &self.length, shape).unwrap(),
            finished: View::new("finished", &self.finished, shape).unwrap(),
            score: View::new("score", &self.score, shape).unwrap(),
        };
        step.judge(&kept).unwrap().map(|_| ())
    }
}

#[test]
fn wrong_steps_are_explained() {
    let case = StepCase::of(
        &[(-3.0, 2, true), (-5.0, 2, false)],
        &[2.0, 1.0, 0.0, f32::NAN],
    );
    let rules = Rules {
        alpha: 1.0,
        ..Rules::new(2, 9)
    };
    let step = case.oracle(&rules);
    assert_eq!(Answer::of(&step, 2).judge(&step), Ok(()));
    let said = |change: &dyn Fn(&mut Answer)| {
        let mut answer = Answer::of(&step, 2);
        change(&mut answer);
        answer.judge(&step).unwrap_err().to_string()
    };
    assert_eq!(
        said(&|a| a.token[1] = 3),
        "item 0, rank 1: parent 1 with token 3 is not in the pool: \
         the token is forbidden or not among the parent's 2K best"
    );
    assert_eq!(
        said(&|a| a.token[0] = 1),
        "item 0, rank 0: parent 0 with token 1 is not in the pool: \
         the parent is finished and takes no token"
    );
    assert_eq!(
        said(&|a| (a.parent[1], a.token[1]) = (-1, -1)),
        "item 0, rank 1: the pool has 4 candidates, so this rank must be a beam"
    );
    let message = said(&|a| a.token[1] = 1);
    assert!(message.contains("left out"), "{message}");
    assert!(
        message.ends_with("as (parent, token): 1 = (1, 0), 2 = (1, 1)"),
        "{message}"
    );
    let message = said(&|a| a.acc[1] = -1.8);
    assert!(
        message.starts_with("item 0, rank 1: sum of parent 1, token 0 is -5.4076"),
        "{message}"
    );
    assert!(message.ends_with("yours -1.8"), "{message}");
    assert!(said(&|a| a.length[1] = 2).contains("length of parent 1, token 0 is 3, yours 2"));
    assert!(said(&|a| a.score[0] = -3.0).contains("score of parent 0, token -1"));
}

#[test]
fn bad_input_is_refused_by_name() {
    let case = || StepCase::of(&[(-3.0, 2, true), (-5.0, 2, false)], &HALF);
    let refused = |case: StepCase, rules: Rules| case.try_oracle(&rules).unwrap_err().about();
    assert_eq!(refused(case(), Rules::new(3, 0)), "logits");
    assert_eq!(refused(case(), Rules::new(0, 0)), "K");
    assert_eq!(
        refused(
            case(),
            Rules {
                alpha: f32::NAN,
                ..Rules::new(2, 0)
            }
        ),
        "alpha"
    );
    assert_eq!(
        refused(
            case(),
            Rules {
                n_best: 3,
                ..Rules::new(2, 0)
            }
        ),
        "n_best"
    );
    assert_eq!(
        refused(
            StepCase {
                acc: vec![f32::NAN; 2],
                ..case()
            },
            Rules::new(2, 0)
        ),
        "acc"
    );
    assert_eq!(
        refused(
            StepCase {
                length: vec![1, -1],
                ..case()
            },
            Rules::new(2, 0)
        ),
        "length"
    );
    assert_eq!(
        refused(
            StepCase {
                acc: vec![0.0; 3],
                ..case()
            },
            Rules::new(2, 0)
        ),
        "acc"
    );
    let infinite = StepCase {
        logits: vec![f32::INFINITY; 6],
        ..case()
    };
    assert_eq!(refused(infinite, Rules::new(2, 0)), "logits");
    let empty = StepCase {
        shape: [1, 2, 0],
        logits: vec![],
        ..case()
    };
    assert_eq!(refused(empty, Rules::new(2, 0)), "V");
}
