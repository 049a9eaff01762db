//! Values, odd values, properties and levels.

use super::cases::{Norm, Real, drawn, ordinary};
use crate::submission::{Call, Named};
use crate::task::common::{self, Judged, Ordinary};
use crate::task::{Budget, Check, Dims, Kind, Session, Stop, fixed};
use crate::verdict::Verdict;
use half::{bf16, f16};
use reference::cases::{Rng, normal};
use reference::numbers::Bounded;

fn draw(rng: &mut Rng, budget: Budget) -> Dims {
    let width = rng.choose(&[2, 3, 7, 32, 64, 100, 128, budget.pick(257, 1000)]);
    Dims::of([
        ("R", rng.between(3, budget.pick(9, 24)) as u64),
        ("D", width),
    ])
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = common::checks(Ordinary {
        draw,
        make: ordinary,
        counted: |_, _| Dims::of([("R", 64), ("D", 512)]),
    });
    checks.push(
        Check::new(
            Kind::Values,
            "f32",
            "dx, dgamma and dbeta of rows of mixed scales and patterns",
            draw,
            |session, dims, rng| {
                let call = ordinary(dims, rng).ok_or(Stop::Unfit)?;
                session.judge_values(&call).map(drop)
            },
        )
        .cases(6, 24),
    );
    checks.extend(levels());
    checks.extend(odd());
    checks.extend(super::needles::checks());
    checks.extend(properties());
    checks
}

/// Options as they come.
fn optioned<T: Real>(dims: &Dims, rng: &mut Rng) -> Norm<T> {
    let norm = Norm::<T>::drawn(rng, dims.get("R"), dims.get("D"));
    let residual = rng.chance(0.5).then(|| normal(rng, norm.x.len(), 1.0));
    Norm {
        rms: rng.chance(0.5),
        gamma: norm.gamma.clone().filter(|_| rng.chance(0.7)),
        residual,
        ..norm
    }
}

fn levels() -> Vec<Check> {
    type Make = fn(&Dims, &mut Rng) -> Option<Call>;
    type Draw = fn(&mut Rng, Budget) -> Dims;
    let level = |name, level, says, draw: Draw, make: Make| {
        Check::judged(Kind::Level, name, says, draw, make)
            .at(level)
            .cases(2, 5)
    };
    let rms: Make = |dims, rng| {
        let norm = Norm::<f32>::drawn(rng, dims.get("R"), dims.get("D"));
        Some(Norm { rms: true, ..norm }.call())
    };
    let residual: Make = |dims, rng| {
        let norm = Norm::<f32>::drawn(rng, dims.get("R"), dims.get("D"));
        let residual = Some(normal(rng, norm.x.len(), 1.0));
        Some(Norm { residual, ..norm }.call())
    };
    vec![
        level(
            "f16",
            "16-bit",
            "x, dy, gamma and dx in f16",
            draw,
            drawn::<f16>,
        ),
        level(
            "bf16",
            "16-bit",
            "x, dy, gamma and dx in bf16",
            draw,
            drawn::<bf16>,
        ),
        level("rms", "rms", "RMSNorm: no mean, no dbeta", draw, rms),
        level(
            "options-16-bit",
            "16-bit",
            "RMSNorm or not, with and without gamma and residual, in f16 and bf16",
            draw,
            |dims, rng| {
                Some(match rng.chance(0.5) {
                    true => optioned::<f16>(dims, rng).call(),
                    false => optioned::<bf16>(dims, rng).call(),
                })
            },
        )
        .cases(6, 16),
        level(
            "residual",
            "residual",
            "the gradient of a residual connection is added to dx",
            draw,
            residual,
        ),
        level(
            "wide",
            "wide",
            "rows of tens of thousands",
            |rng, budget| {
                let width = budget.pick(rng.between(16_384, 20_000), 65_536);
                Dims::of([("R", 2), ("D", width as u64)])
            },
            ordinary,
        )
        .cases(1, 1),
        level(
            "tall",
            "tall",
            "tens of thousands of short rows, whose columns are long sums",
            |rng, budget| {
                let rows = budget.pick(rng.between(10_000, 16_000), 200_000);
                Dims::of([("R", rows as u64), ("D", 8)])
            },
            |dims, rng| {
                let x: Vec<f32> = normal(rng, dims.get("R") * dims.get("D"), 1.0);
                Some(Norm::new(rng, dims.get("D"), x).call())
            },
        )
        .cases(1, 1),
        Check::new(
            Kind::Level,
            "deterministic",
            "the same bits on every run, where many blocks add to the same columns",
            fixed([("R", 600), ("D", 64)]),
            |session, dims, rng| {
                let call = ordinary(dims, rng).ok_or(Stop::Unfit)?;
                let first = session.call(&call)?;
                for _ in 0..2 {
                    let again = session.call(&call)?;
                    if common::same_bits(&first, &again).is_err() {
                        let why = "the bits differ between runs";
                        return Err(Verdict::Unsupported(why.into()).into());
                    }
                }
                Ok(())
            },
        )
        .at("deterministic")
        .cases(1, 1),
    ]
}

