//! The gradients: random shapes and options against the oracle, traps, determinism, workspace.

use crate::case::{Answer, Case, Number, Plan, plans, right};
use half::{bf16, f16};
use kernels_host::attention::Window;
use kernels_host::flash_attention_backward::{
    Accumulation, Gradients, Inputs, flash_attention_backward_by,
};
use kernels_host::{Buffer, Call, Device, Error, Recorder, Result, Vm};
use proptest::prelude::*;
use reference::attention::{Delta, Method, Saved, backward};
use reference::cases::{Rng, mixed_up_to, normal};
use std::sync::Arc;

for_each_type! {
    within_the_bound;
    every_kernel_with_every_option;
    rows_of_mixed_scales;
    queries_that_see_nothing_have_no_gradient;
    lengths_no_tile_divides;
    gradients_add_up_over_tiles_and_heads;
    maxima_that_climb;
    scores_of_ten_thousand;
    poison_stays_behind_the_mask;
    poison_stays_in_its_sequence;
    the_same_bits_on_every_schedule;
}

/// dq, dk, dv.
pub(crate) type Answers<T> = [Vec<T>; 3];

/// The kernels' gradients on a device, from what the forward kernels answered.
pub(crate) fn run<T: Number>(
    case: &Case<T>,
    saved: &Answer<T>,
    d_o: &[T],
    device: &Arc<dyn Device>,
) -> Result<Answers<T>> {
    run_by(Accumulation::Ordered, case, saved, d_o, device)
}

pub(crate) fn run_by<T: Number>(
    accumulation: Accumulation,
    case: &Case<T>,
    saved: &Answer<T>,
    d_o: &[T],
    device: &Arc<dyn Device>,
) -> Result<Answers<T>> {
    let read = |values: &[T]| Buffer::from_slice(device, values);
    let poisoned = |len: usize| Buffer::from_slice(device, &vec![T::from_f64(f64::NAN); len]);
    let (q, k, v) = (read(&case.q)?, read(&case.k)?, read(&case.v)?);
    let (o, d_o) = (read(&saved.o)?, read(d_o)?);
    let lse = Buffer::from_slice(device, &saved.lse)?;
    let mut dq = poisoned(case.q.len())?;
    let (mut dk, mut dv) = (poisoned(case.k.len())?, poisoned(case.v.len())?);
    case.with_shape(device, |shape| {
        let inputs = Inputs {
            q: &q,
            k: &k,
            v: &v,
            o: &o,
            lse: &lse,
            d_o: &d_o,
        };
        let gradients = Gradients {
            dq: &mut dq,
            dk: &mut dk,
            dv: &mut dv,
        };
        let options = &case.plan.options;
        flash_attention_backward_by(accumulation, shape, options, inputs, gradients)
    })?;
    Ok([dq.to_vec()?, dk.to_vec()?, dv.to_vec()?])
}

fn on_vm<T: Number>(case: &Case<T>, saved: &Answer<T>, d_o: &[T]) -> Answers<T> {
    let device: Arc<dyn Device> = Vm::new();
    run(case, saved, d_o, &device).unwrap_or_else(|error| panic!("{error}"))
}

fn check_with<T: Number>(case: &Case<T>, saved: &Answer<T>, d_o: &[T]) -> Answers<T> {
    let got = on_vm(case, saved, d_o);
    judge(case, saved, d_o, &got);
    got
}

/// Holds gradients against the oracle's.
pub(crate) fn judge<T: Number>(case: &Case<T>, saved: &Answer<T>, d_o: &[T], got: &Answers<T>) {
    let expected = case.with_batch(|batch| {
        let saved = Saved {
            lse: &saved.lse,
            delta: Delta::From(&saved.o),
        };
        let (options, precision) = (case.oracle_options(), case.precision());
        backward(batch, saved, d_o, &options, precision, Method::Tiled).unwrap()
    });
    right(&case.plan, "dq", &expected.dq, &got[0]);
    right(&case.plan, "dk", &expected.dk, &got[1]);
    right(&case.plan, "dv", &expected.dv, &got[2]);
}

