//! Random shapes and options against the oracle; determinism; what changes nothing.

use crate::case::{Answer, Case, Number, Plan, rungs};
use half::{bf16, f16};
use kernels_host::paged_kv::{Format, Options, Rung};
use kernels_host::{Device, Vm};
use proptest::prelude::*;
use std::sync::Arc;

fn check<T: Number>(plan: &Plan, seed: u64) {
    let case = Case::<T>::draw(plan, seed);
    for rung in rungs::<T>(plan) {
        case.check(rung);
    }
}

/// Every format, head size and option at least once, whatever proptest draws.
fn every_format<T: Number>() {
    for format in Format::ALL {
        for head_size in [64, 128, 256] {
            let mut plan = Plan::new(format, head_size, 70);
            plan.group = 3;
            plan.options.softcap = Some(3.0);
            plan.options.window = Some(40);
            plan.options.sinks = 5;
            plan.sink_logits = true;
            plan.page = 8;
            plan.lengths = vec![(1, 70), (1, 0), (1, 33)];
            check::<T>(&plan, head_size as u64);
        }
    }
}

#[test]
fn every_format_for_f32() {
    every_format::<f32>();
}

#[test]
fn every_format_for_f16() {
    every_format::<f16>();
}

#[test]
fn every_format_for_bf16() {
    every_format::<bf16>();
}

/// Shapes around pages, tiles and rows, and all options.
fn plans() -> impl Strategy<Value = Plan> {
    let page = prop_oneof![
        Just(1_usize),
        Just(7),
        Just(16),
        Just(31),
        Just(256),
        1_usize..=64
    ];
    let keys = prop_oneof![
        Just(0_usize),
        Just(1),
        Just(31),
        Just(32),
        Just(33),
        1_usize..200
    ];
    let decode = prop::collection::vec(keys.prop_map(|keys| (1, keys)), 1..4);
    let chunk =
        (0_usize..20, 0_usize..90).prop_map(|(queries, before)| (queries, queries + before));
    let odd = (1_usize..9, 0_usize..12);
    let prefill = prop::collection::vec(prop_oneof![4 => chunk, 1 => odd], 1..3);
    let lengths = prop_oneof![decode, prefill];
    let head_size = prop_oneof![
        4 => proptest::sample::select(vec![64_usize, 128]),
        1 => Just(256),
        2 => proptest::sample::select(vec![1_usize, 17, 96]),
    ];
    let window = prop_oneof![2 => Just((None, 0)), 1 => (0_usize..70, 0_usize..50).prop_map(|(w, s)| (Some(w), s))];
    let softcap = prop_oneof![2 => Just(None), 1 => (0.5_f32..30.0).prop_map(Some)];
    let shape = (page, 1_usize..=2, 1_usize..=5, head_size);
    let format = proptest::sample::select(Format::ALL.to_vec());
    (shape, format, lengths, window, softcap, any::<bool>()).prop_map(
        |(
            (page, kv_heads, group, head_size),
            format,
            lengths,
            (window, sinks),
            softcap,
            logits,
        )| {
            Plan {
                page,
                kv_heads,
                group,
                head_size,
                format,
                lengths,
                options: Options {
                    scale: 1.0 / (head_size as f32).sqrt(),
                    window,
                    sinks,
                    softcap,
                },
                sink_logits: logits,
            }
        },
    )
}

fn within_the_bound<T: Number>(cases: u32) {
    proptest!(ProptestConfig::with_cases(cases), |(plan in plans(), seed in any::<u64>())| {
        check::<T>(&plan, seed);
    });
}

#[test]
fn f32_within_the_bound() {
    within_the_bound::<f32>(40);
}

#[test]
fn f16_within_the_bound() {
    within_the_bound::<f16>(40);
}

#[test]
fn bf16_within_the_bound() {
    within_the_bound::<bf16>(40);
}

#[test]
fn the_same_bits_on_every_schedule() {
    let mut plan = Plan::new(Format::Int4, 64, 200);
    plan.group = 4;
    plan.lengths = vec![(1, 200), (3, 90)];
    let case = Case::<f16>::draw(&plan, 11);
    for rung in rungs::<f16>(&plan) {
        let runs: Vec<Answer<f16>> = (0..3)
            .map(|seed| {
                let vm = Vm::new();
                vm.set_options(simt::Options {
                    seed,
                    explore: seed > 0,
                    ..simt::Options::default()
                });
                let device: Arc<dyn Device> = vm;
                case.run(&device, Some(rung)).unwrap()
            })
            .collect();
        assert!(runs[1] == runs[0] && runs[2] == runs[0], "{rung:?}");
    }
}

