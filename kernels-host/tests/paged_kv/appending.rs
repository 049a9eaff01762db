//! Appending against the oracle's formats, bit for bit; with RoPE against its decision.

use crate::case::Number;
use half::{bf16, f16};
use kernels_host::paged_kv::{
    Format, PageShape, Pages, Rope, RopePairs, RopeTable, Slots, Store, append,
};
use kernels_host::{Buffer, Device, Vm};
use reference::View;
use reference::cases::Rng;
use reference::numbers::{Bounded, DType, Element, Precision};
use reference::paged_kv::append as rope_oracle;
use reference::paged_kv::formats::{Int4Vector, Int8Vector};
use std::sync::Arc;

const SHAPE: PageShape = PageShape {
    pages: 5,
    page: 3,
    heads: 2,
    head_size: 0,
};

/// What the kernels wrote, a vector at a time.
#[derive(Debug, PartialEq)]
enum Written {
    Halves(Vec<f64>),
    Int8(Vec<i8>, Vec<f16>),
    Int4(Vec<u8>, Vec<f16>, Vec<f16>),
}

fn written(store: &Store) -> Written {
    match store {
        Store::F16(x) => Written::Halves(x.to_vec().unwrap().iter().map(|x| x.to_f64()).collect()),
        Store::Bf16(x) => Written::Halves(x.to_vec().unwrap().iter().map(|x| x.to_f64()).collect()),
        Store::Int8 { codes, scale } => {
            Written::Int8(codes.to_vec().unwrap(), scale.to_vec().unwrap())
        }
        Store::Int4 {
            packed,
            scale,
            zero,
        } => Written::Int4(
            packed.to_vec().unwrap(),
            scale.to_vec().unwrap(),
            zero.to_vec().unwrap(),
        ),
    }
}

/// Cosines, sines, which components they turn, and the tokens' positions.
type Turn<'a> = (&'a [f32], &'a [f32], RopePairs, &'a [usize]);

/// Appends on the machine, one token a slot.
fn run<T: Number>(
    format: Format,
    head_size: usize,
    k: &[T],
    v: &[T],
    slots: &[usize],
    rope: Option<Turn<'_>>,
) -> (Written, Written) {
    run_on(Vm::new(), format, head_size, k, v, slots, rope)
}

fn run_on<T: Number>(
    device: Arc<dyn Device>,
    format: Format,
    head_size: usize,
    k: &[T],
    v: &[T],
    slots: &[usize],
    rope: Option<Turn<'_>>,
) -> (Written, Written) {
    let shape = PageShape { head_size, ..SHAPE };
    let mut pages = Pages::uninit(&device, shape, format).unwrap();
    let slots = Slots::new(&device, &shape, slots).unwrap();
    let k = Buffer::from_slice(&device, k).unwrap();
    let v = Buffer::from_slice(&device, v).unwrap();
    let table = rope
        .map(|(cos, sin, pairs, _)| RopeTable::new(&device, cos, sin, head_size, pairs).unwrap());
    let rope = table.as_ref().map(|table| Rope {
        table,
        positions: rope.map_or(&[][..], |rope| rope.3),
    });
    append(&mut pages, &k, &v, &slots, rope).unwrap();
    (written(pages.k()), written(pages.v()))
}

/// Vectors of every scale, with zeros, constants, denormals and ties.
fn vectors<T: Number>(rng: &mut Rng, count: usize, d: usize) -> Vec<T> {
    let mut out = Vec::new();
    for n in 0..count {
        let scale = [1.0, 1e-3, 300.0, 6e-8, 1e-40][n % 5];
        let offset = [0.0, 0.0, 1000.0, 0.0, 0.0][n % 5];
        let kind = rng.below(5);
        for i in 0..d {
            let x = match kind {
                0 => 0.0,
                1 => scale * 2.5,
                2 => [127.0, 0.5, 1.5, -2.5, -0.0, 63.5][i % 6],
                _ => scale * rng.normal() + offset,
            };
            out.push(T::from_f64(x));
        }
    }
    out
}

fn check<T: Number>(format: Format, d: usize, rng: &mut Rng) {
    let tokens = 1 + rng.below(15);
    let mut slots: Vec<usize> = (0..15).collect();
    rng.shuffle(&mut slots);
    slots.truncate(tokens);
    let (k, v) = (
        vectors::<T>(rng, tokens * 2, d),
        vectors::<T>(rng, tokens * 2, d),
    );
    let (got_k, got_v) = run(format, d, &k, &v, &slots, None);
    for (x, got) in [(&k, got_k), (&v, got_v)] {
        for vector in 0..tokens * 2 {
            let x: Vec<f32> = x[vector * d..(vector + 1) * d]
                .iter()
                .map(|x| x.to_f64() as f32)
                .collect();
            let at = slots[vector / 2] * 2 + vector % 2;
            match &got {
                Written::Halves(got) => {
                    let to = |x: &f32| match format {
                        Format::F16 => <f16 as Element>::from_f64(f64::from(*x)).to_f64(),
                        _ => <bf16 as Element>::from_f64(f64::from(*x)).to_f64(),
                    };
                    let expected: Vec<f64> = x.iter().map(to).collect();
                    assert_eq!(got[at * d..(at + 1) * d], expected[..]);
                }
                Written::Int8(codes, scale) => {
                    let expected = Int8Vector::quantise("x", &x).unwrap();
                    assert_eq!(scale[at].to_bits(), expected.scale.to_bits(), "{x:?}");
                    assert_eq!(codes[at * d..(at + 1) * d], expected.codes[..], "{x:?}");
                }
                Written::Int4(packed, scale, zero) => {
                    let expected = Int4Vector::quantise("x", &x).unwrap();
                    assert_eq!(scale[at].to_bits(), expected.scale.to_bits(), "{x:?}");
                    // ±0 are one zero point.
                    assert_eq!(zero[at], expected.zero, "{x:?}");
                    let bytes = d.div_ceil(2);
                    assert_eq!(
                        packed[at * bytes..(at + 1) * bytes],
                        expected.packed[..],
                        "{x:?}"
                    );
                }
            }
        }
    }
}

