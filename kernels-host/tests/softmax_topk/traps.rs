//! The traps that TASKS names for the family, each on every rung.

use crate::support::{Bits, Case, RUNGS};
use half::bf16;
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
