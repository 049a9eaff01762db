//! Cases that each kernel is asked of its own: one type and one head size at a time, as
//! implementations have them. Lengths lie on both sides of where tiles end, masks begin and end
//! anywhere, one key decides a row, NaN stands at each of the eight places of a 16-byte vector.

use super::{Draft, Shape};
use crate::submission::Call;
use crate::task::{Budget, Check, Dims, Kind};
use crate::tensor::DType;
use reference::attention::Window;
use reference::cases::Rng;

/// What the passes do not share.
#[derive(Clone, Copy)]
pub(in crate::task) struct Pass {
    /// The call of a draft.
    pub(in crate::task) call: fn(&Draft, &mut Rng) -> Call,
    /// The call of a draft in which few keys or rows decide.
    pub(in crate::task) pointed: fn(&mut Draft, &mut Rng) -> Call,
    /// The call of a draft in which there are NaN.
    pub(in crate::task) odd: fn(&mut Draft, &mut Rng) -> Call,
    /// The operation for sequences end to end.
    pub(in crate::task) packed: &'static str,
}

/// The names of a check of each type and head size: f32 takes all head sizes in turn.
macro_rules! variants {
    ($name:literal) => {
        [
            concat!($name, "-f32"),
            concat!($name, "-f16-32"),
            concat!($name, "-f16-64"),
            concat!($name, "-f16-96"),
            concat!($name, "-f16-128"),
            concat!($name, "-f16-256"),
            concat!($name, "-bf16-32"),
            concat!($name, "-bf16-64"),
            concat!($name, "-bf16-96"),
            concat!($name, "-bf16-128"),
            concat!($name, "-bf16-256"),
        ]
    };
}

/// Types and head sizes in the order of [`variants!`].
const VARIANTS: [(DType, &[u64]); 11] = [
    (DType::F32, &[32, 64, 96, 128, 256]),
    (DType::F16, &[32]),
    (DType::F16, &[64]),
    (DType::F16, &[96]),
    (DType::F16, &[128]),
    (DType::F16, &[256]),
    (DType::Bf16, &[32]),
    (DType::Bf16, &[64]),
    (DType::Bf16, &[96]),
    (DType::Bf16, &[128]),
    (DType::Bf16, &[256]),
];

/// Draws sizes for a head size.
type Draw = fn(u64, &mut Rng, Budget) -> Dims;

