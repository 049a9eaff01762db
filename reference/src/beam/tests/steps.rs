//! Steps against a sort of everything, and the rules one by one.

use super::*;
use crate::cases::beam::BeamStep;
use crate::cases::strategy;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

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
        // The accumulator is float32: half a unit of a number below 2 is 6·10⁻⁸.
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
