//! The traps that TASKS names for flash attention, as cases.

use crate::case::{Case, Number, Plan, right};
use half::bf16;
use kernels_host::attention::Window;

for_each_type! {
    maxima_that_climb;
    a_length_no_tile_divides;
    fewer_keys_than_a_tile;
    more_queries_than_keys;
    a_window_that_leaves_the_first_tile_empty;
    scores_of_ten_thousand;
    poison_behind_the_mask;
    poison_outside_the_window;
    poison_in_other_sequences;
    only_minus_infinity;
    nan_that_is_seen;
}

/// The maximum climbs by 120 a tile of 32 keys: with exp(m_new − m_old) for the correction weights
/// overflow, and without any the early keys win.
fn maxima_that_climb<T: Number>() {
    let mut plan = Plan::new(4, 300, 64);
    plan.options.scale = 1.0;
    let q = |_: usize, c: usize| if c == 0 { 1.0 } else { 0.0 };
    let k = |row: usize, c: usize| match c {
        0 => 120.0 * (row / 32) as f64,
        _ => 0.0,
    };
    let v = |row: usize, c: usize| ((row * 7 + c) % 13) as f64 - 6.0;
    Case::<T>::made(&plan, q, k, v).check();
    // And down again.
    let k = |row: usize, c: usize| match c {
        0 => -120.0 * (row / 32) as f64,
        _ => 0.0,
    };
    Case::<T>::made(&plan, q, k, v).check();
}

fn a_length_no_tile_divides<T: Number>() {
    Case::<T>::draw(&Plan::new(97, 300, 64), 1).check();
    Case::<T>::draw(&Plan::new(97, 300, 64).causal(), 2).check();
}

fn fewer_keys_than_a_tile<T: Number>() {
    for keys in [0, 1, 5] {
        Case::<T>::draw(&Plan::new(3, keys, 32), 4).check();
    }
}

/// Rows before the first key see nothing: o = 0, lse = −inf.
fn more_queries_than_keys<T: Number>() {
    let plan = Plan::new(90, 40, 64).causal();
    let answer = Case::<T>::draw(&plan, 6).check();
    assert!(answer.lse[..50].iter().all(|lse| *lse == f32::NEG_INFINITY));
    assert!(answer.o[..50 * 64].iter().all(|o| o.to_f64() == 0.0));
    assert!(answer.lse[50..].iter().all(|lse| lse.is_finite()));
}

/// A row's first visited tile is masked for it from end to end: −inf − (−inf) must not be taken.
fn a_window_that_leaves_the_first_tile_empty<T: Number>() {
    let mut plan = Plan::new(256, 256, 32).causal();
    plan.options.window = Some(Window {
        left: Some(3),
        right: Some(0),
    });
    Case::<T>::draw(&plan, 8).check();
}

fn scores_of_ten_thousand<T: Number>() {
    let mut plan = Plan::new(33, 70, 32);
    plan.options.scale = 1.0;
    let q = |_: usize, c: usize| if c < 4 { 50.0 } else { 0.0 };
    let k = |row: usize, c: usize| match c {
        0..4 => 50.0 - (row % 9) as f64 * 12.5 * ((row + 1) % 2) as f64,
        _ => 0.0,
    };
    let v = |row: usize, c: usize| (row + c) as f64 / 16.0;
    Case::<T>::made(&plan, q, k, v).check();
    let negative = |row: usize, c: usize| -k(row, c);
    Case::<T>::made(&plan, q, negative, v).check();
}

/// NaN and infinity in what some rows of a tile see and others do not.
fn poison_behind_the_mask<T: Number>() {
    let mut plan = Plan::new(100, 100, 64).causal();
    plan.group = 2;
    let clean = Case::<T>::draw(&plan, 10);
    let expected = clean.check();
    for first in [1, 33, 70, 99] {
        let mut case = clean.clone();
        for x in &mut case.k[first * 64..] {
            *x = T::from_f64(f64::NAN);
        }
        for (i, x) in case.v[first * 64..].iter_mut().enumerate() {
            *x = T::from_f64([f64::NAN, f64::INFINITY, f64::NEG_INFINITY][i % 3]);
        }
        let got = case.on_vm();
        for head in 0..2 {
            for i in 0..first {
                let row = plan.query_row(0, head, i);
                let part = row * 64..(row + 1) * 64;
                assert!(got.lse[row].to_bits() == expected.lse[row].to_bits());
                assert!(
                    got.o[part.clone()] == expected.o[part],
                    "row {i} before {first}"
                );
            }
            for i in first..100 {
                let row = plan.query_row(0, head, i);
                assert!(got.lse[row].is_nan(), "row {i} sees NaN");
                assert!(
                    got.o[row * 64..(row + 1) * 64]
                        .iter()
                        .all(|o| o.to_f64().is_nan())
                );
            }
        }
    }
}