/// The same tokens in other pages: the same bits.
#[test]
fn renaming_pages_changes_nothing() {
    for format in Format::ALL {
        let mut plan = Plan::new(format, 64, 75);
        plan.page = 8;
        plan.lengths = vec![(1, 75), (4, 50)];
        let mut case = Case::<f16>::draw(&plan, 3);
        for rung in rungs::<f16>(&plan) {
            let first = case.on_vm(rung);
            case.place(99);
            assert!(case.on_vm(rung) == first, "{format:?} {rung:?}");
            case.place(3);
        }
    }
}

/// Sequences in another order: the same bits in that order.
#[test]
fn batch_order_only_permutes() {
    let mut plan = Plan::new(Format::Bf16, 64, 0);
    plan.group = 2;
    plan.lengths = vec![(1, 40), (1, 100), (1, 7)];
    let case = Case::<bf16>::draw(&plan, 5);
    let size = plan.heads() * plan.head_size;
    let mut turned = case.clone();
    turned.plan.lengths.rotate_left(1);
    turned.q.rotate_left(size);
    turned.table.rotate_left(case.table.len() / 3);
    for rung in rungs::<bf16>(&plan) {
        let mut answer = case.on_vm(rung);
        answer.o.rotate_left(size);
        answer.lse.rotate_left(plan.heads());
        assert!(turned.on_vm(rung) == answer, "{rung:?}");
    }
}

/// Row t of a prefill is the decoding of token t: the kernels agree within both their bounds, as
/// each is within its own of the same number.
#[test]
fn decode_equals_prefill_row_by_row() {
    for format in Format::ALL {
        let mut plan = Plan::new(format, 64, 12);
        plan.group = 2;
        plan.lengths = vec![(12, 12)];
        let whole = Case::<bf16>::draw(&plan, 8);
        for rung in rungs::<bf16>(&plan) {
            let answer = whole.check(rung);
            for token in 0..12 {
                let mut decode = whole.clone();
                decode.plan.lengths = vec![(1, token + 1)];
                let row = plan.row(0, token, 0);
                decode.q = whole.q[row * 64..(row + 2) * 64].to_vec();
                decode.check(rung);
                let expected = decode.expected();
                crate::case::right(&plan, "o", &expected.o, &answer.o[row * 64..(row + 2) * 64]);
                crate::case::right(&plan, "lse", &expected.lse, &answer.lse[row..row + 2]);
            }
        }
    }
}

/// A prompt in chunks is what it is at once, row by row.
#[test]
fn chunked_prefill_equals_full_prefill() {
    let mut plan = Plan::new(Format::F16, 64, 50);
    plan.lengths = vec![(50, 50)];
    let whole = Case::<f16>::draw(&plan, 9);
    let expected = whole.expected();
    let d = 64;
    for rung in rungs::<f16>(&plan) {
        let (mut o, mut lse) = (Vec::new(), Vec::new());
        for (from, to) in [(0, 17), (17, 18), (18, 50)] {
            let mut chunk = whole.clone();
            chunk.plan.lengths = vec![(to - from, to)];
            chunk.q = whole.q[from * d..to * d].to_vec();
            let answer = chunk.on_vm(rung);
            o.extend(answer.o);
            lse.extend(answer.lse);
        }
        crate::case::right(&plan, "o", &expected.o, &o);
        crate::case::right(&plan, "lse", &expected.lse, &lse);
    }
}

/// Any number of splits agrees with the oracle; more than there are keys, too.
#[test]
fn split_counts_agree() {
    let mut plan = Plan::new(Format::Int8, 128, 300);
    plan.group = 4;
    plan.sink_logits = true;
    let case = Case::<bf16>::draw(&plan, 10);
    for splits in [1, 2, 5, 16, 128] {
        case.check(Rung::Tensor { splits });
    }
}

/// The rung that is chosen without being asked for is right too.
#[test]
fn the_chosen_rung_is_right() {
    let mut plan = Plan::new(Format::F16, 64, 600);
    plan.kv_heads = 2;
    let case = Case::<f16>::draw(&plan, 12);
    let device: Arc<dyn Device> = Vm::new();
    let answer = case.run(&device, None).unwrap();
    let expected = case.expected();
    crate::case::right(&plan, "o", &expected.o, &answer.o);
    crate::case::right(&plan, "lse", &expected.lse, &answer.lse);
}
