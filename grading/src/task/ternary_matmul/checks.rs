//! Values, odd values, properties and levels.

use super::cases::{
    Real, activations, columns, dense, drawn, embed, forward, input_gradient, ordinary, pack,
    packed, quantise_forward, weight_gradient,
};
use crate::submission::Call;
use crate::task::common::{self, Judged, Ordinary};
use crate::task::{Budget, Check, Dims, Kind, Stop, fixed};
use crate::tensor::DType;
use crate::verdict::Verdict;
use half::{bf16, f16};
use reference::cases::{Rng, normal};
use reference::ternary::{GROUP, Packing};

fn draw(rng: &mut Rng, budget: Budget) -> Dims {
    Dims::of([
        ("M", rng.between(1, budget.pick(4, 12)) as u64),
        ("N", rng.between(4, budget.pick(12, 40)) as u64),
        ("G", rng.between(1, budget.pick(3, 8)) as u64),
    ])
}

/// Any packing.
pub(super) fn some_packing(rng: &mut Rng) -> Packing {
    rng.choose(&Packing::ALL)
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = common::checks(Ordinary {
        draw,
        make: ordinary,
        counted: |_, _| Dims::of([("M", 4), ("N", 64), ("G", 8)]),
    });
    checks.push(
        Check::new(
            Kind::Values,
            "forward-f32",
            "y of weights and activations of mixed scale",
            draw,
            |session, dims, rng| {
                let call = ordinary(dims, rng).ok_or(Stop::Unfit)?;
                session.judge_values(&call).map(drop)
            },
        )
        .cases(6, 24),
    );
    checks.extend(levels());
    checks.extend(gradients());
    checks.extend(super::needles::checks());
    checks.extend(odd());
    checks.extend(properties());
    checks
}

type Make = fn(&Dims, &mut Rng) -> Option<Call>;

fn levels() -> Vec<Check> {
    let level = |name, level, says, make: Make| {
        Check::judged(Kind::Level, name, says, draw, make)
            .at(level)
            .cases(2, 6)
    };
    let quantise: Make = |dims, rng| {
        let shape = [dims.get("N"), columns(dims)];
        let w = dense::<f32>(rng, &[], shape);
        let packing = some_packing(rng);
        Some(match rng.chance(0.5) {
            true => pack("quantise", &w, shape[0], packing),
            false => {
                let w: Vec<bf16> = w.into_iter().map(bf16::from_f32).collect();
                pack("quantise", &w, shape[0], packing)
            }
        })
    };
    let exact: Make = |dims, rng| {
        let shape = [dims.get("N"), columns(dims)];
        let dense = packed(&dense::<f32>(rng, &[], shape), shape, Packing::TwoBit).unpack();
        let w: Vec<f32> = dense.into_iter().map(|w| w as f32).collect();
        Some(pack("pack-exact", &w, shape[0], some_packing(rng)))
    };
    vec![
        level("base-3", "base-3", "y from base-3 weights", |dims, rng| {
            Some(drawn::<f32>(dims, rng, Packing::Base3))
        }),
        level("f16", "16-bit", "x and y in f16", |dims, rng| {
            let packing = some_packing(rng);
            Some(drawn::<f16>(dims, rng, packing))
        }),
        level("bf16", "16-bit", "x and y in bf16", |dims, rng| {
            let packing = some_packing(rng);
            Some(drawn::<bf16>(dims, rng, packing))
        }),
        Check::judged(
            Kind::Level,
            "large-m",
            "hundreds of rows of x",
            |rng, budget| {
                let m = budget.pick(rng.between(100, 140), rng.between(300, 600));
                let n = rng.choose(&[24, 72]);
                Dims::of([("M", m as u64), ("N", n), ("G", rng.between(1, 3) as u64)])
            },
            |dims, rng| {
                let packing = some_packing(rng);
                Some(match rng.below(3) {
                    0 => drawn::<bf16>(dims, rng, packing),
                    1 => drawn::<f16>(dims, rng, packing),
                    _ => drawn::<f32>(dims, rng, packing),
                })
            },
        )
        .at("large-m")
        .cases(4, 8),
        level(
            "quantise",
            "quantise",
            "packed weights are the quantisation of the dense ones, bit for bit but where f32 may \
             round to either side",
            quantise,
        )
        .ops(&["quantise"]),
        level(
            "pack-exact",
            "quantise",
            "weights that are ternary already are packed as they are, bit for bit",
            exact,
        )
        .ops(&["pack-exact"]),
        level(
            "embed",
            "embed",
            "rows of packed weights by token",
            |dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let weights = packed(&dense::<f32>(rng, &[], shape), shape, some_packing(rng));
                let tokens: Vec<i32> = (0..dims.get("M") + 2)
                    .map(|_| rng.below(shape[0]) as i32)
                    .collect();
                let dtype = rng.choose(&[DType::F32, DType::F16, DType::Bf16]);
                Some(embed(&tokens, &weights, dtype))
            },
        )
        .ops(&["embed"]),
    ]
}

