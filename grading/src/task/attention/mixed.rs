//! Cases in which much comes together: all options in any type, sequences of different lengths, odd
//! numbers on both sides of a mask's edge. The two passes draw them alike.

use super::{Draft, Shape, Spot};
use crate::submission::Call;
use crate::task::{Budget, Dims};
use crate::tensor::DType;
use reference::attention::Window;
use reference::cases::Rng;

/// Sequences of lengths that differ, one without queries where there are three.
pub(in crate::task) fn packed(dims: &Dims, rng: &mut Rng) -> Shape {
    let count = dims.get("B").max(2);
    let most = |name: &str| dims.get(name).max(2);
    let mut lengths: Vec<(usize, usize)> = (0..count)
        .map(|_| (rng.between(1, most("Nq")), rng.between(1, most("Nk"))))
        .collect();
    if count > 2 {
        lengths[1].0 = 0;
    }
    Shape {
        lengths,
        packed: true,
        ..Draft::dense(dims)
    }
}

/// The shape of sizes drawn by [`sizes`].
pub(in crate::task) fn shape(dims: &Dims, rng: &mut Rng) -> Shape {
    match dims.get("packed") > 0 {
        true => some_without_keys(packed(dims, rng), rng),
        false => Draft::dense(dims),
    }
}

/// Now and then a sequence without keys among the others.
fn some_without_keys(mut shape: Shape, rng: &mut Rng) -> Shape {
    if rng.chance(0.4) {
        let at = rng.below(shape.lengths.len());
        shape.lengths[at].1 = 0;
    }
    shape
}

/// All options at once, in any type: what works alone may not work together.
pub(in crate::task) fn options(draft: &mut Draft, dims: &Dims, rng: &mut Rng) {
    draft.dtype = match dims.get("D") {
        32 | 64 => rng.choose(&[DType::F32, DType::F16, DType::Bf16]),
        _ => DType::Bf16,
    };
    draft.options.causal = rng.chance(0.5);
    if rng.chance(0.4) {
        let side = |rng: &mut Rng| rng.chance(0.7).then(|| rng.below(70));
        draft.options.window = Some(Window {
            left: side(rng).or(Some(9)),
            right: side(rng),
            sinks: 0,
        });
    }
    if rng.chance(0.25) {
        draft.options.softcap = Some(rng.choose(&[2.0, 30.0]));
    }
}

/// Sizes of any kind, end to end or not.
pub(in crate::task) fn sizes(packed: u64) -> impl Fn(&mut Rng, Budget) -> Dims + Send + Sync {
    move |rng, budget| {
        let most = budget.pick(150, 300) as u64;
        let heads = rng.choose(&[(1, 1), (2, 1), (4, 2), (3, 3)]);
        let dims = Dims::of([
            ("B", rng.between(1, 2 + packed as usize) as u64),
            ("Hq", heads.0),
            ("Hkv", heads.1),
        ]);
        let length = |rng: &mut Rng| rng.choose(&[5, 16, 40, 64, 100, 129, most]);
        dims.with("Nq", length(rng))
            .with("Nk", length(rng))
            .with("D", rng.choose(&[32, 32, 64, 64, 96, 128, 256]))
            .with("packed", packed)
    }
}

/// Sizes around the ends of tiles.
pub(in crate::task) fn edges(rng: &mut Rng, _: Budget) -> Dims {
    let dims = Dims::of([("B", 2), ("Hq", 2), ("Hkv", 2)]);
    let length = |rng: &mut Rng| rng.choose(&[17, 33, 64, 65, 100]);
    dims.with("Nq", length(rng))
        .with("Nk", length(rng))
        .with("D", rng.choose(&[32, 64]))
}

/// The call with odd numbers of any bits at some places, of tensors and of a gradient of o.
pub(in crate::task) fn spoilt(
    spots: &[Spot],
    draft: &mut Draft,
    d_o: &mut [f64],
    rng: &mut Rng,
    call: impl FnOnce(&Draft, &[f64]) -> Call,
) -> Call {
    for spot in spots {
        spot.put(draft, d_o);
    }
    let mut call = call(draft, d_o);
    for spot in spots {
        spot.vary(&mut call, rng);
    }
    call
}
