//! Against a sort of the full softmax; the properties of the task, its odd values, explanations.

use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::cases::{Rng, mixed, normal, strategy};
use crate::numbers::{DType, Element, Precision};
use crate::tensor::View;

fn precision() -> Precision {
    Precision::scalar(DType::F32)
}

fn oracle<T: Element>(logits: &[T], rows: usize, k: usize, temperature: f32) -> TopK {
    let logits = View::new("logits", logits, [rows, logits.len() / rows]).unwrap();
    topk(
        &Input {
            logits,
            k: Ks::Uniform(k),
            temperature,
            mask: None,
        },
        precision(),
    )
    .unwrap()
}

/// Plain softmax: no maximum subtracted unless it must be, every entry, then a full sort.
fn by_full_sort(logits: &[f64], k: usize, temperature: f64) -> (Vec<usize>, Vec<f64>, f64) {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m: f64, &x| m.max(x));
    // Any shift gives the same softmax; one far from the maximum is another evaluation.
    let shift = largest - 30.0;
    let weights: Vec<f64> = logits
        .iter()
        .map(|x| ((x - shift) / temperature).exp())
        .collect();
    let total: f64 = weights.iter().rev().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap());
    order.truncate(k);
    let prob = order.iter().map(|&i| weights[i] / total).collect();
    (order, prob, shift / temperature + total.ln())
}

/// Judges an f32 answer of one row.
fn judge(oracle: &TopK, index: &[i32], prob: &[f32], lse: f32) -> Result<(), Wrong> {
    let (shape, lse) = ([1, oracle.width], [lse]);
    let answer = Answer {
        prob: View::new("prob", prob, shape).unwrap(),
        index: View::new("index", index, shape).unwrap(),
        lse: View::new("lse", &lse, [1]).unwrap(),
    };
    oracle.judge(&answer).unwrap().map(|_| ())
}

