//! The traps that TASKS names for the family, each on every rung.

use crate::support::{Bits, Case, RUNGS};
use half::{bf16, f16};
use kernels_host::softmax_topk::{Logit, Rung};
use reference::cases::Rng;
use reference::numbers::Element;

const V: usize = 2311;

fn on_every_rung<T: Logit + Element>(rows: usize, logits: Vec<T>, look: impl Fn(&Bits)) {
    let vocabulary = logits.len() / rows;
    for rung in RUNGS {
        for k in [1, 31.min(vocabulary)] {
            look(&Case::new(rows, vocabulary, logits.clone()).k(k).check(rung));
        }
        if rung != Rung::Warp {
            let k = vocabulary.min(700);
            look(&Case::new(rows, vocabulary, logits.clone()).k(k).check(rung));
        }
    }
}

#[test]
fn rising_and_falling_rows() {
    let rising: Vec<f32> = (0..V).map(|i| i as f32 * 0.37).collect();
    let falling: Vec<f32> = rising.iter().rev().copied().collect();
    on_every_rung(2, [rising, falling].concat(), |_| ());
}

#[test]
fn equal_logits_come_in_their_order() {
    on_every_rung(1, vec![0.25_f32; V], |got| {
        let expected: Vec<i32> = (0..got.index.len() as i32).collect();
        assert_eq!(got.index, expected);
    });
}

#[test]
fn the_greatest_last_and_a_late_outlier() {
    let mut row: Vec<f32> = (0..V).map(|i| ((i * 7919) % V) as f32 * 1e-3).collect();
    row[V - 1] = 200.0;
    on_every_rung(1, row, |got| assert_eq!(got.index[0], V as i32 - 1));
}

#[test]
fn hundreds_of_exact_ties_in_bf16() {
    let mut rng = Rng::new(3);
    let levels = [1.0, 1.0, 1.0078125, 0.5, -3.0].map(bf16::from_f32);
    let row: Vec<bf16> = (0..V).map(|_| rng.choose(&levels)).collect();
    on_every_rung(1, row, |_| ());
}

#[test]
fn zeros_of_both_signs_are_equal() {
    let row: Vec<f32> = (0..V)
        .map(|i| if i % 3 == 0 { -0.0 } else { 0.0 })
        .collect();
    on_every_rung(1, row, |got| {
        let expected: Vec<i32> = (0..got.index.len() as i32).collect();
        assert_eq!(got.index, expected);
    });
}

#[test]
fn logits_of_ten_thousand() {
    let mut rng = Rng::new(4);
    let row: Vec<f32> = (0..V)
        .map(|_| 1e4 * rng.uniform(-1.0, 1.0) as f32)
        .collect();
    on_every_rung(1, row, |_| ());
}

#[test]
fn a_row_is_as_good_as_its_worst_logit() {
    let mut logits = vec![1.0_f32; 5 * V];
    logits[V / 2] = f32::NAN;
    logits[V + 3] = f32::INFINITY;
    logits[2 * V..3 * V].fill(f32::NEG_INFINITY);
    // A NaN among nothing but −inf, with its sign set.
    logits[3 * V..4 * V].fill(f32::NEG_INFINITY);
    logits[4 * V - 1] = -f32::NAN;
    on_every_rung(5, logits, |got| {
        let k = got.index.len() / 5;
        assert!(got.index[..2 * k].iter().all(|i| *i == -1));
        assert_eq!(got.index[2 * k], 0);
        assert_eq!(f32::from_bits(got.lse[2]), f32::NEG_INFINITY);
        assert!(f32::from_bits(got.lse[3]).is_nan());
    });
}