/// NaN in keys and values that no query of the case sees, before and after its window, in whole
/// tiles and in parts of tiles: the same bits as with zeros there.
fn poison_outside_the_window<T: Number>() {
    let mut plan = Plan::new(60, 260, 64);
    plan.kv_heads = 2;
    plan.options.window = Some(Window {
        left: Some(40),
        right: Some(7),
    });
    // Queries stand at 200..260 and see the keys 160..260; without the last rows, to 240.
    plan.lengths = vec![(60, 260)];
    let mut clean = Case::<T>::draw(&plan, 21);
    let mut poisoned = clean.clone();
    for head in 0..2 {
        for key in 0..160 {
            let row = plan.key_row(0, head, key);
            let part = row * 64..(row + 1) * 64;
            clean.k[part.clone()].fill(T::from_f64(0.0));
            clean.v[part.clone()].fill(T::from_f64(0.0));
            poisoned.k[part.clone()].fill(T::from_f64(f64::NAN));
            poisoned.v[part].fill(T::from_f64(f64::INFINITY));
        }
    }
    let expected = clean.check();
    assert!(poisoned.on_vm() == expected);
    // A key that the first queries see and the last do not.
    let mut poisoned = clean.clone();
    for head in 0..2 {
        let row = plan.key_row(0, head, 170);
        poisoned.k[row * 64..(row + 1) * 64].fill(T::from_f64(f64::NAN));
        poisoned.v[row * 64..(row + 1) * 64].fill(T::from_f64(f64::NAN));
    }
    let got = poisoned.on_vm();
    for head in 0..2 {
        for query in 0..60 {
            let row = plan.query_row(0, head, query);
            let part = row * 64..(row + 1) * 64;
            if query <= 10 {
                assert!(got.lse[row].is_nan() && got.o[part].iter().all(|o| o.to_f64().is_nan()));
            } else {
                assert!(got.lse[row].to_bits() == expected.lse[row].to_bits());
                assert!(got.o[part.clone()] == expected.o[part], "query {query}");
            }
        }
    }
}

/// NaN in the sequences before and after, whose rows lie next to a sequence's own and in its tiles.
fn poison_in_other_sequences<T: Number>() {
    let mut plan = Plan::new(1, 1, 32).causal();
    plan.packed = true;
    (plan.group, plan.kv_heads) = (2, 2);
    plan.lengths = vec![(5, 9), (21, 43), (3, 4)];
    let clean = Case::<T>::draw(&plan, 22);
    let expected = clean.check();
    let rows = |n: usize| n * 32;
    let own_q = rows(plan.query_row(1, 0, 0))..rows(plan.query_row(2, 0, 0));
    let own_k = rows(plan.key_row(1, 0, 0))..rows(plan.key_row(2, 0, 0));
    let poison = |values: &mut Vec<T>, own: &std::ops::Range<usize>| {
        for (i, x) in values.iter_mut().enumerate() {
            if !own.contains(&i) {
                *x = T::from_f64(f64::NAN);
            }
        }
    };
    let mut poisoned = clean.clone();
    poison(&mut poisoned.q, &own_q);
    poison(&mut poisoned.k, &own_k);
    poison(&mut poisoned.v, &own_k);
    let got = poisoned.on_vm();
    assert!(got.o[own_q.clone()] == expected.o[own_q.clone()]);
    let own = own_q.start / 32..own_q.end / 32;
    assert!(got.lse[own.clone()] == expected.lse[own]);
}

/// Keys that give −inf: as if they were not there; a row with nothing else gives 0 and −inf.
fn only_minus_infinity<T: Number>() {
    let mut plan = Plan::new(40, 70, 32).causal();
    plan.options.scale = 1.0;
    let q = |_: usize, c: usize| if c == 0 { 1.0 } else { 0.0 };
    let v = |row: usize, c: usize| (row * 3 + c) as f64 / 64.0;
    let mut case = Case::<T>::made(&plan, q, |_, _| 0.0, v);
    for row in 0..50 {
        case.k[row * 32] = T::from_f64(f64::NEG_INFINITY);
    }
    // 0·(−inf) would be NaN: q's other components are 0, k's too. The oracle is asked without those
    // keys: the last of the others still stand at the end.
    let answer = case.on_vm();
    let mut without = case.clone();
    without.plan.lengths = vec![(40, 20)];
    without.k.drain(..50 * 32);
    without.v.drain(..50 * 32);
    let expected = without.expected();
    right(&case.plan, "o", &expected.o, &answer.o);
    right(&case.plan, "lse", &expected.lse, &answer.lse);
    assert!(answer.lse[..20].iter().all(|lse| *lse == f32::NEG_INFINITY));
    assert!(answer.lse[20..].iter().all(|lse| lse.is_finite()));
}

/// NaN in q or k: the whole row; in v: that component.
fn nan_that_is_seen<T: Number>() {
    let plan = Plan::new(20, 80, 32).causal();
    let clean = Case::<T>::draw(&plan, 12);
    let nan = T::from_f64(f64::NAN);
    let mut case = clean.clone();
    case.v[65 * 32 + 7] = nan;
    let answer = case.check();
    for i in 0..20 {
        assert_eq!(
            answer.o[i * 32 + 7].to_f64().is_nan(),
            60 + i >= 65,
            "row {i}"
        );
        assert!(!answer.o[i * 32 + 8].to_f64().is_nan());
    }
    let mut case = clean.clone();
    case.k[65 * 32 + 7] = nan;
    case.q[3 * 32] = nan;
    let answer = case.check();
    for i in 0..20 {
        assert_eq!(answer.lse[i].is_nan(), 60 + i >= 65 || i == 3, "row {i}");
    }
}

/// The comparison itself can fail: an output of one head in another's place is outside its bound.
#[test]
fn heads_in_each_others_place_are_caught() {
    let mut plan = Plan::new(8, 20, 32);
    plan.kv_heads = 2;
    let case = Case::<f32>::draw(&plan, 1);
    let (answer, expected) = (case.on_vm(), case.expected());
    right(&plan, "o", &expected.o, &answer.o);
    let mut swapped = answer.o.clone();
    swapped.rotate_left(8 * 32);
    assert!(!expected.o.compare("o", &swapped).unwrap().is_right());
    let halves: Vec<bf16> = answer.o.iter().map(|o| bf16::from_f32(*o)).collect();
    assert!(!expected.o.compare("o", &halves).unwrap().is_right());
}
