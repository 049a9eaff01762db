//! The traps: what the sentence says is what goes wrong in whoever falls in.

use super::cases::{Norm, Real};
use crate::task::{Check, Dims, Kind, fixed};
use half::bf16;
use reference::cases::{Rng, normal};

/// A trap whose rows are made by a function; gradient and scale are normal.
fn trap<T: Real>(
    name: &'static str,
    says: &'static str,
    sizes: [(&'static str, u64); 2],
    make: impl Fn(Norm<T>, &Dims, &mut Rng) -> Norm<T> + Send + Sync + 'static,
) -> Check {
    Check::judged(Kind::Trap, name, says, fixed(sizes), move |dims, rng| {
        let (rows, width) = (dims.get("R"), dims.get("D"));
        let x = normal::<T>(rng, rows * width, 1.0);
        let norm = Norm::new(rng, width, x);
        Some(make(norm, dims, rng).call())
    })
    .cases(1, 2)
}

pub(super) fn traps() -> Vec<Check> {
    let mut traps = rows();
    traps.extend(columns());
    traps.extend(variants());
    traps
}

fn rows() -> Vec<Check> {
    vec![
        trap::<f32>(
            "offset-rows",
            "the mean is 10⁴ standard deviations: E[x²] − E[x]² and x·rstd − mean·rstd cancel",
            [("R", 3), ("D", 64)],
            |mut norm, _, _| {
                norm.x.iter_mut().for_each(|x| *x += 1e4);
                norm
            },
        ),
        trap::<f32>(
            "constant-rows",
            "a row of one value has variance 0, and rstd is 1/√eps",
            [("R", 4), ("D", 48)],
            |mut norm, dims, rng| {
                for row in norm.x.chunks_mut(dims.get("D")).step_by(2) {
                    row.fill(rng.normal() as f32);
                }
                norm
            },
        ),
        Check::new(
            Kind::Trap,
            "one-column",
            "D = 1: x̂ and dx are 0, and D − 1 is too",
            fixed([("R", 6)]),
            |session, dims, rng| {
                let x = normal::<f32>(rng, dims.get("R"), 1.0);
                let call = Norm::new(rng, 1, x).call();
                session.without_margin().judge(&call).map(drop)
            },
        ),
        trap::<f32>(
            "odd-width",
            "D is a multiple of no vector, and most of the row's sums comes from what is left over",
            [("R", 5), ("D", 67)],
            |mut norm, dims, _| {
                let width = dims.get("D");
                for row in norm.dy.chunks_mut(width) {
                    let tail = width / 4 * 4;
                    row[tail..].iter_mut().for_each(|dy| *dy += 30.0);
                }
                norm.gamma = None;
                norm
            },
        ),
        trap::<f32>(
            "masked-tail",
            "lanes past the end hold 0, which is far from the mean of the row",
            [("R", 4), ("D", 37)],
            |mut norm, _, _| {
                norm.x.iter_mut().for_each(|x| *x += 50.0);
                norm
            },
        ),
        trap::<f32>(
            "missing-1-over-d",
            "sums over a row enter dx as means",
            [("R", 3), ("D", 50)],
            |mut norm, _, _| {
                norm.dy.iter_mut().for_each(|dy| *dy += 1.0);
                norm
            },
        ),
        trap::<bf16>(
            "statistics-of-16-bit-rows",
            "rows in bf16 with a mean of 40: mean and rstd have more digits than their type",
            [("R", 4), ("D", 96)],
            |mut norm, _, rng| {
                let offset = rng.uniform(40.1, 40.4);
                for x in &mut norm.x {
                    *x = bf16::from_f64(x.to_f64() + offset);
                }
                norm
            },
        )
        .at("16-bit"),
    ]
}

fn columns() -> Vec<Check> {
    vec![
        trap::<bf16>(
            "many-rows-16-bit",
            "thousands of rows in bf16: a column sum in 16 bits stops growing",
            [("R", 2500), ("D", 4)],
            |mut norm, _, rng| {
                for dy in &mut norm.dy {
                    *dy = bf16::from_f64(rng.uniform(0.5, 1.5));
                }
                norm
            },
        )
        .at("16-bit"),
        trap::<f32>(
            "one-long-chain",
            "tens of thousands of equal terms: the roundings of one f32 chain all have one sign",
            [("R", 20_000), ("D", 2)],
            |mut norm, _, _| {
                let pattern = [-0.7, 0.9].into_iter().cycle();
                norm.x.iter_mut().zip(pattern).for_each(|(x, p)| *x = p);
                norm.dy.fill(0.1);
                norm
            },
        )
        .at("tall")
        .cases(1, 1),
        trap::<f32>(
            "rows-left-over",
            "R is a multiple of nothing, and the last rows have the largest gradients",
            [("R", 13), ("D", 24)],
            |mut norm, dims, _| {
                let (rows, width) = (dims.get("R"), dims.get("D"));
                let tail = rows / 8 * 8 * width;
                norm.dy[tail..].iter_mut().for_each(|dy| *dy *= 20.0);
                norm
            },
        ),
        trap::<f32>(
            "dgamma-of-x-hat",
            "rows of very different spread: dgamma weighs each by its own rstd",
            [("R", 6), ("D", 32)],
            |mut norm, dims, rng| {
                for row in norm.x.chunks_mut(dims.get("D")) {
                    let spread = rng.choose(&[0.01_f32, 0.1, 10.0, 100.0]);
                    row.iter_mut().for_each(|x| *x *= spread);
                }
                norm
            },
        ),
    ]
}

fn variants() -> Vec<Check> {
    vec![
        trap::<f32>(
            "gamma-in-the-means",
            "gamma varies over the row: the means are of dy·gamma",
            [("R", 3), ("D", 40)],
            |mut norm, _, rng| {
                let gamma = norm.gamma.iter_mut().flatten();
                gamma.for_each(|gamma| *gamma = rng.uniform(0.1, 5.0) as f32);
                norm.dy.iter_mut().for_each(|dy| *dy += 0.5);
                norm
            },
        ),
        trap::<f32>(
            "rms-has-no-mean-term",
            "RMSNorm subtracts no mean of g",
            [("R", 3), ("D", 40)],
            |mut norm, _, _| {
                norm.dy.iter_mut().for_each(|dy| *dy += 1.0);
                Norm { rms: true, ..norm }
            },
        )
        .at("rms"),
        trap::<f32>(
            "residual-added-last",
            "rstd is far from 1: the residual is added after the product with it",
            [("R", 3), ("D", 40)],
            |mut norm, _, rng| {
                norm.x.iter_mut().for_each(|x| *x *= 100.0);
                let residual = Some(normal(rng, norm.x.len(), 1.0));
                Norm { residual, ..norm }
            },
        )
        .at("residual"),
    ]
}
