//! Gradients of which one element decides: all that a row's dx is, and all that a column's dγ and dβ
//! are, comes from it, at a place that moves on from row to row. And widths and row counts on both
//! sides of what vectors, warps and blocks are made of.

use super::cases::{Norm, Real};
use crate::submission::Call;
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

fn any_options<T: Real>(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    Some(optioned::<T>(dims, rng).call())
}

/// As many rows, around the multiples of what blocks take, as leave the case small.
fn rows(rng: &mut Rng, width: u64, most: u64) -> u64 {
    let all = [
        1, 2, 3, 4, 5, 8, 9, 16, 17, 31, 32, 33, 63, 64, 65, 129, 260, 600,
    ];
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

fn sizes(rng: &mut Rng, budget: Budget) -> Dims {
    let width = rng.choose(&NARROW);
    let rows = rows(rng, width, budget.pick(20_000, 60_000));
    Dims::of([("R", rows), ("D", width)])
}

/// Widths that one way of sharing a row out fits.
struct Widths {
    /// The check's name in f32, f16 and bf16.
    names: [&'static str; 3],
    says: &'static str,
    /// In f32, and in the 16-bit types, of which 16 bytes hold twice as many.
    widths: [&'static [u64]; 2],
    /// Elements of a case, quick and full.
    most: (u64, u64),
}

/// Each way for itself: what is right in one may be wrong in another, and every type has its own.
const WIDTHS: [Widths; 6] = [
    Widths {
        names: ["odd-widths", "odd-widths-f16", "odd-widths-bf16"],
        says: "the same in short rows that are no whole vectors",
        widths: [&[3, 5, 7, 31, 33, 63, 65, 127]; 2],
        most: (6_000, 40_000),
    },
    Widths {
        names: ["short-rows", "short-rows-f16", "short-rows-bf16"],
        says: "the same in rows of a few vectors, several of which a warp holds",
        widths: [
            &[4, 8, 12, 16, 32, 36, 64, 68, 100, 124, 128],
            &[8, 16, 24, 32, 48, 64, 72, 128, 136, 144, 200, 248, 256],
        ],
        most: (6_000, 40_000),
    },
    Widths {
        names: ["block-rows", "block-rows-f16", "block-rows-bf16"],
        says: "the same in rows of hundreds of whole vectors",
        widths: [
            &[132, 256, 260, 384, 512, 1000, 1024],
            &[264, 272, 384, 512, 520, 1000, 1032, 2032, 2040, 2048],
        ],
        most: (20_000, 80_000),
    },
    Widths {
        names: ["wide-rows", "wide-rows-f16", "wide-rows-bf16"],
        says: "the same in rows of thousands of whole vectors",
        widths: [
            &[1028, 1032, 2044, 2048, 4100, 8184, 8192],
            &[2056, 2064, 4096, 4104, 4112, 8176, 8184, 8192],
        ],
        most: (40_000, 150_000),
    },
    Widths {
        names: ["wider-rows", "wider-rows-f16", "wider-rows-bf16"],
        says: "the same in rows of more whole vectors than a block holds at once",
        widths: [&[8196, 8200, 9216], &[8200, 9216]],
        most: (30_000, 100_000),
    },
    Widths {
        names: ["odd-wide-rows", "odd-wide-rows-f16", "odd-wide-rows-bf16"],
        says: "the same in long rows that are no whole vectors",
        widths: [&[129, 130, 255, 257, 511, 513, 1025, 2051, 4111]; 2],
        most: (20_000, 80_000),
    },
];

/// Every type in every way, RMSNorm or not, with and without gamma and residual.
fn by_width() -> impl Iterator<Item = Check> {
    WIDTHS.into_iter().flat_map(|way| {
        type Make = fn(&Dims, &mut Rng) -> Option<Call>;
        let types: [Make; 3] = [any_options::<f32>, any_options::<f16>, any_options::<bf16>];
        types.into_iter().enumerate().map(move |(of_type, make)| {
            let widths = way.widths[usize::from(of_type > 0)];
            let most = way.most;
            let draw = move |rng: &mut Rng, budget: Budget| {
                let width = rng.choose(widths);
                let rows = rows(rng, width, budget.pick(most.0, most.1));
                Dims::of([("R", rows), ("D", width)])
            };
            let level = if of_type > 0 { "16-bit" } else { "residual" };
            Check::judged(Kind::Level, way.names[of_type], way.says, draw, make)
                .at(level)
                .cases(3, 14)
        })
    })
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![
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
            "tall-and-broad",
            "more rows of hundreds than a device has at a time",
            |_, budget| Dims::of([("R", budget.pick(97, 2900)), ("D", 516)]),
            |dims, rng| Some(drawn::<f32>(dims, rng).call()),
        )
        .at("tall")
        .cases(1, 1),
    ];
    checks.extend(by_width());
    checks
}