pub(crate) fn gradient<T: Number>(plan: &Plan, seed: u64) -> Vec<T> {
    normal(
        &mut Rng::new(seed ^ 0xd0),
        plan.query_rows() * plan.head_size,
        1.0,
    )
}

fn check<T: Number>(plan: &Plan, seed: u64) -> (Case<T>, Answer<T>, Answers<T>) {
    let case = Case::<T>::draw(plan, seed);
    let saved = case.on_vm();
    let got = check_with(&case, &saved, &gradient(plan, seed));
    (case, saved, got)
}

fn within_the_bound<T: Number>() {
    proptest!(ProptestConfig::with_cases(20), |(plan in plans(), seed in any::<u64>())| {
        check::<T>(&plan, seed);
    });
}

/// Every head size with every option at least once, whatever proptest draws.
fn every_kernel_with_every_option<T: Number>() {
    for head_size in [32, 64, 96, 128, 256] {
        let mut plan = Plan::new(40, 100, head_size).causal();
        plan.group = 2;
        plan.options.softcap = Some(3.0);
        plan.options.window = Some(Window {
            left: Some(50),
            right: None,
        });
        check::<T>(&plan, 2);
    }
}

/// Rows of different scales, to 1: with more the gradients leave f16.
fn rows_of_mixed_scales<T: Number>() {
    for (seed, head_size) in [(34, 32), (35, 64), (36, 128)] {
        let mut plan = Plan::new(70, 150, head_size).causal();
        plan.group = 2;
        let case = Case::<T>::mixed(&plan, seed, 1.0);
        let rows = plan.query_rows();
        let d_o = mixed_up_to::<T>(&mut Rng::new(seed + 10), rows, head_size, 1.0);
        check_with(&case, &case.on_vm(), &d_o);
    }
}

/// Queries that see nothing have no gradient and give none; lengths that no tile divides.
fn queries_that_see_nothing_have_no_gradient<T: Number>() {
    let plan = Plan::new(97, 40, 32).causal();
    let (_, saved, [dq, ..]) = check::<T>(&plan, 6);
    assert!(saved.lse[..57].iter().all(|lse| *lse == f32::NEG_INFINITY));
    assert!(dq[..57 * 32].iter().all(|x| x.to_f64() == 0.0));
    assert!(dq[57 * 32..].iter().any(|x| x.to_f64() != 0.0));
}

/// Nk no multiple of a tile, Nk below a tile, more and fewer queries than keys.
fn lengths_no_tile_divides<T: Number>() {
    for (queries, keys) in [(97, 300), (300, 97), (3, 5), (1, 70), (70, 1), (5, 0)] {
        check::<T>(&Plan::new(queries, keys, 32), 12);
        check::<T>(&Plan::new(queries, keys, 32).causal(), 13);
    }
}

/// dk and dv are summed over tiles of queries and over the heads of the group, dq over tiles of
/// keys; the scale, here neither 1 nor positive, counts once in dq and dk and not in dv.
fn gradients_add_up_over_tiles_and_heads<T: Number>() {
    let mut plan = Plan::new(150, 140, 64);
    (plan.group, plan.kv_heads) = (3, 2);
    plan.options.scale = -0.3;
    check::<T>(&plan, 14);
    plan.options.softcap = Some(2.0);
    check::<T>(&plan, 15);
}

/// Scores that climb by 120 a tile: P is made again from lse, without a running maximum.
fn maxima_that_climb<T: Number>() {
    let mut plan = Plan::new(70, 200, 32).causal();
    plan.options.scale = 1.0;
    let q = |_: usize, c: usize| if c == 0 { 1.0 } else { 0.0 };
    let k = |row: usize, c: usize| match c {
        0 => 120.0 * (row / 32) as f64,
        _ => 0.0,
    };
    let v = |row: usize, c: usize| ((row * 7 + c) % 13) as f64 - 6.0;
    let case = Case::<T>::made(&plan, q, k, v);
    check_with(&case, &case.on_vm(), &gradient(&plan, 16));
}

