//! Rows in which few logits decide, at places that move on from row to row: the head and the tail of
//! rows that begin anywhere, both sides of what a warp, a vector and a part of a row end at, and
//! everything between. And numbers that lie next to each other in the order.

use super::cases::Logits;
use crate::task::{Budget, Check, Dims, Kind};
use crate::tensor::DType;
use half::{bf16, f16};
use reference::cases::Rng;

/// A type's numbers.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    F32,
    F16,
    Bf16,
}

impl Type {
    fn any(rng: &mut Rng) -> Type {
        rng.choose(&[Type::F32, Type::F16, Type::Bf16])
    }

    fn half(rng: &mut Rng) -> Type {
        rng.choose(&[Type::F16, Type::Bf16])
    }

    fn dtype(self) -> DType {
        match self {
            Type::F32 => DType::F32,
            Type::F16 => DType::F16,
            Type::Bf16 => DType::Bf16,
        }
    }

    /// Those logits in this type.
    fn logits(self, rows: usize, logits: &[f32], k: usize) -> Logits {
        match self {
            Type::F32 => Logits::new(rows, logits, k),
            Type::F16 => {
                let logits: Vec<f16> = logits.iter().map(|x| f16::from_f32(*x)).collect();
                Logits::new(rows, &logits, k)
            }
            Type::Bf16 => {
                let logits: Vec<bf16> = logits.iter().map(|x| bf16::from_f32(*x)).collect();
                Logits::new(rows, &logits, k)
            }
        }
    }

    /// `steps` numbers of this type further from zero.
    fn further(self, from: f32, steps: u32) -> f32 {
        match self {
            Type::F32 => f32::from_bits(from.to_bits() + steps),
            Type::F16 => f16::from_bits(f16::from_f32(from).to_bits() + steps as u16).to_f32(),
            Type::Bf16 => bf16::from_bits(bf16::from_f32(from).to_bits() + steps as u16).to_f32(),
        }
    }

    /// NaN of several bits, and +inf.
    fn odd(self, rng: &mut Rng) -> u32 {
        match self {
            Type::F32 => rng.choose(&[
                0x7fc0_0000,
                0x7f80_0001,
                0xffff_ffff,
                0xff80_0001,
                0x7f80_0000,
            ]),
            Type::F16 => rng.choose(&[0x7e00, 0x7c01, 0xffff, 0xfc01, 0x7c00]),
            Type::Bf16 => rng.choose(&[0x7fc0, 0x7f81, 0xffff, 0xff81, 0x7f80]),
        }
    }
}

/// A column of the `row`-th row: at the head, at the tail, beside a multiple of 32, anywhere.
fn place(row: usize, vocabulary: usize, rng: &mut Rng) -> usize {
    let at = match row % 4 {
        0 => rng.below(20),
        1 => (vocabulary - 1).saturating_sub(rng.below(20)),
        2 => (32 * rng.between(1, vocabulary.div_ceil(32)) + rng.below(3)).saturating_sub(2),
        _ => rng.below(vocabulary),
    };
    at.min(vocabulary - 1)
}

/// Rows in which a logit, or K of them next to each other, outweigh the rest.
fn needles(of: Type, dims: &Dims, rng: &mut Rng) -> Logits {
    let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
    let k = dims.get("K").min(vocabulary);
    let mut logits = Vec::with_capacity(rows * vocabulary);
    for row in 0..rows {
        // Far from zero on either side: what depends on the sign does so for all of a row.
        let offset = rng.choose(&[0.0_f32, 0.0, 40.0, -40.0, 3000.0, -3000.0]);
        let spread = rng.choose(&[0.0_f32, 0.5]);
        let mut one: Vec<f32> = (0..vocabulary)
            .map(|_| offset + spread * rng.normal() as f32)
            .collect();
        let at = place(row, vocabulary, rng);
        match rng.below(4) {
            0 => one[at] = offset + rng.choose(&[3.0, 7.0]),
            // K of a kind, each a number from the next or all equal.
            kind => {
                let top = offset + 4.0;
                for n in 0..k {
                    let steps = match kind {
                        1 => 0,
                        2 => n as u32,
                        _ => rng.below(8) as u32,
                    };
                    one[(at + n) % vocabulary] = of.further(top, steps);
                }
            }
        }
        logits.extend(one);
    }
    of.logits(rows, &logits, k)
}

