//! softmax-topk on the PTX machine against the float64 oracle: every rung and dtype, the family's
//! traps, odd values, and the same bits on every schedule.

mod support;
mod traps;

use half::{bf16, f16};
use kernels_host::softmax_topk::{Logit, Rung};
use proptest::prelude::*;
use reference::cases::{Rng, mixed};
use reference::numbers::Element;
use support::{Case, RUNGS};

/// One row of each length that a tile or a vector could trip over, with k at both ends.
fn every_rung_is_within_the_bound<T: Logit + Element>() {
    let mut rng = Rng::new(7);
    for rung in RUNGS {
        for vocabulary in [
            1, 2, 3, 7, 8, 9, 31, 33, 127, 256, 257, 1021, 2048, 2049, 4099,
        ] {
            // Two rows and a prime vocabulary: the second row starts at any alignment.
            let rows = if vocabulary < 300 { 3 } else { 2 };
            let logits = mixed::<T>(&mut rng, rows, vocabulary);
            let most = vocabulary.min(if rung == Rung::Warp { 32 } else { 1024 });
            for k in [1, rng.between(1, most), most] {
                Case::new(rows, vocabulary, logits.clone()).k(k).check(rung);
            }
        }
    }
}

#[test]
fn every_rung_is_within_the_bound_in_f32() {
    every_rung_is_within_the_bound::<f32>();
}

#[test]
fn every_rung_is_within_the_bound_in_f16() {
    every_rung_is_within_the_bound::<f16>();
}

#[test]
fn every_rung_is_within_the_bound_in_bf16() {
    every_rung_is_within_the_bound::<bf16>();
}

#[test]
fn the_rung_chosen_by_the_shape_is_within_the_bound() {
    let mut rng = Rng::new(8);
    for (rows, vocabulary, k) in [
        (5, 300, 32),
        (1, 40_000, 50),
        (2, 20_011, 1024),
        (9, 2048, 33),
    ] {
        let logits = mixed::<bf16>(&mut rng, rows, vocabulary);
        Case::new(rows, vocabulary, logits).k(k).check(None);
    }
}

fn any_case<T: Logit + Element>(seed: u64, rows: usize, vocabulary: usize, rung: usize) {
    let mut rng = Rng::new(seed);
    let rung = RUNGS[rung];
    let most = vocabulary.min(if rung == Rung::Warp { 32 } else { 1024 });
    let mut case = Case::new(rows, vocabulary, mixed::<T>(&mut rng, rows, vocabulary));
    case.k = rng.between(1, most);
    case.temperature = rng.choose(&[1.0, 1.0, 0.5, 0.7, 3.0, 1e-3, 1e4]);
    if rng.chance(0.5) {
        case.ks = Some((0..rows).map(|_| rng.between(1, case.k)).collect());
    }
    if rng.chance(0.5) {
        let hidden = rng.choose(&[0.05, 0.5, 1.0]);
        let byte = |rng: &mut Rng| {
            if rng.chance(hidden) {
                rng.choose(&[1, 2, 255])
            } else {
                0
            }
        };
        case.mask = Some((0..rows * vocabulary).map(|_| byte(&mut rng)).collect());
    }
    for _ in 0..rng.below(3) {
        let at = rng.below(rows * vocabulary);
        let odd = rng.choose(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -f64::NAN]);
        case.logits[at] = T::from_f64(odd);
    }
    case.check(rung);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_shape_and_option_is_within_the_bound(
        seed in any::<u64>().no_shrink(), rows in 1_usize..6, rung in 0..RUNGS.len(),
        vocabulary in prop_oneof![1_usize..80, 200_usize..1400], dtype in 0..3,
    ) {
        match dtype {
            0 => any_case::<f32>(seed, rows, vocabulary, rung),
            1 => any_case::<f16>(seed, rows, vocabulary, rung),
            _ => any_case::<bf16>(seed, rows, vocabulary, rung),
        }
    }
}

#[test]
fn the_bits_are_the_same_on_every_schedule() {
    let mut rng = Rng::new(9);
    let (rows, vocabulary) = (2, 3001);
    let case = Case::new(rows, vocabulary, mixed::<bf16>(&mut rng, rows, vocabulary));
    for rung in RUNGS {
        let case = case.clone().k(32);
        let first = case.run(Some(rung));
        for seed in 1..5 {
            let again = case.clone().on_schedule(seed).run(Some(rung));
            assert_eq!(first, again, "{rung:?}, schedule {seed}");
        }
    }
}