fn odd() -> Vec<Check> {
    let spoilt = |what: &'static str, name, says| {
        Check::judged(Kind::Odd, name, says, fixed([("R", 4), ("D", 33)]), {
            move |dims: &Dims, rng: &mut Rng| {
                let (rows, width) = (dims.get("R"), dims.get("D"));
                let mut norm = Norm::<f32>::drawn(rng, rows, width);
                let at = rng.below(rows * width);
                match what {
                    "x" => norm.x[at] = f32::NAN,
                    "dy" => norm.dy[at] = f32::NAN,
                    _ => {
                        let mut gamma: Vec<f32> = normal(rng, width, 1.0);
                        gamma[at % width] = f32::NAN;
                        norm.gamma = Some(gamma);
                    }
                }
                Some(norm.call())
            }
        })
        .cases(1, 2)
    };
    vec![
        spoilt(
            "x",
            "nan-in-x",
            "a NaN in x spoils its row of dx and, through the row's statistics, all of dgamma, and \
             not dbeta",
        ),
        spoilt(
            "dy",
            "nan-in-dy",
            "a NaN in dy spoils its row of dx and its column of dgamma and dbeta, nothing else",
        ),
        Check::new(
            Kind::Odd,
            "nan-in-gamma",
            "a NaN in gamma spoils dx, and neither dgamma nor dbeta",
            fixed([("R", 4), ("D", 33)]),
            {
                let make = spoilt("gamma", "", "").run;
                // All of dx is NaN: no other dx can be told from it.
                move |session: &mut Session<'_>, dims: &Dims, rng: &mut Rng| {
                    make(session.without_margin(), dims, rng)
                }
            },
        ),
        Check::judged(
            Kind::Odd,
            "zero-gradient",
            "rows whose dy is 0 have dx 0, whatever x is",
            fixed([("R", 5), ("D", 20)]),
            |dims, rng| {
                let (rows, width) = (dims.get("R"), dims.get("D"));
                let mut norm = Norm::<f32>::drawn(rng, rows, width);
                norm.dy = normal(rng, rows * width, 1.0);
                norm.dy[..width * rows.div_ceil(2)].fill(-0.0);
                (rows > 1).then(|| norm.call())
            },
        ),
    ]
}

/// An output as float64.
fn read(outputs: &[Named], name: &str) -> Vec<f64> {
    let found = outputs.iter().find(|output| output.name == name);
    found.map(|named| named.tensor.to_f64()).unwrap_or_default()
}

/// A sum over each row of dx with some weights is 0 within the bounds of its terms.
fn rows_vanish(
    session: &mut Session<'_>,
    call: &Call,
    width: usize,
    weight: impl Fn(usize) -> f64,
    what: &str,
) -> Result<(), Stop> {
    let dx = read(&session.judge(call)?, "dx");
    let elements = session.judged("dx");
    for (row, dx) in dx.chunks(width).enumerate() {
        let at = |d: usize| row * width + d;
        let sum: f64 = dx.iter().enumerate().map(|(d, x)| x * weight(at(d))).sum();
        // What the exact values sum to is not quite 0: the statistics were rounded to f32.
        let exact: f64 = (0..width)
            .map(|d| elements[at(d)].expected.value * weight(at(d)))
            .sum();
        let bound: f64 = (0..width)
            .map(|d| elements[at(d)].expected.bound * weight(at(d)).abs())
            .sum();
        if !Bounded::new(exact, bound).admits(sum) {
            let why = format!("row {row} of dx: {what} is {sum:e}, not 0 ± {:e}", bound);
            return Err(Verdict::wrong(why).into());
        }
    }
    Ok(())
}