fn dx<T: Real>(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    let shape = [dims.get("N"), columns(dims)];
    let weights = packed(&dense::<T>(rng, &[], shape), shape, some_packing(rng));
    let dy: Vec<T> = normal(rng, dims.get("M") * shape[0], 1.0);
    Some(input_gradient(&dy, &weights))
}

fn dw<T: Real>(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    let [m, n, k] = [dims.get("M"), dims.get("N"), columns(dims)];
    let x: Vec<T> = activations(rng, m, k);
    let dy: Vec<T> = normal(rng, m * n, 1.0);
    Some(weight_gradient(&dy, &x, [m, n, k]))
}

fn gradients() -> Vec<Check> {
    let gradient = |name, op, says, make: Make| {
        let sizes = |rng: &mut Rng, budget| {
            let dims = draw(rng, budget);
            // Small, and across several tiles.
            match rng.chance(0.5) {
                true => dims,
                false => {
                    let m = rng.choose(&[9, 17, 40, 70]);
                    dims.with("M", m)
                        .with("N", rng.choose(&[16, 20, 33, 48, 64, 70, 132]))
                }
            }
        };
        Check::judged(Kind::Level, name, says, sizes, make)
            .at("gradients")
            .ops(&[op])
            .cases(4, 8)
    };
    vec![
        gradient("dx-f32", "input-gradient", "dx in f32", dx::<f32>),
        gradient("dx-bf16", "input-gradient", "dx in bf16", dx::<bf16>),
        gradient("dx-f16", "input-gradient", "dx in f16", dx::<f16>),
        gradient("dw-f32", "weight-gradient", "dW from f32", dw::<f32>),
        gradient("dw-f16", "weight-gradient", "dW from f16", dw::<f16>),
        gradient("dw-bf16", "weight-gradient", "dW from bf16", dw::<bf16>),
    ]
}

fn odd() -> Vec<Check> {
    vec![
        Check::new(
            Kind::Odd,
            "zero-weights",
            "weights of zeros only: y is 0, and no NaN",
            fixed([("M", 3), ("N", 5), ("G", 2)]),
            |session, dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let x: Vec<f32> = normal(rng, dims.get("M") * shape[1], 1.0);
                let zeros = vec![0.0; shape[0] * shape[1]];
                let call = forward(&x, &packed(&zeros, shape, Packing::TwoBit));
                session.without_margin().judge(&call).map(drop)
            },
        ),
        Check::judged(
            Kind::Odd,
            "tiny-weights",
            "weights so small that their scale is 0 in f16 are zeros",
            fixed([("N", 5), ("G", 2)]),
            |dims, rng| {
                let mut w: Vec<f32> = normal(rng, dims.get("N") * columns(dims), 0.05);
                // Half of the groups: the others tell right from wrong.
                for group in w.chunks_mut(GROUP).step_by(2) {
                    group.iter_mut().for_each(|w| *w *= 1e-9);
                }
                Some(match rng.chance(0.5) {
                    true => pack("quantise", &w, dims.get("N"), some_packing(rng)),
                    false => {
                        let w: Vec<bf16> = w.into_iter().map(bf16::from_f32).collect();
                        pack("quantise", &w, dims.get("N"), some_packing(rng))
                    }
                })
            },
        )
        .at("quantise")
        .ops(&["quantise"])
        .cases(2, 4),
        Check::new(
            Kind::Odd,
            "broken-group",
            "K that is no multiple of 128 is refused when weights are packed",
            fixed([("N", 3)]),
            |session, dims, rng| {
                let rows = dims.get("N");
                let w: Vec<f32> = normal(rng, rows * (GROUP + 32), 1.0);
                let call = pack("quantise", &w, rows, Packing::TwoBit);
                session.refused(&call, "K = 160")
            },
        )
        .at("quantise")
        .ops(&["quantise"]),
        Check::new(
            Kind::Odd,
            "broken-group-fused",
            "K that is no multiple of 128 is refused by quantise-forward as well",
            fixed([("M", 2), ("N", 3)]),
            |session, dims, rng| {
                let (k, n) = (GROUP + 32, dims.get("N"));
                let x: Vec<f32> = normal(rng, dims.get("M") * k, 1.0);
                let w: Vec<f32> = normal(rng, n * k, 1.0);
                let call = quantise_forward(&x, &w, n, Packing::TwoBit);
                session.refused(&call, "K = 160")
            },
        )
        .at("fused")
        .ops(&["quantise-forward"]),
    ]
}

