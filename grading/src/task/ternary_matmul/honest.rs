//! The plain implementation, and what can go wrong in it.

use super::cases::{packing, weights_of};
use crate::submission::{Call, Failure, Named};
use crate::task::honest::answer;
use crate::task::{Mistake, Order, Way};
use crate::tensor::{DType, Tensor};
use half::{bf16, f16};
use reference::ternary::{GROUP, Packing};

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "greatest-as-scale",
        caught_by: &["scale-is-a-mean"],
        says: "the scale is max|W| of the group",
        mend: "the scale is mean|W|, rounded to f16",
    },
    Mistake {
        name: "mean-not-rounded-first",
        caught_by: &["scale-rounded-first"],
        says: "W is divided by the mean before it is rounded to f16",
        mend: "round the scale to f16, then divide by that",
    },
    Mistake {
        name: "scale-of-the-whole-row",
        caught_by: &["scales-by-group"],
        says: "one mean is taken over the whole row",
        mend: "each group of 128 along K has its own scale",
    },
    Mistake {
        name: "zero-group-divided",
        caught_by: &["zero-group"],
        says: "W/0 is NaN, and a clamp makes −1 of it",
        mend: "a group whose scale is 0 has t = 0 throughout",
    },
    Mistake {
        name: "halves-away-from-zero",
        caught_by: &["exact-halves"],
        says: "|W/d| = ½ is rounded to 1",
        mend: "round halves to even: ½ becomes 0",
    },
    Mistake {
        name: "exact-by-mean",
        caught_by: &["already-ternary"],
        says: "weights that are ternary already are packed with mean|W| as their scale",
        mend: "their scale is the one magnitude that is not 0",
    },
    Mistake {
        name: "scales-transposed",
        caught_by: &["groups-along-k"],
        says: "scales are read as [K/128, N] instead of [N, K/128]",
        mend: "groups run along K: the scale of W[n,k] is number n·K/128 + k/128",
    },
    Mistake {
        name: "two-bit-reversed",
        caught_by: &["order-in-a-byte"],
        says: "the first of four codes is taken from the highest bits",
        mend: "code j of a byte is (byte >> 2(j mod 4)) & 3",
    },
    Mistake {
        name: "codes-not-centred",
        caught_by: &["codes-are-centred"],
        says: "a code is taken for the weight itself: 0, d, 2d",
        mend: "the weight is (code − 1)·d",
    },
    Mistake {
        name: "codes-mirrored",
        caught_by: &["codes-are-centred"],
        says: "code 0 is taken for +d and code 2 for −d",
        mend: "a weight is (code − 1)·d: codes 0, 1, 2 are −1, 0, +1",
    },
    Mistake {
        name: "scale-as-bf16",
        caught_by: &["codes-are-centred"],
        says: "the two bytes of the scale are read as bf16",
        mend: "the scale is f16, whatever the type of x",
    },
    Mistake {
        name: "base-3-last-byte",
        caught_by: &["base-3-last-byte"],
        says: "the last byte of a base-3 group, with three codes, is left out",
        mend: "128 is not a multiple of 5: the 26th byte holds three codes",
    },
    Mistake {
        name: "last-group-dropped",
        caught_by: &["last-group"],
        says: "the last group of each row is not multiplied",
        mend: "look at the upper end of the loop over groups",
    },
    Mistake {
        name: "sum-in-16-bits",
        caught_by: &["long-sums-of-16-bit-products"],
        says: "the sum is kept in the type of x",
        mend: "accumulate in f32",
    },
    Mistake {
        name: "gradient-clipped",
        caught_by: &["gradient-not-clipped"],
        says: "dW is cut to [−1, 1]",
        mend: "straight through: the gradient of the dense weights is dyᵀ·x as it is",
    },
    Mistake {
        name: "gradient-averaged",
        caught_by: &["gradient-sums-rows"],
        says: "dW is divided by M",
        mend: "dW sums over the rows of x; averaging belongs to the loss",
    },
    Mistake {
        name: "embedding-without-scale",
        caught_by: &["embedding-has-scales"],
        says: "rows are returned as −1, 0, +1",
        mend: "multiply by the scale of each group",
    },
    Mistake {
        name: "codes-in-twos-complement",
        caught_by: &["no-reserved-code"],
        says: "−1 is written as code 3",
        mend: "codes are t + 1: 0, 1 and 2; 3 is reserved",
    },
    Mistake::near(
        "scaled-by-group",
        "x·t is summed over a group and the sum multiplied by d",
    ),
    Mistake::near(
        "codes-summed",
        "Σ x·code·d − Σ x·d in place of Σ x·(code − 1)·d",
    ),
    Mistake::near("reciprocal-of-scale", "W is multiplied by 1/d"),
    Mistake::near(
        "negative-zero",
        "zeros of the embedding have their sign set",
    ),
];