/// A check of each type and head size; `make` takes numbers of its type, standard normal.
fn each(
    names: [&'static str; 11],
    kind: Kind,
    says: &'static str,
    draw: Draw,
    shape: fn(&Dims, &mut Rng) -> Shape,
    make: impl Fn(&mut Draft, &mut Rng) -> Call + Copy + Send + Sync + 'static,
) -> impl Iterator<Item = Check> {
    let both = names.into_iter().zip(VARIANTS);
    both.map(move |(name, (dtype, head_sizes))| {
        let sizes = move |rng: &mut Rng, budget: Budget| {
            let d = rng.choose(head_sizes);
            draw(d, rng, budget).with("D", d)
        };
        let call = move |dims: &Dims, rng: &mut Rng| {
            let mut draft = Draft::normal(shape(dims, rng), rng);
            draft.dtype = dtype;
            Some(make(&mut draft, rng))
        };
        Check::judged(kind, name, says, sizes, call)
            .at("head-sizes")
            .cases(1, 4)
    })
}

/// All of them.
pub(in crate::task) fn checks(pass: Pass) -> Vec<Check> {
    let dense: fn(&Dims, &mut Rng) -> Shape = |dims, _| Draft::dense(dims);
    let mut checks: Vec<Check> = each(
        variants!("lengths"),
        Kind::Level,
        "lengths around the ends of tiles, heads that share keys, masks of every kind",
        lengths,
        dense,
        move |draft, rng| {
            draft.mask(rng);
            (pass.call)(draft, rng)
        },
    )
    .collect();
    checks.extend(each(
        variants!("needles"),
        Kind::Level,
        "few keys of each row decide: at an edge of the mask, between, or just outside",
        lengths,
        dense,
        move |draft, rng| {
            draft.mask(rng);
            (pass.pointed)(draft, rng)
        },
    ));
    checks.extend(each(
        variants!("softcap"),
        Kind::Level,
        "a softcap that bends every score, over whole steps of keys",
        whole_steps,
        dense,
        move |draft, rng| {
            if rng.chance(0.5) {
                draft.mask(rng);
            }
            draft.options.softcap = Some(rng.choose(&[0.6, 1.0, 2.5]));
            (pass.call)(draft, rng)
        },
    ));
    let odd = each(
        variants!("odd"),
        Kind::Odd,
        "NaN at each place of a vector, in rows that some see and some do not",
        eight_heads,
        dense,
        move |draft, rng| {
            draft.mask(rng);
            (pass.odd)(draft, rng)
        },
    );
    checks.extend(odd.map(|check| check.cases(2, 8)));
    let many = each(
        variants!("many-heads"),
        Kind::Level,
        "tens of query heads, or a thousand, read one KV head and do not see its first keys",
        many_heads,
        dense,
        move |draft, rng| {
            draft.options.window = Some(Window {
                left: Some(rng.between(5, 30)),
                right: None,
                sinks: 0,
            });
            (pass.call)(draft, rng)
        },
    );
    checks.extend(many.map(|check| check.cases(1, 1)));
    let packed = each(
        variants!("packed"),
        Kind::Level,
        "sequences of lengths that differ, some of them empty, under masks of every kind",
        ragged,
        ragged_shape,
        move |draft, rng| {
            draft.mask(rng);
            if rng.chance(0.2) {
                draft.options.softcap = Some(rng.choose(&[1.0, 30.0]));
            }
            (pass.call)(draft, rng)
        },
    );
    checks.extend(packed.map(|check| check.at("variable-length").ops(&[pass.packed])));
    checks
}

/// Lengths around the ends of tiles of 16, 32, 64 and 128.
const SHORT: [u64; 12] = [1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65];
const LONG: [u64; 12] = [63, 64, 65, 80, 95, 96, 97, 127, 128, 129, 145, 160];

/// A length: of large head sizes, whose tiles are small, no long one.
fn length(d: u64, rng: &mut Rng) -> u64 {
    match d > 128 || rng.chance(0.4) {
        true => rng.choose(&SHORT),
        false => rng.choose(&LONG),
    }
}

/// One or two sequences; heads that share keys or do not, now and then as many as a tile has rows.
fn lengths(d: u64, rng: &mut Rng, _: Budget) -> Dims {
    let (hq, hkv) = rng.choose(&[(1, 1), (2, 1), (3, 1), (2, 2), (4, 2), (6, 2), (40, 1)]);
    let (nq, nk) = (length(d, rng), length(d, rng));
    // About as many rows as two tiles have.
    let most = if d > 128 { 80 } else { 160 };
    let b = if nq * hq > most / 2 {
        1
    } else {
        rng.choose(&[1, 2])
    };
    Dims::of([("B", b), ("Hq", hq), ("Hkv", hkv)])
        .with("Nq", nq.min(most / hq).max(2))
        .with("Nk", nk.max(2))
}

/// Lengths of which a step of keys is full at least.
fn whole_steps(d: u64, rng: &mut Rng, budget: Budget) -> Dims {
    let dims = lengths(d, rng, budget);
    let nk = dims.get("Nk") as u64;
    dims.with("Nk", nk.max(rng.choose(&[64, 65, 80])))
}

/// Heads enough that each of eight places of a vector has one to itself.
fn eight_heads(d: u64, rng: &mut Rng, _: Budget) -> Dims {
    let group = rng.choose(&[1, 1, 1, 2]);
    let longest = if d > 128 { 40 } else { 100 };
    let length = |rng: &mut Rng, most| rng.choose(&[9, 17, 33, 40, 66, 100]).min(most);
    Dims::of([("B", 2), ("Hq", 4 * group), ("Hkv", 4)])
        .with("Nq", length(rng, 70 / group).min(longest))
        .with("Nk", length(rng, longest).max(17))
}

/// Three sequences end to end.
fn ragged(d: u64, rng: &mut Rng, _: Budget) -> Dims {
    let (hq, hkv) = rng.choose(&[(2, 1), (2, 2), (4, 2), (3, 3)]);
    let most = if d > 128 { 66 } else { 130 };
    Dims::of([("B", 3), ("Hq", hq), ("Hkv", hkv)])
        .with("Nq", most / (hq / hkv))
        .with("Nk", most)
}

/// The shape of [`ragged`]'s dims: a sequence may have no queries, or no keys.
fn ragged_shape(dims: &Dims, rng: &mut Rng) -> Shape {
    let (nq, nk) = (dims.get("Nq"), dims.get("Nk"));
    let one = |most: usize, rng: &mut Rng| match rng.below(6) {
        0 => 0,
        1 => most,
        2 => most.min(rng.choose(&[16, 32, 64])),
        _ => rng.between(1, most.max(1)),
    };
    let mut lengths: Vec<(usize, usize)> = (1..dims.get("B").max(2))
        .map(|_| (one(nq, rng), one(nk, rng)))
        .collect();
    lengths.insert(
        rng.below(lengths.len() + 1),
        (nq.div_ceil(2), nk.div_ceil(2)),
    );
    if rng.chance(0.25) {
        // More queries than a tile has rows, behind which the keys end.
        lengths.push((nq, 0));
    }
    Shape {
        lengths,
        packed: true,
        ..Draft::dense(dims)
    }
}

/// One query of heads enough to fill tiles, or tile after tile.
fn many_heads(_: u64, rng: &mut Rng, budget: Budget) -> Dims {
    let heads = budget.pick(70, 1040);
    Dims::of([("Hq", heads), ("Nq", 1), ("Nk", rng.choose(&[33, 47, 70]))])
}