fn bit_for_bit<T: Number>() {
    let mut rng = Rng::new(17);
    for format in Format::ALL {
        for d in [1, 2, 17, 63, 64, 128, 255, 256] {
            check::<T>(format, d, &mut rng);
        }
    }
}

#[test]
fn f32_is_stored_bit_for_bit() {
    bit_for_bit::<f32>();
}

#[test]
fn f16_is_stored_bit_for_bit() {
    bit_for_bit::<f16>();
}

#[test]
fn bf16_is_stored_bit_for_bit() {
    bit_for_bit::<bf16>();
}

/// What the formats cannot hold reads as NaN, and stays in its own vector.
#[test]
fn what_cannot_be_stored_has_the_scale_nan() {
    let d = 4;
    let rows = [
        [1.0, f32::NAN, 2.0, 3.0],
        [1.0, f32::INFINITY, 2.0, 3.0],
        [1e30, 0.0, 0.0, 0.0],
        [1.0, 2.0, 3.0, 4.0],
    ];
    let x: Vec<f32> = rows.concat();
    let (int8, _) = run(Format::Int8, d, &x, &x, &[0, 1], None);
    let (int4, _) = run(Format::Int4, d, &x, &x, &[0, 1], None);
    let (Written::Int8(_, eight), Written::Int4(_, four, zero)) = (int8, int4) else {
        unreachable!("the formats asked for");
    };
    for scale in [eight, four] {
        assert_eq!(
            scale[..4].iter().map(|s| s.is_nan()).collect::<Vec<_>>(),
            [true, true, true, false]
        );
    }
    assert!(zero[..4].iter().all(|zero| zero.is_finite()));
}

#[test]
fn the_same_bits_on_every_schedule() {
    let slots: Vec<usize> = (0..15).rev().collect();
    let mut rng = Rng::new(5);
    let x = vectors::<f32>(&mut rng, slots.len() * SHAPE.heads, 64);
    for format in Format::ALL {
        let on = |seed| {
            let vm = Vm::new();
            vm.set_options(simt::Options {
                seed,
                explore: seed > 0,
                ..simt::Options::default()
            });
            run_on(vm, format, 64, &x, &x, &slots, None)
        };
        let first = on(0);
        assert_eq!(on(1), first, "{format:?}");
        assert_eq!(on(2), first, "{format:?}");
    }
}

/// Rotated keys are right by the oracle's decision; values are not rotated.
#[test]
fn keys_are_rotated_on_the_way() {
    let (tokens, d) = (6, 64);
    let (cos, sin) = rope_oracle::rope_table(10_000.0, d, 50);
    let positions = [0, 1, 7, 49, 30, 12];
    let slots = [3, 0, 14, 7, 8, 2];
    let mut rng = Rng::new(3);
    let k: Vec<bf16> = vectors(&mut rng, tokens * 2, d);
    let shape = [50, d / 2];
    let (cos_view, sin_view) = (
        View::new("cos", &cos, shape).unwrap(),
        View::new("sin", &sin, shape).unwrap(),
    );
    let precision = Precision::of(DType::F32);
    for (pairs, oracle) in [
        (RopePairs::Half, rope_oracle::RopePairs::Half),
        (RopePairs::Interleaved, rope_oracle::RopePairs::Interleaved),
    ] {
        for format in Format::ALL {
            let rope = Some((&cos[..], &sin[..], pairs, &positions[..]));
            let (got, values) = run(format, d, &k, &k, &slots, rope);
            for vector in 0..tokens * 2 {
                let x = &k[vector * d..(vector + 1) * d];
                let at = slots[vector / 2] * 2 + vector % 2;
                let position = positions[vector / 2];
                let right = rope_oracle::rotate(x, position, cos_view, sin_view, oracle, precision)
                    .unwrap();
                let part = at * d..(at + 1) * d;
                match (&got, &values) {
                    (Written::Halves(got), Written::Halves(values)) => {
                        let dtype = if format == Format::F16 {
                            DType::F16
                        } else {
                            DType::Bf16
                        };
                        for (right, got) in right.iter().zip(&got[part.clone()]) {
                            let stored: Bounded = right.stored(dtype);
                            assert!(stored.admits(*got), "{stored:?} {got}");
                        }
                        let to = |x: &bf16| match format {
                            Format::F16 => <f16 as Element>::from_f64(x.to_f64()).to_f64(),
                            _ => x.to_f64(),
                        };
                        let plain: Vec<f64> = x.iter().map(to).collect();
                        assert_eq!(values[part], plain[..]);
                    }
                    (Written::Int8(codes, scale), _) => {
                        rope_oracle::int8_admits(&right, &codes[part], scale[at]).unwrap();
                    }
                    (Written::Int4(packed, scale, zero), _) => {
                        let part = at * d / 2..(at + 1) * d / 2;
                        rope_oracle::int4_admits(&right, &packed[part], scale[at], zero[at])
                            .unwrap();
                    }
                    _ => unreachable!("k and v are of one format"),
                }
            }
        }
    }
}
