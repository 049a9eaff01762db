//! Gradients of which one element decides: all that a row's dx is, and all that a column's dγ and dβ
//! are, comes from it, at a place that moves on from row to row. And widths and row counts on both
//! sides of what vectors, warps and blocks are made of.

use super::cases::{Norm, Real};
use crate::task::{Budget, Check, Dims, Kind};
use half::{bf16, f16};
use reference::cases::{Rng, normal};

/// Where the gradient is not 0.
#[derive(Clone, Copy)]
enum Needle {
    /// One element of each row.
    OfRows,
    /// One row.
    OneRow,
    /// One warp's worth of columns, or less.
    OneRun,
    /// No single place: everywhere.
    None,
}

fn gradient<T: Real>(rng: &mut Rng, rows: usize, width: usize) -> Vec<T> {
    let (from, step) = (rng.below(width), 2 * rng.below(width) + 1);
    let (one, run) = (rng.below(rows), rng.choose(&[1, 4, 8, 32, 128]));
    let start = rng.below(width.div_ceil(run)) * run;
    let needle = rng.choose(&[
        Needle::OfRows,
        Needle::OfRows,
        Needle::OneRow,
        Needle::OneRun,
        Needle::None,
    ]);
    let at = |i: usize| {
        let (row, column) = (i / width, i % width);
        match needle {
            Needle::OfRows => column == (from + row * step) % width,
            Needle::OneRow => row == one,
            Needle::OneRun => column >= start && column < start + run,
            Needle::None => true,
        }
    };
    (0..rows * width)
        .map(|i| {
            let sign = rng.choose(&[-1.0, 1.0]);
            let value = sign * rng.uniform(0.5, 4.0);
            T::from_f64(if at(i) { value } else { 0.0 })
        })
        .collect()
}

fn drawn<T: Real>(dims: &Dims, rng: &mut Rng) -> Norm<T> {
    let (rows, width) = (dims.get("R"), dims.get("D"));
    let norm = Norm::<T>::drawn(rng, rows, width);
    // Far from zero, the last bits of x are all that is left of it once the mean is subtracted.
    let offset = rng.choose(&[0.0, 40.0, 300.0]);
    let x = match rng.chance(0.5) {
        true => norm.x.clone(),
        false => {
            let x: Vec<T> = normal(rng, rows * width, 1.0);
            x.iter().map(|x| T::from_f64(x.to_f64() + offset)).collect()
        }
    };
    Norm {
        x,
        dy: gradient(rng, rows, width),
        ..norm
    }
}

/// [`drawn`] with or without all that is optional.
fn optioned<T: Real>(dims: &Dims, rng: &mut Rng) -> Norm<T> {
    let norm = drawn::<T>(dims, rng);
    let residual = rng.chance(0.3).then(|| normal(rng, norm.x.len(), 1.0));
    Norm {
        rms: rng.chance(0.4),
        residual,
        ..norm
    }
}

/// As many rows, around the multiples of what blocks take, as leave the case small.
fn rows(rng: &mut Rng, width: u64, most: u64) -> u64 {
    let all = [1, 2, 3, 5, 8, 9, 16, 17, 31, 32, 33, 63, 65, 129, 260, 600];
    let fitting: Vec<u64> = all
        .into_iter()
        .filter(|rows| *rows == 1 || rows * width <= most)
        .collect();
    rng.choose(&fitting)
}

const NARROW: [u64; 25] = [
    3, 4, 5, 7, 8, 31, 33, 63, 64, 127, 128, 129, 130, 255, 256, 257, 384, 511, 512, 513, 516,
    1000, 1024, 1025, 1032,
];
const WIDE: [u64; 10] = [2044, 2048, 2051, 2056, 4096, 4104, 4111, 8184, 8192, 8200];

fn sizes(rng: &mut Rng, budget: Budget) -> Dims {
    let width = rng.choose(&NARROW);
    let rows = rows(rng, width, budget.pick(20_000, 60_000));
    Dims::of([("R", rows), ("D", width)])
}

fn any_sizes(rng: &mut Rng, budget: Budget) -> Dims {
    match rng.chance(0.5) {
        true => sizes(rng, budget),
        false => wide(rng, budget),
    }
}

fn wide(rng: &mut Rng, budget: Budget) -> Dims {
    let width = rng.choose(&WIDE);
    let rows = rows(rng, width, budget.pick(40_000, 100_000));
    Dims::of([("R", rows), ("D", width)])
}

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::judged(
            Kind::Values,
            "needles",
            "one element of each row's dy, or one row's, or one warp's, is all that is not 0",
            sizes,
            |dims, rng| Some(drawn::<f32>(dims, rng).call()),
        )
        .cases(8, 24),
        Check::judged(
            Kind::Level,
            "needles-16-bit",
            "the same in f16 and bf16, RMSNorm or not, of rows of 3 to 8200",
            any_sizes,
            |dims, rng| {
                Some(match rng.chance(0.5) {
                    true => optioned::<f16>(dims, rng).call(),
                    false => optioned::<bf16>(dims, rng).call(),
                })
            },
        )
        .at("16-bit")
        .cases(10, 30),
        Check::judged(
            Kind::Level,
            "needles-rms-residual",
            "the same in f32, RMSNorm or not, with and without a residual",
            sizes,
            |dims, rng| Some(optioned::<f32>(dims, rng).call()),
        )
        .at("residual")
        .cases(4, 12),
        Check::judged(
            Kind::Level,
            "needles-wide",
            "the same in rows of 2000 to 8200",
            wide,
            |dims, rng| Some(drawn::<f32>(dims, rng).call()),
        )
        .at("wide")
        .cases(4, 12),
        Check::judged(
            Kind::Level,
            "tall-and-broad",
            "more rows of hundreds than a device has at a time",
            |_, budget| Dims::of([("R", budget.pick(97, 2900)), ("D", 516)]),
            |dims, rng| Some(drawn::<f32>(dims, rng).call()),
        )
        .at("tall")
        .cases(1, 1),
    ]
}
