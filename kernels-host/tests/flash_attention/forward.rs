//! Random shapes and options against the oracle; determinism; what changes nothing.

use crate::case::{Answer, Case, Number, Plan, plans};
use kernels_host::attention::Window;
use kernels_host::{Device, Vm};
use proptest::prelude::*;
use std::sync::Arc;

for_each_type! {
    within_the_bound;
    every_kernel_with_every_option;
    rows_of_mixed_scales;
    the_same_bits_on_every_schedule;
    constant_values_give_the_constant;
}

fn check<T: Number>(plan: &Plan, seed: u64) {
    Case::<T>::draw(plan, seed).check();
}

fn within_the_bound<T: Number>() {
    proptest!(ProptestConfig::with_cases(40), |(plan in plans(), seed in any::<u64>())| {
        check::<T>(&plan, seed);
    });
}

/// Every head size and every option at least once, whatever proptest draws.
fn every_kernel_with_every_option<T: Number>() {
    for head_size in [32, 64, 96, 128, 256] {
        let mut plan = Plan::new(40, 150, head_size).causal();
        plan.group = 2;
        plan.options.softcap = Some(3.0);
        plan.options.window = Some(Window {
            left: Some(70),
            right: None,
        });
        check::<T>(&plan, 2);
    }
}

/// Rows at 1e-3, 1 and 1e3 in one tensor: scores from nothing to a million.
fn rows_of_mixed_scales<T: Number>() {
    for (seed, head_size) in [(31, 32), (32, 64), (33, 128)] {
        let mut plan = Plan::new(70, 150, head_size).causal();
        plan.group = 2;
        Case::<T>::mixed(&plan, seed, f64::INFINITY).check();
        plan.options.softcap = Some(20.0);
        Case::<T>::mixed(&plan, seed, f64::INFINITY).check();
    }
}

fn the_same_bits_on_every_schedule<T: Number>() {
    let mut plan = Plan::new(33, 100, 64).causal();
    plan.group = 3;
    let case = Case::<T>::draw(&plan, 11);
    let runs: Vec<Answer<T>> = (0..4)
        .map(|seed| {
            let vm = Vm::new();
            vm.set_options(simt::Options {
                seed,
                explore: seed > 0,
                ..simt::Options::default()
            });
            let device: Arc<dyn Device> = vm;
            case.run(&device).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect();
    for run in &runs[1..] {
        assert!(run == &runs[0], "{plan:?}");
    }
}

/// A sequence of a packed batch is what it is alone.
#[test]
fn sequences_and_heads_are_independent() {
    let mut plan = Plan::new(1, 1, 32);
    plan.lengths = vec![(5, 30), (0, 7), (40, 0), (17, 70)];
    plan.packed = true;
    plan.kv_heads = 2;
    let whole = Case::<f32>::draw(&plan, 3);
    let answer = whole.check();
    let mut alone = plan.clone();
    alone.lengths = vec![plan.lengths[3]];
    let (q0, k0) = (plan.query_row(3, 0, 0) * 32, plan.key_row(3, 0, 0) * 32);
    let case = Case {
        plan: alone,
        q: whole.q[q0..].to_vec(),
        k: whole.k[k0..].to_vec(),
        v: whole.v[k0..].to_vec(),
    };
    assert!(case.on_vm().o == answer.o[q0..]);
}

/// Weights sum to 1: where all values of a component are equal, so is the output, to its rounding.
fn constant_values_give_the_constant<T: Number>() {
    let plan = Plan::new(20, 300, 64).causal();
    let drawn = Case::<T>::draw(&plan, 9);
    let made = Case::<T>::made(&plan, |_, _| 0.0, |_, _| 0.0, |_, c| c as f64 - 20.0);
    let case = Case { v: made.v, ..drawn };
    let answer = case.check();
    // One rounding of P that l does not share, one of the output; two sums over 300 keys.
    let relative = 2.0 * T::DTYPE.unit_roundoff() + 2.0 * case.precision().gamma(302);
    for (i, o) in answer.o.iter().enumerate() {
        let expected = (i % 64) as f64 - 20.0;
        assert!((o.to_f64() - expected).abs() <= relative * expected.abs());
    }
}
