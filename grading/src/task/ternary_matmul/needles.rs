//! Cases in which one element decides, at a place that moves on from row to row: whatever a lane, a
//! warp or a byte of codes loses or takes twice is somebody's whole answer. And sizes around what
//! blocks, tiles and warps are made of.

use super::cases::{
    Real, activations, columns, dense, embed, forward, input_gradient, pack, quantise_forward,
    weight_gradient,
};
use super::checks::some_packing;
use crate::submission::Call;
use crate::task::{Budget, Check, Dims, Kind};
use crate::tensor::DType;
use half::{bf16, f16};
use reference::View;
use reference::cases::{Rng, normal};
use reference::ternary::{GROUP, Packed, Packing, pack_exact};

type Make = fn(&Dims, &mut Rng) -> Option<Call>;

/// M, N and the groups of a row: one less, as many and one more than is done at once, of each.
fn sizes(rng: &mut Rng, budget: Budget) -> Dims {
    let m = rng.choose(&[1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64]);
    let n = rng.choose(&[1, 4, 8, 9, 15, 16, 17, 20, 31, 32, 33, 48, 64, 68, 132]);
    let groups = match budget {
        Budget::Quick => rng.choose(&[1, 2, 3, 5]),
        Budget::Full => rng.choose(&[1, 2, 3, 5, 8, 9, 12, 17]),
    };
    Dims::of([("M", m), ("N", n), ("G", groups)])
}

/// `rows` rows of `width`, each 0 but for one number; its place moves on by an odd step.
fn needles<T: Real>(rng: &mut Rng, rows: usize, width: usize) -> Vec<T> {
    let (from, step) = (rng.below(width), 2 * rng.below(width) + 1);
    let mut all = vec![T::from_f64(0.0); rows * width];
    for (row, numbers) in all.chunks_mut(width).enumerate() {
        let sign = rng.choose(&[-1.0, 1.0]);
        numbers[(from + row * step) % width] = T::from_f64(sign * rng.uniform(0.5, 4.0));
    }
    all
}

/// Ternary weights of every sign, a scale of its own for each group.
fn weights(rng: &mut Rng, [n, k]: [usize; 2], packing: Packing) -> Packed {
    let mut w = Vec::with_capacity(n * k);
    for _ in 0..n * k / GROUP {
        let scale = f16::from_f64(rng.uniform(0.1, 3.0)).to_f32();
        w.extend((0..GROUP).map(|_| scale * rng.choose(&[-1.0, 0.0, 1.0])));
    }
    let view = View::new("W", &w, [n, k]).expect("as many as the shape says");
    pack_exact(view, packing).expect("ternary weights")
}

fn y<T: Real>(dims: &Dims, rng: &mut Rng, packing: Packing) -> Call {
    let shape = [dims.get("N"), columns(dims)];
    let x: Vec<T> = needles(rng, dims.get("M"), shape[1]);
    forward(&x, &weights(rng, shape, packing))
}

fn dx<T: Real>(dims: &Dims, rng: &mut Rng) -> Call {
    let shape = [dims.get("N"), columns(dims)];
    let dy: Vec<T> = needles(rng, dims.get("M"), shape[0]);
    let packing = some_packing(rng);
    input_gradient(&dy, &weights(rng, shape, packing))
}

/// Each row of dy hands its row of x to one row of dW.
fn dw<T: Real>(dims: &Dims, rng: &mut Rng) -> Call {
    let [m, n, k] = [dims.get("M"), dims.get("N"), columns(dims)];
    let dy: Vec<T> = needles(rng, m, n);
    weight_gradient(&dy, &activations::<T>(rng, m, k), [m, n, k])
}

/// Groups in which all but a few weights are 0; which ones moves on from group to group.
fn sparse(dims: &Dims, rng: &mut Rng) -> Vec<f32> {
    let groups = dims.get("N") * dims.get("G");
    let (from, step) = (rng.below(GROUP), 2 * rng.below(GROUP) + 1);
    let mut w = vec![0.0; groups * GROUP];
    for (at, group) in w.chunks_mut(GROUP).enumerate() {
        // The least number of f16: the mean of a few is rounded to 0, and all codes are 0.
        let least = f16::from_bits(1).to_f32();
        let scale = match rng.chance(0.1) {
            true => least,
            false => f16::from_f64(rng.uniform(0.01, 8.0)).to_f32(),
        };
        for n in 0..rng.choose(&[1, 1, 2, 7]) {
            group[(from + at * step + 31 * n) % GROUP] = scale * rng.choose(&[-1.0, 1.0]);
        }
    }
    w
}

fn as_packed<T: Real>(op: &'static str, w: &[f32], dims: &Dims, rng: &mut Rng) -> Call {
    let w: Vec<T> = w.iter().map(|w| T::from_f64(f64::from(*w))).collect();
    pack(op, &w, dims.get("N"), some_packing(rng))
}

/// The same weights in any type that holds them.
fn in_some_type(op: &'static str, w: &[f32], dims: &Dims, rng: &mut Rng) -> Call {
    match rng.below(3) {
        0 => as_packed::<f16>(op, w, dims, rng),
        1 => as_packed::<bf16>(op, w, dims, rng),
        _ => as_packed::<f32>(op, w, dims, rng),
    }
}

