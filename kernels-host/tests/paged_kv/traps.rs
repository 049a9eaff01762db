//! The traps that TASKS names for paged attention, as cases.

use crate::case::{Case, Number, Plan, rungs};
use half::{bf16, f16};
use kernels_host::paged_kv::Format;

/// o = 0 and lse = −inf.
#[test]
fn a_sequence_without_tokens() {
    for format in Format::ALL {
        let mut plan = Plan::new(format, 64, 0);
        plan.lengths = vec![(1, 0), (1, 3)];
        for rung in rungs::<f16>(&plan) {
            let answer = Case::<f16>::draw(&plan, 1).check(rung);
            assert!(answer.o[..64].iter().all(|o| *o == f16::ZERO));
            assert_eq!(answer.lse[0], f32::NEG_INFINITY);
            assert!(answer.lse[1].is_finite());
        }
    }
}

/// Full last pages and pages with one token; everything behind the last token is NaN.
#[test]
fn last_page_full_or_holding_one_token() {
    for page in [1, 16, 32] {
        let mut plan = Plan::new(Format::Bf16, 64, 0);
        plan.page = page;
        plan.lengths = [1, 2 * page, 2 * page + 1].map(|keys| (1, keys)).to_vec();
        for rung in rungs::<bf16>(&plan) {
            Case::<bf16>::draw(&plan, page as u64).check(rung);
        }
    }
}

/// Query heads 0 and 1 share KV head 0; with `h % Hkv` head 1 would read KV head 1.
#[test]
fn heads_are_grouped_not_interleaved() {
    let mut plan = Plan::new(Format::F16, 64, 5);
    (plan.kv_heads, plan.group) = (2, 2);
    // Values of KV head h are 10·(h + 1).
    let v = (0..5 * 2 * 64).map(|i| 10.0 * (1 + i / 64 % 2) as f32);
    let case = Case::<f16>::of(&plan, vec![vec![0.0; 5 * 2 * 64]], vec![v.collect()], 1);
    for rung in rungs::<f16>(&plan) {
        let answer = case.check(rung);
        let heads: Vec<f32> = answer.o.chunks(64).map(|o| o[3].to_f32()).collect();
        assert_eq!(heads, [10.0, 10.0, 20.0, 20.0]);
    }
}

/// Component c of each value is c: swapped nibbles show, also in a vector of odd length.
#[test]
fn int4_nibbles_are_low_first_and_d_may_be_odd() {
    for head_size in [17, 64, 128] {
        let plan = Plan::new(Format::Int4, head_size, 4);
        let v: Vec<f32> = (0..4 * head_size)
            .map(|i| (i % head_size % 16) as f32)
            .collect();
        let case = Case::<bf16>::of(&plan, vec![vec![0.0; 4 * head_size]], vec![v.clone()], 1);
        for rung in rungs::<bf16>(&plan) {
            let answer = case.check(rung);
            for (c, o) in answer.o.iter().enumerate() {
                assert_eq!(o.to_f32(), v[c], "column {c} of {head_size}");
            }
        }
    }
}

/// Keys and values of zeros have scale 0 (int8) or are constant (int4): no NaN.
#[test]
fn zero_vectors_have_a_scale_of_zero() {
    for format in [Format::Int8, Format::Int4] {
        let plan = Plan::new(format, 64, 3);
        let zeros = vec![vec![0.0; 3 * 64]];
        let case = Case::<f16>::of(&plan, zeros.clone(), zeros, 2);
        for rung in rungs::<f16>(&plan) {
            let answer = case.check(rung);
            assert!(answer.o.iter().all(|o| *o == f16::ZERO));
        }
    }
}

/// Scores that climb by 120 from tile to tile, and fall: merging without rescaling, or with the
/// factor upside down, shows at once.
fn climbing<T: Number>(format: Format) {
    let mut plan = Plan::new(format, 64, 300);
    plan.options.scale = 1.0;
    plan.group = 2;
    for sign in [1.0, -1.0] {
        let k = (0..300 * 64).map(|i| {
            if i % 64 == 0 {
                sign * 120.0 * (i / 64 / 32) as f32
            } else {
                0.0
            }
        });
        let v = (0..300 * 64).map(|i| ((i / 64 * 7 + i % 64) % 13) as f32 - 6.0);
        let mut case = Case::<T>::of(&plan, vec![k.collect()], vec![v.collect()], 4);
        for (i, q) in case.q.iter_mut().enumerate() {
            *q = T::from_f64(if i % 64 == 0 { 1.0 } else { 0.0 });
        }
        for rung in rungs::<T>(&plan) {
            case.check(rung);
        }
    }
}