#[test]
fn what_is_masked_may_hold_anything_and_ranks_behind_all_numbers() {
    let mut rng = Rng::new(5);
    let logits: Vec<f32> = (0..V).map(|_| rng.normal() as f32).collect();
    let mask: Vec<u8> = (0..V).map(|i| u8::from(i % 100 != 17) * 7).collect();
    let spoilt: Vec<f32> = logits
        .iter()
        .zip(&mask)
        .map(|(x, m)| if *m == 0 { *x } else { f32::NAN })
        .collect();
    for rung in RUNGS {
        let mut case = Case::new(1, V, spoilt.clone()).k(30);
        case.mask = Some(mask.clone());
        let got = case.check(rung);
        assert!(got.index[..23].iter().all(|i| i % 100 == 17));
        assert_eq!(got.index[23..], [0, 1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn adding_a_constant_moves_lse_and_nothing_else() {
    // Multiples of 1/8: sums with 64 are exact.
    let mut rng = Rng::new(6);
    let logits: Vec<f32> = (0..V).map(|_| rng.below(64) as f32 / 8.0).collect();
    let moved: Vec<f32> = logits.iter().map(|x| x + 64.0).collect();
    for rung in RUNGS {
        let here = Case::new(1, V, logits.clone()).k(32).check(rung);
        let there = Case::new(1, V, moved.clone()).k(32).check(rung);
        assert_eq!(
            (here.index, here.probability),
            (there.index, there.probability)
        );
    }
}

#[test]
fn one_logit_all_of_them_and_prime_numbers_of_them() {
    let mut rng = Rng::new(11);
    for vocabulary in [1, 2, 3, 31, 127, 251, 509, 1021] {
        let logits: Vec<bf16> = (0..2 * vocabulary)
            .map(|_| bf16::from_f32(rng.normal() as f32))
            .collect();
        for rung in RUNGS {
            if rung != Rung::Warp || vocabulary <= 32 {
                // K = V: the whole row, sorted.
                Case::new(2, vocabulary, logits.clone())
                    .k(vocabulary)
                    .check(rung);
            }
        }
    }
}

/// All of the k best in one stretch of the row: in one thread's quads, one step, one part.
#[test]
fn the_best_stand_together() {
    for k in [30, 300] {
        for first in [0, 5, 777, V - k] {
            let mut row: Vec<f32> = (0..V).map(|i| ((i * 7919) % V) as f32 * 1e-3).collect();
            for (i, logit) in row[first..first + k].iter_mut().enumerate() {
                *logit = 10.0 + i as f32;
            }
            for rung in RUNGS
                .into_iter()
                .filter(|rung| k <= 32 || *rung != Rung::Warp)
            {
                let got = Case::new(1, V, row.clone()).k(k).check(rung);
                let expected: Vec<i32> = (first..first + k).rev().map(|i| i as i32).collect();
                assert_eq!(got.index, expected, "{rung:?}");
            }
        }
    }
}

/// The largest finite logits, which a scale of more than 1 would carry beyond f32.
#[test]
fn rows_of_the_least_number() {
    let mut row = vec![f32::MIN; V];
    on_every_rung(1, row.clone(), |got| {
        let expected: Vec<i32> = (0..got.index.len() as i32).collect();
        assert_eq!(got.index, expected);
    });
    row[V / 2] = 1.0;
    on_every_rung(1, row, |got| assert_eq!(got.index[0], V as i32 / 2));
}

/// A permutation of a row permutes the indices.
#[test]
fn a_permuted_row_has_permuted_indices() {
    let mut rng = Rng::new(12);
    let row: Vec<f32> = (0..V).map(|i| i as f32 * 0.01).collect();
    let mut order: Vec<usize> = (0..V).collect();
    rng.shuffle(&mut order);
    let moved: Vec<f32> = order.iter().map(|i| row[*i]).collect();
    for rung in RUNGS {
        let got = Case::new(1, V, moved.clone()).k(32).check(rung);
        for (rank, index) in got.index.iter().enumerate() {
            assert_eq!(order[*index as usize], V - 1 - rank, "{rung:?}");
        }
    }
}

/// The greatest vocabulary and the greatest k of the contract, a k of its own for each row, a mask.
#[test]
fn a_vocabulary_of_262144_and_a_k_of_1024() {
    let (rows, vocabulary) = (2, 262_144);
    let mut rng = Rng::new(13);
    let logits: Vec<bf16> = (0..rows * vocabulary)
        .map(|_| bf16::from_f32(3.0 * rng.normal() as f32))
        .collect();
    let mask: Vec<u8> = (0..rows * vocabulary)
        .map(|_| u8::from(rng.chance(0.5)))
        .collect();
    for rung in [Rung::Block, Rung::Split(7)] {
        let mut case = Case::new(rows, vocabulary, logits.clone()).k(1024);
        case.ks = Some(vec![1024, 700]);
        case.mask = Some(mask.clone());
        case.check(rung);
    }
    let logits: Vec<f32> = logits.iter().map(|x| x.to_f32()).collect();
    Case::new(1, vocabulary, logits[..vocabulary].to_vec())
        .k(32)
        .check(Rung::Warp);
}

/// The vocabulary of a large model, also one that no vector divides.
#[test]
fn a_vocabulary_of_151936() {
    fn of<T: Logit + Element>(vocabulary: usize, k: usize) {
        let mut rng = Rng::new(15);
        let logits: Vec<T> = (0..2 * vocabulary)
            .map(|_| T::from_f64(3.0 * rng.normal()))
            .collect();
        for rung in [None, Some(Rung::Block), Some(Rung::Split(5))] {
            Case::new(2, vocabulary, logits.clone()).k(k).check(rung);
        }
    }
    of::<bf16>(151_936, 256);
    of::<f16>(151_936, 50);
    of::<f32>(151_935, 1000);
}

/// The same bits on every schedule where the pool is pruned many times, and of equal logits.
#[test]
fn pruning_gives_the_same_bits_on_every_schedule() {
    let mut rng = Rng::new(14);
    let rising: Vec<f32> = (0..20_000).map(|i| i as f32).collect();
    let levels: Vec<f32> = (0..20_000).map(|_| rng.below(5) as f32).collect();
    let noise: Vec<f32> = (0..20_000).map(|_| rng.normal() as f32).collect();
    for row in [rising, levels, noise] {
        for rung in [Rung::Block, Rung::Split(2)] {
            let case = Case::new(1, row.len(), row.clone()).k(200);
            let first = case.check(rung);
            for seed in 1..4 {
                let again = case.clone().on_schedule(seed).run(Some(rung));
                assert_eq!(first, again, "{rung:?}, schedule {seed}");
            }
        }
    }
}