/// The oracle's own answer, rounded.
fn canonical(row: &RowOracle) -> (Vec<i32>, Vec<f32>, f32) {
    let index = row.index();
    let prob = index
        .iter()
        .map(|&i| row.probability(i.max(0) as usize).value as f32)
        .collect();
    (index, prob, row.lse.value as f32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn agrees_with_a_sort_of_the_full_softmax(
        (rows, width, logits) in strategy::mixed_matrix::<bf16>(1..4, 1..200),
        k in 1usize..200,
        temperature in prop_oneof![Just(1.0f32), 0.25f32..4.0],
    ) {
        let k = k.min(width);
        let oracle = oracle(&logits, rows, k, temperature);
        for (row, oracle) in logits.chunks(width).zip(&oracle.rows) {
            let row: Vec<f64> = row.iter().map(|x| x.to_f64()).collect();
            let (order, prob, lse) = by_full_sort(&row, k, f64::from(temperature));
            let index: Vec<usize> = oracle.index().iter().map(|&i| i as usize).collect();
            prop_assert_eq!(&index, &order);
            for (i, p) in order.iter().zip(prob) {
                let got = oracle.probability(*i).value;
                prop_assert!((got - p).abs() <= 1e-10 * p.max(1e-20), "{got} {p}");
            }
            let scale = 1.0 + lse.abs();
            prop_assert!((oracle.lse.value - lse).abs() <= 1e-13 * scale);
        }
    }

    #[test]
    fn the_canonical_answer_is_right_and_probabilities_sum_to_at_most_one(
        (_, width, logits) in strategy::mixed_matrix::<f32>(1..2, 1..100),
    ) {
        for k in [1, width] {
            let oracle = oracle(&logits, 1, k, 1.0);
            let row = &oracle.rows[0];
            let (index, prob, lse) = canonical(row);
            prop_assert_eq!(judge(&oracle, &index, &prob, lse), Ok(()));
            let total: f64 = index.iter().map(|&i| row.probability(i as usize).value).sum();
            prop_assert!(total <= 1.0 + 1e-12);
            prop_assert!(k < width || total >= 1.0 - 1e-12);
        }
    }

    /// Adding a constant (exactly) moves lse by it and changes nothing else.
    #[test]
    fn a_shift_moves_only_lse(mut rng in strategy::rng(), width in 1usize..60) {
        let logits: Vec<f32> = (0..width).map(|_| rng.below(64) as f32 * 0.125).collect();
        let shifted: Vec<f32> = logits.iter().map(|x| x + 512.0).collect();
        let (a, b) = (oracle(&logits, 1, width, 1.0), oracle(&shifted, 1, width, 1.0));
        let (a, b) = (&a.rows[0], &b.rows[0]);
        prop_assert_eq!(a.index(), b.index());
        for i in 0..width {
            prop_assert_eq!(a.probability(i), b.probability(i));
        }
        prop_assert!((b.lse.value - a.lse.value - 512.0).abs() < 1e-11);
    }

    /// Permuting a row without ties permutes the indices.
    #[test]
    fn permutations_permute(mut rng in strategy::rng(), width in 1usize..60) {
        let mut order: Vec<usize> = (0..width).collect();
        rng.shuffle(&mut order);
        let logits: Vec<f32> = (0..width).map(|i| i as f32 * 0.37 - 5.0).collect();
        let permuted: Vec<f32> = order.iter().map(|&i| logits[i]).collect();
        let (a, b) = (oracle(&logits, 1, width, 1.0), oracle(&permuted, 1, width, 1.0));
        let back: Vec<i32> =
            b.rows[0].index().iter().map(|&i| order[i as usize] as i32).collect();
        prop_assert_eq!(back, a.rows[0].index());
    }
}

#[test]
fn odd_rows_follow_their_rules() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for spoiled in [[1.0, nan, 2.0], [1.0, inf, 2.0], [-inf, nan, -inf]] {
        let oracle = oracle(&spoiled, 1, 2, 1.0);
        assert_eq!(oracle.rows[0].index(), [-1, -1]);
        assert_eq!(judge(&oracle, &[-1, -1], &[nan, nan], nan), Ok(()));
        assert!(judge(&oracle, &[-1, 0], &[nan, nan], nan).is_err());
        assert!(judge(&oracle, &[-1, -1], &[nan, 0.0], nan).is_err());
        assert!(judge(&oracle, &[-1, -1], &[nan, nan], inf).is_err());
    }
    let empty = oracle(&[-inf; 3], 1, 2, 1.0);
    assert_eq!(judge(&empty, &[0, 1], &[0.0, -0.0], -inf), Ok(()));
    assert!(judge(&empty, &[1, 0], &[0.0, 0.0], -inf).is_err());
    assert!(judge(&empty, &[0, 1], &[0.0, 1e-30], -inf).is_err());
    assert!(judge(&empty, &[0, 1], &[0.0, 0.0], f32::MIN).is_err());
    let partly = oracle(&[-inf, 2.0, -inf], 1, 3, 1.0);
    assert_eq!(judge(&partly, &[1, 0, 2], &[1.0, 0.0, 0.0], 2.0), Ok(()));
    assert!(judge(&partly, &[1, 2, 0], &[1.0, 0.0, 0.0], 2.0).is_err());
}

#[test]
fn masked_entries_count_as_minus_infinity_whatever_they_hold() {
    let logits = [1.0f32, f32::NAN, 3.0, f32::INFINITY];
    let view = View::new("logits", &logits, [1, 4]).unwrap();
    let mask = [false, true, false, true];
    let mask = Some(View::new("mask", &mask, [1, 4]).unwrap());
    let input = Input {
        logits: view,
        k: Ks::Uniform(4),
        temperature: 1.0,
        mask,
    };
    let row = &topk(&input, precision()).unwrap().rows[0];
    assert_eq!(row.index(), [2, 0, 1, 3]);
    assert_eq!(row.probability(1).value, 0.0);
    assert!((row.probability(2).value - 1.0 / (1.0 + (-2f64).exp())).abs() < 1e-15);
}

#[test]
fn each_row_may_have_its_own_k() {
    let logits = [1.0f32, 2.0, 3.0, 6.0, 5.0, 4.0];
    let logits = View::new("logits", &logits, [2, 3]).unwrap();
    let input = Input {
        logits,
        k: Ks::PerRow(&[1, 3]),
        temperature: 1.0,
        mask: None,
    };
    let oracle = topk(&input, precision()).unwrap();
    assert_eq!(
        (oracle.width, oracle.rows[0].index(), oracle.rows[1].index()),
        (3, vec![2], vec![0, 1, 2])
    );
    let judge = |index: [i32; 6]| {
        let mut prob = [0.0f32; 6];
        prob[0] = oracle.rows[0].probability(2).value as f32;
        (0..3).for_each(|i| prob[3 + i] = oracle.rows[1].probability(i).value as f32);
        let lse = [
            oracle.rows[0].lse.value as f32,
            oracle.rows[1].lse.value as f32,
        ];
        let answer = Answer {
            prob: View::new("prob", &prob, [2, 3]).unwrap(),
            index: View::new("index", &index, [2, 3]).unwrap(),
            lse: View::new("lse", &lse, [2]).unwrap(),
        };
        oracle.judge(&answer).unwrap()
    };
    assert!(judge([2, -1, -1, 0, 1, 2]).is_ok());
    assert!(matches!(
        judge([2, 1, -1, 0, 1, 2]),
        Err(Wrong::NotNoIndex { rank: 1, .. })
    ));
}