fn scores_of_ten_thousand<T: Number>() {
    let mut plan = Plan::new(33, 70, 32);
    plan.options.scale = 1.0;
    let q = |_: usize, c: usize| if c < 4 { 50.0 } else { 0.0 };
    for sign in [1.0, -1.0] {
        let k = |row: usize, c: usize| match c {
            0..4 => sign * (50.0 - (row % 9) as f64 * 12.5 * ((row + 1) % 2) as f64),
            _ => 0.0,
        };
        let v = |row: usize, c: usize| (row + c) as f64 / 16.0;
        let case = Case::<T>::made(&plan, q, k, v);
        check_with(&case, &case.on_vm(), &gradient(&plan, 17));
    }
}

/// Linear in do, to the bit where the factor is a power of two. Not f16, whose dX has fewer bits
/// below 2⁻¹⁴.
#[test]
fn twice_the_gradient_of_o_is_twice_the_gradients() {
    linear::<f32>();
    linear::<bf16>();
}

fn linear<T: Number>() {
    let mut plan = Plan::new(40, 90, 64).causal();
    plan.options.softcap = Some(5.0);
    let case = Case::<T>::draw(&plan, 18);
    let saved = case.on_vm();
    let d_o = gradient::<T>(&plan, 18);
    let twice: Vec<T> = d_o.iter().map(|x| T::from_f64(2.0 * x.to_f64())).collect();
    let once = on_vm(&case, &saved, &d_o);
    let both = on_vm(&case, &saved, &twice);
    // Far above where a number has fewer bits than its double.
    let least = 2.0_f64.powi(-100);
    for (once, twice) in once.iter().flatten().zip(both.iter().flatten()) {
        let (once, twice) = (once.to_f64(), twice.to_f64());
        assert!(twice == 2.0 * once || once.abs() < least, "{once} {twice}");
    }
}

/// NaN in all that belongs to the sequences before and after, lse and o too.
fn poison_stays_in_its_sequence<T: Number>() {
    let mut plan = Plan::new(1, 1, 32).causal();
    plan.packed = true;
    (plan.group, plan.kv_heads) = (2, 2);
    plan.lengths = vec![(5, 9), (21, 43), (3, 4)];
    let (case, saved, clean) = check::<T>(&plan, 19);
    let own_q = plan.query_row(1, 0, 0)..plan.query_row(2, 0, 0);
    let own_k = plan.key_row(1, 0, 0)..plan.key_row(2, 0, 0);
    let vectors = |rows: &std::ops::Range<usize>| rows.start * 32..rows.end * 32;
    let (q, k) = (vectors(&own_q), vectors(&own_k));
    let poisoned = |values: &[T], own: &std::ops::Range<usize>| {
        let keep = |(i, x): (usize, &T)| {
            if own.contains(&i) {
                *x
            } else {
                T::from_f64(f64::NAN)
            }
        };
        values.iter().enumerate().map(keep).collect::<Vec<T>>()
    };
    let dirty = Case {
        plan: plan.clone(),
        q: poisoned(&case.q, &q),
        k: poisoned(&case.k, &k),
        v: poisoned(&case.v, &k),
    };
    let lse = |(i, x): (usize, &f32)| if own_q.contains(&i) { *x } else { f32::NAN };
    let saved = Answer {
        o: poisoned(&saved.o, &q),
        lse: saved.lse.iter().enumerate().map(lse).collect(),
    };
    let [dq, dk, dv] = on_vm(&dirty, &saved, &poisoned(&gradient(&plan, 19), &q));
    assert!(dq[q.clone()] == clean[0][q]);
    assert!(dk[k.clone()] == clean[1][k.clone()] && dv[k.clone()] == clean[2][k]);
}

