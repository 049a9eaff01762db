//! The traps and the properties that TASKS names for the family, each on every rung that takes the
//! width.

use crate::{Number, expect, random_schedule, run};
use half::bf16;
use kernels_host::Limits;
use kernels_host::layernorm_backward::{Plan, Rung, Shape};
use reference::cases::Rng;
use reference::cases::layernorm::LayerNorm;
use reference::numbers::DType;

const EPSILON: f64 = 1e-5;

/// A LayerNorm case with the statistics of the rows that `x` gives, γ from the generator.
fn case_of<T: Number>(rows: usize, width: usize, x: impl Fn(usize, usize) -> f64) -> LayerNorm<T> {
    let mut case = LayerNorm::<T>::with_shape(&mut Rng::new(rows as u64), rows, width);
    case.x = (0..rows * width)
        .map(|at| T::from_f64(x(at / width, at % width)))
        .collect();
    let mut means = Vec::new();
    case.rstd.clear();
    for row in case.x.chunks(width) {
        let mean = row.iter().map(|x| x.to_f64()).sum::<f64>() / width as f64;
        let square = |x: &T| (x.to_f64() - mean).powi(2);
        let variance = row.iter().map(square).sum::<f64>() / width as f64;
        means.push(mean as f32);
        case.rstd.push((variance + EPSILON).sqrt().recip() as f32);
    }
    case.mean = Some(means);
    case.residual = None;
    case
}

/// Runs a case on every rung that takes it, against the oracle; what each gave, by rung.
fn on_every_rung<T: Number>(case: &LayerNorm<T>) -> Vec<(Rung, Vec<T>, Vec<f32>)> {
    let (rows, width) = (case.rows, case.width);
    let shape = Shape { rows, width };
    let expected = case.oracle().expect("a case has its shapes");
    let mut all = Vec::new();
    for rung in Rung::ALL.into_iter().filter(|rung| rung.takes::<T>(width)) {
        let plan = Plan::with_rung::<T>(shape, rung, Limits::SM_80);
        let what = format!("{} {rows}×{width} {rung:?}", T::DTYPE.name());
        let (dx, dgamma, dbeta) = run(&random_schedule(7), case, plan).expect(&what);
        expect(&what, "dx", &expected.dx, &dx);
        expect(&what, "dgamma", &expected.dgamma, &dgamma);
        if let (Some(expected), Some(dbeta)) = (&expected.dbeta, &dbeta) {
            expect(&what, "dbeta", expected, dbeta);
        }
        all.push((rung, dx, dgamma));
    }
    assert!(!all.is_empty());
    all
}

/// x̂ as x·ρ − μ·ρ, or a mean kept in 16 bits, loses everything here.
#[test]
fn means_ten_thousand_deviations_away() {
    let mut rng = Rng::new(1);
    let noise: Vec<f64> = (0..8 * 520).map(|_| rng.normal()).collect();
    for width in [24, 65, 520] {
        let x = |row: usize, column: usize| 1e4 + noise[row * 520 + column];
        on_every_rung(&case_of::<f32>(8, width, x));
        // bf16 has steps of 1/2 at 100: a mean rounded to it would be off by much of σ.
        let x = |row: usize, column: usize| 100.3 + noise[row * 520 + column];
        on_every_rung(&case_of::<bf16>(8, width, x));
    }
}

#[test]
fn constant_rows() {
    for width in [1, 8, 33, 264] {
        let case = case_of::<f32>(5, width, |row, _| row as f64 * 3.5 - 7.0);
        on_every_rung(&case);
    }
}

/// One column: x̂ = 0, and the gradient of a constant is 0.
#[test]
fn rows_of_one_element() {
    let case = case_of::<f32>(70, 1, |row, _| (row as f64).sin() * 10.0);
    for (rung, dx, dgamma) in on_every_rung(&case) {
        assert!(dx.iter().all(|dx| *dx == 0.0), "{rung:?}");
        assert_eq!(dgamma, [0.0], "{rung:?}");
    }
}

/// Lanes beyond the row must not enter as x = 0, which the mean turns into −μ.
#[test]
fn lanes_beyond_the_row_add_nothing() {
    for width in [3, 8, 24, 40, 129, 136, 1000, 4088] {
        let case = case_of::<f32>(3, width, |_, column| 50.0 + (column as f64).cos());
        on_every_rung(&case);
    }
}

