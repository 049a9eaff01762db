//! What the fast rung does, counted: nothing is read twice, nothing is multiplied for keys that are
//! not seen, and the banks of shared memory have no conflicts.

use crate::case::{Case, Number, Plan};
use half::{bf16, f16};
use kernels_host::paged_kv::{Format, Rung};
use kernels_host::{Device, Vm};
use simt::count::Counters;
use std::sync::Arc;

fn counted<T: Number>(plan: &Plan) -> Counters {
    let case = Case::<T>::draw(plan, 1);
    let vm = Vm::new();
    vm.set_options(simt::Options {
        counters: true,
        ..simt::Options::default()
    });
    let device: Arc<dyn Device> = vm.clone();
    case.run(&device, Some(Rung::Tensor { splits: 1 })).unwrap();
    vm.last_report().counters.unwrap()
}

/// Keys and values of a sequence, in bytes, for all KV heads.
fn cache_bytes(plan: &Plan, keys: usize) -> u64 {
    (2 * keys * plan.kv_heads * plan.format.vector_bytes(plan.head_size)) as u64
}

/// `mma.m16n8k16` of one block over so many keys, in flops: q·kᵀ and p·v for each sixteen keys.
fn products(plan: &Plan, keys: usize, parts: usize) -> u64 {
    let tiles = keys.div_ceil(16) * parts;
    (tiles * 4 * (plan.head_size / 16) * 2 * 16 * 8 * 16 * plan.kv_heads) as u64
}

fn tensor_flops(counters: &Counters) -> u64 {
    let units = counters.total.flops.iter();
    let tensor = units.filter(|(unit, _)| format!("{unit:?}").starts_with("Tensor"));
    tensor.map(|(_, flops)| flops).sum()
}

/// Eight query heads share a KV head: its vectors come once for all of them. Besides them there are
/// q, o, lse, and four bytes of the block table for a key and KV head.
#[test]
fn keys_and_values_are_read_once() {
    for format in Format::ALL {
        let mut plan = Plan::new(format, 128, 1000);
        (plan.kv_heads, plan.group, plan.page) = (2, 8, 16);
        let counters = match format {
            Format::F16 => counted::<f16>(&plan),
            _ => counted::<bf16>(&plan),
        };
        let whole = cache_bytes(&plan, 1000);
        let load = counters.total.global.load;
        let besides = (2 * 16 * 128 + 4 * 2 * 1000 + 64 * 2) as u64;
        // Scales and zero points of a warp's keys are asked for by eight lanes each, in one access.
        assert!(
            load.distinct_bytes <= whole + besides,
            "{format:?}: {} of {whole} + {besides}",
            load.distinct_bytes
        );
        assert!(load.distinct_bytes > whole);
        assert_eq!(counters.total.banks.conflicts, 0, "{format:?}");
        assert_eq!(tensor_flops(&counters), products(&plan, 1000, 1));
        assert_eq!(counters.total.local.load.requests, 0);
    }
}

/// Vectors of f16 and bf16 are read in whole sectors.
#[test]
fn sectors_are_used_whole() {
    let mut plan = Plan::new(Format::Bf16, 128, 500);
    plan.group = 4;
    let counters = counted::<f16>(&plan);
    let efficiency = counters.sector_efficiency().unwrap();
    assert!(efficiency >= 0.95, "{efficiency}");
}

/// A window of 100 of 2000 keys: only the tiles of 32 that it touches are visited.
#[test]
fn keys_outside_the_window_cost_nothing() {
    let mut plan = Plan::new(Format::Bf16, 64, 2000);
    plan.options.window = Some(99);
    plan.group = 4;
    let counters = counted::<bf16>(&plan);
    // Keys 1900…1999 lie in the tiles from 1888 on: seven sixteens of keys.
    assert_eq!(tensor_flops(&counters), products(&plan, 2000 - 1888, 1));
    assert!(counters.total.global.load.distinct_bytes < 2 * cache_bytes(&plan, 100));
}

/// f16 queries over bf16 pages take two parts, and no more bytes.
#[test]
fn two_parts_cost_products_not_bytes() {
    let plan = Plan::new(Format::Int8, 64, 300);
    let (one, two) = (counted::<bf16>(&plan), counted::<f16>(&plan));
    assert_eq!(tensor_flops(&one), products(&plan, 300, 1));
    assert_eq!(tensor_flops(&two), products(&plan, 300, 2));
    let bytes = |counters: &Counters| counters.total.global.load.distinct_bytes;
    assert_eq!(bytes(&one), bytes(&two));
}

/// Workspace: f32 o and lse of each split, O(rows).
#[test]
fn workspace_is_a_row_of_f32_for_each_split() {
    let plan = Plan::new(Format::Bf16, 64, 600);
    let case = Case::<f16>::draw(&plan, 1);
    let allocated = |splits| {
        let recorder = kernels_host::Recorder::new();
        let device: Arc<dyn Device> = recorder.clone();
        case.run(&device, Some(Rung::Tensor { splits })).unwrap();
        let calls = recorder.calls();
        let bytes = calls.iter().map(|call| match call {
            kernels_host::Call::Allocate(bytes) => *bytes,
            _ => 0,
        });
        bytes.sum::<usize>()
    };
    assert_eq!(allocated(7) - allocated(1), 7 * 4 * (64 + 1));
}
