//! The law of sampling against the target distribution.

use super::*;
use crate::numbers::Bounded;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Summed over everything the draft may have drawn, the emitted token has exactly the target
    /// distribution: for independent drafts from q and for any deterministic tree.
    #[test]
    fn the_emitted_token_has_the_target_distribution(mut rng in strategy::rng(), children in 0usize..4) {
        let vocabulary = 3;
        let simplex = |rng: &mut Rng| {
            let w: Vec<f64> = (0..vocabulary).map(|_| rng.unit().powi(2) + 1e-3).collect();
            let total: f64 = w.iter().sum();
            w.into_iter().map(|w| w / total).collect::<Vec<f64>>()
        };
        let (p, q) = (simplex(&mut rng), simplex(&mut rng));
        let exact: Vec<Bounded> = p.iter().map(|&p| Bounded::exact(p)).collect();
        let mut sampled = vec![0.0; vocabulary];
        for drawn in 0..vocabulary.pow(children as u32) {
            let tokens: Vec<i32> =
                (0..children).map(|c| (drawn / vocabulary.pow(c as u32) % vocabulary) as i32).collect();
            let weight: f64 = tokens.iter().map(|&t| q[t as usize]).product();
            let tree = Tree::new(&tokens, &vec![-1; children]).unwrap();
            let mut fixed = vec![0.0; vocabulary];
            for (draft, law) in [(Some(&q[..]), &mut sampled), (None, &mut fixed)] {
                let (tried, rest) = attempts(&tree, None, exact.clone(), draft, precision());
                let mut reached = if draft.is_some() { weight } else { 1.0 };
                for attempt in tried {
                    law[tokens[attempt.node] as usize] += reached * attempt.acceptance();
                    reached *= 1.0 - attempt.acceptance();
                }
                for (law, rest) in law.iter_mut().zip(rest) {
                    *law += reached * rest.value;
                }
            }
            // Two float64 sums of probabilities: some hundred roundings of 10⁻¹⁶.
            for (got, expected) in fixed.iter().zip(&p) {
                prop_assert!((got - expected).abs() < 1e-13, "{fixed:?} {p:?}");
            }
        }
        for (got, expected) in sampled.iter().zip(&p) {
            prop_assert!((got - expected).abs() < 1e-13, "{sampled:?} {p:?}");
        }
    }
}

/// Sampled walks follow their law: over many uniform numbers each token comes as often as the
/// target says (χ² with 3 degrees of freedom below 21.1, which chance exceeds once in 10⁴; the
/// seed is fixed).
#[test]
fn sampled_walks_follow_the_target() {
    let logits = [0.3f32, -0.4, 1.1, 0.0];
    let draft = [0.4f32, 0.3, 0.2, 0.1];
    let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    let mut rng = Rng::new(77);
    for deterministic in [false, true] {
        let mut counts = [0u32; 4];
        let n = 20_000;
        for _ in 0..n {
            let mut token = || {
                let u = rng.unit() as f32;
                i32::from(u >= 0.4) + i32::from(u >= 0.7) + i32::from(u >= 0.9)
            };
            let tokens = if deterministic {
                [2, 0]
            } else {
                [token(), token()]
            };
            let tree = Tree::new(&tokens, &[-1, -1]).unwrap();
            let logits = logits.repeat(3);
            let draft = draft.repeat(3);
            let sampling = Sampling {
                temperature: 1.0,
                draft: (!deterministic).then(|| View::new("draft", &draft, [3, 4]).unwrap()),
                uniform: &[
                    (rng.unit() as f32).min(0.999_999),
                    (rng.unit() as f32).min(0.999_999),
                ],
                bonus_uniform: (rng.unit() as f32).min(0.999_999),
            };
            let view = View::new("logits", &logits, [3, 4]).unwrap();
            let walk =
                accept_sampled(&tree, view, &sampling, &HashSet::new(), precision()).unwrap();
            counts[walk.accepted.text()[0] as usize] += 1;
        }
        let chi: f64 = (0..4)
            .map(|t| {
                let expected = f64::from(n) * f64::from(logits[t]).exp() / total;
                (f64::from(counts[t]) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi < 21.1, "{counts:?}: {chi}");
    }
}

#[test]
fn close_calls_are_undecided_and_clear_ones_are_not() {
    let tree = Tree::new(&[1], &[-1]).unwrap();
    let logits = [0.0f32; 4];
    let view = View::new("logits", &logits, [2, 2]).unwrap();
    let walk = |uniform: f32, bonus_uniform: f32| {
        let sampling = Sampling {
            temperature: 1.0,
            draft: None,
            uniform: &[uniform],
            bonus_uniform,
        };
        accept_sampled(&tree, view, &sampling, &HashSet::new(), precision()).unwrap()
    };
    assert_eq!(walk(0.5, 0.1).undecided, Some(0));
    let accepted = walk(0.4, 0.1);
    assert_eq!(
        (accepted.undecided, accepted.accepted.nodes.len()),
        (None, 1)
    );
    assert_eq!(accepted.bonuses, [0]);
    assert_eq!(
        walk(0.4, 0.5).bonuses,
        [0, 1],
        "a bonus drawn at the border may be either"
    );
    let rejected = walk(0.6, 0.9);
    assert_eq!(
        (rejected.accepted.nodes.len(), rejected.accepted.bonus),
        (0, 0)
    );
    let answer = Accepted {
        nodes: vec![],
        tokens: vec![],
        bonus: 1,
    };
    let message = rejected.judge(&answer).unwrap_err().to_string();
    assert_eq!(message, "after the prompt the bonus token is 0, yours is 1");
}