/// Weights as scales and codes, read as somebody may read them.
struct Weights {
    columns: usize,
    scales: Vec<f32>,
    codes: Vec<f32>,
    transposed: bool,
}

impl Weights {
    fn read(call: &Call, way: &Way) -> Result<Weights, Failure> {
        let size = |name: &str| call.sizes.get(name).copied().unwrap_or(0) as usize;
        let packing = packing(call);
        let bytes = call.input("packed").map(Tensor::bytes).unwrap_or_default();
        let (mut scales, mut codes) = (Vec::new(), Vec::new());
        for block in bytes.chunks(packing.block_bytes()) {
            let scale = [block[0], block[1]];
            scales.push(match way.has("scale-as-bf16") {
                true => bf16::from_le_bytes(scale).to_f32(),
                false => f16::from_le_bytes(scale).to_f32(),
            });
            for j in 0..GROUP {
                codes.push(f32::from(code(packing, &block[2..], j, way)));
            }
        }
        // What we send is right: if it is not, that is ours.
        weights_of(call).map_err(Failure::Grader)?;
        Ok(Weights {
            columns: size("K"),
            scales,
            codes,
            transposed: way.has("scales-transposed"),
        })
    }

    fn scale(&self, n: usize, k: usize) -> f32 {
        let groups = self.columns / GROUP;
        let rows = self.scales.len() / groups;
        match self.transposed {
            true => self.scales[k / GROUP * rows + n],
            false => self.scales[n * groups + k / GROUP],
        }
    }

    fn sign(&self, n: usize, k: usize, way: &Way) -> f32 {
        let centre = if way.has("codes-not-centred") {
            0.0
        } else {
            1.0
        };
        let sign = self.codes[n * self.columns + k] - centre;
        if way.has("codes-mirrored") {
            -sign
        } else {
            sign
        }
    }

    fn at(&self, n: usize, k: usize, way: &Way) -> f32 {
        self.sign(n, k, way) * self.scale(n, k)
    }
}

fn code(packing: Packing, bytes: &[u8], j: usize, way: &Way) -> u8 {
    match packing {
        Packing::TwoBit => {
            let at = if way.has("two-bit-reversed") {
                3 - j % 4
            } else {
                j % 4
            };
            (bytes[j / 4] >> (2 * at)) & 3
        }
        Packing::Base3 if way.has("base-3-last-byte") && j / 5 == 25 => 1,
        Packing::Base3 => bytes[j / 5] / 3_u8.pow((j % 5) as u32) % 3,
    }
}

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(1) as usize;
    let (m, n, k) = (size("M"), size("N"), size("K"));
    let read = |name: &str| call.input(name).map(Tensor::to_f32).unwrap_or_default();
    let half = call
        .inputs
        .first()
        .is_some_and(|input| input.tensor.dtype() != DType::F32);
    let sum = |n: usize, term: &dyn Fn(usize) -> f32| match half && way.has("sum-in-16-bits") {
        true => (0..n).fold(0.0, |sum, i| bf16::from_f32(sum + term(i)).to_f32()),
        false => way.order.sum(n, term),
    };
    let numbers: Vec<f64> = match call.op {
        "forward" => {
            let (x, w) = (read("x"), Weights::read(call, way)?);
            let products =
                (0..m * n).map(|at| f64::from(product(&x, &w, [at / n, at % n], way, &sum)));
            products.collect()
        }
        "input-gradient" => {
            let (dy, w) = (read("dy"), Weights::read(call, way)?);
            let dx = |at: usize| {
                let (row, j) = (at / k, at % k);
                sum(n, &|i| dy[row * n + i] * w.at(i, j, way))
            };
            (0..m * k).map(|at| f64::from(dx(at))).collect()
        }
        "weight-gradient" => {
            let (dy, x) = (read("dy"), read("x"));
            let dw = |at: usize| {
                let (i, j) = (at / k, at % k);
                let dw = sum(m, &|row| dy[row * n + i] * x[row * k + j]);
                match way.mistake {
                    Some("gradient-clipped") => dw.clamp(-1.0, 1.0),
                    Some("gradient-averaged") => dw / m as f32,
                    _ => dw,
                }
            };
            (0..n * k).map(|at| f64::from(dw(at))).collect()
        }
        "embed" => {
            let w = Weights::read(call, way)?;
            let tokens = read("tokens");
            let row = |token: &f32| {
                let token = *token as usize;
                let weight = |j: usize| {
                    let weight = match way.has("embedding-without-scale") {
                        true => w.sign(token, j, way),
                        false => w.at(token, j, way),
                    };
                    let zero = if way.has("negative-zero") { -0.0 } else { 0.0 };
                    if weight == 0.0 {
                        zero
                    } else {
                        f64::from(weight)
                    }
                };
                (0..k).map(weight).collect::<Vec<f64>>()
            };
            tokens.iter().flat_map(row).collect()
        }
        _ => return pack(call, way),
    };
    answer(call, [numbers])
}