/// Sizes on both sides of where a warp, a block and a vector end; rows begin at any address.
fn sizes(rng: &mut Rng, budget: Budget) -> Dims {
    let vocabulary = rng.choose(&[33, 65, 127, 256, 1025, 2047, 2049, 2115, 2600, 4099]);
    let rows = match vocabulary > 1000 {
        true => budget.pick(17, 33),
        false => 33,
    };
    let k = rng.choose(&[1, 2, 5, 16, 31, 32]);
    Dims::of([("R", rows), ("V", vocabulary), ("K", k)])
}

/// A pool of candidates: how logits come that are to be the K best.
fn pool(of: Type, dims: &Dims, rng: &mut Rng) -> Logits {
    let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
    let k = dims.get("K").min(vocabulary);
    let tiny = match of {
        Type::F32 => f32::from_bits(1),
        Type::F16 => f16::from_bits(1).to_f32(),
        Type::Bf16 => bf16::from_bits(1).to_f32(),
    };
    let greatest = if of == Type::F16 { 6e4 } else { 1e30 };
    let base = rng.choose(&[-700.0_f32, -1.0, 1.0, 700.0]);
    let finite = rng.between(1, k.max(2) - 1);
    let pattern = rng.below(9);
    let mut logits = Vec::with_capacity(rows * vocabulary);
    for i in 0..rows * vocabulary {
        let at = (i % vocabulary) as f32 / vocabulary as f32;
        let sign = rng.choose(&[-1.0_f32, 1.0]);
        let ordinary = rng.normal() as f32;
        logits.push(match pattern {
            // One row that is like any other, so that the case tells right from wrong.
            _ if i < vocabulary => ordinary,
            0 => ordinary,
            1 => 10.0 * at + 0.01 * ordinary,
            2 => -10.0 * at + 0.01 * ordinary,
            3 => rng.choose(&[0.5, 0.25, -0.5]),
            4 => of.further(base, rng.below(40) as u32),
            5 => sign * rng.below(4) as f32 * tiny,
            6 if rng.chance(0.05) => sign * greatest,
            6 => ordinary,
            7 => f32::NEG_INFINITY,
            _ => sign * 2.0_f32.powf(rng.uniform(-14.0, 9.0) as f32),
        });
    }
    if pattern == 7 {
        for row in logits.chunks_mut(vocabulary).skip(1) {
            // Now and then nothing at all.
            for n in 0..finite * usize::from(rng.chance(0.7)) {
                row[place(n, vocabulary, rng)] = rng.normal() as f32;
            }
        }
    }
    of.logits(rows, &logits, k)
}

/// A row in which something is NaN or +inf, beside rows in which nothing is.
fn odd(of: Type, dims: &Dims, rng: &mut Rng) -> Logits {
    let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
    let logits: Vec<f32> = reference::cases::normal(rng, rows * vocabulary, 2.0);
    let draft = of.logits(rows, &logits, dims.get("K").min(vocabulary));
    let mut bytes = draft.logits.bytes().to_vec();
    let size = of.dtype().bytes();
    for row in (0..rows).filter(|row| row % 3 != 2) {
        let at = (row * vocabulary + place(row, vocabulary, rng)) * size;
        bytes[at..at + size].copy_from_slice(&of.odd(rng).to_le_bytes()[..size]);
    }
    let shape = [rows, vocabulary].to_vec();
    let logits = crate::tensor::Tensor::new(of.dtype(), shape, bytes).expect("as many as before");
    Logits { logits, ..draft }
}

/// Needles of which some are masked, as is a third of the rest or nothing.
fn masked(of: Type, dims: &Dims, rng: &mut Rng) -> Logits {
    let draft = needles(of, dims, rng);
    let (rows, vocabulary) = (dims.get("R"), dims.get("V"));
    // Runs of masked ones and single ones; a byte that is not 0 masks, whatever it is.
    let rate = rng.choose(&[0.0, 0.3, 0.8]);
    let all = rng.chance(0.5);
    let byte = |masked: bool, rng: &mut Rng| match masked {
        true if all => u8::MAX,
        true => 1 << rng.below(8),
        false => 0,
    };
    let mut mask: Vec<u8> = (0..rows * vocabulary)
        .map(|_| byte(rng.chance(rate), rng))
        .collect();
    let logits = draft.logits.to_f32();
    for (row, mask) in mask.chunks_mut(vocabulary).enumerate() {
        let best = logits[row * vocabulary..][..vocabulary]
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (i, x)| match *x > best.1 {
                true => (i, *x),
                false => best,
            });
        mask[best.0] = byte(row % 2 == 0, rng);
    }
    let mask = Some(mask);
    Logits { mask, ..draft }
}

