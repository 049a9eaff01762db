//! Runs against exhaustive search and greedy decoding.

use std::collections::HashSet;

use super::*;
use crate::cases::strategy;
use crate::lm::{HashModel, Model, exhaustive, greedy};

const FINE: usize = (1 << 20) + 1;

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
