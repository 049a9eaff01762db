//! dq added in the order in which blocks come: right in every order, and nothing else changed.

use crate::backward::{Answers, gradient, judge, run, run_by};
use crate::case::{Answer, Case, Number, Plan, plans};
use crate::counted::sum;
use half::{bf16, f16};
use kernels_host::attention::Window;
use kernels_host::flash_attention_backward::Accumulation;
use kernels_host::{Call, Device, Recorder, Vm};
use proptest::prelude::*;
use std::sync::Arc;

fn unordered<T: Number>(case: &Case<T>, saved: &Answer<T>, d_o: &[T], seed: u64) -> Answers<T> {
    let vm = Vm::new();
    vm.set_options(simt::Options {
        seed,
        explore: seed > 0,
        ..simt::Options::default()
    });
    let device: Arc<dyn Device> = vm;
    run_by(Accumulation::Unordered, case, saved, d_o, &device)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Within the bound on several schedules; dk and dv have the bits of the ordered passes.
fn check<T: Number>(case: &Case<T>, seed: u64) {
    let (saved, d_o) = (case.on_vm(), gradient::<T>(&case.plan, seed));
    let device: Arc<dyn Device> = Vm::new();
    let ordered = run(case, &saved, &d_o, &device).unwrap();
    for schedule in 0..2 {
        let got = unordered(case, &saved, &d_o, schedule);
        judge(case, &saved, &d_o, &got);
        assert!(got[1] == ordered[1], "dk, schedule {schedule}");
        assert!(got[2] == ordered[2], "dv, schedule {schedule}");
    }
}

fn within_the_bound<T: Number>() {
    proptest!(ProptestConfig::with_cases(10), |(plan in plans(), seed in any::<u64>())| {
        check(&Case::<T>::draw(&Plan { head_size: 128, ..plan }, seed), seed);
    });
}

#[test]
fn f16_within_the_bound() {
    within_the_bound::<f16>();
}

#[test]
fn bf16_within_the_bound() {
    within_the_bound::<bf16>();
}

/// Several blocks add to a row; groups, window, softcap, a scale that is not positive.
#[test]
fn blocks_and_heads_add_up() {
    let mut plan = Plan::new(90, 200, 128).causal();
    (plan.group, plan.kv_heads) = (3, 2);
    plan.options.scale = -0.3;
    plan.options.softcap = Some(2.0);
    check(&Case::<f16>::draw(&plan, 14), 14);
    plan.options.window = Some(Window {
        left: Some(70),
        right: None,
    });
    check(&Case::<bf16>::draw(&plan, 15), 15);
}

/// Scores of −10⁴: what the tile has beyond the last key, with a score of 0, would have a weight
/// beyond all numbers.
#[test]
fn what_is_not_a_key_adds_nothing() {
    let mut plan = Plan::new(33, 70, 128);
    plan.options.scale = 1.0;
    let q = |_: usize, c: usize| if c < 4 { 50.0 } else { 0.0 };
    let k = |row: usize, c: usize| match c {
        0..4 => -50.0 + (row % 9) as f64 * 0.25,
        _ => 0.0,
    };
    let v = |row: usize, c: usize| ((row + c) % 32) as f64 / 16.0;
    check(&Case::<bf16>::made(&plan, q, k, v), 17);
}

/// NaN in a key, a value or a query's gradient reaches only who sees it.
#[test]
fn poison_stays_behind_the_mask() {
    let plan = Plan::new(80, 80, 128).causal();
    let mut case = Case::<bf16>::draw(&plan, 7);
    let (saved, d_o) = (case.on_vm(), gradient::<bf16>(&plan, 7));
    let clean = unordered(&case, &saved, &d_o, 0);
    let first = 37 * 128;
    case.k[first..].fill(bf16::NAN);
    case.v[first..].fill(bf16::NAN);
    let [dq, ..] = unordered(&case, &saved, &d_o, 0);
    let bits = |x: &[bf16]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&dq[..first]), bits(&clean[0][..first]));
    assert!(dq[first..].iter().all(|x| x.is_nan()));
}

/// Scores are made once: 5 products of each pair instead of 7. And no access waits for a bank.
#[test]
fn scores_are_made_once() {
    let plan = Plan::new(128, 256, 128);
    let case = Case::<f16>::draw(&plan, 3);
    let (saved, d_o) = (case.on_vm(), gradient::<f16>(&plan, 3));
    let products = |accumulation| {
        let vm = Vm::new();
        vm.set_options(simt::Options {
            counters: true,
            ..simt::Options::default()
        });
        let device: Arc<dyn Device> = vm.clone();
        run_by(accumulation, &case, &saved, &d_o, &device).unwrap();
        let launches = vm.take_launches();
        for instruction in ["ldmatrix", "st.shared", "ld.shared", "cp.async.cg"] {
            let conflicts = |launched| sum(launched, instruction, |n| n.banks.conflicts);
            let conflicts: u64 = launches.iter().map(conflicts).sum();
            assert_eq!(conflicts, 0, "{accumulation:?}, {instruction}");
        }
        let made = |launched| sum(launched, "mma.sync", |counts| counts.warp_instructions);
        launches.iter().map(made).sum::<u64>()
    };
    // Of 16×8×16 each.
    let product = 128 / 16 * 256 / 8 * 128 / 16;
    assert_eq!(products(Accumulation::Ordered), 7 * product);
    assert_eq!(products(Accumulation::Unordered), 5 * product);
}

/// D numbers of f32 a row of q, besides lse and D.
#[test]
fn the_workspace_is_one_more_dq() {
    let plan = Plan::new(300, 40, 128);
    let case = Case::<f16>::draw(&plan, 3);
    let saved = case.on_vm();
    let workspace = |accumulation| {
        let recorder = Recorder::new();
        let device: Arc<dyn Device> = recorder.clone();
        run_by(accumulation, &case, &saved, &case.q, &device).unwrap();
        let allocated = recorder.calls().into_iter().map(|call| match call {
            Call::Allocate(bytes) => bytes,
            _ => 0,
        });
        allocated.sum::<usize>()
    };
    let more = workspace(Accumulation::Unordered) - workspace(Accumulation::Ordered);
    assert_eq!(more, 4 * 300 * 128);
}

#[test]
fn other_types_and_head_sizes_are_refused() {
    fn refused<T: Number>(head_size: usize) {
        let recorder = Recorder::new();
        let device: Arc<dyn Device> = recorder.clone();
        let case = Case::<T>::draw(&Plan::new(3, 4, head_size), 1);
        let saved = case.on_vm();
        let error = run_by(Accumulation::Unordered, &case, &saved, &case.q, &device).unwrap_err();
        assert!(error.to_string().contains("accumulation"), "{error}");
        assert!(recorder.launches().is_empty());
    }
    refused::<f32>(128);
    refused::<f16>(64);
    refused::<bf16>(256);
}