/// NaN in keys and values reaches only the queries that see them, and NaN in the gradient of a
/// query only the keys that it sees.
fn poison_stays_behind_the_mask<T: Number>() {
    let plan = Plan::new(80, 80, 32).causal();
    let (case, saved, clean) = check::<T>(&plan, 7);
    let d_o = gradient::<T>(&plan, 7);
    let nan = T::from_f64(f64::NAN);
    let first = 37 * 32;

    let mut poisoned = case.clone();
    poisoned.k[first..].fill(nan);
    poisoned.v[first..].fill(nan);
    let [dq, ..] = on_vm(&poisoned, &saved, &d_o);
    assert!(dq[..first] == clean[0][..first]);
    assert!(dq[first..].iter().all(|x| x.to_f64().is_nan()));

    // Query 36 and those before it do not see key 37.
    let (mut case, mut d_o) = (case, d_o);
    d_o[..first].fill(nan);
    case.q[..first].fill(nan);
    let [_, dk, dv] = on_vm(&case, &saved, &d_o);
    assert!(dk[first..] == clean[1][first..] && dv[first..] == clean[2][first..]);
    assert!(
        dk[..first]
            .iter()
            .chain(&dv[..first])
            .all(|x| x.to_f64().is_nan())
    );
}

fn the_same_bits_on_every_schedule<T: Number>() {
    let mut plan = Plan::new(33, 70, 32).causal();
    plan.group = 3;
    let case = Case::<T>::draw(&plan, 11);
    let (saved, d_o) = (case.on_vm(), gradient::<T>(&plan, 11));
    let runs: Vec<Answers<T>> = (0..4)
        .map(|seed| {
            let vm = Vm::new();
            vm.set_options(simt::Options {
                seed,
                explore: seed > 0,
                ..simt::Options::default()
            });
            let device: Arc<dyn Device> = vm;
            run(&case, &saved, &d_o, &device).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect();
    for run in &runs[1..] {
        for (i, name) in ["dq", "dk", "dv"].into_iter().enumerate() {
            let differs = run[i].iter().zip(&runs[0][i]).position(|(a, b)| a != b);
            assert_eq!(differs, None, "first place where {name} differs");
        }
    }
}

/// Bytes allocated while the gradients of a head of 4096 are asked for, against one N×N of f32.
#[test]
fn the_workspace_is_a_number_a_row() {
    let n = 4096;
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let case = Case::<f16>::made(&Plan::new(n, n, 64), |_, _| 0.0, |_, _| 0.0, |_, _| 0.0);
    let saved = Answer {
        o: case.q.clone(),
        lse: vec![0.0; n],
    };
    run(&case, &saved, &case.q, &device).expect("recorded");
    // Seven tensors, lse and D; the bounds of the sequences, two numbers each.
    let allocated: Vec<usize> = recorder
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Allocate(bytes) => Some(bytes),
            _ => None,
        })
        .collect();
    let tensors = [n * 64 * 2; 8];
    let extra = allocated.iter().sum::<usize>() - tensors.iter().sum::<usize>() - 4 * n - 16;
    assert_eq!(extra, 4 * n, "{allocated:?}");
    assert!((extra as f64) < 0.2 * (4 * n * n) as f64);
    let launches = recorder.launches();
    let expected = ["delta_f16", "dq_f16_64", "dkdv_f16_64"];
    assert_eq!(
        launches,
        expected.map(|name| format!("flash_backward_{name}"))
    );
}

#[test]
fn what_does_not_fit_is_not_launched() {
    let recorder = Recorder::new();
    let device: Arc<dyn Device> = recorder.clone();
    let plan = Plan::new(3, 5, 32);
    let case = Case::<f32>::draw(&plan, 1);
    let saved = Answer {
        o: case.q.clone(),
        lse: vec![0.0; 3],
    };
    let short = Answer {
        lse: vec![0.0; 2],
        ..saved.clone()
    };
    let error = run(&case, &short, &case.q, &device).expect_err("lse is short");
    assert!(
        matches!(error, Error::Length { name: "lse", .. }),
        "{error}"
    );
    let error = run(&case, &saved, &case.q[1..], &device).expect_err("do is short");
    assert!(matches!(error, Error::Length { name: "do", .. }), "{error}");
    assert!(recorder.launches().is_empty());
    run(&case, &saved, &case.q, &device).expect("it fits");
}