/// Needles, and a K of each row: 1, all, or between.
fn per_row(of: Type, dims: &Dims, rng: &mut Rng) -> Logits {
    let draft = needles(of, dims, rng);
    let ks = (0..draft.rows).map(|row| match row % 3 {
        0 => rng.between(1, draft.k) as i32,
        1 => draft.k.saturating_sub(1).max(1) as i32,
        _ => rng.choose(&[1, draft.k]) as i32,
    });
    let row_k = Some(ks.collect());
    Logits { row_k, ..draft }
}

type Make = fn(Type, &Dims, &mut Rng) -> Logits;

pub(super) fn checks() -> Vec<Check> {
    let check = |kind, name, level, says, of: fn(&mut Rng) -> Type, make: Make| {
        Check::judged(kind, name, says, sizes, move |dims, rng| {
            Some(make(of(rng), dims, rng).call())
        })
        .at(level)
        .cases(5, 12)
    };
    let mut checks = vec![
        check(
            Kind::Values,
            "needles",
            "basic",
            "one logit, or K side by side, outweigh their row, at every place in turn",
            |_| Type::F32,
            needles,
        ),
        check(
            Kind::Level,
            "needles-16-bit",
            "16-bit",
            "the same in f16 and bf16",
            Type::half,
            needles,
        ),
        check(
            Kind::Odd,
            "odd-anywhere",
            "basic",
            "NaN of any bits, or +inf, at every place in turn, and rows without beside them",
            |_| Type::F32,
            odd,
        ),
        check(
            Kind::Odd,
            "odd-anywhere-16-bit",
            "16-bit",
            "the same in f16 and bf16",
            Type::half,
            odd,
        ),
        check(
            Kind::Level,
            "mask-needles",
            "mask",
            "the greatest logit of a row, at every place in turn, is masked or is not, in all types",
            Type::any,
            masked,
        ),
        check(
            Kind::Level,
            "per-row-k-needles",
            "per-row-k",
            "K of 1, of all and between, side by side, in all types",
            Type::any,
            per_row,
        ),
    ];
    checks.extend(pools());
    checks
}

fn pools() -> Vec<Check> {
    type Draw = fn(&mut Rng, Budget) -> Dims;
    let check = |name, level, says, draw: Draw, make: Make| {
        Check::judged(Kind::Level, name, says, draw, move |dims, rng| {
            Some(make(Type::any(rng), dims, rng).call())
        })
        .at(level)
    };
    vec![
        check(
            "pools-32",
            "16-bit",
            "K to 32 of logits that rise, fall, are equal, next to each other, around zero, −inf",
            |rng, _| {
                let v = rng.choose(&[70, 515, 2100, 3001]);
                Dims::of([("R", 3), ("V", v), ("K", rng.choose(&[1, 3, 31, 32]))])
            },
            pool,
        )
        .cases(8, 24),
        check(
            "pools-256",
            "k-256",
            "the same with K around powers of two to 256",
            |rng, _| {
                let k = rng.choose(&[33, 63, 64, 65, 127, 128, 129, 150, 255, 256]);
                let v = rng.choose(&[300, 515, 1025, 2100, 3001]);
                Dims::of([("R", 3), ("V", v), ("K", k)])
            },
            pool,
        )
        .cases(6, 24),
        check(
            "pools-1024",
            "k-1024",
            "the same with K around powers of two to 1024",
            |rng, _| {
                let k = rng.choose(&[257, 384, 511, 512, 513, 800, 1023, 1024]);
                let v = rng.choose(&[1100, 1537, 2100, 4001]);
                Dims::of([("R", 2), ("V", v), ("K", k)])
            },
            pool,
        )
        .cases(4, 16),
        check(
            "long-rows-needles",
            "long-rows",
            "rows long enough to be cut, what decides at every place in turn",
            |rng, budget| {
                let full = rng.choose(&[34_000, 34_000, 90_000, 262_144]);
                let longest = budget.pick(40_000, full);
                let v = rng.between(longest / 2, longest) as u64;
                Dims::of([("R", 2), ("V", v), ("K", rng.choose(&[1, 7, 32]))])
            },
            needles,
        )
        .cases(3, 12),
        check(
            "long-rows-pools",
            "k-1024",
            "hundreds of the best of rows long enough to be cut",
            |rng, _| {
                // Rows are cut where that leaves each part enough to choose from.
                let k = rng.choose(&[33, 130, 256, 256, 700, 1000]);
                let least = 2 * (32 * k).max(8192);
                let v = rng.between(least, least + 16_000) as u64;
                Dims::of([("R", 2), ("V", v), ("K", k as u64)])
            },
            pool,
        )
        .cases(2, 12),
    ]
}