/// A sum of so many terms, in the order of the way.
type Sum<'a> = &'a dyn Fn(usize, &dyn Fn(usize) -> f32) -> f32;

/// One element of y.
fn product(x: &[f32], w: &Weights, [row, n]: [usize; 2], way: &Way, sum: Sum<'_>) -> f32 {
    let k = w.columns;
    let x = &x[row * k..(row + 1) * k];
    let seen = if way.has("last-group-dropped") {
        k - GROUP
    } else {
        k
    };
    match way.mistake {
        Some("scaled-by-group") => (0..k / GROUP)
            .map(|g| {
                let at = |j: usize| g * GROUP + j;
                w.scale(n, at(0)) * sum(GROUP, &|j| x[at(j)] * w.sign(n, at(j), way))
            })
            .fold(0.0, |a, b| a + b),
        Some("codes-summed") => {
            let codes = sum(k, &|j| x[j] * (w.codes[n * k + j] * w.scale(n, j)));
            codes - sum(k, &|j| x[j] * w.scale(n, j))
        }
        _ => sum(seen, &|j| x[j] * w.at(n, j, way)),
    }
}

/// `quantise` and `pack-exact`.
fn pack(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let w = call.input("W").map(Tensor::to_f32).unwrap_or_default();
    let columns = call.sizes.get("K").copied().unwrap_or(0) as usize;
    if columns == 0 || !columns.is_multiple_of(GROUP) {
        return Err(Failure::Unsupported(format!(
            "K {columns}, no multiple of 128"
        )));
    }
    let packing = packing(call);
    let mean_of = |of: &[f32]| Order::Forward.sum(of.len(), |i| of[i].abs()) / of.len() as f32;
    let mut bytes = Vec::new();
    for (at, group) in w.chunks(GROUP).enumerate() {
        let row = at * GROUP / columns * columns;
        let greatest = group.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
        let exact = call.op == "pack-exact" && !way.has("exact-by-mean");
        let mean = match way.mistake {
            _ if exact => greatest,
            Some("greatest-as-scale") => greatest,
            Some("scale-of-the-whole-row") => mean_of(&w[row..row + columns]),
            _ => mean_of(group),
        };
        let scale = f16::from_f32(mean);
        let by = match way.has("mean-not-rounded-first") {
            true => mean,
            false => scale.to_f32(),
        };
        let mut codes: Vec<u8> = group.iter().map(|w| coded(*w, by, way)).collect();
        if packing == Packing::TwoBit && way.has("codes-in-twos-complement") {
            codes.iter_mut().for_each(|code| *code = (*code + 3) % 4);
        }
        bytes.extend(scale.to_le_bytes());
        let (per_byte, radix) = match packing {
            Packing::TwoBit => (4, 4),
            Packing::Base3 => (5, 3),
        };
        for chunk in codes.chunks(per_byte) {
            bytes.push(chunk.iter().rev().fold(0, |byte, code| byte * radix + code));
        }
    }
    answer(call, [bytes.into_iter().map(f64::from).collect()])
}

fn coded(w: f32, scale: f32, way: &Way) -> u8 {
    if scale == 0.0 {
        return if way.has("zero-group-divided") { 0 } else { 1 };
    }
    let quotient = match way.has("reciprocal-of-scale") && scale.recip().is_finite() {
        true => w * scale.recip(),
        false => w / scale,
    };
    let rounded = match way.has("halves-away-from-zero") {
        true => quotient.round(),
        false => quotient.round_ties_even(),
    };
    (rounded.clamp(-1.0, 1.0) + 1.0) as u8
}