fn properties() -> Vec<Check> {
    vec![
        Check::new(
            Kind::Property,
            "rows-sum-to-zero",
            "with a constant gamma every row of dx sums to 0",
            fixed([("R", 4), ("D", 96)]),
            |session, dims, rng| {
                let (rows, width) = (dims.get("R"), dims.get("D"));
                let mut norm = Norm::<f32>::normal(rng, rows, width);
                norm.gamma = Some(vec![rng.uniform(0.5, 2.0) as f32; width]);
                rows_vanish(session, &norm.call(), width, |_| 1.0, "the sum")
            },
        ),
        Check::new(
            Kind::Property,
            "orthogonal-to-x-hat",
            "every row of dx is orthogonal to the normalised row",
            fixed([("R", 4), ("D", 96)]),
            |session, dims, rng| {
                let (rows, width) = (dims.get("R"), dims.get("D"));
                let norm = Norm::<f32>::normal(rng, rows, width);
                let call = norm.call();
                let (x, mean, rstd) = (
                    norm.x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(),
                    call.input("mean").map(|m| m.to_f64()).unwrap_or_default(),
                    call.input("rstd").map(|r| r.to_f64()).unwrap_or_default(),
                );
                let xhat = |at: usize| (x[at] - mean[at / width]) * rstd[at / width];
                rows_vanish(session, &call, width, xhat, "its product with x̂")
            },
        ),
        Check::new(
            Kind::Property,
            "linear-in-dy",
            "twice dy gives twice every gradient, within the bounds of both",
            fixed([("R", 5), ("D", 40)]),
            |session, dims, rng| {
                let (rows, width) = (dims.get("R"), dims.get("D"));
                let norm = Norm::<f32>::normal(rng, rows, width);
                let twice = Norm {
                    dy: norm.dy.iter().map(|dy| 2.0 * dy).collect(),
                    ..norm.clone()
                };
                let once = session.judge(&norm.call())?;
                let names: Vec<String> = once.iter().map(|o| o.name.clone()).collect();
                let once: Vec<Judged> = names
                    .iter()
                    .map(|name| Judged::of(session, &once, name).scaled(2.0))
                    .collect();
                let doubled = session.judge(&twice.call())?;
                for (name, once) in names.iter().zip(once) {
                    once.agrees(&Judged::of(session, &doubled, name), name)?;
                }
                Ok(())
            },
        ),
        Check::new(
            Kind::Property,
            "row-permutation",
            "a permutation of the rows permutes dx, and leaves dgamma and dbeta, within the bounds",
            fixed([("R", 9), ("D", 30)]),
            |session, dims, rng| {
                let (rows, width) = (dims.get("R"), dims.get("D"));
                let norm = Norm::<f32>::drawn(rng, rows, width);
                let mut order: Vec<usize> = (0..rows).collect();
                rng.shuffle(&mut order);
                fn permuted<T: Copy>(of: &[T], order: &[usize], width: usize) -> Vec<T> {
                    let rows = order.iter().flat_map(|r| &of[r * width..(r + 1) * width]);
                    rows.copied().collect()
                }
                let moved = Norm {
                    x: permuted(&norm.x, &order, width),
                    dy: permuted(&norm.dy, &order, width),
                    ..norm.clone()
                };
                let here = session.judge(&norm.call())?;
                let here = Judged::of(session, &here, "dx");
                let here = Judged {
                    got: permuted(&here.got, &order, width),
                    bound: permuted(&here.bound, &order, width),
                };
                let there = session.judge(&moved.call())?;
                here.agrees(&Judged::of(session, &there, "dx"), "dx of a moved row")
            },
        ),
    ]
}
