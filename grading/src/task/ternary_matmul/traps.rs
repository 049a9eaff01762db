//! The traps: what the sentence says is what goes wrong in whoever falls in.

use super::cases::{
    activations, columns, dense, embed, forward, pack, packed, quantise_forward, weight_gradient,
    weight_gradient_beside,
};
use crate::submission::Call;
use crate::task::{Check, Dims, Kind, fixed};
use crate::tensor::DType;
use half::{bf16, f16};
use reference::cases::{Rng, normal};
use reference::ternary::{GROUP, Packed, Packing};

pub(super) fn traps() -> Vec<Check> {
    let mut traps = quantising();
    traps.extend(multiplying());
    traps.extend(training());
    traps
}

type Make = fn(&Dims, &mut Rng) -> Option<Call>;

fn trap<const S: usize>(
    name: &'static str,
    says: &'static str,
    sizes: [(&'static str, u64); S],
    make: Make,
) -> Check {
    Check::judged(Kind::Trap, name, says, fixed(sizes), make).cases(1, 3)
}

fn quantising() -> Vec<Check> {
    let quantise = |name, says, make: Make| {
        trap(name, says, [("N", 3), ("G", 2)], make)
            .at("quantise")
            .ops(&["quantise"])
    };
    vec![
        quantise(
            "scale-is-a-mean",
            "normal weights: max|W| is three times mean|W|, and most codes become 0",
            |dims, rng| {
                let w: Vec<f32> = normal(rng, dims.get("N") * columns(dims), 0.05);
                Some(pack("quantise", &w, dims.get("N"), Packing::TwoBit))
            },
        ),
        quantise(
            "no-reserved-code",
            "weights of both signs in two-bit packing: code 3 stands for nothing",
            |dims, rng| {
                let w: Vec<f32> = normal(rng, dims.get("N") * columns(dims), 0.05);
                Some(pack("quantise", &w, dims.get("N"), Packing::TwoBit))
            },
        ),
        quantise(
            "scale-rounded-first",
            "weights between half of the mean and half of the mean rounded to f16",
            |dims, rng| {
                let mut w: Vec<f32> = normal(rng, dims.get("N") * columns(dims), 0.05);
                w.chunks_mut(GROUP)
                    .for_each(|group| between_halves(group, rng));
                Some(pack("quantise", &w, dims.get("N"), Packing::TwoBit))
            },
        ),
        quantise(
            "scales-by-group",
            "neighbouring groups of a row differ by a factor of a hundred",
            |dims, rng| {
                let mut w: Vec<f32> = normal(rng, dims.get("N") * columns(dims), 0.01);
                let odd = w.chunks_mut(GROUP).skip(1).step_by(2);
                odd.flatten().for_each(|w| *w *= 100.0);
                (dims.get("G") > 1).then(|| pack("quantise", &w, dims.get("N"), Packing::Base3))
            },
        ),
        quantise("zero-group", "a group of zeros: W/0 is NaN", |dims, rng| {
            let mut w: Vec<f32> = normal(rng, dims.get("N") * columns(dims), 0.05);
            w[..GROUP].fill(0.0);
            Some(pack("quantise", &w, dims.get("N"), Packing::TwoBit))
        }),
        quantise(
            "exact-halves",
            "|W/d| is ½ exactly, and rounds to even",
            |dims, rng| {
                // Magnitudes 1/2 and 3/2 in equal number have a mean of 1 exactly.
                let groups = dims.get("N") * dims.get("G");
                let mut w = Vec::new();
                for _ in 0..groups {
                    let mut group: Vec<f32> = (0..GROUP).map(|j| 0.5 + (j % 2) as f32).collect();
                    for w in &mut group {
                        *w *= rng.choose(&[-1.0, 1.0]);
                    }
                    rng.shuffle(&mut group);
                    w.extend(group);
                }
                Some(pack("quantise", &w, dims.get("N"), Packing::TwoBit))
            },
        ),
        trap(
            "already-ternary",
            "weights that hold −d, 0, +d: their mean magnitude is less than d",
            [("N", 3), ("G", 2)],
            |dims, rng| {
                let scale = f16::from_f64(rng.uniform(0.01, 0.1)).to_f32();
                let w: Vec<f32> = (0..dims.get("N") * columns(dims))
                    .map(|_| scale * rng.choose(&[-1.0, 0.0, 1.0]))
                    .collect();
                Some(pack("pack-exact", &w, dims.get("N"), Packing::TwoBit))
            },
        )
        .at("quantise")
        .ops(&["pack-exact"]),
    ]
}

/// Moves eight weights between half of the mean and half of the mean rounded to f16, where those
/// are apart; the rest of the group is scaled until they are.
fn between_halves(group: &mut [f32], rng: &mut Rng) {
    for _ in 0..200 {
        let mean = group.iter().map(|w| f64::from(w.abs())).sum::<f64>() / GROUP as f64;
        let rounded = f64::from(f16::from_f64(mean));
        let gap = (mean - rounded) / mean;
        let half = (0.25 * (mean + rounded)) as f32;
        let between = group[..8].iter().all(|w| {
            let of = |scale: f64| f64::from(w.abs()) / scale - 0.5;
            of(mean) * of(rounded) < 0.0 && of(mean).abs().min(of(rounded).abs()) > 1e-5
        });
        if between {
            return;
        }
        // No tolerance: how the case is made. A mean this near to an f16 leaves no weight between
        // the two scales; another size is tried.
        if gap.abs() < 2e-4 {
            let by = rng.uniform(0.9, 1.1) as f32;
            group.iter_mut().for_each(|w| *w *= by);
        }
        group[..8].fill(half);
    }
}

/// Weights of one group each of whose codes is drawn by its position.
fn coded(
    dims: &Dims,
    rng: &mut Rng,
    packing: Packing,
    sign: impl Fn(usize, &mut Rng) -> f32,
) -> Packed {
    let shape = [dims.get("N"), columns(dims)];
    let w: Vec<f32> = (0..shape[0] * shape[1])
        .map(|at| 0.5 * sign(at % GROUP, rng))
        .collect();
    let view = reference::View::new("W", &w, shape).expect("as many as the shape says");
    reference::ternary::pack_exact(view, packing).expect("ternary weights")
}

fn multiplying() -> Vec<Check> {
    let sizes = [("M", 2), ("N", 6), ("G", 3)];
    vec![
        trap(
            "groups-along-k",
            "every group has a scale of its own, and N is not K/128",
            sizes,
            |dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let x: Vec<f32> = normal(rng, dims.get("M") * shape[1], 1.0);
                let mut w: Vec<f32> = normal(rng, shape[0] * shape[1], 1.0);
                for group in w.chunks_mut(GROUP) {
                    let scale = rng.uniform(0.01, 3.0) as f32;
                    group.iter_mut().for_each(|w| *w *= scale);
                }
                Some(forward(&x, &packed(&w, shape, Packing::TwoBit)))
            },
        ),
        trap(
            "order-in-a-byte",
            "the four codes of a byte differ: the first is in the lowest bits",
            sizes,
            |dims, rng| {
                let weights = coded(dims, rng, Packing::TwoBit, |j, _| {
                    [1.0, 0.0, -1.0, -1.0][j % 4]
                });
                Some(forward(&ones(dims, rng), &weights))
            },
        ),
        trap(
            "codes-are-centred",
            "code 0 is −d: a row of negative weights has a negative product",
            sizes,
            |dims, rng| {
                let weights = coded(dims, rng, Packing::TwoBit, |_, rng| {
                    if rng.chance(0.8) { -1.0 } else { 0.0 }
                });
                Some(forward(&ones(dims, rng), &weights))
            },
        ),
        trap(
            "base-3-last-byte",
            "only the last three weights of a group are not 0: they are in a byte of three codes",
            sizes,
            |dims, rng| {
                let weights = coded(dims, rng, Packing::Base3, |j, _| match j {
                    125.. => 1.0,
                    _ => 0.0,
                });
                Some(forward(&ones(dims, rng), &weights))
            },
        )
        .at("base-3"),
        trap(
            "last-group",
            "the last group of each row has the largest weights",
            sizes,
            |dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let x: Vec<f32> = normal(rng, dims.get("M") * shape[1], 1.0);
                let mut w: Vec<f32> = normal(rng, shape[0] * shape[1], 0.1);
                for row in w.chunks_mut(shape[1]) {
                    row[shape[1] - GROUP..].iter_mut().for_each(|w| *w *= 20.0);
                }
                Some(forward(&x, &packed(&w, shape, Packing::TwoBit)))
            },
        ),
        trap(
            "long-sums-of-16-bit-products",
            "a thousand products of one sign in bf16: a sum in 16 bits stops growing",
            [("M", 2), ("N", 4), ("G", 10)],
            |dims, rng| {
                let weights = coded(dims, rng, Packing::TwoBit, |_, _| 1.0);
                let x: Vec<bf16> = (0..dims.get("M") * columns(dims))
                    .map(|_| bf16::from_f64(rng.uniform(0.5, 1.5)))
                    .collect();
                Some(forward(&x, &weights))
            },
        )
        .at("16-bit"),
        trap(
            "embedding-has-scales",
            "the scales of a row differ from 1 and from each other",
            [("L", 4), ("N", 7), ("G", 3)],
            |dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let weights = packed(&dense::<f32>(rng, &[], shape), shape, Packing::TwoBit);
                let tokens: Vec<i32> = (0..dims.get("L"))
                    .map(|_| rng.below(shape[0]) as i32)
                    .collect();
                Some(embed(&tokens, &weights, DType::F32))
            },
        )
        .at("embed")
        .ops(&["embed"]),
    ]
}

