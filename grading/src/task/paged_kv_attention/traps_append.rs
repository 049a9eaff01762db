//! Traps of appending.

use super::append;
use super::checks::{appending, slots};
use crate::task::{Check, Dims, Kind};
use half::bf16;
use reference::cases::Rng;
use reference::cases::paged_append::PagedAppend;

fn trap(
    name: &'static str,
    says: &'static str,
    changes: &'static [(&'static str, u64)],
    rope: bool,
    change: impl Fn(&mut PagedAppend<f32>, &Dims, &mut Rng) + Send + Sync + 'static,
) -> Check {
    Check::judged(Kind::Trap, name, says, slots(changes), move |dims, rng| {
        let mut case = appending::<f32>(dims, rng, rope)?;
        change(&mut case, dims, rng);
        Some(append::call(&case))
    })
    .ops(&["append"])
    .cases(1, 2)
}

/// Standard normal numbers in place of k and v.
fn normal(case: &mut PagedAppend<f32>, rng: &mut Rng) {
    for x in case.k.iter_mut().chain(&mut case.v) {
        *x = rng.normal() as f32;
    }
}

pub(super) fn traps() -> Vec<Check> {
    let mut traps = vec![
        trap(
            "slot-of-each-token",
            "tokens go to slots anywhere, in any order, and nothing else is touched",
            &[],
            false,
            |case, _, rng| {
                normal(case, rng);
                // Not the first slots in order, whatever was drawn.
                let ordered = case.slots.iter().enumerate().all(|(i, s)| i as i32 == *s);
                if ordered {
                    case.slots.reverse();
                }
            },
        )
        .at("append"),
        trap(
            "rounded-to-nearest",
            "numbers that bf16 does not hold are rounded, not cut off",
            &[("format", 1)],
            false,
            |case, _, rng| {
                for x in case.k.iter_mut().chain(&mut case.v) {
                    // Three quarters of the way to the next bf16.
                    let low = bf16::from_f32(1.0 + rng.unit() as f32).to_f32();
                    *x = f32::from_bits((low.to_bits() & 0xffff_0000) | 0xc000);
                }
            },
        )
        .at("append"),
        trap(
            "keys-turned",
            "keys are rotated by their positions, values are not",
            &[],
            true,
            |case, _, rng| {
                normal(case, rng);
                let Some(rope) = &mut case.rope else {
                    return;
                };
                // An angle that turns every pair for good.
                for (cos, sin) in rope.cos.iter_mut().zip(&mut rope.sin) {
                    let angle = rng.uniform(0.5, 1.2);
                    (*cos, *sin) = (angle.cos() as f32, angle.sin() as f32);
                }
            },
        )
        .at("rope"),
    ];
    traps.extend(eight_bits());
    traps.extend(four_bits());
    traps
}

fn eight_bits() -> Vec<Check> {
    vec![
        trap(
            "scale-rounded-first",
            "codes are made with the scale as f16 holds it",
            &[("format", 2), ("D", 128)],
            false,
            |case, dims, rng| {
                // The greatest is 127·(1 + 2⁻¹²) of a scale of 1, which f16 rounds to 1; others lie
                // just above a half, and just below it by the unrounded scale.
                let d = dims.get("D");
                for vector in case.k.chunks_mut(d).chain(case.v.chunks_mut(d)) {
                    vector[0] = 127.0 * (1.0 + 2.0_f32.powi(-12));
                    for x in &mut vector[1..] {
                        let whole = rng.between(60, 120) as f32;
                        *x = (whole + 0.5) * (1.0 + 2.0_f32.powi(-13));
                    }
                }
            },
        )
        .at("int8"),
        trap(
            "half-to-even",
            "codes halfway between two go to the even one",
            &[("format", 2)],
            false,
            |case, dims, rng| {
                let d = dims.get("D");
                for vector in case.k.chunks_mut(d).chain(case.v.chunks_mut(d)) {
                    vector[0] = 127.0;
                    for x in &mut vector[1..] {
                        *x = rng.between(0, 200) as f32 - 100.0 + 0.5;
                    }
                }
            },
        )
        .at("int8"),
        trap(
            "negative-vector",
            "the greatest magnitude is that of a negative component",
            &[("format", 2)],
            false,
            |case, dims, rng| {
                normal(case, rng);
                let d = dims.get("D");
                for vector in case.k.chunks_mut(d).chain(case.v.chunks_mut(d)) {
                    vector[d / 2] = -9.0;
                }
            },
        )
        .at("int8"),
        trap(
            "vector-of-zeros",
            "a vector of zeros has scale 0 and codes 0",
            &[("format", 2)],
            false,
            |case, dims, rng| {
                normal(case, rng);
                case.k[..dims.get("D")].fill(0.0);
                case.v[..dims.get("D")].fill(-0.0);
            },
        )
        .at("int8"),
    ]
}

fn four_bits() -> Vec<Check> {
    vec![
        trap(
            "low-nibble-first-stored",
            "of two int4 codes the first goes into the low nibble",
            &[("format", 3)],
            false,
            |case, _, rng| normal(case, rng),
        )
        .at("int4"),
        trap(
            "constant-vector",
            "a constant vector has scale 1 and zero point −x",
            &[("format", 3)],
            false,
            |case, dims, rng| {
                normal(case, rng);
                case.k[..dims.get("D")].fill(3.0);
                case.v[..dims.get("D")].fill(0.0);
            },
        )
        .at("int4"),
        trap(
            "odd-head-size",
            "with an odd D the last nibble holds no code",
            &[("format", 3), ("D", 33)],
            false,
            |case, _, rng| normal(case, rng),
        )
        .at("int4"),
    ]
}