/// A million rows: sums in 16 bits or in one chain of f32 are far outside the bound.
#[test]
fn sums_over_a_million_rows() {
    let (rows, width) = (1_000_003, 1);
    let mut case = case_of::<bf16>(8, width, |_, _| 1.0);
    case.rows = rows;
    case.x = vec![bf16::ONE; rows];
    case.dy = vec![bf16::from_f32(0.1); rows];
    case.mean = Some(vec![0.0; rows]);
    case.rstd = vec![1.1; rows];
    let expected = case.oracle().expect("a case has its shapes");
    let dbeta = expected.dbeta.as_ref().expect("LayerNorm");
    let chain = case.dy.iter().fold(0.0, |sum: f32, dy| sum + dy.to_f32());
    let judged = dbeta.compare("dbeta", &[chain]).expect("one column");
    assert!(
        !judged.is_right(),
        "a chain must fail for this to be a trap"
    );

    let vm = random_schedule(3);
    let shape = Shape { rows, width };
    let plan = Plan::best::<bf16>(shape, Limits::SM_80);
    let (_, dgamma, got) = run(&vm, &case, plan).expect("it runs");
    expect("a million", "dgamma", &expected.dgamma, &dgamma);
    expect("a million", "dbeta", dbeta, &got.expect("LayerNorm"));
}

/// Σ dx = 0 and Σ dx·x̂ = 0 for each row where γ is constant: what a missing 1/D term breaks.
#[test]
fn a_row_of_dx_is_orthogonal_to_one_and_to_xhat() {
    let mut rng = Rng::new(5);
    let noise: Vec<f64> = (0..4 * 264).map(|_| rng.normal()).collect();
    for width in [7, 64, 264] {
        let mut case = case_of::<f32>(4, width, |row, column| noise[row * 264 + column]);
        case.gamma = Some(vec![1.5; width]);
        case.dy = (0..4 * width).map(|at| noise[at] as f32 * 0.5).collect();
        let expected = case.oracle().expect("a case has its shapes");
        let bound = expected
            .dx
            .items()
            .iter()
            .map(|dx| dx.bound)
            .collect::<Vec<_>>();
        for (rung, dx, _) in on_every_rung(&case) {
            for row in 0..4 {
                let columns = row * width..(row + 1) * width;
                let (mut ones, mut xhats, mut allowed) = (0.0, 0.0, 0.0);
                for at in columns {
                    let mean = f64::from(case.mean.as_ref().expect("LayerNorm")[row]);
                    let xhat = (f64::from(case.x[at]) - mean) * f64::from(case.rstd[row]);
                    ones += f64::from(dx[at]);
                    xhats += f64::from(dx[at]) * xhat;
                    // ε and the rounded statistics keep the sums from being 0 exactly.
                    allowed += (bound[at] + 2.0 * EPSILON) * (1.0 + xhat.abs());
                }
                assert!(ones.abs() <= allowed, "{rung:?} {width}: Σdx {ones}");
                assert!(xhats.abs() <= allowed, "{rung:?} {width}: Σdx·x̂ {xhats}");
            }
        }
    }
}

/// A permutation of the rows permutes dx, bit for bit, and leaves dγ within its bound.
#[test]
fn rows_are_independent() {
    let (rows, width) = (13, 64);
    let case = case_of::<f32>(rows, width, |row, column| (row * 64 + column) as f64 % 17.0);
    let order: Vec<usize> = (0..rows).map(|row| row * 5 % rows).collect();
    let by_row = |data: &[f32], of: usize| -> Vec<f32> {
        let row = |row: &usize| data[row * of..(row + 1) * of].to_vec();
        order.iter().flat_map(row).collect()
    };
    let moved = LayerNorm {
        x: by_row(&case.x, width),
        dy: by_row(&case.dy, width),
        mean: case.mean.as_ref().map(|mean| by_row(mean, 1)),
        rstd: by_row(&case.rstd, 1),
        ..case.clone()
    };
    for (here, there) in on_every_rung(&case).iter().zip(on_every_rung(&moved)) {
        assert_eq!(by_row(&here.1, width), there.1, "{:?}", here.0);
    }
}

/// dx is linear in dy: twice dy gives twice the bits' value.
#[test]
fn dx_is_linear_in_dy() {
    let case = case_of::<f32>(6, 40, |row, column| (row * 7 + column * 3) as f64 % 11.0);
    let twice = LayerNorm {
        dy: case.dy.iter().map(|dy| 2.0 * dy).collect(),
        ..case.clone()
    };
    for (once, twice) in on_every_rung(&case).iter().zip(on_every_rung(&twice)) {
        for (a, b) in once.1.iter().zip(&twice.1) {
            // Doubling is exact in every operation on the way.
            assert_eq!(2.0 * a, *b, "{:?}", once.0);
        }
    }
    assert_eq!(<f32 as reference::numbers::Element>::DTYPE, DType::F32);
}