fn properties() -> Vec<Check> {
    vec![
        Check::new(
            Kind::Property,
            "sign-flip",
            "flipping the signs of the weights flips y within the bounds of both",
            fixed([("M", 3), ("N", 8), ("G", 2)]),
            |session, dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let x: Vec<f32> = activations(rng, dims.get("M"), shape[1]);
                let w = dense(rng, &x, shape);
                let flipped: Vec<f32> = w.iter().map(|w| -w).collect();
                let call = |w: &[f32]| forward(&x, &packed(w, shape, Packing::TwoBit));
                let here = session.judge(&call(&w))?;
                let here = Judged::of(session, &here, "y").scaled(-1.0);
                let there = session.judge(&call(&flipped))?;
                here.agrees(&Judged::of(session, &there, "y"), "y of flipped weights")
            },
        ),
        Check::new(
            Kind::Property,
            "twice-x",
            "twice x gives twice y, within the bounds of both",
            fixed([("M", 2), ("N", 9), ("G", 2)]),
            |session, dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let x: Vec<f32> = normal(rng, dims.get("M") * shape[1], 1.0);
                let weights = packed(&dense(rng, &x, shape), shape, Packing::TwoBit);
                let twice: Vec<f32> = x.iter().map(|x| 2.0 * x).collect();
                let once = session.judge(&forward(&x, &weights))?;
                let once = Judged::of(session, &once, "y").scaled(2.0);
                let doubled = session.judge(&forward(&twice, &weights))?;
                once.agrees(&Judged::of(session, &doubled, "y"), "y of twice x")
            },
        ),
        Check::new(
            Kind::Property,
            "packings-agree",
            "the same weights in either packing give y within the same bounds",
            fixed([("M", 2), ("N", 9), ("G", 3)]),
            |session, dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let x: Vec<f32> = normal(rng, dims.get("M") * shape[1], 1.0);
                let w = dense(rng, &x, shape);
                for packing in Packing::ALL {
                    session.judge(&forward(&x, &packed(&w, shape, packing)))?;
                }
                Ok(())
            },
        )
        .at("base-3"),
        Check::new(
            Kind::Property,
            "pack-of-unpack",
            "packing what was unpacked gives the same bytes",
            fixed([("N", 5), ("G", 2)]),
            |session, dims, rng| {
                let shape = [dims.get("N"), columns(dims)];
                let packing = some_packing(rng);
                let weights = packed(&dense::<f32>(rng, &[], shape), shape, packing);
                let w: Vec<f32> = weights.unpack().into_iter().map(|w| w as f32).collect();
                let again = session.judge(&pack("pack-exact", &w, shape[0], packing))?;
                // A group all of whose codes are 0 keeps no scale to pack again.
                let kept = |group: usize| {
                    let signs = &weights.signs()[group * GROUP..][..GROUP];
                    signs.iter().any(|t| *t != 0)
                };
                let pairs = again[0].tensor.bytes().chunks(packing.block_bytes());
                let mut pairs = pairs.zip(weights.bytes().chunks(packing.block_bytes()));
                match pairs.position(|(a, b)| a != b).filter(|group| kept(*group)) {
                    None => Ok(()),
                    Some(group) => {
                        let why = format!("group {group} came back as other bytes");
                        Err(Verdict::wrong(why).into())
                    }
                }
            },
        )
        .at("quantise")
        .ops(&["pack-exact"]),
    ]
}