fn fused<T: Real>(dims: &Dims, rng: &mut Rng) -> Call {
    let shape = [dims.get("N"), columns(dims)];
    let packing = some_packing(rng);
    match rng.below(3) {
        0 => {
            let x: Vec<T> = needles(rng, dims.get("M"), shape[1]);
            let w: Vec<f32> = normal(rng, shape[0] * shape[1], 0.5);
            quantise_forward(&x, &w, shape[0], packing)
        }
        1 => {
            let x: Vec<T> = normal(rng, dims.get("M") * shape[1], 1.0);
            quantise_forward(&x, &sparse(dims, rng), shape[0], packing)
        }
        _ => {
            let x: Vec<T> = activations(rng, dims.get("M"), shape[1]);
            quantise_forward(&x, &dense(rng, &x, shape), shape[0], packing)
        }
    }
}

pub(super) fn checks() -> Vec<Check> {
    let level = |name, level, says, make: Make| {
        Check::judged(Kind::Level, name, says, sizes, make)
            .at(level)
            .cases(4, 24)
    };
    let mut checks = vec![
        level(
            "needles",
            "basic",
            "one number in each row of x, at every place in turn: y is one weight each",
            |dims, rng| Some(y::<f32>(dims, rng, Packing::TwoBit)),
        ),
        level(
            "needles-base-3",
            "base-3",
            "the same from base-3 weights",
            |dims, rng| Some(y::<f32>(dims, rng, Packing::Base3)),
        ),
        level(
            "needles-16-bit",
            "16-bit",
            "the same with x in f16 and bf16",
            |dims, rng| {
                let packing = some_packing(rng);
                Some(match rng.chance(0.5) {
                    true => y::<f16>(dims, rng, packing),
                    false => y::<bf16>(dims, rng, packing),
                })
            },
        ),
        level(
            "dx-needles",
            "gradients",
            "one number in each row of dy, at every place in turn: dx is one row of the weights",
            |dims, rng| {
                Some(match rng.below(3) {
                    0 => dx::<f16>(dims, rng),
                    1 => dx::<bf16>(dims, rng),
                    _ => dx::<f32>(dims, rng),
                })
            },
        )
        .ops(&["input-gradient"])
        .cases(6, 30),
        level(
            "dw-needles",
            "gradients",
            "one number in each row of dy, at every place in turn: each row of x goes to one row of dW",
            |dims, rng| {
                Some(match rng.below(3) {
                    0 => dw::<f16>(dims, rng),
                    1 => dw::<bf16>(dims, rng),
                    _ => dw::<f32>(dims, rng),
                })
            },
        )
        .ops(&["weight-gradient"])
        .cases(6, 30),
    ];
    checks.extend(quantising(level));
    checks
}

fn quantising(
    level: impl Fn(&'static str, &'static str, &'static str, Make) -> Check,
) -> Vec<Check> {
    vec![
        level(
            "quantise-sparse-groups",
            "quantise",
            "groups of zeros but for a few weights, at every place in turn, which are all of the mean",
            |dims, rng| Some(in_some_type("quantise", &sparse(dims, rng), dims, rng)),
        )
        .ops(&["quantise"])
        .cases(6, 24),
        level(
            "pack-exact-sparse-groups",
            "quantise",
            "groups of zeros but for a few ternary weights, at every place in turn",
            |dims, rng| {
                // Powers of two are numbers of every type.
                let mut w = sparse(dims, rng);
                w.iter_mut().for_each(|w| *w = w.signum() * f32::from(*w != 0.0) * 0.5);
                for group in w.chunks_mut(GROUP) {
                    let scale = rng.choose(&[0.031_25, 1.0, 6.0]);
                    group.iter_mut().for_each(|w| *w *= scale);
                }
                Some(in_some_type("pack-exact", &w, dims, rng))
            },
        )
        .ops(&["pack-exact"])
        .cases(6, 24),
        level(
            "quantise-many-rows",
            "quantise",
            "dense weights in all types, rows around the multiples of a tile",
            |dims, rng| {
                let w = dense::<f32>(rng, &[], [dims.get("N"), columns(dims)]);
                Some(in_some_type("quantise", &w, dims, rng))
            },
        )
        .ops(&["quantise"]),
        level(
            "embed-many-groups",
            "embed",
            "rows of many groups; the first and the last row among them",
            |dims, rng| {
                let shape = [dims.get("N"), GROUP * rng.choose(&[1, 7, 8, 9, 17])];
                let packing = some_packing(rng);
                let last = shape[0] as i32 - 1;
                let mut tokens = vec![0, last];
                tokens.extend((0..dims.get("M").min(6)).map(|_| rng.below(shape[0]) as i32));
                let dtype = rng.choose(&[DType::F32, DType::F16, DType::Bf16]);
                Some(embed(&tokens, &weights(rng, shape, packing), dtype))
            },
        )
        .ops(&["embed"]),
        level(
            "quantise-forward",
            "fused",
            "packed weights and y, of needles, sparse groups and mixed scales",
            |dims, rng| {
                Some(match rng.below(3) {
                    0 => fused::<f16>(dims, rng),
                    1 => fused::<bf16>(dims, rng),
                    _ => fused::<f32>(dims, rng),
                })
            },
        )
        .ops(&["quantise-forward"])
        .cases(8, 36),
    ]
}