#[test]
fn wrong_answers_are_explained() {
    let logits = [0.5f32, 2.25, 1.0, 2.25, -1.0];
    let oracle = oracle(&logits, 1, 3, 1.0);
    let (index, prob, lse) = canonical(&oracle.rows[0]);
    assert_eq!(index, [1, 3, 2]);
    let said = |index: &[i32], prob: &[f32], lse| {
        judge(&oracle, index, prob, lse).unwrap_err().to_string()
    };
    assert_eq!(
        said(&[3, 1, 2], &prob, lse),
        "row 0: candidates 1 and 3 are exactly tied: 1 comes first"
    );
    assert_eq!(
        said(&[1, 3, 3], &prob, lse),
        "row 0: rank 2: candidate 3 was already chosen at rank 1"
    );
    assert_eq!(
        said(&[1, 3, 0], &prob, lse),
        "row 0: candidate 2 (score 1) is left out, but candidate 0 (score 0.5) is chosen"
    );
    assert_eq!(
        said(&[1, 3, 5], &prob, lse),
        "row 0, rank 2: index 5 is not in 0..5"
    );
    let high = [prob[0], prob[1], 0.1];
    let message = said(&index, &high, lse);
    assert!(
        message.starts_with("row 0, rank 2: index 2 has probability 0.1146"),
        "{message}"
    );
    assert!(message.ends_with("yours 0.1"), "{message}");
    let message = said(&index, &prob, 3.0);
    assert!(message.starts_with("row 0: lse is 3.1"), "{message}");
}

#[test]
fn bad_input_is_refused_by_name() {
    let logits = normal::<f32>(&mut Rng::new(1), 6, 1.0);
    let view = View::new("logits", &logits, [2, 3]).unwrap();
    let base = Input {
        logits: view,
        k: Ks::Uniform(2),
        temperature: 1.0,
        mask: None,
    };
    let refused = |input: Input<'_, f32>| topk(&input, precision()).unwrap_err().about();
    assert_eq!(
        refused(Input {
            k: Ks::Uniform(4),
            ..base
        }),
        "K"
    );
    assert_eq!(
        refused(Input {
            k: Ks::Uniform(0),
            ..base
        }),
        "K"
    );
    assert_eq!(
        refused(Input {
            k: Ks::PerRow(&[1]),
            ..base
        }),
        "K"
    );
    assert_eq!(
        refused(Input {
            k: Ks::PerRow(&[1, 4]),
            ..base
        }),
        "K"
    );
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(
            refused(Input {
                temperature,
                ..base
            }),
            "temperature"
        );
    }
    let mask = [false; 6];
    let mask = Some(View::new("mask", &mask, [3, 2]).unwrap());
    assert_eq!(refused(Input { mask, ..base }), "mask");
    assert_eq!(
        refused(Input {
            logits: View::new("logits", &[], [0, 3]).unwrap(),
            ..base
        }),
        "R"
    );
    assert_eq!(
        refused(Input {
            logits: View::new("logits", &[], [2, 0]).unwrap(),
            ..base
        }),
        "V"
    );
    let oracle = topk(&base, precision()).unwrap();
    let malformed = Answer {
        prob: View::new("prob", &[0.0f32; 2], [2, 1]).unwrap(),
        index: View::new("index", &[0; 4], [2, 2]).unwrap(),
        lse: View::new("lse", &[0.0; 2], [2]).unwrap(),
    };
    assert_eq!(oracle.judge(&malformed).unwrap_err().about(), "prob");
}

/// The late outlier of a mixed row takes everything; the bound there stays useful.
#[test]
fn bounds_stay_small_at_large_logits() {
    let logits: Vec<f32> = mixed(&mut Rng::new(4), 20, 500);
    for row in oracle(&logits, 20, 1, 1.0).rows {
        let best = row.probability(row.index()[0] as usize);
        assert!(best.bound < 1e-3 * best.value, "{best:?}");
    }
}