#[test]
fn parts_are_rescaled_when_the_maximum_climbs() {
    climbing::<f32>(Format::Bf16);
    climbing::<f16>(Format::F16);
    climbing::<bf16>(Format::Int8);
}

/// One token more is one key more: the last key alone carries the answer.
#[test]
fn length_counts_the_newest_token() {
    for keys in [1, 16, 17, 33] {
        let mut plan = Plan::new(Format::F16, 64, keys);
        plan.options.scale = 1.0;
        let last = |i: usize| i / 64 == keys - 1;
        let k = (0..keys * 64)
            .map(|i| if last(i) { 10.0 } else { 0.0 })
            .collect();
        let v = (0..keys * 64)
            .map(|i| if last(i) { 5.0 } else { -5.0 })
            .collect();
        let mut case = Case::<f16>::of(&plan, vec![k], vec![v], 6);
        case.q.fill(f16::ONE);
        for rung in rungs::<f16>(&plan) {
            assert_eq!(case.check(rung).o[0], f16::from_f32(5.0));
        }
    }
}

/// NaN in v reaches the rows that see it, and those only; in a chunk rows differ. Infinity likewise.
#[test]
fn odd_values_reach_the_rows_that_see_them() {
    for format in [Format::F16, Format::Bf16] {
        let mut plan = Plan::new(format, 128, 40);
        plan.lengths = vec![(20, 40)];
        let clean = Case::<f16>::draw(&plan, 7);
        let clean_answers: Vec<_> = rungs::<f16>(&plan)
            .iter()
            .map(|r| clean.on_vm(*r))
            .collect();
        let mut case = clean.clone();
        // Token 30 is seen from row 10 on.
        case.v_tokens[0][30 * 128 + 5] = f32::NAN;
        case.v_tokens[0][30 * 128 + 77] = f32::INFINITY;
        case.place(7);
        for (rung, clean) in rungs::<f16>(&plan).into_iter().zip(clean_answers) {
            let answer = case.on_vm(rung);
            for row in 0..20 {
                for c in 0..128 {
                    let (got, was) = (answer.o[row * 128 + c], clean.o[row * 128 + c]);
                    match (row >= 10, c) {
                        (true, 5) => assert!(got.is_nan(), "{rung:?} row {row}"),
                        (true, 77) => assert!(got == f16::INFINITY, "{rung:?} row {row}: {got}"),
                        _ => assert_eq!(got, was, "{rung:?} row {row} column {c}"),
                    }
                }
                assert_eq!(answer.lse[row], clean.lse[row]);
            }
        }
    }
}

/// NaN in k makes the rows that see it NaN.
#[test]
fn nan_keys_reach_the_rows_that_see_them() {
    let mut plan = Plan::new(Format::Bf16, 64, 40);
    plan.lengths = vec![(20, 40)];
    let mut case = Case::<bf16>::draw(&plan, 7);
    case.k_tokens[0][30 * 64 + 5] = f32::NAN;
    case.place(7);
    for rung in rungs::<bf16>(&plan) {
        let answer = case.check(rung);
        for row in 0..20 {
            assert_eq!(answer.lse[row].is_nan(), row >= 10);
            assert_eq!(answer.o[row * 64].is_nan(), row >= 10);
        }
    }
}

/// The comparison itself can fail: one head's output in another's place is outside its bound, and so
/// is attention over one key fewer.
#[test]
fn wrong_answers_are_outside_the_bound() {
    let mut plan = Plan::new(Format::Int8, 64, 30);
    plan.kv_heads = 2;
    let case = Case::<f16>::draw(&plan, 1);
    let expected = case.expected();
    for rung in rungs::<f16>(&plan) {
        let answer = case.check(rung);
        let mut swapped = answer.o.clone();
        swapped.rotate_left(64);
        assert!(!expected.o.compare("o", &swapped).unwrap().is_right());
        let mut short = case.clone();
        short.plan.lengths = vec![(1, 29)];
        let short = short.on_vm(rung);
        assert!(!expected.o.compare("o", &short.o).unwrap().is_right());
        assert!(!expected.lse.compare("lse", &short.lse).unwrap().is_right());
        let other: Vec<f64> = answer.o.iter().map(|o| o.to_f64() * 1.01).collect();
        assert!(
            !expected
                .o
                .compare_f64("o", other.len(), other)
                .unwrap()
                .is_right()
        );
    }
}