/// Activations near 1, so that nothing cancels.
fn ones(dims: &Dims, rng: &mut Rng) -> Vec<f32> {
    (0..dims.get("M") * columns(dims))
        .map(|_| 1.0 + 0.1 * rng.normal() as f32)
        .collect()
}

fn training() -> Vec<Check> {
    let gradient = |name, says, make: Make| {
        trap(name, says, [("M", 5), ("N", 4), ("G", 1)], make)
            .at("gradients")
            .ops(&["weight-gradient"])
    };
    vec![
        gradient(
            "gradient-not-clipped",
            "gradients of hundreds pass the quantiser as they are",
            |dims, rng| {
                let [m, n, k] = [dims.get("M"), dims.get("N"), columns(dims)];
                let x: Vec<f32> = normal(rng, m * k, 10.0);
                let dy: Vec<f32> = normal(rng, m * n, 10.0);
                Some(weight_gradient(&dy, &x, [m, n, k]))
            },
        ),
        gradient(
            "gradient-sums-rows",
            "dW is a sum over the rows of x, not their mean",
            |dims, rng| {
                let [m, n, k] = [dims.get("M"), dims.get("N"), columns(dims)];
                let x: Vec<f32> = activations(rng, m, k);
                let dy: Vec<f32> = normal(rng, m * n, 1.0);
                (m > 1).then(|| weight_gradient(&dy, &x, [m, n, k]))
            },
        ),
        gradient(
            "gradient-of-large-weights",
            "the weights come along, and half of them are greater than the scale of their group",
            |dims, rng| Some(beside(dims, rng)),
        ),
        gradient(
            "scale-is-a-constant",
            "the weights come along, and the scale that was made of them is not differentiated",
            |dims, rng| Some(beside(dims, rng)),
        ),
        trap(
            "product-of-what-is-packed",
            "y is the product with the scales and codes that are returned, rounded as they are",
            [("M", 3), ("N", 5), ("G", 2)],
            |dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let x: Vec<f32> = normal(rng, dims.get("M") * shape[1], 1.0);
                let w: Vec<f32> = normal(rng, shape[0] * shape[1], 0.3);
                Some(quantise_forward(&x, &w, shape[0], Packing::TwoBit))
            },
        )
        .at("fused")
        .ops(&["quantise-forward"]),
    ]
}

/// dW of normal weights, which come along.
fn beside(dims: &Dims, rng: &mut Rng) -> Call {
    let [m, n, k] = [dims.get("M"), dims.get("N"), columns(dims)];
    let x: Vec<f32> = normal(rng, m * k, 1.0);
    let dy: Vec<f32> = normal(rng, m * n, 1.0);
    let w: Vec<f32> = normal(rng, n * k, 0.05);
    weight_gradient_beside(&dy, &x, &w, [m, n, k])
}
