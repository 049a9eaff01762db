//! The trap of offsets beyond 2³¹ elements, without as much memory: the kernels are given a base so far
//! below the one page there is that only its number, 80,000, leads to it.

use half::f16;
use kernels_host::{Arg, Buffer, Device, LaunchConfig, Module, Vm, launch};
use reference::cases::{Rng, normal};
use std::sync::Arc;

const PAGE: usize = 256;
const D: usize = 128;
const FAR: usize = 80_000;
const KEYS: usize = 70;

/// Attention over the page that `number` says lies where it does.
fn run(entry: &str, number: usize) -> (Vec<f16>, Vec<f32>) {
    const { assert!(FAR * PAGE * D > 1 << 31) };
    let device: Arc<dyn Device> = Vm::new();
    let mut rng = Rng::new(4);
    let mut random = |n: usize| {
        let x: Vec<f16> = normal(&mut rng, n, 1.0);
        Buffer::from_slice(&device, &x).unwrap()
    };
    let (q, k, v) = (random(D), random(PAGE * D), random(PAGE * D));
    let far = |buffer: &Buffer<f16>| {
        let offset = (number * PAGE * D * 2) as u64;
        Arg::U64(buffer.address().wrapping_sub(offset))
    };
    let numbers = |x: i32| Buffer::from_slice(&device, &[x]).unwrap();
    let (table, lengths) = (numbers(number as i32), numbers(KEYS as i32));
    let mut o = Buffer::from_slice(&device, &[f16::NAN; D]).unwrap();
    let mut lse = Buffer::from_slice(&device, &[f32::NAN]).unwrap();
    let null = Arg::Null;
    let tensors = [
        (&q).into(),
        far(&k),
        far(&v),
        null,
        null,
        null,
        null,
        (&table).into(),
        (&lengths).into(),
        null,
        null,
        null,
        null,
        (&mut o).into(),
        (&mut lse).into(),
    ];
    // Width, page, words of a mask, window, sinks.
    let tables = [
        1_u32.into(),
        (PAGE as u32).into(),
        0_u32.into(),
        (1_i32 << 30).into(),
        0_u32.into(),
    ];
    let plain = entry.contains("plain");
    let args: Vec<Arg> = if plain {
        // D, type f16, group, scale, softcap.
        let rest = [
            (D as u32).into(),
            1_u32.into(),
            1_u32.into(),
            0.0625_f32.into(),
            0_f32.into(),
        ];
        [&tensors[..], &tables, &rest].concat()
    } else {
        // Rows, type f16, parts, group, splits, scale·log₂e, softcap.
        let factor = 0.0625 * std::f32::consts::LOG2_E;
        let rest = [
            1_u32.into(),
            1_u32.into(),
            1_u32.into(),
            1_u32.into(),
            1_u32.into(),
            factor.into(),
            0_f32.into(),
        ];
        [&tensors[..], &[null, null], &tables, &rest].concat()
    };
    let config = LaunchConfig {
        grid: [1, 1, 1],
        block: [128, 1, 1],
        shared: if plain {
            0
        } else {
            kernels_gpu::paged_kv::tensor_shared(D as u32)
        },
    };
    let module = Module::embedded("paged-kv", &*device).unwrap();
    launch(&*device, &module.kernel(entry).unwrap(), config, &args).unwrap();
    (o.to_vec().unwrap(), lse.to_vec().unwrap())
}

#[test]
fn page_offsets_beyond_two_to_the_31_elements() {
    for entry in ["paged_attention_plain_f16", "paged_attention_bf16_128"] {
        let near = run(entry, 0);
        assert!(near.1[0].is_finite());
        assert_eq!(run(entry, FAR), near, "{entry}");
    }
}

#[test]
fn slots_beyond_two_to_the_31_elements() {
    let device: Arc<dyn Device> = Vm::new();
    let x: Vec<f32> = (0..D).map(|i| i as f32 - 100.0).collect();
    let x = Buffer::from_slice(&device, &x).unwrap();
    let slot = FAR * PAGE;
    let slots = Buffer::from_slice(&device, &[slot as i32]).unwrap();
    let codes = Buffer::from_slice(&device, &[0_i8; D]).unwrap();
    let scale = Buffer::from_slice(&device, &[f16::NAN]).unwrap();
    let codes_base = Arg::U64(codes.address().wrapping_sub((slot * D) as u64));
    let scale_base = Arg::U64(scale.address().wrapping_sub((slot * 2) as u64));
    let null = Arg::Null;
    let args = [
        (&x).into(),
        (&x).into(),
        codes_base,
        null,
        scale_base,
        null,
        null,
        null,
        (&slots).into(),
        null,
        null,
        null,
        1_u32.into(),
        1_u32.into(),
        (D as u32).into(),
        0_u32.into(),
        0_u32.into(),
    ];
    // Keys alone: one row of the grid.
    let config = LaunchConfig {
        grid: [1, 1, 1],
        block: [128, 1, 1],
        shared: 0,
    };
    let module = Module::embedded("paged-kv", &*device).unwrap();
    launch(
        &*device,
        &module.kernel("paged_append_int8").unwrap(),
        config,
        &args,
    )
    .unwrap();
    let right =
        reference::paged_kv::formats::Int8Vector::quantise("x", &x.to_vec().unwrap()).unwrap();
    assert_eq!(codes.to_vec().unwrap(), right.codes);
    assert_eq!(scale.to_vec().unwrap()[0], right.scale);
}
